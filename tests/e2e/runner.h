/* SPDX-License-Identifier: MIT */
/* Runs one test in a process and a directory of its own. */
#pragma once

#include <stddef.h>

#include "fstest.h"

/*
 * runner_run() - REPORT_OK, REPORT_FAIL or REPORT_SKIP; @why is the reason of the latter two.
 *
 * The test's directory is made in @dir and removed afterwards; with @in_place it is @dir itself. A
 * test that has not ended after @timeout_s is killed, with its children, and has failed.
 */
int runner_run(const struct test *t, const char *dir, bool in_place, int timeout_s, char *why,
	       size_t size);
