/* SPDX-License-Identifier: MIT */
/* The thread that has made a request, and waits for the answer. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* caller_status() - its /proc/PID/status, as a string of less than @size. false: there is none. */
bool caller_status(uint32_t pid, char *text, size_t size);

/* caller_value() - what stands behind @key ("\nUid:") in it, or NULL. */
const char *caller_value(const char *text, const char *key);
