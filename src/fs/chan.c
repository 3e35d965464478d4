// SPDX-License-Identifier: MIT
// The kernel's side: requests from /dev/fuse and replies to it.

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "fs/chan.h"
#include "wire/fuse_proto.h"

int chan_clone(int fd, bool nonblock)
{
	_cleanup_close_ int clone =
		open("/dev/fuse", O_RDWR | O_CLOEXEC | (nonblock ? O_NONBLOCK : 0));
	uint32_t master = (uint32_t)fd;

	if (clone < 0 || ioctl(clone, FUSE_DEV_IOC_CLONE, &master) < 0)
		return -errno;
	return steal_fd(&clone);
}

int chan_read(int fd, void *buf, size_t size)
{
	ssize_t n = read(fd, buf, size);

	if (n < 0) {
		/* ENOENT: the request was interrupted before we took it */
		if (errno == EINTR || errno == EAGAIN || errno == ENOENT)
			return 0;
		return -errno;
	}
	return n < (ssize_t)sizeof(struct fuse_in_header) ? -EIO : (int)n;
}

void chan_reply_error(int fd, uint64_t unique, int error)
{
	struct fuse_out_header h = { .len = sizeof(h), .error = error, .unique = unique };

	if (write(fd, &h, sizeof(h)) < 0 && errno != ENOENT)
		log_dbg("error reply to the kernel: %m");
}

void chan_reply(int fd, uint64_t unique, const void *rep, size_t len)
{
	if (write(fd, rep, len) >= 0 || errno == ENOENT)
		return;
	log_warn_ratelimited("the kernel does not take a reply of %zu bytes: %m", len);
	chan_reply_error(fd, unique, -EIO);
}

void chan_notify_inval_inode(int fd, uint64_t nodeid, uint64_t off, uint64_t len)
{
	struct {
		struct fuse_out_header h;
		struct fuse_notify_inval_inode_out out;
	} n = {
		.h = { .len = sizeof(n), .error = FUSE_NOTIFY_INVAL_INODE },
		.out = { .ino = nodeid, .off = (int64_t)off, .len = (int64_t)len },
	};

	/* ENOENT: the kernel does not know the file any more */
	if (write(fd, &n, sizeof(n)) < 0 && errno != ENOENT)
		log_dbg("notification of the kernel: %m");
}

int chan_backing_open(int fd, int backing)
{
	struct fuse_backing_map map = { .fd = backing };
	int id = ioctl(fd, FUSE_DEV_IOC_BACKING_OPEN, &map);

	return id > 0 ? id : id < 0 ? -errno : -EIO;
}

void chan_backing_close(int fd, int id)
{
	uint32_t number = (uint32_t)id;

	/* With the connection all of them are gone. */
	if (fd < 0)
		return;
	if (ioctl(fd, FUSE_DEV_IOC_BACKING_CLOSE, &number) < 0)
		log_dbg("backing id %d: %m", id);
}
