/* SPDX-License-Identifier: MIT */
/* The life of one mount. */
#pragma once

#include "daemon/options.h"

/* Exit statuses, as those of mount(8). */
#define EXIT_OK	    0
#define EXIT_USAGE  1
#define EXIT_SYSTEM 2
#define EXIT_MOUNT  32

/*
 * daemon_run() - take the device, mount, serve until unmounted or told to end, and give all back.
 * @ready: a descriptor that receives one byte, the exit status 0, as soon as the mount works; -1:
 * none. Returns an exit status; when it is not 0 and the mount never worked, one sentence was
 * printed.
 */
int daemon_run(const struct options *o, int ready);
