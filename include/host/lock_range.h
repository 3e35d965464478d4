/* SPDX-License-Identifier: MIT */
/* The ranges of one file that one owner has locked. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/*
 * Problem: the kernel keeps the locks, but tells neither how many there are, by which a guest could
 * take memory without end, nor whose the one is that is in the way. So what it was asked is kept
 * here, too.
 *
 * Rules: those of fcntl(2). A range replaces what it covers of the owner's earlier ones, and splits
 * or shortens those that stand out; neighbours of one type become one. Positions are bytes of the
 * file, 0 to INT64_MAX, the last one included. No lock inside.
 */
struct lock_range {
	struct lock_range *next;
	uint64_t first, last;
	int type; /* F_RDLCK or F_WRLCK; in a wish also F_UNLCK */
};

/* In the order of the file; none overlaps another. */
struct lock_ranges {
	struct lock_range *head;
	unsigned int count;
};

/* A range can become this many more by one change. */
#define LOCK_RANGE_MORE 2u

/* Room for them, got before the kernel is asked: afterwards nothing may fail. */
struct lock_range_room {
	struct lock_range *free[LOCK_RANGE_MORE];
};

/* lock_range_room_get() - 0 or -ENOMEM; put in either case. */
int lock_range_room_get(struct lock_range_room *r);
void lock_range_room_put(struct lock_range_room *r);

/* lock_ranges_set() - what @wish says holds from now on; @wish->next is not looked at. */
void lock_ranges_set(struct lock_ranges *l, const struct lock_range *wish,
		     struct lock_range_room *room);

/* lock_ranges_find() - the first one that has a byte of [first, last], or NULL. */
const struct lock_range *lock_ranges_find(const struct lock_ranges *l, uint64_t first,
					  uint64_t last);

/* lock_ranges_splits() - would unlocking @wish leave two ranges of one? */
bool lock_ranges_splits(const struct lock_ranges *l, const struct lock_range *wish);

void lock_ranges_free(struct lock_ranges *l);
