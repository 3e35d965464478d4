/* SPDX-License-Identifier: MIT */
/* Notifications to the kernel, sent by a thread of their own. */
#pragma once

#include <stdint.h>

/*
 * Problem: the kernel drops pages of a file only after it has got their locks. A page that is being
 * read or written back is locked until a worker answers that READ or WRITE. So a worker must not
 * send such a notification: when all workers do, nobody answers. A thread sends it instead, and the
 * worker waits for a limited time.
 *
 * FUSE_NOTIFY_INVAL_INODE: fs/fuse/inode.c, fuse_reverse_inval_inode().
 */
struct notifier;

/*
 * notifier_create() - for the connection of @fd, which is used until notifier_destroy(). The thread
 * is made by the first notification. NULL: no memory.
 */
struct notifier *notifier_create(int fd);

/*
 * notifier_drop_pages() - have the kernel write back and drop the pages of [@off, @off + @len) of a
 * file. Returns when it has, or when that takes too long: then it goes on by itself. Any thread,
 * without locks that the answer to a READ or WRITE could need. May wait (waiting_begin()).
 */
void notifier_drop_pages(struct notifier *n, uint64_t nodeid, uint64_t off, uint64_t len);

/*
 * notifier_destroy() - wait for the notification that is being sent; forget the others. NULL is
 * fine. While workers still answer, or the connection has ended.
 */
void notifier_destroy(struct notifier *n);
