/* SPDX-License-Identifier: MIT */
/* A cursor over an array of iovecs: consume or fill scattered memory in order. */
#pragma once

#include <stddef.h>
#include <sys/uio.h>

/*
 * The cursor owns nothing; the iovec array and its memory must outlive it. It never changes the
 * array. The memory may belong to a peer: copies are guarded (base/guard.h).
 */
struct iov_cursor {
	const struct iovec *iov;
	unsigned int count; /* iovecs left, the current one included */
	size_t skip;	    /* bytes already used of the current one */
};

void iov_cursor_init(struct iov_cursor *c, const struct iovec *iov, unsigned int count);

/* iov_cursor_left() - bytes not yet used. The sum saturates at SIZE_MAX. */
size_t iov_cursor_left(const struct iov_cursor *c);

/* iov_cursor_skip() - step over up to @n bytes; returns how many. */
size_t iov_cursor_skip(struct iov_cursor *c, size_t n);

/*
 * iov_cursor_read(), iov_cursor_write() - copy exactly @n bytes out of or into the memory.
 * Returns 0, -ENODATA (read) or -ENOSPC (write) when fewer are left (then nothing is consumed), or
 * -EFAULT when the peer's memory is gone.
 */
int iov_cursor_read(struct iov_cursor *c, void *buf, size_t n);
int iov_cursor_write(struct iov_cursor *c, const void *buf, size_t n);

/*
 * iov_cursor_slice() - describe the next bytes, up to @n, as iovecs of their own and step over
 * them. @out has room for @max entries. Returns the number of entries; *ret_len says how many bytes
 * they cover, which is less than @n when either memory or entries ran out.
 */
unsigned int iov_cursor_slice(struct iov_cursor *c, size_t n, struct iovec *out, unsigned int max,
			      size_t *ret_len);
