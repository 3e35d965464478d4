// SPDX-License-Identifier: MIT
// The host's filter for system calls: what it lets pass, and what happens otherwise.

#include "unit.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/num.h"
#include "host/seccomp.h"

static void *in_a_thread(void *arg)
{
	int fd = openat(AT_FDCWD, ".", O_PATH | O_CLOEXEC);

	*(bool *)arg = fd >= 0 && close(fd) == 0;
	return NULL;
}

static void threads_work(void)
{
	pthread_t t;
	bool ok = false;

	_exit(pthread_create(&t, NULL, in_a_thread, &ok) || pthread_join(t, NULL) || !ok);
}

static void opens_a_connection(void)
{
	_exit(socket(AF_INET, SOCK_STREAM, 0) < 0);
}

static void makes_a_process(void)
{
	_exit(fork() < 0);
}

static void makes_a_namespace(void)
{
	_exit(unshare(CLONE_NEWNS) < 0);
}

static void runs_a_program(void)
{
	(void)execl("/bin/true", "true", (char *)NULL);
	_exit(1);
}

static void opens_by_handle(void)
{
	struct file_handle h = { .handle_bytes = 0 };

	_exit(open_by_handle_at(AT_FDCWD, &h, O_PATH) < 0);
}

/* The wait status of a process that does @what behind the filter; -1: there is none in this build. */
static int behind(enum host_seccomp how, void (*what)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		/* The test runner catches it. */
		int r = signal(SIGSYS, SIG_DFL) == SIG_ERR || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
				? -errno
				: host_seccomp_enter(how, 0);

		if (r < 0)
			_exit(r == -EOPNOTSUPP ? 77 : 78);
		what();
	}
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) && WEXITSTATUS(status) == 77 ? -1 : status;
}

static void (*const forbidden[])(void) = { opens_a_connection, makes_a_process, makes_a_namespace,
					   runs_a_program, opens_by_handle };

static void needed_calls_pass(void **state)
{
	int status = behind(HOST_SECCOMP_KILL, threads_work);

	if (status < 0)
		skip();
	assert_int_equal(status, 0);
}

static void others_end_it(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(forbidden); i++) {
		int status = behind(HOST_SECCOMP_KILL, forbidden[i]);

		if (status < 0)
			skip();
		assert_true(WIFSIGNALED(status));
		assert_int_equal(WTERMSIG(status), SIGSYS);
	}
	assert_int_equal(WTERMSIG(behind(HOST_SECCOMP_TRAP, opens_a_connection)), SIGSYS);
	assert_int_equal(behind(HOST_SECCOMP_LOG, opens_a_connection), 0);
	assert_int_equal(behind(HOST_SECCOMP_NONE, opens_a_connection), 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(needed_calls_pass),
		cmocka_unit_test(others_end_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
