/* SPDX-License-Identifier: MIT */
/* PCI devices as sysfs shows them: find, read, and move between drivers. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hw/why.h"

#define PCI_NUM_BARS	6
#define PCI_CONFIG_SIZE 256 /* without the extended part, which no virtio structure is in */
#define PCI_DRIVER_MAX	64  /* bytes of a driver's name, the final NUL included */

/* "0000:00:04.0"; made only by the functions here, so that it is a safe file name. */
struct pci_address {
	char text[20];
};

/* pci_address_parse() - "0000:00:04.0" or "00:04.0". Returns 0 or -EINVAL. */
int pci_address_parse(const char *text, struct pci_address *ret);

/*
 * pci_find() - addresses of all devices with these ids, in ascending order, at most @max. Returns
 * how many were written, or a negative errno (-ENXIO: no PCI in this machine).
 */
int pci_find(uint16_t vendor, uint16_t device, struct pci_address *out, unsigned int max);

/*
 * pci_read_config() - configuration space from its beginning. Returns the number of bytes (64 for a
 * caller without CAP_SYS_ADMIN), or a negative errno.
 */
int pci_read_config(const struct pci_address *addr, uint8_t buf[PCI_CONFIG_SIZE]);

struct pci_bar {
	uint64_t start; /* guest-physical address, in bytes */
	uint64_t size;	/* bytes; 0: it is absent, has no address, or is I/O ports */
};

/* pci_bars() - all BARs of a device. 0 or a negative errno. */
int pci_bars(const struct pci_address *addr, struct pci_bar ret[PCI_NUM_BARS]);

/* pci_driver() - name of the driver that the device is bound to, "" for none. */
int pci_driver(const struct pci_address *addr, char ret[PCI_DRIVER_MAX]);

/* pci_iommu_group() - -ENXIO when it has none. */
int pci_iommu_group(const struct pci_address *addr, unsigned int *ret);

/* Who drove a device before, so that it can be given back. */
struct pci_takeover {
	struct pci_address addr;
	char former[PCI_DRIVER_MAX]; /* "" for none */
	bool taken;		     /* false: it was there already, and stays */
};

/*
 * pci_take_over() - bind the device to @driver, which must be loaded, by driver_override. A device
 * that is bound to it already is left as it is. When it fails the former driver has it again.
 * Returns 0 and *ret, for pci_give_back(); or a negative errno: -EACCES, -EPERM, -EIO when the
 * driver did not take it.
 */
int pci_take_over(const struct pci_address *addr, const char *driver, const struct why *why,
		  struct pci_takeover *ret);

/* pci_clear_override() - any driver may have the device at the next probe. 0 or a negative errno. */
int pci_clear_override(const struct pci_address *addr);

/*
 * pci_give_back() - undo pci_take_over(); nothing when it took nothing. No descriptor of the device
 * may be open: the kernel waits for them. Returns 0, or -EIO when the former driver did not take it.
 */
int pci_give_back(struct pci_takeover *t);

/* pci_driver_loaded() - is a PCI driver of this name registered? */
bool pci_driver_loaded(const char *driver);

/* Walk of the capability list in a configuration space (PCI 3.0, 6.7). Pure. */
struct pci_cap_iter {
	const uint8_t *config;
	size_t size;
	uint64_t seen; /* one bit for each place a capability can have */
	uint8_t next;
	bool started;
};

/* pci_cap_begin() - @config has @size bytes, which must outlive the walk. */
void pci_cap_begin(struct pci_cap_iter *it, const uint8_t *config, size_t size);

/*
 * pci_cap_next() - Returns 1 with the place of the next capability (at least 0x40; two bytes are
 * there) and its id; 0 at the end; -ELOOP when the list comes back to itself; -EPROTO when it
 * points into the header; -ENODATA when it leaves the @size bytes. It ends in any case.
 */
int pci_cap_next(struct pci_cap_iter *it, uint8_t *ret_pos, uint8_t *ret_id);
