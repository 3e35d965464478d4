/* SPDX-License-Identifier: MIT */
/* Requests to the host: buffers that the device reaches, one exchange, and our own requests. */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/num.h"
#include "dax/dax.h"
#include "fs/chan_pipe.h"
#include "virtio/fs_dev.h"
#include "wire/fuse_init.h"
#include "wire/fuse_proto.h"

/*
 * Concepts: a slot is a pair of buffers in the DMA arena, for one request and its reply, with what
 * a virtqueue needs to describe them. A slot serves one exchange at a time and belongs to one
 * thread meanwhile. Slots are made at start and live as long as the arena.
 *
 * Our own requests (INIT, GETATTR, SETUPMAPPING...) take a small slot from a pool. Their unique
 * numbers have the top bit set, so they never meet the kernel's.
 */
struct client_slot {
	char *req; /* 8-byte aligned */
	char *rep;
	size_t req_cap; /* bytes */
	size_t rep_cap;

	struct virtq_req vreq;
	struct dma_seg *segs; /* room for the description of both buffers */
	unsigned int max_segs;
	struct client_slot *next; /* in the pool */
	struct chan_pipe
		*pipe; /* for large replies to the kernel from rep, once there was one; or NULL */
	bool no_pipe;  /* there can be none */

	/* What client_exchange() calls once, when the host has the request; NULL: nothing. */
	void (*meanwhile)(void *arg);
	void *meanwhile_arg;

	struct client *client;
	struct client_slot **home; /* the spares of its size */
	/* The number of the request whose asker got a signal; may be NULL. */
	const _Atomic uint64_t *interrupted;
	struct client_slot *successor; /* while it is being given up */
};

struct client {
	struct fs_dev *dev;
	_Atomic uint64_t unique;
	pthread_mutex_t lock; /* guards the pool; nothing is taken under it */
	pthread_cond_t freed;
	struct client_slot *pool;
	struct client_slot *spare; /* as large as those of the workers */
	struct client_slot *small; /* for client_try_lock(), with spares */
	struct client_slot *late;  /* given up, and not yet answered */
	_Atomic bool any_late;	   /* a hint for those who do not hold the lock */

	/*
	 * A virtual machine's monitor does not tell the guest that the host's daemon is gone. So
	 * when a request waits for very long, the high-priority queue, which the host serves
	 * whatever else it does, is asked to do nothing; if even that is not done in time, the
	 * device is given up.
	 */
	struct client_slot *probe;
	_Atomic bool probing;
};

#define CLIENT_HIPRIO (-1) /* as a queue number: the high-priority queue */

/* client_arena_size() - bytes of arena that @nslots slots of these capacities, spares and pool
 * take. */
size_t client_arena_size(unsigned int nslots, size_t req_cap, size_t rep_cap);

/* client_create() - 0 or -ENOMEM. @dev is used until client_destroy(). */
int client_create(struct fs_dev *dev, struct client **ret);
void client_destroy(struct client *c);

/* client_slot_create() - cut a slot out of the arena. 0 or -ENOMEM. */
int client_slot_create(struct client *c, size_t req_cap, size_t rep_cap, struct client_slot **ret);
void client_slot_destroy(struct client_slot *s);

/*
 * client_add_spares() - make spare slots. While there is one, a request of the kernel whose asker
 * was killed, and which changes no data, is given up: see client_exchange(). 0 or -ENOMEM.
 */
int client_add_spares(struct client *c, size_t req_cap, size_t rep_cap);

/*
 * client_exchange() - send the @req_len bytes in slot->req over request queue @queue (or
 * CLIENT_HIPRIO) and wait for the reply, of at most @rep_len bytes, in slot->rep. @rep_len 0: the
 * opcode has no reply.
 * Returns the length of the reply, whose header is checked: length, unique, error within -4095..0,
 * nothing behind an error. Or a negative errno when there was no such reply: the device is broken
 * or gone (and has been declared so), or -E2BIG when the request does not fit on the queue.
 *
 * When *slot->interrupted is the request's number (set by any thread) and the thread whose id
 * stands in the request's header is being killed, it may return -EINTR instead: then the device
 * still uses the slot, and the caller goes on with the one that client_abandon() gives for it.
 */
int client_exchange(struct client *c, struct client_slot *slot, int queue, size_t req_len,
		    size_t rep_len);

/*
 * Our own requests. Each returns 0 or a negative errno, the host's or that of client_exchange().
 */

/* client_init() - @out receives the fixed part of the reply, *ret_len its length. */
int client_init(struct client *c, const struct fuse_init_in *in, struct fuse_init_out *out,
		size_t *ret_len);
int client_getattr(struct client *c, uint64_t nodeid, struct fuse_attr *ret);
/* client_touch() - set mtime to now, which moves ctime too; @ret: the attributes then, or NULL. */
int client_touch(struct client *c, uint64_t nodeid, struct fuse_attr *ret);
/*
 * client_read(), client_write() - @len bytes at @off of an open file, in small requests. -ENODATA:
 * it is shorter.
 */
int client_read(struct client *c, uint64_t nodeid, uint64_t fh, uint64_t off, void *buf,
		size_t len);
int client_write(struct client *c, uint64_t nodeid, uint64_t fh, uint64_t off, const void *buf,
		 size_t len);
/* client_has_xattr() - has the file this extended attribute? */
bool client_has_xattr(struct client *c, uint64_t nodeid, const char *name);
int client_forget(struct client *c, uint64_t nodeid, uint64_t nlookup);
int client_release(struct client *c, uint64_t nodeid, uint64_t fh, bool dir);
/* client_unlock() - take back what SETLK or SETLKW with @lk has got. */
int client_unlock(struct client *c, uint64_t nodeid, const struct fuse_lk_in *lk);
/*
 * client_try_lock() - ask for a lock (SETLK) as @h asks, the header of a request of the kernel; one
 * thread at a time. -EAGAIN: another has it. When *@interrupted becomes @h's number and the asker
 * is being killed, it may return -EINTR before the host has answered; what comes of it then is
 * undone.
 */
int client_try_lock(struct client *c, const struct fuse_in_header *h, const struct fuse_lk_in *lk,
		    const _Atomic uint64_t *interrupted);
int client_destroy_session(struct client *c);

/* client_open() - @flags: of open(2). client_release() the handle. */
int client_open(struct client *c, uint64_t nodeid, uint32_t flags, uint64_t *ret_fh);

struct client_entry {
	uint64_t nodeid;
	struct fuse_attr attr;
};

/*
 * client_list() - what a directory holds, at most @max entries, without "." and ".."; by
 * READDIRPLUS (@plus, which the host must have granted), or by READDIR and LOOKUP, then only
 * directories and regular files. Returns how many, or a negative errno when there is none. The host
 * counts a lookup for each: client_forget() them.
 */
int client_list(struct client *c, uint64_t nodeid, bool plus, struct client_entry *out,
		unsigned int max);

/* client_abandon() - leave a slot to the client until its answer comes; a slot in its stead. */
struct client_slot *client_abandon(struct client_slot *s);

/*
 * client_collect_late() - see to answers that came after all; when c->any_late. What they brought
 * is given back to the host. Not in the middle of an exchange.
 */
void client_collect_late(struct client *c);

/* SETUPMAPPING and REMOVEMAPPING; ctx is the client. */
extern const struct dax_remote_ops client_dax_ops;
