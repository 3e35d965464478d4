/* SPDX-License-Identifier: MIT */
/* Files of the host that the guest's kernel reads and writes by itself, through the window. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "dax/dax.h"
#include "pass/region.h"

/*
 * Problem: a FUSE request for each access costs ten times what the access costs. With
 * FUSE_PASSTHROUGH (Linux 6.9) the kernel reads, writes and maps a backing file instead. Here that
 * is a file of a small ext4 with DAX over the pieces of the window where the host's file is mapped.
 *
 * Concepts: one block device is made of metadata memory and of the whole window (pass/compose.h),
 * and one ext4 with a number of slots is mounted on it (pass/slots.h). A file is composed at an
 * open: its whole pages are mapped in the window (SETUPMAPPING), a slot is written that shows these
 * pieces, and the slot's file is registered with the kernel (backing id). The last page, if it is
 * not whole, is a copy: the host cannot map it.
 *
 * States of a file:
 *
 *	OPEN	opens > 0. The kernel uses the backing file. It cannot grow past its last
 *		page: such a write gets ENOSPC. truncate and fallocate by the guest get EBUSY.
 *	IDLE	opens == 0. Kept for the next open. Evicted when another file needs the room,
 *		when the host has changed size or mtime or removed it, and a minute after the close.
 *	DYING	evicted, but a program has it mapped after its close. Its room stays until then.
 *
 * Each can be *busy* besides: one thread asks the host, composes, evicts or writes the last page
 * back, without a lock. Who wants the file meanwhile waits; other files are not held up. A thread
 * that has marked a file busy never waits for another busy file: to make room it evicts only files
 * that are not busy.
 *
 * Locks: pass.lock guards the table, the states and the window's free blocks. It is never held
 * during a request to the host. The lock of pass/slots.h
 * comes after it.
 *
 * An inode is passed through by all of its opens or by none: the kernel demands it.
 */
struct pass;

/* What the host says of a file now. */
struct pass_attr_in {
	uint64_t size;
	uint64_t mtime_ns, ctime_ns;
	bool set_id;
	bool fixed; /* its size does not change while it is open */
};

struct pass_ops {
	/* As dax_remote_ops. */
	const struct dax_remote_ops *map;
	/* Attributes of a regular file. 0 or a negative errno. */
	int (*attr)(void *ctx, uint64_t nodeid, struct pass_attr_in *ret);
	/* Has it file capabilities? Is it marked as fixed by an extended attribute? */
	bool (*privileged)(void *ctx, uint64_t nodeid);
	bool (*fixed)(void *ctx, uint64_t nodeid);
	/* Has the file exactly one open? */
	bool (*alone)(void *ctx, uint64_t nodeid);
	/* @len is at most 4096 bytes. @fh NULL: there is none. 0 or a negative errno. */
	int (*read)(void *ctx, uint64_t nodeid, uint64_t fh, uint64_t off, void *buf, size_t len);
	int (*write)(void *ctx, uint64_t nodeid, const uint64_t *fh, uint64_t off, const void *buf,
		     size_t len);
	/* Set mtime to now; its attributes then. 0 or a negative errno. */
	int (*touch)(void *ctx, uint64_t nodeid, struct pass_attr_in *ret);
	/* Register a file with the FUSE connection: an id above 0, or a negative errno. */
	int (*backing_open)(void *ctx, int fd);
	void (*backing_close)(void *ctx, int id);
};

struct pass_params {
	struct pass_region window, meta;
	uint64_t window_start; /* of the whole window, guest-physical */
	uint64_t window_size;  /* bytes */
	uint64_t min_size;     /* bytes, at least 4096: smaller files are not passed through */
	bool writable;	       /* files may be written to */
	bool only_fixed;       /* files for which ops->fixed() is true, and no others */
	const struct pass_ops *ops;
	void *ctx;
};

/*
 * pass_create() - 0 or a negative errno. Devices that a killed process has left are removed;
 * -EBUSY: one is still in use, or the metadata's device is. What is on that device is overwritten.
 * -ENOSPC: there is too little memory for metadata. -EOPNOTSUPP: the kernel cannot evict a file.
 */
int pass_create(const struct pass_params *params, struct pass **ret);

/*
 * pass_arena_open() - give a part of the window to this process, which cannot map it by VFIO while
 * the kernel has it: a third of it or less, as a power of two, mapped in memory; or, with @all, all
 * of it up to PASS_SLOT_EXTENT_MAX, and then no file can be composed. Once, before the first open
 * of a file. It ends with pass_destroy(). 0 or a negative errno.
 */
struct pass_arena {
	void *addr;
	uint64_t size;	/* bytes */
	struct woff at; /* where it stands in the window */
};
int pass_arena_open(struct pass *p, bool all, struct pass_arena *ret);

struct pass_open_in {
	uint64_t nodeid, fh;
	bool writable, append; /* how the host has opened it */
	bool wanted;	       /* this open may start passthrough */
};

/*
 * pass_note() - the host has just told this of a file. An open soon after goes by it: the kernel
 * looks a file up before it opens it.
 */
void pass_note(struct pass *p, uint64_t nodeid, const struct pass_attr_in *attr);

/*
 * pass_open() - to be called before OPEN with @in->fh is answered.
 * Returns the backing id, or a negative errno: answer without passthrough. -EBUSY: fail the open,
 * because the file's other opens are passed through and this one cannot be.
 */
int pass_open(struct pass *p, const struct pass_open_in *in);

/*
 * pass_settle() - write the last page back to the host, and set mtime if the guest has written
 * since the last call. Returns 1 if it has, 0 if not or if the file is not passed through, or a
 * negative errno: the last page was not written back.
 */
int pass_settle(struct pass *p, uint64_t nodeid);

/*
 * pass_times_begin(), pass_times_end() - around a request that sets mtime: settle first, and let
 * nobody settle meanwhile, because an mtime for earlier writes must not replace the new one.
 * @ret_settled: as pass_settle(). Returns what pass_times_end() takes, NULL when there is nothing
 * to end. @attr: the attributes after the request; NULL: it failed or returned none.
 */
struct pass_file *pass_times_begin(struct pass *p, uint64_t nodeid, int *ret_settled);
void pass_times_end(struct pass *p, struct pass_file *f, const struct pass_attr_in *attr);

/*
 * pass_watch() - true: the kernel uses the file, by an open or a mapping, and it is to be settled
 * from time to time until pass_unwatch() is true. True once until then, also when the file is
 * evicted and composed again; the caller begins then.
 * pass_unwatch() - the kernel does not use it any more. The caller settles it once more.
 */
bool pass_watch(struct pass *p, uint64_t nodeid);
bool pass_unwatch(struct pass *p, uint64_t nodeid);

/* pass_keeps() - is it composed, open or not? Then the host's file is mapped. */
bool pass_keeps(struct pass *p, uint64_t nodeid);

/*
 * pass_release() - a file handle goes, after pass_settle(). Does nothing for one that was not
 * passed through.
 */
void pass_release(struct pass *p, uint64_t nodeid, uint64_t fh);

/* The caller's memory, from pass_hold() to pass_unhold(). */
struct pass_hold {
	struct pass_hold *next;
	uint64_t nodeid;
};

/* pass_flushed() - a descriptor of the handle was closed: it may be released soon. */
void pass_flushed(struct pass *p, uint64_t nodeid, uint64_t fh);

/*
 * pass_hold() - keep the file from being passed through, while its size, blocks or privileges
 * change on the host. 0, or -EBUSY: it is passed through or mapped; then there is nothing to undo.
 */
int pass_hold(struct pass *p, uint64_t nodeid, struct pass_hold *h);
void pass_unhold(struct pass *p, struct pass_hold *h);

/* pass_forget() - the kernel forgets the file. */
void pass_forget(struct pass *p, uint64_t nodeid);

/*
 * pass_fail() - the host is gone, and so is what the window showed: zeroes are read there, and what
 * is written is lost. From now on files that are passed through give EIO, and mappings SIGBUS.
 */
void pass_fail(struct pass *p);

/* pass_destroy() - unmounts and removes everything. The connection has ended. NULL is fine. */
void pass_destroy(struct pass *p);
