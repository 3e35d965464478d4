// SPDX-License-Identifier: MIT
// Notifications to the kernel, sent by a thread of their own.

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/time.h"
#include "base/waiting.h"
#include "fs/chan.h"
#include "fs/notifier.h"

/*
 * How long a worker waits: longer than a host takes that is not stuck. It must not wait forever:
 * asynchronous direct writes (libaio, io_uring) can fill the kernel's queue of background requests,
 * the write-back that the notification waits for is queued behind them, and only the workers'
 * answers to these writes let it proceed.
 */
#define WAIT_NS (100 * NSEC_PER_MS)

struct notice {
	struct notice *next;
	uint64_t nodeid, off, len;
	bool sent;
	bool awaited; /* a worker waits for it and frees it; otherwise the thread frees it */
};

struct notifier {
	int fd;
	pthread_mutex_t lock; /* guards the fields below and all notices; a leaf */
	pthread_cond_t work;
	pthread_cond_t done;
	struct notice *first, **last;
	pthread_t thread;
	bool running;
	bool stop;
};

struct notifier *notifier_create(int fd)
{
	struct notifier *n = calloc(1, sizeof(*n));

	if (!n)
		return NULL;
	n->fd = fd;
	n->last = &n->first;
	(void)pthread_mutex_init(&n->lock, NULL);
	(void)pthread_cond_init(&n->work, NULL);
	time_cond_init(&n->done);
	return n;
}

static void done_locked(struct notifier *n, struct notice *c)
{
	c->sent = true;
	if (c->awaited)
		(void)pthread_cond_broadcast(&n->done);
	else
		free(c);
}

static struct notice *take_locked(struct notifier *n)
{
	struct notice *c = n->first;

	if (c) {
		n->first = c->next;
		if (!n->first)
			n->last = &n->first;
	}
	return c;
}

static void *notifier_main(void *arg)
{
	struct notifier *n = arg;
	struct notice *c;

	scoped_lock(&n->lock);
	while (!n->stop) {
		c = take_locked(n);
		if (!c) {
			(void)pthread_cond_wait(&n->work, &n->lock);
			continue;
		}
		(void)pthread_mutex_unlock(&n->lock);
		chan_notify_inval_inode(n->fd, c->nodeid, c->off, c->len);
		(void)pthread_mutex_lock(&n->lock);
		done_locked(n, c);
	}
	while ((c = take_locked(n)))
		done_locked(n, c);
	return NULL;
}

/* False: there is no thread that would send it. */
static bool add_locked(struct notifier *n, struct notice *c)
{
	if (!n->running && !n->stop)
		n->running = pthread_create(&n->thread, NULL, notifier_main, n) == 0;
	if (!n->running || n->stop)
		return false;
	*n->last = c;
	n->last = &c->next;
	(void)pthread_cond_signal(&n->work);
	return true;
}

void notifier_drop_pages(struct notifier *n, uint64_t nodeid, uint64_t off, uint64_t len)
{
	struct notice *c = malloc(sizeof(*c));
	uint64_t until = time_now_ns() + WAIT_NS;
	struct timespec ts = time_spec(until);
	int r = 0;

	if (!c)
		return;
	*c = (struct notice){ .nodeid = nodeid, .off = off, .len = len, .awaited = true };
	waiting_begin();
	scoped_lock(&n->lock);
	if (add_locked(n, c))
		while (!c->sent && r != ETIMEDOUT)
			r = pthread_cond_timedwait(&n->done, &n->lock, &ts);
	else
		c->sent = true;
	if (c->sent)
		free(c);
	else
		c->awaited = false;
}

void notifier_stop(struct notifier *n)
{
	bool running;

	if (!n)
		return;
	(void)pthread_mutex_lock(&n->lock);
	n->stop = true;
	running = n->running;
	(void)pthread_cond_signal(&n->work);
	(void)pthread_mutex_unlock(&n->lock);
	if (running)
		(void)pthread_join(n->thread, NULL);
}

void notifier_destroy(struct notifier *n)
{
	if (!n)
		return;
	(void)pthread_cond_destroy(&n->work);
	(void)pthread_cond_destroy(&n->done);
	(void)pthread_mutex_destroy(&n->lock);
	free(n);
}
