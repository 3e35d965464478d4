/* SPDX-License-Identifier: MIT */
/* vfsdaxfuse --probe: what the device, its window, the host and the kernel are, without a mount. */
#pragma once

#include "daemon/options.h"

/*
 * probe_run() - take the device, ask and measure, print lines "name: value" to standard output,
 * give the device back; also when SIGINT, SIGTERM or SIGHUP come. Nothing is written to the host's
 * files. Returns an exit status (daemon/daemon.h); when it is not 0 one sentence was printed to
 * standard error.
 */
int probe_run(const struct options *o);
