// SPDX-License-Identifier: MIT
// vfsdax-window print-config over trees of files.

#include "unit.h"

#include "base/num.h"
#include "tree.h"
#include "window/window.h"
#include "window_machine.h"

static char text[512];

/* The line that is printed, or the sentence of the error. */
static const char *config(const char *address, uint64_t metadata)
{
	const struct why why = { text, sizeof(text) };
	char *out = NULL, *notes = NULL;
	size_t out_size, notes_size;
	FILE *o = open_memstream(&out, &out_size), *n = open_memstream(&notes, &notes_size);
	int r;

	assert_true(o && n);
	text[0] = '\0';
	r = window_print_config(address, metadata, o, n, &why);
	assert_int_equal(fclose(o), 0);
	assert_int_equal(fclose(n), 0);
	if (r == 0) {
		(void)snprintf(text, sizeof(text), "%s", out);
		for (const char *line = notes; line && *line; line = strchr(line, '\n') + 1)
			assert_int_equal(*line, '#');
	} else {
		assert_int_equal(out_size, 0);
	}
	free(out);
	free(notes);
	return text;
}

#define TAIL " modprobe.blacklist=nd_e820\n"

static void first_time(void **state)
{
	machine_iomem(0, 0, 0, 0);
	assert_string_equal(config(NULL, 0),
			    "memmap=1024M!0xff00000000 memmap=64M!0x20000000" TAIL);
	/* the crash kernel is in its way */
	assert_string_equal(config(NULL, 512 * MIB),
			    "memmap=1024M!0xff00000000 memmap=512M!0x38000000" TAIL);
	assert_string_equal(config("00:10.0", 16 * MIB),
			    "memmap=1024M!0xff00000000 memmap=16M!0x20000000" TAIL);
}

static void what_is_there_stays(void **state)
{
	machine_iomem(MACHINE_WINDOW, MACHINE_SIZE, 0x28000000, 96 * MIB);
	assert_string_equal(config(NULL, 0),
			    "memmap=1024M!0xff00000000 memmap=96M!0x28000000" TAIL);
	assert_string_equal(config(NULL, 64 * MIB),
			    "memmap=1024M!0xff00000000 memmap=64M!0x24000000" TAIL);
}

static void memory_of_others_is_left(void **state)
{
	static uint8_t data[65536];

	machine_region(0, "e820", MACHINE_META, MACHINE_META_SZ, "");
	machine_raw(0, data, sizeof(data));
	assert_string_equal(config(NULL, 0),
			    "memmap=1024M!0xff00000000 memmap=64M!0x20000000" TAIL);
	data[1080] = 0x53;
	machine_raw(0, data, sizeof(data));
	assert_string_equal(config(NULL, 0),
			    "memmap=1024M!0xff00000000 memmap=64M!0x24000000" TAIL);
	machine_region(0, "e820", MACHINE_META, MACHINE_META_SZ, "dax0.0");
	assert_string_equal(config(NULL, 0),
			    "memmap=1024M!0xff00000000 memmap=64M!0x24000000" TAIL);
}

/* After a change of the machine the old parameters may lie over anything. */
static void wrong_ones_are_replaced(void **state)
{
	machine_iomem(MACHINE_WINDOW + MACHINE_SIZE / 2, MACHINE_SIZE, 0, 0);
	assert_string_equal(config(NULL, 0),
			    "memmap=1024M!0xff00000000 memmap=64M!0x20000000" TAIL);
	tree_put("/proc/iomem", "20000000-23ffffff : Persistent Memory (legacy)\n"
				"24000000-7ffd9fff : System RAM\n"
				"ff00000000-ffffffffff : PCI Bus 0000:00\n"
				"  ff00000000-ff3fffffff : " MACHINE_DEVICE "\n"
				"  ff40000000-ff7fffffff : Persistent Memory (legacy)\n"
				"    ff40000000-ff40003fff : 0000:00:01.0\n");
	assert_string_equal(config(NULL, 0),
			    "memmap=1024M!0xff00000000 memmap=64M!0x20000000" TAIL);
}

static void initrd_is_avoided(void **state)
{
	uint8_t data[4096] = { 0 };
	const uint32_t start = 0x2c000000, size = 0x1000000;

	memcpy(data + 0x218, &start, sizeof(start));
	memcpy(data + 0x21c, &size, sizeof(size));
	tree_put_bytes("/sys/kernel/boot_params/data", data, sizeof(data));
	machine_iomem(0, 0, 0, 0);
	/* it may begin 128 MiB lower the next time */
	assert_string_equal(config(NULL, 0),
			    "memmap=1024M!0xff00000000 memmap=64M!0x20000000" TAIL);
	assert_string_equal(config(NULL, 128 * MIB),
			    "memmap=1024M!0xff00000000 memmap=128M!0x38000000" TAIL);
}

static void no_device_and_no_window(void **state)
{
	machine_device(MACHINE_DEVICE, 0, 0);
	assert_string_equal(config(NULL, 0), "the virtio-fs device 0000:00:10.0 has no DAX window");
	assert_string_equal(config("00:11.0", 0), "there is no virtio-fs device at 0000:00:11.0");
	assert_non_null(strstr(config("here", 0), "is no PCI address"));
	tree_put("/sys/bus/pci/devices/" MACHINE_DEVICE "/device", "0x1041\n");
	assert_non_null(strstr(config(NULL, 0), "no virtio-fs device (PCI 1af4:105a)"));
}

static void one_of_several(void **state)
{
	machine_device("0000:00:11.0", 0, 0);
	assert_non_null(strstr(config(NULL, 0), "memmap=1024M!0xff00000000 "));
	machine_device("0000:00:11.0", 0xfe80000000, 512 * MIB);
	assert_non_null(strstr(config(NULL, 0), "several virtio-fs devices have a window"));
	assert_non_null(strstr(config("0000:00:11.0", 0), "memmap=512M!0xfe80000000 "));
}

static void windows_of_other_shapes(void **state)
{
	machine_device(MACHINE_DEVICE, MACHINE_WINDOW + MIB, MACHINE_SIZE);
	assert_non_null(strstr(config(NULL, 0), "does not consist of whole 2 MiB"));
	machine_device(MACHINE_DEVICE, MACHINE_WINDOW, MACHINE_SIZE);
	tree_put("/sys/bus/pci/devices/" MACHINE_DEVICE "/resource",
		 "0x0 0x0 0x0\n0x0 0x0 0x0\n0xfe000000 0xfe003fff 0x200\n0x0 0x0 0x0\n"
		 "0xff00000000 0xff7fffffff 0x14220c\n0x0 0x0 0x0\n");
	assert_non_null(strstr(config(NULL, 0), "is only a part of BAR 4"));
}

int main(void)
{
#define WITH(t) cmocka_unit_test_setup_teardown(t, machine_begin, tree_end)
	const struct CMUnitTest tests[] = {
		WITH(first_time),
		WITH(what_is_there_stays),
		WITH(memory_of_others_is_left),
		WITH(wrong_ones_are_replaced),
		WITH(initrd_is_avoided),
		WITH(no_device_and_no_window),
		WITH(one_of_several),
		WITH(windows_of_other_shapes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
