// SPDX-License-Identifier: MIT
// Find the process that has a file open, for the message that says why a device is busy.

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "hw/holder.h"

/* Reads the links in /proc, because stat(2) of an open file can hang on a dead file system. */
static bool has_open(const char *pid, const char *path)
{
	char dir[64], link[64 + 256], target[256];
	const struct dirent *e;
	bool found = false;
	DIR *d;

	(void)snprintf(dir, sizeof(dir), "/proc/%s/fd", pid);
	d = opendir(dir);
	if (!d)
		return false;
	while (!found && (e = readdir(d))) {
		ssize_t n;

		(void)snprintf(link, sizeof(link), "%s/%s", dir, e->d_name);
		n = readlink(link, target, sizeof(target));
		found = n > 0 && (size_t)n == strlen(path) && !memcmp(target, path, (size_t)n);
	}
	(void)closedir(d);
	return found;
}

static void name_of(const char *pid, char *ret, size_t size)
{
	char path[64];
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/%s/comm", pid);
	f = fopen(path, "re");
	if (!f || !fgets(ret, (int)size, f))
		(void)snprintf(ret, size, "a process");
	ret[strcspn(ret, "\n")] = '\0';
	if (f)
		(void)fclose(f);
}

int holder_find(const char *path, char *text, size_t size)
{
	const struct dirent *e;
	DIR *d = opendir("/proc");
	int r = -ENOENT;

	(void)snprintf(text, size, "another process");
	while (r < 0 && d && (e = readdir(d))) {
		char name[32];

		if (e->d_name[0] < '1' || e->d_name[0] > '9' || atoi(e->d_name) == getpid() ||
		    !has_open(e->d_name, path))
			continue;
		name_of(e->d_name, name, sizeof(name));
		(void)snprintf(text, size, "%s (pid %s)", name, e->d_name);
		r = 0;
	}
	if (d)
		(void)closedir(d);
	return r;
}
