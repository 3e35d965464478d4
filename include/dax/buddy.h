/* SPDX-License-Identifier: MIT */
/* Space in the window: blocks of a power of two, aligned to their size. */
#pragma once

#include <stdint.h>

#include "base/num.h"

/*
 * A binary buddy allocator over [0, size). Block sizes run from 2^min_shift to 2^max_shift. Each
 * operation takes O(log(size)) steps. No thread rule of its own: the caller locks.
 */
struct buddy;

/*
 * buddy_create() - @size is cut down to a multiple of 2^min_shift; max_shift at most 40.
 * Returns NULL when there is no memory or no whole block.
 */
struct buddy *buddy_create(uint64_t size, unsigned int min_shift, unsigned int max_shift);
void buddy_destroy(struct buddy *b);

/*
 * buddy_alloc() - take a block of 2^shift bytes, min_shift <= shift <= max_shift.
 * Returns 0 and its place in *ret, or -ENOSPC.
 */
int buddy_alloc(struct buddy *b, unsigned int shift, struct woff *ret);

/* buddy_free() - give back what buddy_alloc() gave, with the same @shift. */
void buddy_free(struct buddy *b, struct woff at, unsigned int shift);

/* buddy_free_bytes() - all free bytes; buddy_largest() - the largest free block's shift, or -1. */
uint64_t buddy_free_bytes(const struct buddy *b);
int buddy_largest(const struct buddy *b);
