/* SPDX-License-Identifier: MIT */
/* The structures of EROFS that we write. */
#pragma once

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "le.h"

/* Names and meanings as in the kernel's fs/erofs/erofs_fs.h and
 * Documentation/filesystems/erofs.rst. */

#define EROFS_SUPER_OFFSET	    1024u
#define EROFS_MAGIC		    0xe0f5e1e2u

#define EROFS_COMPAT_MTIME	    0x2u /* the time of an inode is its mtime */
#define EROFS_INCOMPAT_CHUNKED_FILE 0x4u

struct erofs_super {
	struct le32 magic;
	struct le32 checksum;
	struct le32 feature_compat;
	uint8_t blkszbits;
	uint8_t sb_extslots;
	struct le16 root_nid;
	struct le64 inos;
	struct le64 build_time;
	struct le32 build_time_nsec;
	struct le32 blocks;
	struct le32 meta_blkaddr;
	struct le32 xattr_blkaddr;
	uint8_t uuid[16];
	uint8_t volume_name[16];
	struct le32 feature_incompat;
	uint8_t unused_84[128 - 84]; /* compression, more devices, prefixes of attributes */
};
static_assert(sizeof(struct erofs_super) == 128, "struct erofs_super_block");
static_assert(offsetof(struct erofs_super, feature_incompat) == 80, "struct erofs_super_block");

/* An inode's number is its place, counted in units of the smaller kind of inode. */
#define EROFS_NID_SIZE 32u

/* i_format: bit 0 the extended kind, then the layout of the data. */
#define EROFS_EXTENDED	  1u
#define EROFS_FLAT_PLAIN  (0u << 1)
#define EROFS_CHUNK_BASED (4u << 1)

/* i_u of a chunk-based inode: chunks of 2^(this & 31) blocks; indexes, not plain addresses. */
#define EROFS_CHUNK_BITS_MAX 31u
#define EROFS_CHUNK_INDEXES  0x20u

struct erofs_inode {
	struct le16 i_format;
	struct le16 i_xattr_icount;
	struct le16 i_mode;
	struct le16 i_reserved;
	struct le64 i_size;
	struct le32 i_u; /* flat: the first block; chunk-based: the format */
	struct le32 i_ino;
	struct le32 i_uid;
	struct le32 i_gid;
	struct le64 i_mtime;
	struct le32 i_mtime_nsec;
	struct le32 i_nlink;
	uint8_t i_reserved2[16];
};
static_assert(sizeof(struct erofs_inode) == 64, "struct erofs_inode_extended");

/* Behind the inode, one for each chunk. */
struct erofs_chunk {
	struct le16 advise;
	struct le16 device_id;
	struct le32 blkaddr;
};
static_assert(sizeof(struct erofs_chunk) == 8, "struct erofs_inode_chunk_index");

/* A block of a directory: entries sorted by name, then the names. */
struct erofs_dirent {
	struct le64 nid;
	struct le16 nameoff;
	uint8_t file_type;
	uint8_t reserved;
};
static_assert(sizeof(struct erofs_dirent) == 12, "struct erofs_dirent");
#define EROFS_FT_REG 1u
#define EROFS_FT_DIR 2u
