// SPDX-License-Identifier: MIT
// Fidelity: reading directories.

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "fidelity.h"

#define MANY 100000

/* The caller has prepared the directory: names 0 to 99999. */
static DIR *open_many(void)
{
	DIR *dir = opendir("../many");

	if (!dir)
		skip("no directory of %d entries was prepared", MANY);
	return dir;
}

static struct dirent *next(DIR *dir)
{
	struct dirent *d;

	errno = 0;
	do {
		d = readdir(dir);
		if (!d && errno)
			fail(__FILE__, __LINE__, "readdir: %m");
	} while (d && d->d_name[0] == '.');
	return d;
}

/* Each entry once; then from positions that telldir gave, in another order. */
static void tell_100000(void)
{
	unsigned char *seen = calloc(MANY, 1);
	long *pos = calloc(MANY, sizeof(*pos));
	int *name = calloc(MANY, sizeof(*name)), n = 0;
	DIR *dir = open_many();
	struct dirent *d;

	CHECK(seen && pos && name);
	for (;;) {
		long at = OK(telldir(dir));
		long v;

		d = next(dir);
		if (!d)
			break;
		v = strtol(d->d_name, NULL, 10);
		CHECK(v >= 0 && v < MANY && n < MANY);
		if (seen[v])
			fail(__FILE__, __LINE__, "%ld comes twice", v);
		seen[v] = 1;
		/* Dots may stand between: the position is of what next() began with. */
		pos[n] = at;
		name[n++] = (int)v;
	}
	EQ(n, MANY);
	for (int i = 0; i < 200; i++) {
		int which = (int)((long)i * 7919 * 31 % MANY);

		seekdir(dir, pos[which]);
		d = next(dir);
		CHECK(d);
		EQ(strtol(d->d_name, NULL, 10), name[which]);
	}
	rewinddir(dir);
	d = next(dir);
	CHECK(d);
	EQ(strtol(d->d_name, NULL, 10), name[0]);
}

static void stat_1000_of_100000(void)
{
	DIR *dir = open_many();
	struct stat st;

	for (int i = 0; i < 1000; i++) {
		struct dirent *d = next(dir);

		CHECK(d);
		OK(fstatat(dirfd(dir), d->d_name, &st, AT_SYMLINK_NOFOLLOW));
		EQ(st.st_ino, d->d_ino);
	}
}

static void entry_types(void)
{
	struct dirent *d;
	struct stat st;
	int n = 0;
	DIR *dir;

	OK(close(create_file("f", 1, 1)));
	OK(mkdir("d", 0755));
	OK(symlink("f", "l"));
	OK(mkfifo("p", 0644));
	if (geteuid() == 0)
		OK(mknod("c", S_IFCHR | 0600, makedev(1, 3)));
	dir = opendir(".");
	CHECK(dir);
	while ((d = next(dir))) {
		OK(lstat(d->d_name, &st));
		EQ(d->d_type, IFTODT(st.st_mode));
		EQ(d->d_ino, st.st_ino);
		n++;
	}
	EQ(n, geteuid() == 0 ? 5 : 4);
}

static void dots(void)
{
	bool one = false, two = false;
	struct stat st, up;
	struct dirent *d;
	DIR *dir;

	OK(mkdir("d", 0755));
	OK(stat("d", &st));
	OK(stat(".", &up));
	dir = opendir("d");
	CHECK(dir);
	while ((d = readdir(dir))) {
		if (!strcmp(d->d_name, ".")) {
			EQ(d->d_ino, st.st_ino);
			one = true;
		}
		if (!strcmp(d->d_name, "..")) {
			EQ(d->d_ino, up.st_ino);
			two = true;
		}
	}
	CHECK(one && two);
}

/* Entries made and removed while a reader stands in between: what stays is seen once. */
#define ENTRIES 160 /* more than one READDIR brings of a page */

static void seek_while_changing(void)
{
	unsigned char seen[ENTRIES] = { 0 };
	struct dirent *d;
	char name[32];
	int n = 0;
	long pos;
	DIR *dir;

	for (int i = 0; i < ENTRIES; i++) {
		(void)snprintf(name, sizeof(name), "%d", i);
		OK(close(OK(open(name, O_WRONLY | O_CREAT, 0644))));
	}
	dir = opendir(".");
	CHECK(dir);
	for (int i = 0; i < ENTRIES / 4; i++) {
		d = next(dir);
		CHECK(d);
		seen[strtol(d->d_name, NULL, 10)]++;
	}
	pos = telldir(dir);
	for (int i = 0; i < ENTRIES; i += 2)
		if (!seen[i]) {
			(void)snprintf(name, sizeof(name), "%d", i);
			OK(unlink(name));
			(void)snprintf(name, sizeof(name), "%d", 1000 + i);
			OK(close(OK(open(name, O_WRONLY | O_CREAT, 0644))));
		}
	while ((d = next(dir)))
		n++;
	seekdir(dir, pos);
	while ((d = next(dir))) {
		long v = strtol(d->d_name, NULL, 10);

		if (v < ENTRIES)
			seen[v]++;
	}
	for (int i = 1; i < ENTRIES; i += 2)
		if (seen[i] != 1)
			fail(__FILE__, __LINE__, "%d was seen %d times", i, seen[i]);
	CHECK(n >= ENTRIES / 4);
	rewinddir(dir);
	for (n = 0; next(dir); n++)
		;
	EQ(n, ENTRIES);
}

static void two_readers(void)
{
	DIR *a, *b;
	char name[32];
	int n = 0;

	for (int i = 0; i < ENTRIES; i++) {
		(void)snprintf(name, sizeof(name), "%d", i);
		OK(close(OK(open(name, O_WRONLY | O_CREAT, 0644))));
	}
	a = opendir(".");
	b = opendir(".");
	CHECK(a && b);
	for (;; n++) {
		struct dirent *x = next(a), *y = next(b);

		CHECK(!x == !y);
		if (!x)
			break;
		EQ(strcmp(x->d_name, y->d_name), 0);
	}
	EQ(n, ENTRIES);
}

static void small_buffer(void)
{
	int fd = OK(open(".", O_RDONLY | O_DIRECTORY));
	char buf[4096];

	FAILS(syscall(SYS_getdents64, fd, buf, 10), EINVAL);
	CHECK(syscall(SYS_getdents64, fd, buf, sizeof(buf)) > 0);
	EQ(syscall(SYS_getdents64, fd, buf, sizeof(buf)), 0);
	FAILS(syscall(SYS_getdents64, create_file("f", 1, 1), buf, sizeof(buf)), ENOTDIR);
}

const struct test fid_dir_tests[] = {
	{ "tell_100000", tell_100000 },
	{ "stat_1000_of_100000", stat_1000_of_100000 },
	{ "entry_types", entry_types },
	{ "dots", dots },
	{ "seek_while_changing", seek_while_changing },
	{ "two_readers", two_readers },
	{ "small_buffer", small_buffer },
	{ 0 },
};
