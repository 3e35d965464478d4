// SPDX-License-Identifier: MIT
// Files of the host that the guest's kernel reads and writes by itself: their life.

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/time.h"
#include "base/waiting.h"
#include "pass/compose.h"
#include "pass_priv.h"

/*
 * The kernel does not wait for RELEASE: a program that has closed a file can change its size before
 * that arrives.
 */
#define RELEASE_NS (300 * NSEC_PER_MS)

/* Composing a file holds the lock for long: whoever has to wait says so. */
static void before_lock(struct pass *p)
{
	if (pthread_mutex_trylock(&p->lock))
		waiting_begin();
	else
		(void)pthread_mutex_unlock(&p->lock);
}

static struct pass_file **find_locked(struct pass *p, uint64_t nodeid)
{
	struct pass_file **at = &p->files;

	while (*at && (*at)->nodeid != nodeid)
		at = &(*at)->next;
	return at;
}

static void evict_locked(struct pass *p, struct pass_file **at)
{
	struct pass_file *f = *at;

	*at = f->next;
	if (pass_file_free_locked(p, f))
		return;
	log_dbg("node %llu: a mapping outlives its close", (unsigned long long)f->nodeid);
	f->next = p->dying;
	p->dying = f;
}

/* Try again to free what was in use. True: something was freed. */
static bool bury_locked(struct pass *p)
{
	struct pass_file **at = &p->dying, *f;
	bool any = false;

	while ((f = *at)) {
		struct pass_file *next = f->next;

		if (pass_file_free_locked(p, f)) {
			*at = next;
			any = true;
		} else {
			at = &f->next;
		}
	}
	return any;
}

static bool is_dying_locked(struct pass *p, uint64_t nodeid)
{
	(void)bury_locked(p);
	for (const struct pass_file *f = p->dying; f; f = f->next)
		if (f->nodeid == nodeid)
			return true;
	return false;
}

static bool is_held_locked(const struct pass *p, uint64_t nodeid)
{
	for (const struct pass_hold *h = p->holds; h; h = h->next)
		if (h->nodeid == nodeid)
			return true;
	return false;
}

bool pass_evict_one_locked(struct pass *p)
{
	struct pass_file **last = NULL;

	if (bury_locked(p))
		return true;
	for (struct pass_file **at = &p->files; *at; at = &(*at)->next)
		if (!(*at)->opens)
			last = at;
	if (last)
		evict_locked(p, last);
	return last;
}

static bool changed(const struct pass_file *f, const struct pass_attr_in *attr)
{
	return f->attr.size != attr->size || f->attr.mtime_ns != attr->mtime_ns;
}

static int compose_new_locked(struct pass *p, const struct pass_open_in *in,
			      const struct pass_attr_in *attr, struct pass_file **ret)
{
	struct pass_file *f = calloc(1, sizeof(*f));
	int r;

	if (!f)
		return -ENOMEM;
	f->nodeid = in->nodeid;
	f->attr = *attr;
	f->mount = f->fd = -1;
	r = pass_file_compose_locked(p, f, in->fh);
	f->next = p->files;
	p->files = f;
	if (r < 0) {
		log_dbg("node %llu of %llu bytes is not passed through: %s",
			(unsigned long long)in->nodeid, (unsigned long long)attr->size,
			strerror(-r));
		evict_locked(p, &p->files);
		return r;
	}
	*ret = f;
	return 0;
}

static int add_handle_locked(struct pass_file *f, const struct pass_open_in *in)
{
	struct pass_handle *more;

	if (f->opens == f->opens_max) {
		more = reallocarray(f->handle, 2 * f->opens_max + 4, sizeof(*more));
		if (!more)
			return -ENOMEM;
		f->handle = more;
		f->opens_max = 2 * f->opens_max + 4;
	}
	f->handle[f->opens++] =
		(struct pass_handle){ .fh = in->fh, .tail = in->writable && !in->append };
	return 0;
}

/* An open of a file that nobody has open by passthrough. */
static int first_open_locked(struct pass *p, const struct pass_open_in *in)
{
	struct pass_file **at = find_locked(p, in->nodeid), *f = *at;
	struct pass_attr_in attr = { 0 };
	int r;

	if (!in->wanted || is_held_locked(p, in->nodeid) || is_dying_locked(p, in->nodeid))
		r = -ENOTSUP;
	else
		r = p->params.ops->attr(p->params.ctx, in->nodeid, &attr);
	if (r == 0 && (attr.size < PAGE_4K || (attr.privileged && p->params.writable)))
		r = -ENOTSUP;
	if (f && (r < 0 || changed(f, &attr))) {
		evict_locked(p, at);
		f = NULL;
	}
	if (r == 0 && !f)
		r = compose_new_locked(p, in, &attr, &f);
	/* Another open may have come meanwhile: it is answered without, and so is this one. */
	if (r == 0 && !p->params.ops->alone(p->params.ctx, in->nodeid))
		r = -ENOTSUP;
	if (r == 0)
		r = add_handle_locked(f, in);
	return r < 0 ? r : f->backing;
}

int pass_open(struct pass *p, const struct pass_open_in *in)
{
	struct pass_file *f;

	waiting_begin(); /* it may compose a file itself */
	scoped_lock(&p->lock);
	f = *find_locked(p, in->nodeid);
	if (!f || !f->opens)
		return first_open_locked(p, in);
	if ((in->writable && !p->params.writable) || add_handle_locked(f, in) < 0)
		return -EBUSY;
	return f->backing;
}

bool pass_is_open(struct pass *p, uint64_t nodeid)
{
	struct pass_file *f;

	before_lock(p);
	scoped_lock(&p->lock);
	f = *find_locked(p, nodeid);
	return f && f->opens;
}

static const struct pass_handle *tail_handle(const struct pass_file *f)
{
	for (size_t i = 0; i < f->opens; i++)
		if (f->handle[i].tail)
			return &f->handle[i];
	return NULL;
}

/*
 * Write the last page to the host if it is not what the host has. Inside of it the file can have
 * become longer: its block is there. Times do not tell: a store to a page that is mapped for
 * writing moves none. 1: it was written; 0: nothing to do; or a negative errno.
 */
static int settle_tail_locked(struct pass *p, struct pass_file *f, uint64_t size)
{
	uint64_t whole = align_down(f->attr.size, PAGE_4K);
	const struct pass_handle *h = tail_handle(f);
	size_t len = (size_t)(size - whole);
	char buf[PAGE_4K] = { 0 };
	int r;

	if (!pass_has_tail(f) || !h)
		return 0;
	if (pread(f->fd, buf, len, (off_t)whole) != (ssize_t)len)
		return -EIO;
	if (size == f->attr.size && !memcmp(buf, f->tail, len))
		return 0;
	r = p->params.ops->write(p->params.ctx, f->nodeid, h->fh, whole, buf, len);
	if (r < 0)
		return r;
	memcpy(f->tail, buf, sizeof(f->tail));
	f->attr.size = whole + len;
	return 1;
}

/*
 * What the backing file's size says. A write behind the end that has failed makes it larger than
 * its blocks, and nobody is told (ext4 with DAX, seen with 6.12 and 7.3): it is set back.
 */
static uint64_t checked_size_locked(struct pass_file *f, uint64_t size)
{
	if (size <= align_up(f->attr.size, PAGE_4K))
		return size;
	if (ftruncate(f->fd, (off_t)f->attr.size) < 0)
		log_dbg("the size of a backing file: %m");
	return f->attr.size;
}

int pass_settle(struct pass *p, uint64_t nodeid)
{
	struct pass_file *f;
	struct stat st;
	bool moved;
	int r;

	before_lock(p);
	scoped_lock(&p->lock);
	f = *find_locked(p, nodeid);
	if (!f || !p->params.writable)
		return 0;
	if (fstat(f->fd, &st) < 0)
		return -errno;
	/* As of before the last page is read: what comes later is found the next time. */
	moved = st.st_mtim.tv_sec != f->seen.tv_sec || st.st_mtim.tv_nsec != f->seen.tv_nsec;
	f->seen = st.st_mtim;
	r = settle_tail_locked(p, f, checked_size_locked(f, (uint64_t)st.st_size));
	return r < 0 ? r : moved || r;
}

void pass_settled(struct pass *p, uint64_t nodeid, uint64_t mtime_ns)
{
	struct pass_file *f;

	before_lock(p);
	scoped_lock(&p->lock);
	f = *find_locked(p, nodeid);
	if (f)
		f->attr.mtime_ns = mtime_ns;
}

void pass_release(struct pass *p, uint64_t nodeid, uint64_t fh)
{
	struct pass_file *f;

	before_lock(p);
	scoped_lock(&p->lock);
	f = *find_locked(p, nodeid);
	/* Only what was counted: an open that was answered without, or refused, is not here. */
	for (size_t i = 0; f && i < f->opens; i++) {
		if (f->handle[i].fh != fh)
			continue;
		f->handle[i] = f->handle[--f->opens];
		if (!f->opens)
			(void)pthread_cond_broadcast(&p->closed);
		return;
	}
}

/* Evict it if it is idle. -EBUSY: it is open, or mapped. */
static int evict_node_locked(struct pass *p, uint64_t nodeid)
{
	struct pass_file **at = find_locked(p, nodeid);

	if (*at && (*at)->opens)
		return -EBUSY;
	if (*at)
		evict_locked(p, at);
	return is_dying_locked(p, nodeid) ? -EBUSY : 0;
}

int pass_hold(struct pass *p, uint64_t nodeid, struct pass_hold *h)
{
	struct timespec ts = time_spec(time_now_ns() + RELEASE_NS);
	bool waited = false;
	int r;

	scoped_lock(&p->lock);
	while ((r = evict_node_locked(p, nodeid)) == -EBUSY) {
		if (!waited)
			waiting_begin();
		waited = true;
		if (pthread_cond_timedwait(&p->closed, &p->lock, &ts))
			return r;
	}
	*h = (struct pass_hold){ .next = p->holds, .nodeid = nodeid };
	p->holds = h;
	return 0;
}

void pass_unhold(struct pass *p, struct pass_hold *h)
{
	struct pass_hold **at = &p->holds;

	before_lock(p);
	scoped_lock(&p->lock);
	while (*at != h)
		at = &(*at)->next;
	*at = h->next;
}

void pass_forget(struct pass *p, uint64_t nodeid)
{
	before_lock(p);
	scoped_lock(&p->lock);
	(void)evict_node_locked(p, nodeid);
}

/* The window's own data of the namespace stands in front of the region: nothing is mapped there. */
static int reserve_front(struct pass *p)
{
	uint64_t front = p->params.window.start - p->params.window_start;
	struct woff at;
	int r = 0;

	for (uint64_t done = 0; r == 0 && done < front; done += UINT64_C(1) << PASS_PIECE_SHIFT) {
		r = buddy_alloc(p->window, PASS_PIECE_SHIFT, &at);
		if (r == 0 && at.v != done)
			r = -EINVAL;
	}
	return r;
}

/* The block device is nobody else's: what is on it is overwritten. */
static int open_meta(const char *path)
{
	int fd = open(path, O_RDWR | O_EXCL | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	close_keep_errno(fd);
	/* Not kept: the device mapper must be able to claim it. */
	fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int pass_create(const struct pass_params *params, struct pass **ret)
{
	struct pass *p = calloc(1, sizeof(*p));
	uint64_t end = params->window.start + params->window.size - params->window_start;
	int r;

	if (!p)
		return -ENOMEM;
	p->params = *params;
	(void)pthread_mutex_init(&p->lock, NULL);
	time_cond_init(&p->closed);
	p->meta_fd = -1;
	p->window = buddy_create(end, PASS_PIECE_SHIFT, PASS_SHIFT_MAX);
	p->meta = buddy_create(params->meta.size, 12, PASS_SHIFT_MAX);
	r = p->window && p->meta ? reserve_front(p) : -ENOMEM;
	/* What a killed process has left may still be in use: then its pages are, too. */
	if (r == 0)
		r = compose_remove_all(PASS_DEVICE_PREFIX);
	if (r == 0) {
		p->meta_fd = open_meta(params->meta.block);
		r = MIN(p->meta_fd, 0);
	}
	if (r < 0) {
		pass_destroy(p);
		return r;
	}
	*ret = p;
	return 0;
}

void pass_destroy(struct pass *p)
{
	if (!p)
		return;
	while (p->files)
		evict_locked(p, &p->files);
	(void)bury_locked(p);
	while (p->dying) {
		struct pass_file *f = p->dying;

		log_warn("%s is still in use by a mapping", f->device);
		p->dying = f->next;
		free(f->handle);
		free(f);
	}
	buddy_destroy(p->window);
	buddy_destroy(p->meta);
	close_keep_errno(p->meta_fd);
	(void)pthread_cond_destroy(&p->closed);
	(void)pthread_mutex_destroy(&p->lock);
	free(p);
}
