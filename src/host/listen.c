// SPDX-License-Identifier: MIT
// The listening socket: one connection after the other.

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "host/listen.h"

int listen_open(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	const struct sockaddr *sa = (const void *)&addr;
	_cleanup_close_ int fd = -1, probe = -1;
	struct stat st;

	if (strlen(path) >= sizeof(addr.sun_path))
		return -ENAMETOOLONG;
	memcpy(addr.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || probe < 0)
		return -errno;
	if (connect(probe, sa, sizeof(addr)) == 0 || errno == EAGAIN)
		return -EADDRINUSE;
	/* Another file that stands there makes bind() fail. */
	if (errno == ECONNREFUSED && lstat(path, &st) == 0 && S_ISSOCK(st.st_mode))
		(void)unlink(path);
	if (bind(fd, sa, sizeof(addr)) < 0 || listen(fd, 1) < 0)
		return -errno;
	return steal_fd(&fd);
}

int listen_serve(struct host *h, int listen_fd, int stop_fd)
{
	struct pollfd pfd[] = {
		{ .fd = listen_fd, .events = POLLIN },
		{ .fd = stop_fd, .events = POLLIN },
	};

	for (;;) {
		_cleanup_close_ int sock = -1;
		int r;

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
		log_info("connected");
		r = host_serve(h, sock, stop_fd);
		log_info("disconnected");
		if (r == -ECANCELED)
			return r;
	}
}
