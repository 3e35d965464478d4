/* SPDX-License-Identifier: MIT */
/* A virtio device in memory: the test plays its side of one virtqueue. */
#pragma once

#include <stdatomic.h>

#include "base/num.h"
#include "virtio/virtq.h"

#define FAKE_ARENA_IOVA (UINT64_C(0x7000) << 20)
#define FAKE_MAX_DESCS	64u

struct fake_virtio {
	struct virtio_transport t; /* first */
	struct virtio_transport_ops ops;
	struct dma_arena *arena;
	int irq;
	int kick_fd; /* readable after a kick */
	_Atomic unsigned int kicks;
	_Atomic int failed; /* what the transport says of its peer */
	uint64_t features;
	struct virtio_queue_setup setup;

	/* The device's own view, made from the addresses that it was given. */
	struct ring_split ring;
	uint16_t last_avail;
	uint16_t used_idx;
	_Atomic unsigned int interrupts;
};

/* What the device found in one avail entry. */
struct fake_chain {
	uint16_t head;
	bool indirect;
	unsigned int n_out, n_in;
	struct {
		char *p;
		uint32_t len;
	} out[FAKE_MAX_DESCS], in[FAKE_MAX_DESCS];
	uint32_t out_bytes, in_bytes;
};

/* fake_init() - @features: VIRTIO_RING_F_* bits that the queue uses. @scatter: pages in odd places.
 */
void fake_init(struct fake_virtio *f, uint64_t features, bool scatter);
void fake_fini(struct fake_virtio *f);

/* fake_ptr() - where an address of the device is in this process. */
void *fake_ptr(const struct fake_virtio *f, uint64_t iova, size_t len);

/* fake_pending() - avail entries that the device has not taken. */
unsigned int fake_pending(const struct fake_virtio *f);

/* fake_take() - take and check the next avail entry; false when there is none. */
bool fake_take(struct fake_virtio *f, struct fake_chain *ret);

/* fake_put() - write a used entry, without publishing it. */
void fake_put(struct fake_virtio *f, uint32_t id, uint32_t len);

/* fake_publish() - show the used entries; interrupts if the driver asked for it. */
void fake_publish(struct fake_virtio *f);

/* fake_idle() - ask for kicks; false when there is something to do after all. */
bool fake_idle(struct fake_virtio *f);

/* fake_busy() - no kicks are wanted. */
void fake_busy(struct fake_virtio *f);
