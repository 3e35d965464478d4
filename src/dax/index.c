// SPDX-License-Identifier: MIT
// File offset -> extent, read without a lock.

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dax_priv.h"

/* An extent that was taken out leaves NULL behind, so that taking out needs no memory. */
struct index_entry {
	uint64_t from;
	uint64_t end;
	_Atomic(struct extent *) extent;
};

struct index_leaf {
	struct index_garbage garbage; /* first: a replaced leaf is garbage */
	unsigned int count;
	struct index_entry entry[];
};

struct index_dir {
	struct index_garbage garbage; /* first */
	uint64_t count;
	_Atomic(struct index_leaf *) leaf[];
};

#define DIR_FIRST 4u

/* The largest extent, 1 GiB, touches this many leaves. */
#define INDEX_LEAVES_MAX 32u

static void entry_set(struct index_entry *entry, struct extent *e)
{
	entry->from = e->from.v;
	entry->end = e->from.v + e->len;
	atomic_init(&entry->extent, e);
}

static void discard(struct index_garbage **list, struct index_garbage *g)
{
	if (!g)
		return;
	g->next = *list;
	*list = g;
}

void index_collect(struct index_garbage *g)
{
	while (g) {
		struct index_garbage *next = g->next;

		free(g);
		g = next;
	}
}

/* The first entry that ends behind @off. */
static unsigned int leaf_lower(const struct index_leaf *leaf, uint64_t off)
{
	unsigned int lo = 0, hi = leaf->count;

	while (lo < hi) {
		unsigned int mid = lo + (hi - lo) / 2;

		if (leaf->entry[mid].end <= off)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* acquire/seq_cst pairs with the publication in leaf_publish() and dir_reach() */
static struct index_leaf *leaf_of(const struct index *ix, uint64_t number)
{
	struct index_dir *dir = atomic_load(&ix->dir);

	return dir && number < dir->count ? atomic_load(&dir->leaf[number]) : NULL;
}

struct extent *index_find(const struct index *ix, struct foff off)
{
	const struct index_leaf *leaf = leaf_of(ix, off.v >> INDEX_LEAF_SHIFT);
	unsigned int i;

	if (!leaf)
		return NULL;
	i = leaf_lower(leaf, off.v);
	if (i == leaf->count || leaf->entry[i].from > off.v)
		return NULL;
	return atomic_load(&leaf->entry[i].extent);
}

/* The first extent of @leaf, which may be NULL, that shows a byte at or behind @off; or NULL. */
static struct extent *leaf_next(const struct index_leaf *leaf, uint64_t off)
{
	for (unsigned int i = leaf ? leaf_lower(leaf, off) : 0; leaf && i < leaf->count; i++) {
		struct extent *e = atomic_load(&leaf->entry[i].extent);

		if (e)
			return e;
	}
	return NULL;
}

struct extent *index_next(const struct index *ix, struct foff off)
{
	struct index_dir *dir = atomic_load(&ix->dir);

	for (uint64_t n = off.v >> INDEX_LEAF_SHIFT; dir && n < dir->count; n++) {
		struct extent *e = leaf_next(atomic_load(&dir->leaf[n]), off.v);

		if (e)
			return e;
	}
	return NULL;
}

/* A directory that reaches leaf @number. */
static struct index_dir *dir_reach(struct index *ix, uint64_t number,
				   struct index_garbage **garbage)
{
	struct index_dir *old = atomic_load(&ix->dir), *dir;
	uint64_t count = MAX(pow2_ceil(number + 1), (uint64_t)DIR_FIRST);

	if (old && number < old->count)
		return old;
	dir = calloc(1, sizeof(*dir) + count * sizeof(dir->leaf[0]));
	if (!dir)
		return NULL;
	dir->count = count;
	for (uint64_t i = 0; old && i < old->count; i++)
		atomic_init(&dir->leaf[i], atomic_load(&old->leaf[i]));
	/* seq_cst: against the loads of a pinned reader (pin.h) */
	atomic_store(&ix->dir, dir);
	discard(garbage, old ? &old->garbage : NULL);
	return dir;
}

/* A copy of the leaf in which @e stands in place of all that lies in its block. */
static struct index_leaf *leaf_with(const struct index_leaf *old, struct extent *e)
{
	uint64_t from = e->from.v, block_end = from + (UINT64_C(1) << e->shift);
	unsigned int n = old ? old->count : 0, at = 0, i = 0;
	struct index_leaf *leaf = malloc(sizeof(*leaf) + (n + 1) * sizeof(leaf->entry[0]));

	if (!leaf)
		return NULL;
	for (; i < n && old->entry[i].from < from; i++)
		if (atomic_load(&old->entry[i].extent))
			entry_set(&leaf->entry[at++], atomic_load(&old->entry[i].extent));
	entry_set(&leaf->entry[at++], e);
	for (; i < n; i++)
		if (old->entry[i].from >= block_end && atomic_load(&old->entry[i].extent))
			entry_set(&leaf->entry[at++], atomic_load(&old->entry[i].extent));
	leaf->count = at;
	return leaf;
}

static void leaf_publish(struct index_dir *dir, uint64_t n, struct index_leaf *leaf,
			 struct index_garbage **garbage)
{
	struct index_leaf *old = atomic_load(&dir->leaf[n]);

	/* seq_cst: against the loads of a pinned reader (pin.h) */
	atomic_store(&dir->leaf[n], leaf);
	discard(garbage, old ? &old->garbage : NULL);
}

static uint64_t first_leaf(const struct extent *e)
{
	return e->from.v >> INDEX_LEAF_SHIFT;
}

static uint64_t last_leaf(const struct extent *e)
{
	return (e->from.v + e->len - 1) >> INDEX_LEAF_SHIFT;
}

int index_replace(struct index *ix, struct extent *e, struct index_garbage **garbage)
{
	uint64_t first = first_leaf(e), n = last_leaf(e) - first + 1;
	struct index_leaf *leaves[INDEX_LEAVES_MAX];
	struct index_dir *dir = dir_reach(ix, first + n - 1, garbage);
	uint64_t i;

	if (!dir || n > INDEX_LEAVES_MAX)
		return -ENOMEM;
	for (i = 0; i < n; i++) {
		leaves[i] = leaf_with(atomic_load(&dir->leaf[first + i]), e);
		if (!leaves[i]) {
			while (i)
				free(leaves[--i]);
			return -ENOMEM;
		}
	}
	for (i = 0; i < n; i++) {
		/* relaxed: a hint */
		(void)atomic_fetch_or_explicit(&ix->present, UINT64_C(1) << (first + i) % 64,
					       memory_order_relaxed);
		leaf_publish(dir, first + i, leaves[i], garbage);
	}
	return 0;
}

/* Is nothing mapped in all leaves that share a bit with leaf @n? */
static bool index_absent(const struct index_dir *dir, uint64_t n)
{
	for (uint64_t at = n % 64; at < dir->count; at += 64)
		if (leaf_next(atomic_load(&dir->leaf[at]), 0))
			return false;
	return true;
}

void index_remove(struct index *ix, const struct extent *e)
{
	struct index_dir *dir = atomic_load(&ix->dir);

	for (uint64_t n = first_leaf(e); n <= last_leaf(e); n++) {
		struct index_leaf *leaf = atomic_load(&dir->leaf[n]);
		unsigned int i = leaf_lower(leaf, e->from.v);

		/* seq_cst: against the loads of a pinned reader (pin.h) */
		for (; i < leaf->count && leaf->entry[i].from < e->from.v + e->len; i++)
			if (atomic_load(&leaf->entry[i].extent) == e)
				atomic_store(&leaf->entry[i].extent, NULL);
		if (index_absent(dir, n))
			(void)atomic_fetch_and_explicit(&ix->present, ~(UINT64_C(1) << n % 64),
							memory_order_relaxed);
	}
}

void index_free(struct index *ix)
{
	struct index_dir *dir = atomic_load(&ix->dir);

	for (uint64_t i = 0; dir && i < dir->count; i++)
		free(atomic_load(&dir->leaf[i]));
	free(dir);
	atomic_store(&ix->dir, NULL);
}
