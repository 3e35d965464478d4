// SPDX-License-Identifier: MIT
// fsrandom: operations that replace a file, and those of the host's side.

#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fsrandom.h"

void op_open_truncating(struct actor *a, struct file *f)
{
	int flags = O_RDWR | O_TRUNC | O_CLOEXEC, fd;
	uint64_t number;

	lock_all(f);
	number = record_begin(a, f, "open, truncate", 0, 0);
	if (pick(a, 2))
		flags |= O_CREAT;
	fd = NEED(f, open(path_of(options.dir, "f", f->id), flags, 0644));
	fill_file(a, f, fd, pick(a, 4) ? pick_size(a) : 0, number);
	NEED(f, close(fd));
	record_end(a);
	unlock_all(f);
}

/* The old file stays what it is for those who have it open; the name gets a new one. */
void op_unlink(struct actor *a, struct file *f)
{
	const char *path = path_of(options.dir, "f", f->id);
	off_t off = pick_offset(a, f), len = pick_length(a, off);
	uint64_t number;
	int old, fd;

	lock_all(f);
	old = fd_of(a, f);
	number = record_begin(a, f, "unlink, create", 0, 0);
	NEED(f, unlink(path));
	check_range(a, f, old, "pread after unlink", off, len);
	fd = NEED(f, open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
	check_range(a, f, old, "pread after unlink", 0, FILE_MAX);
	fill_file(a, f, fd, pick_size(a), number);
	NEED(f, close(fd));
	f->generation++;
	record_end(a);
	unlock_all(f);
}

static void make_file(struct actor *a, struct file *f, const char *path, uint64_t number)
{
	int fd = NEED(f, open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));

	fill_file(a, f, fd, pick_size(a), number);
	if (pick(a, 4) == 0)
		NEED(f, fsync(fd));
	NEED(f, close(fd));
}

/* A new file is renamed over the old one. */
void op_replace(struct actor *a, struct file *f)
{
	const char *new = path_of(options.dir, "new", a->id);
	uint64_t number;

	lock_all(f);
	number = record_begin(a, f, "replace", 0, 0);
	make_file(a, f, new, number);
	NEED(f, rename(new, path_of(options.dir, "f", f->id)));
	f->generation++;
	record_end(a);
	unlock_all(f);
}

/* One takes the other's name; its own gets a new file. */
void op_rename(struct actor *a, struct file *f)
{
	struct file *to = &shared->file[(f->id + 2) % FILES]; /* of the same kind */
	struct file *first = f->id < to->id ? f : to, *second = f->id < to->id ? to : f;
	uint64_t number;

	(void)pthread_mutex_lock(&first->grow);
	(void)pthread_mutex_lock(&second->grow);
	lock_range(first, 0, FILE_MAX, true);
	lock_range(second, 0, FILE_MAX, true);
	number = record_begin(a, f, "rename from", to->id, 0);
	(void)record_begin(a, to, "rename to", f->id, 0);
	NEED(f, rename(path_of(options.dir, "f", f->id), path_of(options.dir, "f", to->id)));
	memcpy(to->data, f->data, FILE_MAX);
	to->size = f->size;
	f->generation++;
	to->generation++;
	make_file(a, f, path_of(options.dir, "f", f->id), number);
	record_end(a);
	unlock_range(second, 0, FILE_MAX);
	unlock_range(first, 0, FILE_MAX);
	(void)pthread_mutex_unlock(&second->grow);
	(void)pthread_mutex_unlock(&first->grow);
}

static int host_open(const struct file *f)
{
	return NEED(f, open(path_of(options.host, "f", f->id), O_RDWR | O_CLOEXEC));
}

/* What was acknowledged is there for the host; of mappings, after fsync. */
void op_host_read(struct actor *a, struct file *f)
{
	off_t off = pick_offset(a, f), len = pick_length(a, off);
	int fd;

	/* fsync may go to a disk. */
	if (!options.host || (f->mapped && pick(a, 4)))
		return;
	lock_range(f, off, off + len, false);
	(void)record_begin(a, f, "host read", off, len);
	if (f->mapped || options.fixed_size) /* or the last page is not there */
		NEED(f, fsync(fd_of(a, f)));
	fd = host_open(f);
	check_range(a, f, fd, "host's pread", off, len);
	NEED(f, close(fd));
	record_end(a);
	unlock_range(f, off, off + len);
}

/*
 * The host writes into or punches a hole into what is there, while the guest uses other parts. Only
 * what the guest's kernel does not cache, that is, not files that are mapped.
 */
void op_host_write(struct actor *a, struct file *f)
{
	off_t off = pick_offset(a, f), len = pick_length(a, off);
	bool punch = pick(a, 4) == 0;
	uint64_t number;
	int fd;

	if (!options.host_changes || f->mapped)
		return;
	lock_range(f, off, off + len, true);
	/* The last page of a file that is passed through, if it is not whole, is a copy. */
	if (off + len <= (options.fixed_size ? f->size / PAGE * PAGE : (off_t)f->size)) {
		number = record_begin(a, f, punch ? "host punches" : "host writes", off, len);
		fd = host_open(f);
		if (punch) {
			NEED(f,
			     fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len));
			model_zero(f, off, len);
		} else {
			model_fill(f, off, len, number);
			if (NEED(f, pwrite(fd, f->data + off, (size_t)len, off)) != len)
				wrong(f, "a short write of the host's");
		}
		NEED(f, close(fd));
		record_end(a);
	}
	unlock_range(f, off, off + len);
}

/* The guest asks for attributes after the host has changed the size (vfsdaxfuse(8), LIMITS). */
static void look_again(struct file *f)
{
	struct stat st;

	NEED(f, stat(path_of(options.dir, "f", f->id), &st));
	if (st.st_size != f->size)
		wrong(f, "the host has changed the size, stat says %lld", (long long)st.st_size);
}

void op_host_resize(struct actor *a, struct file *f)
{
	off_t size = pick_size(a);

	if (!options.host_changes)
		return;
	lock_all(f);
	NEED(f, fsync(fd_of(a, f)));
	(void)record_begin(a, f, "host truncates", size, 0);
	NEED(f, truncate(path_of(options.host, "f", f->id), size));
	model_resize(f, size);
	look_again(f);
	/* A new mmap() makes the kernel forget what it has cached. */
	f->generation += f->mapped;
	record_end(a);
	unlock_all(f);
}

void op_host_replace(struct actor *a, struct file *f)
{
	const char *new = path_of(options.host, "host", a->id);
	uint64_t number;

	if (!options.host_changes)
		return;
	lock_all(f);
	number = record_begin(a, f, "host replaces", 0, 0);
	make_file(a, f, new, number);
	NEED(f, rename(new, path_of(options.host, "f", f->id)));
	look_again(f);
	f->generation++;
	record_end(a);
	unlock_all(f);
}
