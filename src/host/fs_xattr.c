// SPDX-License-Identifier: MIT
// Extended attributes.

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/xattr.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "host/fs.h"

/*
 * There is no system call for attributes of an O_PATH descriptor, and what is not a regular file or
 * a directory is not opened. But the link of /proc leads to the inode itself and no further: with
 * /proc/self/fd as working directory, which is this thread's alone, its number is a name for it.
 */
int fs_xattr_name(struct fuse_server *s, int fd, struct fs_proc_name *ret)
{
	if (!cred_own_cwd())
		return -EOPNOTSUPP;
	if (fchdir(s->proc_fd) < 0)
		return -errno;
	*ret = fs_proc_name(fd);
	return 0;
}

static int fs_xattr_begin(struct fs_call *c, bool change, struct fs_inode_ref *i,
			  struct fs_proc_name *proc)
{
	int r;

	if (!c->s->cfg.xattr)
		return -ENOSYS; /* the guest asks no more */
	r = fs_ref(c, c->req.h->nodeid, i);
	if (r == 0 && change && c->s->cfg.readonly)
		r = -EROFS;
	return r ? r : fs_xattr_name(c->s, i->i->fd, proc);
}

static bool fs_is_acl(const char *name)
{
	return !strcmp(name, XATTR_NAME_POSIX_ACL_ACCESS) ||
	       !strcmp(name, XATTR_NAME_POSIX_ACL_DEFAULT);
}

/*
 * FUSE_SETXATTR_ACL_KILL_SGID: an access ACL set by one outside of the file's group takes setgid
 * away. This kernel would look at our groups, not at the caller's.
 */
static int fs_kill_sgid(struct fuse_server *s, const struct fs_inode *i)
{
	struct statx stx;
	int r = fs_stat(i->fd, &stx);

	if (r < 0 || !(stx.stx_mode & S_ISGID))
		return r;
	return fchmodat(s->proc_fd, fs_proc_name(i->fd).s, stx.stx_mode & 07777 & ~(mode_t)S_ISGID,
			0) < 0
		       ? -errno
		       : 0;
}

int fs_op_setxattr(struct fs_call *c)
{
	_cleanup_inode_ struct fs_inode_ref i = { 0 };
	struct fs_proc_name proc;
	const struct fuse_setxattr_in *in = fs_arg(c);
	const char *name = c->req.rest;
	size_t left = c->req.rest_len, len;
	uint32_t kill = 0;
	int r;

	if (fs_flags(c) & FUSE_SETXATTR_EXT) {
		size_t more = sizeof(*in) - FUSE_COMPAT_SETXATTR_IN_SIZE;

		if (left < more)
			return -EINVAL;
		kill = in->setxattr_flags & FUSE_SETXATTR_ACL_KILL_SGID;
		name += more;
		left -= more;
	}
	len = strnlen(name, left);
	if (len == 0 || len == left || in->size > left - len - 1)
		return -EINVAL;
	if (len > XATTR_NAME_MAX)
		return -ERANGE;
	if (in->size > XATTR_SIZE_MAX)
		return -E2BIG;
	if (in->flags & ~(uint32_t)(XATTR_CREATE | XATTR_REPLACE))
		return -EINVAL;
	r = fs_xattr_begin(c, true, &i, &proc);
	if (r < 0)
		return r;
	if (setxattr(proc.s, name, name + len + 1, in->size, (int)in->flags) < 0)
		return -errno;
	return kill ? fs_kill_sgid(c->s, i.i) : 0;
}

int fs_op_removexattr(struct fs_call *c)
{
	_cleanup_inode_ struct fs_inode_ref i = { 0 };
	struct fs_proc_name proc;
	int r = fs_xattr_begin(c, true, &i, &proc);

	if (r < 0)
		return r;
	return removexattr(proc.s, c->req.name[0]) < 0 ? -errno : 0;
}

/* @name NULL: the list of names. */
static int fs_xattr_get(struct fs_call *c, const char *name)
{
	_cleanup_inode_ struct fs_inode_ref i = { 0 };
	struct fs_proc_name proc;
	const struct fuse_getxattr_in *in = fs_arg(c);
	struct fuse_getxattr_out out = { 0 };
	_cleanup_free_ char *buf = NULL;
	size_t size = MIN(in->size, (uint32_t)XATTR_SIZE_MAX);
	ssize_t n;
	int r = fs_xattr_begin(c, false, &i, &proc);

	if (r < 0)
		return r;
	if (in->size > c->room)
		return -EINVAL;
	buf = malloc(size + 1);
	if (!buf)
		return -ENOMEM;
	n = name ? getxattr(proc.s, name, buf, size) : listxattr(proc.s, buf, size);
	/*
	 * With FUSE_POSIX_ACL the guest's kernel asks for the ACL when it checks a permission, and
	 * takes every other error for a refusal.
	 */
	if (n < 0 && errno == EOPNOTSUPP && name && fs_flags(c) & FUSE_POSIX_ACL && fs_is_acl(name))
		return -ENODATA;
	if (n < 0)
		return -errno;
	if (in->size)
		return fs_put(c, buf, (size_t)n);
	out.size = (uint32_t)n;
	return fs_put(c, &out, sizeof(out));
}

int fs_op_getxattr(struct fs_call *c)
{
	return fs_xattr_get(c, c->req.name[0]);
}

int fs_op_listxattr(struct fs_call *c)
{
	return fs_xattr_get(c, NULL);
}
