// SPDX-License-Identifier: MIT
// File-system tests: directories.

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fstest.h"

static void make_entries(int n)
{
	char name[32];

	for (int i = 0; i < n; i++) {
		(void)snprintf(name, sizeof(name), "entry-%05d", i);
		OK(close(OK(open(name, O_WRONLY | O_CREAT | O_EXCL, 0644))));
	}
}

/* Count what a directory shows; each of the @n entries must be there once, and nothing else. */
static void see_entries(DIR *dir, int n)
{
	char *seen = calloc((size_t)n, 1);
	int dots = 0, found = 0;
	struct dirent *e;

	CHECK(seen);
	while ((errno = 0, e = readdir(dir))) {
		long i;

		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) {
			dots++;
			continue;
		}
		EQ(strncmp(e->d_name, "entry-", 6), 0);
		i = strtol(e->d_name + 6, NULL, 10);
		CHECK(i >= 0 && i < n);
		if (seen[i]++)
			fail(__FILE__, __LINE__, "%s is seen twice", e->d_name);
		CHECK(e->d_type == DT_REG || e->d_type == DT_UNKNOWN);
		found++;
	}
	EQ(errno, 0);
	EQ(found, n);
	EQ(dots, 2);
	free(seen);
}

static void ten_thousand(void)
{
	struct stat st;
	DIR *dir;

	make_entries(10000);
	dir = opendir(".");
	CHECK(dir);
	see_entries(dir, 10000);
	rewinddir(dir);
	see_entries(dir, 10000);
	OK(closedir(dir));
	OK(stat("entry-09999", &st));
	FAILS(stat("entry-10000", &st), ENOENT);
}

static void rewind_sees_new(void)
{
	DIR *dir;

	make_entries(10);
	dir = opendir(".");
	CHECK(dir);
	see_entries(dir, 10);
	OK(close(OK(open("entry-00010", O_WRONLY | O_CREAT | O_EXCL, 0644))));
	rewinddir(dir);
	see_entries(dir, 11);
	OK(unlink("entry-00010"));
	rewinddir(dir);
	see_entries(dir, 10);
	OK(closedir(dir));
}

static void tell_and_seek(void)
{
	char first[300] = "";
	struct dirent *e;
	long at;
	DIR *dir;

	make_entries(500);
	dir = opendir(".");
	CHECK(dir);
	for (int i = 0; i < 250; i++)
		CHECK(readdir(dir));
	at = telldir(dir);
	e = readdir(dir);
	CHECK(e);
	(void)snprintf(first, sizeof(first), "%s", e->d_name);
	while (readdir(dir))
		;
	seekdir(dir, at);
	e = readdir(dir);
	CHECK(e);
	EQ(strcmp(e->d_name, first), 0);
	OK(closedir(dir));
}

/* As rm -r does it. */
static void remove_while_reading(void)
{
	int left = 700, rounds = 0;
	struct dirent *e;
	DIR *dir;

	make_entries(left);
	dir = opendir(".");
	CHECK(dir);
	while (left) {
		CHECK(rounds++ < 10);
		rewinddir(dir);
		while ((e = readdir(dir))) {
			if (e->d_name[0] == '.')
				continue;
			OK(unlink(e->d_name));
			left--;
		}
	}
	rewinddir(dir);
	see_entries(dir, 0);
	OK(closedir(dir));
}

static void make_and_remove(void)
{
	struct stat st;
	nlink_t links;

	OK(stat(".", &st));
	links = st.st_nlink;
	OK(mkdir("a", 0755));
	OK(mkdir("a/b", 0700));
	OK(stat(".", &st));
	CHECK(st.st_nlink == links + 1 || st.st_nlink == 1);
	OK(stat("a/b", &st));
	CHECK(S_ISDIR(st.st_mode));
	EQ(st.st_mode & 07777, 0700);
	FAILS(mkdir("a", 0755), EEXIST);
	FAILS(rmdir("a"), ENOTEMPTY);
	FAILS(unlink("a"), EISDIR);
	FAILS(mkdir("x/y", 0755), ENOENT);
	OK(rmdir("a/b"));
	OK(rmdir("a"));
	FAILS(rmdir("a"), ENOENT);
	OK(close(OK(open("f", O_CREAT | O_WRONLY, 0644))));
	FAILS(rmdir("f"), ENOTDIR);
}

static void deep(void)
{
	char name[101] = "";
	int fd = OK(open(".", O_RDONLY | O_DIRECTORY)), file;

	memset(name, 'd', 100);
	for (int i = 0; i < 60; i++) { /* longer than PATH_MAX as one path */
		int next;

		OK(mkdirat(fd, name, 0755));
		next = OK(openat(fd, name, O_RDONLY | O_DIRECTORY));
		OK(close(fd));
		fd = next;
	}
	file = OK(openat(fd, "f", O_RDWR | O_CREAT, 0644));
	write_pattern(file, 0, 10000, 1);
	check_pattern(file, 0, 10000, 1);
	OK(close(file));
	for (int i = 0; i < 60; i++) {
		int up = OK(openat(fd, "..", O_RDONLY | O_DIRECTORY));

		if (i == 0)
			OK(unlinkat(fd, "f", 0));
		OK(unlinkat(up, name, AT_REMOVEDIR));
		OK(close(fd));
		fd = up;
	}
}

static void removed_directory(void)
{
	int fd;

	OK(mkdir("d", 0755));
	fd = OK(open("d", O_RDONLY | O_DIRECTORY));
	OK(rmdir("d"));
	FAILS(openat(fd, "f", O_WRONLY | O_CREAT, 0644), ENOENT);
	FAILS(openat(fd, "f", O_RDONLY), ENOENT);
}

const struct test dir_tests[] = {
	{ "ten_thousand", ten_thousand },
	{ "rewind_sees_new", rewind_sees_new },
	{ "tell_and_seek", tell_and_seek },
	{ "remove_while_reading", remove_while_reading },
	{ "make_and_remove", make_and_remove },
	{ "deep", deep },
	{ "removed_directory", removed_directory },
	{ 0 },
};
