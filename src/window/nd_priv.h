/* SPDX-License-Identifier: MIT */
/* What the files about regions share among themselves. */
#pragma once

#include <stddef.h>

#include "hw/why.h"
#include "window/nd.h"

#define ND_DEVICES "/sys/bus/nd/devices"

/* nd_read() - an attribute of a device of the bus, as sysfs_read(). */
int nd_read(const char *device, const char *name, char *buf, size_t size);

/* nd_bound() - has it a driver? */
bool nd_bound(const char *device);

/* nd_write() - to an attribute. 0 or a negative errno, with a sentence. */
int nd_write(const char *device, const char *name, const char *text, const struct why *why);

/* nd_bind() - a namespace, or what has claimed it, to nd_pmem. 0 or a negative errno. */
int nd_bind(const char *device, const struct why *why);

/* nd_read_again() - @r as it is now. 0, or -ENXIO when it is gone. */
int nd_read_again(struct nd_region *r);
