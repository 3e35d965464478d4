// SPDX-License-Identifier: MIT
// What this machine and its kernel have now.

#include <stdio.h>
#include <string.h>

#include "hw/sysfs.h"
#include "window/window.h"

/* "none [integrity] confidentiality": the one in brackets. */
static void read_lockdown(char *ret, size_t size)
{
	char text[80], *begin, *end;

	ret[0] = '\0';
	if (sysfs_read("/sys/kernel/security/lockdown", text, sizeof(text)) <= 0)
		return;
	begin = strchr(text, '[');
	end = begin ? strchr(begin, ']') : NULL;
	if (end)
		(void)snprintf(ret, size, "%.*s", (int)(end - begin - 1), begin + 1);
}

void window_facts_read(const char *address, struct window_facts *ret)
{
	const struct why device_why = { ret->device_why, sizeof(ret->device_why) };
	const struct why iomem_why = { ret->iomem_why, sizeof(ret->iomem_why) };

	memset(ret, 0, sizeof(*ret));
	if (sysfs_read("/proc/sys/kernel/osrelease", ret->kernel, sizeof(ret->kernel)) < 0)
		ret->kernel[0] = '\0';
	if (sysfs_read("/proc/cmdline", ret->cmdline, sizeof(ret->cmdline)) < 0)
		ret->cmdline[0] = '\0';
	read_lockdown(ret->lockdown, sizeof(ret->lockdown));
	ret->device_error = window_device_find(address, &device_why, &ret->device);
	ret->iomem_error = iomem_read(&iomem_why, &ret->iomem);
	if (!ret->iomem_error)
		ret->num_pmem = iomem_pmem_list(&ret->iomem, ret->pmem, ND_REGIONS_MAX);
	ret->num_regions = nd_list(ret->regions, ND_REGIONS_MAX);
}

void window_facts_free(struct window_facts *f)
{
	iomem_free(&f->iomem);
}

const struct nd_region *window_region_of(const struct window_facts *f,
					 const struct phys_range *range)
{
	for (unsigned int i = 0; i < f->num_regions; i++)
		if (phys_equal(&f->regions[i].range, range))
			return &f->regions[i];
	return NULL;
}

const struct phys_range *window_meta_of(const struct window_facts *f)
{
	const struct phys_range *found = NULL;

	for (unsigned int i = 0; i < f->num_pmem; i++) {
		if (f->pmem[i].device ||
		    (!f->device_error && phys_overlap(&f->pmem[i].range, &f->device.window)))
			continue;
		if (found)
			return NULL;
		found = &f->pmem[i].range;
	}
	return found;
}
