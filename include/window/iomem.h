/* SPDX-License-Identifier: MIT */
/* The map of guest-physical addresses: /proc/iomem. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "hw/why.h"

struct phys_range {
	uint64_t start; /* guest-physical address */
	uint64_t size;	/* bytes; 0: there is none */
};

/* phys_equal() - @a and @b are the same bytes. */
static inline bool phys_equal(const struct phys_range *a, const struct phys_range *b)
{
	return a->start == b->start && a->size == b->size;
}

static inline bool phys_overlap(const struct phys_range *a, const struct phys_range *b)
{
	return a->start < b->start ? b->start - a->start < a->size : a->start - b->start < b->size;
}

struct iomem_entry {
	struct phys_range range;
	unsigned int depth; /* 0 at the top; an entry lies in the last one before it of less depth */
	char name[44];	    /* "System RAM"; cut off where it is longer */
};

struct iomem {
	struct iomem_entry *entries;
	unsigned int n;
};

/* What memmap=SIZE!ADDRESS has made. */
struct iomem_pmem {
	struct phys_range range;
	bool device; /* something else lies in it that is no namespace: a device's BAR, for example */
};

/*
 * iomem_read() - read the map. Returns 0 and *ret, to be freed with iomem_free(), or a negative
 * errno: -EPERM when the kernel hides the addresses from this user.
 */
int iomem_read(const struct why *why, struct iomem *ret);
void iomem_free(struct iomem *m);

/* iomem_pmem_list() - all such regions, at most @max; returns how many there are. */
unsigned int iomem_pmem_list(const struct iomem *m, struct iomem_pmem *out, unsigned int max);

/*
 * iomem_find_free() - a piece of @size bytes of RAM that holds nothing that must be where it is:
 * no kernel, no crash kernel, and nothing of @avoid (the initrd). The first 512 MiB are only taken
 * when there is nothing behind them. Returns 0 and *ret, or -ENOSPC.
 */
int iomem_find_free(const struct iomem *m, const struct phys_range *avoid, uint64_t size,
		    struct phys_range *ret);
