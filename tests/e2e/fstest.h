/* SPDX-License-Identifier: MIT */
/* What the file-system tests share: checks, deterministic data, children. */
#pragma once

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define KIB  1024L
#define MIB  (1024L * KIB)
#define GIB  (1024L * MIB)
#define PAGE 4096L

/* Every test runs in a process and an empty working directory of its own. */
struct test {
	const char *name;
	void (*run)(void);
};

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* Tables of tests, each ended by an empty entry. */
extern const struct test data_tests[], size_tests[], dir_tests[], name_tests[], attr_tests[],
	mmap_tests[], share_tests[], random_tests[], proto_tests[];

/* Numbers from the command line. */
extern uint64_t random_seed;
extern long random_ops;

/* End the test, from any process or thread of it. */
void fail(const char *file, int line, const char *fmt, ...)
	__attribute__((noreturn, format(printf, 3, 4)));
void skip(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* CHECK() - a condition; errno is printed, as most conditions are about system calls. */
#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (!(cond))                                                                       \
			fail(__FILE__, __LINE__, "%s (errno: %m)", #cond);                         \
	} while (0)

/* OK() - the value of a call that must not fail. */
#define OK(call)                                                                                   \
	({                                                                                         \
		__auto_type ok_value_ = (call);                                                    \
		if (ok_value_ < 0)                                                                 \
			fail(__FILE__, __LINE__, "%s: %m", #call);                                 \
		ok_value_;                                                                         \
	})

/* EQ() - two numbers. */
#define EQ(a, b)                                                                                   \
	do {                                                                                       \
		long long eq_a_ = (long long)(a), eq_b_ = (long long)(b);                          \
		if (eq_a_ != eq_b_)                                                                \
			fail(__FILE__, __LINE__, "%s is %lld, not %s = %lld", #a, eq_a_, #b,       \
			     eq_b_);                                                               \
	} while (0)

/* FAILS() - a call that must fail in one way. */
#define FAILS(call, err)                                                                           \
	do {                                                                                       \
		errno = 0;                                                                         \
		if ((call) >= 0 || errno != (err))                                                 \
			fail(__FILE__, __LINE__, "%s: %m, not " #err, #call);                      \
	} while (0)

/* Data of a file: its byte at an offset depends on the seed and that offset only. */
void pattern_fill(void *buf, size_t len, uint64_t seed, uint64_t off);
/* pattern_check() - the first wrong byte, or -1. */
ssize_t pattern_check(const void *buf, size_t len, uint64_t seed, uint64_t off);

/* random_next() - a pseudo-random number; the state is the caller's. */
uint64_t random_next(uint64_t *state);

/* All of it, or the test fails. */
void write_all(int fd, const void *buf, size_t len, off_t off);
void read_all(int fd, void *buf, size_t len, off_t off);

int create_file(const char *name, off_t size, uint64_t seed); /* a new file, open for both */
void write_pattern(int fd, off_t off, off_t len, uint64_t seed);
void check_pattern(int fd, off_t off, off_t len, uint64_t seed);
void check_zero(int fd, off_t off, off_t len);
off_t size_of(int fd);

/*
 * passed_through() - does the kernel map the file by DAX, that is, not by the FUSE server? @fd must
 * be open for reading. try_passed() - open a file again and again until it is, as its last RELEASE
 * may still be on its way; after 2 s it is returned as it is. open_passed() - or the test fails.
 */
bool passed_through(int fd);
int try_passed(const char *name, int flags);
int open_passed(const char *name, int flags);

/* create_file() closes what it has made and opens it again, so that it can be passed through. */
extern bool create_reopens;

/* start() - run @fn in a child; finish() - and wait until it ends well. */
pid_t start(void (*fn)(void *), void *arg);
void finish(pid_t pid);
/* as_nobody() - run @fn in a child without privileges; it keeps the working directory. */
void as_nobody(void (*fn)(void *), void *arg);
void need_root(void);
