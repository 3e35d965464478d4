// SPDX-License-Identifier: MIT
// File-system tests: what kernel and host must have agreed upon in FUSE_INIT, seen by its effects.

#include <assert.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/mount.h>
#include <linux/xattr.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "fstest.h"

#define NOBODY 65534

static mode_t mode_of(const char *name)
{
	struct stat st;

	OK(lstat(name, &st));
	return st.st_mode & 07777;
}

/* An ACL in the form of its extended attribute: version, then entries. */
struct acl {
	struct {
		uint32_t version;
		struct {
			uint16_t tag, perm;
			uint32_t id;
		} entry[6];
	} x;
	size_t size;
};

static_assert(sizeof(((struct acl *)0)->x) == 4 + 6 * 8, "no gaps");

enum { ACL_U_OBJ = 1, ACL_U = 2, ACL_G_OBJ = 4, ACL_G = 8, ACL_M = 16, ACL_O = 32 };

/* owner rwx, user @uid @perm, group @group, mask @mask, others nothing */
static struct acl acl_for(uint32_t uid, uint16_t perm, uint16_t group, uint16_t mask)
{
	struct acl a = { .x = { .version = 2,
				.entry = { { ACL_U_OBJ, 7, UINT32_MAX },
					   { ACL_U, perm, uid },
					   { ACL_G_OBJ, group, UINT32_MAX },
					   { ACL_M, mask, UINT32_MAX },
					   { ACL_O, 0, UINT32_MAX } } },
			 .size = 4 + 5 * 8 };

	return a;
}

static void acl_set(const char *name, const char *attr, const struct acl *a)
{
	if (setxattr(name, attr, &a->x, a->size, 0) < 0) {
		if (errno == EOPNOTSUPP)
			skip("no ACLs here");
		fail(__FILE__, __LINE__, "setxattr %s: %m", attr);
	}
}

static void nobody_by_acl(void *arg)
{
	(void)arg;
	OK(close(OK(open("yes", O_RDONLY))));
	FAILS(open("yes", O_WRONLY), EACCES);
	FAILS(open("no", O_RDONLY), EACCES);
	/* Without an ACL the mode counts; the question for an ACL must not fail. */
	OK(close(OK(open("plain", O_RDONLY))));
	FAILS(open("closed", O_RDONLY), EACCES);
}

/* POSIX_ACL: permissions by ACL, not by the group bits of the mode, which show the mask. */
static void acl_checked(void)
{
	struct acl yes = acl_for(NOBODY, 4, 0, 7), no = acl_for(NOBODY, 0, 4, 7);

	need_root();
	OK(chmod(".", 0755));
	OK(close(create_file("yes", 10, 1)));
	OK(close(create_file("no", 10, 1)));
	OK(close(create_file("plain", 10, 1)));
	OK(close(create_file("closed", 10, 1)));
	OK(chmod("plain", 0644));
	OK(chmod("closed", 0640));
	acl_set("yes", XATTR_NAME_POSIX_ACL_ACCESS, &yes);
	acl_set("no", XATTR_NAME_POSIX_ACL_ACCESS, &no);
	EQ(mode_of("yes"), 0770);
	EQ(getxattr("yes", XATTR_NAME_POSIX_ACL_ACCESS, NULL, 0), yes.size);
	as_nobody(nobody_by_acl, NULL);
	/* A new mode changes the mask: the user of the ACL loses. */
	OK(chmod("yes", 0700));
	EQ(mode_of("yes"), 0700);
	struct acl now;
	EQ(getxattr("yes", XATTR_NAME_POSIX_ACL_ACCESS, &now.x, sizeof(now.x)), yes.size);
	EQ(now.x.entry[3].tag, ACL_M);
	EQ(now.x.entry[3].perm, 0);
	OK(removexattr("yes", XATTR_NAME_POSIX_ACL_ACCESS));
	FAILS(getxattr("yes", XATTR_NAME_POSIX_ACL_ACCESS, NULL, 0), ENODATA);
}

/* DONT_MASK and default ACLs: the umask counts, unless the directory has a default ACL. */
static void default_acl_and_umask(void)
{
	struct acl def = acl_for(NOBODY, 7, 7, 7);

	OK(mkdir("plain", 0777));
	OK(mkdir("acl", 0777));
	acl_set("acl", XATTR_NAME_POSIX_ACL_DEFAULT, &def);
	(void)umask(077);
	OK(close(OK(open("plain/f", O_CREAT | O_WRONLY, 0666))));
	OK(mkdir("plain/d", 0777));
	OK(mknod("plain/p", S_IFIFO | 0666, 0));
	EQ(mode_of("plain/f"), 0600);
	EQ(mode_of("plain/d"), 0700);
	EQ(mode_of("plain/p"), 0600);
	OK(close(OK(open("acl/f", O_CREAT | O_WRONLY, 0666))));
	OK(mkdir("acl/d", 0777));
	OK(mknod("acl/p", S_IFIFO | 0666, 0));
	EQ(mode_of("acl/f"), 0660);
	EQ(mode_of("acl/d"), 0770);
	EQ(mode_of("acl/p"), 0660);
	EQ(getxattr("acl/d", XATTR_NAME_POSIX_ACL_DEFAULT, NULL, 0), def.size);
	EQ(getxattr("acl/f", XATTR_NAME_POSIX_ACL_ACCESS, NULL, 0), def.size);
}

static void nobody_sets_acl(void *arg)
{
	const struct acl *a = arg;

	acl_set("theirs", XATTR_NAME_POSIX_ACL_ACCESS, a);
	acl_set("ours", XATTR_NAME_POSIX_ACL_ACCESS, a);
}

/* SETXATTR_EXT: an ACL that one outside of the file's group sets takes setgid away. */
static void acl_drops_setgid(void)
{
	struct acl a = acl_for(1234, 7, 7, 7);

	need_root();
	OK(close(create_file("theirs", 1, 1)));
	OK(close(create_file("ours", 1, 1)));
	OK(chown("theirs", NOBODY, 0));
	OK(chown("ours", NOBODY, NOBODY));
	OK(chmod("theirs", 02770));
	OK(chmod("ours", 02770));
	as_nobody(nobody_sets_acl, &a);
	EQ(mode_of("theirs"), 0770);
	EQ(mode_of("ours"), 02770);
	/* And root keeps it. */
	OK(chmod("theirs", 02770));
	acl_set("theirs", XATTR_NAME_POSIX_ACL_ACCESS, &a);
	EQ(mode_of("theirs"), 02770);
}

/* A user with the directory's group among the others, as member and owner of nothing. */
static void member_makes(void *arg)
{
	const gid_t group = 5678;
	struct stat st;

	(void)arg;
	OK(setgroups(1, &group));
	OK(setgid(NOBODY));
	OK(setuid(NOBODY));
	OK(close(OK(open("g/f", O_CREAT | O_WRONLY | O_EXCL, 0644))));
	OK(mkdir("g/d", 0755));
	OK(mknod("g/p", S_IFIFO | 0644, 0));
	OK(symlink("f", "g/s"));
	OK(stat("g/f", &st));
	EQ(st.st_uid, NOBODY);
	EQ(st.st_gid, group);
	OK(stat("g/d", &st));
	EQ(st.st_gid, group);
	EQ(st.st_mode & 07777, 02755);
	OK(stat("g/p", &st));
	EQ(st.st_gid, group);
	OK(lstat("g/s", &st));
	EQ(st.st_uid, NOBODY);
	EQ(st.st_gid, group);
	/* setgid on a file of that group may be kept, because its maker is in the group */
	OK(close(OK(open("g/x", O_CREAT | O_WRONLY | O_EXCL, 02755))));
	OK(stat("g/x", &st));
	EQ(st.st_mode & 07777, 02755);
}

/* CREATE_SUPP_GROUP: the host acts with the one supplementary group that counts. */
static void supplementary_group(void)
{
	need_root();
	OK(chmod(".", 0755));
	OK(mkdir("g", 0755));
	OK(chown("g", 0, 5678));
	OK(chmod("g", 02775));
	finish(start(member_makes, NULL));
}

/* TMPFILE */
static void tmpfile_linked(void)
{
	int fd = open(".", O_TMPFILE | O_RDWR, 0640);
	char link[64];
	struct stat st;

	if (fd < 0 && errno == EOPNOTSUPP)
		skip("no O_TMPFILE here (FUSE has it from Linux 6.2)");
	OK(fd);
	write_pattern(fd, 0, 100000, 3);
	OK(fstat(fd, &st));
	EQ(st.st_nlink, 0);
	EQ(st.st_mode & 07777, 0640);
	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	OK(linkat(AT_FDCWD, link, AT_FDCWD, "f", AT_SYMLINK_FOLLOW));
	OK(close(fd));
	fd = OK(open("f", O_RDONLY));
	EQ(size_of(fd), 100000);
	check_pattern(fd, 0, 100000, 3);
	OK(fstat(fd, &st));
	EQ(st.st_nlink, 1);
	fd = OK(open(".", O_TMPFILE | O_RDWR | O_EXCL, 0600));
	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	FAILS(linkat(AT_FDCWD, link, AT_FDCWD, "g", AT_SYMLINK_FOLLOW), ENOENT);
}

/* STATX: the time of birth, which no GETATTR has. */
static void birth_time(void)
{
	struct statx a, b;
	int fd = create_file("f", 10, 1);

	OK(statx(AT_FDCWD, "f", 0, STATX_BASIC_STATS | STATX_BTIME, &a));
	if (!(a.stx_mask & STATX_BTIME))
		skip("no time of birth (FUSE has it from Linux 6.6)");
	(void)usleep(20000);
	write_pattern(fd, 0, 100, 2);
	OK(fchmod(fd, 0600));
	OK(statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &b));
	EQ(a.stx_btime.tv_sec, b.stx_btime.tv_sec);
	EQ(a.stx_btime.tv_nsec, b.stx_btime.tv_nsec);
	CHECK(b.stx_mtime.tv_sec > b.stx_btime.tv_sec || b.stx_mtime.tv_nsec > b.stx_btime.tv_nsec);
	EQ(b.stx_size, 100);
	EQ(b.stx_mode & 07777, 0600);
}

/* SYNCFS: at the least it is no error, and what was written is on the host. */
static void sync_fs(void)
{
	int fd = create_file("f", 100000, 1), dir = OK(open(".", O_RDONLY | O_DIRECTORY));

	OK(syncfs(dir));
	OK(syncfs(fd));
	check_pattern(fd, 0, 100000, 1);
}

/* CACHE_SYMLINKS: a link's target is what it is, also when the name is another link now. */
static void symlink_replaced(void)
{
	char buf[64];

	for (int i = 0; i < 20; i++) {
		char target[16];
		ssize_t n;

		n = snprintf(target, sizeof(target), "target%d", i);
		OK(symlink(target, "new"));
		OK(rename("new", "link"));
		EQ(readlink("link", buf, sizeof(buf)), n);
		EQ(memcmp(buf, target, (size_t)n), 0);
		EQ(readlink("link", buf, sizeof(buf)), n);
	}
}

/* Extended attributes of what cannot be opened. */
static void xattrs_of_special(void)
{
	char buf[1000];
	ssize_t n;

	need_root();
	OK(symlink("nowhere", "s"));
	OK(mknod("p", S_IFIFO | 0644, 0));
	/* user.* is for files and directories only, everywhere */
	FAILS(lsetxattr("s", "user.a", "1", 1, 0), EPERM);
	FAILS(lsetxattr("p", "user.a", "1", 1, 0), EPERM);
	FAILS(lgetxattr("p", XATTR_NAME_POSIX_ACL_ACCESS, buf, sizeof(buf)), ENODATA);
	/* There may be a label of a security module. */
	n = OK(llistxattr("s", buf, sizeof(buf)));
	CHECK(!memmem(buf, (size_t)n, "user.", 5));
}

/* HANDLE_KILLPRIV_V2: root keeps setuid by writing, another one who has the file open does not. */
static void nobody_writes_after_root(void *arg)
{
	int *fd = arg, own;
	char c;

	OK(setgroups(0, NULL));
	OK(setgid(NOBODY));
	OK(setuid(NOBODY));
	own = OK(open("f", O_WRONLY));
	OK(write(fd[1], "o", 1)); /* it is open */
	EQ(read(fd[2], &c, 1), 1);
	write_pattern(own, 0, 4096, 3);
	EQ(mode_of("f"), 0755);
}

static void setuid_two_writers(void)
{
	int up[2], down[2], fd, arg[3];
	pid_t pid;
	char c;

	need_root();
	OK(chmod(".", 0777));
	fd = create_file("f", 64 * KIB, 1);
	OK(fchown(fd, NOBODY, NOBODY));
	OK(fchmod(fd, 04755));
	check_pattern(fd, 0, 64 * KIB, 1);
	OK(pipe(up));
	OK(pipe(down));
	arg[1] = up[1];
	arg[2] = down[0];
	pid = start(nobody_writes_after_root, arg);
	EQ(read(up[0], &c, 1), 1);
	/* Often: what is used much may go another way than the first. */
	for (int i = 0; i < 60; i++) {
		write_pattern(fd, 0, 64 * KIB, 2);
		check_pattern(fd, 0, 64 * KIB, 2);
	}
	OK(write(down[1], "w", 1));
	finish(pid);
}

/* ALLOW_IDMAP: the directory mounted once more with other users. */
static int user_namespace(const char *map)
{
	int go[2], fd;
	char name[64], c;
	pid_t pid;

	OK(pipe(go));
	pid = OK(fork());
	if (pid == 0) {
		(void)close(go[0]);
		/* Not possible with more than one thread: a sanitizer may have its own. */
		if (unshare(CLONE_NEWUSER) == 0) {
			(void)!write(go[1], "x", 1);
			(void)pause();
		}
		_exit(0);
	}
	(void)close(go[1]);
	if (read(go[0], &c, 1) != 1)
		skip("no user namespaces");
	for (int i = 0; i < 2; i++) {
		(void)snprintf(name, sizeof(name), "/proc/%d/%s", (int)pid,
			       i ? "gid_map" : "uid_map");
		fd = OK(open(name, O_WRONLY));
		EQ(write(fd, map, strlen(map)), strlen(map));
		OK(close(fd));
	}
	(void)snprintf(name, sizeof(name), "/proc/%d/ns/user", (int)pid);
	fd = OK(open(name, O_RDONLY | O_CLOEXEC));
	(void)kill(pid, SIGKILL);
	return fd;
}

static void mapped_makes(void *arg)
{
	int tree = *(int *)arg;

	OK(setgroups(0, NULL));
	OK(setgid(201000));
	OK(setuid(201000));
	OK(close(OK(openat(tree, "f", O_CREAT | O_WRONLY, 0644))));
	OK(mkdirat(tree, "x", 0755));
	OK(symlinkat("f", tree, "s"));
	OK(renameat(tree, "f", tree, "g"));
}

static void idmapped_mount(void)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_IDMAP };
	struct stat st;
	int tree, ns;

	need_root();
	OK(chmod(".", 0777));
	OK(mkdir("d", 0777));
	OK(chmod("d", 0777));
	OK(close(create_file("d/before", 10, 1)));
	OK(chown("d/before", 1000, 1000));
	OK(chown("d", 1000, 1000)); /* nobody may write to what belongs to one unmapped */
	ns = user_namespace("1000 201000 1\n");
	/* What is 1000 on the disk is 201000 there, and the other way round. */
	tree = OK((int)syscall(SYS_open_tree, AT_FDCWD, "d", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
	attr.userns_fd = (uint64_t)ns;
	if (syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0) {
		if (errno == EINVAL)
			skip("no idmapped mounts (FUSE has them from Linux 6.12)");
		fail(__FILE__, __LINE__, "mount_setattr: %m");
	}
	OK(fstatat(tree, "before", &st, 0));
	EQ(st.st_uid, 201000);
	EQ(st.st_gid, 201000);
	finish(start(mapped_makes, &tree));
	OK(stat("d/g", &st));
	EQ(st.st_uid, 1000);
	EQ(st.st_gid, 1000);
	OK(stat("d/x", &st));
	EQ(st.st_uid, 1000);
	OK(lstat("d/s", &st));
	EQ(st.st_uid, 1000);
	/* One who has no number there cannot make anything. */
	FAILS(openat(tree, "r", O_CREAT | O_WRONLY, 0644), EOVERFLOW);
	OK(unlinkat(tree, "g", 0));
}

const struct test proto_tests[] = {
	{ "acl_checked", acl_checked },
	{ "default_acl_and_umask", default_acl_and_umask },
	{ "acl_drops_setgid", acl_drops_setgid },
	{ "supplementary_group", supplementary_group },
	{ "tmpfile_linked", tmpfile_linked },
	{ "birth_time", birth_time },
	{ "sync_fs", sync_fs },
	{ "symlink_replaced", symlink_replaced },
	{ "xattrs_of_special", xattrs_of_special },
	{ "setuid_two_writers", setuid_two_writers },
	{ "idmapped_mount", idmapped_mount },
	{ 0 },
};
