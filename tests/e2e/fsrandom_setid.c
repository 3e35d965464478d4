// SPDX-License-Identifier: MIT
// fsrandom: another user changes a program that has set-id bits, and they are gone.

#include <fcntl.h>
#include <grp.h>
#include <linux/falloc.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fsrandom.h"

#define USER  65534
#define OTHER 1234

enum { SETID_GONE = 42, SETID_KEPT }; /* the status of fsrandom --setid */

int setid_answer(void)
{
	return geteuid() == USER && getegid() == USER ? SETID_GONE : SETID_KEPT;
}

static mode_t mode_at(const struct file *f, const char *path)
{
	struct statx stx;

	/* Nothing else is asked for, as other attributes may be newer. */
	NEED(f, statx(AT_FDCWD, path, 0, STATX_MODE, &stx));
	return stx.stx_mode & 07777;
}

/* What the kernel leaves when this user writes: fs/attr.c, setattr_should_drop_sgid(). */
static mode_t mode_left(mode_t mode, gid_t gid)
{
	mode &= ~(mode_t)S_ISUID;
	if ((mode & S_IXGRP) || gid != USER)
		mode &= ~(mode_t)S_ISGID;
	return mode;
}

/*
 * Where the group may not execute the file, what is left depends on the groups of the writer, and
 * no request tells a server of them all. Who may write is told: so not everybody may where only a
 * member of the group writes.
 */
static mode_t mode_told(mode_t mode, gid_t gid)
{
	if ((mode & S_ISGID) && !(mode & S_IXGRP) && gid == USER)
		mode &= ~(mode_t)S_IWOTH;
	return mode;
}

/* One of the ways to change a file, by its user. */
static void change(struct actor *a, const struct file *f, const char *path)
{
	int way = (int)pick(a, 9), fd = NEED(f, open(path, O_RDWR | O_CLOEXEC));
	off_t in = 0, out = (off_t)pick(a, 10000);
	char c = 0;

	switch (way) {
	case 0:
		NEED(f, truncate(path, 1 + (off_t)pick(a, 10000)));
		break;
	case 1:
		NEED(f, ftruncate(fd, 1 + (off_t)pick(a, 10000)));
		break;
	case 2:
		NEED(f, close(NEED(f, open(path, O_WRONLY | O_TRUNC | O_CLOEXEC))));
		break;
	case 3:
		NEED(f, fallocate(fd, 0, out, 5000));
		break;
	case 4:
		NEED(f, fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, out, 5000));
		break;
	case 5:
		if (NEED(f, copy_file_range(fd, &in, fd, &(off_t){ 20000 }, 100, 0)) != 100)
			wrong(f, "a short copy");
		break;
	case 6:
		NEED(f, write(NEED(f, open(path, O_WRONLY | O_APPEND | O_CLOEXEC)), &c, 1));
		break;
	default:
		NEED(f, pwrite(fd, &c, 1, out));
	}
}

/* All of it is written over with this program. */
static void replace_program(const struct file *f, const char *path)
{
	int from = NEED(f, open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
	int to = NEED(f, open(path, O_WRONLY | O_CLOEXEC));
	static char buf[100000];
	ssize_t n;

	while ((n = NEED(f, read(from, buf, sizeof(buf)))) > 0)
		if (NEED(f, write(to, buf, (size_t)n)) != n)
			wrong(f, "a short write");
	NEED(f, close(from));
	NEED(f, close(to));
}

static void as_user(struct actor *a, const struct file *f, const char *path, mode_t left)
{
	bool program;
	mode_t mode;

	NEED(f, setgroups(0, NULL));
	NEED(f, setresgid(USER, USER, USER));
	NEED(f, setresuid(USER, USER, USER));
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* a new user takes it away */
	program = faccessat(AT_FDCWD, path, X_OK, 0) == 0;
	if (program)
		replace_program(f, path);
	else
		change(a, f, path);
	mode = mode_at(f, path);
	if (mode != left)
		wrong(f, "another user has changed a file: mode 0%o, which must be 0%o", mode,
		      left);
	if (program) {
		(void)execl(path, path, "--setid", NULL);
		wrong(f, "%s: %m", path);
	}
	_exit(SETID_GONE);
}

/* A file of this process, which is not in the model. */
void op_setid(struct actor *a, struct file *f)
{
	static const mode_t modes[] = { 04777, 06777, 02777, 06767, 04666, 06666, 02666, 06676 };
	mode_t mode = modes[pick(a, ARRAY_SIZE(modes))];
	gid_t gid = pick(a, 2) ? USER : OTHER;
	const char *path = path_of(options.dir, "setid", a->id);
	int fd, status;
	pid_t pid;

	if (geteuid() != 0)
		return;
	mode = mode_told(mode, gid);
	fd = NEED(f, open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
	if (NEED(f, pwrite(fd, a->buf, 30000, 0)) != 30000)
		wrong(f, "a short write");
	NEED(f, fchown(fd, pick(a, 2) ? USER : OTHER, gid));
	NEED(f, fchmod(fd, mode));
	NEED(f, close(fd));
	if (mode_at(f, path) != mode)
		wrong(f, "chmod to 0%o shows as 0%o", mode, mode_at(f, path));
	pid = NEED(f, fork());
	if (!pid) {
		as_user(a, f, path, mode_left(mode, gid));
	}
	status = child_end(f, pid);
	if (status != SETID_GONE)
		wrong(f, "a file of mode 0%o, changed and run by another user, ends with %d", mode,
		      status);
	if (mode_at(f, path) != mode_left(mode, gid))
		wrong(f, "mode 0%o has become 0%o", mode, mode_at(f, path));
}
