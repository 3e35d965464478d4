// SPDX-License-Identifier: MIT
// Space in the window: blocks of a power of two, aligned to their size.

#include <errno.h>
#include <stdlib.h>

#include "dax/buddy.h"

#define BUDDY_MAX_ORDERS 41u
#define BUDDY_NONE	 UINT32_MAX

/*
 * One record for each smallest block. A free block of order k is known by the record of its first
 * smallest block: state = k + 1, and it hangs in the list of its order. All other records are 0.
 */
struct buddy_unit {
	uint32_t next;
	uint32_t prev;
	uint8_t state; /* 0, or 1 + the order of the free block that begins here */
};

struct buddy {
	unsigned int min_shift;
	unsigned int orders;
	uint32_t nunits;
	uint64_t free_units;
	uint32_t head[BUDDY_MAX_ORDERS];
	struct buddy_unit unit[];
};

static void buddy_push(struct buddy *b, uint32_t at, unsigned int order)
{
	struct buddy_unit *u = &b->unit[at];

	u->state = (uint8_t)(order + 1);
	u->prev = BUDDY_NONE;
	u->next = b->head[order];
	if (u->next != BUDDY_NONE)
		b->unit[u->next].prev = at;
	b->head[order] = at;
}

static void buddy_unlink(struct buddy *b, uint32_t at)
{
	struct buddy_unit *u = &b->unit[at];

	if (u->prev != BUDDY_NONE)
		b->unit[u->prev].next = u->next;
	else
		b->head[u->state - 1] = u->next;
	if (u->next != BUDDY_NONE)
		b->unit[u->next].prev = u->prev;
	u->state = 0;
}

struct buddy *buddy_create(uint64_t size, unsigned int min_shift, unsigned int max_shift)
{
	uint64_t n = size >> min_shift;
	struct buddy *b;
	uint32_t at = 0;

	if (!n || n >= BUDDY_NONE || max_shift < min_shift || max_shift > 40)
		return NULL;
	b = calloc(1, sizeof(*b) + n * sizeof(b->unit[0]));
	if (!b)
		return NULL;
	b->min_shift = min_shift;
	b->orders = max_shift - min_shift + 1;
	b->nunits = (uint32_t)n;
	b->free_units = n;
	for (unsigned int k = 0; k < BUDDY_MAX_ORDERS; k++)
		b->head[k] = BUDDY_NONE;

	/* The largest aligned blocks that fit, from the left. */
	while (at < b->nunits) {
		unsigned int k = b->orders - 1;

		while ((at & ((UINT32_C(1) << k) - 1)) || (UINT64_C(1) << k) > b->nunits - at)
			k--;
		buddy_push(b, at, k);
		at += UINT32_C(1) << k;
	}
	return b;
}

void buddy_destroy(struct buddy *b)
{
	free(b);
}

int buddy_alloc(struct buddy *b, unsigned int shift, struct woff *ret)
{
	unsigned int want = shift - b->min_shift, k = want;
	uint32_t at;

	while (k < b->orders && b->head[k] == BUDDY_NONE)
		k++;
	if (k >= b->orders)
		return -ENOSPC;
	at = b->head[k];
	buddy_unlink(b, at);
	while (k > want) {
		k--;
		buddy_push(b, at + (UINT32_C(1) << k), k);
	}
	b->free_units -= UINT64_C(1) << want;
	*ret = WOFF((uint64_t)at << b->min_shift);
	return 0;
}

void buddy_free(struct buddy *b, struct woff where, unsigned int shift)
{
	unsigned int k = shift - b->min_shift;
	uint32_t at = (uint32_t)(where.v >> b->min_shift);

	b->free_units += UINT64_C(1) << k;
	for (; k + 1 < b->orders; k++) {
		uint32_t other = at ^ (UINT32_C(1) << k);

		if (other >= b->nunits || b->unit[other].state != k + 1)
			break;
		buddy_unlink(b, other);
		at = MIN(at, other);
	}
	buddy_push(b, at, k);
}

uint64_t buddy_free_bytes(const struct buddy *b)
{
	return b->free_units << b->min_shift;
}

int buddy_largest(const struct buddy *b)
{
	for (unsigned int k = b->orders; k-- > 0;)
		if (b->head[k] != BUDDY_NONE)
			return (int)(k + b->min_shift);
	return -1;
}
