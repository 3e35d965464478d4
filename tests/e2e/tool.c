// SPDX-License-Identifier: MIT
// fstest's tools: data of known content, made, changed, checked and watched on both ends of a mount.

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fstest.h"
#include "tool.h"

#define BUF_SIZE (1 * MIB)

static long long number(const char *s)
{
	char *end;
	long long v = strtoll(s, &end, 10);

	if (*end == 'K')
		v *= KIB;
	else if (*end == 'M')
		v *= MIB;
	else if (*end == 'G')
		v *= GIB;
	return v;
}

static int complain(const char *what, const char *file, off_t at)
{
	(void)fprintf(stderr, "fstest: %s %s at %lld: %s\n", what, file, (long long)at,
		      strerror(errno));
	return 1;
}

static int write_range(int fd, const char *file, off_t off, off_t len, uint64_t seed)
{
	char *buf = malloc(BUF_SIZE);

	if (!buf)
		return complain("memory", file, off);
	for (off_t end = off + len; off < end; off += BUF_SIZE) {
		size_t n = (size_t)(end - off < BUF_SIZE ? end - off : BUF_SIZE);

		pattern_fill(buf, n, seed, (uint64_t)off);
		if (pwrite(fd, buf, n, off) != (ssize_t)n)
			return complain("write", file, off);
	}
	free(buf);
	return 0;
}

static int put(const char *file, int flags, off_t off, off_t len, uint64_t seed)
{
	int fd = open(file, O_WRONLY | O_CREAT | flags, 0644);

	if (fd < 0)
		return complain("open", file, off);
	if (write_range(fd, file, off, len, seed))
		return 1;
	return close(fd) < 0 ? complain("close", file, off) : 0;
}

static int poke(const char *file, off_t off, size_t len, uint64_t seed)
{
	int fd = open(file, O_RDWR);
	char *p = mmap(NULL, (size_t)off + len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED)
		return complain("map", file, off);
	pattern_fill(p + off, len, seed, (uint64_t)off);
	if (msync(p, (size_t)off + len, MS_SYNC) < 0)
		return complain("msync", file, off);
	return munmap(p, (size_t)off + len) < 0 || close(fd) < 0;
}

/* match() - 0 when the file has this data here; otherwise a line says what it has */
static int match(int fd, const char *file, off_t off, off_t len, uint64_t seed)
{
	char *buf = malloc(BUF_SIZE);
	ssize_t n = 0, bad = -1;

	if (!buf)
		return complain("memory", file, off);
	for (off_t end = off + len; off < end && bad < 0; off += n) {
		size_t want = (size_t)(end - off < BUF_SIZE ? end - off : BUF_SIZE);

		n = pread(fd, buf, want, off);
		if (n <= 0) {
			free(buf);
			errno = n ? errno : ENODATA;
			return complain("read", file, off);
		}
		bad = pattern_check(buf, (size_t)n, seed, (uint64_t)off);
		if (bad >= 0)
			(void)fprintf(stderr, "fstest: %s: wrong byte at %lld\n", file,
				      (long long)(off + bad));
	}
	free(buf);
	return bad >= 0;
}

static int verify(const char *file, off_t size, uint64_t seed)
{
	int fd = open(file, O_RDONLY);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return complain("open", file, 0);
	if (st.st_size != size) {
		(void)fprintf(stderr, "fstest: %s has %lld bytes, not %lld\n", file,
			      (long long)st.st_size, (long long)size);
		return 1;
	}
	return match(fd, file, 0, size, seed) || close(fd) < 0;
}

/* match() in a mapping of all of the file */
static int match_mapped(const char *map, const char *file, off_t off, off_t len, uint64_t seed)
{
	ssize_t bad = pattern_check(map + off, (size_t)len, seed, (uint64_t)off);

	if (bad >= 0)
		(void)fprintf(stderr, "fstest: %s: wrong byte at %lld of the mapping\n", file,
			      (long long)(off + bad));
	return bad >= 0;
}

/*
 * One descriptor stays open, and with @mapped a mapping, while the file may change on the other end
 * of the mount.
 */
static int watch(const char *file, int flags, bool mapped)
{
	int fd = open(file, flags), wrong = 0;
	const char *map = NULL;
	long long off, len, seed;
	struct stat st;
	char line[128], c;

	if (fd < 0 || fstat(fd, &st) < 0)
		return complain("open", file, 0);
	if (mapped)
		map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return complain("map", file, 0);
	while (fgets(line, sizeof(line), stdin)) {
		int bad = 1;

		if (sscanf(line, "data %lld %lld %lld", &off, &len, &seed) == 3)
			bad = map ? match_mapped(map, file, off, len, (uint64_t)seed)
				  : match(fd, file, off, len, (uint64_t)seed);
		else if (sscanf(line, "write %lld %lld %lld", &off, &len, &seed) == 3)
			bad = write_range(fd, file, off, len, (uint64_t)seed);
		else if (sscanf(line, "size %lld", &off) == 1)
			bad = fstat(fd, &st) < 0 || st.st_size != off;
		else if (sscanf(line, "end %lld", &off) == 1)
			bad = pread(fd, &c, 1, off) != 0;
		(void)printf("%s %s", bad ? "wrong" : "right", line);
		(void)fflush(stdout);
		wrong |= bad;
	}
	return wrong;
}

int tool_main(int argc, char **argv)
{
	const char *what = argv[1], *file = argv[2];

	if (argc == 5 && !strcmp(what, "--make"))
		return put(file, O_TRUNC, 0, number(argv[3]), (uint64_t)number(argv[4]));
	if (argc == 5 && !strcmp(what, "--verify"))
		return verify(file, number(argv[3]), (uint64_t)number(argv[4]));
	if (argc == 6 && !strcmp(what, "--put"))
		return put(file, 0, number(argv[3]), number(argv[4]), (uint64_t)number(argv[5]));
	if (argc == 6 && !strcmp(what, "--poke"))
		return poke(file, number(argv[3]), (size_t)number(argv[4]),
			    (uint64_t)number(argv[5]));
	if (argc == 3 && !strcmp(what, "--watch"))
		return watch(file, O_RDONLY, false);
	if (argc == 3 && !strcmp(what, "--watch-mapped"))
		return watch(file, O_RDONLY, true);
	if (argc == 3 && !strcmp(what, "--watch-writing"))
		return watch(file, O_RDWR, false);
	return -1;
}
