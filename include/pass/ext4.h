/* SPDX-License-Identifier: MIT */
/* Writes a small ext4 over a composed device: files of fixed blocks, no block is free. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "pass/extent.h"

/*
 * See pass/extent.h for problem and concepts. This is for files that are written to as well as
 * read. The format: the kernel's Documentation/filesystems/ext4/.
 *
 * The device, in blocks of 4096 bytes:
 *
 *	0		superblock
 *	group_table	group descriptors
 *	block_bitmaps	one block for each group of 32768 blocks, all bits set
 *	inode_bitmaps	one block for each group
 *	inodes		inodes of 4096 bytes; slot i has inode 11 + i
 *	root		the root directory
 *	spare		for the caller: extent trees, copies of last blocks
 *	data		for the caller: pieces of the window, to the device's end
 *
 * There is no journal, no checksum, no lost+found and no backup of the superblock. All blocks are
 * marked used, so the kernel can allocate none: a write behind a file's last block gets ENOSPC, and
 * so would anything else that needs room. Inside the last block a write makes the file longer.
 * For the same reason nothing must be freed: the caller never truncates a slot's file to less, and
 * never unlinks it.
 *
 * Mount it with dax=always,inode_readahead_blks=0,noatime. With readahead the kernel would read
 * inodes beside the one that it looks up, and not see slots that are written later.
 *
 * e2fsck finds no fault when each spare block and each block of data belongs to one slot. Blocks of
 * no slot are marked used all the same, of which e2fsck complains ("Block bitmap differences"), and
 * slots may share blocks as long as only one of their files is in use.
 */

/* Extents of a file after merging, and splitting at 32768 blocks: a tree of depth 2, 4 * 340^2. */
#define EXT4_EXTENTS_MAX 462400u
/* Blocks of the largest tree. */
#define EXT4_TREE_BLOCKS_MAX 1364u

/* What the caller wants. */
struct ext4_shape {
	uint32_t slots; /* 1 to PASS_SLOTS_MAX */
	uint32_t spare_blocks;
	uint32_t data_blocks;
};

/* What it gets; to be read only. */
struct ext4_layout {
	struct ext4_shape shape;
	uint32_t groups;
	uint32_t inodes_per_group;
	uint32_t root_blocks;
	struct dblk group_table;
	struct dblk block_bitmaps;
	struct dblk inode_bitmaps;
	struct dblk inodes;
	struct dblk root;
	struct dblk spare;
	struct dblk data;
	uint32_t blocks; /* of the whole device */
};

/*
 * ext4_layout_init() - where everything stands.
 * Returns 0 and *ret. On an error *ret is untouched: -EINVAL: no slot or too many; -EFBIG: the
 * device would have 2^32 - 1 blocks or more.
 */
int ext4_layout_init(struct ext4_layout *ret, const struct ext4_shape *shape);

/* ext4_fs_blocks() - the blocks that ext4_write_fs() fills: [0, spare). */
uint32_t ext4_fs_blocks(const struct ext4_layout *l);

/* ext4_slot_inode() - the block of a slot's inode. */
struct dblk ext4_slot_inode(const struct ext4_layout *l, uint32_t slot);

/*
 * ext4_tree_blocks() - blocks that the extent tree of a file takes beside its inode; 0 for up to 4
 * extents.
 * @extents: @n, as pass_file_check() accepts them; where on the device does not matter but for
 * which are neighbours.
 * Returns the number, or -EFBIG with more than EXT4_EXTENTS_MAX extents.
 */
int ext4_tree_blocks(const struct pass_extent *extents, size_t n);

/*
 * ext4_write_fs() - write a file system of empty slots.
 * @now: seconds since the epoch, for the superblock and all inodes; clamped to 0 ... 2^32 - 1.
 * @buf: @len bytes for the device's first blocks. ext4_fs_blocks() of them are overwritten.
 * Returns 0, or -ENOBUFS when @buf is too small; then nothing is written.
 */
int ext4_write_fs(const struct ext4_layout *l, const uint8_t uuid[16], int64_t now, void *buf,
		  size_t len);

/*
 * ext4_write_slot() - write one file's inode and extent tree.
 * @attr: times that ext4 cannot hold are clamped (1901 to 2446), as the kernel does it.
 * @extents: @n pieces behind l->spare (pass_file_check()). They may reach beyond the end of a file
 * that will grow, of which e2fsck complains. All are initialised ones: the kernel does not zero
 * them.
 * @inode: PASS_BLOCK bytes, for block ext4_slot_inode().
 * @tree, @tree_len: bytes for the blocks from @at on, which stand behind l->spare; with no tree
 * @tree may be NULL. The caller puts them on the device before the inode.
 *
 * Returns the number of blocks of the tree. On an error nothing is written: -EINVAL: no such slot,
 * @at is not behind l->spare, or see pass_file_check(); -EFBIG: more than EXT4_EXTENTS_MAX extents,
 * or 2 TiB with the tree; -ENOBUFS: the tree does not fit in @tree.
 */
int ext4_write_slot(const struct ext4_layout *l, uint32_t slot, const struct pass_attr *attr,
		    const struct pass_extent *extents, size_t n, void *inode, struct dblk at,
		    void *tree, size_t tree_len);
