/* SPDX-License-Identifier: MIT */
/* Memory layout and index rules of a split virtqueue, seen alike by driver and device. */
#pragma once

#include <endian.h>
#include <linux/virtio_ring.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * VIRTIO 1.2, 2.7 "Split Virtqueues". All fields are little-endian. A ring has three areas:
 * descriptors (written by the driver), avail (by the driver), used (by the device). Both sides
 * count entries in free-running 16-bit indices; the slot is the index modulo the size of the queue,
 * which is a power of two.
 */

#define RING_MAX_SIZE 32768u /* VIRTIO 1.2, 2.7: "maximum Queue Size value is 32768" */

/* Alignment of the areas, VIRTIO 1.2, 2.7. */
#define RING_DESC_ALIGN	 16u
#define RING_AVAIL_ALIGN 2u
#define RING_USED_ALIGN	 4u

static inline bool ring_size_ok(unsigned int size)
{
	return size && size <= RING_MAX_SIZE && !(size & (size - 1));
}

static inline size_t ring_desc_bytes(unsigned int size)
{
	return sizeof(struct vring_desc) * size;
}

/* The avail area ends with used_event. */
static inline size_t ring_avail_bytes(unsigned int size)
{
	return sizeof(uint16_t) * (3 + (size_t)size);
}

/* The used area ends with avail_event. */
static inline size_t ring_used_bytes(unsigned int size)
{
	return sizeof(uint16_t) * 3 + sizeof(struct vring_used_elem) * size;
}

/* The three areas of one ring in this process's memory. */
struct ring_split {
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	unsigned int size;
};

/*
 * Index and event fields are shared with the peer while it runs. Publishing an index needs release
 * order, so that the entries are seen before it; reading one needs acquire order.
 */
static inline uint16_t ring_load_acquire(const uint16_t *p)
{
	return le16toh(__atomic_load_n(p, __ATOMIC_ACQUIRE));
}

static inline uint16_t ring_load_relaxed(const uint16_t *p)
{
	return le16toh(__atomic_load_n(p, __ATOMIC_RELAXED));
}

static inline void ring_store_release(uint16_t *p, uint16_t v)
{
	__atomic_store_n(p, htole16(v), __ATOMIC_RELEASE);
}

static inline void ring_store_relaxed(uint16_t *p, uint16_t v)
{
	__atomic_store_n(p, htole16(v), __ATOMIC_RELAXED);
}

/*
 * A full barrier between publishing one's own index and reading what the peer wrote about
 * notifications, VIRTIO 1.2, 2.7.7 and 2.7.10: without it both sides may sleep.
 */
static inline void ring_full_barrier(void)
{
	atomic_thread_fence(memory_order_seq_cst);
}

/* used_event: the driver's wish, behind the avail entries (VIRTIO_F_EVENT_IDX). */
static inline uint16_t *ring_used_event(const struct ring_split *r)
{
	return &r->avail->ring[r->size];
}

/* avail_event: the device's wish, behind the used entries (VIRTIO_F_EVENT_IDX). */
static inline uint16_t *ring_avail_event(const struct ring_split *r)
{
	return (uint16_t *)(void *)&r->used->ring[r->size];
}

/* ring_need_event() - does the step from @old to @now_idx pass @event? VIRTIO 1.2, 2.7.7.1. */
static inline bool ring_need_event(uint16_t event, uint16_t now_idx, uint16_t old)
{
	return (uint16_t)(now_idx - event - 1) < (uint16_t)(now_idx - old);
}
