/* SPDX-License-Identifier: MIT */
/* Misses under pressure: what they count, and when they are enough. */
#pragma once

#include "policy/policy.h"

/*
 * under_pressure() - has the window been full? Then space is what another gave up, and not for
 * free.
 */
bool under_pressure(const struct policy *p, const struct policy_window *w);

/* declines() - under pressure only a sequential reader may be given free space at once. */
static inline bool declines(bool pressed, bool sequential)
{
	return pressed && !sequential;
}

/* count_miss() - a miss of the region of @key; returns how many there are. May begin a new age. */
uint32_t count_miss(struct policy *p, uint64_t key);

/*
 * affordable() - may a region that was asked for @count times be mapped now, as far as the
 * background work and the tokens go? @full: in place of another.
 */
bool affordable(const struct policy *p, const struct policy_window *w, uint32_t count, bool full);

/*
 * hotter() - is what was asked for @count times hotter than an extent of this @heat, and not by
 * chance?
 */
bool hotter(const struct policy *p, uint32_t count, uint64_t heat);
