/* SPDX-License-Identifier: MIT */
/* Blocks of the window, the budget of mappings, and the clock. All functions need dax.lock. */
#pragma once

#include "dax_priv.h"

/* dax_space_get_locked() - a block of 2^shift and a mapping of the budget; 0 or -ENOSPC. */
int dax_space_get_locked(struct dax *d, unsigned int shift, struct woff *ret);
void dax_space_put_locked(struct dax *d, struct woff at, unsigned int shift);

/* dax_budget_learn_locked() - the host has refused a mapping, which is still counted as live. */
void dax_budget_learn_locked(struct dax *d);
/* dax_budget_expire_locked() - forget a limit that is met and was learnt too long ago. */
void dax_budget_expire_locked(struct dax *d);

void dax_clock_add_locked(struct dax *d, struct extent *e);
/* dax_clock_del_locked() - false: it was not in the clock. */
bool dax_clock_del_locked(struct dax *d, struct extent *e);
/* dax_clock_age_locked() - halve the hits of all when the policy has halved its counts. */
void dax_clock_age_locked(struct dax *d);
/*
 * dax_clock_sweep_locked() - move the hand over some extents; returns the one with the least heat,
 * which stays in the clock, or NULL (and POLICY_NO_HEAT) when there are none.
 */
struct extent *dax_clock_sweep_locked(struct dax *d, uint64_t *ret_heat);
