// SPDX-License-Identifier: MIT
// Locks of files, where the guest's are ours, too: GETLK, SETLK, SETLKW.

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>

#include "host/fs.h"

/*
 * flock(2) belongs to an open file, and each open file of the guest is one here: its descriptor
 * takes the lock and, when it is closed, gives it back.
 *
 * A lock of fcntl(2) belongs to an inode and an owner: a process of the guest, or for F_OFD_SETLK
 * an open file. This process's own locks would all be of one owner and not exclude each other. So
 * each owner that has locks on a file gets a description of that file, whose locks (F_OFD_SETLK)
 * exclude those of other descriptions and of other processes here, and end with it. It ends
 *  - when nothing is locked any more,
 *  - with FLUSH of this owner, which the guest's kernel sends when a process closes any descriptor
 * of the file, or ends,
 *  - with the open file by which it was made. RELEASE does not name the owner of locks of an open
 * file; but a process whose locks came by that open file has closed it, so FLUSH has come before.
 *
 * Nothing here waits: the one who serves a queue would keep all others waiting, those who unlock,
 * too. The guest asks again (src/fs/lock.c does), and SETLKW that would have to wait is EOPNOTSUPP.
 */
struct fs_lock_owner {
	struct idmap_entry by_node; /* owners of the locks of one inode have its nodeid as key */
	uint64_t owner;
	uint32_t pid; /* of the guest, as it says */
	int fd;

	/* Under s->locks. */
	struct fs_handle *handle; /* by which it was made; NULL: it is not in the tables any more */
	struct fs_lock_owner *next; /* of that handle */
	unsigned int users;	    /* requests that use it now */
	struct lock_ranges ranges;  /* changed under busy, too */

	pthread_mutex_t busy; /* one change at a time; before s->locks */
};

static struct fs_lock_owner *find_locked(struct fuse_server *s, uint64_t nodeid, uint64_t owner)
{
	struct idmap_entry *e = idmap_find(&s->lock_owners, nodeid);

	for (; e; e = idmap_next(e)) {
		struct fs_lock_owner *o = container_of(e, struct fs_lock_owner, by_node);

		if (o->owner == owner)
			return o;
	}
	return NULL;
}

static struct fs_lock_owner *get(struct fuse_server *s, uint64_t nodeid, uint64_t owner)
{
	struct fs_lock_owner *o;

	scoped_lock(&s->locks);
	o = find_locked(s, nodeid, owner);
	if (o)
		o->users++;
	return o;
}

static void remove_locked(struct fuse_server *s, struct fs_lock_owner *o)
{
	struct fs_lock_owner **p = &o->handle->lock_owners;

	while (*p != o)
		p = &(*p)->next;
	*p = o->next;
	o->handle = NULL;
	idmap_remove(&s->lock_owners, &o->by_node);
}

/* It is in no table, and nobody uses it. */
static void owner_free(struct fs_lock_owner *o)
{
	close_keep_errno(o->fd);
	lock_ranges_free(&o->ranges);
	(void)pthread_mutex_destroy(&o->busy);
	free(o);
}

/*
 * One request uses it no more; with @end all its locks end, at the latest when the last request
 * that uses it does. Who has no locks is not kept.
 */
static void leave(struct fuse_server *s, struct fs_lock_owner *o, bool end)
{
	bool last;

	(void)pthread_mutex_lock(&s->locks);
	last = --o->users == 0;
	if (o->handle && (end || (last && !o->ranges.count)))
		remove_locked(s, o);
	last = last && !o->handle;
	if (last)
		s->lock_ranges -= o->ranges.count;
	(void)pthread_mutex_unlock(&s->locks);
	if (last)
		owner_free(o);
}

/*
 * Another description of the open file @h. What the guest may lock depends on how it has the file
 * open, which its kernel checks; so this one is open for as much as this process is allowed.
 */
static int open_again(struct fuse_server *s, const struct fs_handle *h)
{
	static const int modes[] = { O_RDWR, O_RDONLY, O_WRONLY };
	int fd = -1;

	for (size_t i = s->cfg.readonly ? 1 : 0; fd < 0 && i < ARRAY_SIZE(modes); i++) {
		fd = openat(s->proc_fd, fs_proc_name(h->fd).s, modes[i] | O_CLOEXEC | O_NOCTTY);
		if (fd < 0 && errno != EACCES && errno != EPERM && errno != EROFS &&
		    errno != ETXTBSY)
			break;
	}
	return fd < 0 ? -errno : fd;
}

static int enter_locked(struct fuse_server *s, struct fs_lock_owner *o, struct fs_handle *h,
			uint64_t nodeid)
{
	int r = s->lock_owners.count >= FS_MAX_LOCK_OWNERS
			? -ENOLCK
			: idmap_add(&s->lock_owners, &o->by_node, nodeid);

	if (r < 0)
		return r;
	o->handle = h;
	o->next = h->lock_owners;
	h->lock_owners = o;
	return 0;
}

/* The owner that the request names, new if need be. */
static int get_or_make(struct fs_call *c, const struct fuse_lk_in *in, struct fs_handle *h,
		       struct fs_lock_owner **ret)
{
	uint64_t nodeid = c->req.h->nodeid;
	struct fs_lock_owner *o = get(c->s, nodeid, in->owner), *other;
	int r;

	if (!o) {
		o = calloc(1, sizeof(*o));
		if (!o)
			return -ENOMEM;
		(void)pthread_mutex_init(&o->busy, NULL);
		o->users = 1;
		o->owner = in->owner;
		o->pid = in->lk.pid;
		r = o->fd = open_again(c->s, h);
		if (r < 0) {
			owner_free(o);
			return r == -EMFILE || r == -ENFILE ? -ENOLCK : r;
		}
		(void)pthread_mutex_lock(&c->s->locks);
		other = find_locked(c->s, nodeid, in->owner);
		if (other)
			other->users++;
		else
			r = enter_locked(c->s, o, h, nodeid);
		(void)pthread_mutex_unlock(&c->s->locks);
		if (other || r < 0)
			owner_free(o);
		if (r < 0)
			return r;
		o = other ? other : o;
	}
	*ret = o;
	return 0;
}

/* What the guest says, checked. */
static int wish_of(const struct fuse_file_lock *lk, struct lock_range *ret)
{
	if (lk->type != F_RDLCK && lk->type != F_WRLCK && lk->type != F_UNLCK)
		return -EINVAL;
	if (lk->start > lk->end || lk->end > INT64_MAX)
		return -EINVAL;
	*ret = (struct lock_range){ .first = lk->start, .last = lk->end, .type = (int)lk->type };
	return 0;
}

/* For fcntl(2), where length 0 is all that follows. */
static struct flock flock_of(const struct lock_range *w)
{
	return (struct flock){
		.l_type = (short)w->type,
		.l_whence = SEEK_SET,
		.l_start = (off_t)w->first,
		.l_len = w->last == INT64_MAX ? 0 : (off_t)(w->last - w->first + 1),
	};
}

/* How many ranges more @w can leave behind are taken from what all may have. */
static int reserve(struct fuse_server *s, const struct fs_lock_owner *o, const struct lock_range *w,
		   unsigned int *ret)
{
	scoped_lock(&s->locks);
	*ret = w->type != F_UNLCK ? LOCK_RANGE_MORE : lock_ranges_splits(&o->ranges, w);
	if (*ret && s->lock_ranges + *ret > FS_MAX_LOCK_RANGES) {
		*ret = 0;
		return -ENOLCK;
	}
	s->lock_ranges += *ret;
	return 0;
}

/* Ask the kernel, and keep what it has granted. Owner is busy. */
static int change_busy(struct fuse_server *s, struct fs_lock_owner *o, const struct lock_range *w)
{
	struct lock_range_room room = { 0 };
	struct flock l = flock_of(w);
	unsigned int reserved = 0, before;
	int r = lock_range_room_get(&room);

	if (r == 0)
		r = reserve(s, o, w, &reserved);
	if (r == 0 && fcntl(o->fd, F_OFD_SETLK, &l) < 0)
		r = errno == EACCES ? -EAGAIN : -errno;
	(void)pthread_mutex_lock(&s->locks);
	before = o->ranges.count;
	if (r == 0)
		lock_ranges_set(&o->ranges, w, &room);
	s->lock_ranges += o->ranges.count - before - reserved;
	(void)pthread_mutex_unlock(&s->locks);
	lock_range_room_put(&room);
	return r;
}

static int set_posix(struct fs_call *c, const struct fuse_lk_in *in, struct fs_handle *h)
{
	struct fs_lock_owner *o;
	struct lock_range w = { 0 };
	int r = fs_flags(c) & FUSE_POSIX_LOCKS ? wish_of(&in->lk, &w) : -ENOSYS;

	if (r < 0)
		return r;
	if (w.type == F_UNLCK) {
		o = get(c->s, c->req.h->nodeid, in->owner);
		if (!o)
			return 0;
	} else {
		r = get_or_make(c, in, h, &o);
		if (r < 0)
			return r;
	}
	(void)pthread_mutex_lock(&o->busy);
	r = change_busy(c->s, o, &w);
	(void)pthread_mutex_unlock(&o->busy);
	leave(c->s, o, false);
	return r;
}

static int set_flock(struct fs_call *c, const struct fuse_lk_in *in, const struct fs_handle *h)
{
	int op = in->lk.type == F_RDLCK	  ? LOCK_SH
		 : in->lk.type == F_WRLCK ? LOCK_EX
		 : in->lk.type == F_UNLCK ? LOCK_UN
					  : -1;

	if (!(fs_flags(c) & FUSE_FLOCK_LOCKS))
		return -ENOSYS;
	if (op < 0)
		return -EINVAL;
	return flock(h->fd, op | LOCK_NB) < 0 ? -errno : 0;
}

int fs_op_setlk(struct fs_call *c)
{
	_cleanup_handle_ struct fs_handle_ref h = { 0 };
	const struct fuse_lk_in *in = fs_arg(c);
	int r = fs_href(c, in->fh, false, &h);

	if (r < 0)
		return r;
	return in->lk_flags & FUSE_LK_FLOCK ? set_flock(c, in, h.h) : set_posix(c, in, h.h);
}

/* Also what unlocks, or need not wait, may be asked this way. */
int fs_op_setlkw(struct fs_call *c)
{
	int r = fs_op_setlk(c);

	return r == -EAGAIN ? -EOPNOTSUPP : r;
}

/* Whose is the lock that the kernel has found? 0: of nobody in the guest, as far as is known. */
static uint32_t pid_of(struct fuse_server *s, uint64_t nodeid, uint64_t asker,
		       const struct flock *l)
{
	struct idmap_entry *e;

	scoped_lock(&s->locks);
	for (e = idmap_find(&s->lock_owners, nodeid); e; e = idmap_next(e)) {
		const struct fs_lock_owner *o = container_of(e, struct fs_lock_owner, by_node);
		const struct lock_range *r =
			lock_ranges_find(&o->ranges, (uint64_t)l->l_start, (uint64_t)l->l_start);

		if (o->owner != asker && r && r->type == l->l_type)
			return o->pid;
	}
	return 0;
}

int fs_op_getlk(struct fs_call *c)
{
	_cleanup_handle_ struct fs_handle_ref h = { 0 };
	const struct fuse_lk_in *in = fs_arg(c);
	struct fuse_lk_out out = { .lk = { .type = F_UNLCK } };
	struct fs_lock_owner *o;
	struct lock_range w = { 0 };
	struct flock l;
	int r = fs_href(c, in->fh, false, &h);

	if (r == 0)
		r = fs_flags(c) & FUSE_POSIX_LOCKS ? wish_of(&in->lk, &w) : -ENOSYS;
	if (r < 0)
		return r;
	if (w.type == F_UNLCK)
		return -EINVAL;
	l = flock_of(&w);
	/* Who has no locks has none that are not in its way. */
	o = get(c->s, c->req.h->nodeid, in->owner);
	r = fcntl(o ? o->fd : h.h->fd, F_OFD_GETLK, &l) < 0 ? -errno : 0;
	if (o)
		leave(c->s, o, false);
	if (r < 0)
		return r;
	if (l.l_type != F_UNLCK)
		out.lk = (struct fuse_file_lock){
			.start = (uint64_t)l.l_start,
			.end = l.l_len ? (uint64_t)(l.l_start + l.l_len - 1) : INT64_MAX,
			.type = (uint32_t)l.l_type,
			.pid = pid_of(c->s, c->req.h->nodeid, in->owner, &l),
		};
	return fs_put(c, &out, sizeof(out));
}

void fs_lock_flush(struct fuse_server *s, uint64_t nodeid, uint64_t owner)
{
	struct fs_lock_owner *o = get(s, nodeid, owner);

	if (o)
		leave(s, o, true);
}

void fs_lock_drop_handle(struct fuse_server *s, struct fs_handle *h)
{
	for (;;) {
		struct fs_lock_owner *o;

		(void)pthread_mutex_lock(&s->locks);
		o = h->lock_owners;
		if (o)
			o->users++;
		(void)pthread_mutex_unlock(&s->locks);
		if (!o)
			return;
		leave(s, o, true);
	}
}
