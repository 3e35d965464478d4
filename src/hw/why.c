// SPDX-License-Identifier: MIT
// The sentence for a person that goes with an error.

#include <stdarg.h>
#include <stdio.h>

#include "base/log.h"
#include "hw/why.h"

int why_set(const struct why *w, int err, const char *fmt, ...)
{
	char line[512];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	log_dbg("%s (%d)", line, err);
	if (w && w->size)
		(void)snprintf(w->text, w->size, "%s", line);
	return err;
}
