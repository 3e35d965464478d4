// SPDX-License-Identifier: MIT
// Tests of a file system's behaviour, run in any directory: the command line.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fstest.h"
#include "report.h"
#include "runner.h"
#include "tool.h"

static const struct test *const tables[] = { data_tests,  size_tests,	dir_tests,
					     name_tests,  attr_tests,	mmap_tests,
					     share_tests, random_tests, proto_tests };

uint64_t random_seed = 1;
long random_ops = 3000;
static int timeout_s = 120;
static const char *except[16];
static unsigned int num_except;

static const char usage[] =
	"usage: fstest [OPTION...] DIR [TEST...]   run the tests, or these, in DIR\n"
	"       fstest --list                      print their names\n"
	"       fstest --make FILE SIZE SEED       make a file of pseudo-random data\n"
	"       fstest --verify FILE SIZE SEED     check one\n"
	"       fstest --put FILE OFFSET LENGTH SEED    write such data into a file\n"
	"       fstest --poke FILE OFFSET LENGTH SEED   by a mapping of it, and msync\n"
	"       fstest --watch FILE                check one that stays open; lines on stdin:\n"
	"       fstest --watch-mapped FILE         the same, data in a mapping of it\n"
	"                   data OFFSET LENGTH SEED, size N, end OFFSET\n"
	"       fstest --watch-writing FILE        as --watch, and also write OFFSET LENGTH SEED\n"
	"  --seed N      for the random tests (1)\n"
	"  --ops N       operations in a random test (3000)\n"
	"  --timeout S   for one test (120)\n"
	"  --except TEST leaves one out; may be repeated\n"
	"Prints 'ok NAME - seconds', 'not ok NAME - reason' or 'skip NAME - reason' for each "
	"test.\n";

static int run_test(const struct test *t, const char *dir)
{
	char why[512] = "";
	time_t began = time(NULL);
	int result = runner_run(t, dir, false, timeout_s, why, sizeof(why));

	if (result == REPORT_OK)
		printf("ok %s - %lld\n", t->name, (long long)(time(NULL) - began));
	else
		printf("%s %s - %s\n", result == REPORT_SKIP ? "skip" : "not ok", t->name, why);
	(void)fflush(stdout);
	return result;
}

static bool chosen(const struct test *t, char **names)
{
	for (unsigned int i = 0; !*names && i < num_except; i++)
		if (!strcmp(t->name, except[i]))
			return false;
	if (!*names)
		return true;
	for (; *names; names++)
		if (!strcmp(*names, t->name))
			return true;
	return false;
}

static int run_all(const char *dir, char **names)
{
	int failed = 0, n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
		for (const struct test *t = tables[i]; t->name; t++) {
			if (dir && chosen(t, names)) {
				int r = run_test(t, dir);

				n++;
				failed += r != REPORT_OK && r != REPORT_SKIP;
			} else if (!dir) {
				puts(t->name);
			}
		}
	}
	if (dir && !n)
		(void)fprintf(stderr, "fstest: no such test\n");
	return failed || (dir && !n);
}

int main(int argc, char **argv)
{
	char **arg = argv + 1;
	int status;

	if (argc > 2 && (status = tool_main(argc, argv)) >= 0)
		return status;
	if (argc == 2 && !strcmp(*arg, "--list"))
		return run_all(NULL, NULL);
	for (; *arg && **arg == '-' && arg[1]; arg += 2) {
		if (!strcmp(*arg, "--seed"))
			random_seed = strtoull(arg[1], NULL, 0);
		else if (!strcmp(*arg, "--ops"))
			random_ops = strtol(arg[1], NULL, 0);
		else if (!strcmp(*arg, "--timeout"))
			timeout_s = (int)strtol(arg[1], NULL, 0);
		else if (!strcmp(*arg, "--except") && num_except < ARRAY_SIZE(except))
			except[num_except++] = arg[1];
		else
			break;
	}
	if (!*arg || **arg == '-') {
		(void)fputs(usage, stderr);
		return 2;
	}
	return run_all(*arg, arg + 1);
}
