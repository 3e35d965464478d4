/* SPDX-License-Identifier: MIT */
/* What the files of --probe share. */
#pragma once

#include <stdatomic.h>

#include "daemon/options.h"
#include "fs/client.h"

struct probe {
	const struct options *o;
	struct fs_dev *dev;
	struct client *client;
	struct fuse_init_result agreed;
	_Atomic bool stop; /* a signal came */
};

/* probe_line() - print "name: value". */
void probe_line(const char *name, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* probe_stopped() - -EINTR after a signal, or the error since which the device does not work, or 0.
 */
int probe_stopped(const struct probe *p);

/* probe_device(), probe_kernel() - print what is known without a request. */
void probe_device(const struct probe *p);
void probe_kernel(void);

/* probe_host() - print what the host has answered to INIT. */
void probe_host(const struct probe *p, const struct fuse_init_out *out);

/*
 * probe_window() - find a file, map it, copy from it, and print how long that takes.
 * Returns 0 (also when there is no file for it), or as probe_stopped().
 */
int probe_window(struct probe *p);

/* probe_median() - of @n > 0 numbers, which are sorted. */
uint64_t probe_median(uint64_t *v, unsigned int n);
