/* SPDX-License-Identifier: MIT */
/* Which other process has a file open: for the sentence that says why it is busy. */
#pragma once

#include <stddef.h>

/*
 * holder_find() - look for another process that has @path open, and write "NAME (pid N)" to @text.
 * Only what this user may see in /proc is found. Returns 0, or -ENOENT: none was found, and @text
 * is "another process".
 */
int holder_find(const char *path, char *text, size_t size);
