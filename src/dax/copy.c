// SPDX-License-Identifier: MIT
// Which copy routine a window likes best: measured in passing.

#include "dax/copy.h"
#include "base/log.h"
#include "base/num.h"
#include "base/time.h"

/*
 * Theory of operation: a series is TURNS timed copies for each routine. While it runs, tune.turn is
 * below its length, and every large copy that takes a turn gives its first COPY_TRIAL bytes, always
 * as many, so that all routines are measured alike. The lowest time of the turns counts: it is the
 * one without page faults, interrupts and cold caches. Between series the only thing that is
 * written is a countdown of the thread's own. A new series begins when that of any thread is over.
 */
#define TURNS	    8u
#define RETRY_EVERY 65536u /* large copies of one thread */

/* Another routine must be this much better than memcpy(), which is best for many sizes. */
#define CLEARLY_BETTER(ns, than) ((uint64_t)(ns)*10 < (uint64_t)(than)*9)

static inline uint32_t peek(const _Atomic uint32_t *p)
{
	return atomic_load_explicit(p, memory_order_relaxed);
}

static inline void put(_Atomic uint32_t *p, uint32_t v)
{
	atomic_store_explicit(p, v, memory_order_relaxed);
}

unsigned int copy_best(const uint32_t *ns, unsigned int n)
{
	unsigned int best = 0;

	for (unsigned int i = 1; i < n; i++) {
		if (!ns[i] || (ns[best] && ns[i] >= ns[best]))
			continue;
		if (ns[0] && !CLEARLY_BETTER(ns[i], ns[0]))
			continue;
		best = i;
	}
	return best;
}

static void copy_decide(struct copy_tune *t, const struct copy_routine *all, unsigned int n)
{
	uint32_t ns[COPY_ROUTINES_MAX];
	unsigned int best;

	for (unsigned int i = 0; i < n; i++)
		ns[i] = peek(&t->best_ns[i]);
	best = copy_best(ns, n);
	if (best != peek(&t->chosen))
		log_dbg("window: copies by %s: %u ns, memcpy %u ns", all[best].name, ns[best],
			ns[0]);
	put(&t->chosen, best);
}

/* Is it time for a new series? */
static bool copy_retry(struct copy_tune *t, unsigned int n)
{
	static __thread uint32_t countdown = RETRY_EVERY;

	if (n < 2 || --countdown)
		return false;
	countdown = RETRY_EVERY;
	for (unsigned int i = 0; i < n; i++)
		put(&t->best_ns[i], 0);
	put(&t->turn, 0);
	return true;
}

/* Time COPY_TRIAL bytes by the routine whose turn it is. */
static int copy_trial(struct copy_tune *t, const struct copy_routine *all, unsigned int n,
		      void *dst, const void *src)
{
	uint32_t turn = atomic_fetch_add_explicit(&t->turn, 1, memory_order_relaxed);
	_Atomic uint32_t *best = &t->best_ns[turn % n];
	uint64_t ns = time_now_ns();
	int r;

	r = copy_by(&all[turn % n], dst, src, COPY_TRIAL);
	ns = MIN(time_now_ns() - ns, (uint64_t)UINT32_MAX);
	if (r == 0 && (!peek(best) || ns < peek(best)))
		put(best, ns ? (uint32_t)ns : 1);
	if (turn + 1 == n * TURNS)
		copy_decide(t, all, n);
	return r;
}

int copy_window(struct copy_choice *c, enum copy_dir dir, void *dst, const void *src, size_t n)
{
	struct copy_tune *t = &c->dir[dir];
	unsigned int routines;
	const struct copy_routine *all = copy_routines(dir, &routines);
	int r;

	if (n >= COPY_TRIAL && (peek(&t->turn) < routines * TURNS || copy_retry(t, routines))) {
		r = copy_trial(t, all, routines, dst, src);
		if (r < 0 || n == COPY_TRIAL)
			return r;
		dst = (char *)dst + COPY_TRIAL;
		src = (const char *)src + COPY_TRIAL;
		n -= COPY_TRIAL;
	}
	return copy_by(&all[peek(&t->chosen)], dst, src, n);
}

const struct copy_routine *copy_chosen(const struct copy_choice *c, enum copy_dir dir)
{
	unsigned int n;

	return &copy_routines(dir, &n)[peek(&c->dir[dir].chosen)];
}
