/* SPDX-License-Identifier: MIT */
/* The mountpoint: what must hold before, the mount, a change of it, and its end. */
#pragma once

#include <stdbool.h>

#include "daemon/mount_opts.h"

struct fuse_session;

struct mount {
	int fd; /* of /dev/fuse; -1: nothing is mounted */
	const char *mountpoint;
	bool detached; /* by mount_unmount() */
	struct fuse_session *session; /* when libfuse has made it, or NULL */
};

/* mount_check() - 0, or a negative errno after a sentence was printed. */
int mount_check(const char *mountpoint);

/*
 * mount_make() - mount at @mountpoint, with @source as the name in the mount table. An ordinary
 * user's is made by libfuse, that is by fusermount3.
 * @mountpoint must outlive *ret, to be ended with mount_end(). 0, or a negative errno after a
 * sentence was printed.
 */
int mount_make(const struct mount_opts *opts, const char *source, const char *mountpoint,
	       struct mount *ret);

/*
 * mount_unmount() - detach it, unless that is done already: what lies under it, such as autofs, is
 * another's. The connection stays as long as others have descriptors of it or files are open.
 */
void mount_unmount(struct mount *m);

/* mount_end() - unmount, close, free. Fine when nothing was mounted. */
void mount_end(struct mount *m);

/* mount_change() - remount @mountpoint with @opts. 0, or a negative errno after a sentence. */
int mount_change(const struct mount_opts *opts, const char *mountpoint);

/* mount_flags() - the flags (MS_...) of our mount at @mountpoint, or -ENOENT: there is none. */
int mount_flags(const char *mountpoint, unsigned long *ret);
