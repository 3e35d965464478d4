// SPDX-License-Identifier: MIT
// fstest --make and --verify: whole files of pseudo-random data, to compare both ends of a mount.

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fstest.h"

#define BUF_SIZE (1 * MIB)

static off_t parse_size(const char *s)
{
	char *end;
	long long v = strtoll(s, &end, 10);

	if (*end == 'K')
		v *= KIB;
	else if (*end == 'M')
		v *= MIB;
	else if (*end == 'G')
		v *= GIB;
	return (off_t)v;
}

/* A buffer and a file, or a message. */
static int prepare(const char *file, int flags, char **buf)
{
	int fd = open(file, flags, 0644);

	*buf = malloc(BUF_SIZE);
	if (fd < 0 || !*buf)
		(void)fprintf(stderr, "fstest: %s: %s\n", file, strerror(errno));
	return *buf ? fd : -1;
}

int make_main(const char *file, const char *size_text, const char *seed_text)
{
	off_t size = parse_size(size_text);
	uint64_t seed = strtoull(seed_text, NULL, 0);
	char *buf;
	int fd = prepare(file, O_WRONLY | O_CREAT | O_TRUNC, &buf);

	if (fd < 0)
		return 1;
	for (off_t off = 0; off < size; off += BUF_SIZE) {
		size_t n = (size_t)(size - off < BUF_SIZE ? size - off : BUF_SIZE);

		pattern_fill(buf, n, seed, (uint64_t)off);
		if (write(fd, buf, n) != (ssize_t)n) {
			(void)fprintf(stderr, "fstest: write at %lld: %s\n", (long long)off,
				      strerror(errno));
			return 1;
		}
	}
	free(buf);
	if (close(fd) < 0) {
		perror("fstest: close");
		return 1;
	}
	return 0;
}

int verify_main(const char *file, const char *size_text, const char *seed_text)
{
	off_t size = parse_size(size_text), off = 0;
	uint64_t seed = strtoull(seed_text, NULL, 0);
	char *buf;
	int fd = prepare(file, O_RDONLY, &buf);
	ssize_t n, bad;

	if (fd < 0)
		return 1;
	while ((n = read(fd, buf, BUF_SIZE)) > 0) {
		bad = pattern_check(buf, (size_t)n, seed, (uint64_t)off);
		if (bad >= 0) {
			(void)fprintf(stderr, "fstest: %s: wrong byte at %lld\n", file,
				      (long long)(off + bad));
			return 1;
		}
		off += n;
	}
	free(buf);
	(void)close(fd);
	if (n < 0 || off != size) {
		(void)fprintf(stderr, "fstest: %s: ends at %lld, not %lld: %s\n", file,
			      (long long)off, (long long)size, strerror(n < 0 ? errno : 0));
		return 1;
	}
	return 0;
}
