/* SPDX-License-Identifier: MIT */
/* Which of the two paths to the host's page cache is cheaper for a request. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/num.h"

/*
 * Problem: window and virtqueue lead to the same page cache of the host. A copy from the window
 * costs no round trip, but the guest's CPU makes it, and through a window that is mapped uncached
 * it is slow; over the virtqueue the host copies. Which is cheaper depends on the machine and on
 * the size of the request.
 *
 * Concepts: requests are put into classes by direction and size (powers of two). For each class the
 * mean cost of both paths is kept, from samples of the requests themselves, so nothing is measured
 * for its own sake. The path that is not taken is tried now and then, because costs change with the
 * load. Until both are known a request takes the window, but for the few that try the virtqueue.
 *
 * Threads: any, without locks; a lost sample does no harm, so all accesses are relaxed.
 */
enum cost_op { COST_READ, COST_WRITE, COST_OPS };
enum cost_path { COST_WINDOW, COST_VIRTQUEUE, COST_PATHS };

/*
 * Bytes. Less than this always takes the window. A round trip is dearer than such a copy once its
 * pages have been touched, and the first touch, a fault in guest and host, must be paid once:
 * measured by samples of pages that nobody has touched, the window would seem dear for ever.
 */
#define COST_SIZE_MIN (64 * KIB)

#define COST_CLASSES  10u /* up to 4 KiB, 8 KiB ... 2 MiB and more */

struct cost {
	struct cost_class {
		_Atomic uint32_t ns[COST_PATHS]; /* mean */
		_Atomic uint32_t n[COST_PATHS];	 /* samples, as far as they are counted */
		_Atomic uint32_t turn;		 /* requests that chose, roughly */
	} of[COST_OPS][COST_CLASSES];
};

/*
 * cost_choose() - the path for a request of @size bytes for which both are open. *ret_sample says
 * whether its cost is wanted: then cost_sample() should follow.
 */
enum cost_path cost_choose(struct cost *c, enum cost_op op, uint32_t size, bool *ret_sample);

/* cost_sample() - a request of @size bytes took @ns by @path. */
void cost_sample(struct cost *c, enum cost_op op, uint32_t size, enum cost_path path, uint64_t ns);
