// SPDX-License-Identifier: MIT
// The policy as a whole: its numbers, its sizes, and the notes on each file.

#include <string.h>

#include "policy/policy.h"

const struct policy_params policy_defaults = {
#define X(name, value, min, help) .name = (value),
	POLICY_PARAM_LIST(X)
#undef X
};

void policy_init(struct policy *p, const struct policy_params *params)
{
	memset(p, 0, sizeof(*p));
	p->params = params ? *params : policy_defaults;
	p->replace_ns = p->params.replace_first_ns;
}

/* The largest power of two that is at most @v, within bounds. */
static unsigned int shift_of(uint64_t v, unsigned int min, unsigned int max)
{
	unsigned int shift = min;

	while (shift < max && UINT64_C(1) << (shift + 1) <= v)
		shift++;
	return shift;
}

void policy_set_shape(struct policy *p, uint64_t window, unsigned int min_shift,
		      unsigned int largest)
{
	p->window = window;
	p->min_shift = min_shift;
	p->max_shift = shift_of(window / p->params.extents, min_shift, largest);
	p->region_shift = shift_of(window / p->params.regions, min_shift, p->max_shift);
}

void policy_note(struct policy_file *f, struct foff off, size_t len)
{
	if (off.v == atomic_load_explicit(&f->next_off, memory_order_relaxed))
		atomic_fetch_add_explicit(&f->sequential, 1, memory_order_relaxed);
	else
		atomic_store_explicit(&f->sequential, 0, memory_order_relaxed);
	atomic_store_explicit(&f->next_off, off.v + len, memory_order_relaxed);
}

bool policy_sequential(const struct policy *p, const struct policy_file *f)
{
	return atomic_load_explicit(&f->sequential, memory_order_relaxed) >=
	       p->params.sequential_after;
}
