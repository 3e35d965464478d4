// SPDX-License-Identifier: MIT
// One composed file: its mappings, its slot and its registration.

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "pass_priv.h"

static unsigned int shift_of(uint64_t bytes, unsigned int min)
{
	unsigned int shift = min;

	while (UINT64_C(1) << shift < bytes)
		shift++;
	return shift;
}

static void unmap(struct pass *p, struct pass_file *f)
{
	struct dax_range ranges[PASS_PIECES_MAX];
	unsigned int n = 0, pieces = f->n;

	for (unsigned int i = 0; i < pieces; i++)
		if (f->piece[i].mapped)
			ranges[n++] =
				(struct dax_range){ .at = f->piece[i].at, .len = f->piece[i].len };
	f->n = 0;
	/* A block whose mapping the host does not remove is not used again. */
	if (n && p->params.ops->map->remove(p->params.ctx, ranges, n) < 0) {
		log_warn_ratelimited("a mapping of a file that was passed through is not removed");
		return;
	}
	scoped_lock(&p->lock);
	for (unsigned int i = 0; i < pieces; i++)
		buddy_free(p->window, WOFF(f->piece[i].at.v - p->first), f->piece[i].shift);
}

/* Can @left bytes still be shown, with blocks of 2^shift bytes? */
static bool enough_pieces(const struct pass_file *f, uint64_t left, unsigned int shift)
{
	return left <= (uint64_t)(PASS_PIECES_MAX - f->n) << shift;
}

/*
 * The block for what begins at @from: the largest that fits in what is left, or, as the last one, a
 * larger one. In a fragmented window smaller ones, as long as there are pieces for the rest.
 */
static int reserve_piece(struct pass *p, struct pass_file *f, uint64_t left,
			 struct pass_piece *piece)
{
	unsigned int shift = MIN(shift_of(left, PASS_PIECE_SHIFT), PASS_SHIFT_MAX);
	int r;

	if (UINT64_C(1) << shift > left && shift > PASS_PIECE_SHIFT && f->n + 1 < PASS_PIECES_MAX)
		shift--;
	while ((r = pass_reserve(p, shift, &piece->at)) == -ENOSPC && shift > PASS_PIECE_SHIFT &&
	       enough_pieces(f, left, shift - 1))
		shift--;
	piece->shift = shift;
	return r;
}

/* The host can refuse a mapping when it has too many: the window's other users need theirs. */
static int map_piece(struct pass *p, const struct pass_file *f, const struct pass_piece *piece)
{
	int r;

	do {
		r = p->params.ops->map->setup(p->params.ctx, f->nodeid, FOFF(piece->from),
					      piece->len, piece->at, p->params.writable);
	} while (r == -ENOSPC && pass_evict_one(p));
	return r;
}

/* Room in the window for the file's whole pages, and their mappings. */
static int map(struct pass *p, struct pass_file *f)
{
	uint64_t whole = f->whole, from = 0;
	int r = 0;

	/* Before others are evicted for it. */
	if (whole > (uint64_t)PASS_PIECES_MAX << PASS_SHIFT_MAX)
		return -EFBIG;
	if (whole > pass_room(p))
		return -ENOSPC;
	while (r == 0 && from < whole) {
		struct pass_piece *piece = &f->piece[f->n];

		*piece = (struct pass_piece){ .from = from };
		r = f->n < PASS_PIECES_MAX ? reserve_piece(p, f, whole - from, piece) : -ENOSPC;
		if (r < 0)
			break;
		f->n++;
		piece->len = MIN(whole - from, UINT64_C(1) << piece->shift);
		r = map_piece(p, f, piece);
		piece->mapped = r == 0;
		from += piece->len;
	}
	return r;
}

struct pass_extent pass_extent_of(const struct pass *p, uint64_t from, struct woff at, uint64_t len)
{
	return (struct pass_extent){
		.at = FBLK((uint32_t)(from / PASS_BLOCK)),
		.block = DBLK(p->layout.data.v + (uint32_t)((at.v - p->front) / PASS_BLOCK)),
		.count = (uint32_t)(len / PASS_BLOCK),
	};
}

static int open_slot(struct pass *p, struct pass_file *f)
{
	struct pass_attr attr = { .size = f->attr.size, .mode = S_IFREG | 0600 };
	struct pass_extent extents[PASS_PIECES_MAX + 1];
	unsigned int n = 0;

	for (; n < f->n; n++)
		extents[n] = pass_extent_of(p, f->piece[n].from, f->piece[n].at, f->piece[n].len);
	if (f->has_tail)
		extents[n++] = (struct pass_extent){
			.at = FBLK((uint32_t)(f->whole / PASS_BLOCK)),
			.block = pass_slot_tail(p->slots, &f->slot),
			.count = 1,
		};
	return pass_slot_open(p->slots, &f->slot, &attr, extents, n);
}

/* The last page is copied to its block by way of the file. */
static int copy_tail(struct pass *p, struct pass_file *f, uint64_t fh)
{
	size_t len = (size_t)(f->attr.size - f->whole);
	int r;

	if (!f->has_tail)
		return 0;
	r = p->params.ops->read(p->params.ctx, f->nodeid, fh, f->whole, f->tail, len);
	if (r < 0)
		return r;
	if (pwrite(f->slot.fd, f->tail, len, (off_t)f->whole) != (ssize_t)len)
		return -EIO;
	/* ext4 clears what another file has left behind the end, though the size stays the same. */
	return ftruncate(f->slot.fd, (off_t)f->attr.size) < 0 ? -errno : 0;
}

/*
 * A write by the guest is seen by the backing file's mtime, which is 0 before. A comparison with
 * an earlier mtime would miss what is written in the same tick of the clock (until Linux 6.13). The
 * kernel does no write(2) meanwhile.
 */
static int clear_mtime(const struct pass_file *f)
{
	const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { 0 } };

	return futimens(f->slot.fd, times) < 0 ? -errno : 0;
}

static int register_file(struct pass *p, struct pass_file *f)
{
	int r = clear_mtime(f);

	f->moved = false;
	if (r == 0)
		r = p->params.ops->backing_open(p->params.ctx, f->slot.fd);
	f->backing = MAX(r, 0);
	return MIN(r, 0);
}

int pass_file_compose(struct pass *p, struct pass_file *f, uint64_t fh)
{
	int r;

	while ((r = pass_slot_take(p->slots, &f->slot)) == -ENOSPC && pass_evict_one(p))
		;
	f->has_slot = r == 0;
	f->whole = align_down(f->attr.size, PAGE_4K);
	f->has_tail = f->attr.size != f->whole;
	if (r == 0)
		r = map(p, f);
	if (r == 0)
		r = open_slot(p, f);
	if (r == 0)
		r = copy_tail(p, f, fh);
	return r < 0 ? r : register_file(p, f);
}

/*
 * Has a failed write made the backing file longer? ext4 with DAX adds the error to the offset and
 * takes that for the size (seen with 6.12 and 7.3): a write behind the last block, which gets
 * ENOSPC, leaves a size of at least the block's end less ENOSPC, and nothing but zeroes behind the
 * old end. A write of zeroes that ends in the last bytes of the block looks the same, and is undone.
 */
static bool failed_growth(const struct pass_file *f, uint64_t size)
{
	uint64_t end = align_up(f->attr.size, PAGE_4K);
	char buf[PAGE_4K];
	size_t len;

	if (size > end)
		return true;
	if (size <= f->attr.size || size + ENOSPC < end)
		return false;
	len = (size_t)(size - f->attr.size);
	if (pread(f->slot.fd, buf, len, (off_t)f->attr.size) != (ssize_t)len)
		return false;
	return !buf[0] && !memcmp(buf, buf + 1, len - 1);
}

/* The backing file's size, which is set back after a failed write. */
static uint64_t checked_size(struct pass_file *f, uint64_t size)
{
	if (!failed_growth(f, size))
		return size;
	if (ftruncate(f->slot.fd, (off_t)f->attr.size) < 0)
		log_dbg("the size of a backing file: %m");
	return f->attr.size;
}

/*
 * Inside of the last page the file can have become longer, to its end at most: the block is there.
 * Times do not tell whether it was written: a store to a page that is mapped for writing moves none.
 */
static int settle_tail(struct pass *p, struct pass_file *f, uint64_t size, const uint64_t *fh)
{
	size_t len = (size_t)(size - f->whole);
	char buf[PAGE_4K] = { 0 };
	int r;

	if (!f->has_tail)
		return 0;
	if (pread(f->slot.fd, buf, len, (off_t)f->whole) != (ssize_t)len)
		return -EIO;
	if (size == f->attr.size && !memcmp(buf, f->tail, len))
		return 0;
	r = p->params.ops->write(p->params.ctx, f->nodeid, fh, f->whole, buf, len);
	if (r < 0)
		return r;
	memcpy(f->tail, buf, sizeof(f->tail));
	f->attr.size = size;
	return 1;
}

static void set_times(struct pass_file *f, const struct pass_attr_in *attr)
{
	f->attr.mtime_ns = attr->mtime_ns;
	f->attr.ctime_ns = attr->ctime_ns;
}

int pass_file_settle(struct pass *p, struct pass_file *f, const uint64_t *fh)
{
	struct pass_attr_in attr;
	struct stat st;
	uint64_t size;
	int r = 0;

	if (fstat(f->slot.fd, &st) < 0)
		return -errno;
	/* First, as it moves mtime, too. */
	size = checked_size(f, (uint64_t)st.st_size);
	/* Before the last page is read: what comes later is found the next time. */
	if (st.st_mtim.tv_sec || st.st_mtim.tv_nsec) {
		f->moved = true;
		r = clear_mtime(f);
	}
	if (r == 0)
		r = settle_tail(p, f, size, fh);
	if (r < 0)
		return r;
	if (!f->moved && !r)
		return 0;
	/* If that fails, the next one sets it. */
	f->moved = p->params.ops->touch(p->params.ctx, f->nodeid, &attr) < 0;
	if (!f->moved)
		set_times(f, &attr);
	return 1;
}

void pass_file_settled(struct pass_file *f, const struct pass_attr_in *attr)
{
	f->moved = clear_mtime(f) < 0;
	set_times(f, attr);
}

/* The last page as the last mapping has left it. */
static void settle_last(struct pass *p, struct pass_file *f)
{
	int r = f->written && f->slot.fd >= 0 ? pass_file_settle(p, f, NULL) : 0;

	if (r < 0)
		log_warn_ratelimited("node %llu: its last page is lost, as it cannot be written to "
				     "the host: %s",
				     (unsigned long long)f->nodeid, strerror(-r));
}

bool pass_file_free(struct pass *p, struct pass_file *f)
{
	if (f->backing)
		p->params.ops->backing_close(p->params.ctx, f->backing);
	f->backing = 0;
	/* The last page is read when nobody can store to it any more. */
	if (f->has_slot && pass_slot_in_use(&f->slot))
		return false;
	if (f->has_slot)
		settle_last(p, f);
	if (f->has_slot && pass_slot_evict(p->slots, &f->slot) < 0) {
		/* A file that is closed can be neither written nor settled any more. */
		f->written = f->written && f->slot.fd >= 0;
		return false;
	}
	f->has_slot = false;
	f->written = false;
	unmap(p, f);
	return true;
}
