/* SPDX-License-Identifier: MIT */
/* The transport without a virtual machine: the front end's side of the vhost-user protocol. */
#pragma once

#include <sys/types.h>

#include "virtio/transport.h"

/*
 * The same driver then runs against any vhost-user-fs back end on the same machine. The window is a
 * range of this process's address space into which the back end's descriptors are mapped; where
 * nothing is mapped, an access raises SIGBUS (base/guard.h).
 *
 * Threads: the back end's requests (SHMEM_MAP, SHMEM_UNMAP) are answered by a thread of the
 * transport, which also notices when the peer is lost.
 */

/*
 * vhost_user_open() - connect to the back end that listens at @path. For up to 2 s it tries again
 * when the back end closes the connection without an answer, which it does while it serves another.
 * @why: receives one sentence when it fails (at most @why_size bytes).
 * Returns 0 and the transport in *ret, or a negative errno: of connect(2), -ETIMEDOUT when the back
 * end does not answer, or -EPROTO when it does not speak the protocol as we need it.
 */
int vhost_user_open(const char *path, char *why, size_t why_size, struct virtio_transport **ret);

/* vhost_user_attach() - the same on a connected socket, which is then the transport's. */
int vhost_user_attach(int sock, char *why, size_t why_size, struct virtio_transport **ret);

/*
 * vhost_user_peer() - the user ID of the back end when it called listen(2) (SO_PEERCRED), as seen
 * in our user namespace; (uid_t)-1 when it is unknown.
 */
uid_t vhost_user_peer(struct virtio_transport *t);
