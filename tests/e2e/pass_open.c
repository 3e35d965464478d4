// SPDX-License-Identifier: MIT
// Tests of FUSE passthrough: which opens go together, which requests still come, what a dead server
// leaves.

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "pass_cases.h"

/* While a passthrough open lasts, every other open must be one, too, with the same backing. */
static void passthrough_excludes_cached(void)
{
	int fd;

	begin();
	fd = OK(open_as(PASS, "a", O_RDONLY));
	FAILS(open_as(CACHED, "a", O_RDONLY), EIO);
	FAILS(open_as(DIRECT, "a", O_RDONLY), EIO);
	OK(close(OK(open_as(PASS, "a", O_RDWR))));
	OK(close(OK(open_as(BOTH, "a", O_RDWR))));
	OK(close(fd));
	/* Its RELEASE may come later; what counts is the last close. */
	OK(close(OK(open_as(CACHED, "a", O_RDONLY))));
	OK(close(OK(open_as(DIRECT, "a", O_RDONLY))));
}

/* And a mapping of a passthrough file lasts as long as an open. */
static void mapping_keeps_passthrough(void)
{
	char *p;
	int fd;

	begin();
	fd = OK(open_as(PASS, "a", O_RDWR));
	p = map_file(fd, SIZE, PROT_READ | PROT_WRITE);
	OK(close(fd));
	/* The kernel's mapping is of the backing file: the FUSE file itself is closed. */
	fd = open_as(CACHED, "a", O_RDWR);
	CHECK(fd >= 0);
	EQ(pattern_check(p, SIZE, 1, 0), -1);
	OK(munmap(p, SIZE));
	OK(close(fd));
}

static void cached_excludes_passthrough(void)
{
	int fd;

	begin();
	fd = OK(open_as(CACHED, "a", O_RDONLY));
	FAILS(open_as(PASS, "a", O_RDONLY), EIO);
	FAILS(open_as(BOTH, "a", O_RDONLY), EIO);
	OK(close(fd));
	OK(close(OK(open_as(PASS, "a", O_RDONLY))));
}

/* A file that was opened with FOPEN_DIRECT_IO alone before stays as it is, but cannot be mapped. */
static void direct_before_passthrough(void)
{
	int direct, pass;
	long reads;
	char c;

	begin();
	direct = OK(open_as(DIRECT, "a", O_RDWR));
	pass = OK(open_as(PASS, "a", O_RDWR));
	reads = asked("read");
	EQ(OK(pread(direct, &c, 1, 0)), 1);
	EQ(asked("read"), reads + 1);
	EQ(OK(pread(pass, &c, 1, 0)), 1);
	EQ(asked("read"), reads + 1);
	CHECK(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, direct, 0) == MAP_FAILED);
	EQ(errno, ENODEV);
	OK(close(pass));
	CHECK(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, direct, 0) != MAP_FAILED);
}

/* A shared mapping of a file with FOPEN_DIRECT_IO alone caches it: no passthrough while it lasts. */
static void mapped_direct_excludes_passthrough(void)
{
	int direct;
	char *p;

	begin();
	direct = OK(open_as(DIRECT, "a", O_RDWR));
	p = map_file(direct, SIZE, PROT_READ);
	FAILS(open_as(PASS, "a", O_RDWR), EIO);
	OK(munmap(p, SIZE));
	FAILS(open_as(PASS, "a", O_RDWR), EIO); /* as long as the file is open */
	OK(close(direct));
	OK(close(OK(open_as(PASS, "a", O_RDWR))));
}

static void one_backing_for_an_inode(void)
{
	int fd;

	begin();
	fd = OK(open_as(PASS, "a", O_RDWR));
	tell("user.register", "rw"); /* the old id is closed, the file keeps what it had */
	FAILS(open_as(PASS, "a", O_RDWR), EIO);
	check_pattern(fd, 0, SIZE, 1);
	OK(close(fd));
	fd = OK(open_as(PASS, "a", O_RDWR));
	check_pattern(fd, 0, SIZE, 1);
}

/* With passthrough alone the server hears of no read or write. */
static void plain_asks_nothing(void)
{
	char *buf = malloc(SIZE);
	long reads, writes;
	int fd;

	CHECK(buf);
	begin();
	fd = OK(open_as(PASS, "a", O_RDWR));
	reads = asked("read");
	writes = asked("write");
	read_all(fd, buf, SIZE, 0);
	EQ(pattern_check(buf, SIZE, 1, 0), -1);
	write_pattern(fd, 5000, 100000, 2);
	check_pattern(fd, 5000, 100000, 2);
	EQ(asked("read"), reads);
	EQ(asked("write"), writes);
}

/* With FOPEN_DIRECT_IO, too, all of them come; only mappings are the backing file's. */
static void both_asks_each(void)
{
	long reads, writes;
	char *p;
	int fd;

	begin();
	fd = OK(open_as(BOTH, "a", O_RDWR));
	reads = asked("read");
	writes = asked("write");
	check_pattern(fd, 0, 100000, 1);
	write_pattern(fd, 5000, 100000, 2);
	CHECK(asked("read") > reads);
	CHECK(asked("write") > writes);
	reads = asked("read");
	writes = asked("write");
	p = map_file(fd, SIZE, PROT_READ | PROT_WRITE);
	EQ(pattern_check(p + 5000, 100000, 2, 5000), -1);
	pattern_fill(p, SIZE, 3, 0);
	EQ(asked("read"), reads);
	EQ(asked("write"), writes);
	check_pattern(fd, 0, SIZE, 3);
}

/* The other requests come as always. The kernel does not sync the backing file: that is the
 * server's. */
static void other_requests_come(void)
{
	struct stat st;
	long n;
	int fd;

	begin();
	n = asked("open");
	fd = OK(open_as(PASS, "a", O_RDWR));
	EQ(asked("open"), n + 1);
	n = asked("getattr");
	OK(fstat(fd, &st));
	CHECK(asked("getattr") > n);
	n = asked("setattr");
	OK(fchmod(fd, 0640));
	OK(ftruncate(fd, SIZE / 2));
	EQ(asked("setattr"), n + 2);
	EQ(size_of(fd), SIZE / 2);
	n = asked("fsync");
	OK(fsync(fd));
	OK(fdatasync(fd));
	EQ(asked("fsync"), n + 2);
	n = asked("fallocate");
	FAILS(fallocate(fd, 0, 0, SIZE), EOPNOTSUPP);
	EQ(asked("fallocate"), n + 1);
	n = asked("flush");
	OK(close(OK(dup(fd))));
	EQ(asked("flush"), n + 1);
	n = asked("release");
	OK(close(fd));
	for (int i = 0; i < 100 && asked("release") == n; i++)
		(void)usleep(10000);
	EQ(asked("release"), n + 1);
}

/* msync() of a mapping syncs the backing file, and the server does not hear of it. */
static void msync_is_not_told(void)
{
	long n;
	char *p;
	int fd;

	begin();
	fd = OK(open_as(PASS, "a", O_RDWR));
	p = map_file(fd, SIZE, PROT_READ | PROT_WRITE);
	n = asked("fsync");
	p[0] ^= 1;
	OK(msync(p, SIZE, MS_SYNC));
	EQ(asked("fsync"), n);
}

/* O_TRUNC and a truncation are the server's to do, also while others have the file open and mapped.
 */
static void truncated_by_server(void)
{
	int fd, other;

	begin();
	fd = OK(open_as(PASS, "a", O_RDWR));
	other = OK(open_as(PASS, "a", O_RDWR | O_TRUNC));
	EQ(size_of(fd), 0);
	EQ(size_of(other), 0);
	EQ(OK(pwrite(other, "x", 1, 9999)), 1);
	EQ(size_of(fd), 10000);
	check_zero(fd, 0, 9999);
	OK(truncate("a", 100));
	EQ(size_of(fd), 100);
	check_zero(fd, 0, 100);
}

/*
 * A server that is killed: who has the file open reads, writes and maps on, as the kernel needs
 * nobody for that; all that asks the server fails. The mount is of no use afterwards.
 */
static void killed_server(void)
{
	char text[32] = "", c;
	struct stat st;
	int fd, both;
	char *p, *q;

	begin();
	fd = OK(open_as(PASS, "a", O_RDWR));
	both = OK(open_as(BOTH, "a", O_RDWR));
	p = map_file(fd, SIZE, PROT_READ | PROT_WRITE);
	EQ(p[0], p[0]);
	OK(getxattr("a", "user.pid", text, sizeof(text) - 1));
	OK(kill((pid_t)strtol(text, NULL, 10), SIGKILL));
	for (int i = 0; i < 100 && fstat(fd, &st) == 0; i++)
		(void)usleep(10000);
	FAILS(fstat(fd, &st), ENOTCONN);
	FAILS(open("a", O_RDWR), ENOTCONN);
	FAILS(fsync(fd), ENOTCONN);
	FAILS(ftruncate(fd, 1), ENOTCONN);
	FAILS(pread(both, &c, 1, 0), ENOTCONN);
	check_pattern(fd, 0, SIZE, 1);
	EQ(pattern_check(p, SIZE, 1, 0), -1); /* pages that were not touched before, too */
	pattern_fill(p, 1000, 2, 0);
	check_pattern(fd, 0, 1000, 2);
	q = map_file(both, SIZE, PROT_READ | PROT_WRITE);
	EQ(pattern_check(q, 1000, 2, 0), -1);
	EQ(OK(pwrite(fd, "x", 1, 0)), 1);
	EQ(q[0], 'x');
}

const struct test pass_open_tests[] = {
	{ "passthrough_excludes_cached", passthrough_excludes_cached },
	{ "mapping_keeps_passthrough", mapping_keeps_passthrough },
	{ "cached_excludes_passthrough", cached_excludes_passthrough },
	{ "direct_before_passthrough", direct_before_passthrough },
	{ "mapped_direct_excludes_passthrough", mapped_direct_excludes_passthrough },
	{ "one_backing_for_an_inode", one_backing_for_an_inode },
	{ "plain_asks_nothing", plain_asks_nothing },
	{ "both_asks_each", both_asks_each },
	{ "other_requests_come", other_requests_come },
	{ "msync_is_not_told", msync_is_not_told },
	{ "truncated_by_server", truncated_by_server },
	{ NULL, NULL },
};

const struct test pass_last_tests[] = {
	{ "killed_server", killed_server },
	{ NULL, NULL },
};
