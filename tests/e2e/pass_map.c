// SPDX-License-Identifier: MIT
// Lets the host map files into the window and leaves the window's memory to others: the kernel's
// pmem driver has it.

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/guard.h"
#include "fs/client.h"
#include "virtio/vfio_pci.h"
#include "wire/fuse_init.h"

#define MAPPINGS_MAX 16
#define SLOT	     65536u

static const char usage[] = "usage: pass_map NAME:FILE-OFFSET:LENGTH:WINDOW-OFFSET...\n"
			    "Maps the ranges of files in the share's root, writable; prints "
			    "'mapped' and ends with SIGTERM.\n"
			    "The device stays at vfio-pci if it was there.\n";

struct mapping {
	char name[64];
	unsigned long long from, len, at;
};

/* As a device without a window: VFIO must not map the BAR, and would be refused. */
static int no_window(struct virtio_transport *t, bool map, struct virtio_window *ret)
{
	(void)t, (void)map;
	(void)ret;
	return -ENODEV;
}

static int start_session(struct client *c)
{
	const struct fuse_init_wish wish = { .dax = true, .max_write = SLOT / 2 };
	const struct fuse_init_in kernel = { .major = FUSE_KERNEL_VERSION,
					     .minor = 38,
					     .max_readahead = SLOT / 2,
					     .flags = FUSE_INIT_EXT | FUSE_MAX_PAGES };
	struct fuse_init_in in;
	struct fuse_init_out out = { 0 };
	size_t len;
	int r = fuse_init_to_host(&kernel, sizeof(kernel), &wish, &in);

	return r < 0 ? r : client_init(c, &in, &out, &len);
}

static int look_up(struct client *c, struct client_slot *slot, const char *name, uint64_t *ret)
{
	struct fuse_in_header *h = (void *)slot->req;
	const struct fuse_out_header *answer = (void *)slot->rep;
	struct fuse_entry_out entry;
	size_t len = sizeof(*h) + strlen(name) + 1;
	int r;

	*h = (struct fuse_in_header){
		.len = (uint32_t)len, .opcode = FUSE_LOOKUP, .unique = 2, .nodeid = FUSE_ROOT_ID
	};
	memcpy(h + 1, name, strlen(name) + 1);
	r = client_exchange(c, slot, 0, len, sizeof(*answer) + sizeof(entry));
	if (r < 0)
		return r;
	if (answer->error)
		return answer->error;
	memcpy(&entry, answer + 1, sizeof(entry));
	*ret = entry.nodeid;
	return 0;
}

static int map_all(struct client *c, struct client_slot *slot, const struct mapping *m, int n)
{
	for (int i = 0; i < n; i++) {
		uint64_t nodeid = 0;
		int r = look_up(c, slot, m[i].name, &nodeid);

		if (r == 0)
			r = client_dax_ops.setup(c, nodeid, (struct foff){ m[i].from }, m[i].len,
						 (struct woff){ m[i].at }, true);
		if (r < 0) {
			(void)fprintf(stderr, "pass_map: %s: %s\n", m[i].name, strerror(-r));
			return r;
		}
	}
	return 0;
}

static void unmap_all(struct client *c, const struct mapping *m, int n)
{
	struct dax_range ranges[MAPPINGS_MAX];

	for (int i = 0; i < n; i++)
		ranges[i] = (struct dax_range){ .at = { m[i].at }, .len = m[i].len };
	if (client_dax_ops.remove(c, ranges, (unsigned int)n) < 0)
		(void)fputs("pass_map: the host does not unmap\n", stderr);
}

static int run(struct fs_dev *dev, const struct mapping *m, int n, const sigset_t *end)
{
	struct client *c;
	struct client_slot *slot;
	int sig, r = client_create(dev, &c);

	if (r < 0)
		return r;
	r = client_slot_create(c, SLOT, SLOT, &slot);
	if (r == 0) {
		r = start_session(c);
		if (r == 0)
			r = map_all(c, slot, m, n);
		if (r == 0) {
			(void)puts("mapped");
			(void)fflush(stdout);
			(void)sigwait(end, &sig);
			unmap_all(c, m, n);
			(void)client_destroy_session(c);
		}
		client_slot_destroy(slot);
	}
	client_destroy(c);
	return r;
}

int main(int argc, char **argv)
{
	const struct fs_dev_params params = { .arena_size = client_arena_size(1, SLOT, SLOT),
					      .max_request = 1 };
	const struct virtio_pci_choice any = { 0 };
	struct mapping m[MAPPINGS_MAX];
	struct virtio_transport_ops ops;
	struct virtio_transport *t;
	struct fs_dev *dev;
	char why[256] = "";
	sigset_t end;
	int r;

	for (int i = 1; i < argc && i <= MAPPINGS_MAX; i++) {
		struct mapping *one = &m[i - 1];

		if (sscanf(argv[i], "%63[^:]:%llu:%llu:%llu", one->name, &one->from, &one->len,
			   &one->at) != 4)
			argc = 0;
	}
	if (argc < 2 || argc > MAPPINGS_MAX + 1) {
		(void)fputs(usage, stderr);
		return 2;
	}
	/* Before there are threads. */
	(void)sigemptyset(&end);
	(void)sigaddset(&end, SIGTERM);
	(void)sigaddset(&end, SIGINT);
	(void)sigprocmask(SIG_BLOCK, &end, NULL);
	r = guard_init();
	if (r == 0)
		r = virtio_pci_open(&any, why, sizeof(why), &t);
	if (r == 0) {
		ops = *t->ops;
		ops.window = no_window;
		t->ops = &ops;
		r = fs_dev_start(t, &params, why, sizeof(why), &dev);
	}
	if (r < 0) {
		(void)fprintf(stderr, "pass_map: %s\n", why[0] ? why : strerror(-r));
		return 1;
	}
	r = run(dev, m, argc - 1, &end);
	if (r < 0)
		(void)fprintf(stderr, "pass_map: %s\n", strerror(-r));
	fs_dev_stop(dev);
	return r < 0;
}
