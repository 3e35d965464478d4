// SPDX-License-Identifier: MIT
// The command line of vfsdaxfuse.

#define FUSE_USE_VERSION 35

#include <errno.h>
#include <fuse_lowlevel.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/num.h"
#include "daemon/options.h"

enum {
	KEY_DAX,
	KEY_DAX_VALUE,
	KEY_IO_URING,
	KEY_PASSTHROUGH,
};

#define OPT(t, m, v)                                                                               \
	{                                                                                          \
		t, offsetof(struct options, m), v                                                  \
	}

static const struct fuse_opt option_list[] = {
	OPT("-f", foreground, 1),
	OPT("--foreground", foreground, 1),
	OPT("-d", debug, 1),
	OPT("--debug", debug, 1),
	OPT("debug", debug, 1),
	OPT("-h", help, 1),
	OPT("--help", help, 1),
	OPT("-V", version, 1),
	OPT("--version", version, 1),
	OPT("--probe", probe, 1),
	OPT("--vhost-user=%s", vhost_user, 0),
	OPT("--pci=%s", pci, 0),
	OPT("stats=%s", stats, 0),
	OPT("max_threads=%u", max_threads, 0),
	OPT("max_write=%u", max_write, 0),
	OPT("queue_size=%u", queue_size, 0),
	FUSE_OPT_KEY("dax=", KEY_DAX_VALUE),
	FUSE_OPT_KEY("dax", KEY_DAX),
	FUSE_OPT_KEY("io_uring=", KEY_IO_URING),
	FUSE_OPT_KEY("passthrough=", KEY_PASSTHROUGH),
	FUSE_OPT_END,
};

const char *options_usage(void)
{
	return "usage: vfsdaxfuse [options] [TAG] MOUNTPOINT\n"
	       "       vfsdaxfuse --probe [options] [TAG]\n"
	       "\n"
	       "Mounts the directory that a virtio-fs device shares, with file data through the\n"
	       "device's DAX window. TAG names the device; without it there must be only one.\n"
	       "\n"
	       "    -f, --foreground        stay in the foreground\n"
	       "    -d, --debug             say what happens; implies -f\n"
	       "    -h, --help              print this help\n"
	       "    -V, --version           print the version\n"
	       "    --probe                 mount nothing; print the device, its window and its "
	       "speed\n"
	       "    --pci=ADDRESS           the PCI address of the device\n"
	       "    --vhost-user=SOCKET     use a vhost-user back end on this machine, no VM\n"
	       "    -o OPTION[,OPTION...]   mount options:\n"
	       "        dax=always          use the window for all data that can, and fail without "
	       "one\n"
	       "        dax=inode           use the window for files that the host marks so\n"
	       "        dax=never           do not use the window\n"
	       "        io_uring=on         take requests over io_uring, and fail without it\n"
	       "        io_uring=off        take requests from /dev/fuse\n"
	       "        io_uring=auto       take the faster way (the default; now as off)\n"
	       "        passthrough=off     serve all requests ourselves\n"
	       "        passthrough=ro      let the kernel read files through the window by "
	       "itself\n"
	       "        passthrough=fixed   let it read and write files that are marked; see the "
	       "manual\n"
	       "        passthrough=all     let it read and write all files; see the manual\n"
	       "        passthrough=auto    ro on a read-only mount where that can be had, else "
	       "off (default)\n"
	       "        max_threads=N       requests served at a time (1 to 64, default 8)\n"
	       "        max_write=BYTES         data of one request (4096 to 16777216, default "
	       "1048576)\n"
	       "        queue_size=N        entries of a virtqueue at most (16 to 1024)\n"
	       "        stats=FILE          write counters to FILE on SIGUSR1 and at the end\n"
	       "        remount,ro          change a mount that is there to read-only; also rw and "
	       "others\n"
	       "        ro, nosuid, nodev, noexec, noatime, allow_root, ...  as in mount(8)\n";
}

/* One of @names, which end with NULL: its index, or -1 and a message. @rule: what they are, for a
 * person. */
static int option_word(const char *option, const char *value, const char *const *names,
		       const char *rule)
{
	for (int i = 0; names[i]; i++)
		if (!strcmp(value, names[i]))
			return i;
	log_err("%s=%s: it is %s", option, value, rule);
	return -1;
}

static int option_dax(struct options *o, const char *value)
{
	static const char *const names[] = { "always", "inode", "never", NULL };
	static const enum dax_mode modes[] = { DAX_ALWAYS, DAX_INODE, DAX_NEVER };
	int i = option_word("dax", value, names, "always, inode or never");

	if (i >= 0)
		o->dax = modes[i];
	return MIN(i, 0);
}

static int option_io_uring(struct options *o, const char *value)
{
	static const char *const names[] = { "auto", "on", "off", NULL };
	static const enum io_uring_mode modes[] = { IO_URING_AUTO, IO_URING_ON, IO_URING_OFF };
	int i = option_word("io_uring", value, names, "auto, on or off");

	if (i >= 0)
		o->io_uring = modes[i];
	return MIN(i, 0);
}

static int option_passthrough(struct options *o, const char *value)
{
	static const char *const names[] = { "auto", "off", "ro", "fixed", "all", NULL };
	static const enum passthrough_mode modes[] = { PASSTHROUGH_AUTO, PASSTHROUGH_OFF,
						       PASSTHROUGH_RO, PASSTHROUGH_FIXED,
						       PASSTHROUGH_ALL };
	int i = option_word("passthrough", value, names, "auto, off, ro, fixed or all");

	if (i >= 0)
		o->passthrough = modes[i];
	return MIN(i, 0);
}

static int option_proc(void *data, const char *arg, int key, struct fuse_args *out)
{
	struct options *o = data;

	switch (key) {
	case KEY_DAX:
		return option_dax(o, "always");
	case KEY_DAX_VALUE:
		return option_dax(o, arg + strlen("dax="));
	case KEY_IO_URING:
		return option_io_uring(o, arg + strlen("io_uring="));
	case KEY_PASSTHROUGH:
		return option_passthrough(o, arg + strlen("passthrough="));
	case FUSE_OPT_KEY_NONOPT:
		if (!o->mountpoint) {
			o->mountpoint = strdup(arg);
			return o->mountpoint ? 0 : -1;
		}
		if (!o->tag) {
			o->tag = o->mountpoint;
			o->mountpoint = strdup(arg);
			return o->mountpoint ? 0 : -1;
		}
		log_err("too many arguments: %s", arg);
		return -1;
	default:
		return mount_opts_add(&o->mount, arg) < 0 ? -1 : 0;
	}
}

/* What belongs to a mount has no meaning, and the only word is a tag. */
static int options_probe(struct options *o)
{
	if (o->tag) {
		log_err("too many arguments: %s", o->mountpoint);
		return -1;
	}
	o->tag = o->mountpoint;
	o->mountpoint = NULL;
	if (o->mount.any || o->dax != DAX_DEFAULT || o->stats ||
	    o->max_threads != OPTIONS_THREADS_DEFAULT) {
		log_err("--probe mounts nothing and takes no mount options");
		return -1;
	}
	return 0;
}

int options_parse(struct fuse_args *args, struct options *ret)
{
	char *absolute;

	*ret = (struct options){ .max_threads = OPTIONS_THREADS_DEFAULT,
				 .max_write = OPTIONS_WRITE_DEFAULT,
				 .queue_size = OPTIONS_QUEUE_MAX };
	mount_opts_init(&ret->mount);
	if (fuse_opt_parse(args, ret, option_list, option_proc) < 0)
		return -EINVAL;
	if (ret->help || ret->version)
		return 0;
	if (ret->debug)
		ret->foreground = 1;
	if (ret->probe && options_probe(ret) < 0)
		return -EINVAL;
	if (!ret->probe && !ret->mountpoint) {
		log_err("no mountpoint; see vfsdaxfuse --help");
		return -EINVAL;
	}
	if (ret->max_threads < 1 || ret->max_threads > OPTIONS_THREADS_MAX) {
		log_err("max_threads=%u: it is 1 to %u", ret->max_threads, OPTIONS_THREADS_MAX);
		return -EINVAL;
	}
	if (ret->max_write < OPTIONS_WRITE_MIN || ret->max_write > OPTIONS_WRITE_MAX) {
		log_err("max_write=%u: it is %u to %u", ret->max_write, OPTIONS_WRITE_MIN,
			OPTIONS_WRITE_MAX);
		return -EINVAL;
	}
	if (ret->queue_size < OPTIONS_QUEUE_MIN || ret->queue_size > OPTIONS_QUEUE_MAX ||
	    !is_pow2(ret->queue_size)) {
		log_err("queue_size=%u: it is a power of two from %u to %u", ret->queue_size,
			OPTIONS_QUEUE_MIN, OPTIONS_QUEUE_MAX);
		return -EINVAL;
	}
	if (ret->vhost_user && ret->pci) {
		log_err("--vhost-user and --pci exclude each other");
		return -EINVAL;
	}
	if (ret->probe)
		return 0;
	if (mount_opts_check(&ret->mount) < 0)
		return -EINVAL;
	absolute = realpath(ret->mountpoint, NULL);
	if (!absolute) {
		log_err("mountpoint %s: %m", ret->mountpoint);
		return -EINVAL;
	}
	free(ret->mountpoint);
	ret->mountpoint = absolute;
	return 0;
}

void options_free(struct options *o)
{
	free(o->tag);
	free(o->mountpoint);
	free(o->vhost_user);
	free(o->pci);
	free(o->stats);
	mount_opts_free(&o->mount);
	*o = (struct options){ 0 };
}
