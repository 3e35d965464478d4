// SPDX-License-Identifier: MIT
// Kernel modules, by modprobe(8).

#include <errno.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>

#include "base/num.h"
#include "hw/modprobe.h"
#include "hw/sysfs.h"

#define NAME_MAX_LEN 64

static int modprobe_run(const char *option, const char *module)
{
	static const char *const paths[] = { "/sbin/modprobe", "/usr/sbin/modprobe" };
	char name[NAME_MAX_LEN], opt[NAME_MAX_LEN], path[PATH_MAX];
	char *const argv[] = { (char[]){ "modprobe" }, opt, name, NULL };
	char *const envp[] = { (char[]){ "PATH=/usr/sbin:/usr/bin:/sbin:/bin" }, NULL };
	int r = ENOENT, status = 0;
	pid_t pid;

	(void)snprintf(name, sizeof(name), "%s", module);
	(void)snprintf(opt, sizeof(opt), "%s", option);
	for (size_t i = 0; i < ARRAY_SIZE(paths) && r; i++)
		if (!sysfs_path(paths[i], path, sizeof(path)))
			r = posix_spawn(&pid, path, NULL, NULL, argv, envp);
	if (r)
		return -r;
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) && !WEXITSTATUS(status) ? 0 : -ENOENT;
}

int modprobe(const char *module)
{
	return modprobe_run("-q", module);
}

int modprobe_known(const char *module)
{
	return modprobe_run("-qn", module);
}
