// SPDX-License-Identifier: MIT
// Fidelity: locks between processes of one guest.

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fidelity.h"

static struct flock range(short type, off_t from, off_t len)
{
	return (struct flock){ .l_type = type, .l_whence = SEEK_SET, .l_start = from, .l_len = len };
}

/* One child, told what to do by a byte, tells back that it has it. */
struct other {
	pid_t pid;
	int to[2], from[2];
	void (*fn)(void);
};

static void other_main(void *arg)
{
	struct other *o = arg;
	char c = 1;

	OK(close(o->to[1]));
	OK(close(o->from[0]));
	o->fn();
	EQ(write(o->from[1], &c, 1), 1);
	EQ(read(o->to[0], &c, 1), 1);
}

static void other_start(struct other *o, void (*fn)(void))
{
	o->fn = fn;
	OK(pipe(o->to));
	OK(pipe(o->from));
	o->pid = start(other_main, o);
	OK(close(o->to[0]));
	OK(close(o->from[1]));
}

/* other_has() - has it got that far within this time? */
static bool other_has(struct other *o, int ms)
{
	struct pollfd p = { .fd = o->from[0], .events = POLLIN };
	char c;

	return poll(&p, 1, ms) == 1 && read(o->from[0], &c, 1) == 1;
}

static void other_end(struct other *o)
{
	EQ(write(o->to[1], "", 1), 1); /* its end would not do: later children hold it, too */
	finish(o->pid);
	OK(close(o->to[1]));
	OK(close(o->from[0]));
}

static void hold_flock_shared(void)
{
	OK(flock(OK(open("f", O_RDONLY)), LOCK_SH));
}

static void hold_flock(void)
{
	OK(flock(OK(open("f", O_RDONLY)), LOCK_EX));
}

static void flock_excludes(void)
{
	int fd = create_file("f", 100, 1);
	struct other o;

	other_start(&o, hold_flock_shared);
	CHECK(other_has(&o, 20000));
	FAILS(flock(fd, LOCK_EX | LOCK_NB), EWOULDBLOCK);
	OK(flock(fd, LOCK_SH | LOCK_NB));
	OK(flock(fd, LOCK_UN));
	other_end(&o); /* which ends the process, and its lock with it */
	/* Without LOCK_NB: FUSE tells its server of the end of an open file, but does not wait for
	 * it. */
	OK(flock(fd, LOCK_EX));
}

static void flock_waits(void)
{
	int fd = create_file("f", 100, 1);
	struct other o;

	OK(flock(fd, LOCK_EX));
	other_start(&o, hold_flock);
	CHECK(!other_has(&o, 300));
	OK(flock(fd, LOCK_UN));
	CHECK(other_has(&o, 20000));
	other_end(&o);
}

/* A lock belongs to the open file: a duplicate holds it, too. */
static void flock_of_open_file(void)
{
	int fd = create_file("f", 100, 1), two = OK(dup(fd)), other = OK(open("f", O_RDONLY));

	OK(flock(fd, LOCK_EX));
	OK(flock(two, LOCK_EX | LOCK_NB));
	FAILS(flock(other, LOCK_SH | LOCK_NB), EWOULDBLOCK);
	OK(close(fd));
	FAILS(flock(other, LOCK_SH | LOCK_NB), EWOULDBLOCK);
	OK(close(two));
	OK(flock(other, LOCK_SH)); /* soon: see flock_excludes */
}

static void hold_range(void)
{
	struct flock l = range(F_WRLCK, 100, 100);

	OK(fcntl(OK(open("f", O_RDWR)), F_SETLK, &l));
}

static void posix_ranges(void)
{
	int fd = create_file("f", 1000, 1);
	struct flock l = range(F_WRLCK, 0, 0);
	struct other o;

	other_start(&o, hold_range);
	CHECK(other_has(&o, 20000));
	FAILS(fcntl(fd, F_SETLK, &l), EAGAIN);
	OK(fcntl(fd, F_GETLK, &l));
	EQ(l.l_type, F_WRLCK);
	EQ(l.l_start, 100);
	EQ(l.l_len, 100);
	EQ(l.l_pid, o.pid);
	l = range(F_WRLCK, 0, 100);
	OK(fcntl(fd, F_SETLK, &l));
	l = range(F_RDLCK, 200, 0);
	OK(fcntl(fd, F_SETLK, &l));
	l = range(F_RDLCK, 150, 1);
	FAILS(fcntl(fd, F_SETLK, &l), EAGAIN);
	other_end(&o);
	OK(fcntl(fd, F_SETLK, &l));
}

static void wait_range(void)
{
	struct flock l = range(F_WRLCK, 0, 10);

	OK(fcntl(OK(open("f", O_RDWR)), F_SETLKW, &l));
}

/* Closing any descriptor of the file gives the process's locks up. */
static void posix_waits(void)
{
	int fd = create_file("f", 1000, 1), two = OK(open("f", O_RDONLY));
	struct flock l = range(F_WRLCK, 0, 10);
	struct other o;

	OK(fcntl(fd, F_SETLK, &l));
	other_start(&o, wait_range);
	CHECK(!other_has(&o, 300));
	OK(close(two));
	CHECK(other_has(&o, 20000));
	FAILS(fcntl(fd, F_SETLK, &l), EAGAIN);
	other_end(&o);
}

/* Who is killed while it waits ends, and gets nothing later. */
static void lock_killed(void)
{
	int fd = create_file("f", 1000, 1), status;
	struct flock l = range(F_WRLCK, 0, 10);
	struct other o;

	OK(fcntl(fd, F_SETLK, &l));
	other_start(&o, wait_range);
	CHECK(!other_has(&o, 300));
	OK(kill(o.pid, SIGKILL));
	EQ(waitpid(o.pid, &status, 0), o.pid);
	EQ(WIFSIGNALED(status) ? WTERMSIG(status) : 0, SIGKILL);
	l.l_type = F_UNLCK;
	OK(fcntl(fd, F_SETLK, &l));
	other_start(&o, wait_range);
	CHECK(other_has(&o, 20000));
	other_end(&o);
}

static void on_alarm(int sig)
{
	(void)sig;
}

static void lock_interrupted(void)
{
	struct sigaction sa = { .sa_handler = on_alarm };
	struct itimerspec in = { .it_value = { 0, 200000000 }, .it_interval = { 0, 200000000 } };
	struct flock l = range(F_WRLCK, 100, 10);
	int fd = create_file("f", 1000, 1);
	struct other o;
	timer_t t;

	other_start(&o, hold_range);
	CHECK(other_has(&o, 20000));
	OK(sigaction(SIGALRM, &sa, NULL));
	OK(timer_create(CLOCK_MONOTONIC, NULL, &t));
	OK(timer_settime(t, 0, &in, NULL));
	FAILS(fcntl(fd, F_SETLKW, &l), EINTR);
	OK(timer_delete(t));
	other_end(&o);
}

static void lock_two_then_one(void)
{
	struct flock l = range(F_WRLCK, 1, 1);
	int fd = OK(open("f", O_RDWR));

	OK(fcntl(fd, F_SETLK, &l));
	l.l_start = 0;
	OK(fcntl(fd, F_SETLKW, &l));
}

/* Each waits for what the other has: one of them must be told. */
static void posix_deadlock(void)
{
	struct flock l = range(F_WRLCK, 0, 1);
	int fd = create_file("f", 10, 1);
	struct other o;

	OK(fcntl(fd, F_SETLK, &l));
	other_start(&o, lock_two_then_one);
	CHECK(!other_has(&o, 300));
	l.l_start = 1;
	FAILS(fcntl(fd, F_SETLKW, &l), EDEADLK);
	l.l_start = 0;
	l.l_type = F_UNLCK;
	OK(fcntl(fd, F_SETLK, &l));
	CHECK(other_has(&o, 20000));
	other_end(&o);
}

/* Locks of open files: two of one process exclude each other. */
static void ofd_locks(void)
{
	int fd = create_file("f", 1000, 1), two = OK(open("f", O_RDWR)), copy = OK(dup(fd));
	struct flock l = range(F_WRLCK, 0, 10);

	CAN(fcntl(fd, F_OFD_SETLK, &l));
	FAILS(fcntl(two, F_OFD_SETLK, &l), EAGAIN);
	l = range(F_WRLCK, 5, 1);
	OK(fcntl(two, F_OFD_GETLK, &l));
	EQ(l.l_type, F_WRLCK);
	EQ(l.l_pid, -1);
	OK(close(fd));
	l = range(F_WRLCK, 0, 10);
	FAILS(fcntl(two, F_OFD_SETLK, &l), EAGAIN);
	OK(close(copy));
	OK(fcntl(two, F_OFD_SETLKW, &l)); /* soon: see flock_excludes */
}

static void lock_modes(void)
{
	struct flock l = range(F_WRLCK, 0, 10);
	int ro;

	OK(close(create_file("f", 10, 1)));
	ro = OK(open("f", O_RDONLY));
	FAILS(fcntl(ro, F_SETLK, &l), EBADF);
	l.l_type = F_RDLCK;
	OK(fcntl(ro, F_SETLK, &l));
	l.l_start = -1;
	FAILS(fcntl(ro, F_SETLK, &l), EINVAL);
	FAILS(flock(ro, 0), EINVAL);
}

/* More waiters than the daemon has threads: other work goes on. */
static void many_wait(void)
{
	int fd = create_file("f", 100, 1), g;
	pid_t pid[24];
	struct other o[ARRAY_SIZE(pid)];

	OK(flock(fd, LOCK_EX));
	for (size_t i = 0; i < ARRAY_SIZE(pid); i++)
		other_start(&o[i], hold_flock_shared);
	CHECK(!other_has(&o[0], 300));
	g = create_file("g", 100000, 2);
	check_pattern(g, 0, 100000, 2);
	OK(unlink("g"));
	OK(flock(fd, LOCK_UN));
	for (size_t i = 0; i < ARRAY_SIZE(pid); i++)
		CHECK(other_has(&o[i], 20000));
	for (size_t i = 0; i < ARRAY_SIZE(pid); i++)
		other_end(&o[i]);
}

static void lease(void)
{
	int fd;

	OK(close(create_file("f", 100, 1)));
	fd = OK(open("f", O_RDONLY));
	if (fcntl(fd, F_SETLEASE, F_RDLCK) < 0 && errno == EINVAL)
		skip("F_SETLEASE: %m");
	EQ(OK(fcntl(fd, F_GETLEASE)), F_RDLCK);
	OK(fcntl(fd, F_SETLEASE, F_UNLCK));
}

const struct test fid_lock_tests[] = {
	{ "flock_excludes", flock_excludes },
	{ "flock_waits", flock_waits },
	{ "flock_of_open_file", flock_of_open_file },
	{ "posix_ranges", posix_ranges },
	{ "posix_waits", posix_waits },
	{ "lock_interrupted", lock_interrupted },
	{ "lock_killed", lock_killed },
	{ "posix_deadlock", posix_deadlock },
	{ "ofd_locks", ofd_locks },
	{ "lock_modes", lock_modes },
	{ "many_wait", many_wait },
	{ "lease", lease },
	{ 0 },
};
