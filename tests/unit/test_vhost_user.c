// SPDX-License-Identifier: MIT
// The front end's side of vhost-user against a scripted back end, also one that breaks the rules.

#include "unit.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/cleanup.h"
#include "base/fdmsg.h"
#include "base/guard.h"
#include "base/time.h"
#include "virtio/fs_dev.h"
#include "virtio/vhost_user.h"
#include "wire/vhost_user.h"

#define BIT64(n) (UINT64_C(1) << (n))
#define WINDOW	 (4 * MIB)
#define PF_ALL                                                                                     \
	(BIT64(VHU_PF_MQ) | BIT64(VHU_PF_REPLY_ACK) | BIT64(VHU_PF_CONFIG) |                       \
	 BIT64(VHU_PF_BACKEND_REQ) | BIT64(VHU_PF_BACKEND_SEND_FD) | BIT64(VHU_PF_SHMEM))

/* What the back end does wrong when @at comes. */
enum fault {
	FAULT_NONE,
	FAULT_SHORT,	   /* a reply one byte too small, header and all */
	FAULT_LONG,	   /* a reply eight bytes larger */
	FAULT_CUT,	   /* the connection ends inside of the reply */
	FAULT_CLOSE,	   /* it ends before the reply */
	FAULT_OTHER,	   /* the reply is to another request */
	FAULT_NOT_A_REPLY, /* the flag is missing */
	FAULT_VERSION,
	FAULT_FD,   /* a descriptor that nobody asked for */
	FAULT_NACK, /* an acknowledgement that says no */
	FAULT_COUNT,
	FAULT_SILENCE, /* no answer, for ever */
};

struct peer {
	int sock;
	pthread_t thread;
	uint64_t features;
	uint64_t protocol_features;
	uint64_t window;
	uint32_t at; /* the request on which the fault comes */
	enum fault fault;
	_Atomic int channel; /* of SET_BACKEND_REQ_FD */
};

static void peer_reply(struct peer *p, const struct vhu_header *in, const void *payload,
		       uint32_t size)
{
	char msg[sizeof(struct vhu_header) + sizeof(union vhu_payload) + 8] = "";
	struct vhu_header h = { in->request, VHU_VERSION | VHU_REPLY, size };
	enum fault fault = in->request == p->at ? p->fault : FAULT_NONE;
	int zero = 0;
	size_t len;

	if (fault == FAULT_SILENCE)
		return;
	if (fault == FAULT_SHORT)
		h.size--;
	if (fault == FAULT_LONG)
		h.size += 8;
	if (fault == FAULT_OTHER)
		h.request++;
	if (fault == FAULT_NOT_A_REPLY)
		h.flags = VHU_VERSION;
	if (fault == FAULT_VERSION)
		h.flags = VHU_REPLY | 2;
	memcpy(msg, &h, sizeof(h));
	memcpy(msg + sizeof(h), payload, size);
	len = sizeof(h) + h.size;
	if (fault == FAULT_CUT)
		len = sizeof(h) + size / 2;
	if (fault != FAULT_CLOSE)
		(void)fdmsg_send(p->sock, msg, len, &zero, fault == FAULT_FD ? 1 : 0);
	if (fault == FAULT_CLOSE || fault == FAULT_CUT)
		(void)shutdown(p->sock, SHUT_RDWR);
}

static uint32_t peer_answer(struct peer *p, const struct vhu_header *h, union vhu_payload *m)
{
	switch (h->request) {
	case VHU_GET_FEATURES:
		m->u64 = p->features;
		return 8;
	case VHU_GET_PROTOCOL_FEATURES:
		m->u64 = p->protocol_features;
		return 8;
	case VHU_GET_QUEUE_NUM:
		m->u64 = 5;
		return 8;
	case VHU_GET_SHMEM_CONFIG:
		m->shmem_config =
			(struct vhu_shmem_config){ .nregions = 1, .sizes = { p->window } };
		return offsetof(struct vhu_shmem_config, sizes) + 8;
	case VHU_GET_VRING_BASE:
		return sizeof(m->state);
	case VHU_GET_CONFIG:
		memset(m->config.region, 'c', sizeof(m->config.region));
		return h->size;
	default:
		m->u64 = h->request == p->at && p->fault == FAULT_NACK;
		return h->flags & VHU_NEED_REPLY ? 8 : 0;
	}
}

static void *peer_main(void *arg)
{
	struct peer *p = arg;

	for (;;) {
		union vhu_payload m = { 0 };
		struct vhu_header h;
		unsigned int nfds = 0;
		int fds[FDMSG_MAX_FDS];
		uint32_t size;

		if (fdmsg_recv(p->sock, &h, sizeof(h), fds, &nfds) <= 0)
			break;
		must(vhu_request_check(&h, nfds) == 0);
		if (h.size && fdmsg_recv(p->sock, &m, h.size, NULL, NULL) <= 0)
			break;
		if (h.request == VHU_SET_BACKEND_REQ_FD)
			atomic_store(&p->channel, fds[--nfds]);
		while (nfds)
			(void)close(fds[--nfds]);
		size = peer_answer(p, &h, &m);
		if (size)
			peer_reply(p, &h, &m, size);
	}
	(void)close(p->sock);
	return NULL;
}

/* Run the back end; returns the front end's socket. */
static int peer_start(struct peer *p, uint32_t at, enum fault fault)
{
	int s[2];

	*p = (struct peer){
		.features = BIT64(32) | BIT64(VHU_F_PROTOCOL_FEATURES),
		.protocol_features = PF_ALL,
		.window = WINDOW,
		.at = at,
		.fault = fault,
		.channel = -1,
	};
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s), 0);
	p->sock = s[0];
	return s[1];
}

static int attach(struct peer *p, int sock, struct virtio_transport **ret)
{
	char why[256] = "";
	int r;

	assert_int_equal(pthread_create(&p->thread, NULL, peer_main, p), 0);
	r = vhost_user_attach(sock, why, sizeof(why), ret);
	if (r < 0)
		assert_true(why[0]);
	return r;
}

static void peer_end(struct peer *p)
{
	assert_int_equal(pthread_join(p->thread, NULL), 0);
	close_keep_errno(p->channel);
}

static void normal(void **state)
{
	unsigned int before = unit_count_fds(), n;
	struct virtio_window window;
	struct virtio_transport *t;
	struct peer p;
	uint64_t features;
	char buf[40];

	assert_int_equal(attach(&p, peer_start(&p, 0, FAULT_NONE), &t), 0);
	assert_int_equal(t->ops->get_features(t, &features), 0);
	assert_true(features == BIT64(32));
	assert_int_equal(t->ops->set_features(t, features), 0);
	assert_int_equal(t->ops->num_queues(t, &n), 0);
	assert_int_equal(n, 5);
	assert_int_equal(t->ops->read_config(t, 0, buf, sizeof(buf)), 0);
	assert_int_equal(buf[39], 'c');
	assert_int_equal(t->ops->read_config(t, 250, buf, sizeof(buf)), -EINVAL);
	assert_int_equal(t->ops->window(t, true, &window), 0);
	assert_int_equal(window.size, WINDOW);
	assert_int_equal((uintptr_t)window.addr % PAGE_4K, 0);
	assert_int_equal(t->ops->failed(t), 0);
	t->ops->close(t);
	peer_end(&p);
	assert_int_equal(unit_count_fds(), before);
}

static void plain_back_end(void **state)
{
	struct virtio_window window;
	struct virtio_transport *t;
	struct peer p;
	int sock = peer_start(&p, 0, FAULT_NONE);

	/* neither protocol features nor a window */
	p.features = BIT64(32);
	assert_int_equal(attach(&p, sock, &t), 0);
	assert_int_equal(t->ops->window(t, true, &window), -ENODEV);
	t->ops->close(t);
	peer_end(&p);
}

static void every_fault_at_the_start(void **state)
{
	static const uint32_t requests[] = { VHU_GET_FEATURES, VHU_GET_PROTOCOL_FEATURES,
					     VHU_SET_OWNER, VHU_GET_SHMEM_CONFIG,
					     VHU_SET_BACKEND_REQ_FD };
	unsigned int before = unit_count_fds();

	for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
		for (enum fault f = FAULT_SHORT; f < FAULT_COUNT; f++) {
			struct virtio_transport *t = NULL;
			struct peer p;

			/* only acknowledgements can say no; a region more is no fault of size */
			if ((f == FAULT_NACK && (i == 0 || i == 1 || i == 3)) ||
			    (f == FAULT_LONG && requests[i] == VHU_GET_SHMEM_CONFIG))
				continue;
			if (attach(&p, peer_start(&p, requests[i], f), &t) >= 0)
				fail_msg("request %u, fault %d", requests[i], (int)f);
			peer_end(&p);
			assert_int_equal(unit_count_fds(), before);
		}
	}
}

static void every_fault_later(void **state)
{
	unsigned int before = unit_count_fds();

	for (enum fault f = FAULT_SHORT; f < FAULT_COUNT; f++) {
		struct virtio_transport *t;
		struct peer p;
		unsigned int n;
		char buf[40];

		if (f == FAULT_NACK)
			continue;
		assert_int_equal(attach(&p, peer_start(&p, VHU_GET_CONFIG, f), &t), 0);
		assert_true(t->ops->read_config(t, 0, buf, sizeof(buf)) < 0);
		t->ops->close(t);
		peer_end(&p);
		assert_int_equal(attach(&p, peer_start(&p, VHU_GET_QUEUE_NUM, f), &t), 0);
		assert_true(t->ops->num_queues(t, &n) < 0);
		t->ops->close(t);
		peer_end(&p);
		assert_int_equal(unit_count_fds(), before);
	}
}

static void impossible_windows(void **state)
{
	static const uint64_t sizes[] = {
		1, 4095, MIB + 1, UINT64_MAX, UINT64_C(1) << 63, (UINT64_C(1) << 46) + 4096
	};
	unsigned int before = unit_count_fds();

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct virtio_transport *t;
		struct peer p;
		int sock = peer_start(&p, 0, FAULT_NONE);

		p.window = sizes[i];
		assert_true(attach(&p, sock, &t) < 0);
		peer_end(&p);
		assert_int_equal(unit_count_fds(), before);
	}
}

static void wait_failed(struct virtio_transport *t, int error)
{
	uint64_t until = time_now_ns() + 5 * NSEC_PER_SEC;
	struct pollfd pfd = { .fd = t->ops->irq_fd(t), .events = POLLIN };

	while (!t->ops->failed(t))
		assert_true(time_now_ns() < until && usleep(500) == 0);
	assert_int_equal(t->ops->failed(t), error);
	/* whoever waits for an interrupt is woken */
	assert_int_equal(poll(&pfd, 1, 5000), 1);
}

static void peer_leaves(void **state)
{
	unsigned int before = unit_count_fds();
	struct virtio_transport *t;
	struct peer p;

	assert_int_equal(attach(&p, peer_start(&p, 0, FAULT_NONE), &t), 0);
	(void)shutdown(p.sock, SHUT_RDWR);
	wait_failed(t, -ENOTCONN);
	t->ops->close(t);
	peer_end(&p);
	assert_int_equal(unit_count_fds(), before);
}

/* Send one request on the channel and return what the front end says to it. */
static int64_t channel_call(struct peer *p, uint32_t request, const struct vhu_mmap *m,
			    const int *fds, unsigned int nfds)
{
	struct {
		struct vhu_header h;
		struct vhu_mmap m;
	} __attribute__((packed)) msg = {
		.h = { request, VHU_VERSION | VHU_NEED_REPLY, sizeof(*m) },
		.m = *m,
	};
	struct {
		struct vhu_header h;
		int64_t result;
	} __attribute__((packed)) reply;

	assert_int_equal(fdmsg_send(p->channel, &msg, sizeof(msg), fds, nfds), 0);
	if (fdmsg_recv(p->channel, &reply, sizeof(reply), NULL, NULL) != 1)
		return -ENOTCONN;
	assert_int_equal(reply.h.request, request);
	assert_int_equal(reply.h.flags, VHU_VERSION | VHU_REPLY);
	return reply.result;
}

static int make_file(void)
{
	char page[4096];
	int fd = memfd_create("file", MFD_CLOEXEC);

	assert_true(fd >= 0);
	for (unsigned int i = 0; i < 16; i++) {
		memset(page, 'a' + (int)i, sizeof(page));
		assert_int_equal(write(fd, page, sizeof(page)), sizeof(page));
	}
	return fd;
}

static void maps_and_unmaps(void **state)
{
	unsigned int before = unit_count_fds();
	struct virtio_window window;
	struct virtio_transport *t;
	struct peer p;
	char got[4096];
	int fd = make_file();
	struct vhu_mmap m = {
		.fd_offset = 4096, .shm_offset = MIB, .len = 8192, .flags = VHU_MMAP_MAP_RW
	};

	assert_int_equal(guard_init(), 0);
	assert_int_equal(attach(&p, peer_start(&p, 0, FAULT_NONE), &t), 0);
	assert_int_equal(t->ops->window(t, true, &window), 0);
	assert_int_equal(guard_copy(got, (char *)window.addr + MIB, 1), -EFAULT);
	assert_int_equal(channel_call(&p, VHU_BACKEND_SHMEM_MAP, &m, &fd, 1), 0);
	assert_int_equal(guard_copy(got, (char *)window.addr + MIB + 4096, 4096), 0);
	assert_int_equal(got[0], 'c');
	assert_int_equal(guard_copy((char *)window.addr + MIB, "Z", 1), 0);
	assert_int_equal(pread(fd, got, 1, 4096), 1);
	assert_int_equal(got[0], 'Z');
	assert_int_equal(guard_copy(got, (char *)window.addr + MIB + 8192, 1), -EFAULT);
	assert_int_equal(channel_call(&p, VHU_BACKEND_SHMEM_UNMAP, &m, NULL, 0), 0);
	assert_int_equal(guard_copy(got, (char *)window.addr + MIB, 1), -EFAULT);
	/* without the flag it can only be read */
	m.flags = 0;
	assert_int_equal(channel_call(&p, VHU_BACKEND_SHMEM_MAP, &m, &fd, 1), 0);
	assert_int_equal(guard_copy(got, (char *)window.addr + MIB, 1), 0);
	assert_int_equal(guard_copy((char *)window.addr + MIB, "Y", 1), -EFAULT);
	t->ops->close(t);
	peer_end(&p);
	(void)close(fd);
	assert_int_equal(unit_count_fds(), before);
}

static void maps_out_of_the_window(void **state)
{
	static const struct vhu_mmap bad[] = {
		{ .shm_offset = WINDOW, .len = 4096 },
		{ .shm_offset = WINDOW - 4096, .len = 8192 },
		{ .shm_offset = UINT64_MAX - 4095, .len = 8192 },
		{ .shm_offset = 0, .len = UINT64_MAX - 4095 },
		{ .shm_offset = 0, .len = 0 },
		{ .shm_offset = 0, .len = 100 },
		{ .shm_offset = 123, .len = 4096 },
		{ .shm_offset = 0, .len = 4096, .fd_offset = 1 },
		{ .shm_offset = 0, .len = 4096, .fd_offset = UINT64_C(1) << 63 },
		{ .shm_offset = 0, .len = 4096, .shmid = 1 },
		{ .shm_offset = 0, .len = 4096, .shmid = 255 },
	};
	struct vhu_mmap good = { .len = 4096 };
	unsigned int before = unit_count_fds();
	struct virtio_transport *t;
	struct peer p;
	int fd = make_file();

	assert_int_equal(attach(&p, peer_start(&p, 0, FAULT_NONE), &t), 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(channel_call(&p, VHU_BACKEND_SHMEM_MAP, &bad[i], &fd, 1), -EINVAL);
		if (i != 7 && i != 8) /* which are wrong only for the file */
			assert_int_equal(channel_call(&p, VHU_BACKEND_SHMEM_UNMAP, &bad[i], NULL,
						      0),
					 -EINVAL);
	}
	/* The channel is as good as before. */
	assert_int_equal(channel_call(&p, VHU_BACKEND_SHMEM_MAP, &good, &fd, 1), 0);
	assert_int_equal(t->ops->failed(t), 0);
	t->ops->close(t);
	peer_end(&p);
	(void)close(fd);
	assert_int_equal(unit_count_fds(), before);
}

static void unknown_request_on_the_channel(void **state)
{
	struct vhu_mmap m = { .len = 4096 };
	struct virtio_transport *t;
	struct peer p;

	assert_int_equal(attach(&p, peer_start(&p, 0, FAULT_NONE), &t), 0);
	assert_int_equal(channel_call(&p, 77, &m, NULL, 0), -EOPNOTSUPP);
	assert_int_equal(channel_call(&p, VHU_BACKEND_SHMEM_UNMAP, &m, NULL, 0), 0);
	t->ops->close(t);
	peer_end(&p);
}

/* What is sent on the channel ends it: the device is lost, cleanly. */
static void channel_ends(const void *buf, size_t len, const int *fds, unsigned int nfds,
			 bool hang_up)
{
	unsigned int before = unit_count_fds();
	struct virtio_transport *t;
	struct peer p;

	assert_int_equal(attach(&p, peer_start(&p, 0, FAULT_NONE), &t), 0);
	if (len)
		assert_int_equal(fdmsg_send(p.channel, buf, len, fds, nfds), 0);
	if (hang_up)
		(void)shutdown(p.channel, SHUT_RDWR);
	wait_failed(t, -ENOTCONN);
	t->ops->close(t);
	peer_end(&p);
	assert_int_equal(unit_count_fds(), before);
}

static void broken_channel(void **state)
{
	struct {
		struct vhu_header h;
		struct vhu_mmap m;
	} __attribute__((packed)) msg = {
		.h = { VHU_BACKEND_SHMEM_MAP, VHU_VERSION, sizeof(struct vhu_mmap) },
		.m = { .len = 4096 },
	};
	int fds[2] = { 0, 0 };

	channel_ends(NULL, 0, NULL, 0, true);
	channel_ends(&msg, 5, NULL, 0, true);		     /* inside of the header */
	channel_ends(&msg, sizeof(msg.h) + 9, fds, 1, true); /* inside of the payload */
	channel_ends(&msg, sizeof(msg), NULL, 0, false);     /* the descriptor is missing */
	channel_ends(&msg, sizeof(msg), fds, 2, false);	     /* one too many */
	msg.h.size--;
	channel_ends(&msg, sizeof(msg), fds, 1, false);
	msg.h.size = UINT32_MAX;
	channel_ends(&msg, sizeof(msg), fds, 1, false);
	msg.h = (struct vhu_header){ VHU_BACKEND_SHMEM_MAP, 2, sizeof(struct vhu_mmap) };
	channel_ends(&msg, sizeof(msg), fds, 1, false);
	msg.h = (struct vhu_header){ VHU_BACKEND_SHMEM_UNMAP, VHU_VERSION,
				     sizeof(struct vhu_mmap) };
	channel_ends(&msg, sizeof(msg), fds, 1, false); /* a descriptor for nothing */
}

struct waiter {
	struct fs_dev *dev;
	struct virtq_req req;
	pthread_t thread;
	int result;
};

static void *waiter_main(void *arg)
{
	struct waiter *w = arg;
	char *mem = dma_alloc(w->dev->arena, PAGE_4K, PAGE_4K);
	struct dma_seg seg = { dma_iova(w->dev->arena, mem), PAGE_4K };
	uint32_t len;

	w->result = virtq_submit(&w->dev->request[0], &w->req, &seg, 1, NULL, 0);
	if (w->result == 0)
		w->result = virtq_wait(&w->dev->request[0], &w->req, &len);
	return NULL;
}

/*
 * The back end is there and answers nothing, neither the request nor the wish that it stops. Whoever
 * gives the device up (the daemon, when it is told to end) must get the requests back all the same.
 */
static void silent_back_end(void **state)
{
	struct fs_dev_params params = { .arena_size = MIB, .max_request = 1 };
	unsigned int before = unit_count_fds();
	struct virtio_transport *t;
	struct waiter w = { 0 };
	struct timespec until;
	char why[256];
	struct peer p;

	assert_int_equal(attach(&p, peer_start(&p, VHU_GET_VRING_BASE, FAULT_SILENCE), &t), 0);
	assert_int_equal(fs_dev_start(t, &params, why, sizeof(why), &w.dev), 0);
	assert_int_equal(pthread_create(&w.thread, NULL, waiter_main, &w), 0);
	(void)usleep(50000);
	fs_dev_break(w.dev, -ENOTCONN);
	(void)clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 15;
	assert_int_equal(pthread_timedjoin_np(w.thread, NULL, &until), 0);
	assert_int_equal(w.result, -ENOTCONN);
	fs_dev_stop(w.dev);
	peer_end(&p);
	assert_int_equal(unit_count_fds(), before);
}

static void no_socket(void **state)
{
	struct virtio_transport *t;
	char why[256] = "", path[300];

	assert_int_equal(vhost_user_open("/nonexistent/socket", why, sizeof(why), &t), -ENOENT);
	assert_non_null(strstr(why, "/nonexistent/socket"));
	memset(path, 'p', sizeof(path));
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(vhost_user_open(path, why, sizeof(why), &t), -ENAMETOOLONG);
}

/* A back end that sends clients away as long as another one is served; then its thread ends. */
struct door {
	int listener;
	unsigned int
		turned_away; /* so many of them; after that one is taken, and left without answer */
};

static void *keep_door(void *arg)
{
	struct door *d = arg;

	while (d->turned_away--) {
		int sock = accept4(d->listener, NULL, NULL, SOCK_CLOEXEC);
		char byte;

		must(sock >= 0);
		must(recv(sock, &byte, 1, MSG_PEEK) == 1); /* it has asked already: ECONNRESET */
		(void)close(sock);
	}
	return NULL;
}

static int listen_at(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)unlink(path);
	(void)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	assert_int_equal(bind(sock, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(sock, 1), 0);
	return sock;
}

/* It serves another one: that is told by its name, and not as a fault of the protocol. */
static void serves_another(void **state)
{
	struct door d = { .turned_away = 20 };
	struct virtio_transport *t;
	char why[256] = "", path[64];
	uint64_t begin = time_now_ns();
	pthread_t thread;
	int r;

	(void)snprintf(path, sizeof(path), "/tmp/vfsdax-unit-%d", (int)getpid());
	d.listener = listen_at(path);
	assert_int_equal(pthread_create(&thread, NULL, keep_door, &d), 0);
	r = vhost_user_open(path, why, sizeof(why), &t);
	assert_true(r == -ECONNRESET || r == -ENOTCONN || r == -EPIPE);
	assert_non_null(strstr(why, path));
	assert_non_null(strstr(why, "may serve another client"));
	assert_true(time_now_ns() - begin < 4 * NSEC_PER_SEC);
	assert_int_equal(pthread_join(thread, NULL), 0);
	(void)close(d.listener);
	(void)unlink(path);
}

/* Nobody takes the connection from the listener's queue, and then there is no place in it. */
static void takes_nobody(void **state)
{
	static const char *const says[] = { "does not read", "does not read",
					    "takes no connection" };
	struct virtio_transport *t;
	char path[64];
	int listener;

	(void)snprintf(path, sizeof(path), "/tmp/vfsdax-unit-%d", (int)getpid());
	listener = listen_at(path);
	for (size_t i = 0; i < ARRAY_SIZE(says); i++) {
		char why[256] = "";
		uint64_t begin = time_now_ns();

		assert_int_equal(vhost_user_open(path, why, sizeof(why), &t), -ETIMEDOUT);
		if (!strstr(why, says[i]) || !strstr(why, "may serve another client"))
			fail_msg("%s", why);
		assert_true(time_now_ns() - begin < 4 * NSEC_PER_SEC);
	}
	(void)close(listener);
	(void)unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(normal),
		cmocka_unit_test(plain_back_end),
		cmocka_unit_test(every_fault_at_the_start),
		cmocka_unit_test(every_fault_later),
		cmocka_unit_test(impossible_windows),
		cmocka_unit_test(peer_leaves),
		cmocka_unit_test(maps_and_unmaps),
		cmocka_unit_test(maps_out_of_the_window),
		cmocka_unit_test(unknown_request_on_the_channel),
		cmocka_unit_test(broken_channel),
		cmocka_unit_test(silent_back_end),
		cmocka_unit_test(no_socket),
		cmocka_unit_test(serves_another),
		cmocka_unit_test(takes_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
