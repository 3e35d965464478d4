// SPDX-License-Identifier: MIT
// A hash table from 64-bit keys to embedded entries.

#include <errno.h>
#include <stdlib.h>

#include "host/idmap.h"

#define IDMAP_MIN 64u

static size_t idmap_slot(const struct idmap *m, uint64_t key)
{
	/* Fibonacci hashing: keys that count up, and inode numbers, spread over the upper bits. */
	return (size_t)((key * UINT64_C(0x9e3779b97f4a7c15)) >> 32) & (m->slots - 1);
}

static void idmap_link(struct idmap *m, struct idmap_entry *e)
{
	struct idmap_entry **head = &m->slot[idmap_slot(m, e->key)];

	e->next = *head;
	*head = e;
}

static int idmap_resize(struct idmap *m, size_t slots)
{
	struct idmap n = { .slots = slots, .count = m->count };

	n.slot = calloc(n.slots, sizeof(*n.slot));
	if (!n.slot)
		return m->slots ? 0 : -ENOMEM; /* a table of another size is slow, not wrong */
	for (size_t i = 0; i < m->slots; i++) {
		struct idmap_entry *e, *next;

		for (e = m->slot[i]; e; e = next) {
			next = e->next;
			idmap_link(&n, e);
		}
	}
	free(m->slot);
	*m = n;
	return 0;
}

void idmap_free(struct idmap *m)
{
	free(m->slot);
	*m = (struct idmap){ 0 };
}

int idmap_add(struct idmap *m, struct idmap_entry *e, uint64_t key)
{
	if (m->count >= m->slots) {
		int r = idmap_resize(m, m->slots ? m->slots * 2 : IDMAP_MIN);

		if (r < 0)
			return r;
	}
	e->key = key;
	idmap_link(m, e);
	m->count++;
	return 0;
}

void idmap_remove(struct idmap *m, struct idmap_entry *e)
{
	struct idmap_entry **p = &m->slot[idmap_slot(m, e->key)];

	while (*p != e)
		p = &(*p)->next;
	*p = e->next;
	m->count--;
	/* Far below what makes it grow, so that it does not do both in turn. */
	if (m->slots > IDMAP_MIN && m->count < m->slots / 8)
		(void)idmap_resize(m, m->slots / 2);
}

static struct idmap_entry *idmap_match(struct idmap_entry *e, uint64_t key)
{
	while (e && e->key != key)
		e = e->next;
	return e;
}

struct idmap_entry *idmap_find(const struct idmap *m, uint64_t key)
{
	return m->slots ? idmap_match(m->slot[idmap_slot(m, key)], key) : NULL;
}

struct idmap_entry *idmap_next(const struct idmap_entry *e)
{
	return idmap_match(e->next, e->key);
}

struct idmap_entry *idmap_any(const struct idmap *m)
{
	for (size_t i = 0; i < m->slots && m->count; i++)
		if (m->slot[i])
			return m->slot[i];
	return NULL;
}
