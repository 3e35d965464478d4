/* SPDX-License-Identifier: MIT */
/* File data through the DAX window: mappings of files, and copies in and out of them. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/num.h"

/*
 * Problem: the window is a range of memory into which the host maps pieces of files on request
 * (FUSE_SETUPMAPPING). It is smaller than the files, a mapping costs a round trip and more, and the
 * host may refuse one at any time.
 *
 * Concepts: an extent is one mapping, a power-of-two block of the window that shows a piece of one
 * file. Extents belong to an inode. A copy pins the extents it touches; no pointer into the window
 * leaves this layer. Every function that copies may say -EAGAIN, which means "ask the host over the
 * virtqueue"; that is never an error for the application. Whether a range is mapped at all is a
 * matter of policy: see policy/policy.h. The caller tells with dax_missed() what the virtqueue has
 * cost.
 *
 * The rule of the end of file: only whole pages inside the file may be touched, because the host's
 * mapping raises a fault behind them. The caller gives the limit with each copy, and guarantees
 * that the file is not shortened below it while the copy runs (the lock for that is the caller's);
 * it calls dax_drop() before it lets a file become shorter.
 *
 * Threads: all functions may be called by any thread, except create and destroy of the same object.
 */
struct dax;
struct dax_inode;
struct policy_params;

struct dax_range {
	struct woff at;
	uint64_t len; /* bytes */
};

/*
 * How mappings are asked for. Both may block and are called without any lock of this layer, by the
 * thread that copies or by the janitor, a thread of this layer.
 */
struct dax_remote_ops {
	/*
	 * Map to @to @len bytes (a multiple of 4 KiB) of the file from @from (aligned to the block
	 * size). 0, or a negative errno: then nothing is mapped there. -ENODATA: a part of it is a
	 * hole that must not be mapped for writing.
	 */
	int (*setup)(void *ctx, uint64_t nodeid, struct foff from, uint64_t len, struct woff to,
		     bool writable);
	/*
	 * Unmap @n ranges, each exactly what one setup() has mapped. 0, or a negative errno: then
	 * some of them may still be mapped, and each is asked for again. So a range where nothing
	 * is mapped any more is no error.
	 */
	int (*remove)(void *ctx, const struct dax_range *ranges, unsigned int n);
};

struct dax_params {
	void *addr;	    /* of the window in this process */
	uint64_t size;	    /* bytes */
	uint64_t alignment; /* what the host demands of mappings; a power of two >= 4096 */
	const struct dax_remote_ops *remote;
	void *remote_ctx;
	uint64_t (*clock_ns)(void);	    /* NULL: the monotonic clock; a simulator has its own */
	const struct policy_params *policy; /* NULL: policy_defaults (policy/params.h) */
};

/* dax_create() - 0, -EINVAL (a window without one whole block) or -ENOMEM. */
int dax_create(const struct dax_params *params, struct dax **ret);

/*
 * dax_set_alignment() - the host demands more than dax_params said (it says so in INIT, when the
 * window is there already). Before the first copy. Returns 0, -EBUSY (too late) or -EINVAL (as
 * dax_create()); on failure nothing has changed.
 */
int dax_set_alignment(struct dax *d, uint64_t alignment);

/* dax_destroy() - all inodes must have been destroyed before. NULL is fine. */
void dax_destroy(struct dax *d);

/* dax_inode_create() - NULL when there is no memory. Nothing is mapped yet. */
struct dax_inode *dax_inode_create(struct dax *d, uint64_t nodeid);

/*
 * dax_inode_destroy() - let go of everything; the host is asked to unmap it soon after. No copy of
 * it may run. NULL is fine.
 */
void dax_inode_destroy(struct dax_inode *di);

/*
 * dax_read() - copy [@off, @off + @len) of the file into @buf.
 * @limit: the whole pages of the file in bytes, a multiple of 4096; the range must lie below it.
 * Returns 0 or -EAGAIN (@buf may be partly overwritten).
 */
int dax_read(struct dax_inode *di, struct foff off, void *buf, size_t len, uint64_t limit);

/* dax_write() - the same into the file. After -EAGAIN a part may have been written. */
int dax_write(struct dax_inode *di, struct foff off, const void *buf, size_t len, uint64_t limit);

/*
 * dax_declines() - is @off not mapped, and would not be at once, because the window is full? Then
 * dax_read() or dax_write() would only say so, after some work. The caller may send its request to
 * the host, and tell of it by dax_note_miss() while the host does its work. Without locks; a hint.
 */
bool dax_declines(struct dax_inode *di, struct foff off);

/*
 * dax_note_miss() - tell of an access that dax_declines(); parameters as those of dax_read().
 * False: there is more to it, and dax_count_miss() must follow. The caller need not keep others
 * from shortening the file.
 */
bool dax_note_miss(struct dax_inode *di, struct foff off, size_t len, uint64_t limit, bool write);

/* dax_count_miss() - the rest of it; it may map something, so what is said of dax_read() holds. */
void dax_count_miss(struct dax_inode *di, struct foff off, size_t len, uint64_t limit, bool write);

/*
 * dax_has_mapped() - has the last dax_read() or dax_write() of this thread waited for a mapping?
 * Then the time that it took is not that of a copy.
 */
bool dax_has_mapped(void);

/*
 * dax_drop() - unmap every extent that shows a byte at or behind @from, after the copies that use
 * it have ended.
 */
void dax_drop(struct dax_inode *di, struct foff from);

/* dax_mapped() - does the file have mappings, counting those being made or removed? */
bool dax_mapped(struct dax_inode *di);

/* dax_missed() - a request that could not be served from the window took @ns over the virtqueue. */
void dax_missed(struct dax *d, uint64_t ns);

/*
 * dax_settle() - wait until everything that was let go of is unmapped, or the host has refused to
 * unmap it once more. For tests and the end.
 */
void dax_settle(struct dax *d);

/* Sizes of blocks: 64 KiB, 128 KiB and so on; the last one stands for larger ones, too. */
#define DAX_SIZE_FIRST 16u /* as a shift */
#define DAX_SIZES      15u

struct dax_status {
	uint64_t window_bytes;
	uint64_t free_bytes;
	uint64_t largest_free;		  /* bytes of the largest block that can be had at once */
	uint64_t live;			  /* mappings that the host holds or is asked for */
	uint64_t budget;		  /* more than this the host has refused; 0: unknown */
	uint64_t live_by_size[DAX_SIZES]; /* of live, by the size of their block */
};

void dax_get_status(struct dax *d, struct dax_status *ret);

/* dax_live_maps() - dax_status.live alone. */
uint64_t dax_live_maps(struct dax *d);
