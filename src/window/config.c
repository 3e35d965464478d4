// SPDX-License-Identifier: MIT
// vfsdax-window print-config: the kernel parameters for this machine.

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/num.h"
#include "hw/sysfs.h"
#include "window/window.h"

/* Offsets in struct boot_params: Documentation/arch/x86/zero-page.rst. */
#define BOOT_PARAMS	  "/sys/kernel/boot_params/data"
#define EXT_RAMDISK_IMAGE 0x0c0
#define EXT_RAMDISK_SIZE  0x0c4
#define RAMDISK_IMAGE	  0x218
#define RAMDISK_SIZE	  0x21c
#define INITRD_ROOM	  (128 * MIB) /* below: it may be larger the next time */

static uint64_t boot_param(const uint8_t *data, size_t low, size_t high)
{
	uint32_t l, h;

	memcpy(&l, data + low, sizeof(l));
	memcpy(&h, data + high, sizeof(h));
	return (uint64_t)h << 32 | l;
}

/* Boot loaders put the initrd at the end of some memory. The kernel does not show its place. */
static struct phys_range initrd(void)
{
	_cleanup_close_ int fd = sysfs_open(BOOT_PARAMS, O_RDONLY);
	struct phys_range r = { 0 };
	uint8_t data[PAGE_4K];
	uint64_t below;

	if (fd < 0 || read(fd, data, sizeof(data)) < RAMDISK_SIZE + 4)
		return r;
	r.start = boot_param(data, RAMDISK_IMAGE, EXT_RAMDISK_IMAGE);
	r.size = boot_param(data, RAMDISK_SIZE, EXT_RAMDISK_SIZE);
	if (!r.size)
		return r;
	below = MIN(r.start, INITRD_ROOM);
	return (struct phys_range){ r.start - below, r.size + below };
}

/* Not memory of somebody else's, as far as can be told before the modules are loaded. */
static bool may_be_ours(const struct window_facts *f, const struct phys_range *range)
{
	const struct nd_region *r = window_region_of(f, range);

	if (!r || r->use != ND_FREE)
		return !r || (r->use == ND_FSDAX && r->ours);
	return !r->block[0] || nd_contents_meta(r, NULL) != ND_FOREIGN;
}

/* What the machine was started with stays, so that the answer is the same after a restart. */
static int choose_metadata(const struct window_facts *f, uint64_t size, const struct why *why,
			   struct phys_range *ret)
{
	const struct phys_range *now = window_meta_of(f), avoid = initrd();

	if (now && (!size || now->size == size) && may_be_ours(f, now)) {
		*ret = *now;
		return 0;
	}
	size = size ? size : WINDOW_META_DEFAULT;
	if (iomem_find_free(&f->iomem, &avoid, size, ret) < 0)
		return why_set(why, -ENOSPC, "there is no free piece of memory of %llu MiB",
			       (unsigned long long)(size / MIB));
	return 0;
}

static void print_memmap(FILE *out, const struct phys_range *r)
{
	(void)fprintf(out, "memmap=%llu%s!%#llx ",
		      (unsigned long long)(r->size % MIB ? r->size / KIB : r->size / MIB),
		      r->size % MIB ? "K" : "M", (unsigned long long)r->start);
}

static void print_notes(FILE *out, const struct window_device *d)
{
	(void)fprintf(
		out,
		"# Parameters of the kernel, for Linux 6.9 or later. They hold for the window of\n"
		"# %s: its address, BAR %u, changes when the devices or the memory of this\n"
		"# machine change. Then print them anew; vfsdax-window setup refuses others.\n"
		"# nd_e820 is not loaded by itself, so that nothing reads a region before setup\n"
		"# has compared it with the window.\n"
		"#\n"
		"# Debian: write this line to /etc/default/grub.d/vfsdax-window.cfg, with single\n"
		"# quotes, because a shell at a terminal replaces \"!\":\n"
		"#   GRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX \"'PARAMETERS'\n"
		"# then run update-grub, restart, and run vfsdax-window setup.\n",
		d->addr.text, d->bar);
}

int window_print_config(const char *address, uint64_t metadata, FILE *out, FILE *notes,
			const struct why *why)
{
	struct window_facts f;
	struct phys_range meta;
	int r;

	window_facts_read(address, &f);
	r = f.device_error  ? why_set(why, f.device_error, "%s", f.device_why)
	    : f.iomem_error ? why_set(why, f.iomem_error, "%s", f.iomem_why)
			    : choose_metadata(&f, metadata, why, &meta);
	if (r == 0) {
		print_notes(notes, &f.device);
		(void)fflush(notes);
		print_memmap(out, &f.device.window);
		print_memmap(out, &meta);
		(void)fputs("modprobe.blacklist=nd_e820\n", out);
	}
	window_facts_free(&f);
	return r;
}
