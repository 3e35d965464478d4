// SPDX-License-Identifier: MIT
// The tables of flags and opcodes against the installed <linux/fuse.h>, read as text.

#include "unit.h"

#include "wire/fuse_init.h"
#include "wire/fuse_req.h"

#define HEADER "/usr/include/linux/fuse.h"

static char text[1 << 20];
static int minor;

static int load(void **state)
{
	FILE *f = fopen(HEADER, "re");
	const char *p;

	if (!f)
		return 0;
	text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
	(void)fclose(f);
	p = strstr(text, "#define FUSE_KERNEL_MINOR_VERSION ");
	if (p)
		minor = atoi(p + strlen("#define FUSE_KERNEL_MINOR_VERSION "));
	return 0;
}

/* The part of the header between two strings; a header without them is another one. */
static const char *part(const char *from, const char *to, const char **ret_end)
{
	const char *p = strstr(text, from);

	if (!text[0]) {
		(void)printf(HEADER " is not there\n");
		skip();
	}
	assert_non_null(p);
	*ret_end = strstr(p, to);
	assert_non_null(*ret_end);
	return p;
}

/* What we do not know is an error only in a header that is not newer than our tables. */
static void unknown(const char *what)
{
	if (minor <= FUSE_PROTO_MINOR)
		fail_msg("%s of %s (7.%d) is not in our table", what, HEADER, minor);
	(void)printf("7.%d has %s, which is newer than our tables\n", minor, what);
}

static void flags(void **state)
{
	const char *end, *p = part("#define FUSE_ASYNC_READ", "* CUSE INIT", &end);
	unsigned int n = 0, n_ours;
	size_t count;
	const struct fuse_init_flag *f = fuse_init_flags(&count);

	for (; p && p < end; p = strstr(p + 1, "#define FUSE_")) {
		char name[64], one[8];
		unsigned int bit;

		/* "#define FUSE_NAME (1ULL << 40)"; aliases have no number */
		if (sscanf(p, "#define FUSE_%63[A-Z0-9_] (%7[1UL] << %u)", name, one, &bit) != 3)
			continue;
		n++;
		n_ours = 0;
		for (size_t i = 0; i < count; i++) {
			if (strcmp(f[i].name, name) != 0)
				continue;
			n_ours++;
			assert_int_equal(f[i].bit, UINT64_C(1) << bit);
		}
		if (!n_ours)
			unknown(name);
	}
	assert_true(n > 30);
}

static void opcodes(void **state)
{
	const char *end, *p = part("enum fuse_opcode {", "CUSE specific", &end);
	unsigned int n = 0;

	for (; p && p < end; p = strstr(p + 1, "\tFUSE_")) {
		char name[64];
		unsigned int op;

		if (sscanf(p, " FUSE_%63[A-Z0-9_] = %u", name, &op) != 2)
			continue;
		n++;
		if (!fuse_op_info(op)->name)
			unknown(name);
		else
			assert_string_equal(fuse_op_name(op), name);
	}
	assert_true(n > 45);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(flags),
		cmocka_unit_test(opcodes),
	};

	return cmocka_run_group_tests(tests, load, NULL);
}
