// SPDX-License-Identifier: MIT
// PCI devices as sysfs shows them.

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "hw/pci.h"
#include "hw/sysfs.h"

#define PCI_DEVICES "/sys/bus/pci/devices"

/* From linux/ioport.h, which is no UAPI header; the numbers in the file "resource" are. */
#define IORESOURCE_MEM	 0x200u
#define IORESOURCE_UNSET 0x20000000u

int pci_address_parse(const char *text, struct pci_address *ret)
{
	unsigned int domain = 0, bus, dev, fn;
	int end = 0;

	if (sscanf(text, "%8x:%2x:%2x.%1x%n", &domain, &bus, &dev, &fn, &end) != 4 || text[end]) {
		domain = 0;
		end = 0;
		if (sscanf(text, "%2x:%2x.%1x%n", &bus, &dev, &fn, &end) != 3 || text[end])
			return -EINVAL;
	}
	if (dev > 31 || fn > 7)
		return -EINVAL;
	(void)snprintf(ret->text, sizeof(ret->text), "%04x:%02x:%02x.%x", domain, bus, dev, fn);
	return 0;
}

static int pci_read_id(const struct pci_address *addr, const char *name, unsigned long *ret)
{
	char path[128], text[32];
	int r;

	(void)snprintf(path, sizeof(path), PCI_DEVICES "/%s/%s", addr->text, name);
	r = sysfs_read(path, text, sizeof(text));
	if (r < 0)
		return r;
	*ret = strtoul(text, NULL, 16);
	return 0;
}

static int pci_address_compare(const void *a, const void *b)
{
	return strcmp(((const struct pci_address *)a)->text, ((const struct pci_address *)b)->text);
}

int pci_find(uint16_t vendor, uint16_t device, struct pci_address *out, unsigned int max)
{
	_cleanup_closedir_ DIR *dir = sysfs_opendir(PCI_DEVICES);
	const struct dirent *e;
	unsigned int n = 0;

	if (!dir)
		return errno == ENOENT ? -ENXIO : -errno;
	while (n < max && (e = readdir(dir))) {
		struct pci_address addr;
		unsigned long v, d;

		if (pci_address_parse(e->d_name, &addr) < 0 || strcmp(addr.text, e->d_name))
			continue;
		if (pci_read_id(&addr, "vendor", &v) < 0 || pci_read_id(&addr, "device", &d) < 0)
			continue;
		if (v == vendor && d == device)
			out[n++] = addr;
	}
	qsort(out, n, sizeof(*out), pci_address_compare);
	return (int)n;
}

int pci_read_config(const struct pci_address *addr, uint8_t buf[PCI_CONFIG_SIZE])
{
	_cleanup_close_ int fd = -1;
	char path[128];
	ssize_t n;

	(void)snprintf(path, sizeof(path), PCI_DEVICES "/%s/config", addr->text);
	fd = sysfs_open(path, O_RDONLY);
	if (fd < 0)
		return fd;
	n = pread(fd, buf, PCI_CONFIG_SIZE, 0);
	return n < 0 ? -errno : (int)n;
}

int pci_bars(const struct pci_address *addr, struct pci_bar ret[PCI_NUM_BARS])
{
	char path[128], text[2048], *line = text;
	int r;

	(void)snprintf(path, sizeof(path), PCI_DEVICES "/%s/resource", addr->text);
	r = sysfs_read(path, text, sizeof(text));
	if (r < 0)
		return r;
	for (unsigned int i = 0; i < PCI_NUM_BARS; i++) {
		unsigned long long first, last, flags;
		int used = 0;

		if (sscanf(line, "%llx %llx %llx%n", &first, &last, &flags, &used) != 3)
			return -EPROTO;
		line += used;
		ret[i] = (struct pci_bar){ 0 };
		if ((flags & IORESOURCE_MEM) && !(flags & IORESOURCE_UNSET) && last > first)
			ret[i] = (struct pci_bar){ .start = first, .size = last - first + 1 };
	}
	return 0;
}

static int pci_link_name(const struct pci_address *addr, const char *name, char *ret, size_t size)
{
	char path[128];

	(void)snprintf(path, sizeof(path), PCI_DEVICES "/%s/%s", addr->text, name);
	return sysfs_link(path, ret, size);
}

int pci_driver(const struct pci_address *addr, char ret[PCI_DRIVER_MAX])
{
	int r = pci_link_name(addr, "driver", ret, PCI_DRIVER_MAX);

	if (r == -ENOENT) {
		ret[0] = '\0';
		return 0;
	}
	return r;
}

int pci_iommu_group(const struct pci_address *addr, unsigned int *ret)
{
	char name[16], *end;
	unsigned long v;
	int r = pci_link_name(addr, "iommu_group", name, sizeof(name));

	if (r < 0)
		return r == -ENOENT ? -ENXIO : r;
	v = strtoul(name, &end, 10);
	if (end == name || *end || v > UINT32_MAX)
		return -EPROTO;
	*ret = (unsigned int)v;
	return 0;
}
