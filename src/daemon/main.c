// SPDX-License-Identifier: MIT
// vfsdaxfuse: from the command line to the mount, in the foreground or as a daemon.

#define FUSE_USE_VERSION 35

#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "daemon/daemon.h"
#include "daemon/options.h"
#include "daemon/probe.h"
#include "mount.h"

/* The parent's part: wait for the child's byte, or its end. */
static int wait_ready(int fd, pid_t child)
{
	unsigned char status;
	ssize_t n;
	int ended;

	do {
		n = read(fd, &status, 1);
	} while (n < 0 && errno == EINTR);
	if (n == 1)
		return status;
	if (waitpid(child, &ended, 0) == child && WIFEXITED(ended) && WEXITSTATUS(ended))
		return WEXITSTATUS(ended);
	log_err("the daemon ended before the mount worked");
	return EXIT_SYSTEM;
}

/* The fork comes first, while there are no threads; the child tells when the mount works. */
static int run_daemon(const struct options *o)
{
	int pipefd[2];
	pid_t child;

	if (pipe2(pipefd, O_CLOEXEC) < 0 || (child = fork()) < 0) {
		log_err("no new process: %m");
		return EXIT_SYSTEM;
	}
	if (child) {
		close_keep_errno(pipefd[1]);
		return wait_ready(pipefd[0], child);
	}
	close_keep_errno(pipefd[0]);
	return daemon_run(o, pipefd[1]);
}

int main(int argc, char **argv)
{
	struct fuse_args args = FUSE_ARGS_INIT(argc, argv);
	struct options o;
	int status = EXIT_USAGE;

	log_init("vfsdaxfuse", LOG_LEVEL_INFO);
	if (options_parse(&args, &o) < 0)
		goto out;
	if (o.debug)
		log_init("vfsdaxfuse", LOG_LEVEL_DEBUG);
	if (o.help) {
		(void)fputs(options_usage(), stdout);
		status = EXIT_OK;
	} else if (o.version) {
		(void)printf("vfsdaxfuse %s (libfuse %s)\n", VFSDAX_VERSION, fuse_pkgversion());
		status = EXIT_OK;
	} else if (o.probe) {
		status = probe_run(&o);
	} else if (o.mount.remount) {
		status = mount_change(&o.mount, o.mountpoint) < 0 ? EXIT_MOUNT : EXIT_OK;
	} else {
		status = o.foreground ? daemon_run(&o, -1) : run_daemon(&o);
	}
out:
	options_free(&o);
	fuse_opt_free_args(&args);
	return status;
}
