// SPDX-License-Identifier: MIT
// vhost-user connections: receive messages, answer them, clean up.

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "host/vhost_conn.h"

/* A front end sends a message at once; one that stops in the middle is given up. */
#define VHOST_MESSAGE_TIMEOUT_S 10

int vhost_backend_new(const struct vhost_backend_config *cfg, struct vhost_backend **ret)
{
	struct vhost_backend *b;

	if (!cfg->num_request_queues || cfg->num_request_queues > VHOST_MAX_REQUEST_QUEUES)
		return -EINVAL;
	b = calloc(1, sizeof(*b));
	if (!b)
		return -ENOMEM;
	b->cfg = *cfg;
	b->num_queues = cfg->num_request_queues + 1; /* and the high-priority queue, number 0 */
	b->mem = mem_new();
	b->queue = calloc(b->num_queues, sizeof(struct devq *));
	if (!b->mem || !b->queue)
		goto no_memory;
	for (unsigned int i = 0; i < b->num_queues; i++) {
		b->queue[i] = devq_new(i, b->mem, cfg->handle, cfg->ctx);
		if (!b->queue[i])
			goto no_memory;
	}
	*ret = b;
	return 0;
no_memory:
	vhost_backend_free(b);
	return -ENOMEM;
}

void vhost_backend_free(struct vhost_backend *b)
{
	if (!b)
		return;
	for (unsigned int i = 0; b->queue && i < b->num_queues; i++)
		devq_free(b->queue[i]);
	free(b->queue);
	mem_free(b->mem);
	free(b);
}

void vhost_stop_queues(struct vhost_backend *b)
{
	for (unsigned int i = 0; i < b->num_queues; i++)
		devq_reset(b->queue[i]);
}

/* 1: a message; 0: the connection has ended; or a negative errno with m->why. */
static int vhost_receive(int sock, struct vhost_msg *m)
{
	int r = fdmsg_recv(sock, &m->h, sizeof(m->h), m->fds, &m->nfds);

	if (r == 0)
		return 0;
	m->why = "a header is cut short or has too many descriptors";
	if (r < 0)
		return r;
	r = vhu_request_check(&m->h, m->nfds);
	m->why = "wrong version, flags, size or number of descriptors";
	if (r < 0 && r != -EOPNOTSUPP)
		return r;
	m->why = "the payload is cut short";
	if (m->h.size) {
		int r2 = fdmsg_recv(sock, &m->p, m->h.size, NULL, NULL);

		if (r2 <= 0)
			return r2 ? r2 : -EPROTO;
	}
	m->why = NULL;
	return r < 0 ? r : 1;
}

static int vhost_reply(int sock, const struct vhost_msg *m)
{
	struct {
		struct vhu_header h;
		union vhu_payload p;
	} __attribute__((packed)) out = { .h = m->h };

	out.h.flags = VHU_VERSION | VHU_REPLY;
	memcpy(&out.p, &m->p, m->h.size);
	return fdmsg_send(sock, &out, sizeof(out.h) + m->h.size, NULL, 0);
}

/* One message from the socket to its answer. As vhost_receive(). */
static int vhost_one(struct vhost_backend *b, int sock)
{
	struct vhost_msg m = { 0 };
	bool need_reply;
	int r = vhost_receive(sock, &m);

	if (r == 0)
		return 0;
	need_reply = m.h.flags & VHU_NEED_REPLY;
	if (r == 1) {
		log_dbg("%s: %u bytes, %u fds", vhu_request_name(m.h.request), m.h.size, m.nfds);
		r = vhost_msg_handle(b, &m);
	}
	for (unsigned int i = 0; i < m.nfds; i++)
		close_keep_errno(m.fds[i]);
	if (r < 0 && r != -EOPNOTSUPP) {
		errno = -r;
		log_warn("connection closed: %s (%u): %s (%m)", vhu_request_name(m.h.request),
			 m.h.request, m.why ? m.why : "failed");
		return r;
	}
	if (r == -EOPNOTSUPP)
		log_dbg("request %u is not known", m.h.request);
	if (!m.reply && need_reply) {
		m.p.u64 = r < 0 ? 1 : 0;
		m.h.size = sizeof(m.p.u64);
		m.reply = true;
	}
	if (m.reply) {
		r = vhost_reply(sock, &m);
		if (r < 0)
			return r == -EPIPE || r == -ECONNRESET ? 0 : r;
	}
	return 1;
}

static void vhost_disconnect(struct vhost_backend *b)
{
	/* First the channel, so that no request waits for an answer that cannot come. */
	if (b->cfg.channel)
		shm_channel_set_fd(b->cfg.channel, -1);
	vhost_stop_queues(b);
	b->cfg.disconnected(b->cfg.ctx);
	(void)mem_set(b->mem, NULL, NULL, 0);
	b->features = b->protocol_features = 0;
	b->status = 0;
}

int vhost_backend_serve(struct vhost_backend *b, int sock, int stop_fd)
{
	struct pollfd pfd[] = {
		{ .fd = sock, .events = POLLIN },
		{ .fd = stop_fd, .events = POLLIN },
	};
	struct timeval timeout = { .tv_sec = VHOST_MESSAGE_TIMEOUT_S };
	int r = 1;

	(void)setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	(void)setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
	while (r > 0) {
		if (poll(pfd, 2, -1) < 0) {
			r = errno == EINTR ? 1 : -errno;
			continue;
		}
		r = pfd[1].revents ? -ECANCELED : vhost_one(b, sock);
	}
	if (r == -ECONNRESET)
		r = 0;
	vhost_disconnect(b);
	return r;
}
