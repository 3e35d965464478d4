/* SPDX-License-Identifier: MIT */
/* A machine in a tree of files, with what vfsdax-window looks at. */
#pragma once

#include <stdint.h>

#define MACHINE_DEVICE	"0000:00:10.0"
#define MACHINE_WINDOW	UINT64_C(0xff00000000)
#define MACHINE_SIZE	(UINT64_C(1) << 30)
#define MACHINE_META	UINT64_C(0x20000000)
#define MACHINE_META_SZ (UINT64_C(64) << 20)

/* machine_begin() - cmocka's setup: Linux 6.12 with both parameters, no module loaded. */
int machine_begin(void **state);

/* machine_device() - a virtio-fs device; @size 0: without a window. */
void machine_device(const char *address, uint64_t window, uint64_t size);

/* machine_iomem() - the map, with persistent memory at both places; @size 0: none there. */
void machine_iomem(uint64_t window, uint64_t size, uint64_t meta, uint64_t meta_size);

/* machine_driver() - who has the device. */
void machine_driver(const char *name);

/* machine_region() - region @n of the provider; its namespace is claimed by @claim ("" for nobody).
 */
void machine_region(unsigned int n, const char *provider, uint64_t start, uint64_t size,
		    const char *claim);

/* machine_raw() - the free namespace of region @n is bound, as a block device that holds @data. */
void machine_raw(unsigned int n, const void *data, uint64_t size);

/* machine_fsdax() - the claim pfnN.0 of region @n, as a block device. */
void machine_fsdax(unsigned int n, const char *uuid, uint64_t start, uint64_t size);

/* machine_modprobed() - the arguments of all calls of modprobe, but those that only ask. */
const char *machine_modprobed(void);
