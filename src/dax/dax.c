// SPDX-License-Identifier: MIT
// The window as a whole, and the making and ending of extents.

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/counter.h"
#include "base/guard.h"
#include "base/log.h"
#include "base/time.h"
#include "dax_priv.h"

#define MIN_SHIFT     16u /* 64 KiB */
#define MAX_SHIFT     25u /* 32 MiB */
#define WINDOW_SHARES 8u  /* the largest extent is at most this part of the window */

/* A file below this is mapped only when it has been asked for some times: one request costs less. */
#define SMALL_FILE	  (256 * KIB)
#define SMALL_FILE_MISSES 4u

#define REFUSED_NS (500 * NSEC_PER_MS)

#define LEAVE_BATCH 64u

int dax_create(const struct dax_params *p, struct dax **ret)
{
	struct dax *d = calloc(1, sizeof(*d));
	unsigned int shift = MIN_SHIFT;

	if (!d)
		return -ENOMEM;
	while (UINT64_C(1) << shift < p->alignment)
		shift++;
	d->min_shift = shift;
	while (shift < MAX_SHIFT && (uint64_t)WINDOW_SHARES << (shift + 1) <= p->size)
		shift++;
	d->max_shift = shift;
	d->addr = p->addr;
	d->size = p->size;
	d->remote = p->remote;
	d->remote_ctx = p->remote_ctx;
	d->budget = UINT_MAX;
	d->buddy = buddy_create(p->size, d->min_shift, MAX(d->min_shift, MAX_SHIFT));
	if (!d->buddy) {
		free(d);
		return -EINVAL;
	}
	(void)pthread_mutex_init(&d->lock, NULL);
	*ret = d;
	return 0;
}

void dax_destroy(struct dax *d)
{
	if (!d)
		return;
	buddy_destroy(d->buddy);
	(void)pthread_mutex_destroy(&d->lock);
	free(d);
}

uint64_t dax_live_maps(struct dax *d)
{
	scoped_lock(&d->lock);
	return d->live;
}

struct dax_inode *dax_inode_create(struct dax *d, uint64_t nodeid)
{
	struct dax_inode *di = calloc(1, sizeof(*di));

	if (!di)
		return NULL;
	di->dax = d;
	di->nodeid = nodeid;
	(void)pthread_mutex_init(&di->lock, NULL);
	(void)pthread_cond_init(&di->changed, NULL);
	return di;
}

void dax_inode_destroy(struct dax_inode *di)
{
	if (!di)
		return;
	dax_drop(di, FOFF(0));
	/* An evictor may still have its hands on an extent that it took out of the clock. */
	(void)pthread_mutex_lock(&di->lock);
	while (di->extents)
		(void)pthread_cond_wait(&di->changed, &di->lock);
	(void)pthread_mutex_unlock(&di->lock);
	free(di->index);
	(void)pthread_mutex_destroy(&di->lock);
	(void)pthread_cond_destroy(&di->changed);
	free(di);
}

static void extent_wait_unpinned(struct extent *e)
{
	struct dax_inode *di = e->inode;

	scoped_lock(&di->lock);
	while (atomic_load(&e->pins))
		(void)pthread_cond_wait(&di->changed, &di->lock);
}

void dax_extent_leave(struct extent **batch, unsigned int n)
{
	struct dax *d = batch[0]->inode->dax;
	struct dax_range ranges[LEAVE_BATCH] = { 0 };
	int r;

	for (unsigned int i = 0; i < n; i++) {
		extent_wait_unpinned(batch[i]);
		ranges[i] = (struct dax_range){ .at = batch[i]->at, .len = batch[i]->len };
	}
	r = d->remote->remove(d->remote_ctx, ranges, n);
	if (r < 0)
		log_dbg("%u mappings could not be removed: error %d", n, -r);
	counter_add(COUNTER_unmaps, n);
	for (unsigned int i = 0; i < n; i++) {
		struct dax_inode *di = batch[i]->inode;

		dax_space_put(d, batch[i]->at, batch[i]->shift);
		free(batch[i]);
		scoped_lock(&di->lock);
		di->leaving--;
		di->extents--;
		(void)pthread_cond_broadcast(&di->changed);
	}
}

/* Take up to LEAVE_BATCH extents behind @from out of the index; those that are being mapped or
 * evicted by others are waited for. */
static unsigned int drop_collect(struct dax_inode *di, struct foff from, struct extent **batch)
{
	unsigned int n = 0;

	scoped_lock(&di->lock);
	for (;;) {
		struct extent *e = dax_index_find_locked(di, from);
		bool wait = !e && di->leaving;

		for (; e && n < LEAVE_BATCH; e = dax_index_find_locked(di, from)) {
			if (e->state != EXTENT_LIVE || !dax_clock_del(di->dax, e)) {
				wait = true;
				break;
			}
			dax_index_remove_locked(di, e);
			e->state = EXTENT_DRAINING;
			di->leaving++;
			batch[n++] = e;
		}
		if (n || !wait)
			return n;
		(void)pthread_cond_wait(&di->changed, &di->lock);
	}
}

void dax_drop(struct dax_inode *di, struct foff from)
{
	struct extent *batch[LEAVE_BATCH];
	unsigned int n;

	while ((n = drop_collect(di, from, batch)))
		dax_extent_leave(batch, n);
}

/* Ask the host for the mapping of a MAPPING extent; once more after making room. */
static int extent_setup(struct dax *d, struct extent *e)
{
	int r = -ENOSPC;

	for (unsigned int i = 0; i < 2; i++) {
		r = dax_space_get(d, e->shift, &e->at);
		if (r < 0)
			return r;
		r = d->remote->setup(d->remote_ctx, e->inode->nodeid, e->from, e->len, e->at,
				     e->writable);
		if (r == 0) {
			counter_add(COUNTER_maps, 1);
			return 0;
		}
		counter_add(COUNTER_map_refusals, 1);
		if (r == -ENOSPC || r == -ENOMEM)
			dax_budget_learn(d);
		dax_space_put(d, e->at, e->shift);
		if (r != -ENOSPC && r != -ENOMEM)
			return r;
	}
	return r;
}

/* How an extent around @off should be: the block of the file, cut to what the file has. */
static void extent_shape(const struct dax *d, struct extent *e, struct foff off, uint64_t limit)
{
	uint64_t block = UINT64_C(1) << d->max_shift;

	e->from = FOFF(align_down(off.v, block));
	e->len = MIN(block, limit - e->from.v);
	e->shift = d->max_shift;
	while (e->shift > d->min_shift && UINT64_C(1) << (e->shift - 1) >= e->len)
		e->shift--;
}

/* Is it worth while to ask the host now? */
static bool map_admitted_locked(struct dax_inode *di, uint64_t limit, bool write)
{
	if (write && di->no_write)
		return false;
	if (di->refused_until) {
		if (time_now_ns() < di->refused_until)
			return false;
		di->refused_until = 0;
	}
	return limit >= SMALL_FILE || ++di->misses > SMALL_FILE_MISSES;
}

/* Map what is around @off. Called and returns with inode.lock held; 0: look again. */
static int extent_map_locked(struct dax_inode *di, struct foff off, uint64_t limit, bool write)
{
	struct extent *e = calloc(1, sizeof(*e));
	int r;

	if (!e)
		return -ENOMEM;
	e->inode = di;
	e->state = EXTENT_MAPPING;
	e->writable = write;
	extent_shape(di->dax, e, off, limit);
	r = dax_index_insert_locked(di, e);
	if (r < 0) {
		free(e);
		return r;
	}
	di->extents++;
	(void)pthread_mutex_unlock(&di->lock);
	r = extent_setup(di->dax, e);
	(void)pthread_mutex_lock(&di->lock);
	if (r == 0) {
		e->state = EXTENT_LIVE;
		atomic_store(&e->used, true);
		dax_clock_add(di->dax, e);
	} else {
		log_dbg("node %llu: no mapping at %llu: error %d", (unsigned long long)di->nodeid,
			(unsigned long long)e->from.v, -r);
		dax_index_remove_locked(di, e);
		di->extents--;
		free(e);
		if (write && (r == -EACCES || r == -EPERM || r == -EROFS || r == -ETXTBSY))
			di->no_write = true;
		else
			di->refused_until = time_now_ns() + REFUSED_NS;
	}
	(void)pthread_cond_broadcast(&di->changed);
	return r;
}

/* An extent that is there but does not do: too short for a file that grew, or not writable. */
static int extent_replace_locked(struct dax_inode *di, struct extent *e)
{
	if (!dax_clock_del(di->dax, e)) {
		(void)pthread_cond_wait(&di->changed, &di->lock);
		return 0;
	}
	dax_index_remove_locked(di, e);
	e->state = EXTENT_DRAINING;
	di->leaving++;
	(void)pthread_mutex_unlock(&di->lock);
	dax_extent_leave(&e, 1);
	(void)pthread_mutex_lock(&di->lock);
	return 0;
}

/* An extent in the way of a mapping around @off: the one of the same block, if there is any. */
static struct extent *extent_of_block_locked(struct dax_inode *di, struct foff off)
{
	struct foff block = FOFF(align_down(off.v, UINT64_C(1) << di->dax->max_shift));
	struct extent *e = dax_index_find_locked(di, block);

	return e && e->from.v == block.v ? e : NULL;
}

/* Does a longer mapping pay, or does the file grow page by page? */
static bool growth_pays(const struct dax *d, const struct extent *e, uint64_t limit)
{
	uint64_t block = UINT64_C(1) << d->max_shift;
	uint64_t can = MIN(block, limit - e->from.v);

	return can - e->len >= MAX(e->len / 4, 64 * KIB);
}

/* The pinned extent that shows @off, or NULL. */
static struct extent *extent_pin(struct dax_inode *di, struct foff off, uint64_t limit, bool write)
{
	unsigned int rounds = 8;

	scoped_lock(&di->lock);
	while (rounds--) {
		struct extent *e = extent_of_block_locked(di, off);
		int r = 0;

		if (e && e->state == EXTENT_LIVE && off.v < e->from.v + e->len &&
		    (e->writable || !write)) {
			atomic_fetch_add_explicit(&e->pins, 1, memory_order_relaxed);
			if (!atomic_load_explicit(&e->used, memory_order_relaxed))
				atomic_store_explicit(&e->used, true, memory_order_relaxed);
			return e;
		}
		if (!e && map_admitted_locked(di, limit, write))
			r = extent_map_locked(di, off, limit, write);
		else if (!e)
			r = -EAGAIN;
		else if (e->state != EXTENT_LIVE)
			(void)pthread_cond_wait(&di->changed, &di->lock);
		else if ((write && !e->writable && !di->no_write) ||
			 (off.v >= e->from.v + e->len && growth_pays(di->dax, e, limit)))
			r = extent_replace_locked(di, e);
		else
			r = -EAGAIN;
		if (r < 0)
			return NULL;
	}
	return NULL;
}

static void extent_unpin(struct extent *e)
{
	struct dax_inode *di = e->inode;

	/* Under the lock, because @e may be freed as soon as pins is 0 and it is draining. */
	scoped_lock(&di->lock);
	if (atomic_fetch_sub_explicit(&e->pins, 1, memory_order_release) == 1 &&
	    e->state == EXTENT_DRAINING)
		(void)pthread_cond_broadcast(&di->changed);
}

static int dax_copy(struct dax_inode *di, struct foff off, char *buf, size_t len, uint64_t limit,
		    bool write)
{
	while (len) {
		struct extent *e;
		size_t here;
		char *win;
		int r;

		e = extent_pin(di, off, limit, write);
		if (!e)
			return -EAGAIN;
		here = MIN(len, e->from.v + e->len - off.v);
		win = di->dax->addr + e->at.v + (off.v - e->from.v);
		r = write ? guard_copy(win, buf, here) : guard_copy(buf, win, here);
		extent_unpin(e);
		if (r < 0) {
			counter_add(COUNTER_dax_faults, 1);
			return -EAGAIN;
		}
		off.v += here;
		buf += here;
		len -= here;
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
