/* SPDX-License-Identifier: MIT */
/* The thread that made a request and waits for the answer, as /proc describes it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* caller_status() - read /proc/@pid/status into @text, a string. false: it failed. */
bool caller_status(uint32_t pid, char *text, size_t size);

/* caller_value() - the text after @key ("\nUid:") in a status, or NULL. */
const char *caller_value(const char *text, const char *key);
