/* SPDX-License-Identifier: MIT */
/* Scope-bound release of memory, file descriptors and locks. */
#pragma once

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

/*
 * A variable with one of these attributes is released when its scope ends. It must be initialised
 * at its declaration. Hand the value on with steal_ptr()/steal_fd(), which leave NULL/-1 behind.
 */
#define _cleanup_(f)	 __attribute__((cleanup(f)))
#define _cleanup_free_	 _cleanup_(cleanup_freep)
#define _cleanup_close_	 _cleanup_(cleanup_closep)
#define _cleanup_unlock_ _cleanup_(cleanup_unlockp)

static inline void cleanup_freep(void *p)
{
	free(*(void **)p);
}

/* close_keep_errno() - close @fd when it is one; errno is unchanged. */
static inline void close_keep_errno(int fd)
{
	int saved = errno;

	if (fd >= 0)
		(void)close(fd);
	errno = saved;
}

static inline void cleanup_closep(int *fd)
{
	close_keep_errno(*fd);
}

static inline void cleanup_unlockp(pthread_mutex_t **m)
{
	if (*m)
		(void)pthread_mutex_unlock(*m);
}

static inline int steal_fd(int *fd)
{
	int v = *fd;

	*fd = -1;
	return v;
}

#define steal_ptr(p)                                                                               \
	({                                                                                         \
		__typeof__(p) *steal_pp_ = &(p);                                                   \
		__typeof__(p) steal_v_ = *steal_pp_;                                               \
		*steal_pp_ = NULL;                                                                 \
		steal_v_;                                                                          \
	})

/* Lock @m until the end of the scope. */
#define scoped_lock(m)                                                                             \
	_cleanup_unlock_ pthread_mutex_t *CONCAT_(scoped_lock_, __LINE__) = (m);                   \
	(void)pthread_mutex_lock(CONCAT_(scoped_lock_, __LINE__))

#define CONCAT__(a, b) a##b
#define CONCAT_(a, b)  CONCAT__(a, b)
