// SPDX-License-Identifier: MIT
// Files of every small size, made and checked on the host, read and changed in the guest.

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pass_cases.h"
#include "report.h"

#define SIZE_MAX_TRIED 8193
#define AROUND	       3 /* so near to whole pages each size is tried */

static const char *path_of(const char *dir, off_t size)
{
	static char path[4096];

	(void)snprintf(path, sizeof(path), "%s/%lld", dir, (long long)size);
	return path;
}

/* The seed of the data is the size, and that of the last byte another: it tells what was done. */
static unsigned char last_byte(off_t size, uint64_t what)
{
	unsigned char c, before;

	pattern_fill(&before, 1, (uint64_t)size, (uint64_t)size - 1);
	pattern_fill(&c, 1, (uint64_t)size + what * 100000, (uint64_t)size - 1);
	return c == before ? (unsigned char)(c + 1) : c;
}

static bool wanted(off_t size, long step)
{
	return size % step == 0 || (size + AROUND) % PAGE <= 2 * AROUND;
}

static void check_all(const unsigned char *data, off_t size, int last, const char *how)
{
	ssize_t bad = pattern_check(data, (size_t)size - 1, (uint64_t)size, 0);
	unsigned char want;

	pattern_fill(&want, 1, (uint64_t)size, (uint64_t)size - 1);
	if (last >= 0)
		want = (unsigned char)last;
	if (bad >= 0)
		fail(__FILE__, __LINE__, "%lld bytes, %s: wrong byte at %zd", (long long)size, how,
		     bad);
	if (data[size - 1] != want)
		fail(__FILE__, __LINE__, "%lld bytes, %s: the last byte is %d, not %d",
		     (long long)size, how, data[size - 1], want);
}

static void check_zeros(const unsigned char *map, off_t size)
{
	for (off_t at = size; at % PAGE; at++)
		if (map[at])
			fail(__FILE__, __LINE__,
			     "%lld bytes: the mapping has %d behind the end, at %lld",
			     (long long)size, map[at], (long long)at);
}

/* All of the file, once more than there is: it must end there. */
static void read_file(int fd, off_t size, int last, const char *how)
{
	unsigned char data[SIZE_MAX_TRIED + 1];
	ssize_t n = OK(pread(fd, data, sizeof(data), 0));

	if (n != size)
		fail(__FILE__, __LINE__, "%lld bytes: read gives %zd", (long long)size, n);
	check_all(data, size, last, how);
}

static void change(const char *dir, off_t size, bool store)
{
	int fd = OK(open(path_of(dir, size), O_RDWR | O_CLOEXEC));
	unsigned char last = last_byte(size, store), *map;
	int before = store ? last_byte(size, false) : -1;

	if (size >= PAGE && !passed_through(fd))
		fail(__FILE__, __LINE__, "%lld bytes: not passed through", (long long)size);
	EQ(size_of(fd), size);
	read_file(fd, size, before, "read");
	map = (unsigned char *)map_file(fd, (size_t)size, PROT_READ | PROT_WRITE);
	check_all(map, size, before, "mapping");
	check_zeros(map, size);
	if (store)
		map[size - 1] = last;
	else
		EQ(OK(pwrite(fd, &last, 1, size - 1)), 1);
	read_file(fd, size, last, "read after the change");
	check_all(map, size, last, "mapping after the change");
	check_zeros(map, size);
	EQ(size_of(fd), size);
	OK(munmap(map, (size_t)size));
	OK(close(fd));
}

static void check_file(const char *dir, off_t size, bool stored)
{
	int fd = OK(open(path_of(dir, size), O_RDONLY | O_CLOEXEC));

	EQ(size_of(fd), size);
	read_file(fd, size, last_byte(size, stored), "host");
	OK(close(fd));
}

static void make_one(const char *dir, off_t size)
{
	OK(close(create_file(path_of(dir, size), size, (uint64_t)size)));
}

static void write_one(const char *dir, off_t size)
{
	change(dir, size, false);
}

static void store_one(const char *dir, off_t size)
{
	change(dir, size, true);
}

static void check_written(const char *dir, off_t size)
{
	check_file(dir, size, false);
}

static void check_stored(const char *dir, off_t size)
{
	check_file(dir, size, true);
}

static const struct {
	const char *name;
	void (*fn)(const char *dir, off_t size);
} verbs[] = {
	{ "make", make_one },
	{ "write", write_one },
	{ "check-written", check_written },
	{ "store", store_one },
	{ "check-stored", check_stored },
};

/* The tests' checks end a process; what they say is read by this one. */
static int run(void (*fn)(const char *dir, off_t size), const char *dir, long step)
{
	char why[512] = "a process ends without a word";
	int status, n = 0;
	pid_t pid;

	for (off_t size = 1; size <= SIZE_MAX_TRIED; size++)
		n += wanted(size, step);
	report_open();
	pid = fork();
	if (pid == 0) {
		for (off_t size = 1; size <= SIZE_MAX_TRIED; size++)
			if (wanted(size, step))
				fn(dir, size);
		_exit(REPORT_OK);
	}
	if (pid > 0 && waitpid(pid, &status, 0) == pid && status == 0) {
		printf("%d sizes\n", n);
		return 0;
	}
	report_read(why, sizeof(why));
	(void)fprintf(stderr, "pass_cases: %s\n", why);
	return 1;
}

int sizes_main(int argc, char **argv)
{
	long step = argc == 5 ? strtol(argv[4], NULL, 10) : 0;

	for (size_t i = 0; step > 0 && i < ARRAY_SIZE(verbs); i++)
		if (!strcmp(argv[2], verbs[i].name))
			return run(verbs[i].fn, argv[3], step);
	return -1;
}
