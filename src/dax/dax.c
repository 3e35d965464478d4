// SPDX-License-Identifier: MIT
// The window as a whole, and what is mapped of an inode.

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/time.h"
#include "base/waiting.h"
#include "extent.h"
#include "janitor.h"
#include "leaving.h"

#define MIN_SHIFT DAX_SIZE_FIRST /* 64 KiB */
#define MAX_SHIFT 30u		 /* 1 GiB */

/* The smallest block that has the host's alignment. */
static unsigned int smallest_shift(uint64_t alignment)
{
	unsigned int shift = MIN_SHIFT;

	while (shift < 40 && UINT64_C(1) << shift < alignment)
		shift++;
	return shift;
}

/* Sizes of extents, and the allocator of their blocks. */
static int set_alignment(struct dax *d, uint64_t alignment)
{
	unsigned int min_shift = smallest_shift(alignment), max_shift = MAX(min_shift, MAX_SHIFT);
	struct buddy *b = buddy_create(d->size, min_shift, max_shift);

	if (!b)
		return -EINVAL;
	buddy_destroy(d->buddy);
	d->buddy = b;
	policy_set_shape(&d->policy, d->size, min_shift, max_shift);
	return 0;
}

int dax_set_alignment(struct dax *d, uint64_t alignment)
{
	scoped_lock(&d->lock);
	if (d->live)
		return -EBUSY;
	return alignment > UINT64_C(1) << d->policy.min_shift ? set_alignment(d, alignment) : 0;
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
	policy_init(&d->policy, p->policy);
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
		dax_leaving_wait(di->dax);
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
	/* The janitor may be mapping or evicting some of them. */
	while (di->extents)
		changed_wait_locked(di);
	(void)pthread_mutex_unlock(&di->share->lock);
	index_free(&di->index);
	free(di);
}
