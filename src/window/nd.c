// SPDX-License-Identifier: MIT
// Regions of the kernel's bus "nd": what there is.

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hw/sysfs.h"
#include "nd_priv.h"

int nd_read(const char *device, const char *name, char *buf, size_t size)
{
	char path[256];

	(void)snprintf(path, sizeof(path), ND_DEVICES "/%s/%s", device, name);
	return sysfs_read(path, buf, size);
}

static uint64_t nd_read_number(const char *device, const char *name)
{
	char text[32];

	return nd_read(device, name, text, sizeof(text)) > 0 ? strtoull(text, NULL, 0) : 0;
}

bool nd_bound(const char *device)
{
	char path[256];

	(void)snprintf(path, sizeof(path), ND_DEVICES "/%s/driver", device);
	return sysfs_exists(path);
}

/* A name in a directory that is @begin and a number, or "". */
static void find_numbered(const char *path, const char *begin, char *ret, size_t size)
{
	_cleanup_closedir_ DIR *dir = sysfs_opendir(path);
	const struct dirent *e;

	ret[0] = '\0';
	while (dir && (e = readdir(dir)))
		if (!strncmp(e->d_name, begin, strlen(begin)) && strlen(e->d_name) < size &&
		    strchr("0123456789", e->d_name[strlen(begin)]))
			(void)snprintf(ret, size, "%s", e->d_name);
}

static void read_block(struct nd_region *r)
{
	char path[256];

	(void)snprintf(path, sizeof(path), ND_DEVICES "/%s/block",
		       r->claim[0] ? r->claim : r->space);
	find_numbered(path, "pmem", r->block, sizeof(r->block));
}

static void read_fsdax(struct nd_region *r)
{
	char mode[16] = "", uuid[64] = "";

	(void)nd_read(r->claim, "mode", mode, sizeof(mode));
	(void)nd_read(r->claim, "uuid", uuid, sizeof(uuid));
	r->use = ND_FSDAX;
	r->ours = !strncmp(uuid, ND_UUID_BEGIN, strlen(ND_UUID_BEGIN));
	r->fit = !strcmp(mode, "ram") && nd_read_number(r->claim, "align") == ND_ALIGNMENT;
}

/* Its character device has the same name as the dax device. */
static void read_devdax(struct nd_region *r)
{
	char path[256];

	r->use = ND_DEVDAX;
	(void)snprintf(path, sizeof(path), "/sys/bus/dax/devices/%s/driver", r->claim);
	if (sysfs_link(path, r->driver, sizeof(r->driver)) < 0)
		r->driver[0] = '\0';
}

static void read_use(struct nd_region *r)
{
	(void)nd_read(r->space, "holder", r->claim, sizeof(r->claim));
	if (!strncmp(r->claim, "pfn", 3))
		read_fsdax(r);
	else if (!strncmp(r->claim, "dax", 3))
		read_devdax(r);
	else
		r->use = r->claim[0] ? ND_OTHER : ND_FREE;
	r->bound = nd_bound(r->claim[0] ? r->claim : r->space);
	read_block(r);
}

static bool read_region(const char *name, struct nd_region *ret)
{
	struct nd_region r = { 0 };
	char provider[32], path[256];

	if (strlen(name) >= sizeof(r.name))
		return false;
	(void)snprintf(r.name, sizeof(r.name), "%s", name);
	if (nd_read(name, "../provider", provider, sizeof(provider)) < 0 ||
	    strcmp(provider, "e820") != 0)
		return false;
	r.range.start = nd_read_number(name, "resource");
	r.range.size = nd_read_number(name, "size");
	(void)snprintf(path, sizeof(path), ND_DEVICES "/%s", name);
	find_numbered(path, "namespace", r.space, sizeof(r.space));
	if (r.space[0])
		read_use(&r);
	*ret = r;
	return true;
}

int nd_read_again(struct nd_region *r)
{
	char name[sizeof(r->name)];

	(void)snprintf(name, sizeof(name), "%s", r->name);
	return read_region(name, r) ? 0 : -ENXIO;
}

static int compare_start(const void *a, const void *b)
{
	const struct nd_region *x = a, *y = b;

	return x->range.start < y->range.start ? -1 : x->range.start > y->range.start;
}

unsigned int nd_list(struct nd_region *out, unsigned int max)
{
	_cleanup_closedir_ DIR *dir = sysfs_opendir(ND_DEVICES);
	const struct dirent *e;
	unsigned int n = 0;

	while (dir && n < max && (e = readdir(dir)))
		if (!strncmp(e->d_name, "region", 6) && read_region(e->d_name, &out[n]))
			n++;
	qsort(out, n, sizeof(*out), compare_start);
	return n;
}

/* Reading the attribute waits: Documentation/ABI/testing/sysfs-bus-nvdimm. */
void nd_settle(void)
{
	_cleanup_closedir_ DIR *dir = sysfs_opendir(ND_DEVICES);
	const struct dirent *e;
	char text[8];

	while (dir && (e = readdir(dir)))
		if (!strncmp(e->d_name, "ndbus", 5))
			(void)nd_read(e->d_name, "wait_probe", text, sizeof(text));
}
