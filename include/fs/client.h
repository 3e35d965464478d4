/* SPDX-License-Identifier: MIT */
/* Requests to the host: buffers that the device reaches, one exchange, and our own requests. */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/num.h"
#include "dax/dax.h"
#include "virtio/fs_dev.h"
#include "wire/fuse_init.h"
#include "wire/fuse_proto.h"

/*
 * Concepts: a slot is a pair of buffers in the DMA arena, for one request and its reply, with what a
 * virtqueue needs to describe them. A slot serves one exchange at a time and belongs to one thread
 * meanwhile. Slots are made at start and live as long as the arena.
 *
 * Our own requests (INIT, GETATTR, SETUPMAPPING...) take a small slot from a pool. Their unique
 * numbers have the top bit set, so they never meet the kernel's.
 */
struct client_slot {
	char *req;	/* 8-byte aligned */
	char *rep;
	size_t req_cap; /* bytes */
	size_t rep_cap;

	struct virtq_req vreq;
	struct dma_seg *segs; /* room for the description of both buffers */
	unsigned int max_segs;
	struct client_slot *next; /* in the pool */
};

struct client {
	struct fs_dev *dev;
	_Atomic uint64_t unique;
	pthread_mutex_t lock; /* guards the pool; nothing is taken under it */
	pthread_cond_t freed;
	struct client_slot *pool;

	/*
	 * A virtual machine's monitor does not tell the guest that the host's daemon is gone. So when
	 * a request waits for very long, the high-priority queue, which the host serves whatever else
	 * it does, is asked to do nothing; if even that is not done in time, the device is given up.
	 */
	struct client_slot *probe;
	_Atomic bool probing;
};

#define CLIENT_HIPRIO (-1) /* as a queue number: the high-priority queue */

/* client_arena_size() - bytes of arena that @nslots slots of these capacities and the pool take. */
size_t client_arena_size(unsigned int nslots, size_t req_cap, size_t rep_cap);

/* client_create() - 0 or -ENOMEM. @dev is used until client_destroy(). */
int client_create(struct fs_dev *dev, struct client **ret);
void client_destroy(struct client *c);

/* client_slot_create() - cut a slot out of the arena. 0 or -ENOMEM. */
int client_slot_create(struct client *c, size_t req_cap, size_t rep_cap, struct client_slot **ret);
void client_slot_destroy(struct client_slot *s);

/*
 * client_exchange() - send the @req_len bytes in slot->req over request queue @queue (or
 * CLIENT_HIPRIO) and wait for the reply, of at most @rep_len bytes, in slot->rep. @rep_len 0: the
 * opcode has no reply.
 * Returns the length of the reply, whose header is checked: length, unique, error within -4095..0,
 * nothing behind an error. Or a negative errno when there was no such reply: the device is broken or
 * gone (and has been declared so), or -E2BIG when the request does not fit on the queue.
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
/* client_touch() - set mtime to now, which moves ctime too. */
int client_touch(struct client *c, uint64_t nodeid);
int client_destroy_session(struct client *c);

/* SETUPMAPPING and REMOVEMAPPING; ctx is the client. */
extern const struct dax_remote_ops client_dax_ops;
