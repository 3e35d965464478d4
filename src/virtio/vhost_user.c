// SPDX-License-Identifier: MIT
// The transport without a virtual machine: the front end's side of the vhost-user protocol.

#include <errno.h>
#include <linux/sockios.h>
#include <linux/virtio_config.h>
#include <linux/virtio_fs.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fdmsg.h"
#include "base/log.h"
#include "vhost_user_priv.h"

#define BIT64(n) (UINT64_C(1) << (n))

/* What we can use of protocol features. */
#define VHU_PF_OURS                                                                                \
	(BIT64(VHU_PF_MQ) | BIT64(VHU_PF_REPLY_ACK) | BIT64(VHU_PF_CONFIG) |                       \
	 BIT64(VHU_PF_BACKEND_REQ) | BIT64(VHU_PF_BACKEND_SEND_FD) | BIT64(VHU_PF_SHMEM))

/* A back end that takes longer for an answer is lost: nobody may wait for it for ever. */
#define VHU_ANSWER_S 5

/*
 * Most back ends serve one client at a time. They close the connection of a second one, or leave it
 * in the listen queue, where nobody reads its requests. Right after another client's end the back
 * end may need a moment, so try again for VHU_CONNECT_S before it is an error.
 */
#define VHU_CONNECT_S	  2
#define VHU_CONNECT_TRIES 20
#define VHU_CONNECT_PAUSE (VHU_CONNECT_S * 1000000u / VHU_CONNECT_TRIES) /* us */

#define VHU_QUEUE_SIZE	  1024u

/* A guest-physical address for the arena: not 0, so that an address that is not one shows up. */
#define VHU_ARENA_GPA (UINT64_C(4) * GIB)

static struct vhost_user *to_vhu(struct virtio_transport *t)
{
	return container_of(t, struct vhost_user, t);
}

static bool vhu_has(const struct vhost_user *u, unsigned int protocol_feature)
{
	return u->protocol_features & BIT64(protocol_feature);
}

static int vhu_send(struct vhost_user *u, uint32_t request, uint32_t flags, const void *payload,
		    uint32_t size, const int *fds, unsigned int nfds)
{
	char msg[sizeof(struct vhu_header) + sizeof(union vhu_payload)];
	struct vhu_header h = { request, VHU_VERSION | flags, size };

	memcpy(msg, &h, sizeof(h));
	if (size)
		memcpy(msg + sizeof(h), payload, size);
	return fdmsg_send(u->sock, msg, sizeof(h) + size, fds, nfds);
}

/* As fdmsg_recv(). What comes after an answer that was late cannot be told from it, so none may. */
static int vhu_recv(struct vhost_user *u, void *buf, size_t len)
{
	int r = fdmsg_recv(u->sock, buf, len, NULL, NULL);

	if (r != -EAGAIN)
		return r;
	vhu_peer_lost(u, -ETIMEDOUT);
	return -ETIMEDOUT;
}

/* Receive the reply to @request; its payload must be @min to @max bytes. Returns the size. */
static int vhu_recv_reply(struct vhost_user *u, uint32_t request, void *payload, uint32_t min,
			  uint32_t max)
{
	struct vhu_header h;
	int r;

	r = vhu_recv(u, &h, sizeof(h));
	if (r <= 0)
		return r < 0 ? r : -ENOTCONN;
	if (h.request != request || (h.flags & VHU_VERSION_MASK) != VHU_VERSION ||
	    !(h.flags & VHU_REPLY) || h.size < min || h.size > max)
		return -EPROTO;
	if (h.size) {
		r = vhu_recv(u, payload, h.size);
		if (r <= 0)
			return r < 0 ? r : -EPROTO;
	}
	u->answered = true;
	return (int)h.size;
}

static int vhu_get_u64(struct vhost_user *u, uint32_t request, uint64_t *ret)
{
	int r = vhu_send(u, request, 0, NULL, 0, NULL, 0);

	if (r < 0)
		return r;
	r = vhu_recv_reply(u, request, ret, sizeof(*ret), sizeof(*ret));
	return MIN(r, 0);
}

/* A request without a reply of its own: ask for an acknowledgement where that is negotiated. */
static int vhu_set(struct vhost_user *u, uint32_t request, const void *payload, uint32_t size,
		   const int *fds, unsigned int nfds)
{
	bool ack = vhu_has(u, VHU_PF_REPLY_ACK);
	uint64_t result = 0;
	int r;

	r = vhu_send(u, request, ack ? VHU_NEED_REPLY : 0, payload, size, fds, nfds);
	if (r == 0 && ack)
		r = vhu_recv_reply(u, request, &result, sizeof(result), sizeof(result));
	if (r < 0)
		return r;
	if (result)
		log_dbg("the back end refuses %s", vhu_request_name(request));
	return result ? -EPROTO : 0;
}

static int vhu_set_u64(struct vhost_user *u, uint32_t request, uint64_t value)
{
	return vhu_set(u, request, &value, sizeof(value), NULL, 0);
}

static int vhu_reset(struct virtio_transport *t)
{
	struct vhost_user *u = to_vhu(t);

	/* GET_VRING_BASE stops a ring; the answer says that nothing of it is in work any more. */
	for (unsigned int i = 0; i < VHU_MAX_QUEUES; i++) {
		struct vhu_vring_state state = { .index = i };
		int r = 0;

		if (u->kick[i] < 0)
			continue;
		r = vhu_send(u, VHU_GET_VRING_BASE, 0, &state, sizeof(state), NULL, 0);
		if (r == 0)
			r = vhu_recv_reply(u, VHU_GET_VRING_BASE, &state, sizeof(state),
					   sizeof(state));
		if (r < 0)
			return r;
		close_keep_errno(steal_fd(&u->kick[i]));
	}
	u->status = 0;
	return 0;
}

static int vhu_get_status(struct virtio_transport *t, uint8_t *ret)
{
	*ret = to_vhu(t)->status;
	return 0;
}

static int vhu_set_status(struct virtio_transport *t, uint8_t status)
{
	to_vhu(t)->status = status;
	return 0;
}

static int vhu_get_features(struct virtio_transport *t, uint64_t *ret)
{
	/* With ACCESS_PLATFORM the back end would ask for translations (IOTLB): we have none. */
	*ret = to_vhu(t)->features &
	       ~(BIT64(VHU_F_PROTOCOL_FEATURES) | BIT64(VIRTIO_F_ACCESS_PLATFORM));
	return 0;
}

static int vhu_set_features(struct virtio_transport *t, uint64_t features)
{
	struct vhost_user *u = to_vhu(t);

	return vhu_set_u64(u, VHU_SET_FEATURES,
			   features | (u->features & BIT64(VHU_F_PROTOCOL_FEATURES)));
}

static int vhu_num_queues(struct virtio_transport *t, unsigned int *ret)
{
	uint64_t n = 2;
	int r = 0;

	if (vhu_has(to_vhu(t), VHU_PF_MQ))
		r = vhu_get_u64(to_vhu(t), VHU_GET_QUEUE_NUM, &n);
	if (r == 0)
		*ret = (unsigned int)MIN(n, (uint64_t)VHU_MAX_QUEUES);
	return r;
}

static int vhu_read_config(struct virtio_transport *t, size_t off, void *buf, size_t len)
{
	struct vhost_user *u = to_vhu(t);
	struct vhu_config config = { .offset = (uint32_t)off, .size = (uint32_t)len };
	uint32_t size = (uint32_t)(VHU_CONFIG_HDR_SIZE + len);
	int r;

	if (!vhu_has(u, VHU_PF_CONFIG)) {
		/* The back end leaves the configuration to the front end: we make up our own. */
		struct virtio_fs_config fs = { 0 };
		unsigned int n;

		r = vhu_num_queues(t, &n);
		if (r < 0 || !range_ok(off, len, sizeof(fs)))
			return r < 0 ? r : -EINVAL;
		fs.num_request_queues = htole32(n > 1 ? n - 1 : 0);
		memcpy(buf, (char *)&fs + off, len);
		return 0;
	}
	if (!range_ok(off, len, VHU_CONFIG_MAX))
		return -EINVAL;
	r = vhu_send(u, VHU_GET_CONFIG, 0, &config, size, NULL, 0);
	if (r == 0)
		r = vhu_recv_reply(u, VHU_GET_CONFIG, &config, size, size);
	if (r < 0)
		return r;
	memcpy(buf, config.region, len);
	return 0;
}

static int vhu_queue_max_size(struct virtio_transport *t, unsigned int index, unsigned int *ret)
{
	*ret = VHU_QUEUE_SIZE; /* the protocol leaves it to the front end; what virtiofsd and QEMU
				  use */
	return 0;
}

static int vhu_set_fd(struct vhost_user *u, uint32_t request, unsigned int index, int fd)
{
	uint64_t value = index;

	return vhu_set(u, request, &value, sizeof(value), &fd, 1);
}

static int vhu_setup_queue(struct virtio_transport *t, const struct virtio_queue_setup *s)
{
	struct vhost_user *u = to_vhu(t);
	struct vhu_vring_state num = { .index = s->index, .num = s->size };
	struct vhu_vring_state base = { .index = s->index };
	struct vhu_vring_state enable = { .index = s->index, .num = 1 };
	struct vhu_vring_addr addr = {
		.index = s->index,
		.desc_user_addr = (uintptr_t)s->desc,
		.used_user_addr = (uintptr_t)s->used,
		.avail_user_addr = (uintptr_t)s->avail,
	};
	int r;

	if (s->index >= VHU_MAX_QUEUES)
		return -EINVAL;
	u->kick[s->index] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (u->kick[s->index] < 0)
		return -errno;
	r = vhu_set(u, VHU_SET_VRING_NUM, &num, sizeof(num), NULL, 0);
	if (r == 0)
		r = vhu_set(u, VHU_SET_VRING_BASE, &base, sizeof(base), NULL, 0);
	if (r == 0)
		r = vhu_set(u, VHU_SET_VRING_ADDR, &addr, sizeof(addr), NULL, 0);
	if (r == 0)
		r = vhu_set_fd(u, VHU_SET_VRING_CALL, s->index, u->irq);
	if (r == 0)
		r = vhu_set_fd(u, VHU_SET_VRING_KICK, s->index, u->kick[s->index]);
	if (r == 0 && u->features & BIT64(VHU_F_PROTOCOL_FEATURES))
		r = vhu_set(u, VHU_SET_VRING_ENABLE, &enable, sizeof(enable), NULL, 0);
	return r;
}

static int vhu_dma_map(struct virtio_transport *t, struct dma_arena *arena, bool platform)
{
	struct vhu_mem_table table = {
		.nregions = 1,
		.regions[0] = {
			.guest_phys_addr = VHU_ARENA_GPA,
			.memory_size = arena->size,
			.userspace_addr = (uintptr_t)arena->base,
		},
	};

	for (size_t i = 0; i < arena->size / PAGE_4K; i++)
		arena->pages[i] = IOVA(VHU_ARENA_GPA + i * PAGE_4K);
	return vhu_set(to_vhu(t), VHU_SET_MEM_TABLE, &table,
		       offsetof(struct vhu_mem_table, regions) + sizeof(table.regions[0]),
		       &arena->memfd, 1);
}

static int vhu_window(struct virtio_transport *t, bool map, struct virtio_window *ret)
{
	struct vhost_user *u = to_vhu(t);

	if (!u->window)
		return -ENODEV;
	*ret = (struct virtio_window){ .addr = u->window, .size = u->window_size };
	return 0;
}

static int vhu_irq_fd(struct virtio_transport *t)
{
	return to_vhu(t)->irq;
}

static void vhu_kick(struct virtio_transport *t, unsigned int index)
{
	(void)eventfd_write(to_vhu(t)->kick[index], 1);
}

static int vhu_failed(struct virtio_transport *t)
{
	return atomic_load(&to_vhu(t)->failed);
}

static void vhu_close(struct virtio_transport *t)
{
	struct vhost_user *u = to_vhu(t);

	if (!atomic_load(&u->failed))
		(void)vhu_reset(t);
	vhu_channel_stop(u);
	for (unsigned int i = 0; i < VHU_MAX_QUEUES; i++)
		close_keep_errno(u->kick[i]);
	close_keep_errno(u->channel);
	close_keep_errno(u->channel_peer);
	close_keep_errno(u->empty);
	close_keep_errno(u->irq);
	close_keep_errno(u->sock);
	free(u);
}

static const struct virtio_transport_ops vhost_user_ops = {
	.name = "vhost-user",
	.dma_kind = DMA_SHARED,
	.reset = vhu_reset,
	.get_status = vhu_get_status,
	.set_status = vhu_set_status,
	.get_features = vhu_get_features,
	.set_features = vhu_set_features,
	.read_config = vhu_read_config,
	.num_queues = vhu_num_queues,
	.queue_max_size = vhu_queue_max_size,
	.setup_queue = vhu_setup_queue,
	.dma_map = vhu_dma_map,
	.window = vhu_window,
	.irq_fd = vhu_irq_fd,
	.kick = vhu_kick,
	.failed = vhu_failed,
	.close = vhu_close,
};

/* The size of shared memory region 0, or 0. */
static int vhu_get_window_size(struct vhost_user *u, uint64_t *ret)
{
	struct vhu_shmem_config config = { 0 };
	int r;

	*ret = 0;
	if (!vhu_has(u, VHU_PF_SHMEM) || !vhu_has(u, VHU_PF_BACKEND_REQ))
		return 0;
	r = vhu_send(u, VHU_GET_SHMEM_CONFIG, 0, NULL, 0, NULL, 0);
	if (r == 0)
		r = vhu_recv_reply(u, VHU_GET_SHMEM_CONFIG, &config,
				   offsetof(struct vhu_shmem_config, sizes), sizeof(config));
	if (r < 0)
		return r;
	/* A reply that ends before or inside of the size that it announces is none. */
	if (config.nregions && (size_t)r < offsetof(struct vhu_shmem_config, sizes[1]))
		return -EPROTO;
	*ret = config.nregions ? config.sizes[0] : 0;
	return 0;
}

/* Has the peer read all that we sent? */
static bool vhu_all_read(const struct vhost_user *u)
{
	int unread = 0;

	return ioctl(u->sock, SIOCOUTQ, &unread) < 0 || !unread;
}

/* Send the first request. -ETIMEDOUT: nobody reads it, so the back end does not serve us. */
static int vhu_hello(struct vhost_user *u)
{
	struct pollfd pfd = { .fd = u->sock, .events = POLLIN };
	int r = vhu_send(u, VHU_GET_FEATURES, 0, NULL, 0, NULL, 0);

	if (r < 0)
		return r;
	if (poll(&pfd, 1, VHU_CONNECT_S * 1000) == 0 && !vhu_all_read(u))
		return -ETIMEDOUT;
	r = vhu_recv_reply(u, VHU_GET_FEATURES, &u->features, sizeof(u->features),
			   sizeof(u->features));
	return MIN(r, 0);
}

static int vhu_start(struct vhost_user *u)
{
	const struct timeval timeout = { .tv_sec = VHU_ANSWER_S };
	uint64_t offered, window_size;
	int pair[2];
	int r;

	u->irq = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (u->irq < 0 ||
	    setsockopt(u->sock, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) < 0 ||
	    setsockopt(u->sock, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) < 0)
		return -errno;
	r = vhu_hello(u);
	if (r < 0)
		return r;
	if (u->features & BIT64(VHU_F_PROTOCOL_FEATURES)) {
		r = vhu_get_u64(u, VHU_GET_PROTOCOL_FEATURES, &offered);
		if (r == 0)
			r = vhu_set_u64(u, VHU_SET_PROTOCOL_FEATURES, offered & VHU_PF_OURS);
		if (r < 0)
			return r;
		u->protocol_features = offered & VHU_PF_OURS;
	}
	r = vhu_set(u, VHU_SET_OWNER, NULL, 0, NULL, 0);
	if (r == 0)
		r = vhu_get_window_size(u, &window_size);
	if (r < 0)
		return r;
	if (vhu_has(u, VHU_PF_BACKEND_REQ)) {
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
			return -errno;
		u->channel = pair[0];
		u->channel_peer = pair[1];
		r = vhu_set(u, VHU_SET_BACKEND_REQ_FD, NULL, 0, &u->channel_peer, 1);
		close_keep_errno(steal_fd(&u->channel_peer));
		if (r < 0)
			return r;
	}
	return vhu_channel_start(u, window_size);
}

/* Did the back end close the connection before it answered any request? */
static bool vhu_sent_away(const struct vhost_user *u, int r)
{
	return !u->answered && (r == -ENOTCONN || r == -ECONNRESET || r == -EPIPE);
}

static void vhu_explain(const struct vhost_user *u, int r, char *why, size_t why_size)
{
	if (vhu_sent_away(u, r))
		(void)snprintf(why, why_size,
			       "the back end closed the connection: it may serve "
			       "another client");
	else if (!u->answered && r == -ETIMEDOUT && !vhu_all_read(u))
		(void)snprintf(why, why_size,
			       "the back end does not read our requests: it may "
			       "serve another client");
	else if (!u->answered && r == -ETIMEDOUT)
		(void)snprintf(why, why_size,
			       "the back end reads our request but does not "
			       "answer");
	else
		(void)snprintf(why, why_size,
			       "the vhost-user back end does not answer as it should: %s",
			       strerror(-r));
}

/* As vhost_user_attach(). *ret_away: the back end closed the connection, so try again. */
static int vhu_attach(int sock, char *why, size_t why_size, bool *ret_away,
		      struct virtio_transport **ret)
{
	struct vhost_user *u = calloc(1, sizeof(*u));
	int r;

	*ret_away = false;
	if (!u) {
		close_keep_errno(sock);
		return -ENOMEM;
	}
	u->t.ops = &vhost_user_ops;
	u->sock = sock;
	u->irq = u->channel = u->channel_peer = u->empty = -1;
	for (unsigned int i = 0; i < VHU_MAX_QUEUES; i++)
		u->kick[i] = -1;
	r = vhu_start(u);
	if (r < 0) {
		*ret_away = vhu_sent_away(u, r);
		vhu_explain(u, r, why, why_size);
		vhu_close(&u->t);
		return r;
	}
	*ret = &u->t;
	return 0;
}

int vhost_user_attach(int sock, char *why, size_t why_size, struct virtio_transport **ret)
{
	bool away;

	return vhu_attach(sock, why, why_size, &away, ret);
}

static int vhu_connect(const char *path, char *why, size_t why_size, int *ret)
{
	const struct timeval timeout = { .tv_sec = VHU_CONNECT_S };
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	_cleanup_close_ int sock = -1;
	int r = 0;

	(void)strcpy(addr.sun_path, path);
	sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	/* connect(2) waits while the listen queue is full, for SO_SNDTIMEO at most. */
	if (sock < 0 || setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) < 0 ||
	    connect(sock, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		r = -errno;
	if (r == -EAGAIN) {
		(void)snprintf(why, why_size,
			       "%s: the back end takes no connection: it may serve "
			       "another client",
			       path);
		return -ETIMEDOUT;
	}
	if (r < 0) {
		(void)snprintf(why, why_size, "no vhost-user back end at %s: %s", path,
			       strerror(-r));
		return r;
	}
	*ret = steal_fd(&sock);
	return 0;
}

int vhost_user_open(const char *path, char *why, size_t why_size, struct virtio_transport **ret)
{
	char reason[200] = "";
	bool away = true;
	int r = 0, sock;

	if (strlen(path) >= sizeof(((struct sockaddr_un *)NULL)->sun_path)) {
		(void)snprintf(why, why_size, "the socket's path is too long: %s", path);
		return -ENAMETOOLONG;
	}
	for (unsigned int i = 0; i < VHU_CONNECT_TRIES && away; i++) {
		if (i)
			(void)usleep(VHU_CONNECT_PAUSE);
		r = vhu_connect(path, why, why_size, &sock);
		if (r < 0)
			return r;
		r = vhu_attach(sock, reason, sizeof(reason), &away, ret);
	}
	if (r < 0)
		(void)snprintf(why, why_size, "%s: %s", path, reason[0] ? reason : strerror(-r));
	return r;
}

uid_t vhost_user_peer(struct virtio_transport *t)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (getsockopt(to_vhu(t)->sock, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return (uid_t)-1;
	return peer.uid;
}
