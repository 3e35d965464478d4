/* SPDX-License-Identifier: MIT */
/* File offset -> extent, read without a lock. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/num.h"

struct extent;

/*
 * Concepts: the file is divided into leaves of 32 MiB. The directory holds a pointer to each leaf,
 * a leaf is a sorted array of the extents that show a part of it; a larger extent stands in each
 * leaf that it touches. Leaves and directories never change once they are published: a change
 * publishes a copy, and what it replaced is handed to the caller for release after pin_wait().
 *
 * Threads: index_find() needs a pin (pin.h) and nothing else. Changes need the inode's lock.
 */
#define INDEX_LEAF_SHIFT 25u
/* Offsets from here on are not indexed: a file that is sparse beyond all measure costs no memory. */
#define INDEX_MAX_OFFSET (UINT64_C(1) << 44)

struct index_leaf;
struct index_dir;

struct index {
	_Atomic(struct index_dir *) dir;
	/* Bit n: one of the leaves n, n + 64, ... shows an extent; a hint. */
	_Atomic uint64_t present;
};

/* Memory that was replaced, to be released after pin_wait(). */
struct index_garbage {
	struct index_garbage *next;
};

/* index_maybe() - false: nothing near @off is mapped, as a hint. Without a pin or a lock. */
static inline bool index_maybe(const struct index *ix, struct foff off)
{
	uint64_t present = atomic_load_explicit(&ix->present, memory_order_relaxed);

	return present >> (off.v >> INDEX_LEAF_SHIFT) % 64 & 1;
}

/* index_find() - the extent that shows @off, or NULL. */
struct extent *index_find(const struct index *ix, struct foff off);

/* index_next() - the first extent that shows a byte at or behind @off, or NULL. With the lock. */
struct extent *index_next(const struct index *ix, struct foff off);

/*
 * index_replace() - put @e in, in place of every extent inside its block, in one step for readers
 * of one leaf. No extent may stick out of that block. Returns 0, or -ENOMEM: nothing changed.
 */
int index_replace(struct index *ix, struct extent *e, struct index_garbage **garbage);

/* index_remove() - take one extent out. It never fails. */
void index_remove(struct index *ix, const struct extent *e);

/* index_free() - nobody reads any more and it is empty. */
void index_free(struct index *ix);

/* index_collect() - free what was replaced; after pin_wait(). */
void index_collect(struct index_garbage *garbage);
