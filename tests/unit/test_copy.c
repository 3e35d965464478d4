// SPDX-License-Identifier: MIT
// The copy routines of the window, each against memcpy(), with faults, and the choice among them.

#include "unit.h"

#include <sys/mman.h>

#include "base/guard.h"
#include "base/num.h"
#include "dax/copy.h"

#define LENGTHS 301u
#define SHIFTS	64u
#define ROOM	(LENGTHS + 2 * SHIFTS)

static void fill(unsigned char *p, size_t n, unsigned int seed)
{
	struct rng rng = { seed };

	for (size_t i = 0; i < n; i++)
		p[i] = (unsigned char)rng_next(&rng);
}

/* All alignments of one side at a few of the other, and all lengths; nothing around is touched. */
static void check_small(const struct copy_routine *r, unsigned char *dst, unsigned char *src)
{
	static const unsigned int others[] = { 0, 1, 7, 16, 33, 63 };
	unsigned char want[ROOM], blank[ROOM];

	fill(blank, ROOM, 2);
	for (unsigned int a = 0; a < SHIFTS; a++)
		for (unsigned int o = 0; o < 2 * ARRAY_SIZE(others); o++)
			for (unsigned int n = 0; n < LENGTHS; n++) {
				unsigned int b = others[o / 2];
				unsigned int to = o % 2 ? a : b, from = o % 2 ? b : a;

				memcpy(dst, blank, ROOM);
				memcpy(want, blank, ROOM);
				memcpy(want + to, src + from, n);
				if (copy_by(r, dst + to, src + from, n) < 0 ||
				    memcmp(dst, want, ROOM))
					fail_msg("%s: %u bytes from %u to %u", r->name, n, from,
						 to);
			}
}

static void check_large(const struct copy_routine *r)
{
	static const size_t lengths[] = { 4095, 4096, 4097, 65536, 131072 - 63, MIB + 17 };
	unsigned char *src = malloc(2 * MIB), *dst = malloc(2 * MIB), *want = malloc(2 * MIB);

	assert_true(src && dst && want);
	fill(src, 2 * MIB, 3);
	for (unsigned int i = 0; i < ARRAY_SIZE(lengths); i++)
		for (unsigned int a = 0; a < 3; a++) {
			memset(dst, 0x5a, 2 * MIB);
			memset(want, 0x5a, 2 * MIB);
			memcpy(want + 7 * a, src + 5 * a, lengths[i]);
			assert_int_equal(copy_by(r, dst + 7 * a, src + 5 * a, lengths[i]), 0);
			assert_memory_equal(dst, want, 2 * MIB);
		}
	free(src);
	free(dst);
	free(want);
}

static void every_routine_copies(void **state)
{
	static unsigned char src[ROOM] __attribute__((aligned(64)));
	static unsigned char dst[ROOM] __attribute__((aligned(64)));
	unsigned int n;

	fill(src, ROOM, 1);
	for (enum copy_dir dir = 0; dir < COPY_DIRS; dir++) {
		const struct copy_routine *all = copy_routines(dir, &n);

		assert_in_range(n, 1, COPY_ROUTINES_MAX);
		assert_string_equal(all[0].name, "memcpy");
		for (unsigned int i = 0; i < n; i++) {
			check_small(&all[i], dst, src);
			check_large(&all[i]);
		}
	}
}

#define PAGES 16u

/* PAGES pages of a file that ends at a page of the middle: behind it a touch is SIGBUS. */
static char *map_cut(unsigned int good)
{
	int fd = memfd_create("cut", MFD_CLOEXEC);
	char *p;

	assert_int_equal(ftruncate(fd, (off_t)(PAGES * PAGE_4K)), 0);
	p = mmap(NULL, PAGES * PAGE_4K, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(p != MAP_FAILED);
	fill((unsigned char *)p, PAGES * PAGE_4K, 4);
	assert_int_equal(ftruncate(fd, (off_t)(good * PAGE_4K)), 0);
	(void)close(fd);
	return p;
}

static void a_fault_in_the_middle(void **state)
{
	static char buf[PAGES * PAGE_4K];
	unsigned int n;

	assert_int_equal(guard_init(), 0);
	for (unsigned int good = 1; good < PAGES; good += 7) {
		char *p = map_cut(good);

		copy_routines(COPY_FROM_WINDOW, &n);
		for (unsigned int i = 0; i < n; i++) {
			const struct copy_routine *from = &copy_routines(COPY_FROM_WINDOW, &n)[i];
			const struct copy_routine *to = &copy_routines(COPY_TO_WINDOW, &n)[i];
			size_t end = good * PAGE_4K;

			assert_int_equal(copy_by(from, buf, p + 3, end - 3), 0);
			assert_memory_equal(buf, p + 3, end - 3);
			assert_int_equal(copy_by(from, buf, p + 3, end - 2), -EFAULT);
			assert_int_equal(copy_by(from, buf, p, sizeof(buf)), -EFAULT);
			assert_int_equal(copy_by(to, p + 5, buf, sizeof(buf) - 5), -EFAULT);
			/* and the next one is good again */
			assert_int_equal(copy_by(to, p + 5, buf, end - 5), 0);
			assert_memory_equal(buf, p + 5, end - 5);
		}
		(void)munmap(p, sizeof(buf));
	}
}

/* The choice copies rightly in all its phases, and faults are told in each of them. */
static void the_choice_copies(void **state)
{
	static char src[3 * COPY_TRIAL], dst[3 * COPY_TRIAL];
	struct copy_choice c = { 0 };
	char *cut = map_cut(2); /* 8 KiB: a fault inside of what is timed */

	assert_int_equal(guard_init(), 0);
	fill((unsigned char *)src, sizeof(src), 5);
	for (unsigned int i = 0; i < 200; i++)
		for (enum copy_dir dir = 0; dir < COPY_DIRS; dir++) {
			size_t n = i % 4 == 0	? COPY_TRIAL
				   : i % 4 == 1 ? 100 + i
				   : i % 4 == 2 ? COPY_TRIAL + 1 + i
						: sizeof(src);

			memset(dst, 0, sizeof(dst));
			assert_int_equal(copy_window(&c, dir, dst, src, n), 0);
			assert_memory_equal(dst, src, n);
			for (size_t k = n; k < sizeof(dst); k++)
				assert_int_equal(dst[k], 0);
			if (dir == COPY_FROM_WINDOW)
				assert_int_equal(copy_window(&c, dir, dst, cut, sizeof(dst)),
						 -EFAULT);
			else
				assert_int_equal(copy_window(&c, dir, cut, src, sizeof(src)),
						 -EFAULT);
		}
	for (enum copy_dir dir = 0; dir < COPY_DIRS; dir++)
		assert_non_null(copy_chosen(&c, dir)->name);
	(void)munmap(cut, PAGES * PAGE_4K);
}

/* Small copies alone are never timed: the choice stays memcpy(). */
static void small_copies_choose_nothing(void **state)
{
	static char src[COPY_TRIAL], dst[COPY_TRIAL];
	struct copy_choice c = { 0 };

	for (unsigned int i = 0; i < 1000; i++)
		assert_int_equal(copy_window(&c, COPY_FROM_WINDOW, dst, src, COPY_TRIAL - 1), 0);
	assert_int_equal(atomic_load(&c.dir[COPY_FROM_WINDOW].turn), 0);
	assert_string_equal(copy_chosen(&c, COPY_FROM_WINDOW)->name, "memcpy");
}

/* Large ones measure every routine, for their own direction alone, and then measure no more. */
static void large_copies_measure_all(void **state)
{
	static char src[COPY_TRIAL], dst[COPY_TRIAL];
	struct copy_choice c = { 0 };
	unsigned int n;
	uint32_t turns;

	for (unsigned int i = 0; i < 100; i++)
		assert_int_equal(copy_window(&c, COPY_TO_WINDOW, dst, src, sizeof(dst)), 0);
	copy_routines(COPY_TO_WINDOW, &n);
	for (unsigned int i = 0; i < n; i++)
		assert_int_not_equal(atomic_load(&c.dir[COPY_TO_WINDOW].best_ns[i]), 0);
	assert_int_equal(atomic_load(&c.dir[COPY_FROM_WINDOW].turn), 0);
	turns = atomic_load(&c.dir[COPY_TO_WINDOW].turn);
	for (unsigned int i = 0; i < 100; i++)
		assert_int_equal(copy_window(&c, COPY_TO_WINDOW, dst, src, sizeof(dst)), 0);
	assert_int_equal(atomic_load(&c.dir[COPY_TO_WINDOW].turn), turns);
	assert_int_equal(turns, 8 * n);
}

static void the_best_wins(void **state)
{
	assert_int_equal(copy_best((const uint32_t[]){ 1000, 500, 250, 125 }, 4), 3);
	assert_int_equal(copy_best((const uint32_t[]){ 1000, 500, 250, 300 }, 4), 2);
	/* memcpy() unless another is clearly better */
	assert_int_equal(copy_best((const uint32_t[]){ 1000, 950, 910, 1200 }, 4), 0);
	assert_int_equal(copy_best((const uint32_t[]){ 1000, 950, 890, 1200 }, 4), 2);
	/* what was not measured does not win, and loses to anything */
	assert_int_equal(copy_best((const uint32_t[]){ 1000, 0, 0, 0 }, 4), 0);
	assert_int_equal(copy_best((const uint32_t[]){ 0, 0, 70, 80 }, 4), 2);
	assert_int_equal(copy_best((const uint32_t[]){ 0, 0, 0, 0 }, 4), 0);
	assert_int_equal(copy_best((const uint32_t[]){ 5 }, 1), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_routine_copies),
		cmocka_unit_test(a_fault_in_the_middle),
		cmocka_unit_test(the_choice_copies),
		cmocka_unit_test(small_copies_choose_nothing),
		cmocka_unit_test(large_copies_measure_all),
		cmocka_unit_test(the_best_wins),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
