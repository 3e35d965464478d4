// SPDX-License-Identifier: MIT
// File-system tests: files that are mapped.

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fstest.h"

#define LEN (1 * MIB)

static char *map(int fd, size_t len, int prot, int flags)
{
	void *p = mmap(NULL, len, prot, flags, fd, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

static void mmap_read(void)
{
	int fd = create_file("f", LEN + 100, 1);
	char *p = map(fd, LEN + PAGE, PROT_READ, MAP_SHARED);

	EQ(pattern_check(p, LEN + 100, 1, 0), -1);
	for (long i = LEN + 100; i < LEN + PAGE; i++)
		EQ(p[i], 0); /* the rest of the last page */
	OK(close(fd));
	EQ(pattern_check(p, LEN, 1, 0), -1);
	fd = OK(open("f", O_RDONLY));
	FAILS((ssize_t)mmap(NULL, LEN, PROT_WRITE, MAP_SHARED, fd, 0), EACCES);
}

static void mmap_write(void)
{
	int fd = create_file("f", LEN, 1), other;
	char *p = map(fd, LEN, PROT_READ | PROT_WRITE, MAP_SHARED);

	pattern_fill(p + 4000, 100000, 2, 4000);
	OK(msync(p, LEN, MS_SYNC));
	other = OK(open("f", O_RDONLY));
	check_pattern(other, 0, 4000, 1);
	check_pattern(other, 4000, 100000, 2);
	check_pattern(other, 104000, LEN - 104000, 1);
	pattern_fill(p + 500000, 10, 3, 500000);
	OK(munmap(p, LEN));
	OK(close(fd));
	check_pattern(other, 500000, 10, 3);
}

/* Mapping and calls show the same data at all times, without msync. */
static void mmap_coherent(void)
{
	int fd = create_file("f", LEN, 1);
	char *p = map(fd, LEN, PROT_READ | PROT_WRITE, MAP_SHARED);

	EQ(pattern_check(p, LEN, 1, 0), -1);
	write_pattern(fd, 10000, 20000, 2);
	EQ(pattern_check(p + 10000, 20000, 2, 10000), -1);
	EQ(pattern_check(p, 10000, 1, 0), -1);
	pattern_fill(p + 200000, 50000, 3, 200000);
	check_pattern(fd, 200000, 50000, 3);
	check_pattern(fd, 250000, 10000, 1);
	/* Both in one page. */
	pattern_fill(p + 8192, 100, 4, 8192);
	write_pattern(fd, 8292, 100, 4);
	check_pattern(fd, 8192, 200, 4);
	EQ(pattern_check(p + 8192, 200, 4, 8192), -1);
}

static void mmap_private(void)
{
	int fd = create_file("f", LEN, 1);
	char *p = map(fd, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE);

	pattern_fill(p + 4096, 4096, 2, 4096);
	EQ(pattern_check(p, 4096, 1, 0), -1);
	EQ(pattern_check(p + 4096, 4096, 2, 4096), -1);
	EQ(pattern_check(p + 8192, LEN - 8192, 1, 8192), -1);
	OK(munmap(p, LEN));
	check_pattern(fd, 0, LEN, 1);
}

static void touch(void *arg)
{
	(void)*(volatile char *)arg;
}

/* Behind the end of a file that has become shorter there is nothing any more. */
static void mmap_truncated(void)
{
	int fd = create_file("f", LEN, 1), status = 0;
	char *p = map(fd, LEN, PROT_READ, MAP_SHARED);
	pid_t pid;

	EQ(pattern_check(p, LEN, 1, 0), -1);
	OK(ftruncate(fd, 5000));
	EQ(pattern_check(p, 5000, 1, 0), -1);
	for (int i = 5000; i < 8192; i++)
		EQ(p[i], 0);
	(void)signal(SIGBUS, SIG_DFL);
	pid = start(touch, p + 8192);
	EQ(waitpid(pid, &status, 0), pid);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
	OK(ftruncate(fd, LEN));
	for (long i = 5000; i < LEN; i += 100)
		EQ(p[i], 0);
}

static void mmap_truncate_on_open(void)
{
	int fd = create_file("f", LEN, 1), other;
	char *p = map(fd, LEN, PROT_READ | PROT_WRITE, MAP_SHARED);

	pattern_fill(p, LEN, 2, 0);
	other = OK(open("f", O_RDWR | O_TRUNC));
	EQ(size_of(fd), 0);
	OK(ftruncate(other, LEN));
	check_zero(fd, 0, LEN);
	write_pattern(other, 0, LEN, 3);
	EQ(pattern_check(p, LEN, 3, 0), -1);
}

static void mmap_hole(void)
{
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));
	struct stat st;
	char *p;

	OK(ftruncate(fd, LEN));
	p = map(fd, LEN, PROT_READ | PROT_WRITE, MAP_SHARED);
	for (long i = 0; i < LEN; i += 1000)
		EQ(p[i], 0);
	p[LEN / 2] = 'x';
	OK(msync(p, LEN, MS_SYNC));
	OK(fstat(fd, &st));
	EQ(st.st_size, LEN);
	check_zero(fd, 0, LEN / 2);
	check_zero(fd, LEN / 2 + 1, LEN / 2 - 1);
}

/* A buffer that is itself a mapping of the file system: copies from a file into a file. */
static void mmap_as_buffer(void)
{
	int a = create_file("a", LEN, 1), b = create_file("b", LEN, 2);
	char *pa = map(a, LEN, PROT_READ, MAP_SHARED);
	char *pb = map(b, LEN, PROT_READ | PROT_WRITE, MAP_SHARED);

	write_all(b, pa, LEN / 2, 0);
	check_pattern(b, 0, LEN / 2, 1);
	check_pattern(b, LEN / 2, LEN / 2, 2);
	read_all(a, pb + LEN / 2, LEN / 2, LEN / 2);
	OK(msync(pb, LEN, MS_SYNC));
	check_pattern(b, 0, LEN, 1);
}

const struct test mmap_tests[] = {
	{ "mmap_read", mmap_read },
	{ "mmap_write", mmap_write },
	{ "mmap_coherent", mmap_coherent },
	{ "mmap_private", mmap_private },
	{ "mmap_truncated", mmap_truncated },
	{ "mmap_truncate_on_open", mmap_truncate_on_open },
	{ "mmap_hole", mmap_hole },
	{ "mmap_as_buffer", mmap_as_buffer },
	{ 0 },
};
