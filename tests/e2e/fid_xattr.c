// SPDX-License-Identifier: MIT
// Fidelity: extended attributes and POSIX ACLs.

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "fidelity.h"

static void size(size_t len)
{
	char *value = malloc(len + 1), *back = malloc(len + 1);

	CHECK(value && back);
	pattern_fill(value, len, 1, 0);
	OK(close(create_file("f", 1, 1)));
	CAN(setxattr("f", "user.x", value, len, 0));
	EQ(getxattr("f", "user.x", NULL, 0), len);
	EQ(getxattr("f", "user.x", back, len + 1), len);
	EQ(memcmp(value, back, len), 0);
	if (len > 1)
		FAILS(getxattr("f", "user.x", back, len - 1), ERANGE);
	free(value);
	free(back);
}

static void xattr_0(void)
{
	size(0);
}

static void xattr_1(void)
{
	size(1);
}

static void xattr_4000(void)
{
	size(4000);
}

static void xattr_20000(void)
{
	size(20000);
}

static void xattr_64k(void)
{
	size(XATTR_SIZE_MAX);
}

static void xattr_too_large(void)
{
	char *value = calloc(1, XATTR_SIZE_MAX + 1), name[300];

	CHECK(value);
	OK(close(create_file("f", 1, 1)));
	FAILS(setxattr("f", "user.x", value, XATTR_SIZE_MAX + 1, 0), E2BIG);
	memset(name, 'n', sizeof(name));
	memcpy(name, "user.", 5);
	name[256] = '\0';
	FAILS(setxattr("f", name, "x", 1, 0), ERANGE);
	name[255] = '\0';
	OK(setxattr("f", name, "x", 1, 0));
	EQ(getxattr("f", name, value, 10), 1);
	EQ(listxattr("f", value, XATTR_SIZE_MAX), 256);
	free(value);
}

static void xattr_list(void)
{
	char name[32], *list = malloc(XATTR_LIST_MAX);
	ssize_t n, want = 0;
	int found = 0;

	CHECK(list);
	OK(close(create_file("f", 1, 1)));
	EQ(listxattr("f", NULL, 0), 0);
	for (int i = 0; i < 100; i++) {
		want += snprintf(name, sizeof(name), "user.number%d", i) + 1;
		CAN(setxattr("f", name, name, 5, 0));
	}
	EQ(listxattr("f", NULL, 0), want);
	FAILS(listxattr("f", list, (size_t)want - 1), ERANGE);
	n = OK(listxattr("f", list, XATTR_LIST_MAX));
	EQ(n, want);
	for (const char *p = list; p < list + n; p += strlen(p) + 1)
		found += !strncmp(p, "user.number", 11);
	EQ(found, 100);
	free(list);
}

static void gets_trusted(void *arg)
{
	char c;

	(void)arg;
	FAILS(getxattr("f", "trusted.x", &c, 1), ENODATA);
	FAILS(setxattr("f", "trusted.y", "1", 1, 0), EPERM);
	FAILS(setxattr("f", "user.y", "1", 1, 0), EACCES);
}

static void xattr_namespaces(void)
{
	char c;

	need_root();
	OK(close(create_file("f", 1, 1)));
	CAN(setxattr("f", "user.x", "1", 1, 0));
	EQ(getxattr("f", "user.x", &c, 1), 1);
	FAILS(setxattr("f", "nonsense.x", "1", 1, 0), EOPNOTSUPP);
	FAILS(setxattr("f", "user.", "1", 1, 0), EINVAL);
	OK(symlink("f", "s"));
	FAILS(lsetxattr("s", "user.x", "1", 1, 0), EPERM);
}

/* Only one with CAP_SYS_ADMIN may; the host's daemon need not have it. */
static void xattr_trusted(void)
{
	char c;

	need_root();
	OK(close(create_file("f", 1, 1)));
	if (setxattr("f", "trusted.x", "1", 1, 0) < 0 && errno == EPERM)
		skip("setxattr of trusted.x: %m");
	EQ(getxattr("f", "trusted.x", &c, 1), 1);
	as_nobody(gets_trusted, NULL);
}

/* Links have no user attributes, but those of the system. */
static void xattr_of_symlink(void)
{
	char c, name[256];

	need_root();
	OK(symlink("nowhere", "s"));
	EQ(llistxattr("s", name, sizeof(name)), 0);
	FAILS(lgetxattr("s", "security.x", &c, 1), ENODATA);
	if (lsetxattr("s", "security.x", "1", 1, 0) < 0 && errno == EPERM)
		skip("lsetxattr of security.x: %m");
	EQ(lgetxattr("s", "security.x", &c, 1), 1);
}

/* The kernel's form of an ACL (linux/posix_acl_xattr.h). */
struct acl {
	uint32_t version;
	struct {
		uint16_t tag, perm;
		uint32_t id;
	} entry[5];
};

#define ACL(user, uid, named, group, mask, others)                                                 \
	{                                                                                          \
		2,                                                                                 \
		{                                                                                  \
			{ 1, user, -1u }, { 2, named, uid }, { 4, group, -1u }, { 16, mask, -1u }, \
			{                                                                          \
				32, others, -1u                                                    \
			}                                                                          \
		}                                                                                  \
	}

static void named_user_reads(void *arg)
{
	OK(close(OK(open(arg, O_RDONLY))));
	FAILS(open(arg, O_WRONLY), EACCES);
}

static void acl_access(void)
{
	struct acl acl = ACL(6, 65534, 4, 0, 4, 0), back;
	struct stat st;

	need_root();
	OK(close(create_file("f", 100, 1)));
	OK(chmod("f", 0600));
	CAN(setxattr("f", "system.posix_acl_access", &acl, sizeof(acl), 0));
	EQ(getxattr("f", "system.posix_acl_access", &back, sizeof(back)), sizeof(back));
	EQ(memcmp(&acl, &back, sizeof(acl)), 0);
	OK(stat("f", &st));
	EQ(st.st_mode & 07777, 0640);
	as_nobody(named_user_reads, (void *)(uintptr_t) "f");
	/* chmod changes the mask. */
	OK(chmod("f", 0600));
	EQ(getxattr("f", "system.posix_acl_access", &back, sizeof(back)), sizeof(back));
	EQ(back.entry[3].perm, 0);
}

static void acl_default(void)
{
	struct acl acl = ACL(7, 65534, 6, 5, 7, 0), back;
	struct stat st;

	need_root();
	OK(mkdir("d", 0755));
	CAN(setxattr("d", "system.posix_acl_default", &acl, sizeof(acl), 0));
	(void)umask(077); /* has no effect where there is a default ACL */
	OK(close(OK(open("d/f", O_WRONLY | O_CREAT, 0666))));
	OK(stat("d/f", &st));
	EQ(st.st_mode & 07777, 0660);
	EQ(getxattr("d/f", "system.posix_acl_access", &back, sizeof(back)), sizeof(back));
	EQ(back.entry[1].id, 65534);
	EQ(back.entry[1].perm, 6);
	OK(mkdir("d/e", 0777));
	EQ(getxattr("d/e", "system.posix_acl_default", &back, sizeof(back)), sizeof(back));
	EQ(memcmp(&acl, &back, sizeof(acl)), 0);
	(void)umask(022);
}

static void acl_refused_on_file(void)
{
	struct acl acl = ACL(7, 65534, 6, 5, 7, 0);

	need_root();
	OK(close(create_file("f", 100, 1)));
	FAILS(setxattr("f", "system.posix_acl_default", &acl, sizeof(acl), 0), EACCES);
}

const struct test fid_xattr_tests[] = {
	{ "xattr_0", xattr_0 },
	{ "xattr_1", xattr_1 },
	{ "xattr_4000", xattr_4000 },
	{ "xattr_20000", xattr_20000 },
	{ "xattr_64k", xattr_64k },
	{ "xattr_too_large", xattr_too_large },
	{ "xattr_list", xattr_list },
	{ "xattr_namespaces", xattr_namespaces },
	{ "xattr_trusted", xattr_trusted },
	{ "xattr_of_symlink", xattr_of_symlink },
	{ "acl_access", acl_access },
	{ "acl_default", acl_default },
	{ "acl_refused_on_file", acl_refused_on_file },
	{ 0 },
};
