// SPDX-License-Identifier: MIT
// fsrandom: what a process has open, and where it works next.

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fsrandom.h"

uint64_t pick(struct actor *a, uint64_t below)
{
	return random_next(&a->rnd) % below;
}

/* Often near what was used before, pages, and the end. Below FILE_MAX. */
off_t pick_offset(struct actor *a, const struct file *f)
{
	off_t size = f->size, off = (off_t)pick(a, FILE_MAX);

	switch (pick(a, 16)) {
	case 0:
		off = size - (off_t)pick(a, 9000);
		break;
	case 1:
		off = size + 100 - (off_t)pick(a, 500);
		break;
	case 3:
		break;
	case 2:
		off = size ? off % size : 0;
		break;
	default:
		off = a->focus_off + (off_t)pick(a, 100 * KIB);
	}
	if (pick(a, 3) == 0)
		off -= off % PAGE;
	return off < 0 ? 0 : off % FILE_MAX;
}

off_t pick_length(struct actor *a, off_t off)
{
	static const off_t limits[] = { 10, 5000, 5000, 20000, 20000, 20000, 70000, 1 * MIB };
	off_t len = 1 + (off_t)pick(a, (uint64_t)limits[pick(a, ARRAY_SIZE(limits))]);

	if (pick(a, 3) == 0)
		len = (len + PAGE - 1) / PAGE * PAGE;
	return off + len > FILE_MAX ? FILE_MAX - off : len;
}

/* More large than small, and every other one whole pages. */
off_t pick_size(struct actor *a)
{
	off_t size = (off_t)pick(a, FILE_MAX + 1);

	if (pick(a, 3) && size < FILE_MAX / 2)
		size += FILE_MAX / 2;
	return pick(a, 2) ? size / PAGE * PAGE : size;
}

const char *path_of(const char *dir, const char *prefix, unsigned int id)
{
	static char path[4][4096]; /* a few may be in use at a time */
	static unsigned int next;
	char *p = path[next++ % 4];

	(void)snprintf(p, sizeof(path[0]), "%s/%s%u", dir, prefix, id);
	return p;
}

void forget_open(struct actor *a, const struct file *f)
{
	__auto_type o = &a->open[f->id];

	if (o->map)
		(void)munmap(o->map, FILE_MAX);
	if (o->append_fd > 0)
		(void)close(o->append_fd);
	if (o->fd > 0 && close(o->fd) < 0)
		wrong(f, "close: %m");
	o->map = NULL;
	o->fd = o->append_fd = 0;
}

static void renew(struct actor *a, struct file *f)
{
	unsigned int generation = f->generation;

	if (a->open[f->id].generation != generation)
		forget_open(a, f);
	a->open[f->id].generation = generation;
}

int fd_of(struct actor *a, struct file *f)
{
	int *fd = &a->open[f->id].fd;

	renew(a, f);
	if (*fd)
		return *fd;
	*fd = NEED(f, open(path_of(options.dir, "f", f->id), O_RDWR | O_CLOEXEC));
	if (options.fixed_size) {
		atomic_fetch_add(&shared->opened, 1);
		atomic_fetch_add(&shared->passed, passed_through(*fd));
	}
	return *fd;
}

int append_fd_of(struct actor *a, struct file *f)
{
	int *fd = &a->open[f->id].append_fd;

	renew(a, f);
	if (!*fd)
		*fd = NEED(f,
			   open(path_of(options.dir, "f", f->id), O_WRONLY | O_APPEND | O_CLOEXEC));
	return *fd;
}

unsigned char *map_of(struct actor *a, struct file *f)
{
	int fd = fd_of(a, f);
	unsigned char **map = &a->open[f->id].map;

	if (!*map) {
		*map = mmap(NULL, FILE_MAX, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (*map == MAP_FAILED)
			wrong(f, "mmap: %m");
	}
	return *map;
}

void fill_file(struct actor *a, struct file *f, int fd, off_t size, uint64_t number)
{
	off_t len;

	model_resize(f, 0);
	for (off_t off = 0; off < size; off += len) {
		len = 1 + (off_t)pick(a, 600 * KIB);
		if (len > size - off)
			len = size - off;
		model_fill(f, off, len, number);
		if (NEED(f, pwrite(fd, f->data + off, (size_t)len, off)) != len)
			wrong(f, "a short write");
	}
}

void check_range(struct actor *a, struct file *f, int fd, const char *way, off_t off, off_t len)
{
	off_t there = f->size > off ? f->size - off : 0, want = len < there ? len : there, got = 0;
	ssize_t n;

	do {
		n = NEED(f, pread(fd, a->buf + got, (size_t)(len - got), off + got));
		got += n;
	} while (n && got < len);
	if (got != want)
		wrong(f, "%s of %lld at %lld gives %lld bytes", way, (long long)len, (long long)off,
		      (long long)got);
	compare(f, way, a->buf, off, (size_t)got);
}

int child_end(const struct file *f, pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		wrong(f, "a child ends with status 0x%x", (unsigned int)status);
	if (WEXITSTATUS(status) == 1)
		_exit(1); /* it has said what is wrong */
	return WEXITSTATUS(status);
}
