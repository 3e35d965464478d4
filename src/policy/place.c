// SPDX-License-Identifier: MIT
// Placements: what a miss leads to.

#include "count.h"
#include "ghost.h"
#include "shape.h"
#include "tokens.h"

#define GROWTH_MIN (64 * KIB) /* less than the smallest block is not worth a mapping */

static const struct placement nothing = { .what = PLACE_NOT };

static bool larger_than(uint64_t limit, unsigned int shift)
{
	return limit > UINT64_C(1) << shift;
}

/* Is there no free block of 2^shift, or no mapping for it? */
static bool full(const struct policy_window *w, unsigned int shift)
{
	return w->live >= w->budget || w->largest < (int)shift;
}

static bool pending(const struct placement *pl, const struct policy_miss *m)
{
	return pl->shift >= m->pending_shift;
}

bool policy_growth_pays(const struct policy *p, const struct policy_miss *m)
{
	uint64_t from, can;

	if (!m->present_shift)
		return true;
	from = align_down(m->off.v, UINT64_C(1) << m->present_shift);
	can = MIN(UINT64_C(1) << m->present_shift, m->limit - from);
	return can >= m->present_len + MAX(m->present_len / p->params.growth_part, GROWTH_MIN);
}

/* The placement before it is known whether there is space. */
static void wish(const struct policy *p, struct policy_file *f, const struct policy_miss *m,
		 bool sequential, struct placement *pl)
{
	unsigned int shift = block_best(p, m->off, m->limit, p->max_shift);

	if (sequential && larger_than(m->limit, p->max_shift)) {
		/* A reader of something large starts small, so that little is wasted if it stops. */
		f->grow_shift = MAX(f->grow_shift, p->region_shift);
		shift = block_best(p, m->off, m->limit, MIN(f->grow_shift, p->max_shift));
		f->grow_shift = MIN(shift + 1, p->max_shift);
		pl->stream = true;
	}
	shape(pl, m, block_cover(m, shift));
}

/* Free space for as much of the wish as there is, but for a region at least. */
static bool place_free(struct policy *p, const struct policy_window *w, const struct policy_miss *m,
		       bool pressed, struct placement *pl)
{
	if (pressed && !tokens_may_owe(p))
		return false;
	if (full(w, pl->shift)) {
		if (full(w, MAX(p->region_shift, m->present_shift)))
			return false;
		shape(pl, m, (unsigned int)w->largest);
	}
	if (pressed)
		tokens_pay(p);
	pl->what = PLACE_NOW;
	return true;
}

/*
 * Do the hits of somebody who reads on from the miss to the end of the block pay for a replacement?
 */
static bool stream_pays(const struct policy *p, const struct policy_miss *m, unsigned int shift)
{
	struct foff from;
	uint64_t rest = block_part(m->off, shift, m->limit, &from) - (m->off.v - from.v);

	return rest / m->len * p->params.hit_gain_ns >= p->params.stream_gain * p->replace_ns;
}

/* Under pressure: what does a sequential reader get in place of another? */
static bool place_stream(struct policy *p, const struct policy_window *w,
			 const struct policy_miss *m, struct placement *pl)
{
	unsigned int shift = p->region_shift, twice = MIN(m->passed_shift + 1, p->max_shift);
	uint64_t off = m->off.v;

	if (w->busy || !tokens_may_owe(p))
		return false;
	while (shift < p->max_shift && !stream_pays(p, m, shift))
		shift++;
	/* What has been read to its end is followed by twice as much, if that begins here. */
	while (m->passed_shift && shift < twice &&
	       align_down(off, UINT64_C(2) << shift) == align_down(off, UINT64_C(1) << shift))
		shift++;
	shift = block_best(p, m->off, m->limit, shift);
	if (shift < p->region_shift || !stream_pays(p, m, shift) || block_cover(m, shift) != shift)
		return false;
	shape(pl, m, shift);
	if (pending(pl, m))
		return false;
	pl->stream = true;
	pl->what = PLACE_LATER;
	tokens_pay(p);
	return true;
}

/* A region, or some together where there is space. */
static void shape_region(const struct policy *p, const struct policy_window *w,
			 const struct policy_miss *m, struct placement *pl)
{
	unsigned int shift = block_best(p, m->off, m->limit, p->region_shift), max;

	if (!full(w, shift)) {
		max = MIN(p->region_shift + (unsigned int)p->params.free_doublings,
			  (unsigned int)w->largest);
		shift = block_best(p, m->off, m->limit, MIN(max, p->max_shift));
	}
	shape(pl, m, block_cover(m, shift));
}

static void admit(struct policy *p, const struct policy_miss *m, struct placement *pl)
{
	tokens_pay(p);
	ghost_forget(p, ghost_key(p, m));
	/* It was wanted that often (pl->hits); without this it would be the next to go. */
	pl->what = PLACE_LATER;
}

static void place_region(struct policy *p, const struct policy_window *w,
			 const struct policy_miss *m, bool sequential, struct placement *pl)
{
	uint64_t region = m->off.v >> p->region_shift;
	bool evict;

	shape_region(p, w, m, pl);
	/* A reader that passes through counts once. */
	if (sequential && (m->off.v - m->len) >> p->region_shift == region)
		return;
	evict = full(w, pl->shift);
	/* Without pressure the file's own count is enough. */
	pl->hits = (uint32_t)p->params.admit_min;
	if (evict || under_pressure(p, w))
		pl->hits = count_miss(p, ghost_key(p, m));
	if (!affordable(p, w, pl->hits, evict) || pending(pl, m))
		return;
	if (evict)
		pl->what = PLACE_IF_HOTTER;
	else
		admit(p, m, pl);
}

void policy_replace(struct policy *p, const struct policy_miss *m, struct placement *pl,
		    uint64_t heat)
{
	if (hotter(p, pl->hits, heat)) {
		admit(p, m, pl);
		return;
	}
	pl->what = PLACE_NOT;
	p->floor = heat;
	p->floor_for = p->params.floor_misses;
}

struct placement policy_place(struct policy *p, struct policy_file *f,
			      const struct policy_window *w, const struct policy_miss *m)
{
	bool sequential = policy_sequential(p, f), pressed = under_pressure(p, w), now;
	struct placement pl = nothing;

	if (m->limit < p->params.small_file && ++f->misses <= p->params.small_file_misses)
		return pl;
	wish(p, f, m, sequential, &pl);
	/* What a sequential reader has passed was not wanted for its own sake. */
	if (sequential && m->passed_shift)
		pl.passed_hits = (uint32_t)(m->passed_len / m->len);
	if (w->refusing)
		return pl;
	atomic_store_explicit(&p->pressed, pressed, memory_order_relaxed);
	now = larger_than(m->limit, p->region_shift) && !declines(pressed, sequential);
	/* What another is mapping a part of, goes over the virtqueue until that is there. */
	if (now && (pending(&pl, m) || place_free(p, w, m, pressed, &pl)))
		return pl;
	if (w->leaving)
		pl.what = PLACE_UNMAP_FIRST;
	else if (!sequential || !place_stream(p, w, m, &pl))
		place_region(p, w, m, sequential, &pl);
	return pl;
}

struct placement policy_ahead(const struct policy *p, unsigned int prev_shift,
			      const struct policy_miss *m)
{
	struct placement pl = { .what = PLACE_LATER_FREE, .stream = true };
	unsigned int shift;

	if (m->off.v >= m->limit)
		return nothing;
	shift = block_best(p, m->off, m->limit, MIN(prev_shift + 1, p->max_shift));
	shape(&pl, m, block_cover(m, shift));
	if (pending(&pl, m))
		pl.what = PLACE_NOT;
	return pl;
}
