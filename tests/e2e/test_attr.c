// SPDX-License-Identifier: MIT
// File-system tests: attributes, extended attributes and permissions.

#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "fstest.h"

static void modes(void)
{
	static const mode_t list[] = { 0, 0400, 0644, 0755, 0777, 04755, 02755, 01777, 07777 };
	struct stat st;
	int fd = create_file("f", 1, 1);

	for (size_t i = 0; i < ARRAY_SIZE(list); i++) {
		OK(chmod("f", list[i]));
		OK(fstat(fd, &st));
		EQ(st.st_mode & 07777, list[i]);
	}
	(void)umask(027);
	OK(close(OK(open("g", O_CREAT | O_WRONLY, 0666))));
	OK(stat("g", &st));
	EQ(st.st_mode & 07777, 0640);
	OK(mkdir("d", 0777));
	OK(stat("d", &st));
	EQ(st.st_mode & 07777, 0750);
}

static void owners(void)
{
	struct stat st;
	int fd;

	need_root();
	fd = create_file("f", 1, 1);
	OK(fchown(fd, 1234, 5678));
	OK(stat("f", &st));
	EQ(st.st_uid, 1234);
	EQ(st.st_gid, 5678);
	OK(chmod("f", 06755));
	OK(chown("f", (uid_t)-1, 99));
	OK(stat("f", &st));
	EQ(st.st_uid, 1234);
	EQ(st.st_gid, 99);
	EQ(st.st_mode & 06000, 0);
	OK(symlink("f", "s"));
	OK(lchown("s", 7, 8));
	OK(lstat("s", &st));
	EQ(st.st_uid, 7);
	OK(stat("f", &st));
	EQ(st.st_uid, 1234);
}

static void nobody_makes(void *arg)
{
	struct stat st;

	(void)arg;
	OK(close(create_file("theirs", 5000, 1)));
	OK(stat("theirs", &st));
	EQ(st.st_uid, 65534);
	EQ(st.st_gid, 65534);
	FAILS(open("secret", O_RDONLY), EACCES);
	FAILS(open("readable", O_WRONLY), EACCES);
	OK(close(OK(open("readable", O_RDONLY))));
	FAILS(chmod("readable", 0777), EPERM);
	FAILS(chown("readable", 65534, 65534), EPERM);
	FAILS(open("closed/f", O_WRONLY | O_CREAT, 0644), EACCES);
	FAILS(unlink("closed/x"), EACCES);
}

/* What another user makes is his, and he is kept out of what is not. */
static void permissions(void)
{
	need_root();
	OK(chmod(".", 0777));
	OK(close(create_file("secret", 1, 1)));
	OK(chmod("secret", 0600));
	OK(close(create_file("readable", 1, 1)));
	OK(mkdir("closed", 0755));
	OK(close(create_file("closed/x", 1, 1)));
	as_nobody(nobody_makes, NULL);
}

static mode_t mode_now(int fd)
{
	struct stat st;

	OK(fstat(fd, &st));
	return st.st_mode & 07777;
}

static void nobody_writes(void *arg)
{
	int fd = *(int *)arg, own = OK(open("f", O_WRONLY));

	write_pattern(own, 0, 4096, 2);
	EQ(mode_now(own), 0755);
	/* Once more with the same descriptor, which has been written to before. */
	OK(fchmod(own, 04755));
	EQ(mode_now(own), 04755);
	write_pattern(own, 8192, 4096, 3);
	EQ(mode_now(own), 0755);
	EQ(mode_now(fd), 0755);
	OK(fchmod(own, 04755));
	OK(ftruncate(own, 60000));
	EQ(mode_now(own), 0755);
}

static void setuid_dropped(void)
{
	int fd;

	need_root();
	OK(chmod(".", 0777));
	fd = create_file("f", 64 * KIB, 1);
	OK(fchown(fd, 65534, 65534));
	OK(fchmod(fd, 06755));
	check_pattern(fd, 0, 64 * KIB, 1);
	as_nobody(nobody_writes, &fd);
}

static void capability_dropped(void)
{
	struct vfs_cap_data cap = { .magic_etc = VFS_CAP_REVISION_2, .data = { { 0x400, 0 } } };
	int fd;

	need_root();
	fd = create_file("f", 64 * KIB, 1);
	write_pattern(fd, 0, 4096, 2);
	for (int i = 0; i < 2; i++) {
		OK(fsetxattr(fd, "security.capability", &cap, sizeof(cap), 0));
		EQ(fgetxattr(fd, "security.capability", &cap, sizeof(cap)), sizeof(cap));
		write_pattern(fd, 4096, 4096, 3);
		FAILS(fgetxattr(fd, "security.capability", &cap, sizeof(cap)), ENODATA);
	}
}

static void times(void)
{
	struct timespec set[2] = { { 1234567890, 123456789 }, { 987654321, 987654321 } };
	struct timespec some[2] = { { 0, UTIME_OMIT }, { 0, UTIME_NOW } };
	time_t before = time(NULL);
	struct stat st;

	OK(close(create_file("f", 1, 1)));
	OK(utimensat(AT_FDCWD, "f", set, 0));
	OK(stat("f", &st));
	EQ(st.st_atim.tv_sec, 1234567890);
	EQ(st.st_atim.tv_nsec, 123456789);
	EQ(st.st_mtim.tv_sec, 987654321);
	EQ(st.st_mtim.tv_nsec, 987654321);
	OK(utimensat(AT_FDCWD, "f", some, 0));
	OK(stat("f", &st));
	EQ(st.st_atim.tv_sec, 1234567890);
	CHECK(st.st_mtim.tv_sec >= before - 2 && st.st_mtim.tv_sec <= time(NULL) + 2);
	OK(symlink("f", "s"));
	OK(utimensat(AT_FDCWD, "s", set, AT_SYMLINK_NOFOLLOW));
	OK(lstat("s", &st));
	EQ(st.st_mtim.tv_nsec, 987654321);
}

static bool later(struct timespec a, struct timespec b)
{
	return a.tv_sec > b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec > b.tv_nsec);
}

/* The first write and the ones after it, inside and behind the end of the file. */
static void mtime_moves(void)
{
	static const off_t at[] = { 0, 4096, 8192, 63 * KIB, 64 * KIB };
	int fd = create_file("f", 64 * KIB, 1);
	struct stat old, st;

	for (size_t i = 0; i < ARRAY_SIZE(at); i++) {
		OK(fstat(fd, &old));
		(void)usleep(30000);
		write_pattern(fd, at[i], 4096, 2);
		OK(fstat(fd, &st));
		if (!later(st.st_mtim, old.st_mtim) || !later(st.st_ctim, old.st_ctim))
			fail(__FILE__, __LINE__, "the write at %lld did not move mtime and ctime",
			     (long long)at[i]);
	}
	OK(close(fd));
	OK(stat("f", &old));
	(void)usleep(30000);
	OK(truncate("f", 100));
	OK(stat("f", &st));
	CHECK(later(st.st_mtim, old.st_mtim));
}

/* What utimens sets after writes stays, also when the file is closed later (as cp -p does it). */
static void set_mtime_stays(void)
{
	struct timespec set[2] = { { 1000000000, 5 }, { 1000000000, 5 } };
	int fd = create_file("f", 64 * KIB, 1);
	struct stat st;

	write_pattern(fd, 0, 32 * KIB, 2);
	write_pattern(fd, 0, 32 * KIB, 3);
	OK(futimens(fd, set));
	OK(fsync(fd));
	OK(close(fd));
	OK(stat("f", &st));
	EQ(st.st_mtim.tv_sec, 1000000000);
	EQ(st.st_mtim.tv_nsec, 5);
}

static void directory_mtime_moves(void)
{
	struct stat old, st;

	OK(stat(".", &old));
	(void)usleep(30000);
	OK(close(create_file("f", 0, 0)));
	OK(stat(".", &st));
	CHECK(later(st.st_mtim, old.st_mtim));
	(void)usleep(30000);
	OK(unlink("f"));
	OK(stat(".", &old));
	CHECK(later(old.st_mtim, st.st_mtim));
}

static void xattrs(void)
{
	char value[2000], buf[4000];
	int fd = create_file("f", 1, 1);

	pattern_fill(value, sizeof(value), 1, 0);
	OK(setxattr("f", "user.a", "1", 1, XATTR_CREATE));
	FAILS(setxattr("f", "user.a", "2", 1, XATTR_CREATE), EEXIST);
	FAILS(setxattr("f", "user.b", "2", 1, XATTR_REPLACE), ENODATA);
	OK(fsetxattr(fd, "user.big", value, sizeof(value), 0));
	EQ(getxattr("f", "user.big", NULL, 0), sizeof(value));
	FAILS(getxattr("f", "user.big", buf, 10), ERANGE);
	EQ(getxattr("f", "user.big", buf, sizeof(buf)), sizeof(value));
	EQ(memcmp(buf, value, sizeof(value)), 0);
	OK(setxattr("f", "user.empty", "", 0, 0));
	EQ(getxattr("f", "user.empty", buf, sizeof(buf)), 0);
	FAILS(getxattr("f", "user.none", buf, sizeof(buf)), ENODATA);
	EQ(flistxattr(fd, NULL, 0), flistxattr(fd, buf, sizeof(buf)));
	CHECK(memmem(buf, sizeof(buf), "user.a", 7) && memmem(buf, sizeof(buf), "user.big", 9));
	OK(removexattr("f", "user.a"));
	FAILS(fgetxattr(fd, "user.a", buf, sizeof(buf)), ENODATA);
	FAILS(removexattr("f", "user.a"), ENODATA);
	OK(mkdir("d", 0755));
	OK(setxattr("d", "user.d", "x", 1, 0));
	EQ(getxattr("d", "user.d", buf, sizeof(buf)), 1);
}

/* Pipes and devices have ACLs, too; nobody has to be at the other end of the pipe. */
static void special_acl(void)
{
	static const char name[] = "system.posix_acl_access";
	struct {
		uint32_t version;
		struct {
			uint16_t tag, perm;
			uint32_t id;
		} entry[5];
	} acl = { 2,
		  { { 1, 6, -1u }, { 2, 4, 4321 }, { 4, 4, -1u }, { 16, 4, -1u }, { 32, 0, -1u } } },
	  got;
	const char *file[] = { "pipe", "null", "socket" };
	const mode_t type[] = { S_IFIFO, S_IFCHR, S_IFSOCK };
	struct stat st;

	need_root();
	for (size_t i = 0; i < ARRAY_SIZE(file); i++) {
		OK(mknod(file[i], type[i] | 0600, makedev(1, 3)));
		EQ(listxattr(file[i], NULL, 0), 0);
		FAILS(getxattr(file[i], name, &got, sizeof(got)), ENODATA);
		OK(setxattr(file[i], name, &acl, sizeof(acl), 0));
		EQ(getxattr(file[i], name, &got, sizeof(got)), sizeof(acl));
		EQ(memcmp(&got, &acl, sizeof(acl)), 0);
		OK(stat(file[i], &st));
		EQ(st.st_mode & 0777, 0640);
		FAILS(setxattr(file[i], "user.a", "1", 1, 0), EPERM);
		OK(removexattr(file[i], name));
		EQ(listxattr(file[i], NULL, 0), 0);
	}
	OK(symlink("nowhere", "link"));
	EQ(llistxattr("link", NULL, 0), 0);
	FAILS(lsetxattr("link", "user.a", "1", 1, 0), EPERM);
}

static void stat_fs(void)
{
	struct statvfs st;

	OK(statvfs(".", &st));
	CHECK(st.f_bsize >= 512 && st.f_frsize >= 512);
	CHECK(st.f_blocks > 0 && st.f_bfree <= st.f_blocks);
	EQ(st.f_namemax, 255);
}

const struct test attr_tests[] = {
	{ "modes", modes },
	{ "owners", owners },
	{ "permissions", permissions },
	{ "setuid_dropped", setuid_dropped },
	{ "capability_dropped", capability_dropped },
	{ "times", times },
	{ "mtime_moves", mtime_moves },
	{ "set_mtime_stays", set_mtime_stays },
	{ "directory_mtime_moves", directory_mtime_moves },
	{ "xattrs", xattrs },
	{ "special_acl", special_acl },
	{ "stat_fs", stat_fs },
	{ 0 },
};
