// SPDX-License-Identifier: MIT
// vfsdax-window status, and what setup and remove refuse, over trees of files.

#include "unit.h"

#include "base/num.h"
#include "tree.h"
#include "window/window.h"
#include "window_machine.h"

#define OURS   "76667364-6178-8000-8000-836f30c5bffd"
#define THEIRS "9a3bd3a4-7ac1-44b5-9c7a-836f30c5bffd"
#define FRONT  (2 * MIB) /* of an fsdax namespace */
#define ALL_FSDAX(uuid)                                                                            \
	do {                                                                                       \
		machine_driver("vfio-pci");                                                        \
		machine_region(0, "e820", MACHINE_META, MACHINE_META_SZ, "pfn0.0");                \
		machine_fsdax(0, uuid, MACHINE_META + FRONT, MACHINE_META_SZ - FRONT);             \
		machine_region(1, "e820", MACHINE_WINDOW, MACHINE_SIZE, "pfn1.0");                 \
		machine_fsdax(1, uuid, MACHINE_WINDOW + FRONT, MACHINE_SIZE - FRONT);              \
	} while (0)

static char out[8192];

static int status(bool json)
{
	FILE *f = fmemopen(out, sizeof(out), "w");
	int r;

	assert_non_null(f);
	r = window_print_status(NULL, json, f);
	assert_int_equal(fclose(f), 0);
	return r;
}

/* The check of that name fails with that sentence, setup says the same, and nothing has changed. */
static void refused(const char *name, const char *sentence)
{
	char text[WINDOW_TEXT_MAX] = "", line[WINDOW_TEXT_MAX + 32];
	const struct why why = { text, sizeof(text) };

	assert_int_equal(status(false), 0);
	(void)snprintf(line, sizeof(line), "%-11s NO  %s", name, sentence);
	if (!strstr(out, line))
		fail_msg("no line \"%s\" in:\n%s", line, out);
	assert_true(window_setup(NULL, &why) < 0);
	if (!strstr(text, sentence))
		fail_msg("setup says \"%s\" and not \"%s\"", text, sentence);
	assert_string_equal(machine_modprobed(), "");
	tree_get("/sys/bus/pci/devices/" MACHINE_DEVICE "/driver_override", text, sizeof(text));
	assert_string_equal(text, "untouched");
	tree_get("/run/vfsdax-window/" MACHINE_DEVICE, text, sizeof(text));
	assert_string_equal(text, "");
}

static void all_is_there(void **state)
{
	ALL_FSDAX(OURS);
	assert_int_equal(status(false), 1);
	assert_null(strstr(out, " NO "));
	assert_non_null(strstr(out, "/dev/pmem1 is the window, /dev/pmem0 is for metadata"));
	assert_int_equal(status(true), 1);
	assert_non_null(strstr(out, "\"usable\": true"));
	assert_non_null(strstr(out, "\"claim\": \"pfn1.0\", \"block\": \"pmem1\", \"ours\": true"));
}

static void before_setup(void **state)
{
	assert_int_equal(status(false), 0);
	assert_non_null(strstr(out, "is bound to virtio-pci, not to vfio-pci"));
	assert_non_null(strstr(out, "there is no fsdax namespace over the window"));
	assert_int_equal(status(true), 0);
	assert_non_null(strstr(out, "\"usable\": false"));
}

static void old_kernels(void **state)
{
	static const char *const old[] = { "6.8.12", "5.15.0-1", "6.1.0-44-amd64", "" },
				 *const good[] = { "6.9.0", "7.0.0", "6.12.117+deb13-amd64",
						   "10.1" };

	for (size_t i = 0; i < ARRAY_SIZE(old); i++) {
		tree_put("/proc/sys/kernel/osrelease", "%s\n", old[i]);
		refused("kernel", "Linux ");
		assert_non_null(strstr(out, "has no FUSE passthrough: 6.9 or later is needed"));
	}
	ALL_FSDAX(OURS);
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		tree_put("/proc/sys/kernel/osrelease", "%s\n", good[i]);
		assert_int_equal(status(false), 1);
	}
}

static void no_window(void **state)
{
	machine_device(MACHINE_DEVICE, 0, 0);
	refused("device", "the virtio-fs device 0000:00:10.0 has no DAX window");
}

static void no_parameter(void **state)
{
	machine_iomem(0, 0, 0, 0);
	tree_put("/proc/cmdline", "quiet memmap=1G$0x40000000\n");
	refused("window", "the kernel was started without memmap=SIZE!ADDRESS");
	tree_put("/proc/cmdline", "quiet memmap=1024M!0xff00000000 memmap=64M!0x20000000\n");
	refused("window",
		"the kernel has the parameter memmap=1024M!0xff00000000 and no persistent");
}

static void region_is_not_the_window(void **state)
{
	machine_iomem(MACHINE_WINDOW + MACHINE_SIZE, MACHINE_SIZE, MACHINE_META, MACHINE_META_SZ);
	refused("window", "persistent memory at 0xff40000000-0xff7fffffff is not the window "
			  "0xff00000000-0xff3fffffff");
	machine_iomem(MACHINE_WINDOW, MACHINE_SIZE / 2, MACHINE_META, MACHINE_META_SZ);
	refused("window", "persistent memory at 0xff00000000-0xff1fffffff is not the window");
	machine_iomem(MACHINE_WINDOW, 2 * MACHINE_SIZE, MACHINE_META, MACHINE_META_SZ);
	refused("window", "persistent memory at 0xff00000000-0xff7fffffff is not the window");
	machine_iomem(MACHINE_WINDOW, MACHINE_SIZE, 0, 0);
	refused("metadata", "there is no persistent memory for metadata beside the window");
}

static void other_regions(void **state)
{
	tree_put("/proc/iomem", "20000000-23ffffff : Persistent Memory (legacy)\n"
				"30000000-33ffffff : Persistent Memory (legacy)\n"
				"ff00000000-ff3fffffff : Persistent Memory (legacy)\n");
	refused("metadata", "there are 2 regions of persistent memory beside the window");
	tree_put("/proc/iomem", "fe000000-fe003fff : Persistent Memory (legacy)\n"
				"  fe000000-fe003fff : 0000:00:01.0\n"
				"ff00000000-ff3fffffff : Persistent Memory (legacy)\n");
	refused("metadata", "persistent memory at 0xfe000000-0xfe003fff lies over a device");
}

static void modules_missing(void **state)
{
	tree_put("/unknown-dm_mod", "%s", "");
	tree_put("/unknown-nd_pmem", "%s", "");
	refused("modules", "modules of Linux 6.12.117+deb13-amd64 are missing: nd_pmem dm_mod");
	/* built in */
	tree_put("/sys/bus/nd/drivers/nd_pmem/bind", "%s", "");
	refused("modules", "modules of Linux 6.12.117+deb13-amd64 are missing: dm_mod");
}

static void others_have_the_region(void **state)
{
	machine_region(0, "e820", MACHINE_META, MACHINE_META_SZ, "");
	machine_region(1, "e820", MACHINE_WINDOW, MACHINE_SIZE, "dax1.0");
	tree_link("/sys/bus/dax/devices/dax1.0/driver", "/sys/bus/dax/drivers/kmem");
	refused("regions", "region1 has a devdax namespace (dax1.0, driver kmem)");
	tree_remove("/sys/bus/dax/devices/dax1.0/driver");
	refused("regions", "region1 has a devdax namespace (dax1.0): give it back");
	machine_region(1, "e820", MACHINE_WINDOW, MACHINE_SIZE, "btt1.0");
	refused("regions", "btt1.0 has the namespace of region1");
	machine_region(1, "e820", MACHINE_WINDOW, MACHINE_SIZE, "pfn1.0");
	machine_fsdax(1, THEIRS, MACHINE_WINDOW + FRONT, MACHINE_SIZE - FRONT);
	refused("regions", "pfn1.0 in region1 was not made by vfsdax-window");
	machine_fsdax(1, OURS, MACHINE_WINDOW + FRONT, MACHINE_SIZE - FRONT);
	tree_put("/sys/bus/nd/devices/pfn1.0/mode", "pmem\n");
	refused("regions", "pfn1.0 in region1 is not of mode ram with alignment 2 MiB");
	tree_put("/sys/bus/nd/devices/pfn1.0/mode", "ram\n");
	tree_put("/sys/bus/nd/devices/pfn1.0/align", "4096\n");
	refused("regions", "pfn1.0 in region1 is not of mode ram with alignment 2 MiB");
}

static uint8_t data[2 * MIB];

/* What setup says to @size bytes of data in a raw namespace; NULL: it takes them. */
static void contents(bool window, size_t size, const char *sentence)
{
	char text[WINDOW_TEXT_MAX] = "";
	const struct why why = { text, sizeof(text) };
	struct nd_region r;
	int err;

	machine_region(0, "e820", MACHINE_META, MACHINE_META_SZ, "");
	machine_raw(0, data, size);
	assert_int_equal(nd_list(&r, 1), 1);
	assert_string_equal(r.block, "pmem0");
	err = nd_check_contents(&r, window, true, &why);
	assert_int_equal(err, sentence ? -EBUSY : 0);
	if (sentence && !strstr(text, sentence))
		fail_msg("\"%s\" and not \"%s\"", text, sentence);
}

static void describe(const char *uuid)
{
	unsigned int v[7];

	assert_int_equal(sscanf(uuid, "%2x%2x%2x%2x-%2x%2x-%2x", &v[0], &v[1], &v[2], &v[3], &v[4],
				&v[5], &v[6]),
			 7);
	memcpy(data + 4096, "NVDIMM_PFN_INFO", 16);
	for (size_t i = 0; i < 7; i++)
		data[4096 + 16 + i] = (uint8_t)v[i];
}

static void contents_are_not_overwritten(void **state)
{
	static const size_t at[] = { 0, 1, 4095, 4096, 65535, 65536, 2 * MIB - 1 };

	memset(data, 0, sizeof(data));
	contents(true, sizeof(data), NULL);
	contents(false, sizeof(data), NULL);
	for (size_t i = 0; i < ARRAY_SIZE(at); i++) {
		data[at[i]] = 1;
		contents(true, sizeof(data), "the window is not empty");
		contents(false, sizeof(data),
			 at[i] < 65536 ? "dd if=/dev/zero of=/dev/pmem0" : NULL);
		data[at[i]] = 0;
	}
	describe(OURS);
	contents(true, sizeof(data), "the window is not empty");
	contents(false, sizeof(data), NULL);
	describe(THEIRS);
	contents(false, sizeof(data), "dd if=/dev/zero of=/dev/pmem0");
}

/* A region that the driver has elsewhere than the map says. */
static void regions_are_compared_too(void **state)
{
	machine_region(0, "e820", MACHINE_META, MACHINE_META_SZ, "");
	machine_region(1, "e820", MACHINE_WINDOW, MACHINE_SIZE / 2, "");
	refused("regions", "region1 at 0xff00000000-0xff1fffffff is neither the window nor");
}

static void memory_modules_are_not_seen(void **state)
{
	struct nd_region all[ND_REGIONS_MAX];

	ALL_FSDAX(OURS);
	machine_region(2, "ACPI.NFIT", 0x100000000, GIB, "dax2.0");
	assert_int_equal(nd_list(all, ND_REGIONS_MAX), 2);
	assert_string_equal(all[0].name, "region0");
	assert_string_equal(all[1].space, "namespace1.0");
	assert_int_equal(status(false), 1);
}

static void remove_fails(const char *sentence)
{
	char text[WINDOW_TEXT_MAX] = "";
	const struct why why = { text, sizeof(text) };

	assert_true(window_remove(NULL, &why) < 0);
	if (!strstr(text, sentence))
		fail_msg("remove says \"%s\" and not \"%s\"", text, sentence);
}

/* The device is not at vfio-pci here, because there is no group to open. */
static void remove_says_who_uses_it(void **state)
{
	ALL_FSDAX(OURS);
	machine_driver("virtio-pci");
	tree_put("/sys/block/dm-3/dm/name", "vfsdax-1\n");
	tree_put("/sys/block/pmem1/holders/dm-3/x", "\n");
	remove_fails("/dev/pmem1 is in use: by the device-mapper device \"vfsdax-1\"");
	tree_put("/sys/block/pmem0/holders/md1/x", "\n");
	remove_fails("/dev/pmem0 is in use: by the block device md1");
	machine_fsdax(0, THEIRS, MACHINE_META + FRONT, MACHINE_META_SZ - FRONT);
	remove_fails("/dev/pmem1 is in use");
}

static void remove_says_where_it_is_mounted(void **state)
{
	ALL_FSDAX(OURS);
	machine_driver("virtio-pci");
	tree_put("/proc/self/mountinfo", "36 35 259:10 / /mnt1 rw - ext4 /dev/x rw\n"
					 "37 35 259:1 / /mnt2 rw shared:1 - ext4 /dev/pmem1 rw\n");
	remove_fails("/dev/pmem1 is in use: it is mounted on /mnt2");
}

static void remove_leaves_what_others_made(void **state)
{
	char text[64];

	ALL_FSDAX(THEIRS);
	machine_driver("virtio-pci");
	remove_fails("pfn1.0 over the window was not made by vfsdax-window");
	tree_get("/sys/bus/nd/devices/pfn1.0/driver/unbind", text, sizeof(text));
	assert_string_equal(text, "");
	/* nor is anything of ours given back before that is seen */
	machine_fsdax(0, OURS, MACHINE_META + FRONT, MACHINE_META_SZ - FRONT);
	remove_fails("pfn1.0 over the window was not made by vfsdax-window");
	tree_get("/sys/bus/nd/devices/pfn0.0/driver/unbind", text, sizeof(text));
	assert_string_equal(text, "");
}

/* A setup that was killed before it unbound the driver. */
static void remove_clears_the_override(void **state)
{
	char text[64];
	const struct why why = { text, sizeof(text) };

	tree_put("/run/vfsdax-window/" MACHINE_DEVICE, "virtio-pci\n");
	assert_int_equal(window_remove(NULL, &why), 0);
	tree_get("/sys/bus/pci/devices/" MACHINE_DEVICE "/driver_override", text, sizeof(text));
	assert_string_equal(text, "\nntouched");
}

int main(void)
{
#define WITH(t) cmocka_unit_test_setup_teardown(t, machine_begin, tree_end)
	const struct CMUnitTest tests[] = {
		WITH(all_is_there),
		WITH(before_setup),
		WITH(old_kernels),
		WITH(no_window),
		WITH(no_parameter),
		WITH(region_is_not_the_window),
		WITH(other_regions),
		WITH(modules_missing),
		WITH(others_have_the_region),
		WITH(contents_are_not_overwritten),
		WITH(regions_are_compared_too),
		WITH(memory_modules_are_not_seen),
		WITH(remove_says_who_uses_it),
		WITH(remove_says_where_it_is_mounted),
		WITH(remove_leaves_what_others_made),
		WITH(remove_clears_the_override),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
