// SPDX-License-Identifier: MIT
// Ghosts: how often regions that are not mapped were asked for.

#include "ghost.h"

uint64_t ghost_key(const struct policy *p, const struct policy_miss *m)
{
	uint64_t region = m->off.v >> p->region_shift;

	return (m->node * UINT64_C(0x9e3779b97f4a7c15) ^ region) * UINT64_C(0xbf58476d1ce4e5b9);
}

/* The places where a region's ghost may stand. */
static struct ghost *ghost_set(struct policy *p, uint64_t key)
{
	return &p->ghost[(key >> 32) % (POLICY_GHOSTS / POLICY_GHOST_SET) * POLICY_GHOST_SET];
}

struct ghost *ghost_get(struct policy *p, uint64_t key)
{
	struct ghost *set = ghost_set(p, key), *g = NULL, *low = set;

	/* Mostly it is there, and of this age. */
	for (unsigned int i = 0; i < POLICY_GHOST_SET; i++)
		if (set[i].tag == (uint32_t)key && set[i].age == (uint16_t)p->age && set[i].count)
			return &set[i];
	for (unsigned int i = 0; i < POLICY_GHOST_SET; i++) {
		struct ghost *c = &set[i];
		uint16_t old = (uint16_t)(p->age - c->age);

		c->count = old < 16 ? (uint16_t)(c->count >> old) : 0;
		c->age = (uint16_t)p->age;
		if (c->count && c->tag == (uint32_t)key)
			g = c;
		if (c->count < low->count)
			low = c;
	}
	if (!g) {
		g = low;
		*g = (struct ghost){ .tag = (uint32_t)key, .age = (uint16_t)p->age };
	}
	return g;
}

uint32_t ghost_count(struct ghost *g)
{
	g->count = (uint16_t)MIN(g->count + 1, UINT16_MAX);
	return g->count;
}

void ghost_forget(struct policy *p, uint64_t key)
{
	struct ghost *set = ghost_set(p, key);

	for (unsigned int i = 0; i < POLICY_GHOST_SET; i++)
		if (set[i].tag == (uint32_t)key)
			set[i].count = 0;
}
