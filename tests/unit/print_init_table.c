// SPDX-License-Identifier: MIT
// Prints the table of FUSE_INIT flags as Markdown; with a file as argument, checks that it is in
// there.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire/fuse_init.h"

static void table(FILE *to)
{
	size_t n;
	const struct fuse_init_flag *f = fuse_init_flags(&n);

	(void)fputs("| bit | flag | without window | with window | why |\n", to);
	(void)fputs("|----:|------|----------------|-------------|-----|\n", to);
	for (size_t i = 0; i < n; i++)
		(void)fprintf(to, "| %d | %s | %s | %s | %s |\n", __builtin_ctzll(f[i].bit),
			      f[i].name, fuse_init_rule_name(f[i].rule),
			      fuse_init_rule_name(f[i].rule_dax), f[i].why);
}

int main(int argc, char **argv)
{
	static char doc[1 << 20];
	char *want = NULL;
	size_t size = 0;
	FILE *f;

	if (argc < 2) {
		table(stdout);
		return 0;
	}
	f = open_memstream(&want, &size);
	if (!f)
		return 2;
	table(f);
	(void)fclose(f);
	f = fopen(argv[1], "r");
	if (!f) {
		perror(argv[1]);
		return 2;
	}
	doc[fread(doc, 1, sizeof(doc) - 1, f)] = '\0';
	(void)fclose(f);
	if (strstr(doc, want)) {
		free(want);
		return 0;
	}
	(void)fprintf(stderr,
		      "%s: the table of flags is not that of src/wire/fuse_init.c, which is:\n%s",
		      argv[1], want);
	free(want);
	return 1;
}
