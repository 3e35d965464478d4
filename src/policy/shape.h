/* SPDX-License-Identifier: MIT */
/* Blocks of a file: how large one should be, and what it shows. */
#pragma once

#include "policy/policy.h"

/*
 * block_part() - the bytes of the file in the block of 2^shift around @off, which begins at
 * *ret_from.
 */
uint64_t block_part(struct foff off, unsigned int shift, uint64_t limit, struct foff *ret_from);

/*
 * block_best() - the largest block around @off of at most 2^@max that is mostly file; at least the
 * smallest.
 */
unsigned int block_best(const struct policy *p, struct foff off, uint64_t limit, unsigned int max);

/*
 * block_cover() - a block around the miss must contain or avoid each extent that is there. Blocks
 * are aligned powers of two, so only a larger one that is there already can be in the way: then it
 * is made again.
 */
unsigned int block_cover(const struct policy_miss *m, unsigned int shift);

/* shape() - @pl becomes the block of 2^shift around the miss. */
void shape(struct placement *pl, const struct policy_miss *m, unsigned int shift);
