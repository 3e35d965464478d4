// SPDX-License-Identifier: MIT
// Jobs that are due for a file some time after a request, done by a thread of its own.

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/num.h"
#include "base/time.h"
#include "fs/client.h"
#include "fs/inode.h"
#include "fs/upkeep.h"
#include "pass/pass.h"
#include "virtio/fs_dev.h"

/*
 * Files for which the same job is due. inode.listed keeps an entry from being twice in
 * LIST_WRITTEN, and inode.closed_listed from being twice in the lists of closed files.
 */
struct due_list {
	struct due {
		uint64_t nodeid;
		uint64_t at; /* ns */
	} * due;	     /* in order of time */
	size_t n, cap;
};

/* A job that is due this soon is done together with one that is due now. */
#define SLACK_NS (100 * NSEC_PER_MS)

enum {
	LIST_WRITTEN,
	LIST_PASSED,
	LIST_CLOSED, /* the first of UPKEEP_CLOSED_STAGES */
	LISTS = LIST_CLOSED + UPKEEP_CLOSED_STAGES
};

struct upkeep {
	struct client *client;
	struct inode_table *inodes;
	struct pass *pass;    /* or NULL */
	pthread_mutex_t lock; /* guards the fields below; a leaf */
	pthread_cond_t work;
	struct due_list list[LISTS];
	pthread_t thread;
	bool running;
	bool stop;
	uint64_t asked; /* when the host was asked for a sign of life, ns; private to the thread */
};

struct upkeep *upkeep_create(struct client *c, struct inode_table *inodes, struct pass *pass)
{
	struct upkeep *u = calloc(1, sizeof(*u));

	if (!u)
		return NULL;
	u->client = c;
	u->inodes = inodes;
	u->pass = pass;
	(void)pthread_mutex_init(&u->lock, NULL);
	time_cond_init(&u->work);
	return u;
}

void upkeep_settle(struct upkeep *u, struct inode *i)
{
	if (!inode_settle_begin(u->inodes, i))
		return;
	if (inode_settle_due(i))
		(void)client_touch(u->client, i->nodeid, NULL);
	inode_settle_end(u->inodes, i);
}

static void settle_node(struct upkeep *u, uint64_t nodeid)
{
	struct inode *i = inode_get(u->inodes, nodeid);

	if (!i)
		return;
	/* Before touched is read: a later write then lists the file again. */
	atomic_store(&i->listed, false);
	upkeep_settle(u, i);
	inode_put(u->inodes, i);
}

int upkeep_settle_passed(struct upkeep *u, uint64_t nodeid)
{
	int r = pass_settle(u->pass, nodeid);

	if (r < 0)
		log_warn_ratelimited("node %llu: its last page is not written to the host: %s",
				     (unsigned long long)nodeid, strerror(-r));
	return MIN(r, 0);
}

/* False: no memory. */
static bool room_locked(struct due_list *l)
{
	size_t cap = l->cap ? 2 * l->cap : 64;
	struct due *more;

	if (l->n < l->cap)
		return true;
	more = reallocarray(l->due, cap, sizeof(*more));
	if (!more)
		return false;
	l->due = more;
	l->cap = cap;
	return true;
}

static void *upkeep_main(void *arg);

/* False: it is not listed. Then mtime is set at close, and mappings are evicted when there is need.
 */
static bool add(struct upkeep *u, unsigned int list, uint64_t nodeid)
{
	uint64_t ns =
		list < LIST_CLOSED ? UPKEEP_MTIME_NS : UPKEEP_CLOSED_NS << (list - LIST_CLOSED);
	struct due_list *l = &u->list[list];

	scoped_lock(&u->lock);
	if (!u->running)
		u->running = pthread_create(&u->thread, NULL, upkeep_main, u) == 0;
	if (!u->running || u->stop || !room_locked(l))
		return false;
	l->due[l->n++] = (struct due){ .nodeid = nodeid, .at = time_now_ns() + ns };
	if (l->n == 1)
		(void)pthread_cond_signal(&u->work);
	return true;
}

void upkeep_written(struct upkeep *u, struct inode *i)
{
	if (!add(u, LIST_WRITTEN, i->nodeid))
		atomic_store(&i->listed, false);
}

void upkeep_passed(struct upkeep *u, uint64_t nodeid)
{
	(void)add(u, LIST_PASSED, nodeid);
}

/* The client gives the device up when the host does not answer. */
static void check_host(struct upkeep *u)
{
	uint64_t now = time_now_ns();
	struct fuse_attr attr;

	if (now - u->asked < UPKEEP_CHECK_NS)
		return;
	if (client_getattr(u->client, FUSE_ROOT_ID, &attr) < 0 && fs_dev_broken(u->client->dev))
		pass_fail(u->pass);
	u->asked = time_now_ns();
}

static void settle_passed(struct upkeep *u, uint64_t nodeid)
{
	bool last = pass_unwatch(u->pass, nodeid);

	check_host(u);

	(void)upkeep_settle_passed(u, nodeid);
	if (!last)
		upkeep_passed(u, nodeid);
}

/* List a closed file; its flag says that it is listed. */
static void add_closed(struct upkeep *u, unsigned int list, uint64_t nodeid)
{
	if (!add(u, list, nodeid))
		inode_put(u->inodes, inode_get_closed(u->inodes, nodeid));
}

void upkeep_closed(struct upkeep *u, uint64_t nodeid)
{
	add_closed(u, LIST_CLOSED, nodeid);
}

/* Has the host removed it? */
static bool removed(struct upkeep *u, uint64_t nodeid)
{
	struct fuse_attr attr;
	int r = client_getattr(u->client, nodeid, &attr);

	return r < 0 ? r == -ENOENT || r == -ESTALE : !attr.nlink;
}

static bool mapped(const struct upkeep *u, const struct inode *i)
{
	return (i->dax && dax_mapped(i->dax)) || (u->pass && pass_keeps(u->pass, i->nodeid));
}

static void check_closed(struct upkeep *u, unsigned int list, uint64_t nodeid)
{
	struct inode *i = inode_get_closed(u->inodes, nodeid);

	if (!i)
		return;
	if (!mapped(u, i)) {
		inode_put(u->inodes, i);
	} else if (list + 1 == LISTS || removed(u, nodeid)) {
		inode_let_go(u->inodes, i);
		if (u->pass)
			pass_forget(u->pass, nodeid);
	} else {
		if (inode_list_closed(u->inodes, i))
			add_closed(u, list + 1, nodeid);
		inode_put(u->inodes, i);
	}
}

#define BATCH 1024u

/* Move up to BATCH files that are due at @now from the list to @ret. 0: none is due. */
static size_t take_locked(struct due_list *l, uint64_t now, uint64_t *ret)
{
	size_t n = 0;

	if (!l->n || l->due[0].at > now)
		return 0;
	for (; n < MIN(l->n, (size_t)BATCH) && l->due[n].at <= now + SLACK_NS; n++)
		ret[n] = l->due[n].nodeid;
	l->n -= n;
	memmove(l->due, l->due + n, l->n * sizeof(*l->due));
	return n;
}

/* Do all jobs of a list that are due at @now. Releases the lock while it does. */
static void work_locked(struct upkeep *u, unsigned int list, uint64_t now)
{
	uint64_t node[BATCH];
	size_t n;

	while (!u->stop && (n = take_locked(&u->list[list], now, node))) {
		(void)pthread_mutex_unlock(&u->lock);
		for (size_t k = 0; k < n; k++)
			if (list == LIST_WRITTEN)
				settle_node(u, node[k]);
			else if (list == LIST_PASSED)
				settle_passed(u, node[k]);
			else
				check_closed(u, list, node[k]);
		(void)pthread_mutex_lock(&u->lock);
	}
}

static void wait_locked(struct upkeep *u)
{
	uint64_t at = UINT64_MAX;
	struct timespec ts;

	for (unsigned int l = 0; l < LISTS; l++)
		if (u->list[l].n)
			at = MIN(at, u->list[l].due[0].at);
	ts = time_spec(at);
	if (at == UINT64_MAX)
		(void)pthread_cond_wait(&u->work, &u->lock);
	else
		(void)pthread_cond_timedwait(&u->work, &u->lock, &ts);
}

static void *upkeep_main(void *arg)
{
	struct upkeep *u = arg;

	scoped_lock(&u->lock);
	while (!u->stop) {
		uint64_t now = time_now_ns();

		for (unsigned int l = 0; l < LISTS; l++)
			work_locked(u, l, now);
		if (!u->stop)
			wait_locked(u);
	}
	return NULL;
}

void upkeep_destroy(struct upkeep *u)
{
	if (!u)
		return;
	(void)pthread_mutex_lock(&u->lock);
	u->stop = true;
	(void)pthread_cond_signal(&u->work);
	(void)pthread_mutex_unlock(&u->lock);
	if (u->running)
		(void)pthread_join(u->thread, NULL);
	/* What was written last; with a broken device this fails at once. */
	for (size_t k = 0; k < u->list[LIST_WRITTEN].n; k++)
		settle_node(u, u->list[LIST_WRITTEN].due[k].nodeid);
	for (size_t k = 0; k < u->list[LIST_PASSED].n; k++)
		(void)upkeep_settle_passed(u, u->list[LIST_PASSED].due[k].nodeid);
	(void)pthread_cond_destroy(&u->work);
	(void)pthread_mutex_destroy(&u->lock);
	for (unsigned int l = 0; l < LISTS; l++)
		free(u->list[l].due);
	free(u);
}
