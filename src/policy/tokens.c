// SPDX-License-Identifier: MIT
// Tokens: time that virtqueue requests have earned, to be spent on replacements.

#include "tokens.h"

/* With @more ns on top of what is there; no more than may be saved up. */
static int64_t sum(const struct policy *p, uint64_t more)
{
	return MIN(p->tokens_ns + (int64_t)more, (int64_t)(p->params.tokens_max * p->replace_ns));
}

/* relaxed: a number that nothing else depends on */
static int64_t tokens(const struct policy *p)
{
	return sum(p, atomic_load_explicit(&p->earned_ns, memory_order_relaxed));
}

static void collect(struct policy *p)
{
	p->tokens_ns = sum(p, atomic_exchange_explicit(&p->earned_ns, 0, memory_order_relaxed));
}

bool tokens_cover(const struct policy *p)
{
	return tokens(p) >= (int64_t)p->replace_ns;
}

bool tokens_may_owe(const struct policy *p)
{
	return tokens(p) > -(int64_t)(p->params.debt_max * p->replace_ns);
}

void tokens_pay(struct policy *p)
{
	collect(p);
	p->tokens_ns -= (int64_t)p->replace_ns;
}

void policy_earn(struct policy *p, uint64_t ns)
{
	/* relaxed, and of no lock: each request that misses comes here */
	(void)atomic_fetch_add_explicit(&p->earned_ns, ns / p->params.token_part,
					memory_order_relaxed);
}

void policy_earn_stream(struct policy *p, uint32_t hits)
{
	collect(p);
	p->tokens_ns = sum(p, MIN(hits * p->params.hit_gain_ns, p->replace_ns));
}

void policy_replaced(struct policy *p, uint64_t ns)
{
	uint64_t n = p->params.replace_mean_of;

	p->replace_ns = (p->replace_ns * (n - 1) + ns) / n;
}
