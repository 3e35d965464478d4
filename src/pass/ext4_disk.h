/* SPDX-License-Identifier: MIT */
/* The structures of ext4 that we write. */
#pragma once

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "le.h"

/*
 * Names and meanings as in the kernel's Documentation/filesystems/ext4/: super.rst, group_descr.rst,
 * inodes.rst, ifork.rst ("Extent Tree"), directory.rst ("Linear (Classic) Directories").
 */

#define EXT4_SUPER_OFFSET	    1024u
#define EXT4_MAGIC		    0xef53u

#define EXT4_STATE_CLEAN	    1u
#define EXT4_ERRORS_CONTINUE	    1u
#define EXT4_REV_DYNAMIC	    1u
#define EXT4_FLAG_SIGNED_HASH	    1u
#define EXT4_NO_MAX_MOUNT_COUNT	    0xffffu

#define EXT4_COMPAT_SPARSE_SUPER2   0x200u
#define EXT4_INCOMPAT_FILETYPE	    0x2u
#define EXT4_INCOMPAT_EXTENTS	    0x40u
#define EXT4_INCOMPAT_FLEX_BG	    0x200u
#define EXT4_RO_COMPAT_SPARSE_SUPER 0x1u
#define EXT4_RO_COMPAT_LARGE_FILE   0x2u
#define EXT4_RO_COMPAT_EXTRA_ISIZE  0x40u

struct ext4_super {
	struct le32 s_inodes_count;
	struct le32 s_blocks_count_lo;
	struct le32 s_r_blocks_count_lo;
	struct le32 s_free_blocks_count_lo;
	struct le32 s_free_inodes_count;
	struct le32 s_first_data_block;
	struct le32 s_log_block_size;	/* 2^(10 + this) */
	struct le32 s_log_cluster_size; /* the same, without bigalloc */
	struct le32 s_blocks_per_group;
	struct le32 s_clusters_per_group;
	struct le32 s_inodes_per_group;
	struct le32 s_mtime;
	struct le32 s_wtime;
	struct le16 s_mnt_count;
	struct le16 s_max_mnt_count;
	struct le16 s_magic;
	struct le16 s_state;
	struct le16 s_errors;
	struct le16 s_minor_rev_level;
	struct le32 s_lastcheck;
	struct le32 s_checkinterval;
	struct le32 s_creator_os;
	struct le32 s_rev_level;
	struct le16 s_def_resuid;
	struct le16 s_def_resgid;
	struct le32 s_first_ino;
	struct le16 s_inode_size;
	struct le16 s_block_group_nr;
	struct le32 s_feature_compat;
	struct le32 s_feature_incompat;
	struct le32 s_feature_ro_compat;
	uint8_t s_uuid[16];
	uint8_t s_volume_name[16];
	uint8_t s_last_mounted[64];
	uint8_t unused_c8[0x108 - 0xc8]; /* compression, journal, hash, 64bit, meta_bg: not used */
	struct le32 s_mkfs_time;
	uint8_t unused_10c[0x15c - 0x10c];
	struct le16 s_min_extra_isize;
	struct le16 s_want_extra_isize;
	struct le32 s_flags;
	uint8_t unused_164[0x174 - 0x164];
	uint8_t s_log_groups_per_flex;
	uint8_t unused_175[0x248 - 0x175];
	struct le32 s_overhead_blocks;
	struct le32 s_backup_bgs[2]; /* none: 0, 0 */
	uint8_t unused_254[0x274 - 0x254];
	uint8_t s_wtime_hi;
	uint8_t s_mtime_hi;
	uint8_t s_mkfs_time_hi;
	uint8_t s_lastcheck_hi;
	uint8_t unused_278[0x400 - 0x278];
};
static_assert(sizeof(struct ext4_super) == 1024, "super.rst");
static_assert(offsetof(struct ext4_super, s_uuid) == 0x68, "super.rst");
static_assert(offsetof(struct ext4_super, s_min_extra_isize) == 0x15c, "super.rst");
static_assert(offsetof(struct ext4_super, s_backup_bgs) == 0x24c, "super.rst");

/* Without the feature 64bit a descriptor has 32 bytes. */
struct ext4_group {
	struct le32 bg_block_bitmap_lo;
	struct le32 bg_inode_bitmap_lo;
	struct le32 bg_inode_table_lo;
	struct le16 bg_free_blocks_count_lo;
	struct le16 bg_free_inodes_count_lo;
	struct le16 bg_used_dirs_count_lo;
	struct le16 bg_flags;
	struct le32 bg_exclude_bitmap_lo;
	struct le16 bg_block_bitmap_csum_lo;
	struct le16 bg_inode_bitmap_csum_lo;
	struct le16 bg_itable_unused_lo;
	struct le16 bg_checksum;
};
static_assert(sizeof(struct ext4_group) == 32, "group_descr.rst");

/* Inodes 1 to 10 are reserved, 2 is the root directory (special_inodes.rst). */
#define EXT4_ROOT_INO	    2u
#define EXT4_FIRST_INO	    11u
#define EXT4_INODE_EXTENTS  0x80000u
#define EXT4_INODE_DAX	    0x2000000u
#define EXT4_EXTRA_ISIZE    32u
#define EXT4_INODE_NO_EXTRA 128u

struct ext4_extent_header {
	struct le16 eh_magic;
	struct le16 eh_entries;
	struct le16 eh_max;
	struct le16 eh_depth; /* 0: extents follow, else indexes */
	struct le32 eh_generation;
};
#define EXT4_EXTENT_MAGIC 0xf30au

struct ext4_extent_leaf {
	struct le32 ee_block; /* first block in the file */
	struct le16 ee_len;   /* above 32768: not initialised */
	struct le16 ee_start_hi;
	struct le32 ee_start_lo;
};
#define EXT4_EXTENT_MAX 32768u

struct ext4_extent_idx {
	struct le32 ei_block; /* first block in the file that lies below */
	struct le32 ei_leaf_lo;
	struct le16 ei_leaf_hi;
	struct le16 ei_unused;
};
static_assert(sizeof(struct ext4_extent_header) == 12, "ifork.rst");
static_assert(sizeof(struct ext4_extent_leaf) == 12, "ifork.rst");
static_assert(sizeof(struct ext4_extent_idx) == 12, "ifork.rst");

/* What follows a header, in the inode and in a block: entries of 12 bytes. */
#define EXT4_ROOT_ENTRIES  4u
#define EXT4_BLOCK_ENTRIES 340u

union ext4_extent_entry {
	struct ext4_extent_leaf leaf;
	struct ext4_extent_idx idx;
};

struct ext4_inode {
	struct le16 i_mode;
	struct le16 i_uid;
	struct le32 i_size_lo;
	struct le32 i_atime;
	struct le32 i_ctime;
	struct le32 i_mtime;
	struct le32 i_dtime;
	struct le16 i_gid;
	struct le16 i_links_count;
	struct le32 i_blocks_lo; /* of 512 bytes */
	struct le32 i_flags;
	struct le32 i_version;
	struct ext4_extent_header root; /* i_block[] */
	union ext4_extent_entry entry[EXT4_ROOT_ENTRIES];
	struct le32 i_generation;
	struct le32 i_file_acl_lo;
	struct le32 i_size_high;
	struct le32 i_obso_faddr;
	struct le16 i_blocks_high;
	struct le16 i_file_acl_high;
	struct le16 i_uid_high;
	struct le16 i_gid_high;
	struct le16 i_checksum_lo;
	struct le16 i_reserved;
	struct le16 i_extra_isize; /* bytes from here that are in use */
	struct le16 i_checksum_hi;
	struct le32 i_ctime_extra;
	struct le32 i_mtime_extra;
	struct le32 i_atime_extra;
	struct le32 i_crtime;
	struct le32 i_crtime_extra;
	struct le32 i_version_hi;
	struct le32 i_projid;
};
static_assert(sizeof(struct ext4_inode) == EXT4_INODE_NO_EXTRA + EXT4_EXTRA_ISIZE, "inodes.rst");
static_assert(offsetof(struct ext4_inode, root) == 0x28, "inodes.rst");
static_assert(offsetof(struct ext4_inode, i_size_high) == 0x6c, "inodes.rst");

/* struct ext4_dir_entry_2; the name follows. */
struct ext4_dirent {
	struct le32 inode;
	struct le16 rec_len; /* to the next entry; a multiple of 4, the last one reaches the block's
				end */
	uint8_t name_len;
	uint8_t file_type;
};
static_assert(sizeof(struct ext4_dirent) == 8, "directory.rst");
#define EXT4_FT_REG 1u
#define EXT4_FT_DIR 2u
