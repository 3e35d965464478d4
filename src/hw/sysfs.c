// SPDX-License-Identifier: MIT
// Small files of the kernel: /sys and /proc.

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "hw/sysfs.h"

static const char *sysfs_root = "";

void sysfs_set_root(const char *root)
{
	sysfs_root = root;
}

int sysfs_path(const char *path, char *buf, size_t size)
{
	int n = snprintf(buf, size, "%s%s", sysfs_root, path);

	return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}

int sysfs_open(const char *path, int flags)
{
	char whole[PATH_MAX];
	int r = sysfs_path(path, whole, sizeof(whole));

	if (r < 0)
		return r;
	r = open(whole, flags | O_CLOEXEC);
	return r < 0 ? -errno : r;
}

DIR *sysfs_opendir(const char *path)
{
	char whole[PATH_MAX];

	if (sysfs_path(path, whole, sizeof(whole)) < 0) {
		errno = ENAMETOOLONG;
		return NULL;
	}
	return opendir(whole);
}

FILE *sysfs_fopen(const char *path)
{
	int fd = sysfs_open(path, O_RDONLY);

	if (fd < 0) {
		errno = -fd;
		return NULL;
	}
	return fdopen(fd, "r");
}

int sysfs_read(const char *path, char *buf, size_t size)
{
	_cleanup_close_ int fd = sysfs_open(path, O_RDONLY);
	ssize_t n;

	if (fd < 0)
		return fd;
	n = read(fd, buf, size - 1);
	if (n < 0)
		return -errno;
	if (n && buf[n - 1] == '\n')
		n--;
	buf[n] = '\0';
	return (int)n;
}

int sysfs_write(const char *path, const char *text)
{
	_cleanup_close_ int fd = sysfs_open(path, O_WRONLY);

	if (fd < 0)
		return fd;
	return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

int sysfs_link(const char *path, char *ret, size_t size)
{
	char whole[PATH_MAX], target[PATH_MAX];
	const char *base;
	ssize_t n;
	int r = sysfs_path(path, whole, sizeof(whole));

	if (r < 0)
		return r;
	n = readlink(whole, target, sizeof(target) - 1);
	if (n < 0)
		return -errno;
	target[n] = '\0';
	base = strrchr(target, '/');
	base = base ? base + 1 : target;
	if (strlen(base) >= size)
		return -ENAMETOOLONG;
	(void)strcpy(ret, base);
	return 0;
}

bool sysfs_exists(const char *path)
{
	char whole[PATH_MAX];

	return !sysfs_path(path, whole, sizeof(whole)) && !access(whole, F_OK);
}
