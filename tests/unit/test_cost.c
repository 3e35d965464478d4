// SPDX-License-Identifier: MIT
// A request takes the cheaper path, whichever it is, and follows when that changes.

#include "unit.h"

#include "base/num.h"
#include "fs/cost.h"

#define ROUNDS 4000u

/* Requests of @size whose paths cost so much; how many of the last three quarters took the window. */
static unsigned int run(struct cost *c, enum cost_op op, uint32_t size, uint64_t window,
			uint64_t virtqueue)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < ROUNDS; i++) {
		bool sample;
		enum cost_path path = cost_choose(c, op, size, &sample);

		if (sample)
			cost_sample(c, op, size, path, path == COST_WINDOW ? window : virtqueue);
		if (i >= ROUNDS / 4 && path == COST_WINDOW)
			n++;
	}
	return n;
}

#define MOST (ROUNDS / 4 * 3 / 100 * 98)
#define FEW  (ROUNDS / 4 * 3 / 100 * 2)

static void the_cheaper_way_is_taken(void **state)
{
	struct cost c = { 0 };

	assert_true(run(&c, COST_READ, 4096, 2000, 70000) > MOST);
	assert_true(run(&c, COST_READ, 1 * MIB, 1500000, 600000) < FEW);
	assert_true(run(&c, COST_WRITE, 1 * MIB, 300000, 600000) > MOST);
}

static void a_small_difference_moves_nothing(void **state)
{
	struct cost c = { 0 };

	assert_true(run(&c, COST_READ, 64 * KIB, 100000, 95000) > MOST);
}

static void a_change_is_followed(void **state)
{
	struct cost c = { 0 };

	assert_true(run(&c, COST_READ, 128 * KIB, 100000, 300000) > MOST);
	assert_true(run(&c, COST_READ, 128 * KIB, 900000, 300000) < FEW);
	assert_true(run(&c, COST_READ, 128 * KIB, 100000, 300000) > MOST / 2);
}

static void classes_do_not_disturb_each_other(void **state)
{
	struct cost c = { 0 };
	bool sample;

	assert_true(run(&c, COST_READ, 8192, 100, 9000) > MOST);
	assert_true(run(&c, COST_READ, 8193, 9000, 100) < FEW);
	assert_int_equal(cost_choose(&c, COST_READ, 8192, &sample), COST_WINDOW);
	assert_true(run(&c, COST_READ, UINT32_MAX, 9000, 100) < FEW);
	assert_true(run(&c, COST_READ, 1, 100, 9000) > MOST);
}

static void one_slow_request_changes_nothing(void **state)
{
	struct cost c = { 0 };
	bool sample;

	assert_true(run(&c, COST_READ, 4096, 2000, 70000) > MOST);
	cost_sample(&c, COST_READ, 4096, COST_WINDOW, UINT64_MAX / 2);
	assert_int_equal(cost_choose(&c, COST_READ, 4096, &sample), COST_WINDOW);
}

/* Copies from a window that has just been mapped are slow: nothing is concluded from these for
 * long. */
static void a_bad_start_is_made_good(void **state)
{
	struct cost c = { 0 };

	assert_true(run(&c, COST_READ, 4096, 5000000, 70000) < FEW);
	(void)run(&c, COST_READ, 4096, 2000, 70000);
	assert_true(run(&c, COST_READ, 4096, 2000, 70000) > MOST);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_cheaper_way_is_taken),
		cmocka_unit_test(a_small_difference_moves_nothing),
		cmocka_unit_test(a_change_is_followed),
		cmocka_unit_test(classes_do_not_disturb_each_other),
		cmocka_unit_test(one_slow_request_changes_nothing),
		cmocka_unit_test(a_bad_start_is_made_good),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
