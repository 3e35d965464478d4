/* SPDX-License-Identifier: MIT */
/* The mountpoint: check it, mount, remount, unmount. */
#pragma once

#include <stdbool.h>

#include "daemon/mount_opts.h"

struct fuse_session;

struct mount {
	int fd; /* /dev/fuse; -1: nothing is mounted */
	const char *mountpoint;
	bool detached;		      /* mount_unmount() was called */
	struct fuse_session *session; /* of a mount that libfuse made, or NULL */
};

/* mount_check() - 0, or a negative errno after a sentence was printed. */
int mount_check(const char *mountpoint);

/*
 * mount_make() - mount at @mountpoint, with @source as the name in the mount table. Uses mount(2),
 * or, for an ordinary user and for auto_unmount, libfuse, which calls fusermount3.
 * @mountpoint must outlive *ret, which is to be ended with mount_end(). Returns 0, or a negative
 * errno after a sentence was printed.
 */
int mount_make(const struct mount_opts *opts, const char *source, const char *mountpoint,
	       struct mount *ret);

/*
 * mount_unmount() - detach the mount, unless somebody has done so already: a mount below it at the
 * same mountpoint, such as autofs, is not ours. The connection to the kernel stays while files are
 * open, or others have descriptors of it.
 */
void mount_unmount(struct mount *m);

/* mount_end() - unmount, close, free. Does nothing if nothing is mounted. */
void mount_end(struct mount *m);

/* mount_change() - remount @mountpoint with @opts. Returns as mount_make(). */
int mount_change(const struct mount_opts *opts, const char *mountpoint);

/* mount_flags() - get the flags (MS_...) of our mount at @mountpoint. -ENOENT: there is none. */
int mount_flags(const char *mountpoint, unsigned long *ret);
