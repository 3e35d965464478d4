// SPDX-License-Identifier: MIT
// File contents: READ, WRITE, FSYNC, FLUSH, LSEEK, FALLOCATE, COPY_FILE_RANGE, STATFS, SYNCFS.

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "host/fs.h"

#define FS_MAX_IOV 1024u /* UIO_MAXIOV */

static void fs_count(_Atomic uint64_t *n, size_t by)
{
	/* relaxed: statistics */
	atomic_fetch_add_explicit(n, by, memory_order_relaxed);
}

/* A transfer between a file and the guest's memory. */
struct fs_transfer {
	int fd;
	bool write;
	uint64_t off;
	size_t done; /* bytes transferred, even if an error followed */
};

/*
 * After a short transfer: is it worth a retry? A read that stopped before the end of the file met
 * an error, or somebody truncates the file now. A file without a size (/proc) is not read again,
 * since some of these block.
 */
static bool fs_cut_short(const struct fs_transfer *t)
{
	struct stat st;

	if (t->write)
		return true;
	return fstat(t->fd, &st) == 0 && st.st_size > 0 && t->off + t->done < (uint64_t)st.st_size;
}

/*
 * The kernel copies between the file and the guest's memory; memory that is gone is EFAULT there. A
 * request of more iovecs than one system call takes is served in parts. After a short part the rest
 * is tried again, which returns the error that stopped it. Returns 0, or the error that came after
 * @t->done bytes.
 */
static int fs_transfer(struct fs_transfer *t, struct iov_cursor *mem, size_t len)
{
	struct iovec iov[FS_MAX_IOV];

	if (t->off > INT64_MAX || len > INT64_MAX - t->off)
		return -EINVAL;
	while (t->done < len) {
		struct iov_cursor from = *mem;
		size_t want;
		unsigned int n = iov_cursor_slice(mem, len - t->done, iov, FS_MAX_IOV, &want);
		off_t at = (off_t)(t->off + t->done);
		ssize_t got;

		if (!n)
			break;
		got = t->write ? pwritev2(t->fd, iov, (int)n, at, 0)
			       : preadv2(t->fd, iov, (int)n, at, 0);
		if (got < 0)
			return -errno;
		t->done += (size_t)got;
		if ((size_t)got == want)
			continue;
		if (!got || !fs_cut_short(t))
			break;
		*mem = from;
		(void)iov_cursor_skip(mem, (size_t)got);
	}
	return 0;
}

int fs_op_read(struct fs_call *c)
{
	_cleanup_handle_ struct fs_handle_ref h = { 0 };
	const struct fuse_read_in *in = fs_arg(c);
	struct fs_transfer t = { .off = in->offset };
	int r = fs_href(c, in->fh, false, &h);

	if (r < 0)
		return r;
	if (in->size > c->room)
		return -EINVAL;
	t.fd = h.h->fd;
	r = fs_transfer(&t, &c->out, in->size);
	/*
	 * read(2) gets the bytes before the error, and the error with the next call. A read for the
	 * guest's page cache must fail as a whole: after a short reply the kernel would take this
	 * for the end of the file and fill the pages with zeroes. It then reads page by page.
	 */
	if (r < 0 && (!t.done || !(in->read_flags & FUSE_READ_LOCKOWNER)))
		return r;
	c->data = t.done;
	fs_count(&c->s->read_bytes, t.done);
	return 0;
}

int fs_op_write(struct fs_call *c)
{
	_cleanup_handle_ struct fs_handle_ref h = { 0 };
	_cleanup_cred_ struct cred cred = { 0 };
	const struct fuse_write_in *in = fs_arg(c);
	struct fuse_write_out out = { 0 };
	struct fs_transfer t = { .off = in->offset, .write = true };
	int r = fs_href(c, in->fh, false, &h);

	if (r < 0)
		return r;
	if (c->s->cfg.readonly)
		return -EROFS;
	if (in->write_flags & FUSE_WRITE_KILL_SUIDGID)
		fs_kill_setid(c, h.h->fd, &cred);
	t.fd = h.h->fd;
	r = fs_transfer(&t, &c->in, in->size);
	/* In a write-back the kernel ignores how much was written, so return the error. */
	if (r < 0 && (!t.done || in->write_flags & FUSE_WRITE_CACHE))
		return r;
	out.size = (uint32_t)t.done;
	fs_count(&c->s->write_bytes, t.done);
	return fs_put(c, &out, sizeof(out));
}

static int fs_sync(struct fs_call *c, bool dir)
{
	_cleanup_handle_ struct fs_handle_ref h = { 0 };
	const struct fuse_fsync_in *in = fs_arg(c);
	int r = fs_href(c, in->fh, dir, &h);

	if (r < 0)
		return r;
	r = in->fsync_flags & FUSE_FSYNC_FDATASYNC ? fdatasync(h.h->fd) : fsync(h.h->fd);
	return r < 0 ? -errno : 0;
}

int fs_op_fsync(struct fs_call *c)
{
	return fs_sync(c, false);
}

int fs_op_fsyncdir(struct fs_call *c)
{
	return fs_sync(c, true);
}

/*
 * A close: the locks of who closes end, and what the last close does here (write-back of a network
 * file system) must be done and reported.
 */
int fs_op_flush(struct fs_call *c)
{
	_cleanup_handle_ struct fs_handle_ref h = { 0 };
	const struct fuse_flush_in *in = fs_arg(c);
	int r = fs_href(c, in->fh, false, &h);
	int fd;

	if (r < 0)
		return r;
	if (fs_flags(c) & FUSE_POSIX_LOCKS)
		fs_lock_flush(c->s, c->req.h->nodeid, in->lock_owner);
	fd = fcntl(h.h->fd, F_DUPFD_CLOEXEC, 3);
	return fd < 0 || close(fd) < 0 ? -errno : 0;
}

int fs_op_lseek(struct fs_call *c)
{
	_cleanup_handle_ struct fs_handle_ref h = { 0 };
	const struct fuse_lseek_in *in = fs_arg(c);
	struct fuse_lseek_out out = { 0 };
	off_t off;
	int r = fs_href(c, in->fh, false, &h);

	if (r < 0)
		return r;
	/* The others are the guest's own business and would need a position that we do not keep. */
	if (in->whence != SEEK_DATA && in->whence != SEEK_HOLE)
		return -EINVAL;
	if (in->offset > INT64_MAX)
		return -ENXIO;
	off = lseek(h.h->fd, (off_t)in->offset, (int)in->whence);
	if (off < 0)
		return -errno;
	out.offset = (uint64_t)off;
	return fs_put(c, &out, sizeof(out));
}

int fs_op_fallocate(struct fs_call *c)
{
	_cleanup_handle_ struct fs_handle_ref h = { 0 };
	_cleanup_cred_ struct cred cred = { 0 };
	const struct fuse_fallocate_in *in = fs_arg(c);
	int r = fs_href(c, in->fh, false, &h);

	if (r < 0)
		return r;
	if (c->s->cfg.readonly)
		return -EROFS;
	if (in->offset > INT64_MAX || in->length > INT64_MAX)
		return -EINVAL;
	if (!fs_keeps_setid(c))
		fs_kill_setid(c, h.h->fd, &cred);
	r = fallocate(h.h->fd, (int)in->mode, (off_t)in->offset, (off_t)in->length);
	return r < 0 ? -errno : 0;
}

/* Returns what was copied, at most @max. */
static ssize_t fs_copy_file_range(struct fs_call *c, uint64_t max)
{
	_cleanup_handle_ struct fs_handle_ref from = { 0 }, to = { 0 };
	_cleanup_cred_ struct cred cred = { 0 };
	const struct fuse_copy_file_range_in *in = fs_arg(c);
	off_t off_in, off_out;
	ssize_t n;
	int r = fs_href(c, in->fh_in, false, &from);

	if (r == 0)
		r = fs_href(c, in->fh_out, false, &to);
	if (r < 0)
		return r;
	if (c->s->cfg.readonly)
		return -EROFS;
	if (in->off_in > INT64_MAX || in->off_out > INT64_MAX)
		return -EINVAL;
	off_in = (off_t)in->off_in;
	off_out = (off_t)in->off_out;
	if (!fs_keeps_setid(c))
		fs_kill_setid(c, to.h->fd, &cred);
	n = copy_file_range(from.h->fd, &off_in, to.h->fd, &off_out, MIN(in->len, max),
			    (unsigned int)in->flags);
	return n < 0 ? -errno : n;
}

int fs_op_copy_file_range(struct fs_call *c)
{
	/* The reply holds 32 bits. */
	ssize_t n = fs_copy_file_range(c, UINT64_C(0x7ffff000));
	struct fuse_write_out out = { .size = (uint32_t)n };

	return n < 0 ? (int)n : fs_put(c, &out, sizeof(out));
}

int fs_op_copy_file_range_64(struct fs_call *c)
{
	ssize_t n = fs_copy_file_range(c, SSIZE_MAX);
	struct fuse_copy_file_range_out out = { .bytes_copied = (uint64_t)n };

	return n < 0 ? (int)n : fs_put(c, &out, sizeof(out));
}

int fs_op_statfs(struct fs_call *c)
{
	_cleanup_inode_ struct fs_inode_ref i = { 0 };
	struct fuse_statfs_out out = { 0 };
	struct statvfs st;
	int r = fs_ref(c, c->req.h->nodeid ? c->req.h->nodeid : FUSE_ROOT_ID, &i);

	if (r < 0)
		return r;
	if (fstatvfs(i.i->fd, &st) < 0)
		return -errno;
	out.st = (struct fuse_kstatfs){
		.blocks = st.f_blocks,
		.bfree = st.f_bfree,
		.bavail = st.f_bavail,
		.files = st.f_files,
		.ffree = st.f_ffree,
		.bsize = (uint32_t)st.f_bsize,
		.frsize = (uint32_t)st.f_frsize,
		.namelen = (uint32_t)st.f_namemax,
	};
	return fs_put(c, &out, sizeof(out));
}

int fs_op_syncfs(struct fs_call *c)
{
	_cleanup_inode_ struct fs_inode_ref i = { 0 };
	_cleanup_close_ int fd = -1;
	int r = fs_ref(c, c->req.h->nodeid, &i);

	if (r < 0)
		return r;
	fd = fs_inode_open(c->s, i.i, O_RDONLY);
	if (fd < 0)
		return fd;
	return syncfs(fd) < 0 ? -errno : 0;
}
