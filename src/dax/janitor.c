// SPDX-License-Identifier: MIT
// The thread that unmaps what has left, makes room, and maps what is asked for ahead.

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/counter.h"
#include "base/log.h"
#include "base/time.h"
#include "base/waiting.h"
#include "dax_priv.h"
#include "pin.h"

#define LEAVE_BATCH   64u
#define LEAVE_ENOUGH  16u /* leaving extents that are worth a request by themselves */
#define LEAVE_WAIT_NS (20 * NSEC_PER_MS) /* fewer wait this long for company */

#define EVICT_MAX     64u /* extents given up for one that is wanted */

void dax_leaving_add_locked(struct dax *d, struct extent *e)
{
	e->next = d->leaving;
	d->leaving = e;
	d->nleaving++;
	d->leaving_bytes += UINT64_C(1) << e->shift;
	/* The first starts the janitor's wait for company, the last ends it. */
	if (d->nleaving == 1 || d->nleaving == LEAVE_ENOUGH)
		(void)pthread_cond_signal(&d->work);
}

void dax_job_add_locked(struct dax *d, struct extent *e)
{
	e->job_next = NULL;
	*d->jobs_tail = e;
	d->jobs_tail = &e->job_next;
	d->njobs++;
	(void)pthread_cond_signal(&d->work);
}

/* The first @n extents of @list; false: some may still be there. */
static bool unmap_some(struct dax *d, const struct extent *list, unsigned int n)
{
	struct dax_range ranges[LEAVE_BATCH];
	const struct extent *e = list;
	int r;

	for (unsigned int i = 0; i < n; i++, e = e->next)
		ranges[i] = (struct dax_range){ .at = e->at, .len = e->len };
	r = d->remote->remove(d->remote_ctx, ranges, n);
	if (r < 0)
		log_dbg("%u mappings could not be removed: error %d", n, -r);
	counter_add(r < 0 ? COUNTER_unmap_failures : COUNTER_unmaps, n);
	return r == 0;
}

/*
 * What the host does not remove may be there or not, so its block is not used again before the host
 * has removed it. The extent is stuck then, and tried again when others are unmapped.
 */
static void unmap_batch(struct dax *d, struct extent *list)
{
	while (list) {
		struct extent *gone = NULL, *stuck = NULL, *e;
		unsigned int n = 0;
		bool all;

		for (e = list; e && n < LEAVE_BATCH; e = e->next)
			n++;
		all = unmap_some(d, list, n);
		for (; n; n--) {
			struct extent **to;

			e = list;
			list = e->next;
			/* Which one was it? Those that are gone are gone again. */
			to = all || unmap_some(d, e, 1) ? &gone : &stuck;
			e->next = *to;
			*to = e;
		}
		scoped_lock(&d->lock);
		while ((e = gone)) {
			gone = e->next;
			dax_space_put_locked(d, e);
			free(e);
		}
		while ((e = stuck)) {
			stuck = e->next;
			e->next = d->stuck;
			d->stuck = e;
		}
	}
}

/* Unmap all that has left. Called and returns with the lock held. */
static void flush_locked(struct dax *d)
{
	struct extent *list = steal_ptr(d->leaving);
	struct extent *stuck = steal_ptr(d->stuck);
	struct index_garbage *garbage = steal_ptr(d->garbage);

	d->nleaving = d->ngarbage = 0;
	d->leaving_bytes = 0;
	d->want_leave = false;
	d->flush_begun++;
	(void)pthread_mutex_unlock(&d->lock);
	pin_wait();
	index_collect(garbage);
	unmap_batch(d, list);
	unmap_batch(d, stuck);
	(void)pthread_mutex_lock(&d->lock);
	d->flush_ended = d->flush_begun;
	(void)pthread_cond_broadcast(&d->flushed);
}

/* Give up the coldest extent; false when there is none. Called and returns with the lock held. */
static bool evict_one_locked(struct dax *d)
{
	uint64_t heat;
	struct extent *e = dax_clock_coldest_locked(d, &heat);

	if (!e)
		return false;
	(void)dax_clock_del_locked(d, e);
	(void)pthread_mutex_unlock(&d->lock);
	dax_extent_evict(e);
	(void)pthread_mutex_lock(&d->lock);
	return true;
}

/* A block for @e, from others if it must be. Called and returns with the lock held. */
static int make_room_locked(struct dax *d, struct extent *e)
{
	uint64_t need = UINT64_C(1) << e->shift;
	unsigned int evicted = 0;

	while (dax_space_get_locked(d, e->shift, &e->at) < 0) {
		uint64_t had = buddy_free_bytes(d->buddy);

		/* As much as is needed in one batch, then look whether it is in one piece. */
		do {
			if (evicted++ == EVICT_MAX || !evict_one_locked(d))
				return -ENOSPC;
		} while (d->live < d->budget && had + d->leaving_bytes < need);
		flush_locked(d);
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
	r = e->ahead_only ? dax_space_get_locked(d, e->shift, &e->at) : make_room_locked(d, e);
	(void)pthread_mutex_unlock(&d->lock);
	if (r == 0)
		r = dax_extent_run(e);
	else
		dax_extent_fail(e);
	(void)pthread_mutex_lock(&d->lock);
	d->njobs--;
	(void)pthread_cond_broadcast(&d->flushed);
	if (r == 0)
		dax_policy_swapped_locked(d, d->clock_ns() - begin);
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
		else if (d->nleaving >= LEAVE_ENOUGH || d->want_leave || d->ngarbage >= 64 ||
			 (d->stop && (d->leaving || d->garbage)))
			flush_locked(d);
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
	struct extent *e;

	(void)pthread_mutex_lock(&d->lock);
	d->stop = true;
	(void)pthread_cond_signal(&d->work);
	(void)pthread_mutex_unlock(&d->lock);
	(void)pthread_join(d->janitor, NULL);
	unmap_batch(d, steal_ptr(d->stuck));
	while ((e = d->stuck)) {
		d->stuck = e->next;
		free(e);
	}
	(void)pthread_cond_destroy(&d->work);
	(void)pthread_cond_destroy(&d->flushed);
}

static void wait_flushed_locked(struct dax *d)
{
	/* The next one to begin takes all that has left by now. */
	uint64_t want = d->flush_begun + 1;

	d->want_leave = true;
	(void)pthread_cond_signal(&d->work);
	waiting_begin();
	while (d->flush_ended < want)
		(void)pthread_cond_wait(&d->flushed, &d->lock);
}

void dax_janitor_flush(struct dax *d)
{
	scoped_lock(&d->lock);
	wait_flushed_locked(d);
}

void dax_settle(struct dax *d)
{
	scoped_lock(&d->lock);
	if (d->stuck)
		wait_flushed_locked(d);
	while (d->leaving || d->njobs || d->flush_ended != d->flush_begun)
		wait_flushed_locked(d);
}
