// SPDX-License-Identifier: MIT
// VFIO: container, group, device, interrupt.

#include <errno.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "hw/holder.h"
#include "hw/modprobe.h"
#include "hw/vfio.h"
#include "vfio_priv.h"

#define VFIO_CONTAINER "/dev/vfio/vfio"

int vfio_load(const struct why *why)
{
	if (pci_driver_loaded("vfio-pci"))
		return 0;
	(void)modprobe("vfio-pci");
	if (pci_driver_loaded("vfio-pci"))
		return 0;
	return why_set(why, -ENXIO,
		       "the kernel has no driver vfio-pci, and modprobe could not load it");
}

int vfio_group_of(const struct pci_address *addr, const struct why *why, unsigned int *ret)
{
	int r = pci_iommu_group(addr, ret);

	if (r < 0)
		return why_set(why, r,
			       "%s is in no IOMMU group: VFIO needs an IOMMU in this machine that "
			       "the kernel uses (for example the option intel_iommu=on)",
			       addr->text);
	return 0;
}

int vfio_group_open(const struct pci_address *addr, const struct why *why, int *ret_group)
{
	struct vfio_group_status status = { .argsz = sizeof(status) };
	_cleanup_close_ int fd = -1;
	unsigned int group;
	char path[64], holder[64];
	int r = vfio_group_of(addr, why, &group);

	if (r < 0)
		return r;
	(void)snprintf(path, sizeof(path), "/dev/vfio/%u", group);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		r = -errno;
		if (r == -EBUSY) {
			(void)holder_find(path, holder, sizeof(holder));
			return why_set(why, r, "%s drives %s already (%s is busy)", holder,
				       addr->text, path);
		}
		if (r != -ENOENT)
			return why_set(why, r, "cannot open %s: %s", path, strerror(-r));
		(void)snprintf(path, sizeof(path), "/dev/vfio/noiommu-%u", group);
		if (!access(path, F_OK))
			return why_set(why, -ENXIO,
				       "%s has no IOMMU, and VFIO without IOMMU is not supported",
				       addr->text);
		return why_set(why, -ENXIO, "/dev/vfio/%u does not exist", group);
	}
	if (ioctl(fd, VFIO_GROUP_GET_STATUS, &status) < 0)
		return why_set(why, -errno, "%s: status: %s", path, strerror(errno));
	if (!(status.flags & VFIO_GROUP_FLAGS_VIABLE))
		return why_set(why, -EBUSY,
			       "the kernel drives another device of IOMMU group %u, which %s is in "
			       "(see /sys/kernel/iommu_groups/%u/devices)",
			       group, addr->text, group);
	*ret_group = steal_fd(&fd);
	return 0;
}

static int vfio_open_container(const struct why *why, int *ret)
{
	_cleanup_close_ int fd = open(VFIO_CONTAINER, O_RDWR | O_CLOEXEC);
	int r;

	if (fd < 0) {
		r = errno == ENOENT || errno == ENODEV ? -ENXIO : -errno;
		return why_set(why, r, "cannot open " VFIO_CONTAINER ": %s", strerror(errno));
	}
	if (ioctl(fd, VFIO_GET_API_VERSION) != VFIO_API_VERSION)
		return why_set(why, -ENXIO, "this kernel's VFIO is of another version");
	if (ioctl(fd, VFIO_CHECK_EXTENSION, VFIO_TYPE1v2_IOMMU) <= 0)
		return why_set(why, -ENXIO,
			       "this kernel's VFIO has no type 1 IOMMU "
			       "(module vfio_iommu_type1)");
	*ret = steal_fd(&fd);
	return 0;
}

static int vfio_join(struct vfio_device *d, const struct why *why)
{
	int r;

	if (ioctl(d->group, VFIO_GROUP_SET_CONTAINER, &d->container) < 0)
		return why_set(why, -errno, "cannot use the IOMMU group of %s: %s", d->addr.text,
			       strerror(errno));
	if (ioctl(d->container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) < 0) {
		r = -errno;
		if (r == -EPERM)
			return why_set(why, r,
				       "this IOMMU does not remap interrupts; if the machine is "
				       "to be trusted with that, load vfio_iommu_type1 with "
				       "allow_unsafe_interrupts=1");
		return why_set(why, r, "cannot use the IOMMU of %s: %s", d->addr.text,
			       strerror(-r));
	}
	d->fd = ioctl(d->group, VFIO_GROUP_GET_DEVICE_FD, d->addr.text);
	if (d->fd < 0)
		return why_set(why, -errno, "cannot get %s from its group: %s", d->addr.text,
			       strerror(errno));
	return 0;
}

/* Memory decoding for the BARs, bus mastering for DMA and MSI-X. */
static int vfio_enable(struct vfio_device *d, const struct why *why)
{
	const uint16_t want = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
	off_t off = (off_t)(d->config_offset + PCI_COMMAND);
	uint16_t cmd;

	if (d->config_size >= PCI_STD_HEADER_SIZEOF &&
	    pread(d->fd, &cmd, sizeof(cmd), off) == sizeof(cmd)) {
		cmd = htole16(le16toh(cmd) | want);
		if (pwrite(d->fd, &cmd, sizeof(cmd), off) == sizeof(cmd) &&
		    pread(d->fd, &cmd, sizeof(cmd), off) == sizeof(cmd) &&
		    (le16toh(cmd) & want) == want)
			return 0;
	}
	return why_set(why, -EIO, "cannot switch on memory and DMA of %s", d->addr.text);
}

int vfio_open(const struct pci_address *addr, const struct why *why, struct vfio_device **ret)
{
	struct vfio_device_info info = { .argsz = sizeof(info) };
	struct vfio_device *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return -ENOMEM;
	*d = (struct vfio_device){ .addr = *addr, .container = -1, .group = -1, .fd = -1 };
	r = vfio_open_container(why, &d->container);
	if (r < 0)
		goto fail;
	r = vfio_group_open(addr, why, &d->group);
	if (r < 0)
		goto fail;
	r = vfio_join(d, why);
	if (r < 0)
		goto fail;
	if (ioctl(d->fd, VFIO_DEVICE_GET_INFO, &info) < 0 ||
	    !(info.flags & VFIO_DEVICE_FLAGS_PCI)) {
		r = why_set(why, -EIO, "VFIO does not treat %s as a PCI device", addr->text);
		goto fail;
	}
	d->can_reset = info.flags & VFIO_DEVICE_FLAGS_RESET;
	r = vfio_read_regions(d, info.num_regions);
	if (r < 0) {
		(void)why_set(why, r, "cannot read the BARs of %s: %s", addr->text, strerror(-r));
		goto fail;
	}
	r = vfio_enable(d, why);
	if (r < 0)
		goto fail;
	*ret = d;
	return 0;
fail:
	vfio_close(d);
	return r;
}

void vfio_close(struct vfio_device *d)
{
	if (!d)
		return;
	close_keep_errno(d->fd);
	/* Without a device in use the group leaves the container when both are closed. */
	close_keep_errno(d->group);
	close_keep_errno(d->container);
	free(d);
}

int vfio_reset(struct vfio_device *d)
{
	if (!d->can_reset)
		return -ENOTSUP;
	return ioctl(d->fd, VFIO_DEVICE_RESET) < 0 ? -errno : 0;
}

int vfio_config_read(struct vfio_device *d, uint8_t buf[PCI_CONFIG_SIZE])
{
	ssize_t n;

	if (d->config_size < PCI_CONFIG_SIZE)
		return -EIO;
	n = pread(d->fd, buf, PCI_CONFIG_SIZE, (off_t)d->config_offset);
	if (n < 0)
		return -errno;
	return n == PCI_CONFIG_SIZE ? 0 : -EIO;
}

static int vfio_set_msix(struct vfio_device *d, unsigned int count, int eventfd)
{
	union {
		struct vfio_irq_set set;
		char room[sizeof(struct vfio_irq_set) + sizeof(int)];
	} u = { .set = {
			.argsz = sizeof(struct vfio_irq_set) + count * (uint32_t)sizeof(int),
			.flags = VFIO_IRQ_SET_ACTION_TRIGGER |
				 (count ? VFIO_IRQ_SET_DATA_EVENTFD : VFIO_IRQ_SET_DATA_NONE),
			.index = VFIO_PCI_MSIX_IRQ_INDEX,
			.count = count,
		} };

	if (count)
		memcpy(u.set.data, &eventfd, sizeof(eventfd));
	return ioctl(d->fd, VFIO_DEVICE_SET_IRQS, &u.set) < 0 ? -errno : 0;
}

int vfio_irq_msix(struct vfio_device *d, int eventfd)
{
	struct vfio_irq_info info = { .argsz = sizeof(info), .index = VFIO_PCI_MSIX_IRQ_INDEX };

	if (ioctl(d->fd, VFIO_DEVICE_GET_IRQ_INFO, &info) < 0)
		return -errno;
	if (!info.count || !(info.flags & VFIO_IRQ_INFO_EVENTFD))
		return -ENOTSUP;
	return vfio_set_msix(d, 1, eventfd);
}

void vfio_irq_off(struct vfio_device *d)
{
	(void)vfio_set_msix(d, 0, -1);
}
