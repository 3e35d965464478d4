// SPDX-License-Identifier: MIT
// The driver's side of one split virtqueue.

#include <errno.h>
#include <linux/virtio_config.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/time.h"
#include "base/waiting.h"
#include "virtio/virtq.h"

#define SPIN_MIN_NS	 40000u /* with 16 us one job of 4 KiB lost a quarter, natively */
#define SPIN_MAX_NS	 80000u
#define SPIN_MEANS	 3u
#define SPIN_MEAN_OF	 8u /* looks that a mean remembers, about */
#define PEER_CHECK_NS	 (200 * NSEC_PER_MS)
#define STALL_NS	 (10 * NSEC_PER_SEC) /* a multiple of the former */
#define SPIN_THREADS_MAX 2u /* more threads that spin only take the CPU from each other */

/* One ring area, contiguous for the device; NULL when the arena has no such place. */
static void *virtq_alloc_area(struct dma_arena *arena, size_t bytes)
{
	struct dma_seg seg;
	void *p = dma_alloc(arena, bytes, PAGE_4K);

	return p && dma_segments(arena, p, bytes, &seg, 1) == 1 ? p : NULL;
}

/* In scattered 4 KiB pages a large ring may not be contiguous: then a smaller one is made. */
static int virtq_alloc_ring(struct ring_split *ring, struct dma_arena *arena, unsigned int size)
{
	for (; size; size /= 2) {
		ring->size = size;
		ring->desc = virtq_alloc_area(arena, ring_desc_bytes(size));
		ring->avail = virtq_alloc_area(arena, ring_avail_bytes(size));
		ring->used = virtq_alloc_area(arena, ring_used_bytes(size));
		if (ring->desc && ring->avail && ring->used)
			return 0;
	}
	return -ENOMEM;
}

int virtq_init(struct virtq *q, struct virtio_transport *t, struct dma_arena *arena,
	       unsigned int index, unsigned int size, uint64_t features)
{
	struct virtio_queue_setup setup = { .index = index };
	int r;

	if (!ring_size_ok(size))
		return -EINVAL;
	memset(q, 0, sizeof(*q));
	q->t = t;
	q->index = index;
	q->indirect = features & (UINT64_C(1) << VIRTIO_RING_F_INDIRECT_DESC);
	q->event_idx = features & (UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX);
	r = virtq_alloc_ring(&q->ring, arena, size);
	if (r < 0)
		return r;
	size = q->ring.size;
	/* A chain may not be longer than the queue, indirect or not: VIRTIO 1.2, 2.7.5.3.1. */
	q->max_segs = size;
	q->inflight = calloc(size, sizeof(struct virtq_req *));
	q->next = calloc(size, sizeof(uint16_t));
	if (!q->inflight || !q->next) {
		free(steal_ptr(q->inflight));
		free(steal_ptr(q->next));
		return -ENOMEM;
	}
	for (unsigned int i = 0; i < size; i++)
		q->next[i] = (uint16_t)(i + 1);
	q->num_free = size;
	if (!q->event_idx)
		ring_store_relaxed(&q->ring.avail->flags, VRING_AVAIL_F_NO_INTERRUPT);
	q->spin_ns = SPIN_MAX_NS;
	q->found_ns = SPIN_MAX_NS / SPIN_MEANS;
	(void)pthread_mutex_init(&q->lock, NULL);
	(void)pthread_cond_init(&q->space, NULL);

	setup.size = size;
	setup.desc = q->ring.desc;
	setup.avail = q->ring.avail;
	setup.used = q->ring.used;
	setup.desc_iova = dma_iova(arena, q->ring.desc);
	setup.avail_iova = dma_iova(arena, q->ring.avail);
	setup.used_iova = dma_iova(arena, q->ring.used);
	r = t->ops->setup_queue(t, &setup);
	if (r < 0)
		virtq_fini(q);
	return r;
}

void virtq_fini(struct virtq *q)
{
	if (!q->inflight)
		return;
	free(steal_ptr(q->inflight));
	free(steal_ptr(q->next));
	(void)pthread_mutex_destroy(&q->lock);
	(void)pthread_cond_destroy(&q->space);
}

static void virtq_break_locked(struct virtq *q, int error)
{
	if (q->broken)
		return;
	q->broken = error;
	(void)pthread_cond_broadcast(&q->space);
	/* The owner of the queues sees to the device and to what is in flight. */
	(void)eventfd_write(q->t->ops->irq_fd(q->t), 1);
}

void virtq_break(struct virtq *q, int error)
{
	scoped_lock(&q->lock);
	virtq_break_locked(q, error);
}

int virtq_is_broken(struct virtq *q)
{
	scoped_lock(&q->lock);
	return q->broken;
}

/* End one request; its owner may free it as soon as the event is set. */
static void virtq_complete_locked(struct virtq *q, struct virtq_req *req, int status, uint32_t len)
{
	if (req->sleeping)
		q->sleepers--;
	req->sleeping = false;
	req->status = status;
	req->used_len = len;
	event_set(&req->done);
}

void virtq_fail_all(struct virtq *q)
{
	scoped_lock(&q->lock);
	for (unsigned int i = 0; i < q->ring.size; i++)
		if (q->inflight[i])
			virtq_complete_locked(q, steal_ptr(q->inflight[i]), q->broken, 0);
	(void)pthread_cond_broadcast(&q->space);
}

/* Give the chain of @head back. */
static void virtq_free_chain_locked(struct virtq *q, uint16_t head, unsigned int n)
{
	uint16_t last = head;

	for (unsigned int i = 1; i < n; i++)
		last = q->next[last];
	q->next[last] = q->free_head;
	q->free_head = head;
	q->num_free += n;
}

/* Take one used entry; false when the device broke the rules. */
static bool virtq_take_locked(struct virtq *q, const struct vring_used_elem *elem)
{
	uint32_t id = le32toh(__atomic_load_n(&elem->id, __ATOMIC_RELAXED));
	uint32_t len = le32toh(__atomic_load_n(&elem->len, __ATOMIC_RELAXED));
	struct virtq_req *req;

	if (id >= q->ring.size || !q->inflight[id]) {
		log_dbg("queue %u: used id %u is not in flight", q->index, id);
		return false;
	}
	req = q->inflight[id];
	if (len > req->in_bytes) {
		log_dbg("queue %u: used length %u of %u", q->index, len, req->in_bytes);
		return false;
	}
	q->inflight[id] = NULL;
	virtq_free_chain_locked(q, (uint16_t)id, req->ndesc);
	virtq_complete_locked(q, req, 0, len);
	return true;
}

static uint16_t virtq_last_used(const struct virtq *q)
{
	return atomic_load_explicit(&q->last_used, memory_order_relaxed);
}

/* Take all that is there; returns how many. */
static unsigned int virtq_drain_locked(struct virtq *q)
{
	unsigned int n = 0;
	uint16_t used, last = virtq_last_used(q);

	if (q->broken)
		return 0;
	/* acquire pairs with the device's release of used.idx: the entries are seen behind it */
	used = ring_load_acquire(&q->ring.used->idx);
	if ((uint16_t)(used - last) > q->ring.size - q->num_free) {
		log_dbg("queue %u: used index %u after %u", q->index, used, last);
		virtq_break_locked(q, -EIO);
		return 0;
	}
	for (; last != used; n++) {
		if (!virtq_take_locked(q, &q->ring.used->ring[last & (q->ring.size - 1)])) {
			virtq_break_locked(q, -EIO);
			break;
		}
		last++;
	}
	/* relaxed: the unlocked reader in virtq_spin() only takes it as a hint */
	atomic_store_explicit(&q->last_used, last, memory_order_relaxed);
	if (n && q->sleepers)
		(void)pthread_cond_broadcast(&q->space);
	return n;
}

/* Keep the rule of sleeping (virtq.h). */
static void virtq_reap_locked(struct virtq *q)
{
	(void)virtq_drain_locked(q);
	while (q->sleepers && !q->broken) {
		if (q->event_idx)
			ring_store_relaxed(ring_used_event(&q->ring), virtq_last_used(q));
		else
			ring_store_relaxed(&q->ring.avail->flags, 0);
		/* our wish must be out before we look again, or both sides may sleep */
		ring_full_barrier();
		if (!virtq_drain_locked(q))
			return;
	}
	if (!q->event_idx)
		ring_store_relaxed(&q->ring.avail->flags, VRING_AVAIL_F_NO_INTERRUPT);
}

void virtq_reap(struct virtq *q)
{
	scoped_lock(&q->lock);
	virtq_reap_locked(q);
}

static void virtq_fill(struct vring_desc *d, const struct dma_seg *seg, uint16_t flags,
		       uint16_t next)
{
	d->addr = htole64(seg->addr.v);
	d->len = htole32(seg->len);
	d->flags = htole16(flags);
	d->next = htole16(next);
}

/* Write the descriptors of a request into its own table and one descriptor for that. */
static uint16_t virtq_put_indirect_locked(struct virtq *q, struct virtq_req *req,
					  const struct dma_seg *out, unsigned int n_out,
					  const struct dma_seg *in, unsigned int n_in)
{
	unsigned int n = n_out + n_in;
	uint16_t head = q->free_head;
	struct dma_seg table = { .addr = req->table_iova,
				 .len = (uint32_t)(n * sizeof(struct vring_desc)) };

	for (unsigned int i = 0; i < n; i++) {
		uint16_t flags = (uint16_t)((i < n_out ? 0 : VRING_DESC_F_WRITE) |
					    (i + 1 < n ? VRING_DESC_F_NEXT : 0));

		virtq_fill(&req->table[i], i < n_out ? &out[i] : &in[i - n_out], flags,
			   (uint16_t)(i + 1));
	}
	req->ndesc = 1;
	q->free_head = q->next[head];
	virtq_fill(&q->ring.desc[head], &table, VRING_DESC_F_INDIRECT, 0);
	return head;
}

/* Write the descriptors of a request into the ring; the free list gives the links. */
static uint16_t virtq_put_chain_locked(struct virtq *q, struct virtq_req *req,
				       const struct dma_seg *out, unsigned int n_out,
				       const struct dma_seg *in, unsigned int n_in)
{
	unsigned int n = n_out + n_in;
	uint16_t head = q->free_head, at = head;

	for (unsigned int i = 0; i < n; i++) {
		struct vring_desc *d = &q->ring.desc[at];
		uint16_t flags = (uint16_t)((i < n_out ? 0 : VRING_DESC_F_WRITE) |
					    (i + 1 < n ? VRING_DESC_F_NEXT : 0));
		uint16_t next = q->next[at];

		virtq_fill(d, i < n_out ? &out[i] : &in[i - n_out], flags, next);
		at = next;
	}
	req->ndesc = n;
	q->free_head = at;
	return head;
}

static bool virtq_wants_kick(struct virtq *q, uint16_t old)
{
	/* avail.idx must be out before the device's wish is read: VIRTIO 1.2, 2.7.13.4.1 */
	ring_full_barrier();
	if (q->event_idx)
		return ring_need_event(ring_load_relaxed(ring_avail_event(&q->ring)), q->avail_idx,
				       old);
	return !(ring_load_relaxed(&q->ring.used->flags) & VRING_USED_F_NO_NOTIFY);
}

/* Wait for @need free descriptors, asking for interrupts meanwhile. */
static int virtq_wait_space_locked(struct virtq *q, unsigned int need)
{
	while (!q->broken && q->num_free < need) {
		q->sleepers++;
		virtq_reap_locked(q);
		if (!q->broken && q->num_free < need) {
			waiting_begin();
			(void)pthread_cond_wait(&q->space, &q->lock);
		}
		q->sleepers--;
	}
	return q->broken;
}

int virtq_submit(struct virtq *q, struct virtq_req *req, const struct dma_seg *out,
		 unsigned int n_out, const struct dma_seg *in, unsigned int n_in)
{
	unsigned int n = n_out + n_in;
	bool indirect = q->indirect && n > 1 && n <= req->table_max;
	uint16_t head, old;
	bool kick;
	int r;

	if (!n || n > q->max_segs)
		return -E2BIG;
	event_reset(&req->done);
	req->sleeping = false;
	req->in_bytes = 0;
	for (unsigned int i = 0; i < n_in; i++)
		req->in_bytes += in[i].len;

	scoped_lock(&q->lock);
	r = virtq_wait_space_locked(q, indirect ? 1 : n);
	if (r < 0)
		return r;
	head = indirect ? virtq_put_indirect_locked(q, req, out, n_out, in, n_in)
			: virtq_put_chain_locked(q, req, out, n_out, in, n_in);
	q->num_free -= req->ndesc;
	q->inflight[head] = req;
	old = q->avail_idx++;
	q->ring.avail->ring[old & (q->ring.size - 1)] = htole16(head);
	/* release: the device sees descriptors and entry before the index */
	ring_store_release(&q->ring.avail->idx, q->avail_idx);
	kick = virtq_wants_kick(q, old);
	atomic_fetch_add_explicit(&q->n_requests, 1, memory_order_relaxed);
	if (kick) {
		atomic_fetch_add_explicit(&q->n_kicks, 1, memory_order_relaxed);
		q->t->ops->kick(q->t, q->index);
	}
	return 0;
}

/*
 * A look took @ns. Mostly an answer is there soon; or it takes long, because the host has no
 * processor, and to go on looking keeps that from it. So the next look ends at some times the mean
 * of those that found one.
 */
static void virtq_learn_spin(struct virtq *q, uint64_t ns, bool done)
{
	/* Two threads may take the same turn, which does no harm. */
	uint32_t mean = atomic_load_explicit(&q->found_ns, memory_order_relaxed), budget;

	mean -= mean / SPIN_MEAN_OF;
	if (done)
		mean += (uint32_t)MIN(ns, SPIN_MAX_NS) / SPIN_MEAN_OF;
	budget = MIN(SPIN_MEANS * mean + SPIN_MIN_NS, SPIN_MAX_NS);
	atomic_store_explicit(&q->found_ns, mean, memory_order_relaxed);
	atomic_store_explicit(&q->spin_ns, budget, memory_order_relaxed);
}

/* Look at the ring until @req is done or the time is over; true when it is done. */
static bool virtq_spin(struct virtq *q, struct virtq_req *req)
{
	uint32_t budget = atomic_load_explicit(&q->spin_ns, memory_order_relaxed);
	uint64_t begin = time_now_ns(), now = begin;
	bool done;

	if (atomic_fetch_add_explicit(&q->spinners, 1, memory_order_relaxed) >= SPIN_THREADS_MAX) {
		atomic_fetch_sub_explicit(&q->spinners, 1, memory_order_relaxed);
		return event_is_set(&req->done);
	}
	do {
		/* An unlocked look first: the lock is only worth taking when something is there. */
		if (ring_load_relaxed(&q->ring.used->idx) != virtq_last_used(q) &&
		    pthread_mutex_trylock(&q->lock) == 0) {
			virtq_reap_locked(q);
			(void)pthread_mutex_unlock(&q->lock);
		}
		done = event_is_set(&req->done);
		if (done)
			break;
		cpu_relax();
		now = time_now_ns();
	} while (now - begin < budget);
	atomic_fetch_sub_explicit(&q->spinners, 1, memory_order_relaxed);
	virtq_learn_spin(q, now - begin, done);
	return done;
}

void virtq_set_spin(struct virtq *q, uint32_t ns)
{
	atomic_store_explicit(&q->spin_ns, ns, memory_order_relaxed);
}

bool virtq_done(struct virtq *q, struct virtq_req *req)
{
	virtq_reap(q);
	return event_is_set(&req->done);
}

/* A lost peer sends no interrupt, so it is looked for while we wait. False when it was given up. */
static bool virtq_sleep(struct virtq *q, struct virtq_req *req)
{
	uint64_t waited = 0;

	waiting_begin();
	while (!event_wait(&req->done, PEER_CHECK_NS)) {
		if (q->t->ops->failed(q->t) < 0)
			virtq_break(q, q->t->ops->failed(q->t));
		else if (req->give_up && req->give_up(req->give_up_arg))
			return false;
		waited += PEER_CHECK_NS;
		if (q->on_stall && waited % STALL_NS == 0)
			q->on_stall(q->on_stall_arg);
	}
	return true;
}

/* Nobody waits for @req any more; false when it has just been done. */
static bool virtq_leave(struct virtq *q, struct virtq_req *req)
{
	scoped_lock(&q->lock);
	if (event_is_set(&req->done))
		return false;
	req->sleeping = false;
	q->sleepers--;
	return true;
}

int virtq_wait(struct virtq *q, struct virtq_req *req, uint32_t *ret_len)
{
	if (!virtq_spin(q, req)) {
		(void)pthread_mutex_lock(&q->lock);
		if (!event_is_set(&req->done)) {
			req->sleeping = true;
			q->sleepers++;
			virtq_reap_locked(q);
		}
		(void)pthread_mutex_unlock(&q->lock);
		atomic_fetch_add_explicit(&q->n_sleeps, 1, memory_order_relaxed);
		if (!virtq_sleep(q, req) && virtq_leave(q, req))
			return -EINTR;
	}
	if (req->status == 0)
		*ret_len = req->used_len;
	return req->status;
}
