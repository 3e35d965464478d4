/* SPDX-License-Identifier: MIT */
/* What the window maps, how much at a time, and in place of what: decisions without mechanism. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/num.h"
#include "policy/params.h"

/*
 * Problem: a mapping of the host costs as much as tens to hundreds of requests, the window is
 * smaller than the files, and the host bears few mappings. So not everything that is asked for is
 * worth a mapping.
 *
 * Concepts: a block is a power of two of bytes, aligned to its size in file and window; an extent
 * fills one block. A region is the block that is mapped at a time under pressure. A miss is an
 * access that finds nothing mapped. The caller gives facts (struct policy_window, struct
 * policy_miss) and gets a struct placement, which it carries out; this layer maps nothing, has no
 * thread, no lock and no clock.
 *
 * Theory of operation
 *
 * While there is space, what is touched is mapped, in pieces as large as the file and the window
 * bear, because the number of mappings is what costs. A file that fits is mapped whole. A
 * sequential reader of a file that is larger than the largest extent gets extents that double.
 *
 * The window is under pressure from when it was full until half of it is free again. Then a mapping
 * must be earned. A miss goes over the virtqueue and counts in a ghost: an entry of a small table
 * of regions that were asked for and are not mapped. A region is mapped, in place of the coldest of
 * some extents if there is no free block, when
 *   1. its ghost count exceeds three times the victim's hits per region by three standard
 *      deviations (of a count, its square root): where all regions are asked for alike, a
 *      replacement gains nothing; and
 *   2. there are tokens: a virtqueue request earns a part of its time, a replacement pays what
 *      replacements have cost.
 * The second rule bounds the loss: replacements take at most that part of the virtqueue's time,
 * whatever the pattern of access. The first makes them worth it. Ghost counts and hits are halved
 * together after some windows' worth of misses, so that they cover the same time. A sequential
 * reader counts once for each region that it passes.
 *
 * Most misses lead to nothing, so they must be cheap. policy_declines() finds them without a lock,
 * policy_log() puts them into a log of the thread, policy_count_log() counts a full log under one
 * lock and marks the regions that the next miss may map as due. That next miss goes to
 * policy_count() and policy_place().
 *
 * Small files count their own misses, even while there is space: each takes a mapping for itself
 * and gives few hits for it. Mapping a file of no more than a region is paid for in any case.
 *
 * A sequential reader under pressure gets a block so large that its hits pay for the replacement
 * twice, in place of what it has passed, whose hits are taken back for that. It may owe some
 * replacements; when it has read half of a block, that block's hits are earned.
 *
 * Threads: "shared" functions may be called by any thread without a lock; what they read and write
 * is a hint, so their atomic accesses are relaxed. All others need the caller's lock for the
 * policy; those that take a struct policy_file also need the caller's lock for that file.
 */

#define POLICY_DUE	  8u	/* few are needed: the next miss of a region takes its mark */
#define POLICY_LOG_MISSES 7u	/* a log fills a cache line */
#define POLICY_GHOSTS	  4096u /* regions of 16 windows; 32 KiB */
#define POLICY_GHOST_SET  4u	/* places of the table where one region's ghost may be */

/* One region that was asked for and is not mapped. Two that share a tag are counted as one. */
struct ghost {
	uint32_t tag; /* a part of its key, a hash of node and region */
	uint16_t count;
	uint16_t age;
};

/*
 * Embedded by the caller; policy_init() and policy_set_shape() make it valid. Its members are this
 * layer's.
 */
struct policy {
	/* Of the shared functions. */
	_Atomic bool pressed; /* was the window under pressure at the last miss that was placed? */
	unsigned int min_shift; /* the smallest block */
	unsigned int max_shift; /* the largest extent */
	unsigned int region_shift;
	_Atomic uint64_t due[POLICY_DUE]; /* keys of regions that the next miss may map, or 0 */
	struct policy_params params;

	_Atomic uint64_t earned_ns; /* shared, too: not among tokens_ns yet */

	/* Of the caller's lock. */
	uint64_t window; /* bytes */
	uint32_t age;	 /* how often counts were halved */
	uint64_t misses_in_age;
	uint64_t floor;	     /* what is no hotter is not examined */
	uint64_t floor_for;  /* for so many examinations more */
	int64_t tokens_ns;   /* negative: owed */
	uint64_t replace_ns; /* a mapping and an unmapping, as measured */
	struct ghost ghost[POLICY_GHOSTS] __attribute__((aligned(64)));
};

/* What is remembered of one file. All zero at first. */
struct policy_file {
	_Atomic uint64_t next_off;	 /* shared: where the last access ended */
	_Atomic unsigned int sequential; /* shared: accesses in a row that began there */
	unsigned int misses;		 /* while the file is small */
	unsigned int grow_shift;	 /* the next extent of a sequential reader */
};

/* The window at the time of a decision. */
struct policy_window {
	uint64_t free;	     /* bytes */
	int largest;	     /* the largest free block, as a shift; -1: none */
	unsigned int live;   /* mappings that the host holds or is asked for */
	unsigned int budget; /* as many as the host takes, as far as is known */
	bool refusing;	     /* the host has refused everything lately */
	bool leaving;	     /* something is about to be unmapped, so space is about to come */
	bool busy;	     /* something is about to be mapped by policy_place()'s PLACE_LATER */
};

#define POLICY_NOT_PENDING 64u

/* An access that found nothing mapped. */
struct policy_miss {
	uint64_t node;
	struct foff off;
	size_t len;	/* bytes, not 0 */
	uint64_t limit; /* the whole pages of the file in bytes; more than @off */

	/* For policy_growth_pays(), policy_place() and policy_ahead(): the extent whose block
	 * contains @off. */
	unsigned int present_shift; /* 0: there is none */
	uint64_t present_len;	    /* bytes that it shows */
	/* Blocks around @off from this size on overlap one that is being mapped. */
	unsigned int pending_shift;
	/* Of a sequential reader: the stream's extent that ends where the region around @off
	 * begins. */
	unsigned int passed_shift; /* 0: there is none */
	uint64_t passed_len;
};

enum place {
	PLACE_NOT,	   /* use the virtqueue */
	PLACE_UNMAP_FIRST, /* the same, and unmap what is leaving: the next miss will find space */
	PLACE_NOW,	   /* take a free block, which there is, and map it */
	PLACE_LATER,	  /* use the virtqueue; map it in the background, evict others if need be */
	PLACE_LATER_FREE, /* the same, if there is a free block */
	PLACE_IF_HOTTER,  /* policy_replace() decides, given the coldest extent's heat */
};

struct placement {
	enum place what;
	unsigned int shift; /* of the block */
	struct foff from;   /* its begin in the file */
	uint64_t len;	    /* bytes to map, at most the block */
	bool stream;   /* of a sequential reader: policy_ahead() when half of it has been read */
	uint32_t hits; /* that it begins with */
	/* Whatever else is said: the extent that the reader has passed loses so many hits. */
	uint32_t passed_hits;
};

/*
 * Misses of one thread that are not counted yet. The caller resets n when the thread uses another
 * window.
 */
struct policy_log {
	unsigned int n;
	uint64_t key[POLICY_LOG_MISSES];
};

/* policy_init() - all of @p is overwritten. NULL: policy_defaults. policy_set_shape() must follow. */
void policy_init(struct policy *p, const struct policy_params *params);

/*
 * policy_set_shape() - a window of @window bytes whose blocks are 2^@min_shift bytes at least and
 * 2^@largest at most. Before the first miss.
 */
void policy_set_shape(struct policy *p, uint64_t window, unsigned int min_shift,
		      unsigned int largest);

/* policy_note() - an access to @f: does it begin where the last one ended? Shared. */
void policy_note(struct policy_file *f, struct foff off, size_t len);

/* policy_sequential() - have the last accesses been in a row? Shared. */
bool policy_sequential(const struct policy *p, const struct policy_file *f);

/*
 * policy_declines() - would policy_place() certainly not say PLACE_NOW for a miss at @off? Shared,
 * a hint, and without effect. Such a miss may go to policy_log() instead.
 */
bool policy_declines(const struct policy *p, const struct policy_file *f, struct foff off);

/*
 * policy_due() - is such a miss worth policy_count() at once? Otherwise policy_log(). Shared,
 * without effect.
 */
bool policy_due(const struct policy *p, const struct policy_miss *m);

/* policy_log() - add a miss to @log, which must not be full. Shared. */
void policy_log(const struct policy *p, struct policy_log *log, const struct policy_miss *m);

static inline bool policy_log_full(const struct policy_log *log)
{
	return log->n == POLICY_LOG_MISSES;
}

/*
 * policy_count_log() - count the misses of @log and empty it. False: misses are not counted now,
 * because there is space or the host refuses; the log is emptied all the same.
 */
bool policy_count_log(struct policy *p, const struct policy_window *w, struct policy_log *log);

/*
 * policy_count() - count a miss that is due, or that no log took. False: it was not counted, and
 * policy_place() must decide (which counts it).
 */
bool policy_count(struct policy *p, const struct policy_window *w, const struct policy_miss *m);

/*
 * policy_age() - how often all counts have been halved. When policy_count_log(), policy_count() or
 * policy_place() changes it, the caller must halve the hits of its extents at once.
 */
static inline uint32_t policy_age(const struct policy *p)
{
	return p->age;
}

/*
 * policy_growth_pays() - is the miss worth mapping a longer extent than the one that is present?
 * Without effect.
 */
bool policy_growth_pays(const struct policy *p, const struct policy_miss *m);

/*
 * policy_place() - decide about a miss that was noted by policy_note(). What is mapped is paid for.
 */
struct placement policy_place(struct policy *p, struct policy_file *f,
			      const struct policy_window *w, const struct policy_miss *m);

/* Heat: hits for each region in sixteenths, because a large extent may have less than one. */
#define POLICY_HEAT_ONE 16u
#define POLICY_NO_HEAT	UINT64_MAX /* there is no extent */

/* policy_heat() - of an extent with a block of 2^@shift. */
static inline uint64_t policy_heat(const struct policy *p, unsigned int shift, uint32_t hits)
{
	uint64_t heat = hits * (uint64_t)POLICY_HEAT_ONE;

	return shift > p->region_shift ? heat >> (shift - p->region_shift) : heat;
}

/*
 * policy_replace() - turn PLACE_IF_HOTTER, which policy_place() has said of @m, into PLACE_LATER or
 * PLACE_NOT. @heat: of the coldest extent.
 */
void policy_replace(struct policy *p, const struct policy_miss *m, struct placement *pl,
		    uint64_t heat);

/*
 * policy_ahead() - the extent behind one of a stream with a block of 2^@prev_shift, half of which
 * has been read. @m: a miss at its end. PLACE_LATER_FREE, or PLACE_NOT at the end of the file.
 * Without effect.
 */
struct placement policy_ahead(const struct policy *p, unsigned int prev_shift,
			      const struct policy_miss *m);

/* policy_earn_stream() - half of a stream's extent has been read, with @hits. */
void policy_earn_stream(struct policy *p, uint32_t hits);

/* policy_earn() - a request took @ns over the virtqueue. Shared. */
void policy_earn(struct policy *p, uint64_t ns);

/* policy_replaced() - what PLACE_LATER led to, with unmapping others, took @ns. */
void policy_replaced(struct policy *p, uint64_t ns);

/* policy_freed() - space or mappings have become free. */
void policy_freed(struct policy *p);
