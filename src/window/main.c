// SPDX-License-Identifier: MIT
// vfsdax-window: the command line.

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/num.h"
#include "window/window.h"

#define EXIT_NO	   1
#define EXIT_USAGE 2

static const char usage_text[] =
	"usage: vfsdax-window print-config [--device=ADDRESS] [--metadata=SIZE]\n"
	"       vfsdax-window status [--device=ADDRESS] [--json]\n"
	"       vfsdax-window setup [--device=ADDRESS]\n"
	"       vfsdax-window remove [--device=ADDRESS]\n"
	"\n"
	"Makes the DAX window of a virtio-fs device persistent memory of the kernel, which\n"
	"vfsdaxfuse -o passthrough= needs. Needs root.\n"
	"\n"
	"    --device=ADDRESS  the virtio-fs device, such as 0000:00:04.0; needed when several "
	"have a window\n"
	"    --metadata=SIZE   memory for metadata, such as 64M\n"
	"    --json            print the status for programs\n"
	"    -d, --debug       say what happens\n"
	"    -h, --help        print this help\n"
	"    -V, --version     print the version\n";

static const char *const verbs[] = { "print-config", "status", "setup", "remove" };

struct arguments {
	const char *verb;
	const char *address; /* or NULL */
	uint64_t metadata;   /* bytes; 0: not given */
	bool json;
};

static bool parse_size(const char *text, uint64_t *ret)
{
	char *end;
	uint64_t v = strtoull(text, &end, 0);
	unsigned int shift = *end == 'K' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : 0;

	if (end == text || end[shift != 0] || text[0] == '-' || v > UINT64_MAX >> shift)
		return false;
	*ret = v << shift;
	return *ret >= WINDOW_META_MIN && *ret % ND_ALIGNMENT == 0;
}

static int check_options(const struct arguments *a)
{
	const char *option = NULL;

	if (a->metadata && strcmp(a->verb, "print-config") != 0)
		option = "--metadata";
	if (a->json && strcmp(a->verb, "status") != 0)
		option = "--json";
	if (!option)
		return 0;
	log_err("%s does not take %s (see vfsdax-window --help)", a->verb, option);
	return EXIT_USAGE;
}

/* 0, or the exit status with which the program ends; -1: it ends well. */
static int parse(int argc, char **argv, struct arguments *ret)
{
	static const struct option options[] = {
		{ "device", required_argument, NULL, 'D' },
		{ "metadata", required_argument, NULL, 'M' },
		{ "json", no_argument, NULL, 'j' },
		{ "debug", no_argument, NULL, 'd' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ 0 },
	};
	int o;

	while ((o = getopt_long(argc, argv, "dhV", options, NULL)) != -1) {
		switch (o) {
		case 'D':
			ret->address = optarg;
			break;
		case 'M':
			if (parse_size(optarg, &ret->metadata))
				break;
			log_err("--metadata=%s: a multiple of 2M, and at least 16M, is needed",
				optarg);
			return EXIT_USAGE;
		case 'j':
			ret->json = true;
			break;
		case 'd':
			log_init("vfsdax-window", LOG_LEVEL_DEBUG);
			break;
		case 'h':
			(void)fputs(usage_text, stdout);
			return -1;
		case 'V':
			(void)printf("vfsdax-window %s\n", VFSDAX_VERSION);
			return -1;
		default:
			return EXIT_USAGE;
		}
	}
	for (size_t i = 0; optind + 1 == argc && i < ARRAY_SIZE(verbs); i++)
		if (!strcmp(argv[optind], verbs[i]))
			ret->verb = verbs[i];
	if (ret->verb)
		return check_options(ret);
	log_err("one verb is needed: print-config, status, setup or remove");
	return EXIT_USAGE;
}

static int run(const struct arguments *a)
{
	char text[WINDOW_TEXT_MAX] = "";
	const struct why why = { text, sizeof(text) };
	int r;

	/* Others see neither addresses nor the whole configuration space of a device. */
	if (geteuid()) {
		log_err("root is needed");
		return EXIT_NO;
	}
	if (!strcmp(a->verb, "status"))
		return window_print_status(a->address, a->json, stdout) ? 0 : EXIT_NO;
	if (!strcmp(a->verb, "print-config"))
		r = window_print_config(a->address, a->metadata, stdout, stderr, &why);
	else if (!strcmp(a->verb, "setup"))
		r = window_setup(a->address, &why);
	else
		r = window_remove(a->address, &why);
	if (r < 0)
		log_err("%s", text[0] ? text : strerror(-r));
	return r < 0 ? EXIT_NO : 0;
}

int main(int argc, char **argv)
{
	struct arguments a = { 0 };
	int r;

	log_init("vfsdax-window", LOG_LEVEL_INFO);
	r = parse(argc, argv, &a);
	if (r)
		return r < 0 ? 0 : r;
	r = run(&a);
	if (fflush(stdout)) {
		log_err("cannot write: %m");
		return EXIT_NO;
	}
	return r;
}
