/* SPDX-License-Identifier: MIT */
/* The extent tree of one file. */
#pragma once

#include "ext4_disk.h"
#include "pass/extent.h"

/* The levels of a tree that has no block more than it needs: e2fsck would rebuild any other. */
struct ext4_tree {
	uint32_t runs;	 /* extents on disk */
	uint32_t leaves; /* blocks with extents, 0 when the inode holds them */
	uint32_t nodes;	 /* blocks with indexes of leaves, 0 when the inode holds those */
	unsigned int depth;
};

/* ext4_tree_init() - 0 and *ret, or -EFBIG; the extents are checked ones. */
int ext4_tree_init(struct ext4_tree *ret, const struct pass_extent *extents, size_t n);

/*
 * ext4_tree_write() - the root into @inode, leaves and then nodes into @buf, which has (leaves +
 * nodes) blocks and will stand at block @at.
 */
void ext4_tree_write(const struct ext4_tree *t, const struct pass_extent *extents, size_t n,
		     struct ext4_inode *inode, uint8_t *buf, struct dblk at);
