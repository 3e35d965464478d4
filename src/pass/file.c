// SPDX-License-Identifier: MIT
// One composed file: its mappings, metadata, device, mount and registration.

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "pass/compose.h"
#include "pass/ext4.h"
#include "pass_priv.h"

static unsigned int shift_of(uint64_t bytes, unsigned int min)
{
	unsigned int shift = min;

	while (UINT64_C(1) << shift < bytes)
		shift++;
	return shift;
}

static void unmap_locked(struct pass *p, struct pass_file *f)
{
	struct dax_range ranges[PASS_PIECES_MAX];
	unsigned int n = 0;

	for (unsigned int i = 0; i < f->n; i++)
		if (f->piece[i].mapped)
			ranges[n++] =
				(struct dax_range){ .at = f->piece[i].at, .len = f->piece[i].len };
	/* A block whose mapping the host does not remove is not used again. */
	if (n && p->params.ops->map->remove(p->params.ctx, ranges, n) < 0) {
		log_warn("a mapping of a file that was passed through is not removed");
		return;
	}
	for (unsigned int i = 0; i < f->n; i++)
		buddy_free(p->window, f->piece[i].at, f->piece[i].shift);
}

bool pass_file_free_locked(struct pass *p, struct pass_file *f)
{
	int r = 0;

	if (f->backing)
		p->params.ops->backing_close(p->params.ctx, f->backing);
	f->backing = 0;
	close_keep_errno(steal_fd(&f->fd));
	/* Unmounting evicts the inode, with what fs/dax knows of its pages. */
	close_keep_errno(steal_fd(&f->mount));
	if (f->device[0])
		r = compose_device_remove(f->device);
	/* As long as the device is in use, its pages of the window and of the metadata are, too. */
	if (r < 0 && r != -ENXIO)
		return false;
	if (f->has_meta)
		buddy_free(p->meta, f->meta, f->meta_shift);
	unmap_locked(p, f);
	free(f->handle);
	free(f);
	return true;
}

static int alloc_locked(struct pass *p, struct buddy *b, unsigned int shift, struct woff *ret)
{
	int r;

	if (shift > PASS_SHIFT_MAX)
		return -EFBIG;
	while ((r = buddy_alloc(b, shift, ret)) == -ENOSPC && pass_evict_one_locked(p))
		;
	return r;
}

/* Room in the window for the file's whole pages, and their mappings. */
static int map_locked(struct pass *p, struct pass_file *f)
{
	uint64_t whole = align_down(f->attr.size, PAGE_4K), from = 0;
	int r = 0;

	/* Before others are evicted for it. */
	if (whole > p->params.window.size || whole > (uint64_t)PASS_PIECES_MAX << PASS_SHIFT_MAX)
		return -EFBIG;

	while (r == 0 && from < whole) {
		struct pass_piece *c = &f->piece[f->n];
		uint64_t left = whole - from;
		unsigned int shift = MIN(shift_of(left, PASS_PIECE_SHIFT), PASS_SHIFT_MAX);

		/* The largest block inside of what is left; the last one may be larger. */
		if (UINT64_C(1) << shift > left && shift > PASS_PIECE_SHIFT &&
		    f->n + 1 < PASS_PIECES_MAX)
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
	if (pass_has_tail(f))
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
	if (r >= 0 && pass_has_tail(f))
		r = p->params.ops->read(p->params.ctx, f->nodeid, fh, whole, f->tail,
					(size_t)(f->attr.size - whole));
	if (r < 0)
		return r;
	memcpy(buf + (size_t)l->spare.v * PASS_BLOCK, f->tail, sizeof(f->tail));
	return pwrite(p->meta_fd, buf, len, (off_t)f->meta.v) == (ssize_t)len ? 0 : -EIO;
}

static int device_locked(struct pass *p, struct pass_file *f, const struct ext4_layout *l,
			 char *ret_path)
{
	const struct pass_region *w = &p->params.window, *m = &p->params.meta;
	struct compose_piece pieces[PASS_PIECES_MAX + 1] = { {
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
	(void)snprintf(name, sizeof(name), PASS_DEVICE_PREFIX "%d-%llu", (int)getpid(),
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

int pass_file_compose_locked(struct pass *p, struct pass_file *f, uint64_t fh)
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
