// SPDX-License-Identifier: MIT
// The allocator of the window against a naive map of what is free.

#include "unit.h"

#include "dax/buddy.h"

#define UNITS_MAX 1024u

/* The naive model: one flag for each smallest block. */
struct model {
	bool used[UNITS_MAX];
	unsigned int n, min_shift, max_shift;
};

struct block {
	uint64_t at;
	unsigned int shift;
};

static uint64_t model_free_bytes(const struct model *m)
{
	uint64_t n = 0;

	for (unsigned int i = 0; i < m->n; i++)
		n += !m->used[i];
	return n << m->min_shift;
}

/* The largest aligned run of free units that a buddy allocator can give. */
static int model_largest(const struct model *m)
{
	for (int k = (int)(m->max_shift - m->min_shift); k >= 0; k--) {
		unsigned int len = 1u << k;

		for (unsigned int at = 0; at + len <= m->n; at += len) {
			unsigned int i = 0;

			while (i < len && !m->used[at + i])
				i++;
			if (i == len)
				return k + (int)m->min_shift;
		}
	}
	return -1;
}

static void model_mark(struct model *m, const struct block *b, bool used)
{
	unsigned int at = (unsigned int)(b->at >> m->min_shift);

	assert_int_equal(b->at & ((UINT64_C(1) << b->shift) - 1), 0);
	for (unsigned int i = 0; i < 1u << (b->shift - m->min_shift); i++) {
		assert_true(at + i < m->n);
		assert_int_equal(m->used[at + i], !used);
		m->used[at + i] = used;
	}
}

static void compare(const struct buddy *b, const struct model *m)
{
	assert_int_equal(buddy_free_bytes(b), model_free_bytes(m));
	/* Buddies always become one again, so the largest is what the naive map says. */
	assert_int_equal(buddy_largest(b), model_largest(m));
}

static void run(uint64_t size, unsigned int min_shift, unsigned int max_shift, uint64_t seed)
{
	struct model m = { .n = (unsigned int)(size >> min_shift),
			   .min_shift = min_shift,
			   .max_shift = max_shift };
	struct buddy *b = buddy_create(size, min_shift, max_shift);
	static struct block blocks[UNITS_MAX];
	struct rng rng = { seed };
	unsigned int n = 0;

	assert_non_null(b);
	assert_true(m.n <= UNITS_MAX);
	compare(b, &m);
	for (unsigned int step = 0; step < 3000; step++) {
		/* waves of more and of fewer */
		bool grow = rng_chance(&rng, step / 500 % 2 ? 3 : 2);

		if (grow || !n) {
			unsigned int shift = min_shift + (unsigned int)rng_below(
								 &rng, max_shift - min_shift + 1);
			struct woff at;
			int r = buddy_alloc(b, shift, &at);

			if (r < 0) {
				assert_int_equal(r, -ENOSPC);
				assert_true(model_largest(&m) < (int)shift);
				continue;
			}
			blocks[n] = (struct block){ at.v, shift };
			model_mark(&m, &blocks[n++], true);
		} else {
			unsigned int i = (unsigned int)rng_below(&rng, n);

			buddy_free(b, WOFF(blocks[i].at), blocks[i].shift);
			model_mark(&m, &blocks[i], false);
			blocks[i] = blocks[--n];
		}
		compare(b, &m);
	}
	while (n--) {
		buddy_free(b, WOFF(blocks[n].at), blocks[n].shift);
		model_mark(&m, &blocks[n], false);
	}
	compare(b, &m);
	buddy_destroy(b);
}

static void random_operations(void **state)
{
	uint64_t seed = unit_seed();

	run(64 * MIB, 16, 25, seed);
	run(64 * MIB, 16, 26, seed + 1);
	run(13 * MIB, 16, 22, seed + 2);	 /* not a power of two */
	run(100 * 4096 + 123, 12, 30, seed + 3); /* nor whole blocks; smaller than the largest */
	run(4096, 12, 12, seed + 4);
	run(7 * MIB, 20, 20, seed + 5);
}

static void all_of_it(void **state)
{
	struct buddy *b = buddy_create(9 * MIB, 20, 23);
	struct woff at;

	assert_int_equal(buddy_alloc(b, 23, &at), 0);
	assert_int_equal(at.v, 0);
	assert_int_equal(buddy_alloc(b, 20, &at), 0);
	assert_int_equal(at.v, 8 * MIB);
	assert_int_equal(buddy_alloc(b, 20, &at), -ENOSPC);
	assert_int_equal(buddy_largest(b), -1);
	assert_int_equal(buddy_free_bytes(b), 0);
	buddy_destroy(b);
}

static void no_whole_block(void **state)
{
	assert_null(buddy_create(0, 16, 25));
	assert_null(buddy_create(65535, 16, 25));
	assert_null(buddy_create(MIB, 16, 15));
	assert_null(buddy_create(MIB, 16, 41));
	buddy_destroy(NULL);
}

/* The largest window one can think of: the records must not overflow. */
static void large_window(void **state)
{
	struct buddy *b = buddy_create(UINT64_C(1) << 40, 21, 40);
	struct woff at;

	assert_non_null(b);
	assert_int_equal(buddy_largest(b), 40);
	assert_int_equal(buddy_alloc(b, 21, &at), 0);
	assert_int_equal(buddy_largest(b), 39);
	buddy_free(b, at, 21);
	assert_int_equal(buddy_largest(b), 40);
	assert_int_equal(buddy_free_bytes(b), UINT64_C(1) << 40);
	buddy_destroy(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_operations),
		cmocka_unit_test(all_of_it),
		cmocka_unit_test(no_whole_block),
		cmocka_unit_test(large_window),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
