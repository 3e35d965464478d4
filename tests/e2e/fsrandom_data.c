// SPDX-License-Identifier: MIT
// fsrandom: operations on data, by calls and by mappings.

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fsrandom.h"

void op_read(struct actor *a, struct file *f)
{
	off_t off = pick_offset(a, f), len = pick_length(a, off);
	int fd;

	lock_range(f, off, off + len, false);
	fd = fd_of(a, f);
	(void)record_begin(a, f, "read", off, len);
	if (pick(a, 4) == 0) {
		off_t there = f->size > off ? f->size - off : 0;
		ssize_t n;

		NEED(f, lseek(fd, off, SEEK_SET));
		n = NEED(f, read(fd, a->buf, (size_t)len));
		if (n > len || n > there || (n == 0 && there))
			wrong(f, "read of %lld at %lld gives %zd bytes", (long long)len,
			      (long long)off, n);
		compare(f, "read", a->buf, off, (size_t)n);
	} else {
		check_range(a, f, fd, "pread", off, len);
	}
	record_end(a);
	unlock_range(f, off, off + len);
}

/* From one end to the other, as most programs read. */
void op_scan(struct actor *a, struct file *f)
{
	off_t step = (off_t)(4096 << pick(a, 6)), off;

	(void)record_begin(a, f, "scan", 0, step);
	for (off = 0; off < FILE_MAX && !shared->stop; off += step) {
		off_t len = off + step > FILE_MAX ? FILE_MAX - off : step;

		lock_range(f, off, off + len, false);
		check_range(a, f, fd_of(a, f), "scan", off, len);
		unlock_range(f, off, off + len);
		if (off + len >= f->size)
			break;
	}
	record_end(a);
}

/*
 * begin_change() - lock what a write to [off, off + len) needs: when it makes the file longer, also
 * what lies between. Returns where the locks begin; *ret_grows goes back to end_change().
 */
static off_t begin_change(struct file *f, off_t off, off_t len, bool *ret_grows)
{
	off_t from;

	lock_range(f, off, off + len, true);
	*ret_grows = off + len > f->size;
	if (!*ret_grows)
		return off;
	unlock_range(f, off, off + len);
	(void)pthread_mutex_lock(&f->grow);
	from = off < f->size ? off : (off_t)f->size;
	lock_range(f, from, off + len, true);
	return from;
}

static void end_change(struct file *f, off_t from, off_t end, bool grows)
{
	unlock_range(f, from, end);
	if (grows)
		(void)pthread_mutex_unlock(&f->grow);
}

void op_write(struct actor *a, struct file *f)
{
	off_t off = pick_offset(a, f), len = pick_length(a, off), from;
	bool grows, seek = pick(a, 4) == 0;
	uint64_t number;
	ssize_t n;
	int fd;

	if (options.fixed_size && off < f->size && off + len > f->size)
		len = f->size - off;
	from = begin_change(f, off, len, &grows);
	if (grows && options.fixed_size) {
		end_change(f, from, off + len, grows);
		return;
	}
	fd = fd_of(a, f);
	number = record_begin(a, f, grows ? "extend" : "write", off, len);
	pattern_fill(a->buf, (size_t)len, number, (uint64_t)off);
	if (seek)
		NEED(f, lseek(fd, off, SEEK_SET));
	n = NEED(f, seek ? write(fd, a->buf, (size_t)len) : pwrite(fd, a->buf, (size_t)len, off));
	if (n != len)
		wrong(f, "write of %lld at %lld gives %zd", (long long)len, (long long)off, n);
	model_fill(f, off, len, number);
	record_end(a);
	end_change(f, from, off + len, grows);
}

void op_append(struct actor *a, struct file *f)
{
	uint64_t number;
	off_t off, len;
	int fd;

	(void)pthread_mutex_lock(&f->grow);
	off = f->size;
	len = pick_length(a, off);
	if (len > 0) {
		lock_range(f, off, off + len, true);
		fd = append_fd_of(a, f);
		number = record_begin(a, f, "append", off, len);
		pattern_fill(a->buf, (size_t)len, number, (uint64_t)off);
		if (NEED(f, write(fd, a->buf, (size_t)len)) != len)
			wrong(f, "a short append");
		model_fill(f, off, len, number);
		record_end(a);
		unlock_range(f, off, off + len);
	}
	(void)pthread_mutex_unlock(&f->grow);
}

static void copy_locked(struct actor *a, struct file *from, off_t off, struct file *to, off_t at,
			off_t len)
{
	off_t in = off, out = at;
	ssize_t n;

	/* What the model does not have is not copied either. */
	if (off + len > from->size)
		len = from->size - off;
	if (len <= 0)
		return;
	(void)record_begin(a, from, "copy from", off, len);
	(void)record_begin(a, to, "copy to", at, len);
	n = NEED(to, copy_file_range(fd_of(a, from), &in, fd_of(a, to), &out, (size_t)len, 0));
	if (n > len || n == 0 || out != at + n)
		wrong(to, "copy_file_range of %lld gives %zd", (long long)len, n);
	memcpy(to->data + at, from->data + off, (size_t)n);
	if (at + n > to->size)
		to->size = at + n;
	record_end(a);
}

/* From a part of one file to another, which may become longer. */
void op_copy(struct actor *a, struct file *f)
{
	struct file *from = &shared->file[(f->id + 1 + pick(a, FILES - 1)) % FILES];
	off_t off = pick_offset(a, from), at = pick_offset(a, f), len = pick_length(a, off), begin;

	if (at + len > FILE_MAX)
		len = FILE_MAX - at;
	(void)pthread_mutex_lock(&f->grow);
	begin = at < f->size ? at : (off_t)f->size;
	if (from->id < f->id)
		lock_range(from, off, off + len, false);
	lock_range(f, begin, at + len, true);
	if (from->id > f->id)
		lock_range(from, off, off + len, false);
	copy_locked(a, from, off, f, at, len);
	unlock_range(from, off, off + len);
	unlock_range(f, begin, at + len);
	(void)pthread_mutex_unlock(&f->grow);
}

/* A range for a mapping; false: the file has nothing there. With stripes locked until end_map(). */
static bool begin_map(struct actor *a, struct file *f, bool write, off_t *ret_off, off_t *ret_len)
{
	off_t off = pick_offset(a, f), len = pick_length(a, off), size;

	lock_range(f, off, off + len, write);
	*ret_off = off;
	*ret_len = len;
	size = f->size;
	if (off >= size || !f->mapped) {
		unlock_range(f, off, off + len);
		return false;
	}
	return true;
}

static off_t part_there(const struct file *f, off_t off, off_t len)
{
	return off + len > f->size ? f->size - off : len;
}

/* Behind the end, up to the next page, a mapping shows zeros. */
static void check_tail(const struct file *f, const unsigned char *p, off_t off, off_t len)
{
	off_t end = f->size, page = (end + PAGE - 1) / PAGE * PAGE;

	for (off_t i = end; off + len >= end && i < page; i++)
		if (p[i - off])
			wrong(f, "a mapping shows 0x%02x at %lld, behind the end", p[i - off],
			      (long long)i);
}

void op_map_read(struct actor *a, struct file *f)
{
	off_t off, len;

	if (!begin_map(a, f, false, &off, &len))
		return;
	(void)record_begin(a, f, "map read", off, len);
	compare(f, "mapping", map_of(a, f) + off, off, (size_t)part_there(f, off, len));
	check_tail(f, map_of(a, f) + off, off, len);
	record_end(a);
	unlock_range(f, off, off + len);
}

void op_map_write(struct actor *a, struct file *f)
{
	off_t off, len, there;
	unsigned char *p;
	uint64_t number;

	if (options.read_maps || !begin_map(a, f, true, &off, &len))
		return;
	there = part_there(f, off, len);
	p = map_of(a, f) + off;
	number = record_begin(a, f, "map write", off, there);
	pattern_fill(p, (size_t)there, number, (uint64_t)off);
	model_fill(f, off, there, number);
	if (pick(a, 8) == 0)
		NEED(f, msync(p - off % PAGE, (size_t)(there + off % PAGE), MS_SYNC));
	if (pick(a, 4) == 0) {
		(void)munmap(a->open[f->id].map, FILE_MAX);
		a->open[f->id].map = NULL;
	}
	record_end(a);
	unlock_range(f, off, off + len);
}

void op_map_private(struct actor *a, struct file *f)
{
	off_t off, len, there;
	unsigned char *p;
	size_t before;

	if (!begin_map(a, f, false, &off, &len))
		return;
	there = part_there(f, off, len);
	before = (size_t)(off % PAGE);
	(void)record_begin(a, f, "map private", off, there);
	p = mmap(NULL, before + (size_t)there, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd_of(a, f),
		 off - off % PAGE);
	if (p == MAP_FAILED)
		wrong(f, "mmap: %m");
	compare(f, "private mapping", p + before, off, (size_t)there);
	memset(p + before, 0xaa, (size_t)there);
	check_range(a, f, fd_of(a, f), "pread", off, there);
	(void)munmap(p, before + (size_t)there);
	record_end(a);
	unlock_range(f, off, off + len);
}
