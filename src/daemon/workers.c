// SPDX-License-Identifier: MIT
// The threads that serve the kernel's requests.

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/time.h"
#include "base/waiting.h"
#include "daemon/workers.h"
#include "fs/chan.h"

/*
 * Theory of operation
 *
 * The kernel wakes a thread that sleeps in read() for each request, and that wake-up costs more
 * than a small request does. So a worker that has served one looks for the next without sleeping
 * for a short time, if the last ones came quickly, and no more workers than are useful look.
 *
 * A worker is in one of these states:
 *
 *   ACTIVE  looks for a request, or serves one and will look again soon, as nothing in it has made
 *           it wait so far. all->active counts these.
 *   AWAY    serves a request that waits for the host or for another thread. From ACTIVE by
 *           worker_leave(), which waiting_begin() calls.
 *   PARKED  sleeps on worker->wake and stands in the list all->parked. From ACTIVE when there are
 *           more active ones than requests, or from AWAY when its request is done and others
 *           are active.
 *
 * Rule: while the file system is mounted, some worker is active, or none is parked. Whoever leaves
 * ACTIVE as the last one wakes a parked worker, and makes it active in the same step. As an active
 * worker does not wait for anything (but for a turn of a lock that is held for a short time), a
 * request is seen soon, whatever the others do.
 *
 * More are made active when one finds its next request there at once BACKLOG_MIN times in a row:
 * then requests queue up. When such a help finds nothing to do it parks again, and if it has served
 * few requests, it takes twice as many in a row to wake one the next time, up to BACKLOG_MAX.
 * (Handing the reading over before each long copy was worse: 13 % for 1 MiB with one reader, 20 %
 * with four, 25 % for 128 KiB, under TCG with 2 CPUs.)
 *
 * all->lock guards active, parked, backlog and worker->state; it is held for a few instructions
 * and nothing is called under it.
 */
enum worker_state { WORKER_PARKED, WORKER_ACTIVE, WORKER_AWAY };

#define BACKLOG_MIN 4u
#define BACKLOG_MAX 8u

/* Gaps between a reply and the next request, in ns: below this, looking is better than sleeping. */
#define SPIN_GAP_MAX  (200 * NSEC_PER_US)
#define SPIN_GAP_KEPT (2 * SPIN_GAP_MAX) /* longer ones count as this: they are pauses */
#define SPIN_HELP     (20 * NSEC_PER_US) /* how long one of several active ones looks */

/*
 * The gap before a sleeper has that thread's wake-up in it, so that who sleeps would go on
 * sleeping: now and then it looks all the same. Sleeps until it does; twice as many after each look
 * for nothing.
 */
#define TRY_MIN 8u
#define TRY_MAX 1024u

struct worker {
	struct workers *all;
	struct relay_worker rw;
	pthread_t thread;
	pthread_cond_t wake;
	struct worker *next; /* in the list of the parked */
	enum worker_state state;

	/* Private to the thread. */
	int fd_wait;	     /* a clone of the channel; a read sleeps */
	int fd_look;	     /* another; a read does not */
	unsigned int run;    /* requests in a row that were there at once */
	unsigned int served; /* requests since it became active */
	uint64_t gap;	     /* mean of the gaps, in ns */
	unsigned int sleeps; /* without a look before them, in a row */
	unsigned int try_at; /* so many of these are one too many */
};

struct workers {
	int wake;
	unsigned int n;	   /* threads that exist */
	unsigned int most; /* active ones, at most */
	_Atomic bool stop;
	_Atomic unsigned int running;

	pthread_mutex_t lock;
	unsigned int active;
	struct worker *parked;
	/* How long a run of requests that were there at once must be; also read without the lock. */
	_Atomic unsigned int backlog;

	struct worker worker[];
};

static void worker_on_signal(int sig)
{
	/* Only there to let read() return EINTR. */
}

int workers_prepare(void)
{
	struct sigaction sa = { .sa_handler = worker_on_signal };

	(void)sigemptyset(&sa.sa_mask);
	return sigaction(WORKER_SIGNAL, &sa, NULL) < 0 ? -errno : 0;
}

void workers_unblock_signal(void)
{
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, WORKER_SIGNAL);
	(void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

/* Make a parked worker active, if there is one. */
static void wake_one_locked(struct workers *all)
{
	struct worker *w = all->parked;

	if (!w)
		return;
	all->parked = w->next;
	w->state = WORKER_ACTIVE;
	all->active++;
	(void)pthread_cond_signal(&w->wake);
}

/* ACTIVE to AWAY; a hook of waiting_begin(). */
static void worker_leave(void *arg)
{
	struct worker *w = arg;

	/* Only this thread moves itself out of ACTIVE and AWAY, so it may look without the lock. */
	if (w->state != WORKER_ACTIVE)
		return;
	scoped_lock(&w->all->lock);
	w->state = WORKER_AWAY;
	if (--w->all->active == 0)
		wake_one_locked(w->all);
}

/* PARKED until somebody wakes it; the caller is AWAY. */
static void park_locked(struct worker *w)
{
	struct workers *all = w->all;

	w->state = WORKER_PARKED;
	w->next = all->parked;
	all->parked = w;
	while (w->state == WORKER_PARKED)
		(void)pthread_cond_wait(&w->wake, &all->lock);
	w->run = 0;
	w->served = 0;
	w->gap = 0;
}

/* A request was served: be active again, unless another is. */
static void worker_return(struct worker *w)
{
	struct workers *all = w->all;

	if (w->state == WORKER_ACTIVE)
		return;
	scoped_lock(&all->lock);
	if (all->active && !atomic_load(&all->stop)) {
		park_locked(w);
		return;
	}
	w->state = WORKER_ACTIVE;
	all->active++;
}

/* There is nothing to do. True: another worker polls, and this one was parked meanwhile. */
static bool park_spare(struct worker *w)
{
	struct workers *all = w->all;
	unsigned int backlog;

	scoped_lock(&all->lock);
	if (all->active < 2 || atomic_load(&all->stop))
		return false;
	backlog = atomic_load_explicit(&all->backlog, memory_order_relaxed);
	backlog = w->served < 2 * backlog ? backlog * 2 : backlog / 2;
	backlog = backlog < BACKLOG_MIN	  ? BACKLOG_MIN
		  : backlog > BACKLOG_MAX ? BACKLOG_MAX
					  : backlog;
	atomic_store_explicit(&all->backlog, backlog, memory_order_relaxed);
	w->state = WORKER_AWAY;
	all->active--;
	park_locked(w);
	return true;
}

/* Requests queue up: another one may help. */
static void worker_call_help(struct worker *w)
{
	struct workers *all = w->all;

	w->run = 0;
	scoped_lock(&all->lock);
	if (all->active < all->most)
		wake_one_locked(all);
}

static int worker_look(struct worker *w)
{
	w->rw.fd = w->fd_look;
	return chan_read(w->fd_look, w->rw.slot->req, w->rw.slot->req_cap);
}

/* How long to look for a request before sleeping, in ns. */
static uint64_t worker_spin_ns(struct worker *w)
{
	if (w->gap <= SPIN_GAP_MAX)
		return MIN(2 * w->gap + SPIN_HELP, SPIN_GAP_MAX);
	if (++w->sleeps < w->try_at)
		return 0;
	w->sleeps = 0;
	return SPIN_GAP_MAX;
}

/* A request has come after this time; with long gaps and no sleep counted, after a look all the
 * same. */
static void worker_note_gap(struct worker *w, uint64_t gap, bool seen)
{
	if (w->gap <= SPIN_GAP_MAX || w->sleeps) {
		gap = MIN(gap, SPIN_GAP_KEPT);
		w->gap += gap / 8 - w->gap / 8;
	} else if (seen) {
		w->gap = gap;
		w->try_at = TRY_MIN;
	} else {
		w->try_at = MIN(2 * w->try_at, TRY_MAX);
	}
}

/* Look and then wait for a request; as chan_read(). */
static int worker_wait(struct worker *w)
{
	uint64_t begin = time_now_ns(), spin = worker_spin_ns(w), now = begin;
	bool seen = true;
	int n = 0;

	while (now - begin < spin && !atomic_load_explicit(&w->all->stop, memory_order_relaxed)) {
		n = worker_look(w);
		if (n)
			break;
		if (now - begin > SPIN_HELP && park_spare(w))
			return 0;
		cpu_relax();
		now = time_now_ns();
	}
	if (!n) {
		if (park_spare(w))
			return 0;
		w->rw.fd = w->fd_wait;
		n = chan_read(w->fd_wait, w->rw.slot->req, w->rw.slot->req_cap);
		now = time_now_ns();
		seen = false;
	}
	worker_note_gap(w, now - begin, seen);
	return n;
}

/* The next request, as chan_read(). */
static int worker_next(struct worker *w)
{
	int n;

	worker_return(w);
	n = worker_look(w);
	if (n > 0) {
		if (++w->run >= atomic_load_explicit(&w->all->backlog, memory_order_relaxed))
			worker_call_help(w);
		return n;
	}
	w->run = 0;
	return n ? n : worker_wait(w);
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	struct workers *all = w->all;
	bool initialised = false;
	int n;

	workers_unblock_signal();
	waiting_set_hook(worker_leave, w);
	while (!atomic_load_explicit(&all->stop, memory_order_relaxed)) {
		n = worker_next(w);
		if (n < 0) {
			/* The latter also when an unmount meets a request, such as a late RELEASE. */
			if (n != -ENODEV && n != -ECONNABORTED)
				log_err("reading requests of the kernel: %s", strerror(-n));
			break;
		}
		if (n == 0)
			continue;
		w->served++;
		relay_handle(&w->rw, (size_t)n);
		if (!initialised && atomic_load(&w->rw.relay->init_state)) {
			initialised = true;
			(void)eventfd_write(all->wake, 1);
		}
	}
	/* The others are to see the end, too: one after the other. */
	worker_leave(w);
	if (atomic_fetch_sub(&all->running, 1) == 1)
		(void)eventfd_write(all->wake, 1);
	return NULL;
}

static void worker_free(struct worker *w)
{
	close_keep_errno(w->fd_wait);
	close_keep_errno(w->fd_look);
	client_slot_destroy(w->rw.slot);
	(void)pthread_cond_destroy(&w->wake);
}

static int worker_start(struct workers *all, struct relay *relay, int fd, size_t slot_cap)
{
	struct worker *w = &all->worker[all->n];
	int r;

	w->all = all;
	w->state = WORKER_AWAY;
	w->try_at = TRY_MIN;
	w->rw.relay = relay;
	w->rw.reply = relay_reply_fd;
	w->rw.queue = (int)all->n;
	(void)pthread_cond_init(&w->wake, NULL);
	w->fd_wait = chan_clone(fd, false);
	w->fd_look = chan_clone(fd, true);
	r = MIN(w->fd_wait, w->fd_look);
	if (r >= 0)
		r = client_slot_create(relay->client, slot_cap, slot_cap, &w->rw.slot);
	if (r >= 0) {
		atomic_fetch_add(&all->running, 1);
		r = -pthread_create(&w->thread, NULL, worker_main, w);
		if (r < 0)
			atomic_fetch_sub(&all->running, 1);
	}
	if (r < 0) {
		worker_free(w);
		return r;
	}
	all->n++;
	return 0;
}

int workers_start(struct relay *relay, int fd, int wake, unsigned int n, size_t slot_cap,
		  struct workers **ret)
{
	struct workers *all = calloc(1, sizeof(*all) + n * sizeof(all->worker[0]));
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	int r;

	if (!all)
		return -ENOMEM;
	for (unsigned int i = 0; i < n; i++)
		relay_add_worker(relay, &all->worker[i].rw);
	all->wake = wake;
	all->most = cpus > 1 ? (unsigned int)cpus : 1;
	all->backlog = BACKLOG_MIN;
	(void)pthread_mutex_init(&all->lock, NULL);
	r = client_add_spares(relay->client, slot_cap, slot_cap);
	while (r == 0 && all->n < n)
		r = worker_start(all, relay, fd, slot_cap);
	if (r < 0) {
		workers_stop(all);
		return r;
	}
	*ret = all;
	return 0;
}

bool workers_ended(struct workers *w)
{
	return atomic_load(&w->running) == 0;
}

void workers_stop(struct workers *w)
{
	if (!w)
		return;
	atomic_store(&w->stop, true);
	(void)pthread_mutex_lock(&w->lock);
	while (w->parked)
		wake_one_locked(w);
	(void)pthread_mutex_unlock(&w->lock);
	/* A signal that comes just before read() is lost, so it is sent until it was not. */
	while (!workers_ended(w)) {
		struct timespec pause = { .tv_nsec = (long)(5 * NSEC_PER_MS) };

		for (unsigned int i = 0; i < w->n; i++)
			(void)pthread_kill(w->worker[i].thread, WORKER_SIGNAL);
		(void)nanosleep(&pause, NULL);
	}
	for (unsigned int i = 0; i < w->n; i++) {
		(void)pthread_join(w->worker[i].thread, NULL);
		worker_free(&w->worker[i]);
	}
	(void)pthread_mutex_destroy(&w->lock);
	free(w);
}
