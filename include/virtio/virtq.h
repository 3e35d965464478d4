/* SPDX-License-Identifier: MIT */
/* The driver's side of one split virtqueue. */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/event.h"
#include "hw/dma.h"
#include "ring/split.h"
#include "virtio/transport.h"

/*
 * Problem: several threads put requests on one queue and each wants to sleep until its own is done,
 * while the fastest way to learn of a completion is to look at the used ring.
 *
 * Concepts: a request (struct virtq_req) belongs to its caller, who keeps it and its buffers
 * unchanged from virtq_submit() to the end of virtq_wait(). Whoever looks at the used ring first
 * (a waiting thread that spins, or the interrupt thread) takes all entries out of it and sets the
 * events of their owners.
 *
 * Locks: virtq.lock guards everything in struct virtq but the constants. It is the innermost lock;
 * nothing is called with it held but transport->kick() and waiting_begin(). The rule of sleeping:
 * whenever the lock is free and sleepers > 0, the device has been asked (used_event or the avail
 * flags) to interrupt for the next used entry, and the used ring was empty after that was asked.
 *
 * The device is not trusted: a used entry with an id out of range or not in flight, or with a
 * length above what was offered, declares the queue broken: every request in flight and every later
 * one ends with -EIO. Memory handed to a device that broke the rules may only be used again after
 * the device was reset; the owner of all queues does that (virtio/fs_dev.h).
 */
struct virtq_req {
	struct vring_desc *table; /* in the arena, for the indirect descriptors; table_max of them */
	struct iova table_iova;
	unsigned int table_max;

	/*
	 * Asked now and then, without locks, while virtq_wait() sleeps: true, and nobody waits any
	 * more. May be NULL.
	 */
	bool (*give_up)(void *arg);
	void *give_up_arg;

	/* Private to the queue. */
	struct event done;
	bool sleeping;
	unsigned int ndesc;
	uint32_t in_bytes; /* writable bytes offered */
	int status;
	uint32_t used_len;
};

struct virtq {
	/* Constants after virtq_init(). */
	struct virtio_transport *t;
	unsigned int index;
	bool indirect;
	bool event_idx;
	struct ring_split ring;
	unsigned int max_segs; /* most segments of one request */
	/* Called without locks by a thread whose request waits for very long, again and again. */
	void (*on_stall)(void *arg);
	void *on_stall_arg;

	pthread_mutex_t lock;
	pthread_cond_t space;	     /* descriptors were freed, or the queue broke */
	struct virtq_req **inflight; /* by head descriptor */
	uint16_t *next; /* links of chains and of the free list; not in shared memory */
	uint16_t free_head;
	unsigned int num_free;
	uint16_t avail_idx;
	_Atomic uint16_t last_used;
	unsigned int sleepers; /* also those that wait for space */
	int broken;	       /* 0, or the negative errno that every request gets */

	/* How long a spin for a completion is worth while, in ns; a hint, so relaxed accesses. */
	_Atomic uint32_t spin_ns;
	_Atomic uint32_t
		found_ns; /* mean of the spins that found something, where others count as 0 */
	_Atomic uint32_t spinners;
	_Atomic uint64_t n_requests;
	_Atomic uint64_t n_kicks;
	_Atomic uint64_t n_sleeps;
};

/*
 * virtq_init() - lay out queue @index of @size entries in @arena and tell the transport.
 * @features: what was negotiated. Returns 0 or a negative errno: -ENOMEM (arena or heap), -EINVAL
 * (size), or what the transport says. Undo with virtq_fini() after the device was reset.
 */
int virtq_init(struct virtq *q, struct virtio_transport *t, struct dma_arena *arena,
	       unsigned int index, unsigned int size, uint64_t features);
void virtq_fini(struct virtq *q);

/*
 * virtq_submit() - put a request on the queue: @n_out segments that the device reads, then @n_in
 * that it writes. Waits while the queue is full; a request is never dropped.
 * Returns 0 (virtq_wait() must follow), -E2BIG when it has more segments than a request may have,
 * or the queue's error when it is broken.
 */
int virtq_submit(struct virtq *q, struct virtq_req *req, const struct dma_seg *out,
		 unsigned int n_out, const struct dma_seg *in, unsigned int n_in);

/*
 * virtq_wait() - wait for a submitted request. Returns 0 and in *ret_len the bytes that the device
 * wrote (at most what was offered), or the queue's error; -EINTR when it was given up: request and
 * buffers then stay the queue's until @req->done is set.
 */
int virtq_wait(struct virtq *q, struct virtq_req *req, uint32_t *ret_len);

/*
 * virtq_set_spin() - how long the next virtq_wait() looks at the used ring before it sleeps, in ns,
 * 0 to 3 s; for measurements. Later ones adapt it again.
 */
void virtq_set_spin(struct virtq *q, uint32_t ns);

/* virtq_done() - is a submitted request done? Looks at the used ring, and does not wait. */
bool virtq_done(struct virtq *q, struct virtq_req *req);

/* virtq_reap() - take completed requests out of the used ring; the interrupt thread's duty. */
void virtq_reap(struct virtq *q);

/* virtq_is_broken() - 0, or the negative errno. */
int virtq_is_broken(struct virtq *q);

/*
 * virtq_break() - declare the queue broken; @error (negative) is what new requests get. Requests in
 * flight stay so until virtq_fail_all(), which ends them once the device cannot touch them any more.
 */
void virtq_break(struct virtq *q, int error);
void virtq_fail_all(struct virtq *q);
