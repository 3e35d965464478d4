// SPDX-License-Identifier: MIT
// Extended attributes.

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "host/fs.h"

/*
 * Descriptors of O_PATH have no attributes, and opening the inode would be no way for pipes,
 * devices and files that are leased. So it is reached by a path without a directory in it: the
 * thread's directory becomes /proc/self/fd, the same for all threads, and nothing else here depends
 * on it. The link there leads to the inode itself, be it a symbolic link or not.
 */
static int fs_xattr_name(struct fs_call *c, bool change, struct fs_inode_ref *i,
			 struct fs_proc_name *ret)
{
	int r;

	if (!c->s->cfg.xattr)
		return -ENOSYS; /* the guest asks no more */
	r = fs_ref(c, c->req.h->nodeid, i);
	if (r < 0)
		return r;
	if (change && c->s->cfg.readonly)
		return -EROFS;
	if (fchdir(c->s->proc_fd) < 0)
		return -errno;
	*ret = fs_proc_name(i->i->fd);
	return 0;
}

int fs_op_setxattr(struct fs_call *c)
{
	_cleanup_inode_ struct fs_inode_ref i = { 0 };
	_cleanup_cred_ struct cred cred = { 0 };
	const struct fuse_setxattr_in *in = fs_arg(c);
	const char *name = c->req.rest;
	size_t left = c->req.rest_len, len;
	struct fs_proc_name path;
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
	r = fs_xattr_name(c, true, &i, &path);
	if (r < 0)
		return r;
	/* An access ACL set by one outside of the file's group takes setgid away. */
	if (kill)
		cred_drop_fsetid(&cred);
	r = setxattr(path.s, name, name + len + 1, in->size, (int)in->flags);
	return r < 0 ? -errno : 0;
}

int fs_op_removexattr(struct fs_call *c)
{
	_cleanup_inode_ struct fs_inode_ref i = { 0 };
	struct fs_proc_name path;
	int r = fs_xattr_name(c, true, &i, &path);

	if (r < 0)
		return r;
	return removexattr(path.s, c->req.name[0]) < 0 ? -errno : 0;
}

/* @name NULL: the list of names. */
static int fs_xattr_get(struct fs_call *c, const char *name)
{
	_cleanup_inode_ struct fs_inode_ref i = { 0 };
	const struct fuse_getxattr_in *in = fs_arg(c);
	struct fuse_getxattr_out out = { 0 };
	_cleanup_free_ char *buf = NULL;
	size_t size = MIN(in->size, (uint32_t)XATTR_SIZE_MAX);
	struct fs_proc_name path;
	ssize_t n;
	int r = fs_xattr_name(c, false, &i, &path);

	if (r < 0)
		return r;
	if (in->size > c->room)
		return -EINVAL;
	buf = malloc(size + 1);
	if (!buf)
		return -ENOMEM;
	n = name ? getxattr(path.s, name, buf, size) : listxattr(path.s, buf, size);
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
