// SPDX-License-Identifier: MIT
// vfsdaxhost: shares a directory with a virtual machine as a virtio-fs device with a DAX window.

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/guard.h"
#include "base/log.h"
#include "host/host.h"
#include "host/listen.h"
#include "host/options.h"
#include "host/sandbox.h"
#include "host/userns.h"

#define NOFILE_WANTED  1000000
#define NOFILE_RESERVE 2048 /* for open files, queues and mappings; no more than a quarter */
#define NOFILE_IDLE    8192 /* for inodes nobody uses: each holds memory of the host's kernel */

struct server {
	struct host *host;
	int listen_fd; /* or -1 */
	int fd;	       /* one connected socket, or -1 */
	int stop_fd;
	int result;
};

static void *server_thread(void *arg)
{
	struct server *s = arg;

	s->result = s->fd >= 0 ? host_serve(s->host, s->fd, s->stop_fd)
			       : listen_serve(s->host, s->listen_fd, s->stop_fd);
	/* The main thread waits for signals: tell it that there is nothing more to do. */
	(void)kill(getpid(), SIGTERM);
	return NULL;
}

/* What may not be exceeded whoever asks (fs.nr_open), but no more than a guest can use. */
static rlim_t nofile_most(void)
{
	unsigned long long most = 0;
	FILE *f = fopen("/proc/sys/fs/nr_open", "re");

	if (f && fscanf(f, "%llu", &most) != 1)
		most = 0;
	if (f)
		(void)fclose(f);
	return MIN((rlim_t)most, (rlim_t)NOFILE_WANTED);
}

/*
 * All descriptors that we can have, for an inode that the guest knows may take one. Where the hard
 * limit is low, root may raise it, as virtiofsd does. Returns the limit.
 */
static rlim_t raise_nofile(void)
{
	struct rlimit lim, more;

	if (getrlimit(RLIMIT_NOFILE, &lim) < 0)
		return RLIM_INFINITY;
	more.rlim_max = MAX(lim.rlim_max, nofile_most());
	more.rlim_cur = more.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &more) < 0) {
		more.rlim_cur = more.rlim_max = lim.rlim_max;
		if (setrlimit(RLIMIT_NOFILE, &more) < 0) {
			log_warn("cannot raise the limit of open files: %m");
			more = lim;
		}
	}
	log_dbg("up to %llu open files", (unsigned long long)more.rlim_cur);
	return more.rlim_cur;
}

/* How many of them inodes may take, so that their files can still be opened. */
static void share_nofile(rlim_t limit, struct host_config *ret)
{
	if (limit != RLIM_INFINITY)
		ret->max_open = MAX(limit - MIN(limit / 4, (rlim_t)NOFILE_RESERVE), (rlim_t)1);
	ret->max_idle = MIN(limit / 4, (rlim_t)NOFILE_IDLE);
}

static unsigned int needs(const struct host_options *o)
{
	bool handles = o->host.file_handles != FUSE_FILE_HANDLES_NEVER;

	return (o->host.security_label ? HOST_NEED_LABELS : 0u) |
	       (handles ? HOST_NEED_HANDLES : 0u) | (o->syslog ? HOST_NEED_SYSLOG : 0u);
}

/* Serve until SIGTERM or SIGINT, with @set blocked in all threads. */
static int serve(struct server *s, const sigset_t *set)
{
	static const uint64_t one = 1;
	pthread_t thread;
	int sig, r;

	r = pthread_create(&thread, NULL, server_thread, s);
	if (r) {
		log_err("cannot make a thread: %s", strerror(r));
		return -r;
	}
	while (sigwait(set, &sig) == 0 && sig == SIGUSR1)
		host_log_stats(s->host);
	if (write(s->stop_fd, &one, sizeof(one)) < 0)
		log_dbg("eventfd: %m");
	(void)pthread_join(thread, NULL);
	return s->result == -ECANCELED ? 0 : s->result;
}

static int run(struct host_options *o)
{
	_cleanup_close_ int listen_fd = -1, stop_fd = -1;
	struct sandbox box = { -1, -1 };
	struct server s = { .fd = o->fd };
	const char *what = "";
	sigset_t set;
	int r;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGHUP);
	(void)sigaddset(&set, SIGUSR1);
	(void)pthread_sigmask(SIG_BLOCK, &set, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGXFSZ, SIG_IGN);
	/*
	 * Files made outside of a request, such as the socket, are for this user only. The threads
	 * that serve requests have their own umask (cred_thread_init()).
	 */
	(void)umask(077);
	share_nofile(raise_nofile(), &o->host);
	r = guard_init();
	stop_fd = eventfd(0, EFD_CLOEXEC);
	if (r < 0 || stop_fd < 0) {
		log_err("cannot set up: %m");
		return -EIO;
	}
	if (o->socket_path) {
		const struct listen_config cfg = {
			.path = o->socket_path,
			.group = o->socket_group,
			.mode = (mode_t)o->socket_mode,
		};

		r = listen_fd = listen_open(&cfg, &what);
		if (r < 0) {
			log_err("%s: %s: %s", o->socket_path, what, strerror(-r));
			return r;
		}
	}
	userns_check();
	r = sandbox_enter(o->sandbox, o->shared_dir, needs(o), &box, &what);
	if (r < 0) {
		log_err("%s: %s: %s", o->shared_dir, what, strerror(-r));
		return r;
	}
	o->host.root_fd = box.root_fd;
	o->host.proc_fd = box.proc_fd;
	r = host_new(&o->host, &s.host);
	close_keep_errno(box.root_fd);
	close_keep_errno(box.proc_fd);
	if (r < 0) {
		log_err("cannot share %s%s: %s", o->shared_dir,
			o->host.file_handles == FUSE_FILE_HANDLES_MANDATORY
				? " (--inode-file-handles=mandatory needs a file system with file "
				  "handles and CAP_DAC_READ_SEARCH)"
				: "",
			strerror(-r));
		return r;
	}
	r = host_seccomp_enter(o->seccomp, needs(o));
	if (r < 0) {
		log_err("cannot filter system calls%s: %s",
			r == -EOPNOTSUPP ? " (built without libseccomp; use --seccomp=none)" : "",
			strerror(-r));
		host_free(s.host);
		return r;
	}
	log_info("sharing %s, window of %llu MiB", o->shared_dir,
		 (unsigned long long)(o->host.window / MIB));
	s.listen_fd = listen_fd;
	s.stop_fd = stop_fd;
	if (o->seccomp == HOST_SECCOMP_NONE)
		log_dbg("system calls are not filtered");
	r = serve(&s, &set);
	host_free(s.host);
	return r;
}

int main(int argc, char **argv)
{
	struct host_options o;

	if (host_options_parse(argc, argv, &o) < 0)
		return 2;
	if (o.help || o.version) {
		(void)fputs(o.help ? host_options_usage() : "vfsdaxhost " VFSDAX_VERSION "\n",
			    stdout);
		return 0;
	}
	log_init("vfsdaxhost", o.log_level);
	if (o.syslog)
		log_to_syslog();
	return run(&o) < 0 ? 1 : 0;
}
