/* SPDX-License-Identifier: MIT */
/* What the files of the VFIO transport share among themselves. */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "hw/pci.h"
#include "hw/vfio.h"
#include "hw/why.h"
#include "virtio/pci_caps.h"
#include "virtio/vfio_pci.h"

#define VIRTIO_FS_TAG_SIZE 36 /* VIRTIO 1.2, 5.11.4; padded with NULs, not ended by one */

struct virtio_pci {
	struct virtio_transport t; /* first */

	/* Constants after virtio_pci_open_at(). */
	struct pci_takeover takeover;
	struct vfio_device *vfio;
	struct virtio_pci_caps caps;
	struct vfio_range common;
	struct vfio_range notify;
	struct vfio_range device;
	int irq; /* eventfd */

	/* Set up by the one thread that sets up; kick_off is only read after that. */
	struct vfio_range window;
	unsigned int num_queues;
	uint32_t *kick_off; /* of each queue, where in notify; KICK_NONE before setup_queue() */
	bool config_vector; /* set since the last reset */

	/* Any thread. */
	atomic_int failed;
	_Atomic uint64_t checked_ns; /* when failed() last looked at the device */
};

#define KICK_NONE UINT32_MAX

extern const struct virtio_transport_ops virtio_pci_ops;

/* virtio_pci_reset() - ops->reset(). */
int virtio_pci_reset(struct virtio_transport *t);

/* virtio_pci_free() - ops->close(), also for one that is only half made. */
void virtio_pci_free(struct virtio_transport *t);

/*
 * virtio_pci_open_at() - take over and open the device at @addr, whatever kind of virtio device it
 * is. Returns 0 and the transport in *ret, or a negative errno as virtio_pci_open() does.
 */
int virtio_pci_open_at(const struct pci_address *addr, const struct why *why,
		       struct virtio_pci **ret);

/*
 * virtio_pci_choose() - find the one device 1af4:@device_id that fits @choice and that the kernel
 * has not mounted. Devices without a driver are opened for a moment when their tag must be known.
 * Returns 0 and *ret, or a negative errno as virtio_pci_open() does.
 */
int virtio_pci_choose(uint16_t device_id, const struct virtio_pci_choice *choice,
		      const struct why *why, struct pci_address *ret);

/*
 * virtio_pci_kernel_tag() - the tag of a device that the kernel's driver has, without disturbing
 * it. Returns 0 or a negative errno when it cannot be found out.
 */
int virtio_pci_kernel_tag(const struct pci_address *addr, char ret[VIRTIO_FS_TAG_SIZE + 1]);

/*
 * virtio_pci_mounted() - is a virtiofs with @tag (NULL: any) mounted, in any mount namespace that
 * this process may look into? Returns 1, 0 or a negative errno; with 1 the place in @where.
 */
int virtio_pci_mounted(const char *tag, char *where, size_t where_size);
