// SPDX-License-Identifier: MIT
// Accesses: copies through the window, and what a miss leads to.

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/counter.h"
#include "extent.h"
#include "janitor.h"
#include "leaving.h"
#include "pin.h"
#include "space.h"

/* The misses that this thread has yet to count. Lost when the thread ends or uses another window. */
static _Thread_local struct {
	uint64_t serial; /* of the window */
	struct policy_log log;
} miss_log;

/* Has the last access of this thread waited for a mapping? */
static _Thread_local bool has_mapped;

bool dax_has_mapped(void)
{
	return has_mapped;
}

static struct policy_miss miss_at(const struct dax_inode *di, struct foff off, size_t len,
				  uint64_t limit)
{
	return (struct policy_miss){ .node = di->nodeid, .off = off, .len = len, .limit = limit };
}

static struct policy_window window_locked(const struct dax *d)
{
	return (struct policy_window){
		.free = buddy_free_bytes(d->buddy),
		.largest = buddy_largest(d->buddy),
		.live = d->live,
		.budget = d->budget,
		.refusing = dax_extent_all_refused_locked(d),
		.leaving = d->leaving,
		.busy = d->njobs,
	};
}

/* What lies around a miss. */
static void surroundings_locked(const struct dax_inode *di, struct policy_miss *m)
{
	const struct extent *e = dax_extent_around_locked(di, m->off);

	m->present_shift = e ? e->shift : 0;
	m->present_len = e ? e->len : 0;
	m->pending_shift = dax_extent_pending_shift_locked(di, m->off);
}

/* The extent that a sequential reader has passed: it ends where the region around @off begins. */
static struct extent *passed_locked(const struct dax_inode *di, struct foff off)
{
	uint64_t begin = align_down(off.v, UINT64_C(1) << di->dax->policy.region_shift);
	struct extent *e = begin ? index_find(&di->index, FOFF(begin - 1)) : NULL;

	return e && e->stream ? e : NULL;
}

/* relaxed: a hit that is counted meanwhile may be lost */
static void take_hits(struct extent *e, uint32_t n)
{
	uint32_t hits = atomic_load_explicit(&e->hits, memory_order_relaxed);

	atomic_store_explicit(&e->hits, hits - MIN(hits, n), memory_order_relaxed);
}

/* Ask the policy. For PLACE_NOW the block is taken, at *ret_at. Needs inode.lock. */
static struct placement decide_locked(struct dax_inode *di, struct policy_miss *m,
				      struct woff *ret_at)
{
	struct dax *d = di->dax;
	struct extent *passed = NULL;
	struct policy_window w;
	struct placement pl;
	uint64_t heat;

	if (policy_sequential(&d->policy, &di->file))
		passed = passed_locked(di, m->off);
	m->passed_shift = passed ? passed->shift : 0;
	m->passed_len = passed ? passed->len : 0;
	scoped_lock(&d->lock);
	dax_budget_expire_locked(d);
	w = window_locked(d);
	pl = policy_place(&d->policy, &di->file, &w, m);
	if (passed)
		take_hits(passed, pl.passed_hits);
	dax_clock_age_locked(d);
	if (pl.what == PLACE_IF_HOTTER) {
		(void)dax_clock_sweep_locked(d, &heat);
		policy_replace(&d->policy, m, &pl, heat);
	}
	if (pl.what == PLACE_NOW && dax_space_get_locked(d, pl.shift, ret_at) < 0)
		pl.what = PLACE_NOT;
	if (pl.what == PLACE_UNMAP_FIRST)
		dax_leaving_hurry_locked(d);
	return pl;
}

/*
 * What is placed becomes an extent. Returns it when this thread is to map it; NULL: the
 * virtqueue, at least for now. Needs inode.lock.
 */
static struct extent *carry_out_locked(struct dax_inode *di, const struct placement *pl,
				       struct woff at)
{
	struct dax *d = di->dax;
	struct extent *e;

	if (pl->what != PLACE_NOW && pl->what != PLACE_LATER && pl->what != PLACE_LATER_FREE)
		return NULL;
	e = dax_extent_new_locked(di, pl, at);
	if (e && pl->what == PLACE_NOW)
		return e;
	scoped_lock(&d->lock);
	if (e)
		dax_janitor_map_locked(d, e);
	else if (pl->what == PLACE_NOW)
		dax_space_put_locked(d, at, pl->shift);
	return NULL;
}

/* The extent that a miss has made and that this thread is to map, or NULL. */
static struct extent *place(struct dax_inode *di, struct policy_miss *m, bool write)
{
	struct placement pl;
	struct woff at = WOFF(0);

	scoped_lock(&di->share->lock);
	surroundings_locked(di, m);
	if (!policy_growth_pays(&di->dax->policy, m))
		return NULL;
	policy_note(&di->file, m->off, m->len);
	if ((write && atomic_load(&di->no_write)) || dax_extent_refused_locked(di))
		return NULL;
	pl = decide_locked(di, m, &at);
	return carry_out_locked(di, &pl, at);
}

/* An access found nothing: map it now, or have it mapped, or not. True: try again. */
static bool dax_miss(struct dax_inode *di, struct foff off, size_t len, uint64_t limit, bool write)
{
	struct policy_miss m = miss_at(di, off, len, limit);
	struct extent *e;

	if (off.v >= INDEX_MAX_OFFSET)
		return false;
	e = place(di, &m, write);
	has_mapped = e;
	return e && dax_extent_run(e) == 0;
}

bool dax_declines(struct dax_inode *di, struct foff off)
{
	bool mapped;

	if (!policy_declines(&di->dax->policy, &di->file, off))
		return false;
	if (!index_maybe(&di->index, off))
		return true;
	if (pin_begin() < 0)
		return false;
	mapped = index_find(&di->index, off);
	pin_end();
	return !mapped;
}

static bool count_log(struct dax *d)
{
	struct policy_window w;
	bool counted;

	scoped_lock(&d->lock);
	w = window_locked(d);
	counted = policy_count_log(&d->policy, &w, &miss_log.log);
	dax_clock_age_locked(d);
	return counted;
}

bool dax_note_miss(struct dax_inode *di, struct foff off, size_t len, uint64_t limit, bool write)
{
	struct policy_miss m = miss_at(di, off, len, limit);
	struct dax *d = di->dax;

	policy_note(&di->file, off, len);
	/* What may not be mapped for writing is not worth a count. */
	if (write && atomic_load(&di->no_write))
		return true;
	if (policy_due(&d->policy, &m))
		return false;
	if (miss_log.serial != d->serial) {
		miss_log.serial = d->serial;
		miss_log.log.n = 0;
	}
	if (policy_log_full(&miss_log.log) && !count_log(d))
		return false;
	policy_log(&d->policy, &miss_log.log, &m);
	return true;
}

static bool count_miss(struct dax *d, const struct policy_miss *m)
{
	struct policy_window w;
	bool counted;

	scoped_lock(&d->lock);
	w = window_locked(d);
	counted = policy_count(&d->policy, &w, m);
	dax_clock_age_locked(d);
	return counted;
}

void dax_count_miss(struct dax_inode *di, struct foff off, size_t len, uint64_t limit, bool write)
{
	struct policy_miss m = miss_at(di, off, len, limit);

	if (!count_miss(di->dax, &m))
		(void)dax_miss(di, off, len, limit, write);
}

void dax_missed(struct dax *d, uint64_t ns)
{
	policy_earn(&d->policy, ns);
}

/*
 * Half of a stream's extent at @from has been read: what that has saved can be spent. Needs
 * inode.lock.
 */
static void earn_stream_locked(struct dax_inode *di, struct foff from)
{
	const struct extent *e = index_find(&di->index, from);
	struct dax *d = di->dax;

	if (!e)
		return;
	scoped_lock(&d->lock);
	policy_earn_stream(&d->policy, atomic_load_explicit(&e->hits, memory_order_relaxed));
}

/* Have the extent mapped that follows the one at @from, whose block is 2^shift. */
static void map_ahead(struct dax_inode *di, struct foff from, unsigned int shift, uint64_t limit)
{
	struct policy_miss m = miss_at(di, FOFF(from.v + (UINT64_C(1) << shift)), 1, limit);
	struct placement pl;

	scoped_lock(&di->share->lock);
	earn_stream_locked(di, from);
	surroundings_locked(di, &m);
	pl = policy_ahead(&di->dax->policy, shift, &m);
	if (pl.what != PLACE_NOT && !index_find(&di->index, pl.from))
		(void)carry_out_locked(di, &pl, WOFF(0));
}

/* Where the extent that a copy has used lies, when map_ahead() is due. */
struct ahead {
	bool due;
	struct foff from;
	unsigned int shift;
};

/* Count a hit at @off in @e; the first one in the second half of a stream's extent is due. */
static void hit(struct extent *e, struct foff off, struct ahead *ahead)
{
	/* relaxed, and not one operation: a hint that may lose some */
	uint32_t hits = atomic_load_explicit(&e->hits, memory_order_relaxed);

	if (hits < UINT32_MAX / 2)
		atomic_store_explicit(&e->hits, hits + 1, memory_order_relaxed);
	if (e->stream && off.v - e->from.v >= e->len / 2 &&
	    !atomic_load_explicit(&e->ahead, memory_order_relaxed) &&
	    !atomic_exchange(&e->ahead, true))
		*ahead = (struct ahead){ .due = true, .from = e->from, .shift = e->shift };
}

/*
 * Copy as much as one extent shows. Returns the bytes, 0 when nothing is mapped there, or -EFAULT.
 * This is the hit path: no lock, no write to memory that other threads write to, but for the hits.
 */
static ssize_t copy_hit(struct dax_inode *di, struct foff off, char *buf, size_t len,
			uint64_t limit, bool write)
{
	struct ahead ahead = { .due = false };
	struct extent *e;
	ssize_t r = 0;
	size_t here;
	char *win;

	if (pin_begin() < 0)
		return 0;
	e = index_find(&di->index, off);
	if (e && (e->writable || !write)) {
		here = MIN(len, e->from.v + e->len - off.v);
		win = di->dax->addr + e->at.v + (off.v - e->from.v);
		r = write ? copy_window(&di->dax->copy, COPY_TO_WINDOW, win, buf, here)
			  : copy_window(&di->dax->copy, COPY_FROM_WINDOW, buf, win, here);
		if (r == 0)
			r = (ssize_t)here;
		hit(e, off, &ahead);
	}
	pin_end();
	if (ahead.due)
		map_ahead(di, ahead.from, ahead.shift, limit);
	return r;
}

static int dax_copy(struct dax_inode *di, struct foff off, char *buf, size_t len, uint64_t limit,
		    bool write)
{
	has_mapped = false;
	while (len) {
		ssize_t n = copy_hit(di, off, buf, len, limit, write);

		if (n < 0) {
			counter_add(COUNTER_dax_faults, 1);
			return -EAGAIN;
		}
		if (n == 0 && !dax_miss(di, off, len, limit, write))
			return -EAGAIN;
		off.v += (uint64_t)n;
		buf += n;
		len -= (size_t)n;
	}
	return 0;
}

int dax_read(struct dax_inode *di, struct foff off, void *buf, size_t len, uint64_t limit)
{
	int r = dax_copy(di, off, buf, len, limit, false);

	if (r == 0) {
		counter_add(COUNTER_dax_reads, 1);
		counter_add(COUNTER_dax_read_bytes, len);
	}
	return r;
}

int dax_write(struct dax_inode *di, struct foff off, const void *buf, size_t len, uint64_t limit)
{
	/* dax_copy() only reads from @buf when it writes. */
	int r = dax_copy(di, off, (char *)(uintptr_t)buf, len, limit, true);

	if (r == 0) {
		counter_add(COUNTER_dax_writes, 1);
		counter_add(COUNTER_dax_write_bytes, len);
	}
	return r;
}
