// SPDX-License-Identifier: MIT
// Inodes: one nodeid for each, found by number and by identity; LOOKUP and FORGET.

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "host/fs.h"

/*
 * While an inode is in the tables its O_PATH descriptor is open, so the file system cannot use its
 * number for another inode: (device, number, mount) identifies it.
 */

static uint64_t fs_key(dev_t dev, ino_t ino, uint64_t mnt)
{
	return (uint64_t)ino ^ ((uint64_t)dev << 40) ^ (mnt << 52);
}

struct fs_proc_name fs_proc_name(int fd)
{
	struct fs_proc_name n;

	(void)snprintf(n.s, sizeof(n.s), "%d", fd);
	return n;
}

static void fs_inode_free(struct fs_inode *i)
{
	close_keep_errno(i->fd);
	free(i);
}

static struct fs_inode *fs_inode_new(int fd, const struct statx *stx)
{
	struct fs_inode *i = calloc(1, sizeof(*i));

	if (!i)
		return NULL;
	i->dev = makedev(stx->stx_dev_major, stx->stx_dev_minor);
	i->ino = stx->stx_ino;
	i->mnt = stx->stx_mask & STATX_MNT_ID ? stx->stx_mnt_id : 0;
	i->type = stx->stx_mode & S_IFMT;
	i->fd = fd;
	i->lookups = 1;
	return i;
}

static int fs_inode_room_locked(const struct fuse_server *s)
{
	return s->cfg.max_nodes && s->by_id.count >= s->cfg.max_nodes ? -ENFILE : 0;
}

int fs_inode_room(struct fuse_server *s)
{
	scoped_lock(&s->nodes);
	return fs_inode_room_locked(s);
}

static int fs_inode_insert_locked(struct fuse_server *s, struct fs_inode *i)
{
	int r = fs_inode_room_locked(s);

	if (r == 0)
		r = idmap_add(&s->by_id, &i->by_id, s->last_id + 1);
	if (r < 0)
		return r;
	r = idmap_add(&s->by_key, &i->by_key, fs_key(i->dev, i->ino, i->mnt));
	if (r < 0) {
		idmap_remove(&s->by_id, &i->by_id);
		return r;
	}
	s->last_id++;
	return 0;
}

int fs_inode_init(struct fuse_server *s)
{
	_cleanup_close_ int fd =
		openat(s->cfg.root_fd, ".", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct statx stx;
	int r;

	if (fd < 0)
		return -errno;
	r = fs_stat(fd, &stx);
	if (r < 0)
		return r;
	s->root = fs_inode_new(fd, &stx);
	if (!s->root)
		return -ENOMEM;
	/* last_id is 0, so the root gets FUSE_ROOT_ID. */
	r = fs_inode_insert_locked(s, s->root);
	if (r < 0) {
		free(steal_ptr(s->root));
		return r;
	}
	(void)steal_fd(&fd);
	return 0;
}

static void fs_inode_remove_locked(struct fuse_server *s, struct fs_inode *i)
{
	idmap_remove(&s->by_id, &i->by_id);
	idmap_remove(&s->by_key, &i->by_key);
}

void fs_inode_drop_all(struct fuse_server *s, bool root_too)
{
	struct idmap old_id, old_key;
	struct idmap_entry *e;

	/* No request runs: the caller holds session for writing, or is the last one. */
	(void)pthread_mutex_lock(&s->nodes);
	old_id = s->by_id;
	old_key = s->by_key;
	s->by_id = s->by_key = (struct idmap){ 0 };
	for (size_t n = 0; n < old_id.slots; n++) {
		struct idmap_entry *next;

		for (e = old_id.slot[n]; e; e = next) {
			struct fs_inode *i = container_of(e, struct fs_inode, by_id);

			next = e->next;
			if (i != s->root || root_too)
				fs_inode_free(i);
		}
	}
	/* The emptied tables are used again, so this cannot fail. */
	memset(old_id.slot, 0, old_id.slots * sizeof(*old_id.slot));
	memset(old_key.slot, 0, old_key.slots * sizeof(*old_key.slot));
	old_id.count = old_key.count = 0;
	s->by_id = old_id;
	s->by_key = old_key;
	if (root_too) {
		s->root = NULL;
	} else {
		s->root->lookups = 1;
		(void)idmap_add(&s->by_id, &s->root->by_id, FUSE_ROOT_ID);
		(void)idmap_add(&s->by_key, &s->root->by_key, s->root->by_key.key);
	}
	(void)pthread_mutex_unlock(&s->nodes);
}

int fs_inode_get(struct fuse_server *s, uint64_t nodeid, struct fs_inode **ret)
{
	struct idmap_entry *e;

	scoped_lock(&s->nodes);
	e = idmap_find(&s->by_id, nodeid);
	if (!e)
		return -ENOENT;
	*ret = container_of(e, struct fs_inode, by_id);
	(*ret)->users++;
	return 0;
}

void fs_inode_put(struct fuse_server *s, struct fs_inode *i)
{
	bool last;

	(void)pthread_mutex_lock(&s->nodes);
	last = --i->users == 0 && i->lookups == 0;
	(void)pthread_mutex_unlock(&s->nodes);
	if (last)
		fs_inode_free(i);
}

void fs_inode_forget(struct fuse_server *s, uint64_t nodeid, uint64_t n)
{
	struct idmap_entry *e;
	struct fs_inode *i;
	bool last;

	if (nodeid == FUSE_ROOT_ID)
		return;
	(void)pthread_mutex_lock(&s->nodes);
	e = idmap_find(&s->by_id, nodeid);
	if (!e) {
		(void)pthread_mutex_unlock(&s->nodes);
		return;
	}
	i = container_of(e, struct fs_inode, by_id);
	i->lookups -= MIN(n, i->lookups);
	if (i->lookups == 0)
		fs_inode_remove_locked(s, i);
	last = i->lookups == 0 && i->users == 0;
	(void)pthread_mutex_unlock(&s->nodes);
	if (last)
		fs_inode_free(i);
}

int fs_inode_enter(struct fuse_server *s, int fd_taken, const struct statx *stx,
		   struct fs_inode **ret)
{
	_cleanup_close_ int fd = fd_taken;
	_cleanup_free_ struct fs_inode *n = fs_inode_new(-1, stx);
	struct idmap_entry *e;
	int r;

	if (!n)
		return -ENOMEM;
	scoped_lock(&s->nodes);
	for (e = idmap_find(&s->by_key, fs_key(n->dev, n->ino, n->mnt)); e; e = idmap_next(e)) {
		struct fs_inode *i = container_of(e, struct fs_inode, by_key);

		if (i->dev == n->dev && i->ino == n->ino && i->mnt == n->mnt) {
			i->lookups++;
			i->users++;
			*ret = i;
			return 0;
		}
	}
	r = fs_inode_insert_locked(s, n);
	if (r < 0)
		return r;
	n->fd = steal_fd(&fd);
	n->users = 1;
	*ret = steal_ptr(n);
	return 0;
}

int fs_inode_lookup(struct fuse_server *s, struct fs_inode *dir, const char *name,
		    struct fs_inode **ret, struct statx *ret_stx)
{
	_cleanup_close_ int fd = -1;
	int r = fuse_name_ok(name);

	if (r < 0)
		return r;
	fd = openat(dir->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	r = fs_stat(fd, ret_stx);
	if (r < 0)
		return r;
	return fs_inode_enter(s, steal_fd(&fd), ret_stx, ret);
}

int fs_reply_lookup(struct fs_call *c, struct fs_inode *dir, const char *name)
{
	_cleanup_inode_ struct fs_inode_ref i = { .s = c->s };
	struct fuse_entry_out out;
	struct statx stx;
	int r = fs_inode_lookup(c->s, dir, name, &i.i, &stx);

	if (r < 0)
		return r;
	fs_entry_fill(c, i.i, &stx, &out);
	fs_mark_submount(c, dir, i.i, &out.attr);
	return fs_put(c, &out, sizeof(out));
}

int fs_inode_open(struct fuse_server *s, const struct fs_inode *i, int flags)
{
	int fd;

	/* Opening a device or a pipe could block, or act on this machine. */
	if (S_ISLNK(i->type))
		return -ELOOP;
	if (!S_ISREG(i->type) && !S_ISDIR(i->type))
		return -ENXIO;
	/* The link of /proc leads to the inode itself and no further, whatever its name is now. */
	fd = openat(s->proc_fd, fs_proc_name(i->fd).s, flags | O_CLOEXEC | O_NOCTTY);
	return fd < 0 ? -errno : fd;
}

int fs_op_lookup(struct fs_call *c)
{
	_cleanup_inode_ struct fs_inode_ref dir = { 0 };
	int r = fs_ref_dir(c, c->req.h->nodeid, &dir);

	return r ? r : fs_reply_lookup(c, dir.i, c->req.name[0]);
}

int fs_op_forget(struct fs_call *c)
{
	const struct fuse_forget_in *in = fs_arg(c);

	fs_inode_forget(c->s, c->req.h->nodeid, in->nlookup);
	return 0;
}

int fs_op_batch_forget(struct fs_call *c)
{
	const struct fuse_batch_forget_in *in = fs_arg(c);
	const struct fuse_forget_one *one = c->req.rest;

	for (uint32_t i = 0; i < in->count; i++)
		fs_inode_forget(c->s, one[i].nodeid, one[i].nlookup);
	return 0;
}

int fs_op_interrupt(struct fs_call *c)
{
	/* Requests are served to their end; the guest's kernel waits for the answer. */
	(void)c;
	return 0;
}
