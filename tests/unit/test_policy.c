// SPDX-License-Identifier: MIT
// The window's policy through its header: facts in, a placement out.

#include "unit.h"

#include "policy/policy.h"

/* A window of 256 MiB: regions of 1 MiB, extents of up to 64 MiB. */
#define WINDOW	   (256 * MIB)
#define REGION	   MIB
#define FILE_SIZE  (100 * MIB)

#define REPLACE_NS 400000u /* what a replacement costs at first */

static struct policy P;
static struct policy_file F;
static struct policy_window W;
static struct policy_log LOG;

/* Nothing is mapped yet. */
static int empty_window(void **state)
{
	policy_init(&P, NULL);
	policy_set_shape(&P, WINDOW, 16, 30);
	F = (struct policy_file){ 0 };
	LOG.n = 0;
	W = (struct policy_window){ .free = WINDOW, .largest = 28, .budget = UINT32_MAX };
	return 0;
}

static struct policy_miss miss_at(uint64_t off, uint64_t limit)
{
	return (struct policy_miss){ .node = 1,
				     .off = FOFF(off),
				     .len = 4096,
				     .limit = limit,
				     .pending_shift = POLICY_NOT_PENDING };
}

static struct placement place(const struct policy_miss *m)
{
	policy_note(&F, m->off, m->len);
	return policy_place(&P, &F, &W, m);
}

static struct placement place_at(uint64_t off)
{
	struct policy_miss m = miss_at(off, FILE_SIZE);

	return place(&m);
}

/* The window is full: a first miss begins the time of counting. */
static void fill_window(void)
{
	W.free = 0;
	W.largest = -1;
	W.live = 20;
	assert_int_equal(place_at(99 * MIB).what, PLACE_NOT);
}

/* What pays for @n replacements. */
static void earn(unsigned int n)
{
	policy_earn(&P, (uint64_t)n * 32 * REPLACE_NS);
}

/* A policy that has changed has other bytes; the ghosts are a part of it. */
static uint64_t state_sum(void)
{
	const unsigned char *bytes = (const unsigned char *)&P;
	uint64_t sum = 0;

	for (size_t i = 0; i < sizeof(P); i++)
		sum = sum * 31 + bytes[i];
	return sum;
}

static void a_file_that_fits_is_mapped_whole(void **state)
{
	struct policy_miss m = miss_at(5 * MIB + 4096, 30 * MIB);
	struct placement pl = place(&m);

	/* 32 MiB, of which 30 are file. */
	assert_int_equal(pl.what, PLACE_NOW);
	assert_int_equal(pl.shift, 25);
	assert_int_equal(pl.from.v, 0);
	assert_int_equal(pl.len, 30 * MIB);
	assert_false(pl.stream);
	assert_int_equal(pl.hits, 0);
}

static void a_block_is_mostly_file(void **state)
{
	/* 20 of 32 MiB would be file: 16 MiB are taken, and behind them 4. */
	struct policy_miss m = miss_at(0, 20 * MIB);

	assert_int_equal(place(&m).shift, 24);
	m.off = FOFF(18 * MIB);
	assert_int_equal(place(&m).shift, 22);
}

static void no_larger_than_the_largest_free_block(void **state)
{
	W.free = 200 * MIB;
	W.largest = 23;
	assert_int_equal(place_at(0).shift, 23);
	/* Less than a region is not worth it. */
	W.largest = 19;
	assert_int_not_equal(place_at(50 * MIB).what, PLACE_NOW);
}

static void the_budget_is_kept(void **state)
{
	W.live = W.budget = 8;
	assert_int_not_equal(place_at(0).what, PLACE_NOW);
	W.budget = 9;
	assert_int_equal(place_at(50 * MIB).what, PLACE_NOW);
}

static void a_refusing_host_is_not_asked(void **state)
{
	W.refusing = true;
	assert_int_equal(place_at(0).what, PLACE_NOT);
	W.refusing = false;
	assert_int_equal(place_at(50 * MIB).what, PLACE_NOW);
}

static void what_is_present_is_covered_and_what_is_pending_avoided(void **state)
{
	struct policy_miss m = miss_at(0, 20 * MIB);

	/* A block of 32 MiB is there, from when the file was longer: it is made again. */
	m.present_shift = 25;
	m.present_len = 8 * MIB;
	assert_int_equal(place(&m).shift, 25);
	/* 64 KiB of the block are being mapped. */
	m = miss_at(40 * MIB, FILE_SIZE);
	m.pending_shift = 20;
	assert_int_equal(place(&m).what, PLACE_NOT);
	m.pending_shift = 27;
	assert_int_equal(place(&m).what, PLACE_NOW);
}

static void growth_pays_by_a_quarter(void **state)
{
	struct policy_miss m = miss_at(5 * MIB, 6 * MIB);

	assert_true(policy_growth_pays(&P, &m));
	m.present_shift = 24;
	m.present_len = 5 * MIB;
	assert_false(policy_growth_pays(&P, &m));
	m.limit = 5 * MIB + 5 * MIB / 4;
	assert_true(policy_growth_pays(&P, &m));
	/* And by 64 KiB at least. */
	m = miss_at(8192, 65536 + 4096);
	m.present_shift = 20;
	m.present_len = 8192;
	assert_false(policy_growth_pays(&P, &m));
	m.limit = 65536 + 8192;
	assert_true(policy_growth_pays(&P, &m));
}

static void small_files_count_their_own_misses(void **state)
{
	struct policy_miss m = miss_at(0, 128 * KIB);

	for (unsigned int i = 0; i < 8; i++)
		assert_int_equal(place(&m).what, PLACE_NOT);
	assert_int_equal(place(&m).what, PLACE_LATER);
	/* Such a miss is not for the log. */
	assert_true(policy_due(&P, &m));
}

static void a_few_mappings_may_be_owed(void **state)
{
	struct policy_miss m = miss_at(0, REGION);

	/* A file of a region pays even with free space: four at once, by nobody's requests. */
	for (unsigned int i = 0; i < 4; i++, m.node++)
		assert_int_equal(place(&m).what, PLACE_LATER);
	assert_int_equal(place(&m).what, PLACE_NOT);
	earn(1);
	assert_int_equal(place(&m).what, PLACE_LATER);
	/* With eight there is no debt. */
	W.live = 8;
	earn(1);
	m.node++;
	assert_int_equal(place(&m).what, PLACE_NOT);
	earn(4);
	assert_int_equal(place(&m).what, PLACE_LATER);
}

static void one_job_at_a_time(void **state)
{
	struct policy_miss m = miss_at(0, REGION);

	W.busy = true;
	assert_int_equal(place(&m).what, PLACE_NOT);
	W.busy = false;
	assert_int_equal(place(&m).what, PLACE_LATER);
}

static void a_large_file_is_read_in_blocks_that_double(void **state)
{
	unsigned int shift = 20;
	uint64_t off = 0;

	/* An access at 0 counts as the first in a row, the second one makes the reader sequential. */
	(void)place_at(off);
	off += 4096;
	for (; shift < 24; shift++) {
		struct placement pl = place_at(off);

		assert_int_equal(pl.what, PLACE_NOW);
		assert_true(pl.stream);
		assert_int_equal(pl.shift, shift);
		off += 4096;
	}
}

static void ahead_is_twice_as_large_and_ends_with_the_file(void **state)
{
	struct policy_miss m = miss_at(4 * MIB, FILE_SIZE);
	struct placement pl = policy_ahead(&P, 21, &m);

	assert_int_equal(pl.what, PLACE_LATER_FREE);
	assert_true(pl.stream);
	assert_int_equal(pl.shift, 22);
	m.pending_shift = 20;
	assert_int_equal(policy_ahead(&P, 21, &m).what, PLACE_NOT);
	m = miss_at(FILE_SIZE, FILE_SIZE);
	assert_int_equal(policy_ahead(&P, 21, &m).what, PLACE_NOT);
}

static void under_pressure_three_misses_and_tokens(void **state)
{
	struct policy_miss m = miss_at(10 * MIB, FILE_SIZE);
	struct placement pl;

	fill_window();
	for (unsigned int i = 0; i < 20; i++)
		assert_int_equal(place(&m).what, PLACE_NOT);
	earn(1);
	pl = place(&m);
	assert_int_equal(pl.what, PLACE_IF_HOTTER);
	assert_int_equal(pl.shift, 20);
	assert_int_equal(pl.hits, 21);
	policy_replace(&P, &m, &pl, 0);
	assert_int_equal(pl.what, PLACE_LATER);
	/* Paid, and its ghost is forgotten. */
	earn(1);
	m.node = 2;
	assert_int_equal(place(&m).what, PLACE_NOT);
	m.node = 1;
	for (unsigned int i = 0; i < 2; i++)
		assert_int_equal(place(&m).what, PLACE_NOT);
	assert_int_equal(place(&m).what, PLACE_IF_HOTTER);
}

static void pressure_lasts_until_half_is_free(void **state)
{
	fill_window();
	W.largest = 26;
	W.free = WINDOW / 2 - 65536;
	assert_int_not_equal(place_at(30 * MIB).what, PLACE_NOW);
	assert_true(policy_declines(&P, &F, FOFF(50 * MIB)));
	W.free = WINDOW / 2;
	assert_int_equal(place_at(60 * MIB).what, PLACE_NOW);
	assert_false(policy_declines(&P, &F, FOFF(50 * MIB)));
}

static void up_to_four_regions_where_there_is_room(void **state)
{
	struct placement pl;

	fill_window();
	earn(1);
	W.free = 100 * MIB;
	W.largest = 26;
	for (unsigned int i = 0; i < 2; i++)
		assert_int_equal(place_at(30 * MIB).what, PLACE_NOT);
	pl = place_at(30 * MIB);
	assert_int_equal(pl.what, PLACE_LATER);
	assert_int_equal(pl.shift, 22);
	assert_int_equal(pl.hits, 3);
}

/* A ghost of @count misses against an extent with @hits per region. */
static bool replaces(uint32_t count, uint32_t hits)
{
	struct policy_miss m = miss_at(10 * MIB, FILE_SIZE);
	struct placement pl = { .what = PLACE_IF_HOTTER, .hits = count };

	policy_replace(&P, &m, &pl, policy_heat(&P, 20, hits));
	return pl.what == PLACE_LATER;
}

static void by_margin_and_not_by_chance(void **state)
{
	/* 3 * 10 and three times the square root of 52 more. */
	assert_false(replaces(31, 10));
	assert_false(replaces(51, 10));
	assert_true(replaces(52, 10));
	/* Without any hit: three times the square root of 9 is no more than 9. */
	assert_false(replaces(9, 0));
	assert_true(replaces(10, 0));
	/* A large extent's hits are spread over its regions. */
	assert_int_equal(policy_heat(&P, 26, 64), POLICY_HEAT_ONE);
	assert_int_equal(policy_heat(&P, 26, 4), 1);
	assert_int_equal(policy_heat(&P, 16, 4), 4 * POLICY_HEAT_ONE);
}

static void without_an_extent_there_is_none_to_replace(void **state)
{
	struct policy_miss m = miss_at(10 * MIB, FILE_SIZE);
	struct placement pl = { .what = PLACE_IF_HOTTER, .hits = UINT16_MAX };

	policy_replace(&P, &m, &pl, POLICY_NO_HEAT);
	assert_int_equal(pl.what, PLACE_NOT);
}

/* Log a miss as a thread does it; false: it is due. */
static bool log_miss(const struct policy_miss *m)
{
	if (policy_due(&P, m))
		return false;
	if (policy_log_full(&LOG))
		assert_true(policy_count_log(&P, &W, &LOG));
	policy_log(&P, &LOG, m);
	return true;
}

static void a_logged_region_becomes_due(void **state)
{
	struct policy_miss m = miss_at(10 * MIB, FILE_SIZE);
	struct placement pl;
	unsigned int n = 0;

	fill_window();
	earn(1);
	while (log_miss(&m))
		assert_true(++n < 100);
	/* Counted when the log was full. The miss that found that is in it. */
	assert_int_equal(n, POLICY_LOG_MISSES + 1);
	assert_false(policy_count(&P, &W, &m));
	pl = place(&m);
	assert_int_equal(pl.what, PLACE_IF_HOTTER);
	assert_int_equal(pl.hits, POLICY_LOG_MISSES + 1);
	/* policy_count() has taken the mark. */
	assert_false(policy_due(&P, &m));
}

static void what_is_too_cold_is_not_examined_for_a_while(void **state)
{
	struct policy_miss m = miss_at(10 * MIB, FILE_SIZE);
	struct placement pl;

	fill_window();
	earn(1);
	for (unsigned int i = 0; i < 3; i++)
		pl = place(&m);
	assert_int_equal(pl.what, PLACE_IF_HOTTER);
	policy_replace(&P, &m, &pl, policy_heat(&P, 20, 1000));
	assert_int_equal(pl.what, PLACE_NOT);
	for (unsigned int i = 0; i < 16; i++)
		assert_true(policy_count(&P, &W, &m));
	assert_false(policy_count(&P, &W, &m));
	/* Free space ends it at once. */
	pl = place(&m);
	policy_replace(&P, &m, &pl, policy_heat(&P, 20, 1000));
	assert_true(policy_count(&P, &W, &m));
	policy_freed(&P);
	assert_false(policy_count(&P, &W, &m));
}

static void nothing_is_counted_with_room_or_while_space_comes(void **state)
{
	struct policy_miss m = miss_at(10 * MIB, FILE_SIZE);

	assert_false(policy_count(&P, &W, &m));
	fill_window();
	assert_true(policy_count(&P, &W, &m));
	W.leaving = true;
	assert_false(policy_count(&P, &W, &m));
	assert_false(policy_count_log(&P, &W, &LOG));
	assert_int_equal(place(&m).what, PLACE_UNMAP_FIRST);
	W.leaving = false;
	W.refusing = true;
	assert_false(policy_count(&P, &W, &m));
}

static void counts_are_halved_with_time(void **state)
{
	struct policy_miss m = miss_at(10 * MIB, FILE_SIZE), other = miss_at(0, FILE_SIZE);
	struct placement pl;
	unsigned int n = 0;

	fill_window();
	for (unsigned int i = 0; i < 100; i++)
		assert_true(policy_count(&P, &W, &m));
	while (policy_age(&P) == 0) {
		other.node = 2 + n++ % 3;
		assert_true(policy_count(&P, &W, &other));
	}
	/* 32 for each of 256 regions, with the first of fill_window() */
	assert_int_equal(n + 100 + 1, 32 * 256);
	earn(1);
	pl = place(&m);
	assert_int_equal(pl.what, PLACE_IF_HOTTER);
	assert_int_equal(pl.hits, 51);
}

static void a_reader_under_pressure_is_given_what_pays_twice(void **state)
{
	struct policy_miss m = miss_at(0, FILE_SIZE);
	struct placement pl = { .what = PLACE_NOT };

	fill_window();
	for (unsigned int i = 0; i < 3; i++, m.off.v += m.len)
		pl = place(&m);
	/* 4 KiB reads, 3 us each, must save 0.8 ms: 267 reads, more than a MiB. */
	assert_int_equal(pl.what, PLACE_LATER);
	assert_true(pl.stream);
	assert_int_equal(pl.shift, 21);
	/* The next one is twice as large; what was passed loses the reader's hits. */
	m.off = FOFF(2 * MIB);
	F.next_off = m.off.v;
	m.passed_shift = 20;
	m.passed_len = MIB;
	pl = place(&m);
	assert_int_equal(pl.passed_hits, 256);
	assert_int_equal(pl.shift, 21);
	m.off = FOFF(4 * MIB);
	F.next_off = m.off.v;
	m.passed_shift = 21;
	pl = place(&m);
	assert_int_equal(pl.shift, 22);
}

static void a_reader_owes_no_more_than_four(void **state)
{
	struct policy_miss m = miss_at(0, FILE_SIZE);
	unsigned int given = 0;

	fill_window();
	for (unsigned int i = 0; i < 10; i++, m.off.v += m.len)
		given += place(&m).what == PLACE_LATER;
	assert_int_equal(given, 4);
	/* Half of a block read earns what it cost, and no more. */
	policy_earn_stream(&P, 1000000);
	for (unsigned int i = 0; i < 10; i++, m.off.v += m.len)
		given += place(&m).what == PLACE_LATER;
	assert_int_equal(given, 5);
}

static void no_more_is_saved_up_than_sixteen(void **state)
{
	struct policy_miss m = miss_at(10 * MIB, FILE_SIZE);
	unsigned int given = 0;

	fill_window();
	earn(1000);
	for (unsigned int i = 0; i < 100; i++, m.node++) {
		struct placement pl = { .what = PLACE_NOT };

		for (unsigned int k = 0; k < 3; k++)
			pl = place(&m);
		if (pl.what != PLACE_IF_HOTTER)
			break;
		pl.hits = 100;
		policy_replace(&P, &m, &pl, 0);
		given++;
	}
	assert_int_equal(given, 16);
}

static void the_measured_cost_is_a_mean(void **state)
{
	struct policy_miss m = miss_at(0, REGION);

	for (unsigned int i = 0; i < 100; i++)
		policy_replaced(&P, 10 * REPLACE_NS);
	W.live = 8;
	earn(9);
	assert_int_equal(place(&m).what, PLACE_NOT);
	earn(1);
	assert_int_equal(place(&m).what, PLACE_LATER);
}

/* A question changes nothing, however often it is asked. */
static void questions_have_no_effect(void **state)
{
	struct policy_miss m = miss_at(10 * MIB, FILE_SIZE);
	uint64_t before;

	fill_window();
	earn(1);
	while (log_miss(&m))
		;
	before = state_sum();
	for (unsigned int i = 0; i < 50; i++) {
		(void)policy_sequential(&P, &F);
		(void)policy_declines(&P, &F, m.off);
		(void)policy_due(&P, &m);
		(void)policy_log_full(&LOG);
		(void)policy_growth_pays(&P, &m);
		(void)policy_ahead(&P, 21, &m);
		(void)policy_age(&P);
		(void)policy_heat(&P, 20, 7);
	}
	assert_true(state_sum() == before);
}

/* What policy_declines() says is never placed at once, and what it does not may be. */
static void declined_is_never_placed_at_once(void **state)
{
	struct rng rng = { unit_seed() };
	unsigned int declined = 0, now = 0;

	fill_window();
	for (unsigned int i = 0; i < 200000; i++) {
		struct policy_miss m = miss_at(rng_below(&rng, FILE_SIZE / 4096) * 4096, FILE_SIZE);
		struct placement pl;
		bool said;

		if (rng_chance(&rng, 2))
			m.off = FOFF(F.next_off % FILE_SIZE);
		/*
		 * A hint that is right as long as the pressure is as at the last miss, as it is
		 * here.
		 */
		said = policy_declines(&P, &F, m.off);
		pl = place(&m);
		declined += said;
		now += pl.what == PLACE_NOW;
		assert_false(said && pl.what == PLACE_NOW);
		if (pl.what == PLACE_IF_HOTTER)
			policy_replace(&P, &m, &pl, 16 * rng_below(&rng, 20));
		policy_earn(&P, 70000);
		if (rng_chance(&rng, 100)) {
			W.largest = (int)(18 + rng_below(&rng, 9));
			W.free = UINT64_C(1) << W.largest;
		}
	}
	assert_true(declined > 1000);
	assert_true(now > 100);
}

static void odd_shapes(void **state)
{
	static const uint64_t sizes[] = { 65536, 3 * MIB, 11 * MIB - 4096, 64 * GIB };

	for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++) {
		policy_set_shape(&P, sizes[i], 16, 30);
		assert_true(P.min_shift <= P.region_shift && P.region_shift <= P.max_shift);
		assert_true(P.max_shift <= 30);
	}
	/* The host's alignment may leave one size only. */
	policy_set_shape(&P, 8 * MIB, 23, 30);
	assert_int_equal(P.region_shift, 23);
	assert_int_equal(P.max_shift, 23);
}

#define TEST(f) cmocka_unit_test_setup(f, empty_window)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_file_that_fits_is_mapped_whole),
		TEST(a_block_is_mostly_file),
		TEST(no_larger_than_the_largest_free_block),
		TEST(the_budget_is_kept),
		TEST(a_refusing_host_is_not_asked),
		TEST(what_is_present_is_covered_and_what_is_pending_avoided),
		TEST(growth_pays_by_a_quarter),
		TEST(small_files_count_their_own_misses),
		TEST(a_few_mappings_may_be_owed),
		TEST(one_job_at_a_time),
		TEST(a_large_file_is_read_in_blocks_that_double),
		TEST(ahead_is_twice_as_large_and_ends_with_the_file),
		TEST(under_pressure_three_misses_and_tokens),
		TEST(pressure_lasts_until_half_is_free),
		TEST(up_to_four_regions_where_there_is_room),
		TEST(by_margin_and_not_by_chance),
		TEST(without_an_extent_there_is_none_to_replace),
		TEST(a_logged_region_becomes_due),
		TEST(what_is_too_cold_is_not_examined_for_a_while),
		TEST(nothing_is_counted_with_room_or_while_space_comes),
		TEST(counts_are_halved_with_time),
		TEST(a_reader_under_pressure_is_given_what_pays_twice),
		TEST(a_reader_owes_no_more_than_four),
		TEST(no_more_is_saved_up_than_sixteen),
		TEST(the_measured_cost_is_a_mean),
		TEST(questions_have_no_effect),
		TEST(declined_is_never_placed_at_once),
		TEST(odd_shapes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
