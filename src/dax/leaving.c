// SPDX-License-Identifier: MIT
// What has left the index: extents that are to be unmapped, and replaced memory of the index.

#include <stdlib.h>

#include "base/cleanup.h"
#include "base/counter.h"
#include "base/log.h"
#include "base/waiting.h"
#include "leaving.h"
#include "pin.h"
#include "space.h"

#define LEAVE_BATCH    64u
#define LEAVE_ENOUGH   16u /* leaving extents that are worth a request by themselves */
#define GARBAGE_ENOUGH 64u /* pieces of replaced memory that are worth a grace period */

void dax_leaving_add_locked(struct dax *d, struct extent *e)
{
	e->next = d->leaving;
	d->leaving = e;
	d->nleaving++;
	d->leaving_bytes += UINT64_C(1) << e->shift;
	/* The first starts the janitor's wait for more, the last ends it. */
	if (d->nleaving == 1 || d->nleaving == LEAVE_ENOUGH)
		(void)pthread_cond_signal(&d->work);
}

void dax_leaving_garbage(struct dax *d, struct index_garbage *list)
{
	struct index_garbage *last = list;

	if (!list)
		return;
	while (last->next)
		last = last->next;
	scoped_lock(&d->lock);
	last->next = d->garbage;
	d->garbage = list;
	if (++d->ngarbage == GARBAGE_ENOUGH)
		(void)pthread_cond_signal(&d->work);
}

void dax_leaving_hurry_locked(struct dax *d)
{
	d->want_leave = true;
	(void)pthread_cond_signal(&d->work);
}

bool dax_leaving_due_locked(const struct dax *d)
{
	return d->nleaving >= LEAVE_ENOUGH || d->want_leave || d->ngarbage >= GARBAGE_ENOUGH;
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
		struct extent *removed = NULL, *stuck = NULL, *e;
		unsigned int n = 0;
		bool all;

		for (e = list; e && n < LEAVE_BATCH; e = e->next)
			n++;
		all = unmap_some(d, list, n);
		for (; n; n--) {
			struct extent **to;

			e = list;
			list = e->next;
			/* Which one was it? To remove one again is no error. */
			to = all || unmap_some(d, e, 1) ? &removed : &stuck;
			e->next = *to;
			*to = e;
		}
		scoped_lock(&d->lock);
		while ((e = removed)) {
			removed = e->next;
			dax_space_put_locked(d, e->at, e->shift);
			free(e);
		}
		while ((e = stuck)) {
			stuck = e->next;
			e->next = d->stuck;
			d->stuck = e;
		}
	}
}

void dax_leaving_flush_locked(struct dax *d)
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

void dax_leaving_end(struct dax *d)
{
	struct extent *e;

	unmap_batch(d, steal_ptr(d->stuck));
	while ((e = d->stuck)) {
		d->stuck = e->next;
		free(e);
	}
}

void dax_leaving_wait_locked(struct dax *d)
{
	/* The next flush to begin takes all that has left by now. */
	uint64_t want = d->flush_begun + 1;

	dax_leaving_hurry_locked(d);
	waiting_begin();
	while (d->flush_ended < want)
		(void)pthread_cond_wait(&d->flushed, &d->lock);
}

void dax_leaving_wait(struct dax *d)
{
	scoped_lock(&d->lock);
	dax_leaving_wait_locked(d);
}
