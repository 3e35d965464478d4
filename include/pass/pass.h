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
 * Concepts: a file is composed at an open: its whole pages are mapped in the window (SETUPMAPPING),
 * a device is made of a piece of metadata memory and of these pieces (pass/compose.h), an ext4 with
 * just this file is written to the metadata (pass/ext4.h) and mounted, and the file is registered
 * with the kernel (backing id). The last page, if it is not whole, is a copy: the host cannot map
 * it.
 *
 * States of a file; pass.lock guards all of them:
 *
 *	OPEN	opens > 0. The kernel uses the backing file. Size and blocks cannot change: a
 *		write behind the end gets ENOSPC, and a change of the host's size gets EBUSY.
 *	IDLE	opens == 0. Kept for the next open. Evicted when another file needs the room, or
 *		when the host has changed size or mtime.
 *	DYING	evicted, but a program has it mapped after its close. Its room stays until then.
 *
 * An inode is passed through by all of its opens or by none: the kernel demands it.
 */
struct pass;

/* What the host says of a file now. */
struct pass_attr_in {
	uint64_t size;
	uint64_t mtime_ns;
	bool privileged; /* it has set-id bits or capabilities */
};

struct pass_ops {
	/* As dax_remote_ops. */
	const struct dax_remote_ops *map;
	/* Attributes of a regular file. 0 or a negative errno. */
	int (*attr)(void *ctx, uint64_t nodeid, struct pass_attr_in *ret);
	/* Has the file exactly one open? */
	bool (*alone)(void *ctx, uint64_t nodeid);
	/* @len is at most 4096 bytes. 0 or a negative errno. */
	int (*read)(void *ctx, uint64_t nodeid, uint64_t fh, uint64_t off, void *buf, size_t len);
	int (*write)(void *ctx, uint64_t nodeid, uint64_t fh, uint64_t off, const void *buf,
		     size_t len);
	/* Register a file with the FUSE connection: an id above 0, or a negative errno. */
	int (*backing_open)(void *ctx, int fd);
	void (*backing_close)(void *ctx, int id);
};

struct pass_params {
	struct pass_region window, meta;
	uint64_t window_start; /* of the whole window, guest-physical */
	uint64_t window_size;  /* bytes */
	bool writable;	       /* files may be written to */
	const struct pass_ops *ops;
	void *ctx;
};

/*
 * pass_create() - 0 or a negative errno. Devices that a killed process has left are removed;
 * -EBUSY: one is still in use, or the metadata's device is. What is on that device is overwritten.
 */
int pass_create(const struct pass_params *params, struct pass **ret);

struct pass_open_in {
	uint64_t nodeid, fh;
	bool writable, append; /* how the host has opened it */
	bool wanted;	       /* the open is of a kind that may begin passthrough */
};

/*
 * pass_open() - @in->fh is about to be given to the kernel.
 * Returns the backing id, or a negative errno: the open is answered without. -EBUSY: other opens are
 * passed through, and this one cannot be.
 * pass_is_open() - must every open of the file be passed through now?
 */
int pass_open(struct pass *p, const struct pass_open_in *in);
bool pass_is_open(struct pass *p, uint64_t nodeid);

/*
 * pass_settle() - make the host's file what the guest has written: copy the last page back. 1: the
 * file was written since this was asked last, and the caller sets its mtime. 0: it was not, or is
 * not passed through. Or a negative errno: the last page is not on the host.
 */
int pass_settle(struct pass *p, uint64_t nodeid);

/* pass_settled() - that was done: the host's mtime is now @mtime_ns. */
void pass_settled(struct pass *p, uint64_t nodeid, uint64_t mtime_ns);

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

/*
 * pass_hold() - keep the file from being passed through, while its size, blocks or privileges
 * change on the host. 0, or -EBUSY: it is passed through or mapped; then there is nothing to undo.
 */
int pass_hold(struct pass *p, uint64_t nodeid, struct pass_hold *h);
void pass_unhold(struct pass *p, struct pass_hold *h);

/* pass_forget() - the kernel forgets the file. */
void pass_forget(struct pass *p, uint64_t nodeid);

/* pass_destroy() - unmounts and removes everything. The connection has ended. NULL is fine. */
void pass_destroy(struct pass *p);
