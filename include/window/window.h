/* SPDX-License-Identifier: MIT */
/* vfsdax-window: makes the DAX window persistent memory of the kernel, for passthrough. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "hw/why.h"
#include "window/device.h"
#include "window/iomem.h"
#include "window/nd.h"

#define WINDOW_RUN_DIR "/run/vfsdax-window"

/* How often, and how long each time, to wait for the kernel's devices: 10 s. */
#define WINDOW_TRIES	    500u
#define WINDOW_TRY_US	    20000u

#define WINDOW_META_DEFAULT (UINT64_C(64) << 20) /* bytes */
#define WINDOW_META_MIN	    (UINT64_C(16) << 20)

#define WINDOW_TEXT_MAX	    512u /* bytes of a sentence */

/* What there is. Each *_error is 0 or a negative errno, with its sentence beside. */
struct window_facts {
	char kernel[68];
	char lockdown[24]; /* "none", "integrity", "confidentiality"; "" when the kernel has none */
	char cmdline[4096];
	int device_error;
	char device_why[WINDOW_TEXT_MAX];
	struct window_device device;
	int iomem_error;
	char iomem_why[WINDOW_TEXT_MAX];
	struct iomem iomem;
	struct iomem_pmem pmem[ND_REGIONS_MAX];
	unsigned int num_pmem;
	struct nd_region regions[ND_REGIONS_MAX];
	unsigned int num_regions;
};

/* window_facts_read() - look at everything, with device @address or NULL; changes nothing. */
void window_facts_read(const char *address, struct window_facts *ret);
void window_facts_free(struct window_facts *f);

/*
 * One thing that passthrough needs. run() returns 0 or a negative errno, and a sentence in @why in
 * either case.
 */
struct window_check {
	const char *name;
	int (*run)(const struct window_facts *f, const struct why *why);
	bool first; /* must hold before anything is changed; setup does the others */
};

/* window_checks() - all of them, in order; *ret_n is how many. */
const struct window_check *window_checks(size_t *ret_n);

/* window_region_of() - the region of @f that covers exactly @range, or NULL. */
const struct nd_region *window_region_of(const struct window_facts *f,
					 const struct phys_range *range);

/*
 * window_meta_of() - the memory for metadata: the one region that is neither over the window nor
 * over another device, or NULL.
 */
const struct phys_range *window_meta_of(const struct window_facts *f);

/* The verbs. Each returns 0 or a negative errno with a sentence in @why. */

/*
 * window_print_config() - the kernel parameters to @out, what to do with them to @notes.
 * @metadata: bytes, or 0: what the kernel has already, or WINDOW_META_DEFAULT.
 */
int window_print_config(const char *address, uint64_t metadata, FILE *out, FILE *notes,
			const struct why *why);

/* window_print_status() - returns 1 when passthrough can be used now, otherwise 0. */
int window_print_status(const char *address, bool json, FILE *out);
int window_setup(const char *address, const struct why *why);
int window_remove(const char *address, const struct why *why);

/*
 * window_lock() - wait until no other vfsdax-window changes anything. Returns a descriptor that
 * holds the lock until it is closed, or a negative errno.
 */
int window_lock(const struct why *why);

/* What has to be loaded, in this order: nd_pmem is there when nd_e820 makes the namespaces. */
struct window_module {
	const char *name;
	const char *sign; /* a path that exists when it is there, as a module or built in */
};

const struct window_module *window_modules(size_t *ret_n);
