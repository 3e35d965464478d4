/* SPDX-License-Identifier: MIT */
/* What the files of passthrough share. */
#pragma once

#include <pthread.h>

#include "base/num.h"
#include "dax/buddy.h"
#include "pass/pass.h"
#include "pass/slots.h"

/* Pieces of the window that show one file: few, because the host allows few mappings in all. */
#define PASS_PIECES_MAX	   8u
#define PASS_PIECE_SHIFT   16u /* 64 KiB */
#define PASS_SHIFT_MAX	   30u

#define PASS_DEVICE_PREFIX "vfsdaxfuse-"
#define PASS_BUCKETS	   256u

struct pass_piece {
	struct woff at;
	unsigned int shift; /* of the block */
	uint64_t from, len; /* of the file, in bytes */
	bool mapped;
};

/* An open of the file that the kernel serves. */
struct pass_handle {
	uint64_t fh;
	bool tail;	     /* the last page can be written by it */
	uint64_t flushed_ns; /* when it was closed, perhaps for the last time; 0: never */
};

struct pass_file {
	struct pass_file *next; /* in its bucket */
	uint64_t nodeid;
	bool busy;		  /* one thread works on it without the lock; the others wait */
	bool dying;		  /* evicted, but still in use by a mapping */
	uint64_t retry_ns;	  /* when it is dying: not tried again before that */
	uint64_t used;		  /* number of its last open: the least is evicted first */
	struct pass_attr_in told; /* by pass_note() at told_ns; 0: never */
	uint64_t told_ns;
	struct pass_attr_in attr;   /* of when it was composed or settled */
	struct pass_handle *handle; /* of all opens; 0: it is idle */
	size_t opens, opens_max;
	bool written;	/* it was opened for writing since it was composed */
	bool moved;	/* the backing file's mtime says so, and the host's is not set yet */
	uint64_t whole; /* bytes that the window shows */
	bool has_tail;	/* behind them is a copy of the last page, which can become whole, too */
	char tail[PAGE_4K]; /* that page, as the host has it */

	struct pass_piece piece[PASS_PIECES_MAX];
	unsigned int n;
	struct pass_slot slot;
	bool has_slot;
	int backing; /* 0: not registered */
};

/* See pass_watch(). It outlives the eviction of its file: the caller has it listed until then. */
struct pass_watched {
	struct pass_watched *next; /* in its bucket */
	uint64_t nodeid;
};

struct pass {
	struct pass_params params;
	uint64_t front; /* bytes of the window before its region */
	uint64_t first; /* and before the first block of @window */
	struct ext4_layout layout;
	struct pass_slots *slots;
	char device[64]; /* to be removed in the end; "": there is none */
	struct pass_arena arena;
	struct pass_slot arena_slot;

	pthread_mutex_t lock;	/* guards the rest */
	pthread_cond_t changed; /* a file is not busy or not open any more */
	struct buddy *window;	/* counts from @first on */
	struct pass_file *bucket[PASS_BUCKETS];
	struct pass_watched *watched[PASS_BUCKETS];
	struct pass_hold *holds;
	bool flushes;	/* the kernel sends FLUSH */
	bool failed;	/* pass_fail() */
	uint64_t files; /* in all buckets */
	uint64_t opens; /* numbers for pass_file.used */
};

/* file.c; the file is busy, and the lock is not held. */
/*
 * pass_file_compose() - do all that makes f->backing of a file of which number and attributes are
 * set. @fh: to read the last page. 0, or a negative errno: then pass_file_free() it.
 */
int pass_file_compose(struct pass *p, struct pass_file *f, uint64_t fh);
/*
 * pass_file_settle() - write the last page to the host if the guest has changed it. @fh: a handle
 * to write by, or NULL. Returns as pass_settle().
 */
int pass_file_settle(struct pass *p, struct pass_file *f, const uint64_t *fh);
/* pass_file_settled() - somebody has set mtime; the host says @attr. */
void pass_file_settled(struct pass_file *f, const struct pass_attr_in *attr);
/*
 * pass_file_free() - settle it without a handle and undo that. False: something still uses it, a
 * mapping as a rule. Then its pages of the window must stay as they are, and the caller tries again
 * later.
 */
bool pass_file_free(struct pass *p, struct pass_file *f);
/* pass_extent_of() - @len bytes of the window from @at on as a piece of a file. */
struct pass_extent pass_extent_of(const struct pass *p, uint64_t from, struct woff at,
				  uint64_t len);

/* pass.c */
/*
 * pass_create_over() - as pass_create(), over a block device that is there already: @l->data.v
 * blocks for metadata, then the window's region. It must outlive the pass.
 */
int pass_create_over(const struct pass_params *params, const struct ext4_layout *l,
		     const char *device, struct pass **ret);
/*
 * pass_reserve() - a block of 2^shift bytes of the window, for which idle files are evicted.
 * -ENOSPC: all are in use.
 */
int pass_reserve(struct pass *p, unsigned int shift, struct woff *ret);
/* pass_evict_one() - evict the file that has been idle for longest. False: there is none. */
bool pass_evict_one(struct pass *p);
/* pass_room() - bytes of the window that are free, or would be if all idle files were evicted. */
uint64_t pass_room(struct pass *p);
