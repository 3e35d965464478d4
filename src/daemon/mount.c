// SPDX-License-Identifier: MIT
// The mountpoint: check it, mount, remount, unmount.

#define FUSE_USE_VERSION 35

#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <mntent.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/num.h"
#include "mount.h"

#define SUBTYPE "vfsdaxfuse"

int mount_flags(const char *mountpoint, unsigned long *ret)
{
	FILE *f = setmntent("/proc/self/mounts", "re");
	struct mntent *m;
	int r = -ENOENT;

	if (!f)
		return -errno;
	/* Of several mounts at one mountpoint the last one is visible. */
	while ((m = getmntent(f))) {
		if (strcmp(m->mnt_dir, mountpoint))
			continue;
		r = strcmp(m->mnt_type, "fuse." SUBTYPE) ? -ENOENT : 0;
		if (r == 0)
			*ret = mount_opts_shown(m->mnt_opts);
	}
	(void)endmntent(f);
	return r;
}

int mount_check(const char *mountpoint)
{
	unsigned long flags;
	struct stat st;

	if (stat(mountpoint, &st) < 0) {
		int r = -errno;

		if (r == -ENOTCONN)
			log_err("%s: a dead mount is in the way, unmount it first", mountpoint);
		else
			log_err("mountpoint %s: %m", mountpoint);
		return r;
	}
	if (!S_ISDIR(st.st_mode)) {
		log_err("mountpoint %s is not a directory", mountpoint);
		return -ENOTDIR;
	}
	if (mount_flags(mountpoint, &flags) == 0) {
		log_err("%s is already mounted", mountpoint);
		return -EBUSY;
	}
	return 0;
}

int mount_change(const struct mount_opts *opts, const char *mountpoint)
{
	unsigned long flags;
	int r = mount_flags(mountpoint, &flags);

	if (r < 0) {
		log_err("remount: no vfsdaxfuse is mounted at %s", mountpoint);
		return r;
	}
	flags = mount_opts_merge(opts, flags);
	if (mount("none", mountpoint, NULL, MS_REMOUNT | flags, NULL) < 0) {
		r = -errno;
		log_err("remount of %s: %s%s", mountpoint, strerror(-r),
			r == -EBUSY && flags & MS_RDONLY ? " (files are open for writing)" : "");
	}
	return r;
}

/* The options that are the same for mount(2) and for libfuse, as a list. */
static int fuse_options(const struct mount_opts *o, char **ret)
{
	char max_read[32] = "";

	if (o->max_read)
		(void)snprintf(max_read, sizeof(max_read), ",max_read=%u", o->max_read);
	/* As with the kernel's virtiofs: open to all users, and the kernel checks permissions. */
	return asprintf(ret, "default_permissions%s%s%s%s", o->only_owner ? "" : ",allow_other",
			max_read, o->security ? "," : "", o->security ? o->security : "");
}

/* Mount by mount(2), as root. -EPERM, without a message: not privileged, so try libfuse. */
static int mount_by_kernel(const struct mount_opts *o, const char *source, struct mount *m)
{
	_cleanup_close_ int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	_cleanup_free_ char *common = NULL, *data = NULL;
	int r = 0;

	if (fd < 0) {
		r = -errno;
		if (r == -EACCES)
			return -EPERM;
		log_err("cannot open /dev/fuse: %s%s", strerror(-r),
			r == -ENOENT || r == -ENODEV ? " (the kernel's module fuse?)" : "");
		return r;
	}
	if (fuse_options(o, &common) < 0 ||
	    asprintf(&data, "fd=%d,rootmode=%o,user_id=%u,group_id=%u,%s", fd, S_IFDIR, getuid(),
		     getgid(), common) < 0) {
		log_err("mount: no memory");
		return -ENOMEM;
	}
	if (mount(source, m->mountpoint, "fuse." SUBTYPE, o->flags, data) < 0)
		r = -errno;
	if (r < 0 && r != -EPERM)
		log_err("mounting at %s: %s", m->mountpoint, strerror(-r));
	if (r == 0)
		m->fd = steal_fd(&fd);
	return r;
}

/* An option's value must not begin new ones. */
static void escape(char *to, size_t size, const char *from)
{
	size_t at = 0;

	for (; *from && at + 3 < size; from++) {
		if (*from == ',' || *from == '\\')
			to[at++] = '\\';
		to[at++] = *from;
	}
	to[at] = '\0';
}

/* The flags as options of libfuse, or NULL: it has no name for one of them. */
static const char *libfuse_flags(unsigned long flags, char *to, size_t size)
{
	static const struct {
		unsigned long flag;
		const char *name;
	} names[] = {
		{ MS_RDONLY, ",ro" },	    { MS_NOSUID, ",nosuid" },	 { MS_NODEV, ",nodev" },
		{ MS_NOEXEC, ",noexec" },   { MS_SYNCHRONOUS, ",sync" }, { MS_DIRSYNC, ",dirsync" },
		{ MS_NOATIME, ",noatime" },
	};
	size_t at = 0;

	to[0] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (flags & names[i].flag)
			at += (size_t)snprintf(to + at, size - at, "%s", names[i].name);
		flags &= ~names[i].flag;
	}
	/* libfuse's default is nosuid and nodev; only root can override it. */
	if (geteuid() == 0)
		(void)snprintf(to + at, size - at, "%s%s", strstr(to, "nosuid") ? "" : ",suid",
			       strstr(to, "nodev") ? "" : ",dev");
	return flags & ~(unsigned long)MS_RELATIME ? NULL : to;
}

static int mount_by_libfuse(const struct mount_opts *o, const char *source, struct mount *m)
{
	static const struct fuse_lowlevel_ops no_ops;
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	_cleanup_free_ char *common = NULL, *line = NULL;
	char name[256], flags[128];
	struct fuse_session *se = NULL;

	if (!libfuse_flags(o->flags, flags, sizeof(flags)) || o->security) {
		log_err("strictatime, nodiratime, lazytime, nosymfollow, context=: %s",
			o->auto_unmount ? "not together with auto_unmount"
					: "only root can set them");
		return -EPERM;
	}
	escape(name, sizeof(name), source);
	if (fuse_options(o, &common) < 0 ||
	    asprintf(&line, "-ofsname=%s,subtype=" SUBTYPE ",%s%s%s", name, common, flags,
		     o->auto_unmount ? ",auto_unmount" : "") < 0)
		return -ENOMEM;
	if (fuse_opt_add_arg(&args, "vfsdaxfuse") == 0 && fuse_opt_add_arg(&args, line) == 0)
		se = fuse_session_new(&args, &no_ops, sizeof(no_ops), NULL);
	fuse_opt_free_args(&args);
	if (!se)
		return -EIO;
	if (fuse_session_mount(se, m->mountpoint) != 0) {
		fuse_session_destroy(se);
		return -EIO;
	}
	/* A descriptor of our own: libfuse closes its one when it unmounts, before the threads end.
	 */
	m->session = se;
	m->fd = fcntl(fuse_session_fd(se), F_DUPFD_CLOEXEC, 3);
	if (m->fd < 0) {
		fuse_session_unmount(se);
		fuse_session_destroy(steal_ptr(m->session));
		return -EMFILE;
	}
	return 0;
}

int mount_make(const struct mount_opts *opts, const char *source, const char *mountpoint,
	       struct mount *ret)
{
	struct mount m = { .fd = -1, .mountpoint = mountpoint };
	int r = -EPERM;

	if (opts->fsname)
		source = opts->fsname;
	if (!opts->auto_unmount)
		r = mount_by_kernel(opts, source, &m);
	if (r == -EPERM)
		r = mount_by_libfuse(opts, source, &m);
	if (r == 0)
		*ret = m;
	return r;
}

void mount_unmount(struct mount *m)
{
	struct pollfd pfd = { .fd = m->fd };
	unsigned long flags;

	if (m->fd < 0 || m->detached)
		return;
	m->detached = true;
	if (m->session) {
		fuse_session_unmount(m->session);
		return;
	}
	/*
	 * If somebody else has unmounted it, do not unmount what lies below. /dev/fuse then reports
	 * POLLERR; while files are in use, only the mount table shows it.
	 */
	if ((poll(&pfd, 1, 0) == 1 && pfd.revents & POLLERR) ||
	    mount_flags(m->mountpoint, &flags) == -ENOENT)
		return;
	if (umount2(m->mountpoint, MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
		log_dbg("unmounting %s: %m", m->mountpoint);
}

void mount_end(struct mount *m)
{
	mount_unmount(m);
	if (m->session)
		fuse_session_destroy(steal_ptr(m->session));
	close_keep_errno(m->fd);
	m->fd = -1;
}
