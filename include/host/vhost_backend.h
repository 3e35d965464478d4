/* SPDX-License-Identifier: MIT */
/* The back end's side of vhost-user for a virtio-fs device. */
#pragma once

#include <stdint.h>

#include "host/devq.h"
#include "host/quirk.h"
#include "host/shm_channel.h"

/*
 * One vhost_backend serves one connection at a time. The thread that calls vhost_backend_serve()
 * reads the socket; each queue has a thread of its own (host/devq.h), which calls @handle.
 *
 * A pause of the machine stops and starts the queues like a reset of the device does, and its
 * mappings must stay: so they are removed at DESTROY, INIT and the end of the connection only.
 *
 * Locks and waits, from the top; a thread waits only for what stands below of what it holds:
 *   socket's thread: joins queue threads (GET_VRING_BASE, SET_VRING_ENABLE, at the end)
 *   queue thread:    fuse_server session > shm_map > shm_channel, and there for the front end
 *   front end:       for the socket's thread (ADD_MEM_REG while it serves SHMEM_MAP)
 * That is a circle only when a queue is stopped while its request waits for the front end; it is
 * cut by shm_channel_cancel() after VHOST_STOP_PATIENCE_MS. In all other messages the socket's
 * thread takes nothing but leaf locks (mem, shm_channel's fd_lock, devq's call_lock).
 */

#define VHOST_MAX_REQUEST_QUEUES 64u
#define VHOST_STOP_PATIENCE_MS	 100u
#define VHOST_TAG_MAX		 36u /* VIRTIO 1.2, 5.11.4: not NUL-terminated when full */

struct vhost_backend_config {
	char tag[VHOST_TAG_MAX]; /* zero-padded */
	unsigned int num_request_queues;
	uint64_t window; /* bytes; 0: none is offered */
	struct host_quirks quirks;
	struct shm_channel *channel;	 /* outlives the back end */
	devq_handler *handle;		 /* called by queue threads */
	void (*disconnected)(void *ctx); /* after the last request of a connection */
	void *ctx;
};

struct vhost_backend;

/* Returns 0, -EINVAL (queues) or -ENOMEM. */
int vhost_backend_new(const struct vhost_backend_config *cfg, struct vhost_backend **ret);
void vhost_backend_free(struct vhost_backend *b);

/*
 * vhost_backend_serve() - serve one connection to its end; @sock stays the caller's.
 * @stop_fd: when it becomes readable, the connection is ended; -1: never.
 * Returns 0 when the front end closed it, -ECANCELED by @stop_fd, or another negative errno when a
 * message was wrong (which is logged). Either way no thread and no memory of it is left.
 */
int vhost_backend_serve(struct vhost_backend *b, int sock, int stop_fd);
