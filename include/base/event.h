/* SPDX-License-Identifier: MIT */
/* A one-shot event that one thread sets and one thread waits for. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Zero-initialised, or by event_reset(): not set. */
struct event {
	_Atomic uint32_t state;
};

static inline void event_reset(struct event *e)
{
	atomic_store_explicit(&e->state, 0, memory_order_relaxed);
}

/* event_is_set() - acquire: what the setter wrote before event_set() is seen. */
static inline bool event_is_set(const struct event *e)
{
	return atomic_load_explicit(&e->state, memory_order_acquire) == 1;
}

/*
 * event_set() - wakes the waiter. The memory of @e may be gone as soon as the waiter has seen it,
 * so this touches nothing afterwards but the futex address.
 */
void event_set(struct event *e);

/* event_wait() - sleeps until set, at most @timeout_ns. True when it is set. */
bool event_wait(struct event *e, uint64_t timeout_ns);
