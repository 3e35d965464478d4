/* SPDX-License-Identifier: MIT */
/* What the FUSE server needs in order to put parts of files into the DAX window. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/num.h"

struct mapper;

/*
 * Offsets and lengths are multiples of 4 KiB; ranges lie inside of the window and, in the file,
 * before its end. Any thread. All functions return 0 or a negative errno; whatever a peer had to
 * say, a failure leaves the window as it was, but where it is said otherwise.
 */
struct mapper_ops {
	/*
	 * Show [foff, foff + len) of @fd at @woff, in place of what was there. @fd stays the
	 * caller's. -ENOSPC: no more mappings are allowed; -EOPNOTSUPP: the peer has no window;
	 * -ENOTCONN: it is gone; -ENXIO: it refused; -ECANCELED: the wait for it was broken off
	 * (the mapping may exist).
	 */
	int (*map)(struct mapper *m, int fd, struct foff foff, struct woff woff, uint64_t len,
		   bool writable);
	/* Remove what is mapped in [woff, woff + len), which may be nothing, or parts of mappings. */
	int (*unmap)(struct mapper *m, struct woff woff, uint64_t len);
};

struct mapper {
	const struct mapper_ops *ops;
};
