/* SPDX-License-Identifier: MIT */
/* Regions and namespaces of persistent memory: the kernel's bus "nd". */
#pragma once

#include <stdbool.h>

#include "hw/why.h"
#include "window/iomem.h"

/*
 * Concepts (Documentation/driver-api/nvdimm/nvdimm.rst): memmap=SIZE!ADDRESS makes a region with
 * one namespace. Bound to the driver nd_pmem the namespace is a block device. A pfn device may claim
 * it and be bound in its place: that is an fsdax namespace, with struct pages and a description of
 * itself that is written 4096 bytes behind the region's begin. A dax device may claim it, which is
 * a devdax namespace. Only regions of the provider e820 are seen here; a memory module's never are.
 *
 * Ours are pfn devices whose UUID begins with ND_UUID_BEGIN: so they are known again after a crash.
 */
#define ND_REGIONS_MAX 16u
#define ND_ALIGNMENT   (UINT64_C(2) << 20)
#define ND_UUID_BEGIN  "76667364-6178-8"

enum nd_use {
	ND_FREE,   /* nobody has claimed the namespace */
	ND_FSDAX,  /* a pfn device has; @fit says whether it can be used */
	ND_DEVDAX, /* a dax device */
	ND_OTHER,
};

struct nd_region {
	char name[32];	 /* "region1" */
	char space[32];	 /* "namespace1.0", "" while there is none */
	char claim[32];	 /* "pfn1.0", "" when nobody has claimed it */
	char block[32];	 /* "pmem1", "" when nothing is bound to nd_pmem */
	char driver[32]; /* of a devdax namespace's character device: "kmem", "device_dax" or "" */
	struct phys_range range;
	enum nd_use use;
	bool ours;  /* the claim's UUID begins with ND_UUID_BEGIN */
	bool fit;   /* struct pages in memory, alignment 2 MiB */
	bool bound; /* the claim, or the free namespace, is bound to a driver */
};

/* nd_list() - all regions that memmap= made, at most @max; 0 also when the modules are not loaded. */
unsigned int nd_list(struct nd_region *out, unsigned int max);

/* nd_settle() - wait until the drivers have looked at all that there is. */
void nd_settle(void);

/*
 * nd_check() - could nd_make() work, as far as can be told without reading the region? 0, or -EBUSY
 * and what is in its place: a namespace that is not ours, or a program that uses the raw one; for
 * programs it waits as nd_wait_unused().
 */
int nd_check(const struct nd_region *r, const struct why *why);

/* What the begin of a raw namespace holds. */
enum nd_contents {
	ND_BLANK,   /* zeros */
	ND_OURS,    /* the description of a namespace that was ours */
	ND_FOREIGN, /* anything else */
};

/*
 * nd_contents() - read the first @size bytes, a multiple of 64 KiB, of the block device of @r,
 * which must be a free namespace that is bound. Returns an enum nd_contents or a negative errno.
 * nd_contents_meta() - as much as is needed for memory for metadata.
 */
int nd_contents(const struct nd_region *r, uint64_t size, const struct why *why);
int nd_contents_meta(const struct nd_region *r, const struct why *why);

/*
 * nd_check_contents() - is nothing lost when nd_make() writes to @r, which nd_check() has found
 * good? @window: it is the window, which must be blank; memory for metadata may also hold a
 * description of ours. @keep: an fsdax namespace that is bound was made when the region was blank,
 * and is not looked at; otherwise it is given back first. The namespace is free and bound
 * afterwards, unless it was kept, also when this fails: read @r anew. Nobody may map anything in
 * the window until nd_make() has ended. 0, or -EBUSY and what to do, or another negative errno.
 */
int nd_check_contents(const struct nd_region *r, bool window, bool keep, const struct why *why);

/*
 * nd_make() - make the fsdax namespace in region @r; one that is there is kept. Waits for its block
 * device. nd_check_contents() must have found nothing. 0 or a negative errno.
 */
int nd_make(const struct nd_region *r, const struct why *why);

/* nd_remove() - give the namespace back, if it is ours; @r is free then, and bound to no driver. */
int nd_remove(const struct nd_region *r, const struct why *why);

/*
 * nd_user() - 1 and who uses the block device of @r, in at most @size bytes; 0 when nobody does.
 * Found are devices of device mapper, mounts, and processes that have it open.
 */
int nd_user(const struct nd_region *r, char *text, size_t size);

/*
 * nd_wait_unused() - as nd_user(), but waits up to 5 s for programs: udev runs blkid for each new
 * block device. Devices of device mapper and mounts last, and are told at once.
 */
int nd_wait_unused(const struct nd_region *r, char *text, size_t size);
