// SPDX-License-Identifier: MIT
// Does a mount behave as a local file system does? One line for each test: pass, fail, unsupported.

#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fidelity.h"
#include "report.h"
#include "runner.h"

static const struct {
	const char *group;
	const struct test *tests;
	bool place; /* see fidelity.h */
} tables[] = {
	{ "data", data_tests },	      { "io", fid_io_tests },
	{ "async", fid_async_tests }, { "size", size_tests },
	{ "range", fid_range_tests }, { "mmap", mmap_tests },
	{ "mmap", fid_map_tests },    { "exec", fid_exec_tests },
	{ "share", share_tests },     { "lock", fid_lock_tests },
	{ "name", name_tests },	      { "name", fid_name_tests },
	{ "dir", dir_tests },	      { "dir", fid_dir_tests },
	{ "attr", attr_tests },	      { "time", fid_time_tests },
	{ "perm", fid_perm_tests },   { "xattr", fid_xattr_tests },
	{ "fs", fid_fs_tests },	      { "full", fid_full_tests },
	{ "error", fid_error_tests }, { "place", fid_place_tests, true },
};

static const char usage[] =
	"usage: fidelity [--timeout S] [--in-place] [--reopen] DIR [TEST...]\n"
	"       fidelity --list\n"
	"       fidelity --uid                     print the effective user\n"
	"       fidelity --lock|--flock FILE       take a lock, print 'locked', hold it until "
	"the\n"
	"                                          end of stdin; 1 when another has it\n"
	"       fidelity --lock-wait|--flock-wait FILE  the same, and wait for it\n"
	"Runs the tests, or these, in directories of their own in DIR, or in DIR itself. With\n"
	"--reopen, files that tests make are opened anew, so that they can be passed through. "
	"Prints\n"
	"'pass GROUP TEST', 'fail GROUP TEST - REASON' or 'unsupported GROUP TEST - REASON'.\n";

void as_user(const struct identity *who, void (*fn)(void *), void *arg)
{
	pid_t pid = OK(fork());

	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		OK(setgroups(who->ngroups, who->groups));
		OK(setresgid(who->gid, who->gid, who->gid));
		OK(setresuid(who->uid, who->uid, who->uid));
		fn(arg);
		_exit(REPORT_OK);
	}
	finish(pid);
}

int signals(void (*fn)(void *), void *arg)
{
	const struct rlimit no_core = { 0, 0 };
	int status;
	pid_t pid = OK(fork());

	if (pid == 0) {
		(void)setrlimit(RLIMIT_CORE, &no_core);
		for (int s = 1; s < 32; s++)
			(void)signal(s, SIG_DFL);
		fn(arg);
		_exit(REPORT_OK);
	}
	EQ(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status))
		_exit(WEXITSTATUS(status)); /* it has reported */
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

long effective_uid_of(const char *program)
{
	char uid[16] = "";
	int out[2], err[2], error = 0;
	pid_t pid;

	OK(pipe2(out, O_CLOEXEC));
	OK(pipe2(err, O_CLOEXEC));
	pid = OK(fork());
	if (pid == 0) {
		(void)dup2(out[1], 1);
		(void)execl(program, program, "--uid", NULL);
		error = errno;
		(void)!write(err[1], &error, sizeof(error));
		_exit(0);
	}
	OK(close(out[1]));
	OK(close(err[1]));
	(void)!read(err[0], &error, sizeof(error));
	(void)!read(out[0], uid, sizeof(uid) - 1);
	finish(pid);
	if (error)
		return -error;
	CHECK(uid[0]);
	return strtol(uid, NULL, 10);
}

/* Without the place in the source: it changes more often than the reason. */
static const char *reason(const char *why)
{
	const char *at = strstr(why, ".c:");

	if (at && at < why + 40)
		at = strstr(at, ": ");
	else
		at = NULL;
	return at ? at + 2 : why;
}

static int run_one(const char *group, const struct test *t, const char *dir, bool in_place,
		   int timeout_s)
{
	char why[512] = "";
	int r = runner_run(t, dir, in_place, timeout_s, why, sizeof(why));

	if (r == REPORT_OK)
		printf("pass %s %s\n", group, t->name);
	else
		printf("%s %s %s - %s\n", r == REPORT_SKIP ? "unsupported" : "fail", group, t->name,
		       reason(why));
	(void)fflush(stdout);
	return r;
}

/* @how: "--lock", "--lock-wait", "--flock" or "--flock-wait" */
static bool take_lock(int fd, const char *how)
{
	bool wait = strstr(how, "-wait");
	struct flock l = { .l_type = F_WRLCK };

	if (!strncmp(how, "--flock", 7))
		return flock(fd, LOCK_EX | (wait ? 0 : LOCK_NB)) == 0;
	return fcntl(fd, wait ? F_SETLKW : F_SETLK, &l) == 0;
}

static int hold_lock(const char *how, const char *file)
{
	int fd = open(file, O_RDWR);
	char c;

	if (fd < 0 || !take_lock(fd, how)) {
		int status = fd >= 0 && errno == EAGAIN ? 1 : 2;

		perror(file);
		return status;
	}
	puts("locked");
	(void)fflush(stdout);
	while (read(0, &c, 1) > 0)
		;
	return 0;
}

static bool chosen(const struct test *t, bool place, char **names)
{
	/* fstest's test of ten thousand entries has a larger brother here. */
	if (!*names)
		return !place && strcmp(t->name, "ten_thousand") != 0;
	for (; *names; names++)
		if (!strcmp(*names, t->name))
			return true;
	return false;
}

int main(int argc, char **argv)
{
	int timeout_s = 120, n = 0, failed = 0;
	bool in_place = false, list = argc == 2 && !strcmp(argv[1], "--list");
	char **arg = argv + 1;

	if (argc == 2 && !strcmp(argv[1], "--uid"))
		return printf("%u\n", geteuid()) < 0;
	if (argc == 3 && (!strncmp(argv[1], "--lock", 6) || !strncmp(argv[1], "--flock", 7)))
		return hold_lock(argv[1], argv[2]);
	for (; *arg && **arg == '-' && !list; arg++) {
		if (!strcmp(*arg, "--timeout") && arg[1])
			timeout_s = (int)strtol(*++arg, NULL, 0);
		else if (!strcmp(*arg, "--in-place"))
			in_place = true;
		else if (!strcmp(*arg, "--reopen"))
			create_reopens = true;
		else
			break;
	}
	if (!list && (!*arg || **arg == '-')) {
		(void)fputs(usage, stderr);
		return 2;
	}
	for (size_t i = 0; i < ARRAY_SIZE(tables); i++)
		for (const struct test *t = tables[i].tests; t->name; t++) {
			if (list) {
				printf("%s %s\n", tables[i].group, t->name);
			} else if (chosen(t, tables[i].place, arg + 1)) {
				failed += run_one(tables[i].group, t, *arg, in_place, timeout_s) ==
					  REPORT_FAIL;
				n++;
			}
		}
	if (!list && !n)
		(void)fprintf(stderr, "fidelity: no such test\n");
	return failed || (!list && !n);
}
