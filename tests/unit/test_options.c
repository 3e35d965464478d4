// SPDX-License-Identifier: MIT
// The command line of vfsdaxfuse, and that help and manual speak of all of it.

#define FUSE_USE_VERSION 35

#include "unit.h"

#include <fuse_opt.h>

#include "base/num.h"
#include "daemon/options.h"

/* Every option, in the form in which help and manual show it. */
static const char *const shown[] = {
	"-f",	     "--foreground", "-d",	   "--debug",	    "-h", "--help",
	"-V",	     "--version",    "--pci=",	   "--vhost-user=", "-o", "dax=always",
	"dax=never", "max_threads=", "max_write=", "stats=",	    "queue_size=", "--probe",
	"io_uring=on", "io_uring=off", "io_uring=auto",
};

/* Parse a command line given as one string; *rest receives what is left for libfuse. */
static int parse(const char *line, struct options *o, char *rest, size_t size)
{
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	char *copy = strdup(line), *save = NULL;
	int r;

	assert_non_null(copy);
	assert_int_equal(fuse_opt_add_arg(&args, "vfsdaxfuse"), 0);
	for (char *word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save))
		assert_int_equal(fuse_opt_add_arg(&args, word), 0);
	free(copy);
	r = options_parse(&args, o);
	rest[0] = '\0';
	for (int i = 1; i < args.argc; i++) {
		(void)strncat(rest, args.argv[i], size - strlen(rest) - 1);
		(void)strncat(rest, " ", size - strlen(rest) - 1);
	}
	fuse_opt_free_args(&args);
	return r;
}

static void good(const char *line, struct options *o)
{
	char rest[256];

	if (parse(line, o, rest, sizeof(rest)) < 0)
		fail_msg("refused: %s", line);
}

static void wrong(const char *line)
{
	struct options o;
	char rest[256];

	if (parse(line, &o, rest, sizeof(rest)) != -EINVAL)
		fail_msg("not refused: %s", line);
	options_free(&o);
}

static void mountpoint_alone(void **state)
{
	struct options o;

	good("/tmp", &o);
	assert_string_equal(o.mountpoint, "/tmp");
	assert_null(o.tag);
	assert_null(o.vhost_user);
	assert_null(o.pci);
	assert_null(o.stats);
	assert_int_equal(o.dax, DAX_DEFAULT);
	assert_int_equal(o.io_uring, IO_URING_AUTO);
	assert_int_equal(o.max_threads, OPTIONS_THREADS_DEFAULT);
	assert_int_equal(o.max_write, OPTIONS_WRITE_DEFAULT);
	assert_false(o.foreground || o.debug || o.help || o.version);
	options_free(&o);
}

static void tag_and_mountpoint(void **state)
{
	struct options o;

	/* also in the order of mount(8), which puts options last */
	good("mytag /tmp -o rw,dax=never", &o);
	assert_string_equal(o.tag, "mytag");
	assert_string_equal(o.mountpoint, "/tmp");
	assert_int_equal(o.dax, DAX_NEVER);
	options_free(&o);
}

static void mountpoint_becomes_absolute(void **state)
{
	struct options o;

	assert_int_equal(chdir("/tmp"), 0);
	good("./../tmp/.", &o);
	assert_string_equal(o.mountpoint, "/tmp");
	options_free(&o);
}

static void probe_needs_no_mountpoint(void **state)
{
	struct options o;

	good("--probe", &o);
	assert_true(o.probe);
	assert_null(o.tag);
	assert_null(o.mountpoint);
	options_free(&o);
	/* the only word is a tag, though there is a directory of that name */
	good("--probe /tmp", &o);
	assert_string_equal(o.tag, "/tmp");
	assert_null(o.mountpoint);
	options_free(&o);
	good("-d --probe --pci=0000:00:04.0", &o);
	assert_string_equal(o.pci, "0000:00:04.0");
	options_free(&o);
	wrong("--probe tag /tmp");
	wrong("--probe a b c");
	wrong("--probe -o ro");
	wrong("--probe -o dax=never");
	wrong("--probe -o stats=/run/s");
	wrong("--probe -o max_threads=3");
	wrong("--probe --nonesuch");
	wrong("--probe --pci=0000:00:04.0 --vhost-user=/run/s");
}

static void all_options(void **state)
{
	struct options o;

	good("-f -d --pci=0000:00:04.0 -o dax=always,max_threads=3,max_write=65536,stats=/run/s "
	     "/tmp",
	     &o);
	assert_true(o.foreground && o.debug);
	assert_string_equal(o.pci, "0000:00:04.0");
	assert_int_equal(o.dax, DAX_ALWAYS);
	assert_int_equal(o.max_threads, 3);
	assert_int_equal(o.max_write, 65536);
	assert_string_equal(o.stats, "/run/s");
	options_free(&o);
	good("--foreground --vhost-user=/run/vhost.sock /tmp", &o);
	assert_true(o.foreground && !o.debug);
	assert_string_equal(o.vhost_user, "/run/vhost.sock");
	options_free(&o);
	good("--debug /tmp", &o);
	assert_true(o.foreground && o.debug);
	options_free(&o);
	/* the last one counts */
	good("--pci=a --pci=b -o stats=x,stats=y,dax=never,dax=always /tmp", &o);
	assert_string_equal(o.pci, "b");
	assert_string_equal(o.stats, "y");
	assert_int_equal(o.dax, DAX_ALWAYS);
	options_free(&o);
	good("-o io_uring=on /tmp", &o);
	assert_int_equal(o.io_uring, IO_URING_ON);
	options_free(&o);
	good("-o io_uring=on,io_uring=off /tmp", &o);
	assert_int_equal(o.io_uring, IO_URING_OFF);
	options_free(&o);
	good("-o io_uring=on,io_uring=auto /tmp", &o);
	assert_int_equal(o.io_uring, IO_URING_AUTO);
	options_free(&o);
	good("-o dax /tmp", &o);
	assert_int_equal(o.dax, DAX_ALWAYS);
	options_free(&o);
}

static void help_and_version_need_no_mountpoint(void **state)
{
	static const char *const help[] = { "-h", "--help" }, *const version[] = { "-V",
										   "--version" };
	struct options o;

	for (unsigned int i = 0; i < 2; i++) {
		good(help[i], &o);
		assert_true(o.help);
		options_free(&o);
		good(version[i], &o);
		assert_true(o.version);
		options_free(&o);
	}
}

static void the_rest_is_libfuses(void **state)
{
	struct options o;
	char rest[256];

	assert_int_equal(parse("/tmp -o ro,nosuid,dax=never,allow_root", &o, rest, sizeof(rest)),
			 0);
	assert_non_null(strstr(rest, "ro,nosuid,allow_root"));
	assert_null(strstr(rest, "dax"));
	assert_null(strstr(rest, "/tmp"));
	options_free(&o);
}

static void wrong_ones(void **state)
{
	wrong("");
	wrong("-f");
	wrong("a b /tmp");
	wrong("/tmp/no/such/place");
	wrong("/tmp -o dax=maybe");
	wrong("/tmp -o dax=");
	wrong("/tmp -o io_uring=yes");
	wrong("/tmp -o io_uring=");
	wrong("/tmp -o max_threads=0");
	wrong("/tmp -o max_threads=65");
	wrong("/tmp -o max_threads=-1");
	wrong("/tmp -o max_threads=x");
	wrong("/tmp -o max_write=4095");
	wrong("/tmp -o max_write=16777217");
	wrong("/tmp -o max_write=x");
	wrong("/tmp --pci=0000:00:04.0 --vhost-user=/s");
}

static void limits_of_threads(void **state)
{
	struct options o;

	good("/tmp -o max_threads=1", &o);
	assert_int_equal(o.max_threads, 1);
	options_free(&o);
	good("/tmp -o max_threads=64", &o);
	assert_int_equal(o.max_threads, 64);
	options_free(&o);
}

static void help_shows_all(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(shown); i++)
		if (!strstr(options_usage(), shown[i]))
			fail_msg("--help does not speak of %s", shown[i]);
}

/* The words of the parser's table, read from its source: shown[] and help must have each of them. */
static void no_option_is_forgotten(void **state)
{
	static char source[1 << 20];
	FILE *f = fopen(UNIT_SOURCE_ROOT "/src/daemon/options.c", "re");
	unsigned int n = 0;

	assert_non_null(f);
	source[fread(source, 1, sizeof(source) - 1, f)] = '\0';
	(void)fclose(f);
	for (const char *p = source; (p = strpbrk(p, "OF")); p++) {
		static const char *const macros[] = { "OPT(\"", "FUSE_OPT_KEY(\"" };

		for (size_t i = 0; i < ARRAY_SIZE(macros); i++) {
			size_t len = strlen(macros[i]);
			char word[64] = "";

			if (strncmp(p, macros[i], len))
				continue;
			(void)snprintf(word, sizeof(word), "%.*s", (int)strcspn(p + len, "\"%"),
				       p + len);
			if (!strstr(options_usage(), word))
				fail_msg("--help does not speak of %s", word);
			n++;
		}
	}
	assert_true(n >= 10);
}

static void manual_shows_all(void **state)
{
	static char page[1 << 20];
	FILE *f = fopen(UNIT_SOURCE_ROOT "/man/vfsdaxfuse.8.scd", "re");

	if (!f) {
		(void)printf("man/vfsdaxfuse.8.scd is not there\n");
		skip();
	}
	page[fread(page, 1, sizeof(page) - 1, f)] = '\0';
	(void)fclose(f);
	for (size_t i = 0; i < ARRAY_SIZE(shown); i++)
		if (!strstr(page, shown[i]))
			fail_msg("the manual does not speak of %s", shown[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mountpoint_alone),
		cmocka_unit_test(tag_and_mountpoint),
		cmocka_unit_test(mountpoint_becomes_absolute),
		cmocka_unit_test(probe_needs_no_mountpoint),
		cmocka_unit_test(all_options),
		cmocka_unit_test(help_and_version_need_no_mountpoint),
		cmocka_unit_test(the_rest_is_libfuses),
		cmocka_unit_test(wrong_ones),
		cmocka_unit_test(limits_of_threads),
		cmocka_unit_test(help_shows_all),
		cmocka_unit_test(no_option_is_forgotten),
		cmocka_unit_test(manual_shows_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
