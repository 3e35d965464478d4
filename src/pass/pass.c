// SPDX-License-Identifier: MIT
// Files of the host that the guest's kernel reads and writes by itself, through the window.

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/time.h"
#include "base/waiting.h"
#include "dax/buddy.h"
#include "pass/compose.h"
#include "pass/ext4.h"
#include "pass/pass.h"

/* The kernel does not wait for RELEASE: a program that has closed a file can change its size before
 * that. */
#define RELEASE_NS    (300 * NSEC_PER_MS)

#define DEVICE_PREFIX "vfsdaxfuse-"

/* Pieces of the window that show one file: few, because the host allows few mappings in all. */
#define PIECES_MAX  8u
#define PIECE_SHIFT 16u /* 64 KiB */

struct piece {
	struct woff at;
	unsigned int shift; /* of the block */
	uint64_t from, len; /* of the file, in bytes */
	bool mapped;
};

struct pass_file {
	struct pass_file *next; /* who was used last is first */
	uint64_t nodeid;
	struct pass_attr_in attr; /* of when it was composed */
	unsigned int opens;
	uint64_t *writer; /* handles that can be written to */
	size_t writers, writers_max;
	struct timespec seen; /* mtime of the backing file */

	struct piece piece[PIECES_MAX];
	unsigned int n;
	struct woff meta; /* in the metadata's region */
	unsigned int meta_shift;
	bool has_meta;
	char device[64]; /* "": not made */
	int mount, fd;	 /* -1: not yet */
	int backing;	 /* 0: not registered */
};

struct pass {
	struct pass_params params;
	int meta_fd;	       /* past the page cache */
	pthread_mutex_t lock;  /* guards the rest; requests to the host are sent under it */
	pthread_cond_t closed; /* a file is not open any more */
	struct buddy *window, *meta;
	struct pass_file *files;
	uint64_t serial;
};

static unsigned int shift_of(uint64_t bytes, unsigned int min)
{
	unsigned int shift = min;

	while (UINT64_C(1) << shift < bytes)
		shift++;
	return shift;
}

static void unmap_locked(struct pass *p, struct pass_file *f)
{
	struct dax_range ranges[PIECES_MAX];
	unsigned int n = 0;

	for (unsigned int i = 0; i < f->n; i++)
		if (f->piece[i].mapped)
			ranges[n++] =
				(struct dax_range){ .at = f->piece[i].at, .len = f->piece[i].len };
	/* What the host does not remove is not used again. */
	if (n && p->params.ops->map->remove(p->params.ctx, ranges, n) < 0) {
		log_warn("a mapping of a file that was passed through is not removed");
		return;
	}
	for (unsigned int i = 0; i < f->n; i++)
		buddy_free(p->window, f->piece[i].at, f->piece[i].shift);
}

/* Undo what was done for it, in the reverse order. It is in no list. */
static void file_free_locked(struct pass *p, struct pass_file *f)
{
	if (f->backing)
		p->params.ops->backing_close(p->params.ctx, f->backing);
	close_keep_errno(f->fd);
	/* Unmounting evicts the inode, with what fs/dax knows of its pages. */
	close_keep_errno(f->mount);
	if (f->device[0]) {
		int r = compose_device_remove(f->device);

		if (r < 0)
			log_warn("the device %s stays: %s", f->device, strerror(-r));
	}
	if (f->has_meta)
		buddy_free(p->meta, f->meta, f->meta_shift);
	unmap_locked(p, f);
	free(f->writer);
	free(f);
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
	file_free_locked(p, f);
}

/* Evict who is idle for longest. False: none is. */
static bool evict_one_locked(struct pass *p)
{
	struct pass_file **last = NULL;

	for (struct pass_file **at = &p->files; *at; at = &(*at)->next)
		if (!(*at)->opens)
			last = at;
	if (last)
		evict_locked(p, last);
	return last;
}

static int alloc_locked(struct pass *p, struct buddy *b, unsigned int shift, struct woff *ret)
{
	int r;

	while ((r = buddy_alloc(b, shift, ret)) == -ENOSPC && evict_one_locked(p))
		;
	return r;
}

/* Room in the window for the file's whole pages, and their mappings. */
static int map_locked(struct pass *p, struct pass_file *f)
{
	uint64_t whole = align_down(f->attr.size, PAGE_4K), from = 0;
	int r = 0;

	while (r == 0 && from < whole) {
		struct piece *c = &f->piece[f->n];
		uint64_t left = whole - from;
		unsigned int shift = shift_of(left, PIECE_SHIFT);

		/* The largest block inside of what is left; the last one may be larger. */
		if (UINT64_C(1) << shift > left && shift > PIECE_SHIFT && f->n + 1 < PIECES_MAX)
			shift--;
		r = alloc_locked(p, p->window, shift, &c->at);
		if (r < 0)
			break;
		c->shift = shift;
		c->from = from;
		c->len = MIN(left, UINT64_C(1) << shift);
		f->n++;
		r = p->params.ops->map->setup(p->params.ctx, f->nodeid, FOFF(from), c->len, c->at,
					      p->params.writable);
		c->mapped = r == 0;
		from += c->len;
	}
	return r;
}

/* The file as one piece of the device behind its metadata, and the last page in front of it. */
static unsigned int extents_of(const struct pass_file *f, const struct ext4_layout *l,
			       struct pass_extent ret[2])
{
	uint32_t whole = (uint32_t)(f->attr.size / PAGE_4K);
	unsigned int n = 0;

	if (whole)
		ret[n++] = (struct pass_extent){ .at = FBLK(0), .block = l->data, .count = whole };
	if (f->attr.size % PAGE_4K)
		ret[n++] = (struct pass_extent){ .at = FBLK(whole), .block = l->spare, .count = 1 };
	return n;
}

/* The layout of its file system; the tail's block comes first in spare, then the tree. */
static int layout(const struct pass_file *f, struct ext4_layout *ret)
{
	uint32_t whole = (uint32_t)(f->attr.size / PAGE_4K);
	struct ext4_shape shape = { .slots = 1, .spare_blocks = 1, .data_blocks = whole };
	struct pass_extent extents[2];
	int r = ext4_layout_init(ret, &shape), tree;

	if (r < 0)
		return r;
	tree = ext4_tree_blocks(extents, extents_of(f, ret, extents));
	if (tree <= 0)
		return tree;
	shape.spare_blocks += (uint32_t)tree;
	return ext4_layout_init(ret, &shape);
}

static int write_metadata(struct pass *p, struct pass_file *f, const struct ext4_layout *l,
			  uint64_t fh)
{
	size_t len = (size_t)l->data.v * PASS_BLOCK;
	_cleanup_free_ char *buf = aligned_alloc(PASS_BLOCK, len);
	uint64_t whole = align_down(f->attr.size, PAGE_4K);
	struct pass_attr attr = { .size = f->attr.size, .mode = S_IFREG | 0600 };
	struct pass_extent extents[2];
	uint8_t uuid[16] = { 0 };
	int r;

	if (!buf)
		return -ENOMEM;
	memset(buf, 0, len);
	memcpy(uuid, &f->nodeid, sizeof(f->nodeid));
	r = ext4_write_fs(l, uuid, time(NULL), buf, len);
	if (r == 0)
		r = ext4_write_slot(l, 0, &attr, extents, extents_of(f, l, extents),
				    buf + (size_t)ext4_slot_inode(l, 0).v * PASS_BLOCK,
				    DBLK(l->spare.v + 1),
				    buf + (size_t)(l->spare.v + 1) * PASS_BLOCK,
				    (size_t)(l->data.v - l->spare.v - 1) * PASS_BLOCK);
	if (r >= 0 && f->attr.size > whole)
		r = p->params.ops->read(p->params.ctx, f->nodeid, fh, whole,
					buf + (size_t)l->spare.v * PASS_BLOCK,
					(size_t)(f->attr.size - whole));
	if (r < 0)
		return r;
	return pwrite(p->meta_fd, buf, len, (off_t)f->meta.v) == (ssize_t)len ? 0 : -EIO;
}

static int device_locked(struct pass *p, struct pass_file *f, const struct ext4_layout *l,
			 char *ret_path)
{
	const struct pass_region *w = &p->params.window, *m = &p->params.meta;
	struct compose_piece pieces[PIECES_MAX + 1] = { {
		.major = m->major,
		.minor = m->minor,
		.from = f->meta.v,
		.len = (uint64_t)l->data.v * PASS_BLOCK,
	} };
	char name[sizeof(f->device)];
	int r;

	for (unsigned int i = 0; i < f->n; i++)
		pieces[i + 1] = (struct compose_piece){
			.major = w->major,
			.minor = w->minor,
			.from = f->piece[i].at.v - (w->start - p->params.window_start),
			.len = f->piece[i].len,
		};
	(void)snprintf(name, sizeof(name), DEVICE_PREFIX "%d-%llu", (int)getpid(),
		       (unsigned long long)p->serial++);
	r = compose_device(name, pieces, f->n + 1, ret_path);
	if (r == 0)
		memcpy(f->device, name, sizeof(name));
	return r;
}

static int register_locked(struct pass *p, struct pass_file *f)
{
	char name[PASS_NAME_LEN + 1];
	struct stat st;
	int r;

	pass_slot_name(0, name);
	f->fd = openat(f->mount, name,
		       (p->params.writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOATIME);
	if (f->fd < 0 || fstat(f->fd, &st) < 0)
		return -errno;
	f->seen = st.st_mtim;
	r = p->params.ops->backing_open(p->params.ctx, f->fd);
	if (r < 0)
		return r;
	f->backing = r;
	return 0;
}

static int compose_locked(struct pass *p, struct pass_file *f, uint64_t fh)
{
	char path[COMPOSE_PATH_MAX];
	struct ext4_layout l;
	int r = layout(f, &l);

	if (r == 0) {
		f->meta_shift = shift_of((uint64_t)l.data.v * PASS_BLOCK, 12);
		r = alloc_locked(p, p->meta, f->meta_shift, &f->meta);
		f->has_meta = r == 0;
	}
	if (r == 0)
		r = map_locked(p, f);
	if (r == 0)
		r = write_metadata(p, f, &l, fh);
	if (r == 0)
		r = device_locked(p, f, &l, path);
	if (r == 0) {
		r = compose_mount(path);
		f->mount = r;
	}
	return r < 0 ? r : register_locked(p, f);
}

static int compose_new_locked(struct pass *p, uint64_t nodeid, uint64_t fh,
			      const struct pass_attr_in *attr, struct pass_file **ret)
{
	struct pass_file *f = calloc(1, sizeof(*f));
	int r;

	if (!f)
		return -ENOMEM;
	*f = (struct pass_file){ .nodeid = nodeid, .attr = *attr, .mount = -1, .fd = -1 };
	r = compose_locked(p, f, fh);
	if (r < 0) {
		log_dbg("node %llu of %llu bytes is not passed through: %s",
			(unsigned long long)nodeid, (unsigned long long)attr->size, strerror(-r));
		file_free_locked(p, f);
		return r;
	}
	f->next = p->files;
	p->files = f;
	*ret = f;
	return 0;
}

static bool changed(const struct pass_file *f, const struct pass_attr_in *attr)
{
	return f->attr.size != attr->size || f->attr.mtime_ns != attr->mtime_ns;
}

static int add_writer_locked(struct pass_file *f, uint64_t fh)
{
	uint64_t *more;

	if (f->writers == f->writers_max) {
		more = reallocarray(f->writer, 2 * f->writers_max + 4, sizeof(*more));
		if (!more)
			return -ENOMEM;
		f->writer = more;
		f->writers_max = 2 * f->writers_max + 4;
	}
	f->writer[f->writers++] = fh;
	return 0;
}

static void remove_writer_locked(struct pass_file *f, uint64_t fh)
{
	for (size_t i = 0; i < f->writers; i++)
		if (f->writer[i] == fh) {
			f->writer[i] = f->writer[--f->writers];
			return;
		}
}

bool pass_is_written(struct pass *p, uint64_t nodeid)
{
	struct pass_file *f;

	scoped_lock(&p->lock);
	f = *find_locked(p, nodeid);
	return f && f->opens && p->params.writable;
}

bool pass_is_open(struct pass *p, uint64_t nodeid)
{
	struct pass_file *f;

	scoped_lock(&p->lock);
	f = *find_locked(p, nodeid);
	return f && f->opens;
}

int pass_open(struct pass *p, uint64_t nodeid, uint64_t fh, const struct pass_attr_in *attr,
	      bool wanted)
{
	struct pass_file **at, *f;
	int r = 0;

	waiting_begin();
	scoped_lock(&p->lock);
	at = find_locked(p, nodeid);
	/* Nobody has it open here: the host may have changed it, and this open may be of another
	 * kind. */
	if (*at && !(*at)->opens && (!wanted || changed(*at, attr)))
		evict_locked(p, at);
	f = *at;
	if (f && attr->writable && !p->params.writable)
		return -EBUSY;
	if (!f && (!wanted || attr->size < PAGE_4K))
		return -ENOTSUP;
	if (!f)
		r = compose_new_locked(p, nodeid, fh, attr, &f);
	if (r < 0)
		return r;
	r = attr->writable ? add_writer_locked(f, fh) : 0;
	if (r < 0)
		return f->opens ? -EBUSY : r;
	f->opens++;
	return f->backing;
}

/*
 * The last page is a copy: what was written to it goes to the host as a request. Inside of it the
 * file can have become longer, too: its block is there.
 */
static void settle_tail_locked(struct pass *p, struct pass_file *f, uint64_t size)
{
	uint64_t whole = align_down(f->attr.size, PAGE_4K);
	size_t len = (size_t)(size - whole);
	char buf[PAGE_4K];

	if (f->attr.size == whole || !f->writers)
		return;
	f->attr.size = whole + len;
	if (pread(f->fd, buf, len, (off_t)whole) != (ssize_t)len ||
	    p->params.ops->write(p->params.ctx, f->nodeid, f->writer[0], whole, buf, len) < 0)
		log_warn_ratelimited(
			"the last page of a file that was passed through is not written");
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

bool pass_settle(struct pass *p, uint64_t nodeid)
{
	struct pass_file *f;
	struct stat st;

	scoped_lock(&p->lock);
	f = *find_locked(p, nodeid);
	if (!f || fstat(f->fd, &st) < 0 ||
	    (st.st_mtim.tv_sec == f->seen.tv_sec && st.st_mtim.tv_nsec == f->seen.tv_nsec))
		return false;
	settle_tail_locked(p, f, checked_size_locked(f, (uint64_t)st.st_size));
	/* After it was set back: that is a change, too. */
	if (fstat(f->fd, &st) == 0)
		f->seen = st.st_mtim;
	return true;
}

void pass_settled(struct pass *p, uint64_t nodeid, uint64_t mtime_ns)
{
	struct pass_file *f;

	scoped_lock(&p->lock);
	f = *find_locked(p, nodeid);
	if (f)
		f->attr.mtime_ns = mtime_ns;
}

void pass_release(struct pass *p, uint64_t nodeid, uint64_t fh)
{
	struct pass_file *f;

	scoped_lock(&p->lock);
	f = *find_locked(p, nodeid);
	if (!f || !f->opens)
		return;
	remove_writer_locked(f, fh);
	if (--f->opens == 0)
		(void)pthread_cond_broadcast(&p->closed);
}

/* Evict it if it is idle. -EBUSY: it is open. */
static int evict_node_locked(struct pass *p, uint64_t nodeid)
{
	struct pass_file **at = find_locked(p, nodeid);

	if (*at && (*at)->opens)
		return -EBUSY;
	if (*at)
		evict_locked(p, at);
	return 0;
}

int pass_resize(struct pass *p, uint64_t nodeid)
{
	uint64_t until = time_now_ns() + RELEASE_NS;
	struct timespec ts = time_spec(until);
	bool waited = false;
	int r;

	scoped_lock(&p->lock);
	while ((r = evict_node_locked(p, nodeid)) == -EBUSY) {
		if (!waited)
			waiting_begin();
		waited = true;
		if (pthread_cond_timedwait(&p->closed, &p->lock, &ts))
			break;
	}
	return r;
}

void pass_forget(struct pass *p, uint64_t nodeid)
{
	scoped_lock(&p->lock);
	(void)evict_node_locked(p, nodeid);
}

/* The window's own data of the namespace stands in front of the region: nothing is mapped there. */
static int reserve_front(struct pass *p)
{
	uint64_t front = p->params.window.start - p->params.window_start;
	struct woff at;
	int r = 0;

	for (uint64_t done = 0; r == 0 && done < front; done += UINT64_C(1) << PIECE_SHIFT) {
		r = buddy_alloc(p->window, PIECE_SHIFT, &at);
		if (r == 0 && at.v != done)
			r = -EINVAL;
	}
	return r;
}

int pass_create(const struct pass_params *params, struct pass **ret)
{
	struct pass *p = calloc(1, sizeof(*p));
	uint64_t end = params->window.start + params->window.size - params->window_start;
	unsigned int left;
	int r = 0;

	if (!p)
		return -ENOMEM;
	p->params = *params;
	(void)pthread_mutex_init(&p->lock, NULL);
	time_cond_init(&p->closed);
	p->meta_fd = open(params->meta.block, O_RDWR | O_DIRECT | O_CLOEXEC);
	if (p->meta_fd < 0)
		r = -errno;
	p->window = buddy_create(end, PIECE_SHIFT, 30);
	p->meta = buddy_create(params->meta.size, 12, 30);
	if (r == 0 && (!p->window || !p->meta))
		r = -ENOMEM;
	if (r == 0)
		r = reserve_front(p);
	if (r < 0) {
		pass_destroy(p);
		return r;
	}
	left = compose_remove_all(DEVICE_PREFIX);
	if (left)
		log_info("%u devices that an earlier process has left are removed", left);
	*ret = p;
	return 0;
}

void pass_destroy(struct pass *p)
{
	if (!p)
		return;
	while (p->files)
		evict_locked(p, &p->files);
	buddy_destroy(p->window);
	buddy_destroy(p->meta);
	close_keep_errno(p->meta_fd);
	(void)pthread_cond_destroy(&p->closed);
	(void)pthread_mutex_destroy(&p->lock);
	free(p);
}
