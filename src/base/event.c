// SPDX-License-Identifier: MIT
// A one-shot event that one thread sets and one thread waits for.

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/event.h"
#include "base/time.h"

/* States: 0 not set; 1 set; 2 not set, and the waiter sleeps. */
#define EVENT_CLEAR    0u
#define EVENT_SET      1u
#define EVENT_SLEEPING 2u

void event_set(struct event *e)
{
	/* release pairs with the acquire of event_is_set() */
	if (atomic_exchange_explicit(&e->state, EVENT_SET, memory_order_acq_rel) == EVENT_SLEEPING)
		(void)syscall(SYS_futex, &e->state, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

bool event_wait(struct event *e, uint64_t timeout_ns)
{
	struct timespec left = time_spec(timeout_ns);
	uint32_t expected = EVENT_CLEAR;

	/* Failing means that it is set, or (only one waiter exists) sleeping already. */
	(void)atomic_compare_exchange_strong(&e->state, &expected, EVENT_SLEEPING);
	while (!event_is_set(e))
		if (syscall(SYS_futex, &e->state, FUTEX_WAIT_PRIVATE, EVENT_SLEEPING, &left, NULL,
			    0) < 0 &&
		    errno == ETIMEDOUT)
			return event_is_set(e);
	return true;
}
