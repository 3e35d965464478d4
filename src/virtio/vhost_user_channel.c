// SPDX-License-Identifier: MIT
// vhost-user front end: the back end's channel, on which it maps files into the window.

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/fdmsg.h"
#include "base/log.h"
#include "vhost_user_priv.h"

#define WINDOW_ALIGN (2 * MIB)

void vhu_peer_lost(struct vhost_user *u, int error)
{
	int expected = 0;

	(void)atomic_compare_exchange_strong(&u->failed, &expected, error);
	(void)eventfd_write(u->irq, 1);
}

static bool vhu_window_range_ok(const struct vhost_user *u, const struct vhu_mmap *m)
{
	return m->shmid == 0 && m->len && !(m->len & (PAGE_4K - 1)) &&
	       !(m->shm_offset & (PAGE_4K - 1)) && !(m->fd_offset & (PAGE_4K - 1)) &&
	       range_ok(m->shm_offset, m->len, u->window_size);
}

static int vhu_map(struct vhost_user *u, const struct vhu_mmap *m, int fd)
{
	int prot = PROT_READ | (m->flags & VHU_MMAP_MAP_RW ? PROT_WRITE : 0);

	if (!vhu_window_range_ok(u, m) || m->fd_offset > INT64_MAX)
		return -EINVAL;
	if (mmap((char *)u->window + m->shm_offset, m->len, prot, MAP_SHARED | MAP_FIXED, fd,
		 (off_t)m->fd_offset) == MAP_FAILED)
		return -errno;
	return 0;
}

static int vhu_unmap(struct vhost_user *u, const struct vhu_mmap *m)
{
	if (!vhu_window_range_ok(u, m))
		return -EINVAL;
	/* The empty file takes the place: an access raises SIGBUS, and the range stays ours. */
	if (mmap((char *)u->window + m->shm_offset, m->len, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_FIXED, u->empty, 0) == MAP_FAILED)
		return -errno;
	return 0;
}

/* Serve one request of the back end; negative: the channel is of no more use. */
static int vhu_channel_serve(struct vhost_user *u)
{
	struct vhu_header h;
	union vhu_payload p;
	unsigned int nfds = 0;
	int fds[FDMSG_MAX_FDS];
	int r, result;

	r = fdmsg_recv(u->channel, &h, sizeof(h), fds, &nfds);
	if (r <= 0)
		return r < 0 ? r : -ENOTCONN;
	r = vhu_backend_request_check(&h, nfds);
	result = r == -EOPNOTSUPP ? r : 0;
	if (r == -EOPNOTSUPP && h.size <= sizeof(p))
		r = 0;
	if (r == 0 && h.size) {
		r = fdmsg_recv(u->channel, &p, h.size, NULL, NULL);
		r = r == 0 ? -EPROTO : MIN(r, 0);
	}
	if (r == 0 && result == 0 && h.request == VHU_BACKEND_SHMEM_MAP)
		result = vhu_map(u, &p.mmap, fds[0]);
	if (r == 0 && result == 0 && h.request == VHU_BACKEND_SHMEM_UNMAP)
		result = vhu_unmap(u, &p.mmap);
	while (nfds)
		close_keep_errno(fds[--nfds]);
	if (r < 0)
		return r;
	if (h.flags & VHU_NEED_REPLY) {
		struct {
			struct vhu_header h;
			uint64_t result;
		} __attribute__((packed)) reply = {
			.h = { h.request, VHU_VERSION | VHU_REPLY, sizeof(uint64_t) },
			.result = (uint64_t)(int64_t)result,
		};

		return fdmsg_send(u->channel, &reply, sizeof(reply), NULL, 0);
	}
	return 0;
}

static void *vhu_channel_main(void *arg)
{
	struct vhost_user *u = arg;
	struct pollfd pfds[] = {
		{ .fd = u->sock, .events = POLLRDHUP },
		{ .fd = u->channel, .events = POLLIN },
	};

	for (;;) {
		int r;

		if (poll(pfds, 2, -1) < 0) {
			if (errno == EINTR)
				continue;
			break;
		}
		if (pfds[1].revents) {
			r = vhu_channel_serve(u);
			if (r < 0) {
				log_dbg("the back end's channel ends: error %d", -r);
				vhu_peer_lost(u, -ENOTCONN);
				break;
			}
		}
		if (pfds[0].revents & (POLLRDHUP | POLLHUP | POLLERR)) {
			vhu_peer_lost(u, -ENOTCONN);
			break;
		}
	}
	return NULL;
}

int vhu_channel_start(struct vhost_user *u, uint64_t window_size)
{
	char *raw;
	size_t room;
	int r;

	if (window_size) {
		if (window_size & (PAGE_4K - 1) || window_size > UINT64_C(1) << 46)
			return -EPROTO;
		u->empty = memfd_create("vfsdaxfuse-window", MFD_CLOEXEC);
		if (u->empty < 0)
			return -errno;
		/* Aligned like a file's offsets, so that huge pages of the page cache can be used. */
		room = window_size + WINDOW_ALIGN;
		raw = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, u->empty,
			   0);
		if (raw == MAP_FAILED)
			return -errno;
		u->window = (char *)align_up((uintptr_t)raw, WINDOW_ALIGN);
		if ((char *)u->window > raw)
			(void)munmap(raw, (size_t)((char *)u->window - raw));
		(void)munmap((char *)u->window + window_size,
			     room - window_size - (size_t)((char *)u->window - raw));
		u->window_size = window_size;
	}
	r = -pthread_create(&u->thread, NULL, vhu_channel_main, u);
	u->thread_running = r == 0;
	return r;
}

void vhu_channel_stop(struct vhost_user *u)
{
	if (u->thread_running) {
		/* Our own end is shut, so the thread's next receive sees the end. */
		(void)shutdown(u->sock, SHUT_RDWR);
		if (u->channel >= 0)
			(void)shutdown(u->channel, SHUT_RDWR);
		(void)pthread_join(u->thread, NULL);
		u->thread_running = false;
	}
	if (u->window)
		(void)munmap(u->window, u->window_size);
	u->window = NULL;
}
