// SPDX-License-Identifier: MIT
// Persistent-memory block devices of the kernel: the window, and memory for metadata.

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "pass/region.h"

static FILE *open_attribute(const char *sys, const char *block, const char *name)
{
	char path[256];

	(void)snprintf(path, sizeof(path), "%s/block/%s/%s", sys, block, name);
	return fopen(path, "re");
}

/* Numbers of a small file, in the notation of strtoull(), with any other characters between them. */
static bool read_numbers(const char *sys, const char *block, const char *name, unsigned int n,
			 uint64_t *ret)
{
	FILE *f = open_attribute(sys, block, name);
	char text[64] = "", *at = text;
	bool ok = f && fgets(text, sizeof(text), f);

	if (f)
		(void)fclose(f);
	for (unsigned int i = 0; ok && i < n; i++) {
		char *end;

		ret[i] = strtoull(at, &end, 0);
		ok = end != at;
		at = *end ? end + 1 : end;
	}
	return ok;
}

/* Does the text of a small file begin with @begin? */
static bool begins_with(const char *sys, const char *block, const char *name, const char *begin)
{
	FILE *f = open_attribute(sys, block, name);
	char text[64] = "";
	bool ok = f && fgets(text, sizeof(text), f) && !strncmp(text, begin, strlen(begin));

	if (f)
		(void)fclose(f);
	return ok;
}

static bool region_read(const char *sys, const char *block, struct pass_region *ret)
{
	uint64_t dax, dev[2], start, sectors;
	struct pass_region r = { 0 };

	if (strlen(block) + sizeof("/dev/") > sizeof(r.block))
		return false;
	(void)snprintf(r.block, sizeof(r.block), "/dev/%s", block);
	/* Made by memmap=: not a memory module. */
	if (!begins_with(sys, block, "device/../../provider", "e820\n") ||
	    !read_numbers(sys, block, "queue/dax", 1, &dax) || !dax ||
	    !read_numbers(sys, block, "dev", 2, dev) ||
	    !read_numbers(sys, block, "device/resource", 1, &start) ||
	    !read_numbers(sys, block, "size", 1, &sectors))
		return false;
	r.major = (unsigned int)dev[0];
	r.minor = (unsigned int)dev[1];
	r.start = start;
	r.size = sectors * 512;
	r.ours = begins_with(sys, block, "device/uuid", PASS_UUID_BEGIN);
	*ret = r;
	return true;
}

unsigned int pass_regions_list(const char *sys, struct pass_region *out, unsigned int max)
{
	struct dirent *d;
	unsigned int n = 0;
	char path[256];
	DIR *dir;

	(void)snprintf(path, sizeof(path), "%s/block", sys);
	dir = opendir(path);
	if (!dir)
		return 0;
	while (n < max && (d = readdir(dir)))
		if (!strncmp(d->d_name, "pmem", 4) && region_read(sys, d->d_name, &out[n]))
			n++;
	(void)closedir(dir);
	return n;
}

int pass_regions_choose(const struct pass_region *all, unsigned int n, uint64_t start,
			uint64_t size, struct pass_region *ret_window, struct pass_region *ret_meta)
{
	const struct pass_region *window = NULL, *meta = NULL;
	unsigned int others = 0;

	for (unsigned int i = 0; i < n; i++) {
		if (all[i].start >= start && range_ok(all[i].start - start, all[i].size, size)) {
			window = &all[i];
		} else if (all[i].ours) {
			meta = &all[i];
			others++;
		}
	}
	if (!window)
		return -ENODEV;
	if (!window->ours)
		return -EPERM;
	if (others != 1)
		return others ? -ENOTUNIQ : -ENXIO;
	*ret_window = *window;
	*ret_meta = *meta;
	return 0;
}
