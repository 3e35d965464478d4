/* SPDX-License-Identifier: MIT */
/* The kernel's side: requests from /dev/fuse and replies to it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A channel is a descriptor of /dev/fuse. Each worker has clones of its own (FUSE_DEV_IOC_CLONE),
 * so that replies find the queue of the worker that asked: they go to the descriptor that the
 * request came from. A reply must be written to the connection exactly once for each request but
 * FORGET.
 */

/*
 * chan_clone() - another descriptor of the connection of @fd, or a negative errno. With @nonblock
 * its chan_read() never waits.
 */
int chan_clone(int fd, bool nonblock);

/*
 * chan_read() - wait for a request. Returns its length; 0 to be called again (a signal, a request
 * that was aborted, or none is there and it does not wait); -ENODEV when the file system is
 * unmounted; another negative errno.
 */
int chan_read(int fd, void *buf, size_t size);

/*
 * chan_reply() - answer request @unique with a complete reply of @len bytes. Its memory may be a
 * peer's; what stands in its header is for the kernel to judge. The kernel takes no reply of an
 * unsuitable size; the request is then answered with EIO, so that no caller waits for ever. The
 * reply to a request that was interrupted goes nowhere; that is no error.
 */
void chan_reply(int fd, uint64_t unique, const void *rep, size_t len);

/* chan_reply_error() - answer request @unique with @error, a negative errno. */
void chan_reply_error(int fd, uint64_t unique, int error);

/*
 * chan_notify_inval_inode() - have the kernel write back and drop its pages of [@off, @off + @len)
 * of a file, and forget its attributes. Blocks until the kernel's READs and WRITEs of these pages
 * are answered, so other threads must serve them.
 */
void chan_notify_inval_inode(int fd, uint64_t nodeid, uint64_t off, uint64_t len);

/*
 * chan_backing_open() - register @backing, an open file, for passthrough (Linux 6.9, CAP_SYS_ADMIN).
 * Returns an id above 0, to be given back by chan_backing_close(), or a negative errno.
 */
int chan_backing_open(int fd, int backing);
void chan_backing_close(int fd, int id); /* @fd -1: the connection has ended */
