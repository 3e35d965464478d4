// SPDX-License-Identifier: MIT
// Fidelity: files that the host cannot read as a whole. The caller has prepared ../bad.

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fidelity.h"

/*
 * Each file there has lines of 16 bytes with their numbers, and the page at BAD cannot be read.
 * Each is used by one test: a file that is read often may be mapped, and an error in a page that is
 * mapped into a virtual machine can be the end of that machine.
 */
#define SIZE  (256 * KIB)
#define BAD   (80 * KIB)
#define AFTER (BAD + PAGE)
#define LINE  16

static int open_bad(const char *name)
{
	int fd;

	if (chdir("../bad") < 0)
		skip("no file system with errors was prepared");
	fd = OK(open(name, O_RDONLY));
	EQ(size_of(fd), SIZE);
	return fd;
}

static void check_lines(const char *buf, off_t off, off_t len)
{
	char line[LINE + 1];

	for (off_t i = 0; i < len; i++) {
		(void)snprintf(line, sizeof(line), "line %010lld\n", (long long)(off + i) / LINE);
		if (buf[i] != line[(off + i) % LINE])
			fail(__FILE__, __LINE__, "byte 0x%02x at offset %lld, which is wrong",
			     (unsigned char)buf[i], (long long)(off + i));
	}
}

/* Read to the end, or to an error, which must be the one at BAD. */
static void read_to_error(int fd, size_t block)
{
	char *buf = malloc(block);
	off_t off = 0;
	ssize_t n;

	CHECK(buf);
	while ((n = read(fd, buf, block)) > 0) {
		check_lines(buf, off, n);
		off += n;
	}
	if (n == 0)
		fail(__FILE__, __LINE__, "by blocks of %zu the file ends at %lld, without an error",
		     block, (long long)off);
	EQ(errno, EIO);
	CHECK(off <= BAD && off + (off_t)block > BAD);
	free(buf);
}

static void read_error_small(void)
{
	read_to_error(open_bad("small"), 512);
}

static void read_error_page(void)
{
	read_to_error(open_bad("page"), PAGE);
}

static void read_error_large(void)
{
	read_to_error(open_bad("large"), 64 * KIB);
}

static void read_error_whole(void)
{
	read_to_error(open_bad("whole"), MIB);
}

/* What is not bad can be read, and the size is what it was. */
static void read_error_beside(void)
{
	int fd = open_bad("beside");
	char buf[PAGE], *rest = malloc(SIZE);

	CHECK(rest);
	FAILS(pread(fd, buf, PAGE, BAD), EIO);
	EQ(size_of(fd), SIZE);
	EQ(pread(fd, rest, SIZE, AFTER), SIZE - AFTER);
	check_lines(rest, AFTER, SIZE - AFTER);
	read_all(fd, rest, BAD, 0);
	check_lines(rest, 0, BAD);
	FAILS(pread(fd, buf, PAGE, BAD), EIO);
	EQ(pread(fd, buf, PAGE, SIZE), 0);
	EQ(lseek(fd, 0, SEEK_END), SIZE);
}

static void touch(void *arg)
{
	(void)*(volatile char *)arg;
}

static void read_error_mapped(void)
{
	int fd = open_bad("mapped");
	char *p = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0);

	CHECK(p != MAP_FAILED);
	EQ(signals(touch, p + BAD), SIGBUS);
	check_lines(p, 0, BAD);
	check_lines(p + AFTER, AFTER, SIZE - AFTER);
	EQ(signals(touch, p + BAD + PAGE - 1), SIGBUS);
	EQ(size_of(fd), SIZE);
}

/* Programs say so, and do not make a short copy of it. */
static void must_fail(const char *command)
{
	int status = system(command);

	CHECK(status >= 0);
	if (WIFEXITED(status) && !WEXITSTATUS(status))
		fail(__FILE__, __LINE__, "%s ends with status 0", command);
}

static void read_error_programs(void)
{
	(void)open_bad("cat");
	must_fail("cat cat >/dev/null 2>&1");
	must_fail("cp cp /tmp/vfsdax-bad.$$ 2>/dev/null; s=$?; rm -f /tmp/vfsdax-bad.$$; exit $s");
	/* To another file system of the host's, so that it is read. */
	must_fail("cp cp-here ../bad-copy.$$ 2>/dev/null; s=$?; rm -f ../bad-copy.$$; exit $s");
	must_fail("dd if=dd of=/dev/null bs=128k 2>/dev/null");
}

const struct test fid_error_tests[] = {
	{ "read_error_small", read_error_small },	{ "read_error_page", read_error_page },
	{ "read_error_large", read_error_large },	{ "read_error_whole", read_error_whole },
	{ "read_error_beside", read_error_beside },	{ "read_error_mapped", read_error_mapped },
	{ "read_error_programs", read_error_programs }, { 0 },
};
