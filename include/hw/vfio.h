/* SPDX-License-Identifier: MIT */
/* A PCI device that the kernel hands to this process: VFIO with the type 1 IOMMU. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include "base/num.h"
#include "hw/dma.h"
#include "hw/iova.h"
#include "hw/mmio.h"
#include "hw/pci.h"
#include "hw/why.h"

/*
 * Concepts (linux/vfio.h): a device belongs to an IOMMU group, a group is put into a container, and
 * DMA mappings belong to the container. Here it is always one of each. The device must be bound to
 * vfio-pci. Groups (/dev/vfio/N) are used, not the newer character devices, and an IOMMU is needed:
 * the no-IOMMU mode of VFIO, which can pin nothing, is refused.
 *
 * Threads: one, but for the accessors of struct vfio_range, which any thread may use.
 */

#define VFIO_MAX_AREAS 8

/* One BAR. */
struct vfio_bar {
	uint64_t size;	 /* bytes; 0: absent */
	uint64_t offset; /* of the region in the device's file */
	bool writable;
	unsigned int num_areas; /* what mmap() may reach; 0: nothing */
	struct {
		uint64_t off, len;
	} areas[VFIO_MAX_AREAS];
};

struct vfio_device {
	struct pci_address addr;
	int container;
	int group;
	int fd;
	bool can_reset; /* vfio_reset() works */
	struct vfio_bar bars[PCI_NUM_BARS];
	uint64_t config_offset; /* of the configuration space in the file */
	uint64_t config_size;
};

/* A part of a BAR: mapped, or where that is impossible read and written through the file. */
struct vfio_range {
	volatile uint8_t *mmio; /* NULL: not mapped */
	uint64_t len;		/* bytes */
	int fd;			/* the device's, not owned */
	uint64_t file_off;
	void *map; /* what to unmap */
	size_t map_len;
};

/*
 * vfio_load() - load vfio-pci with modprobe(8) when it is not there. Needs root.
 * Returns 0, or -ENXIO when the kernel has no such driver.
 */
int vfio_load(const struct why *why);

/*
 * vfio_group_of() - number of the IOMMU group; to be asked before a device is taken from its driver,
 * which vfio-pci would not take without. Returns 0, or -ENXIO and the advice what is missing.
 */
int vfio_group_of(const struct pci_address *addr, const struct why *why, unsigned int *ret);

/*
 * vfio_group_open() - open /dev/vfio/N of the device, which only one process can. Returns 0 and the
 * descriptor, which the caller closes, or a negative errno as vfio_open().
 */
int vfio_group_open(const struct pci_address *addr, const struct why *why, int *ret_group);

/*
 * vfio_open() - open the device, which is bound to vfio-pci, and switch on its memory and DMA.
 * Returns 0 and *ret (close with vfio_close()), or a negative errno:
 *  -ENXIO   VFIO or an IOMMU group is missing
 *  -EBUSY   another process has the group, or another device in it is used by the kernel
 *  -EPERM, -EACCES
 */
int vfio_open(const struct pci_address *addr, const struct why *why, struct vfio_device **ret);

/* vfio_close() - NULL is fine. Ranges must be unmapped before: they keep the group busy. */
void vfio_close(struct vfio_device *d);

/* vfio_reset() - function-level reset. -ENOTSUP when the device has none. */
int vfio_reset(struct vfio_device *d);

/* vfio_config_read() - the first 256 bytes of the configuration space. 0 or a negative errno. */
int vfio_config_read(struct vfio_device *d, uint8_t buf[PCI_CONFIG_SIZE]);

/*
 * vfio_irq_msix() - let MSI-X vector 0 signal @eventfd, which stays the caller's.
 * Returns 0, -ENOTSUP when the device has no MSI-X, or what VFIO says.
 */
int vfio_irq_msix(struct vfio_device *d, int eventfd);

/* vfio_irq_off() - switch MSI-X off again; nothing when it is off. */
void vfio_irq_off(struct vfio_device *d);

/*
 * vfio_map() - make [@off, @off + @len) of BAR @bar reachable for the accessors below, mapped where
 * possible. vfio_unmap() takes it back.
 * Returns 0 and *ret, or a negative errno: -ERANGE when the BAR does not have that range.
 */
int vfio_map(struct vfio_device *d, unsigned int bar, uint64_t off, uint64_t len,
	     struct vfio_range *ret);

/*
 * vfio_map_memory() - map a range of 4 KiB pages that is memory, not registers, always by mmap.
 * Addresses are congruent with offsets in the BAR modulo 2 MiB (1 GiB for a range of that size), so
 * that the kernel can use huge page-table entries.
 * Returns 0 and *ret, or a negative errno: -ERANGE as above, -ENOTSUP when it cannot be mapped.
 */
int vfio_map_memory(struct vfio_device *d, unsigned int bar, uint64_t off, uint64_t len,
		    struct vfio_range *ret);

/* vfio_unmap() - for either; nothing when @r is all zero or was unmapped. */
void vfio_unmap(struct vfio_range *r);

/*
 * vfio_dma_map() - let the device reach @len bytes at @va under @iova, and pin them. All three are
 * multiples of 4 KiB. Lasts until vfio_dma_unmap() or vfio_close().
 * Returns 0 or a negative errno: -EPERM when RLIMIT_MEMLOCK does not allow it, -EEXIST when the
 * addresses are taken, -EINVAL or -EADDRNOTAVAIL when the IOMMU cannot do them, -ENOSPC when there
 * are too many mappings.
 */
int vfio_dma_map(struct vfio_device *d, void *va, struct iova iova, uint64_t len);
int vfio_dma_unmap(struct vfio_device *d, struct iova iova, uint64_t len);

/*
 * vfio_iova_ranges() - what the IOMMU lets the device use, in *ret (free()), sorted by the kernel.
 * Returns the number of ranges, at least 1, or a negative errno.
 */
int vfio_iova_ranges(struct vfio_device *d, struct iova_range **ret);

/*
 * vfio_map_arena() - map all of @arena for the device and set its addresses. @translated: the
 * device goes through the IOMMU, and the addresses are chosen here. Otherwise it takes physical
 * ones: the arena is pinned, then its physical addresses are read (CAP_SYS_ADMIN) and mapped one to
 * one. Lasts until vfio_close(). Returns 0 or a negative errno of vfio_dma_map() or physmap_read();
 * -EADDRNOTAVAIL when the IOMMU reserves an address that the memory has; -EAGAIN when pages moved.
 */
int vfio_map_arena(struct vfio_device *d, struct dma_arena *arena, bool translated);

/*
 * Accessors. @off is inside the range, by the caller's promise, and aligned to the width. A read
 * that fails gives all ones, as PCI does when a device is gone; a write that fails is lost.
 */
static inline uint8_t vfio_read8(const struct vfio_range *r, uint64_t off)
{
	uint8_t v;

	if (r->mmio)
		return mmio_read8(r->mmio + off);
	return pread(r->fd, &v, sizeof(v), (off_t)(r->file_off + off)) == sizeof(v) ? v : UINT8_MAX;
}

static inline uint16_t vfio_read16(const struct vfio_range *r, uint64_t off)
{
	uint16_t v;

	if (r->mmio)
		return mmio_read16(r->mmio + off);
	if (pread(r->fd, &v, sizeof(v), (off_t)(r->file_off + off)) != sizeof(v))
		return UINT16_MAX;
	return le16toh(v);
}

static inline uint32_t vfio_read32(const struct vfio_range *r, uint64_t off)
{
	uint32_t v;

	if (r->mmio)
		return mmio_read32(r->mmio + off);
	if (pread(r->fd, &v, sizeof(v), (off_t)(r->file_off + off)) != sizeof(v))
		return UINT32_MAX;
	return le32toh(v);
}

static inline void vfio_write_file(const struct vfio_range *r, uint64_t off, const void *v,
				   size_t n)
{
	ssize_t done = pwrite(r->fd, v, n, (off_t)(r->file_off + off));

	(void)done;
}

static inline void vfio_write8(const struct vfio_range *r, uint64_t off, uint8_t v)
{
	if (r->mmio)
		mmio_write8(r->mmio + off, v);
	else
		vfio_write_file(r, off, &v, sizeof(v));
}

static inline void vfio_write16(const struct vfio_range *r, uint64_t off, uint16_t v)
{
	uint16_t le = htole16(v);

	if (r->mmio)
		mmio_write16(r->mmio + off, v);
	else
		vfio_write_file(r, off, &le, sizeof(le));
}

static inline void vfio_write32(const struct vfio_range *r, uint64_t off, uint32_t v)
{
	uint32_t le = htole32(v);

	if (r->mmio)
		mmio_write32(r->mmio + off, v);
	else
		vfio_write_file(r, off, &le, sizeof(le));
}

/* VIRTIO 1.2, 4.1.3.1: 64-bit fields are accessed as two of 32 bits. */
static inline void vfio_write64(const struct vfio_range *r, uint64_t off, uint64_t v)
{
	vfio_write32(r, off, (uint32_t)v);
	vfio_write32(r, off + 4, (uint32_t)(v >> 32));
}
