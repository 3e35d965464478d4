/* SPDX-License-Identifier: MIT */
/* Extents, their states and their locks. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "dax/buddy.h"
#include "dax/dax.h"

/*
 * Theory of operation
 *
 * States of an extent, and who may do what in each:
 *
 *  MAPPING   In its inode's index, so that nobody maps the same range twice. The thread that made it
 *            asks the host. Not pinned, not in the clock. Others wait on inode.changed.
 *  LIVE      In the index and in the clock. May be pinned and its window range touched. pins only
 *            grows under inode.lock, so that an extent found there cannot leave meanwhile.
 *  DRAINING  Out of the index: no new pins. Whoever took it out waits until pins is 0, asks the host
 *            to unmap it and frees it. The window may be touched only by those who still pin it.
 *
 *   (made) -> MAPPING -> LIVE -> DRAINING -> (freed)
 *                 \-> (freed, when the host refuses)
 *
 * MAPPING -> LIVE is done by the thread that maps, LIVE -> DRAINING by whoever evicts or drops, each
 * under inode.lock. A DRAINING extent counts in inode.leaving until the host has unmapped it; a drop
 * waits for that to become 0, because "dropped" must mean "unmapped", whoever does it.
 *
 * An evictor finds an extent in the clock, which belongs to dax.lock, and takes it out of there; from
 * then on it owns the extent's way out (ext->clocked is false) and the inode cannot be destroyed,
 * because dax_inode_destroy() waits until inode.extents is 0.
 *
 * Locks, in the order in which they may be taken:
 *   1. inode.lock   guards the index, states, leaving, extents, hints of one inode
 *   2. dax.lock     guards the buddy, the clock, the budget
 * Neither is held across a call of dax_remote_ops or a copy. No thread holds two inodes' locks.
 */
enum extent_state {
	EXTENT_MAPPING,
	EXTENT_LIVE,
	EXTENT_DRAINING,
};

struct extent {
	struct dax_inode *inode;
	struct foff from; /* in the file, aligned to the block size */
	uint64_t len;	  /* bytes mapped, <= 1 << shift */
	struct woff at;
	unsigned int shift;
	bool writable;
	enum extent_state state;
	_Atomic uint32_t pins;
	_Atomic bool used; /* since the clock's hand last came by */

	/* Of dax.lock: */
	bool clocked;
	struct extent *prev, *next;
};

struct dax_inode {
	struct dax *dax;
	uint64_t nodeid;
	pthread_mutex_t lock;
	pthread_cond_t changed; /* a state, pins reaching 0 while draining, leaving */
	struct extent **index;	/* sorted by from, without overlaps */
	unsigned int count;
	unsigned int room;
	unsigned int extents; /* all that exist, in the index or not */
	unsigned int leaving; /* DRAINING */
	unsigned int misses;  /* accesses that found nothing mapped, while the file is small */
	uint64_t refused_until; /* ns: the host refused this file, do not ask before */
	bool no_write;		/* the host refused a writable mapping */
};

struct dax {
	char *addr;
	uint64_t size;
	unsigned int min_shift;
	unsigned int max_shift;
	const struct dax_remote_ops *remote;
	void *remote_ctx;

	pthread_mutex_t lock;
	struct buddy *buddy;
	struct extent *hand; /* the clock: a ring of LIVE extents */
	unsigned int live;   /* mappings that the host holds or is asked for */
	unsigned int budget; /* more than this the host has refused */
};

/* space.c: blocks of the window and the clock. */

/* dax_space_get() - a block of 2^shift bytes, evicting others if it must. 0 or -ENOSPC. */
int dax_space_get(struct dax *d, unsigned int shift, struct woff *ret);

/* dax_space_put() - give a block back that nothing is mapped in any more. */
void dax_space_put(struct dax *d, struct woff at, unsigned int shift);

/* dax_budget_learn() - the host refused for want of room: keep below what there is now. */
void dax_budget_learn(struct dax *d);

void dax_clock_add(struct dax *d, struct extent *e);
/* dax_clock_del() - true when it was in the clock, and the caller now owns its way out. */
bool dax_clock_del(struct dax *d, struct extent *e);

/* index.c: the extents of an inode. All need inode.lock. */

/* The extent that shows @off, or the first behind it (then it starts later), or NULL. */
struct extent *dax_index_find_locked(struct dax_inode *di, struct foff off);
int dax_index_insert_locked(struct dax_inode *di, struct extent *e);
void dax_index_remove_locked(struct dax_inode *di, struct extent *e);

/* dax_extent_leave() - LIVE and out of the clock -> unmapped and freed. Without locks. */
void dax_extent_leave(struct extent **batch, unsigned int n);
