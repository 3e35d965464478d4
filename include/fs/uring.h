/* SPDX-License-Identifier: MIT */
/* The kernel's side, over io_uring: one entry of one of the kernel's queues. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/relay.h"

/*
 * From Linux 6.14 on requests can come, and replies go, by the completion and submission of one
 * io_uring command: one system call for a reply and the next request, and no read and write of
 * /dev/fuse. The kernel has a queue for each possible CPU; a request is put on the queue of the CPU
 * where its caller runs, and given to one of the entries that were registered for that queue. INIT,
 * FORGET and INTERRUPT stay with /dev/fuse.
 *
 * Concepts: a uring is one entry with an io_uring instance of its own, and belongs to one thread,
 * which opens, registers, serves and closes it. It holds one request at a time. Request and reply
 * lie in memory of the DMA arena.
 *
 * Without liburing all of these return -ENOTSUP.
 */
struct uring;

/* uring_offered() - does this kernel offer it, by its module parameter, and were we built with it? */
bool uring_offered(void);

/* uring_arena_size() - bytes of arena that @n payload buffers of @payload_cap take, without slots. */
size_t uring_arena_size(unsigned int n, size_t payload_cap);

/*
 * uring_create() - @queue: of the kernel, that is, a CPU's number. @payload_cap: at least what INIT
 * grants as max_write, and 8 KiB. 0, -ENOMEM or -ENOTSUP. Free with uring_destroy() when it is not
 * open.
 */
int uring_create(struct relay *relay, unsigned int queue, size_t slot_cap, size_t payload_cap,
		 struct uring **ret);
void uring_destroy(struct uring *u);

/* uring_open() - make the io_uring. 0 or a negative errno, such as -EPERM
 * (kernel.io_uring_disabled). */
int uring_open(struct uring *u);
void uring_close(struct uring *u);

/*
 * uring_register() - offer the entry to the connection of which @fd is a descriptor; after INIT. 0
 * or a negative errno. Between INIT and the first entry of each queue the kernel holds requests
 * back; when a register fails it gives up io_uring for this connection.
 */
int uring_register(struct uring *u, int fd);

/*
 * uring_serve() - wait for a request and serve it. 0; or, after a signal, 0 without having done so;
 * -ENOTCONN when the file system is unmounted; another negative errno.
 */
int uring_serve(struct uring *u);
