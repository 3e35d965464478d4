// SPDX-License-Identifier: MIT
// Messages to a person: stderr in the foreground, syslog for a daemon.

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <syslog.h>

#include "base/log.h"
#include "base/time.h"

static const char *log_program = "vfsdaxfuse";
static enum log_level log_max = LOG_LEVEL_INFO;
static atomic_bool log_syslog;

void log_init(const char *program, enum log_level max)
{
	log_program = program;
	log_max = max;
}

void log_to_syslog(void)
{
	/* Connected to at once: later the process may have been confined to where it is not. */
	openlog(log_program, LOG_PID | LOG_NDELAY, LOG_DAEMON);
	atomic_store(&log_syslog, true);
}

bool log_enabled(enum log_level level)
{
	return level <= log_max;
}

void log_msg(enum log_level level, const char *fmt, ...)
{
	static const int prio[] = { LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG };
	int saved = errno;
	char line[2048 + 64]; /* a dump of all counters is the longest there is */
	va_list ap;

	if (!log_enabled(level))
		return;

	/* One buffer and one write, so that lines of several threads do not mix. */
	va_start(ap, fmt);
	(void)vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (atomic_load(&log_syslog))
		syslog(prio[level], "%s", line);
	else
		(void)fprintf(stderr, "%s: %s\n", log_program, line);
	errno = saved;
}

bool log_rate_ok(_Atomic uint64_t *state)
{
	uint64_t now = time_now_ns() / NSEC_PER_SEC + 1;
	uint64_t last = atomic_load_explicit(state, memory_order_relaxed);

	/* relaxed: only the number itself is exchanged, and one loser too many is harmless */
	return last != now &&
	       atomic_compare_exchange_strong_explicit(state, &last, now, memory_order_relaxed,
						       memory_order_relaxed);
}
