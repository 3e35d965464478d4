// SPDX-License-Identifier: MIT
// File-system tests: files that grow, shrink and have holes.

#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fstest.h"

static void truncate_down_up(void)
{
	int fd = create_file("f", 100000, 1);

	OK(ftruncate(fd, 5000));
	EQ(size_of(fd), 5000);
	check_pattern(fd, 0, 5000, 1);
	OK(ftruncate(fd, 200000));
	EQ(size_of(fd), 200000);
	check_pattern(fd, 0, 5000, 1);
	check_zero(fd, 5000, 195000);
	OK(truncate("f", 4096));
	OK(truncate("f", 8192));
	check_pattern(fd, 0, 4096, 1);
	check_zero(fd, 4096, 4096);
	OK(ftruncate(fd, 0));
	OK(ftruncate(fd, 8192));
	check_zero(fd, 0, 8192);
	FAILS(ftruncate(fd, -1), EINVAL);
}

/* The same by another name of the file, while the first descriptor has read it all. */
static void truncate_by_name(void)
{
	int fd = create_file("f", 2 * MIB, 1), other;
	char c;

	OK(link("f", "g"));
	check_pattern(fd, 0, 2 * MIB, 1);
	OK(truncate("g", 1 * MIB + 1));
	EQ(size_of(fd), 1 * MIB + 1);
	EQ(pread(fd, &c, 1, 1 * MIB + 1), 0);
	check_pattern(fd, 0, 1 * MIB + 1, 1);
	other = OK(open("g", O_WRONLY));
	write_pattern(other, 2 * MIB, 4096, 2);
	check_zero(fd, 1 * MIB + 1, 1 * MIB - 1);
	check_pattern(fd, 2 * MIB, 4096, 2);
}

static void open_truncating(void)
{
	int fd = create_file("f", MIB, 1), again;
	char c;

	check_pattern(fd, 0, MIB, 1);
	write_pattern(fd, 0, MIB, 2);
	again = OK(open("f", O_RDWR | O_TRUNC));
	EQ(size_of(fd), 0);
	EQ(pread(fd, &c, 1, 0), 0);
	write_pattern(again, 0, 100, 3);
	EQ(size_of(fd), 100);
	check_pattern(fd, 0, 100, 3);
	OK(ftruncate(again, MIB));
	check_zero(fd, 100, MIB - 100);
	OK(close(OK(open("f", O_WRONLY | O_CREAT | O_TRUNC, 0644))));
	EQ(size_of(fd), 0);
}

static void sparse(void)
{
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));
	struct stat st;

	write_pattern(fd, 10 * MIB, 4096, 1);
	OK(fstat(fd, &st));
	EQ(st.st_size, 10 * MIB + 4096);
	CHECK(st.st_blocks * 512 < 1 * MIB);
	check_zero(fd, 0, 10 * MIB);
	check_pattern(fd, 10 * MIB, 4096, 1);
	write_pattern(fd, 5 * MIB - 1, 2, 2);
	check_zero(fd, 4 * MIB, MIB - 1);
	check_pattern(fd, 5 * MIB - 1, 2, 2);
	check_zero(fd, 5 * MIB + 1, MIB);
}

static void five_gib(void)
{
	const off_t size = 5 * GIB;
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));
	char c;

	OK(ftruncate(fd, size));
	EQ(size_of(fd), size);
	write_pattern(fd, 4 * GIB - 3000, 6000, 1);
	write_pattern(fd, 2 * GIB - 3000, 6000, 2);
	write_pattern(fd, size - 3000, 6000, 3);
	EQ(size_of(fd), size + 3000);
	check_zero(fd, 0, 100000);
	check_zero(fd, 4 * GIB - 100000, 97000);
	check_pattern(fd, 4 * GIB - 3000, 6000, 1);
	check_zero(fd, 4 * GIB + 3000, 97000);
	check_pattern(fd, 2 * GIB - 3000, 6000, 2);
	check_pattern(fd, size - 3000, 6000, 3);
	EQ(pread(fd, &c, 1, size + 3000), 0);
	OK(ftruncate(fd, 4 * GIB));
	check_pattern(fd, 4 * GIB - 3000, 3000, 1);
	EQ(pread(fd, &c, 1, 4 * GIB), 0);
}

static void seek_data_hole(void)
{
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));

	OK(ftruncate(fd, 4 * MIB));
	write_pattern(fd, MIB, 64 * KIB, 1);
	OK(fsync(fd));
	EQ(lseek(fd, 0, SEEK_DATA), MIB);
	EQ(lseek(fd, 0, SEEK_HOLE), 0);
	EQ(lseek(fd, MIB, SEEK_HOLE), MIB + 64 * KIB);
	FAILS(lseek(fd, 2 * MIB, SEEK_DATA), ENXIO);
	FAILS(lseek(fd, 4 * MIB, SEEK_HOLE), ENXIO);
	EQ(lseek(fd, -10, SEEK_END), 4 * MIB - 10);
	FAILS(lseek(fd, -1, SEEK_SET), EINVAL);
}

static void fallocate_grow(void)
{
	int fd = create_file("f", 1000, 1);
	struct stat st;

	OK(fallocate(fd, 0, 0, 1 * MIB));
	EQ(size_of(fd), 1 * MIB);
	check_pattern(fd, 0, 1000, 1);
	check_zero(fd, 1000, 1 * MIB - 1000);
	OK(fallocate(fd, FALLOC_FL_KEEP_SIZE, 1 * MIB, 1 * MIB));
	OK(fstat(fd, &st));
	EQ(st.st_size, 1 * MIB);
	CHECK(st.st_blocks * 512 >= 2 * MIB);
	FAILS(fallocate(fd, 0, 0, 0), EINVAL);
}

static void punch_hole(void)
{
	int fd = create_file("f", 1 * MIB, 1);
	const int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

	check_pattern(fd, 0, 1 * MIB, 1);
	OK(fallocate(fd, mode, 100000, 200000));
	EQ(size_of(fd), 1 * MIB);
	check_pattern(fd, 0, 100000, 1);
	check_zero(fd, 100000, 200000);
	check_pattern(fd, 300000, 1 * MIB - 300000, 1);
	/* Beyond the end it changes nothing. */
	OK(fallocate(fd, mode, 1 * MIB - 4096, 1 * MIB));
	EQ(size_of(fd), 1 * MIB);
	check_zero(fd, 1 * MIB - 4096, 4096);
	write_pattern(fd, 200000, 4096, 2);
	check_pattern(fd, 200000, 4096, 2);
	FAILS(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 4096), EOPNOTSUPP);
}

static void zero_range(void)
{
	int fd = create_file("f", 300000, 1), r;

	check_pattern(fd, 0, 300000, 1);
	r = fallocate(fd, FALLOC_FL_ZERO_RANGE, 5000, 100000);
	if (r < 0 && errno == EOPNOTSUPP)
		skip("this file system has no FALLOC_FL_ZERO_RANGE");
	OK(r);
	check_pattern(fd, 0, 5000, 1);
	check_zero(fd, 5000, 100000);
	check_pattern(fd, 105000, 195000, 1);
	OK(fallocate(fd, FALLOC_FL_ZERO_RANGE, 290000, 20000));
	EQ(size_of(fd), 310000);
	check_zero(fd, 290000, 20000);
}

const struct test size_tests[] = {
	{ "truncate_down_up", truncate_down_up },
	{ "truncate_by_name", truncate_by_name },
	{ "open_truncating", open_truncating },
	{ "sparse", sparse },
	{ "five_gib", five_gib },
	{ "seek_data_hole", seek_data_hole },
	{ "fallocate_grow", fallocate_grow },
	{ "punch_hole", punch_hole },
	{ "zero_range", zero_range },
	{ 0 },
};
