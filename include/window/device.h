/* SPDX-License-Identifier: MIT */
/* The virtio-fs device: its window, and who has it. */
#pragma once

#include <stdbool.h>

#include "hw/pci.h"
#include "hw/why.h"
#include "window/iomem.h"

struct window_device {
	struct pci_address addr;
	char driver[PCI_DRIVER_MAX]; /* "" for none */
	struct phys_range window;
	unsigned int bar; /* which one it is in */
};

/*
 * window_device_find() - the virtio-fs device at @address, or with NULL the only one that has a
 * window. It is not opened. Returns 0 and *ret, or a negative errno: -ENODEV: there is none;
 * -ENXIO: it has no window; -ENOTUNIQ: there are several; -ENOTSUP: its window cannot be
 * persistent memory.
 */
int window_device_find(const char *address, const struct why *why, struct window_device *ret);

/*
 * window_device_take() - bind it to vfio-pci and keep others from opening it. Which driver had it
 * is written to /run first, for window_device_give_back(), which another process may call.
 * Returns 0 and a descriptor that holds it, to be closed by the caller; or a negative errno, -EBUSY
 * when somebody uses it.
 */
int window_device_take(const struct window_device *d, const struct why *why, int *ret_hold);

/* window_device_busy() - 1 and who has it open by VFIO (at most @size bytes), or 0. */
int window_device_busy(const struct window_device *d, char *text, size_t size);

/*
 * window_device_give_back() - to the driver that window_device_take() took it from; nothing when it
 * took nothing. @hold, or -1, is what window_device_take() returned or the same: it keeps others
 * from the device as long as can be, and is closed in any case. 0 or a negative errno.
 */
int window_device_give_back(const struct window_device *d, int hold, const struct why *why);
