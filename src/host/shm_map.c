// SPDX-License-Identifier: MIT
// The books of the DAX window: which mappings are there, how many there may be.

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "host/shm_map.h"

struct shm_one {
	uint64_t woff, len;
	uint64_t foff;
	dev_t dev;
	ino_t ino;
	int fd; /* ours: to make the rest again, and it keeps dev and ino from being used again */
	bool writable;
	bool unsure; /* the request was broken off: the peer may have it or not */
};

struct shm_map {
	struct mapper mapper;
	struct mapper *below;
	uint64_t window;
	unsigned int max;
	pthread_mutex_t lock; /* guards the array; held while a request of @below waits */
	unsigned int n;
	_Atomic uint64_t live, mapped, unmapped, left, refused;
	struct shm_one *one; /* by woff, ascending; room for max + 2 */
};

/* Counters are single numbers that nothing else depends on, hence relaxed. */
static void count(_Atomic uint64_t *c, int64_t by)
{
	atomic_fetch_add_explicit(c, (uint64_t)by, memory_order_relaxed);
}

/* The first entry that ends behind @woff. */
static unsigned int shm_find_locked(const struct shm_map *s, uint64_t woff)
{
	unsigned int i = 0;

	while (i < s->n && s->one[i].woff + s->one[i].len <= woff)
		i++;
	return i;
}

static void shm_erase_locked(struct shm_map *s, unsigned int i)
{
	close_keep_errno(s->one[i].fd);
	memmove(&s->one[i], &s->one[i + 1], (s->n - i - 1) * sizeof(s->one[0]));
	s->n--;
	count(&s->live, -1);
}

/* Ask the peer for @o and enter it. o->fd becomes the table's, or is closed on failure. */
static int shm_make_locked(struct shm_map *s, struct shm_one *o)
{
	unsigned int at;
	int r;

	r = s->n >= s->max ? -ENOSPC
			   : s->below->ops->map(s->below, o->fd, FOFF(o->foff), WOFF(o->woff),
						o->len, o->writable);
	if (r < 0 && r != -ECANCELED) {
		close_keep_errno(o->fd);
		return r;
	}
	o->unsure = r == -ECANCELED;
	at = shm_find_locked(s, o->woff);
	memmove(&s->one[at + 1], &s->one[at], (s->n - at) * sizeof(s->one[0]));
	s->one[at] = *o;
	s->n++;
	count(&s->live, 1);
	count(&s->mapped, 1);
	return r;
}

/* Make the part [from, to) of what @o was, again. */
static int shm_rest_locked(struct shm_map *s, const struct shm_one *o, uint64_t from, uint64_t to)
{
	struct shm_one rest = *o;

	if (from >= to)
		return 0;
	rest.woff = from;
	rest.len = to - from;
	rest.foff += from - o->woff;
	rest.fd = fcntl(o->fd, F_DUPFD_CLOEXEC, 3);
	if (rest.fd < 0)
		return -errno;
	return shm_make_locked(s, &rest);
}

/* Remove entry @i but for what lies outside of [woff, end). */
static int shm_cut_locked(struct shm_map *s, unsigned int i, uint64_t woff, uint64_t end)
{
	struct shm_one *e = &s->one[i];
	_cleanup_close_ int keep = -1;
	struct shm_one o = *e;
	int r, r2;

	r = s->below->ops->unmap(s->below, WOFF(o.woff), o.len);
	if (r == -ECANCELED)
		e->unsure = true;
	if (r < 0 && !(e->unsure && r == -ENXIO))
		return r;
	e->fd = -1;
	keep = o.fd;
	count(&s->unmapped, 1);
	shm_erase_locked(s, i);
	o.unsure = false;
	r = shm_rest_locked(s, &o, o.woff, MIN(woff, o.woff + o.len));
	r2 = shm_rest_locked(s, &o, MAX(end, o.woff), o.woff + o.len);
	return r ? r : r2;
}

static int shm_clear_locked(struct shm_map *s, uint64_t woff, uint64_t end)
{
	unsigned int i = shm_find_locked(s, woff);

	while (i < s->n && s->one[i].woff < end) {
		int r = shm_cut_locked(s, i, woff, end);

		if (r < 0)
			return r;
		i = shm_find_locked(s, woff);
	}
	return 0;
}

static struct shm_map *shm_map_of(struct mapper *m)
{
	return container_of(m, struct shm_map, mapper);
}

static bool shm_range_ok(const struct shm_map *s, uint64_t woff, uint64_t len)
{
	return len && woff % PAGE_4K == 0 && len % PAGE_4K == 0 && range_ok(woff, len, s->window);
}

static bool shm_same(const struct shm_one *a, const struct shm_one *b)
{
	return a->woff == b->woff && a->len == b->len && a->foff == b->foff && a->dev == b->dev &&
	       a->ino == b->ino && !a->unsure && (a->writable || !b->writable);
}

static int shm_map_map(struct mapper *m, int fd, struct foff foff, struct woff woff, uint64_t len,
		       bool writable)
{
	struct shm_map *s = shm_map_of(m);
	struct shm_one o = { .woff = woff.v, .len = len, .foff = foff.v, .writable = writable };
	struct stat st;
	unsigned int i;
	int r;

	if (!shm_range_ok(s, woff.v, len) || foff.v % PAGE_4K)
		return -EINVAL;
	if (fstat(fd, &st) < 0)
		return -errno;
	o.dev = st.st_dev;
	o.ino = st.st_ino;

	scoped_lock(&s->lock);
	i = shm_find_locked(s, woff.v);
	if (i < s->n && shm_same(&s->one[i], &o))
		return 0;
	r = shm_clear_locked(s, woff.v, woff.v + len);
	if (r == 0) {
		o.fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
		r = o.fd < 0 ? -errno : shm_make_locked(s, &o);
	}
	if (r < 0)
		count(&s->refused, 1);
	return r;
}

static int shm_map_unmap(struct mapper *m, struct woff woff, uint64_t len)
{
	struct shm_map *s = shm_map_of(m);

	if (!shm_range_ok(s, woff.v, len))
		return -EINVAL;
	scoped_lock(&s->lock);
	/* The end of a session (fuse_server_reset()), not something that a guest asks for. */
	if (len == s->window)
		count(&s->left, s->n);
	return shm_clear_locked(s, woff.v, woff.v + len);
}

static const struct mapper_ops shm_map_ops = { .map = shm_map_map, .unmap = shm_map_unmap };

struct shm_map *shm_map_new(struct mapper *below, uint64_t window, unsigned int max)
{
	struct shm_map *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	/* One more than max for the moment in which a removal in the middle makes two of one. */
	s->one = calloc((size_t)max + 2, sizeof(*s->one));
	if (!s->one) {
		free(s);
		return NULL;
	}
	s->mapper.ops = &shm_map_ops;
	s->below = below;
	s->window = window;
	s->max = max;
	(void)pthread_mutex_init(&s->lock, NULL);
	return s;
}

void shm_map_free(struct shm_map *s)
{
	if (!s)
		return;
	shm_map_forget(s);
	(void)pthread_mutex_destroy(&s->lock);
	free(s->one);
	free(s);
}

struct mapper *shm_map_mapper(struct shm_map *s)
{
	return &s->mapper;
}

void shm_map_forget(struct shm_map *s)
{
	scoped_lock(&s->lock);
	while (s->n) {
		shm_erase_locked(s, s->n - 1);
		count(&s->unmapped, 1);
		count(&s->left, 1);
	}
}

void shm_map_stats(struct shm_map *s, struct shm_map_stats *ret)
{
	ret->live = atomic_load_explicit(&s->live, memory_order_relaxed);
	ret->mapped = atomic_load_explicit(&s->mapped, memory_order_relaxed);
	ret->unmapped = atomic_load_explicit(&s->unmapped, memory_order_relaxed);
	ret->left = atomic_load_explicit(&s->left, memory_order_relaxed);
	ret->refused = atomic_load_explicit(&s->refused, memory_order_relaxed);
}
