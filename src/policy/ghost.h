/* SPDX-License-Identifier: MIT */
/* Ghosts: how often regions that are not mapped were asked for. */
#pragma once

#include "policy/policy.h"

/* ghost_key() - of the region around the miss. */
uint64_t ghost_key(const struct policy *p, const struct policy_miss *m);

/* ghost_get() - the ghost of @key, a new one in place of one that counts little if need be. */
struct ghost *ghost_get(struct policy *p, uint64_t key);

/* ghost_count() - one miss more; returns how many there are. */
uint32_t ghost_count(struct ghost *g);

/* ghost_forget() - the region is mapped. */
void ghost_forget(struct policy *p, uint64_t key);
