// SPDX-License-Identifier: MIT
// The listening socket: one connection after the other.

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "host/listen.h"

#define LISTEN_MODE_MADE    0600
#define LISTEN_RETRY_MS	    1000 /* after accept() failed for lack of descriptors or memory */
#define LISTEN_OTHERS_WRITE 0002

static int fail(const char **ret_what, const char *what)
{
	int e = -errno;

	*ret_what = what;
	return e;
}

/*
 * Set group and mode of the new socket. Use a descriptor of the file, not its name: another user
 * who may write in the directory could have replaced the file.
 */
static int listen_open_up(const struct listen_config *cfg, const char **ret_what)
{
	_cleanup_close_ int fd = open(cfg->path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	char name[32];
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return fail(ret_what, "cannot open the new socket");
	if (!S_ISSOCK(st.st_mode) || st.st_uid != geteuid() ||
	    st.st_mode & 0777 & ~LISTEN_MODE_MADE) {
		*ret_what = "the new socket has changed (has another user replaced it?)";
		return -EEXIST;
	}
	if (cfg->group != (gid_t)-1 && fchownat(fd, "", (uid_t)-1, cfg->group, AT_EMPTY_PATH) < 0)
		return fail(ret_what, "cannot give the socket to the group of --socket-group");
	(void)snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	if (cfg->mode != (st.st_mode & 0777) && chmod(name, cfg->mode) < 0)
		return fail(ret_what, "cannot set the mode of the socket (is /proc mounted?)");
	return 0;
}

int listen_open(const struct listen_config *cfg, const char **ret_what)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	const struct sockaddr *sa = (const void *)&addr;
	_cleanup_close_ int fd = -1, probe = -1;
	struct stat st;
	mode_t mask;
	int r;

	*ret_what = "cannot listen";
	if (strlen(cfg->path) >= sizeof(addr.sun_path))
		return -ENAMETOOLONG;
	memcpy(addr.sun_path, cfg->path, strlen(cfg->path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || probe < 0)
		return -errno;
	if (connect(probe, sa, sizeof(addr)) == 0 || errno == EAGAIN)
		return -EADDRINUSE;
	/* Another file that stands there makes bind() fail. */
	if (errno == ECONNREFUSED && lstat(cfg->path, &st) == 0 && S_ISSOCK(st.st_mode))
		(void)unlink(cfg->path);
	mask = umask(0777 & ~LISTEN_MODE_MADE);
	r = bind(fd, sa, sizeof(addr)) < 0 ? -errno : 0;
	(void)umask(mask);
	if (r == 0)
		r = listen_open_up(cfg, ret_what);
	if (r < 0)
		return r;
	/* A short queue is enough: who is in it is served next or turned away at once. */
	if (listen(fd, 1) < 0)
		return fail(ret_what, "cannot listen");
	if (cfg->mode & LISTEN_OTHERS_WRITE)
		log_warn("each user of this machine who can reach %s has full access to the shared "
			 "directory (--socket-mode=%04o)",
			 cfg->path, (unsigned int)cfg->mode);
	return steal_fd(&fd);
}

/* The front end's user and process at the time of its connect(2). */
static struct ucred peer_of(int sock)
{
	struct ucred c = { .uid = (uid_t)-1, .gid = (gid_t)-1 };
	socklen_t len = sizeof(c);

	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &c, &len) < 0)
		log_dbg("SO_PEERCRED: %m");
	return c;
}

/*
 * While a connection is served, a thread turns others away. The loop that serves cannot do it,
 * because it blocks: for the rest of a message, and for requests in progress when a queue is
 * stopped. The two threads share only descriptors:
 * - listen_fd: the serving thread calls accept() only while this thread does not run, so the two
 *   never compete for a connection;
 * - sock: only polled here; the serving thread closes it after it has joined this thread;
 * - done_fd: the serving thread writes to it when the connection has ended.
 */
struct turn_away {
	int listen_fd;
	int sock;
	int done_fd;
	struct ucred served;
};

static bool hung_up(int sock)
{
	struct pollfd p = { .fd = sock, .events = POLLRDHUP };

	return poll(&p, 1, 0) > 0;
}

static void *turn_away_thread(void *arg)
{
	const struct turn_away *t = arg;
	struct pollfd pfd[] = {
		{ .fd = t->done_fd, .events = POLLIN },
		{ .fd = t->listen_fd, .events = POLLIN },
	};

	for (;;) {
		_cleanup_close_ int other = -1;
		struct ucred peer;

		if (poll(pfd, ARRAY_SIZE(pfd), -1) < 0)
			continue;
		/*
		 * A client that connects after the served one has hung up stays in the queue: it is
		 * served next. The order matters: check for the hang-up after somebody is in the
		 * queue, so that a client that ends and connects again is never turned away.
		 */
		if (pfd[0].revents || hung_up(t->sock))
			return NULL;
		other = accept4(t->listen_fd, NULL, NULL, SOCK_CLOEXEC);
		if (other < 0) {
			/* The guest may use all descriptors (EMFILE) and release some later. */
			if (errno != ECONNABORTED && errno != EINTR &&
			    poll(pfd, 1, LISTEN_RETRY_MS) > 0)
				return NULL;
			continue;
		}
		peer = peer_of(other);
		log_warn_ratelimited("another client (uid %u, pid %d) was turned away: serving uid "
				     "%u, pid %d",
				     peer.uid, peer.pid, t->served.uid, t->served.pid);
	}
}

/* Serve one connection, and turn others away meanwhile. */
static int listen_serve_one(struct host *h, int listen_fd, int sock, int stop_fd)
{
	static const uint64_t one = 1;
	_cleanup_close_ int done_fd = eventfd(0, EFD_CLOEXEC);
	struct turn_away t = {
		.listen_fd = listen_fd,
		.sock = sock,
		.done_fd = done_fd,
		.served = peer_of(sock),
	};
	pthread_t thread;
	bool alone;
	int r;

	log_info("connected: uid %u, pid %d", t.served.uid, t.served.pid);
	alone = done_fd >= 0 && pthread_create(&thread, NULL, turn_away_thread, &t) == 0;
	if (!alone)
		log_warn("cannot make a thread to turn other clients away: they have to wait");
	r = host_serve(h, sock, stop_fd);
	if (alone) {
		if (write(done_fd, &one, sizeof(one)) < 0)
			log_dbg("eventfd: %m");
		(void)pthread_join(thread, NULL);
	}
	log_info("disconnected");
	return r;
}

int listen_serve(struct host *h, int listen_fd, int stop_fd)
{
	struct pollfd pfd[] = {
		{ .fd = listen_fd, .events = POLLIN },
		{ .fd = stop_fd, .events = POLLIN },
	};

	for (;;) {
		_cleanup_close_ int sock = -1;

		if (poll(pfd, 2, -1) < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		if (pfd[1].revents)
			return -ECANCELED;
		sock = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
		if (sock < 0) {
			if (errno == ECONNABORTED || errno == EINTR)
				continue;
			return -errno;
		}
		if (listen_serve_one(h, listen_fd, sock, stop_fd) == -ECANCELED)
			return -ECANCELED;
	}
}
