// SPDX-License-Identifier: MIT
// The ranges of one file that one owner has locked.

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/num.h"
#include "host/lock_range.h"

int lock_range_room_get(struct lock_range_room *r)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(r->free); i++) {
		r->free[i] = malloc(sizeof(*r->free[i]));
		if (!r->free[i])
			return -ENOMEM;
	}
	return 0;
}

void lock_range_room_put(struct lock_range_room *r)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(r->free); i++)
		free(steal_ptr(r->free[i]));
}

static struct lock_range *take(struct lock_range_room *room)
{
	return room->free[0] ? steal_ptr(room->free[0]) : steal_ptr(room->free[1]);
}

/* Put a new one where *@p stands, in front of that. */
static void insert(struct lock_ranges *l, struct lock_range **p, struct lock_range *r)
{
	r->next = *p;
	*p = r;
	l->count++;
}

static void remove_at(struct lock_ranges *l, struct lock_range **p)
{
	struct lock_range *r = *p;

	*p = r->next;
	l->count--;
	free(r);
}

/* Take [first, last] out of all ranges; where a range that begins there belongs. */
static struct lock_range **clear(struct lock_ranges *l, uint64_t first, uint64_t last,
				 struct lock_range_room *room)
{
	struct lock_range **p = &l->head;

	while (*p && (*p)->last < first)
		p = &(*p)->next;
	while (*p && (*p)->first <= last) {
		struct lock_range *r = *p;

		if (r->first < first && r->last > last) {
			struct lock_range *tail = take(room);

			*tail = (struct lock_range){ .first = last + 1,
						     .last = r->last,
						     .type = r->type };
			r->last = first - 1;
			insert(l, &r->next, tail);
			return &r->next;
		}
		if (r->first < first) {
			r->last = first - 1;
			p = &r->next;
		} else if (r->last > last) {
			r->first = last + 1;
		} else {
			remove_at(l, p);
		}
	}
	return p;
}

/* Make one of @r and the next, if these are neighbours of one type. */
static void join_next(struct lock_ranges *l, struct lock_range *r)
{
	struct lock_range *next = r->next;

	if (!next || next->type != r->type || next->first - 1 != r->last)
		return;
	r->last = next->last;
	remove_at(l, &r->next);
}

void lock_ranges_set(struct lock_ranges *l, const struct lock_range *wish,
		     struct lock_range_room *room)
{
	struct lock_range **p = clear(l, wish->first, wish->last, room), *r;

	if (wish->type == F_UNLCK)
		return;
	r = take(room);
	*r = *wish;
	insert(l, p, r);
	join_next(l, r);
	if (p != &l->head)
		join_next(l, container_of(p, struct lock_range, next));
}

const struct lock_range *lock_ranges_find(const struct lock_ranges *l, uint64_t first,
					  uint64_t last)
{
	const struct lock_range *r = l->head;

	while (r && r->last < first)
		r = r->next;
	return r && r->first <= last ? r : NULL;
}

bool lock_ranges_splits(const struct lock_ranges *l, const struct lock_range *wish)
{
	const struct lock_range *r = lock_ranges_find(l, wish->first, wish->last);

	return r && r->first < wish->first && r->last > wish->last;
}

void lock_ranges_free(struct lock_ranges *l)
{
	while (l->head)
		remove_at(l, &l->head);
}
