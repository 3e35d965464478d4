// SPDX-License-Identifier: MIT
// The life of one mount: start, serve, end.

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/counter.h"
#include "base/guard.h"
#include "base/log.h"
#include "base/time.h"
#include "daemon/daemon.h"
#include "daemon/rings.h"
#include "daemon/workers.h"
#include "fs/uring.h"
#include "mount.h"
#include "virtio/vfio_pci.h"
#include "virtio/vhost_user.h"

#define MAX_PAGES_FILE	"/proc/sys/fs/fuse/max_pages_limit"
#define MAX_PAGES_OLD	256u /* before Linux 6.13, which has the file: FUSE_MAX_MAX_PAGES */
#define BACKGROUND_MIN	12u  /* the kernel's default: FUSE_DEFAULT_MAX_BACKGROUND */
#define INIT_TIMEOUT_MS 30000
#define END_TIMEOUT_MS	5000

struct daemon {
	const struct options *o;
	int signals;	    /* signalfd */
	int wake;	    /* eventfd, see workers_start() */
	uint32_t max_write; /* bytes that a slot takes */
	struct fs_dev *dev;
	struct relay relay;
	struct pass_params pass_params; /* ops NULL: there are no regions for it */
	struct pass *pass; /* relay.pass, and without passthrough what has the window */
	struct mount mount;
	int mounts; /* /proc/self/mounts; poll(2) reports POLLPRI when the mount table changes */
	struct workers *workers;
	struct rings *rings; /* NULL: all requests come by /dev/fuse */
	bool unmounted;	     /* by others */
};

/* What one request can hold: as much as asked for, but no more than this kernel ever sends. */
static uint32_t daemon_wanted_write(const struct options *o)
{
	unsigned int pages = MAX_PAGES_OLD;
	FILE *f = fopen(MAX_PAGES_FILE, "re");

	if (f) {
		if (fscanf(f, "%u", &pages) != 1 || !pages)
			pages = MAX_PAGES_OLD;
		(void)fclose(f);
	}
	if (o->max_write > pages * PAGE_4K)
		log_dbg("max_write=%u: fs.fuse.max_pages_limit is %u, so it is %llu", o->max_write,
			pages, (unsigned long long)(pages * PAGE_4K));
	return (uint32_t)align_down(MIN(o->max_write, pages * PAGE_4K), PAGE_4K);
}

/* Are requests to come over io_uring? 1, 0, or an error that was told. */
static int daemon_want_rings(const struct daemon *d)
{
	/* auto is off: it was not found to be faster in all that matters (doc/performance.md). */
	if (d->o->io_uring != IO_URING_ON)
		return 0;
	if (uring_offered())
		return 1;
	log_err("io_uring=on: the kernel does not offer FUSE over io_uring "
		"(/sys/module/fuse/parameters/enable_uring must be Y)");
	return -EOPNOTSUPP;
}

/* What auto means for this mount. */
static enum passthrough_mode daemon_passthrough(const struct daemon *d)
{
	if (d->o->passthrough != PASSTHROUGH_AUTO)
		return d->o->passthrough;
	return d->o->mount.flags & MS_RDONLY ? PASSTHROUGH_RO : PASSTHROUGH_OFF;
}

/* Passthrough cannot be had. Who has asked for it is told why. */
static void daemon_say_no_pass(const struct daemon *d, const char *why)
{
	if (d->o->passthrough == PASSTHROUGH_AUTO || d->o->passthrough == PASSTHROUGH_OFF)
		log_dbg("passthrough: %s", why);
	else
		log_warn("passthrough: %s", why);
}

/*
 * Has the kernel the window as persistent memory? Then VFIO cannot map it. Otherwise say why not,
 * if passthrough was asked for, and go on without.
 */
static bool daemon_find_regions(struct daemon *d, struct virtio_transport *t)
{
	struct pass_region all[PASS_REGIONS_MAX];
	struct pass_params *p = &d->pass_params;
	struct virtio_window w;
	int r;

	r = t->ops->window(t, false, &w);
	if (r < 0 || !w.phys) {
		daemon_say_no_pass(d, "the device has no window that is memory of this machine");
		return false;
	}
	r = pass_regions_choose(all, pass_regions_list("/sys", all, PASS_REGIONS_MAX), w.phys,
				w.size, &p->window, &p->meta);
	if (r < 0) {
		daemon_say_no_pass(d, r == -ENODEV
					      ? "the kernel has no fsdax namespace over the window "
						"(vfsdax-window setup makes it)"
				      : r == -EPERM ? "the kernel's namespace over the window was "
						      "not made by vfsdax-window setup"
				      : r == -ENXIO ? "there is no fsdax namespace for metadata "
						      "beside that of the window "
						      "(vfsdax-window setup makes it)"
						    : "there is more than one fsdax namespace "
						      "beside that of the window");
		return r != -ENODEV;
	}
	p->window_start = w.phys;
	p->window_size = w.size;
	p->ops = &relay_pass_ops;
	return true;
}

/* Where it cannot be had, the mount works without. */
static void daemon_open_pass(struct daemon *d)
{
	enum passthrough_mode mode = daemon_passthrough(d);
	struct pass_params *p = &d->pass_params;
	int r;

	if (!p->ops || (mode == PASSTHROUGH_OFF && d->o->dax == DAX_NEVER))
		return;
	p->ctx = &d->relay;
	p->min_size = PAGE_4K;
	p->writable = mode == PASSTHROUGH_ALL || mode == PASSTHROUGH_FIXED;
	p->only_fixed = mode == PASSTHROUGH_FIXED;
	r = pass_create(p, &d->pass);
	if (r < 0)
		log_warn("passthrough: %s and %s cannot be used: %s%s", p->window.block,
			 p->meta.block, strerror(-r),
			 r == -EBUSY ? " (by a program that uses files of an earlier mount?)" : "");
	if (r < 0 || mode == PASSTHROUGH_OFF)
		return;
	d->relay.pass = d->pass;
	d->relay.pass_write = p->writable;
	d->relay.wish.passthrough = true;
	d->relay.wish.truncating_open = p->writable;
}

static int daemon_open_device(struct daemon *d, unsigned int rings)
{
	const struct options *o = d->o;
	size_t cap = relay_slot_cap(d->max_write);
	struct fs_dev_params params = {
		.arena_size = client_arena_size(o->max_threads + rings, cap, cap) +
			      uring_arena_size(rings, d->max_write),
		.max_request = o->max_threads,
		.queue_size = o->queue_size,
	};
	struct virtio_pci_choice choice = { .tag = o->tag, .address = o->pci };
	struct virtio_transport *t;
	char why[256] = "";
	int r;

	r = o->vhost_user ? vhost_user_open(o->vhost_user, why, sizeof(why), &t)
			  : virtio_pci_open(&choice, why, sizeof(why), &t);
	if (r == 0)
		params.window_unmapped = daemon_find_regions(d, t);
	if (r == 0)
		r = fs_dev_start(t, &params, why, sizeof(why), &d->dev);
	if (r < 0)
		log_err("%s", why[0] ? why : strerror(-r));
	return r;
}

/*
 * The memory of the window, if there is any: all of it, or, while the kernel has it for
 * passthrough, a part of it.
 */
static void daemon_find_window(struct daemon *d, struct dax_params *params)
{
	struct pass_arena arena;
	int r;

	if (!params->size || params->addr)
		return;
	r = d->pass ? pass_arena_open(d->pass, !d->relay.pass, &arena) : -ENODEV;
	if (r < 0) {
		log_warn("the kernel has the window: data %sgoes over the virtqueue",
			 d->relay.pass ? "of files that are not passed through " : "");
		params->size = 0;
		return;
	}
	d->relay.arena = arena.at;
	params->addr = arena.addr;
	params->size = arena.size;
	params->remote = &relay_arena_ops;
	params->remote_ctx = &d->relay;
}

static int daemon_open_window(struct daemon *d)
{
	struct dax_params params = {
		.addr = d->dev->window.addr,
		.size = d->dev->window.size,
		.alignment = PAGE_4K,
		.remote = &client_dax_ops,
		.remote_ctx = d->relay.client,
	};
	bool has_window = params.size;
	int r;

	if (d->o->dax == DAX_NEVER)
		return 0;
	if (!has_window) {
		if (d->o->dax == DAX_ALWAYS) {
			log_err("dax=always: the device has no DAX window");
			return -ENODEV;
		}
		log_info("the device has no DAX window: all data goes over the virtqueue");
		return 0;
	}
	daemon_find_window(d, &params);
	if (!params.size && d->o->dax == DAX_ALWAYS) {
		log_err("dax=always: the kernel has the window (vfsdax-window remove gives it "
			"back)");
		return -EBUSY;
	}
	if (!params.size)
		return 0;
	r = dax_create(&params, &d->relay.dax);
	if (r < 0)
		log_err("the DAX window of %llu bytes cannot be used: %s",
			(unsigned long long)params.size, strerror(-r));
	return r;
}

/* Where a queue takes too few segments for our buffers, requests become smaller. */
static uint32_t daemon_max_write(const struct daemon *d)
{
	unsigned int segs = d->dev->request[0].max_segs;

	for (unsigned int i = 1; i < d->dev->num_request; i++)
		segs = MIN(segs, d->dev->request[i].max_segs);
	/* In the worst case each page is a segment; both headers and uneven ends take some more. */
	return segs >= d->max_write / PAGE_4K + 8 ? d->max_write
	       : segs > 16			  ? (uint32_t)((segs - 8) * PAGE_4K)
						  : (uint32_t)PAGE_4K;
}

/*
 * An ordinary user's back end could offer what only root can make: set-id root programs and device
 * nodes. So such a mount gets nosuid and nodev, unless root gives suid or dev. (fusermount3 sets
 * both for an ordinary user's mount in any case.)
 */
static struct mount_opts daemon_mount_opts(const struct daemon *d)
{
	struct mount_opts m = d->o->mount;
	unsigned long add = (MS_NOSUID | MS_NODEV) & ~m.said;
	uid_t peer = d->o->vhost_user ? vhost_user_peer(d->dev->t) : 0;

	if (peer == 0 || peer == geteuid() || !add)
		return m;
	m.flags |= add;
	log_info("%s: the back end runs as uid %d and not as root: mounting with %s%s%s",
		 d->o->vhost_user, (int)peer, add & MS_NOSUID ? "nosuid" : "",
		 add == (MS_NOSUID | MS_NODEV) ? "," : "", add & MS_NODEV ? "nodev" : "");
	return m;
}

/* Read the mount's flags, which a remount can change: noatime is passed on to the host. */
static void daemon_note_flags(struct daemon *d)
{
	unsigned long flags;

	if (mount_flags(d->o->mountpoint, &flags) < 0)
		return;
	atomic_store(&d->relay.noatime, flags & MS_NOATIME);
	atomic_store(&d->relay.nodiratime, flags & (MS_NOATIME | MS_NODIRATIME));
	/* It was chosen because nobody could write. */
	if (d->o->passthrough == PASSTHROUGH_AUTO)
		atomic_store(&d->relay.pass_paused, !(flags & MS_RDONLY));
}

static int daemon_mount(struct daemon *d)
{
	const struct mount_opts m = daemon_mount_opts(d);
	int r = mount_make(&m, d->dev->tag[0] ? d->dev->tag : "virtiofs", d->o->mountpoint,
			   &d->mount);

	if (r == 0) {
		d->mounts = open("/proc/self/mounts", O_RDONLY | O_CLOEXEC);
		daemon_note_flags(d);
	}
	return r;
}

static int daemon_start(struct daemon *d)
{
	int r, rings;

	d->max_write = daemon_wanted_write(d->o);
	r = mount_check(d->o->mountpoint);
	rings = r == 0 ? daemon_want_rings(d) : r;
	if (rings < 0)
		return rings;
	r = daemon_open_device(d, rings ? rings_entries(d->o->max_threads) : 0);
	if (r < 0)
		return r;
	r = client_create(d->dev, &d->relay.client);
	if (r < 0)
		return r;
	daemon_open_pass(d);
	r = daemon_open_window(d);
	if (r < 0)
		return r;
	d->relay.inodes = inode_table_create(d->relay.dax);
	d->relay.lock_waits = lock_waits_create(d->relay.client);
	d->relay.upkeep = upkeep_create(d->relay.client, d->relay.inodes, d->relay.pass);
	if (!d->relay.inodes || !d->relay.lock_waits || !d->relay.upkeep)
		return -ENOMEM;
	d->relay.wish.dax = d->relay.dax;
	d->relay.by_cost = d->o->dax == DAX_DEFAULT;
	d->relay.dax_inode = d->o->dax == DAX_INODE;
	d->relay.wish.max_write = daemon_max_write(d);
	/* Enough to keep all workers busy, and no queue in front of requests that are waited for. */
	d->relay.wish.max_background = (uint16_t)MAX(4 * d->o->max_threads, BACKGROUND_MIN);

	if (rings) {
		r = rings_open(&d->relay, d->o->max_threads, relay_slot_cap(d->max_write),
			       d->max_write, d->wake, &d->rings);
		if (r < 0) {
			log_err("io_uring=on: %s%s", strerror(-r),
				r == -EPERM ? " (kernel.io_uring_disabled?)" : "");
			return r;
		}
	}
	d->relay.wish.io_uring = d->rings;

	r = daemon_mount(d);
	if (r < 0)
		return r;
	d->relay.fuse_fd = d->mount.fd;
	d->relay.notifier = notifier_create(d->mount.fd);
	if (!d->relay.notifier)
		return -ENOMEM;
	r = workers_start(&d->relay, d->mount.fd, d->wake, d->o->max_threads,
			  relay_slot_cap(d->max_write), &d->workers);
	if (r < 0)
		log_err("the threads cannot be started: %s", strerror(-r));
	return r;
}

/* Wait until one of ours has something to say; returns the signal that came, 0, or -ETIMEDOUT. */
static int daemon_wait(struct daemon *d, int timeout_ms)
{
	struct pollfd pfd[] = { { .fd = d->signals, .events = POLLIN },
				{ .fd = d->wake, .events = POLLIN },
				{ .fd = d->mounts, .events = POLLPRI } };
	struct signalfd_siginfo info;
	eventfd_t count;
	int n = poll(pfd, ARRAY_SIZE(pfd), timeout_ms);

	if (n == 0)
		return -ETIMEDOUT;
	if (pfd[1].revents)
		(void)eventfd_read(d->wake, &count);
	if (pfd[2].revents)
		daemon_note_flags(d);
	if (n > 0 && pfd[0].revents && read(d->signals, &info, sizeof(info)) == sizeof(info))
		return (int)info.ssi_signo;
	return 0;
}

/* The kernel asks for INIT as soon as it is mounted; only then the mount works. */
static int daemon_wait_init(struct daemon *d)
{
	int r, state;

	while (!(state = atomic_load(&d->relay.init_state))) {
		r = daemon_wait(d, INIT_TIMEOUT_MS);
		if (r == -ETIMEDOUT || workers_ended(d->workers)) {
			log_err("the host does not answer FUSE_INIT");
			return -ETIMEDOUT;
		}
		if (r == SIGTERM || r == SIGINT)
			return -EINTR;
	}
	if (state == 1 && d->relay.pass && !(d->relay.agreed.kernel_flags & FUSE_PASSTHROUGH))
		daemon_say_no_pass(d, "this kernel cannot do it (FUSE has it from Linux 6.9)");
	if (state < 0)
		log_err("the host does not agree on the FUSE protocol: %s", strerror(-state));
	return MIN(state, 0);
}

/* Values of this moment. At the end everything has been given back, so then they are 0. */
static void daemon_set_gauges(const struct daemon *d)
{
	struct dax_status s = { 0 };

	static_assert(GAUGE_mappings_1g - GAUGE_mappings_64k + 1 == DAX_SIZES, "one for each size");
	if (d->relay.dax)
		dax_get_status(d->relay.dax, &s);
	gauge_set(GAUGE_inodes, d->relay.inodes ? inode_table_count(d->relay.inodes) : 0);
	gauge_set(GAUGE_lock_waits, lock_waits_count(d->relay.lock_waits));
	gauge_set(GAUGE_arena_bytes, d->dev ? d->dev->arena->size : 0);
	gauge_set(GAUGE_window_bytes, s.window_bytes);
	gauge_set(GAUGE_window_free_bytes, s.free_bytes);
	gauge_set(GAUGE_window_largest_free, s.largest_free);
	gauge_set(GAUGE_mapping_budget, s.budget);
	gauge_set(GAUGE_mappings, s.live);
	for (unsigned int i = 0; i < DAX_SIZES; i++)
		gauge_set(GAUGE_mappings_64k + i, s.live_by_size[i]);
}

/* INIT was answered: the kernel waits for the rings, if they were granted. */
static int daemon_begin_rings(struct daemon *d)
{
	int r = -EOPNOTSUPP;

	if (!d->rings)
		return 0;
	if (d->relay.agreed.kernel_flags & FUSE_OVER_IO_URING)
		r = rings_begin(d->rings, d->mount.fd);
	if (r < 0)
		log_err("io_uring=on: the kernel refuses FUSE over io_uring: %s", strerror(-r));
	return r;
}

static void daemon_write_stats(const struct daemon *d)
{
	_cleanup_free_ char *tmp = NULL;
	char line[COUNTER_DUMP_MAX];
	FILE *f;

	daemon_set_gauges(d);
	counter_dump(line, sizeof(line));
	log_dbg("stats: %s", line);
	if (!d->o->stats || asprintf(&tmp, "%s.new", d->o->stats) < 0)
		return;
	/* Renamed when complete: a reader sees one whole state. */
	f = fopen(tmp, "we");
	if (f && fprintf(f, "%s\n", line) > 0 && fclose(f) == 0 && rename(tmp, d->o->stats) == 0)
		return;
	log_warn("counters cannot be written to %s: %m", d->o->stats);
}

static void daemon_serve(struct daemon *d)
{
	while (!workers_ended(d->workers)) {
		int sig = daemon_wait(d, -1);

		if (sig == SIGUSR1)
			daemon_write_stats(d);
		if (sig == SIGTERM || sig == SIGINT || sig == SIGHUP || rings_failed(d->rings))
			return;
	}
	d->unmounted = true;
}

/* Unmount, while the workers still serve what the kernel writes back. */
static void daemon_unmount(struct daemon *d)
{
	uint64_t until = time_now_ns() + END_TIMEOUT_MS * NSEC_PER_MS;

	mount_unmount(&d->mount);
	if (d->unmounted || fs_dev_broken(d->dev))
		return;
	/* By the clock: changes of the mount table end the waiting, too. */
	while (time_now_ns() < until && !workers_ended(d->workers))
		if (daemon_wait(d, 100) == SIGTERM)
			break;
	if (!workers_ended(d->workers))
		log_warn("%s is still in use: its users get errors from now on", d->o->mountpoint);
}

/*
 * Gives the device up when the host answers nothing for END_TIMEOUT_MS. As long as it answers, more
 * requests are sent: hundreds of mappings take many seconds to remove. Ends early only by
 * pthread_cancel(): then all went well.
 */
static void *daemon_watchdog(void *arg)
{
	struct daemon *d = arg;
	struct timespec ts = { .tv_sec = END_TIMEOUT_MS / 1000 };
	uint64_t now = counter_get(COUNTER_virtqueue_requests), before;

	do {
		before = now;
		(void)nanosleep(&ts, NULL);
		now = counter_get(COUNTER_virtqueue_requests);
	} while (now != before);
	log_warn("the host does not answer: requests are given up");
	fs_dev_break(d->dev, -ENOTCONN);
	return NULL;
}

/* Whatever was started is ended, in the reverse order. */
static void daemon_end(struct daemon *d)
{
	pthread_t watchdog;
	bool watched = false;

	if (d->pass && fs_dev_broken(d->dev))
		pass_fail(d->pass);
	/* Who waits for a lock has the file open, and would hold the mount up. */
	lock_waits_stop(d->relay.lock_waits);
	if (d->mount.fd >= 0 && d->workers)
		daemon_unmount(d);
	if (d->dev)
		watched = pthread_create(&watchdog, NULL, daemon_watchdog, d) == 0;
	lock_waits_join(d->relay.lock_waits);
	notifier_stop(d->relay.notifier);
	workers_stop(d->workers);
	rings_stop(d->rings);
	notifier_destroy(d->relay.notifier);
	upkeep_destroy(d->relay.upkeep);
	lock_waits_destroy(steal_ptr(d->relay.lock_waits));
	mount_end(&d->mount);
	d->relay.fuse_fd = -1;
	inode_table_destroy(steal_ptr(d->relay.inodes));
	dax_destroy(steal_ptr(d->relay.dax));
	pass_destroy(steal_ptr(d->pass)); /* with the memory that dax may have used */
	if (atomic_load(&d->relay.init_state) == 1 && !fs_dev_broken(d->dev))
		(void)client_destroy_session(d->relay.client);
	if (watched) {
		(void)pthread_cancel(watchdog);
		(void)pthread_join(watchdog, NULL);
	}
	client_destroy(d->relay.client);
	if (d->dev && fs_dev_broken(d->dev) && !d->o->vhost_user)
		log_warn("the failed device stays with vfio-pci: another driver could hang on it");
	fs_dev_stop(steal_ptr(d->dev));
	daemon_write_stats(d);
	close_keep_errno(d->signals);
	close_keep_errno(d->wake);
	close_keep_errno(d->mounts);
}

static int daemon_prepare(struct daemon *d)
{
	sigset_t set;
	int r;

	r = guard_init();
	if (r == 0)
		r = workers_prepare();
	/* Blocked before any thread is made, so that only our descriptor sees them. */
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGHUP);
	(void)sigaddset(&set, SIGUSR1);
	(void)sigaddset(&set, SIGUSR2);
	(void)pthread_sigmask(SIG_BLOCK, &set, NULL);
	(void)sigdelset(&set, SIGUSR2);
	(void)signal(SIGPIPE, SIG_IGN);
	/* Sent to who holds a lease, as src/pass does for a moment, when somebody opens the file. */
	(void)signal(SIGIO, SIG_IGN);
	d->signals = signalfd(-1, &set, SFD_CLOEXEC);
	d->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (r == 0 && (d->signals < 0 || d->wake < 0))
		r = -errno;
	return r;
}

/*
 * To be called when the mount works. Until then autofs lets only the automounter's process group
 * pass its mountpoint, and mount(8) and its helpers run in that group. setsid() leaves the group:
 * this process would wait for its own mount.
 */
static void daemon_detach(int ready)
{
	static const char ok = EXIT_OK;
	_cleanup_close_ int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	(void)setsid();
	log_to_syslog();
	(void)chdir("/");
	for (int fd = 0; null >= 0 && fd < 3; fd++)
		(void)dup2(null, fd);
	(void)write(ready, &ok, 1);
}

int daemon_run(const struct options *o, int ready)
{
	struct daemon d = {
		.o = o,
		.signals = -1,
		.wake = -1,
		.mounts = -1,
		.mount.fd = -1,
	};
	int r, status = EXIT_OK;

	r = daemon_prepare(&d);
	if (r < 0)
		log_err("cannot start: %s", strerror(-r));
	if (r == 0)
		r = daemon_start(&d);
	if (r == 0)
		r = daemon_wait_init(&d);
	if (r == 0)
		r = daemon_begin_rings(&d);
	if (r < 0) {
		status = EXIT_MOUNT;
	} else {
		if (ready >= 0)
			daemon_detach(ready);
		log_dbg("mounted %s", o->mountpoint);
		daemon_serve(&d);
		if (fs_dev_broken(d.dev) || rings_failed(d.rings))
			status = EXIT_SYSTEM;
	}
	daemon_end(&d);
	return status;
}
