// SPDX-License-Identifier: MIT
// Only one vfsdax-window changes something at a time.

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "hw/sysfs.h"
#include "window/window.h"

int window_lock(const struct why *why)
{
	char dir[512], path[640];
	int fd, r = sysfs_path(WINDOW_RUN_DIR, dir, sizeof(dir));

	if (r < 0)
		return r;
	(void)snprintf(path, sizeof(path), "%s/lock", dir);
	(void)mkdir(dir, 0700);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return why_set(why, -errno, "cannot open %s: %s", path, strerror(errno));
	if (flock(fd, LOCK_EX) < 0) {
		r = -errno;
		close_keep_errno(fd);
		return why_set(why, r, "cannot lock %s: %s", path, strerror(-r));
	}
	return fd;
}
