// SPDX-License-Identifier: MIT
// Which of the two paths to the host's page cache is cheaper for a request.

#include "fs/cost.h"
#include "base/num.h"

#define SAMPLE_EVERY 16u /* requests of the path that is taken */
#define FIRST	     4u	 /* samples of which the lowest counts: others may have met a mapping */
#define TRY_FIRST    8u /* one request of so many tries the virtqueue while its cost is not known */
#define TRY_EVERY    256u /* one tries the other path, later */
#define MEAN_OF	     8u	  /* samples that a mean remembers, about */
#define OUTLIER	     4u	  /* a sample counts as at most so many means */

/* The other path must be cheaper by a tenth, or requests would alternate. */
#define MUCH_CHEAPER(a, b) ((uint64_t)(a)*10 < (uint64_t)(b)*9)

static struct cost_class *cost_class(struct cost *c, enum cost_op op, uint32_t size)
{
	unsigned int n = 0;

	while (n + 1 < COST_CLASSES && size > PAGE_4K << n)
		n++;
	return &c->of[op][n];
}

enum cost_path cost_choose(struct cost *c, enum cost_op op, uint32_t size, bool *ret_sample)
{
	struct cost_class *k = cost_class(c, op, size);
	uint32_t window = atomic_load_explicit(&k->ns[COST_WINDOW], memory_order_relaxed);
	uint32_t virtqueue = atomic_load_explicit(&k->ns[COST_VIRTQUEUE], memory_order_relaxed);
	/* A store of what was loaded: two threads may take the same turn, which does no harm. */
	uint32_t turn = atomic_load_explicit(&k->turn, memory_order_relaxed) + 1;
	enum cost_path best = COST_WINDOW;

	atomic_store_explicit(&k->turn, turn, memory_order_relaxed);
	*ret_sample = true;
	if (atomic_load_explicit(&k->n[COST_WINDOW], memory_order_relaxed) < FIRST)
		return COST_WINDOW;
	if (atomic_load_explicit(&k->n[COST_VIRTQUEUE], memory_order_relaxed) < FIRST)
		return turn % TRY_FIRST ? COST_WINDOW : COST_VIRTQUEUE;
	if (MUCH_CHEAPER(virtqueue, window))
		best = COST_VIRTQUEUE;
	if (turn % TRY_EVERY == 0)
		return best == COST_WINDOW ? COST_VIRTQUEUE : COST_WINDOW;
	*ret_sample = turn % SAMPLE_EVERY == 0;
	return best;
}

void cost_sample(struct cost *c, enum cost_op op, uint32_t size, enum cost_path path, uint64_t ns)
{
	struct cost_class *k = cost_class(c, op, size);
	uint32_t n = atomic_load_explicit(&k->n[path], memory_order_relaxed);
	uint64_t old = atomic_load_explicit(&k->ns[path], memory_order_relaxed);

	if (n < FIRST) {
		atomic_store_explicit(&k->n[path], n + 1, memory_order_relaxed);
		ns = n ? MIN(ns, old) : ns;
	} else {
		/* Down at once: what disturbs a sample makes it longer, never shorter. */
		ns = ns < old ? (old + ns) / 2
			      : (old * (MEAN_OF - 1) + MIN(ns, old * OUTLIER)) / MEAN_OF;
	}
	ns = ns ? MIN(ns, (uint64_t)UINT32_MAX) : 1;
	atomic_store_explicit(&k->ns[path], (uint32_t)ns, memory_order_relaxed);
}
