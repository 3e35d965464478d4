// SPDX-License-Identifier: MIT
// The command line of vfsdaxhost.

#include <errno.h>
#include <getopt.h>
#include <grp.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host/options.h"

#define HOST_DEFAULT_WINDOW GIB
#define HOST_DEFAULT_MAPS   400u
#define HOST_WINDOW_MAX	    (UINT64_C(1) << 40)

const char *host_options_usage(void)
{
	return "usage: vfsdaxhost --shared-dir=DIR (--socket-path=PATH | --fd=N) [options]\n"
	       "Share a directory with a virtual machine as a virtio-fs device with a DAX window.\n"
	       "\n"
	       "      --shared-dir=DIR           directory to share\n"
	       "      --socket-path=PATH         listen for the virtual machine's monitor here\n"
	       "      --socket-group=NAME|GID    members of this group may connect, too\n"
	       "      --socket-mode=OCTAL        mode of the socket (0600, with a group 0660)\n"
	       "      --fd=N                     or serve this connected socket, and end with it\n"
	       "      --tag=TAG                  name of the file system in the guest (vfsdax)\n"
	       "      --window=SIZE              DAX window: 0 or a power of two, K/M/G/T (1G)\n"
	       "      --max-mappings=N           mappings of the window at a time (400)\n"
	       "      --map-remote               also map files on FUSE, NFS, SMB etc.: the guest\n"
	       "                                 may see old data and undo what others write\n"
	       "      --cache=none|auto|always   what the guest may keep (auto)\n"
	       "      --inode-dax=attr|all|none|xattr|size:SIZE\n"
	       "                                 files that a guest with dax=inode maps (attr)\n"
	       "      --inode-file-handles=never|prefer|mandatory\n"
	       "                                 whether inodes that are not used keep no "
	       "descriptor\n"
	       "                                 (prefer: where that works)\n"
	       "      --num-request-queues=N     request queues, each with a thread (1)\n"
	       "      --readonly                 refuse all changes\n"
	       "      --xattr, --no-xattr        extended attributes (on)\n"
	       "      --posix-acl, --no-posix-acl\n"
	       "                                 ACLs, checked by the guest (on, with xattr)\n"
	       "      --security-label           store the guest's security labels\n"
	       "      --announce-submounts       show mount points in DIR as such\n"
	       "      --posix-lock, --no-posix-lock\n"
	       "                                 keep the guest's fcntl() locks here (off)\n"
	       "      --flock, --no-flock        keep the guest's flock() locks here (off)\n"
	       "      --sandbox=none|chroot|namespace\n"
	       "                                 confinement (namespace as root, else none)\n"
	       "      --seccomp=none|kill|log|trap\n"
	       "                                 what other system calls than it needs do (kill)\n"
	       "      --quirk=NAME[=VALUE][,...] for tests: differ as other hosts do\n"
	       "      --log-level=LEVEL          error, warn, info or debug (info)\n"
	       "  -d, --debug                    the same as --log-level=debug\n"
	       "      --syslog                   log to syslog\n"
	       "  -h, --help                     print this\n"
	       "  -V, --version                  print the version\n";
}

int host_parse_size(const char *s, uint64_t *ret)
{
	static const char suffix[] = "KMGT";
	unsigned int shift = 0;
	unsigned long long v;
	const char *p;
	char *end;

	if (*s < '0' || *s > '9')
		return -EINVAL;
	errno = 0;
	v = strtoull(s, &end, 10);
	if (errno)
		return -EINVAL;
	if (*end) {
		p = strchr(suffix, *end & ~0x20);
		if (!p || !*p || end[1])
			return -EINVAL;
		shift = 10 * (unsigned int)(p - suffix + 1);
	}
	if (v > UINT64_MAX >> shift)
		return -EINVAL;
	*ret = (uint64_t)v << shift;
	return 0;
}

static int parse_number(const char *s, unsigned int max, unsigned int *ret)
{
	uint64_t v;

	if (host_parse_size(s, &v) < 0 || v > max || !strchr("0123456789", s[strlen(s) - 1]))
		return -EINVAL;
	*ret = (unsigned int)v;
	return 0;
}

static int parse_word(const char *s, const char *const *words, unsigned int n, unsigned int *ret)
{
	for (unsigned int i = 0; i < n; i++) {
		if (!strcmp(s, words[i])) {
			*ret = i;
			return 0;
		}
	}
	return -EINVAL;
}

/* The name of a group or, if no group has that name, a number. */
static int parse_group(const char *s, gid_t *ret)
{
	const struct group *g = getgrnam(s);
	unsigned int v;

	if (!g && parse_number(s, UINT_MAX - 1, &v) < 0)
		return -EINVAL;
	*ret = g ? g->gr_gid : v;
	return 0;
}

static int parse_mode(const char *s, int *ret)
{
	size_t len = strlen(s);

	if (!len || len > 4 || strspn(s, "01234567") != len || strtol(s, NULL, 8) > 0777)
		return -EINVAL;
	*ret = (int)strtol(s, NULL, 8);
	return 0;
}

static int parse_tag(const char *s, struct host_options *o)
{
	size_t len = strlen(s);

	if (!len || len > sizeof(o->host.tag))
		return -EINVAL;
	memset(o->host.tag, 0, sizeof(o->host.tag));
	memcpy(o->host.tag, s, len);
	return 0;
}

static int parse_window(const char *s, struct host_options *o)
{
	uint64_t v;

	if (host_parse_size(s, &v) < 0 ||
	    (v && (!is_pow2(v) || v < PAGE_4K || v > HOST_WINDOW_MAX)))
		return -EINVAL;
	o->host.window = v;
	return 0;
}

static int parse_inode_dax(const char *s, struct host_options *o)
{
	static const char *const rules[] = { "attr", "all", "none", "xattr" };
	unsigned int v = FUSE_INODE_DAX_SIZE;

	if (!strncmp(s, "size:", 5)) {
		if (host_parse_size(s + 5, &o->host.inode_dax_size) < 0)
			return -EINVAL;
	} else if (parse_word(s, rules, ARRAY_SIZE(rules), &v) < 0) {
		return -EINVAL;
	}
	o->host.inode_dax = (enum fuse_inode_dax)v;
	return 0;
}

enum {
	OPT_SHARED_DIR = 256,
	OPT_SOCKET_PATH,
	OPT_SOCKET_GROUP,
	OPT_SOCKET_MODE,
	OPT_FD,
	OPT_TAG,
	OPT_WINDOW,
	OPT_MAX_MAPPINGS,
	OPT_MAP_REMOTE,
	OPT_CACHE,
	OPT_INODE_DAX,
	OPT_FILE_HANDLES,
	OPT_QUEUES,
	OPT_QUIRK,
	OPT_READONLY,
	OPT_XATTR,
	OPT_NO_XATTR,
	OPT_POSIX_ACL,
	OPT_NO_POSIX_ACL,
	OPT_SECURITY_LABEL,
	OPT_SUBMOUNTS,
	OPT_POSIX_LOCK,
	OPT_NO_POSIX_LOCK,
	OPT_FLOCK,
	OPT_NO_FLOCK,
	OPT_SANDBOX,
	OPT_SECCOMP,
	OPT_LOG_LEVEL,
	OPT_SYSLOG,
};

static const struct option host_options[] = {
	{ "shared-dir", required_argument, NULL, OPT_SHARED_DIR },
	{ "socket-path", required_argument, NULL, OPT_SOCKET_PATH },
	{ "socket-group", required_argument, NULL, OPT_SOCKET_GROUP },
	{ "socket-mode", required_argument, NULL, OPT_SOCKET_MODE },
	{ "fd", required_argument, NULL, OPT_FD },
	{ "tag", required_argument, NULL, OPT_TAG },
	{ "window", required_argument, NULL, OPT_WINDOW },
	{ "max-mappings", required_argument, NULL, OPT_MAX_MAPPINGS },
	{ "map-remote", no_argument, NULL, OPT_MAP_REMOTE },
	{ "cache", required_argument, NULL, OPT_CACHE },
	{ "inode-dax", required_argument, NULL, OPT_INODE_DAX },
	{ "inode-file-handles", required_argument, NULL, OPT_FILE_HANDLES },
	{ "num-request-queues", required_argument, NULL, OPT_QUEUES },
	{ "quirk", required_argument, NULL, OPT_QUIRK },
	{ "readonly", no_argument, NULL, OPT_READONLY },
	{ "xattr", no_argument, NULL, OPT_XATTR },
	{ "no-xattr", no_argument, NULL, OPT_NO_XATTR },
	{ "posix-acl", no_argument, NULL, OPT_POSIX_ACL },
	{ "no-posix-acl", no_argument, NULL, OPT_NO_POSIX_ACL },
	{ "security-label", no_argument, NULL, OPT_SECURITY_LABEL },
	{ "announce-submounts", no_argument, NULL, OPT_SUBMOUNTS },
	{ "posix-lock", no_argument, NULL, OPT_POSIX_LOCK },
	{ "no-posix-lock", no_argument, NULL, OPT_NO_POSIX_LOCK },
	{ "flock", no_argument, NULL, OPT_FLOCK },
	{ "no-flock", no_argument, NULL, OPT_NO_FLOCK },
	{ "sandbox", required_argument, NULL, OPT_SANDBOX },
	{ "seccomp", required_argument, NULL, OPT_SECCOMP },
	{ "log-level", required_argument, NULL, OPT_LOG_LEVEL },
	{ "debug", no_argument, NULL, 'd' },
	{ "syslog", no_argument, NULL, OPT_SYSLOG },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'V' },
	{ 0 },
};

/* The rule for an option's value, for the error message. */
static const char *rule_of(int c)
{
	switch (c) {
	case OPT_SOCKET_GROUP:
		return "the name of a group or a number";
	case OPT_SOCKET_MODE:
		return "an octal number from 0 to 0777";
	case OPT_FD:
		return "the number of a descriptor";
	case OPT_TAG:
		return "1 to 36 bytes";
	case OPT_WINDOW:
		return "0 or a power of two from 4K to 1T";
	case OPT_MAX_MAPPINGS:
		return "a number from 0 to 1048576";
	case OPT_CACHE:
		return "none, auto or always";
	case OPT_INODE_DAX:
		return "attr, all, none, xattr or size:SIZE";
	case OPT_FILE_HANDLES:
		return "never, prefer or mandatory";
	case OPT_QUEUES:
		return "a number from 1 to 64";
	case OPT_QUIRK:
		return "NAME[=VALUE][,...], see TESTING in vfsdaxhost(8)";
	case OPT_SANDBOX:
		return "none, chroot or namespace";
	case OPT_SECCOMP:
		return "none, kill, log or trap";
	case OPT_LOG_LEVEL:
		return "error, warn, info or debug";
	default:
		return "a valid one";
	}
}

static int parse_one(int c, const char *arg, struct host_options *o)
{
	static const char *const caches[] = { "none", "auto", "always" };
	static const char *const handles[] = { "never", "prefer", "mandatory" };
	static const char *const sandboxes[] = { "none", "chroot", "namespace" };
	static const char *const filters[] = { "none", "kill", "log", "trap" };
	static const char *const levels[] = { "error", "warn", "info", "debug" };
	unsigned int v = 0;
	int r = 0;

	switch (c) {
	case OPT_SHARED_DIR:
		o->shared_dir = arg;
		return 0;
	case OPT_SOCKET_PATH:
		o->socket_path = arg;
		return 0;
	case OPT_SOCKET_GROUP:
		return parse_group(arg, &o->socket_group);
	case OPT_SOCKET_MODE:
		return parse_mode(arg, &o->socket_mode);
	case OPT_FD:
		r = parse_number(arg, INT_MAX, &v);
		o->fd = (int)v;
		return r;
	case OPT_TAG:
		return parse_tag(arg, o);
	case OPT_WINDOW:
		return parse_window(arg, o);
	case OPT_MAX_MAPPINGS:
		return parse_number(arg, 1u << 20, &o->host.max_mappings);
	case OPT_MAP_REMOTE:
		o->host.map_remote = true;
		return 0;
	case OPT_CACHE:
		r = parse_word(arg, caches, ARRAY_SIZE(caches), &v);
		o->host.cache = (enum fuse_cache)v;
		return r;
	case OPT_INODE_DAX:
		return parse_inode_dax(arg, o);
	case OPT_FILE_HANDLES:
		r = parse_word(arg, handles, ARRAY_SIZE(handles), &v);
		o->host.file_handles = (enum fuse_file_handles)v;
		return r;
	case OPT_QUIRK:
		return host_quirks_parse(arg, &o->host.quirks);
	case OPT_QUEUES:
		r = parse_number(arg, VHOST_MAX_REQUEST_QUEUES, &o->host.num_request_queues);
		return r || o->host.num_request_queues ? r : -EINVAL;
	case OPT_READONLY:
		o->host.readonly = true;
		return 0;
	case OPT_XATTR:
	case OPT_NO_XATTR:
		o->host.xattr = c == OPT_XATTR;
		return 0;
	case OPT_POSIX_ACL:
	case OPT_NO_POSIX_ACL:
		o->host.posix_acl = c == OPT_POSIX_ACL;
		return 0;
	case OPT_SECURITY_LABEL:
		o->host.security_label = true;
		return 0;
	case OPT_SUBMOUNTS:
		o->host.submounts = true;
		return 0;
	case OPT_POSIX_LOCK:
	case OPT_NO_POSIX_LOCK:
		o->host.posix_lock = c == OPT_POSIX_LOCK;
		return 0;
	case OPT_FLOCK:
	case OPT_NO_FLOCK:
		o->host.flock = c == OPT_FLOCK;
		return 0;
	case OPT_SANDBOX:
		r = parse_word(arg, sandboxes, ARRAY_SIZE(sandboxes), &v);
		o->sandbox = (enum host_sandbox)v;
		return r;
	case OPT_SECCOMP:
		r = parse_word(arg, filters, ARRAY_SIZE(filters), &v);
		o->seccomp = (enum host_seccomp)v;
		return r;
	case OPT_LOG_LEVEL:
		r = parse_word(arg, levels, ARRAY_SIZE(levels), &v);
		o->log_level = (enum log_level)v;
		return r;
	case 'd':
		o->log_level = LOG_LEVEL_DEBUG;
		return 0;
	case OPT_SYSLOG:
		o->syslog = true;
		return 0;
	case 'h':
		o->help = true;
		return 0;
	case 'V':
		o->version = true;
		return 0;
	default:
		return -EINVAL;
	}
}

static int complain(const char *what)
{
	(void)fprintf(stderr, "vfsdaxhost: %s (try --help)\n", what);
	return -EINVAL;
}

static int complain_of(int c, const char *arg)
{
	const struct option *o = host_options;
	char line[256];

	while (o->name && o->val != c)
		o++;
	(void)snprintf(line, sizeof(line), "--%s=%.100s: the value must be %s",
		       o->name ? o->name : "?", arg ? arg : "", rule_of(c));
	return complain(line);
}

int host_options_parse(int argc, char **argv, struct host_options *ret)
{
	struct host_options o = {
		.socket_group = (gid_t)-1,
		.socket_mode = -1,
		.fd = -1,
		.sandbox = geteuid() == 0 ? HOST_SANDBOX_NAMESPACE : HOST_SANDBOX_NONE,
		.seccomp = host_seccomp_default(),
		.log_level = LOG_LEVEL_INFO,
		.host = {
			.root_fd = -1,
			.proc_fd = -1,
			.tag = "vfsdax",
			.num_request_queues = 1,
			.window = HOST_DEFAULT_WINDOW,
			.max_mappings = HOST_DEFAULT_MAPS,
			.cache = FUSE_CACHE_AUTO,
			.file_handles = FUSE_FILE_HANDLES_PREFER,
			.xattr = true,
			.posix_acl = true,
		},
	};
	int c;

	optind = 0; /* start over: tests parse many command lines */
	while ((c = getopt_long(argc, argv, "dhV", host_options, NULL)) != -1) {
		if (c == '?')
			return -EINVAL; /* getopt has printed why */
		if (parse_one(c, optarg, &o) < 0)
			return complain_of(c, optarg);
	}
	if (!o.help && !o.version) {
		if (optind < argc)
			return complain("there are no arguments but options");
		if (!o.shared_dir)
			return complain("--shared-dir is missing");
		if (!o.socket_path == (o.fd < 0))
			return complain("one of --socket-path and --fd is needed");
		if (!o.socket_path && (o.socket_group != (gid_t)-1 || o.socket_mode >= 0))
			return complain("--socket-group and --socket-mode are for --socket-path");
	}
	if (o.socket_mode < 0)
		o.socket_mode = o.socket_group == (gid_t)-1 ? 0600 : 0660;
	*ret = o;
	return 0;
}
