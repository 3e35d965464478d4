/* SPDX-License-Identifier: MIT */
/* Kernel modules, by modprobe(8). */
#pragma once

/*
 * modprobe() - load a module and what it depends on; nothing when it is loaded or built in.
 * Returns 0; -ENOENT: the kernel has no such module, or refused it; another negative errno:
 * modprobe did not run.
 */
int modprobe(const char *module);

/* modprobe_known() - would modprobe() find it? 0 or as above; nothing is loaded. */
int modprobe_known(const char *module);
