/* SPDX-License-Identifier: MIT */
/* A block device put together of pieces of others, and a mount of it that nobody sees. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* One piece, in bytes; all are multiples of 4096. */
struct compose_piece {
	unsigned int major, minor; /* of the block device that it lies on */
	uint64_t from;
	uint64_t len;
};

/*
 * compose_device() - make a device of @n pieces, in this order (dm-linear, which passes DAX on).
 * @name: of the device, unique in this machine; at most 100 letters, digits, '-' and '_'.
 * Returns 0 and its path in @ret_path, or a negative errno.
 * compose_device_remove() - it must not be in use. 0 or a negative errno; -ENXIO: there is no such
 * device.
 */
#define COMPOSE_PATH_MAX 32u
int compose_device(const char *name, const struct compose_piece *pieces, unsigned int n,
		   char ret_path[COMPOSE_PATH_MAX]);
int compose_device_remove(const char *name);

/*
 * compose_device_fail() - from now on each access to a device of @size bytes is an I/O error.
 * Memory of it that is mapped already stays. 0 or a negative errno.
 */
int compose_device_fail(const char *name, uint64_t size);

/*
 * compose_remove_all() - remove devices whose name begins with @prefix, as a killed process has
 * left them. 0, or -EBUSY when one is still in use.
 */
int compose_remove_all(const char *prefix);

/*
 * compose_mount() - mount an ext4 with DAX, visible nowhere: in no mount namespace (fsmount(2)).
 * Returns a descriptor of its root, whose close() unmounts it when no file in it is open, or a
 * negative errno.
 */
int compose_mount(const char *path);
