// SPDX-License-Identifier: MIT
// Tests of FUSE passthrough: coherence, growth, append, rights, and the calls that move data.

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "pass_cases.h"

#define RACE_PAGES  64
#define RACE_ROUNDS 20

static const int ways[] = { PASS, BOTH };

void check_coherent(int fd, int other)
{
	char buf[5], *p;

	p = map_file(fd, SIZE, PROT_READ | PROT_WRITE);
	memcpy(p + 5000, "STORE", 5);
	read_all(fd, buf, 5, 5000);
	EQ(memcmp(buf, "STORE", 5), 0);
	read_all(other, buf, 5, 5000);
	EQ(memcmp(buf, "STORE", 5), 0);
	write_all(fd, "WRITE", 5, 9000);
	EQ(memcmp(p + 9000, "WRITE", 5), 0);
	p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	CHECK(p != MAP_FAILED);
	EQ(memcmp(p + 9000, "WRITE", 5), 0);
	p[9000] = 'X';
	read_all(fd, buf, 5, 9000);
	EQ(buf[0], 'W');
	CHECK(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, other, 0) == MAP_FAILED);
	EQ(errno, EACCES);
}

static void coherent(int way)
{
	int fd;

	begin();
	fd = OK(open_as(way, "a", O_RDWR));
	check_coherent(fd, OK(open_as(PASS, "a", O_RDONLY)));
}

static void coherent_plain(void)
{
	coherent(PASS);
}

static void coherent_both(void)
{
	coherent(BOTH);
}

static struct {
	char *map;
	int fd;
	atomic_int stored, written;
} race;

static void meet(atomic_int *mine, atomic_int *other, int i)
{
	atomic_store(mine, i + 1);
	while (atomic_load(other) < i + 1)
		;
}

static void *race_stores(void *arg)
{
	for (int i = 0; i < RACE_PAGES; i++) {
		meet(&race.stored, &race.written, i);
		*(volatile char *)(race.map + i * PAGE + 3072) = 2;
	}
	return arg;
}

void check_race(int fd)
{
	pthread_t thread;

	race.fd = fd;
	write_pattern(race.fd, 0, RACE_PAGES * PAGE, 1);
	race.map = map_file(race.fd, RACE_PAGES * PAGE, PROT_READ | PROT_WRITE);
	race.stored = race.written = 0;
	EQ(pthread_create(&thread, NULL, race_stores, NULL), 0);
	for (int i = 0; i < RACE_PAGES; i++) {
		meet(&race.written, &race.stored, i);
		write_all(race.fd, "\1", 1, i * PAGE + 1024);
	}
	EQ(pthread_join(thread, NULL), 0);
	OK(munmap(race.map, RACE_PAGES * PAGE));
	for (int i = 0; i < RACE_PAGES; i++) {
		char c;

		read_all(race.fd, &c, 1, i * PAGE + 1024);
		EQ(c, 1);
		read_all(race.fd, &c, 1, i * PAGE + 3072);
		EQ(c, 2);
	}
}

static void race_in_one_page(int way)
{
	begin();
	for (int round = 0; round < RACE_ROUNDS; round++) {
		int fd = OK(open_as(way, "a", O_RDWR));

		check_race(fd);
		OK(close(fd));
	}
}

static void race_plain(void)
{
	race_in_one_page(PASS);
}

static void race_both(void)
{
	race_in_one_page(BOTH);
}

/* The server makes the backing file longer: seen by read at once, by stat when attributes are asked
 * for. */
static void grown_by_server(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		char c, *p;
		int fd;

		begin();
		fd = OK(open_as(ways[i], "a", O_RDWR));
		p = map_file(fd, 2 * SIZE, PROT_READ | PROT_WRITE);
		tell("user.grow", "2097152");
		EQ(OK(pread(fd, &c, 1, 2 * SIZE - 1)), 1);
		EQ(c, 0);
		p[2 * SIZE - 1] = 7; /* of the mapping that was longer than the file */
		EQ(size_of(fd), 2 * SIZE);
		read_all(fd, &c, 1, 2 * SIZE - 1);
		EQ(c, 7);
		write_pattern(fd, SIZE, SIZE, 2);
		EQ(pattern_check(p + SIZE, SIZE, 2, SIZE), -1);
		OK(munmap(p, 2 * SIZE));
		OK(close(fd));
	}
}

/*
 * A kernel that may keep attributes goes by the old size in stat and lseek; a read goes by the
 * backing file's, and makes the kernel ask again.
 */
static void grown_with_kept_attributes(void)
{
	char c, backing[256];
	int fd;

	begin();
	tell("user.valid", "1000");
	fd = OK(open_as(PASS, "a", O_RDWR));
	(void)snprintf(backing, sizeof(backing), "%s", backing_of("a"));
	EQ(size_of(fd), SIZE);
	OK(truncate(backing, 2 * SIZE)); /* tell() would make the kernel ask again */
	EQ(size_of(fd), SIZE);
	EQ(lseek(fd, 0, SEEK_END), SIZE);
	EQ(OK(pread(fd, &c, 1, 2 * SIZE - 1)), 1);
	EQ(size_of(fd), 2 * SIZE);
}

/* A write behind the end makes the backing file longer, and nobody asks the server, if there is
 * room. */
static void grown_by_writer(void)
{
	struct stat st;
	long writes, setattrs;
	int fd;

	begin();
	tell("user.valid", "1000");
	fd = OK(open_as(PASS, "a", O_RDWR));
	writes = asked("write");
	setattrs = asked("setattr");
	write_all(fd, "GROWN", 5, SIZE + 8192);
	EQ(asked("write"), writes);
	EQ(asked("setattr"), setattrs);
	EQ(size_of(fd), SIZE + 8192 + 5);
	OK(stat(backing_of("a"), &st));
	EQ(st.st_size, SIZE + 8192 + 5);
	check_zero(fd, SIZE, 8192);
}

/* O_APPEND goes by the end of the backing file, whatever the kernel takes for the size. */
static void appended(void)
{
	int fd;

	begin();
	tell("user.valid", "1000");
	fd = OK(open_as(PASS, "a", O_RDWR | O_APPEND));
	EQ(size_of(fd), SIZE);
	tell("user.grow", "1048676"); /* SIZE + 100 */
	EQ(OK(write(fd, "ONE", 3)), 3);
	EQ(size_of(fd), SIZE + 103);
	check_zero(fd, SIZE, 100);
}

/* O_APPEND that is set later by F_SETFL works. */
static void append_set_later(void)
{
	int fd;

	begin();
	fd = OK(open_as(PASS, "a", O_RDWR));
	OK(fcntl(fd, F_SETFL, O_APPEND));
	EQ(OK(write(fd, "TWO", 3)), 3);
	EQ(size_of(fd), SIZE + 3);
	OK(fcntl(fd, F_SETFL, 0));
	EQ(OK(pwrite(fd, "x", 1, 0)), 1);
	EQ(size_of(fd), SIZE + 3);
}

/*
 * O_APPEND that is taken away later does not go: the backing file was opened with it and keeps it,
 * and writes go to the end instead of where they should. A fault of the kernel's; so a file opened
 * with O_APPEND is not to be passed through for writing.
 */
static void append_stays(void)
{
	int fd;

	begin();
	fd = OK(open_as(PASS, "a", O_RDWR | O_APPEND));
	OK(fcntl(fd, F_SETFL, 0));
	EQ(OK(pwrite(fd, "x", 1, 0)), 1);
	EQ(size_of(fd), SIZE + 1);
	check_pattern(fd, 0, SIZE, 1);
}

/* With FOPEN_DIRECT_IO the append is the server's, at the offset that the kernel has chosen. */
static void appended_both(void)
{
	long writes;
	int fd;

	begin();
	fd = OK(open_as(BOTH, "a", O_RDWR | O_APPEND));
	tell("user.grow", "1048676");
	writes = asked("write");
	EQ(OK(write(fd, "ONE", 3)), 3);
	EQ(asked("write"), writes + 1);
	EQ(size_of(fd), SIZE + 103); /* as the attributes were asked for before */
}

/* After a write the kernel asks for the attributes again, after a store it does not know. */
static void times_after_writes(void)
{
	struct stat before, after;
	char *p;
	int fd;

	begin();
	tell("user.valid", "1000");
	fd = OK(open_as(PASS, "a", O_RDWR));
	OK(fstat(fd, &before));
	(void)usleep(20000);
	write_all(fd, "x", 1, 0);
	OK(fstat(fd, &after));
	CHECK(after.st_mtim.tv_sec > before.st_mtim.tv_sec ||
	      after.st_mtim.tv_nsec > before.st_mtim.tv_nsec);
	p = map_file(fd, SIZE, PROT_READ | PROT_WRITE);
	OK(fstat(fd, &after)); /* mmap() counts as an access, and makes it ask */
	(void)usleep(20000);
	p[0] = 'y';
	OK(fstat(fd, &before));
	EQ(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
	OK(stat(backing_of("a"), &before));
	CHECK(before.st_mtim.tv_sec > after.st_mtim.tv_sec ||
	      before.st_mtim.tv_nsec > after.st_mtim.tv_nsec);
}

static void write_one(void *arg)
{
	int fd = OK(open("a", O_RDWR));

	(void)arg;
	write_all(fd, "x", 1, 0);
}

static mode_t mode_of(const char *name)
{
	struct stat st;

	OK(stat(name, &st));
	return st.st_mode & 07777;
}

/* A stranger's write takes the set-id bits: the kernel asks the server to take them, before it
 * writes. */
static void set_id_dropped(void)
{
	long setattrs;

	begin();
	OK(chmod("a", 06777));
	EQ(mode_of("a"), 06777);
	setattrs = asked("setattr");
	as_nobody(write_one, NULL);
	EQ(asked("setattr"), setattrs + 1);
	EQ(mode_of("a"), 0777);
}

/* With FOPEN_DIRECT_IO, too, it is told with the write (FUSE_WRITE_KILL_SUIDGID). */
static void set_id_dropped_both(void)
{
	long setattrs, kills;

	begin();
	answer(BOTH);
	OK(chmod("a", 06777));
	setattrs = asked("setattr");
	kills = asked("kill");
	as_nobody(write_one, NULL);
	EQ(asked("setattr"), setattrs);
	EQ(asked("kill"), kills + 1);
	EQ(mode_of("a"), 0777);
}

/* Before each write the kernel asks for security.capability, as of any file system that does not
 * say it need not. */
static void each_write_asks(void)
{
	long asks;
	int fd;

	begin();
	fd = OK(open_as(PASS, "a", O_RDWR));
	asks = asked("capability");
	for (int i = 0; i < 100; i++)
		write_all(fd, "x", 1, i);
	EQ(asked("capability"), asks + 100);
}

/* With FUSE_HANDLE_KILLPRIV_V2 it asks once after each time that it has got the attributes. */
static void killpriv_asks_once(void)
{
	long asks;
	int fd;

	begin();
	fd = OK(open_as(PASS, "a", O_RDWR));
	asks = asked("capability"); /* which brings the attributes */
	for (int i = 0; i < 100; i++)
		write_all(fd, "x", 1, i);
	asks = asked("capability") - asks;
	CHECK(asks <= 1);
}

/*
 * And leaves set-id bits to a server that does not hear of the write: they stay. With
 * FOPEN_DIRECT_IO it tells with the write.
 */
static void killpriv_drops_set_id(void)
{
	begin();
	OK(chmod("a", 06777));
	as_nobody(write_one, NULL);
	EQ(mode_of("a"), 0777);
}

static void killpriv_drops_set_id_both(void)
{
	begin();
	answer(BOTH);
	OK(chmod("a", 06777));
	as_nobody(write_one, NULL);
	EQ(mode_of("a"), 0777);
}

/*
 * The backing file is written with the rights of the one who registered it: a stranger writes to a
 * file that only root may write; its set-id bits stay when root, who may keep them, has registered
 * it, and go when nobody has.
 */
static void written_as_registrar(void)
{
	char backing[256];

	begin();
	(void)snprintf(backing, sizeof(backing), "%s", backing_of("a"));
	OK(chmod(backing, 06711));
	as_nobody(write_one, NULL);
	EQ(mode_of(backing), 06711);
	tell("user.register", "nobody");
	as_nobody(write_one, NULL);
	EQ(mode_of(backing), 0711);
	OK(chmod(backing, 0600));
}

static void write_too_far(void *arg)
{
	struct rlimit limit = { SIZE, SIZE };
	int fd;

	(void)arg;
	(void)signal(SIGXFSZ, SIG_IGN);
	OK(setrlimit(RLIMIT_FSIZE, &limit));
	fd = OK(open("a", O_RDWR));
	FAILS(pwrite(fd, "x", 1, SIZE), EFBIG);
	EQ(OK(pwrite(fd, "xy", 2, SIZE - 1)), 1);
}

/* The limit of a file's size is the writer's. */
static void limit_of_writer(void)
{
	begin();
	finish(start(write_too_far, NULL));
}

/* The kernel opens the backing file anew, with the flags of the open: how it was registered does
 * not matter. */
static void registered_read_only(void)
{
	int fd;

	begin();
	tell("user.register", "ro");
	fd = OK(open_as(PASS, "a", O_RDWR));
	write_all(fd, "x", 1, 0);
	OK(close(fd));
	fd = OK(open_as(PASS, "a", O_RDONLY));
	FAILS(pwrite(fd, "x", 1, 0), EBADF);
}

static void direct_open(void)
{
	char *buf = aligned_alloc(PAGE, SIZE);
	int fd;

	CHECK(buf);
	begin();
	fd = OK(open_as(PASS, "a", O_RDWR | O_DIRECT));
	read_all(fd, buf, SIZE, 0);
	EQ(pattern_check(buf, SIZE, 1, 0), -1);
	pattern_fill(buf, SIZE, 2, 0);
	write_all(fd, buf, SIZE, 0);
	check_pattern(OK(open("a", O_RDONLY)), 0, SIZE, 2);
}

void check_moved(int fd, int out)
{
	char buf[PAGE];
	int pipes[2], memory = OK(memfd_create("moved", MFD_CLOEXEC));
	loff_t from = 4096, to = 65536;
	off_t begin_at = 0;

	for (off_t done = 0; done < SIZE;)
		done += OK(sendfile(memory, fd, &begin_at, (size_t)(SIZE - done)));
	check_pattern(memory, 0, SIZE, 1);
	OK(pipe(pipes));
	EQ(OK(splice(fd, &from, pipes[1], NULL, sizeof(buf), 0)), sizeof(buf));
	EQ(OK(splice(pipes[0], NULL, out, &to, sizeof(buf), 0)), sizeof(buf));
	read_all(fd, buf, sizeof(buf), 65536);
	EQ(pattern_check(buf, sizeof(buf), 1, 4096), -1);
	OK(close(memory));
}

void check_copied(int fd, int out)
{
	int memory = OK(memfd_create("copied", MFD_CLOEXEC));
	loff_t from = 8192, to = 131072;
	char buf[PAGE];

	EQ(OK(copy_file_range(fd, &from, out, &to, sizeof(buf), 0)), sizeof(buf));
	read_all(out, buf, sizeof(buf), 131072);
	EQ(pattern_check(buf, sizeof(buf), 1, 8192), -1);
	from = 0;
	to = 0;
	FAILS(copy_file_range(fd, &from, memory, &to, sizeof(buf), 0), EXDEV);
	OK(close(memory));
}

static void moved(void)
{
	int fd, out;
	long reads;

	begin();
	fd = OK(open_as(PASS, "a", O_RDWR));
	out = OK(open_as(PASS, "a", O_RDWR));
	reads = asked("read");
	check_moved(fd, out);
	EQ(asked("read"), reads);
	/* Within the mount the server is asked first; it declines, and the kernel copies. */
	check_copied(fd, out);
	CHECK(asked("copy") > 0);
}

int status_of_program(const char *path)
{
	int status;
	pid_t pid = OK(fork());

	if (pid == 0) {
		(void)execl(path, "true", NULL);
		_exit(99);
	}
	EQ(waitpid(pid, &status, 0), pid);
	CHECK(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void executed(void)
{
	int in = OK(open("/usr/bin/true", O_RDONLY)), fd;
	struct stat st;

	begin();
	OK(chmod("a", 0755));
	fd = OK(open_as(PASS, "a", O_RDWR));
	OK(fstat(in, &st));
	for (off_t done = 0; done < st.st_size;)
		done += OK(sendfile(fd, in, NULL, (size_t)(st.st_size - done)));
	OK(ftruncate(fd, st.st_size));
	OK(close(fd));
	EQ(status_of_program("./a"), 0);
}

/* w: all blocks of its file system are used, and so it cannot grow by any way. */
static void window_cannot_grow(void)
{
	int fd = OK(open_as(PASS, "w", O_RDWR));
	off_t size = size_of(fd), whole = (size + PAGE - 1) / PAGE * PAGE;

	FAILS(pwrite(fd, "x", 1, whole), ENOSPC);
	FAILS(pwrite(fd, "x", 1, whole + 1000 * PAGE), ENOSPC);
	OK(truncate(backing_of("w"), size)); /* see failed_write_keeps_size */
	/* Inside of the last block there is room, which the file has already. */
	EQ(OK(pwrite(fd, "x", 1, size)), 1);
	EQ(size_of(fd), size + 1);
	OK(ftruncate(fd, size));
	EQ(OK(pwrite(fd, "x", 1, size - 1)), 1);
}

/* ext4 with DAX adds the error's number to the offset, and takes that for the new size. */
static void failed_write_keeps_size(void)
{
	int fd = OK(open_as(PASS, "w", O_RDWR));
	off_t size = size_of(fd), after;

	FAILS(pwrite(fd, "x", 1, size + 1000 * PAGE), ENOSPC);
	after = size_of(fd);
	OK(truncate(backing_of("w"), size));
	EQ(after - size, 0);
}

static void window_coherent(void)
{
	int fd = OK(open_as(PASS, "w", O_RDWR));
	off_t size = size_of(fd);
	char *p = map_file(fd, (size_t)size, PROT_READ | PROT_WRITE), c;

	for (off_t at = 0; at < size; at += size / 50) {
		char old = p[at];

		p[at] = (char)(old + 1);
		read_all(fd, &c, 1, at);
		EQ(c, (char)(old + 1));
		write_all(fd, &old, 1, at);
		EQ(p[at], old);
	}
}

const struct test pass_data_tests[] = {
	{ "coherent_plain", coherent_plain },
	{ "coherent_both", coherent_both },
	{ "race_plain", race_plain },
	{ "race_both", race_both },
	{ "grown_by_server", grown_by_server },
	{ "grown_with_kept_attributes", grown_with_kept_attributes },
	{ "grown_by_writer", grown_by_writer },
	{ "appended", appended },
	{ "append_set_later", append_set_later },
	{ "append_stays", append_stays },
	{ "appended_both", appended_both },
	{ "times_after_writes", times_after_writes },
	{ "set_id_dropped", set_id_dropped },
	{ "set_id_dropped_both", set_id_dropped_both },
	{ "each_write_asks", each_write_asks },
	{ "written_as_registrar", written_as_registrar },
	{ "limit_of_writer", limit_of_writer },
	{ "registered_read_only", registered_read_only },
	{ "direct_open", direct_open },
	{ "moved", moved },
	{ "executed", executed },
	{ NULL, NULL },
};

const struct test pass_window_tests[] = {
	{ "window_cannot_grow", window_cannot_grow },
	{ "failed_write_keeps_size", failed_write_keeps_size },
	{ "window_coherent", window_coherent },
	{ NULL, NULL },
};

const struct test pass_killpriv_tests[] = {
	{ "killpriv_asks_once", killpriv_asks_once },
	{ "killpriv_drops_set_id", killpriv_drops_set_id },
	{ "killpriv_drops_set_id_both", killpriv_drops_set_id_both },
	{ NULL, NULL },
};
