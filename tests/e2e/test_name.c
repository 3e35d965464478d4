// SPDX-License-Identifier: MIT
// File-system tests: names, links, renaming and removing.

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "fstest.h"

/* A name is made, found by reading the directory, renamed and removed. */
static void try_name(const char *name)
{
	struct dirent *e;
	struct stat st;
	int found = 0;
	DIR *dir;

	OK(close(create_file(name, 10, 1)));
	OK(stat(name, &st));
	EQ(st.st_size, 10);
	dir = opendir(".");
	CHECK(dir);
	while ((e = readdir(dir)))
		found += !strcmp(e->d_name, name);
	OK(closedir(dir));
	if (found != 1)
		fail(__FILE__, __LINE__, "a name of %zu bytes is seen %d times", strlen(name),
		     found);
	OK(rename(name, "other"));
	OK(rename("other", name));
	OK(unlink(name));
	FAILS(stat(name, &st), ENOENT);
}

static void long_names(void)
{
	char name[300] = "";
	struct stat st;

	memset(name, 'n', 255);
	try_name(name);
	for (int i = 0; i < 255; i += 3)
		memcpy(name + i, "\xe2\x82\xac", 3); /* 85 times a character of three bytes */
	try_name(name);
	memset(name, 'n', 256);
	FAILS(open(name, O_CREAT | O_WRONLY, 0644), ENAMETOOLONG);
	FAILS(stat(name, &st), ENAMETOOLONG);
	FAILS(mkdir(name, 0755), ENAMETOOLONG);
	OK(close(create_file("f", 0, 0)));
	FAILS(rename("f", name), ENAMETOOLONG);
	FAILS(link("f", name), ENAMETOOLONG);
}

static void strange_names(void)
{
	static const char *const names[] = {
		" ",	 "  x ", "-rf",	     "...",  "..x",
		"a\nb",	 "a\\b", "\"'$(x)`", "%s%n", "\x01\x7f\x80\xff",
		"*?[a]", "~"
	};
	char all[256] = "";
	int n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		try_name(names[i]);
	for (int c = 1; c < 256; c++)
		if (c != '/')
			all[n++] = (char)c;
	try_name(all);
}

static void hard_links(void)
{
	struct stat a, b;
	int fd = create_file("a", 5000, 1), other;

	OK(link("a", "b"));
	OK(stat("a", &a));
	OK(stat("b", &b));
	EQ(a.st_ino, b.st_ino);
	EQ(a.st_nlink, 2);
	EQ(b.st_nlink, 2);
	other = OK(open("b", O_RDWR));
	write_pattern(other, 1000, 5000, 2);
	EQ(size_of(fd), 6000);
	check_pattern(fd, 1000, 5000, 2);
	OK(unlink("a"));
	OK(fstat(fd, &a));
	EQ(a.st_nlink, 1);
	check_pattern(other, 0, 1000, 1);
	FAILS(link("b", "b"), EEXIST);
	FAILS(link("x", "y"), ENOENT);
	OK(mkdir("d", 0755));
	FAILS(link("d", "e"), EPERM);
}

static void symlinks(void)
{
	char target[1001] = "", buf[PATH_MAX];
	struct stat st;

	OK(close(create_file("f", 10, 1)));
	OK(symlink("f", "s"));
	OK(stat("s", &st));
	CHECK(S_ISREG(st.st_mode));
	OK(lstat("s", &st));
	CHECK(S_ISLNK(st.st_mode));
	EQ(st.st_size, 1);
	EQ(readlink("s", buf, sizeof(buf)), 1);
	EQ(readlink("s", buf, 1), 1);
	memset(target, 't', 1000);
	OK(symlink(target, "long"));
	EQ(readlink("long", buf, sizeof(buf)), 1000);
	EQ(memcmp(buf, target, 1000), 0);
	OK(symlink("nothing", "dangling"));
	FAILS(open("dangling", O_RDONLY), ENOENT);
	OK(symlink("loop", "loop"));
	FAILS(open("loop", O_RDONLY), ELOOP);
	FAILS(open("s", O_RDONLY | O_NOFOLLOW), ELOOP);
	FAILS(readlink("f", buf, sizeof(buf)), EINVAL);
	OK(unlink("s"));
	OK(stat("f", &st));
}

static void special_files(void)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX, .sun_path = "sock" };
	struct stat st;
	int sock;

	OK(mkfifo("fifo", 0640));
	OK(stat("fifo", &st));
	CHECK(S_ISFIFO(st.st_mode));
	EQ(st.st_mode & 07777, 0640);
	OK(close(OK(open("fifo", O_RDWR))));
	sock = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	OK(bind(sock, (struct sockaddr *)&sun, sizeof(sun)));
	OK(stat("sock", &st));
	CHECK(S_ISSOCK(st.st_mode));
	OK(unlink("sock"));
	OK(unlink("fifo"));
}

static void rename_files(void)
{
	struct stat st;
	int a = create_file("a", 100, 1), b = create_file("b", 200, 2);

	OK(rename("a", "b"));
	FAILS(stat("a", &st), ENOENT);
	OK(stat("b", &st));
	EQ(st.st_size, 100);
	/* The file that lost its name lives on. */
	check_pattern(b, 0, 200, 2);
	write_pattern(b, 200, 10000, 2);
	check_pattern(b, 0, 10200, 2);
	OK(fstat(b, &st));
	EQ(st.st_nlink, 0);
	check_pattern(a, 0, 100, 1);
	FAILS(rename("x", "y"), ENOENT);
	OK(rename("b", "b"));
}

static void rename_directories(void)
{
	struct stat st;

	OK(mkdir("a", 0755));
	OK(mkdir("a/b", 0755));
	OK(mkdir("c", 0755));
	OK(close(create_file("a/b/f", 10, 1)));
	FAILS(rename("a", "a/b/x"), EINVAL);
	OK(rename("a/b", "c/b"));
	OK(stat("c/b/f", &st));
	EQ(st.st_size, 10);
	FAILS(stat("a/b", &st), ENOENT);
	FAILS(rename("a", "c"), ENOTEMPTY);
	OK(rename("c", "a"));
	OK(stat("a/b/f", &st));
	OK(mkdir("d", 0755));
	FAILS(rename("a/b/f", "d"), EISDIR);
	FAILS(rename("d", "a/b/f"), ENOTDIR);
}

static void rename_flags(void)
{
	struct stat st;

	OK(close(create_file("a", 1, 1)));
	OK(close(create_file("b", 2, 1)));
	FAILS(renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_NOREPLACE), EEXIST);
	OK(renameat2(AT_FDCWD, "a", AT_FDCWD, "c", RENAME_NOREPLACE));
	OK(renameat2(AT_FDCWD, "b", AT_FDCWD, "c", RENAME_EXCHANGE));
	OK(stat("b", &st));
	EQ(st.st_size, 1);
	OK(stat("c", &st));
	EQ(st.st_size, 2);
	FAILS(renameat2(AT_FDCWD, "b", AT_FDCWD, "x", RENAME_EXCHANGE), ENOENT);
}

static void unlink_open(void)
{
	struct stat st;
	int fd = create_file("f", MIB, 1), new;

	OK(unlink("f"));
	FAILS(open("f", O_RDONLY), ENOENT);
	check_pattern(fd, 0, MIB, 1);
	write_pattern(fd, MIB - 5000, MIB, 2);
	check_pattern(fd, MIB - 5000, MIB, 2);
	OK(ftruncate(fd, 100));
	OK(fstat(fd, &st));
	EQ(st.st_size, 100);
	EQ(st.st_nlink, 0);
	/* A new file of the same name is another file. */
	new = create_file("f", 5000, 3);
	check_pattern(fd, 0, 100, 1);
	check_pattern(new, 0, 5000, 3);
}

static void unnamed_file(void)
{
	int fd = OK(open(".", O_TMPFILE | O_RDWR, 0644));
	char path[64];
	struct stat st;

	write_pattern(fd, 0, 100000, 1);
	check_pattern(fd, 0, 100000, 1);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	OK(linkat(AT_FDCWD, path, AT_FDCWD, "f", AT_SYMLINK_FOLLOW));
	OK(stat("f", &st));
	EQ(st.st_size, 100000);
	EQ(st.st_nlink, 1);
}

const struct test name_tests[] = {
	{ "long_names", long_names },
	{ "strange_names", strange_names },
	{ "hard_links", hard_links },
	{ "symlinks", symlinks },
	{ "special_files", special_files },
	{ "rename_files", rename_files },
	{ "rename_directories", rename_directories },
	{ "rename_flags", rename_flags },
	{ "unlink_open", unlink_open },
	{ "unnamed_file", unnamed_file },
	{ 0 },
};
