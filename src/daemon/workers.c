// SPDX-License-Identifier: MIT
// The threads that serve the kernel's requests.

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/time.h"
#include "daemon/workers.h"
#include "fs/chan.h"

#define WORKER_SIGNAL SIGUSR2

struct worker {
	struct workers *all;
	struct relay_worker rw;
	pthread_t thread;
};

struct workers {
	int wake;
	unsigned int n; /* threads that exist */
	_Atomic bool stop;
	_Atomic unsigned int running;
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

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	struct workers *all = w->all;
	bool initialised = false;
	sigset_t set;
	int n;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, WORKER_SIGNAL);
	(void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	while (!atomic_load_explicit(&all->stop, memory_order_relaxed)) {
		n = chan_read(w->rw.fd, w->rw.slot->req, w->rw.slot->req_cap);
		if (n < 0) {
			if (n != -ENODEV)
				log_err("reading requests of the kernel: %s", strerror(-n));
			break;
		}
		if (n == 0)
			continue;
		relay_handle(&w->rw, (size_t)n);
		if (!initialised && atomic_load(&w->rw.relay->init_state)) {
			initialised = true;
			(void)eventfd_write(all->wake, 1);
		}
	}
	if (atomic_fetch_sub(&all->running, 1) == 1)
		(void)eventfd_write(all->wake, 1);
	return NULL;
}

static int worker_start(struct workers *all, struct relay *relay, int fd, size_t slot_cap)
{
	struct worker *w = &all->worker[all->n];
	int r;

	w->all = all;
	w->rw = (struct relay_worker){ .relay = relay, .fd = chan_clone(fd), .queue = (int)all->n };
	if (w->rw.fd < 0)
		return w->rw.fd;
	r = client_slot_create(relay->client, slot_cap, slot_cap, &w->rw.slot);
	if (r == 0) {
		atomic_fetch_add(&all->running, 1);
		r = -pthread_create(&w->thread, NULL, worker_main, w);
		if (r < 0)
			atomic_fetch_sub(&all->running, 1);
	}
	if (r < 0) {
		close_keep_errno(w->rw.fd);
		client_slot_destroy(w->rw.slot);
		return r;
	}
	all->n++;
	return 0;
}

int workers_start(struct relay *relay, int fd, int wake, unsigned int n, size_t slot_cap,
		  struct workers **ret)
{
	struct workers *all = calloc(1, sizeof(*all) + n * sizeof(all->worker[0]));
	int r = all ? 0 : -ENOMEM;

	if (r < 0)
		return r;
	all->wake = wake;
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
	/* A signal that comes just before read() is lost, so it is sent until it was not. */
	while (!workers_ended(w)) {
		struct timespec pause = { .tv_nsec = (long)(5 * NSEC_PER_MS) };

		for (unsigned int i = 0; i < w->n; i++)
			(void)pthread_kill(w->worker[i].thread, WORKER_SIGNAL);
		(void)nanosleep(&pause, NULL);
	}
	for (unsigned int i = 0; i < w->n; i++) {
		(void)pthread_join(w->worker[i].thread, NULL);
		close_keep_errno(w->worker[i].rw.fd);
		client_slot_destroy(w->worker[i].rw.slot);
	}
	free(w);
}
