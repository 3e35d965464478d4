// SPDX-License-Identifier: MIT
// Mount options: those of mount(8) and of FUSE, by name.

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/num.h"
#include "daemon/mount_opts.h"

/* From linux/mount.h, which cannot be included together with sys/mount.h. */
#ifndef MS_LAZYTIME
#define MS_LAZYTIME (1UL << 25)
#endif
#ifndef MS_NOSYMFOLLOW
#define MS_NOSYMFOLLOW (1UL << 8)
#endif

#define ATIME_FLAGS (MS_NOATIME | MS_RELATIME | MS_STRICTATIME)

enum mount_opt_kind {
	OPT_FLAG,    /* a flag of mount(2) */
	OPT_NOTHING, /* accepted and ignored: for /etc/fstab and mount(8), or always on */
	OPT_REFUSED,
	OPT_REMOUNT,
	OPT_ALLOW_OTHER,
	OPT_ALLOW_ROOT,
	OPT_NOALLOW_OTHER,
	OPT_AUTO_UNMOUNT,
	OPT_MAX_READ,
	OPT_USER_ID,
	OPT_GROUP_ID,
	OPT_FSNAME,
	OPT_SUBTYPE,
	OPT_SECURITY,
};

/* A name that ends in "=" or "-" matches all options that begin with it. */
struct mount_opt {
	const char *name;
	enum mount_opt_kind kind;
	unsigned long set, clear;
	const char *why;
};

#define SET(name, set, clear)                                                                      \
	{                                                                                          \
		name, OPT_FLAG, set, clear, NULL                                                   \
	}
#define OTHER(name, kind)                                                                          \
	{                                                                                          \
		name, kind, 0, 0, NULL                                                             \
	}
#define NOTHING(name)                                                                              \
	{                                                                                          \
		name, OPT_NOTHING, 0, 0, NULL                                                      \
	}
#define REFUSED(name, why)                                                                         \
	{                                                                                          \
		name, OPT_REFUSED, 0, 0, why                                                       \
	}

#define WHY_MOUNT8  "it is for mount(8), which does it without this program"
#define WHY_OPENED  "the program opens /dev/fuse itself"
#define WHY_NOBLOCK "it is for file systems on a block device"

static const struct mount_opt mount_opts[] = {
	SET("ro", MS_RDONLY, 0),
	SET("rw", 0, MS_RDONLY),
	SET("nosuid", MS_NOSUID, 0),
	SET("suid", 0, MS_NOSUID),
	SET("nodev", MS_NODEV, 0),
	SET("dev", 0, MS_NODEV),
	SET("noexec", MS_NOEXEC, 0),
	SET("exec", 0, MS_NOEXEC),
	SET("sync", MS_SYNCHRONOUS, 0),
	SET("async", 0, MS_SYNCHRONOUS),
	SET("dirsync", MS_DIRSYNC, 0),
	SET("noatime", MS_NOATIME, MS_RELATIME | MS_STRICTATIME),
	SET("atime", 0, MS_NOATIME),
	SET("relatime", MS_RELATIME, MS_NOATIME | MS_STRICTATIME),
	SET("norelatime", 0, MS_RELATIME),
	SET("strictatime", MS_STRICTATIME, MS_NOATIME | MS_RELATIME),
	SET("nostrictatime", 0, MS_STRICTATIME),
	SET("nodiratime", MS_NODIRATIME, 0),
	SET("diratime", 0, MS_NODIRATIME),
	SET("lazytime", MS_LAZYTIME, 0),
	SET("nolazytime", 0, MS_LAZYTIME),
	SET("nosymfollow", MS_NOSYMFOLLOW, 0),
	SET("symfollow", 0, MS_NOSYMFOLLOW),

	NOTHING("defaults"),
	NOTHING("auto"),
	NOTHING("noauto"),
	NOTHING("nofail"),
	NOTHING("_netdev"),
	NOTHING("user"),
	NOTHING("user="),
	NOTHING("nouser"),
	NOTHING("users"),
	NOTHING("nousers"),
	NOTHING("owner"),
	NOTHING("noowner"),
	NOTHING("group"),
	NOTHING("nogroup"),
	NOTHING("comment="),
	NOTHING("x-"),
	NOTHING("X-"),
	NOTHING("silent"),
	NOTHING("loud"),
	NOTHING("iversion"),
	NOTHING("noiversion"),
	NOTHING("nomand"),
	NOTHING("default_permissions"),

	OTHER("remount", OPT_REMOUNT),
	OTHER("allow_other", OPT_ALLOW_OTHER),
	OTHER("noallow_other", OPT_NOALLOW_OTHER),
	OTHER("allow_root", OPT_ALLOW_ROOT),
	OTHER("auto_unmount", OPT_AUTO_UNMOUNT),
	OTHER("max_read=", OPT_MAX_READ),
	OTHER("user_id=", OPT_USER_ID),
	OTHER("group_id=", OPT_GROUP_ID),
	OTHER("fsname=", OPT_FSNAME),
	OTHER("subtype=", OPT_SUBTYPE),
	OTHER("context=", OPT_SECURITY),
	OTHER("fscontext=", OPT_SECURITY),
	OTHER("defcontext=", OPT_SECURITY),
	OTHER("rootcontext=", OPT_SECURITY),

	REFUSED("mand", "FUSE has no mandatory locks"),
	REFUSED("nodefault_permissions", "the host checks no permissions, so the kernel must"),
	REFUSED("fd=", WHY_OPENED),
	REFUSED("rootmode=", WHY_OPENED),
	REFUSED("blkdev", WHY_NOBLOCK),
	REFUSED("blksize=", WHY_NOBLOCK),
	REFUSED("bind", WHY_MOUNT8),
	REFUSED("rbind", WHY_MOUNT8),
	REFUSED("move", WHY_MOUNT8),
	REFUSED("shared", WHY_MOUNT8),
	REFUSED("rshared", WHY_MOUNT8),
	REFUSED("slave", WHY_MOUNT8),
	REFUSED("rslave", WHY_MOUNT8),
	REFUSED("private", WHY_MOUNT8),
	REFUSED("rprivate", WHY_MOUNT8),
	REFUSED("unbindable", WHY_MOUNT8),
	REFUSED("runbindable", WHY_MOUNT8),
};

void mount_opts_init(struct mount_opts *m)
{
	*m = (struct mount_opts){ .user_id = (uid_t)-1, .group_id = (gid_t)-1 };
}

void mount_opts_free(struct mount_opts *m)
{
	free(m->fsname);
	free(m->security);
	mount_opts_init(m);
}

const char *mount_opts_name(size_t i)
{
	return i < ARRAY_SIZE(mount_opts) ? mount_opts[i].name : NULL;
}

/* Find the entry for the first @len bytes of @option. */
static const struct mount_opt *find(const char *option, size_t len)
{
	for (size_t i = 0; i < ARRAY_SIZE(mount_opts); i++) {
		const char *name = mount_opts[i].name;
		size_t n = strlen(name);
		bool begin = name[n - 1] == '=' || name[n - 1] == '-';

		if ((begin ? len >= n : len == n) && !strncmp(option, name, n))
			return &mount_opts[i];
	}
	return NULL;
}

static int add_number(const char *option, unsigned int *ret)
{
	const char *text = strchr(option, '=') + 1;
	unsigned long n;
	char *end;

	errno = 0;
	n = strtoul(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end || errno || n > INT_MAX) {
		log_err("%s: the value must be a number from 0 to %d", option, INT_MAX);
		return -EINVAL;
	}
	*ret = (unsigned int)n;
	return 0;
}

static int add_text(char **to, const char *text)
{
	char *copy = strdup(text);

	if (!copy)
		return -ENOMEM;
	free(*to);
	*to = copy;
	return 0;
}

static int add_security(struct mount_opts *m, const char *option)
{
	char *all;

	if (asprintf(&all, "%s%s%s", m->security ? m->security : "", m->security ? "," : "",
		     option) < 0)
		return -ENOMEM;
	free(m->security);
	m->security = all;
	return 0;
}

static void allow(struct mount_opts *m, bool only_owner, bool root)
{
	m->only_owner = only_owner;
	m->root_asked = root;
}

static int add_other(struct mount_opts *m, const struct mount_opt *o, const char *option)
{
	const char *value = option + strlen(o->name);

	switch (o->kind) {
	case OPT_REMOUNT:
		m->remount = true;
		return 0;
	case OPT_ALLOW_OTHER:
		allow(m, false, false);
		return 0;
	case OPT_ALLOW_ROOT:
		allow(m, true, true);
		return 0;
	case OPT_NOALLOW_OTHER:
		allow(m, true, false);
		return 0;
	case OPT_AUTO_UNMOUNT:
		m->auto_unmount = true;
		return 0;
	case OPT_MAX_READ:
		return add_number(option, &m->max_read);
	case OPT_USER_ID:
		return add_number(option, &m->user_id);
	case OPT_GROUP_ID:
		return add_number(option, &m->group_id);
	case OPT_FSNAME:
		return add_text(&m->fsname, value);
	case OPT_SUBTYPE:
		if (!strcmp(value, "vfsdaxfuse"))
			return 0;
		log_err("%s: the subtype is always vfsdaxfuse", option);
		return -EINVAL;
	case OPT_SECURITY:
		return add_security(m, option);
	default:
		return 0;
	}
}

int mount_opts_add(struct mount_opts *m, const char *option)
{
	const struct mount_opt *o = find(option, strlen(option));
	int r;

	if (!o) {
		log_err("%s: there is no such option; see vfsdaxfuse --help", option);
		return -EINVAL;
	}
	if (o->kind == OPT_REFUSED) {
		log_err("%s: %s", option, o->why);
		return -EINVAL;
	}
	m->any = true;
	m->flags = (m->flags & ~o->clear) | o->set;
	m->said |= o->set | o->clear;
	r = add_other(m, o, option);
	if (r == -ENOMEM)
		log_err("%s: %s", option, strerror(-r));
	return r;
}

static int check_id(const char *name, unsigned int given, unsigned int real)
{
	if (given == (unsigned int)-1 || given == real)
		return 0;
	log_err("%s=%u: it must be that of the user who mounts, %u", name, given, real);
	return -EINVAL;
}

int mount_opts_check(const struct mount_opts *m)
{
	int r;

	if (m->remount)
		return 0;
	/*
	 * allow_root admits root and the user who mounts. If root mounts, that is what the kernel
	 * does without allow_other. The kernel has no rule that admits root and another user.
	 */
	if (m->root_asked && getuid() != 0) {
		log_err("allow_root: a mount of an ordinary user can only have allow_other (the "
			"default) or noallow_other");
		return -EINVAL;
	}
	r = check_id("user_id", m->user_id, getuid());
	return r < 0 ? r : check_id("group_id", m->group_id, getgid());
}

unsigned long mount_opts_shown(const char *list)
{
	unsigned long flags = MS_STRICTATIME; /* /proc/mounts shows nothing for it */

	for (size_t len; *list; list += len + (list[len] == ',')) {
		const struct mount_opt *o;

		len = strcspn(list, ",");
		o = find(list, len);
		if (o)
			flags = (flags & ~o->clear) | o->set;
	}
	return flags;
}

unsigned long mount_opts_merge(const struct mount_opts *m, unsigned long now)
{
	unsigned long flags = (now & ~m->said) | m->flags;

	/* Without any of these flags, mount(2) would keep the old ones. */
	return flags & ATIME_FLAGS ? flags : flags | MS_RELATIME;
}
