// SPDX-License-Identifier: MIT
// Fidelity: mounts with options, and a directory that the host has only for reading.

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "fidelity.h"

/*
 * The caller has prepared in each of these directories: file (10000 bytes of seed 1), null (the
 * device, for all) and id (this program, set-user-id root).
 */

static unsigned long flags_here(void)
{
	struct statvfs st;

	OK(statvfs(".", &st));
	return st.f_flag;
}

static void nothing_changes(void)
{
	struct timespec ts[2] = { { 1, 1 }, { 1, 1 } };
	int fd = OK(open("file", O_RDONLY));

	check_pattern(fd, 0, 10000, 1);
	FAILS(open("file", O_WRONLY), EROFS);
	FAILS(open("file", O_RDONLY | O_TRUNC), EROFS);
	FAILS(open("new", O_WRONLY | O_CREAT, 0644), EROFS);
	FAILS(mkdir("new", 0755), EROFS);
	FAILS(symlink("x", "new"), EROFS);
	FAILS(link("file", "new"), EROFS);
	FAILS(mkfifo("new", 0644), EROFS);
	FAILS(rename("file", "new"), EROFS);
	FAILS(unlink("file"), EROFS);
	FAILS(chmod("file", 0600), EROFS);
	FAILS(chown("file", 1, 1), EROFS);
	FAILS(utimensat(AT_FDCWD, "file", ts, 0), EROFS);
	FAILS(truncate("file", 0), EROFS);
	FAILS(setxattr("file", "user.x", "1", 1, 0), EROFS);
	check_pattern(fd, 0, 10000, 1);
}

static void mounted_ro(void)
{
	CHECK(flags_here() & ST_RDONLY);
	nothing_changes();
	FAILS(access("file", W_OK), EROFS);
}

static void host_read_only(void)
{
	char *p;
	int fd = OK(open("file", O_RDONLY));

	nothing_changes();
	p = mmap(NULL, 10000, PROT_READ, MAP_SHARED, fd, 0);
	CHECK(p != MAP_FAILED);
	EQ(pattern_check(p, 10000, 1, 0), -1);
}

static void mounted_noexec(void)
{
	int fd = OK(open("id", O_RDONLY));

	CHECK(flags_here() & ST_NOEXEC);
	EQ(effective_uid_of("./id"), -EACCES);
	CHECK(mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0) == MAP_FAILED);
	EQ(errno, EPERM);
}

static void opens_null(void *arg)
{
	int want = *(int *)arg;

	if (want)
		FAILS(open("null", O_RDWR), want);
	else
		EQ(write(OK(open("null", O_RDWR)), "x", 1), 1);
}

static void mounted_nodev(void)
{
	int want = EACCES;

	CHECK(flags_here() & ST_NODEV);
	opens_null(&want);
}

static void runs_id(void *arg)
{
	EQ(effective_uid_of("./id"), *(long *)arg);
}

static void mounted_nosuid(void)
{
	long uid = 65534;

	CHECK(flags_here() & ST_NOSUID);
	as_nobody(runs_id, &uid);
}

static void mounted_noatime(void)
{
	CHECK(flags_here() & ST_NOATIME);
}

/* Without options: programs, devices and set-id programs work, for all users, as with virtiofs. */
static void mounted_plain(void)
{
	unsigned long not = ST_RDONLY | ST_NOEXEC | ST_NODEV | ST_NOSUID;
	long uid = 0;
	int want = 0;

	EQ(flags_here() & not, 0);
	EQ(effective_uid_of("./id"), 0);
	as_nobody(opens_null, &want);
	as_nobody(runs_id, &uid);
}

static void mounted_relatime(void)
{
	CHECK(flags_here() & ST_RELATIME);
}

static void mounted_strictatime(void)
{
	EQ(flags_here() & (ST_NOATIME | ST_RELATIME), 0);
}

static void mounted_nodiratime(void)
{
	CHECK(flags_here() & ST_NODIRATIME);
}

/* What stands in fstab for others than the file system. */
static void mounted_by_fstab(void)
{
	mounted_plain();
}

/* Mounted for writing, then mount -o remount,ro; and after that remount,rw. */
static void remounted_ro(void)
{
	mounted_ro();
}

static void remounted_rw(void)
{
	EQ(flags_here() & ST_RDONLY, 0);
	OK(close(create_file("new", 100, 1)));
	OK(unlink("new"));
}

const struct test fid_place_tests[] = {
	{ "mounted_plain", mounted_plain },
	{ "mounted_ro", mounted_ro },
	{ "mounted_noexec", mounted_noexec },
	{ "mounted_nodev", mounted_nodev },
	{ "mounted_nosuid", mounted_nosuid },
	{ "mounted_noatime", mounted_noatime },
	{ "mounted_relatime", mounted_relatime },
	{ "mounted_strictatime", mounted_strictatime },
	{ "mounted_nodiratime", mounted_nodiratime },
	{ "mounted_by_fstab", mounted_by_fstab },
	{ "remounted_ro", remounted_ro },
	{ "remounted_rw", remounted_rw },
	{ "host_read_only", host_read_only },
	{ 0 },
};
