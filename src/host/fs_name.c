// SPDX-License-Identifier: MIT
// Names: CREATE, MKNOD, MKDIR, SYMLINK, LINK, UNLINK, RMDIR, RENAME, READLINK, TMPFILE.

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "host/fs.h"

/* Everything about a new name but making it: the directory, the name, who makes it. */
static int fs_begin(struct fs_call *c, const char *name, uint32_t mask, struct fs_inode_ref *dir,
		    struct cred *cred)
{
	int r = fs_ref_dir(c, c->req.h->nodeid, dir);

	if (r == 0 && name)
		r = fuse_name_ok(name);
	if (r == 0 && c->s->cfg.readonly)
		r = -EROFS;
	if (r == 0 && cred)
		r = fs_inode_room(c->s);
	if (r == 0 && cred && fs_flags(c) & FUSE_DONT_MASK)
		r = cred_umask(cred, mask);
	if (r == 0 && cred)
		r = cred_become(cred, c->req.h->uid, c->req.h->gid, fs_ext_group(c));
	return r;
}

static int fs_unlink(struct fuse_server *s, const struct fs_inode *dir, const char *name, int flags)
{
	struct fs_inode *i;
	int r = fs_removing_begin(s, dir, name, &i);

	if (r == 0 && unlinkat(dir->fd, name, flags) < 0)
		r = -errno;
	fs_removing_end(s, i, r == 0);
	return r;
}

/*
 * The name @name in @dir was just made: label it and put the reply to it. Where it cannot be
 * labelled it goes again, so that nothing is left that the guest's security module has not seen.
 */
static int fs_made(struct fs_call *c, struct fs_inode *dir, const char *name, int remove_flags)
{
	_cleanup_close_ int fd = -1;
	int r = 0;

	if (fs_flags(c) & FUSE_SECURITY_CTX) {
		fd = openat(dir->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
		r = fd < 0 ? -errno : fs_ext_label(c, fd);
	}
	if (r == 0)
		return fs_reply_lookup(c, dir, name);
	(void)fs_unlink(c->s, dir, name, remove_flags);
	return r;
}

int fs_op_mknod(struct fs_call *c)
{
	_cleanup_inode_ struct fs_inode_ref dir = { 0 };
	_cleanup_cred_ struct cred cred = { 0 };
	const struct fuse_mknod_in *in = fs_arg(c);
	/* The kernel's new_decode_dev(). */
	dev_t dev =
		makedev((in->rdev >> 8) & 0xfff, (in->rdev & 0xff) | ((in->rdev >> 12) & ~0xffu));
	int r = fs_begin(c, c->req.name[0], in->umask, &dir, &cred);

	if (r < 0)
		return r;
	if (mknodat(dir.i->fd, c->req.name[0], in->mode, dev) < 0)
		return -errno;
	cred_restore(&cred);
	return fs_made(c, dir.i, c->req.name[0], 0);
}

int fs_op_mkdir(struct fs_call *c)
{
	_cleanup_inode_ struct fs_inode_ref dir = { 0 };
	_cleanup_cred_ struct cred cred = { 0 };
	const struct fuse_mkdir_in *in = fs_arg(c);
	int r = fs_begin(c, c->req.name[0], in->umask, &dir, &cred);

	if (r < 0)
		return r;
	if (mkdirat(dir.i->fd, c->req.name[0], in->mode & 07777) < 0)
		return -errno;
	cred_restore(&cred);
	return fs_made(c, dir.i, c->req.name[0], AT_REMOVEDIR);
}

int fs_op_symlink(struct fs_call *c)
{
	_cleanup_inode_ struct fs_inode_ref dir = { 0 };
	_cleanup_cred_ struct cred cred = { 0 };
	int r = fs_begin(c, c->req.name[0], 0, &dir, &cred);

	if (r < 0)
		return r;
	if (symlinkat(c->req.name[1], dir.i->fd, c->req.name[0]) < 0)
		return -errno;
	cred_restore(&cred);
	return fs_made(c, dir.i, c->req.name[0], 0);
}

int fs_op_link(struct fs_call *c)
{
	_cleanup_inode_ struct fs_inode_ref dir = { 0 }, old = { 0 };
	const struct fuse_link_in *in = fs_arg(c);
	int r = fs_begin(c, c->req.name[0], 0, &dir, NULL);

	if (r == 0)
		r = fs_ref(c, in->oldnodeid, &old);
	if (r < 0)
		return r;
	if (S_ISDIR(old.i->type))
		return -EPERM;
	/* The link of /proc is followed to the inode itself, be it a symbolic link or not. */
	if (linkat(c->s->proc_fd, fs_proc_name(old.i->fd).s, dir.i->fd, c->req.name[0],
		   AT_SYMLINK_FOLLOW) < 0)
		return -errno;
	return fs_reply_lookup(c, dir.i, c->req.name[0]);
}

static int fs_remove(struct fs_call *c, int flags)
{
	_cleanup_inode_ struct fs_inode_ref dir = { 0 };
	int r = fs_begin(c, c->req.name[0], 0, &dir, NULL);

	return r ? r : fs_unlink(c->s, dir.i, c->req.name[0], flags);
}

int fs_op_unlink(struct fs_call *c)
{
	return fs_remove(c, 0);
}

int fs_op_rmdir(struct fs_call *c)
{
	return fs_remove(c, AT_REMOVEDIR);
}

static int fs_rename(struct fs_call *c, uint64_t to_id, unsigned int flags)
{
	_cleanup_inode_ struct fs_inode_ref from = { 0 }, to = { 0 };
	_cleanup_cred_ struct cred cred = { 0 };
	struct fs_inode *i;
	int r = fs_begin(c, c->req.name[0], 0, &from, NULL);

	if (r == 0)
		r = fs_ref_dir(c, to_id, &to);
	if (r == 0)
		r = fuse_name_ok(c->req.name[1]);
	if (r < 0)
		return r;
	r = fs_removing_begin(c->s, to.i, c->req.name[1], &i);
	/* RENAME_WHITEOUT makes a device node, which is the caller's. */
	if (r == 0 && flags & RENAME_WHITEOUT)
		r = cred_become(&cred, c->req.h->uid, c->req.h->gid, (gid_t)-1);
	if (r == 0 && renameat2(from.i->fd, c->req.name[0], to.i->fd, c->req.name[1], flags) < 0)
		r = -errno;
	cred_restore(&cred);
	fs_removing_end(c->s, i, r == 0 && !(flags & RENAME_EXCHANGE));
	return r;
}

int fs_op_rename(struct fs_call *c)
{
	const struct fuse_rename_in *in = fs_arg(c);

	return fs_rename(c, in->newdir, 0);
}

int fs_op_rename2(struct fs_call *c)
{
	const struct fuse_rename2_in *in = fs_arg(c);

	if (in->flags & ~(uint32_t)(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT))
		return -EINVAL;
	return fs_rename(c, in->newdir, in->flags);
}

int fs_op_readlink(struct fs_call *c)
{
	_cleanup_inode_ struct fs_inode_ref i = { 0 };
	char buf[PATH_MAX];
	ssize_t n;
	int r = fs_ref(c, c->req.h->nodeid, &i);

	if (r < 0)
		return r;
	if (!S_ISLNK(i.i->type))
		return -EINVAL;
	n = readlinkat(i.i->fd, "", buf, sizeof(buf));
	if (n < 0)
		return -errno;
	if ((size_t)n > c->room)
		return -ENAMETOOLONG;
	return fs_put(c, buf, (size_t)n);
}

/* Reply to CREATE and TMPFILE: the entry of @i and a handle of @fd, which is taken over. */
static int fs_put_created(struct fs_call *c, struct fs_inode *i, const struct statx *stx, int fd,
			  int flags)
{
	struct fuse_open_out out = { .open_flags = fs_open_reply_flags(c, false, flags) };
	int r = fs_handle_new(c->s, i, fd, false, &out.fh);

	atomic_store(&i->noatime, flags & O_NOATIME);
	if (r == 0)
		r = fs_put_entry(c, i, stx);
	return r ? r : fs_put(c, &out, sizeof(out));
}

int fs_op_create(struct fs_call *c)
{
	_cleanup_inode_ struct fs_inode_ref dir = { 0 }, i = { .s = c->s };
	_cleanup_cred_ struct cred cred = { 0 };
	_cleanup_close_ int fd = -1;
	const struct fuse_create_in *in = fs_arg(c);
	const char *name = c->req.name[0];
	int flags = fs_open_flags(c->s, in->flags);
	struct statx stx;
	int r = flags < 0 ? flags : fs_begin(c, name, in->umask, &dir, &cred);

	if (r < 0)
		return r;
	/* With O_EXCL always: what exists might be a device, and is opened by other rules. */
	fd = openat(dir.i->fd, name, flags | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
		    in->mode & 07777);
	r = fd < 0 ? -errno : 0;
	cred_restore(&cred);
	if (r < 0 && (r != -EEXIST || in->flags & O_EXCL))
		return r;
	r = fd < 0 ? 0 : fs_ext_label(c, fd);
	if (r < 0) {
		(void)fs_unlink(c->s, dir.i, name, 0);
		return r;
	}
	r = fs_inode_lookup(c->s, dir.i, name, &i.i, &stx);
	if (r < 0)
		return r;
	if (fd < 0) {
		if (in->open_flags & FUSE_OPEN_KILL_SUIDGID)
			fs_kill_setid(c, i.i->fd, &cred);
		r = fd = S_ISDIR(i.i->type) ? -EISDIR : fs_inode_open(c->s, i.i, flags);
		cred_restore(&cred);
		if (r >= 0 && flags & O_TRUNC)
			r = fs_stat(i.i->fd, &stx);
	}
	if (r >= 0)
		r = fs_put_created(c, i.i, &stx, steal_fd(&fd), flags);
	if (r < 0)
		fs_inode_forget(c->s, i.i->by_id.key, 1);
	return r;
}

int fs_op_tmpfile(struct fs_call *c)
{
	_cleanup_inode_ struct fs_inode_ref dir = { 0 }, i = { .s = c->s };
	_cleanup_cred_ struct cred cred = { 0 };
	_cleanup_close_ int fd = -1, path = -1;
	const struct fuse_create_in *in = fs_arg(c);
	int flags = fs_open_flags(c->s, in->flags);
	struct statx stx;
	int r = flags < 0 ? flags : fs_begin(c, NULL, in->umask, &dir, &cred);

	if (r < 0)
		return r;
	if ((flags & O_ACCMODE) == O_RDONLY)
		return -EINVAL;
	fd = openat(c->s->proc_fd, fs_proc_name(dir.i->fd).s,
		    (flags & ~O_TRUNC) | O_TMPFILE | (int)(in->flags & O_EXCL) | O_CLOEXEC,
		    in->mode & 07777);
	if (fd < 0)
		return -errno;
	cred_restore(&cred);
	r = fs_ext_label(c, fd);
	if (r < 0)
		return r;
	path = openat(c->s->proc_fd, fs_proc_name(fd).s, O_PATH | O_CLOEXEC);
	if (path < 0)
		return -errno;
	r = fs_stat(path, &stx);
	if (r == 0)
		r = fs_inode_enter(c->s, steal_fd(&path), &stx, &i.i);
	if (r == 0)
		fs_inode_nameless(c->s, i.i);
	return r ? r : fs_put_created(c, i.i, &stx, steal_fd(&fd), flags);
}
