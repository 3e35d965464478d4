// SPDX-License-Identifier: MIT
// What the guest daemon counts: one list, from which names, the dump and the manual come.

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/counter.h"

const struct counter_info counter_info[COUNTER_COUNT] = {
#define X(id, u, h) [COUNTER_##id] = { .name = #id, .unit = (u), .help = (h) },
	COUNTER_LIST(X)
#undef X
};

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

void counter_dump(char *buf, size_t size)
{
	size_t at = 0;

	buf[0] = '\0';
	for (unsigned int c = 0; c < COUNTER_COUNT && at < size; c++) {
		int n = snprintf(buf + at, size - at, "%s%s=%" PRIu64, at ? " " : "",
				 counter_info[c].name, counter_get(c));

		at += n > 0 ? (size_t)n : 0;
	}
}
