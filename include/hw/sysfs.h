/* SPDX-License-Identifier: MIT */
/* Small files of the kernel: /sys and /proc. */
#pragma once

#include <dirent.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/cleanup.h"

/*
 * All paths are absolute. A unit test puts a directory of its own in front of them, and in front of
 * the path of modprobe(8). That is state of the process, so that what reads sysfs needs no
 * parameter for it.
 */

/* sysfs_set_root() - @root stands in front of all paths; "" is the default. Not copied. */
void sysfs_set_root(const char *root);

/* sysfs_path() - write @path with the root in front. Returns 0 or -ENAMETOOLONG. */
int sysfs_path(const char *path, char *buf, size_t size);

/* sysfs_open() - open(2). Returns a descriptor that the caller closes, or a negative errno. */
int sysfs_open(const char *path, int flags);

/* sysfs_opendir() - opendir(3): NULL and errno when it fails. */
DIR *sysfs_opendir(const char *path);

/* sysfs_fopen() - fopen(3) for reading: NULL and errno when it fails. */
FILE *sysfs_fopen(const char *path);

/* sysfs_read() - read a small file as a string, without the line's end. Bytes or a negative errno. */
int sysfs_read(const char *path, char *buf, size_t size);

/* sysfs_write() - write @text with one write(2), as attributes need it. 0 or a negative errno. */
int sysfs_write(const char *path, const char *text);

/* sysfs_link() - last component of what a symbolic link points to. 0 or a negative errno. */
int sysfs_link(const char *path, char *ret, size_t size);

bool sysfs_exists(const char *path);

static inline void cleanup_closedirp(DIR **d)
{
	if (*d)
		(void)closedir(*d);
}

static inline void cleanup_fclosep(FILE **f)
{
	if (*f)
		(void)fclose(*f);
}

#define _cleanup_fclose_   _cleanup_(cleanup_fclosep)
#define _cleanup_closedir_ _cleanup_(cleanup_closedirp)
