/* SPDX-License-Identifier: MIT */
/* Copies from and to the window: several routines, and which of them this window likes best. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Problem: VFIO maps a BAR uncached. Where the hypervisor overrides that (Intel KVM, TCG) the
 * window is memory like any other; where it does not (AMD) each load and store goes to memory by
 * itself, so its width decides, and the C library's memcpy(), which copies bytes by "rep movsb"
 * from some size on, is the slowest. Which it is cannot be asked for, only measured.
 *
 * Concepts: a routine copies any number of bytes between any addresses that do not overlap; those
 * that are not memcpy() access the window in aligned vectors, but for the first and the last one.
 * Routine 0 is memcpy(). A choice stands for one window: for each direction, the first copies of
 * COPY_TRIAL bytes and more take the routines in turn and are timed; the lowest time wins, and
 * memcpy() when none is clearly better. That is repeated rarely. Nothing is copied for its own
 * sake.
 *
 * Threads: any, without locks; a lost sample does no harm, so all accesses are relaxed.
 */
enum copy_dir { COPY_FROM_WINDOW, COPY_TO_WINDOW, COPY_DIRS };

struct copy_routine {
	const char *name; /* "memcpy", "16-byte", "32-byte", "64-byte" */
	void (*fn)(void *dst, const void *src, size_t n);
};

#define COPY_ROUTINES_MAX 4u
#define COPY_TRIAL	  ((size_t)16 * 1024) /* bytes of a copy that is timed */

struct copy_choice {
	struct copy_tune {
		_Atomic uint32_t turn;			     /* timed copies of this series */
		_Atomic uint32_t chosen;		     /* index of the routine */
		_Atomic uint32_t best_ns[COPY_ROUTINES_MAX]; /* for COPY_TRIAL bytes; 0: none yet */
	} dir[COPY_DIRS];
};

/* copy_routines() - those that this processor has; *ret_n of them, at least one. */
const struct copy_routine *copy_routines(enum copy_dir dir, unsigned int *ret_n);

/*
 * copy_by() - copy @n bytes by @r; either side may be peer memory (base/guard.h).
 * Returns 0, or -EFAULT when a page of @src or @dst is gone (a part of @dst may be written).
 */
int copy_by(const struct copy_routine *r, void *dst, const void *src, size_t n);

/* copy_window() - the same by the routine that is best, as far as is known. All of @c is zero at
 * first. */
int copy_window(struct copy_choice *c, enum copy_dir dir, void *dst, const void *src, size_t n);

/* copy_best() - the best of @n routines that took @ns (0: not measured) for the same copy. */
unsigned int copy_best(const uint32_t *ns, unsigned int n);

/* copy_chosen() - the routine that is taken at present. */
const struct copy_routine *copy_chosen(const struct copy_choice *c, enum copy_dir dir);
