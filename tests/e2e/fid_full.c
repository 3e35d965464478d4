// SPDX-License-Identifier: MIT
// Fidelity: a file system without room. The caller has prepared ../small, of a few MiB.

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "fidelity.h"

#define STEP (300 * KIB)

static void enter_small(void)
{
	struct statvfs st;

	if (chdir("../small") < 0)
		skip("no small file system was prepared");
	(void)unlink("a");
	(void)unlink("b");
	/* What a mount gives back it need not give back at once; but soon. */
	for (int i = 0; i < 200; i++) {
		OK(statvfs(".", &st));
		if (st.f_bfree == st.f_blocks)
			return;
		(void)usleep(100000);
	}
	fail(__FILE__, __LINE__, "the room of removed files does not come back");
}

/* fill_until() - write until there is this error; what was acknowledged */
static off_t fill_until(int fd, off_t from, int error)
{
	char *buf = malloc(STEP);

	CHECK(buf);
	for (;;) {
		ssize_t n;

		pattern_fill(buf, STEP, 1, (uint64_t)from);
		n = pwrite(fd, buf, STEP, from);
		if (n < 0)
			break;
		CHECK(n > 0);
		from += n;
		if (from > 512 * MIB)
			fail(__FILE__, __LINE__, "the small file system does not become full");
	}
	EQ(errno, error);
	free(buf);
	return from;
}

static off_t fill(int fd, off_t from)
{
	return fill_until(fd, from, ENOSPC);
}

/*
 * The caller has prepared ../quota, a file system with room enough, but not for us. In the middle
 * of a file, and where writing over old data needs new room, too: what was acknowledged is there.
 */
static void quota_write(void)
{
	off_t done = 0, over = 0;
	char page[PAGE];
	int fd = -1;

	if (chdir("../quota") < 0)
		skip("no quota was prepared");
	/* What was removed gives its room back later. */
	for (int i = 0; i < 600 && done < 2 * MIB; i++) {
		(void)unlink("a");
		(void)usleep(i ? 100000 : 0);
		fd = OK(open("a", O_RDWR | O_CREAT, 0644));
		done = fill_until(fd, 0, EDQUOT);
		if (done < 2 * MIB)
			OK(close(fd));
	}
	CHECK(done >= 2 * MIB);
	for (; over + PAGE <= done; over += PAGE) {
		pattern_fill(page, PAGE, 2, (uint64_t)over);
		if (pwrite(fd, page, PAGE, over) != PAGE)
			break;
	}
	EQ(over + PAGE <= done && errno != EDQUOT, 0);
	(void)fsync(fd);
	OK(close(fd));
	fd = OK(open("a", O_RDONLY));
	EQ(size_of(fd), done);
	check_pattern(fd, 0, over, 2);
	check_pattern(fd, over, done - over, 1);
	OK(unlink("a"));
}

/* What was acknowledged is there, also after the file is opened anew. */
static void full_write(void)
{
	off_t done;
	int fd;

	enter_small();
	fd = create_file("a", 0, 0);
	done = fill(fd, 0);
	CHECK(done >= MIB);
	OK(fsync(fd));
	OK(close(fd));
	fd = OK(open("a", O_RDONLY));
	EQ(size_of(fd), done);
	check_pattern(fd, 0, done, 1);
	OK(unlink("a"));
}

/* Overwriting needs no room; room that comes back can be used. */
static void full_then_room(void)
{
	off_t done, more;
	int a, b;

	enter_small();
	a = create_file("a", MIB, 2);
	b = create_file("b", 0, 0);
	done = fill(b, 0);
	write_pattern(a, 0, MIB, 3);
	check_pattern(a, 0, MIB, 3);
	OK(ftruncate(a, 0));
	more = fill(b, done);
	CHECK(more >= done + MIB / 2);
	check_pattern(b, 0, more, 1);
	OK(unlink("a"));
	OK(unlink("b"));
}

/* Holes need room when they are written, also through what may be a mapping of them. */
static void full_hole(void)
{
	char page[PAGE];
	off_t done = 0;
	int a, b;

	enter_small();
	a = create_file("a", 0, 0);
	OK(ftruncate(a, 64 * MIB));
	write_pattern(a, 0, 64 * KIB, 1); /* so that the next may go another way */
	b = create_file("b", 0, 0);
	(void)fill(b, 0);
	pattern_fill(page, PAGE, 1, 0);
	for (off_t at = MIB; at < 64 * MIB; at += 64 * KIB) {
		if (pwrite(a, page, PAGE, at) != PAGE)
			break;
		done++;
		read_all(a, page, PAGE, at);
		EQ(pattern_check(page, PAGE, 1, 0), -1);
	}
	if (done > 16)
		fail(__FILE__, __LINE__, "more pages are acknowledged than there is room for");
	EQ(errno, ENOSPC);
	OK(unlink("a"));
	OK(unlink("b"));
}

static void full_names(void)
{
	int b;

	enter_small();
	b = create_file("b", 0, 0);
	(void)fill(b, 0);
	FAILS(fallocate(b, 0, 0, 64 * MIB), ENOSPC);
	OK(ftruncate(b, 0));
	OK(close(create_file("a", MIB, 1)));
	OK(unlink("a"));
	OK(unlink("b"));
}

/* Here, because nothing else takes or gives back room meanwhile. */
static void statfs_follows(void)
{
	struct statvfs before, st;
	int fd;

	enter_small();
	OK(statvfs(".", &before));
	fd = create_file("a", 2 * MIB, 1);
	OK(fsync(fd));
	OK(fstatvfs(fd, &st));
	EQ(st.f_bsize, before.f_bsize);
	EQ(st.f_blocks, before.f_blocks);
	EQ((before.f_bfree - st.f_bfree) * st.f_frsize, 2 * MIB);
	CHECK(st.f_bavail <= st.f_bfree);
	CHECK(st.f_ffree > 0 && st.f_ffree < st.f_files);
	EQ(st.f_flag & ST_RDONLY, 0);
	OK(unlink("a"));
}

static void touch_write(void *arg)
{
	memset(arg, 1, 64 * MIB);
}

/* A shared mapping of a hole: SIGBUS, or an error of msync; but not silence. */
static void full_mmap(void)
{
	int a, b, sig;
	char *p;

	enter_small();
	a = create_file("a", 0, 0);
	OK(ftruncate(a, 64 * MIB));
	b = create_file("b", 0, 0);
	(void)fill(b, 0);
	p = mmap(NULL, 64 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED, a, 0);
	CHECK(p != MAP_FAILED);
	sig = signals(touch_write, p);
	if (sig != SIGBUS) {
		EQ(sig, 0);
		CHECK(msync(p, 64 * MIB, MS_SYNC) < 0 || fsync(a) < 0 || close(a) < 0);
	}
	(void)munmap(p, 64 * MIB);
	OK(unlink("a"));
	OK(unlink("b"));
}

const struct test fid_full_tests[] = {
	{ "full_write", full_write },	{ "full_then_room", full_then_room },
	{ "full_hole", full_hole },	{ "full_names", full_names },
	{ "full_mmap", full_mmap },	{ "statfs_follows", statfs_follows },
	{ "quota_write", quota_write }, { 0 },
};
