// SPDX-License-Identifier: MIT
// Confinement of the process to the shared directory.

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "host/sandbox.h"

#define BIT(n) (UINT64_C(1) << (n))

/* What a file server for guests of many users does with files that are not its own. */
#define SANDBOX_CAPS                                                                               \
	(BIT(CAP_CHOWN) | BIT(CAP_DAC_OVERRIDE) | BIT(CAP_FOWNER) | BIT(CAP_FSETID) |              \
	 BIT(CAP_SETGID) | BIT(CAP_SETUID) | BIT(CAP_MKNOD) | BIT(CAP_SETFCAP))

static int fail(const char **ret_what, const char *what)
{
	int e = -errno;

	*ret_what = what;
	return e;
}

/* The shared directory becomes the root of a mount namespace that holds nothing else. */
static int sandbox_pivot(const char *dir, const char **ret_what)
{
	static const char hint[] = "cannot set up --sandbox=namespace (inside of a container use "
				   "--sandbox=chroot, or none if that confines it already)";
	_cleanup_close_ int old = -1;

	if (unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC) < 0)
		return fail(ret_what, hint);
	/* Nothing that is mounted here shows outside; what is mounted outside still comes in. */
	if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0 ||
	    mount(dir, dir, NULL, MS_BIND | MS_REC, NULL) < 0)
		return fail(ret_what, hint);
	old = open("/", O_DIRECTORY | O_PATH | O_CLOEXEC);
	if (old < 0 || chdir(dir) < 0)
		return fail(ret_what, hint);
	/* pivot_root(2), NOTES: the old root ends up on top of the new one and is taken off. */
	if (syscall(SYS_pivot_root, ".", ".") < 0 || fchdir(old) < 0 ||
	    umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return fail(ret_what, hint);
	return 0;
}

static int sandbox_caps(uint64_t more, const char **ret_what)
{
	struct __user_cap_header_struct h = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct d[_LINUX_CAPABILITY_U32S_3] = { 0 };
	uint64_t keep = geteuid() == 0 ? SANDBOX_CAPS | more : 0;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return fail(ret_what, "cannot set no_new_privs");
	/* The bounding set first: it takes CAP_SETPCAP. A number too high ends the loop. */
	for (int cap = 0; cap < 64 && geteuid() == 0; cap++)
		if (!(keep & BIT(cap)) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
			break;
	if (syscall(SYS_capget, &h, d) < 0)
		return fail(ret_what, "cannot read the capabilities");
	for (unsigned int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
		d[i].permitted &= (uint32_t)(keep >> (32 * i));
		d[i].effective = d[i].permitted;
		d[i].inheritable = 0;
	}
	if (syscall(SYS_capset, &h, d) < 0)
		return fail(ret_what, "cannot drop capabilities");
	return 0;
}

int sandbox_enter(enum host_sandbox how, const char *shared_dir, unsigned int needs,
		  struct sandbox *ret, const char **ret_what)
{
	_cleanup_close_ int root = -1, proc = -1;
	_cleanup_free_ char *dir = realpath(shared_dir, NULL);
	int r = 0;

	if (!dir)
		return fail(ret_what, "cannot find the shared directory");
	/* Who shares all there is has nothing to be confined to. */
	if (!strcmp(dir, "/"))
		how = HOST_SANDBOX_NONE;
	proc = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (proc < 0)
		return fail(ret_what, "cannot open /proc/self/fd (is /proc mounted?)");
	if (how == HOST_SANDBOX_NAMESPACE)
		r = sandbox_pivot(dir, ret_what);
	else if (how == HOST_SANDBOX_CHROOT && (chdir(dir) < 0 || chroot(".") < 0))
		r = fail(ret_what, "cannot set up --sandbox=chroot (it needs root; as another user "
				   "use --sandbox=none)");
	if (r < 0)
		return r;
	/* After the change of the root, so that the descriptor is of the mount that is left. */
	root = open(how == HOST_SANDBOX_NONE ? dir : "/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return fail(ret_what, "cannot open the shared directory");
	r = sandbox_caps((needs & HOST_NEED_LABELS ? BIT(CAP_SYS_ADMIN) : 0) |
				 (needs & HOST_NEED_HANDLES ? BIT(CAP_DAC_READ_SEARCH) : 0),
			 ret_what);
	if (r < 0)
		return r;
	ret->root_fd = steal_fd(&root);
	ret->proc_fd = steal_fd(&proc);
	return 0;
}
