/* SPDX-License-Identifier: MIT */
/* The threads that serve requests which come over io_uring. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "fs/relay.h"

struct rings;

/* rings_entries() - how many entries, that is threads, there would be; @most: see max_threads. */
unsigned int rings_entries(unsigned int most);

/*
 * rings_open() - make entries and threads, up to what may fail for want of rights or memory; before
 * INIT, and with workers_prepare() done. @wake: an eventfd that is written to when a ring has
 * failed. 0 or a negative errno. End with rings_stop().
 */
int rings_open(struct relay *relay, unsigned int most, size_t slot_cap, size_t payload_cap,
	       int wake, struct rings **ret);

/*
 * rings_begin() - after INIT: register all entries with the connection of @fd and serve. 0, or the
 * first error; then the kernel uses those that were registered, or none: rings_stop() only at the
 * end.
 */
int rings_begin(struct rings *all, int fd);

/* rings_failed() - an entry came to an end though the file system is mounted. */
bool rings_failed(const struct rings *all);

/* rings_stop() - end the threads, after their current requests. NULL is fine. */
void rings_stop(struct rings *all);
