// SPDX-License-Identifier: MIT
// A cursor over an array of iovecs: consume or fill scattered memory in order.

#include <errno.h>
#include <stdint.h>

#include "base/guard.h"
#include "base/iov.h"
#include "base/num.h"

void iov_cursor_init(struct iov_cursor *c, const struct iovec *iov, unsigned int count)
{
	*c = (struct iov_cursor){ .iov = iov, .count = count };
}

size_t iov_cursor_left(const struct iov_cursor *c)
{
	size_t sum = 0;

	for (unsigned int i = 0; i < c->count; i++) {
		size_t len = c->iov[i].iov_len - (i ? 0 : c->skip);

		if (__builtin_add_overflow(sum, len, &sum))
			return SIZE_MAX;
	}
	return sum;
}

/* Take up to @n contiguous bytes; returns how many, 0 at the end. */
static size_t iov_cursor_take(struct iov_cursor *c, size_t n, void **ret_ptr)
{
	size_t here;

	while (c->count && c->skip == c->iov->iov_len) {
		c->iov++;
		c->count--;
		c->skip = 0;
	}
	if (!c->count || !n)
		return 0;
	here = MIN(n, c->iov->iov_len - c->skip);
	*ret_ptr = (char *)c->iov->iov_base + c->skip;
	c->skip += here;
	return here;
}

size_t iov_cursor_skip(struct iov_cursor *c, size_t n)
{
	size_t done = 0, here;
	void *ptr;

	while ((here = iov_cursor_take(c, n - done, &ptr)))
		done += here;
	return done;
}

static int iov_cursor_copy(struct iov_cursor *c, char *buf, size_t n, bool out_of)
{
	size_t here;
	void *ptr;
	int r;

	while (n && (here = iov_cursor_take(c, n, &ptr))) {
		r = out_of ? guard_copy(buf, ptr, here) : guard_copy(ptr, buf, here);
		if (r < 0)
			return r;
		buf += here;
		n -= here;
	}
	return 0;
}

int iov_cursor_read(struct iov_cursor *c, void *buf, size_t n)
{
	if (iov_cursor_left(c) < n)
		return -ENODATA;
	return iov_cursor_copy(c, buf, n, true);
}

int iov_cursor_write(struct iov_cursor *c, const void *buf, size_t n)
{
	if (iov_cursor_left(c) < n)
		return -ENOSPC;
	return iov_cursor_copy(c, (char *)(uintptr_t)buf, n, false);
}

unsigned int iov_cursor_slice(struct iov_cursor *c, size_t n, struct iovec *out, unsigned int max,
			      size_t *ret_len)
{
	unsigned int used = 0;
	size_t done = 0, here;
	void *ptr;

	while (used < max && (here = iov_cursor_take(c, n - done, &ptr))) {
		out[used++] = (struct iovec){ .iov_base = ptr, .iov_len = here };
		done += here;
	}
	*ret_len = done;
	return used;
}
