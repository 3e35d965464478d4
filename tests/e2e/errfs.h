/* SPDX-License-Identifier: MIT */
/* Which parts of its image errfs does not read: a table in a file that both sides map. */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#define ERRFS_RANGES 32

struct errfs_table {
	_Atomic uint64_t errors; /* how many reads have failed */
	struct {
		_Atomic uint64_t from, to; /* bytes of the image; of one side, which sets to last */
	} range[ERRFS_RANGES];
};
