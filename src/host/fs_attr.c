// SPDX-License-Identifier: MIT
// Attributes: GETATTR, SETATTR, STATX and ACCESS.

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/log.h"
#include "host/fs.h"

#define FS_SEC_PER_DAY 86400u

int fs_stat(int fd, struct statx *ret)
{
	if (statx(fd, "", AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW | AT_STATX_SYNC_AS_STAT,
		  FS_STATX_MASK, ret) < 0)
		return -errno;
	return 0;
}

uint64_t fs_timeout(const struct fuse_server *s)
{
	switch (s->cfg.cache) {
	case FUSE_CACHE_ALWAYS:
		return FS_SEC_PER_DAY;
	case FUSE_CACHE_AUTO:
		return 1;
	default:
		return 0;
	}
}

uint32_t fs_encode_dev(uint32_t major, uint32_t minor)
{
	return (minor & 0xff) | (major & 0xfff) << 8 | (minor & ~0xffu) << 12;
}

void fs_attr_fill(const struct fs_call *c, const struct fs_inode *i, const struct statx *stx,
		  struct fuse_attr *ret)
{
	*ret = (struct fuse_attr){
		.ino = fs_ino(c, i),
		.size = stx->stx_size,
		.blocks = stx->stx_blocks,
		.atime = (uint64_t)stx->stx_atime.tv_sec,
		.mtime = (uint64_t)stx->stx_mtime.tv_sec,
		.ctime = (uint64_t)stx->stx_ctime.tv_sec,
		.atimensec = stx->stx_atime.tv_nsec,
		.mtimensec = stx->stx_mtime.tv_nsec,
		.ctimensec = stx->stx_ctime.tv_nsec,
		.mode = stx->stx_mode,
		.nlink = stx->stx_nlink,
		.uid = stx->stx_uid,
		.gid = stx->stx_gid,
		.rdev = fs_encode_dev(stx->stx_rdev_major, stx->stx_rdev_minor),
		.blksize = stx->stx_blksize,
	};
	if (fs_flags(c) & FUSE_HAS_INODE_DAX && fs_dax_wanted(c->s, i->fd, stx))
		ret->flags |= FUSE_ATTR_DAX;
}

void fs_entry_fill(const struct fs_call *c, const struct fs_inode *i, const struct statx *stx,
		   struct fuse_entry_out *ret)
{
	uint64_t valid = fs_timeout(c->s);

	*ret = (struct fuse_entry_out){
		.nodeid = i->by_id.key,
		.entry_valid = valid,
		.attr_valid = valid,
	};
	fs_attr_fill(c, i, stx, &ret->attr);
}

void fs_mark_submount(const struct fs_call *c, const struct fs_inode *dir, const struct fs_inode *i,
		      struct fuse_attr *attr)
{
	if (fs_flags(c) & FUSE_SUBMOUNTS && S_ISDIR(i->type) &&
	    (i->dev != dir->dev || i->mount != dir->mount))
		attr->flags |= FUSE_ATTR_SUBMOUNT;
}

static int fs_put_attr(struct fs_call *c, const struct fs_inode *i)
{
	struct fuse_attr_out out = { .attr_valid = fs_timeout(c->s) };
	struct statx stx;
	int r = fs_stat(i->fd, &stx);

	if (r < 0)
		return r;
	fs_attr_fill(c, i, &stx, &out.attr);
	return fs_put(c, &out, sizeof(out));
}

int fs_op_getattr(struct fs_call *c)
{
	_cleanup_inode_ struct fs_inode_ref i = { 0 };
	int r = fs_ref(c, c->req.h->nodeid, &i);

	return r ? r : fs_put_attr(c, i.i);
}

static struct fuse_sx_time fs_sx_time(const struct statx_timestamp *t)
{
	return (struct fuse_sx_time){ .tv_sec = t->tv_sec, .tv_nsec = t->tv_nsec };
}

int fs_op_statx(struct fs_call *c)
{
	_cleanup_inode_ struct fs_inode_ref i = { 0 };
	struct fuse_statx_out out = { .attr_valid = fs_timeout(c->s) };
	struct statx stx;
	int r = fs_ref(c, c->req.h->nodeid, &i);

	if (r == 0)
		r = fs_stat(i.i->fd, &stx);
	if (r < 0)
		return r;
	out.stat = (struct fuse_statx){
		.mask = stx.stx_mask & (STATX_BASIC_STATS | STATX_BTIME),
		.blksize = stx.stx_blksize,
		.attributes = stx.stx_attributes,
		.nlink = stx.stx_nlink,
		.uid = stx.stx_uid,
		.gid = stx.stx_gid,
		.mode = stx.stx_mode,
		.ino = fs_ino(c, i.i),
		.size = stx.stx_size,
		.blocks = stx.stx_blocks,
		.attributes_mask = stx.stx_attributes_mask,
		.atime = fs_sx_time(&stx.stx_atime),
		.btime = fs_sx_time(&stx.stx_btime),
		.ctime = fs_sx_time(&stx.stx_ctime),
		.mtime = fs_sx_time(&stx.stx_mtime),
		.rdev_major = stx.stx_rdev_major,
		.rdev_minor = stx.stx_rdev_minor,
		.dev_major = stx.stx_dev_major,
		.dev_minor = stx.stx_dev_minor,
	};
	return fs_put(c, &out, sizeof(out));
}

static int fs_set_mode(struct fuse_server *s, const struct fs_inode *i, mode_t mode)
{
	if (S_ISLNK(i->type))
		return -EOPNOTSUPP;
	return fchmodat(s->proc_fd, fs_proc_name(i->fd).s, mode & 07777, 0) < 0 ? -errno : 0;
}

static int fs_set_owner(const struct fs_inode *i, const struct fuse_setattr_in *in)
{
	uid_t uid = in->valid & FATTR_UID ? in->uid : (uid_t)-1;
	gid_t gid = in->valid & FATTR_GID ? in->gid : (gid_t)-1;

	int r = 0;

	if (fchownat(i->fd, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0)
		r = -errno;
	if (r == -EINVAL)
		log_warn_ratelimited("cannot give a file to uid %d, gid %d: %m (not in "
				     "/proc/self/uid_map or gid_map?)",
				     (int)uid, (int)gid);
	return r;
}

static int fs_set_size(struct fs_call *c, const struct fs_inode *i,
		       const struct fuse_setattr_in *in)
{
	_cleanup_cred_ struct cred cred = { 0 };
	_cleanup_handle_ struct fs_handle_ref h = { 0 };
	_cleanup_close_ int fd = -1;
	int r = 0;

	if (in->size > INT64_MAX)
		return -EFBIG;
	if (!S_ISREG(i->type))
		return S_ISDIR(i->type) ? -EISDIR : -EINVAL;
	if (in->valid & FATTR_FH)
		r = fs_href(c, in->fh, false, &h);
	else
		r = fd = fs_inode_open(c->s, i, O_WRONLY | O_NONBLOCK);
	if (r < 0)
		return r;
	if (in->valid & FATTR_KILL_SUIDGID)
		fs_kill_setid(c, i->fd, &cred);
	return ftruncate(h.h ? h.h->fd : fd, (off_t)in->size) < 0 ? -errno : 0;
}

static struct timespec fs_set_time(bool set, bool now, uint64_t sec, uint32_t nsec)
{
	if (!set)
		return (struct timespec){ .tv_nsec = UTIME_OMIT };
	if (now)
		return (struct timespec){ .tv_nsec = UTIME_NOW };
	return (struct timespec){ .tv_sec = (time_t)sec, .tv_nsec = nsec };
}

static int fs_set_times(struct fuse_server *s, const struct fs_inode *i,
			const struct fuse_setattr_in *in)
{
	struct timespec tv[2] = {
		fs_set_time(in->valid & FATTR_ATIME, in->valid & FATTR_ATIME_NOW, in->atime,
			    in->atimensec),
		fs_set_time(in->valid & FATTR_MTIME, in->valid & FATTR_MTIME_NOW, in->mtime,
			    in->mtimensec),
	};

	/* UTIME_NOW and UTIME_OMIT are values of tv_nsec that a guest must not give. */
	if ((in->valid & FATTR_ATIME && in->atimensec >= 1000000000) ||
	    (in->valid & FATTR_MTIME && in->mtimensec >= 1000000000))
		return -EINVAL;
	return utimensat(s->proc_fd, fs_proc_name(i->fd).s, tv, 0) < 0 ? -errno : 0;
}

int fs_op_setattr(struct fs_call *c)
{
	_cleanup_inode_ struct fs_inode_ref i = { 0 };
	const struct fuse_setattr_in *in = fs_arg(c);
	int r = fs_ref(c, c->req.h->nodeid, &i);

	if (r == 0 && c->s->cfg.readonly)
		r = -EROFS;
	/* The owner first: changing it takes setuid and setgid away, which a new mode gives back. */
	if (r == 0 && in->valid & (FATTR_UID | FATTR_GID))
		r = fs_set_owner(i.i, in);
	if (r == 0 && in->valid & FATTR_MODE)
		r = fs_set_mode(c->s, i.i, in->mode);
	if (r == 0 && in->valid & FATTR_SIZE)
		r = fs_set_size(c, i.i, in);
	if (r == 0 && in->valid & (FATTR_ATIME | FATTR_MTIME))
		r = fs_set_times(c->s, i.i, in);
	return r ? r : fs_put_attr(c, i.i);
}

/* The guest's kernel checks permissions itself; this is for a client that asks all the same. */
int fs_op_access(struct fs_call *c)
{
	_cleanup_inode_ struct fs_inode_ref i = { 0 };
	const struct fuse_access_in *in = fs_arg(c);
	const struct fuse_in_header *h = c->req.h;
	struct statx stx;
	unsigned int have;
	int r = fs_ref(c, h->nodeid, &i);

	if (r == 0)
		r = fs_stat(i.i->fd, &stx);
	if (r < 0)
		return r;
	if (c->s->cfg.readonly && in->mask & W_OK)
		return -EROFS;
	if (h->uid == 0 || h->uid == FUSE_PROTO_INVALID_UID)
		have = R_OK | W_OK | (S_ISDIR(i.i->type) || stx.stx_mode & 0111 ? X_OK : 0);
	else if (h->uid == stx.stx_uid)
		have = stx.stx_mode >> 6 & 7;
	else if (h->gid == stx.stx_gid)
		have = stx.stx_mode >> 3 & 7;
	else
		have = stx.stx_mode & 7;
	return in->mask & 7 & ~have ? -EACCES : 0;
}
