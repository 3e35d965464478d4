// SPDX-License-Identifier: MIT
// The mtime of files that are written through the window.

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/time.h"
#include "fs/client.h"
#include "fs/inode.h"
#include "fs/times.h"

struct times {
	struct client *client;
	struct inode_table *inodes;
	pthread_mutex_t lock; /* guards the rest; nothing is taken under it */
	pthread_cond_t work;
	uint64_t *node; /* files that were written; each once (inode.listed) */
	size_t n, cap;
	pthread_t thread;
	bool running;
	bool stop;
};

struct times *times_create(struct client *c, struct inode_table *inodes)
{
	struct times *t = calloc(1, sizeof(*t));
	pthread_condattr_t attr;

	if (!t)
		return NULL;
	t->client = c;
	t->inodes = inodes;
	(void)pthread_mutex_init(&t->lock, NULL);
	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&t->work, &attr);
	(void)pthread_condattr_destroy(&attr);
	return t;
}

void times_settle(struct times *t, struct inode *i)
{
	if (!inode_settle_begin(t->inodes, i))
		return;
	if (inode_settle_due(i))
		(void)client_touch(t->client, i->nodeid);
	inode_settle_end(t->inodes, i);
}

static void settle_all(struct times *t, const uint64_t *node, size_t n)
{
	for (size_t k = 0; k < n; k++) {
		struct inode *i = inode_get(t->inodes, node[k]);

		if (!i)
			continue;
		/* Before touched is read: a write that comes now lists the file again. */
		atomic_store(&i->listed, false);
		times_settle(t, i);
		inode_put(t->inodes, i);
	}
}

static void *times_main(void *arg)
{
	struct times *t = arg;

	scoped_lock(&t->lock);
	while (!t->stop) {
		_cleanup_free_ uint64_t *node = NULL;
		uint64_t until = time_now_ns() + TIMES_NS;
		struct timespec ts = { .tv_sec = (time_t)(until / NSEC_PER_SEC),
				       .tv_nsec = (long)(until % NSEC_PER_SEC) };
		size_t n;

		if (!t->n) {
			(void)pthread_cond_wait(&t->work, &t->lock);
			continue;
		}
		while (!t->stop && pthread_cond_timedwait(&t->work, &t->lock, &ts) == 0)
			;
		n = t->stop ? 0 : t->n;
		node = steal_ptr(t->node);
		t->n = t->cap = 0;
		(void)pthread_mutex_unlock(&t->lock);
		settle_all(t, node, n);
		(void)pthread_mutex_lock(&t->lock);
	}
	return NULL;
}

/* False: no memory. */
static bool room_locked(struct times *t)
{
	size_t cap = t->cap ? 2 * t->cap : 64;
	uint64_t *more;

	if (t->n < t->cap)
		return true;
	more = reallocarray(t->node, cap, sizeof(*more));
	if (!more)
		return false;
	t->node = more;
	t->cap = cap;
	return true;
}

void times_touched(struct times *t, uint64_t nodeid)
{
	scoped_lock(&t->lock);
	if (t->stop || !room_locked(t))
		return; /* its time is set when it is closed */
	t->node[t->n++] = nodeid;
	if (t->n > 1)
		return;
	if (!t->running)
		t->running = pthread_create(&t->thread, NULL, times_main, t) == 0;
	(void)pthread_cond_signal(&t->work);
}

void times_stop(struct times *t)
{
	if (!t)
		return;
	scoped_lock(&t->lock);
	t->stop = true;
	(void)pthread_cond_signal(&t->work);
}

void times_destroy(struct times *t)
{
	if (!t)
		return;
	times_stop(t);
	if (t->running)
		(void)pthread_join(t->thread, NULL);
	(void)pthread_cond_destroy(&t->work);
	(void)pthread_mutex_destroy(&t->lock);
	free(t->node);
	free(t);
}
