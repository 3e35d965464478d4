// SPDX-License-Identifier: MIT
// Which block device is the window's: trees as the kernel's /sys has them, right ones and others.

#include "unit.h"

#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>

#include "pass/region.h"

#define WINDOW_AT   UINT64_C(0xc000000000)
#define WINDOW_SIZE (UINT64_C(1) << 30)
#define FRONT	    (UINT64_C(2) << 20) /* of an fsdax namespace */

static char sys[64];

static int start(void **state)
{
	(void)strcpy(sys, "/tmp/vfsdax-sys-XXXXXX");
	return mkdtemp(sys) ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static int end(void **state)
{
	return nftw(sys, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void put(const char *block, const char *name, const char *text)
{
	char path[200], *slash;
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/block/%s/%s", sys, block, name);
	for (slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		(void)mkdir(path, 0755);
		*slash = '/';
	}
	f = fopen(path, "we");
	assert_non_null(f);
	assert_true(fprintf(f, "%s\n", text) > 0);
	assert_int_equal(fclose(f), 0);
}

static void block_device(const char *name, unsigned int minor, uint64_t at, uint64_t size)
{
	char text[32];

	put(name, "queue/dax", "1");
	put("", "provider", "e820");
	(void)snprintf(text, sizeof(text), "259:%u", minor);
	put(name, "dev", text);
	(void)snprintf(text, sizeof(text), "0x%llx", (unsigned long long)at);
	put(name, "device/resource", text);
	(void)snprintf(text, sizeof(text), "%llu", (unsigned long long)size / 512);
	put(name, "size", text);
	put(name, "device/uuid", PASS_UUID_BEGIN "000-8000-000000000001");
}

static int choose(struct pass_region *window, struct pass_region *meta)
{
	struct pass_region all[PASS_REGIONS_MAX];

	return pass_regions_choose(all, pass_regions_list(sys, all, PASS_REGIONS_MAX), WINDOW_AT,
				   WINDOW_SIZE, window, meta);
}

/* What vfsdax-window has not made is not used: it may hold somebody's data. */
static void others_are_not_used(void **state)
{
	struct pass_region window, meta;

	block_device("pmem0", 0, UINT64_C(0x20000000), UINT64_C(64) << 20);
	block_device("pmem1", 1, WINDOW_AT + FRONT, WINDOW_SIZE - FRONT);
	block_device("pmem2", 2, UINT64_C(0x300000000), UINT64_C(4) << 30);
	assert_int_equal(choose(&window, &meta), -ENOTUNIQ);
	put("pmem2", "device/uuid", "01234567-6178-8000-8000-000000000001");
	assert_int_equal(choose(&window, &meta), 0);
	assert_string_equal(meta.block, "/dev/pmem0");
	put("pmem0", "device/uuid", "01234567-6178-8000-8000-000000000001");
	assert_int_equal(choose(&window, &meta), -ENXIO);
	put("pmem1", "device/uuid", "01234567-6178-8000-8000-000000000001");
	assert_int_equal(choose(&window, &meta), -EPERM);
}

static void both_are_found(void **state)
{
	struct pass_region window, meta;

	block_device("pmem0", 3, 0x20000000, 60 << 20);
	block_device("pmem1", 4, WINDOW_AT + FRONT, WINDOW_SIZE - FRONT);
	assert_int_equal(choose(&window, &meta), 0);
	assert_string_equal(window.block, "/dev/pmem1");
	assert_int_equal(window.start, WINDOW_AT + FRONT);
	assert_int_equal(window.size, WINDOW_SIZE - FRONT);
	assert_int_equal(window.major, 259);
	assert_int_equal(window.minor, 4);
	assert_string_equal(meta.block, "/dev/pmem0");
	assert_int_equal(meta.minor, 3);
}

static void some_are_missing(void **state)
{
	struct pass_region window, meta;

	assert_int_equal(choose(&window, &meta), -ENODEV); /* no such directory at all */
	block_device("pmem0", 3, 0x20000000, 60 << 20);
	assert_int_equal(choose(&window, &meta), -ENODEV);
	put("sda", "size", "100");
	block_device("pmem1", 4, WINDOW_AT + FRONT, WINDOW_SIZE - FRONT);
	put("pmem0", "queue/dax", "0"); /* a namespace of another mode */
	assert_int_equal(choose(&window, &meta), -ENXIO);
}

/* A region that is not all of it in the window may lie over another device's registers. */
static void others_are_not_taken(void **state)
{
	struct pass_region window, meta;

	block_device("pmem0", 3, WINDOW_AT - FRONT, WINDOW_SIZE);
	block_device("pmem1", 4, WINDOW_AT + FRONT, WINDOW_SIZE);
	assert_int_equal(choose(&window, &meta), -ENODEV);
	block_device("pmem2", 5, WINDOW_AT + FRONT, WINDOW_SIZE - FRONT);
	assert_int_equal(choose(&window, &meta), -ENOTUNIQ);
}

/* A memory module may hold somebody's file system, which metadata would overwrite. */
static void modules_are_not_taken(void **state)
{
	struct pass_region window, meta;

	block_device("pmem0", 3, 0x20000000, 60 << 20);
	block_device("pmem1", 4, WINDOW_AT + FRONT, WINDOW_SIZE - FRONT);
	put("", "provider", "ACPI.NFIT");
	assert_int_equal(choose(&window, &meta), -ENODEV);
}

static void broken_files_are_no_regions(void **state)
{
	struct pass_region all[PASS_REGIONS_MAX];

	block_device("pmem0", 3, 0x20000000, 60 << 20);
	put("pmem0", "dev", "259");
	block_device("pmem1", 4, 0x20000000, 60 << 20);
	put("pmem1", "size", "many");
	put("pmem2", "queue/dax", "1");
	put("pmem-of-a-very-long-name-that-nobody-has", "queue/dax", "1");
	assert_int_equal(pass_regions_list(sys, all, PASS_REGIONS_MAX), 0);
	assert_int_equal(pass_regions_list("/none", all, PASS_REGIONS_MAX), 0);
}

int main(void)
{
#define WITH(t) cmocka_unit_test_setup_teardown(t, start, end)
	const struct CMUnitTest tests[] = {
		WITH(both_are_found),	     WITH(others_are_not_used),
		WITH(some_are_missing),	     WITH(others_are_not_taken),
		WITH(modules_are_not_taken), WITH(broken_files_are_no_regions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
