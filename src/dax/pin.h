/* SPDX-License-Identifier: MIT */
/* Who is inside the window right now: pins without a shared counter. */
#pragma once

/*
 * Problem: an extent must not be unmapped while somebody copies through it, and a hit must not
 * write to memory that other threads write to as well.
 *
 * Theory of operation: each thread owns a slot in its own cache line. pin_begin() stores the
 * current epoch there, pin_end() stores 0. What is found in an index between the two stays mapped
 * and allocated. Whoever takes something out of an index calls pin_wait() before it unmaps or frees
 * it: that returns when every thread which was pinned at the call has called pin_end().
 *
 * Why it is right: pin_begin() stores its slot, then loads the index; the remover stores the index,
 * then loads the slots; all four are sequentially consistent. So either the remover sees the slot
 * and waits, or the reader's load comes after the remover's store and does not find the thing. The
 * release of pin_end() pairs with the acquire of pin_wait(): the copy is over before the memory
 * goes.
 *
 * A pin covers all extents at once, so a remover may wait for a copy in another extent; it never
 * waits longer than the copies that run at that moment, and no copy ever waits for a remover.
 * Pins do not nest.
 */
int pin_begin(void); /* 0, or -ENOMEM when a thread's first pin finds no memory */
void pin_end(void);
void pin_wait(void);
