/* SPDX-License-Identifier: MIT */
/* The command line of vfsdaxfuse. */
#pragma once

#include <stdbool.h>

#include "daemon/mount_opts.h"

struct fuse_args;

enum dax_mode {
	DAX_DEFAULT, /* the window where there is one */
	DAX_ALWAYS,  /* no mount without a window */
	DAX_INODE,   /* for files to which the host gives the attribute */
	DAX_NEVER,
};

enum io_uring_mode {
	IO_URING_AUTO,
	IO_URING_ON, /* no mount without it */
	IO_URING_OFF,
};

enum passthrough_mode {
	PASSTHROUGH_AUTO, /* as RO on a read-only mount where the regions are there; else off */
	PASSTHROUGH_OFF,
	PASSTHROUGH_RO,	   /* files that are opened for reading */
	PASSTHROUGH_FIXED, /* files that are marked, for writing, too */
	PASSTHROUGH_ALL,   /* all files, for writing, too */
};

struct options {
	char *tag;	  /* NULL: the only device */
	char *mountpoint; /* absolute; NULL with probe */
	char *vhost_user; /* a socket, or NULL: VFIO */
	char *pci;	  /* a PCI address, or NULL */
	char *stats;	  /* a file for counters, or NULL */
	enum dax_mode dax;
	enum io_uring_mode io_uring;
	enum passthrough_mode passthrough;
	unsigned int max_threads; /* 1 to OPTIONS_THREADS_MAX */
	unsigned int max_write;	  /* bytes; OPTIONS_WRITE_MIN to OPTIONS_WRITE_MAX */
	unsigned int queue_size;  /* a power of two, OPTIONS_QUEUE_MIN to OPTIONS_QUEUE_MAX */
	struct mount_opts mount;  /* all other options of -o */
	int foreground;
	int probe;
	int debug;
	int help;
	int version;
};

#define OPTIONS_THREADS_DEFAULT 8u
#define OPTIONS_THREADS_MAX	64u
#define OPTIONS_QUEUE_MIN	16u
#define OPTIONS_QUEUE_MAX	1024u

/*
 * Each thread has a pinned buffer of max_write bytes for requests and one for replies: 16 MiB in
 * all by default, which is also what a kernel grants by itself (fs.fuse.max_pages_limit 256).
 */
#define OPTIONS_WRITE_DEFAULT (1u << 20)
#define OPTIONS_WRITE_MIN     4096u
#define OPTIONS_WRITE_MAX     (16u << 20)

/*
 * options_parse() - read @args.
 * Returns 0, or -EINVAL when the call is wrong; then a sentence has been printed.
 * Free with options_free(), also on failure.
 */
int options_parse(struct fuse_args *args, struct options *ret);
void options_free(struct options *o);

/* options_usage() - the text of --help. */
const char *options_usage(void);
