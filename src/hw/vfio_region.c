// SPDX-License-Identifier: MIT
// VFIO regions: what a BAR allows, and mapping parts of it.

#include <errno.h>
#include <linux/vfio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "hw/vfio.h"
#include "vfio_priv.h"

int vfio_get_info(int fd, unsigned long request, const void *wish, uint32_t size, void **ret)
{
	uint32_t room = size, argsz;

	for (int i = 0; i < 3; i++) {
		_cleanup_free_ char *info = calloc(1, room);

		if (!info)
			return -ENOMEM;
		memcpy(info, wish, size);
		memcpy(info, &room, sizeof(room));
		if (ioctl(fd, request, info) < 0)
			return -errno;
		memcpy(&argsz, info, sizeof(argsz));
		if (argsz <= room) {
			memcpy(info, &room, sizeof(room));
			*ret = steal_ptr(info);
			return 0;
		}
		room = argsz;
	}
	return -EIO;
}

const struct vfio_info_cap_header *vfio_cap_find(const void *info, uint32_t size, uint32_t first,
						 uint16_t id, size_t min_size)
{
	uint32_t off = first;

	/* Offsets only grow in the kernel's lists, so asking for that ends any loop. */
	while (off && range_ok(off, sizeof(struct vfio_info_cap_header), size) && off % 4 == 0) {
		const struct vfio_info_cap_header *h = (const void *)((const char *)info + off);

		if (h->id == id)
			return range_ok(off, min_size, size) ? h : NULL;
		if (h->next <= off)
			break;
		off = h->next;
	}
	return NULL;
}

/* The parts of a BAR that mmap() may reach. */
static void vfio_read_areas(const struct vfio_region_info *info, struct vfio_bar *bar)
{
	const struct vfio_region_info_cap_sparse_mmap *sparse = NULL;
	const struct vfio_info_cap_header *h = NULL;
	size_t room;

	bar->num_areas = 0;
	if (!(info->flags & VFIO_REGION_INFO_FLAG_MMAP))
		return;
	if (info->flags & VFIO_REGION_INFO_FLAG_CAPS)
		h = vfio_cap_find(info, info->argsz, info->cap_offset,
				  VFIO_REGION_INFO_CAP_SPARSE_MMAP, sizeof(*sparse));
	if (!h) {
		/* Everything: VFIO sends a sparse list when the MSI-X table must be left out. */
		bar->areas[0].off = 0;
		bar->areas[0].len = align_up(bar->size, PAGE_4K);
		bar->num_areas = 1;
		return;
	}
	sparse = (const void *)h;
	room = (info->argsz - (size_t)((const char *)h - (const char *)info) - sizeof(*sparse)) /
	       sizeof(sparse->areas[0]);
	for (uint32_t i = 0; i < sparse->nr_areas && i < room; i++) {
		if (bar->num_areas == VFIO_MAX_AREAS || !sparse->areas[i].size)
			continue;
		bar->areas[bar->num_areas].off = sparse->areas[i].offset;
		bar->areas[bar->num_areas].len = sparse->areas[i].size;
		bar->num_areas++;
	}
}

/* One region with its capabilities, in memory of the size that the kernel wants. */
static int vfio_region_info(int fd, uint32_t index, struct vfio_region_info **ret)
{
	const struct vfio_region_info wish = { .argsz = sizeof(wish), .index = index };

	return vfio_get_info(fd, VFIO_DEVICE_GET_REGION_INFO, &wish, sizeof(wish), (void **)ret);
}

int vfio_read_regions(struct vfio_device *d, uint32_t num_regions)
{
	for (uint32_t i = 0; i <= VFIO_PCI_CONFIG_REGION_INDEX && i < num_regions; i++) {
		_cleanup_free_ struct vfio_region_info *info = NULL;
		int r;

		if (i == VFIO_PCI_ROM_REGION_INDEX)
			continue;
		r = vfio_region_info(d->fd, i, &info);
		if (r < 0)
			return r;
		if (i == VFIO_PCI_CONFIG_REGION_INDEX) {
			d->config_offset = info->offset;
			d->config_size = info->size;
			continue;
		}
		d->bars[i].size = info->flags & VFIO_REGION_INFO_FLAG_READ ? info->size : 0;
		d->bars[i].offset = info->offset;
		d->bars[i].writable = info->flags & VFIO_REGION_INFO_FLAG_WRITE;
		vfio_read_areas(info, &d->bars[i]);
		if (d->bars[i].size)
			log_dbg("%s: BAR %u: %llu bytes, %u mappable areas", d->addr.text, i,
				(unsigned long long)info->size, d->bars[i].num_areas);
	}
	return 0;
}

/* May [off, off + len), whole pages, be mapped? */
static bool vfio_mappable(const struct vfio_bar *bar, uint64_t off, uint64_t len)
{
	for (unsigned int i = 0; i < bar->num_areas; i++) {
		if (off >= bar->areas[i].off &&
		    range_ok(off - bar->areas[i].off, len, bar->areas[i].len))
			return true;
	}
	return false;
}

static int vfio_range_of(struct vfio_device *d, unsigned int bar, uint64_t off, uint64_t len,
			 struct vfio_range *ret)
{
	if (bar >= PCI_NUM_BARS || !len || len > SIZE_MAX / 2 ||
	    !range_ok(off, len, d->bars[bar].size))
		return -ERANGE;
	*ret = (struct vfio_range){ .len = len,
				    .fd = d->fd,
				    .file_off = d->bars[bar].offset + off };
	return 0;
}

static int vfio_prot(const struct vfio_bar *bar)
{
	return PROT_READ | (bar->writable ? PROT_WRITE : 0);
}

int vfio_map(struct vfio_device *d, unsigned int bar, uint64_t off, uint64_t len,
	     struct vfio_range *ret)
{
	uint64_t first = align_down(off, PAGE_4K), map_len;
	struct vfio_range range;
	void *p;
	int r = vfio_range_of(d, bar, off, len, &range);

	if (r < 0)
		return r;
	map_len = align_up(off + len, PAGE_4K) - first;
	if (vfio_mappable(&d->bars[bar], first, map_len)) {
		p = mmap(NULL, map_len, vfio_prot(&d->bars[bar]), MAP_SHARED, d->fd,
			 (off_t)(d->bars[bar].offset + first));
		if (p == MAP_FAILED)
			return -errno;
		range.map = p;
		range.map_len = map_len;
		range.mmio = (volatile uint8_t *)p + (off - first);
	} else {
		log_dbg("%s: BAR %u: using read and write at %#llx", d->addr.text, bar,
			(unsigned long long)off);
	}
	*ret = range;
	return 0;
}

int vfio_map_memory(struct vfio_device *d, unsigned int bar, uint64_t off, uint64_t len,
		    struct vfio_range *ret)
{
	uint64_t align = len >= GIB ? GIB : 2 * MIB;
	struct vfio_range range;
	char *space, *p;
	size_t total;
	int r = vfio_range_of(d, bar, off, len, &range);

	if (r < 0)
		return r;
	if (off % PAGE_4K || len % PAGE_4K)
		return -EINVAL;
	if (!vfio_mappable(&d->bars[bar], off, len))
		return -ENOTSUP;

	/* Address space with room to move in, so that p and off agree in their low bits. */
	total = len + align;
	space = mmap(NULL, total, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (space == MAP_FAILED)
		return -errno;
	p = space + ((off - (uintptr_t)space) & (align - 1));
	if (mmap(p, len, vfio_prot(&d->bars[bar]), MAP_SHARED | MAP_FIXED, d->fd,
		 (off_t)(d->bars[bar].offset + off)) == MAP_FAILED) {
		r = -errno;
		(void)munmap(space, total);
		return r;
	}
	if (p != space)
		(void)munmap(space, (size_t)(p - space));
	if (p + len != space + total)
		(void)munmap(p + len, (size_t)(space + total - (p + len)));
	range.map = p;
	range.map_len = len;
	range.mmio = (volatile uint8_t *)p;
	*ret = range;
	return 0;
}

void vfio_unmap(struct vfio_range *r)
{
	if (r->map)
		(void)munmap(r->map, r->map_len);
	*r = (struct vfio_range){ .fd = -1 };
}
