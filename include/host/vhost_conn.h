/* SPDX-License-Identifier: MIT */
/* One vhost-user connection as the message handlers see it. Only for src/host/vhost_*.c. */
#pragma once

#include <stdbool.h>

#include "base/fdmsg.h"
#include "host/vhost_backend.h"
#include "wire/vhost_user.h"

struct vhost_backend {
	struct vhost_backend_config cfg;
	struct mem *mem;
	unsigned int num_queues;
	struct devq **queue;

	/* Of the connection. */
	uint64_t features;
	uint64_t protocol_features;
	uint8_t status;
};

/* A request that passed vhu_request_check(), and what becomes its reply. */
struct vhost_msg {
	struct vhu_header h;
	union vhu_payload p;	/* zero behind h.size */
	int fds[FDMSG_MAX_FDS]; /* those that a handler keeps it replaces by -1 */
	unsigned int nfds;
	bool reply;	 /* p is the reply, of h.size bytes */
	const char *why; /* why it is wrong, for the log */
};

/* vhost_msg_handle() - 0; or a negative errno that ends the connection, with m->why set or not. */
int vhost_msg_handle(struct vhost_backend *b, struct vhost_msg *m);

/* vhost_stop_queues() - stop and forget all queues. */
void vhost_stop_queues(struct vhost_backend *b);
