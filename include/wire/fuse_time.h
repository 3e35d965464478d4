/* SPDX-License-Identifier: MIT */
/* Times of struct fuse_attr as one number. */
#pragma once

#include <stdint.h>

#include "base/time.h"
#include "wire/fuse_proto.h"

/* ns since the epoch, modulo 2^64. */
static inline uint64_t fuse_mtime_ns(const struct fuse_attr *attr)
{
	return attr->mtime * NSEC_PER_SEC + attr->mtimensec;
}

static inline uint64_t fuse_ctime_ns(const struct fuse_attr *attr)
{
	return attr->ctime * NSEC_PER_SEC + attr->ctimensec;
}
