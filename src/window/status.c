// SPDX-License-Identifier: MIT
// vfsdax-window status: how it stands, for a person or a program.

#include <stdio.h>

#include "window/window.h"

static void json_string(FILE *out, const char *s)
{
	(void)fputc('"', out);
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			(void)fprintf(out, "\\%c", *s);
		else if ((unsigned char)*s < 0x20)
			(void)fprintf(out, "\\u%04x", (unsigned int)*s);
		else
			(void)fputc(*s, out);
	}
	(void)fputc('"', out);
}

static void json_pair(FILE *out, const char *name, const char *value, const char *end)
{
	json_string(out, name);
	(void)fputs(": ", out);
	json_string(out, value);
	(void)fputs(end, out);
}

static void json_range(FILE *out, const struct phys_range *r)
{
	(void)fprintf(out, "\"start\": %llu, \"size\": %llu", (unsigned long long)r->start,
		      (unsigned long long)r->size);
}

static void json_region(FILE *out, const struct nd_region *r, bool last)
{
	(void)fputs("    {", out);
	json_pair(out, "name", r->name, ", ");
	json_range(out, &r->range);
	(void)fputs(", ", out);
	json_pair(out, "namespace", r->space, ", ");
	json_pair(out, "claim", r->claim, ", ");
	json_pair(out, "block", r->block, ", ");
	(void)fprintf(out, "\"ours\": %s}%s\n", r->ours ? "true" : "false", last ? "" : ",");
}

static void json_facts(FILE *out, const struct window_facts *f)
{
	(void)fputs("  ", out);
	json_pair(out, "kernel", f->kernel, ",\n  ");
	json_pair(out, "lockdown", f->lockdown, ",\n");
	if (!f->device_error) {
		(void)fputs("  ", out);
		json_pair(out, "device", f->device.addr.text, ",\n  ");
		json_pair(out, "driver", f->device.driver, ",\n  \"window\": {");
		json_range(out, &f->device.window);
		(void)fputs("},\n", out);
	}
	(void)fputs("  \"regions\": [\n", out);
	for (unsigned int i = 0; i < f->num_regions; i++)
		json_region(out, &f->regions[i], i + 1 == f->num_regions);
	(void)fputs("  ],\n", out);
}

static void print_check(FILE *out, bool json, const char *name, bool ok, const char *text,
			bool last)
{
	if (!json) {
		(void)fprintf(out, "%-11s %s  %s\n", name, ok ? "ok" : "NO", text);
		return;
	}
	(void)fputs("    {", out);
	json_pair(out, "name", name, ", ");
	(void)fprintf(out, "\"ok\": %s, ", ok ? "true" : "false");
	json_pair(out, "text", text, last ? "}\n" : "},\n");
}

int window_print_status(const char *address, bool json, FILE *out)
{
	const struct window_check *c;
	struct window_facts f;
	int usable = 1;
	size_t n;

	window_facts_read(address, &f);
	c = window_checks(&n);
	if (json) {
		(void)fputs("{\n", out);
		json_facts(out, &f);
		(void)fputs("  \"checks\": [\n", out);
	}
	for (size_t i = 0; i < n; i++) {
		char text[WINDOW_TEXT_MAX] = "";
		const struct why why = { text, sizeof(text) };
		int r = c[i].run(&f, &why);

		usable = usable && r == 0;
		print_check(out, json, c[i].name, r == 0, text, i + 1 == n);
	}
	if (json)
		(void)fprintf(out, "  ],\n  \"usable\": %s\n}\n", usable ? "true" : "false");
	else
		(void)fprintf(out, "%s\n",
			      usable ? "Passthrough can be used now."
				     : "Passthrough cannot be used now.");
	window_facts_free(&f);
	return usable;
}
