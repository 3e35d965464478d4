// SPDX-License-Identifier: MIT
// Whole messages with file descriptors over a Unix stream socket.

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/cleanup.h"
#include "base/fdmsg.h"

union fdmsg_control {
	struct cmsghdr align;
	char buf[CMSG_SPACE(sizeof(int) * FDMSG_MAX_FDS)];
};

int fdmsg_send(int sock, const void *buf, size_t len, const int *fds, unsigned int nfds)
{
	const char *p = buf;
	union fdmsg_control control = { 0 };

	if (nfds > FDMSG_MAX_FDS)
		return -EINVAL;
	while (len) {
		struct iovec iov = { .iov_base = (char *)p, .iov_len = len };
		struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
		ssize_t n;

		if (nfds) {
			struct cmsghdr *cmsg;

			msg.msg_control = control.buf;
			msg.msg_controllen = CMSG_SPACE(sizeof(int) * nfds);
			cmsg = CMSG_FIRSTHDR(&msg);
			cmsg->cmsg_level = SOL_SOCKET;
			cmsg->cmsg_type = SCM_RIGHTS;
			cmsg->cmsg_len = CMSG_LEN(sizeof(int) * nfds);
			memcpy(CMSG_DATA(cmsg), fds, sizeof(int) * nfds);
		}
		n = sendmsg(sock, &msg, MSG_NOSIGNAL);
		if (n < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		p += n;
		len -= (size_t)n;
		nfds = 0;
	}
	return 0;
}

/* Collect the descriptors of one recvmsg(); those that do not fit are closed. */
static int fdmsg_collect(struct msghdr *msg, int *fds, unsigned int *nfds)
{
	int r = msg->msg_flags & MSG_CTRUNC ? -EPROTO : 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t n;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (fds && *nfds < FDMSG_MAX_FDS) {
				fds[(*nfds)++] = fd;
			} else {
				close_keep_errno(fd);
				r = -EPROTO;
			}
		}
	}
	return r;
}

int fdmsg_recv(int sock, void *buf, size_t len, int *fds, unsigned int *ret_nfds)
{
	unsigned int nfds = 0;
	size_t got = 0;
	int r = 1;

	while (got < len) {
		union fdmsg_control control;
		struct iovec iov = { .iov_base = (char *)buf + got, .iov_len = len - got };
		struct msghdr msg = {
			.msg_iov = &iov,
			.msg_iovlen = 1,
			.msg_control = control.buf,
			.msg_controllen = sizeof(control.buf),
		};
		ssize_t n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);

		if (n < 0) {
			if (errno == EINTR)
				continue;
			r = -errno;
			break;
		}
		if (n == 0) {
			r = got ? -EPROTO : 0;
			break;
		}
		r = fdmsg_collect(&msg, fds, &nfds);
		if (r < 0)
			break;
		r = 1;
		got += (size_t)n;
	}
	if (r <= 0) {
		while (nfds)
			close_keep_errno(fds[--nfds]);
		return r;
	}
	if (ret_nfds)
		*ret_nfds = nfds;
	return 1;
}
