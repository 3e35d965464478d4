// SPDX-License-Identifier: MIT
// A filter for system calls: what serving a directory needs, and nothing more.

#include <errno.h>

#include "base/num.h"
#include "host/seccomp.h"

#ifdef HAVE_SECCOMP

#include <sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/socket.h>

/*
 * By name, because not each library knows the number of each call, and not each machine has it.
 * A path that a guest gives is only taken by openat() and its like, to which the server gives
 * single names (fs.h). None makes a process, executes a program or changes mounts.
 */
/* clang-format off */
static const char *const allowed[] = {
	/* files and directories, for the guest */
	"openat", "close", "read", "write", "readv", "writev", "pread64", "pwrite64", "preadv",
	"pwritev", "preadv2", "pwritev2", "lseek", "fstat", "newfstatat", "statx", "fstatfs",
	"getdents64", "readlinkat", "mkdirat", "mknodat", "unlinkat", "renameat", "renameat2",
	"linkat", "symlinkat", "fchmod", "fchmodat", "fchmodat2", "fchownat", "utimensat",
	"ftruncate", "fallocate", "copy_file_range", "fsync", "fdatasync", "syncfs", "dup",
	"fcntl", "flock", "umask",
	/* extended attributes, by names in /proc/self/fd (fs_xattr.c) */
	"fchdir", "getxattr", "setxattr", "listxattr", "removexattr", "fgetxattr", "fsetxattr",
	"flistxattr", "fremovexattr",
	/* in the name of the guest's users (cred.c) */
	"geteuid", "getegid", "setresuid", "setresgid", "setgroups", "capget", "capset",
	/* the front end's socket, its descriptors and its memory */
	"accept4", "sendmsg", "recvmsg", "sendto", "recvfrom", "shutdown", "setsockopt",
	"getsockopt", "poll", "ppoll", "eventfd2", "munmap", "mremap", "madvise", "brk",
	/* threads, signals and time */
	"futex", "set_robust_list", "rseq", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn",
	"rt_sigtimedwait", "sigaltstack", "restart_syscall", "gettid", "getpid", "tgkill", "kill",
	"exit", "exit_group", "sched_yield", "sched_getaffinity", "clock_gettime",
	"clock_nanosleep", "nanosleep", "gettimeofday", "getrandom", "sysinfo",
};
/* clang-format on */

static int allow(scmp_filter_ctx ctx, const char *name)
{
	int nr = seccomp_syscall_resolve_name(name), r;

	if (nr == __NR_SCMP_ERROR)
		return 0; /* newer than the library */
	r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, nr, 0);
	return r == -EDOM ? 0 : r; /* not of this architecture */
}

/* Calls that are allowed for one purpose only. */
static int allow_some(scmp_filter_ctx ctx, unsigned int needs)
{
	int r;

	/* Threads, but no processes. What clone3() is asked cannot be seen; libc then takes
	 * clone(). */
	r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
			     SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	/* A file mode creation mask of its own for each thread (cred.c). */
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(unshare), 1,
				     SCMP_A0(SCMP_CMP_EQ, CLONE_FS));
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
				     SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1,
				     SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	/* FS_IOC_GETFSUUID (fs_ino.c). */
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
				     SCMP_A1(SCMP_CMP_EQ, HOST_IOCTL_UUID));
	if (r == 0 && needs & HOST_NEED_SYSLOG)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1,
				     SCMP_A0(SCMP_CMP_EQ, AF_UNIX));
	if (r == 0 && needs & HOST_NEED_SYSLOG)
		r = allow(ctx, "connect");
	if (r == 0 && needs & HOST_NEED_HANDLES)
		r = allow(ctx, "name_to_handle_at");
	if (r == 0 && needs & HOST_NEED_HANDLES)
		r = allow(ctx, "open_by_handle_at");
	return r;
}

static uint32_t action(enum host_seccomp how)
{
	switch (how) {
	case HOST_SECCOMP_LOG:
		return SCMP_ACT_LOG;
	case HOST_SECCOMP_TRAP:
		return SCMP_ACT_TRAP;
	default:
		return SCMP_ACT_KILL_PROCESS;
	}
}

int host_seccomp_enter(enum host_seccomp how, unsigned int needs)
{
	scmp_filter_ctx ctx;
	int r;

	if (how == HOST_SECCOMP_NONE)
		return 0;
	ctx = seccomp_init(action(how));
	if (!ctx)
		return -ENOMEM;
	r = allow_some(ctx, needs);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(allowed); i++)
		r = allow(ctx, allowed[i]);
	/* A tree instead of a list: a call costs 8 comparisons instead of 80. */
	if (r == 0)
		(void)seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (r == 0)
		r = seccomp_load(ctx);
	seccomp_release(ctx);
	return r;
}

#else

int host_seccomp_enter(enum host_seccomp how, unsigned int needs)
{
	return how == HOST_SECCOMP_NONE ? 0 : -EOPNOTSUPP;
}

#endif

enum host_seccomp host_seccomp_default(void)
{
	/* A sanitizer's runtime makes calls of its own, and processes when it looks for leaks. */
#if defined(HAVE_SECCOMP) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	return HOST_SECCOMP_KILL;
#else
	return HOST_SECCOMP_NONE;
#endif
}
