/* SPDX-License-Identifier: MIT */
/* Numbers that are never used twice, and what they stand for. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/*
 * A hash table from 64-bit keys to entries that embed struct idmap_entry. Several entries may have
 * the same key (then the caller tells them apart). No lock inside.
 */
struct idmap_entry {
	uint64_t key;
	struct idmap_entry *next;
};

struct idmap {
	struct idmap_entry **slot;
	size_t slots; /* a power of two, or 0 */
	size_t count;
};

void idmap_free(struct idmap *m); /* not the entries */

/* idmap_add() - 0 or -ENOMEM. */
int idmap_add(struct idmap *m, struct idmap_entry *e, uint64_t key);
void idmap_remove(struct idmap *m, struct idmap_entry *e);

/* idmap_find() - the first entry of @key, or NULL; idmap_next() - the next one of the same key. */
struct idmap_entry *idmap_find(const struct idmap *m, uint64_t key);
struct idmap_entry *idmap_next(const struct idmap_entry *e);

/* idmap_any() - some entry, or NULL when there is none. */
struct idmap_entry *idmap_any(const struct idmap *m);
