/* SPDX-License-Identifier: MIT */
/* What a driver needs of the way to its device, whatever that way is. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/num.h"
#include "hw/dma.h"
struct virtio_transport;

/* VIRTIO 1.2, 4.1.4.3 and 2.7: where the three areas of a virtqueue are. */
struct virtio_queue_setup {
	unsigned int index;
	unsigned int size; /* entries, a power of two, at most queue_max_size() */
	void *desc;	   /* in this process's memory, inside the arena of dma_map() */
	void *avail;
	void *used;
	struct iova desc_iova;
	struct iova avail_iova;
	struct iova used_iova;
};

/* The shared memory region of id 0 (VIRTIO 1.2, 2.10 and 5.11.6), mapped into this process. */
struct virtio_window {
	void *addr;    /* page aligned; NULL: it was not to be mapped */
	uint64_t size; /* bytes, a multiple of 4 KiB */
	uint64_t phys; /* guest-physical address; 0: it has none */
};

/* For people: which device that is. */
struct virtio_place {
	char address[24];	 /* PCI address; "" without one */
	int iommu_group;	 /* -1: none */
	int window_bar;		 /* -1: the window is in no BAR */
	uint64_t window_bar_off; /* bytes from the BAR's beginning */
};

/*
 * All functions return 0 or a negative errno unless said otherwise; -ENODEV and -ENOTCONN mean that
 * the device is gone. They are called by one thread at a time, but kick() and failed(), which any
 * thread may call at any time between setup and close(). What the device says is not trusted:
 * values out of range are -EPROTO.
 */
struct virtio_transport_ops {
	const char *name;	/* "vfio-pci", "vhost-user" */
	enum dma_kind dma_kind; /* how the arena for dma_map() must be made */

	/* VIRTIO 1.2, 2.1 and 4.1.4.3.1: reset() returns when the device has really reset. */
	int (*reset)(struct virtio_transport *t);
	int (*get_status)(struct virtio_transport *t, uint8_t *ret);
	int (*set_status)(struct virtio_transport *t, uint8_t status);

	/* Feature bits 0 to 63. */
	int (*get_features)(struct virtio_transport *t, uint64_t *ret);
	int (*set_features)(struct virtio_transport *t, uint64_t features);

	/* Read @len bytes at @off of the device configuration, in one consistent state. */
	int (*read_config)(struct virtio_transport *t, size_t off, void *buf, size_t len);

	int (*num_queues)(struct virtio_transport *t, unsigned int *ret);
	/* 0 in *ret: the queue does not exist. */
	int (*queue_max_size)(struct virtio_transport *t, unsigned int index, unsigned int *ret);
	/* Describe and enable one queue. Its used ring signals irq_fd(). */
	int (*setup_queue)(struct virtio_transport *t, const struct virtio_queue_setup *s);

	/*
	 * Make @arena reachable for the device and set its addresses. @platform: the device honours
	 * them through the IOMMU (VIRTIO_F_ACCESS_PLATFORM negotiated); otherwise it takes
	 * guest-physical ones. Once, after features are set and before setup_queue().
	 */
	int (*dma_map)(struct virtio_transport *t, struct dma_arena *arena, bool platform);

	/* -ENODEV when the device has no window. With @map it is mapped until close(). */
	int (*window)(struct virtio_transport *t, bool map, struct virtio_window *ret);

	/* An eventfd, signalled by every queue, by the configuration and when the peer is lost. */
	int (*irq_fd)(struct virtio_transport *t);

	/* Tell the device of new entries in queue @index. Never blocks for long. */
	void (*kick)(struct virtio_transport *t, unsigned int index);

	/* 0 while the peer is there; then the reason, for ever. */
	int (*failed)(struct virtio_transport *t);

	/* May be NULL: there is nothing to tell. */
	void (*place)(struct virtio_transport *t, struct virtio_place *ret);

	/* Reset the device if it still answers, unmap, give the device back (see lost), free @t. */
	void (*close)(struct virtio_transport *t);
};

/* Implementations embed this as their first member. */
struct virtio_transport {
	const struct virtio_transport_ops *ops;
	/*
	 * Set by the owner before close(): the device has failed and is not to be given to another
	 * driver. That would probe it, and QEMU 11.1 ends the virtual machine when the
	 * configuration of a device is read whose back end is gone.
	 */
	bool lost;
};
