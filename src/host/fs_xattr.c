// SPDX-License-Identifier: MIT
// Extended attributes.

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/xattr.h>

#include "host/fs.h"

/*
 * There is no system call for attributes of an O_PATH descriptor, so the inode is opened. Symbolic
 * links, devices and pipes are not opened: to the guest they have no attributes and get none.
 */
static int fs_xattr_open(struct fs_call *c, bool change, int *ret_fd)
{
	_cleanup_inode_ struct fs_inode_ref i = { 0 };
	int r;

	if (!c->s->cfg.xattr)
		return -ENOSYS; /* the guest asks no more */
	r = fs_ref(c, c->req.h->nodeid, &i);
	if (r < 0)
		return r;
	if (change && c->s->cfg.readonly)
		return -EROFS;
	if (!S_ISREG(i.i->type) && !S_ISDIR(i.i->type))
		return change ? -EPERM : -ENODATA;
	r = fs_inode_open(c->s, i.i, O_RDONLY | O_NONBLOCK);
	if (r < 0)
		return r;
	*ret_fd = r;
	return 0;
}

int fs_op_setxattr(struct fs_call *c)
{
	_cleanup_close_ int fd = -1;
	_cleanup_cred_ struct cred cred = { 0 };
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
	r = fs_xattr_open(c, true, &fd);
	if (r < 0)
		return r;
	/* An access ACL set by one outside of the file's group takes setgid away. */
	if (kill)
		cred_drop_fsetid(&cred);
	return fsetxattr(fd, name, name + len + 1, in->size, (int)in->flags) < 0 ? -errno : 0;
}

int fs_op_removexattr(struct fs_call *c)
{
	_cleanup_close_ int fd = -1;
	int r = fs_xattr_open(c, true, &fd);

	if (r < 0)
		return r;
	return fremovexattr(fd, c->req.name[0]) < 0 ? -errno : 0;
}

/* @name NULL: the list of names. */
static int fs_xattr_get(struct fs_call *c, const char *name)
{
	_cleanup_close_ int fd = -1;
	const struct fuse_getxattr_in *in = fs_arg(c);
	struct fuse_getxattr_out out = { 0 };
	_cleanup_free_ char *buf = NULL;
	size_t size = MIN(in->size, (uint32_t)XATTR_SIZE_MAX);
	ssize_t n = 0;
	int r = fs_xattr_open(c, false, &fd);

	if (r < 0 && !(r == -ENODATA && !name))
		return r;
	if (in->size > c->room)
		return -EINVAL;
	buf = malloc(size + 1);
	if (!buf)
		return -ENOMEM;
	if (fd >= 0)
		n = name ? fgetxattr(fd, name, buf, size) : flistxattr(fd, buf, size);
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
