// SPDX-License-Identifier: MIT
// Tests of what the kernel does with files that a FUSE server passes through: the command line, and
// helpers.

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "pass_cases.h"
#include "report.h"
#include "runner.h"

#define TIMEOUT_S 60

static const char usage[] =
	"usage: pass_cases DIR open|data|window|killpriv|last [TEST...]\n"
	"DIR is a mount of pass_server with the files a and w. Prints lines as fstest does.\n"
	"       pass_cases DIR mount [TEST...]\n"
	"DIR is in a mount of vfsdaxfuse with passthrough=all.\n"
	"       pass_cases --list GROUP\n"
	"       pass_cases --sizes make|write|check-written|store|check-stored DIR STEP\n"
	"Files of 1 to 8193 bytes, each STEPth and those around whole pages: make them; read them "
	"by a\n"
	"mapping and without, and change their last byte by a write; check that; the same by a "
	"store to\n"
	"the mapping; check that.\n";

static const struct {
	const char *name;
	const struct test *tests;
	bool own_directory; /* each test has one of its own */
} groups[] = {
	{ "open", pass_open_tests },
	{ "data", pass_data_tests },
	{ "window", pass_window_tests },
	{ "killpriv", pass_killpriv_tests }, /* with pass_server --killpriv */
	{ "last", pass_last_tests },
	{ "mount", pass_mount_tests, true },
};

void tell(const char *name, const char *value)
{
	OK(setxattr("a", name, value, strlen(value), 0));
}

void answer(int fopen_flags)
{
	char text[16];

	(void)snprintf(text, sizeof(text), "%d", fopen_flags);
	tell("user.open", text);
}

int open_as(int fopen_flags, const char *name, int flags)
{
	answer(fopen_flags);
	return open(name, flags | O_CLOEXEC);
}

long asked(const char *request)
{
	char text[512], word[32];
	ssize_t n = OK(getxattr("a", "user.count", text, sizeof(text) - 1));
	const char *at;

	text[n] = '\0';
	(void)snprintf(word, sizeof(word), " %s=", request);
	at = strstr(text, word);
	CHECK(at);
	return strtol(at + strlen(word), NULL, 10);
}

char *backing_of(const char *name)
{
	static char path[256];
	ssize_t n = OK(getxattr(name, "user.backing", path, sizeof(path) - 1));

	path[n] = '\0';
	return path;
}

char *map_file(int fd, size_t len, int prot)
{
	void *p = mmap(NULL, len, prot, MAP_SHARED, fd, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

void begin(void)
{
	int fd = OK(open(backing_of("a"), O_RDWR | O_CLOEXEC));

	OK(ftruncate(fd, SIZE));
	write_pattern(fd, 0, SIZE, 1);
	OK(close(fd));
	tell("user.valid", "0");
	tell("user.register", "rw");
	answer(PASS);
	OK(chown("a", 0, 0));
	OK(chmod("a", 0666));
}

static int run_one(const struct test *t, const char *dir, bool in_place)
{
	char why[512] = "";
	time_t began = time(NULL);
	int result = runner_run(t, dir, in_place, TIMEOUT_S, why, sizeof(why));

	if (result == REPORT_OK)
		printf("ok %s - %lld\n", t->name, (long long)(time(NULL) - began));
	else
		printf("%s %s - %s\n", result == REPORT_SKIP ? "skip" : "not ok", t->name, why);
	(void)fflush(stdout);
	return result != REPORT_OK && result != REPORT_SKIP;
}

static int list(const char *group)
{
	for (size_t i = 0; i < ARRAY_SIZE(groups); i++)
		for (const struct test *t = groups[i].tests; t->name; t++)
			if (!strcmp(group, groups[i].name))
				puts(t->name);
	return 0;
}

static bool named(const char *name, char **names)
{
	if (!*names)
		return true;
	for (; *names; names++)
		if (strcmp(*names, name) == 0)
			return true;
	return false;
}

int main(int argc, char **argv)
{
	int failed = 0, n = 0, status;

	if (argc > 1 && !strcmp(argv[1], "--sizes") && (status = sizes_main(argc, argv)) >= 0)
		return status;
	if (argc == 3 && !strcmp(argv[1], "--list"))
		return list(argv[2]);
	for (size_t i = 0; argc >= 3 && i < ARRAY_SIZE(groups); i++) {
		if (strcmp(groups[i].name, argv[2]) != 0)
			continue;
		for (const struct test *t = groups[i].tests; t->name; t++) {
			if (!named(t->name, argv + 3))
				continue;
			failed += run_one(t, argv[1], !groups[i].own_directory);
			n++;
		}
	}
	if (!n) {
		(void)fputs(usage, stderr);
		return 2;
	}
	return failed != 0;
}
