/* SPDX-License-Identifier: MIT */
/* The listening socket: one connection after the other. */
#pragma once

#include <sys/types.h>

#include "host/host.h"

struct listen_config {
	const char *path;
	gid_t group; /* of the socket's file; (gid_t)-1: leave it as created */
	mode_t mode; /* of the socket's file, 0 to 0777: who may write may connect */
};

/*
 * listen_open() - make a listening Unix socket; a socket that nobody listens on any more is
 * replaced. Who connects can do in the shared directory whatever this process can. So at no moment
 * can more users connect than @cfg says: the file is made with mode 0600, and listen(2) comes after
 * group and mode are set. To be called while the process has one thread (umask). Returns a
 * descriptor or a negative errno, and then *ret_what says what failed: -EADDRINUSE when somebody
 * listens there, -ENAMETOOLONG, or an errno of a system call.
 */
int listen_open(const struct listen_config *cfg, const char **ret_what);

/*
 * listen_serve() - serve connections, one at a time, until @stop_fd is readable. While one is
 * served, another that comes is closed at once. Does not remove the socket's file, which a confined
 * process may not reach. Returns -ECANCELED or an error of accept(2).
 */
int listen_serve(struct host *h, int listen_fd, int stop_fd);
