/* SPDX-License-Identifier: MIT */
/* How a test tells the runner why it failed. */
#pragma once

#include <stddef.h>

/* Exit statuses of a test's process. */
#define REPORT_OK   0
#define REPORT_FAIL 1
#define REPORT_SKIP 77

/* report_open() - once before each test's fork. */
void report_open(void);

/* report_read() - what was reported first; @buf stays as it is when nothing was. */
void report_read(char *buf, size_t size);
