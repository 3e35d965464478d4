// SPDX-License-Identifier: MIT
// The extents of one inode, found by file offset.

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dax_priv.h"

/* The first position whose extent ends behind @off. */
static unsigned int index_lower(const struct dax_inode *di, struct foff off)
{
	unsigned int lo = 0, hi = di->count;

	while (lo < hi) {
		unsigned int mid = lo + (hi - lo) / 2;
		const struct extent *e = di->index[mid];

		if (e->from.v + e->len <= off.v)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

struct extent *dax_index_find_locked(struct dax_inode *di, struct foff off)
{
	unsigned int i = index_lower(di, off);

	return i < di->count ? di->index[i] : NULL;
}

int dax_index_insert_locked(struct dax_inode *di, struct extent *e)
{
	unsigned int i = index_lower(di, e->from);

	if (di->count == di->room) {
		unsigned int room = di->room ? di->room * 2 : 4;
		struct extent **index = realloc(di->index, room * sizeof(*index));

		if (!index)
			return -ENOMEM;
		di->index = index;
		di->room = room;
	}
	memmove(&di->index[i + 1], &di->index[i], (di->count - i) * sizeof(*di->index));
	di->index[i] = e;
	di->count++;
	return 0;
}

void dax_index_remove_locked(struct dax_inode *di, struct extent *e)
{
	unsigned int i = index_lower(di, e->from);

	memmove(&di->index[i], &di->index[i + 1], (di->count - i - 1) * sizeof(*di->index));
	di->count--;
}
