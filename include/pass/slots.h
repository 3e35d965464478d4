/* SPDX-License-Identifier: MIT */
/* The composed file system, mounted: each slot holds one file at a time, again and again. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "pass/ext4.h"

/*
 * Problem: a file that the kernel is to use instead of the host's must appear quickly, and its
 * blocks must be free for another file when it is evicted. A device and a mount of its own for each
 * file take 80 ms under emulation.
 *
 * Concepts: one ext4 (pass/ext4.h) is mounted for all files. A file gets a free slot. Its inode and
 * extent tree are written to the mounted block device through the device's page cache, which is
 * where ext4 reads them when the file is opened; each inode stands in a block of its own.
 *
 * Evicting: fs/dax remembers which inode has faulted in a page of the window, so the inode must
 * have left the kernel before its pages may belong to another. Changing the flag FS_DAX_FL of a
 * file on a mount with dax=inode makes the kernel evict the inode when its last user closes it
 * (Linux 5.8, so that the flag takes effect). That nobody else uses the inode is known when a lease
 * for writing is granted: an open FUSE file and a mapping each hold an open file of the inode.
 *
 * i_generation differs each time a slot is written. It proves that the kernel has read the new
 * inode and has not found an old one in its cache.
 *
 * Threads: any, each slot by one thread at a time; create and destroy by one.
 */
struct pass_slots;

/* Bytes that one contiguous extent of a slot can have: its tree is one block. */
#define PASS_SLOT_EXTENT_MAX (UINT64_C(340) << 27)

struct pass_slot {
	uint32_t index;
	int fd; /* open for reading and writing, from pass_slot_open() to pass_slot_evict(); or -1 */
	bool closed; /* by pass_slot_evict(), but the kernel still had the inode */
};

/* pass_slots_layout() - the layout with spare blocks for @slots files. As ext4_layout_init(). */
int pass_slots_layout(struct ext4_layout *ret, uint32_t slots, uint32_t data_blocks);

/*
 * pass_slots_create() - write a file system of empty slots and mount it, visible nowhere.
 * @device: a block device with l->blocks blocks. @l: of pass_slots_layout().
 * Returns 0 or a negative errno; -EOPNOTSUPP: the kernel does not evict a slot's inode.
 */
int pass_slots_create(const char *device, const struct ext4_layout *l, struct pass_slots **ret);

/*
 * pass_slots_destroy() - unmount it. It stays mounted as long as somebody uses a file in it. NULL
 * is fine.
 */
void pass_slots_destroy(struct pass_slots *s);

/* pass_slot_take() - a free slot in *ret, with fd -1; or -ENOSPC. */
int pass_slot_take(struct pass_slots *s, struct pass_slot *ret);

/* pass_slot_tail() - the spare block for a last block that the window does not show. */
struct dblk pass_slot_tail(const struct pass_slots *s, const struct pass_slot *slot);

/*
 * pass_slot_open() - make a slot that was taken the file of these @n extents, and open it.
 * @attr: its generation is set here. @extents: as ext4_write_slot() takes them.
 * Returns 0, or a negative errno of ext4_write_slot(), write(2) or open(2); -EFBIG also when the
 * extents need more than one block of tree; -ESTALE: the kernel had an old inode in its cache. The
 * slot stays taken.
 */
int pass_slot_open(struct pass_slots *s, struct pass_slot *slot, const struct pass_attr *attr,
		   const struct pass_extent *extents, size_t n);

/*
 * pass_slot_in_use() - has somebody else an open file of the inode, as for a mapping? Do not call
 * it while another thread may open the slot's file: the lease that it takes would block that open.
 */
bool pass_slot_in_use(const struct pass_slot *slot);

/*
 * pass_slot_evict() - close the slot's file and have the kernel forget its inode; the slot is free.
 * Returns 0, or -EBUSY: somebody uses the file, and it is still open; or somebody holds its inode,
 * and it is closed. Then its blocks must not be used for another file: try again later.
 */
int pass_slot_evict(struct pass_slots *s, struct pass_slot *slot);
