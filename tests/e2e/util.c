// SPDX-License-Identifier: MIT
// Checks, deterministic data and children for the file-system tests.

#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fstest.h"
#include "report.h"

#define NOBODY 65534
#define CHUNK  (1 * MIB)

static int report_fd[2] = { -1, -1 };

void report_open(void)
{
	for (int i = 0; i < 2; i++)
		if (report_fd[i] >= 0)
			(void)close(report_fd[i]);
	if (pipe2(report_fd, O_CLOEXEC | O_NONBLOCK) < 0)
		report_fd[0] = report_fd[1] = -1;
}

void report_read(char *buf, size_t size)
{
	ssize_t n = read(report_fd[0], buf, size - 1);
	char *end;

	if (n <= 0)
		return;
	buf[n] = '\0';
	end = strchr(buf, '\n');
	if (end)
		*end = '\0';
}

/* Lines in one write: those of several processes do not mix, and the first counts. */
static void report(const char *where, const char *fmt, va_list ap)
{
	char what[400], line[512];
	int n;

	(void)vsnprintf(what, sizeof(what), fmt, ap);
	n = snprintf(line, sizeof(line), "%s%s\n", where, what);
	(void)!write(report_fd[1], line, (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 1);
}

void fail(const char *file, int line, const char *fmt, ...)
{
	const char *base = strrchr(file, '/');
	char where[64];
	va_list ap;

	(void)snprintf(where, sizeof(where), "%.40s:%d: ", base ? base + 1 : file, line);
	va_start(ap, fmt);
	report(where, fmt, ap);
	va_end(ap);
	_exit(REPORT_FAIL);
}

void skip(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	report("", fmt, ap);
	va_end(ap);
	_exit(REPORT_SKIP);
}

/* splitmix64 */
static uint64_t mix(uint64_t z)
{
	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

uint64_t random_next(uint64_t *state)
{
	return mix(*state += UINT64_C(0x9e3779b97f4a7c15));
}

void pattern_fill(void *buf, size_t len, uint64_t seed, uint64_t off)
{
	unsigned char *p = buf;
	uint64_t base = mix(seed + UINT64_C(0x9e3779b97f4a7c15));

	for (size_t done = 0; done < len;) {
		uint64_t word = mix(base + (off + done) / 8), in = (off + done) % 8;
		size_t n = 8 - in < len - done ? 8 - in : len - done;

		memcpy(p + done, (const char *)&word + in, n);
		done += n;
	}
}

ssize_t pattern_check(const void *buf, size_t len, uint64_t seed, uint64_t off)
{
	unsigned char want[PAGE];
	const unsigned char *p = buf;

	for (size_t done = 0; done < len; done += sizeof(want)) {
		size_t n = len - done < sizeof(want) ? len - done : sizeof(want);

		pattern_fill(want, n, seed, off + done);
		if (memcmp(want, p + done, n) == 0)
			continue;
		for (size_t i = 0; i < n; i++)
			if (want[i] != p[done + i])
				return (ssize_t)(done + i);
	}
	return -1;
}

void write_all(int fd, const void *buf, size_t len, off_t off)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = pwrite(fd, (const char *)buf + done, len - done, off + (off_t)done);

		if (n <= 0)
			fail(__FILE__, __LINE__, "pwrite of %zu at %lld returns %zd: %m", len,
			     (long long)off, n);
		done += (size_t)n;
	}
}

void read_all(int fd, void *buf, size_t len, off_t off)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = pread(fd, (char *)buf + done, len - done, off + (off_t)done);

		if (n <= 0)
			fail(__FILE__, __LINE__, "pread of %zu at %lld returns %zd: %m", len,
			     (long long)off, n);
		done += (size_t)n;
	}
}

void write_pattern(int fd, off_t off, off_t len, uint64_t seed)
{
	char *buf = malloc(CHUNK);

	CHECK(buf);
	for (off_t done = 0; done < len; done += CHUNK) {
		size_t n = (size_t)(len - done < CHUNK ? len - done : CHUNK);

		pattern_fill(buf, n, seed, (uint64_t)(off + done));
		write_all(fd, buf, n, off + done);
	}
	free(buf);
}

void check_pattern(int fd, off_t off, off_t len, uint64_t seed)
{
	char *buf = malloc(CHUNK);
	ssize_t bad;

	CHECK(buf);
	for (off_t done = 0; done < len; done += CHUNK) {
		size_t n = (size_t)(len - done < CHUNK ? len - done : CHUNK);

		read_all(fd, buf, n, off + done);
		bad = pattern_check(buf, n, seed, (uint64_t)(off + done));
		if (bad >= 0)
			fail(__FILE__, __LINE__, "wrong byte 0x%02x at offset %lld",
			     (unsigned char)buf[bad], (long long)(off + done + bad));
	}
	free(buf);
}

void check_zero(int fd, off_t off, off_t len)
{
	char *buf = malloc(CHUNK);

	CHECK(buf);
	for (off_t done = 0; done < len; done += CHUNK) {
		size_t n = (size_t)(len - done < CHUNK ? len - done : CHUNK);

		read_all(fd, buf, n, off + done);
		for (size_t i = 0; i < n; i++)
			if (buf[i])
				fail(__FILE__, __LINE__, "byte 0x%02x, not zero, at offset %lld",
				     (unsigned char)buf[i], (long long)(off + done) + (long long)i);
	}
	free(buf);
}

/* ext4 marks its mappings by DAX as fit for huge pages (hg), FUSE does not. */
static bool marked_huge(const void *map)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	char line[512], begin[32];
	bool here = false, found = false;

	CHECK(f);
	(void)snprintf(begin, sizeof(begin), "%lx-", (unsigned long)map);
	while (fgets(line, sizeof(line), f)) {
		if (!strncmp(line, begin, strlen(begin)))
			here = true;
		if (here && !strncmp(line, "VmFlags:", 8)) {
			found = strstr(line, " hg");
			break;
		}
	}
	(void)fclose(f);
	return found;
}

bool passed_through(int fd)
{
	void *map = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
	bool found;

	if (map == MAP_FAILED)
		return false;
	found = marked_huge(map);
	OK(munmap(map, PAGE));
	return found;
}

int try_passed(const char *name, int flags)
{
	int fd = OK(open(name, flags | O_CLOEXEC));

	for (int i = 0; i < 200 && !passed_through(fd); i++) {
		OK(close(fd));
		(void)usleep(10000);
		fd = OK(open(name, flags | O_CLOEXEC));
	}
	return fd;
}

int open_passed(const char *name, int flags)
{
	int fd = try_passed(name, flags);

	if (!passed_through(fd))
		fail(__FILE__, __LINE__, "%s is not passed through", name);
	return fd;
}

bool create_reopens;

int create_file(const char *name, off_t size, uint64_t seed)
{
	int fd = OK(open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644));

	write_pattern(fd, 0, size, seed);
	if (!create_reopens || size < PAGE)
		return fd;
	OK(close(fd));
	return try_passed(name, O_RDWR);
}

off_t size_of(int fd)
{
	struct stat st;

	OK(fstat(fd, &st));
	return st.st_size;
}

pid_t start(void (*fn)(void *), void *arg)
{
	pid_t pid = OK(fork());

	if (pid)
		return pid;
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	fn(arg);
	_exit(REPORT_OK);
}

void finish(pid_t pid)
{
	int status;

	EQ(waitpid(pid, &status, 0), pid);
	if (WIFSIGNALED(status))
		fail(__FILE__, __LINE__, "a child was killed by signal %d", WTERMSIG(status));
	if (WEXITSTATUS(status))
		_exit(WEXITSTATUS(status)); /* it has reported */
}

struct nobody {
	void (*fn)(void *);
	void *arg;
};

static void become_nobody(void *arg)
{
	struct nobody *n = arg;

	OK(setgroups(0, NULL));
	OK(setgid(NOBODY));
	OK(setuid(NOBODY));
	n->fn(n->arg);
}

void as_nobody(void (*fn)(void *), void *arg)
{
	finish(start(become_nobody, &(struct nobody){ fn, arg }));
}

void need_root(void)
{
	if (geteuid() != 0)
		skip("needs root");
}
