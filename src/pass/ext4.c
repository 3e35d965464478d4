// SPDX-License-Identifier: MIT
// Writes a small ext4 over a composed device: files of fixed blocks, no block is free.

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/num.h"
#include "ext4_disk.h"
#include "ext4_tree.h"
#include "pass/ext4.h"

#define BLOCKS_PER_GROUP   (8 * PASS_BLOCK) /* what a bitmap of one block counts */
#define GROUPS_PER_BLOCK   (PASS_BLOCK / (uint32_t)sizeof(struct ext4_group))
#define LOG_GROUPS_IN_FLEX 4u /* any but 0: flex_bg lets the metadata stand anywhere */
#define SECTORS_PER_BLOCK  (PASS_BLOCK / 512)

/* Entries of the root directory: "." and ".." at the beginning, then files of equal length. */
#define DOT_REC	      12u
#define FILE_REC      16u
#define FILES_IN_ROOT ((PASS_BLOCK - 2 * DOT_REC) / FILE_REC) /* in its first block */
#define FILES_BEHIND  (PASS_BLOCK / FILE_REC)
static_assert(sizeof(struct ext4_dirent) + PASS_NAME_LEN <= FILE_REC, "a name fits");

static uint32_t root_blocks(uint32_t slots)
{
	return slots <= FILES_IN_ROOT
		       ? 1
		       : 1 + (slots - FILES_IN_ROOT + FILES_BEHIND - 1) / FILES_BEHIND;
}

static uint64_t div_up(uint64_t a, uint64_t b)
{
	return (a + b - 1) / b;
}

/*
 * Each group adds metadata, and that may need a group more. So groups are added until all fit; with
 * a fixed number of inodes in each group the metadata grows with each step, so the last group is
 * never empty. The number of inodes is chosen for the least possible number of groups.
 */
int ext4_layout_init(struct ext4_layout *ret, const struct ext4_shape *shape)
{
	uint64_t inodes = EXT4_FIRST_INO - 1 + (uint64_t)shape->slots;
	uint64_t rest, groups, total, per_group, table;
	struct ext4_layout l = { .shape = *shape };

	if (!shape->slots || shape->slots > PASS_SLOTS_MAX)
		return -EINVAL;
	l.root_blocks = root_blocks(shape->slots);
	rest = UINT64_C(1) + l.root_blocks + shape->spare_blocks + shape->data_blocks;
	groups = div_up(rest + inodes, BLOCKS_PER_GROUP);
	/* A multiple of 8: the bitmaps of inodes are made of whole bytes. */
	per_group = align_up(div_up(inodes, groups), 8);
	for (;;) {
		table = div_up(groups, GROUPS_PER_BLOCK);
		total = rest + table + groups * (2 + per_group);
		if (total >= UINT32_MAX)
			return -EFBIG;
		if (total <= groups * BLOCKS_PER_GROUP)
			break;
		groups = div_up(total, BLOCKS_PER_GROUP);
	}
	l.groups = (uint32_t)groups;
	l.inodes_per_group = (uint32_t)per_group;
	l.blocks = (uint32_t)total;
	l.group_table.v = 1;
	l.block_bitmaps.v = l.group_table.v + (uint32_t)table;
	l.inode_bitmaps.v = l.block_bitmaps.v + l.groups;
	l.inodes.v = l.inode_bitmaps.v + l.groups;
	l.root.v = l.inodes.v + l.groups * l.inodes_per_group;
	l.spare.v = l.root.v + l.root_blocks;
	l.data.v = l.spare.v + shape->spare_blocks;
	*ret = l;
	return 0;
}

uint32_t ext4_fs_blocks(const struct ext4_layout *l)
{
	return l->spare.v;
}

struct dblk ext4_slot_inode(const struct ext4_layout *l, uint32_t slot)
{
	return DBLK(l->inodes.v + EXT4_FIRST_INO - 1 + slot);
}

static uint8_t *block_of(void *buf, struct dblk b)
{
	return (uint8_t *)buf + (size_t)b.v * PASS_BLOCK;
}

static void put_super(const struct ext4_layout *l, const uint8_t uuid[16], uint32_t now,
		      struct ext4_super *s)
{
	uint32_t inodes = l->groups * l->inodes_per_group;

	s->s_inodes_count = le32(inodes);
	s->s_blocks_count_lo = le32(l->blocks);
	s->s_free_inodes_count = le32(inodes - (EXT4_FIRST_INO - 1) - l->shape.slots);
	s->s_log_block_size = le32(2);
	s->s_log_cluster_size = le32(2);
	s->s_blocks_per_group = le32(BLOCKS_PER_GROUP);
	s->s_clusters_per_group = le32(BLOCKS_PER_GROUP);
	s->s_inodes_per_group = le32(l->inodes_per_group);
	s->s_wtime = le32(now);
	s->s_max_mnt_count = le16(EXT4_NO_MAX_MOUNT_COUNT);
	s->s_magic = le16(EXT4_MAGIC);
	s->s_state = le16(EXT4_STATE_CLEAN);
	s->s_errors = le16(EXT4_ERRORS_CONTINUE);
	s->s_lastcheck = le32(now);
	s->s_rev_level = le32(EXT4_REV_DYNAMIC);
	s->s_first_ino = le32(EXT4_FIRST_INO);
	s->s_inode_size = le16(PASS_BLOCK);
	s->s_feature_compat = le32(EXT4_COMPAT_SPARSE_SUPER2);
	s->s_feature_incompat =
		le32(EXT4_INCOMPAT_FILETYPE | EXT4_INCOMPAT_EXTENTS | EXT4_INCOMPAT_FLEX_BG);
	s->s_feature_ro_compat = le32(EXT4_RO_COMPAT_SPARSE_SUPER | EXT4_RO_COMPAT_LARGE_FILE |
				      EXT4_RO_COMPAT_EXTRA_ISIZE);
	memcpy(s->s_uuid, uuid, sizeof(s->s_uuid));
	s->s_mkfs_time = le32(now);
	s->s_min_extra_isize = le16(EXT4_EXTRA_ISIZE);
	s->s_want_extra_isize = le16(EXT4_EXTRA_ISIZE);
	s->s_flags = le32(EXT4_FLAG_SIGNED_HASH);
	s->s_log_groups_per_flex = LOG_GROUPS_IN_FLEX;
	/* Otherwise the kernel counts it at each mount. */
	s->s_overhead_blocks = le32(l->root.v);
}

/* Sets the first @used of @n bits and all behind @n, a multiple of 8; the map is zeroed already. */
static void put_bitmap(uint8_t *map, uint32_t used, uint32_t n)
{
	memset(map, 0xff, used / 8);
	if (used % 8)
		map[used / 8] = (uint8_t)((1u << used % 8) - 1);
	memset(map + n / 8, 0xff, PASS_BLOCK - n / 8);
}

/* Descriptors and bitmaps. What lies behind the end of a bitmap's group counts as used. */
static void put_groups(const struct ext4_layout *l, void *buf)
{
	struct ext4_group *group = (struct ext4_group *)block_of(buf, l->group_table);
	uint32_t per_group = l->inodes_per_group, used = EXT4_FIRST_INO - 1 + l->shape.slots;

	memset(block_of(buf, l->block_bitmaps), 0xff, (size_t)l->groups * PASS_BLOCK);
	for (uint32_t g = 0; g < l->groups; g++) {
		uint32_t here = MIN(used, per_group);

		used -= here;
		put_bitmap(block_of(buf, DBLK(l->inode_bitmaps.v + g)), here, per_group);
		group[g] = (struct ext4_group){
			.bg_block_bitmap_lo = le32(l->block_bitmaps.v + g),
			.bg_inode_bitmap_lo = le32(l->inode_bitmaps.v + g),
			.bg_inode_table_lo = le32(l->inodes.v + g * per_group),
			.bg_free_inodes_count_lo = le16(per_group - here),
			.bg_used_dirs_count_lo = le16(g == 0), /* the root: inode 2 */
		};
	}
}

static uint8_t *put_dirent(uint8_t *at, uint32_t ino, uint32_t rec_len, uint8_t type,
			   const char *name)
{
	struct ext4_dirent *e = (struct ext4_dirent *)at;
	size_t len = strlen(name);

	e->inode = le32(ino);
	e->rec_len = le16(rec_len);
	e->name_len = (uint8_t)len;
	e->file_type = type;
	memcpy(at + sizeof(*e), name, len);
	return at + rec_len;
}

static void put_root_entries(const struct ext4_layout *l, uint8_t *dir)
{
	uint8_t *end = dir + PASS_BLOCK;
	uint8_t *at = put_dirent(dir, EXT4_ROOT_INO, DOT_REC, EXT4_FT_DIR, ".");

	at = put_dirent(at, EXT4_ROOT_INO, DOT_REC, EXT4_FT_DIR, "..");
	for (uint32_t i = 0; i < l->shape.slots; i++) {
		uint32_t left = (uint32_t)(end - at);
		bool last = i + 1 == l->shape.slots || left < 2 * FILE_REC;
		char name[PASS_NAME_LEN + 1];

		pass_slot_name(i, name);
		at = put_dirent(at, EXT4_FIRST_INO + i, last ? left : FILE_REC, EXT4_FT_REG, name);
		if (at == end)
			end += PASS_BLOCK;
	}
}

/* inodes.rst, "Inode Timestamps": 34 bits of seconds from 1901 on, 30 bits of nanoseconds. */
static void put_time(struct le32 *sec, struct le32 *extra, const struct pass_time *t)
{
	const int64_t least = INT32_MIN, most = least + (INT64_C(4) << 32) - 1;
	int64_t s = MAX(least, MIN(t->sec, most));
	uint32_t epoch = (uint32_t)((s - least) >> 32);

	*sec = le32((uint32_t)s);
	*extra = le32(epoch | (s == t->sec ? t->nsec : 0) << 2);
}

static void put_inode(struct ext4_inode *inode, const struct pass_attr *attr, uint16_t links,
		      uint32_t blocks)
{
	inode->i_mode = le16(attr->mode);
	inode->i_uid = le16(attr->uid);
	inode->i_uid_high = le16(attr->uid >> 16);
	inode->i_gid = le16(attr->gid);
	inode->i_gid_high = le16(attr->gid >> 16);
	inode->i_size_lo = le32((uint32_t)attr->size);
	inode->i_size_high = le32((uint32_t)(attr->size >> 32));
	inode->i_links_count = le16(links);
	inode->i_blocks_lo = le32(blocks * SECTORS_PER_BLOCK);
	inode->i_flags = le32(EXT4_INODE_EXTENTS | (S_ISREG(attr->mode) ? EXT4_INODE_DAX : 0));
	inode->i_generation = le32(attr->generation);
	inode->i_extra_isize = le16(EXT4_EXTRA_ISIZE);
	put_time(&inode->i_atime, &inode->i_atime_extra, &attr->atime);
	put_time(&inode->i_mtime, &inode->i_mtime_extra, &attr->mtime);
	put_time(&inode->i_ctime, &inode->i_ctime_extra, &attr->ctime);
	put_time(&inode->i_crtime, &inode->i_crtime_extra, &attr->ctime);
}

static uint32_t file_blocks(const struct pass_extent *extents, size_t n)
{
	return n ? extents[n - 1].at.v + extents[n - 1].count : 0;
}

/* @inode: a block of zeroes. */
static void put_file(struct ext4_inode *inode, const struct pass_attr *attr, uint16_t links,
		     const struct pass_extent *extents, size_t n)
{
	struct ext4_tree tree = { 0 };

	/* At most as many as the inode holds. */
	(void)ext4_tree_init(&tree, extents, n);
	put_inode(inode, attr, links, file_blocks(extents, n));
	ext4_tree_write(&tree, extents, n, inode, NULL, DBLK(0));
}

int ext4_write_fs(const struct ext4_layout *l, const uint8_t uuid[16], int64_t now, void *buf,
		  size_t len)
{
	size_t need = (size_t)ext4_fs_blocks(l) * PASS_BLOCK;
	uint32_t sec = (uint32_t)MAX(INT64_C(0), MIN(now, (int64_t)UINT32_MAX));
	struct pass_time t = { .sec = sec };
	struct pass_attr root = { .size = (uint64_t)l->root_blocks * PASS_BLOCK,
				  .mode = S_IFDIR | 0700,
				  .atime = t,
				  .mtime = t,
				  .ctime = t };
	struct pass_attr empty = { .mode = S_IFREG | 0600, .atime = t, .mtime = t, .ctime = t };
	struct pass_extent dir = { FBLK(0), l->root, l->root_blocks };
	struct dblk root_inode = DBLK(l->inodes.v + EXT4_ROOT_INO - 1);

	if (len < need)
		return -ENOBUFS;
	memset(buf, 0, need);
	put_super(l, uuid, sec, (struct ext4_super *)((uint8_t *)buf + EXT4_SUPER_OFFSET));
	put_groups(l, buf);
	put_root_entries(l, block_of(buf, l->root));
	put_file((struct ext4_inode *)block_of(buf, root_inode), &root, 2, &dir, 1);
	for (uint32_t i = 0; i < l->shape.slots; i++)
		put_file((struct ext4_inode *)block_of(buf, ext4_slot_inode(l, i)), &empty, 1, NULL,
			 0);
	return 0;
}

int ext4_write_slot(const struct ext4_layout *l, uint32_t slot, const struct pass_attr *attr,
		    const struct pass_extent *extents, size_t n, void *inode, struct dblk at,
		    void *tree, size_t tree_len)
{
	struct ext4_tree t = { 0 };
	uint32_t tree_blocks;
	uint64_t used;
	int r;

	if (slot >= l->shape.slots)
		return -EINVAL;
	r = pass_file_check(attr, extents, n, l->spare, DBLK(l->blocks), true);
	if (!r)
		r = ext4_tree_init(&t, extents, n);
	if (r)
		return r;
	tree_blocks = t.leaves + t.nodes;
	if (tree_blocks && (at.v < l->spare.v || !range_ok(at.v, tree_blocks, l->blocks)))
		return -EINVAL;
	if (tree_blocks > tree_len / PASS_BLOCK)
		return -ENOBUFS;
	used = (uint64_t)file_blocks(extents, n) + tree_blocks;
	/* Without the feature huge_file an inode counts at most 2^32 - 1 sectors. */
	if (used > UINT32_MAX / SECTORS_PER_BLOCK)
		return -EFBIG;
	memset(inode, 0, PASS_BLOCK);
	put_inode(inode, attr, 1, (uint32_t)used);
	ext4_tree_write(&t, extents, n, inode, tree, at);
	return (int)tree_blocks;
}
