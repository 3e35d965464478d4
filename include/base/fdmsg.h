/* SPDX-License-Identifier: MIT */
/* Whole messages with file descriptors over a Unix stream socket. */
#pragma once

#include <stddef.h>

#define FDMSG_MAX_FDS 8 /* vhost-user, "Communication": VHOST_MEMORY_BASELINE_NREGIONS */

/*
 * fdmsg_send() - send all of @len bytes, and with the first of them @nfds descriptors, which stay
 * the caller's. Blocks. Returns 0 or a negative errno; -EPIPE when the peer is gone (no SIGPIPE).
 */
int fdmsg_send(int sock, const void *buf, size_t len, const int *fds, unsigned int nfds);

/*
 * fdmsg_recv() - receive exactly @len bytes and the descriptors that came with them. Blocks.
 * @fds has room for FDMSG_MAX_FDS and may be NULL when none is wanted. *ret_nfds is set on success;
 * the descriptors (close-on-exec) are then the caller's. On failure none is left open.
 * Returns 1; 0 at the end of the stream before the first byte; or a negative errno: -EPROTO when
 * the stream ends inside the message, more descriptors came than fit, or some came unwanted.
 */
int fdmsg_recv(int sock, void *buf, size_t len, int *fds, unsigned int *ret_nfds);
