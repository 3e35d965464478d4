// SPDX-License-Identifier: MIT
// fsrandom: two processes change the same pages at the same time, one by a mapping.

#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "fsrandom.h"

#define PAGES_MAX 64u

/* Both begin with a page at the same time. */
static void meet(struct meeting *m, int who, unsigned int page)
{
	atomic_store(&m->at[who], page + 1);
	for (int spins = 0; atomic_load(&m->at[!who]) <= page; spins++)
		if (spins > 10000)
			(void)sched_yield();
}

/*
 * The part of a page that one of the two changes: by the number of the operation, not all of it,
 * and never what the other has.
 */
static off_t part_begin(int who, uint64_t number)
{
	return who * PAGE / 2 + (off_t)(number % 1000);
}

static off_t part_len(uint64_t number)
{
	return 1 + (off_t)(number * 7 % 1000);
}

static void store_parts(unsigned char *map, off_t off, unsigned int pages, uint64_t number,
			struct meeting *m)
{
	for (unsigned int i = 0; i < pages; i++) {
		off_t at = off + i * PAGE + part_begin(0, number);

		meet(m, 0, i);
		pattern_fill(map + at, (size_t)part_len(number), number, (uint64_t)at);
	}
}

static void write_parts(struct file *f, int fd, off_t off, unsigned int pages, uint64_t number,
			struct meeting *m)
{
	off_t len = part_len(number);
	unsigned char buf[PAGE];

	for (unsigned int i = 0; i < pages; i++) {
		off_t at = off + i * PAGE + part_begin(1, number);

		pattern_fill(buf, (size_t)len, number, (uint64_t)at);
		meet(m, 1, i);
		if (NEED(f, pwrite(fd, buf, (size_t)len, at)) != len)
			wrong(f, "a short write");
	}
}

static void both_kinds(struct actor *a, struct file *f, off_t off, unsigned int pages)
{
	struct meeting *m = &shared->meeting[a->id];
	uint64_t store = record_begin(a, f, "store beside", off, pages * PAGE), write;
	unsigned char *map = map_of(a, f);
	int fd = fd_of(a, f);
	pid_t pid;

	a->record->running = false;
	write = record_begin(a, f, "write beside", off, pages * PAGE);
	m->at[0] = m->at[1] = 0;
	pid = NEED(f, fork());
	if (!pid) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		store_parts(map, off, pages, store, m);
		_exit(0);
	}
	write_parts(f, fd, off, pages, write, m);
	(void)child_end(f, pid);
	for (unsigned int i = 0; i < pages; i++) {
		model_fill(f, off + i * PAGE + part_begin(0, store), part_len(store), store);
		model_fill(f, off + i * PAGE + part_begin(1, write), part_len(write), write);
	}
}

/* Whatever the order, what each has changed is there in the end. */
void op_share_pages(struct actor *a, struct file *f)
{
	off_t off = pick_offset(a, f) / PAGE * PAGE, len;
	unsigned int pages = 1 + (unsigned int)pick(a, PAGES_MAX);
	uint64_t number;

	if (options.read_maps || !f->mapped)
		return;
	len = pages * PAGE;
	lock_range(f, off, off + len, true);
	if (off + len <= f->size) {
		/* New data first: then no mapping has the pages, and the store must fetch them. */
		number = record_begin(a, f, "write", off, len);
		pattern_fill(a->buf, (size_t)len, number, (uint64_t)off);
		if (NEED(f, pwrite(fd_of(a, f), a->buf, (size_t)len, off)) != len)
			wrong(f, "a short write");
		model_fill(f, off, len, number);
		a->record->running = false;
		both_kinds(a, f, off, pages);
		if (pick(a, 2))
			NEED(f, msync(map_of(a, f) + off, (size_t)len, MS_SYNC));
		if (pick(a, 2)) {
			(void)munmap(a->open[f->id].map, FILE_MAX);
			a->open[f->id].map = NULL;
		}
		NEED(f, fsync(fd_of(a, f)));
		check_range(a, f, fd_of(a, f), "pread of shared pages", off, len);
		record_end(a);
	}
	unlock_range(f, off, off + len);
}
