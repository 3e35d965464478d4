// SPDX-License-Identifier: MIT
// The calling thread's identity: become the one whom a request is for, and back.

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "host/cred.h"

static __thread bool cred_ready;
static __thread bool cred_root;	  /* this thread can change its identity */
static __thread bool cred_fs_own; /* the umask is this thread's alone */

struct cred_caps {
	struct __user_cap_header_struct h;
	struct __user_cap_data_struct d[_LINUX_CAPABILITY_U32S_3];
};

static int cred_caps_get(struct cred_caps *c)
{
	c->h = (struct __user_cap_header_struct){ .version = _LINUX_CAPABILITY_VERSION_3 };
	return syscall(SYS_capget, &c->h, c->d) < 0 ? -errno : 0;
}

/* Raise or lower one effective capability; *ret_changed when it was not so already. */
static int cred_cap(unsigned int cap, bool on, bool *ret_changed)
{
	uint32_t bit = 1u << (cap % 32);
	struct cred_caps c;
	int r = cred_caps_get(&c);

	if (r < 0)
		return r;
	*ret_changed = false;
	if (!!(c.d[cap / 32].effective & bit) == on)
		return 0;
	if (on && !(c.d[cap / 32].permitted & bit))
		return -EPERM;
	c.d[cap / 32].effective ^= bit;
	if (syscall(SYS_capset, &c.h, c.d) < 0)
		return -errno;
	*ret_changed = true;
	return 0;
}

void cred_thread_init(void)
{
	struct cred_caps c;

	if (cred_ready)
		return;
	cred_ready = true;
	cred_fs_own = unshare(CLONE_FS) == 0;
	(void)umask(0);
	if (geteuid() != 0 || cred_caps_get(&c) < 0)
		return;
	cred_root =
		(c.d[0].effective & (1u << CAP_SETUID)) && (c.d[0].effective & (1u << CAP_SETGID));
	if (cred_root)
		(void)syscall(SYS_setgroups, 0, NULL);
}

int cred_become(struct cred *c, uid_t uid, gid_t gid, gid_t group)
{
	bool changed;
	int r;

	if (uid == (uid_t)-1 || gid == (gid_t)-1)
		return -EINVAL;
	if (!cred_root || (uid == 0 && gid == 0))
		return 0;
	c->changed = true; /* from here on cred_restore() has to do something */
	if (group != (gid_t)-1) {
		c->group = true;
		if (syscall(SYS_setgroups, 1, &group) < 0)
			goto fail;
	}
	if (syscall(SYS_setresgid, -1, gid, -1) < 0)
		goto fail;
	if (uid == 0)
		return 0;
	/* The effective capabilities go with the effective user id 0, the permitted ones stay. */
	if (syscall(SYS_setresuid, -1, uid, -1) < 0)
		goto fail;
	if (cred_cap(CAP_DAC_OVERRIDE, true, &changed) < 0)
		log_dbg("cannot keep CAP_DAC_OVERRIDE: %m");
	return 0;
fail:
	r = -errno;
	log_warn_ratelimited("cannot act for uid %u, gid %u: %m%s", uid, gid,
			     r == -EINVAL ? " (not in /proc/self/uid_map or gid_map?)" : "");
	return r;
}

int cred_umask(struct cred *c, mode_t mask)
{
	if (!cred_fs_own)
		return -EIO;
	c->old_umask = umask(mask & 0777);
	c->umask = true;
	return 0;
}

bool cred_own_cwd(void)
{
	return cred_fs_own;
}

void cred_drop_fsetid(struct cred *c, gid_t group)
{
	bool changed = false;

	/*
	 * If this process is not root, or its user namespace does not have the group, the group
	 * does not change: such a host writes everything as its own user anyway.
	 */
	if (cred_root && group != 0)
		c->changed = syscall(SYS_setresgid, -1, group, -1) == 0;
	if (cred_cap(CAP_FSETID, false, &changed) == 0 && changed)
		c->fsetid = true;
}

void cred_restore(struct cred *c)
{
	int saved = errno;
	bool changed;

	if (c->umask)
		(void)umask(c->old_umask);
	if (c->changed &&
	    (syscall(SYS_setresuid, -1, 0, -1) < 0 || syscall(SYS_setresgid, -1, 0, -1) < 0 ||
	     (c->group && syscall(SYS_setgroups, 0, NULL) < 0))) {
		log_err("cannot become root again: %m");
		abort();
	}
	if (c->fsetid && cred_cap(CAP_FSETID, true, &changed) < 0)
		log_err("cannot raise CAP_FSETID again: %m");
	*c = (struct cred){ 0 };
	errno = saved;
}
