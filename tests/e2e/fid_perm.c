// SPDX-License-Identifier: MIT
// Fidelity: what other users may do, set-id bits and capabilities.

#include <fcntl.h>
#include <linux/capability.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "fidelity.h"

#define USER  65534
#define GROUP 65534
#define EXTRA 7777 /* a supplementary group */

static const struct identity nobody = { .uid = USER, .gid = GROUP };
static const struct identity member = {
	.uid = USER, .gid = GROUP, .ngroups = 1, .groups = { EXTRA }
};

static mode_t mode_of(const char *name)
{
	struct stat st;

	OK(lstat(name, &st));
	return st.st_mode & 07777;
}

static void make(const char *name, mode_t mode, uid_t uid, gid_t gid)
{
	OK(close(create_file(name, 100, 1)));
	OK(chown(name, uid, gid));
	OK(chmod(name, mode));
}

static void reads_group_file(void *arg)
{
	(void)arg;
	OK(close(OK(open("f", O_RDONLY))));
	FAILS(open("f", O_WRONLY), EACCES);
	OK(close(OK(open("d/new", O_WRONLY | O_CREAT, 0644))));
	OK(mkdir("d/sub", 0755));
	OK(symlink("x", "d/link"));
	OK(rename("d/new", "d/renamed"));
	OK(unlink("d/renamed"));
	OK(close(OK(open("d", O_TMPFILE | O_RDWR, 0600))));
}

static void cannot_read_group_file(void *arg)
{
	(void)arg;
	FAILS(open("f", O_RDONLY), EACCES);
	FAILS(open("d/x", O_RDONLY), EACCES);
	FAILS(open("d/x", O_WRONLY | O_CREAT, 0644), EACCES);
}

/* The third set of rights that a process has. */
static void supplementary_groups(void)
{
	need_root();
	make("f", 0640, 0, EXTRA);
	OK(mkdir("d", 0755));
	OK(chown("d", 0, EXTRA));
	OK(chmod("d", 0770));
	as_user(&member, reads_group_file, NULL);
	as_user(&nobody, cannot_read_group_file, NULL);
}

static void tries_sticky(void *arg)
{
	(void)arg;
	FAILS(unlink("d/theirs"), EPERM);
	FAILS(rename("d/theirs", "d/mine"), EPERM);
	OK(close(create_file("d/own", 10, 1)));
	OK(rename("d/own", "d/own2"));
	OK(unlink("d/own2"));
	FAILS(rmdir("d/dir"), EPERM);
}

static void sticky_directory(void)
{
	need_root();
	OK(mkdir("d", 0755));
	OK(chmod("d", 01777));
	make("d/theirs", 0666, 1000, 1000);
	OK(mkdir("d/dir", 0777));
	as_user(&nobody, tries_sticky, NULL);
}

static void makes_in_setgid(void *arg)
{
	struct stat st;

	(void)arg;
	OK(close(create_file("d/f", 10, 1)));
	OK(stat("d/f", &st));
	EQ(st.st_uid, USER);
	EQ(st.st_gid, EXTRA);
	OK(mkdir("d/s", 0755));
	OK(stat("d/s", &st));
	EQ(st.st_gid, EXTRA);
	EQ(st.st_mode & 07777, 02755);
	OK(symlink("x", "d/l"));
	OK(lstat("d/l", &st));
	EQ(st.st_gid, EXTRA);
}

static void setgid_directory(void)
{
	need_root();
	OK(mkdir("d", 0755));
	OK(chown("d", 0, EXTRA));
	OK(chmod("d", 02777));
	as_user(&nobody, makes_in_setgid, NULL);
}

/* A group that the maker is not in: no set-group-id program for it comes to be. */
static void makes_setgid_file(void *arg)
{
	(void)arg;
	(void)umask(0);
	OK(close(OK(open("d/f", O_WRONLY | O_CREAT, 02755))));
	EQ(mode_of("d/f"), 0755);
}

static void setgid_not_gained(void)
{
	need_root();
	OK(mkdir("d", 0755));
	OK(chown("d", 0, EXTRA));
	OK(chmod("d", 02777));
	as_user(&nobody, makes_setgid_file, NULL);
}

static void chmods_own(void *arg)
{
	(void)arg;
	OK(chmod("f", 02755)); /* of a group that we are not in: the bit does not come */
	EQ(mode_of("f"), 0755);
	OK(chmod("g", 02755));
	EQ(mode_of("g"), 02755);
	OK(chmod("f", 04711));
	EQ(mode_of("f"), 04711);
	FAILS(chmod("r", 0777), EPERM);
}

static void chmod_setgid(void)
{
	need_root();
	make("f", 0644, USER, EXTRA);
	make("g", 0644, USER, GROUP);
	make("r", 0644, 0, 0);
	as_user(&nobody, chmods_own, NULL);
}

static void changes_group(void *arg)
{
	struct stat st;

	(void)arg;
	OK(chown("f", (uid_t)-1, EXTRA)); /* one of our groups */
	OK(stat("f", &st));
	EQ(st.st_gid, EXTRA);
	FAILS(chown("f", (uid_t)-1, 4321), EPERM);
	FAILS(chown("f", 0, (gid_t)-1), EPERM);
	FAILS(chown("r", (uid_t)-1, EXTRA), EPERM);
}

static void chown_rules(void)
{
	need_root();
	make("f", 0644, USER, GROUP);
	make("r", 0666, 0, 0);
	as_user(&member, changes_group, NULL);
}

static void writes_setid(void *arg)
{
	int fd = OK(open("f", O_WRONLY));

	(void)arg;
	EQ(pwrite(fd, "x", 1, 0), 1);
	EQ(mode_of("f"), 0777);
}

static void maps_setid(void *arg)
{
	(void)arg;
	OK(truncate("f", 50));
	EQ(mode_of("f"), 0777);
}

/* One who may write a file that is not his takes its set-id bits away. */
static void setid_dropped_by_other(void)
{
	need_root();
	make("f", 06777, 1000, 1000);
	as_user(&nobody, writes_setid, NULL);
	OK(chmod("f", 06777));
	as_user(&nobody, maps_setid, NULL);
	OK(chmod("f", 06777));
	OK(chown("f", 1001, 1001));
	EQ(mode_of("f"), 0777);
	/* Root's own writing leaves them. */
	OK(chmod("f", 06777));
	EQ(pwrite(OK(open("f", O_WRONLY)), "x", 1, 0), 1);
	EQ(mode_of("f"), 06777);
}

static void opens_truncating(void *arg)
{
	(void)arg;
	OK(close(OK(open("f", O_WRONLY | O_TRUNC))));
	EQ(mode_of("f"), 0777);
}

static void setid_dropped_by_open(void)
{
	need_root();
	make("f", 06777, 1000, 1000);
	as_user(&nobody, opens_truncating, NULL);
}

static void allocates(void *arg)
{
	int fd = OK(open("f", O_WRONLY));

	(void)arg;
	CAN(fallocate(fd, 0, 0, 20000));
	EQ(mode_of("f"), 0777);
}

static void setid_dropped_by_fallocate(void)
{
	need_root();
	make("f", 06777, 1000, 1000);
	as_user(&nobody, allocates, NULL);
}

/*
 * Set-id bits after a change of data: all modes, callers and ways. Where the caller may write at
 * all.
 */
enum way {
	WRITE,
	TRUNCATE,
	FTRUNCATE,
	OPEN_TRUNC,
	CREAT_TRUNC,
	FALLOCATE,
	PUNCH,
	COPY,
	APPEND,
	DIRECT,
	WAYS
};

static const char *const way_names[WAYS] = { "write",  "truncate",  "ftruncate", "O_TRUNC",
					     "creat",  "fallocate", "punch",	 "copy_file_range",
					     "append", "O_DIRECT" };
static const mode_t set_modes[] = { 06755, 06775, 06777, 06644, 06664, 06666, 06660, 02755, 02775,
				    02777, 02644, 02664, 02666, 02660, 04755, 04777, 04644, 04666 };
static const struct identity root = { .uid = 0, .gid = 0 };

struct relation {
	const char *name;
	const struct identity *who;
	uid_t uid; /* the file's */
	gid_t gid;
	bool owner, in_group; /* the caller's place */
};

static const struct relation relations[] = {
	{ "its owner, in its group", &nobody, USER, GROUP, true, true },
	{ "its owner, by a supplementary group in its", &member, USER, EXTRA, true, true },
	{ "its owner outside of its group", &nobody, USER, EXTRA, true, false },
	{ "a member", &nobody, 1000, GROUP, false, true },
	{ "a member by a supplementary group", &member, 1000, EXTRA, false, true },
	{ "a stranger", &nobody, 1000, 1000, false, false },
	{ "a stranger to a file of root's", &nobody, 0, 0, false, false },
	{ "root", &root, 1000, 1000, false, false },
};

static bool may_write(const struct relation *r, mode_t mode)
{
	if (r->who->uid == 0)
		return true;
	return mode & (r->owner ? S_IWUSR : r->in_group ? S_IWGRP : S_IWOTH);
}

/* setattr_should_drop_suidgid() of Linux 6.2 and later */
static mode_t mode_left(const struct relation *r, mode_t mode)
{
	if (r->who->uid == 0)
		return mode;
	if (mode & S_IXGRP || !r->in_group)
		mode &= ~(mode_t)S_ISGID;
	return mode & ~(mode_t)S_ISUID;
}

/*
 * Is it told to the one who keeps the file, a server? Where the group may not execute the file it
 * depends on the caller's groups, of which no request has all, and since Linux 6.12 none has any.
 * Where not everybody may write, it can still conclude that the caller is a member.
 */
static bool is_told(const struct relation *r, mode_t mode)
{
	if (r->who->uid == 0 || !(mode & S_ISGID) || mode & S_IXGRP)
		return true;
	return r->in_group == !(mode & S_IWOTH);
}

static void way_name(char name[static 32], size_t mode, size_t way)
{
	(void)snprintf(name, 32, "m%zu-%zu", mode, way);
}

static void change_by(const char *name, enum way way)
{
	static char buf[PAGE] __attribute__((aligned(PAGE)));
	static const int flags[WAYS] = {
		[OPEN_TRUNC] = O_TRUNC, [APPEND] = O_APPEND, [DIRECT] = O_DIRECT
	};
	int fd = way == TRUNCATE ? -1 : OK(open(name, O_WRONLY | flags[way]));

	switch (way) {
	case WRITE:
		EQ(pwrite(fd, "x", 1, 0), 1);
		break;
	case TRUNCATE:
		OK(truncate(name, 50));
		break;
	case FTRUNCATE:
		OK(ftruncate(fd, 50));
		break;
	case CREAT_TRUNC:
		OK(close(OK(open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600))));
		break;
	case FALLOCATE:
		OK(fallocate(fd, 0, 0, 20000));
		break;
	case PUNCH:
		OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 50));
		break;
	case COPY:
		EQ(copy_file_range(OK(open("from", O_RDONLY)), NULL, fd, NULL, 10, 0), 10);
		break;
	case APPEND:
		EQ(write(fd, "x", 1), 1);
		break;
	case DIRECT:
		EQ(pwrite(fd, buf, PAGE, 0), PAGE);
		break;
	default:
		break;
	}
	if (fd >= 0)
		OK(close(fd));
}

static void change_all(void *arg)
{
	const struct relation *r = arg;

	for (size_t m = 0; m < ARRAY_SIZE(set_modes); m++)
		for (size_t w = 0; w < WAYS && may_write(r, set_modes[m]); w++) {
			char name[32];

			way_name(name, m, w);
			change_by(name, (enum way)w);
		}
}

/* As the file system has it now, whatever the kernel remembers. */
static mode_t mode_now(const char *name)
{
	struct statx stx;

	OK(statx(AT_FDCWD, name, AT_STATX_FORCE_SYNC, STATX_MODE, &stx));
	return stx.stx_mode & 07777;
}

static void setid_check(const struct relation *r, bool told, unsigned int *wrong,
			char first[static 160])
{
	for (size_t m = 0; m < ARRAY_SIZE(set_modes); m++)
		for (size_t w = 0; w < WAYS; w++) {
			mode_t mode = set_modes[m], want = mode_left(r, mode), got;
			char name[32];

			if (!may_write(r, mode) || is_told(r, mode) != told)
				continue;
			way_name(name, m, w);
			got = mode_now(name);
			if (got != want && (*wrong)++ == 0)
				(void)snprintf(first, 160,
					       "%s of a file of mode %o by %s: %o, not %o",
					       way_names[w], mode, r->name, got, want);
		}
}

static void setid_by_all(bool told)
{
	unsigned int wrong = 0;
	char first[160] = "";

	need_root();
	OK(chmod(".", 0777));
	make("from", 0644, 0, 0);
	for (size_t i = 0; i < ARRAY_SIZE(relations); i++) {
		const struct relation *r = &relations[i];

		for (size_t m = 0; m < ARRAY_SIZE(set_modes); m++)
			for (size_t w = 0; w < WAYS; w++) {
				char name[32];

				way_name(name, m, w);
				(void)unlink(name);
				make(name, set_modes[m], r->uid, r->gid);
			}
		as_user(r->who, change_all, (void *)(uintptr_t)r);
		setid_check(r, told, &wrong, first);
	}
	if (wrong)
		fail(__FILE__, __LINE__, "%u wrong: %s", wrong, first);
}

static void setid_table(void)
{
	setid_by_all(true);
}

static void setid_by_unknown_group(void)
{
	setid_by_all(false);
}

/* With only this asked for, as by stat -c %a: what is remembered of it may be older than
 * the rest. */
static mode_t mode_alone(const char *name)
{
	struct statx stx;

	OK(statx(AT_FDCWD, name, 0, STATX_MODE, &stx));
	return stx.stx_mode & 07777;
}

static void changes_and_looks(void *arg)
{
	enum way way = *(enum way *)arg;
	mode_t alone, mode;

	EQ(mode_of("f"), 06777); /* whoever remembers attributes has these now */
	change_by("f", way);
	alone = mode_alone("f");
	mode = mode_of("f");
	if (mode != 0777 || alone != 0777)
		fail(__FILE__, __LINE__, "after %s the mode is 0%o, and 0%o alone", way_names[way],
		     mode, alone);
}

/* What is remembered of the mode is not older than the change. */
static void setid_gone_at_once(void)
{
	need_root();
	make("from", 0644, 0, 0);
	for (enum way way = 0; way < WAYS; way++) {
		make("f", 06777, 0, 0);
		as_user(&nobody, changes_and_looks, &way);
		EQ(mode_alone("f"), 0777);
		OK(unlink("f"));
	}
}

static void stores_by_mapping(void *arg)
{
	char *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, OK(open("f", O_RDWR)), 0);

	(void)arg;
	CHECK(p != MAP_FAILED);
	p[0] = 'x';
	OK(msync(p, PAGE, MS_SYNC));
}

/* File systems differ in what a store does to the bits; but what is shown is what they are.
 */
static void setid_shown_after_store(void)
{
	mode_t mode;

	need_root();
	make("f", 06777, 0, 0);
	EQ(mode_of("f"), 06777);
	as_user(&nobody, stores_by_mapping, NULL);
	mode = mode_alone("f");
	EQ(mode, mode_now("f"));
}

static void copies_itself(void *arg)
{
	int from = OK(open("/proc/self/exe", O_RDONLY)), to = OK(open("f", O_WRONLY));
	char buf[4096];
	ssize_t n;

	(void)arg;
	while ((n = OK(read(from, buf, sizeof(buf)))))
		EQ(write(to, buf, (size_t)n), n);
}

static void runs_copy(void *arg)
{
	EQ(effective_uid_of("./f"), *(uid_t *)arg);
}

/* Nobody becomes root by writing over a program of root's that all may write. */
static void setuid_gone_for_exec(void)
{
	uid_t uid = USER;

	need_root();
	OK(close(OK(open("f", O_WRONLY | O_CREAT, 0777))));
	OK(chmod("f", 04777));
	EQ(mode_of("f"), 04777);
	as_user(&nobody, copies_itself, NULL);
	as_user(&nobody, runs_copy, &uid);
}

/* Program privileges go with a change of the program, however it is made. */
static void capability_dropped_by(void)
{
	static const char *const what[] = { "write", "truncate", "chown", "O_TRUNC" };

	need_root();
	make("f", 0755, 1000, 1000);
	for (size_t i = 0; i < ARRAY_SIZE(what); i++) {
		struct vfs_cap_data cap = { .magic_etc = VFS_CAP_REVISION_2,
					    .data = { { 0x400, 0 } } };
		int fd = OK(open("f", O_RDWR));

		CAN(setxattr("f", "security.capability", &cap, sizeof(cap), 0));
		EQ(getxattr("f", "security.capability", &cap, sizeof(cap)), sizeof(cap));
		switch (i) {
		case 0:
			EQ(pwrite(fd, "x", 1, 0), 1);
			break;
		case 1:
			OK(ftruncate(fd, 50));
			break;
		case 2:
			OK(fchown(fd, 1001, 1001));
			break;
		default:
			OK(close(OK(open("f", O_WRONLY | O_TRUNC))));
			break;
		}
		if (getxattr("f", "security.capability", &cap, sizeof(cap)) >= 0)
			fail(__FILE__, __LINE__, "%s leaves the capability", what[i]);
		OK(close(fd));
	}
}

static void asks_access(void *arg)
{
	(void)arg;
	OK(access("r", R_OK));
	FAILS(access("r", W_OK), EACCES);
	FAILS(access("none", R_OK), EACCES);
	FAILS(access("closed/x", F_OK), EACCES);
	OK(access("x", X_OK));
	FAILS(access("r", X_OK), EACCES);
	FAILS(open("closed", O_RDONLY), EACCES);
	FAILS(open("none", O_RDONLY), EACCES);
	FAILS(link("closed/x", "y"), EACCES);
}

static void access_checks(void)
{
	need_root();
	make("r", 0644, 0, 0);
	make("none", 0, 0, 0);
	make("x", 0111, 0, 0);
	OK(mkdir("closed", 0700));
	OK(access("none", R_OK | W_OK)); /* root */
	FAILS(access("none", X_OK), EACCES);
	OK(faccessat(AT_FDCWD, "r", R_OK, AT_EACCESS));
	FAILS(access("nothing", F_OK), ENOENT);
	as_user(&nobody, asks_access, NULL);
}

/* access() asks for the real user, faccessat(AT_EACCESS) for the effective one. */
static void asks_by_real_id(void *arg)
{
	(void)arg;
	OK(setresuid(USER, 0, 0));
	FAILS(access("f", R_OK), EACCES);
	OK(faccessat(AT_FDCWD, "f", R_OK, AT_EACCESS));
}

static void access_real_id(void)
{
	need_root();
	make("f", 0600, 0, 0);
	finish(start(asks_by_real_id, NULL));
}

static void sets_times(void *arg)
{
	struct timespec ts[2] = { { 1000, 0 }, { 1000, 0 } };

	(void)arg;
	OK(utimensat(AT_FDCWD, "w", NULL, 0));
	FAILS(utimensat(AT_FDCWD, "w", ts, 0), EPERM);
	FAILS(utimensat(AT_FDCWD, "r", NULL, 0), EACCES);
	OK(utimensat(AT_FDCWD, "own", ts, 0));
	FAILS(open("w", O_RDONLY | O_NOATIME), EPERM);
	OK(close(OK(open("own", O_RDONLY | O_NOATIME))));
}

static void utime_rules(void)
{
	need_root();
	make("w", 0666, 0, 0);
	make("r", 0644, 0, 0);
	make("own", 0644, USER, GROUP);
	as_user(&nobody, sets_times, NULL);
}

static void makes_devices(void *arg)
{
	(void)arg;
	FAILS(mknod("c", S_IFCHR | 0666, 0x103), EPERM);
	OK(mkfifo("p", 0600));
	FAILS(setxattr("p", "user.x", "1", 1, 0), EPERM);
}

static void mknod_rules(void)
{
	need_root();
	OK(chmod(".", 0777));
	as_user(&nobody, makes_devices, NULL);
}

const struct test fid_perm_tests[] = {
	{ "supplementary_groups", supplementary_groups },
	{ "sticky_directory", sticky_directory },
	{ "setgid_directory", setgid_directory },
	{ "setgid_not_gained", setgid_not_gained },
	{ "chmod_setgid", chmod_setgid },
	{ "chown_rules", chown_rules },
	{ "setid_dropped_by_other", setid_dropped_by_other },
	{ "setid_dropped_by_open", setid_dropped_by_open },
	{ "setid_dropped_by_fallocate", setid_dropped_by_fallocate },
	{ "setid_table", setid_table },
	{ "setid_by_unknown_group", setid_by_unknown_group },
	{ "setid_gone_at_once", setid_gone_at_once },
	{ "setuid_gone_for_exec", setuid_gone_for_exec },
	{ "setid_shown_after_store", setid_shown_after_store },
	{ "capability_dropped_by", capability_dropped_by },
	{ "access_checks", access_checks },
	{ "access_real_id", access_real_id },
	{ "utime_rules", utime_rules },
	{ "mknod_rules", mknod_rules },
	{ 0 },
};
