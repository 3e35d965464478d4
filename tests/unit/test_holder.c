// SPDX-License-Identifier: MIT
// Who has a file open: a child that has, and nobody.

#include "unit.h"

#include <fcntl.h>
#include <sys/wait.h>

#include "hw/holder.h"

static void finds_a_child(void **state)
{
	char path[] = "/tmp/vfsdax-holder-XXXXXX", text[64], want[64];
	int fd = mkstemp(path), to_child[2];
	pid_t child;

	assert_true(fd >= 0);
	assert_int_equal(pipe2(to_child, O_CLOEXEC), 0);
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		char byte;

		(void)close(to_child[1]);
		(void)read(to_child[0], &byte, 1);
		_exit(0);
	}
	assert_int_equal(holder_find(path, text, sizeof(text)), 0);
	(void)snprintf(want, sizeof(want), "test_holder (pid %d)", (int)child);
	assert_string_equal(text, want);
	(void)close(to_child[1]);
	assert_int_equal(waitpid(child, NULL, 0), child);
	/* we have it open ourselves, and that is not what is asked for */
	assert_int_equal(holder_find(path, text, sizeof(text)), -ENOENT);
	assert_string_equal(text, "another process");
	(void)close(to_child[0]);
	(void)close(fd);
	(void)unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_a_child),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
