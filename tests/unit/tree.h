/* SPDX-License-Identifier: MIT */
/* A directory that stands for the root: /sys and /proc as a test wants them. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* tree_begin(), tree_end() - cmocka's setup and teardown; the directory is the root of hw/sysfs.h. */
int tree_begin(void **state);
int tree_end(void **state);

/* tree_put() - write a file and make the directories above it. Fails the test when it cannot. */
void tree_put(const char *path, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void tree_put_bytes(const char *path, const void *data, size_t size);

/* tree_link() - a symbolic link to @target, which is another path of the tree. */
void tree_link(const char *path, const char *target);

/* tree_get() - read a file as a string; "" when there is none. */
void tree_get(const char *path, char *ret, size_t size);

/* tree_remove() - a file or a link. */
void tree_remove(const char *path);
