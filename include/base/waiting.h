/* SPDX-License-Identifier: MIT */
/* A thread says that it is about to wait for something that may take long. */
#pragma once

/*
 * Problem: of the threads that serve requests only as many as are useful look for new ones; when
 * all of those came to wait, for the host or for each other, nobody would. The code that waits
 * stands deep in lower layers and knows nothing of that.
 *
 * Concepts: a thread may leave a hook of its own here. Code that is about to wait for another
 * thread or for a peer, for longer than a short critical section, calls waiting_begin() first,
 * outside of locks that the hook could need (it needs none of the layers above base).
 */

/* waiting_set_hook() - what waiting_begin() calls in this thread from now on; NULL: nothing. */
void waiting_set_hook(void (*fn)(void *arg), void *arg);

/* waiting_begin() - call the hook. May be called again and again in one request. */
void waiting_begin(void);
