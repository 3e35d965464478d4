// SPDX-License-Identifier: MIT
// What is mapped, how much at a time, and when the virtqueue is the better way.

#include "base/cleanup.h"
#include "base/time.h"
#include "dax_priv.h"

/*
 * Theory of operation
 *
 * While there is room, what is touched is mapped, in pieces as large as the file and the window
 * bear, because the number of mappings is what costs. A file that fits is mapped whole. A
 * sequential reader of a larger one gets extents that double.
 *
 * Under pressure (the window has been full and is not half empty since) everything must be earned.
 * A miss goes over the virtqueue and is counted in a ghost: a small table of regions that were
 * asked for and are not mapped. A region is admitted by the janitor, in place of the coldest of
 * some extents when there is no room, if
 *   1. its ghost counts MARGIN times the hits which that extent had for a region's worth of it, and
 *      so many more that it is not by chance: where all are asked for alike, a swap gains nothing, and
 *   2. there are tokens: a virtqueue request earns a part of its time, a swap pays what swaps cost.
 *
 * The second rule bounds the loss: all swaps together take at most that part of the time which the
 * virtqueue takes anyway, whatever the pattern of access is. The first makes what it buys worth it.
 * Ghosts and hits are halved when some windows' worth of misses have come by, so both tell of the
 * same time; fewer would let chance decide. A sequential reader counts once for each region that it
 * passes.
 *
 * Most misses are far from being admitted, so they must be cheap. A look that takes no lock declines
 * them (dax_declines()), and each thread writes them down and counts some at a time
 * (dax_policy_note()). A region that is found there to count enough, can be paid, and is hotter
 * than what was too hot a moment ago, is due: its next miss goes the long way.
 *
 * Files of no more than a region pay in the same way even while there is room: each takes a mapping
 * for itself and gives few hits for it. Only the first few may be owed.
 *
 * A sequential reader under pressure gets a block so large that its hits pay for the swap twice, in
 * place of what it has passed, whose hits are taken back for that. It may owe for some such swaps;
 * when it has read half of a block, that block's hits have earned what it cost. Who stops before is
 * served over the virtqueue until the debt is paid.
 *
 * The numbers come from tests/bench/window-sim; doc/window.md has the results.
 */
#define SMALL_FILE	  (256 * KIB)
#define SMALL_FILE_MISSES 8u /* or two or three readings of a few pages would already count */

#define SEQUENTIAL_AFTER  2u /* accesses that follow each other */

#define ADMIT_MIN	  3u /* accesses to a region before it is looked at */
#define MARGIN		  3u /* times as many as the other has hits */
#define SIGMAS		  3u /* standard deviations of a count, its square root, more than that */
#define ROOM		  2u /* doublings of the region where there is room for it */

#define TOKEN_PART	  32 /* a virtqueue request earns this part of its time */
#define TOKENS_MAX	  16 /* in swaps that can be saved up */
#define DEBT_MAX	  4  /* in swaps that may be owed */
#define FEW		  8u /* mappings: none of them is expensive */

#define GAIN_NS		  3000u /* what a hit saves at the least, on any host that was looked at */

#define FLOOR_MISSES	  16u /* misses for which the coldest extent is not looked for again */

#define AGE_MISSES	  32u /* misses for each region of the window, until all is halved */

/* Note an access: does it go on where others have ended? Hints, so relaxed; with or without locks. */
static bool sequential(struct dax_inode *di, struct foff off, size_t len)
{
	if (off.v == atomic_load_explicit(&di->next_off, memory_order_relaxed))
		atomic_fetch_add_explicit(&di->sequential, 1, memory_order_relaxed);
	else
		atomic_store_explicit(&di->sequential, 0, memory_order_relaxed);
	atomic_store_explicit(&di->next_off, off.v + len, memory_order_relaxed);
	return atomic_load_explicit(&di->sequential, memory_order_relaxed) >= SEQUENTIAL_AFTER;
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
 * A block must contain or avoid each extent that is there. Blocks are aligned powers of two, so
 * only a larger one that is there already can be in the way: then it is made again.
 */
static unsigned int cover_present(const struct dax_inode *di, struct foff off, unsigned int shift)
{
	const struct extent *e = dax_extent_around_locked(di, off);

	return e ? MAX(e->shift, shift) : shift;
}

static void age_locked(struct dax *d)
{
	struct extent *e = d->hand;

	if (++d->misses_in_age < AGE_MISSES * (d->size >> d->region_shift))
		return;
	d->misses_in_age = 0;
	d->age++;
	d->floor /= 2;
	for (unsigned int i = 0; i < d->clocked; i++, e = e->clock_next) {
		uint32_t hits = atomic_load_explicit(&e->hits, memory_order_relaxed);

		/* relaxed: a hit that is counted meanwhile may be lost */
		atomic_store_explicit(&e->hits, hits / 2, memory_order_relaxed);
	}
}

/* Of the region around @off. */
static uint64_t ghost_key(const struct dax_inode *di, struct foff off)
{
	uint64_t region = off.v >> di->dax->region_shift;

	return (di->nodeid * UINT64_C(0x9e3779b97f4a7c15) ^ region) * UINT64_C(0xbf58476d1ce4e5b9);
}

/* The GHOST_WAYS places where a region's ghost may stand. */
static struct ghost *ghost_set_locked(struct dax *d, uint64_t key)
{
	return &d->ghost[(key >> 32) % (GHOSTS / GHOST_WAYS) * GHOST_WAYS];
}

/* The ghost of a region that is not mapped, a new one if need be. */
static struct ghost *ghost_locked(struct dax *d, uint64_t key)
{
	struct ghost *set = ghost_set_locked(d, key), *g = NULL, *low = set;

	/* Mostly it is there, and of this time. */
	for (unsigned int i = 0; i < GHOST_WAYS; i++)
		if (set[i].tag == (uint32_t)key && set[i].age == (uint16_t)d->age && set[i].count)
			return &set[i];
	for (unsigned int i = 0; i < GHOST_WAYS; i++) {
		struct ghost *c = &set[i];
		uint16_t old = (uint16_t)(d->age - c->age);

		c->count = old < 16 ? (uint16_t)(c->count >> old) : 0;
		c->age = (uint16_t)d->age;
		if (c->count && c->tag == (uint32_t)key)
			g = c;
		if (c->count < low->count)
			low = c;
	}
	if (!g) {
		g = low;
		*g = (struct ghost){ .tag = (uint32_t)key, .age = (uint16_t)d->age };
	}
	return g;
}

/* One miss more; returns how many there are. */
static uint32_t ghost_count(struct ghost *g)
{
	g->count = (uint16_t)MIN(g->count + 1, UINT16_MAX);
	return g->count;
}

static _Atomic uint64_t *due_of(struct dax *d, uint64_t key)
{
	return &d->due[key / 16 % DUE];
}

static void ghost_forget_locked(struct dax *d, uint64_t key)
{
	struct ghost *set = ghost_set_locked(d, key);

	for (unsigned int i = 0; i < GHOST_WAYS; i++)
		if (set[i].tag == (uint32_t)key)
			set[i].count = 0;
}

static void earn_locked(struct dax *d, uint64_t ns)
{
	d->tokens_ns = MIN(d->tokens_ns + (int64_t)ns, (int64_t)(TOKENS_MAX * d->swap_cost_ns));
}

static void pay_locked(struct dax *d)
{
	d->tokens_ns -= (int64_t)d->swap_cost_ns;
}

/* What there is to spend, after what the requests have earned by now. */
static int64_t tokens_locked(struct dax *d)
{
	/* relaxed: a number that nothing else depends on */
	earn_locked(d, atomic_exchange_explicit(&d->earned_ns, 0, memory_order_relaxed));
	return d->tokens_ns;
}

static bool may_owe_locked(struct dax *d)
{
	return tokens_locked(d) > -(int64_t)(DEBT_MAX * d->swap_cost_ns);
}

/* Has the window been full? Then room is what another gave up, and not for free. */
static bool pressed_locked(const struct dax *d)
{
	return (d->age || d->misses_in_age) && buddy_free_bytes(d->buddy) < d->size / 2;
}

static bool full_locked(struct dax *d, unsigned int shift)
{
	return dax_budget_full_locked(d) || buddy_largest(d->buddy) < (int)shift;
}

/* The first few mappings cost little on every host, so those may be owed. */
static bool can_pay_locked(struct dax *d, bool full)
{
	if (!full && d->live < FEW && may_owe_locked(d))
		return true;
	return tokens_locked(d) >= (int64_t)d->swap_cost_ns;
}

/* May what was asked for @count times be mapped now, as far as the janitor and the tokens go? */
static bool ready_locked(struct dax *d, uint32_t count, bool full)
{
	return count >= ADMIT_MIN && !d->njobs && can_pay_locked(d, full);
}

/* Is what was asked for @count times hotter than an extent of this @heat, and not by chance? */
static bool hotter(uint32_t count, uint64_t heat)
{
	uint64_t asked = (uint64_t)count * HEAT_ONE, ahead; /* a ghost's count, so it is small */

	if (asked <= MARGIN * heat)
		return false;
	ahead = asked - MARGIN * heat;
	return ahead * ahead > SIGMAS * SIGMAS * HEAT_ONE * asked;
}

/* Shall the region be mapped, if it must be in place of another? */
static bool admit_locked(struct dax *d, struct dax_inode *di, struct extent *e, struct foff off,
			 size_t len, bool seq)
{
	uint64_t region = off.v >> d->region_shift, key = ghost_key(di, off);
	bool full = full_locked(d, e->shift);
	uint32_t count = ADMIT_MIN; /* without pressure the inode's own count is enough */
	uint64_t heat;

	/* A reader that passes through counts once. */
	if (seq && (off.v - len) >> d->region_shift == region)
		return false;
	if (full || pressed_locked(d)) {
		age_locked(d);
		count = ghost_count(ghost_locked(d, key));
	}
	if (!ready_locked(d, count, full) || dax_extent_pending_locked(di, e))
		return false;
	if (full && (!dax_clock_coldest_locked(d, &heat) || !hotter(count, heat))) {
		d->floor = heat;
		d->floor_for = FLOOR_MISSES;
		return false;
	}
	pay_locked(d);
	ghost_forget_locked(d, key);
	/* It was wanted that often; without this it would be the next to go. */
	atomic_store_explicit(&e->hits, count, memory_order_relaxed);
	return true;
}

static bool admit_region_locked(struct dax *d, struct dax_inode *di, struct extent *e,
				struct foff off, size_t len, uint64_t limit, bool seq)
{
	unsigned int shift = best_shift(d, off, limit, d->region_shift);

	if (!full_locked(d, shift)) {
		shift = MIN(d->region_shift + ROOM, (unsigned int)buddy_largest(d->buddy));
		shift = best_shift(d, off, limit, MIN(shift, d->max_shift));
	}
	shape(e, off, cover_present(di, off, shift), limit);
	return admit_locked(d, di, e, off, len, seq);
}

/* Do the hits of somebody who reads on from @off to the end of the block pay for a swap? */
static bool stream_pays(const struct dax *d, struct foff off, size_t len, unsigned int shift,
			uint64_t limit)
{
	struct foff from;
	uint64_t rest = block_part(off, shift, limit, &from) - (off.v - from.v);

	return rest / len * GAIN_NS >= 2 * d->swap_cost_ns;
}

/* What ends where the region around @off begins: a sequential reader has just passed it. */
static struct extent *passed(const struct dax_inode *di, struct foff off)
{
	uint64_t begin = align_down(off.v, UINT64_C(1) << di->dax->region_shift);
	struct extent *e = begin ? index_find(&di->index, FOFF(begin - 1)) : NULL;

	return e && e->stream ? e : NULL;
}

/* What a sequential reader has passed was not wanted for its own sake: its hits do not count. */
static void cool_passed_locked(struct dax_inode *di, struct foff off, size_t len)
{
	struct extent *e = passed(di, off);
	uint32_t hits, by_reader;

	if (!e)
		return;
	/* relaxed: a hit that is counted meanwhile may be lost */
	hits = atomic_load_explicit(&e->hits, memory_order_relaxed);
	by_reader = (uint32_t)(e->len / len);
	atomic_store_explicit(&e->hits, hits - MIN(hits, by_reader), memory_order_relaxed);
}

/* Under pressure: what does a sequential reader get in place of another? False: nothing. */
static bool admit_stream_locked(struct dax *d, struct dax_inode *di, struct extent *e,
				struct foff off, size_t len, uint64_t limit)
{
	const struct extent *prev = passed(di, off);
	unsigned int shift = d->region_shift;

	if (d->njobs || !may_owe_locked(d))
		return false;
	while (shift < d->max_shift && !stream_pays(d, off, len, shift, limit))
		shift++;
	/* What has been read to its end is followed by twice as much, if that begins here. */
	while (prev && shift < MIN(prev->shift + 1, d->max_shift) &&
	       align_down(off.v, UINT64_C(2) << shift) == align_down(off.v, UINT64_C(1) << shift))
		shift++;
	shift = best_shift(d, off, limit, shift);
	if (shift < d->region_shift || !stream_pays(d, off, len, shift, limit) ||
	    cover_present(di, off, shift) != shift)
		return false;
	shape(e, off, shift, limit);
	if (dax_extent_pending_locked(di, e))
		return false;
	e->stream = true;
	pay_locked(d);
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

/* Room for as much of the wish as there is, but for a region at least. */
static bool take_room_locked(struct dax *d, const struct dax_inode *di, struct extent *e,
			     struct foff off, uint64_t limit)
{
	bool pressed = pressed_locked(d);
	unsigned int shift;

	if (pressed && !may_owe_locked(d))
		return false;
	while (dax_space_get_locked(d, e->shift, &e->at) < 0) {
		shift = e->shift - 1;
		if (shift < d->region_shift || cover_present(di, off, shift) != shift)
			return false;
		shape(e, off, shift, limit);
	}
	if (pressed)
		pay_locked(d);
	return true;
}

enum dax_verdict dax_policy_miss(struct dax_inode *di, struct extent *e, struct foff off,
				 size_t len, uint64_t limit, bool write)
{
	struct dax *d = di->dax;
	bool seq = sequential(di, off, len);
	enum dax_verdict verdict = DAX_NO;
	bool pressed, room;

	if (!eligible_locked(di, limit, write))
		return DAX_NO;
	wish_locked(di, e, off, limit, seq);
	if (seq)
		cool_passed_locked(di, off, len);
	scoped_lock(&d->lock);
	if (dax_refusing_locked(d))
		return DAX_NO;
	pressed = pressed_locked(d);
	atomic_store_explicit(&d->pressed, pressed, memory_order_relaxed);
	room = limit > UINT64_C(1) << d->region_shift && (seq || !pressed);
	if (room && dax_extent_pending_locked(di, e)) {
		/* Another is at a part of it; until that is there, there is the virtqueue. */
		verdict = DAX_NO;
	} else if (room && take_room_locked(d, di, e, off, limit)) {
		verdict = DAX_NOW;
	} else if (d->leaving) {
		/* Room is about to come; the next access will see. */
		d->want_leave = true;
		(void)pthread_cond_signal(&d->work);
	} else if ((seq && admit_stream_locked(d, di, e, off, len, limit)) ||
		   admit_region_locked(d, di, e, off, len, limit, seq)) {
		verdict = DAX_LATER;
	}
	return verdict;
}

/* Is admit_locked() worth its search for a region that has now been asked for @count times? */
static bool may_admit_locked(struct dax *d, uint32_t count)
{
	if (!ready_locked(d, count, false))
		return false;
	if (!d->floor_for)
		return true;
	d->floor_for--;
	return hotter(count, d->floor);
}

/* Is a miss to be counted in a ghost, or is there more to decide? */
static bool countable(struct dax_inode *di, uint64_t limit, bool write)
{
	return limit >= SMALL_FILE && !(write && atomic_load(&di->no_write));
}

static bool counting_locked(struct dax *d)
{
	return pressed_locked(d) && !d->leaving && !dax_refusing_locked(d);
}

/*
 * Misses that a thread has yet to tell of, by their keys. Its own, so of no lock; what is left in it when
 * the thread ends, or goes to another window, is forgotten.
 */
#define LOG_MISSES 7u

static _Thread_local struct {
	uint64_t serial; /* of the window */
	unsigned int n;
	uint64_t key[LOG_MISSES];
} miss_log;

/* Count what was written down, and note which regions are worth more. False: all are, for now. */
static bool log_count(struct dax *d)
{
	unsigned int n = miss_log.n;

	miss_log.n = 0;
	scoped_lock(&d->lock);
	if (!counting_locked(d))
		return false;
	for (unsigned int i = 0; i < n; i++) {
		uint64_t key = miss_log.key[i];

		if (may_admit_locked(d, ghost_count(ghost_locked(d, key)) + 1))
			atomic_store_explicit(due_of(d, key), key, memory_order_relaxed);
		age_locked(d);
	}
	return true;
}

bool dax_policy_note(struct dax_inode *di, struct foff off, size_t len, uint64_t limit, bool write)
{
	struct dax *d = di->dax;
	uint64_t key = ghost_key(di, off);

	(void)sequential(di, off, len);
	if (!countable(di, limit, write) ||
	    atomic_load_explicit(due_of(d, key), memory_order_relaxed) == key)
		return false;
	if (miss_log.serial != d->serial) {
		miss_log.serial = d->serial;
		miss_log.n = 0;
	}
	if (miss_log.n == LOG_MISSES && !log_count(d))
		return false;
	miss_log.key[miss_log.n++] = key;
	return true;
}

bool dax_policy_count(struct dax_inode *di, struct foff off, uint64_t limit, bool write)
{
	struct dax *d = di->dax;
	uint64_t key = ghost_key(di, off);
	_Atomic uint64_t *due = due_of(d, key);
	struct ghost *g;

	/* relaxed: hints */
	if (atomic_load_explicit(due, memory_order_relaxed) == key)
		atomic_store_explicit(due, 0, memory_order_relaxed);
	if (!countable(di, limit, write))
		return false;
	scoped_lock(&d->lock);
	if (!counting_locked(d))
		return false;
	g = ghost_locked(d, key);
	if (may_admit_locked(d, g->count + 1u))
		return false;
	(void)ghost_count(g);
	age_locked(d);
	return true;
}

/* A sequential reader is half through an extent: what that has saved is there to be spent. */
static void earn_stream_locked(struct dax_inode *di, const struct extent *prev)
{
	const struct extent *e = index_find(&di->index, prev->from);
	struct dax *d = di->dax;
	uint64_t hits;

	if (!e)
		return;
	hits = atomic_load_explicit(&e->hits, memory_order_relaxed);
	scoped_lock(&d->lock);
	earn_locked(d, MIN(hits * GAIN_NS, d->swap_cost_ns));
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
	/* relaxed, and of no lock: each request that misses comes here */
	(void)atomic_fetch_add_explicit(&d->earned_ns, ns / TOKEN_PART, memory_order_relaxed);
}
