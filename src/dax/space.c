// SPDX-License-Identifier: MIT
// Blocks of the window, and which extent gives up its own when there are none.

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/counter.h"
#include "dax_priv.h"

#define EVICT_BATCH 16u

/* The host's refusals teach the budget; below this it is not the number that the host minds. */
#define BUDGET_MIN 4u

void dax_clock_add(struct dax *d, struct extent *e)
{
	scoped_lock(&d->lock);
	if (d->hand) {
		e->next = d->hand;
		e->prev = d->hand->prev;
		e->prev->next = e;
		d->hand->prev = e;
	} else {
		e->next = e->prev = e;
		d->hand = e;
	}
	e->clocked = true;
}

static bool clock_del_locked(struct dax *d, struct extent *e)
{
	if (!e->clocked)
		return false;
	e->clocked = false;
	if (e->next == e) {
		d->hand = NULL;
		return true;
	}
	if (d->hand == e)
		d->hand = e->next;
	e->prev->next = e->next;
	e->next->prev = e->prev;
	return true;
}

bool dax_clock_del(struct dax *d, struct extent *e)
{
	scoped_lock(&d->lock);
	return clock_del_locked(d, e);
}

/* The next extent that is neither pinned nor used since the hand came by; out of the clock. */
static struct extent *clock_victim_locked(struct dax *d)
{
	unsigned int patience = 2 * d->live + 1;

	while (d->hand && patience--) {
		struct extent *e = d->hand;

		d->hand = e->next;
		/* relaxed: a hint; whether it is pinned is decided under inode.lock */
		if (atomic_load_explicit(&e->pins, memory_order_relaxed) ||
		    atomic_exchange_explicit(&e->used, false, memory_order_relaxed))
			continue;
		(void)clock_del_locked(d, e);
		return e;
	}
	return NULL;
}

/* LIVE -> DRAINING, unless somebody pins it now: then back into the clock. */
static bool evict_begin(struct dax *d, struct extent *e)
{
	struct dax_inode *di = e->inode;

	scoped_lock(&di->lock);
	if (atomic_load(&e->pins)) {
		dax_clock_add(d, e);
		(void)pthread_cond_broadcast(&di->changed);
		return false;
	}
	dax_index_remove_locked(di, e);
	e->state = EXTENT_DRAINING;
	di->leaving++;
	return true;
}

/* Evict until @bytes have become free; false when nothing could go. */
static bool evict(struct dax *d, uint64_t bytes)
{
	struct extent *batch[EVICT_BATCH];
	unsigned int n = 0, tries = EVICT_BATCH * 4;
	uint64_t sum = 0;

	while (n < EVICT_BATCH && sum < bytes && tries--) {
		struct extent *e;

		(void)pthread_mutex_lock(&d->lock);
		e = clock_victim_locked(d);
		(void)pthread_mutex_unlock(&d->lock);
		if (!e)
			break;
		if (!evict_begin(d, e))
			continue;
		sum += UINT64_C(1) << e->shift;
		batch[n++] = e;
	}
	if (!n)
		return false;
	counter_add(COUNTER_evictions, n);
	dax_extent_leave(batch, n);
	return true;
}

int dax_space_get(struct dax *d, unsigned int shift, struct woff *ret)
{
	/* Freed neighbours may take some rounds to become one block. */
	for (unsigned int round = 0; round < 64; round++) {
		bool over;
		int r = -ENOSPC;

		(void)pthread_mutex_lock(&d->lock);
		over = d->live >= d->budget;
		if (!over)
			r = buddy_alloc(d->buddy, shift, ret);
		if (r == 0)
			d->live++;
		(void)pthread_mutex_unlock(&d->lock);
		if (r == 0)
			return 0;
		if (!evict(d, over ? 1 : UINT64_C(1) << shift))
			return -ENOSPC;
	}
	return -ENOSPC;
}

void dax_space_put(struct dax *d, struct woff at, unsigned int shift)
{
	scoped_lock(&d->lock);
	buddy_free(d->buddy, at, shift);
	d->live--;
}

void dax_budget_learn(struct dax *d)
{
	scoped_lock(&d->lock);
	/* The mapping that was refused is counted in live. */
	d->budget = MAX(MIN(d->budget, d->live - 1), BUDGET_MIN);
}
