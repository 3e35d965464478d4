// SPDX-License-Identifier: MIT
// Tests of files that vfsdaxfuse passes through: sizes that are fixed, names, descriptors, times.

#include <fcntl.h>
#include <linux/falloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "pass_cases.h"

#define ODD (SIZE + 1000) /* its last page is a copy */

/* A new file of pattern 1, passed through. */
static int passed_file(const char *name, off_t size)
{
	OK(close(create_file(name, size, 1)));
	return open_passed(name, O_RDWR);
}

/* It has this size for all who ask, and this pattern. */
static void check_whole(int fd, const char *name, off_t size, uint64_t seed)
{
	struct stat st;
	char c;

	EQ(size_of(fd), size);
	OK(stat(name, &st));
	EQ(st.st_size, size);
	EQ(lseek(fd, 0, SEEK_END), size);
	check_pattern(fd, 0, size, seed);
	EQ(pread(fd, &c, 1, size), 0);
	EQ(pread(fd, &c, 1, size + 100 * PAGE), 0);
}

/* A write behind the last page gets ENOSPC, and the file stays what it is. */
static void no_growth(void)
{
	static const off_t sizes[] = { SIZE, ODD };
	char buf[2 * PAGE];

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		off_t size = sizes[i], end = (size + PAGE - 1) / PAGE * PAGE;
		int fd = passed_file("f", size), out = OK(open("f", O_WRONLY | O_CLOEXEC));

		FAILS(pwrite(fd, "x", 1, end), ENOSPC);
		check_whole(fd, "f", size, 1);
		FAILS(pwrite(out, "x", 1, end + 1000 * PAGE), ENOSPC);
		check_whole(fd, "f", size, 1);
		OK(lseek(out, end, SEEK_SET));
		FAILS(write(out, buf, sizeof(buf)), ENOSPC);
		check_whole(fd, "f", size, 1);
		OK(close(fd));
		OK(close(out));
		OK(unlink("f"));
	}
}

/* Of a write that begins inside and ends behind the last page, the part inside is made or nothing. */
static void growth_in_part(void)
{
	char buf[2 * PAGE];
	int fd = passed_file("f", SIZE);
	ssize_t n;

	pattern_fill(buf, sizeof(buf), 1, SIZE - PAGE);
	errno = 0;
	n = pwrite(fd, buf, sizeof(buf), SIZE - PAGE);
	CHECK(n == PAGE || (n < 0 && errno == ENOSPC));
	check_whole(fd, "f", SIZE, 1);
}

/* After a write that failed, a read that is not preceded by stat() ends where the file does. */
static void end_after_failed_write(void)
{
	int fd = passed_file("f", SIZE);
	char buf[PAGE];

	FAILS(pwrite(fd, "x", 1, SIZE + 1000 * PAGE), ENOSPC);
	EQ(pread(fd, buf, sizeof(buf), SIZE), 0);
	check_whole(fd, "f", SIZE, 1);
}

/* And the failure stays alone: what is written then is in the file that others open. */
static void write_after_failed_write(void)
{
	int fd = passed_file("f", ODD), other;

	FAILS(pwrite(fd, "x", 1, SIZE + 1000 * PAGE), ENOSPC);
	write_pattern(fd, 0, ODD, 2);
	other = OK(open("f", O_RDONLY | O_CLOEXEC));
	check_whole(other, "f", ODD, 2);
	OK(close(fd));
	OK(close(other));
	other = OK(open("f", O_RDONLY | O_CLOEXEC));
	check_whole(other, "f", ODD, 2);
}

/* A mapping beyond the end has no pages. */
static void load_behind_end(void *arg)
{
	const volatile char *p = arg;

	(void)p[SIZE];
}

static void no_pages_behind_end(void)
{
	int fd = passed_file("f", SIZE), status;
	char *p = map_file(fd, 2 * SIZE, PROT_READ | PROT_WRITE);
	struct rlimit no_core = { 0, 0 };
	pid_t pid;

	OK(setrlimit(RLIMIT_CORE, &no_core));
	EQ(pattern_check(p, SIZE, 1, 0), -1);
	pid = start(load_behind_end, p);
	EQ(waitpid(pid, &status, 0), pid);
	CHECK(WIFSIGNALED(status));
	EQ(WTERMSIG(status), SIGBUS);
	check_whole(fd, "f", SIZE, 1);
}

/* Inside of the last page there is room, by a write and not by a store. */
static void last_page_grows(void)
{
	int fd = passed_file("f", ODD);
	char *p = map_file(fd, ODD, PROT_READ | PROT_WRITE);

	p[ODD] = 'x'; /* behind the end: nobody's */
	EQ(size_of(fd), ODD);
	p[ODD] = 0;
	write_pattern(fd, ODD, 1000, 1);
	check_whole(fd, "f", ODD + 1000, 1);
	EQ(pattern_check(p, ODD + 1000, 1, 0), -1);
	OK(munmap(p, ODD));
	OK(close(fd));
	fd = OK(open("f", O_RDONLY | O_CLOEXEC));
	check_whole(fd, "f", ODD + 1000, 1);
}

/* Behind the end of the last page is nothing of a file that was passed through before. */
static void cleared_tail(void)
{
	int fd = passed_file("other", SIZE + 4000);
	char *p;

	OK(close(fd));
	OK(truncate("other", 0)); /* it is evicted */
	fd = passed_file("f", ODD);
	p = map_file(fd, ODD, PROT_READ);
	for (off_t at = ODD; at % PAGE; at++)
		EQ(p[at], 0);
	OK(munmap(p, ODD));
	/* nor in a gap that a write leaves */
	EQ(OK(pwrite(fd, "x", 1, ODD + 500)), 1);
	check_zero(fd, ODD, 500);
	OK(close(fd));
	fd = OK(open("f", O_RDONLY | O_CLOEXEC));
	EQ(size_of(fd), ODD + 501);
	check_zero(fd, ODD, 500);
}

static void resize_refused(void)
{
	int fd = passed_file("f", SIZE);

	FAILS(ftruncate(fd, 0), EBUSY);
	FAILS(ftruncate(fd, 2 * SIZE), EBUSY);
	FAILS(truncate("f", 100), EBUSY);
	FAILS(open("f", O_RDWR | O_TRUNC | O_CLOEXEC), EBUSY);
	FAILS(fallocate(fd, 0, 0, 2 * SIZE), EBUSY);
	FAILS(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE), EBUSY);
	FAILS(fallocate(fd, FALLOC_FL_ZERO_RANGE, 0, PAGE), EBUSY);
	check_whole(fd, "f", SIZE, 1);
	OK(close(fd));
	OK(truncate("f", 5000));
	fd = OK(open("f", O_RDWR | O_CLOEXEC));
	check_whole(fd, "f", 5000, 1);
}

/* Privileges are refused as long, or a write would leave them. */
static void privileges_refused(void)
{
	static const char cap[20] = { 0, 0, 0, 2 }; /* VFS_CAP_REVISION_2, none */
	int fd = passed_file("f", SIZE);

	FAILS(fchmod(fd, 04755), EBUSY);
	FAILS(chmod("f", 02755), EBUSY);
	FAILS(setxattr("f", "security.capability", cap, sizeof(cap), 0), EBUSY);
	OK(fchmod(fd, 0700));
	OK(close(fd));
	OK(chmod("f", 04755));
	fd = OK(open("f", O_RDWR | O_CLOEXEC));
	CHECK(!passed_through(fd));
}

/* Names come and go while the file is open. */
static void renamed_open(void)
{
	int fd = passed_file("f", ODD), other;

	OK(rename("f", "g"));
	check_whole(fd, "g", ODD, 1);
	OK(link("g", "h"));
	OK(unlink("g"));
	other = OK(open("h", O_RDWR | O_CLOEXEC));
	CHECK(passed_through(other));
	write_pattern(other, 0, ODD, 2);
	check_whole(fd, "h", ODD, 2);
	OK(close(create_file("new", 5000, 3)));
	OK(rename("new", "h"));
	EQ(size_of(fd), ODD);
	check_pattern(other, 0, ODD, 2);
	other = OK(open("h", O_RDONLY | O_CLOEXEC));
	check_whole(other, "h", 5000, 3);
}

static void unlinked_open(void)
{
	int fd = passed_file("f", ODD);
	char *p = map_file(fd, ODD, PROT_READ | PROT_WRITE);
	struct stat st;

	OK(unlink("f"));
	FAILS(stat("f", &st), ENOENT);
	write_pattern(fd, 0, ODD, 2);
	EQ(pattern_check(p, ODD, 2, 0), -1);
	EQ(size_of(fd), ODD);
	OK(close(create_file("f", ODD, 3)));
	EQ(pattern_check(p, ODD, 2, 0), -1);
	OK(close(fd));
	pattern_fill(p, ODD, 4, 0);
	EQ(pattern_check(p, ODD, 4, 0), -1);
	fd = OK(open("f", O_RDONLY | O_CLOEXEC));
	check_whole(fd, "f", ODD, 3);
}

static void coherent_mount(void)
{
	int fd = passed_file("f", SIZE);

	check_coherent(fd, OK(open("f", O_RDONLY | O_CLOEXEC)));
}

static void race_mount(void)
{
	int fd = passed_file("f", SIZE);

	for (int i = 0; i < 5; i++)
		check_race(fd);
}

static void moved_mount(void)
{
	int fd = passed_file("f", SIZE);

	check_moved(fd, OK(open("f", O_RDWR | O_CLOEXEC)));
	check_copied(fd, fd);
	check_copied(fd, OK(open("f", O_RDWR | O_CLOEXEC)));
}

/* The last page, too: in the file it is copied from, and in the one it is copied to. */
static void copied_tail(void)
{
	int from = passed_file("from", ODD), to;
	loff_t in = 0, out = 0;

	OK(close(create_file("to", ODD, 2)));
	to = open_passed("to", O_RDWR);
	write_pattern(from, SIZE, 1000, 3);
	for (ssize_t n = 1; n && in < ODD;)
		n = OK(copy_file_range(from, &in, to, &out, (size_t)(ODD - in), 0));
	EQ(out, ODD);
	check_pattern(to, 0, SIZE, 1);
	check_pattern(to, SIZE, 1000, 3);
	OK(close(to));
	OK(close(from));
	to = OK(open("to", O_RDONLY | O_CLOEXEC));
	EQ(size_of(to), ODD);
	check_pattern(to, 0, SIZE, 1);
	check_pattern(to, SIZE, 1000, 3);
}

/* To a file that is not passed through: what was written to the last page is copied. */
static void copied_from_tail(void)
{
	int from = passed_file("from", ODD),
	    to = OK(open("to", O_RDWR | O_CREAT | O_CLOEXEC, 0644));
	loff_t in = 0, out = 0;

	write_pattern(from, SIZE, 1000, 3);
	for (ssize_t n = 1; n && in < ODD;)
		n = OK(copy_file_range(from, &in, to, &out, (size_t)(ODD - in), 0));
	EQ(out, ODD);
	check_pattern(to, 0, SIZE, 1);
	check_pattern(to, SIZE, 1000, 3);
}

/* To another file, of which the end is where the copy would make it longer. */
static void copy_grows(void)
{
	int from = passed_file("from", SIZE), to;
	loff_t in = 0, out = SIZE;

	OK(close(create_file("to", SIZE, 2)));
	to = open_passed("to", O_RDWR);
	errno = 0;
	CHECK(copy_file_range(from, &in, to, &out, SIZE, 0) < 0);
	CHECK(errno == ENOSPC || errno == EBUSY);
	check_whole(to, "to", SIZE, 2);
}

static void executed_mount(void)
{
	int in = OK(open("/usr/bin/true", O_RDONLY | O_CLOEXEC)), fd;
	struct stat st;
	loff_t done = 0;
	char *p;

	OK(fstat(in, &st));
	fd = OK(open("f", O_RDWR | O_CREAT | O_CLOEXEC, 0755));
	while (done < st.st_size) {
		char buf[PAGE];
		ssize_t n = OK(pread(in, buf, sizeof(buf), done));

		write_all(fd, buf, (size_t)n, done);
		done += n;
	}
	OK(close(fd));
	fd = open_passed("f", O_RDONLY);
	EQ(status_of_program("./f"), 0);
	OK(close(fd));
	fd = open_passed("f", O_RDWR);
	p = map_file(fd, PAGE, PROT_READ);
	EQ(memcmp(p, "\177ELF", 4), 0);
	EQ(status_of_program("./f"), 99); /* ETXTBSY: it is open for writing */
	OK(close(fd));
	EQ(status_of_program("./f"), 0);
}

static void direct_mount(void)
{
	char *buf = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = passed_file("f", ODD), direct = OK(open("f", O_RDWR | O_DIRECT | O_CLOEXEC));

	CHECK(buf != MAP_FAILED);
	read_all(direct, buf, SIZE, 0);
	EQ(pattern_check(buf, SIZE, 1, 0), -1);
	EQ(OK(pread(direct, buf, PAGE, SIZE)), 1000);
	EQ(pattern_check(buf, 1000, 1, SIZE), -1);
	pattern_fill(buf, SIZE, 2, 0);
	write_all(direct, buf, SIZE, 0);
	check_pattern(fd, 0, SIZE, 2);
	OK(close(fd));
	OK(close(direct));
	/* as the first open, too */
	direct = open_passed("f", O_RDWR | O_DIRECT);
	memset(buf, 0, SIZE);
	read_all(direct, buf, SIZE, 0);
	EQ(pattern_check(buf, SIZE, 2, 0), -1);
}

/* O_APPEND that is set later appends, in the last page; taken away it does not. */
static void append_later(void)
{
	int fd = passed_file("f", ODD);

	OK(fcntl(fd, F_SETFL, O_APPEND));
	EQ(OK(write(fd, "TWO", 3)), 3);
	EQ(size_of(fd), ODD + 3);
	OK(fcntl(fd, F_SETFL, 0));
	EQ(OK(pwrite(fd, "x", 1, 0)), 1);
	EQ(size_of(fd), ODD + 3);
}

/* Appended by who opens the file for it while it is passed through, in turn with others. */
static void append_opened(void)
{
	int fd = passed_file("f", ODD), end = OK(open("f", O_WRONLY | O_APPEND | O_CLOEXEC));
	char buf[6];

	EQ(OK(write(end, "ONE", 3)), 3);
	write_all(fd, "two", 3, ODD + 3);
	EQ(OK(write(end, "THREE", 5)), 5);
	EQ(size_of(fd), ODD + 11);
	read_all(fd, buf, 6, ODD);
	EQ(memcmp(buf, "ONEtwo", 6), 0);
	OK(close(end));
	OK(close(fd));
	fd = OK(open("f", O_RDONLY | O_CLOEXEC));
	EQ(size_of(fd), ODD + 11);
	read_all(fd, buf, 5, ODD + 6);
	EQ(memcmp(buf, "THREE", 5), 0);
}

/* Opened for appending, O_APPEND taken away: the kernel appends all the same (doc/passthrough.md). */
static void append_cleared(void)
{
	int fd = passed_file("f", ODD), end = OK(open("f", O_WRONLY | O_APPEND | O_CLOEXEC));

	OK(fcntl(end, F_SETFL, 0));
	EQ(OK(pwrite(end, "x", 1, 0)), 1);
	EQ(size_of(fd), ODD);
}

static void write_half(void *arg)
{
	int fd = OK(open("f", O_RDWR | O_CLOEXEC));

	(void)arg;
	CHECK(passed_through(fd));
	write_pattern(fd, SIZE / 2, SIZE / 2, 2);
}

/* Each of two processes writes half of the file, one by a mapping. */
static void two_processes(void)
{
	int fd = passed_file("f", SIZE);
	pid_t pid = start(write_half, NULL);
	char *p = map_file(fd, SIZE, PROT_READ | PROT_WRITE);

	pattern_fill(p, SIZE / 2, 2, 0);
	finish(pid);
	EQ(pattern_check(p, SIZE, 2, 0), -1);
	check_whole(fd, "f", SIZE, 2);
}

static void use_inherited(void *arg)
{
	const int *fd = arg;
	char c, *p = map_file(fd[0], ODD, PROT_READ | PROT_WRITE);

	EQ(OK(read(fd[1], &c, 1)), 0); /* the parent has closed its own */
	CHECK(passed_through(fd[0]));
	EQ(pattern_check(p, ODD, 1, 0), -1);
	write_pattern(fd[0], 0, ODD, 2);
	EQ(pattern_check(p, ODD, 2, 0), -1);
}

/* A child goes on with the descriptor after the parent has closed it. */
static void forked(void)
{
	int pipes[2], fd[2] = { passed_file("f", ODD) };
	pid_t pid;

	OK(pipe2(pipes, O_CLOEXEC));
	fd[1] = OK(dup(pipes[0]));
	pid = OK(fork());
	if (pid == 0) {
		OK(close(pipes[1]));
		use_inherited(fd);
		_exit(0);
	}
	OK(close(fd[0]));
	OK(close(pipes[1]));
	finish(pid);
	fd[0] = OK(open("f", O_RDONLY | O_CLOEXEC));
	check_whole(fd[0], "f", ODD, 2);
}

static void send_file(void *arg)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 }, c = 'f';
	struct iovec v = { &c, 1 };
	struct msghdr m = { .msg_iov = &v,
			    .msg_iovlen = 1,
			    .msg_control = control,
			    .msg_controllen = sizeof(control) };
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);
	int fd = passed_file("f", ODD);

	h->cmsg_level = SOL_SOCKET;
	h->cmsg_type = SCM_RIGHTS;
	h->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(h), &fd, sizeof(fd));
	EQ(OK(sendmsg(*(int *)arg, &m, 0)), 1);
}

/* A descriptor outlives the process that has opened the file and sent it; it may be underway, too. */
static void sent_descriptor(void)
{
	char control[CMSG_SPACE(sizeof(int))], c;
	struct iovec v = { &c, 1 };
	struct msghdr m = { .msg_iov = &v,
			    .msg_iovlen = 1,
			    .msg_control = control,
			    .msg_controllen = sizeof(control) };
	int pair[2], fd;
	char *p;

	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	finish(start(send_file, &pair[1]));
	EQ(OK(recvmsg(pair[0], &m, MSG_CMSG_CLOEXEC)), 1);
	CHECK(CMSG_FIRSTHDR(&m));
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(fd));
	CHECK(passed_through(fd));
	check_whole(fd, "f", ODD, 1);
	p = map_file(fd, ODD, PROT_READ | PROT_WRITE);
	write_pattern(fd, 0, ODD, 2);
	EQ(pattern_check(p, ODD, 2, 0), -1);
}

static bool later(struct timespec a, struct timespec b)
{
	return a.tv_sec != b.tv_sec ? a.tv_sec > b.tv_sec : a.tv_nsec > b.tv_nsec;
}

/* Writes move mtime and ctime at once; stores do at msync and close. */
static void times_mount(void)
{
	int fd = passed_file("f", SIZE);
	struct stat first, written, stored;
	char *p;

	OK(fstat(fd, &first));
	(void)usleep(20000);
	write_all(fd, "x", 1, 0);
	OK(fstat(fd, &written));
	CHECK(later(written.st_mtim, first.st_mtim));
	CHECK(later(written.st_ctim, first.st_ctim));
	p = map_file(fd, SIZE, PROT_READ | PROT_WRITE);
	(void)usleep(20000);
	p[5000] ^= 1;
	OK(msync(p, SIZE, MS_SYNC));
	OK(munmap(p, SIZE));
	OK(close(fd));
	OK(stat("f", &stored));
	CHECK(later(stored.st_mtim, written.st_mtim));
	CHECK(later(stored.st_ctim, written.st_ctim));
	/* and what is only read moves nothing */
	fd = open_passed("f", O_RDWR);
	(void)OK(pread(fd, p = (char[1]){ 0 }, 1, 0));
	OK(close(fd));
	OK(stat("f", &first));
	CHECK(!later(first.st_mtim, stored.st_mtim));
}

/* A time that a program sets stays, whatever was written before. */
static void set_time_stays(void)
{
	const struct timespec want[2] = { { 1000000000, 0 }, { 1000000000, 5000 } };
	int fd = passed_file("f", SIZE);
	struct stat st;

	write_all(fd, "x", 1, 0);
	OK(futimens(fd, want));
	OK(fstat(fd, &st));
	EQ(st.st_mtim.tv_sec, 1000000000);
	OK(close(fd));
	OK(stat("f", &st));
	EQ(st.st_mtim.tv_sec, 1000000000);
	EQ(st.st_mtim.tv_nsec, 5000);
}

static void write_over_limit(void *arg)
{
	struct rlimit limit = { SIZE / 2, SIZE / 2 };
	int fd = *(int *)arg;
	char buf[10];

	(void)signal(SIGXFSZ, SIG_IGN);
	OK(setrlimit(RLIMIT_FSIZE, &limit));
	FAILS(pwrite(fd, "x", 1, SIZE / 2), EFBIG);
	pattern_fill(buf, sizeof(buf), 1, SIZE / 2 - 5);
	EQ(OK(pwrite(fd, buf, sizeof(buf), SIZE / 2 - 5)), 5);
}

static void limit_mount(void)
{
	int fd = passed_file("f", SIZE);

	finish(start(write_over_limit, &fd));
	check_whole(fd, "f", SIZE, 1);
}

const struct test pass_mount_tests[] = {
	{ "no_growth", no_growth },
	{ "growth_in_part", growth_in_part },
	{ "end_after_failed_write", end_after_failed_write },
	{ "write_after_failed_write", write_after_failed_write },
	{ "no_pages_behind_end", no_pages_behind_end },
	{ "last_page_grows", last_page_grows },
	{ "cleared_tail", cleared_tail },
	{ "resize_refused", resize_refused },
	{ "privileges_refused", privileges_refused },
	{ "renamed_open", renamed_open },
	{ "unlinked_open", unlinked_open },
	{ "coherent_mount", coherent_mount },
	{ "race_mount", race_mount },
	{ "moved_mount", moved_mount },
	{ "copied_tail", copied_tail },
	{ "copied_from_tail", copied_from_tail },
	{ "copy_grows", copy_grows },
	{ "executed_mount", executed_mount },
	{ "direct_mount", direct_mount },
	{ "append_later", append_later },
	{ "append_opened", append_opened },
	{ "append_cleared", append_cleared },
	{ "two_processes", two_processes },
	{ "forked", forked },
	{ "sent_descriptor", sent_descriptor },
	{ "times_mount", times_mount },
	{ "set_time_stays", set_time_stays },
	{ "limit_mount", limit_mount },
	{ NULL, NULL },
};
