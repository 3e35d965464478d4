/* SPDX-License-Identifier: MIT */
/* Find the process that has a file open, for the message that says why a device is busy. */
#pragma once

#include <stddef.h>

/*
 * holder_find() - look for another process that has @path open, and write "NAME (pid N)" to @text.
 * It finds only what this user may see in /proc. Returns 0, or -ENOENT and "another process" in
 * @text.
 */
int holder_find(const char *path, char *text, size_t size);
