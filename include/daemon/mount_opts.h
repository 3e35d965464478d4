/* SPDX-License-Identifier: MIT */
/* Mount options: those of mount(8) and of FUSE, by name. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/*
 * The options are those of mount(8), /etc/fstab and /proc/mounts. Each one is a flag of mount(2),
 * an option for the kernel's FUSE, accepted and ignored because it is for other programs, or
 * refused with the reason. Of two options that exclude each other the last one counts.
 */
struct mount_opts {
	unsigned long flags; /* MS_... to set */
	unsigned long said;  /* MS_... that an option sets or clears */
	bool any;	     /* at least one option was given */
	bool remount;
	bool only_owner; /* without allow_other: the kernel admits only the user who mounts */
	bool root_asked; /* by allow_root, and not by noallow_other */
	bool auto_unmount;
	unsigned int max_read; /* bytes of a READ at most; 0: as much as a request holds */
	uid_t user_id;	       /* as /proc/mounts shows them; -1: not given */
	gid_t group_id;
	char *fsname;	/* the name in the mount table; NULL: the device's tag */
	char *security; /* SELinux options for the kernel, separated by commas, or NULL */
};

/* mount_opts_init() - set up @m as without any option. */
void mount_opts_init(struct mount_opts *m);

/*
 * mount_opts_add() - apply one option, such as "ro". Returns 0, or -EINVAL or -ENOMEM after it has
 * logged a sentence that names the option.
 */
int mount_opts_add(struct mount_opts *m, const char *option);

/* mount_opts_check() - check the options as a whole, after the last one. As mount_opts_add(). */
int mount_opts_check(const struct mount_opts *m);

/* mount_opts_shown() - the flags (MS_...) of a @list in /proc/mounts, such as "rw,nosuid". */
unsigned long mount_opts_shown(const char *list);

/* mount_opts_merge() - the flags of a mount after a remount with @m; @now: before it. */
unsigned long mount_opts_merge(const struct mount_opts *m, unsigned long now);

/* mount_opts_free() - free what @m owns. */
void mount_opts_free(struct mount_opts *m);

/* mount_opts_name() - the name of the @i-th known option, as in the manual, or NULL. */
const char *mount_opts_name(size_t i);
