// SPDX-License-Identifier: MIT
// Descriptors of inodes that nobody uses: closed when there are too many, opened again by file
// handle.

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "host/fs.h"

/*
 * Theory of operation
 *
 * An inode is in one of these states; all changes are made under nodes:
 *
 *   USED  users > 0. Whoever got it may use i->fd without a lock: it is not closed and does not
 *         change until that user puts the inode. Open files are users, too.
 *   IDLE  users == 0, i->fd open, in the list s->idle, who was used last in front.
 *   BARE  the same, in the list s->bare: its mount has no file handles.
 *   COLD  users == 0, i->fd == -1; i->handle identifies the inode.
 *   GONE  users == 0, i->fd == -1, no handle: somebody on this machine has removed it.
 *   KEPT  users == 0, i->fd open, in no list: only the descriptor leads to the inode. So are
 *         those that the guest has removed, those whose handle cannot be had, and the root.
 *
 * To get an idle or used inode takes no system call; to get a cold one, open_by_handle_at(2): until
 * that has returned the inode is used with i->fd == -1, and nobody else looks at that. Of two that
 * open it at a time one closes its descriptor again. To get one that is GONE fails with ESTALE.
 *
 * An idle inode becomes cold when there are too many (fs_idle_trim()), or when nobody has used it
 * for cfg.idle_seconds: then a thread, the closer, closes its descriptor. An open descriptor keeps
 * the disk blocks of a removed file. So the blocks of a file that is removed on this machine are
 * free after these seconds, or at once if the inode was cold. A bare inode cannot be opened again:
 * after the same time the closer only checks whether its last link is gone, and then closes it
 * for ever. While no inode is idle or bare the closer sleeps; cold ones cost it nothing.
 *
 * A thread that closes a descriptor counts as a user of the inode while it asks for the handle. The
 * inode becomes cold only if there is no other user after that.
 *
 * A handle leads to the inode as long as the file system has it: until its last link is gone and
 * its last descriptor is closed. A link goes away
 *
 *  1. by the guest's UNLINK, RMDIR or RENAME. Between fs_removing_begin() and fs_removing_end()
 *     the inode is used, and a cold one is opened first. s->removing is held meanwhile, so that
 *     an inode that the guest looks up in between does not become cold. If no link is left after
 *     that, the inode is nameless: a program of the guest may still use it, so it is kept. A file
 *     of TMPFILE is nameless from the start, and kept until it gets a name.
 *  2. by somebody on this machine. Then a cold inode is gone (ESTALE). This cannot be prevented,
 *     and virtiofsd does the same; the guest's kernel looks the name up again.
 *
 * Limits: a removed file that the guest has open, or has mapped in the window, keeps its disk
 * blocks, as it would for a program on this machine. vfsdaxfuse unmaps it some seconds after the
 * close (see fs/upkeep.h), when its kernel forgets the file, or when the window is full.
 *
 * The number of an inode that is gone may be given to a new one. So (device, number, mount)
 * identifies an inode only together with its handle, in which there is a generation; or with its
 * descriptor, while that is open.
 */

#define FS_IDLE_BATCH 32   /* of descriptors that are closed at a time */
#define FS_BARE_BATCH 1000 /* of bare inodes that are checked in a second */

static uint32_t fs_seconds(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	return (uint32_t)t.tv_sec;
}

static bool fs_is_bare(const struct fs_inode *i)
{
	return i->mount->fd < 0;
}

static void fs_idle_out_locked(struct fuse_server *s, struct fs_inode *i)
{
	if (!i->idle.next)
		return;
	i->idle.next->prev = i->idle.prev;
	i->idle.prev->next = i->idle.next;
	i->idle = (struct fs_link){ 0 };
	if (!fs_is_bare(i))
		s->n_idle--;
}

void fs_idle_init(struct fuse_server *s)
{
	s->idle.next = s->idle.prev = &s->idle;
	s->bare.next = s->bare.prev = &s->bare;
	s->n_idle = 0;
}

void fs_inode_use_locked(struct fuse_server *s, struct fs_inode *i)
{
	i->users++;
	fs_idle_out_locked(s, i);
}

void fs_idle_in_locked(struct fuse_server *s, struct fs_inode *i)
{
	struct fs_link *list = fs_is_bare(i) ? &s->bare : &s->idle;

	if (i->fd < 0 || i->idle.next || i->kept)
		return;
	i->idle = (struct fs_link){ .prev = list, .next = list->next };
	list->next->prev = &i->idle;
	list->next = &i->idle;
	i->idle_since = fs_seconds();
	if (list == &s->idle)
		s->n_idle++;
	if (s->closer_waits)
		(void)pthread_cond_signal(&s->closer_cond);
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
}

bool fs_inode_full_locked(const struct fuse_server *s)
{
	return s->cfg.max_open && s->n_open >= s->cfg.max_open;
}

void fs_inode_nameless(struct fuse_server *s, struct fs_inode *i)
{
	scoped_lock(&s->nodes);
	i->nameless = true;
}

/* What to do with the descriptor of an unused inode. FS_AGAIN: check again later. */
enum fs_fate { FS_CLOSE, FS_KEEP, FS_AGAIN };

/* Decide for @i, which the caller uses. Sets *@ret_handle if @i needs a handle and has none. */
static enum fs_fate fs_idle_fate(const struct fs_inode *i, bool nameless,
				 struct file_handle **ret_handle)
{
	struct statx stx;

	if (fs_stat(i->fd, &stx) < 0)
		return FS_KEEP;
	/* Some file systems do not change the link count of a removed directory. */
	if (nameless && (stx.stx_nlink == 0 || S_ISDIR(i->type)))
		return FS_KEEP;
	if (stx.stx_nlink == 0)
		return FS_CLOSE;
	if (fs_is_bare(i))
		return FS_AGAIN;
	return i->handle || fs_file_handle(i->fd, ret_handle) == 0 ? FS_CLOSE : FS_KEEP;
}

/*
 * Close the descriptor of the inode of @list that was used longest ago, or find that it must stay
 * open. false: the list is empty, or all its inodes were put there after @before.
 */
static bool fs_idle_close_one(struct fuse_server *s, const struct fs_link *list, uint32_t before)
{
	_cleanup_close_ int fd = -1;
	_cleanup_free_ struct file_handle *h = NULL;
	enum fs_fate fate;
	struct fs_inode *i;
	bool nameless;

	(void)pthread_mutex_lock(&s->nodes);
	i = list->prev == list ? NULL : container_of(list->prev, struct fs_inode, idle);
	if (!i || i->idle_since > before) {
		(void)pthread_mutex_unlock(&s->nodes);
		return false;
	}
	fs_inode_use_locked(s, i);
	nameless = i->nameless;
	(void)pthread_mutex_unlock(&s->nodes);
	fate = fs_idle_fate(i, nameless, &h);
	(void)pthread_mutex_lock(&s->nodes);
	if (h)
		i->handle = steal_ptr(h);
	i->kept = fate == FS_KEEP;
	if (fate == FS_CLOSE && i->users == 1) {
		fd = i->fd;
		i->fd = -1;
		s->n_open--;
	}
	(void)pthread_mutex_unlock(&s->nodes);
	(void)fs_inode_put_only(s, i);
	return true;
}

bool fs_idle_many_locked(const struct fuse_server *s)
{
	return s->n_idle > s->max_idle;
}

static void fs_idle_close(struct fuse_server *s, unsigned int n)
{
	while (n-- && fs_idle_close_one(s, &s->idle, UINT32_MAX))
		;
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
	fs_idle_close(s, FS_IDLE_BATCH);
	(void)pthread_rwlock_unlock(&s->removing);
}

/*
 * Close at most @n of @list that were put there up to @before, and release s->removing from time to
 * time, so that requests that remove names can go on.
 */
static void fs_close_old(struct fuse_server *s, const struct fs_link *list, uint32_t before,
			 unsigned int n)
{
	bool more = true;

	for (unsigned int done = 0; more && done < n; done += FS_IDLE_BATCH) {
		if (pthread_rwlock_trywrlock(&s->removing) != 0)
			return; /* try again in a second */
		for (unsigned int k = 0; more && k < FS_IDLE_BATCH; k++)
			more = fs_idle_close_one(s, list, before);
		(void)pthread_rwlock_unlock(&s->removing);
	}
}

static bool fs_closer_waits_locked(struct fuse_server *s)
{
	struct timespec until;

	if (s->idle.next == &s->idle && s->bare.next == &s->bare) {
		s->closer_waits = true;
		while (!s->closer_ends && s->idle.next == &s->idle && s->bare.next == &s->bare)
			(void)pthread_cond_wait(&s->closer_cond, &s->nodes);
		s->closer_waits = false;
	}
	(void)clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec++;
	while (!s->closer_ends &&
	       pthread_cond_timedwait(&s->closer_cond, &s->nodes, &until) != ETIMEDOUT)
		;
	return !s->closer_ends;
}

static bool fs_closer_waits(struct fuse_server *s)
{
	scoped_lock(&s->nodes);
	return fs_closer_waits_locked(s);
}

static void *fs_closer(void *arg)
{
	struct fuse_server *s = arg;

	while (fs_closer_waits(s)) {
		uint32_t now = fs_seconds();

		if (now < s->cfg.idle_seconds)
			continue;
		/* The session begins or ends now; at the end it drops all inodes itself. */
		if (pthread_rwlock_tryrdlock(&s->session) != 0)
			continue;
		fs_close_old(s, &s->idle, now - s->cfg.idle_seconds, UINT32_MAX);
		fs_close_old(s, &s->bare, now - s->cfg.idle_seconds, FS_BARE_BATCH);
		(void)pthread_rwlock_unlock(&s->session);
	}
	return NULL;
}

void fs_closer_start(struct fuse_server *s)
{
	int r;

	if (!s->cfg.idle_seconds || s->closer_runs)
		return;
	r = pthread_create(&s->closer, NULL, fs_closer, s);
	if (r)
		log_warn("cannot make a thread (%s): files that are removed on this machine keep "
			 "their disk blocks as long as the guest knows them",
			 strerror(r));
	s->closer_runs = r == 0;
}

static void fs_closer_end(struct fuse_server *s)
{
	scoped_lock(&s->nodes);
	s->closer_ends = true;
	(void)pthread_cond_signal(&s->closer_cond);
}

void fs_closer_stop(struct fuse_server *s)
{
	if (!s->closer_runs)
		return;
	fs_closer_end(s);
	(void)pthread_join(s->closer, NULL);
	s->closer_runs = false;
}

int fs_inode_open_cold(struct fuse_server *s, struct fs_inode *i)
{
	_cleanup_close_ int fd = -1;

	if (!i->handle)
		return -ESTALE;
	fs_idle_trim(s);
	fd = open_by_handle_at(i->mount->fd, i->handle, O_PATH | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	scoped_lock(&s->nodes);
	fs_inode_opened_locked(s, i, &fd);
	s->reopened++;
	return 0;
}

int fs_removing_begin(struct fuse_server *s, const struct fs_inode *dir, const char *name,
		      struct fs_inode **ret_i)
{
	_cleanup_close_ int fd = -1;
	struct statx stx;
	int r;

	*ret_i = NULL;
	(void)pthread_rwlock_rdlock(&s->removing);
	fd = openat(dir->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno; /* no such name: no inode to keep */
	r = fs_stat(fd, &stx);
	return r ? r : fs_inode_get_same(s, &fd, &stx, ret_i);
}

void fs_removing_end(struct fuse_server *s, struct fs_inode *i, bool removed)
{
	struct statx stx;

	/* If two requests remove the last two names at a time, at least one sees no link left. */
	if (i && removed && fs_stat(i->fd, &stx) == 0 && (stx.stx_nlink == 0 || S_ISDIR(i->type)))
		fs_inode_nameless(s, i);
	(void)pthread_rwlock_unlock(&s->removing);
	if (i)
		fs_inode_put(s, i);
}
