// SPDX-License-Identifier: MIT
// One virtqueue of the device: its life and the thread that serves it.

#include <errno.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#include "base/cleanup.h"
#include "base/guard.h"
#include "base/log.h"
#include "base/time.h"
#include "host/devq.h"
#include "ring/split.h"

struct devq {
	unsigned int index;
	struct mem *mem;
	devq_handler *handler;
	void *ctx;

	/* Set by the socket's thread while the ring is stopped. */
	unsigned int size;
	uint16_t base;
	bool have_addr;
	bool enabled;
	struct uaddr desc, avail, used;
	uint64_t features;
	int kick_fd;
	int err_fd;

	/* Shared with the ring's thread. */
	pthread_mutex_t call_lock; /* guards call_fd; a leaf */
	int call_fd;
	int stop_fd; /* an eventfd: wakes the thread from poll() */
	int done_fd; /* an eventfd: the thread is about to end */
	atomic_bool stop;

	pthread_t thread;
	bool running;

	/* The thread's own. */
	struct devq_side side;
	uint64_t serial; /* the table that side's pointers are from */
	struct devq_spin spin;
	struct devq_chain chain;
};

struct devq *devq_new(unsigned int index, struct mem *mem, devq_handler *handler, void *ctx)
{
	struct devq *v = calloc(1, sizeof(*v));

	if (!v)
		return NULL;
	v->index = index;
	v->mem = mem;
	v->handler = handler;
	v->ctx = ctx;
	v->kick_fd = v->call_fd = v->err_fd = -1;
	v->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	v->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (v->stop_fd < 0 || v->done_fd < 0) {
		close_keep_errno(v->stop_fd);
		close_keep_errno(v->done_fd);
		free(v);
		return NULL;
	}
	(void)pthread_mutex_init(&v->call_lock, NULL);
	return v;
}

void devq_free(struct devq *v)
{
	if (!v)
		return;
	devq_reset(v);
	close_keep_errno(v->stop_fd);
	close_keep_errno(v->done_fd);
	(void)pthread_mutex_destroy(&v->call_lock);
	free(v);
}

int devq_set_size(struct devq *v, unsigned int size)
{
	if (!ring_size_ok(size))
		return -EINVAL;
	v->size = size;
	return 0;
}

int devq_set_base(struct devq *v, unsigned int avail_idx)
{
	if (avail_idx > UINT16_MAX)
		return -EINVAL;
	v->base = (uint16_t)avail_idx;
	return 0;
}

int devq_set_addr(struct devq *v, struct uaddr desc, struct uaddr avail, struct uaddr used)
{
	if (desc.v % RING_DESC_ALIGN || avail.v % RING_AVAIL_ALIGN || used.v % RING_USED_ALIGN)
		return -EINVAL;
	v->desc = desc;
	v->avail = avail;
	v->used = used;
	v->have_addr = true;
	return 0;
}

static void devq_take_fd(int *slot, int fd)
{
	close_keep_errno(*slot);
	*slot = fd;
}

void devq_set_kick(struct devq *v, int fd)
{
	devq_take_fd(&v->kick_fd, fd);
}

void devq_set_err(struct devq *v, int fd)
{
	devq_take_fd(&v->err_fd, fd);
}

void devq_set_call(struct devq *v, int fd)
{
	scoped_lock(&v->call_lock);
	devq_take_fd(&v->call_fd, fd);
}

void devq_set_enabled(struct devq *v, bool enabled)
{
	v->enabled = enabled;
}

void devq_set_features(struct devq *v, uint64_t features)
{
	v->features = features;
}

static void devq_signal(int fd)
{
	static const uint64_t one = 1;

	/* A full counter (EAGAIN) has been signalled already; another failure is the peer's own. */
	if (fd >= 0 && write(fd, &one, sizeof(one)) < 0)
		log_dbg("eventfd: %m");
}

static void devq_notify(struct devq *v)
{
	scoped_lock(&v->call_lock);
	devq_signal(v->call_fd);
}

static void devq_clear(int fd)
{
	uint64_t n;

	if (read(fd, &n, sizeof(n)) < 0 && errno != EAGAIN && errno != EINTR)
		log_dbg("eventfd: %m");
}

/* Find the areas in @t when it is another table than last time. */
static int devq_resolve(struct devq *v, const struct mem_table *t)
{
	struct devq_side *s = &v->side;

	if (v->serial == mem_table_serial(t))
		return 0;
	s->desc = mem_user(t, v->desc, ring_desc_bytes(v->size));
	s->avail = mem_user(t, v->avail, ring_avail_bytes(v->size));
	s->used = mem_user(t, v->used, ring_used_bytes(v->size));
	if (!s->desc || !s->avail || !s->used)
		return -EFAULT;
	v->serial = mem_table_serial(t);
	return 0;
}

static void devq_broken(struct devq *v, const char *why)
{
	log_warn("queue %u stopped: %s", v->index, why);
	devq_signal(v->err_fd);
}

/* Serve what is there. Returns true when the ring is empty, false when broken or to be stopped. */
static bool devq_serve(struct devq *v, const struct mem_table *t)
{
	/* relaxed: stop carries nothing but itself */
	while (!atomic_load_explicit(&v->stop, memory_order_relaxed)) {
		const char *why = NULL;
		bool notify;
		size_t n;

		switch (devq_side_pop(&v->side, t, &v->chain, &why)) {
		case DEVQ_POP_EMPTY:
			return true;
		case DEVQ_POP_BROKEN:
			devq_broken(v, why);
			return false;
		case DEVQ_POP_CHAIN:
			break;
		}
		n = v->handler(v->ctx, v->chain.iov, v->chain.n_read,
			       v->chain.iov + v->chain.n_read, v->chain.n_write);
		if (devq_side_push(&v->side, v->chain.head, (uint32_t)n, &notify) < 0) {
			devq_broken(v, "memory of the used ring is gone");
			return false;
		}
		if (notify)
			devq_notify(v);
	}
	return false;
}

/* As devq_side_spin(). */
static int devq_spin(struct devq *v)
{
	uint64_t begin = time_now_ns();
	int r = devq_side_spin(&v->side, DEVQ_SPIN_NS, &v->stop);

	devq_spin_ended(&v->spin, r > 0, time_now_ns() - begin);
	return r;
}

/* Serve until there is nothing more to do without sleeping. False: the ring is at its end. */
static bool devq_work(struct devq *v)
{
	struct mem_table *t = mem_get(v->mem);
	bool go_on = false;
	int r = 1;

	if (devq_resolve(v, t) < 0) {
		devq_broken(v, "an area of the ring lies outside of memory");
		mem_put(t);
		return false;
	}
	(void)devq_side_kicks(&v->side, false);
	while (r > 0) {
		go_on = devq_serve(v, t);
		if (!go_on)
			break;
		r = v->spin.on ? devq_spin(v) : 0;
		if (r == 0)
			r = devq_side_kicks(&v->side, true);
		if (r < 0) {
			devq_broken(v, "memory of the ring is gone");
			go_on = false;
		}
	}
	mem_put(t);
	return go_on;
}

static void *devq_thread(void *arg)
{
	struct devq *v = arg;
	struct pollfd pfd[] = {
		{ .fd = v->kick_fd, .events = POLLIN },
		{ .fd = v->stop_fd, .events = POLLIN },
	};

	while (devq_work(v)) {
		uint64_t slept = time_now_ns();

		if (poll(pfd, 2, -1) < 0) {
			if (errno == EINTR)
				continue;
			devq_broken(v, "poll failed");
			break;
		}
		if (pfd[1].revents)
			break;
		if (pfd[0].revents & (POLLERR | POLLNVAL)) {
			devq_broken(v, "the kick descriptor cannot be polled");
			break;
		}
		if (pfd[0].revents & POLLIN) {
			devq_clear(v->kick_fd);
			devq_spin_slept(&v->spin, time_now_ns() - slept);
		}
	}
	devq_signal(v->done_fd);
	return NULL;
}

int devq_start(struct devq *v)
{
	struct mem_table *t;
	uint16_t used_idx = 0;
	int r;

	if (v->running || !v->size || !v->have_addr || v->kick_fd < 0 || !v->enabled)
		return 0;
	v->side = (struct devq_side){
		.size = v->size,
		.next_avail = v->base,
		.event_idx = v->features & (1ull << VIRTIO_RING_F_EVENT_IDX),
		.indirect = v->features & (1ull << VIRTIO_RING_F_INDIRECT_DESC),
	};
	v->serial = 0;
	v->spin = (struct devq_spin){ 0 };
	t = mem_get(v->mem);
	r = devq_resolve(v, t);
	if (r == 0)
		r = guard_copy(&used_idx, &v->side.used->idx, sizeof(used_idx));
	mem_put(t);
	if (r < 0)
		return r;
	/* The base counts avail entries; where the used ring goes on stands in its memory. */
	v->side.next_used = le16toh(used_idx);
	devq_clear(v->stop_fd);
	devq_clear(v->done_fd);
	atomic_store_explicit(&v->stop, false, memory_order_relaxed);
	r = pthread_create(&v->thread, NULL, devq_thread, v);
	if (r)
		return -r;
	v->running = true;
	log_dbg("queue %u: started, %u entries, at %u", v->index, v->size, v->base);
	return 0;
}

bool devq_running(const struct devq *v)
{
	return v->running;
}

unsigned int devq_stop(struct devq *v, unsigned int patience_ms, void (*give_up)(void *arg),
		       void *arg)
{
	struct pollfd pfd = { .fd = v->done_fd, .events = POLLIN };

	if (!v->running)
		return v->base;
	/* relaxed: the eventfd and the join order everything else */
	atomic_store_explicit(&v->stop, true, memory_order_relaxed);
	devq_signal(v->stop_fd);
	if (give_up && poll(&pfd, 1, (int)patience_ms) == 0)
		give_up(arg);
	(void)pthread_join(v->thread, NULL);
	v->running = false;
	v->base = v->side.next_avail;
	log_dbg("queue %u: stopped at %u", v->index, v->base);
	return v->base;
}

void devq_reset(struct devq *v)
{
	(void)devq_stop(v, 0, NULL, NULL);
	devq_set_kick(v, -1);
	devq_set_call(v, -1);
	devq_set_err(v, -1);
	v->size = 0;
	v->base = 0;
	v->have_addr = false;
	v->enabled = false;
	v->features = 0;
}
