/* SPDX-License-Identifier: MIT */
/* The mountpoint: what must hold before, and the mount that libfuse makes. */
#pragma once

#include <stdbool.h>

struct fuse_args;
struct fuse_session;

/* mount_check() - 0, or a negative errno after a sentence was printed. */
int mount_check(const char *mountpoint);

/*
 * mount_make() - mount at @mountpoint, with @source as the name in the mount table.
 * Returns the session, to be ended with fuse_session_unmount() and fuse_session_destroy(), or NULL
 * after a sentence was printed (by libfuse).
 */
struct fuse_session *mount_make(struct fuse_args *args, const char *source,
				const char *mountpoint);
