// SPDX-License-Identifier: MIT
// The extent tree of one file.

#include <errno.h>
#include <string.h>

#include "base/num.h"
#include "ext4_tree.h"
#include "pass/ext4.h"

/* A block of the tree. What is left at its end is for a checksum, which we do not use. */
struct ext4_tree_block {
	struct ext4_extent_header head;
	union ext4_extent_entry entry[EXT4_BLOCK_ENTRIES];
	struct le32 et_checksum;
};
static_assert(sizeof(struct ext4_tree_block) == PASS_BLOCK, "ifork.rst, struct ext4_extent_tail");

static_assert(EXT4_EXTENTS_MAX == EXT4_ROOT_ENTRIES * EXT4_BLOCK_ENTRIES * EXT4_BLOCK_ENTRIES,
	      "depth 2");
static_assert(EXT4_TREE_BLOCKS_MAX == EXT4_ROOT_ENTRIES + EXT4_ROOT_ENTRIES * EXT4_BLOCK_ENTRIES,
	      "depth 2");

static uint32_t blocks_for(uint32_t entries)
{
	return entries / EXT4_BLOCK_ENTRIES + (entries % EXT4_BLOCK_ENTRIES != 0);
}

int ext4_tree_init(struct ext4_tree *ret, const struct pass_extent *extents, size_t n)
{
	struct pass_runs runs = { .extents = extents, .n = n, .max = EXT4_EXTENT_MAX };
	struct ext4_tree t = { 0 };
	struct pass_extent run;

	while (pass_run_next(&runs, &run))
		if (++t.runs > EXT4_EXTENTS_MAX)
			return -EFBIG;
	if (t.runs > EXT4_ROOT_ENTRIES) {
		t.leaves = blocks_for(t.runs);
		t.depth = 1;
	}
	if (t.leaves > EXT4_ROOT_ENTRIES) {
		t.nodes = blocks_for(t.leaves);
		t.depth = 2;
	}
	*ret = t;
	return 0;
}

int ext4_tree_blocks(const struct pass_extent *extents, size_t n)
{
	struct ext4_tree t;
	int r = ext4_tree_init(&t, extents, n);

	return r ? r : (int)(t.leaves + t.nodes);
}

static void put_header(struct ext4_extent_header *h, uint32_t entries, uint32_t max,
		       unsigned int depth)
{
	h->eh_magic = le16(EXT4_EXTENT_MAGIC);
	h->eh_entries = le16(entries);
	h->eh_max = le16(max);
	h->eh_depth = le16(depth);
	h->eh_generation = le32(0);
}

/* put_index() - @e points to block @to, below which the file's block @first comes first. */
static void put_index(union ext4_extent_entry *e, struct le32 first, uint32_t to)
{
	e->idx = (struct ext4_extent_idx){ .ei_block = first, .ei_leaf_lo = le32(to) };
}

/* The first block of the file in a leaf or node: both kinds of entries begin with it. */
static struct le32 first_of(const struct ext4_tree_block *b)
{
	return b->entry[0].leaf.ee_block;
}

void ext4_tree_write(const struct ext4_tree *t, const struct pass_extent *extents, size_t n,
		     struct ext4_inode *inode, uint8_t *buf, struct dblk at)
{
	struct ext4_tree_block *leaf = (struct ext4_tree_block *)buf;
	struct ext4_tree_block *node = t->nodes ? leaf + t->leaves : NULL;
	struct pass_runs runs = { .extents = extents, .n = n, .max = EXT4_EXTENT_MAX };
	uint32_t top = t->nodes ? t->nodes : t->leaves ? t->leaves : t->runs;
	struct pass_extent run;

	if (t->leaves)
		memset(buf, 0, (size_t)(t->leaves + t->nodes) * PASS_BLOCK);
	put_header(&inode->root, top, EXT4_ROOT_ENTRIES, t->depth);

	for (uint32_t i = 0; pass_run_next(&runs, &run); i++) {
		uint32_t in = i % EXT4_BLOCK_ENTRIES;
		struct ext4_tree_block *b = t->leaves ? leaf + i / EXT4_BLOCK_ENTRIES : NULL;
		union ext4_extent_entry *e = b ? &b->entry[in] : &inode->entry[i];

		if (b && !in)
			put_header(&b->head, MIN(t->runs - i, EXT4_BLOCK_ENTRIES),
				   EXT4_BLOCK_ENTRIES, 0);
		e->leaf = (struct ext4_extent_leaf){ .ee_block = le32(run.at.v),
						     .ee_len = le16(run.count),
						     .ee_start_lo = le32(run.block.v) };
	}
	for (uint32_t i = 0; i < t->leaves; i++) {
		uint32_t in = i % EXT4_BLOCK_ENTRIES;
		struct ext4_tree_block *b = t->nodes ? node + i / EXT4_BLOCK_ENTRIES : NULL;

		if (b && !in)
			put_header(&b->head, MIN(t->leaves - i, EXT4_BLOCK_ENTRIES),
				   EXT4_BLOCK_ENTRIES, 1);
		put_index(b ? &b->entry[in] : &inode->entry[i], first_of(&leaf[i]), at.v + i);
	}
	for (uint32_t i = 0; i < t->nodes; i++)
		put_index(&inode->entry[i], first_of(&node[i]), at.v + t->leaves + i);
}
