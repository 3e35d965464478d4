/* SPDX-License-Identifier: MIT */
/* Writes a small EROFS over a composed device: files to read. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "pass/extent.h"

/*
 * See pass/extent.h for problem and concepts. This is for files that are only read. The format: the
 * kernel's fs/erofs/erofs_fs.h and Documentation/filesystems/erofs.rst.
 *
 * The device, in blocks of 4096 bytes:
 *
 *	0	superblock, and the inode of the root directory
 *	root	the root directory
 *	slots	slot_blocks for each slot: its inode, then the list of its chunks
 *	spare	for the caller: copies of last blocks
 *	data	for the caller: pieces of the window, to the device's end
 *
 * A file is cut into chunks of equal size, a power of two, each contiguous on the device. The
 * writer takes the largest size that divides each place of the file where the device's blocks jump:
 * a file without a jump is one chunk. A last block that stands elsewhere is a jump, too: if the
 * number of blocks before it is odd, the chunks are single blocks, with 2 MiB of list for 1 GiB.
 *
 * Mount it with ro,dax=always. The kernel reads no inode before it is looked up. fsck.erofs has no
 * notion of blocks of no file, and slots may share blocks.
 */

/* Chunks for which there is room in the first block of a slot, and in each further one. */
#define EROFS_CHUNKS_FIRST 504u
#define EROFS_CHUNKS_MORE  512u

/* What the caller wants. */
struct erofs_shape {
	uint32_t slots;	      /* 1 to PASS_SLOTS_MAX */
	uint32_t slot_blocks; /* for each slot, at least 1 */
	uint32_t spare_blocks;
	uint32_t data_blocks;
};

/* What it gets; to be read only. */
struct erofs_layout {
	struct erofs_shape shape;
	uint32_t root_blocks;
	struct dblk root;
	struct dblk slots;
	struct dblk spare;
	struct dblk data;
	uint32_t blocks; /* of the whole device */
};

/*
 * erofs_layout_init() - where everything stands.
 * Returns 0 and *ret. On an error *ret is untouched: -EINVAL: no slot or too many, or no block for
 * each; -EFBIG: the device would have 2^32 - 1 blocks or more.
 */
int erofs_layout_init(struct erofs_layout *ret, const struct erofs_shape *shape);

/* erofs_fs_blocks() - the blocks that erofs_write_fs() fills: [0, spare). */
uint32_t erofs_fs_blocks(const struct erofs_layout *l);

/* erofs_slot() - the first block of a slot. */
struct dblk erofs_slot(const struct erofs_layout *l, uint32_t slot);

/*
 * erofs_slot_blocks() - blocks that a file takes in its slot.
 * @extents: @n, as pass_file_check() accepts them; where on the device does not matter but for
 * which are neighbours.
 */
uint32_t erofs_slot_blocks(const struct pass_extent *extents, size_t n);

/*
 * erofs_write_fs() - write a file system of empty slots.
 * @now: seconds since the epoch, for the superblock and all inodes.
 * @buf: @len bytes for the device's first blocks. erofs_fs_blocks() of them are overwritten.
 * Returns 0, or -ENOBUFS when @buf is too small; then nothing is written.
 */
int erofs_write_fs(const struct erofs_layout *l, const uint8_t uuid[16], int64_t now, void *buf,
		   size_t len);

/*
 * erofs_write_slot() - write one file's inode and list of chunks.
 * @attr: EROFS keeps only one time, the mtime.
 * @extents: @n pieces behind l->spare (pass_file_check()), to the file's end and not beyond.
 * @buf, @len: bytes for the blocks from erofs_slot() on.
 *
 * Returns the number of blocks that are written. On an error nothing is: -EINVAL: no such slot, or
 * see pass_file_check(); -EFBIG: see there; -ENOSPC: the list needs more than slot_blocks;
 * -ENOBUFS: it does not fit in @buf.
 */
int erofs_write_slot(const struct erofs_layout *l, uint32_t slot, const struct pass_attr *attr,
		     const struct pass_extent *extents, size_t n, void *buf, size_t len);
