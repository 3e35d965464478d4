/* SPDX-License-Identifier: MIT */
/* The FUSE protocol of <linux/fuse.h>, completed where the installed header is older. */
#pragma once

#include <linux/fuse.h>

#include <assert.h>
#include <stdint.h>

/* Every number below is from the kernel's include/uapi/linux/fuse.h. */

#if FUSE_KERNEL_MINOR_VERSION < 39 /* 7.39: FUSE_DIRECT_IO_ALLOW_MMAP, STATX */
#define FUSE_DIRECT_IO_ALLOW_MMAP (1ULL << 36)
#define FUSE_STATX		  52

struct fuse_sx_time {
	int64_t tv_sec;
	uint32_t tv_nsec;
	int32_t __reserved;
};

struct fuse_statx {
	uint32_t mask;
	uint32_t blksize;
	uint64_t attributes;
	uint32_t nlink;
	uint32_t uid;
	uint32_t gid;
	uint16_t mode;
	uint16_t __spare0[1];
	uint64_t ino;
	uint64_t size;
	uint64_t blocks;
	uint64_t attributes_mask;
	struct fuse_sx_time atime;
	struct fuse_sx_time btime;
	struct fuse_sx_time ctime;
	struct fuse_sx_time mtime;
	uint32_t rdev_major;
	uint32_t rdev_minor;
	uint32_t dev_major;
	uint32_t dev_minor;
	uint64_t __spare2[14];
};

struct fuse_statx_in {
	uint32_t getattr_flags;
	uint32_t reserved;
	uint64_t fh;
	uint32_t sx_flags;
	uint32_t sx_mask;
};

struct fuse_statx_out {
	uint64_t attr_valid;
	uint32_t attr_valid_nsec;
	uint32_t flags;
	uint64_t spare[2];
	struct fuse_statx stat;
};
#endif

#if FUSE_KERNEL_MINOR_VERSION < 40 /* 7.40 */
#define FUSE_PASSTHROUGH       (1ULL << 37)
#define FUSE_NO_EXPORT_SUPPORT (1ULL << 38)
#define FUSE_HAS_RESEND	       (1ULL << 39)
#define FOPEN_PASSTHROUGH      (1 << 7)

/* In fuse_init_out.max_stack_depth and fuse_open_out.backing_id, which have no names here. */
#define fuse_init_stack_depth(out) ((out)->unused[0])
#define fuse_open_backing(out)	   (*(int32_t *)&(out)->padding)

struct fuse_backing_map {
	int32_t fd;
	uint32_t flags;
	uint64_t padding;
};

#define FUSE_DEV_IOC_BACKING_OPEN  _IOW(FUSE_DEV_IOC_MAGIC, 1, struct fuse_backing_map)
#define FUSE_DEV_IOC_BACKING_CLOSE _IOW(FUSE_DEV_IOC_MAGIC, 2, uint32_t)
#else
#define fuse_init_stack_depth(out) ((out)->max_stack_depth)
#define fuse_open_backing(out)	   ((out)->backing_id)
#endif
#if FUSE_KERNEL_MINOR_VERSION < 42 /* 7.41 and 7.42 */
#define FUSE_ALLOW_IDMAP   (1ULL << 40)
#define FUSE_OVER_IO_URING (1ULL << 41)

/* What stands in the header buffer of a ring entry: a request, and afterwards its reply. */
#define FUSE_URING_IN_OUT_HEADER_SZ 128
#define FUSE_URING_OP_IN_OUT_SZ	    128

struct fuse_uring_ent_in_out {
	uint64_t flags;
	uint64_t commit_id;
	uint32_t payload_sz;
	uint32_t padding;
	uint64_t reserved;
};

struct fuse_uring_req_header {
	char in_out[FUSE_URING_IN_OUT_HEADER_SZ];
	char op_in[FUSE_URING_OP_IN_OUT_SZ];
	struct fuse_uring_ent_in_out ring_ent_in_out;
};

enum fuse_uring_cmd {
	FUSE_IO_URING_CMD_INVALID = 0,
	FUSE_IO_URING_CMD_REGISTER = 1,
	FUSE_IO_URING_CMD_COMMIT_AND_FETCH = 2,
};

/* In the 80 bytes for a command of a large SQE. */
struct fuse_uring_cmd_req {
	uint64_t flags;
	uint64_t commit_id;
	uint16_t qid;
	uint8_t padding[6];
};
#endif
#if FUSE_KERNEL_MINOR_VERSION < 43 /* 7.43 */
#define FUSE_REQUEST_TIMEOUT (1ULL << 42)
#endif
#if FUSE_KERNEL_MINOR_VERSION < 45 /* 7.45 */
#define FUSE_COPY_FILE_RANGE_64 53

struct fuse_copy_file_range_out {
	uint64_t bytes_copied;
};
#endif
#if FUSE_KERNEL_MINOR_VERSION < 46 /* 7.46 */
#define FUSE_HAS_IO_URING_BUFPOOL (1ULL << 43)
#endif
#ifndef FUSE_CREATE_SUPP_GROUP /* 7.38, left out by some distributions' headers */
#define FUSE_CREATE_SUPP_GROUP (1ULL << 34)
#endif
#ifndef FUSE_HAS_EXPIRE_ONLY
#define FUSE_HAS_EXPIRE_ONLY (1ULL << 35)
#endif
#ifndef FUSE_ATTR_DAX
#define FUSE_ATTR_DAX (1 << 1)
#endif
#ifndef FOPEN_PARALLEL_DIRECT_WRITES
#define FOPEN_PARALLEL_DIRECT_WRITES (1 << 6)
#endif

/*
 * Extensions at the end of a request that creates something: 7.36 and 7.38, some of it left out by
 * some distributions' headers, so all of it stands here under names of our own.
 */
#define FUSE_PROTO_EXT_GROUPS  32u	      /* types below are the number of security contexts */
#define FUSE_PROTO_INVALID_UID ((uint32_t)-1) /* 7.41: nobody to act for, see ALLOW_IDMAP */

struct fuse_proto_ext {
	uint32_t size; /* with this header, a multiple of 8 */
	uint32_t type; /* or the number of security contexts */
};

/* Followed by name and value: the name ends with NUL, the whole is padded to a multiple of 8. */
struct fuse_proto_secctx {
	uint32_t size; /* of the value */
	uint32_t padding;
};

/* The newest minor whose structures and opcodes this project knows; Linux 7.3 speaks it. */
#define FUSE_PROTO_MINOR 46

static_assert(sizeof(struct fuse_in_header) == 40, "fuse_in_header");
static_assert(sizeof(struct fuse_out_header) == 16, "fuse_out_header");
static_assert(sizeof(struct fuse_init_in) == 64, "fuse_init_in");
static_assert(sizeof(struct fuse_init_out) == 64, "fuse_init_out");
static_assert(sizeof(struct fuse_attr) == 88, "fuse_attr");
static_assert(sizeof(struct fuse_attr_out) == 104, "fuse_attr_out");
static_assert(sizeof(struct fuse_entry_out) == 128, "fuse_entry_out");
static_assert(sizeof(struct fuse_read_in) == 40, "fuse_read_in");
static_assert(sizeof(struct fuse_write_in) == 40, "fuse_write_in");
static_assert(sizeof(struct fuse_setupmapping_in) == 40, "fuse_setupmapping_in");
static_assert(sizeof(struct fuse_removemapping_one) == 16, "fuse_removemapping_one");
static_assert(sizeof(struct fuse_copy_file_range_in) == 56, "fuse_copy_file_range_in");
static_assert(sizeof(struct fuse_copy_file_range_out) == 8, "fuse_copy_file_range_out");
static_assert(sizeof(struct fuse_uring_req_header) == 288, "fuse_uring_req_header");
static_assert(sizeof(struct fuse_statx) == 256, "fuse_statx");
static_assert(sizeof(struct fuse_statx_out) == 288, "fuse_statx_out");
