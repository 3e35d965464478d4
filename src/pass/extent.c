// SPDX-License-Identifier: MIT
// Checks and walks of the pieces that a file is composed of.

#include <errno.h>
#include <stdbool.h>
#include <sys/stat.h>

#include "base/num.h"
#include "pass/extent.h"

#define NSEC_PER_SEC 1000000000u

void pass_slot_name(uint32_t slot, char ret[PASS_NAME_LEN + 1])
{
	ret[0] = 'f';
	for (unsigned int i = PASS_NAME_LEN - 1; i; i--) {
		ret[i] = (char)('0' + slot % 10);
		slot /= 10;
	}
	ret[PASS_NAME_LEN] = 0;
}

int pass_file_check(const struct pass_attr *attr, const struct pass_extent *extents, size_t n,
		    struct dblk first, struct dblk end, bool beyond)
{
	uint64_t want = attr->size / PASS_BLOCK + (attr->size % PASS_BLOCK != 0);
	uint64_t have = 0;

	if (!S_ISREG(attr->mode) || attr->mode & ~(uint32_t)(S_IFMT | 07777))
		return -EINVAL;
	if (attr->atime.nsec >= NSEC_PER_SEC || attr->mtime.nsec >= NSEC_PER_SEC ||
	    attr->ctime.nsec >= NSEC_PER_SEC)
		return -EINVAL;
	if (want >= UINT32_MAX)
		return -EFBIG;
	for (size_t i = 0; i < n; i++) {
		const struct pass_extent *e = &extents[i];

		if (!e->count || e->at.v != have)
			return -EINVAL;
		if (e->block.v < first.v || !range_ok(e->block.v, e->count, end.v))
			return -EINVAL;
		have += e->count;
		if (have >= UINT32_MAX)
			return -EFBIG;
	}
	return have < want || (have > want && !beyond) ? -EINVAL : 0;
}

bool pass_run_next(struct pass_runs *r, struct pass_extent *ret)
{
	struct pass_extent run;

	if (!r->n)
		return false;
	run.at.v = r->extents->at.v + r->done;
	run.block.v = r->extents->block.v + r->done;
	run.count = 0;
	while (r->n && run.count < r->max &&
	       r->extents->block.v + r->done == (uint64_t)run.block.v + run.count) {
		uint32_t take = MIN(r->extents->count - r->done, r->max - run.count);

		run.count += take;
		r->done += take;
		if (r->done == r->extents->count) {
			r->done = 0;
			r->extents++;
			r->n--;
		}
	}
	*ret = run;
	return true;
}
