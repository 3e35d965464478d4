// SPDX-License-Identifier: MIT
// Built without liburing: requests come over /dev/fuse only.

#include <errno.h>

#include "fs/uring.h"

bool uring_offered(void)
{
	return false;
}

size_t uring_arena_size(unsigned int n, size_t payload_cap)
{
	return 0;
}

int uring_create(struct relay *relay, unsigned int queue, size_t slot_cap, size_t payload_cap,
		 struct uring **ret)
{
	return -ENOTSUP;
}

void uring_destroy(struct uring *u)
{
}

int uring_open(struct uring *u)
{
	return -ENOTSUP;
}

void uring_close(struct uring *u)
{
}

int uring_register(struct uring *u, int fd)
{
	return -ENOTSUP;
}

int uring_serve(struct uring *u)
{
	return -ENOTSUP;
}
