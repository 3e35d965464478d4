// SPDX-License-Identifier: MIT
// fsrandom: the host cannot read a part of a file for a while (errfs.c).

#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "errfs.h"
#include "fsrandom.h"

static struct errfs_table *table;

bool errors_open(void)
{
	int fd = open(options.errors, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return false;
	table = mmap(NULL, sizeof(*table), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	(void)close(fd);
	return table != MAP_FAILED;
}

uint64_t errors_met(void)
{
	return table ? table->errors : 0;
}

static const char *host_path(const struct file *f)
{
	return path_of(options.host ? options.host : options.dir, "f", f->id);
}

/* Where [off, *to) lies in the image; *to becomes less when not all of it is in one piece there. */
static bool place_in_image(int fd, off_t off, off_t *to, uint64_t *ret_place)
{
	union {
		struct fiemap map;
		char space[sizeof(struct fiemap) + sizeof(struct fiemap_extent)];
	} u = { .map = { .fm_start = (uint64_t)off,
			 .fm_length = (uint64_t)(*to - off),
			 .fm_flags = FIEMAP_FLAG_SYNC,
			 .fm_extent_count = 1 } };
	const struct fiemap_extent *e = &u.map.fm_extents[0];
	uint64_t end;

	if (ioctl(fd, FS_IOC_FIEMAP, &u.map) < 0 || u.map.fm_mapped_extents != 1 ||
	    e->fe_logical > (uint64_t)off || (e->fe_flags & ~(unsigned int)FIEMAP_EXTENT_LAST))
		return false;
	*ret_place = e->fe_physical + ((uint64_t)off - e->fe_logical);
	end = e->fe_logical + e->fe_length;
	if ((uint64_t)*to > end)
		*to = (off_t)end;
	return true;
}

/* Read on after each part, as cp does: an error is allowed where [from, to) is met, an end is not. */
static void read_with_error(struct actor *a, struct file *f, int fd, off_t off, off_t end,
			    off_t from, off_t to)
{
	off_t at = off;

	while (at < end) {
		ssize_t n = pread(fd, a->buf, (size_t)(end - at), at);

		if (n < 0 && errno == EIO && at < to && end > from) {
			if (at >= from)
				return;
			end = from; /* the part before it can be read */
			continue;
		}
		if (n < 0)
			wrong(f, "pread of %lld at %lld with [%lld, %lld) bad: %m",
			      (long long)(end - at), (long long)at, (long long)from, (long long)to);
		if (n == 0)
			wrong(f,
			      "pread of %lld at %lld with [%lld, %lld) bad is at the end of the "
			      "file",
			      (long long)(end - at), (long long)at, (long long)from, (long long)to);
		compare(f, "pread beside an error", a->buf, at, (size_t)n);
		at += n;
	}
}

static sigjmp_buf bus_error;

static void on_bus_error(int sig)
{
	(void)sig;
	siglongjmp(bus_error, 1);
}

/* Each page of a mapping is right, or, where it is bad, ends in SIGBUS. */
static void map_with_error(struct actor *a, struct file *f, off_t off, off_t end, off_t from,
			   off_t to)
{
	struct sigaction sa = { .sa_handler = on_bus_error }, old;
	unsigned char *map = map_of(a, f);
	volatile off_t at;
	off_t next;

	(void)sigaction(SIGBUS, &sa, &old);
	for (at = off; at < end; at = next) {
		next = at / PAGE * PAGE + PAGE;
		if (next > end)
			next = end;
		if (sigsetjmp(bus_error, 1) == 0)
			compare(f, "mapping beside an error", map + at, at, (size_t)(next - at));
		else if (at < from || at >= to)
			wrong(f, "SIGBUS at %lld with [%lld, %lld) bad", (long long)at,
			      (long long)from, (long long)to);
		next = at / PAGE * PAGE + PAGE; /* it may have been lost by the jump */
	}
	(void)sigaction(SIGBUS, &old, NULL);
}

/* What a cache has cannot fail; it may keep what is mapped. */
static void drop_caches(struct actor *a, struct file *f, int host, off_t from, off_t to)
{
	int fd = fd_of(a, f);

	if (a->open[f->id].map)
		(void)munmap(a->open[f->id].map, FILE_MAX);
	a->open[f->id].map = NULL;
	NEED(f, fsync(fd));
	(void)posix_fadvise(fd, from, to - from, POSIX_FADV_DONTNEED);
	NEED(f, fsync(host));
	(void)posix_fadvise(host, from, to - from, POSIX_FADV_DONTNEED);
}

/* [off, end) is locked, [from, to) in it cannot be read. */
static void look_at_error(struct actor *a, struct file *f, off_t off, off_t end, off_t from,
			  off_t to)
{
	int fd = fd_of(a, f);
	struct stat st;

	if (f->mapped && pick(a, 3) == 0)
		map_with_error(a, f, off, end, from, to);
	else
		read_with_error(a, f, fd, off, end, from, to);
	if (to < end)
		check_range(a, f, fd, "pread behind an error", to, end - to);
	if (off < from)
		check_range(a, f, fd, "pread before an error", off, from - off);
	NEED(f, fstat(fd, &st));
	if (st.st_size != f->size)
		wrong(f, "stat says %lld bytes after an error", (long long)st.st_size);
}

/* Some pages cannot be read: that is said, of no others, and it is over when it is over. */
void op_read_error(struct actor *a, struct file *f)
{
	off_t off = pick_offset(a, f), len = pick_length(a, off), end, from, to;
	__auto_type r = table ? &table->range[a->id] : NULL;
	uint64_t place;
	int host;

	if (!table)
		return;
	(void)pthread_mutex_lock(&f->grow); /* so that the size is known */
	lock_range(f, off, off + len, true);
	end = off + len < f->size ? off + len : (off_t)f->size;
	from = (off + PAGE - 1) / PAGE * PAGE;
	to = end / PAGE * PAGE;
	if (to > from) {
		from += (off_t)pick(a, (uint64_t)((to - from) / PAGE)) * PAGE;
		to = from + (1 + (off_t)pick(a, (uint64_t)((to - from) / PAGE))) * PAGE;
		host = NEED(f, open(host_path(f), O_RDONLY | O_CLOEXEC));
		drop_caches(a, f, host, off, end);
		if (place_in_image(host, from, &to, &place)) {
			(void)record_begin(a, f, "read error", from, to - from);
			r->from = place;
			r->to = place + (uint64_t)(to - from);
			look_at_error(a, f, off, end, from, to);
			r->to = 0;
			check_range(a, f, fd_of(a, f), "pread after an error", off, end - off);
			record_end(a);
		}
		(void)close(host);
	}
	unlock_range(f, off, off + len);
	(void)pthread_mutex_unlock(&f->grow);
}
