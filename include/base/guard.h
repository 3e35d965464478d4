/* SPDX-License-Identifier: MIT */
/* Memory copies that survive a page which is gone. */
#pragma once

#include <stddef.h>

/*
 * Problem: memory that a peer can change under us (a file mapping that the peer truncates, a
 * device's BAR whose decoding was switched off) raises SIGBUS when it is touched, and SIGSEGV where
 * the peer gave less access than it said. A copy that is guarded returns an error instead.
 */

/*
 * guard_init() - install the process-wide handlers. A signal outside of a guarded copy ends the
 * process as before. Call once, before threads are made.
 * Returns 0 or a negative errno of sigaction(2).
 */
int guard_init(void);

/*
 * guard_copy() - copy @n bytes; either side may be peer memory. Any thread, no locks needed.
 * Returns 0, or -EFAULT when a page of @src or @dst is gone (a part of @dst may be written).
 */
int guard_copy(void *dst, const void *src, size_t n);

/*
 * guard_run() - call @fn(@arg), which may touch peer memory by itself. It must do nothing that a
 * sudden end would leave half done: no lock, no allocation, no guarded copy.
 * Returns 0, or -EFAULT when a page was gone (@fn ended there).
 */
int guard_run(void (*fn)(void *arg), void *arg);
