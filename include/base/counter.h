/* SPDX-License-Identifier: MIT */
/* What the guest daemon counts: two lists, from which names, the dump and the manual come. */
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
	X(unmap_failures, "mappings", "REMOVEMAPPING refused by the host")                         \
	X(evictions, "mappings", "mappings given up to make room")                                 \
	X(pass_opens, "opens", "opens that were answered with passthrough")                        \
	X(pass_composed, "files", "files that were composed for passthrough")                      \
	X(pass_evictions, "files", "files evicted from passthrough")                               \
	X(pass_refused, "opens", "opens that asked for passthrough and could not have it")         \
	X(virtqueue_requests, "requests", "requests sent to the host")                             \
	X(virtqueue_read_bytes, "bytes", "file data read over the virtqueue")                      \
	X(virtqueue_write_bytes, "bytes", "file data written over the virtqueue")                  \
	X(kernel_requests, "requests", "requests received from the kernel")                        \
	X(uring_requests, "requests", "of these, those that came over io_uring")                   \
	X(errors, "requests", "requests that failed because of the device")

/*
 * Values of the moment, put there by whoever asks for a dump. Where the window is so large that an
 * extent may be larger than 1 GiB, such count with those of 1 GiB.
 */
#define GAUGE_LIST(X)                                                                              \
	X(inodes, "inodes", "files with an entry: open, or closed and not let go yet")             \
	X(lock_waits, "requests", "locks that are waited for")                                     \
	X(arena_bytes, "bytes", "memory that the device reaches: queues, requests, replies")       \
	X(window_bytes, "bytes", "size of the window; 0: there is none, or dax=never")             \
	X(window_free_bytes, "bytes", "of that, in no mapping")                                    \
	X(window_largest_free, "bytes", "largest free block, that is, the largest next mapping")   \
	X(pass_files, "files", "files that are composed for passthrough now, open or not")         \
	X(mapping_budget, "mappings", "more than this the host refuses; 0: it has not refused")    \
	X(mappings, "mappings", "mappings that the host holds or is asked for")                    \
	X(mappings_64k, "mappings", "of those, in a block of 64 KiB")                              \
	X(mappings_128k, "mappings", "in a block of 128 KiB")                                      \
	X(mappings_256k, "mappings", "in a block of 256 KiB")                                      \
	X(mappings_512k, "mappings", "in a block of 512 KiB")                                      \
	X(mappings_1m, "mappings", "in a block of 1 MiB")                                          \
	X(mappings_2m, "mappings", "in a block of 2 MiB")                                          \
	X(mappings_4m, "mappings", "in a block of 4 MiB")                                          \
	X(mappings_8m, "mappings", "in a block of 8 MiB")                                          \
	X(mappings_16m, "mappings", "in a block of 16 MiB")                                        \
	X(mappings_32m, "mappings", "in a block of 32 MiB")                                        \
	X(mappings_64m, "mappings", "in a block of 64 MiB")                                        \
	X(mappings_128m, "mappings", "in a block of 128 MiB")                                      \
	X(mappings_256m, "mappings", "in a block of 256 MiB")                                      \
	X(mappings_512m, "mappings", "in a block of 512 MiB")                                      \
	X(mappings_1g, "mappings", "in a block of 1 GiB")

enum counter {
#define X(id, unit, help) COUNTER_##id,
	COUNTER_LIST(X)
#undef X
		COUNTER_COUNT
};

enum gauge {
#define X(id, unit, help) GAUGE_##id,
	GAUGE_LIST(X)
#undef X
		GAUGE_COUNT
};

struct counter_info {
	const char *name;
	const char *unit;
	const char *help;
};

extern const struct counter_info counter_info[COUNTER_COUNT], gauge_info[GAUGE_COUNT];

/* counter_add() - any thread; never waits. */
void counter_add(enum counter c, uint64_t n);

/* counter_get() - the sum over all threads. */
uint64_t counter_get(enum counter c);

/* gauge_set() - any thread; the last one counts. */
void gauge_set(enum gauge g, uint64_t value);
uint64_t gauge_get(enum gauge g);

/* What a dump with the largest numbers takes, with the NUL. */
#define COUNTER_DUMP_MAX 2048u

/* counter_dump() - "name=value name=value ..." into @buf; at most @size bytes with the NUL. */
void counter_dump(char *buf, size_t size);
