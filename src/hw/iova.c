// SPDX-License-Identifier: MIT
// Choosing addresses for a device, and finding out which ones memory has; no device is touched.

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "hw/iova.h"

bool iova_usable(const struct iova_range *ranges, unsigned int n, struct iova start, uint64_t len)
{
	for (unsigned int i = 0; i < n; i++) {
		if (start.v >= ranges[i].first && start.v <= ranges[i].last &&
		    len - 1 <= ranges[i].last - start.v)
			return true;
	}
	return false;
}

/* One range; the fields of @r and sums of them may be as large as 2^64 - 1. */
static bool iova_pick_in(const struct iova_range *r, uint64_t len, uint64_t align, bool top,
			 uint64_t *ret)
{
	uint64_t first = r->first ? r->first : 1, start;

	if (r->last < first || r->last - first < len - 1)
		return false;
	if (top) {
		start = align_down(r->last - (len - 1), align);
		if (start < first)
			return false;
	} else {
		if (!add_u64(first, align - 1, &start))
			return false;
		start = align_down(start, align);
		if (start > r->last || r->last - start < len - 1)
			return false;
	}
	*ret = start;
	return true;
}

int iova_pick(const struct iova_range *ranges, unsigned int n, uint64_t len, uint64_t align,
	      bool top, struct iova *ret)
{
	uint64_t best = 0, v;

	if (!len || !is_pow2(align))
		return -EADDRNOTAVAIL;
	for (unsigned int i = 0; i < n; i++) {
		if (iova_pick_in(&ranges[i], len, align, top, &v) &&
		    (!best || (top ? v > best : v < best)))
			best = v;
	}
	if (!best)
		return -EADDRNOTAVAIL;
	*ret = IOVA(best);
	return 0;
}

size_t iova_run(const struct iova *pages, size_t first, size_t count)
{
	size_t n = 1;

	while (n < count - first && pages[first + n].v - pages[first].v == n * PAGE_4K)
		n++;
	return n;
}

/* Documentation/admin-guide/mm/pagemap.rst */
#define PAGEMAP_PFN	((UINT64_C(1) << 55) - 1)
#define PAGEMAP_PRESENT (UINT64_C(1) << 63)

int physmap_read(const void *va, size_t count, struct iova *ret)
{
	_cleanup_close_ int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t first = (uintptr_t)va / PAGE_4K;
	uint64_t entry[512];

	/* One entry is for a page of the kernel, and the callers count in 4 KiB. */
	if (sysconf(_SC_PAGESIZE) != (long)PAGE_4K)
		return -ENOTSUP;
	if (fd < 0)
		return errno == EACCES ? -EPERM : -errno;
	for (size_t i = 0; i < count;) {
		size_t want = MIN(count - i, ARRAY_SIZE(entry));
		ssize_t n = pread(fd, entry, want * sizeof(entry[0]),
				  (off_t)((first + i) * sizeof(entry[0])));

		if (n < 0)
			return -errno;
		if ((size_t)n != want * sizeof(entry[0]))
			return -EFAULT;
		for (size_t k = 0; k < want; k++) {
			if (!(entry[k] & PAGEMAP_PRESENT))
				return -EFAULT;
			if (!(entry[k] & PAGEMAP_PFN))
				return -EPERM;
			ret[i + k] = IOVA((entry[k] & PAGEMAP_PFN) * PAGE_4K);
		}
		i += want;
	}
	return 0;
}
