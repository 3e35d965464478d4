/* SPDX-License-Identifier: MIT */
/* What the files of the VFIO code share among themselves. */
#pragma once

#include <stdint.h>

#include "hw/vfio.h"

/*
 * vfio_read_regions() - fill in d->bars and d->config_*; d->fd is open, @num_regions is the number
 * that the kernel gave. Returns 0 or a negative errno.
 */
int vfio_read_regions(struct vfio_device *d, uint32_t num_regions);

/*
 * vfio_cap_find() - search the list of capability headers in an answer of the kernel: @size bytes at
 * @info, the list beginning at @first. Returns the header of the first one with @id and at least
 * @min_size bytes behind its start, or NULL.
 */
const struct vfio_info_cap_header *vfio_cap_find(const void *info, uint32_t size, uint32_t first,
						 uint16_t id, size_t min_size);

/*
 * vfio_get_info() - an answer with capabilities, in memory of the size that the kernel wants.
 * @wish: the @size bytes of the request, whose first member is argsz. Returns 0 and the answer in
 * *ret, to be freed, or a negative errno.
 */
int vfio_get_info(int fd, unsigned long request, const void *wish, uint32_t size, void **ret);
