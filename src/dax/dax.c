// SPDX-License-Identifier: MIT
// The window as a whole, and copies through it.

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/counter.h"
#include "base/time.h"
#include "base/waiting.h"
#include "dax_priv.h"
#include "pin.h"

#define MIN_SHIFT DAX_SIZE_FIRST /* 64 KiB */
#define MAX_SHIFT 30u		 /* 1 GiB */

/* The largest extent is this part of the window, so that a few files can be there at a time. */
#define WINDOW_EXTENTS 4u
/* What is admitted at a time under pressure is this part of it; the host bears some hundreds. */
#define WINDOW_REGIONS	   256u

#define SWAP_COST_FIRST_NS (400 * NSEC_PER_US)

/* The largest power of two that is at most @v, within bounds. */
static unsigned int shift_of(uint64_t v, unsigned int min, unsigned int max)
{
	unsigned int shift = min;

	while (shift < max && UINT64_C(1) << (shift + 1) <= v)
		shift++;
	return shift;
}

/* Sizes of extents, and the allocator of their blocks. */
static int set_alignment(struct dax *d, uint64_t alignment)
{
	unsigned int min_shift = MAX(MIN_SHIFT, shift_of(alignment, 12, 40));
	struct buddy *b = buddy_create(d->size, min_shift, MAX(min_shift, MAX_SHIFT));

	if (!b)
		return -EINVAL;
	buddy_destroy(d->buddy);
	d->buddy = b;
	d->min_shift = min_shift;
	d->max_shift = shift_of(d->size / WINDOW_EXTENTS, min_shift, MAX(min_shift, MAX_SHIFT));
	d->region_shift = shift_of(d->size / WINDOW_REGIONS, min_shift, d->max_shift);
	return 0;
}

int dax_set_alignment(struct dax *d, uint64_t alignment)
{
	scoped_lock(&d->lock);
	if (d->live)
		return -EBUSY;
	return alignment > UINT64_C(1) << d->min_shift ? set_alignment(d, alignment) : 0;
}

int dax_create(const struct dax_params *p, struct dax **ret)
{
	static _Atomic uint64_t serial;
	struct dax *d = aligned_alloc(_Alignof(struct dax), sizeof(*d));
	int r;

	if (!d)
		return -ENOMEM;
	memset(d, 0, sizeof(*d));
	d->addr = p->addr;
	d->size = p->size;
	d->remote = p->remote;
	d->remote_ctx = p->remote_ctx;
	d->clock_ns = p->clock_ns ? p->clock_ns : time_now_ns;
	d->serial = atomic_fetch_add(&serial, 1) + 1;
	d->budget = UINT_MAX;
	d->swap_cost_ns = SWAP_COST_FIRST_NS;
	r = set_alignment(d, p->alignment);
	if (r < 0) {
		free(d);
		return r;
	}
	(void)pthread_mutex_init(&d->lock, NULL);
	for (unsigned int i = 0; i < INODE_SHARES; i++) {
		(void)pthread_mutex_init(&d->share[i].lock, NULL);
		(void)pthread_cond_init(&d->share[i].changed, NULL);
	}
	r = dax_janitor_start(d);
	if (r < 0) {
		buddy_destroy(d->buddy);
		free(d);
		return r;
	}
	*ret = d;
	return 0;
}

void dax_destroy(struct dax *d)
{
	if (!d)
		return;
	dax_janitor_stop(d);
	buddy_destroy(d->buddy);
	(void)pthread_mutex_destroy(&d->lock);
	for (unsigned int i = 0; i < INODE_SHARES; i++) {
		(void)pthread_mutex_destroy(&d->share[i].lock);
		(void)pthread_cond_destroy(&d->share[i].changed);
	}
	free(d);
}

void dax_get_status(struct dax *d, struct dax_status *ret)
{
	int largest;

	scoped_lock(&d->lock);
	largest = buddy_largest(d->buddy);
	*ret = (struct dax_status){
		.window_bytes = d->size,
		.free_bytes = buddy_free_bytes(d->buddy),
		.largest_free = largest < 0 ? 0 : UINT64_C(1) << largest,
		.live = d->live,
		.budget = d->budget == UINT_MAX ? 0 : d->budget,
	};
	for (unsigned int i = 0; i < DAX_SIZES; i++)
		ret->live_by_size[i] = d->live_by_size[i];
}

uint64_t dax_live_maps(struct dax *d)
{
	struct dax_status status;

	dax_get_status(d, &status);
	return status.live;
}

struct dax_inode *dax_inode_create(struct dax *d, uint64_t nodeid)
{
	struct dax_inode *di = calloc(1, sizeof(*di));

	if (!di)
		return NULL;
	di->dax = d;
	di->nodeid = nodeid;
	di->share = &d->share[nodeid % INODE_SHARES];
	di->short_from = UINT64_MAX;
	return di;
}

/* Is something being mapped at or behind @from? It is not wanted any more. */
static bool cancel_pending_locked(struct dax_inode *di, struct foff from)
{
	bool any = false;

	for (struct extent *e = di->pending; e; e = e->next) {
		if (e->from.v + e->len <= from.v)
			continue;
		atomic_store(&e->cancelled, true);
		any = true;
	}
	return any;
}

/* Take all at and behind @from out of the index. */
static void leave_index_locked(struct dax_inode *di, struct foff from)
{
	struct extent *e;

	while ((e = index_next(&di->index, from)))
		dax_extent_leave_locked(di, e);
}

/* Wait until another thread has changed something in the state of @di's extents. */
static void changed_wait_locked(struct dax_inode *di)
{
	waiting_begin();
	(void)pthread_cond_wait(&di->share->changed, &di->share->lock);
}

void dax_drop(struct dax_inode *di, struct foff from)
{
	bool any;

	(void)pthread_mutex_lock(&di->share->lock);
	while (cancel_pending_locked(di, from))
		changed_wait_locked(di);
	leave_index_locked(di, from);
	while (di->held)
		changed_wait_locked(di);
	any = di->ever_mapped;
	(void)pthread_mutex_unlock(&di->share->lock);
	/* Also for what others have taken out and have not unmapped yet. */
	if (any)
		dax_janitor_flush(di->dax);
}

bool dax_mapped(struct dax_inode *di)
{
	scoped_lock(&di->share->lock);
	return di->extents || di->pending;
}

void dax_inode_destroy(struct dax_inode *di)
{
	if (!di)
		return;
	(void)pthread_mutex_lock(&di->share->lock);
	(void)cancel_pending_locked(di, FOFF(0));
	leave_index_locked(di, FOFF(0));
	/* The janitor may have some of them in its hands. */
	while (di->extents)
		changed_wait_locked(di);
	(void)pthread_mutex_unlock(&di->share->lock);
	index_free(&di->index);
	free(di);
}

/* An extent is there but too short: does a longer one pay, or does the file grow page by page? */
static bool growth_pays_locked(const struct dax_inode *di, struct foff off, uint64_t limit)
{
	const struct extent *e = dax_extent_around_locked(di, off);
	uint64_t can;

	if (!e)
		return true;
	can = MIN(UINT64_C(1) << e->shift, limit - e->from.v);
	return can >= e->len + MAX(e->len / 4, 64 * KIB);
}

/* Leave a mapping to the janitor. */
static void pend_job_locked(struct dax_inode *di, struct extent *e)
{
	struct dax *d = di->dax;

	dax_extent_pend_locked(di, e);
	scoped_lock(&d->lock);
	dax_job_add_locked(d, e);
}

/*
 * What the policy has admitted becomes an extent. Returns it when this thread is to map it; NULL:
 * the virtqueue, at least for now.
 */
static struct extent *admit_locked(struct dax_inode *di, const struct extent *wish,
				   enum dax_verdict verdict)
{
	struct dax *d = di->dax;
	struct extent *e = verdict == DAX_NO ? NULL : dax_extent_new(di, wish);

	if (verdict == DAX_NOW && e) {
		dax_extent_pend_locked(di, e);
		return e;
	}
	if (verdict == DAX_NOW) {
		scoped_lock(&d->lock);
		dax_space_put_locked(d, wish);
	}
	if (verdict == DAX_LATER && e)
		pend_job_locked(di, e);
	return NULL;
}

static _Thread_local bool has_mapped;

bool dax_has_mapped(void)
{
	return has_mapped;
}

/* An access found nothing: map it now, or have it mapped, or not. True: look again. */
static bool dax_miss(struct dax_inode *di, struct foff off, size_t len, uint64_t limit, bool write)
{
	struct extent wish = { 0 }, *e = NULL;

	if (off.v >= INDEX_MAX_OFFSET)
		return false;
	(void)pthread_mutex_lock(&di->share->lock);
	if (growth_pays_locked(di, off, limit))
		e = admit_locked(di, &wish, dax_policy_miss(di, &wish, off, len, limit, write));
	(void)pthread_mutex_unlock(&di->share->lock);
	has_mapped = e;
	return e && dax_extent_run(e) == 0;
}

bool dax_declines(struct dax_inode *di, struct foff off)
{
	bool mapped;

	/* relaxed: hints. A sequential reader may get the space of blocks that it has read. */
	if (!atomic_load_explicit(&di->dax->pressed, memory_order_relaxed) ||
	    off.v == atomic_load_explicit(&di->next_off, memory_order_relaxed))
		return false;
	if (!index_maybe(&di->index, off))
		return true;
	if (pin_begin() < 0)
		return false;
	mapped = index_find(&di->index, off);
	pin_end();
	return !mapped;
}

bool dax_note_miss(struct dax_inode *di, struct foff off, size_t len, uint64_t limit, bool write)
{
	return dax_policy_note(di, off, len, limit, write);
}

void dax_count_miss(struct dax_inode *di, struct foff off, size_t len, uint64_t limit, bool write)
{
	if (!dax_policy_count(di, off, limit, write))
		(void)dax_miss(di, off, len, limit, write);
}

/* A sequential reader comes to the end of an extent: have the next one mapped meanwhile. */
static void dax_ahead(struct dax_inode *di, const struct extent *prev, uint64_t limit)
{
	struct extent wish = { .ahead_only = true };

	scoped_lock(&di->share->lock);
	if (dax_policy_ahead(di, prev, &wish, limit) && !index_find(&di->index, wish.from) &&
	    !dax_extent_pending_locked(di, &wish))
		(void)admit_locked(di, &wish, DAX_LATER);
}

/*
 * Copy as much as one extent shows. Returns the bytes, 0 when nothing is mapped there, or -EFAULT.
 * This is the hit path: no lock, no write to memory that other threads write to, but for the hits.
 */
static ssize_t copy_hit(struct dax_inode *di, struct foff off, char *buf, size_t len,
			uint64_t limit, bool write)
{
	struct extent *e, prev;
	bool ahead = false;
	uint32_t hits;
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
		/* relaxed, and not one operation: a hint that may lose some */
		hits = atomic_load_explicit(&e->hits, memory_order_relaxed);
		if (hits < UINT32_MAX / 2)
			atomic_store_explicit(&e->hits, hits + 1, memory_order_relaxed);
		if (e->stream && off.v - e->from.v >= e->len / 2 &&
		    !atomic_load_explicit(&e->ahead, memory_order_relaxed) &&
		    !atomic_exchange(&e->ahead, true)) {
			ahead = true;
			prev = (struct extent){ .from = e->from, .shift = e->shift };
		}
	}
	pin_end();
	if (ahead)
		dax_ahead(di, &prev, limit);
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
