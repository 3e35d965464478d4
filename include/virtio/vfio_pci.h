/* SPDX-License-Identifier: MIT */
/* The transport of the product: a modern virtio PCI device, driven through VFIO. */
#pragma once

#include "hw/pci.h"
#include "hw/why.h"
#include "virtio/transport.h"

#define VIRTIO_PCI_VENDOR 0x1af4
#define VIRTIO_PCI_ID_FS  0x105a /* VIRTIO 1.2, 4.1.2: 0x1040 + device id 26 */

/* What a caller may say about the device it wants. */
struct virtio_pci_choice {
	const char *tag;     /* the virtio-fs tag, or NULL: any */
	const char *address; /* "0000:00:04.0", or NULL: any */
};

/*
 * virtio_pci_open() - find the one virtio-fs device (1af4:105a) that fits @choice, take it over
 * from its kernel driver (driver_override to vfio-pci), open it with VFIO type 1, map what is
 * needed. The device is left reset.
 * @why: receives one sentence for a person when it fails (at most @why_size bytes).
 * Returns 0 and the transport in *ret (release with ops->close(), which gives the device back to
 * the driver it came from), or a negative errno: -ENODEV   no virtio-fs device, or none with this
 * tag or address -ENOTUNIQ more than one, and @choice does not say which -EBUSY    the kernel has
 * it mounted, or another process drives it -EPERM, -EACCES  no permission -ENXIO    no IOMMU group,
 * or VFIO is not in this kernel -ENOTSUP  the device is not modern, or lacks a structure that is
 * needed -EPROTO   its capabilities contradict each other or its BARs
 */
int virtio_pci_open(const struct virtio_pci_choice *choice, char *why, size_t why_size,
		    struct virtio_transport **ret);

/*
 * virtio_pci_check_free() - may the device at @addr be taken from its driver? Returns 0, or -EBUSY
 * and the reason: the kernel has it mounted, or a driver that is neither virtio-pci nor vfio-pci
 * has it. Who uses it by VFIO is not asked.
 */
int virtio_pci_check_free(const struct pci_address *addr, const struct why *why);
