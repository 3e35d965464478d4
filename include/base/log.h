/* SPDX-License-Identifier: MIT */
/* Messages to a person: stderr in the foreground, syslog for a daemon. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum log_level {
	LOG_LEVEL_ERR,
	LOG_LEVEL_WARN,
	LOG_LEVEL_INFO,
	LOG_LEVEL_DEBUG,
};

/*
 * log_init() - set the program name and the highest level that is printed. To be called once,
 * before threads are made. Library layers log at debug only; a program logs an error once.
 */
void log_init(const char *program, enum log_level max);

/* log_to_syslog() - from now on messages go to syslog; used when a daemon loses its terminal. */
void log_to_syslog(void);

bool log_enabled(enum log_level level);

/* log_msg() - print one line. errno is unchanged, "%m" in @fmt prints it. Any thread. */
void log_msg(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_err(...)  log_msg(LOG_LEVEL_ERR, __VA_ARGS__)
#define log_warn(...) log_msg(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...) log_msg(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_dbg(...)                                                                               \
	do {                                                                                       \
		if (log_enabled(LOG_LEVEL_DEBUG))                                                  \
			log_msg(LOG_LEVEL_DEBUG, __VA_ARGS__);                                     \
	} while (0)

/* log_rate_ok() - true for the first message of each second at one call site. */
bool log_rate_ok(_Atomic uint64_t *state);

#define log_warn_ratelimited(...)                                                                  \
	do {                                                                                       \
		static _Atomic uint64_t log_rate_;                                                 \
		if (log_rate_ok(&log_rate_))                                                       \
			log_warn(__VA_ARGS__);                                                     \
	} while (0)
