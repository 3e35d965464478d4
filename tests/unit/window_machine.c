// SPDX-License-Identifier: MIT
// A machine in a tree of files, with what vfsdax-window looks at.

#include "unit.h"

#include <endian.h>
#include <linux/pci_regs.h>
#include <linux/virtio_pci.h>
#include <sys/stat.h>

#include "hw/sysfs.h"
#include "tree.h"
#include "window_machine.h"

#define ULL(x) ((unsigned long long)(x))

static void put_le32(uint8_t *at, uint32_t v)
{
	v = htole32(v);
	memcpy(at, &v, sizeof(v));
}

/* One capability of VIRTIO 1.2, 4.1.4; returns its end. */
static uint8_t cap(uint8_t *config, uint8_t pos, uint8_t type, uint8_t bar, uint32_t off,
		   uint64_t size, bool last)
{
	uint8_t *c = config + pos, len = 24;

	c[0] = PCI_CAP_ID_VNDR;
	c[1] = last ? 0 : (uint8_t)(pos + len);
	c[2] = len;
	c[3] = type;
	c[4] = bar;
	put_le32(c + 8, off);
	put_le32(c + 12, (uint32_t)size);
	put_le32(c + 20, (uint32_t)(size >> 32));
	return (uint8_t)(pos + len);
}

static void put_config(const char *address, uint64_t size)
{
	uint8_t config[256] = { 0 }, pos = 0x40;
	char path[128];

	config[PCI_STATUS] = PCI_STATUS_CAP_LIST;
	config[PCI_CAPABILITY_LIST] = pos;
	pos = cap(config, pos, VIRTIO_PCI_CAP_COMMON_CFG, 2, 0, 4096, false);
	pos = cap(config, pos, VIRTIO_PCI_CAP_NOTIFY_CFG, 2, 4096, 4096, false);
	pos = cap(config, pos, VIRTIO_PCI_CAP_DEVICE_CFG, 2, 8192, 4096, !size);
	if (size)
		(void)cap(config, pos, VIRTIO_PCI_CAP_SHARED_MEMORY_CFG, 4, 0, size, true);
	(void)snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/config", address);
	tree_put_bytes(path, config, sizeof(config));
}

void machine_device(const char *address, uint64_t window, uint64_t size)
{
	char path[128];

	put_config(address, size);
	(void)snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/vendor", address);
	tree_put(path, "0x1af4\n");
	(void)snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/device", address);
	tree_put(path, "0x105a\n");
	(void)snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/resource", address);
	tree_put(path,
		 "0x0 0x0 0x0\n0x0 0x0 0x0\n0xfe000000 0xfe003fff 0x200\n0x0 0x0 0x0\n"
		 "0x%llx 0x%llx 0x%x\n0x0 0x0 0x0\n",
		 ULL(size ? window : 0), ULL(size ? window + size - 1 : 0), size ? 0x14220c : 0);
	(void)snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/iommu_group", address);
	tree_link(path, "/sys/kernel/iommu_groups/6");
	(void)snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/driver_override", address);
	tree_put(path, "untouched\n");
}

static void pmem_line(char *ret, size_t room, const char *indent, uint64_t start, uint64_t size)
{
	ret[0] = '\0';
	if (size)
		(void)snprintf(ret, room, "%s%08llx-%08llx : Persistent Memory (legacy)\n", indent,
			       ULL(start), ULL(start + size - 1));
}

void machine_iomem(uint64_t window, uint64_t size, uint64_t meta, uint64_t meta_size)
{
	char w[96], m[96];

	pmem_line(w, sizeof(w), "  ", window, size);
	pmem_line(m, sizeof(m), "", meta, meta_size);
	tree_put("/proc/iomem",
		 "00000000-00000fff : Reserved\n"
		 "00001000-0009fbff : System RAM\n"
		 "00100000-1fffffff : System RAM\n"
		 "  01000000-027fffff : Kernel code\n"
		 "%s%s-7ffd9fff : System RAM\n"
		 "  30000000-37ffffff : Crash kernel\n"
		 "7ffda000-7fffffff : Reserved\n"
		 "fe000000-fe003fff : PCI Bus 0000:00\n"
		 "ff00000000-ffffffffff : PCI Bus 0000:00\n%s"
		 "  ff00000000-ff3fffffff : " MACHINE_DEVICE "\n",
		 m, meta_size ? "24000000" : "20000000", w);
}

void machine_driver(const char *name)
{
	char target[128];

	(void)snprintf(target, sizeof(target), "/sys/bus/pci/drivers/%s", name);
	tree_link("/sys/bus/pci/devices/" MACHINE_DEVICE "/driver", target);
}

static void nd_put(unsigned int n, const char *name, const char *text)
{
	char path[160];

	(void)snprintf(path, sizeof(path), "/sys/devices/bus%u/region%u/%s", n, n, name);
	tree_put(path, "%s\n", text);
}

void machine_region(unsigned int n, const char *provider, uint64_t start, uint64_t size,
		    const char *claim)
{
	char path[160], target[160], text[64];

	nd_put(n, "../provider", provider);
	(void)snprintf(text, sizeof(text), "0x%llx", ULL(start));
	nd_put(n, "resource", text);
	(void)snprintf(text, sizeof(text), "%llu", ULL(size));
	nd_put(n, "size", text);
	nd_put(n, "namespace_seed", "");
	(void)snprintf(path, sizeof(path), "namespace%u.0/holder", n);
	nd_put(n, path, claim);
	(void)snprintf(path, sizeof(path), "/sys/bus/nd/devices/region%u", n);
	(void)snprintf(target, sizeof(target), "/sys/devices/bus%u/region%u", n, n);
	tree_link(path, target);
	(void)snprintf(path, sizeof(path), "/sys/bus/nd/devices/namespace%u.0", n);
	(void)snprintf(target, sizeof(target), "/sys/devices/bus%u/region%u/namespace%u.0", n, n,
		       n);
	tree_link(path, target);
}

static void block_put(unsigned int n, const char *name, const char *text)
{
	char path[160];

	(void)snprintf(path, sizeof(path), "/sys/block/pmem%u/%s", n, name);
	tree_put(path, "%s\n", text);
}

void machine_raw(unsigned int n, const void *data, uint64_t size)
{
	char path[160];

	(void)snprintf(path, sizeof(path), "namespace%u.0/driver/bind", n);
	nd_put(n, path, "");
	(void)snprintf(path, sizeof(path), "namespace%u.0/block/pmem%u/dev", n, n);
	nd_put(n, path, "259:0");
	(void)snprintf(path, sizeof(path), "/dev/pmem%u", n);
	tree_put_bytes(path, data, size);
}

void machine_fsdax(unsigned int n, const char *uuid, uint64_t start, uint64_t size)
{
	char path[160], text[64];

	(void)snprintf(path, sizeof(path), "/sys/bus/nd/devices/pfn%u.0/mode", n);
	tree_put(path, "ram\n");
	(void)snprintf(path, sizeof(path), "/sys/bus/nd/devices/pfn%u.0/align", n);
	tree_put(path, "2097152\n");
	(void)snprintf(path, sizeof(path), "/sys/bus/nd/devices/pfn%u.0/uuid", n);
	tree_put(path, "%s\n", uuid);
	(void)snprintf(path, sizeof(path), "/sys/bus/nd/devices/pfn%u.0/driver/name", n);
	tree_put(path, "\n");
	(void)snprintf(path, sizeof(path), "/sys/bus/nd/devices/pfn%u.0/block/pmem%u/x", n, n);
	tree_put(path, "\n");
	tree_put("/sys/block/provider", "e820\n");
	block_put(n, "queue/dax", "1");
	(void)snprintf(text, sizeof(text), "259:%u", n);
	block_put(n, "dev", text);
	(void)snprintf(text, sizeof(text), "0x%llx", ULL(start));
	block_put(n, "device/resource", text);
	(void)snprintf(text, sizeof(text), "%llu", ULL(size / 512));
	block_put(n, "size", text);
	block_put(n, "device/uuid", uuid);
}

static void put_modprobe(void)
{
	char path[256];

	assert_int_equal(sysfs_path("", path, sizeof(path)), 0);
	tree_put("/modprobed", "%s", "");
	/* All modules are known but those of a file of that name. */
	tree_put("/sbin/modprobe",
		 "#!/bin/sh\n[ ! -e %s/unknown-$2 ] || exit 1\n"
		 "[ $1 = -qn ] || echo $2 >>%s/modprobed\n",
		 path, path);
	assert_int_equal(sysfs_path("/sbin/modprobe", path, sizeof(path)), 0);
	assert_int_equal(chmod(path, 0755), 0);
}

const char *machine_modprobed(void)
{
	static char text[256];

	tree_get("/modprobed", text, sizeof(text));
	return text;
}

int machine_begin(void **state)
{
	int r = tree_begin(state);

	if (r)
		return r;
	tree_put("/proc/sys/kernel/osrelease", "6.12.117+deb13-amd64\n");
	tree_put("/proc/cmdline", "quiet memmap=1024M!0xff00000000 memmap=64M!0x20000000\n");
	tree_put("/sys/kernel/security/lockdown", "[none] integrity confidentiality\n");
	tree_put("/run/x", "%s", "");
	machine_device(MACHINE_DEVICE, MACHINE_WINDOW, MACHINE_SIZE);
	machine_driver("virtio-pci");
	machine_iomem(MACHINE_WINDOW, MACHINE_SIZE, MACHINE_META, MACHINE_META_SZ);
	put_modprobe();
	return 0;
}
