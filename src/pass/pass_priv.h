/* SPDX-License-Identifier: MIT */
/* What the files of passthrough share. */
#pragma once

#include <pthread.h>
#include <time.h>

#include "base/num.h"
#include "dax/buddy.h"
#include "pass/pass.h"

/* Pieces of the window that show one file: few, because the host allows few mappings in all. */
#define PASS_PIECES_MAX	   8u
#define PASS_PIECE_SHIFT   16u /* 64 KiB */
#define PASS_SHIFT_MAX	   30u

#define PASS_DEVICE_PREFIX "vfsdaxfuse-"

struct pass_piece {
	struct woff at;
	unsigned int shift; /* of the block */
	uint64_t from, len; /* of the file, in bytes */
	bool mapped;
};

/* An open of the file that the kernel serves. */
struct pass_handle {
	uint64_t fh;
	bool tail; /* the last page can be written by it */
};

struct pass_file {
	struct pass_file *next; /* in a list of struct pass */
	uint64_t nodeid;
	struct pass_attr_in attr;   /* of when it was composed or settled */
	struct pass_handle *handle; /* of all opens; 0: it is idle */
	size_t opens, opens_max;
	struct timespec seen; /* mtime of the backing file when it was settled */
	char tail[PAGE_4K];   /* the last page, if it is a copy, as the host has it */

	struct pass_piece piece[PASS_PIECES_MAX];
	unsigned int n;
	struct woff meta; /* in the metadata's region */
	unsigned int meta_shift;
	bool has_meta;
	char device[64]; /* "": not made */
	int mount, fd;	 /* -1: not open */
	int backing;	 /* 0: not registered */
};

struct pass {
	struct pass_params params;
	int meta_fd;	       /* past the page cache */
	pthread_mutex_t lock;  /* guards the rest; requests to the host are sent under it */
	pthread_cond_t closed; /* a file is not open any more */
	struct buddy *window, *meta;
	struct pass_file *files; /* who was composed last is first */
	struct pass_file *dying; /* evicted, but still in use by a mapping */
	struct pass_hold *holds;
	uint64_t serial;
};

static inline bool pass_has_tail(const struct pass_file *f)
{
	return f->attr.size % PAGE_4K;
}

/* file.c */
/*
 * pass_file_compose_locked() - do all that makes f->backing of a file of which number and attributes
 * are set. @fh: to read the last page. 0 or a negative errno; then pass_file_free_locked() it.
 */
int pass_file_compose_locked(struct pass *p, struct pass_file *f, uint64_t fh);
/*
 * pass_file_free_locked() - undo that. False: something still uses its file system, a mapping as a
 * rule. Then its room must stay, and the caller tries again later.
 */
bool pass_file_free_locked(struct pass *p, struct pass_file *f);

/* pass.c */
/* pass_evict_one_locked() - make room. False: no file is idle. */
bool pass_evict_one_locked(struct pass *p);
