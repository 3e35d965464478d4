// SPDX-License-Identifier: MIT
// The virtio-fs device: its window, and who has it.

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/num.h"
#include "hw/holder.h"
#include "hw/sysfs.h"
#include "hw/vfio.h"
#include "virtio/pci_caps.h"
#include "virtio/vfio_pci.h"
#include "window/device.h"
#include "window/window.h"

#define DEVICES_MAX 64
#define ALIGNMENT   (2 * MIB) /* of struct pages for memory of devices, on x86-64 */

static int read_window(const struct pci_address *addr, const struct why *why,
		       struct window_device *ret)
{
	struct window_device d = { .addr = *addr };
	struct pci_bar bars[PCI_NUM_BARS];
	struct virtio_pci_caps caps;
	int r = virtio_pci_caps_read(addr, why, &caps, bars);

	if (r == 0)
		r = pci_driver(addr, d.driver);
	if (r < 0)
		return r;
	if (!caps.shm.len)
		return why_set(why, -ENXIO, "the virtio-fs device %s has no DAX window",
			       addr->text);
	d.bar = caps.shm.bar;
	d.window = (struct phys_range){ bars[d.bar].start + caps.shm.off, caps.shm.len };
	if ((d.window.start | d.window.size) % ALIGNMENT || d.window.size <= ALIGNMENT)
		return why_set(why, -ENOTSUP,
			       "the window of %s, %llu bytes at %#llx, does not consist of whole "
			       "2 MiB",
			       addr->text, (unsigned long long)d.window.size,
			       (unsigned long long)d.window.start);
	/* The kernel gives a BAR to one driver as a whole. */
	if (d.window.start != bars[d.bar].start || d.window.size != bars[d.bar].size)
		return why_set(
			why, -ENOTSUP,
			"the window of %s is only a part of BAR %u, which has registers, too",
			addr->text, d.bar);
	*ret = d;
	return 0;
}

static int find_at(const char *address, const struct why *why, struct window_device *ret)
{
	struct pci_address all[DEVICES_MAX], wanted;
	int n;

	if (pci_address_parse(address, &wanted) < 0)
		return why_set(why, -ENODEV,
			       "\"%s\" is no PCI address (one looks like 0000:00:04.0)", address);
	n = pci_find(VIRTIO_PCI_VENDOR, VIRTIO_PCI_ID_FS, all, DEVICES_MAX);
	for (int i = 0; i < n; i++)
		if (!strcmp(all[i].text, wanted.text))
			return read_window(&wanted, why, ret);
	return why_set(why, -ENODEV, "there is no virtio-fs device at %s", wanted.text);
}

int window_device_find(const char *address, const struct why *why, struct window_device *ret)
{
	struct pci_address all[DEVICES_MAX];
	struct window_device d, found = { 0 };
	unsigned int windows = 0;
	int n, r = 0;

	if (address)
		return find_at(address, why, ret);
	n = pci_find(VIRTIO_PCI_VENDOR, VIRTIO_PCI_ID_FS, all, DEVICES_MAX);
	if (n <= 0)
		return why_set(why, -ENODEV, "this machine has no virtio-fs device (PCI %04x:%04x)",
			       VIRTIO_PCI_VENDOR, VIRTIO_PCI_ID_FS);
	for (int i = 0; i < n; i++) {
		int err = read_window(&all[i], why, &d);

		if (err == 0) {
			found = d;
			windows++;
		} else {
			r = err;
		}
	}
	if (windows > 1)
		return why_set(
			why, -ENOTUNIQ,
			"several virtio-fs devices have a window, name one by --device=ADDRESS");
	if (!windows)
		return r;
	*ret = found;
	return 0;
}

/* The file that holds the name of the former driver; an empty one means that there was none. */
static void record_path(const struct window_device *d, char *buf, size_t size)
{
	(void)snprintf(buf, size, WINDOW_RUN_DIR "/%s", d->addr.text);
}

static int record_write(const struct window_device *d, const struct why *why)
{
	char path[128], whole[512], made[520];
	FILE *f;
	bool ok;

	record_path(d, path, sizeof(path));
	/* What is there already is of a run that was killed: that driver is the right one. */
	if (!strcmp(d->driver, "vfio-pci") || sysfs_exists(path))
		return 0;
	(void)sysfs_path(path, whole, sizeof(whole));
	(void)snprintf(made, sizeof(made), "%s.new", whole);
	f = fopen(made, "we");
	ok = f && fprintf(f, "%s\n", d->driver) > 0;
	if (f && fclose(f))
		ok = false;
	if (!ok || rename(made, whole) < 0)
		return why_set(why, -errno, "cannot write %s: %s", whole, strerror(errno));
	return 0;
}

int window_device_take(const struct window_device *d, const struct why *why, int *ret_hold)
{
	struct pci_takeover t;
	unsigned int group;
	int r;

	r = virtio_pci_check_free(&d->addr, why);
	if (r == 0)
		r = vfio_group_of(&d->addr, why, &group);
	if (r == 0)
		r = vfio_load(why);
	if (r == 0)
		r = record_write(d, why);
	if (r == 0)
		r = pci_take_over(&d->addr, "vfio-pci", why, &t);
	return r < 0 ? r : vfio_group_open(&d->addr, why, ret_hold);
}

int window_device_busy(const struct window_device *d, char *text, size_t size)
{
	unsigned int group;
	char path[64];

	if (strcmp(d->driver, "vfio-pci") || pci_iommu_group(&d->addr, &group) < 0)
		return 0;
	(void)snprintf(path, sizeof(path), "/dev/vfio/%u", group);
	return holder_find(path, text, size) == 0;
}

/* The kernel waits at the unbinding until nobody has the device open: @hold is closed before. */
int window_device_give_back(const struct window_device *d, int hold, const struct why *why)
{
	_cleanup_close_ int held = hold;
	struct pci_takeover t = { .addr = d->addr, .taken = true };
	char path[128], whole[512];
	int r;

	record_path(d, path, sizeof(path));
	r = sysfs_read(path, t.former, sizeof(t.former));
	if (r < 0)
		return 0;
	/* Also where a setup was killed before it unbound that driver. */
	r = pci_clear_override(&d->addr);
	if (r < 0)
		return why_set(why, r, "cannot clear driver_override of %s: %s", d->addr.text,
			       strerror(-r));
	if (!strcmp(d->driver, "vfio-pci") || !d->driver[0]) {
		close_keep_errno(steal_fd(&held));
		r = pci_give_back(&t);
		if (r < 0)
			return why_set(why, r,
				       "driver %s does not take %s back, see the kernel's log",
				       t.former, d->addr.text);
	}
	if (!sysfs_path(path, whole, sizeof(whole)))
		(void)unlink(whole);
	return 0;
}
