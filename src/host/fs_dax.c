// SPDX-License-Identifier: MIT
// The DAX window: SETUPMAPPING and REMOVEMAPPING, and for which files it is.

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "host/fs.h"

/*
 * The inode is opened for it: there is no system call for the attributes of an O_PATH descriptor,
 * and the process may have no /proc.
 */
static bool fs_dax_xattr(const struct fuse_server *s, int path_fd)
{
	_cleanup_close_ int fd = openat(s->proc_fd, fs_proc_name(path_fd).s,
					O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	char value[2];
	ssize_t n = fd < 0 ? -1 : fgetxattr(fd, FUSE_DAX_XATTR, value, sizeof(value));

	/* A value that is too long for the buffer is not "0". */
	return n < 0 ? fd >= 0 && errno == ERANGE : !(n == 1 && value[0] == '0');
}

static bool fs_dax_marked(const struct fuse_server *s, int fd, const struct statx *stx)
{
	switch (s->cfg.inode_dax) {
	case FUSE_INODE_DAX_ATTR:
		return stx->stx_attributes & STATX_ATTR_DAX;
	case FUSE_INODE_DAX_ALL:
		return true;
	case FUSE_INODE_DAX_XATTR:
		return fs_dax_xattr(s, fd);
	case FUSE_INODE_DAX_SIZE:
		return stx->stx_size >= s->cfg.inode_dax_size;
	default:
		return false;
	}
}

bool fs_dax_wanted(struct fuse_server *s, int fd, const struct statx *stx)
{
	struct statfs fs;

	/* fstatfs() last: on a network file system it may ask the server. */
	return s->cfg.window && S_ISREG(stx->stx_mode) && fs_dax_marked(s, fd, stx) &&
	       fstatfs(fd, &fs) == 0 && fs_remote_check(s, &fs) == 0;
}

/* What --quirk says of a request for the window: 0, or the error that it gets. */
static int fs_dax_quirk(struct fuse_server *s, const struct host_fault *f, _Atomic uint64_t *count)
{
	if (s->cfg.quirks.map_delay_us)
		(void)usleep(s->cfg.quirks.map_delay_us);
	if (!host_fault_strikes(f, count))
		return 0;
	atomic_fetch_add_explicit(&s->faults, 1, memory_order_relaxed);
	return -f->error;
}

/*
 * Whole pages of the file only: QEMU refuses a mapping that reaches past the end of the file, be it
 * within the last page, and a page behind the end would be a SIGBUS in the machine's process.
 */
static int fs_dax_range(const struct fuse_server *s, const struct fuse_setupmapping_in *in,
			const struct statx *stx)
{
	uint64_t mapped = align_down(stx->stx_size, PAGE_4K);

	if (in->flags & ~(FUSE_SETUPMAPPING_FLAG_READ | FUSE_SETUPMAPPING_FLAG_WRITE) ||
	    !(in->flags & (FUSE_SETUPMAPPING_FLAG_READ | FUSE_SETUPMAPPING_FLAG_WRITE)))
		return -EINVAL;
	if (s->cfg.quirks.need_read && !(in->flags & FUSE_SETUPMAPPING_FLAG_READ))
		return -EINVAL;
	if (!in->len || in->len % PAGE_4K || (in->foffset | in->moffset) % fs_map_alignment(s) ||
	    !range_ok(in->moffset, in->len, s->cfg.window))
		return -EINVAL;
	return range_ok(in->foffset, in->len, mapped) ? 0 : -ENXIO;
}

/*
 * A hole has no room on the disk yet. When there is none left, or a quota does not allow it,
 * touching it is a SIGBUS in the process that is the machine: for a write, and on a tmpfs also for
 * a read. As a request it is an error that the guest's program hears of, so what has holes is not
 * mapped for that. On btrfs each write takes new room, so there all is as a hole.
 */
static int fs_dax_holes(int fd, const struct statfs *fs, const struct fuse_setupmapping_in *in,
			bool *write)
{
	off_t hole = lseek(fd, (off_t)in->foffset, SEEK_HOLE);
	bool none = hole < 0 || (uint64_t)hole >= in->foffset + in->len;

	if (hole < 0 && errno != EINVAL) /* EINVAL: it cannot tell */
		return -errno;
	if (none && fs->f_type != BTRFS_SUPER_MAGIC)
		return 0;
	if (in->flags & FUSE_SETUPMAPPING_FLAG_WRITE)
		return -ENODATA;
	*write = false;
	return fs->f_type == TMPFS_MAGIC ? -ENODATA : 0;
}

int fs_op_setupmapping(struct fs_call *c)
{
	_cleanup_inode_ struct fs_inode_ref i = { 0 };
	_cleanup_close_ int fd = -1;
	const struct fuse_setupmapping_in *in = fs_arg(c);
	struct fuse_server *s = c->s;
	bool write = in->flags & FUSE_SETUPMAPPING_FLAG_WRITE;
	struct statfs fs;
	struct statx stx;
	int r, noatime;

	if (!s->cfg.window || !s->cfg.mapper)
		return -ENOSYS;
	r = fs_dax_quirk(s, &s->cfg.quirks.map_error, &s->maps);
	if (r == 0)
		r = fs_ref(c, c->req.h->nodeid, &i);
	if (r < 0)
		return r;
	if (!S_ISREG(i.i->type))
		return -EINVAL;
	if (write && s->cfg.readonly)
		return -EROFS;
	/*
	 * Check each file, because other file systems may be mounted in the directory. Do not map
	 * one whose statfs() fails either (a FUSE server without STATFS).
	 */
	r = fstatfs(i.i->fd, &fs) < 0 ? -EOPNOTSUPP : fs_remote_check(s, &fs);
	if (r < 0)
		return r;
	/*
	 * By the nodeid, whatever the handle: it may have been opened for reading, and QEMU takes
	 * only descriptors that are open for both, even for a mapping that cannot be written.
	 */
	noatime = atomic_load(&i.i->noatime) ? O_NOATIME : 0; /* or mmap(2) updates atime */
	fd = fs_inode_open(s, i.i, O_RDWR | noatime);
	if (fd < 0 && !write)
		fd = fs_inode_open(s, i.i, O_RDONLY | noatime);
	else if (fd >= 0 && !s->cfg.readonly)
		write = true; /* so that a first write later need not map it again */
	if (fd < 0)
		return fd;
	r = fs_stat(fd, &stx);
	if (r == 0)
		r = fs_dax_range(s, in, &stx);
	if (r == 0)
		r = fs_dax_holes(fd, &fs, in, &write);
	if (r < 0)
		return r;
	return s->cfg.mapper->ops->map(s->cfg.mapper, fd, FOFF(in->foffset), WOFF(in->moffset),
				       in->len, write);
}

int fs_op_removemapping(struct fs_call *c)
{
	const struct fuse_removemapping_in *in = fs_arg(c);
	const char *array = c->req.rest;
	struct fuse_server *s = c->s;
	int result;

	if (!s->cfg.window || !s->cfg.mapper)
		return -ENOSYS;
	result = fs_dax_quirk(s, &s->cfg.quirks.unmap_error, &s->unmaps);
	if (result < 0)
		return result;
	/* All are tried; the first error is reported. The array is not aligned to 8 bytes. */
	for (uint32_t i = 0; i < in->count; i++) {
		struct fuse_removemapping_one o;
		int r;

		memcpy(&o, array + i * sizeof(o), sizeof(o));
		r = s->cfg.mapper->ops->unmap(s->cfg.mapper, WOFF(o.moffset), o.len);
		if (r < 0 && result == 0)
			result = r;
	}
	return result;
}
