// SPDX-License-Identifier: MIT
// Runs one test in a process and a directory of its own, and cleans up behind it.

#include <ftw.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "report.h"
#include "runner.h"

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	(void)remove(path);
	return 0;
}

static void remove_tree(const char *dir)
{
	(void)nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void run_child(const struct test *t, const char *dir)
{
	if (chdir(dir) < 0)
		fail(__FILE__, __LINE__, "%s: %m", dir);
	(void)umask(022);
	t->run();
	_exit(REPORT_OK);
}

/* wait_for() - the child's status, or -1 when it had to be killed */
static int wait_for(pid_t pid, int timeout_s)
{
	struct timespec pause = { .tv_nsec = 2000000 };
	time_t end = time(NULL) + timeout_s;
	int status;

	while (time(NULL) < end) {
		if (waitpid(pid, &status, WNOHANG) == pid)
			return status;
		(void)nanosleep(&pause, NULL);
	}
	/* Its children too; one that hangs inside the kernel is left behind. */
	(void)kill(-pid, SIGKILL);
	return -1;
}

int runner_run(const struct test *t, const char *dir, bool in_place, int timeout_s, char *why,
	       size_t size)
{
	char sub[PATH_MAX];
	int status, result;
	pid_t pid;

	if (in_place) {
		(void)snprintf(sub, sizeof(sub), "%s", dir);
	} else {
		(void)snprintf(sub, sizeof(sub), "%s/%s.%d", dir, t->name, (int)getpid());
		if (mkdir(sub, 0755) < 0) {
			(void)snprintf(why, size, "mkdir: %s", strerror(errno));
			return REPORT_FAIL;
		}
	}
	report_open();
	pid = fork();
	if (pid == 0) {
		(void)setpgid(0, 0);
		run_child(t, sub);
	}
	status = pid < 0 ? 0 : wait_for(pid, timeout_s);
	report_read(why, size);
	if (status == -1) {
		result = REPORT_FAIL;
		(void)snprintf(why, size, "no end after %d s", timeout_s);
	} else if (WIFSIGNALED(status)) {
		result = REPORT_FAIL;
		(void)snprintf(why, size, "killed by signal %d", WTERMSIG(status));
	} else {
		result = pid < 0 ? REPORT_FAIL : WEXITSTATUS(status);
	}
	if (!in_place)
		remove_tree(sub);
	return result;
}
