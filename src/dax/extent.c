// SPDX-License-Identifier: MIT
// The life of an extent: asked for, live, leaving.

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/counter.h"
#include "base/log.h"
#include "base/time.h"
#include "extent.h"
#include "leaving.h"
#include "space.h"

/*
 * A file whose mapping was refused is left alone for a moment, twice as long with each refusal
 * until one is granted. The refusal may have been the range's (behind an end of file that we do not
 * know of yet) or the host's (no memory just now), so the file's other ranges must not suffer for
 * long. It may as well be the file's, for ever, and then the time must grow: asking costs a round
 * trip, 10 to 100 us, each time. So a file that is never granted costs two requests a second in the
 * end, and one refusal among many grants keeps its file out of the window for a millisecond. The
 * same for all files together, after so many in a row that it is not the file.
 *
 * EOPNOTSUPP is final for the file, as long as it has an entry here: it lies on a file system that
 * the host does not map.
 */
#define REFUSED_FIRST_NS   (1 * NSEC_PER_MS)
#define REFUSED_DOUBLINGS  9u
#define REFUSED_EVERYTHING 16u
#define REFUSED_FOR_GOOD   UINT64_MAX

static uint64_t refused_ns(unsigned int refusals)
{
	return REFUSED_FIRST_NS << MIN(refusals, REFUSED_DOUBLINGS);
}

bool dax_extent_refused_locked(const struct dax_inode *di)
{
	return di->refused_until && di->dax->clock_ns() < di->refused_until;
}

bool dax_extent_all_refused_locked(const struct dax *d)
{
	return d->refusals >= REFUSED_EVERYTHING && d->clock_ns() < d->refused_until;
}

struct extent *dax_extent_new_locked(struct dax_inode *di, const struct placement *pl,
				     struct woff at)
{
	struct extent *e = malloc(sizeof(*e));

	if (!e)
		return NULL;
	*e = (struct extent){ .inode = di,
			      .from = pl->from,
			      .len = pl->len,
			      .at = at,
			      .shift = pl->shift,
			      .stream = pl->stream,
			      .free_only = pl->what == PLACE_LATER_FREE,
			      .hits = pl->hits,
			      .state = EXTENT_PENDING,
			      .next = di->pending };
	di->pending = e;
	di->extents++;
	di->ever_mapped = true;
	return e;
}

unsigned int dax_extent_pending_shift_locked(const struct dax_inode *di, struct foff off)
{
	unsigned int shift = POLICY_NOT_PENDING;

	/* Two blocks overlap when one contains the other. */
	for (const struct extent *p = di->pending; p; p = p->next) {
		uint64_t apart = (off.v ^ p->from.v) >> p->shift;
		unsigned int bits = apart ? 64 - (unsigned int)__builtin_clzll(apart) : 0;

		shift = MIN(shift, apart ? p->shift + bits : 0);
	}
	return shift;
}

struct extent *dax_extent_around_locked(const struct dax_inode *di, struct foff off)
{
	struct extent *shown = index_find(&di->index, off);

	if (shown || off.v < di->short_from)
		return shown;
	/* A block begins at one of the alignments of what lies in it. */
	for (unsigned int s = di->dax->policy.min_shift; s <= di->dax->policy.max_shift; s++) {
		struct foff from = FOFF(align_down(off.v, UINT64_C(1) << s));
		struct extent *e = index_find(&di->index, from);

		if (e && e->shift == s && e->from.v == from.v)
			return e;
	}
	return NULL;
}

static void unpend_locked(struct dax_inode *di, struct extent *e)
{
	struct extent **p = &di->pending;

	while (*p != e)
		p = &(*p)->next;
	*p = e->next;
	e->next = NULL;
}

/* An extent counts no more for its inode, which may be destroyed once the lock is free. */
static void uncount_locked(struct dax_inode *di)
{
	di->extents--;
	(void)pthread_cond_broadcast(&di->share->changed);
}

/*
 * The file may be writable or not; what the host grants is remembered. ENODATA: there is a hole,
 * and a write might find no room for it, which only a request can tell; reading may go.
 */
static int ask_host(struct extent *e)
{
	struct dax_inode *di = e->inode;
	struct dax *d = di->dax;
	int r = -EACCES;

	e->writable = !atomic_load(&di->no_write);
	if (e->writable)
		r = d->remote->setup(d->remote_ctx, di->nodeid, e->from, e->len, e->at, true);
	if (r == -EACCES || r == -EPERM || r == -EROFS || r == -ETXTBSY || r == -ENODATA) {
		atomic_store(&di->no_write, true);
		e->writable = false;
		r = d->remote->setup(d->remote_ctx, di->nodeid, e->from, e->len, e->at, false);
	}
	counter_add(r == 0 ? COUNTER_maps : COUNTER_map_refusals, 1);
	return r;
}

/* PENDING -> LIVE; what lies in its block leaves. */
static int go_live_locked(struct dax_inode *di, struct extent *e)
{
	uint64_t end = e->from.v + (UINT64_C(1) << e->shift);
	struct index_garbage *garbage = NULL;
	struct extent *old, *olds = NULL;
	int r;

	for (old = index_next(&di->index, e->from); old && old->from.v < end;
	     old = index_next(&di->index, FOFF(old->from.v + old->len))) {
		old->next = olds;
		olds = old;
	}
	r = index_replace(&di->index, e, &garbage);
	if (r == 0) {
		e->state = EXTENT_LIVE;
		if (e->from.v + e->len < end)
			di->short_from = MIN(di->short_from, e->from.v);
		di->refusals = 0;
		(void)pthread_mutex_lock(&di->dax->lock);
		di->dax->refusals = 0;
		dax_clock_add_locked(di->dax, e);
		(void)pthread_mutex_unlock(&di->dax->lock);
		while ((old = olds)) {
			olds = old->next;
			dax_extent_leave_locked(di, old);
		}
	}
	dax_leaving_garbage(di->dax, garbage);
	return r;
}

static void refused_locked(struct dax_inode *di, const struct extent *e, int error)
{
	struct dax *d = di->dax;

	if (error == -ECANCELED) {
		scoped_lock(&d->lock);
		dax_space_put_locked(d, e->at, e->shift);
		return;
	}
	log_dbg("node %llu: no mapping of %llu at %llu: error %d", (unsigned long long)di->nodeid,
		(unsigned long long)e->len, (unsigned long long)e->from.v, -error);
	di->refused_until =
		error == -EOPNOTSUPP ? REFUSED_FOR_GOOD : d->clock_ns() + refused_ns(di->refusals);
	di->refusals = MIN(di->refusals + 1, REFUSED_DOUBLINGS);
	scoped_lock(&d->lock);
	if (++d->refusals >= REFUSED_EVERYTHING)
		d->refused_until = d->clock_ns() + refused_ns(d->refusals - REFUSED_EVERYTHING);
	if (error == -ENOSPC || error == -ENOMEM)
		dax_budget_learn_locked(d);
	dax_space_put_locked(d, e->at, e->shift);
}

int dax_extent_run(struct extent *e)
{
	struct dax_inode *di = e->inode;
	struct dax *d = di->dax;
	int r = atomic_load(&e->cancelled) ? -ECANCELED : ask_host(e);
	bool mapped = r == 0;

	scoped_lock(&di->share->lock);
	unpend_locked(di, e);
	if (mapped)
		r = atomic_load(&e->cancelled) ? -ECANCELED : go_live_locked(di, e);
	if (r == 0) {
		(void)pthread_cond_broadcast(&di->share->changed);
		return 0;
	}
	if (mapped) {
		e->state = EXTENT_LEAVING;
		(void)pthread_mutex_lock(&d->lock);
		dax_leaving_add_locked(d, e);
		(void)pthread_mutex_unlock(&d->lock);
	} else {
		refused_locked(di, e, r);
		free(e);
	}
	uncount_locked(di);
	return r;
}

void dax_extent_fail(struct extent *e)
{
	struct dax_inode *di = e->inode;

	scoped_lock(&di->share->lock);
	unpend_locked(di, e);
	free(e);
	uncount_locked(di);
}

void dax_extent_leave_locked(struct dax_inode *di, struct extent *e)
{
	struct dax *d = di->dax;
	bool ours;

	index_remove(&di->index, e);
	e->state = EXTENT_LEAVING;
	(void)pthread_mutex_lock(&d->lock);
	ours = dax_clock_del_locked(d, e);
	if (ours)
		dax_leaving_add_locked(d, e);
	(void)pthread_mutex_unlock(&d->lock);
	/* Otherwise an evictor holds it, and ends in dax_extent_evict() what was begun here. */
	if (ours)
		uncount_locked(di);
	else
		di->held++;
}

void dax_extent_evict(struct extent *e)
{
	struct dax_inode *di = e->inode;
	struct dax *d = di->dax;

	counter_add(COUNTER_evictions, 1);
	scoped_lock(&di->share->lock);
	if (e->state == EXTENT_LIVE) {
		index_remove(&di->index, e);
		e->state = EXTENT_LEAVING;
	} else {
		di->held--;
	}
	(void)pthread_mutex_lock(&d->lock);
	dax_leaving_add_locked(d, e);
	(void)pthread_mutex_unlock(&d->lock);
	uncount_locked(di);
}
