/* SPDX-License-Identifier: MIT */
/* A file that is composed of pieces of a block device: its extents, attributes and name. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Problem: the kernel reads, writes and maps an open file with no request to the daemon when the
 * daemon names another file that it may use instead (FUSE_PASSTHROUGH). With DAX that file can lie
 * in the window. The daemon composes a block device for such files: first memory for metadata, then
 * the window. pass/ext4.h writes the metadata of a file system over that device.
 *
 * All functions here and there are pure: no I/O, no memory of their own, no state; any thread.
 * Buffers are the caller's.
 *
 * All block numbers count blocks of 4096 bytes.
 *
 * A file system has a fixed number of slots. A slot is a file of the root directory whose inode
 * stands in a block of its own. It is empty (0 bytes) until its inode is written. The kernel
 * reads that block when the file's name is looked up and the inode is not in its cache. How a slot
 * is used for one file after the other while the file system is mounted: pass/slots.h.
 *
 * The last block of a file whose size is no multiple of 4096 is a block like any other. Where the
 * host cannot map it, the caller keeps a copy in one of the metadata's spare blocks.
 */
#define PASS_BLOCK 4096u

struct fblk { /* block in a file */
	uint32_t v;
};
struct dblk { /* block of the composed device */
	uint32_t v;
};

#define FBLK(x) ((struct fblk){ (x) })
#define DBLK(x) ((struct dblk){ (x) })

/* One piece of a file. Neighbours that are contiguous on the device are merged by the writers. */
struct pass_extent {
	struct fblk at;	   /* where in the file */
	struct dblk block; /* where on the device */
	uint32_t count;	   /* blocks, at least 1 */
};

struct pass_time {
	int64_t sec;   /* since the epoch */
	uint32_t nsec; /* below 1,000,000,000 */
};

/* What stat(2) says of a composed file. */
struct pass_attr {
	uint64_t size; /* bytes; any, also 0 */
	uint32_t mode; /* of a regular file */
	uint32_t uid, gid;
	struct pass_time atime, mtime, ctime;
	uint32_t generation; /* FS_IOC_GETVERSION */
};

/* Slots that one file system can have. */
#define PASS_SLOTS_MAX 16384u

/* The name of a slot's file in the root directory: "f00000" to "f16383". */
#define PASS_NAME_LEN 6u
void pass_slot_name(uint32_t slot, char ret[PASS_NAME_LEN + 1]);

/*
 * pass_file_check() - may @extents and @attr become a file?
 * @extents: @n pieces in the order of the file, without gaps, from block 0 to the end of the
 * file's last block; with @beyond they may reach further. Each lies in [@first, @end) of the
 * device. That no two pieces share a block is the caller's business.
 *
 * Returns 0; -EINVAL: not a regular file, a time with too many nanoseconds, a gap, an empty piece,
 * a piece outside of [@first, @end), too few or too many blocks for the size; -EFBIG: the file
 * needs 2^32 - 1 blocks or more.
 */
int pass_file_check(const struct pass_attr *attr, const struct pass_extent *extents, size_t n,
		    struct dblk first, struct dblk end, bool beyond);

/*
 * Runs: checked extents with neighbours merged. Begin with { extents, n, max } and call
 * pass_run_next() until it returns false.
 */
struct pass_runs {
	const struct pass_extent *extents; /* not yet looked at */
	size_t n;
	uint32_t max;  /* blocks that a run has at most, at least 1 */
	uint32_t done; /* blocks of the first extent that were in a run already */
};

/* pass_run_next() - true and the next run in *ret; false at the end. */
bool pass_run_next(struct pass_runs *r, struct pass_extent *ret);
