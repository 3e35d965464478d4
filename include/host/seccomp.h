/* SPDX-License-Identifier: MIT */
/* A filter for system calls: what serving a directory needs, and nothing more. */
#pragma once

#include <stdbool.h>

enum host_seccomp {
	HOST_SECCOMP_NONE,
	HOST_SECCOMP_KILL, /* another call ends the process */
	HOST_SECCOMP_LOG,  /* is logged by the kernel (audit) and done */
	HOST_SECCOMP_TRAP, /* raises SIGSYS */
};

/* host_seccomp_default() - NONE in a build without libseccomp or with a sanitizer, else KILL. */
enum host_seccomp host_seccomp_default(void);

/* What serving needs besides the usual, by what was asked for. */
enum host_need {
	HOST_NEED_LABELS = 1,  /* to set attributes security.* */
	HOST_NEED_HANDLES = 2, /* to open inodes by file handle */
	HOST_NEED_SYSLOG = 4,  /* messages go to syslog, which may have to be connected to again */
};

/* The only ioctl(2) that the filter allows: FS_IOC_GETFSUUID (Linux 6.9), for fs_ino.c. */
#define HOST_IOCTL_UUID 0x80111500u

/*
 * host_seccomp_enter() - to be called by the only thread of the process, when all is set up but the
 * threads that serve; they inherit it. For good. @needs: HOST_NEED_*.
 * Returns 0 or a negative errno; -EOPNOTSUPP: built without libseccomp.
 */
int host_seccomp_enter(enum host_seccomp how, unsigned int needs);
