/* SPDX-License-Identifier: MIT */
/* What every unit test includes: cmocka in its order, and small helpers for threads and seeds. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/*
 * must() - for threads that the test made: cmocka's assertions jump out of the test's own thread
 * only.
 */
#define must(x)                                                                                    \
	do {                                                                                       \
		if (!(x)) {                                                                        \
			(void)fprintf(stderr, "%s:%d: must hold: %s\n", __FILE__, __LINE__, #x);   \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

/* A small generator (splitmix64): the same numbers for the same seed everywhere. */
struct rng {
	uint64_t state;
};

static inline uint64_t rng_next(struct rng *r)
{
	uint64_t z = (r->state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* rng_below() - 0 to @n - 1. */
static inline uint64_t rng_below(struct rng *r, uint64_t n)
{
	return rng_next(r) % n;
}

static inline bool rng_chance(struct rng *r, unsigned int one_in)
{
	return rng_below(r, one_in) == 0;
}

static inline uint64_t unit_env(const char *name, uint64_t otherwise)
{
	const char *value = getenv(name);

	return value && *value ? strtoull(value, NULL, 0) : otherwise;
}

/* unit_seed() - of the environment variable SEED, or a new one; printed, so that it can be
 * repeated. */
static inline uint64_t unit_seed(void)
{
	uint64_t seed = unit_env("SEED", (uint64_t)getpid() * 1000003 + (uint64_t)time(NULL));

	(void)printf("SEED=%llu\n", (unsigned long long)seed);
	(void)fflush(stdout);
	return seed;
}

/* unit_seconds() - how long a random test runs: SECONDS_TO_RUN. */
static inline uint64_t unit_seconds(uint64_t otherwise)
{
	return unit_env("SECONDS_TO_RUN", otherwise);
}

/* unit_count_fds() - descriptors that are open now. */
static inline unsigned int unit_count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned int n = 0;

	must(d);
	while (readdir(d))
		n++;
	(void)closedir(d);
	return n;
}
