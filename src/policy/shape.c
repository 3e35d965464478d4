// SPDX-License-Identifier: MIT
// Blocks of a file: how large one should be, and what it shows.

#include "shape.h"

uint64_t block_part(struct foff off, unsigned int shift, uint64_t limit, struct foff *ret_from)
{
	*ret_from = FOFF(align_down(off.v, UINT64_C(1) << shift));
	return MIN(UINT64_C(1) << shift, limit - ret_from->v);
}

static bool mostly_file(const struct policy *p, struct foff off, unsigned int shift, uint64_t limit)
{
	struct foff from;

	return block_part(off, shift, limit, &from) >= (p->params.fill_eighths << shift) / 8;
}

unsigned int block_best(const struct policy *p, struct foff off, uint64_t limit, unsigned int max)
{
	unsigned int shift = max;

	while (shift > p->min_shift && !mostly_file(p, off, shift, limit))
		shift--;
	return shift;
}

unsigned int block_cover(const struct policy_miss *m, unsigned int shift)
{
	return MAX(m->present_shift, shift);
}

void shape(struct placement *pl, const struct policy_miss *m, unsigned int shift)
{
	pl->shift = shift;
	pl->len = block_part(m->off, shift, m->limit, &pl->from);
}
