// SPDX-License-Identifier: MIT
// Prints the tables of counters as scdoc; with a manual page as argument, checks that they are in
// there.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/counter.h"

static void table(FILE *to, const struct counter_info *info, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++) {
		(void)fputs(i ? "|  " : "[[ ", to);
		for (const char *c = info[i].name; *c; c++)
			(void)fprintf(to, "%s%c", *c == '_' ? "\\" : "", *c);
		(void)fprintf(to, "\n:[ %s\n:[ %s\n", info[i].unit, info[i].help);
	}
}

static void tables(FILE *to)
{
	(void)fputs("Counted since the start:\n\n", to);
	table(to, counter_info, COUNTER_COUNT);
	(void)fputs("\nOf the moment; 0 at the end:\n\n", to);
	table(to, gauge_info, GAUGE_COUNT);
	/* Nothing more in this section: what is not counted any more must go from it. */
	(void)fputs("\n# ", to);
}

int main(int argc, char **argv)
{
	static char page[1 << 20];
	char *want = NULL;
	size_t size = 0;
	FILE *f;
	int status;

	if (argc < 2) {
		tables(stdout);
		return 0;
	}
	f = open_memstream(&want, &size);
	if (!f)
		return 2;
	tables(f);
	(void)fclose(f);
	f = fopen(argv[1], "r");
	if (!f) {
		perror(argv[1]);
		free(want);
		return 2;
	}
	page[fread(page, 1, sizeof(page) - 1, f)] = '\0';
	(void)fclose(f);
	status = !strstr(page, want);
	if (status)
		(void)fprintf(stderr,
			      "%s: the section COUNTERS is not that of include/base/counter.h:\n%s",
			      argv[1], want);
	free(want);
	return status;
}
