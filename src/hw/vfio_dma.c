// SPDX-License-Identifier: MIT
// VFIO DMA mappings: which addresses a device may use, and the arena under them.

#include <errno.h>
#include <linux/vfio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "hw/vfio.h"
#include "vfio_priv.h"

int vfio_dma_map(struct vfio_device *d, void *va, struct iova iova, uint64_t len)
{
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (uintptr_t)va,
		.iova = iova.v,
		.size = len,
	};
	struct rlimit lim;
	int r;

	if (ioctl(d->container, VFIO_IOMMU_MAP_DMA, &map) == 0)
		return 0;
	r = -errno;
	log_dbg("%s: DMA map of %llu bytes at %#llx: %s", d->addr.text, (unsigned long long)len,
		(unsigned long long)iova.v, strerror(-r));
	if (r == -ENOMEM && !getrlimit(RLIMIT_MEMLOCK, &lim) && lim.rlim_cur < len) {
		log_dbg("%s: RLIMIT_MEMLOCK allows %llu bytes of locked memory", d->addr.text,
			(unsigned long long)lim.rlim_cur);
		return -EPERM;
	}
	return r;
}

int vfio_dma_unmap(struct vfio_device *d, struct iova iova, uint64_t len)
{
	struct vfio_iommu_type1_dma_unmap unmap = {
		.argsz = sizeof(unmap),
		.iova = iova.v,
		.size = len,
	};

	return ioctl(d->container, VFIO_IOMMU_UNMAP_DMA, &unmap) < 0 ? -errno : 0;
}

static int vfio_iommu_info(int container, struct vfio_iommu_type1_info **ret)
{
	const struct vfio_iommu_type1_info wish = { .argsz = sizeof(wish) };

	return vfio_get_info(container, VFIO_IOMMU_GET_INFO, &wish, sizeof(wish), (void **)ret);
}

int vfio_iova_ranges(struct vfio_device *d, struct iova_range **ret)
{
	_cleanup_free_ struct vfio_iommu_type1_info *info = NULL;
	_cleanup_free_ struct iova_range *ranges = NULL;
	const struct vfio_iommu_type1_info_cap_iova_range *cap;
	const struct vfio_info_cap_header *h = NULL;
	size_t room;
	int r = vfio_iommu_info(d->container, &info);

	if (r < 0)
		return r;
	if (info->flags & VFIO_IOMMU_INFO_CAPS)
		h = vfio_cap_find(info, info->argsz, info->cap_offset,
				  VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, sizeof(*cap));
	if (!h) /* since Linux 5.4 it is always there */
		return -ENOTSUP;
	cap = (const void *)h;
	room = (info->argsz - (size_t)((const char *)h - (const char *)info) - sizeof(*cap)) /
	       sizeof(cap->iova_ranges[0]);
	if (!cap->nr_iovas || cap->nr_iovas > room)
		return -EIO;
	ranges = calloc(cap->nr_iovas, sizeof(*ranges));
	if (!ranges)
		return -ENOMEM;
	for (uint32_t i = 0; i < cap->nr_iovas; i++) {
		ranges[i].first = cap->iova_ranges[i].start;
		ranges[i].last = cap->iova_ranges[i].end;
		log_dbg("%s: usable IOVAs %#llx-%#llx", d->addr.text,
			(unsigned long long)ranges[i].first, (unsigned long long)ranges[i].last);
	}
	*ret = steal_ptr(ranges);
	return (int)cap->nr_iovas;
}

/* Addresses are ours to choose. */
static int vfio_map_translated(struct vfio_device *d, struct dma_arena *a,
			       const struct iova_range *ranges, unsigned int n)
{
	struct iova start;
	int r = iova_pick(ranges, n, a->size, 2 * MIB, false, &start);

	if (r < 0)
		return r;
	r = vfio_dma_map(d, a->base, start, a->size);
	if (r < 0)
		return r;
	for (size_t i = 0; i < a->size / PAGE_4K; i++)
		a->pages[i] = IOVA(start.v + i * PAGE_4K);
	return 0;
}

static void vfio_unmap_runs(struct vfio_device *d, const struct iova *pages, size_t count)
{
	for (size_t i = 0, n; i < count; i += n) {
		n = iova_run(pages, i, count);
		(void)vfio_dma_unmap(d, pages[i], n * PAGE_4K);
	}
}

/* Map each run of contiguous pages under its physical address; all of them or none. */
static int vfio_map_runs(struct vfio_device *d, const struct dma_arena *a, const struct iova *pages,
			 const struct iova_range *ranges, unsigned int num_ranges)
{
	const size_t count = a->size / PAGE_4K;
	size_t runs = 0, i, n;
	int r;

	for (i = 0; i < count; i += n, runs++) {
		n = iova_run(pages, i, count);
		if (!iova_usable(ranges, num_ranges, pages[i], n * PAGE_4K)) {
			log_dbg("%s: the IOMMU does not allow physical address %#llx", d->addr.text,
				(unsigned long long)pages[i].v);
			r = -EADDRNOTAVAIL;
		} else {
			r = vfio_dma_map(d, (char *)a->base + i * PAGE_4K, pages[i], n * PAGE_4K);
		}
		if (r < 0) {
			vfio_unmap_runs(d, pages, i);
			return r;
		}
	}
	log_dbg("%s: arena of %zu KiB in %zu runs of physical memory", d->addr.text,
		a->size / (size_t)KIB, runs);
	return 0;
}

/*
 * The device takes physical addresses, and the IOMMU is told to map them one to one, which pins the
 * pages and keeps other devices out. An address that was read before the pages are pinned may be
 * stale: so pin first, under scratch addresses; then read, map, and read again.
 */
static int vfio_map_physical(struct vfio_device *d, struct dma_arena *a,
			     const struct iova_range *ranges, unsigned int num_ranges)
{
	const size_t count = a->size / PAGE_4K;
	_cleanup_free_ struct iova *pages = calloc(count * 2, sizeof(*pages));
	struct iova scratch;
	int r;

	if (!pages)
		return -ENOMEM;
	/* From the top, where there is no memory, so that the two mappings do not meet. */
	r = iova_pick(ranges, num_ranges, a->size, 2 * MIB, true, &scratch);
	if (r < 0)
		return r;
	r = vfio_dma_map(d, a->base, scratch, a->size);
	if (r < 0)
		return r;
	r = physmap_read(a->base, count, pages);
	if (r == 0)
		r = vfio_map_runs(d, a, pages, ranges, num_ranges);
	if (r == 0) {
		r = physmap_read(a->base, count, pages + count);
		if (r == 0 && memcmp(pages, pages + count, count * sizeof(*pages)) != 0)
			r = -EAGAIN;
		if (r < 0)
			vfio_unmap_runs(d, pages, count);
	}
	(void)vfio_dma_unmap(d, scratch, a->size);
	if (r == 0)
		memcpy(a->pages, pages, count * sizeof(*pages));
	else if (r == -EPERM)
		log_dbg("%s: physical addresses are hidden: CAP_SYS_ADMIN is needed", d->addr.text);
	return r;
}

int vfio_map_arena(struct vfio_device *d, struct dma_arena *arena, bool translated)
{
	_cleanup_free_ struct iova_range *ranges = NULL;
	int n = vfio_iova_ranges(d, &ranges);

	if (n < 0)
		return n;
	if (translated)
		return vfio_map_translated(d, arena, ranges, (unsigned int)n);
	return vfio_map_physical(d, arena, ranges, (unsigned int)n);
}
