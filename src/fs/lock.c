// SPDX-License-Identifier: MIT
// SETLK and SETLKW; locks that are waited for, without a worker that waits; INTERRUPT.

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/time.h"
#include "fs/chan.h"
#include "fs/lock.h"
#include "relay_priv.h"

/*
 * Theory of operation
 *
 * A request that waits is in one of these states:
 *
 *   WAITING  in the list; the host was asked and has said EAGAIN, so the host keeps nothing for it
 *   TRYING   in the list, and the thread asks the host
 *
 * and leaves the list when it is answered. From WAITING whoever takes it out of the list answers:
 * the thread that interrupts it, or lock_waits_stop(). From TRYING only the thread answers, when it
 * has the host's answer. So there is exactly one answer, and it never differs from what the host
 * has done: when a signal meets a lock that has just been got, the lock is reported, and the caller
 * sees the signal after that. (When it is a deadly one, the lock ends with the process, as any
 * other.)
 *
 * INTERRUPT comes by another thread than the request and may overtake it, but the kernel does not
 * say it twice. It meets the request at one of these places:
 *
 *  1. read, but not yet in worker->unique. Then the number is kept in early[].
 *  2. with a worker, which asks the host for the first time: worker->interrupted.
 *  3. in the list: WAITING is answered with EINTR, TRYING is marked, and becomes that instead of
 *     WAITING.
 *  4. answered: nobody looks for the number any more. It is kept in early[], as this cannot be told
 *     from 1.
 *
 * All of interrupt() is one critical section, and so is the worker's step from 2 to 3, which looks
 * at worker->interrupted and early[] (await()). When interrupt() comes first, its mark is seen
 * there; otherwise it finds the request in the list. In 2 it is found by worker->unique, which is
 * written before the host is asked; two that interrupt write worker->interrupted in the order of
 * their looking, and it holds the number, so that it never counts for another request.
 *
 * EINTR is only answered to who was interrupted. The kernel makes of it that the call begins anew,
 * or ends, when it looks at the signal; without one it would tell the caller an error that is none.
 *
 * early[] forgets the oldest. In place 1 a request is for the few instructions between read() and
 * the first of relay_handle(); to be forgotten, it must stand there while EARLY_MAX others are
 * interrupted and not found.
 */
#define EARLY_MAX 64u

#define PAUSE_MIN (1 * NSEC_PER_MS)
#define PAUSE_MAX (100 * NSEC_PER_MS)
#define PAUSE_ONE (1 * NSEC_PER_MS) /* the pause is no shorter than this for each that waits */

/* When something is unlocked so many are tried at once; each that gets its lock calls once more. */
#define CALL_MAX 4u

struct waiting {
	struct waiting *next;
	struct fuse_in_header h;
	struct fuse_lk_in lk;
	int fd; /* where the answer goes */
	bool trying;
	_Atomic uint64_t interrupted; /* its number, when it was; also read by client_give_up() */
	uint64_t due;
	uint64_t pause; /* until it was due, in ns */
};

struct lock_waits {
	struct client *client;
	_Atomic unsigned int n; /* in the list; changed under lock */

	pthread_mutex_t lock; /* guards the rest and all in the list; nothing is taken under it */
	pthread_cond_t work;
	struct waiting *first; /* in the order of their coming */
	uint64_t early[EARLY_MAX];
	unsigned int next_early;
	pthread_t thread;
	bool running;
	bool stop;
};

struct lock_waits *lock_waits_create(struct client *c)
{
	struct lock_waits *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->client = c;
	(void)pthread_mutex_init(&l->lock, NULL);
	time_cond_init(&l->work);
	return l;
}

void lock_waits_destroy(struct lock_waits *l)
{
	if (!l)
		return;
	(void)pthread_cond_destroy(&l->work);
	(void)pthread_mutex_destroy(&l->lock);
	free(l);
}

unsigned int lock_waits_count(const struct lock_waits *l)
{
	/* relaxed: a hint; who needs it exactly holds the lock */
	return l ? atomic_load_explicit(&l->n, memory_order_relaxed) : 0;
}

static void take_out_locked(struct lock_waits *l, struct waiting *w)
{
	struct waiting **p = &l->first;

	while (*p != w)
		p = &(*p)->next;
	*p = w->next;
	atomic_fetch_sub_explicit(&l->n, 1, memory_order_relaxed);
}

/* It is in no list any more. */
static void answer(struct waiting *w, int error)
{
	chan_reply_error(w->fd, w->h.unique, error);
	free(w);
}

static struct waiting *most_urgent_locked(const struct lock_waits *l)
{
	struct waiting *w = l->first;

	for (struct waiting *o = w; o; o = o->next)
		if (o->due < w->due)
			w = o;
	return w;
}

static void pause_locked(struct lock_waits *l, struct waiting *w)
{
	uint64_t most = MAX(PAUSE_MAX, lock_waits_count(l) * PAUSE_ONE);

	w->pause = w->pause ? MIN(2 * w->pause, most) : PAUSE_MIN;
	w->due = time_now_ns() + w->pause;
}

/* Something of @nodeid was unlocked. */
static void call_locked(struct lock_waits *l, uint64_t nodeid)
{
	unsigned int n = 0;

	for (struct waiting *w = l->first; w && n < CALL_MAX; w = w->next)
		if (w->h.nodeid == nodeid) {
			w->due = 0;
			w->pause = 0;
			n++;
		}
	if (n)
		(void)pthread_cond_signal(&l->work);
}

/* Ask the host once more, without the lock meanwhile. */
static void try_locked(struct lock_waits *l, struct waiting *w)
{
	int r;

	w->due = UINT64_MAX; /* unless it is called meanwhile */
	w->trying = true;
	(void)pthread_mutex_unlock(&l->lock);
	r = client_try_lock(l->client, &w->h, &w->lk, &w->interrupted);
	(void)pthread_mutex_lock(&l->lock);
	w->trying = false;
	/* What a host says with EINTR it says to us, whom nobody has interrupted. */
	if (r == -EAGAIN || r == -EINTR)
		r = atomic_load_explicit(&w->interrupted, memory_order_relaxed) ? -EINTR
		    : l->stop							? -ENOTCONN
										: -EAGAIN;
	if (r == -EAGAIN) {
		if (w->due)
			pause_locked(l, w);
		return;
	}
	/* There may be room for more than one, who share it. */
	if (r == 0)
		call_locked(l, w->h.nodeid);
	take_out_locked(l, w);
	(void)pthread_mutex_unlock(&l->lock);
	answer(w, r);
	(void)pthread_mutex_lock(&l->lock);
}

static void *lock_main(void *arg)
{
	struct lock_waits *l = arg;

	scoped_lock(&l->lock);
	while (!l->stop) {
		struct waiting *w = most_urgent_locked(l);
		struct timespec until;

		if (w && w->due <= time_now_ns()) {
			try_locked(l, w);
			continue;
		}
		if (!w) {
			(void)pthread_cond_wait(&l->work, &l->lock);
			continue;
		}
		until = time_spec(w->due);
		(void)pthread_cond_timedwait(&l->work, &l->lock, &until);
	}
	return NULL;
}

/* The first that is WAITING, out of the list; or NULL. */
static struct waiting *take_waiting(struct lock_waits *l)
{
	struct waiting *w;

	scoped_lock(&l->lock);
	for (w = l->first; w && w->trying; w = w->next)
		;
	if (w)
		take_out_locked(l, w);
	return w;
}

void lock_waits_stop(struct lock_waits *l)
{
	struct waiting *w;

	if (!l)
		return;
	(void)pthread_mutex_lock(&l->lock);
	l->stop = true;
	(void)pthread_cond_signal(&l->work);
	(void)pthread_mutex_unlock(&l->lock);
	while ((w = take_waiting(l)))
		answer(w, -ENOTCONN);
}

void lock_waits_join(struct lock_waits *l)
{
	bool running;

	if (!l)
		return;
	(void)pthread_mutex_lock(&l->lock);
	running = l->running;
	l->running = false;
	(void)pthread_mutex_unlock(&l->lock);
	if (running)
		(void)pthread_join(l->thread, NULL);
}

static bool early_locked(const struct lock_waits *l, uint64_t unique)
{
	for (unsigned int i = 0; i < EARLY_MAX; i++)
		if (l->early[i] == unique)
			return true;
	return false;
}

/* 0 when @w is in the list; otherwise the answer. */
static int enter_locked(struct lock_waits *l, const struct relay_worker *rw, struct waiting *w)
{
	int r = 0;

	if (l->stop)
		return -ENOTCONN;
	if (atomic_load(&rw->interrupted) == w->h.unique || early_locked(l, w->h.unique))
		return -EINTR;
	if (!l->running) {
		r = -pthread_create(&l->thread, NULL, lock_main, l);
		l->running = r == 0;
	}
	if (r == 0) {
		struct waiting **p = &l->first;

		while (*p)
			p = &(*p)->next;
		*p = w;
		atomic_fetch_add_explicit(&l->n, 1, memory_order_relaxed);
		pause_locked(l, w);
		(void)pthread_cond_signal(&l->work);
	}
	return r < 0 ? -ENOLCK : 0;
}

/* The host has said EAGAIN: the worker is done with it. */
static void await(struct relay_req *q, const struct fuse_lk_in *lk)
{
	struct lock_waits *l = q->r->lock_waits;
	struct waiting *w = calloc(1, sizeof(*w));
	int r = -ENOLCK;

	if (w) {
		*w = (struct waiting){ .h = q->header, .lk = *lk, .fd = q->w->fd };
		(void)pthread_mutex_lock(&l->lock);
		r = enter_locked(l, q->w, w);
		(void)pthread_mutex_unlock(&l->lock);
	}
	if (r < 0) {
		free(w);
		relay_answer(q, r, 0);
	}
}

void relay_setlk(struct relay_req *q)
{
	struct fuse_in_header *h = (struct fuse_in_header *)(void *)q->w->slot->req;
	const struct fuse_lk_in lk = *(const struct fuse_lk_in *)q->p.arg;
	struct relay_rep rep;
	bool wait;
	int r;

	/* Over io_uring locks are not agreed upon: an entry there cannot be left before its answer.
	 */
	wait = q->h->opcode == FUSE_SETLKW && q->w->reply == relay_reply_fd;
	if (wait)
		h->opcode = FUSE_SETLK;
	r = relay_exchange(q, &rep);
	if (wait && r == 0 && rep.error == -EAGAIN) {
		await(q, &lk);
		return;
	}
	relay_finish(q, r);
	/* Also a lock may unlock: that for writing becomes one for reading. */
	if (r == 0 && !rep.error)
		relay_unlocked(q);
}

void relay_unlocked(struct relay_req *q)
{
	struct lock_waits *l = q->r->lock_waits;

	if (!lock_waits_count(l))
		return;
	scoped_lock(&l->lock);
	call_locked(l, q->h->nodeid);
}

/*
 * Places 1 to 4 of above. True when it is in the list, that is, in 3; *ret is only set when
 * it is to be answered with EINTR now.
 */
static bool interrupt(struct relay *r, uint64_t unique, struct waiting **ret)
{
	struct lock_waits *l = r->lock_waits;
	bool found = false;

	scoped_lock(&l->lock);
	for (struct relay_worker *w = r->workers; w; w = w->next)
		if (atomic_load(&w->unique) == unique) {
			atomic_store(&w->interrupted, unique);
			found = true;
		}
	for (struct waiting *w = l->first; w; w = w->next) {
		if (w->h.unique != unique)
			continue;
		if (w->trying) {
			atomic_store_explicit(&w->interrupted, unique, memory_order_relaxed);
		} else {
			take_out_locked(l, w);
			*ret = w;
		}
		return true;
	}
	if (!found)
		l->early[l->next_early++ % EARLY_MAX] = unique;
	return false;
}

bool relay_interrupt_lock(struct relay *r, uint64_t unique)
{
	struct waiting *w = NULL;
	bool listed = interrupt(r, unique, &w);

	if (w)
		answer(w, -EINTR);
	return listed;
}
