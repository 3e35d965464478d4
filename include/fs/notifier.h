/* SPDX-License-Identifier: MIT */
/* Notifications to the kernel, sent by a thread of their own. */
#pragma once

#include <stdint.h>

/*
 * Problem: to drop pages of a file the kernel takes their locks. A page that is being read or
 * written back stays locked until a worker answers that READ or WRITE. So a worker must not send
 * such a notification: if all workers did, nobody would answer. A thread of its own sends it, and
 * the worker waits for a limited time.
 *
 * FUSE_NOTIFY_INVAL_INODE: fs/fuse/inode.c, fuse_reverse_inval_inode().
 */
struct notifier;

/*
 * notifier_create() - send notifications to @fd, a /dev/fuse, which must stay open until
 * notifier_destroy(). The first notification starts the thread. NULL: no memory.
 */
struct notifier *notifier_create(int fd);

/*
 * notifier_drop_pages() - have the kernel write back and drop the pages of [@off, @off + @len) of a
 * file. Returns when the kernel has done it, or after 100 ms: then the thread goes on with it. Any
 * thread, but holding no lock that the answer to a READ or WRITE could need. May wait
 * (waiting_begin()).
 */
void notifier_drop_pages(struct notifier *n, uint64_t nodeid, uint64_t off, uint64_t len);

/*
 * notifier_stop() - wait for the notification that is being sent; send no more. While workers still
 * answer, or the connection has ended.
 * notifier_destroy() - after that, when no thread can call notifier_drop_pages() any more. NULL is
 * fine for both.
 */
void notifier_stop(struct notifier *n);
void notifier_destroy(struct notifier *n);
