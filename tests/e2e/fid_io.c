// SPDX-License-Identifier: MIT
// Fidelity: reading and writing by system calls, and what open files have in common.

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fidelity.h"

/* Sizes that are no multiple of a block: refused with EINVAL, or done rightly. */
static void direct_odd_sizes(void)
{
	static const size_t len[] = { 1, 511, 1000, 4097, 70001 };
	char *buf =
		mmap(NULL, 128 * KIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int plain = create_file("f", 256 * KIB, 1), fd;

	CHECK(buf != MAP_FAILED);
	OK(fsync(plain));
	fd = OK(open("f", O_RDWR | O_DIRECT));
	for (size_t i = 0; i < ARRAY_SIZE(len); i++) {
		off_t off = 4096 + (off_t)i * 777;
		ssize_t n = pread(fd, buf + i, len[i], off);

		if (n < 0) {
			EQ(errno, EINVAL);
		} else {
			EQ(n, len[i]);
			EQ(pattern_check(buf + i, len[i], 1, (uint64_t)off), -1);
		}
		pattern_fill(buf + i, len[i], 1, (uint64_t)off);
		n = pwrite(fd, buf + i, len[i], off);
		if (n < 0)
			EQ(errno, EINVAL);
		else
			EQ(n, len[i]);
	}
	check_pattern(plain, 0, 256 * KIB, 1);
}

static void direct_append(void)
{
	char *buf = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = OK(open("f", O_RDWR | O_CREAT | O_DIRECT | O_APPEND, 0644));

	CHECK(buf != MAP_FAILED);
	for (int i = 0; i < 4; i++) {
		pattern_fill(buf, 4096, 1, (uint64_t)i * 4096);
		EQ(write(fd, buf, 4096), 4096);
	}
	EQ(size_of(fd), 16384);
	fd = OK(open("f", O_RDONLY));
	check_pattern(fd, 0, 16384, 1);
}

static void sync_flag(int flag)
{
	int fd = OK(open("f", O_RDWR | O_CREAT | flag, 0644)), other;

	EQ(OK(fcntl(fd, F_GETFL)) & flag, flag);
	write_pattern(fd, 0, 300000, 1);
	other = OK(open("f", O_RDONLY));
	check_pattern(other, 0, 300000, 1);
}

static void o_sync(void)
{
	sync_flag(O_SYNC);
}

static void o_dsync(void)
{
	sync_flag(O_DSYNC);
}

/* O_APPEND and O_DIRECT can be set and taken back while the file is open. */
static void set_flags_later(void)
{
	char *buf = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = create_file("f", 8192, 1);

	CHECK(buf != MAP_FAILED);
	OK(fcntl(fd, F_SETFL, O_APPEND));
	OK(lseek(fd, 0, SEEK_SET));
	pattern_fill(buf, 4096, 1, 8192);
	EQ(write(fd, buf, 4096), 4096);
	EQ(size_of(fd), 12288);
	EQ(lseek(fd, 0, SEEK_CUR), 12288);
	OK(fcntl(fd, F_SETFL, 0));
	pattern_fill(buf, 4096, 1, 0);
	EQ(pwrite(fd, buf, 4096, 0), 4096);
	OK(fcntl(fd, F_SETFL, O_DIRECT));
	EQ(pread(fd, buf, 4096, 8192), 4096);
	EQ(pattern_check(buf, 4096, 1, 8192), -1);
	OK(fcntl(fd, F_SETFL, 0));
	check_pattern(fd, 0, 12288, 1);
}

/* Duplicates share their position; each closes for itself. */
static void duplicates(void)
{
	int fd = create_file("f", 10000, 1), two = OK(dup(fd)), other = OK(open("f", O_RDONLY));
	char buf[100];

	OK(lseek(fd, 1000, SEEK_SET));
	EQ(read(two, buf, 100), 100);
	EQ(pattern_check(buf, 100, 1, 1000), -1);
	EQ(lseek(fd, 0, SEEK_CUR), 1100);
	EQ(lseek(other, 0, SEEK_CUR), 0);
	OK(close(fd));
	FAILS(close(fd), EBADF);
	check_pattern(two, 0, 10000, 1);
	OK(close(two));
	check_pattern(other, 0, 10000, 1);
}

static void child_reads_on(void *arg)
{
	char buf[100];

	EQ(read(*(int *)arg, buf, 100), 100);
	EQ(pattern_check(buf, 100, 1, 0), -1);
}

static void inherited(void)
{
	int fd = create_file("f", 10000, 1);

	OK(lseek(fd, 0, SEEK_SET));
	finish(start(child_reads_on, &fd));
	EQ(lseek(fd, 0, SEEK_CUR), 100);
}

/* A file without a name has all its attributes still. */
static void by_handle_after_unlink(void)
{
	struct timespec ts[2] = { { 1000, 1 }, { 2000, 2 } };
	int fd = create_file("f", 10000, 1);
	struct stat st;

	OK(unlink("f"));
	OK(fchmod(fd, 0601));
	OK(futimens(fd, ts));
	OK(fstat(fd, &st));
	EQ(st.st_mode & 07777, 0601);
	EQ(st.st_mtim.tv_sec, 2000);
	EQ(st.st_nlink, 0);
	if (geteuid() == 0) {
		OK(fchown(fd, 11, 12));
		OK(fstat(fd, &st));
		EQ(st.st_uid, 11);
		EQ(st.st_gid, 12);
	}
	OK(ftruncate(fd, 20000));
	EQ(size_of(fd), 20000);
	check_pattern(fd, 0, 10000, 1);
	check_zero(fd, 10000, 10000);
	OK(fsync(fd));
}

/* Data goes through a pipe both ways without a buffer of ours. */
static void splice_both_ways(void)
{
	int from = create_file("from", 200000, 1), to = OK(open("to", O_RDWR | O_CREAT, 0644)),
	    p[2];
	off64_t in = 0, out = 0;

	OK(pipe(p));
	while (in < 200000) {
		ssize_t n = OK(splice(from, &in, p[1], NULL, 32 * KIB, 0));

		CHECK(n > 0);
		while (n > 0)
			n -= OK(splice(p[0], NULL, to, &out, (size_t)n, 0));
	}
	EQ(out, 200000);
	check_pattern(to, 0, 200000, 1);
}

static void bad_addresses(void)
{
	char *gone = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = create_file("f", 20000, 1);

	CHECK(gone != MAP_FAILED);
	OK(munmap(gone, 4096));
	FAILS(pread(fd, gone, 4096, 0), EFAULT);
	FAILS(pwrite(fd, gone, 4096, 0), EFAULT);
	FAILS(pwrite(fd, gone, 100, 20000), EFAULT);
	EQ(size_of(fd), 20000);
	check_pattern(fd, 0, 20000, 1);
}

static void bad_offsets(void)
{
	int fd = create_file("f", 100, 1);
	char buf[10] = { 0 };

	FAILS(pread(fd, buf, 10, -1), EINVAL);
	FAILS(pwrite(fd, buf, 10, -1), EINVAL);
	FAILS(lseek(fd, -1, SEEK_SET), EINVAL);
	FAILS(lseek(fd, 0, 99), EINVAL);
	FAILS(ftruncate(fd, -1), EINVAL);
	EQ(lseek(fd, 1000, SEEK_END), 1100);
	EQ(read(fd, buf, 10), 0);
	EQ(pwrite(fd, buf, 0, 5000), 0);
	EQ(size_of(fd), 100);
}

static void offset_over_2_40(void)
{
	const off_t at = (off_t)3 << 40;
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));
	struct stat st;

	write_pattern(fd, at, 100000, 1);
	OK(fstat(fd, &st));
	EQ(st.st_size, at + 100000);
	CHECK(st.st_blocks * 512 < MIB);
	check_pattern(fd, at, 100000, 1);
	check_zero(fd, at - 100000, 100000);
}

/* Behind what the file system can hold: EFBIG, and no signal. */
static void offset_too_large(void)
{
	int fd = create_file("f", 100, 1);

	FAILS(pwrite(fd, "x", 1, INT64_MAX - 1), EFBIG);
	FAILS(pwrite(fd, "x", 1, (off_t)1 << 60), EFBIG);
	FAILS(pwrite(fd, "xx", 2, INT64_MAX - 1), EINVAL);
	FAILS(ftruncate(fd, (off_t)1 << 60), EFBIG);
	EQ(size_of(fd), 100);
}

static void over_limit(void *arg)
{
	(void)!pwrite(*(int *)arg, "x", 1, 10000);
}

static void truncate_over_limit(void *arg)
{
	(void)!ftruncate(*(int *)arg, 10001);
}

static void file_size_signal(void)
{
	struct rlimit lim = { 10000, 10000 };
	int fd = create_file("f", 10000, 1);

	OK(setrlimit(RLIMIT_FSIZE, &lim));
	EQ(signals(over_limit, &fd), SIGXFSZ);
	EQ(signals(truncate_over_limit, &fd), SIGXFSZ);
	EQ(size_of(fd), 10000);
	check_pattern(fd, 0, 10000, 1);
}

static void rwf_append(void)
{
	int fd = create_file("f", 5000, 1);
	char buf[1000];
	struct iovec iov = { buf, sizeof(buf) };

	pattern_fill(buf, sizeof(buf), 1, 5000);
	EQ(CAN(pwritev2(fd, &iov, 1, 0, RWF_APPEND)), 1000);
	check_pattern(fd, 0, 6000, 1);
	EQ(size_of(fd), 6000);
}

static void rwf_dsync(void)
{
	int fd = create_file("f", 5000, 1);
	char buf[1000];
	struct iovec iov = { buf, sizeof(buf) };

	pattern_fill(buf, sizeof(buf), 2, 100);
	EQ(CAN(pwritev2(fd, &iov, 1, 100, RWF_DSYNC)), 1000);
	EQ(CAN(pwritev2(fd, &iov, 1, 100, RWF_SYNC)), 1000);
	check_pattern(fd, 100, 1000, 2);
	EQ(preadv2(fd, &iov, 1, 100, RWF_HIPRI), 1000);
}

/* Data that is there at once, or EAGAIN, but no waiting and nothing wrong. */
static void rwf_nowait(void)
{
	int fd = create_file("f", 5000, 1);
	char buf[1000];
	struct iovec iov = { buf, sizeof(buf) };
	ssize_t n;

	check_pattern(fd, 0, 5000, 1);
	n = preadv2(fd, &iov, 1, 100, RWF_NOWAIT);
	if (n < 0 && errno == EAGAIN)
		return;
	EQ(CAN(n), 1000);
	EQ(pattern_check(buf, 1000, 1, 100), -1);
}

static void rwf_unknown(void)
{
	int fd = create_file("f", 5000, 1);
	char buf[10];
	struct iovec iov = { buf, sizeof(buf) };

	FAILS(preadv2(fd, &iov, 1, 0, 0x40000000), EOPNOTSUPP);
}

static void advice(void)
{
	int fd = create_file("f", MIB, 1);

	for (int i = POSIX_FADV_NORMAL; i <= POSIX_FADV_NOREUSE; i++)
		EQ(posix_fadvise(fd, 0, MIB, i), 0);
	OK(readahead(fd, 0, MIB));
	check_pattern(fd, 0, MIB, 1);
}

static void o_path(void)
{
	char buf[100], name[64];
	struct stat st;
	int fd, again;

	OK(close(create_file("f", 100, 1)));
	OK(symlink("f", "s"));
	fd = OK(open("f", O_PATH));
	OK(fstat(fd, &st));
	EQ(st.st_size, 100);
	FAILS(read(fd, buf, 1), EBADF);
	FAILS(fchmod(fd, 0600), EBADF);
	(void)snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	again = OK(open(name, O_RDWR));
	check_pattern(again, 0, 100, 1);
	OK(linkat(fd, "", AT_FDCWD, "g", AT_EMPTY_PATH));
	OK(stat("g", &st));
	EQ(st.st_nlink, 2);
	fd = OK(open("s", O_PATH | O_NOFOLLOW));
	OK(fstat(fd, &st));
	CHECK(S_ISLNK(st.st_mode));
	EQ(readlinkat(fd, "", buf, sizeof(buf)), 1);
}

static void tmpfile_kinds(void)
{
	int fd = CAN(open(".", O_TMPFILE | O_RDWR, 0600)), excl;
	char name[64];

	write_pattern(fd, 0, 10000, 1);
	OK(linkat(fd, "", AT_FDCWD, "linked", AT_EMPTY_PATH));
	check_pattern(OK(open("linked", O_RDONLY)), 0, 10000, 1);
	excl = OK(open(".", O_TMPFILE | O_RDWR | O_EXCL, 0600));
	(void)snprintf(name, sizeof(name), "/proc/self/fd/%d", excl);
	FAILS(linkat(AT_FDCWD, name, AT_FDCWD, "not", AT_SYMLINK_FOLLOW), ENOENT);
	FAILS(open(".", O_TMPFILE | O_RDONLY, 0600), EINVAL);
}

const struct test fid_io_tests[] = {
	{ "direct_odd_sizes", direct_odd_sizes },
	{ "direct_append", direct_append },
	{ "o_sync", o_sync },
	{ "o_dsync", o_dsync },
	{ "set_flags_later", set_flags_later },
	{ "duplicates", duplicates },
	{ "inherited", inherited },
	{ "by_handle_after_unlink", by_handle_after_unlink },
	{ "splice_both_ways", splice_both_ways },
	{ "bad_addresses", bad_addresses },
	{ "bad_offsets", bad_offsets },
	{ "offset_over_2_40", offset_over_2_40 },
	{ "offset_too_large", offset_too_large },
	{ "file_size_signal", file_size_signal },
	{ "rwf_append", rwf_append },
	{ "rwf_dsync", rwf_dsync },
	{ "rwf_nowait", rwf_nowait },
	{ "rwf_unknown", rwf_unknown },
	{ "advice", advice },
	{ "o_path", o_path },
	{ "tmpfile_kinds", tmpfile_kinds },
	{ 0 },
};
