// SPDX-License-Identifier: MIT
// The threads that serve requests which come over io_uring.

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
#include "base/num.h"
#include "base/time.h"
#include "daemon/rings.h"
#include "daemon/workers.h"
#include "fs/uring.h"

/*
 * Theory of operation
 *
 * The kernel puts a request on the queue of the CPU where the caller runs. No other queue's entries
 * ever get it, so what blocks all entries of a queue blocks that CPU's callers. Hence these rules.
 *
 * Each entry has a thread and an io_uring of its own. A thread that waits, for the host, for a lock
 * or for a long copy, holds up its own entry and nothing else: there is no ring to hand over, and
 * no lock between threads. The kernel gives the next request to another entry of that queue, and
 * when several wait, to the one that was used last: one caller is always served by the same thread.
 *
 * Each queue of a CPU that is online has at least two, and as many as max_threads allows: then a
 * slow request does not hold up quick ones. When all are taken, requests wait in the kernel, as
 * they do when all workers are taken; a host that lets SETLKW wait can use them up, as it can
 * workers. INTERRUPT and FORGET come to the workers, who share nothing with these threads, so
 * whoever waits here can be killed.
 *
 * Threads are not pinned to their CPU: small requests are as fast without it, because the wake-up
 * draws the thread to where the caller is, and with several callers that read 1 MiB at a time pinned
 * threads were a third slower (doc/performance.md). They do not look for
 * requests without sleeping, as workers do: the caller sleeps meanwhile, and its CPU is free.
 *
 * A CPU that is possible but not online needs an entry, or the kernel never begins to use the
 * rings; one, because it costs memory.
 *
 * From INIT to the first registered entry of each queue the kernel holds all requests back. So what
 * can be refused to us (io_uring itself, memory) is done before INIT, and the flag is only granted
 * when it was done.
 *
 * The end: when the file system is unmounted each command completes with an error. When it is not,
 * threads are woken by a signal and end; the kernel then cancels their commands and, with the last
 * descriptor of /dev/fuse closed, ends what is left on the queues.
 */
#define ENTRIES_MIN 2u

enum phase {
	PHASE_OPEN,  /* threads open their rings and wait */
	PHASE_BEGIN, /* they register and serve */
	PHASE_END,
};

struct ring {
	struct rings *all;
	struct uring *uring;
	unsigned int cpu;
	pthread_t thread;
	bool running; /* the thread is to be joined */
};

struct rings {
	int wake;
	int fd;
	_Atomic bool stop;
	_Atomic bool failed;
	_Atomic unsigned int threads; /* that run */

	pthread_mutex_t lock; /* guards what follows; nothing is taken under it */
	pthread_cond_t turn;
	enum phase phase;
	unsigned int reports; /* in this phase */
	int error;	      /* the first */

	unsigned int n;
	struct ring ring[];
};

/* How many CPUs a list of the kernel's, such as "0-3,8", names, and whether @cpu is one of them. */
static unsigned int cpu_list(const char *name, unsigned int cpu, bool *ret_has)
{
	unsigned int first, last, n = 0;
	char path[64];
	FILE *f;
	int c = ',';

	*ret_has = false;
	(void)snprintf(path, sizeof(path), "/sys/devices/system/cpu/%s", name);
	f = fopen(path, "re");
	while (f && c == ',' && fscanf(f, "%u", &first) == 1) {
		last = first;
		c = fgetc(f);
		if (c == '-' && fscanf(f, "%u", &last) == 1)
			c = fgetc(f);
		n += last - first + 1;
		*ret_has |= cpu >= first && cpu <= last;
	}
	if (f)
		(void)fclose(f);
	return n;
}

/* As the kernel counts its queues: all that are possible. */
static unsigned int possible_cpus(void)
{
	bool has;
	unsigned int n = cpu_list("possible", 0, &has);

	return n ? n : (unsigned int)sysconf(_SC_NPROCESSORS_CONF);
}

static bool cpu_online(unsigned int cpu)
{
	bool has;

	return !cpu_list("online", cpu, &has) || has;
}

static unsigned int entries_of(unsigned int cpu, unsigned int cpus, unsigned int most)
{
	return cpu_online(cpu) ? MAX(most / cpus, ENTRIES_MIN) : 1;
}

unsigned int rings_entries(unsigned int most)
{
	unsigned int cpus = possible_cpus(), n = 0;

	for (unsigned int cpu = 0; cpu < cpus; cpu++)
		n += entries_of(cpu, cpus, most);
	return n;
}

static void report_locked(struct rings *all, int r)
{
	if (!all->error)
		all->error = r;
	all->reports++;
	(void)pthread_cond_broadcast(&all->turn);
}

/* Say how the first phase went, and wait for the second; false: there is none for this thread. */
static bool ring_wait_begin(struct ring *g, int r)
{
	struct rings *all = g->all;

	scoped_lock(&all->lock);
	report_locked(all, r);
	while (all->phase == PHASE_OPEN)
		(void)pthread_cond_wait(&all->turn, &all->lock);
	return r == 0 && all->phase == PHASE_BEGIN;
}

static void ring_serve(struct ring *g)
{
	struct rings *all = g->all;
	int r = 0;

	while (r == 0 && !atomic_load_explicit(&all->stop, memory_order_relaxed))
		r = uring_serve(g->uring);
	if (r == 0 || r == -ENOTCONN)
		return;
	log_err("requests over io_uring, CPU %u: %s", g->cpu, strerror(-r));
	atomic_store(&all->failed, true);
	(void)eventfd_write(all->wake, 1);
}

static void *ring_main(void *arg)
{
	struct ring *g = arg;
	struct rings *all = g->all;
	int opened, r;

	workers_unblock_signal();
	opened = uring_open(g->uring);
	if (ring_wait_begin(g, opened)) {
		r = uring_register(g->uring, all->fd);
		(void)pthread_mutex_lock(&all->lock);
		report_locked(all, r);
		(void)pthread_mutex_unlock(&all->lock);
		if (r == 0)
			ring_serve(g);
	}
	if (opened == 0)
		uring_close(g->uring);
	atomic_fetch_sub(&all->threads, 1);
	return NULL;
}

/* All threads have reported; the first error. */
static int wait_reports_locked(struct rings *all)
{
	while (all->reports < all->n)
		(void)pthread_cond_wait(&all->turn, &all->lock);
	return all->error;
}

static int ring_start(struct rings *all, struct ring *g)
{
	int r;

	g->all = all;
	atomic_fetch_add(&all->threads, 1);
	r = -pthread_create(&g->thread, NULL, ring_main, g);
	g->running = r == 0;
	if (r < 0)
		atomic_fetch_sub(&all->threads, 1);
	return r;
}

int rings_open(struct relay *relay, unsigned int most, size_t slot_cap, size_t payload_cap,
	       int wake, struct rings **ret)
{
	unsigned int cpus = possible_cpus(), n = rings_entries(most);
	struct rings *all = calloc(1, sizeof(*all) + n * sizeof(all->ring[0]));
	int r = all ? 0 : -ENOMEM;

	if (r < 0)
		return r;
	all->wake = wake;
	(void)pthread_mutex_init(&all->lock, NULL);
	(void)pthread_cond_init(&all->turn, NULL);
	for (unsigned int cpu = 0; cpu < cpus; cpu++)
		for (unsigned int i = entries_of(cpu, cpus, most); i && all->n < n; i--)
			all->ring[all->n++].cpu = cpu;
	for (unsigned int i = 0; r == 0 && i < all->n; i++)
		r = uring_create(relay, all->ring[i].cpu, slot_cap, payload_cap,
				 &all->ring[i].uring);
	for (unsigned int i = 0; r == 0 && i < all->n; i++)
		r = ring_start(all, &all->ring[i]);
	if (r == 0) {
		scoped_lock(&all->lock);
		r = wait_reports_locked(all);
	}
	if (r < 0) {
		rings_stop(all);
		return r;
	}
	*ret = all;
	return 0;
}

int rings_begin(struct rings *all, int fd)
{
	scoped_lock(&all->lock);
	all->fd = fd;
	all->reports = 0;
	all->phase = PHASE_BEGIN;
	(void)pthread_cond_broadcast(&all->turn);
	return wait_reports_locked(all);
}

bool rings_failed(const struct rings *all)
{
	return all && atomic_load(&all->failed);
}

void rings_stop(struct rings *all)
{
	if (!all)
		return;
	atomic_store(&all->stop, true);
	(void)pthread_mutex_lock(&all->lock);
	all->phase = all->phase == PHASE_OPEN ? PHASE_END : all->phase;
	(void)pthread_cond_broadcast(&all->turn);
	(void)pthread_mutex_unlock(&all->lock);
	/* A signal that comes just before the wait is lost, so it is sent until it was not. */
	while (atomic_load(&all->threads)) {
		struct timespec pause = { .tv_nsec = (long)(5 * NSEC_PER_MS) };

		for (unsigned int i = 0; i < all->n; i++)
			if (all->ring[i].running)
				(void)pthread_kill(all->ring[i].thread, WORKER_SIGNAL);
		(void)nanosleep(&pause, NULL);
	}
	for (unsigned int i = 0; i < all->n; i++) {
		if (all->ring[i].running)
			(void)pthread_join(all->ring[i].thread, NULL);
		uring_destroy(all->ring[i].uring);
	}
	(void)pthread_cond_destroy(&all->turn);
	(void)pthread_mutex_destroy(&all->lock);
	free(all);
}
