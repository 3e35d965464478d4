// SPDX-License-Identifier: MIT
// Large replies to the kernel without a look-up of each of their pages.

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/num.h"
#include "fs/chan_pipe.h"

#define SLOTS_MIN 16u

struct chan_pipe {
	size_t slots; /* pages that each pipe holds; a power of two, as the kernel makes them */
	size_t cap;   /* bytes of the buffer in so many */
	int held[2];  /* references to these pages */
	int reply[2]; /* to those of one reply; empty between two */
};

static void pipe_close(int fds[2])
{
	close_keep_errno(steal_fd(&fds[0]));
	close_keep_errno(steal_fd(&fds[1]));
}

/* A pipe with room for so many pages. */
static int pipe_open(int fds[2], size_t slots)
{
	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	if (fcntl(fds[1], F_SETPIPE_SZ, (int)(slots * PAGE_4K)) < 0) {
		pipe_close(fds);
		return -errno;
	}
	return 0;
}

/* Private memory that nobody has written yet is not there: the pipe would get a page of zeros. */
static void touch(volatile char *buf, size_t len)
{
	size_t at = 0, step = PAGE_4K - (uintptr_t)buf % PAGE_4K; /* to the next page */

	for (; at < len; at += step, step = PAGE_4K) {
		char same = buf[at];

		buf[at] = same;
	}
}

static int pipe_fill(int fd, void *buf, size_t len)
{
	struct iovec iov = { .iov_base = buf, .iov_len = len };

	touch(buf, len);
	while (iov.iov_len) {
		ssize_t n = vmsplice(fd, &iov, 1, 0);

		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		iov.iov_base = (char *)iov.iov_base + n;
		iov.iov_len -= (size_t)n;
	}
	return 0;
}

/* Both pipes, the largest that are allowed: without CAP_SYS_RESOURCE there is a limit. */
static int pipes_open(struct chan_pipe *p)
{
	int r;

	for (;; p->slots /= 2) {
		r = pipe_open(p->held, p->slots);
		if (r == 0)
			r = pipe_open(p->reply, p->slots);
		if (r != -EPERM || p->slots == SLOTS_MIN)
			return r;
		pipe_close(p->held);
	}
}

int chan_pipe_create(void *rep, size_t cap, struct chan_pipe **ret)
{
	size_t front = PAGE_4K - (uintptr_t)rep % PAGE_4K; /* in the first page */
	struct chan_pipe *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return -ENOMEM;
	*p = (struct chan_pipe){ .slots = SLOTS_MIN, .held = { -1, -1 }, .reply = { -1, -1 } };
	while (p->slots < cap / PAGE_4K + 2)
		p->slots *= 2;
	r = pipes_open(p);
	if (r == 0) {
		p->cap = MIN(cap, front + (p->slots - 1) * PAGE_4K);
		r = pipe_fill(p->held[1], rep, p->cap);
	}
	if (r < 0) {
		chan_pipe_free(p);
		return r;
	}
	*ret = p;
	return 0;
}

size_t chan_pipe_cap(const struct chan_pipe *p)
{
	return p->cap;
}

void chan_pipe_free(struct chan_pipe *p)
{
	if (!p)
		return;
	pipe_close(p->held);
	pipe_close(p->reply);
	free(p);
}

int chan_pipe_reply(struct chan_pipe *p, int fd, size_t len)
{
	ssize_t n;

	if (len > p->cap)
		return -E2BIG;
	n = p->reply[0] < 0 ? -1 : tee(p->held[0], p->reply[1], len, SPLICE_F_NONBLOCK);

	if (n == (ssize_t)len)
		n = splice(p->reply[0], NULL, fd, NULL, len, 0);
	if (n == (ssize_t)len)
		return 0;
	/* What is left in the pipe must not become part of the next reply. */
	n = n < 0 ? -errno : -EIO;
	pipe_close(p->reply);
	(void)pipe_open(p->reply, p->slots);
	return n == -ENOENT ? 0 : (int)n;
}
