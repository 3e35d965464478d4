// SPDX-License-Identifier: MIT
// Open files and directories: OPEN, OPENDIR, RELEASE, RELEASEDIR.

#include <errno.h>
#include <fcntl.h>

#include "host/fs.h"

int fs_handle_new(struct fuse_server *s, struct fs_inode *i, int fd_taken, bool dir,
		  uint64_t *ret_fh)
{
	_cleanup_close_ int fd = fd_taken;
	struct fs_handle *h = calloc(1, sizeof(*h));
	int r;

	if (!h)
		return -ENOMEM;
	h->users = 1;
	h->dir = dir;
	h->inode = i;
	fs_inode_get_again(s, i);
	(void)pthread_mutex_init(&h->lock, NULL);
	(void)pthread_mutex_lock(&s->files);
	r = idmap_add(&s->handles, &h->by_id, s->last_fh + 1);
	if (r == 0) {
		*ret_fh = ++s->last_fh;
		h->fd = steal_fd(&fd);
	}
	(void)pthread_mutex_unlock(&s->files);
	if (r < 0) {
		fs_inode_put(s, i);
		(void)pthread_mutex_destroy(&h->lock);
		free(h);
		return r;
	}
	return 0;
}

static struct fs_handle *fs_handle_find_locked(struct fuse_server *s, uint64_t fh, bool dir)
{
	struct idmap_entry *e = idmap_find(&s->handles, fh);
	struct fs_handle *h = e ? container_of(e, struct fs_handle, by_id) : NULL;

	return h && h->dir == dir ? h : NULL;
}

int fs_handle_get(struct fuse_server *s, uint64_t fh, bool dir, struct fs_handle **ret)
{
	struct fs_handle *h;

	scoped_lock(&s->files);
	h = fs_handle_find_locked(s, fh, dir);
	if (!h)
		return -EBADF;
	h->users++;
	*ret = h;
	return 0;
}

static void fs_handle_free(struct fuse_server *s, struct fs_handle *h)
{
	fs_lock_drop_handle(s, h);
	fs_inode_put(s, h->inode);
	close_keep_errno(h->fd);
	(void)pthread_mutex_destroy(&h->lock);
	free(h);
}

void fs_handle_put(struct fuse_server *s, struct fs_handle *h)
{
	bool last;

	(void)pthread_mutex_lock(&s->files);
	last = --h->users == 0;
	(void)pthread_mutex_unlock(&s->files);
	if (last)
		fs_handle_free(s, h);
}

int fs_handle_release(struct fuse_server *s, uint64_t fh, bool dir)
{
	struct fs_handle *h;

	(void)pthread_mutex_lock(&s->files);
	h = fs_handle_find_locked(s, fh, dir);
	if (h)
		idmap_remove(&s->handles, &h->by_id);
	(void)pthread_mutex_unlock(&s->files);
	if (!h)
		return -EBADF;
	fs_handle_put(s, h);
	return 0;
}

void fs_handle_drop_all(struct fuse_server *s)
{
	struct idmap old;

	/* No request runs: the caller holds session for writing, or is the last one. */
	(void)pthread_mutex_lock(&s->files);
	old = s->handles;
	s->handles = (struct idmap){ 0 };
	(void)pthread_mutex_unlock(&s->files);
	for (size_t n = 0; n < old.slots; n++) {
		struct idmap_entry *e, *next;

		for (e = old.slot[n]; e; e = next) {
			next = e->next;
			fs_handle_free(s, container_of(e, struct fs_handle, by_id));
		}
	}
	idmap_free(&old);
}

int fs_open_flags(const struct fuse_server *s, uint32_t guest)
{
	/*
	 * What is left out: O_CREAT and O_EXCL (names are made by CREATE alone), O_DIRECT (the
	 * guest's memory need not fit this machine's alignment), O_NONBLOCK, O_PATH, O_TMPFILE.
	 */
	int flags = (int)guest & (O_ACCMODE | O_APPEND | O_TRUNC | O_SYNC | O_DSYNC | O_NOATIME);

	if ((flags & O_ACCMODE) == O_ACCMODE)
		return -EINVAL;
	if (s->cfg.readonly && ((flags & O_ACCMODE) != O_RDONLY || flags & O_TRUNC))
		return -EROFS;
	return flags;
}

uint32_t fs_open_reply_flags(const struct fs_call *c, bool dir, int flags)
{
	uint32_t out = 0;

	/*
	 * Who could not write has nothing that FLUSH could report, and where locks are the guest's
	 * own close(2) need not ask. Kernels before 7.35 do not know the flag.
	 */
	if (!dir && (flags & O_ACCMODE) == O_RDONLY && c->s->minor >= 35 &&
	    !(fs_flags(c) & FUSE_POSIX_LOCKS))
		out |= FOPEN_NOFLUSH;
	switch (c->s->cfg.cache) {
	case FUSE_CACHE_NONE:
		return dir ? out : out | FOPEN_DIRECT_IO;
	case FUSE_CACHE_ALWAYS:
		return out | FOPEN_KEEP_CACHE | (dir ? FOPEN_CACHE_DIR : 0);
	default:
		return out;
	}
}

static int fs_open(struct fs_call *c, bool dir)
{
	_cleanup_inode_ struct fs_inode_ref i = { 0 };
	_cleanup_cred_ struct cred cred = { 0 };
	const struct fuse_open_in *in = fs_arg(c);
	struct fuse_open_out out = { 0 };
	int r = fs_ref(c, c->req.h->nodeid, &i);
	int flags;

	if (r < 0)
		return r;
	if (dir && !S_ISDIR(i.i->type))
		return -ENOTDIR;
	if (!dir && S_ISDIR(i.i->type))
		return -EISDIR;
	flags = dir ? O_RDONLY | O_DIRECTORY | (int)(in->flags & O_NOATIME)
		    : fs_open_flags(c->s, in->flags);
	if (flags < 0)
		return flags;
	out.open_flags = fs_open_reply_flags(c, dir, flags);
	if (in->open_flags & FUSE_OPEN_KILL_SUIDGID)
		fs_kill_setid(c, i.i->fd, &cred);
	r = fs_inode_open(c->s, i.i, flags);
	atomic_store(&i.i->noatime, flags & O_NOATIME);
	if (r >= 0)
		r = fs_handle_new(c->s, i.i, r, dir, &out.fh);
	return r ? r : fs_put(c, &out, sizeof(out));
}

int fs_op_open(struct fs_call *c)
{
	return fs_open(c, false);
}

int fs_op_opendir(struct fs_call *c)
{
	return fs_open(c, true);
}

int fs_op_release(struct fs_call *c)
{
	const struct fuse_release_in *in = fs_arg(c);

	return fs_handle_release(c->s, in->fh, false);
}

int fs_op_releasedir(struct fs_call *c)
{
	const struct fuse_release_in *in = fs_arg(c);

	return fs_handle_release(c->s, in->fh, true);
}
