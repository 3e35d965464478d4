/* SPDX-License-Identifier: MIT */
/* Choosing addresses for a device, and finding out which ones memory has; no device is touched. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/num.h"
#include "hw/dma.h"

/* Addresses that an IOMMU lets a device use, both ends included (so 2^64 - 1 has a name). */
struct iova_range {
	uint64_t first;
	uint64_t last;
};

/* iova_usable() - does [@start, @start + @len) lie in one of the ranges? @len is not 0. */
bool iova_usable(const struct iova_range *ranges, unsigned int n, struct iova start, uint64_t len);

/*
 * iova_pick() - find @len usable addresses that begin at a multiple of @align (a power of two): the
 * lowest ones, or with @top the highest ones. Address 0 is never chosen.
 * Returns 0 or -EADDRNOTAVAIL.
 */
int iova_pick(const struct iova_range *ranges, unsigned int n, uint64_t len, uint64_t align,
	      bool top, struct iova *ret);

/*
 * iova_run() - how many of the pages from @first on (at most @count in all) have contiguous
 * addresses? Returns at least 1; @first is below @count.
 */
size_t iova_run(const struct iova *pages, size_t first, size_t count);

/*
 * physmap_read() - physical addresses of @count 4 KiB pages that begin at @va, from
 * /proc/self/pagemap. They stay true only while something holds the pages in place (a VFIO
 * mapping). Returns 0 or a negative errno: -EPERM when the kernel hides them (CAP_SYS_ADMIN is
 * needed), -EFAULT when a page is not present.
 */
int physmap_read(const void *va, size_t count, struct iova *ret);
