// SPDX-License-Identifier: MIT
// Fidelity: names, links and special files.

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include "fidelity.h"

/* Every byte but / and 0, alone and beside a letter; . alone is no name of a file. */
static void every_byte(void)
{
	struct stat st;

	for (int c = 1; c < 256; c++) {
		char name[3] = { 'n', (char)c, 0 };

		if (c == '/')
			continue;
		OK(mknod(name, S_IFREG | 0644, 0));
		OK(stat(name, &st));
		EQ(st.st_size, 0);
		if (c != '.')
			OK(rename(name, name + 1));
	}
}

static void name_too_long(void)
{
	char name[300] = "", path[PATH_MAX + 100] = "";
	struct stat st;

	memset(name, 'n', 256);
	FAILS(open(name, O_WRONLY | O_CREAT, 0644), ENAMETOOLONG);
	FAILS(mkdir(name, 0755), ENAMETOOLONG);
	FAILS(stat(name, &st), ENAMETOOLONG);
	FAILS(symlink("x", name), ENAMETOOLONG);
	name[255] = '\0';
	OK(mkdir(name, 0755));
	FAILS(rename(name, "x/y"), ENOENT);
	OK(rmdir(name));
	for (int i = 0; i < PATH_MAX + 10; i += 2)
		(void)snprintf(path + i, sizeof(path) - (size_t)i, "./");
	FAILS(open(path, O_RDONLY), ENAMETOOLONG);
}

static void rename_whiteout(void)
{
	struct stat st;

	need_root();
	OK(close(create_file("a", 10, 1)));
	if (renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_WHITEOUT) < 0) {
		if (errno == EINVAL)
			skip("RENAME_WHITEOUT: %m");
		fail(__FILE__, __LINE__, "RENAME_WHITEOUT: %m");
	}
	OK(stat("b", &st));
	EQ(st.st_size, 10);
	OK(lstat("a", &st));
	CHECK(S_ISCHR(st.st_mode));
	EQ(st.st_rdev, 0);
}

static void rename_links(void)
{
	struct stat st;

	OK(close(create_file("a", 10, 1)));
	OK(link("a", "b"));
	OK(rename("a", "b")); /* two names of one file: nothing happens */
	OK(stat("a", &st));
	EQ(st.st_nlink, 2);
	FAILS(renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_NOREPLACE | RENAME_EXCHANGE), EINVAL);
	FAILS(renameat2(AT_FDCWD, "a", AT_FDCWD, "b", 0x100), EINVAL);
	OK(mkdir("d", 0755));
	OK(renameat2(AT_FDCWD, "a", AT_FDCWD, "d", RENAME_EXCHANGE));
	OK(stat("a", &st));
	CHECK(S_ISDIR(st.st_mode));
	FAILS(rename("a", "a/."), EBUSY);
	FAILS(rmdir("a/."), EINVAL);
}

static void readlink_sizes(void)
{
	static const size_t len[] = { 1, 59, 60, 255, 1023, 4000, 4095 };
	char target[PATH_MAX + 10], buf[PATH_MAX + 10];
	struct stat st;

	for (size_t i = 0; i < ARRAY_SIZE(len); i++) {
		memset(target, 'a' + (int)i, sizeof(target));
		target[len[i]] = '\0';
		OK(symlink(target, "s"));
		OK(lstat("s", &st));
		EQ(st.st_size, len[i]);
		EQ(readlink("s", buf, sizeof(buf)), len[i]);
		EQ(memcmp(buf, target, len[i]), 0);
		EQ(readlink("s", buf, 1), 1);
		OK(unlink("s"));
	}
	memset(target, 'x', 4096);
	target[4096] = '\0';
	FAILS(symlink(target, "s"), ENAMETOOLONG);
	FAILS(symlink("", "s"), ENOENT);
}

static void symlink_chain(void)
{
	char from[16], to[16];

	OK(close(create_file("l0", 10, 1)));
	for (int i = 1; i <= 41; i++) {
		(void)snprintf(from, sizeof(from), "l%d", i - 1);
		(void)snprintf(to, sizeof(to), "l%d", i);
		OK(symlink(from, to));
	}
	OK(close(OK(open("l40", O_RDONLY))));
	FAILS(open("l41", O_RDONLY), ELOOP);
	OK(symlink("b", "a"));
	OK(symlink("a", "b"));
	FAILS(open("a", O_RDONLY), ELOOP);
	FAILS(open("a", O_WRONLY | O_CREAT, 0644), ELOOP);
	FAILS(open("a", O_WRONLY | O_CREAT | O_EXCL, 0644), EEXIST);
	OK(symlink("made", "m"));
	OK(close(OK(open("m", O_WRONLY | O_CREAT, 0644))));
	OK(unlink("made"));
}

static void link_kinds(void)
{
	struct stat st;

	OK(symlink("nowhere", "s"));
	OK(link("s", "t")); /* of the link itself */
	OK(lstat("t", &st));
	CHECK(S_ISLNK(st.st_mode));
	EQ(st.st_nlink, 2);
	FAILS(linkat(AT_FDCWD, "s", AT_FDCWD, "u", AT_SYMLINK_FOLLOW), ENOENT);
	FAILS(link("s", "/dev/fidelity"), EXDEV);
	OK(mkfifo("p", 0644));
	OK(link("p", "q"));
	OK(stat("q", &st));
	CHECK(S_ISFIFO(st.st_mode));
}

static void many_links(void)
{
	char name[16];
	struct stat st;

	OK(close(create_file("f", 10, 1)));
	for (int i = 0; i < 100; i++) {
		(void)snprintf(name, sizeof(name), "l%d", i);
		OK(link("f", name));
	}
	OK(stat("f", &st));
	EQ(st.st_nlink, 101);
	OK(stat("l99", &st));
	EQ(st.st_nlink, 101);
}

static void fifo_writer(void *arg)
{
	(void)arg;
	EQ(write(OK(open("fifo", O_WRONLY)), "hello", 5), 5);
}

static void fifo_data(void)
{
	char buf[10];
	pid_t pid;

	OK(mkfifo("fifo", 0644));
	FAILS(open("fifo", O_WRONLY | O_NONBLOCK), ENXIO);
	pid = start(fifo_writer, NULL);
	EQ(read(OK(open("fifo", O_RDONLY)), buf, sizeof(buf)), 5);
	finish(pid);
}

static void socket_data(void)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX, .sun_path = "sock" };
	int s = OK(socket(AF_UNIX, SOCK_STREAM, 0)), c = OK(socket(AF_UNIX, SOCK_STREAM, 0)), a;
	char buf[10];

	OK(bind(s, (struct sockaddr *)&sun, sizeof(sun)));
	FAILS(bind(c, (struct sockaddr *)&sun, sizeof(sun)), EADDRINUSE);
	OK(listen(s, 1));
	OK(connect(c, (struct sockaddr *)&sun, sizeof(sun)));
	a = OK(accept(s, NULL, NULL));
	EQ(write(c, "hello", 5), 5);
	EQ(read(a, buf, sizeof(buf)), 5);
	FAILS(open("sock", O_RDWR), ENXIO);
}

static void device_nodes(void)
{
	struct stat st;
	char c = 1;
	int fd;

	need_root();
	OK(mknod("null", S_IFCHR | 0666, makedev(1, 3)));
	OK(mknod("zero", S_IFCHR | 0666, makedev(1, 5)));
	OK(mknod("big", S_IFCHR | 0600, makedev(0xabc, 0x12345)));
	OK(mknod("block", S_IFBLK | 0600, makedev(259, 1000)));
	OK(stat("big", &st));
	EQ(major(st.st_rdev), 0xabc);
	EQ(minor(st.st_rdev), 0x12345);
	OK(stat("block", &st));
	CHECK(S_ISBLK(st.st_mode));
	EQ(minor(st.st_rdev), 1000);
	fd = OK(open("null", O_RDWR));
	EQ(write(fd, &c, 1), 1);
	EQ(read(fd, &c, 1), 0);
	EQ(read(OK(open("zero", O_RDONLY)), &c, 1), 1);
	EQ(c, 0);
	OK(mknod("plain", S_IFREG | 0640, 0));
	OK(stat("plain", &st));
	CHECK(S_ISREG(st.st_mode) && st.st_size == 0);
}

static void slashes(void)
{
	struct stat st, up;

	OK(close(create_file("f", 10, 1)));
	OK(mkdir("d/", 0755));
	OK(mkdir("d/e", 0755));
	FAILS(stat("f/", &st), ENOTDIR);
	FAILS(open("f/", O_RDONLY), ENOTDIR);
	FAILS(open("new/", O_WRONLY | O_CREAT, 0644), EISDIR);
	FAILS(stat("f/.", &st), ENOTDIR);
	OK(stat("d//e/..", &st));
	OK(stat("d", &up));
	EQ(st.st_ino, up.st_ino);
	EQ(st.st_dev, up.st_dev);
	FAILS(stat("", &st), ENOENT);
	FAILS(mkdir("d", 0755), EEXIST);
	FAILS(mkdir("f", 0755), EEXIST);
	FAILS(unlink("d"), EISDIR);
	FAILS(rmdir("f"), ENOTDIR);
	FAILS(rmdir("d"), ENOTEMPTY);
	FAILS(rename("f", "d/e/.."), EBUSY);
}

/* The working directory is gone, and all one can do there is to leave. */
static void removed_cwd(void)
{
	char buf[PATH_MAX];
	struct stat st;

	OK(mkdir("d", 0755));
	OK(chdir("d"));
	OK(rmdir("../d"));
	CHECK(!getcwd(buf, sizeof(buf)) && errno == ENOENT);
	FAILS(open("f", O_WRONLY | O_CREAT, 0644), ENOENT);
	FAILS(mkdir("e", 0755), ENOENT);
	OK(stat(".", &st));
	EQ(st.st_nlink, 0);
	OK(chdir(".."));
	FAILS(stat("d", &st), ENOENT);
}

const struct test fid_name_tests[] = {
	{ "every_byte", every_byte },
	{ "name_too_long", name_too_long },
	{ "rename_whiteout", rename_whiteout },
	{ "rename_links", rename_links },
	{ "readlink_sizes", readlink_sizes },
	{ "symlink_chain", symlink_chain },
	{ "link_kinds", link_kinds },
	{ "many_links", many_links },
	{ "fifo_data", fifo_data },
	{ "socket_data", socket_data },
	{ "device_nodes", device_nodes },
	{ "slashes", slashes },
	{ "removed_cwd", removed_cwd },
	{ 0 },
};
