/* SPDX-License-Identifier: MIT */
/* The command line of vfsdaxhost. */
#pragma once

#include <sys/types.h>

#include "base/log.h"
#include "host/host.h"
#include "host/seccomp.h"

enum host_sandbox {
	HOST_SANDBOX_NONE,
	HOST_SANDBOX_CHROOT,
	HOST_SANDBOX_NAMESPACE,
};

struct host_options {
	struct host_config host; /* root_fd and proc_fd are left at -1 */
	const char *shared_dir;
	const char *socket_path; /* or NULL and fd >= 0 */
	gid_t socket_group;	 /* or (gid_t)-1: not given */
	int socket_mode;	 /* permission bits */
	int fd;
	enum host_sandbox sandbox;
	enum host_seccomp seccomp;
	enum log_level log_level;
	bool syslog;
	bool help;
	bool version;
};

/*
 * host_options_parse() - Returns 0; or -EINVAL, having printed one line on stderr. The strings
 * point into @argv. When help or version is set nothing else is checked.
 */
int host_options_parse(int argc, char **argv, struct host_options *ret);

/* host_options_usage() - the text of --help. */
const char *host_options_usage(void);

/*
 * host_parse_size() - "1G": bytes with an optional suffix K, M, G or T (powers of 1024).
 * Returns 0 or -EINVAL, *ret unchanged.
 */
int host_parse_size(const char *s, uint64_t *ret);
