// SPDX-License-Identifier: MIT
// File-system tests: reading and writing data.

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fstest.h"

/* Sizes around a page and around the sizes that requests and mappings have. */
static void small_files(void)
{
	static const off_t sizes[] = { 0, 1, 4095, 4096, 4097, 8191, 65535, 65536, 65537, MIB + 1 };

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		int fd = create_file("f", sizes[i], i);
		char c;

		EQ(size_of(fd), sizes[i]);
		check_pattern(fd, 0, sizes[i], i);
		EQ(pread(fd, &c, 1, sizes[i]), 0);
		OK(close(fd));
		fd = OK(open("f", O_RDONLY));
		EQ(size_of(fd), sizes[i]);
		check_pattern(fd, 0, sizes[i], i);
		EQ(pread(fd, &c, 1, sizes[i]), 0);
		OK(close(fd));
		OK(unlink("f"));
	}
}

static void end_of_file(void)
{
	char buf[3 * PAGE];
	int fd = create_file("f", 5000, 1);

	EQ(pread(fd, buf, sizeof(buf), 0), 5000);
	EQ(pread(fd, buf, sizeof(buf), 4096), 904);
	EQ(pread(fd, buf, sizeof(buf), 4999), 1);
	EQ(pread(fd, buf, sizeof(buf), 5000), 0);
	EQ(pread(fd, buf, sizeof(buf), 1 * GIB), 0);
	EQ(pread(fd, buf, 0, 0), 0);
	EQ(pwrite(fd, buf, 0, 100000), 0);
	EQ(size_of(fd), 5000);
	FAILS(pread(fd, buf, 1, -1), EINVAL);
}

static void overwrite(void)
{
	int fd = create_file("f", 3 * MIB, 1);

	write_pattern(fd, 4095, 2, 2);
	write_pattern(fd, 100000, 70000, 3);
	write_pattern(fd, 2 * MIB, 64 * KIB, 4);
	check_pattern(fd, 0, 4095, 1);
	check_pattern(fd, 4095, 2, 2);
	check_pattern(fd, 4097, 100000 - 4097, 1);
	check_pattern(fd, 100000, 70000, 3);
	check_pattern(fd, 170000, 2 * MIB - 170000, 1);
	check_pattern(fd, 2 * MIB, 64 * KIB, 4);
	check_pattern(fd, 2 * MIB + 64 * KIB, MIB - 64 * KIB, 1);
	EQ(size_of(fd), 3 * MIB);
}

static void append(void)
{
	int fd = OK(open("f", O_RDWR | O_CREAT | O_APPEND, 0644));
	char buf[1000];

	for (int i = 0; i < 100; i++) {
		pattern_fill(buf, sizeof(buf), 1, (uint64_t)i * sizeof(buf));
		EQ(write(fd, buf, sizeof(buf)), sizeof(buf));
	}
	EQ(size_of(fd), 100 * sizeof(buf));
	EQ(lseek(fd, 0, SEEK_CUR), 100 * sizeof(buf));
	check_pattern(fd, 0, 100 * (off_t)sizeof(buf), 1);
}

static void large_requests(void)
{
	const size_t len = 9 * MIB + 13;
	char *buf = malloc(len);
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));

	CHECK(buf);
	pattern_fill(buf, len, 1, 777);
	write_all(fd, buf, len, 777);
	memset(buf, 0, len);
	read_all(fd, buf, len, 777);
	EQ(pattern_check(buf, len, 1, 777), -1);
	check_zero(fd, 0, 777);
	/* And once more, now that it may be mapped. */
	pattern_fill(buf, len, 2, 777);
	write_all(fd, buf, len, 777);
	check_pattern(fd, 777, (off_t)len, 2);
	free(buf);
}

static void vectors(void)
{
	char a[10], b[5000], c[1];
	struct iovec iov[] = { { a, sizeof(a) }, { b, sizeof(b) }, { c, sizeof(c) } };
	int fd = create_file("f", 3 * PAGE, 1);

	pattern_fill(a, sizeof(a), 2, 100);
	pattern_fill(b, sizeof(b), 2, 110);
	pattern_fill(c, sizeof(c), 2, 5110);
	EQ(pwritev(fd, iov, 3, 100), 5011);
	check_pattern(fd, 100, 5011, 2);
	check_pattern(fd, 5111, 3 * PAGE - 5111, 1);
	memset(b, 0, sizeof(b));
	EQ(preadv(fd, iov, 3, 200), 5011);
	EQ(pattern_check(b, 4901, 2, 210), -1);
}

static void open_modes(void)
{
	char c = 'x';
	int fd = create_file("f", 100, 1);

	FAILS(open("f", O_RDWR | O_CREAT | O_EXCL, 0644), EEXIST);
	FAILS(open("g", O_RDONLY), ENOENT);
	FAILS(open("f/g", O_RDONLY), ENOTDIR);
	FAILS(open("f", O_RDONLY | O_DIRECTORY), ENOTDIR);
	FAILS(open(".", O_WRONLY), EISDIR);
	OK(close(fd));
	fd = OK(open("f", O_RDONLY));
	FAILS(write(fd, &c, 1), EBADF);
	FAILS(ftruncate(fd, 0), EINVAL);
	OK(close(fd));
	fd = OK(open("f", O_WRONLY));
	FAILS(read(fd, &c, 1), EBADF);
	EQ(pwrite(fd, &c, 1, 99), 1);
	fd = OK(open(".", O_RDONLY));
	FAILS(read(fd, &c, 1), EISDIR);
}

static void sync_data(void)
{
	int fd = create_file("f", MIB, 1), dir = OK(open(".", O_RDONLY | O_DIRECTORY)), sync_fd;

	OK(fsync(fd));
	write_pattern(fd, 0, 8 * KIB, 2);
	OK(fdatasync(fd));
	OK(sync_file_range(fd, 0, 4096, SYNC_FILE_RANGE_WRITE));
	OK(fsync(dir));
	sync_fd = OK(open("f", O_WRONLY | O_SYNC));
	write_pattern(sync_fd, 4096, 4096, 3);
	check_pattern(fd, 4096, 4096, 3);
	OK(syncfs(fd));
}

static void direct_io(void)
{
	const size_t len = 256 * KIB;
	char *buf = NULL;
	int fd, plain = create_file("f", 2 * (off_t)len + 1000, 1);

	OK(fsync(plain));
	fd = OK(open("f", O_RDWR | O_DIRECT));
	EQ(posix_memalign((void **)&buf, PAGE, len), 0);
	read_all(fd, buf, len, 4096);
	EQ(pattern_check(buf, len, 1, 4096), -1);
	EQ(pread(fd, buf, 4096, 2 * (off_t)len), 1000);
	EQ(pattern_check(buf, 1000, 1, 2 * len), -1);
	EQ(pread(fd, buf, 4096, 2 * (off_t)len + 4096), 0);
	pattern_fill(buf, len, 2, 8192);
	write_all(fd, buf, len, 8192);
	check_pattern(plain, 0, 8192, 1);
	check_pattern(plain, 8192, (off_t)len, 2);
	check_pattern(plain, 8192 + (off_t)len, (off_t)len - 8192 + 1000, 1);
	write_pattern(plain, 0, 4096, 3);
	OK(fsync(plain));
	read_all(fd, buf, 4096, 0);
	EQ(pattern_check(buf, 4096, 3, 0), -1);
	free(buf);
}

static void copy_range(void)
{
	int from = create_file("from", 3 * MIB + 500, 1), to = create_file("to", 2 * MIB, 2);
	off_t in = 4000, out = 1 * MIB;
	size_t left = 2 * MIB;

	/* Both are in use before, so that something may be mapped. */
	check_pattern(from, 0, 3 * MIB, 1);
	check_pattern(to, 0, 2 * MIB, 2);
	while (left) {
		ssize_t n = OK(copy_file_range(from, &in, to, &out, left, 0));

		CHECK(n > 0);
		left -= (size_t)n;
	}
	EQ(size_of(to), 3 * MIB);
	check_pattern(to, 0, MIB, 2);
	for (off_t at = 0; at < 2 * MIB; at += 256 * KIB) {
		char *a = malloc(256 * KIB), *b = malloc(256 * KIB);

		CHECK(a && b);
		read_all(from, a, 256 * KIB, 4000 + at);
		read_all(to, b, 256 * KIB, MIB + at);
		EQ(memcmp(a, b, 256 * KIB), 0);
		free(a);
		free(b);
	}
	in = 3 * MIB + 500;
	out = 0;
	EQ(copy_file_range(from, &in, to, &out, 100, 0), 0);
}

static void send_file(void)
{
	int from = create_file("from", 300000, 1), to = OK(open("to", O_RDWR | O_CREAT, 0644));
	off_t off = 1000;

	while (off < 300000)
		CHECK(OK(sendfile(to, from, &off, (size_t)(300000 - off))) > 0);
	EQ(size_of(to), 299000);
	for (off_t at = 0; at < 299000; at += 4096) {
		char buf[4096];
		ssize_t n = OK(pread(to, buf, sizeof(buf), at));

		EQ(pattern_check(buf, (size_t)n, 1, (uint64_t)(at + 1000)), -1);
	}
}

static void file_size_limit(void)
{
	struct rlimit lim = { 10000, 10000 };
	char buf[8192] = { 0 };
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));

	(void)signal(SIGXFSZ, SIG_IGN);
	OK(setrlimit(RLIMIT_FSIZE, &lim));
	EQ(pwrite(fd, buf, sizeof(buf), 0), sizeof(buf));
	EQ(pwrite(fd, buf, sizeof(buf), 8192), 10000 - 8192);
	FAILS(pwrite(fd, buf, 1, 10000), EFBIG);
	FAILS(ftruncate(fd, 10001), EFBIG);
	EQ(size_of(fd), 10000);
}

const struct test data_tests[] = {
	{ "small_files", small_files },
	{ "end_of_file", end_of_file },
	{ "overwrite", overwrite },
	{ "append", append },
	{ "large_requests", large_requests },
	{ "vectors", vectors },
	{ "open_modes", open_modes },
	{ "sync_data", sync_data },
	{ "direct_io", direct_io },
	{ "copy_range", copy_range },
	{ "send_file", send_file },
	{ "file_size_limit", file_size_limit },
	{ 0 },
};
