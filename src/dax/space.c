// SPDX-License-Identifier: MIT
// Blocks of the window, the budget of mappings, and which extent is worth least.

#include <errno.h>
#include <limits.h>

#include "base/time.h"
#include "space.h"

/*
 * The host's refusals teach the budget. It is believed for a while, longer each time when it is
 * found again: the host may share its limit with others, or have had a moment without memory.
 */
#define BUDGET_MIN	1u
#define BUDGET_FIRST_NS (100 * NSEC_PER_MS)
#define BUDGET_MAX_NS	(10 * NSEC_PER_SEC)

static unsigned int *live_of_size_locked(struct dax *d, unsigned int shift)
{
	return &d->live_by_size[MIN(shift - DAX_SIZE_FIRST, DAX_SIZES - 1)];
}

int dax_space_get_locked(struct dax *d, unsigned int shift, struct woff *ret)
{
	int r;

	dax_budget_expire_locked(d);
	if (d->live >= d->budget)
		return -ENOSPC;
	r = buddy_alloc(d->buddy, shift, ret);
	if (r == 0) {
		d->live++;
		++*live_of_size_locked(d, shift);
	}
	return r;
}

void dax_space_put_locked(struct dax *d, struct woff at, unsigned int shift)
{
	buddy_free(d->buddy, at, shift);
	policy_freed(&d->policy);
	d->live--;
	--*live_of_size_locked(d, shift);
}

void dax_budget_learn_locked(struct dax *d)
{
	/* The mapping that was refused is counted in live. */
	unsigned int now = MAX(MIN(d->budget, d->live - 1), BUDGET_MIN);

	/* It was forgotten and is found again, or is even less. */
	if (d->budget == UINT_MAX)
		d->budget_for_ns = now <= d->last_budget ? MIN(2 * d->budget_for_ns, BUDGET_MAX_NS)
							 : BUDGET_FIRST_NS;
	d->budget_until = d->clock_ns() + d->budget_for_ns;
	d->budget = d->last_budget = now;
}

void dax_budget_expire_locked(struct dax *d)
{
	if (d->live >= d->budget && d->clock_ns() >= d->budget_until)
		d->budget = UINT_MAX;
}

void dax_clock_add_locked(struct dax *d, struct extent *e)
{
	if (d->hand) {
		e->clock_next = d->hand;
		e->clock_prev = d->hand->clock_prev;
		e->clock_prev->clock_next = e;
		d->hand->clock_prev = e;
	} else {
		e->clock_next = e->clock_prev = e;
		d->hand = e;
	}
	e->clocked = true;
	d->clocked++;
}

bool dax_clock_del_locked(struct dax *d, struct extent *e)
{
	if (!e->clocked)
		return false;
	e->clocked = false;
	d->clocked--;
	if (d->hand == e)
		d->hand = e->clock_next == e ? NULL : e->clock_next;
	e->clock_prev->clock_next = e->clock_next;
	e->clock_next->clock_prev = e->clock_prev;
	return true;
}

/* relaxed: a hit that is counted meanwhile may be lost */
void dax_clock_age_locked(struct dax *d)
{
	struct extent *e = d->hand;

	if (d->age == policy_age(&d->policy))
		return;
	d->age = policy_age(&d->policy);
	for (unsigned int i = 0; i < d->clocked; i++, e = e->clock_next) {
		uint32_t hits = atomic_load_explicit(&e->hits, memory_order_relaxed);

		atomic_store_explicit(&e->hits, hits / 2, memory_order_relaxed);
	}
}

struct extent *dax_clock_sweep_locked(struct dax *d, uint64_t *ret_heat)
{
	uint64_t best_heat = POLICY_NO_HEAT, n = d->policy.params.coldest_of;
	struct extent *best = NULL;

	for (uint64_t i = 0; i < MIN(n, (uint64_t)d->clocked); i++) {
		struct extent *e = d->hand;
		uint32_t hits = atomic_load_explicit(&e->hits, memory_order_relaxed);
		uint64_t heat = policy_heat(&d->policy, e->shift, hits);

		if (heat < best_heat) {
			best = e;
			best_heat = heat;
		}
		d->hand = e->clock_next;
	}
	*ret_heat = best_heat;
	return best;
}
