// SPDX-License-Identifier: MIT
// The command line of vfsdaxfuse, and that help and manual speak of all of it.

#define FUSE_USE_VERSION 35

#include "unit.h"

#include <fuse_opt.h>
#include <sys/mount.h>

#include "base/num.h"
#include "daemon/options.h"

/* Every option, in the form in which help and manual show it. */
static const char *const shown[] = {
	"-f",
	"--foreground",
	"-d",
	"--debug",
	"-h",
	"--help",
	"-V",
	"--version",
	"--pci=",
	"--vhost-user=",
	"-o",
	"dax=always",
	"dax=never",
	"max_threads=",
	"max_write=",
	"stats=",
	"queue_size=",
	"--probe",
	"io_uring=on",
	"io_uring=off",
	"io_uring=auto",
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

/* The flags that @list gives a mount, and in *said those that it speaks of. */
static unsigned long flags_of(const char *list, unsigned long *said)
{
	char line[512];
	struct options o;
	unsigned long flags;

	(void)snprintf(line, sizeof(line), "/tmp -o %s", list);
	good(line, &o);
	flags = o.mount.flags;
	*said = o.mount.said;
	options_free(&o);
	return flags;
}

static void mount_flags(void **state)
{
	unsigned long said;

	assert_int_equal(flags_of("ro,nosuid,nodev,noexec,dax=never", &said),
			 MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC);
	assert_int_equal(said, MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC);
	assert_int_equal(flags_of("suid,dev", &said), 0);
	assert_int_equal(said, MS_NOSUID | MS_NODEV);
	assert_int_equal(
		flags_of("defaults,user,nofail,_netdev,x-systemd.automount,comment=a", &said), 0);
	assert_int_equal(said, 0);
	/* the last one counts */
	assert_int_equal(flags_of("ro,rw,nosuid,suid", &said), 0);
	assert_int_equal(flags_of("relatime,noatime", &said), MS_NOATIME);
	assert_int_equal(flags_of("noatime,relatime", &said), MS_RELATIME);
	assert_int_equal(flags_of("noatime,strictatime", &said), MS_STRICTATIME);
	assert_int_equal(flags_of("strictatime,nostrictatime", &said), 0);
}

static void other_mount_options(void **state)
{
	struct options o;

	good("/tmp -o remount,allow_root,max_read=65536,fsname=a\\,b,context=x,fscontext=y", &o);
	assert_true(o.mount.remount && o.mount.only_owner);
	assert_int_equal(o.mount.max_read, 65536);
	assert_string_equal(o.mount.fsname, "a,b");
	assert_string_equal(o.mount.security, "context=x,fscontext=y");
	options_free(&o);
	good("/tmp -o noallow_other,allow_other", &o);
	assert_false(o.mount.only_owner);
	options_free(&o);
	/* of another's mount, as /proc/mounts shows it */
	good("/tmp -o remount,user_id=12345,group_id=12345", &o);
	options_free(&o);
	wrong("/tmp -o user_id=12345");
	wrong("/tmp -o group_id=12345");
	wrong("/tmp -o user_id=");
	wrong("/tmp -o max_read=");
	wrong("/tmp -o max_read=-1");
	wrong("/tmp -o max_read=1k");
	wrong("/tmp -o mand");
	wrong("/tmp -o nodefault_permissions");
	wrong("/tmp -o fd=3");
	wrong("/tmp -o rootmode=40000");
	wrong("/tmp -o blksize=4096");
	wrong("/tmp -o subtype=x");
	wrong("/tmp -o bind");
	wrong("/tmp -o nonesuch");
	wrong("/tmp -o romantic");
	wrong("/tmp -n");
}

/* What a remount makes of what /proc/mounts shows. */
static void remount_flags(void **state)
{
	static const struct {
		const char *now, *given;
		unsigned long then;
	} rows[] = {
		{ "rw,relatime,user_id=0", "ro", MS_RDONLY | MS_RELATIME },
		{ "ro,nosuid,nodev,noatime", "rw", MS_NOSUID | MS_NODEV | MS_NOATIME },
		{ "ro,nosuid,relatime", "rw,suid", MS_RELATIME },
		{ "rw,noatime", "atime", MS_RELATIME },
		{ "rw,noatime", "relatime", MS_RELATIME },
		{ "rw,noatime", "strictatime", MS_STRICTATIME },
		{ "rw,relatime", "noatime", MS_NOATIME },
		{ "rw", "ro", MS_RDONLY | MS_STRICTATIME }, /* shown by nothing */
		{ "rw", "nostrictatime", MS_RELATIME },
		{ "rw,sync,lazytime,nosymfollow,relatime", "async,nolazytime",
		  MS_RELATIME | (1UL << 8) },
		{ "rw,nodiratime,relatime", "ro,dax=never,nofail",
		  MS_RDONLY | MS_RELATIME | MS_NODIRATIME },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char line[256];
		struct options o;
		unsigned long then;

		(void)snprintf(line, sizeof(line), "/tmp -o remount,%s", rows[i].given);
		good(line, &o);
		then = mount_opts_merge(&o.mount, mount_opts_shown(rows[i].now));
		if (then != rows[i].then)
			fail_msg("%s remounted with %s: 0x%lx", rows[i].now, rows[i].given, then);
		options_free(&o);
	}
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

/* Those of the mount, too: in bold and in the section about them. */
static void manual_shows_mount_options(const char *page)
{
	const char *section = strstr(page, "# MOUNT OPTIONS"), *name;
	char *mine = section ? strdup(section) : NULL;
	size_t n = 0;

	assert_non_null(mine);
	if (strstr(mine + 2, "\n# "))
		*strstr(mine + 2, "\n# ") = '\0';
	for (char *p = mine; (p = strchr(p, '\\'));) /* scdoc's escapes */
		memmove(p, p + 1, strlen(p));
	for (; (name = mount_opts_name(n)); n++) {
		char bold[64];

		(void)snprintf(bold, sizeof(bold), "*%s*", name);
		if (!strstr(mine, bold))
			fail_msg("the manual's MOUNT OPTIONS do not have %s", bold);
	}
	free(mine);
	assert_true(n > 50);
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
	manual_shows_mount_options(page);
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
		cmocka_unit_test(mount_flags),
		cmocka_unit_test(other_mount_options),
		cmocka_unit_test(remount_flags),
		cmocka_unit_test(wrong_ones),
		cmocka_unit_test(limits_of_threads),
		cmocka_unit_test(help_shows_all),
		cmocka_unit_test(no_option_is_forgotten),
		cmocka_unit_test(manual_shows_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
