/* SPDX-License-Identifier: MIT */
/* Locks that are waited for, without a worker that waits. */
#pragma once

#include <stdint.h>

/*
 * Problem: SETLKW (a lock that the caller is willing to wait for) may take for ever. Waited for by
 * the host it would hold a worker here, a slot, and with some hosts the thread of the queue, over
 * which the one who has the lock must ask for it to be unlocked; other hosts refuse it.
 *
 * So the host is only ever asked for SETLK, which does not wait. Where the answer is EAGAIN, the
 * worker leaves the request here and takes the next one. One thread asks again for all that wait,
 * each after growing pauses, and earlier when something of the file is unlocked in this guest,
 * until it has an answer. Whoever waits can be interrupted; so the relay hands INTERRUPT to here.
 */
struct client;
struct lock_waits;

/* lock_waits_create() - NULL: no memory. The thread is made when the first one waits. */
struct lock_waits *lock_waits_create(struct client *c);

/*
 * The end, in three steps; NULL is fine.
 * lock_waits_stop() - all that wait get ENOTCONN, and so does who comes later. Does not wait for
 * the host. lock_waits_join() - after that: wait for the thread, and so for the answer of the host
 * that it may be waiting for. Before the descriptors that the requests came from are closed.
 * lock_waits_destroy() - after that, when no request is served any more.
 */
void lock_waits_stop(struct lock_waits *l);
void lock_waits_join(struct lock_waits *l);
void lock_waits_destroy(struct lock_waits *l);

/* lock_waits_count() - how many wait now; any thread. NULL: 0. */
unsigned int lock_waits_count(const struct lock_waits *l);
