/* SPDX-License-Identifier: MIT */
/* The sentence for a person that goes with an error. */
#pragma once

#include <stddef.h>

/*
 * Many things can keep a device from being opened, and an errno alone does not tell a person which.
 * A function that takes a struct why writes one sentence, without a full stop, into it when it
 * fails. The buffer is the caller's; @size 0 or a NULL struct means that nobody wants to know.
 */
struct why {
	char *text;
	size_t size; /* bytes, the final NUL included */
};

/* why_set() - write the sentence, in place of an earlier one, and to the debug log. Returns @err. */
int why_set(const struct why *w, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
