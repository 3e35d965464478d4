// SPDX-License-Identifier: MIT
// What passthrough needs, each with the sentence that says how it stands.

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "hw/modprobe.h"
#include "hw/sysfs.h"
#include "pass/region.h"
#include "window/window.h"

#define FIRST_MAJOR 6
#define FIRST_MINOR 9

#define ULL(x)	    ((unsigned long long)(x))
#define LAST(r)	    ULL((r)->start + (r)->size - 1)

const struct window_module *window_modules(size_t *ret_n)
{
	static const struct window_module modules[] = {
		{ "nd_pmem", "/sys/bus/nd/drivers/nd_pmem" },
		{ "nd_e820", "/sys/bus/platform/drivers/e820_pmem" },
		{ "dm_mod", "/sys/class/misc/device-mapper" },
		{ "ext4", "/sys/fs/ext4" },
	};

	*ret_n = ARRAY_SIZE(modules);
	return modules;
}

static int check_kernel(const struct window_facts *f, const struct why *why)
{
	int major = 0, minor = 0;

	(void)sscanf(f->kernel, "%d.%d", &major, &minor);
	if (major > FIRST_MAJOR || (major == FIRST_MAJOR && minor >= FIRST_MINOR))
		return why_set(why, 0, "Linux %s has FUSE passthrough", f->kernel);
	return why_set(why, -EOPNOTSUPP,
		       "Linux %s has no FUSE passthrough: %d.%d or later is needed", f->kernel,
		       FIRST_MAJOR, FIRST_MINOR);
}

static int check_device(const struct window_facts *f, const struct why *why)
{
	const struct window_device *d = &f->device;

	if (f->device_error)
		return why_set(why, f->device_error, "%s", f->device_why);
	return why_set(why, 0, "%s has a window of %llu MiB at %#llx, its BAR %u", d->addr.text,
		       ULL(d->window.size / MIB), ULL(d->window.start), d->bar);
}

/* Nothing of the kernel is persistent memory: has nobody asked for it? */
static int no_pmem(const struct window_facts *f, const struct why *why)
{
	const char *at = f->cmdline;

	while ((at = strstr(at, "memmap="))) {
		size_t len = strcspn(at, " ");

		if (memchr(at, '!', len))
			return why_set(
				why, -ENODEV,
				"the kernel has the parameter %.*s and no persistent memory: "
				"is it built without CONFIG_X86_PMEM_LEGACY?",
				(int)len, at);
		at += len;
	}
	return why_set(why, -ENODEV,
		       "the kernel was started without memmap=SIZE!ADDRESS: vfsdax-window "
		       "print-config prints the parameters for this machine");
}

static int check_window(const struct window_facts *f, const struct why *why)
{
	const struct phys_range *w = &f->device.window, *other = NULL;

	if (f->device_error)
		return why_set(why, f->device_error, "there is no window");
	if (f->iomem_error)
		return why_set(why, f->iomem_error, "%s", f->iomem_why);
	if (!f->num_pmem)
		return no_pmem(f, why);
	for (unsigned int i = 0; i < f->num_pmem; i++) {
		if (phys_equal(&f->pmem[i].range, w))
			return why_set(why, 0,
				       "the kernel has the window %#llx-%#llx as persistent memory",
				       ULL(w->start), LAST(w));
		/* Best the one that was meant for it. */
		if (!other || phys_overlap(&f->pmem[i].range, w) || f->pmem[i].device ||
		    f->pmem[i].range.size == w->size)
			other = &f->pmem[i].range;
	}
	return why_set(
		why, -EINVAL,
		"persistent memory at %#llx-%#llx is not the window %#llx-%#llx: nothing may "
		"be loaded over it; start with the parameters that vfsdax-window "
		"print-config prints",
		ULL(other->start), LAST(other), ULL(w->start), LAST(w));
}

static int check_metadata(const struct window_facts *f, const struct why *why)
{
	const struct phys_range *meta = window_meta_of(f);
	unsigned int others = 0;

	if (f->iomem_error)
		return why_set(why, f->iomem_error, "%s", f->iomem_why);
	for (unsigned int i = 0; i < f->num_pmem; i++) {
		if (!f->device_error && phys_overlap(&f->pmem[i].range, &f->device.window))
			continue;
		others++;
		if (f->pmem[i].device)
			return why_set(why, -EINVAL,
				       "persistent memory at %#llx-%#llx lies over a device (see "
				       "/proc/iomem): correct its memmap= parameter",
				       ULL(f->pmem[i].range.start), LAST(&f->pmem[i].range));
	}
	if (meta)
		return why_set(why, 0, "memory for metadata is at %#llx-%#llx", ULL(meta->start),
			       LAST(meta));
	return others ? why_set(why, -ENOTUNIQ,
				"there are %u regions of persistent memory beside the window, and "
				"only one may be: remove the other memmap= parameters",
				others)
		      : why_set(why, -ENXIO,
				"there is no persistent memory for metadata beside the window: "
				"vfsdax-window print-config prints a parameter for it");
}

static int check_modules(const struct window_facts *f, const struct why *why)
{
	const struct window_module *m;
	char missing[128] = "";
	size_t n, used = 0;

	m = window_modules(&n);
	for (size_t i = 0; i < n; i++)
		if (!sysfs_exists(m[i].sign) && modprobe_known(m[i].name) < 0)
			used += (size_t)snprintf(missing + used, sizeof(missing) - used, " %s",
						 m[i].name);
	if (used)
		return why_set(why, -ENOENT, "modules of Linux %s are missing:%s", f->kernel,
			       missing);
	return why_set(why, 0, "all modules are there");
}

/* The regions that the drivers have must be those that were checked. */
static int check_regions(const struct window_facts *f, const struct why *why)
{
	const struct phys_range *meta = window_meta_of(f);
	int r = 0;

	if (!f->num_regions)
		return why_set(why, 0, "no region is driven yet");
	for (unsigned int i = 0; i < f->num_regions && r == 0; i++) {
		const struct nd_region *n = &f->regions[i];

		if (!phys_equal(&n->range, &f->device.window) &&
		    (!meta || !phys_equal(&n->range, meta)))
			return why_set(why, -EINVAL,
				       "%s at %#llx-%#llx is neither the window nor the memory for "
				       "metadata",
				       n->name, ULL(n->range.start), LAST(&n->range));
		r = nd_check(n, why);
	}
	return r ? r : why_set(why, 0, "nobody else has a region");
}

/* memmap= is not among the things that lockdown restricts, nor is VFIO (kernel_lockdown(7)). */
static int check_lockdown(const struct window_facts *f, const struct why *why)
{
	if (!f->lockdown[0] || !strcmp(f->lockdown, "none"))
		return why_set(why, 0, "the kernel is not locked down");
	return why_set(why, 0,
		       "the kernel is locked down (%s): only signed modules can be loaded, nothing "
		       "else matters here",
		       f->lockdown);
}

static int check_driver(const struct window_facts *f, const struct why *why)
{
	const struct window_device *d = &f->device;
	char user[128];

	if (f->device_error)
		return why_set(why, f->device_error, "there is no device");
	if (strcmp(d->driver, "vfio-pci") != 0)
		return why_set(why, -ENXIO, "%s is bound to %s, not to vfio-pci", d->addr.text,
			       d->driver[0] ? d->driver : "no driver");
	if (window_device_busy(d, user, sizeof(user)))
		return why_set(why, 0, "%s is bound to vfio-pci, and driven by %s", d->addr.text,
			       user);
	return why_set(why, 0, "%s is bound to vfio-pci", d->addr.text);
}

/* What vfsdaxfuse itself looks for. */
static int check_namespaces(const struct window_facts *f, const struct why *why)
{
	struct pass_region all[PASS_REGIONS_MAX], window, meta;
	char sys[512];
	int r;

	if (f->device_error)
		return why_set(why, f->device_error, "there is no window");
	r = sysfs_path("/sys", sys, sizeof(sys));
	if (r == 0)
		r = pass_regions_choose(all, pass_regions_list(sys, all, PASS_REGIONS_MAX),
					f->device.window.start, f->device.window.size, &window,
					&meta);
	if (r < 0)
		return why_set(why, r, "%s",
			       r == -ENODEV  ? "there is no fsdax namespace over the window"
			       : r == -EPERM ? "the namespace over the window was not made by setup"
			       : r == -ENXIO ? "there is no fsdax namespace for metadata"
					     : "there is more than one fsdax namespace beside the "
					       "window's");
	return why_set(why, 0, "%s is the window, %s is for metadata", window.block, meta.block);
}

const struct window_check *window_checks(size_t *ret_n)
{
	static const struct window_check checks[] = {
		{ "kernel", check_kernel, true },	   { "lockdown", check_lockdown, true },
		{ "device", check_device, true },	   { "window", check_window, true },
		{ "metadata", check_metadata, true },	   { "modules", check_modules, true },
		{ "regions", check_regions, true },	   { "driver", check_driver, false },
		{ "namespaces", check_namespaces, false },
	};

	*ret_n = ARRAY_SIZE(checks);
	return checks;
}
