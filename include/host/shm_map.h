/* SPDX-License-Identifier: MIT */
/* The books of the DAX window: which mappings are there, how many there may be. */
#pragma once

#include "host/mapper.h"

/*
 * Problem: FUSE may set up a mapping over another one and remove any range; a front end wants each
 * mapping to be removed as it was made and none on top of another. And QEMU ends the whole virtual
 * machine when it has more than about 509 mappings, so they are counted and refused in time.
 *
 * This is a mapper on top of a mapper (shm_channel, or a test's):
 * - A mapping over the very same range of the same file costs nothing, if it need not become
 *   writable. Over another range, that range is removed first.
 * - A partial removal removes the whole mapping and makes the rest of it again. Another processor
 *   of the guest that uses the rest at that moment meets a hole, so drivers should remove whole
 *   mappings; both the kernel and vfsdaxfuse do.
 * - Removal of the whole window is what the end of a session does; what is there then is counted as
 *   left by the guest.
 * - A mapping whose request was broken off is kept as one that may exist, and is removed (an error
 *   being no error) before its range is used again.
 */
struct shm_map;

struct shm_map_stats {
	uint64_t live;	   /* mappings now */
	uint64_t mapped;   /* made since the beginning */
	uint64_t unmapped; /* removed since the beginning, shm_map_forget() included */
	uint64_t left;	   /* of those, what was there when a session or connection ended */
	uint64_t refused;  /* wanted but not made */
};

/* @below outlives it. @window: bytes. @max: mappings at a time. NULL: no memory. */
struct shm_map *shm_map_new(struct mapper *below, uint64_t window, unsigned int max);
void shm_map_free(struct shm_map *s);

/* shm_map_mapper() - its operations, with -EINVAL for a range that is not in the window. */
struct mapper *shm_map_mapper(struct shm_map *s);

/*
 * shm_map_forget() - the peer is gone and its mappings with it. Takes the lock that is held while a
 * request waits: the channel must have been shut before.
 */
void shm_map_forget(struct shm_map *s);

/* shm_map_stats() - takes no lock. */
void shm_map_stats(struct shm_map *s, struct shm_map_stats *ret);
