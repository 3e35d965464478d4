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
#define SMALL_FILE_MISSES 2u

#define SEQUENTIAL_AFTER 2u /* accesses that follow each other */

#define ADMIT_MIN 3u /* accesses to a region before it is looked at */

#define TOKEN_PART 16	     /* a virtqueue request earns this part of its time */
#define TOKENS_MAX 16	     /* in swaps that can be saved up */

#define AGE_MISSES 8u /* misses for each region of the window, until all is halved */

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

static void age_locked(struct dax *d)
{
	struct extent *e = d->hand;

	if (++d->misses_in_age < AGE_MISSES * (d->size >> d->region_shift))
		return;
	d->misses_in_age = 0;
	d->age++;
	for (unsigned int i = 0; i < d->clocked; i++, e = e->clock_next) {
		uint32_t hits = atomic_load_explicit(&e->hits, memory_order_relaxed);

		/* relaxed: a hit that is counted meanwhile may be lost */
		atomic_store_explicit(&e->hits, hits / 2, memory_order_relaxed);
	}
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

/* Under pressure: shall the region be mapped in place of another? */
static bool admit_locked(struct dax *d, struct dax_inode *di, struct foff off, size_t len, bool seq)
{
	uint64_t region = off.v >> d->region_shift;
	uint32_t heat, count;

	/* A reader that passes through counts once. */
	if (seq && (off.v - len) >> d->region_shift == region)
		return false;
	age_locked(d);
	count = ghost_count_locked(d, di->nodeid, region);
	if (count < ADMIT_MIN || d->njobs || d->tokens_ns < (int64_t)d->swap_cost_ns)
		return false;
	if (!dax_clock_coldest_locked(d, &heat) || count <= 2 * (uint64_t)heat)
		return false;
	d->tokens_ns -= (int64_t)d->swap_cost_ns;
	ghost_forget_locked(d, di->nodeid, region);
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
	int r;

	if (!eligible_locked(di, limit, write))
		return DAX_NO;
	wish_locked(di, e, off, limit, seq);
	scoped_lock(&d->lock);
	for (;;) {
		r = dax_space_get_locked(d, e->shift, &e->at);
		if (r == 0)
			return DAX_NOW;
		shift = e->shift - 1;
		if (shift < d->region_shift || cover_present(di, off, shift) != shift)
			break;
		shape(e, off, shift, limit);
	}
	if (d->leaving) {
		/* Room is about to come; the next access will see. */
		d->want_leave = true;
		(void)pthread_cond_signal(&d->work);
	} else if (admit_locked(d, di, off, len, seq)) {
		shift = best_shift(d, off, limit, d->region_shift);
		shape(e, off, cover_present(di, off, shift), limit);
		verdict = DAX_LATER;
	}
	return verdict;
}

bool dax_policy_ahead(struct dax_inode *di, const struct extent *prev, struct extent *e,
		      uint64_t limit)
{
	struct foff off = FOFF(prev->from.v + (UINT64_C(1) << prev->shift));
	unsigned int shift;

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
	int64_t max;

	scoped_lock(&d->lock);
	max = (int64_t)(TOKENS_MAX * d->swap_cost_ns);
	d->tokens_ns = MIN(d->tokens_ns + (int64_t)(ns / TOKEN_PART), max);
}
