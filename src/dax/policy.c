// SPDX-License-Identifier: MIT
// What is mapped, how much at a time, and when the virtqueue is the better way.

#include "base/cleanup.h"
#include "base/time.h"
#include "dax_priv.h"

/*
 * Theory of operation
 *
 * While there is room, what is touched is mapped, in pieces as large as the file and the window bear,
 * because the number of mappings is what costs. A file that fits is mapped whole. A sequential reader
 * of a larger one gets extents that double.
 *
 * Under pressure (no block, or no mapping left in the budget) a miss goes over the virtqueue and is
 * counted in a ghost: a small table of regions that were asked for and are not mapped. A region is
 * admitted in place of the coldest of some extents when
 *   1. its ghost counts more than twice the hits which that extent had for a region's worth of it, and
 *   2. there are tokens: every request that goes over the virtqueue earns a fixed part of its time, and
 *      a swap pays what swaps have been measured to cost.
 * The second rule bounds the loss: all swaps together take at most that part of the time which the
 * virtqueue takes anyway, whatever the pattern of access is. The first makes what it buys worth it.
 * Ghosts and hits are halved when a window's worth of misses has come by, so both tell of the same
 * time. A sequential reader counts once for each region that it passes through.
 */
#define SMALL_FILE	  (256 * KIB)
#ifndef SMALL_FILE_MISSES
#define SMALL_FILE_MISSES 2u
#endif

#define SEQUENTIAL_AFTER 2u /* accesses that follow each other */

#ifndef ADMIT_MIN
#define ADMIT_MIN 3u /* accesses to a region before it is looked at */
#endif

#ifndef TOKEN_PART
#define TOKEN_PART 32 /* a virtqueue request earns this part of its time */
#endif
#ifndef EARN_DIV
#define EARN_DIV 2
#endif
#ifndef TOKENS_MAX
#define TOKENS_MAX 16
#endif
// /* in swaps that can be saved up */
#ifndef DEBT_MAX
#define DEBT_MAX   4  /* in swaps that a sequential reader may owe */
#endif

#ifndef MARGIN
#define MARGIN 2u
#endif
#ifdef VK
#define VKC (pressed_locked(d))
#else
#define VKC 0
#endif
#define GAIN_NS 3000u /* a hit saves at least that, wherever it was measured */

#ifndef AGE_MISSES
#define AGE_MISSES 32u /* misses for each region of the window, until all is halved */
#endif

static bool sequential_locked(struct dax_inode *di, struct foff off, size_t len)
{
	if (off.v == di->next_off)
		di->sequential++;
	else
		di->sequential = 0;
	di->next_off = off.v + len;
	return di->sequential >= SEQUENTIAL_AFTER;
}

/* The bytes of the file in the block of 2^shift around @off. */
static uint64_t block_part(struct foff off, unsigned int shift, uint64_t limit, struct foff *from)
{
	*from = FOFF(align_down(off.v, UINT64_C(1) << shift));
	return MIN(UINT64_C(1) << shift, limit - from->v);
}

/* At least seven eighths of a block should be file. */
static bool block_full(struct foff off, unsigned int shift, uint64_t limit)
{
	struct foff from;

	return block_part(off, shift, limit, &from) >= (UINT64_C(7) << shift) / 8;
}

static void shape(struct extent *e, struct foff off, unsigned int shift, uint64_t limit)
{
	e->shift = shift;
	e->len = block_part(off, shift, limit, &e->from);
}

/* The largest block around @off that is mostly file, from the smallest that there is up to @max. */
static unsigned int best_shift(const struct dax *d, struct foff off, uint64_t limit,
			       unsigned int max)
{
	unsigned int shift = max;

	while (shift > d->min_shift && !block_full(off, shift, limit))
		shift--;
	return shift;
}

/*
 * A block must contain or avoid each extent that is there. Blocks are aligned powers of two, so only
 * a larger one that is there already can be in the way: then it is made again.
 */
static unsigned int cover_present(const struct dax_inode *di, struct foff off, unsigned int shift)
{
	for (unsigned int s = di->dax->max_shift; s > shift; s--) {
		struct foff from = FOFF(align_down(off.v, UINT64_C(1) << s));
		const struct extent *e = index_find(&di->index, from);

		if (e && e->shift == s && e->from.v == from.v)
			return s;
	}
	return shift;
}

static void earn_locked(struct dax *d, uint64_t ns)
{
	d->tokens_ns = MIN(d->tokens_ns + (int64_t)ns, (int64_t)(TOKENS_MAX * d->swap_cost_ns));
}

static void age_locked(struct dax *d)
{
	struct extent *e = d->hand;
	uint64_t sum = 0;

	if (++d->misses_in_age < AGE_MISSES * (d->size >> d->region_shift))
		return;
	d->misses_in_age = 0;
	d->age++;
	for (unsigned int i = 0; i < d->clocked; i++, e = e->clock_next) {
		uint32_t hits = atomic_load_explicit(&e->hits, memory_order_relaxed);

		/* relaxed: a hit that is counted meanwhile may be lost */
		atomic_store_explicit(&e->hits, hits / 2, memory_order_relaxed);
		sum += hits - hits / 2;
	}
	/* Half of what is left each time: in the end each hit has earned once. */
	earn_locked(d, sum * GAIN_NS / EARN_DIV);
}

/* Count an access to a region that is not mapped; returns how many there were lately. */
static uint32_t ghost_count_locked(struct dax *d, uint64_t nodeid, uint64_t region)
{
	uint64_t h = (nodeid * UINT64_C(0x9e3779b97f4a7c15) ^ region) *
		     UINT64_C(0xbf58476d1ce4e5b9);
	struct ghost *set = &d->ghost[(h >> 32) % (GHOSTS / 4) * 4], *g = NULL, *low = set;

	for (unsigned int i = 0; i < 4; i++) {
		struct ghost *c = &set[i];

		c->count = d->age - c->age < 32 ? c->count >> (d->age - c->age) : 0;
		c->age = d->age;
		if (c->count && c->nodeid == nodeid && c->region == region)
			g = c;
		if (c->count < low->count)
			low = c;
	}
	if (!g) {
		g = low;
		*g = (struct ghost){ .nodeid = nodeid, .region = region, .age = d->age };
	}
	return ++g->count;
}

static void ghost_forget_locked(struct dax *d, uint64_t nodeid, uint64_t region)
{
	for (unsigned int i = 0; i < GHOSTS; i++)
		if (d->ghost[i].nodeid == nodeid && d->ghost[i].region == region)
			d->ghost[i].count = 0;
}

/* Has the window been full? Then room is what another gave up, and not for free. */
static bool pressed_locked(const struct dax *d)
{
	return (d->age || d->misses_in_age) && buddy_free_bytes(d->buddy) < d->size / 2;
}

static bool may_owe_locked(const struct dax *d)
{
	return !pressed_locked(d) || d->tokens_ns > -(int64_t)(DEBT_MAX * d->swap_cost_ns);
}

/* Shall the region be mapped, if it must be in place of another (@full)? */
static bool pressed_locked(const struct dax *d);
static bool admit_locked(struct dax *d, struct dax_inode *di, struct extent *e, struct foff off,
			 size_t len, bool seq, bool full)
{
	uint64_t region = off.v >> d->region_shift;
	uint32_t heat = 0, count;

	/* A reader that passes through counts once. */
	if (seq && (off.v - len) >> d->region_shift == region)
		return false;
	age_locked(d);
	/* Where there is room, the inode's own count has been enough. */
	count = full || VKC ? ghost_count_locked(d, di->nodeid, region) : ADMIT_MIN;
	if (count < ADMIT_MIN || d->njobs || d->tokens_ns < (int64_t)d->swap_cost_ns)
		return false;
	if (full && (!dax_clock_coldest_locked(d, &heat) || count <= MARGIN * (uint64_t)heat))
		return false;
	d->tokens_ns -= (int64_t)d->swap_cost_ns;
	ghost_forget_locked(d, di->nodeid, region);
	/* It was wanted that often; without this it would be the next to go. */
	atomic_init(&e->hits, count);
	return true;
}

/* Do the hits of somebody who reads on from @off to the end of the block pay for a swap? */
static bool stream_pays(const struct dax *d, struct foff off, size_t len, unsigned int shift,
			uint64_t limit)
{
	struct foff from;
	uint64_t end = block_part(off, shift, limit, &from);

	end += from.v;
	return (end - off.v) / len * GAIN_NS >= 2 * d->swap_cost_ns;
}

/* What a sequential reader has passed was not wanted for its own sake: its hits do not count. */
static void cool_passed_locked(struct dax_inode *di, struct foff off, size_t len)
{
	struct foff begin = FOFF(align_down(off.v, UINT64_C(1) << di->dax->region_shift));
	struct extent *e = begin.v ? index_find(&di->index, FOFF(begin.v - 1)) : NULL;
	uint32_t hits, passed;

	if (!e || !e->stream)
		return;
	/* relaxed: a hit that is counted meanwhile may be lost */
	hits = atomic_load_explicit(&e->hits, memory_order_relaxed);
	passed = (uint32_t)(e->len / len);
	atomic_store_explicit(&e->hits, hits - MIN(hits, passed), memory_order_relaxed);
}

/* Under pressure: the shape of what a sequential reader gets in place of another; or false. */
static bool admit_stream_locked(struct dax *d, struct dax_inode *di, struct extent *e,
				struct foff off, size_t len, uint64_t limit)
{
	struct foff begin = FOFF(align_down(off.v, UINT64_C(1) << d->region_shift));
	const struct extent *prev = begin.v ? index_find(&di->index, FOFF(begin.v - 1)) : NULL;
	unsigned int shift = d->region_shift, best;

	if (d->njobs || !may_owe_locked(d))
		return false;
	while (shift < d->max_shift && !stream_pays(d, off, len, shift, limit))
		shift++;
	/* What has been read to its end is followed by twice as much, if that begins here. */
	while (prev && prev->stream && shift < MIN(prev->shift + 1, d->max_shift) &&
	       align_down(off.v, UINT64_C(2) << shift) == align_down(off.v, UINT64_C(1) << shift))
		shift++;
	best = best_shift(d, off, limit, shift);
	if (best < d->region_shift || !stream_pays(d, off, len, best, limit) ||
	    cover_present(di, off, best) != best)
		return false;
	shape(e, off, best, limit);
	e->stream = true;
	d->tokens_ns -= (int64_t)d->swap_cost_ns;
	return true;
}

/* Is it worth while to ask the host now? */
static bool eligible_locked(struct dax_inode *di, uint64_t limit, bool write)
{
	if (write && atomic_load(&di->no_write))
		return false;
	if (di->refused_until) {
		if (di->dax->clock_ns() < di->refused_until)
			return false;
		di->refused_until = 0;
	}
	return limit >= SMALL_FILE || ++di->misses > SMALL_FILE_MISSES;
}

/* The wish before it is known whether there is room. */
static void wish_locked(struct dax_inode *di, struct extent *e, struct foff off, uint64_t limit,
			bool seq)
{
	const struct dax *d = di->dax;
	unsigned int shift = best_shift(d, off, limit, d->max_shift);

	if (seq && limit > UINT64_C(1) << d->max_shift) {
		/* A reader of something large starts small, so that little is wasted if it stops. */
		di->grow_shift = MAX(di->grow_shift, d->region_shift);
		shift = best_shift(d, off, limit, MIN(di->grow_shift, d->max_shift));
		di->grow_shift = MIN(shift + 1, d->max_shift);
		e->stream = true;
	}
	shape(e, off, cover_present(di, off, shift), limit);
}

enum dax_verdict dax_policy_miss(struct dax_inode *di, struct extent *e, struct foff off, size_t len,
				 uint64_t limit, bool write)
{
	struct dax *d = di->dax;
	bool seq = sequential_locked(di, off, len);
	enum dax_verdict verdict = DAX_NO;
	unsigned int shift;
	bool full;
	int r;

	if (!eligible_locked(di, limit, write))
		return DAX_NO;
	wish_locked(di, e, off, limit, seq);
	if (seq)
		cool_passed_locked(di, off, len);
	scoped_lock(&d->lock);
	if (limit <= UINT64_C(1) << d->region_shift) {
		full = d->live >= d->budget || buddy_largest(d->buddy) < (int)e->shift;
		return admit_locked(d, di, e, off, len, seq, full) ? DAX_LATER : DAX_NO;
	}
#ifdef VK
	if (pressed_locked(d) && !seq) {
		shift = best_shift(d, off, limit, d->region_shift);
		shape(e, off, cover_present(di, off, shift), limit);
		full = d->live >= d->budget || buddy_largest(d->buddy) < (int)e->shift;
#ifdef VR
		if (!full) {
			shift = best_shift(d, off, limit, MIN(d->region_shift + VR, (unsigned)buddy_largest(d->buddy)));
			shape(e, off, cover_present(di, off, shift), limit);
		}
#endif
		return admit_locked(d, di, e, off, len, seq, full) ? DAX_LATER : DAX_NO;
	}
#endif
	for (;;) {
		if (!may_owe_locked(d))
			break;
		r = dax_space_get_locked(d, e->shift, &e->at);
		if (r == 0) {
			if (pressed_locked(d))
				d->tokens_ns -= (int64_t)d->swap_cost_ns;
			return DAX_NOW;
		}
		shift = e->shift - 1;
		if (shift < d->region_shift || cover_present(di, off, shift) != shift)
			break;
		shape(e, off, shift, limit);
	}
	if (d->leaving) {
		/* Room is about to come; the next access will see. */
		d->want_leave = true;
		(void)pthread_cond_signal(&d->work);
	} else if (seq && admit_stream_locked(d, di, e, off, len, limit)) {
		verdict = DAX_LATER;
	} else if (admit_locked(d, di, e, off, len, seq, true)) {
		shift = best_shift(d, off, limit, d->region_shift);
		shape(e, off, cover_present(di, off, shift), limit);
		verdict = DAX_LATER;
	}
	return verdict;
}

/* A sequential reader has come far enough in an extent: what it has saved is there to be spent. */
static void earn_stream_locked(struct dax_inode *di, const struct extent *prev)
{
	const struct extent *e = index_find(&di->index, prev->from);
	struct dax *d = di->dax;
	uint64_t gain;

	if (!e)
		return;
	gain = (uint64_t)atomic_load_explicit(&e->hits, memory_order_relaxed) * GAIN_NS;
	scoped_lock(&d->lock);
	earn_locked(d, MIN(gain, d->swap_cost_ns));
}

bool dax_policy_ahead(struct dax_inode *di, const struct extent *prev, struct extent *e,
		      uint64_t limit)
{
	struct foff off = FOFF(prev->from.v + (UINT64_C(1) << prev->shift));
	unsigned int shift;

	earn_stream_locked(di, prev);
	if (off.v >= limit)
		return false;
	shift = best_shift(di->dax, off, limit, MIN(prev->shift + 1, di->dax->max_shift));
	shape(e, off, cover_present(di, off, shift), limit);
	e->stream = true;
	return true;
}

void dax_policy_swapped_locked(struct dax *d, uint64_t ns)
{
	d->swap_cost_ns = (d->swap_cost_ns * 7 + ns) / 8;
}

void dax_missed(struct dax *d, uint64_t ns)
{
	scoped_lock(&d->lock);
	earn_locked(d, ns / TOKEN_PART);
}
