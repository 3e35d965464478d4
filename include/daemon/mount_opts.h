/* SPDX-License-Identifier: MIT */
/* Mount options: those of mount(8) and of FUSE, by name. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/*
 * mount(8), /etc/fstab and /proc/mounts have names for what a mount can be. Each of them is either
 * a flag of mount(2), or something for the kernel's FUSE, or none of a file system's business and
 * taken without an effect, or refused with the reason. The later of two options counts.
 */
struct mount_opts {
	unsigned long flags; /* MS_... that are to be set */
	unsigned long said;  /* MS_... of which an option spoke, whether to set or to clear them */
	bool any;	     /* an option was given */
	bool remount;
	bool only_owner; /* noallow_other, allow_root: the kernel lets nobody else in */
	bool root_asked; /* the last of these was allow_root */
	bool auto_unmount;
	unsigned int max_read; /* bytes of a READ at most; 0: as much as a request holds */
	uid_t user_id;	       /* as /proc/mounts shows them; -1: not given */
	gid_t group_id;
	char *fsname;	/* the name in the mount table; NULL: the device's tag */
	char *security; /* SELinux options for the kernel, separated by commas, or NULL */
};

/* mount_opts_init() - no option given. */
void mount_opts_init(struct mount_opts *m);

/*
 * mount_opts_add() - take one option, such as "ro". 0, or -EINVAL or -ENOMEM after a sentence was
 * printed that names it.
 */
int mount_opts_add(struct mount_opts *m, const char *option);

/* mount_opts_check() - all have been added: do they fit together? As mount_opts_add(). */
int mount_opts_check(const struct mount_opts *m);

/* mount_opts_shown() - flags that /proc/mounts shows by @list, "rw,nosuid,relatime,...". */
unsigned long mount_opts_shown(const char *list);

/* mount_opts_merge() - what the flags @now of a mount become when it is remounted with @m. */
unsigned long mount_opts_merge(const struct mount_opts *m, unsigned long now);

/* mount_opts_free() - free what @m owns. */
void mount_opts_free(struct mount_opts *m);

/* mount_opts_name() - the @i-th name that is known, as the manual shows it, or NULL. */
const char *mount_opts_name(size_t i);
