/* SPDX-License-Identifier: MIT */
/* What the files about regions share among themselves. */
#pragma once

#include <stddef.h>

#include "window/nd.h"

#define ND_DEVICES "/sys/bus/nd/devices"

/* nd_read() - an attribute of a device of the bus, as sysfs_read(). */
int nd_read(const char *device, const char *name, char *buf, size_t size);

/* nd_bound() - has it a driver? */
bool nd_bound(const char *device);
