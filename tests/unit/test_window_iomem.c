// SPDX-License-Identifier: MIT
// The map of addresses: what is read from it, and the piece of memory that is chosen.

#include "unit.h"

#include "base/num.h"
#include "tree.h"
#include "window/iomem.h"

static struct iomem map;

static int end(void **state)
{
	iomem_free(&map);
	return tree_end(state);
}

static void read_map(const char *text)
{
	tree_put("/proc/iomem", "%s", text);
	assert_int_equal(iomem_read(NULL, &map), 0);
}

static void find(const struct phys_range *avoid, uint64_t size, uint64_t want)
{
	static const struct phys_range none;
	struct phys_range r = { 0 };

	assert_int_equal(iomem_find_free(&map, avoid ? avoid : &none, size, &r),
			 want ? 0 : -ENOSPC);
	assert_int_equal(r.start, want);
	assert_int_equal(r.size, want ? size : 0);
}

static void hidden_addresses(void **state)
{
	char text[200] = "";
	const struct why why = { text, sizeof(text) };

	assert_int_equal(iomem_read(&why, &map), -ENOENT);
	tree_put("/proc/iomem", "00000000-00000000 : System RAM\n"
				"  00000000-00000000 : Kernel code\n");
	assert_int_equal(iomem_read(&why, &map), -EPERM);
	assert_non_null(strstr(text, "root is needed"));
}

static void pmem_and_what_lies_in_it(void **state)
{
	struct iomem_pmem p[8];

	read_map("20000000-23ffffff : Persistent Memory (legacy)\n"
		 "  20000000-23ffffff : namespace0.0\n"
		 "30000000-3fffffff : Persistent Memory\n"
		 "ff00000000-ffffffffff : PCI Bus 0000:00\n"
		 "  ff00000000-ff3fffffff : Persistent Memory (legacy)\n"
		 "    ff00000000-ff3fffffff : 0000:00:10.0\n"
		 "      ff00000000-ff3fffffff : namespace1.0\n"
		 "no line of the map\n"
		 "  ff40000000-ff40003fff : 0000:00:01.0\n");
	assert_int_equal(iomem_pmem_list(&map, p, 8), 2);
	assert_int_equal(p[0].range.start, 0x20000000);
	assert_int_equal(p[0].range.size, 64 * MIB);
	assert_false(p[0].device);
	assert_int_equal(p[1].range.start, 0xff00000000);
	assert_int_equal(p[1].range.size, GIB);
	assert_true(p[1].device);
	assert_int_equal(iomem_pmem_list(&map, p, 1), 1);
	iomem_free(&map);
	read_map("20000000-23ffffff : Persistent Memory (legacy)\n"
		 "  20000000-203fffff : namespace0.0\n"
		 "  20400000-23ffffff : dax0.0\n"
		 "    20400000-23ffffff : System RAM (kmem)\n");
	assert_int_equal(iomem_pmem_list(&map, p, 8), 1);
	assert_false(p[0].device);
}

static void what_is_used_is_left_out(void **state)
{
	const struct phys_range initrd = { 0x38000000, 0x1000000 };

	read_map("00100000-7ffd9fff : System RAM\n"
		 "  20000000-201fffff : Kernel code\n"
		 "  2bf00000-33ffffff : Crash kernel\n"
		 "80000000-ffffffff : Reserved\n");
	find(NULL, 64 * MIB, 0x24000000);
	find(NULL, 128 * MIB, 0x34000000);
	find(&initrd, 128 * MIB, 0x3c000000);
	find(NULL, 2 * MIB, 0x20200000);
}

static void low_memory_comes_last(void **state)
{
	read_map("00100000-1fffffff : System RAM\n"
		 "100000000-1ffffffff : System RAM\n");
	find(NULL, 64 * MIB, 0x100000000);
	iomem_free(&map);
	read_map("00100000-13ffffff : System RAM\n");
	find(NULL, 64 * MIB, 0x10000000);
	find(NULL, 128 * MIB, 0x8000000);
	find(NULL, 256 * MIB, 0);
}

static void only_whole_pieces(void **state)
{
	read_map("00100000-23fffffe : System RAM\n"
		 "40000000-7fffffff : System RAM (kmem)\n");
	find(NULL, 64 * MIB, 0x10000000);
	find(NULL, 1 * GIB, 0);
}

int main(void)
{
#define WITH(t) cmocka_unit_test_setup_teardown(t, tree_begin, end)
	const struct CMUnitTest tests[] = {
		WITH(hidden_addresses),		WITH(pmem_and_what_lies_in_it),
		WITH(what_is_used_is_left_out), WITH(low_memory_comes_last),
		WITH(only_whole_pieces),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
