// SPDX-License-Identifier: MIT
// vfsdaxfuse --probe: take the device, ask, measure, give it back.

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/guard.h"
#include "base/log.h"
#include "base/time.h"
#include "daemon/daemon.h"
#include "daemon/probe.h"
#include "probe_priv.h"
#include "virtio/vfio_pci.h"
#include "virtio/vhost_user.h"

#define TRIPS	     300u
#define TRIPS_NS     (2 * NSEC_PER_SEC)
#define LOOK_LONG_NS 1000000000u
#define SIGNAL_S     5
#define QUEUES_MAX   64u
#define MAX_WRITE    (1 * MIB)

int probe_stopped(const struct probe *p)
{
	return atomic_load(&p->stop) ? -EINTR : fs_dev_broken(p->dev);
}

static int compare_u64(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

uint64_t probe_median(uint64_t *v, unsigned int n)
{
	qsort(v, n, sizeof(*v), compare_u64);
	return v[n / 2];
}

/* GETATTR of the root, answered while we look (@spin) or by an interrupt; others are not counted. */
static int probe_round_trip(const struct probe *p, const char *name, bool spin)
{
	struct virtq *q = &p->dev->request[0];
	uint64_t ns[TRIPS], end = time_now_ns() + TRIPS_NS;
	unsigned int n = 0;
	int r;

	for (unsigned int i = 0; i < TRIPS && time_now_ns() < end; i++) {
		uint64_t slept = atomic_load(&q->n_sleeps), begin = time_now_ns();
		struct fuse_attr attr;

		virtq_set_spin(q, spin ? LOOK_LONG_NS : 0);
		r = client_getattr(p->client, FUSE_ROOT_ID, &attr);
		if (r == 0 && (atomic_load(&q->n_sleeps) == slept) == spin)
			ns[n++] = time_now_ns() - begin;
		if (probe_stopped(p))
			return probe_stopped(p);
		if (r < 0) {
			probe_line(name, "not measured (%s)", strerror(-r));
			return 0;
		}
	}
	if (n)
		probe_line(name, "%.1f us", (double)probe_median(ns, n) / (double)NSEC_PER_US);
	else
		probe_line(name, "not measured (always answered %s)",
			   spin ? "later" : "before an interrupt");
	return 0;
}

/* What a kernel of our time would ask for, in the words of wire/fuse_init.h. */
static int probe_init(struct probe *p)
{
	const struct fuse_init_wish wish = { .dax = p->dev->window.size, .max_write = MAX_WRITE };
	struct fuse_init_in kernel = { .major = FUSE_KERNEL_VERSION,
				       .minor = UINT32_MAX,
				       .max_readahead = MAX_WRITE },
			    in;
	struct fuse_init_out out = { 0 }, to_kernel;
	const struct fuse_init_flag *flag;
	size_t n, len;
	int r;

	flag = fuse_init_flags(&n);
	for (size_t i = 0; i < n; i++) {
		kernel.flags |= (uint32_t)flag[i].bit;
		kernel.flags2 |= (uint32_t)(flag[i].bit >> 32);
	}
	r = fuse_init_to_host(&kernel, sizeof(kernel), &wish, &in);
	if (r == 0)
		r = client_init(p->client, &in, &out, &len);
	if (r == 0)
		r = fuse_init_to_kernel(&kernel, sizeof(kernel), &out, len, &wish, &to_kernel,
					&p->agreed);
	if (r < 0) {
		log_err("the host does not agree on the FUSE protocol: %s", strerror(-r));
		return r;
	}
	probe_host(p, &out);
	return 0;
}

static int probe_open(struct probe *p)
{
	const struct options *o = p->o;
	struct fs_dev_params params = { .arena_size = client_arena_size(0, 0, 0),
					.max_request = QUEUES_MAX };
	struct virtio_pci_choice choice = { .tag = o->tag, .address = o->pci };
	struct virtio_transport *t;
	struct fs_dev *dev;
	char why[256] = "";
	int r;

	r = o->vhost_user ? vhost_user_open(o->vhost_user, why, sizeof(why), &t)
			  : virtio_pci_open(&choice, why, sizeof(why), &t);
	if (r == 0)
		r = fs_dev_start(t, &params, why, sizeof(why), &dev);
	if (r < 0)
		log_err("%s", why[0] ? why : strerror(-r));
	else
		p->dev = dev;
	return r;
}

static void signals_wanted(sigset_t *set)
{
	(void)sigemptyset(set);
	(void)sigaddset(set, SIGTERM);
	(void)sigaddset(set, SIGINT);
	(void)sigaddset(set, SIGHUP);
}

/* Ends as soon as a signal came; gives up a device that does not let us end then. */
static void *probe_signals(void *arg)
{
	struct probe *p = arg;
	struct timespec ts = { .tv_sec = SIGNAL_S };
	sigset_t set;
	int sig;

	signals_wanted(&set);
	(void)sigwait(&set, &sig);
	atomic_store(&p->stop, true);
	/* From here it ends early only by pthread_cancel(): then all went well. */
	(void)nanosleep(&ts, NULL);
	log_dbg("the host does not answer: requests are given up");
	fs_dev_break(p->dev, -EINTR);
	return NULL;
}

static int probe_ask(struct probe *p)
{
	int r;

	probe_device(p);
	r = client_create(p->dev, &p->client);
	if (r < 0) {
		log_err("cannot start: %s", strerror(-r));
		return r;
	}
	r = probe_init(p);
	if (r < 0)
		return r;
	r = probe_stopped(p);
	if (r == 0)
		r = probe_round_trip(p, "round-trip-polling", true);
	if (r == 0)
		r = probe_round_trip(p, "round-trip-interrupt", false);
	if (r == 0)
		r = probe_window(p);
	if (!fs_dev_broken(p->dev))
		(void)client_destroy_session(p->client);
	if (r == 0)
		r = probe_stopped(p);
	if (r == 0)
		probe_kernel();
	return r;
}

int probe_run(const struct options *o)
{
	struct probe p = { .o = o };
	pthread_t signals;
	bool watched;
	sigset_t set;
	int r;

	/* Blocked before any thread is made. Until the device is there they wait; opening ends
	 * soon. */
	signals_wanted(&set);
	(void)pthread_sigmask(SIG_BLOCK, &set, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	r = guard_init();
	if (r < 0)
		log_err("cannot start: %s", strerror(-r));
	if (r == 0)
		r = probe_open(&p);
	if (r < 0)
		return EXIT_MOUNT;
	watched = pthread_create(&signals, NULL, probe_signals, &p) == 0;
	r = probe_ask(&p);
	if (watched) {
		(void)pthread_cancel(signals);
		(void)pthread_join(signals, NULL);
	}
	if (atomic_load(&p.stop))
		log_err("interrupted");
	client_destroy(p.client);
	if (fs_dev_broken(p.dev) && !o->vhost_user)
		log_warn("the failed device stays with vfio-pci: another driver could hang on it");
	fs_dev_stop(p.dev);
	return r == 0 ? EXIT_OK : EXIT_MOUNT;
}
