/* SPDX-License-Identifier: MIT */
/* What the guest daemon counts: one list, from which names, the dump and the manual come. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* X(identifier, unit, one line for a person) */
#define COUNTER_LIST(X)                                                                            \
	X(dax_read_bytes, "bytes", "file data copied out of the window")                           \
	X(dax_write_bytes, "bytes", "file data copied into the window")                            \
	X(dax_reads, "requests", "READ answered from the window")                                  \
	X(dax_writes, "requests", "WRITE answered from the window")                                \
	X(dax_faults, "requests", "window copies that met a page that was gone")                   \
	X(maps, "mappings", "SETUPMAPPING granted by the host")                                    \
	X(map_refusals, "mappings", "SETUPMAPPING refused by the host")                            \
	X(unmaps, "mappings", "mappings given back to the host")                                   \
	X(evictions, "mappings", "mappings given up to make room")                                 \
	X(virtqueue_requests, "requests", "requests sent to the host")                             \
	X(virtqueue_read_bytes, "bytes", "file data read over the virtqueue")                      \
	X(virtqueue_write_bytes, "bytes", "file data written over the virtqueue")                  \
	X(kernel_requests, "requests", "requests received from the kernel")                        \
	X(uring_requests, "requests", "of these, those that came over io_uring")                   \
	X(errors, "requests", "requests that failed because of the device")

enum counter {
#define X(id, unit, help) COUNTER_##id,
	COUNTER_LIST(X)
#undef X
		COUNTER_COUNT
};

struct counter_info {
	const char *name;
	const char *unit;
	const char *help;
};

extern const struct counter_info counter_info[COUNTER_COUNT];

/* counter_add() - any thread; never waits. */
void counter_add(enum counter c, uint64_t n);

/* counter_get() - the sum over all threads. */
uint64_t counter_get(enum counter c);

/* counter_dump() - "name=value name=value ..." into @buf; at most @size bytes with the NUL. */
void counter_dump(char *buf, size_t size);
