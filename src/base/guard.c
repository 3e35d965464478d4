// SPDX-License-Identifier: MIT
// Memory copies that survive a page which is gone.

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>

#include "base/guard.h"

/*
 * Theory of operation: a thread that copies stores its way out in guard_out. The handler runs on
 * the thread that touched the page, so it finds that thread's own way out, or none. The signal is
 * raised by a copy instruction inside memcpy(), which holds no lock and has no state that must be
 * unwound, so leaving it by siglongjmp() is safe. The signal mask is not saved (a system call):
 * the handler is installed with SA_NODEFER, so the mask does not change.
 */
static __thread sigjmp_buf *guard_out;

/* The thread sanitizer blocks all signals while its handler calls ours, whatever the flags say. */
#ifdef __SANITIZE_THREAD__
#define GUARD_SAVE_MASK 1
#else
#define GUARD_SAVE_MASK 0
#endif

static void guard_on_signal(int sig)
{
	if (guard_out)
		siglongjmp(*guard_out, 1);
	(void)signal(sig, SIG_DFL);
	(void)raise(sig);
}

int guard_init(void)
{
	struct sigaction sa = { .sa_handler = guard_on_signal, .sa_flags = SA_NODEFER };

	(void)sigemptyset(&sa.sa_mask);
	if (sigaction(SIGBUS, &sa, NULL) < 0 || sigaction(SIGSEGV, &sa, NULL) < 0)
		return -errno;
	return 0;
}

int guard_run(void (*fn)(void *arg), void *arg)
{
	sigjmp_buf out;

	if (sigsetjmp(out, GUARD_SAVE_MASK)) {
		guard_out = NULL;
		return -EFAULT;
	}
	guard_out = &out;
	/* Nothing that touches the memory may move out of the guarded part. */
	__asm__ volatile("" ::: "memory");
	fn(arg);
	__asm__ volatile("" ::: "memory");
	guard_out = NULL;
	return 0;
}

struct guarded_copy {
	void *dst;
	const void *src;
	size_t n;
};

static void guard_do_copy(void *arg)
{
	const struct guarded_copy *c = arg;

	memcpy(c->dst, c->src, c->n);
}

int guard_copy(void *dst, const void *src, size_t n)
{
	struct guarded_copy c = { dst, src, n };

	return guard_run(guard_do_copy, &c);
}
