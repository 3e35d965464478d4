/* SPDX-License-Identifier: MIT */
/* Where a modern virtio PCI device keeps its structures (VIRTIO 1.2, 4.1.4). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hw/pci.h"
#include "hw/why.h"

/* A structure inside a BAR; checked against the BAR's size. @len 0: there is none. */
struct virtio_pci_place {
	uint8_t bar;
	uint64_t off; /* bytes from the BAR's beginning */
	uint64_t len; /* bytes */
};

struct virtio_pci_caps {
	struct virtio_pci_place common; /* 4.1.4.3: at least 56 bytes, 4-byte aligned */
	struct virtio_pci_place notify; /* 4.1.4.4: at least 2 bytes, 2-byte aligned */
	uint32_t notify_multiplier;	/* 0 or a power of two from 2 */
	struct virtio_pci_place isr;	/* 4.1.4.5: may be absent; nothing here uses it */
	struct virtio_pci_place device; /* 4.1.4.6: 4-byte aligned */
	struct virtio_pci_place shm;	/* 4.1.4.7, id 0: whole 4 KiB pages; may be absent */
	bool shm_bad;			/* no shm because the one offered is impossible */
	uint8_t pci_cfg;		/* 4.1.4.9: place in configuration space; 0: absent */
};

/*
 * virtio_pci_caps_parse() - find the structures in @size bytes of configuration space. Pure.
 * As 4.1.4 says, unknown types and impossible structures are passed over and the first good one of
 * each type counts. A shared memory region of id 0 is cut down to whole 4 KiB pages, and is refused
 * where it overlaps another structure.
 * @bars: bytes of each BAR; 0 where there is none.
 * Returns 0 and *ret, or a negative errno: -ENOTSUP when common, notify or device is absent (not a
 * modern device); -EPROTO when one of them is only offered in an impossible place, or the
 * capability list is broken.
 */
int virtio_pci_caps_parse(const uint8_t *config, size_t size, const uint64_t bars[PCI_NUM_BARS],
			  const struct why *why, struct virtio_pci_caps *ret);

/*
 * virtio_pci_caps_read() - the same of a device of this machine, whoever drives it; it is not
 * opened. Needs CAP_SYS_ADMIN. Returns 0, *ret and @ret_bars, or a negative errno.
 */
int virtio_pci_caps_read(const struct pci_address *addr, const struct why *why,
			 struct virtio_pci_caps *ret, struct pci_bar ret_bars[PCI_NUM_BARS]);
