// SPDX-License-Identifier: MIT
// Fidelity: programs that lie on the mount.

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fidelity.h"

/* A copy of a program of the system. */
static void copy_program(const char *from, const char *to)
{
	int in = OK(open(from, O_RDONLY | O_CLOEXEC));
	int out = OK(open(to, O_WRONLY | O_CREAT | O_CLOEXEC, 0755));
	off_t left = size_of(in);

	while (left > 0) {
		ssize_t n = OK(sendfile(out, in, NULL, (size_t)left));

		CHECK(n > 0);
		left -= n;
	}
	OK(close(in));
	OK(close(out));
}

/* run() - the exit status of a program, or minus the errno of exec */
static int run(const char *path, const char *arg)
{
	int p[2], error = 0, status;
	pid_t pid;

	OK(pipe2(p, O_CLOEXEC));
	pid = OK(fork());
	if (pid == 0) {
		(void)execl(path, path, arg, NULL);
		error = errno;
		(void)!write(p[1], &error, sizeof(error));
		_exit(1);
	}
	OK(close(p[1]));
	(void)!read(p[0], &error, sizeof(error));
	OK(close(p[0]));
	EQ(waitpid(pid, &status, 0), pid);
	CHECK(WIFEXITED(status));
	return error ? -error : WEXITSTATUS(status);
}

static void exec_program(void)
{
	copy_program("/bin/true", "yes");
	copy_program("/bin/false", "no");
	EQ(run("./yes", NULL), 0);
	EQ(run("./no", NULL), 1);
	OK(chmod("yes", 0644));
	EQ(run("./yes", NULL), -EACCES);
}

static void exec_script(void)
{
	int fd = OK(open("script", O_WRONLY | O_CREAT | O_CLOEXEC, 0755));

	EQ(write(fd, "#!/bin/sh\nexit 7\n", 17), 17);
	OK(close(fd));
	EQ(run("./script", NULL), 7);
	fd = OK(open("text", O_WRONLY | O_CREAT | O_CLOEXEC, 0755));
	EQ(write(fd, "no program", 10), 10);
	OK(close(fd));
	EQ(run("./text", NULL), -ENOEXEC);
}

static void exec_while_written(void)
{
	int fd;

	copy_program("/bin/true", "yes");
	fd = OK(open("yes", O_WRONLY | O_CLOEXEC));
	EQ(run("./yes", NULL), -ETXTBSY);
	OK(close(fd));
	EQ(run("./yes", NULL), 0);
}

static void write_while_run(void)
{
	char c;
	pid_t pid;
	int p[2];

	copy_program("/bin/sleep", "sleep");
	OK(pipe2(p, O_CLOEXEC));
	pid = OK(fork());
	if (pid == 0) {
		(void)execl("./sleep", "sleep", "60", NULL);
		_exit(1);
	}
	OK(close(p[1]));
	EQ(read(p[0], &c, 1), 0); /* exec has closed the other end */
	FAILS(open("sleep", O_WRONLY), ETXTBSY);
	FAILS(truncate("sleep", 0), ETXTBSY);
	OK(close(OK(open("sleep", O_RDONLY))));
	OK(unlink("sleep"));
	EQ(waitpid(pid, NULL, WNOHANG), 0);
	OK(kill(pid, SIGKILL));
	EQ(waitpid(pid, NULL, 0), pid);
}

/* A program that another one replaced by its name runs on. */
static void replaced_while_run(void)
{
	copy_program("/bin/true", "a");
	copy_program("/bin/false", "b");
	EQ(run("./a", NULL), 0);
	OK(rename("b", "a"));
	EQ(run("./a", NULL), 1);
}

static void exec_mapped(void)
{
	/* mov eax, 42; ret */
	static const unsigned char code[] = { 0xb8, 42, 0, 0, 0, 0xc3 };
	int fd = OK(open("f", O_RDWR | O_CREAT, 0755));
	int (*fn)(void);
	void *p;

#ifndef __x86_64__
	skip("machine code of x86-64");
#endif
	write_all(fd, code, sizeof(code), 0);
	p = mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
	CHECK(p != MAP_FAILED);
	fn = (int (*)(void))p;
	EQ(fn(), 42);
}

const struct test fid_exec_tests[] = {
	{ "exec_program", exec_program },
	{ "exec_script", exec_script },
	{ "exec_while_written", exec_while_written },
	{ "write_while_run", write_while_run },
	{ "replaced_while_run", replaced_while_run },
	{ "exec_mapped", exec_mapped },
	{ 0 },
};
