// SPDX-License-Identifier: MIT
// fsrandom: operations on sizes and space.

#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fsrandom.h"

/* Down to the middle of what others use, or up. */
void op_truncate(struct actor *a, struct file *f)
{
	off_t size = pick(a, 2) ? pick_size(a) : pick_offset(a, f), from, to;
	int fd;

	(void)pthread_mutex_lock(&f->grow);
	from = size < f->size ? size : (off_t)f->size;
	to = size > f->size ? size : (off_t)f->size;
	lock_range(f, from, to + 1, true);
	fd = fd_of(a, f);
	(void)record_begin(a, f, "truncate", size, 0);
	if (pick(a, 2))
		NEED(f, ftruncate(fd, size));
	else
		NEED(f, truncate(path_of(options.dir, "f", f->id), size));
	model_resize(f, size);
	record_end(a);
	unlock_range(f, from, to + 1);
	(void)pthread_mutex_unlock(&f->grow);
}

/* Space for what is or is not there yet: no byte changes, the size may. */
void op_allocate(struct actor *a, struct file *f)
{
	off_t off = pick_offset(a, f), len = pick_length(a, off), from, to;
	bool keep = pick(a, 2);

	(void)pthread_mutex_lock(&f->grow);
	to = !keep && off + len > f->size ? off + len : (off_t)f->size;
	from = f->size;
	lock_range(f, from, to + 1, true);
	(void)record_begin(a, f, keep ? "allocate, keep" : "allocate", off, len);
	NEED(f, fallocate(fd_of(a, f), keep ? FALLOC_FL_KEEP_SIZE : 0, off, len));
	f->size = to;
	record_end(a);
	unlock_range(f, from, to + 1);
	(void)pthread_mutex_unlock(&f->grow);
}

/* Zeros by punching a hole or by zeroing, which may make the file longer. */
void op_zero(struct actor *a, struct file *f)
{
	off_t off = pick_offset(a, f), len = pick_length(a, off), from = off;
	bool punch = pick(a, 2), keep = punch || pick(a, 2);
	int mode = punch ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE;

	if (!keep)
		(void)pthread_mutex_lock(&f->grow);
	if (!keep && f->size < off)
		from = f->size;
	lock_range(f, from, off + len, true);
	(void)record_begin(a, f, punch ? "punch" : keep ? "zero, keep" : "zero", off, len);
	if (fallocate(fd_of(a, f), mode | (keep ? FALLOC_FL_KEEP_SIZE : 0), off, len) == 0) {
		model_zero(f, off, len);
		if (!keep && off + len > f->size)
			f->size = off + len;
	} else if (errno == EOPNOTSUPP && !punch) {
		atomic_fetch_add(&shared->unsupported, 1);
	} else {
		wrong(f, "fallocate: %m");
	}
	record_end(a);
	unlock_range(f, from, off + len);
	if (!keep)
		(void)pthread_mutex_unlock(&f->grow);
}

void op_stat(struct actor *a, struct file *f)
{
	struct stat st;
	int fd;

	(void)pthread_mutex_lock(&f->grow);
	lock_range(f, 0, 1, false);
	fd = fd_of(a, f);
	(void)record_begin(a, f, "stat", 0, 0);
	if (pick(a, 4) == 0)
		NEED(f, fchmod(fd, pick(a, 2) ? 0644 : 0600));
	if (pick(a, 8) == 0)
		NEED(f, pick(a, 2) ? fsync(fd) : fdatasync(fd));
	if (pick(a, 2))
		NEED(f, fstat(fd, &st));
	else
		NEED(f, stat(path_of(options.dir, "f", f->id), &st));
	if (st.st_size != f->size)
		wrong(f, "stat says %lld bytes", (long long)st.st_size);
	record_end(a);
	unlock_range(f, 0, 1);
	(void)pthread_mutex_unlock(&f->grow);
}

void op_reopen(struct actor *a, struct file *f)
{
	lock_range(f, 0, 1, false);
	(void)record_begin(a, f, "reopen", 0, 0);
	forget_open(a, f);
	(void)fd_of(a, f);
	record_end(a);
	unlock_range(f, 0, 1);
}
