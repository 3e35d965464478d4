/* SPDX-License-Identifier: MIT */
/* Extents, their states and their locks. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "dax/buddy.h"
#include "dax/copy.h"
#include "dax/dax.h"
#include "index.h"
#include "policy/policy.h"

/*
 * Theory of operation
 *
 * States of an extent, and who may do what in each:
 *
 *  PENDING   Somebody has decided to map a range: it stands in inode.pending, so that nobody
 *            maps the same range twice, and belongs to the thread that maps it (the one that
 *            missed, or the janitor). Not in the index, not in the clock. Others are served over
 *            the virtqueue.
 *  LIVE      In the index and in the clock. Its window range may be touched by whoever found it
 *            in the index and is pinned (pin.h).
 *  LEAVING   Out of the index and out of the clock; belongs to dax.leaving. Its window range may
 *            be touched by those who were pinned before it left. The janitor waits for them, asks
 *            the host to unmap a batch, gives the blocks back and frees it. The inode may have
 *            been destroyed meanwhile.
 *
 *   (made) -> PENDING -> LIVE -> LEAVING -> (freed)
 *                \-> (freed: refused, cancelled before it was mapped)
 *                \-> LEAVING  (cancelled after it was mapped)
 *
 * PENDING -> LIVE is done by the thread that maps, under inode.lock. LIVE -> LEAVING is done under
 * inode.lock by a drop, by a larger extent that takes the place, or by an eviction. A drop cancels
 * PENDING extents. An evictor chooses its victim under dax.lock and takes it out of the clock; the
 * inode cannot go away before it has the inode's lock, because the extent still counts in
 * inode.extents. If a drop was quicker, it finds the extent LEAVING: then whoever took it out of
 * the index has put it on dax.leaving.
 *
 * Locks, in the order in which they may be taken:
 *   1. inode.lock   guards the index's changes, states, pending, extents, hints of one inode
 *   2. dax.lock     guards the buddy, the clock, budget, jobs, leaving, policy
 * Neither is held across a call of dax_remote_ops, a copy, or pin_wait(). No thread holds two
 * inodes' locks, so they can share one (struct inode_share). The hit path takes none.
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
	bool stream; /* made by a sequential reader: map the next one in time */
	enum extent_state state;
	_Atomic bool cancelled; /* PENDING: not wanted any more */
	_Atomic bool ahead;	/* the next one has been asked for */
	_Atomic uint32_t hits;	/* since the clock's hand last came by; a hint, so relaxed */

	bool free_only; /* PENDING: not worth evicting another for it */

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
	unsigned int extents; /* PENDING, LIVE, and those that are being evicted */
	unsigned int held;    /* LEAVING, but still being evicted */
	bool ever_mapped;
	_Atomic bool no_write;	/* the host refused a writable mapping; read without the lock */
	unsigned int refusals;	/* since the last grant, up to a limit */
	uint64_t refused_until; /* ns: the host refused this file, do not ask before */
	struct policy_file file;
	uint64_t short_from; /* no extent before this was ever shorter than its block */
};

struct dax {
	/* What each access reads, close together. */
	char *addr;
	struct copy_choice copy;
	struct policy policy;

	uint64_t serial; /* no other window has or had it */
	uint64_t size;
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
	unsigned int budget;	  /* more than this the host has refused */
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
	struct extent *stuck;	/* LEAVING, but the host could not unmap them; leaving.c */
	uint64_t flush_begun;	/* how many times the janitor has begun and ended to unmap */
	uint64_t flush_ended;
	bool want_leave; /* somebody waits for space or for the end of mappings */
	bool stop;
	pthread_t janitor;

	uint32_t age; /* of the hits of all extents in the clock: policy_age() */
	struct index_garbage *garbage;
	unsigned int ngarbage;
};
