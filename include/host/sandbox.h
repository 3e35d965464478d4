/* SPDX-License-Identifier: MIT */
/* Confinement of the process to the shared directory. */
#pragma once

#include "host/options.h"

struct sandbox {
	int root_fd; /* the shared directory */
	int proc_fd; /* /proc/self/fd */
};

/*
 * sandbox_enter() - to be called by the only thread of the process, after all other files have been
 * opened. Stages:
 *   1. open the directory and /proc/self/fd;
 *   2. namespace: own mount, network and IPC namespaces, the shared directory becomes "/", nothing
 *      else is mounted; chroot: the shared directory becomes "/"; none: neither;
 *   3. capabilities: only those that serving files needs (as root), or none; no new ones by exec.
 * @needs: HOST_NEED_*. For labels CAP_SYS_ADMIN is kept, too, without which attributes security.*
 * cannot be set; for handles CAP_DAC_READ_SEARCH, without which nothing is opened by its handle.
 * Returns 0 and two descriptors, the caller's; or a negative errno, *ret_what then says what failed
 * and what to do. The process may then be half confined, and should end.
 */
int sandbox_enter(enum host_sandbox how, const char *dir, unsigned int needs, struct sandbox *ret,
		  const char **ret_what);
