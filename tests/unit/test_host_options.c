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
	assert_int_equal(o.host.inode_dax, FUSE_INODE_DAX_ATTR);
	assert_int_equal(o.host.quirks.map_error.error, 0);
	assert_false(o.host.quirks.no_indirect_desc || o.host.quirks.access_platform);
	assert_true(o.host.xattr && !o.host.readonly);
	assert_int_equal(o.host.file_handles, FUSE_FILE_HANDLES_PREFER);
	assert_true(o.host.posix_acl && !o.host.security_label && !o.host.submounts);
	assert_true(!o.host.posix_lock && !o.host.flock);
	assert_string_equal(o.host.tag, "vfsdax");
	assert_int_equal(o.socket_mode, 0600);
	assert_true(o.socket_group == (gid_t)-1 && !o.host.map_remote);
	assert_int_equal(o.sandbox, geteuid() ? HOST_SANDBOX_NONE : HOST_SANDBOX_NAMESPACE);
}

static void values(void **state)
{
	struct host_options o;

	assert_int_equal(PARSE(&o, "--shared-dir=/d", "--fd", "5", "--window=512M", "--cache=none",
			       "--no-xattr", "--readonly", "--tag=t", "--num-request-queues=4",
			       "--max-mappings=0", "--sandbox=chroot", "--seccomp=log", "-d"),
			 0);
	assert_int_equal(o.fd, 5);
	assert_int_equal(o.host.window, 512 * MIB);
	assert_int_equal(o.host.cache, FUSE_CACHE_NONE);
	assert_true(!o.host.xattr && o.host.readonly);
	assert_int_equal(o.host.num_request_queues, 4);
	assert_int_equal(o.host.max_mappings, 0);
	assert_int_equal(o.sandbox, HOST_SANDBOX_CHROOT);
	assert_int_equal(o.seccomp, HOST_SECCOMP_LOG);
	assert_int_equal(o.log_level, LOG_LEVEL_DEBUG);
	assert_int_equal(PARSE(&o, BASE, "--tag=123456789012345678901234567890123456"), 0);
	assert_int_equal(
		PARSE(&o, BASE, "--no-posix-acl", "--security-label", "--announce-submounts"), 0);
	assert_true(!o.host.posix_acl && o.host.security_label && o.host.submounts);
	assert_int_equal(PARSE(&o, BASE, "--posix-lock", "--flock", "--no-flock"), 0);
	assert_true(o.host.posix_lock && !o.host.flock);
	assert_int_equal(PARSE(&o, BASE, "--posix-lock", "--flock", "--no-posix-lock"), 0);
	assert_true(!o.host.posix_lock && o.host.flock);
	assert_int_equal(PARSE(&o, BASE, "--inode-file-handles=never"), 0);
	assert_int_equal(o.host.file_handles, FUSE_FILE_HANDLES_NEVER);
	assert_int_equal(PARSE(&o, BASE, "--inode-file-handles=mandatory"), 0);
	assert_int_equal(o.host.file_handles, FUSE_FILE_HANDLES_MANDATORY);
	assert_int_equal(PARSE(&o, BASE, "--no-posix-acl", "--posix-acl"), 0);
	assert_true(o.host.posix_acl);
	assert_int_equal(PARSE(&o, "--help"), 0);
	assert_true(o.help);
	assert_int_equal(PARSE(&o, "-V"), 0);
	assert_true(o.version);
}

static void socket_file(void **state)
{
	struct host_options o;

	assert_int_equal(PARSE(&o, BASE, "--socket-group=root"), 0);
	assert_int_equal(o.socket_group, 0);
	assert_int_equal(o.socket_mode, 0660);
	assert_int_equal(PARSE(&o, BASE, "--socket-group=4294967294"), 0);
	assert_true(o.socket_group == 4294967294u);
	assert_int_equal(PARSE(&o, BASE, "--socket-group=12", "--socket-mode=0620"), 0);
	assert_int_equal(o.socket_group, 12);
	assert_int_equal(o.socket_mode, 0620);
	assert_int_equal(PARSE(&o, BASE, "--socket-mode=0"), 0);
	assert_int_equal(o.socket_mode, 0);
	assert_int_equal(PARSE(&o, BASE, "--map-remote"), 0);
	assert_true(o.host.map_remote);
	assert_int_equal(PARSE(&o, "--shared-dir=/d", "--fd=3", "--socket-mode=600"), -EINVAL);
	assert_int_equal(PARSE(&o, "--shared-dir=/d", "--fd=3", "--socket-group=0"), -EINVAL);
}

static void inode_dax(void **state)
{
	static const struct {
		const char *word;
		enum fuse_inode_dax rule;
	} words[] = {
		{ "--inode-dax=attr", FUSE_INODE_DAX_ATTR },
		{ "--inode-dax=all", FUSE_INODE_DAX_ALL },
		{ "--inode-dax=none", FUSE_INODE_DAX_NONE },
		{ "--inode-dax=xattr", FUSE_INODE_DAX_XATTR },
		{ "--inode-dax=size:64K", FUSE_INODE_DAX_SIZE },
	};
	struct host_options o;

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		assert_int_equal(PARSE(&o, BASE, words[i].word), 0);
		assert_int_equal(o.host.inode_dax, words[i].rule);
	}
	assert_int_equal(o.host.inode_dax_size, 64 * KIB);
}

static void quirks(void **state)
{
	struct host_options o;
	const struct host_quirks *q = &o.host.quirks;

	assert_int_equal(PARSE(&o, BASE, "--quirk=no-event-idx,map-error=ENXIO:7:3",
			       "--quirk=map-delay=50,unmap-error=EIO,map-alignment=2097152"),
			 0);
	assert_true(q->no_event_idx && !q->no_indirect_desc && !q->no_map_alignment);
	assert_int_equal(q->map_error.error, ENXIO);
	assert_int_equal(q->map_error.after, 7);
	assert_int_equal(q->map_error.every, 3);
	assert_int_equal(q->unmap_error.error, EIO);
	assert_int_equal(q->unmap_error.after, 0);
	assert_int_equal(q->unmap_error.every, 1);
	assert_int_equal(q->map_delay_us, 50);
	assert_int_equal(q->map_alignment, 2097152);
	assert_int_equal(PARSE(&o, BASE,
			       "--quirk=no-indirect-desc,no-map-alignment,need-read,"
			       "access-platform"),
			 0);
	assert_true(q->no_indirect_desc && q->no_map_alignment && q->need_read &&
		    q->access_platform && !q->no_event_idx);
}

static void faults(void **state)
{
	struct host_fault f = { .error = EIO, .after = 3, .every = 2 }, none = { .every = 1 };
	static const bool want[] = { false, false, false, true, false, true, false, true };
	_Atomic uint64_t n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(want); i++)
		assert_int_equal(host_fault_strikes(&f, &n), want[i]);
	assert_false(host_fault_strikes(&none, &n));
}

/* Each option of the parser's table, and each quirk, stands in --help and in the manual. */
static void documented(void **state)
{
	static char source[1 << 20], page[1 << 20];
	const char *quirk;
	unsigned int n = 0;
	FILE *f = fopen(UNIT_SOURCE_ROOT "/src/host/options.c", "re");

	assert_non_null(f);
	source[fread(source, 1, sizeof(source) - 1, f)] = '\0';
	(void)fclose(f);
	f = fopen(UNIT_SOURCE_ROOT "/man/vfsdaxhost.8.scd", "re");
	assert_non_null(f);
	page[fread(page, 1, sizeof(page) - 1, f)] = '\0';
	(void)fclose(f);
	for (const char *p = source; (p = strstr(p, "\n\t{ \"")); n++) {
		char word[64];

		p += strlen("\n\t{ \"");
		(void)snprintf(word, sizeof(word), "--%.*s", (int)strcspn(p, "\""), p);
		if (!strstr(host_options_usage(), word))
			fail_msg("--help does not speak of %s", word);
		if (!strstr(page, word))
			fail_msg("the manual does not speak of %s", word);
	}
	assert_true(n >= 15);
	for (size_t i = 0; (quirk = host_quirk_name(i)); i++) {
		char word[64];

		(void)snprintf(word, sizeof(word), "*%s", quirk);
		if (!strstr(page, word))
			fail_msg("the manual does not speak of the quirk %s", quirk);
	}
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
		"--socket-group=",
		"--socket-group=4294967295",
		"--socket-group=12x",
		"--socket-mode=",
		"--socket-mode=8",
		"--socket-mode=1777",
		"--socket-mode=00660",
		"--socket-mode=-1",
		"--map-remote=1",
		"--fd=x",
		"--sandbox=yes",
		"--inode-file-handles=maybe",
		"--seccomp=yes",
		"--tag=1234567890123456789012345678901234567",
		"--log-level=5",
		"--nonsense",
		"word",
		"--fd=3",
		"--readonly=1",
		"-x",
		"--inode-dax=",
		"--inode-dax=size:",
		"--inode-dax=size",
		"--inode-dax=maybe",
		"--quirk=",
		"--quirk=nonesuch",
		"--quirk=no-event-idx=1",
		"--quirk=no-event-idx,",
		"--quirk=map-delay",
		"--quirk=map-delay=x",
		"--quirk=map-delay=1x",
		"--quirk=map-error=EWHAT",
		"--quirk=map-error=EIO:",
		"--quirk=map-error=EIO:1:0",
		"--quirk=map-error=EIO:1:2:3",
		"--quirk=map-alignment=5000",
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
		cmocka_unit_test(sizes),       cmocka_unit_test(defaults),
		cmocka_unit_test(values),      cmocka_unit_test(inode_dax),
		cmocka_unit_test(quirks),      cmocka_unit_test(faults),
		cmocka_unit_test(documented),  cmocka_unit_test(refusals),
		cmocka_unit_test(socket_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
