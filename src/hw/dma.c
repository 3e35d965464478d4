// SPDX-License-Identifier: MIT
// The one block of memory that a device reads and writes: rings, requests and replies.

#include <assert.h>
#include <errno.h>
#include <linux/mman.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/num.h"
#include "hw/dma.h"

#define DMA_HUGE (2 * MIB)

/* Address space for @size bytes, 2 MiB aligned, with nothing behind it yet. */
static void *dma_reserve(size_t size)
{
	size_t total = size + DMA_HUGE, head;
	char *p = mmap(NULL, total, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	head = align_up((uintptr_t)p, DMA_HUGE) - (uintptr_t)p;
	if (head)
		(void)munmap(p, head);
	if (total - head - size)
		(void)munmap(p + head + size, total - head - size);
	return p + head;
}

/* All of @size in huge pages from the pool, which cannot be moved or swapped; NULL when too few. */
static void *dma_map_hugetlb(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_HUGE_2MB | MAP_POPULATE, -1,
		       0);

	return p == MAP_FAILED ? NULL : p;
}

static void dma_populate(char *p, size_t size)
{
	/* Volatile: a store of zero into fresh memory must not be optimised away. */
	for (size_t off = 0; off < size; off += PAGE_4K)
		*(volatile char *)(p + off) = 0;
}

static int dma_map_private(struct dma_arena *a)
{
	void *p = dma_map_hugetlb(a->size);
	bool hugetlb = p;

	if (!hugetlb) {
		p = dma_reserve(a->size);
		if (!p)
			return -ENOMEM;
		if (mprotect(p, a->size, PROT_READ | PROT_WRITE) < 0) {
			(void)munmap(p, a->size);
			return -ENOMEM;
		}
		(void)madvise(p, a->size, MADV_HUGEPAGE);
	}
	a->base = p;
	/*
	 * A fork would share the pages copy-on-write, and the next store here would move this
	 * process to a copy while the device stays with the original.
	 */
	if (madvise(p, a->size, MADV_DONTFORK) < 0)
		return -errno;
	if (hugetlb)
		return 0;
	dma_populate(p, a->size);
	/* VFIO pins the pages in any case, and fails itself where the limit does not allow it. */
	if (mlock(p, a->size) < 0)
		log_dbg("dma: cannot lock %zu bytes: %m", a->size);
	return 0;
}

static int dma_map_shared(struct dma_arena *a)
{
	void *p;

	a->memfd = memfd_create("vfsdaxfuse-dma", MFD_CLOEXEC);
	if (a->memfd < 0)
		return -errno;
	if (ftruncate(a->memfd, (off_t)a->size) < 0)
		return -errno;
	p = mmap(NULL, a->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, a->memfd, 0);
	if (p == MAP_FAILED)
		return -errno;
	a->base = p;
	return 0;
}

void dma_arena_destroy(struct dma_arena *a)
{
	if (!a)
		return;
	if (a->base)
		(void)munmap(a->base, a->size);
	close_keep_errno(a->memfd);
	free(a->pages);
	free(a);
}

int dma_arena_create(size_t size, enum dma_kind kind, struct dma_arena **ret)
{
	struct dma_arena *a;
	int r;

	if (!size)
		return -EINVAL;
	if (size > SIZE_MAX / 2)
		return -ENOMEM;
	a = calloc(1, sizeof(*a));
	if (!a)
		return -ENOMEM;
	a->memfd = -1;
	a->size = align_up(size, DMA_HUGE);
	a->pages = calloc(a->size / PAGE_4K, sizeof(*a->pages));
	if (!a->pages)
		r = -ENOMEM;
	else
		r = kind == DMA_SHARED ? dma_map_shared(a) : dma_map_private(a);
	if (r < 0) {
		dma_arena_destroy(a);
		return r;
	}
	*ret = a;
	return 0;
}

void *dma_alloc(struct dma_arena *a, size_t size, size_t align)
{
	size_t start;

	if (!is_pow2(align) || align > DMA_HUGE)
		return NULL;
	/* used <= size <= SIZE_MAX / 2 + 2 MiB, so this does not overflow */
	start = align_up(a->used, align);
	if (!range_ok(start, size, a->size))
		return NULL;
	a->used = start + size;
	return (char *)a->base + start;
}

struct iova dma_iova(const struct dma_arena *a, const void *ptr)
{
	size_t off = (size_t)((const char *)ptr - (const char *)a->base);

	assert(off < a->size);
	return IOVA(a->pages[off / PAGE_4K].v + off % PAGE_4K);
}

int dma_segments(const struct dma_arena *a, const void *ptr, size_t len, struct dma_seg *out,
		 unsigned int max)
{
	size_t off = (size_t)((const char *)ptr - (const char *)a->base);
	unsigned int n = 0;

	assert(range_ok(off, len, a->size));
	while (len) {
		size_t here = MIN(len, PAGE_4K - off % PAGE_4K);
		uint64_t addr = a->pages[off / PAGE_4K].v + off % PAGE_4K;

		if (n && out[n - 1].addr.v + out[n - 1].len == addr &&
		    here <= UINT32_MAX - out[n - 1].len) {
			out[n - 1].len += (uint32_t)here;
		} else {
			if (n == max)
				return -E2BIG;
			out[n++] = (struct dma_seg){ IOVA(addr), (uint32_t)here };
		}
		off += here;
		len -= here;
	}
	return (int)n;
}
