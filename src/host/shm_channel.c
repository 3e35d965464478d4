// SPDX-License-Identifier: MIT
// The back end's own requests: map and unmap files in the front end's shared memory region.

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/fdmsg.h"
#include "base/log.h"
#include "host/shm_channel.h"
#include "wire/vhost_user.h"

struct shm_channel {
	struct mapper mapper;
	pthread_mutex_t lock;	 /* one request at a time; held while it waits */
	pthread_mutex_t fd_lock; /* guards fd and epoch; taken after lock; held for no wait */
	int fd;
	uint64_t epoch;	      /* counts the descriptors that were set */
	uint64_t skip_epoch;  /* under lock: the descriptor on which answers are to be skipped */
	unsigned int skip;    /* under lock: how many */
	_Atomic bool barrier; /* see channel_request() */
	int cancel_fd;	      /* an eventfd, readable while requests are to be broken off */
};

struct shm_reply {
	struct vhu_header h;
	uint64_t value;
} __attribute__((packed));

/* Wait for one answer. *ret_value is the peer's: 0 is success. */
static int channel_reply(struct shm_channel *c, int fd, uint32_t request, uint64_t *ret_value)
{
	struct pollfd pfd[] = {
		{ .fd = fd, .events = POLLIN },
		{ .fd = c->cancel_fd, .events = POLLIN },
	};
	struct shm_reply reply;
	int r;

	for (;;) {
		r = poll(pfd, 2, -1);
		if (r < 0 && errno != EINTR)
			return -errno;
		if (r < 0)
			continue;
		if (!pfd[0].revents && pfd[1].revents)
			return -ECANCELED;
		if (!pfd[0].revents)
			continue;
		r = fdmsg_recv(fd, &reply, sizeof(reply), NULL, NULL);
		if (r <= 0)
			return r ? r : -ENOTCONN;
		if (!(reply.h.flags & VHU_REPLY) || reply.h.size != sizeof(reply.value))
			return -EPROTO;
		if (c->skip) {
			c->skip--;
			continue;
		}
		if (reply.h.request != request)
			return -EPROTO;
		*ret_value = reply.value;
		return 0;
	}
}

/* A descriptor of our own, so that the real one may be replaced while we wait. */
static int channel_fd_locked(struct shm_channel *c)
{
	int fd;

	scoped_lock(&c->fd_lock);
	if (c->fd < 0)
		return -EOPNOTSUPP;
	if (c->skip_epoch != c->epoch) {
		c->skip_epoch = c->epoch;
		c->skip = 0;
	}
	fd = fcntl(c->fd, F_DUPFD_CLOEXEC, 3);
	return fd < 0 ? -errno : fd;
}

/* One request and its answer; @body follows the header. */
static int channel_exchange_locked(struct shm_channel *c, int fd, uint32_t request,
				   const void *body, size_t size, int map_fd)
{
	struct {
		struct vhu_header h;
		char body[sizeof(struct vhu_mmap)];
	} __attribute__((packed)) msg = {
		.h = { .request = request,
		       .flags = VHU_VERSION | VHU_NEED_REPLY,
		       .size = (uint32_t)size },
	};
	uint64_t value = 0;
	int r;

	memcpy(msg.body, body, size);
	r = fdmsg_send(fd, &msg, sizeof(msg.h) + size, &map_fd, map_fd >= 0 ? 1 : 0);
	if (r == 0)
		r = channel_reply(c, fd, request, &value);
	if (r == -ECANCELED) {
		c->skip++;
		return r;
	}
	if (r < 0) {
		errno = -r;
		log_dbg("back-end channel: %m");
		/* What comes next cannot be told from an answer to something else. */
		(void)shutdown(fd, SHUT_RDWR);
		return -ENOTCONN;
	}
	return value ? -ENXIO : 0;
}

static int channel_request(struct shm_channel *c, uint32_t request, const struct vhu_mmap *m,
			   int map_fd)
{
	static const struct vhu_shared nothing = { 0 };
	_cleanup_close_ int fd = -1;
	int r;

	scoped_lock(&c->lock);
	fd = channel_fd_locked(c);
	if (fd < 0)
		return fd;
	r = channel_exchange_locked(c, fd, request, m, sizeof(*m), map_fd);
	/*
	 * QEMU answers SHMEM_MAP before it commits the change of the guest's memory: the guest
	 * would still find nothing, or the mapping of before. It takes the next request only after
	 * the commit, so the answer to one that does nothing tells that the mapping is there.
	 */
	if (r == 0 && request == VHU_BACKEND_SHMEM_MAP && atomic_load(&c->barrier)) {
		r = channel_exchange_locked(c, fd, VHU_BACKEND_SHARED_OBJECT_REMOVE, &nothing,
					    sizeof(nothing), -1);
		if (r == -ENXIO) /* there is no such object, of course */
			r = 0;
	}
	return r;
}

static struct shm_channel *channel_of(struct mapper *m)
{
	return container_of(m, struct shm_channel, mapper);
}

static int channel_map(struct mapper *m, int fd, struct foff foff, struct woff woff, uint64_t len,
		       bool writable)
{
	struct vhu_mmap r = {
		.fd_offset = foff.v,
		.shm_offset = woff.v,
		.len = len,
		.flags = writable ? VHU_MMAP_MAP_RW : 0,
	};

	return channel_request(channel_of(m), VHU_BACKEND_SHMEM_MAP, &r, fd);
}

static int channel_unmap(struct mapper *m, struct woff woff, uint64_t len)
{
	struct vhu_mmap r = { .shm_offset = woff.v, .len = len };

	return channel_request(channel_of(m), VHU_BACKEND_SHMEM_UNMAP, &r, -1);
}

static const struct mapper_ops channel_ops = { .map = channel_map, .unmap = channel_unmap };

struct shm_channel *shm_channel_new(void)
{
	struct shm_channel *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->mapper.ops = &channel_ops;
	c->fd = -1;
	c->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (c->cancel_fd < 0) {
		free(c);
		return NULL;
	}
	(void)pthread_mutex_init(&c->lock, NULL);
	(void)pthread_mutex_init(&c->fd_lock, NULL);
	return c;
}

void shm_channel_free(struct shm_channel *c)
{
	if (!c)
		return;
	shm_channel_set_fd(c, -1);
	close_keep_errno(c->cancel_fd);
	(void)pthread_mutex_destroy(&c->lock);
	(void)pthread_mutex_destroy(&c->fd_lock);
	free(c);
}

struct mapper *shm_channel_mapper(struct shm_channel *c)
{
	return &c->mapper;
}

void shm_channel_set_fd(struct shm_channel *c, int fd)
{
	scoped_lock(&c->fd_lock);
	if (c->fd >= 0)
		(void)shutdown(c->fd, SHUT_RDWR);
	close_keep_errno(c->fd);
	c->fd = fd;
	c->epoch++;
}

void shm_channel_set_barrier(struct shm_channel *c, bool on)
{
	atomic_store(&c->barrier, on);
}

void shm_channel_cancel(struct shm_channel *c, bool on)
{
	static const uint64_t one = 1;
	uint64_t n;

	if (on && write(c->cancel_fd, &one, sizeof(one)) < 0)
		log_dbg("eventfd: %m");
	if (!on && read(c->cancel_fd, &n, sizeof(n)) < 0 && errno != EAGAIN)
		log_dbg("eventfd: %m");
}
