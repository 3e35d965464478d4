// SPDX-License-Identifier: MIT
// Descriptors of inodes that nobody uses: closed when there are too many, opened again by file
// handle.

#include <errno.h>
#include <fcntl.h>

#include "host/fs.h"

/*
 * Theory of operation
 *
 * An inode is in one of these states; all changes are made under nodes:
 *
 *   USED  users > 0. Whoever got it may use i->fd without a lock: it is not closed and does not
 *         change until that user puts the inode. Open files are users, too.
 *   IDLE  users == 0, i->fd open, in the list s->idle, who was used last in front.
 *   COLD  users == 0, i->fd == -1, i->handle says which inode it is.
 *   KEPT  users == 0, i->fd open, in no list: the descriptor is all that there is of the inode. So
 *         are those on a mount without handles, those without a name, and the root.
 *
 * To get an idle or used inode takes no system call; to get a cold one, open_by_handle_at(2): until
 * that has returned the inode is used with i->fd == -1, and nobody else looks at that. Of two that
 * open it at a time one closes its descriptor again.
 *
 * Who closes (fs_idle_trim()) is a user of the inode while it asks for the handle. The inode
 * becomes cold only if there is no other user at the end.
 *
 * A handle leads to the inode as long as the file system has it: until its last link is gone and
 * its last descriptor is closed. A link goes away
 *
 *  1. by the guest's UNLINK, RMDIR or RENAME. Between fs_removing_begin() and fs_removing_end()
 * they hold s->removing, so that no inode becomes cold meanwhile, and a cold one is opened before
 *     they begin. Later no link is left, and who closes descriptors sees that and keeps the inode.
 *  2. by somebody on this machine. Then a cold inode is gone, ESTALE. This cannot be prevented, and
 *     is what virtiofsd does; the guest's kernel looks the name up again.
 *
 * The number of an inode that is gone may be given to a new one. So (device, number, mount)
 * identifies an inode only together with its handle, in which there is a generation; or with its
 * descriptor, while that is open.
 */

#define FS_IDLE_BATCH 32 /* of descriptors that are closed at a time */

static void fs_idle_out_locked(struct fuse_server *s, struct fs_inode *i)
{
	if (!i->idle.next)
		return;
	i->idle.next->prev = i->idle.prev;
	i->idle.prev->next = i->idle.next;
	i->idle = (struct fs_link){ 0 };
	s->n_idle--;
}

void fs_idle_init(struct fuse_server *s)
{
	s->idle.next = s->idle.prev = &s->idle;
	s->n_idle = 0;
}

void fs_inode_use_locked(struct fuse_server *s, struct fs_inode *i)
{
	i->users++;
	fs_idle_out_locked(s, i);
}

void fs_idle_in_locked(struct fuse_server *s, struct fs_inode *i)
{
	if (i->fd < 0 || i->idle.next || i->kept || i->mount->fd < 0)
		return;
	i->idle = (struct fs_link){ .prev = &s->idle, .next = s->idle.next };
	s->idle.next->prev = &i->idle;
	s->idle.next = &i->idle;
	s->n_idle++;
}

void fs_inode_forgotten_locked(struct fuse_server *s, struct fs_inode *i)
{
	fs_idle_out_locked(s, i);
}

void fs_inode_opened_locked(struct fuse_server *s, struct fs_inode *i, int *fd)
{
	if (i->fd >= 0)
		return;
	i->fd = steal_fd(fd);
	s->n_open++;
	if (i->handle)
		s->n_cold--;
}

bool fs_inode_full_locked(const struct fuse_server *s)
{
	return s->cfg.max_open && s->n_open >= s->cfg.max_open;
}

/* Can it be found again by a handle? 0 or a negative errno. */
static int fs_idle_handle(const struct fs_inode *i, struct file_handle **ret)
{
	struct statx stx;
	int r = fs_stat(i->fd, &stx);

	if (r == 0 && stx.stx_nlink == 0)
		r = -ESTALE;
	return r || i->handle ? r : fs_file_handle(i->fd, ret);
}

/* Close the descriptor of who was used longest ago. false: there is none. */
static bool fs_idle_close_one(struct fuse_server *s)
{
	_cleanup_close_ int fd = -1;
	_cleanup_free_ struct file_handle *h = NULL;
	struct fs_inode *i;
	int r;

	(void)pthread_mutex_lock(&s->nodes);
	if (!s->n_idle) {
		(void)pthread_mutex_unlock(&s->nodes);
		return false;
	}
	i = container_of(s->idle.prev, struct fs_inode, idle);
	fs_inode_use_locked(s, i);
	(void)pthread_mutex_unlock(&s->nodes);
	r = fs_idle_handle(i, &h);
	(void)pthread_mutex_lock(&s->nodes);
	if (h)
		i->handle = steal_ptr(h);
	i->kept = r < 0;
	if (r == 0 && i->users == 1) {
		fd = i->fd;
		i->fd = -1;
		s->n_open--;
		s->n_cold++;
	}
	(void)pthread_mutex_unlock(&s->nodes);
	(void)fs_inode_put_only(s, i);
	return true;
}

bool fs_idle_many_locked(const struct fuse_server *s)
{
	return s->n_idle > s->max_idle;
}

void fs_idle_trim(struct fuse_server *s)
{
	bool many, full;

	(void)pthread_mutex_lock(&s->nodes);
	many = fs_idle_many_locked(s);
	full = s->n_idle && fs_inode_full_locked(s);
	(void)pthread_mutex_unlock(&s->nodes);
	if (!many && !full)
		return;
	/* Who only wants some order does not wait for who removes a file, which may take long. */
	if ((full ? pthread_rwlock_wrlock(&s->removing) : pthread_rwlock_trywrlock(&s->removing)) !=
	    0)
		return;
	for (unsigned int n = 0; n < FS_IDLE_BATCH; n++)
		if (!fs_idle_close_one(s))
			break;
	(void)pthread_rwlock_unlock(&s->removing);
}

int fs_inode_open_cold(struct fuse_server *s, struct fs_inode *i)
{
	_cleanup_close_ int fd = -1;

	fs_idle_trim(s);
	fd = open_by_handle_at(i->mount->fd, i->handle, O_PATH | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	scoped_lock(&s->nodes);
	fs_inode_opened_locked(s, i, &fd);
	s->reopened++;
	return 0;
}

static bool fs_some_cold(struct fuse_server *s)
{
	scoped_lock(&s->nodes);
	return s->n_cold > 0;
}

int fs_removing_begin(struct fuse_server *s, const struct fs_inode *dir, const char *name)
{
	_cleanup_close_ int fd = -1;
	struct statx stx;
	int r;

	(void)pthread_rwlock_rdlock(&s->removing);
	if (!fs_some_cold(s))
		return 0;
	fd = openat(dir->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno; /* whoever removes it will see */
	r = fs_stat(fd, &stx);
	return r ? r : fs_inode_warm(s, &fd, &stx);
}

void fs_removing_end(struct fuse_server *s)
{
	(void)pthread_rwlock_unlock(&s->removing);
}
