// SPDX-License-Identifier: MIT
// The thread that unmaps what has left, evicts for what is wanted, and maps it.

#include <errno.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/time.h"
#include "extent.h"
#include "janitor.h"
#include "leaving.h"
#include "space.h"

#define LEAVE_WAIT_NS (20 * NSEC_PER_MS) /* a few leaving extents wait this long for more */

#define EVICT_MAX     64u /* extents evicted for one that is wanted */

void dax_janitor_map_locked(struct dax *d, struct extent *e)
{
	e->job_next = NULL;
	*d->jobs_tail = e;
	d->jobs_tail = &e->job_next;
	d->njobs++;
	(void)pthread_cond_signal(&d->work);
}

/* Evict the coldest extent; false when there is none. Called and returns with the lock held. */
static bool evict_one_locked(struct dax *d)
{
	uint64_t heat;
	struct extent *e = dax_clock_sweep_locked(d, &heat);

	if (!e)
		return false;
	(void)dax_clock_del_locked(d, e);
	(void)pthread_mutex_unlock(&d->lock);
	dax_extent_evict(e);
	(void)pthread_mutex_lock(&d->lock);
	return true;
}

/* A block for @e; evict others if it must be. Called and returns with the lock held. */
static int get_block_locked(struct dax *d, struct extent *e)
{
	uint64_t need = UINT64_C(1) << e->shift;
	unsigned int evicted = 0;

	while (dax_space_get_locked(d, e->shift, &e->at) < 0) {
		uint64_t had = buddy_free_bytes(d->buddy);

		/* As much as is needed in one batch, then see whether it is in one piece. */
		do {
			if (evicted++ == EVICT_MAX || !evict_one_locked(d))
				return -ENOSPC;
		} while (d->live < d->budget && had + d->leaving_bytes < need);
		dax_leaving_flush_locked(d);
	}
	return 0;
}

static void run_job_locked(struct dax *d)
{
	struct extent *e = d->jobs;
	uint64_t begin = d->clock_ns();
	int r;

	d->jobs = e->job_next;
	if (!d->jobs)
		d->jobs_tail = &d->jobs;
	r = e->free_only ? dax_space_get_locked(d, e->shift, &e->at) : get_block_locked(d, e);
	(void)pthread_mutex_unlock(&d->lock);
	if (r == 0)
		r = dax_extent_run(e);
	else
		dax_extent_fail(e);
	(void)pthread_mutex_lock(&d->lock);
	d->njobs--;
	(void)pthread_cond_broadcast(&d->flushed);
	if (r == 0)
		policy_replaced(&d->policy, d->clock_ns() - begin);
}

/* Sleep until there is something to do; with a few extents leaving, not for long. */
static void rest_locked(struct dax *d)
{
	struct timespec until;

	if (!d->nleaving) {
		(void)pthread_cond_wait(&d->work, &d->lock);
		return;
	}
	(void)clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += (long)LEAVE_WAIT_NS;
	if (until.tv_nsec >= (long)NSEC_PER_SEC) {
		until.tv_nsec -= (long)NSEC_PER_SEC;
		until.tv_sec++;
	}
	if (pthread_cond_timedwait(&d->work, &d->lock, &until) == ETIMEDOUT)
		d->want_leave = true;
}

static void *janitor_main(void *arg)
{
	struct dax *d = arg;

	scoped_lock(&d->lock);
	for (;;) {
		if (d->jobs)
			run_job_locked(d);
		else if (dax_leaving_due_locked(d) || (d->stop && (d->leaving || d->garbage)))
			dax_leaving_flush_locked(d);
		else if (d->stop)
			return NULL;
		else
			rest_locked(d);
	}
}

int dax_janitor_start(struct dax *d)
{
	time_cond_init(&d->work);
	(void)pthread_cond_init(&d->flushed, NULL);
	d->jobs_tail = &d->jobs;
	return -pthread_create(&d->janitor, NULL, janitor_main, d);
}

void dax_janitor_stop(struct dax *d)
{
	(void)pthread_mutex_lock(&d->lock);
	d->stop = true;
	(void)pthread_cond_signal(&d->work);
	(void)pthread_mutex_unlock(&d->lock);
	(void)pthread_join(d->janitor, NULL);
	dax_leaving_end(d);
	(void)pthread_cond_destroy(&d->work);
	(void)pthread_cond_destroy(&d->flushed);
}

void dax_settle(struct dax *d)
{
	scoped_lock(&d->lock);
	if (d->stuck)
		dax_leaving_wait_locked(d);
	while (d->leaving || d->njobs || d->flush_ended != d->flush_begun)
		dax_leaving_wait_locked(d);
}
