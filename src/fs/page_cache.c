// SPDX-License-Identifier: MIT
// The order of WRITEs to a file whose pages are in the guest's page cache.

#include <pthread.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/num.h"
#include "base/waiting.h"
#include "fs/page_cache.h"

#define STRIPES 16u

/*
 * How many WRITTEN ranges of a file are kept; more replace the oldest. A range matters only to a
 * write-back that the kernel queued before the direct write, so the oldest are hardly needed.
 */
#define WRITTEN_MAX 64u

struct stripe {
	pthread_mutex_t lock;
	pthread_cond_t backed; /* a write-back has ended */
};

static struct stripe stripes[STRIPES] = {
	[0 ... STRIPES - 1] = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER },
};

static struct stripe *stripe_of(const struct page_cache *pc)
{
	return &stripes[(uintptr_t)pc / 64 % STRIPES];
}

/* The last in the list of each file that is mapped. Shared: nobody changes it. */
static struct page_range mapped_mark = { .state = PAGE_RANGE_MAPPED };

static bool mapped_locked(const struct page_cache *pc)
{
	const struct page_range *r = pc->ranges;

	while (r && r->state != PAGE_RANGE_MAPPED)
		r = r->next;
	return r;
}

static void set_mapped_locked(struct page_cache *pc)
{
	struct page_range **p = &pc->ranges;

	while (*p && (*p)->state != PAGE_RANGE_MAPPED)
		p = &(*p)->next;
	*p = &mapped_mark;
}

bool page_cache_mapped(const struct page_cache *pc)
{
	scoped_lock(&stripe_of(pc)->lock);
	return mapped_locked(pc);
}

static bool overlaps(const struct page_range *r, uint64_t off, uint64_t end)
{
	return r->off < end && off < r->end;
}

/* Add at the front, so that the oldest are last. */
static void add_locked(struct page_cache *pc, struct page_range *r)
{
	r->next = pc->ranges;
	pc->ranges = r;
}

static void remove_locked(struct page_cache *pc, const struct page_range *r)
{
	struct page_range **p = &pc->ranges;

	while (*p != r)
		p = &(*p)->next;
	*p = r->next;
}

/*
 * Cut [off, end) out of the WRITTEN range *@p, which may leave two ranges. False: nothing is left,
 * and *@p is the next one.
 */
static bool cut_locked(struct page_range **p, uint64_t off, uint64_t end)
{
	struct page_range *r = *p, *rest;

	if (r->off < off && end < r->end) {
		rest = malloc(sizeof(*rest));
		if (rest) {
			*rest = *r;
			rest->off = end;
			r->next = rest;
		}
		r->end = off;
	} else if (r->off < off) {
		r->end = off;
	} else if (end < r->end) {
		r->off = end;
	} else {
		*p = r->next;
		free(r);
		return false;
	}
	return true;
}

void page_cache_read(struct page_cache *pc, uint64_t off, uint64_t size)
{
	uint64_t from = align_down(off, PAGE_4K), to;
	struct page_range **p = &pc->ranges, *r;

	if (!add_u64(off, size, &to))
		to = UINT64_MAX;
	to = to > UINT64_MAX - PAGE_4K ? UINT64_MAX : align_up(to, PAGE_4K);
	scoped_lock(&stripe_of(pc)->lock);
	/* Before the data is read: a write that misses the mark ends before this read. */
	set_mapped_locked(pc);
	while ((r = *p))
		if (r->state != PAGE_RANGE_WRITTEN || !overlaps(r, from, to) ||
		    cut_locked(p, from, to))
			p = &r->next;
}

static bool being_backed_locked(const struct page_cache *pc, uint64_t off, uint64_t end)
{
	for (const struct page_range *r = pc->ranges; r; r = r->next)
		if (r->state == PAGE_RANGE_WRITE_BACK && overlaps(r, off, end))
			return true;
	return false;
}

/* Add @r, which the caller owns. A range that would overflow ends at UINT64_MAX. */
static void begin_locked(struct page_cache *pc, struct page_range *r, enum page_range_state state,
			 uint64_t off, uint64_t size)
{
	*r = (struct page_range){ .off = off, .state = state };
	if (!add_u64(off, size, &r->end))
		r->end = UINT64_MAX;
	add_locked(pc, r);
}

void page_cache_write_begin(struct page_cache *pc, struct page_range *r, uint64_t off,
			    uint64_t size)
{
	struct stripe *s = stripe_of(pc);
	bool told = false;

	scoped_lock(&s->lock);
	begin_locked(pc, r, PAGE_RANGE_PENDING, off, size);
	while (being_backed_locked(pc, r->off, r->end)) {
		if (!told)
			waiting_begin();
		told = true;
		(void)pthread_cond_wait(&s->backed, &s->lock);
	}
	r->state = PAGE_RANGE_WRITING;
}

/* Add a WRITTEN range, merged with those that it touches. It is lost if there is no memory. */
static void keep_locked(struct page_cache *pc, uint64_t off, uint64_t end)
{
	struct page_range **p, *r;
	unsigned int n = 0;

	for (p = &pc->ranges; (r = *p);) {
		if (r->state != PAGE_RANGE_WRITTEN) {
			p = &r->next;
		} else if (r->off <= end && off <= r->end) {
			off = MIN(off, r->off);
			end = MAX(end, r->end);
			*p = r->next;
			free(r);
		} else if (++n >= WRITTEN_MAX) {
			*p = r->next;
			free(r);
		} else {
			p = &r->next;
		}
	}
	r = malloc(sizeof(*r));
	if (!r)
		return;
	*r = (struct page_range){ .off = off, .end = end, .state = PAGE_RANGE_WRITTEN };
	add_locked(pc, r);
}

bool page_cache_write_end(struct page_cache *pc, struct page_range *r, bool written)
{
	bool mapped;

	scoped_lock(&stripe_of(pc)->lock);
	remove_locked(pc, r);
	mapped = written && mapped_locked(pc);
	if (mapped)
		keep_locked(pc, r->off, r->end);
	return mapped;
}

void page_cache_back_begin(struct page_cache *pc, struct page_range *r, uint64_t off, uint64_t size)
{
	scoped_lock(&stripe_of(pc)->lock);
	set_mapped_locked(pc);
	begin_locked(pc, r, PAGE_RANGE_WRITE_BACK, off, size);
}

static bool left_out(const struct page_range *r)
{
	return r->state == PAGE_RANGE_WRITING || r->state == PAGE_RANGE_WRITTEN;
}

bool page_cache_back_next(struct page_cache *pc, const struct page_range *back, uint64_t *off,
			  uint64_t *ret_size)
{
	uint64_t at = *off, end = back->end;
	bool moved = true;

	scoped_lock(&stripe_of(pc)->lock);
	while (moved && at < end) {
		moved = false;
		for (const struct page_range *r = pc->ranges; r; r = r->next)
			if (left_out(r) && r->off <= at && at < r->end) {
				at = r->end;
				moved = true;
			}
	}
	for (const struct page_range *r = pc->ranges; r; r = r->next)
		if (left_out(r) && r->off > at)
			end = MIN(end, r->off);
	*off = at;
	*ret_size = at < end ? end - at : 0;
	return at < end;
}

void page_cache_back_end(struct page_cache *pc, struct page_range *r)
{
	struct stripe *s = stripe_of(pc);

	scoped_lock(&s->lock);
	remove_locked(pc, r);
	(void)pthread_cond_broadcast(&s->backed);
}

void page_cache_closed(struct page_cache *pc)
{
	struct page_range **p = &pc->ranges, *r;

	scoped_lock(&stripe_of(pc)->lock);
	while ((r = *p)) {
		if (r->state == PAGE_RANGE_WRITTEN || r->state == PAGE_RANGE_MAPPED)
			*p = r->next;
		else
			p = &r->next;
		if (r->state == PAGE_RANGE_WRITTEN)
			free(r);
	}
}
