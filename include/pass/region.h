/* SPDX-License-Identifier: MIT */
/* Persistent-memory block devices of the kernel: the window, and memory for metadata. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Problem: only a file on a DAX file system can back an open file at the speed of memory, and such
 * a file system needs a block device with struct pages. With the kernel parameter
 * memmap=SIZE!ADDRESS, where that is the window's BAR, the kernel has a region of persistent memory
 * there. An fsdax namespace in it is the block device /dev/pmemN
 * (Documentation/driver-api/nvdimm/nvdimm.rst). A second region, in the guest's own memory, is for
 * metadata.
 *
 * While the kernel has the BAR, VFIO refuses to map it.
 */
#define PASS_REGIONS_MAX 16u

/*
 * UUIDs of namespaces that vfsdax-window has made begin with this. What is in others is somebody
 * else's.
 */
#define PASS_UUID_BEGIN "76667364-6178-8"

struct pass_region {
	char block[32];		   /* "/dev/pmem0" */
	unsigned int major, minor; /* of the block device */
	uint64_t start;		   /* guest-physical address of its first byte */
	uint64_t size;		   /* bytes */
	bool ours;		   /* PASS_UUID_BEGIN */
};

/*
 * pass_regions_list() - all block devices of persistent memory that can do DAX.
 * @sys: "/sys", or a test's tree. Returns how many were written to @out, at most @max; 0 also when
 * the kernel knows no persistent memory.
 */
unsigned int pass_regions_list(const char *sys, struct pass_region *out, unsigned int max);

/*
 * pass_regions_choose() - which of @n regions is the window's, and which is for metadata.
 * @start, @size: the window, in guest-physical addresses. The window's region lies in it; there the
 * namespace's own data is in front, so it begins behind @start. The metadata's is the only other
 * one of ours. Returns 0, or -ENODEV: none lies in the window; -EPERM: that one is not ours;
 * -ENXIO: there is none for metadata; -ENOTUNIQ: there is more than one.
 */
int pass_regions_choose(const struct pass_region *all, unsigned int n, uint64_t start,
			uint64_t size, struct pass_region *ret_window,
			struct pass_region *ret_meta);
