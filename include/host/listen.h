/* SPDX-License-Identifier: MIT */
/* The listening socket: one connection after the other. */
#pragma once

#include "host/host.h"

/*
 * listen_open() - a listening Unix socket at @path; a socket that nobody listens on any more is
 * replaced. Returns a descriptor or a negative errno: -EADDRINUSE when somebody listens there,
 * -ENAMETOOLONG.
 */
int listen_open(const char *path);

/*
 * listen_serve() - serve connections, one at a time, until @stop_fd is readable. The socket's file
 * stays: it may be out of reach of a confined process. Returns -ECANCELED or accept(2)'s error.
 */
int listen_serve(struct host *h, int listen_fd, int stop_fd);
