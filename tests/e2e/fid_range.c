// SPDX-License-Identifier: MIT
// Fidelity: modes of fallocate, holes, and copies inside the file system.

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fidelity.h"

static void fallocate_keep_size(void)
{
	int fd = create_file("f", 10000, 1);
	struct stat st;

	CAN(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, MIB));
	OK(fstat(fd, &st));
	EQ(st.st_size, 10000);
	CHECK(st.st_blocks * 512 >= MIB);
	check_pattern(fd, 0, 10000, 1);
}

static void fallocate_posix(void)
{
	int fd = create_file("f", 10000, 1);

	EQ(posix_fallocate(fd, 5000, 20000), 0);
	EQ(size_of(fd), 25000);
	check_pattern(fd, 0, 10000, 1);
	check_zero(fd, 10000, 15000);
	EQ(posix_fallocate(fd, 0, 0), EINVAL);
	EQ(posix_fallocate(fd, -1, 10), EINVAL);
}

static void fallocate_collapse(void)
{
	int fd = create_file("f", 64 * KIB, 1);

	check_pattern(fd, 0, 64 * KIB, 1);
	CAN(fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 0, 8 * KIB));
	EQ(size_of(fd), 56 * KIB);
	for (off_t at = 0; at < 56 * KIB; at += PAGE) {
		char buf[PAGE];

		read_all(fd, buf, PAGE, at);
		EQ(pattern_check(buf, PAGE, 1, (uint64_t)(at + 8 * KIB)), -1);
	}
}

static void fallocate_insert(void)
{
	int fd = create_file("f", 64 * KIB, 1);

	check_pattern(fd, 0, 64 * KIB, 1);
	CAN(fallocate(fd, FALLOC_FL_INSERT_RANGE, 4 * KIB, 8 * KIB));
	EQ(size_of(fd), 72 * KIB);
	check_pattern(fd, 0, 4 * KIB, 1);
	check_zero(fd, 4 * KIB, 8 * KIB);
}

static void fallocate_zero_keep(void)
{
	int fd = create_file("f", 64 * KIB, 1);

	CAN(fallocate(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 60 * KIB, 100 * KIB));
	EQ(size_of(fd), 64 * KIB);
	check_pattern(fd, 0, 60 * KIB, 1);
	check_zero(fd, 60 * KIB, 4 * KIB);
}

static void fallocate_unshare(void)
{
	int fd = create_file("f", 64 * KIB, 1);

	CAN(fallocate(fd, FALLOC_FL_UNSHARE_RANGE, 0, 64 * KIB));
	check_pattern(fd, 0, 64 * KIB, 1);
}

static void fallocate_refused(void)
{
	int fd = create_file("f", 10000, 1), ro = OK(open("f", O_RDONLY)), p[2];

	FAILS(fallocate(ro, 0, 0, 10), EBADF);
	FAILS(fallocate(fd, 0, -1, 10), EINVAL);
	FAILS(fallocate(fd, 0, 0, 0), EINVAL);
	FAILS(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 10), EOPNOTSUPP);
	FAILS(fallocate(fd, 0, (off_t)1 << 60, 10), EFBIG);
	OK(pipe(p));
	FAILS(fallocate(p[1], 0, 0, 10), ESPIPE);
	check_pattern(fd, 0, 10000, 1);
}

static void holes(void)
{
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));

	write_pattern(fd, 0, 64 * KIB, 1);
	write_pattern(fd, MIB, 64 * KIB, 1);
	OK(ftruncate(fd, 2 * MIB));
	OK(fsync(fd));
	EQ(lseek(fd, 0, SEEK_DATA), 0);
	EQ(lseek(fd, 0, SEEK_HOLE), 64 * KIB);
	EQ(lseek(fd, 64 * KIB, SEEK_DATA), MIB);
	EQ(lseek(fd, MIB + 1, SEEK_HOLE), MIB + 64 * KIB);
	FAILS(lseek(fd, MIB + 64 * KIB, SEEK_DATA), ENXIO);
	FAILS(lseek(fd, 2 * MIB, SEEK_HOLE), ENXIO);
	FAILS(lseek(fd, 2 * MIB, SEEK_DATA), ENXIO);
}

static void copy_within(void)
{
	int fd = create_file("f", 256 * KIB, 1), two = create_file("g", 10000, 2), dir;
	off_t in = 0, out = 128 * KIB;
	char buf[PAGE];

	EQ(CAN(copy_file_range(fd, &in, fd, &out, 64 * KIB, 0)), 64 * KIB);
	read_all(fd, buf, PAGE, 128 * KIB + PAGE);
	EQ(pattern_check(buf, PAGE, 1, PAGE), -1);
	in = 0;
	out = 1000;
	FAILS(copy_file_range(fd, &in, fd, &out, 64 * KIB, 0), EINVAL);
	FAILS(copy_file_range(fd, NULL, two, NULL, 100, 1), EINVAL);
	OK(fcntl(two, F_SETFL, O_APPEND));
	FAILS(copy_file_range(fd, NULL, two, NULL, 100, 0), EBADF);
	dir = OK(open(".", O_RDONLY));
	FAILS(copy_file_range(dir, NULL, fd, NULL, 100, 0), EISDIR);
}

static void reflink(void)
{
	int from = create_file("f", 64 * KIB, 1), to = OK(open("g", O_RDWR | O_CREAT, 0644));

	CAN(ioctl(to, FICLONE, from));
	check_pattern(to, 0, 64 * KIB, 1);
}

const struct test fid_range_tests[] = {
	{ "fallocate_keep_size", fallocate_keep_size },
	{ "fallocate_posix", fallocate_posix },
	{ "fallocate_collapse", fallocate_collapse },
	{ "fallocate_insert", fallocate_insert },
	{ "fallocate_zero_keep", fallocate_zero_keep },
	{ "fallocate_unshare", fallocate_unshare },
	{ "fallocate_refused", fallocate_refused },
	{ "holes", holes },
	{ "copy_within", copy_within },
	{ "reflink", reflink },
	{ 0 },
};
