// SPDX-License-Identifier: MIT
// The command line of vfsdaxhost.

#include "unit.h"

#include <fcntl.h>

#include "host/options.h"

/* Parse words, the program's name put before them; what is printed goes nowhere. */
static int parse(struct host_options *o, const char *const *words)
{
	char *argv[16] = { (char *)(uintptr_t) "vfsdaxhost" };
	int argc = 1, r, err = dup(2), null = open("/dev/null", O_WRONLY);

	while (words[argc - 1]) {
		argv[argc] = (char *)(uintptr_t)words[argc - 1];
		argc++;
	}
	must(dup2(null, 2) == 2);
	r = host_options_parse(argc, argv, o);
	must(dup2(err, 2) == 2);
	close(err);
	close(null);
	return r;
}

#define PARSE(o, ...) parse(o, (const char *const[]){ __VA_ARGS__, NULL })
#define BASE	      "--shared-dir=/d", "--socket-path=/s"

static void sizes(void **state)
{
	static const char *const bad[] = { "",	   "G",		"-1",
					   " 1",   "1X",	"1GB",
					   "1.5G", "16777216T", "99999999999999999999",
					   "0x10" };
	uint64_t v = 7;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(host_parse_size(bad[i], &v), -EINVAL);
	assert_int_equal(v, 7);
	assert_int_equal(host_parse_size("0", &v), 0);
	assert_int_equal(v, 0);
	assert_int_equal(host_parse_size("3k", &v), 0);
	assert_int_equal(v, 3 * KIB);
	assert_int_equal(host_parse_size("2G", &v), 0);
	assert_int_equal(v, 2 * GIB);
}

static void defaults(void **state)
{
	struct host_options o;

	assert_int_equal(PARSE(&o, BASE), 0);
	assert_int_equal(o.host.window, GIB);
	assert_int_equal(o.host.max_mappings, 400);
	assert_int_equal(o.host.num_request_queues, 1);
	assert_int_equal(o.host.cache, FUSE_CACHE_AUTO);
	assert_true(o.host.xattr && !o.host.readonly);
	assert_true(o.host.posix_acl && !o.host.security_label && !o.host.submounts);
	assert_string_equal(o.host.tag, "vfsdax");
	assert_int_equal(o.sandbox, geteuid() ? HOST_SANDBOX_NONE : HOST_SANDBOX_NAMESPACE);
}

static void values(void **state)
{
	struct host_options o;

	assert_int_equal(PARSE(&o, "--shared-dir=/d", "--fd", "5", "--window=512M", "--cache=none",
			       "--no-xattr", "--readonly", "--tag=t", "--num-request-queues=4",
			       "--max-mappings=0", "--sandbox=chroot", "-d"),
			 0);
	assert_int_equal(o.fd, 5);
	assert_int_equal(o.host.window, 512 * MIB);
	assert_int_equal(o.host.cache, FUSE_CACHE_NONE);
	assert_true(!o.host.xattr && o.host.readonly);
	assert_int_equal(o.host.num_request_queues, 4);
	assert_int_equal(o.host.max_mappings, 0);
	assert_int_equal(o.sandbox, HOST_SANDBOX_CHROOT);
	assert_int_equal(o.log_level, LOG_LEVEL_DEBUG);
	assert_int_equal(PARSE(&o, BASE, "--tag=123456789012345678901234567890123456"), 0);
	assert_int_equal(
		PARSE(&o, BASE, "--no-posix-acl", "--security-label", "--announce-submounts"), 0);
	assert_true(!o.host.posix_acl && o.host.security_label && o.host.submounts);
	assert_int_equal(PARSE(&o, BASE, "--no-posix-acl", "--posix-acl"), 0);
	assert_true(o.host.posix_acl);
	assert_int_equal(PARSE(&o, "--help"), 0);
	assert_true(o.help);
	assert_int_equal(PARSE(&o, "-V"), 0);
	assert_true(o.version);
}

static void refusals(void **state)
{
	static const char *const bad[] = {
		"--window=3G",
		"--window=2K",
		"--window=2T",
		"--window=x",
		"--cache=maybe",
		"--num-request-queues=0",
		"--num-request-queues=65",
		"--max-mappings=-1",
		"--max-mappings=1K",
		"--tag=",
		"--fd=x",
		"--sandbox=yes",
		"--tag=1234567890123456789012345678901234567",
		"--log-level=5",
		"--nonsense",
		"word",
		"--fd=3",
		"--readonly=1",
		"-x",
	};
	struct host_options o;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (PARSE(&o, BASE, bad[i]) != -EINVAL)
			fail_msg("%s was taken", bad[i]);
	assert_int_equal(PARSE(&o, "--socket-path=/s"), -EINVAL);
	assert_int_equal(PARSE(&o, "--shared-dir=/d"), -EINVAL);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes),
		cmocka_unit_test(defaults),
		cmocka_unit_test(values),
		cmocka_unit_test(refusals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
