// SPDX-License-Identifier: MIT
// The mountpoint: what must hold before, and the mount that libfuse makes.

#define FUSE_USE_VERSION 35

#include <errno.h>
#include <fuse_lowlevel.h>
#include <mntent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "mount.h"

#define SUBTYPE "vfsdaxfuse"

static bool mounted_here(const char *mountpoint)
{
	FILE *f = setmntent("/proc/self/mounts", "r");
	struct mntent *m;
	bool found = false;

	if (!f)
		return false;
	while ((m = getmntent(f)))
		if (!strcmp(m->mnt_dir, mountpoint))
			found = !strcmp(m->mnt_type, "fuse." SUBTYPE);
	(void)endmntent(f);
	return found;
}

int mount_check(const char *mountpoint)
{
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
	if (mounted_here(mountpoint)) {
		log_err("%s is already mounted", mountpoint);
		return -EBUSY;
	}
	return 0;
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

struct fuse_session *mount_make(struct fuse_args *args, const char *source, const char *mountpoint)
{
	static const struct fuse_lowlevel_ops no_ops;
	struct fuse_session *se;
	char name[256], defaults[512];

	escape(name, sizeof(name), source);
	/*
	 * As the kernel's virtiofs: all users may use it, the kernel checks permissions, device files
	 * and set-id programs work unless options say otherwise.
	 */
	(void)snprintf(defaults, sizeof(defaults),
		       "-ofsname=%s,subtype=" SUBTYPE ",allow_other,default_permissions,dev,suid",
		       name);
	if (fuse_opt_insert_arg(args, 1, defaults) < 0)
		return NULL;
	se = fuse_session_new(args, &no_ops, sizeof(no_ops), NULL);
	if (!se)
		return NULL;
	if (fuse_session_mount(se, mountpoint) != 0) {
		fuse_session_destroy(se);
		return NULL;
	}
	return se;
}
