/* SPDX-License-Identifier: MIT */
/* The threads that serve the kernel's requests. */
#pragma once

#include <signal.h>
#include <stdbool.h>

#include "fs/relay.h"

/*
 * Each worker owns clones of the channel and a slot; it reads a request, serves it to its end, and
 * reads the next. They end by themselves when the file system is unmounted.
 *
 * Not all of them read at a time. A worker that serves a short request takes the next one itself,
 * with no other thread woken; before it waits for anything it hands the reading over.
 */
struct workers;

/* workers_prepare() - once, before any thread: the signal that interrupts a worker's read. */
int workers_prepare(void);
#define WORKER_SIGNAL SIGUSR2

/* workers_unblock_signal() - let it interrupt the calling thread. */
void workers_unblock_signal(void);

/*
 * workers_start() - run @n workers on the connection of @fd with slots of @slot_cap bytes.
 * @wake: an eventfd that is signalled when INIT has been answered and when the last worker has
 * ended. Returns 0 or a negative errno; then none runs.
 */
int workers_start(struct relay *relay, int fd, int wake, unsigned int n, size_t slot_cap,
		  struct workers **ret);

/* workers_ended() - have all ended by themselves? */
bool workers_ended(struct workers *w);

/*
 * workers_stop() - let each finish its request, join all and free them. A request that the host
 * does not answer holds it up: break the device then (fs_dev_break()). NULL is fine.
 */
void workers_stop(struct workers *w);
