// SPDX-License-Identifier: MIT
// Fidelity: which times move when, and what statx tells.

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "fidelity.h"

static bool later(struct timespec a, struct timespec b)
{
	return a.tv_sec > b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec > b.tv_nsec);
}

static struct stat stat_of(const char *name)
{
	struct stat st;

	OK(lstat(name, &st));
	return st;
}

/* More than a tick of the clock that file systems use. */
static void pause_a_little(void)
{
	(void)usleep(30000);
}

static void read_moves_atime(int flags)
{
	struct timespec old[2] = { { 1000000000, 0 }, { 1000000000, 0 } };
	int fd = create_file("f", 256 * KIB, 1);
	struct stat st;

	check_pattern(fd, 0, 256 * KIB, 1);
	OK(close(fd));
	fd = OK(open("f", O_RDONLY | flags));
	/* As relatime wants it, too: atime is not younger than mtime. */
	OK(futimens(fd, old));
	check_pattern(fd, 0, 64 * KIB, 1);
	OK(fstat(fd, &st));
	if (flags & O_NOATIME)
		EQ(st.st_atim.tv_sec, 1000000000);
	else
		CHECK(st.st_atim.tv_sec > 1000000000);
	EQ(st.st_mtim.tv_sec, 1000000000);
}

static void atime_of_read(void)
{
	read_moves_atime(0);
}

static void atime_not_of_noatime(void)
{
	read_moves_atime(O_NOATIME);
}

/* An atime of today moves again when the file was written after it. */
static void atime_after_write(void)
{
	int fd = create_file("f", 256 * KIB, 1);
	struct stat before, st;

	check_pattern(fd, 0, 64 * KIB, 1);
	pause_a_little();
	write_pattern(fd, 0, 64 * KIB, 1);
	OK(fstat(fd, &before));
	pause_a_little();
	check_pattern(fd, 0, 64 * KIB, 1);
	OK(fstat(fd, &st));
	CHECK(later(st.st_atim, before.st_mtim));
}

static void atime_of_directory(void)
{
	struct timespec old[2] = { { 1000000000, 0 }, { 1000000000, 0 } };

	OK(mkdir("d", 0755));
	OK(utimensat(AT_FDCWD, "d", old, 0));
	CHECK(open("d", O_RDONLY | O_DIRECTORY) >= 0);
	EQ(stat_of("d").st_atim.tv_sec, 1000000000);
	EQ(stat_of("d").st_mtim.tv_sec, 1000000000);
}

static void times_of_truncate(void)
{
	struct stat before, st;
	int fd = create_file("f", 10000, 1);

	for (off_t size = 20000; size >= 0; size -= 10000) {
		OK(fstat(fd, &before));
		pause_a_little();
		OK(ftruncate(fd, size));
		OK(fstat(fd, &st));
		if (!later(st.st_mtim, before.st_mtim) || !later(st.st_ctim, before.st_ctim))
			fail(__FILE__, __LINE__, "truncation to %lld moved no time",
			     (long long)size);
	}
	pause_a_little();
	before = st;
	OK(close(OK(open("f", O_WRONLY | O_TRUNC))));
	OK(fstat(fd, &st));
	CHECK(later(st.st_mtim, before.st_mtim));
}

static void times_of_mmap(void)
{
	int fd = create_file("f", 64 * KIB, 1);
	char *p = mmap(NULL, 64 * KIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	struct stat before, st;

	CHECK(p != MAP_FAILED);
	OK(fstat(fd, &before));
	pause_a_little();
	pattern_fill(p, 64 * KIB, 2, 0);
	OK(msync(p, 64 * KIB, MS_SYNC));
	OK(fstat(fd, &st));
	CHECK(later(st.st_mtim, before.st_mtim));
	CHECK(later(st.st_ctim, before.st_ctim));
}

/* What changes only attributes or names moves ctime and not mtime. */
static void ctime_moves(void)
{
	struct stat first, before, st;

	OK(close(create_file("f", 100, 1)));
	first = before = stat_of("f");
	for (int i = 0; i < 5; i++) {
		static const char *const what[] = { "chmod", "link", "unlink", "rename", "chown" };

		pause_a_little();
		switch (i) {
		case 0:
			OK(chmod("f", 0600));
			break;
		case 1:
			OK(link("f", "g"));
			break;
		case 2:
			OK(unlink("g"));
			break;
		case 3:
			OK(rename("f", "h"));
			OK(rename("h", "f"));
			break;
		default:
			OK(chown("f", getuid(), getgid()));
			break;
		}
		st = stat_of("f");
		if (!later(st.st_ctim, before.st_ctim))
			fail(__FILE__, __LINE__, "%s does not move ctime", what[i]);
		if (later(st.st_mtim, first.st_mtim))
			fail(__FILE__, __LINE__, "%s moves mtime", what[i]);
		before = st;
	}
}

static void read_moves_no_mtime(void)
{
	int fd = create_file("f", 256 * KIB, 1);
	struct stat before, st;

	OK(fsync(fd));
	OK(fstat(fd, &before));
	pause_a_little();
	check_pattern(fd, 0, 256 * KIB, 1);
	OK(fsync(fd));
	OK(close(fd));
	st = stat_of("f");
	CHECK(!later(st.st_mtim, before.st_mtim));
	CHECK(!later(st.st_ctim, before.st_ctim));
}

/* Another open file, by name, sees at once that the file was written. */
static void mtime_seen_by_name(void)
{
	int fd = create_file("f", 256 * KIB, 1);
	struct stat before, st;

	for (int i = 0; i < 3; i++) {
		before = stat_of("f");
		pause_a_little();
		write_pattern(fd, 4096 * i, 4096, 2);
		st = stat_of("f");
		CHECK(later(st.st_mtim, before.st_mtim));
	}
}

static void times_far(void)
{
	static const long long sec[] = { -1, -100000, 0, 2147483647, 2147483648, 4102444800 };

	OK(close(create_file("f", 1, 1)));
	for (size_t i = 0; i < ARRAY_SIZE(sec); i++) {
		struct timespec ts[2] = { { sec[i], 999999999 }, { sec[i], 1 } };
		struct stat st;

		OK(utimensat(AT_FDCWD, "f", ts, 0));
		st = stat_of("f");
		EQ(st.st_atim.tv_sec, sec[i]);
		EQ(st.st_atim.tv_nsec, 999999999);
		EQ(st.st_mtim.tv_sec, sec[i]);
		EQ(st.st_mtim.tv_nsec, 1);
	}
}

static void utime_omit_both(void)
{
	struct timespec omit[2] = { { 0, UTIME_OMIT }, { 0, UTIME_OMIT } };
	struct timespec now[2] = { { 0, UTIME_NOW }, { 0, UTIME_OMIT } };
	struct timespec bad[2] = { { 0, 1000000000 }, { 0, 0 } };
	struct stat before, st;

	OK(close(create_file("f", 1, 1)));
	before = stat_of("f");
	pause_a_little();
	OK(utimensat(AT_FDCWD, "f", omit, 0));
	st = stat_of("f");
	CHECK(!later(st.st_ctim, before.st_ctim));
	OK(utimensat(AT_FDCWD, "f", now, 0));
	st = stat_of("f");
	CHECK(later(st.st_atim, before.st_atim));
	CHECK(!later(st.st_mtim, before.st_mtim));
	CHECK(later(st.st_ctim, before.st_ctim));
	FAILS(utimensat(AT_FDCWD, "f", bad, 0), EINVAL);
}

static void statx_fields(void)
{
	struct statx stx;
	struct stat st;

	OK(close(create_file("f", 10000, 1)));
	OK(statx(AT_FDCWD, "f", 0, STATX_BASIC_STATS, &stx));
	st = stat_of("f");
	EQ(stx.stx_mask & STATX_BASIC_STATS, STATX_BASIC_STATS);
	EQ(stx.stx_size, 10000);
	EQ(stx.stx_ino, st.st_ino);
	EQ(stx.stx_nlink, 1);
	CHECK(stx.stx_blksize >= 512 && st.st_blocks > 0);
	OK(statx(AT_FDCWD, "f", AT_STATX_FORCE_SYNC, STATX_SIZE, &stx));
	EQ(stx.stx_size, 10000);
	OK(statx(AT_FDCWD, "f", AT_STATX_DONT_SYNC, STATX_SIZE, &stx));
	EQ(stx.stx_size, 10000);
}

static void birth_time(void)
{
	struct statx stx;

	OK(close(create_file("f", 10, 1)));
	OK(statx(AT_FDCWD, "f", 0, STATX_BTIME, &stx));
	if (!(stx.stx_mask & STATX_BTIME))
		skip("statx gives no STATX_BTIME");
	CHECK(stx.stx_btime.tv_sec > 1600000000);
}

const struct test fid_time_tests[] = {
	{ "atime_of_read", atime_of_read },
	{ "atime_not_of_noatime", atime_not_of_noatime },
	{ "atime_after_write", atime_after_write },
	{ "atime_of_directory", atime_of_directory },
	{ "times_of_truncate", times_of_truncate },
	{ "times_of_mmap", times_of_mmap },
	{ "ctime_moves", ctime_moves },
	{ "read_moves_no_mtime", read_moves_no_mtime },
	{ "mtime_seen_by_name", mtime_seen_by_name },
	{ "times_far", times_far },
	{ "utime_omit_both", utime_omit_both },
	{ "statx_fields", statx_fields },
	{ "birth_time", birth_time },
	{ 0 },
};
