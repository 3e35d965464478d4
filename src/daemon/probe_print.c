// SPDX-License-Identifier: MIT
// vfsdaxfuse --probe: the device, the host and the kernel in words.

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#include "base/cleanup.h"
#include "probe_priv.h"

void probe_line(const char *name, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	(void)printf("%s: ", name);
	(void)vprintf(fmt, args);
	(void)putchar('\n');
	va_end(args);
}

struct bit_name {
	unsigned int bit;
	const char *name;
};

/* VIRTIO 1.3, 6, 2.7 and 5.11.3; the names without VIRTIO_. */
static const struct bit_name virtio_bits[] = {
	{ 0, "FS_F_NOTIFICATION" },
	{ 24, "F_NOTIFY_ON_EMPTY" },
	{ 27, "F_ANY_LAYOUT" },
	{ VIRTIO_RING_F_INDIRECT_DESC, "F_INDIRECT_DESC" },
	{ VIRTIO_RING_F_EVENT_IDX, "F_EVENT_IDX" },
	{ 30, "F_PROTOCOL_FEATURES (vhost-user)" },
	{ VIRTIO_F_VERSION_1, "F_VERSION_1" },
	{ VIRTIO_F_ACCESS_PLATFORM, "F_ACCESS_PLATFORM" },
	{ 34, "F_RING_PACKED" },
	{ 35, "F_IN_ORDER" },
	{ 36, "F_ORDER_PLATFORM" },
	{ 37, "F_SR_IOV" },
	{ 38, "F_NOTIFICATION_DATA" },
	{ 39, "F_NOTIF_CONFIG_DATA" },
	{ 40, "F_RING_RESET" },
	{ 41, "F_ADMIN_VQ" },
};

/* Names of the bits that have one, numbers of the others. */
static void print_virtio_bits(const char *name, uint64_t bits)
{
	(void)printf("%s:", name);
	for (unsigned int b = 0; b < 64; b++) {
		const char *text = NULL;

		if (!(bits >> b & 1))
			continue;
		for (size_t i = 0; i < ARRAY_SIZE(virtio_bits); i++)
			if (virtio_bits[i].bit == b)
				text = virtio_bits[i].name;
		if (text)
			(void)printf(" %s", text);
		else
			(void)printf(" bit-%u", b);
	}
	(void)printf("%s\n", bits ? "" : " none");
}

/* The tag is a peer's: what is no plain character is not sent to a terminal. */
static void print_tag(const char *tag)
{
	(void)printf("tag: ");
	for (; *tag; tag++)
		(void)putchar((unsigned char)*tag < ' ' || *tag == 0x7f ? '?' : *tag);
	(void)putchar('\n');
}

void probe_device(const struct probe *p)
{
	struct fs_dev *d = p->dev;
	struct virtio_place place = { .iommu_group = -1, .window_bar = -1 };
	unsigned int devices = 0;

	if (d->t->ops->place)
		d->t->ops->place(d->t, &place);
	probe_line("transport", "%s", d->t->ops->name);
	if (p->o->vhost_user)
		probe_line("socket", "%s", p->o->vhost_user);
	probe_line("pci-address", "%s", place.address[0] ? place.address : "none");
	if (place.iommu_group >= 0)
		probe_line("iommu-group", "%d", place.iommu_group);
	else
		probe_line("iommu-group", "none");
	print_tag(d->tag);
	print_virtio_bits("features-offered", d->offered);
	print_virtio_bits("features-used", d->features);
	(void)d->t->ops->num_queues(d->t, &devices);
	probe_line("queues", "%u", devices);
	probe_line("request-queues", "%u", d->num_request);
	probe_line("queue-size-hiprio", "%u", d->hiprio.ring.size);
	probe_line("queue-size-request", "%u", d->request[0].ring.size);
	probe_line("request-segments", "%u", d->request[0].max_segs);
	if (!d->window.size) {
		probe_line("window", "none");
		return;
	}
	probe_line("window", "%" PRIu64 " bytes", d->window.size);
	probe_line("window-shmid", "0");
	if (place.window_bar >= 0)
		probe_line("window-bar", "%d at %" PRIu64, place.window_bar, place.window_bar_off);
	else
		probe_line("window-bar", "none");
}

void probe_host(const struct probe *p, const struct fuse_init_out *out)
{
	uint64_t left = p->agreed.host_flags;
	const struct fuse_init_flag *flag;
	size_t n;

	probe_line("host-fuse-version", "%u.%u", out->major, out->minor);
	(void)printf("host-fuse-flags:");
	flag = fuse_init_flags(&n);
	for (size_t i = 0; i < n; i++) {
		if (!(left & flag[i].bit))
			continue;
		left &= ~flag[i].bit;
		(void)printf(" %s", flag[i].name);
	}
	if (left)
		(void)printf(" 0x%" PRIx64, left);
	(void)printf("%s\n", p->agreed.host_flags ? "" : " none");
	probe_line("host-max-write", "%u bytes", out->max_write);
	if (p->agreed.host_flags & FUSE_MAX_PAGES)
		probe_line("host-max-pages", "%u", out->max_pages);
	else
		probe_line("host-max-pages", "not said");
	probe_line("host-max-readahead", "%u bytes", out->max_readahead);
	if (p->agreed.host_flags & FUSE_MAP_ALIGNMENT)
		probe_line("host-map-alignment", "%" PRIu64 " bytes", p->agreed.map_alignment);
	else
		probe_line("host-map-alignment", "not said");
}

/* The first line of a file, as a value. */
static void print_file(const char *name, const char *path)
{
	char text[128] = "";
	FILE *f = fopen(path, "re");
	int error = errno;

	if (f && !fgets(text, sizeof(text), f))
		text[0] = '\0';
	if (f)
		(void)fclose(f);
	text[strcspn(text, "\n")] = '\0';
	probe_line(name, "%s", f ? text : error == ENOENT ? "absent" : strerror(error));
}

static int no_dots(const struct dirent *d)
{
	return d->d_name[0] != '.';
}

void probe_kernel(void)
{
	static const char parameters[] = "/sys/module/fuse/parameters";
	struct dirent **list = NULL;
	struct utsname u;
	int n;

	if (uname(&u) == 0)
		probe_line("kernel", "%s %s", u.release, u.machine);
	print_file("kernel-fuse-max-pages-limit", "/proc/sys/fs/fuse/max_pages_limit");
	/* Their names are the kernel's: what it can, as far as it tells without a mount. */
	n = scandir(parameters, &list, no_dots, alphasort);
	if (n < 0)
		probe_line("kernel-fuse-parameters", "absent");
	for (int i = 0; i < n; i++) {
		char name[300], path[320];

		(void)snprintf(name, sizeof(name), "kernel-fuse-%s", list[i]->d_name);
		(void)snprintf(path, sizeof(path), "%s/%s", parameters, list[i]->d_name);
		print_file(name, path);
		free(list[i]);
	}
	free(list);
}
