/* SPDX-License-Identifier: MIT */
/* Which request goes where: window, host, or both. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dax/dax.h"
#include "fs/client.h"
#include "fs/cost.h"
#include "fs/inode.h"
#include "fs/lock.h"
#include "fs/notifier.h"
#include "fs/upkeep.h"
#include "pass/pass.h"
#include "wire/fuse_init.h"
#include "wire/fuse_req.h"

/*
 * A request that the kernel sends is read into a worker's slot and forwarded from there without
 * being changed, unless this layer knows better:
 *
 *  READ, WRITE            through the window, when they lie inside the file and it is cheaper
 *  INIT                   answered by us, after the host was asked (wire/fuse_init.h)
 *  OPEN, CREATE, RELEASE  forwarded, and the inode table follows
 *  SETATTR, FALLOCATE, COPY_FILE_RANGE  forwarded while nothing of the file is mapped that they may
 *                         take away; so is OPEN with O_TRUNC
 *  SETLKW                 never sent: SETLK, again and again (fs/lock.h)
 *  FORGET, INTERRUPT      to the high-priority queue
 *  the replies of LOOKUP, GETATTR, STATX...  pass, and their sizes are remembered
 */
struct relay_worker;

struct relay {
	/* Constants while workers run. */
	struct client *client;
	struct dax *dax; /* NULL: no window, or dax=never */
	bool by_cost; /* data that could use the window goes the cheaper way; else by the window */
	bool dax_inode; /* dax=inode: only files to which the host gives FUSE_ATTR_DAX */
	struct inode_table *inodes;
	struct lock_waits *lock_waits;
	struct upkeep *upkeep;
	struct pass *pass; /* NULL: no file is passed through */
	bool pass_write;   /* also files that are opened for writing */
	struct woff arena; /* where the window of @dax stands in that of the device, see
			      relay_arena_ops */
	int fuse_fd;	   /* the connection; set before the first request; -1 after its end */
	struct notifier *notifier; /* set before the first request */
	struct fuse_init_wish wish;
	struct relay_worker *workers; /* linked; see relay_add_worker() */

	/* Flags of the mount, which a remount can change: atime of files, of directories stays. */
	_Atomic bool noatime, nodiratime;
	_Atomic bool pass_paused; /* no file begins to be passed through */

	/* Set by INIT. */
	struct fuse_init_result agreed;
	bool direct_mmap; /* the kernel maps files that are open with FOPEN_DIRECT_IO */
	struct cost cost;
	_Atomic int init_state; /* 0 not yet, 1 done, or the negative errno of its failure */
};

/*
 * How a reply goes to the kernel: @error (0 or a negative errno) and, when that is 0, @len bytes at
 * @payload. They lie either at worker->payload or in the worker's slot behind the reply's header,
 * which may be overwritten. Called exactly once for each request that wants a reply.
 */
typedef void (*relay_reply_fn)(struct relay_worker *w, uint64_t unique, int error, void *payload,
			       size_t len);

struct relay_worker {
	struct relay *relay;
	struct relay_worker *next;
	relay_reply_fn reply;
	int fd; /* relay_reply_fd(): the clone of the channel that the request came from */
	int queue;
	struct client_slot *slot; /* another one after a request was given up */
	void *payload; /* where replies of ours are put; NULL: in the slot, behind the header */

	/* The request that it serves, or 0, and the last of its requests whose asker got a signal. */
	_Atomic uint64_t unique;
	_Atomic uint64_t interrupted;

	/* Private to the thread. */
	struct inode_memo memos[INODE_MEMOS];
	unsigned int misses; /* requests that missed the window; some of them are timed */
};

/* What pass_params.ops is: with the relay as context. */
extern const struct pass_ops relay_pass_ops;

/* What dax_params.remote is for memory of pass_arena_open(): with the relay as context. */
extern const struct dax_remote_ops relay_arena_ops;

/* relay_add_worker() - interrupts will find its requests. Before any of them runs. */
void relay_add_worker(struct relay *r, struct relay_worker *w);

/* relay_reply_fd() - as a worker's reply: write it to worker->fd. */
void relay_reply_fd(struct relay_worker *w, uint64_t unique, int error, void *payload, size_t len);

/* What a slot for relay workers needs, in bytes, for data of @max_write. */
size_t relay_slot_cap(size_t max_write);

/*
 * relay_handle() - serve the request of @len bytes that lies in the worker's slot, from start to
 * reply. Any number of workers at a time.
 */
void relay_handle(struct relay_worker *w, size_t len);
