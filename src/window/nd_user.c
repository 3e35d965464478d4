// SPDX-License-Identifier: MIT
// Who uses the block device of a region.

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "hw/holder.h"
#include "hw/sysfs.h"
#include "window/nd.h"

#define TRIES  100u /* 5 s */
#define TRY_US 50000u

/* A block device on top of it, device mapper's by the name that dmsetup(8) knows. */
static bool stacked(const char *block, char *text, size_t size)
{
	_cleanup_closedir_ DIR *dir = NULL;
	const struct dirent *e;
	char path[320], name[128];

	(void)snprintf(path, sizeof(path), "/sys/block/%s/holders", block);
	dir = sysfs_opendir(path);
	while (dir && (e = readdir(dir))) {
		if (e->d_name[0] == '.')
			continue;
		(void)snprintf(path, sizeof(path), "/sys/block/%s/dm/name", e->d_name);
		if (sysfs_read(path, name, sizeof(name)) > 0)
			(void)snprintf(text, size, "by the device-mapper device \"%s\"", name);
		else
			(void)snprintf(text, size, "by the block device %s", e->d_name);
		return true;
	}
	return false;
}

/* The third field of a line is the device, the fifth where it is mounted: proc_pid_mountinfo(5). */
static bool mounted(const char *block, char *text, size_t size)
{
	_cleanup_fclose_ FILE *f = sysfs_fopen("/proc/self/mountinfo");
	char path[64], dev[32], line[4096], number[32], where[256];

	(void)snprintf(path, sizeof(path), "/sys/block/%s/dev", block);
	if (sysfs_read(path, dev, sizeof(dev)) <= 0)
		return false;
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%*s %*s %31s %*s %255s", number, where) != 2 ||
		    strcmp(number, dev) != 0)
			continue;
		(void)snprintf(text, size, "it is mounted on %s", where);
		return true;
	}
	return false;
}

static bool lasting(const struct nd_region *r, char *text, size_t size)
{
	return r->block[0] && (stacked(r->block, text, size) || mounted(r->block, text, size));
}

int nd_user(const struct nd_region *r, char *text, size_t size)
{
	char node[64], who[128];
	int fd;

	if (!r->block[0])
		return 0;
	if (lasting(r, text, size))
		return 1;
	(void)snprintf(node, sizeof(node), "/dev/%s", r->block);
	if (holder_find(node, who, sizeof(who)) == 0) {
		(void)snprintf(text, size, "by %s", who);
		return 1;
	}
	/* For example a mount that another mount namespace has. */
	fd = sysfs_open(node, O_RDONLY | O_EXCL);
	if (fd == -EBUSY) {
		(void)snprintf(text, size, "by a mount of another mount namespace, or by swap");
		return 1;
	}
	close_keep_errno(fd);
	return 0;
}

int nd_wait_unused(const struct nd_region *r, char *text, size_t size)
{
	for (unsigned int i = 0; i < TRIES; i++) {
		if (!nd_user(r, text, size))
			return 0;
		if (lasting(r, text, size))
			return 1;
		(void)usleep(TRY_US);
	}
	return nd_user(r, text, size);
}
