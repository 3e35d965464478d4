// SPDX-License-Identifier: MIT
// What the guest daemon counts: two lists, from which names, the dump and the manual come.

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/counter.h"

const struct counter_info counter_info[COUNTER_COUNT] = {
#define X(id, u, h) [COUNTER_##id] = { .name = #id, .unit = (u), .help = (h) },
	COUNTER_LIST(X)
#undef X
};

const struct counter_info gauge_info[GAUGE_COUNT] = {
#define X(id, u, h) [GAUGE_##id] = { .name = #id, .unit = (u), .help = (h) },
	GAUGE_LIST(X)
#undef X
};

static _Atomic uint64_t gauges[GAUGE_COUNT];

/* Threads are spread over shards, so that two of them seldom write to one cache line. */
#define COUNTER_SHARDS 16u

static struct counter_shard {
	_Atomic uint64_t value[COUNTER_COUNT];
} __attribute__((aligned(128))) counter_shards[COUNTER_SHARDS];

static struct counter_shard *counter_shard(void)
{
	static _Atomic uint32_t next;
	static __thread struct counter_shard *mine;

	if (!mine)
		mine = &counter_shards[atomic_fetch_add(&next, 1) % COUNTER_SHARDS];
	return mine;
}

void counter_add(enum counter c, uint64_t n)
{
	/* relaxed: counters order nothing */
	atomic_fetch_add_explicit(&counter_shard()->value[c], n, memory_order_relaxed);
}

uint64_t counter_get(enum counter c)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < COUNTER_SHARDS; i++)
		sum += atomic_load_explicit(&counter_shards[i].value[c], memory_order_relaxed);
	return sum;
}

void gauge_set(enum gauge g, uint64_t value)
{
	/* relaxed: as counters */
	atomic_store_explicit(&gauges[g], value, memory_order_relaxed);
}

uint64_t gauge_get(enum gauge g)
{
	return atomic_load_explicit(&gauges[g], memory_order_relaxed);
}

/* Put one at @at; returns where the next one goes. */
static size_t dump_one(char *buf, size_t size, size_t at, const char *name, uint64_t value)
{
	int n;

	if (at >= size)
		return at;
	n = snprintf(buf + at, size - at, "%s%s=%" PRIu64, at ? " " : "", name, value);
	return at + (n > 0 ? (size_t)n : 0);
}

void counter_dump(char *buf, size_t size)
{
	size_t at = 0;

	buf[0] = '\0';
	for (unsigned int c = 0; c < COUNTER_COUNT; c++)
		at = dump_one(buf, size, at, counter_info[c].name, counter_get(c));
	for (unsigned int g = 0; g < GAUGE_COUNT; g++)
		at = dump_one(buf, size, at, gauge_info[g].name, gauge_get(g));
}
