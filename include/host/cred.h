/* SPDX-License-Identifier: MIT */
/* The calling thread's identity: become the one whom a request is for, and back. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Identity is an attribute of a thread for the kernel; libc's setresuid() changes all threads of the
 * process, so the system calls are made directly. A process that is not root keeps its identity.
 */

/* cred_thread_init() - once in each thread before the others; repeated calls cost nothing. */
void cred_thread_init(void);

struct cred {
	bool changed; /* user or group id */
	bool group;   /* supplementary groups */
	bool fsetid;  /* CAP_FSETID was dropped */
	bool umask;
	mode_t old_umask;
};

/*
 * cred_become() - the file system acts for @uid and @gid, with @group (when not -1) as the only
 * supplementary group. The capability to pass permission checks is kept: the guest has made them,
 * with all of the caller's groups, which we do not know. Returns 0 or a negative errno; then the
 * thread is who it was.
 */
int cred_become(struct cred *c, uid_t uid, gid_t gid, gid_t group);

/*
 * cred_umask() - use the caller's mask; the kernel overrides it with a default ACL. Returns 0, or
 * -EIO when this thread has no mask of its own (cred_thread_init() could not get it one).
 */
int cred_umask(struct cred *c, mode_t mask);

/* cred_own_cwd() - is the working directory this thread's alone? */
bool cred_own_cwd(void);

/*
 * cred_drop_fsetid() - from now on writes and truncations of this thread clear set-id bits, as for
 * a caller whose only group is @group: setuid; setgid where the group may execute the file, or
 * where the file's group is not @group (Linux 6.2, setattr_should_drop_sgid()). @group 0 does not
 * change the thread's group. Not together with cred_become().
 */
void cred_drop_fsetid(struct cred *c, gid_t group);

/*
 * cred_restore() - undo all of them; does nothing for a zeroed struct. A process that cannot get
 * back what it was must not go on: ends it.
 */
void cred_restore(struct cred *c);

#define _cleanup_cred_ __attribute__((cleanup(cred_restore)))
