// SPDX-License-Identifier: MIT
// Misses under pressure: what they count, and when they are enough.

#include "count.h"
#include "ghost.h"
#include "tokens.h"

bool under_pressure(const struct policy *p, const struct policy_window *w)
{
	return (p->age || p->misses_in_age) && w->free < p->window / p->params.pressure_part;
}

/* One miss more in this age. */
static void age(struct policy *p)
{
	if (++p->misses_in_age < p->params.age_misses * (p->window >> p->region_shift))
		return;
	p->misses_in_age = 0;
	p->age++;
	p->floor /= 2;
}

uint32_t count_miss(struct policy *p, uint64_t key)
{
	age(p);
	return ghost_count(ghost_get(p, key));
}

bool affordable(const struct policy *p, const struct policy_window *w, uint32_t count, bool full)
{
	if (count < p->params.admit_min || w->busy)
		return false;
	/* The first few mappings cost little on every host, so those may be owed. */
	if (!full && w->live < p->params.few_maps && tokens_may_owe(p))
		return true;
	return tokens_cover(p);
}

bool hotter(const struct policy *p, uint32_t count, uint64_t heat)
{
	uint64_t asked = (uint64_t)count * POLICY_HEAT_ONE; /* a ghost's count, so it is small */
	uint64_t margin = p->params.margin, sigmas = p->params.sigmas, ahead;

	if (heat == POLICY_NO_HEAT || asked <= margin * heat)
		return false;
	ahead = asked - margin * heat;
	return ahead * ahead > sigmas * sigmas * POLICY_HEAT_ONE * asked;
}

/* Are misses counted now? With free space they are mapped, and with space about to come soon, too. */
static bool counting(const struct policy *p, const struct policy_window *w)
{
	return under_pressure(p, w) && !w->leaving && !w->refusing;
}

/*
 * Examine a region that has been asked for @count times: would policy_place() be worth while? It
 * may search for the coldest extent, so for some examinations after that found none, only what is
 * hotter passes.
 */
static bool examine(struct policy *p, const struct policy_window *w, uint32_t count)
{
	if (!affordable(p, w, count, false))
		return false;
	if (!p->floor_for)
		return true;
	p->floor_for--;
	return hotter(p, count, p->floor);
}

static unsigned int due_slot(uint64_t key)
{
	return key / 16 % POLICY_DUE;
}

bool policy_declines(const struct policy *p, const struct policy_file *f, struct foff off)
{
	return declines(atomic_load_explicit(&p->pressed, memory_order_relaxed),
			off.v == atomic_load_explicit(&f->next_off, memory_order_relaxed));
}

bool policy_due(const struct policy *p, const struct policy_miss *m)
{
	uint64_t key = ghost_key(p, m);

	return m->limit < p->params.small_file ||
	       atomic_load_explicit(&p->due[due_slot(key)], memory_order_relaxed) == key;
}

void policy_log(const struct policy *p, struct policy_log *log, const struct policy_miss *m)
{
	log->key[log->n++] = ghost_key(p, m);
}

bool policy_count_log(struct policy *p, const struct policy_window *w, struct policy_log *log)
{
	unsigned int n = log->n;

	log->n = 0;
	if (!counting(p, w))
		return false;
	for (unsigned int i = 0; i < n; i++) {
		uint64_t key = log->key[i];

		/* The next miss is the one that may be worth more. */
		if (examine(p, w, ghost_count(ghost_get(p, key)) + 1))
			atomic_store_explicit(&p->due[due_slot(key)], key, memory_order_relaxed);
		age(p);
	}
	return true;
}

bool policy_count(struct policy *p, const struct policy_window *w, const struct policy_miss *m)
{
	uint64_t key = ghost_key(p, m);
	_Atomic uint64_t *due = &p->due[due_slot(key)];
	struct ghost *g;

	if (atomic_load_explicit(due, memory_order_relaxed) == key)
		atomic_store_explicit(due, 0, memory_order_relaxed);
	if (m->limit < p->params.small_file || !counting(p, w))
		return false;
	g = ghost_get(p, key);
	if (examine(p, w, g->count + 1u))
		return false;
	(void)ghost_count(g);
	age(p);
	return true;
}

void policy_freed(struct policy *p)
{
	p->floor_for = 0;
}
