/* SPDX-License-Identifier: MIT */
/* The listening socket: one connection after the other. */
#pragma once

#include <sys/types.h>

#include "host/host.h"

struct listen_config {
	const char *path;
	gid_t group; /* of the socket's file; (gid_t)-1: as the file system makes it */
	mode_t mode; /* of it, 0 to 0777: who may write may connect */
};

/*
 * listen_open() - a listening Unix socket; a socket that nobody listens on any more is replaced.
 * Who connects can do in the shared directory what this process can, so at no moment does the file
 * let in more than @cfg says: it is made with mode 0600, and nobody listens before group and mode
 * are right. To be called while the process has one thread (umask).
 * Returns a descriptor or a negative errno, *ret_what then says what failed; -EADDRINUSE when
 * somebody listens there, -ENAMETOOLONG.
 */
int listen_open(const struct listen_config *cfg, const char **ret_what);

/*
 * listen_serve() - serve connections, one at a time, until @stop_fd is readable. Who connects
 * while another is served is turned away: its connection is closed at once. The socket's file
 * stays: it may be out of reach of a confined process. Returns -ECANCELED or accept(2)'s error.
 */
int listen_serve(struct host *h, int listen_fd, int stop_fd);
