// SPDX-License-Identifier: MIT
// Replies through a pipe have the bytes that the buffer holds then, whatever came before.

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "unit.h"

#include "base/num.h"
#include "fs/chan_pipe.h"

#define CAP   (1024 * KIB + 2 * PAGE_4K)
#define FRONT 16u /* as slots have it: all but the header begins on a page */

struct bench {
	char *pages;
	char *rep;
	struct chan_pipe *pipe;
	int file; /* in the place of /dev/fuse */
};

static int setup(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));

	must(b);
	b->pages = mmap(NULL, CAP + PAGE_4K, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			-1, 0);
	must(b->pages != MAP_FAILED);
	b->rep = b->pages + PAGE_4K - FRONT;
	b->file = memfd_create("reply", MFD_CLOEXEC);
	must(b->file >= 0);
	must(chan_pipe_create(b->rep, CAP, &b->pipe) == 0);
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	struct bench *b = *state;

	chan_pipe_free(b->pipe);
	(void)close(b->file);
	(void)munmap(b->pages, CAP + PAGE_4K);
	free(b);
	return 0;
}

static void fill(struct bench *b, unsigned int seed, size_t len)
{
	for (size_t i = 0; i < len; i++)
		b->rep[i] = (char)(i * 31 + i / PAGE_4K + seed);
}

/* What arrives is what is in the buffer. */
static void reply(struct bench *b, size_t len)
{
	char *got = malloc(len);

	must(got);
	assert_int_equal(ftruncate(b->file, 0), 0);
	assert_int_equal(lseek(b->file, 0, SEEK_SET), 0);
	assert_int_equal(chan_pipe_reply(b->pipe, b->file, len), 0);
	assert_int_equal(lseek(b->file, 0, SEEK_END), len);
	assert_int_equal(pread(b->file, got, len, 0), len);
	assert_memory_equal(got, b->rep, len);
	free(got);
}

static void test_bytes(void **state)
{
	static const size_t lens[] = {
		1, FRONT, FRONT + 1, PAGE_4K, FRONT + 32 * KIB, 100001, FRONT + 1024 * KIB, CAP
	};
	struct bench *b = *state;

	for (unsigned int i = 0; i < 3 * ARRAY_SIZE(lens); i++) {
		size_t len = MIN(lens[i % ARRAY_SIZE(lens)], chan_pipe_cap(b->pipe));

		fill(b, i, len);
		reply(b, len);
	}
}

/* A reply that is refused leaves nothing for the next one. */
static void test_refused(void **state)
{
	struct bench *b = *state;
	int shut = open("/dev/null", O_RDONLY | O_CLOEXEC);

	must(shut >= 0);
	fill(b, 1, CAP);
	for (unsigned int i = 0; i < 3; i++) {
		assert_int_equal(chan_pipe_reply(b->pipe, shut, 64 * KIB), -EBADF);
		fill(b, 2 + i, CAP);
		reply(b, 40 * KIB);
	}
	(void)close(shut);
}

/* One that the file takes a part of only is an error, and leaves nothing either. */
static void test_part(void **state)
{
	struct bench *b = *state;
	int fds[2];

	must(pipe2(fds, O_CLOEXEC | O_NONBLOCK) == 0);
	fill(b, 1, CAP);
	assert_int_equal(chan_pipe_reply(b->pipe, fds[1], 512 * KIB), -EIO);
	fill(b, 2, CAP);
	reply(b, 512 * KIB);
	(void)close(fds[0]);
	(void)close(fds[1]);
}

/* More than the pipe takes is an error. */
static void test_too_much(void **state)
{
	struct bench *b = *state;

	fill(b, 1, CAP);
	assert_in_range(chan_pipe_cap(b->pipe), 512 * KIB, CAP);
	assert_int_equal(chan_pipe_reply(b->pipe, b->file, chan_pipe_cap(b->pipe) + 1), -E2BIG);
	reply(b, chan_pipe_cap(b->pipe));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_bytes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_part, setup, teardown),
		cmocka_unit_test_setup_teardown(test_too_much, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
