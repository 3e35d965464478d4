// SPDX-License-Identifier: MIT
// The DMA arena, the choice of addresses, and physical addresses.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/num.h"
#include "hw/dma.h"
#include "hw/iova.h"

static struct dma_arena *make(size_t size, enum dma_kind kind)
{
	struct dma_arena *a = NULL;

	assert_int_equal(dma_arena_create(size, kind, &a), 0);
	return a;
}

static void private_arena(void **state)
{
	struct dma_arena *a = make(1, DMA_PRIVATE);

	assert_int_equal(a->size, 2 * MIB);
	assert_int_equal((uintptr_t)a->base % (2 * MIB), 0);
	assert_int_equal(a->memfd, -1);
	for (size_t i = 0; i < a->size; i += 8)
		assert_int_equal(*(uint64_t *)(void *)((char *)a->base + i), 0);
	for (size_t i = 0; i < a->size / PAGE_4K; i++)
		assert_int_equal(a->pages[i].v, 0);
	memset(a->base, 0xaa, a->size);
	dma_arena_destroy(a);
}

/* A child must not share the pages: a copy would move away from under the device. */
static void private_arena_is_not_inherited(void **state)
{
	struct dma_arena *a = make(4 * MIB, DMA_PRIVATE);
	unsigned char vec;
	int status;
	pid_t pid;

#ifdef __SANITIZE_THREAD__
	/* In a child the sanitizer maps memory of its own where the arena was. */
	dma_arena_destroy(a);
	skip();
#endif
	pid = fork();
	assert_true(pid >= 0);
	if (!pid)
		_exit(mincore(a->base, PAGE_4K, &vec) < 0 && errno == ENOMEM ? 0 : 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	dma_arena_destroy(a);
}

static void shared_arena(void **state)
{
	struct dma_arena *a = make(3 * MIB, DMA_SHARED);
	struct stat st;
	char *other;

	assert_int_equal(a->size, 4 * MIB);
	assert_int_equal(fstat(a->memfd, &st), 0);
	assert_int_equal(st.st_size, a->size);
	other = mmap(NULL, a->size, PROT_READ, MAP_SHARED, a->memfd, 0);
	assert_ptr_not_equal(other, MAP_FAILED);
	strcpy((char *)a->base + 4 * MIB - 8, "seen");
	assert_string_equal(other + 4 * MIB - 8, "seen");
	assert_int_equal(munmap(other, a->size), 0);
	dma_arena_destroy(a);
}

static void bad_sizes(void **state)
{
	struct dma_arena *a = NULL;

	assert_int_equal(dma_arena_create(0, DMA_PRIVATE, &a), -EINVAL);
	assert_int_equal(dma_arena_create(SIZE_MAX, DMA_PRIVATE, &a), -ENOMEM);
	assert_null(a);
	dma_arena_destroy(NULL);
}

static void allocation(void **state)
{
	struct dma_arena *a = make(4 * MIB, DMA_SHARED);
	char *base = a->base;

	assert_ptr_equal(dma_alloc(a, 10, 1), base);
	assert_ptr_equal(dma_alloc(a, 10, 16), base + 16);
	assert_ptr_equal(dma_alloc(a, 1, 4096), base + 4096);
	assert_ptr_equal(dma_alloc(a, 1, 2 * MIB), base + 2 * MIB);
	assert_null(dma_alloc(a, 1, 3));
	assert_null(dma_alloc(a, 1, 0));
	assert_null(dma_alloc(a, 1, 4 * MIB));
	assert_null(dma_alloc(a, SIZE_MAX, 1));
	assert_null(dma_alloc(a, 2 * MIB, 1));
	assert_ptr_equal(dma_alloc(a, 2 * MIB - 1, 1), base + 2 * MIB + 1);
	assert_int_equal(a->used, a->size);
	assert_null(dma_alloc(a, 1, 1));
	assert_null(dma_alloc(a, 1, 2 * MIB));
	dma_arena_destroy(a);
}

static void segments(void **state)
{
	struct dma_arena *a = make(2 * MIB, DMA_SHARED);
	char *base = a->base;
	struct dma_seg seg[4];

	/* pages 0 and 1 in order, 2 elsewhere, 3 before it, the rest in order from 1 GiB */
	for (size_t i = 0; i < a->size / PAGE_4K; i++)
		a->pages[i] = IOVA(1 * GIB + i * PAGE_4K);
	a->pages[0] = IOVA(0x10000);
	a->pages[1] = IOVA(0x11000);
	a->pages[2] = IOVA(0x30000);
	a->pages[3] = IOVA(0x2f000);

	assert_int_equal(dma_iova(a, base + 5).v, 0x10005);
	assert_int_equal(dma_iova(a, base + 0x3fff).v, 0x2ffff);

	assert_int_equal(dma_segments(a, base, 0, seg, 0), 0);
	assert_int_equal(dma_segments(a, base + 8, 100, seg, 4), 1);
	assert_int_equal(seg[0].addr.v, 0x10008);
	assert_int_equal(seg[0].len, 100);

	assert_int_equal(dma_segments(a, base + 8, 0x4000, seg, 4), 4);
	assert_int_equal(seg[0].addr.v, 0x10008);
	assert_int_equal(seg[0].len, 0x1ff8);
	assert_int_equal(seg[1].addr.v, 0x30000);
	assert_int_equal(seg[1].len, 0x1000);
	assert_int_equal(seg[2].addr.v, 0x2f000);
	assert_int_equal(seg[2].len, 0x1000);
	assert_int_equal(seg[3].addr.v, 1 * GIB + 0x4000);
	assert_int_equal(seg[3].len, 8);
	assert_int_equal(dma_segments(a, base + 8, 0x4000, seg, 3), -E2BIG);

	assert_int_equal(dma_segments(a, base + 0x4000, a->size - 0x4000, seg, 1), 1);
	assert_int_equal(seg[0].len, a->size - 0x4000);
	dma_arena_destroy(a);
}

static void picking(void **state)
{
	/* as an Intel IOMMU has it: everything but the interrupt range */
	static const struct iova_range intel[] = { { 0, 0xfedfffff },
						   { 0xfef00000, 0x7fffffffff } };
	static const struct iova_range all = { 0, UINT64_MAX };
	static const struct iova_range small = { 0x1000, 0x2fff };
	struct iova v;

	assert_int_equal(iova_pick(intel, 2, 4 * MIB, 2 * MIB, false, &v), 0);
	assert_int_equal(v.v, 2 * MIB);
	assert_int_equal(iova_pick(intel, 2, 4 * MIB, 2 * MIB, true, &v), 0);
	assert_int_equal(v.v, 0x8000000000 - 4 * MIB);
	assert_int_equal(iova_pick(intel, 2, 4 * GIB, 2 * MIB, false, &v), 0);
	assert_int_equal(v.v, 0xff000000);
	assert_int_equal(iova_pick(&all, 1, 4096, 4096, true, &v), 0);
	assert_int_equal(v.v, UINT64_MAX - 4095);
	assert_int_equal(iova_pick(&all, 1, UINT64_MAX, 4096, false, &v), -EADDRNOTAVAIL);
	assert_int_equal(iova_pick(&small, 1, 8192, 4096, false, &v), 0);
	assert_int_equal(v.v, 0x1000);
	assert_int_equal(iova_pick(&small, 1, 8193, 4096, false, &v), -EADDRNOTAVAIL);
	assert_int_equal(iova_pick(&small, 1, 4096, 2 * MIB, false, &v), -EADDRNOTAVAIL);
	assert_int_equal(iova_pick(&small, 1, 0, 4096, false, &v), -EADDRNOTAVAIL);
	assert_int_equal(iova_pick(NULL, 0, 4096, 4096, false, &v), -EADDRNOTAVAIL);

	assert_true(iova_usable(intel, 2, IOVA(0), 0xfee00000));
	assert_false(iova_usable(intel, 2, IOVA(0), 0xfee00001));
	assert_false(iova_usable(intel, 2, IOVA(0xfee00000), 4096));
	assert_false(iova_usable(intel, 2, IOVA(0xfedff000), 0x200000));
	assert_true(iova_usable(intel, 2, IOVA(0x7ffffff000), 4096));
	assert_false(iova_usable(intel, 2, IOVA(0x7ffffff000), 4097));
	assert_true(iova_usable(&all, 1, IOVA(UINT64_MAX), 1));
}

static void runs(void **state)
{
	static const struct iova p[] = { { 0x5000 }, { 0x6000 }, { 0x7000 },
					 { 0x3000 }, { 0x4000 }, { 0x4000 } };

	assert_int_equal(iova_run(p, 0, 6), 3);
	assert_int_equal(iova_run(p, 1, 6), 2);
	assert_int_equal(iova_run(p, 3, 6), 2);
	assert_int_equal(iova_run(p, 5, 6), 1);
	assert_int_equal(iova_run(p, 0, 2), 2);
}

static void physical_addresses(void **state)
{
	struct dma_arena *a = make(4 * MIB, DMA_PRIVATE);
	size_t count = a->size / PAGE_4K;
	struct iova *p = calloc(count, sizeof(*p));
	int r;

	assert_non_null(p);
	r = physmap_read(a->base, count, p);
	if (r == -EPERM) {
		free(p);
		dma_arena_destroy(a);
		print_message("needs CAP_SYS_ADMIN\n");
		skip();
	}
	assert_int_equal(r, 0);
	for (size_t i = 0; i < count; i++) {
		assert_int_not_equal(p[i].v, 0);
		assert_int_equal(p[i].v % PAGE_4K, 0);
	}
	/* a page that is not there */
	dma_arena_destroy(a);
	assert_int_equal(physmap_read(NULL, 1, p), -EFAULT);
	free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(private_arena),
		cmocka_unit_test(private_arena_is_not_inherited),
		cmocka_unit_test(shared_arena),
		cmocka_unit_test(bad_sizes),
		cmocka_unit_test(allocation),
		cmocka_unit_test(segments),
		cmocka_unit_test(picking),
		cmocka_unit_test(runs),
		cmocka_unit_test(physical_addresses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
