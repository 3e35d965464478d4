/* SPDX-License-Identifier: MIT */
/* Extents, their states and their locks. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "dax/buddy.h"
#include "dax/copy.h"
#include "dax/dax.h"
#include "index.h"

/*
 * Theory of operation
 *
 * States of an extent, and who may do what in each:
 *
 *  PENDING   Somebody has decided to map a range: it stands in inode.pending, so that nobody maps the
 *            same range twice, and belongs to the thread that maps it (the one that missed, or the
 *            janitor). Not in the index, not in the clock. Others are served over the virtqueue.
 *  LIVE      In the index and in the clock. Its window range may be touched by whoever found it in
 *            the index and is pinned (pin.h).
 *  LEAVING   Out of the index and out of the clock; belongs to dax.leaving. Its window range may be
 *            touched by those who were pinned before it left. The janitor waits for them, asks the host
 *            to unmap a batch, gives the blocks back and frees it. The inode may be gone meanwhile.
 *
 *   (made) -> PENDING -> LIVE -> LEAVING -> (freed)
 *                \-> (freed: refused, cancelled before it was mapped)
 *                \-> LEAVING  (cancelled after it was mapped)
 *
 * PENDING -> LIVE is done by the thread that maps, under inode.lock. LIVE -> LEAVING is done under
 * inode.lock by a drop, by a larger extent that takes the place, or by an eviction. A drop cancels
 * PENDING extents. An evictor chooses its victim under dax.lock and takes it out of the clock; the
 * inode cannot go away before it has the inode's lock, because the extent still counts in inode.extents.
 * If a drop was quicker, it finds the extent LEAVING: then whoever took it out of the index has put
 * it on dax.leaving.
 *
 * Locks, in the order in which they may be taken:
 *   1. inode.lock   guards the index's changes, states, pending, extents, hints of one inode
 *   2. dax.lock     guards the buddy, the clock, budget, jobs, leaving, ghosts, tokens
 * Neither is held across a call of dax_remote_ops, a copy, or pin_wait(). No thread holds two inodes'
 * locks, so they can share one (struct inode_share). The hit path takes none.
 */
enum extent_state {
	EXTENT_PENDING,
	EXTENT_LIVE,
	EXTENT_LEAVING,
};

struct extent {
	struct dax_inode *inode; /* not to be followed when LEAVING */
	struct foff from;	 /* in the file, aligned to the block */
	uint64_t len;		 /* bytes mapped, <= 1 << shift */
	struct woff at;
	unsigned int shift; /* of the block, in file and window */
	bool writable;
	bool stream;	    /* made by a sequential reader: map the next one in time */
	enum extent_state state;
	_Atomic bool cancelled; /* PENDING: not wanted any more */
	_Atomic bool ahead; /* the next one has been asked for */
	_Atomic uint32_t hits; /* since the clock's hand last came by; a hint, so relaxed */

	bool ahead_only;       /* PENDING: not worth giving up another for it */

	struct extent *next;	 /* in inode.pending or dax.leaving */
	struct extent *job_next; /* of dax.lock: in dax.jobs */
	/* Of dax.lock: */
	bool clocked;
	struct extent *clock_prev, *clock_next;
};

/*
 * The lock of some inodes, because there may be 100,000 of which few are in use: inode.lock is the
 * lock of the inode's share. A hit does not take it, and whoever has it does not keep it for long.
 */
struct inode_share {
	pthread_mutex_t lock;
	pthread_cond_t changed; /* extents or pending of one of them */
};

#define INODE_SHARES 64u

struct dax_inode {
	struct dax *dax;
	uint64_t nodeid;
	struct index index;
	struct inode_share *share;
	struct extent *pending;
	unsigned int extents; /* PENDING, LIVE, and those that an evictor has in its hands */
	unsigned int held;    /* LEAVING, but still in an evictor's hands */
	bool ever_mapped;
	_Atomic bool no_write; /* the host refused a writable mapping; read without the lock */
	unsigned int misses;  /* accesses that found nothing, while the file is small */
	uint64_t refused_until; /* ns: the host refused this file, do not ask before */
	unsigned int refusals;	/* since the last grant, up to a limit */
	_Atomic uint64_t next_off; /* where a sequential access would go on; also read as a hint */
	_Atomic unsigned int sequential; /* accesses in a row that went on there */
	unsigned int grow_shift; /* the next extent of a sequential access */
	uint64_t short_from; /* no extent before this was ever shorter than its block */
};

/* One range that was asked for and is not mapped. Two that share a tag are counted as one. */
struct ghost {
	uint32_t tag; /* a part of its key, a hash of node and region */
	uint16_t count;
	uint16_t age;
};

#define GHOSTS	   4096u
#define GHOST_WAYS 4u

/* Regions that were found worth dax_policy_miss() when their misses were counted, by a part of their keys. */
#define DUE 8u

struct dax {
	/* What each access may look at, close together. */
	char *addr;
	struct copy_choice copy;
	_Atomic bool pressed; /* was the window under pressure at the last miss? A hint, so relaxed. */
	unsigned int region_shift; /* what is admitted at a time under pressure */
	uint64_t serial; /* no other window has or had it */
	_Atomic uint64_t due[DUE]; /* keys, or 0; hints, so relaxed */

	uint64_t size;
	unsigned int min_shift;
	unsigned int max_shift;	   /* the largest extent */
	const struct dax_remote_ops *remote;
	void *remote_ctx;
	uint64_t (*clock_ns)(void);

	struct inode_share share[INODE_SHARES];

	pthread_mutex_t lock;
	pthread_cond_t work;	/* the janitor has something to do, or is to stop */
	pthread_cond_t flushed; /* the janitor has unmapped what had left */
	struct buddy *buddy;
	struct extent *hand; /* the clock: a ring of LIVE extents */
	unsigned int live;   /* mappings that the host holds or is asked for */
	unsigned int live_by_size[DAX_SIZES];
	unsigned int clocked;
	unsigned int budget; /* more than this the host has refused */
	unsigned int last_budget; /* what it was before it was forgotten */
	uint64_t budget_until;	  /* ns: believed so long */
	uint64_t budget_for_ns;	  /* and the next time so long */
	unsigned int refusals;	  /* of any file, in a row */
	uint64_t refused_until;	  /* ns: the host refuses everything, do not ask before */
	struct extent *jobs, **jobs_tail;
	unsigned int njobs;
	struct extent *leaving;
	unsigned int nleaving;
	uint64_t leaving_bytes; /* of their blocks */
	struct extent *stuck;	/* LEAVING, but the host could not unmap them; janitor.c */
	uint64_t flush_begun; /* how many times the janitor has begun and ended to unmap */
	uint64_t flush_ended;
	bool want_leave; /* somebody waits for space or for the end of mappings */
	bool stop;
	pthread_t janitor;

	/* Admission, see policy.c. */
	struct ghost ghost[GHOSTS] __attribute__((aligned(64)));
	uint32_t age;
	uint32_t misses_in_age;
	/* For so many misses more, until room comes: no region is admitted that is no hotter than this heat. */
	unsigned int floor_for;
	uint64_t floor;
	int64_t tokens_ns;
	_Atomic uint64_t earned_ns; /* not yet among them; of no lock */
	uint64_t swap_cost_ns; /* a mapping and an unmapping, as measured */
	struct index_garbage *garbage;
	unsigned int ngarbage;
};

/* space.c: blocks of the window, the clock, the budget. All need dax.lock. */
int dax_space_get_locked(struct dax *d, unsigned int shift, struct woff *ret);
void dax_space_put_locked(struct dax *d, const struct extent *e);
void dax_budget_learn_locked(struct dax *d);
/* dax_budget_full_locked() - does the host hold as many mappings as it takes, as far as we know? */
bool dax_budget_full_locked(struct dax *d);
void dax_clock_add_locked(struct dax *d, struct extent *e);
bool dax_clock_del_locked(struct dax *d, struct extent *e);
/*
 * The extent with the least heat among the next ones; stays in the clock. Heat: the hits for each region
 * (of the size that is admitted under pressure), in 1/HEAT_ONE, as a large extent may have less than one.
 */
#define HEAT_ONE 16u
struct extent *dax_clock_coldest_locked(struct dax *d, uint64_t *ret_heat);

/* extent.c: the life of an extent. */

/* dax_refusing_locked() - has the host refused all files lately? Needs dax.lock. */
bool dax_refusing_locked(const struct dax *d);

/* dax_extent_new() - a PENDING extent of @di as wished, not yet in its list; or NULL. */
struct extent *dax_extent_new(struct dax_inode *di, const struct extent *wish);
void dax_extent_pend_locked(struct dax_inode *di, struct extent *e);

/* dax_extent_pending_locked() - is something being mapped in the block of @wish? inode.lock. */
bool dax_extent_pending_locked(const struct dax_inode *di, const struct extent *wish);

/* dax_extent_run() - map a PENDING extent whose block is taken; then it is LIVE or gone. No locks. */
int dax_extent_run(struct extent *e);

/* dax_extent_fail() - a PENDING extent that gets no block goes. No locks. */
void dax_extent_fail(struct extent *e);

/*
 * dax_extent_around_locked() - the extent whose block contains @off, though it may be too short to
 * show it; or NULL. Blocks never overlap, so there is one at the most. Needs inode.lock.
 */
struct extent *dax_extent_around_locked(const struct dax_inode *di, struct foff off);

/* LIVE -> LEAVING. Needs inode.lock. */
void dax_extent_leave_locked(struct dax_inode *di, struct extent *e);

/* dax_extent_evict() - the same for a victim that was taken out of the clock. No locks. */
void dax_extent_evict(struct extent *e);

/* dax_garbage() - what the index has replaced; freed by the janitor after a grace period. */
void dax_garbage(struct dax *d, struct index_garbage *list);

/* policy.c: what is mapped, and how much at a time. */
enum dax_verdict {
	DAX_NO,	   /* over the virtqueue */
	DAX_NOW,   /* map it, the block is taken */
	DAX_LATER, /* over the virtqueue, and the janitor maps it */
};

/*
 * dax_policy_miss() - decide about an access that found nothing. Fills shape and, for DAX_NOW, place of
 * @e, which is a wish: most are declined, so it is no extent yet. What others are just mapping is
 * declined before it is paid for. Needs inode.lock; takes dax.lock.
 */
enum dax_verdict dax_policy_miss(struct dax_inode *di, struct extent *e, struct foff off, size_t len,
				 uint64_t limit, bool write);
/*
 * dax_policy_note() - write down an access that was declined unseen, in the thread's log. False: it was
 * not, and is worth dax_policy_count(). No locks; takes dax.lock each time when the log is full.
 */
bool dax_policy_note(struct dax_inode *di, struct foff off, size_t len, uint64_t limit, bool write);
/*
 * dax_policy_count() - tell of such an access. False: it is worth dax_policy_miss(), and was not counted.
 * No locks; takes dax.lock.
 */
bool dax_policy_count(struct dax_inode *di, struct foff off, uint64_t limit, bool write);
/* The extent behind a sequential one. Fills the shape of @e, a wish; false: there is none. */
bool dax_policy_ahead(struct dax_inode *di, const struct extent *prev, struct extent *e,
		      uint64_t limit);
void dax_policy_swapped_locked(struct dax *d, uint64_t ns);

/* janitor.c: the thread that makes room and maps what is asked for ahead. */
int dax_janitor_start(struct dax *d);
void dax_janitor_stop(struct dax *d);
void dax_job_add_locked(struct dax *d, struct extent *e);
/* dax_janitor_flush() - wait until what has left so far is unmapped. No locks. */
void dax_janitor_flush(struct dax *d);
/* dax_leaving_add_locked() - the extent is nobody's any more. Needs dax.lock. */
void dax_leaving_add_locked(struct dax *d, struct extent *e);
