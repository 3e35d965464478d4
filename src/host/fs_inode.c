// SPDX-License-Identifier: MIT
// Inodes: one nodeid for each, found by number and by identity; LOOKUP and FORGET.

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>

#include "host/fs.h"

/* So many inodes are freed before their memory goes back to the system: that takes some ms. */
#define TRIM_AFTER 16384

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

/* It is in no table and no list. */
static void fs_inode_free(struct fuse_server *s, struct fs_inode *i)
{
	bool trim;

	if (!i)
		return;
	close_keep_errno(i->fd);
	(void)pthread_mutex_lock(&s->nodes);
	if (i->fd >= 0)
		s->n_open--;
	trim = ++s->freed % TRIM_AFTER == 0;
	(void)pthread_mutex_unlock(&s->nodes);
	fs_mount_put(s, i->mount);
	fs_device_put(s, i->device);
	free(i->handle);
	free(i);
	if (trim)
		(void)malloc_trim(0);
}

/* For the inode of @fd; without a descriptor yet, and not in the tables. */
static int fs_inode_new(struct fuse_server *s, int fd, const struct statx *stx,
			struct fs_inode **ret)
{
	_cleanup_free_ struct fs_inode *i = calloc(1, sizeof(*i));
	int r;

	if (!i)
		return -ENOMEM;
	r = fs_mount_get(s, fd, stx, &i->mount);
	if (r < 0)
		return r;
	r = fs_device_get(s, fd, stx, &i->device);
	if (r < 0) {
		fs_mount_put(s, i->mount);
		return r;
	}
	i->dev = fs_dev(stx);
	i->ino = stx->stx_ino;
	i->type = stx->stx_mode & S_IFMT;
	i->fd = -1;
	i->lookups = 1;
	*ret = steal_ptr(i);
	return 0;
}

int fs_inode_room(struct fuse_server *s)
{
	fs_idle_trim(s);
	scoped_lock(&s->nodes);
	return fs_inode_full_locked(s) ? -ENFILE : 0;
}

/* *@fd is taken over when it returns 0. */
static int fs_inode_insert_locked(struct fuse_server *s, struct fs_inode *i, int *fd)
{
	int r = fs_inode_full_locked(s) ? -ENFILE : 0;

	if (r == 0)
		r = idmap_add(&s->by_id, &i->by_id, s->last_id + 1);
	if (r < 0)
		return r;
	r = idmap_add(&s->by_key, &i->by_key, fs_key(i->dev, i->ino, i->mount->common.by_id.key));
	if (r < 0) {
		idmap_remove(&s->by_id, &i->by_id);
		return r;
	}
	fs_inode_opened_locked(s, i, fd);
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
	fs_idle_init(s);
	r = fs_inode_new(s, fd, &stx, &s->root);
	if (r < 0)
		return r;
	s->root->kept = true;
	/* Nobody else is there yet. last_id is 0, so the root gets FUSE_ROOT_ID. */
	r = fs_inode_insert_locked(s, s->root, &fd);
	if (r < 0)
		fs_inode_free(s, steal_ptr(s->root));
	return r;
}

static void fs_inode_remove_locked(struct fuse_server *s, struct fs_inode *i)
{
	idmap_remove(&s->by_id, &i->by_id);
	idmap_remove(&s->by_key, &i->by_key);
	fs_inode_forgotten_locked(s, i);
}

void fs_inode_drop_all(struct fuse_server *s, bool root_too)
{
	struct idmap old_id, old_key;
	struct idmap_entry *e;

	/* No request runs: the caller holds session for writing, or is the last one. */
	(void)pthread_mutex_lock(&s->nodes);
	fs_idle_init(s);
	old_id = s->by_id;
	old_key = s->by_key;
	s->by_id = s->by_key = (struct idmap){ 0 };
	(void)pthread_mutex_unlock(&s->nodes);
	for (size_t n = 0; n < old_id.slots; n++) {
		struct idmap_entry *next;

		for (e = old_id.slot[n]; e; e = next) {
			struct fs_inode *i = container_of(e, struct fs_inode, by_id);

			next = e->next;
			if (i != s->root || root_too)
				fs_inode_free(s, i);
		}
	}
	(void)pthread_mutex_lock(&s->nodes);
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

/* *ret_cold: it has no descriptor now; without nodes held nobody can say so later. */
static struct fs_inode *fs_inode_find(struct fuse_server *s, uint64_t nodeid, bool *ret_cold)
{
	struct idmap_entry *e;
	struct fs_inode *i;

	scoped_lock(&s->nodes);
	e = idmap_find(&s->by_id, nodeid);
	if (!e)
		return NULL;
	i = container_of(e, struct fs_inode, by_id);
	fs_inode_use_locked(s, i);
	*ret_cold = i->fd < 0;
	return i;
}

int fs_inode_get(struct fuse_server *s, uint64_t nodeid, struct fs_inode **ret)
{
	bool cold = false;
	struct fs_inode *i = fs_inode_find(s, nodeid, &cold);
	int r;

	if (!i)
		return -ENOENT;
	r = cold ? fs_inode_open_cold(s, i) : 0;
	if (r < 0)
		fs_inode_put(s, i);
	else
		*ret = i;
	return r;
}

void fs_inode_get_again(struct fuse_server *s, struct fs_inode *i)
{
	scoped_lock(&s->nodes);
	fs_inode_use_locked(s, i);
}

bool fs_inode_put_only(struct fuse_server *s, struct fs_inode *i)
{
	bool last, many;

	(void)pthread_mutex_lock(&s->nodes);
	last = --i->users == 0 && i->lookups == 0;
	if (i->users == 0 && !last)
		fs_idle_in_locked(s, i);
	many = fs_idle_many_locked(s);
	(void)pthread_mutex_unlock(&s->nodes);
	if (last)
		fs_inode_free(s, i);
	return many;
}

void fs_inode_put(struct fuse_server *s, struct fs_inode *i)
{
	if (fs_inode_put_only(s, i))
		fs_idle_trim(s);
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
		fs_inode_free(s, i);
}

/*
 * Look for the inode of *@fd. Where (device, number, mount) is that of a cold one only their
 * handles tell; @h is that of *@fd or NULL. Returns 0, and the inode has a descriptor, it may be
 * *@fd; -ENOENT; or -EAGAIN: @h is needed.
 */
static int fs_inode_same_locked(struct fuse_server *s, int *fd, const struct statx *stx,
				const struct file_handle *h, struct fs_inode **ret)
{
	uint64_t mnt = fs_mount_id(stx);
	struct idmap_entry *e;
	int r = -ENOENT;

	for (e = idmap_find(&s->by_key, fs_key(fs_dev(stx), stx->stx_ino, mnt)); e;
	     e = idmap_next(e)) {
		struct fs_inode *i = container_of(e, struct fs_inode, by_key);

		if (i->dev != fs_dev(stx) || i->ino != stx->stx_ino ||
		    i->mount->common.by_id.key != mnt)
			continue;
		if (i->fd >= 0 || (h && i->handle && fs_file_handle_same(h, i->handle))) {
			fs_inode_opened_locked(s, i, fd);
			*ret = i;
			return 0;
		}
		if (!h && i->handle)
			r = -EAGAIN;
	}
	return r;
}

/* As above; finding it counts one lookup and gets it. So does @n, if there is one, when it is not. */
static int fs_inode_enter_known(struct fuse_server *s, int *fd, const struct statx *stx,
				const struct file_handle *h, struct fs_inode **n,
				struct fs_inode **ret)
{
	int r;

	scoped_lock(&s->nodes);
	r = fs_inode_same_locked(s, fd, stx, h, ret);
	if (r == 0)
		(*ret)->lookups++;
	if (r == -ENOENT && *n) {
		r = fs_inode_insert_locked(s, *n, fd);
		if (r == 0)
			*ret = steal_ptr(*n);
	}
	if (r == 0)
		fs_inode_use_locked(s, *ret);
	return r;
}

int fs_inode_enter(struct fuse_server *s, int fd_taken, const struct statx *stx,
		   struct fs_inode **ret)
{
	_cleanup_close_ int fd = fd_taken;
	_cleanup_free_ struct file_handle *h = NULL;
	struct fs_inode *n = NULL;
	int r;

	/* Each turn prepares, without the lock, what the one before was lacking. */
	while ((r = fs_inode_enter_known(s, &fd, stx, h, &n, ret)) != 0) {
		if (r == -EAGAIN) {
			r = fs_file_handle(fd, &h);
		} else if (r == -ENOENT) {
			fs_idle_trim(s);
			r = fs_inode_new(s, fd, stx, &n);
		}
		if (r < 0)
			break;
	}
	fs_inode_free(s, n);
	return r;
}

static int fs_inode_get_same_with(struct fuse_server *s, int *fd, const struct statx *stx,
				  const struct file_handle *h, struct fs_inode **ret)
{
	int r;

	scoped_lock(&s->nodes);
	r = fs_inode_same_locked(s, fd, stx, h, ret);
	if (r == 0)
		fs_inode_use_locked(s, *ret);
	return r == -ENOENT ? 0 : r;
}

int fs_inode_get_same(struct fuse_server *s, int *fd, const struct statx *stx,
		      struct fs_inode **ret)
{
	_cleanup_free_ struct file_handle *h = NULL;
	int r;

	*ret = NULL;
	r = fs_inode_get_same_with(s, fd, stx, NULL, ret);
	if (r == -EAGAIN)
		r = fs_file_handle(*fd, &h);
	return h ? fs_inode_get_same_with(s, fd, stx, h, ret) : r;
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
	if (fd < 0 && errno == EPERM && flags & O_NOATIME)
		fd = openat(s->proc_fd, fs_proc_name(i->fd).s,
			    (flags & ~O_NOATIME) | O_CLOEXEC | O_NOCTTY);
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
