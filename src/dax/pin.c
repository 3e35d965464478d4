// SPDX-License-Identifier: MIT
// Who is inside the window right now: pins without a shared counter.

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include "base/time.h"
#include "pin.h"

#define WAIT_SPINS  200u
#define WAIT_NAP_NS (20 * (long)NSEC_PER_US)

/* Slots are never freed, only handed on, so a scan needs no lock. */
struct pin_slot {
	_Atomic uint64_t epoch; /* 0: not pinned */
	_Atomic bool taken;
	struct pin_slot *next;
} __attribute__((aligned(128)));

static _Atomic(struct pin_slot *) pin_slots;
static _Atomic uint64_t pin_epoch = 1;
static pthread_key_t pin_key;
static pthread_once_t pin_once = PTHREAD_ONCE_INIT;
static __thread struct pin_slot *pin_mine;

static void pin_thread_ends(void *slot)
{
	atomic_store(&((struct pin_slot *)slot)->taken, false);
}

static void pin_make_key(void)
{
	(void)pthread_key_create(&pin_key, pin_thread_ends);
}

static struct pin_slot *pin_slot_get(void)
{
	struct pin_slot *s;

	(void)pthread_once(&pin_once, pin_make_key);
	for (s = atomic_load(&pin_slots); s; s = s->next) {
		bool expected = false;

		if (atomic_compare_exchange_strong(&s->taken, &expected, true))
			break;
	}
	if (!s) {
		s = aligned_alloc(_Alignof(struct pin_slot), sizeof(*s));
		if (!s)
			return NULL;
		atomic_init(&s->epoch, 0);
		atomic_init(&s->taken, true);
		s->next = atomic_load(&pin_slots);
		while (!atomic_compare_exchange_weak(&pin_slots, &s->next, s))
			;
	}
	(void)pthread_setspecific(pin_key, s);
	pin_mine = s;
	return s;
}

int pin_begin(void)
{
	struct pin_slot *s = pin_mine;

	if (!s && !(s = pin_slot_get()))
		return -ENOMEM;
	/*
	 * relaxed load: an old epoch only makes a remover wait without need. seq_cst store: it
	 * stands before the loads of the index (see pin.h).
	 */
	atomic_store_explicit(&s->epoch, atomic_load_explicit(&pin_epoch, memory_order_relaxed),
			      memory_order_seq_cst);
	return 0;
}

void pin_end(void)
{
	/* release pairs with the load in pin_wait() */
	atomic_store_explicit(&pin_mine->epoch, 0, memory_order_release);
}

void pin_wait(void)
{
	/* Threads that pin from here on store this or a later epoch, unless they loaded before. */
	uint64_t now = atomic_fetch_add(&pin_epoch, 1) + 1;

	for (struct pin_slot *s = atomic_load(&pin_slots); s; s = s->next) {
		unsigned int spins = 0;
		uint64_t e;

		while ((e = atomic_load(&s->epoch)) && e < now) {
			struct timespec nap = { .tv_nsec = WAIT_NAP_NS };

			if (spins++ < WAIT_SPINS)
				cpu_relax();
			else
				(void)nanosleep(&nap, NULL);
		}
	}
}
