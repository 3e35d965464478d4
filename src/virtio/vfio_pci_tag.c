// SPDX-License-Identifier: MIT
// What the kernel's virtiofs driver has: tags and mounts, looked at from outside.

#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_pci.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "hw/sysfs.h"
#include "vfio_pci_priv.h"

/*
 * Since Linux 6.9: /sys/fs/virtiofs/N/tag, and N/device is the virtio device, whose parent is the
 * PCI device (Documentation/ABI/testing/sysfs-fs-virtiofs).
 */
static int tag_from_sysfs(const struct pci_address *addr, char *ret)
{
	_cleanup_closedir_ DIR *dir = opendir("/sys/fs/virtiofs");
	const struct dirent *e;

	if (!dir)
		return -errno;
	while ((e = readdir(dir))) {
		char path[320], text[256];
		_cleanup_free_ char *target = NULL;
		const char *slash;
		int r;

		if (e->d_name[0] == '.')
			continue;
		(void)snprintf(path, sizeof(path), "/sys/fs/virtiofs/%s/device/..", e->d_name);
		target = realpath(path, NULL);
		slash = target ? strrchr(target, '/') : NULL;
		if (!slash || strcmp(slash + 1, addr->text))
			continue;
		(void)snprintf(path, sizeof(path), "/sys/fs/virtiofs/%s/tag", e->d_name);
		r = sysfs_read(path, text, sizeof(text));
		if (r < 0)
			return r;
		if (r > VIRTIO_FS_TAG_SIZE)
			return -EPROTO;
		memcpy(ret, text, (size_t)r + 1);
		return 0;
	}
	return -ENOENT;
}

/*
 * One byte of a BAR through configuration space: VIRTIO 1.2, 4.1.4.9. The kernel's driver does not
 * use this way itself, so it is not disturbed.
 */
static int cfg_read8(int fd, uint8_t pos, const struct virtio_pci_place *place, uint64_t off,
		     uint8_t *ret)
{
	uint32_t where = htole32((uint32_t)(place->off + off)), len = htole32(1);

	if (pwrite(fd, &place->bar, 1, pos + VIRTIO_PCI_CAP_BAR) != 1 ||
	    pwrite(fd, &where, 4, pos + VIRTIO_PCI_CAP_OFFSET) != 4 ||
	    pwrite(fd, &len, 4, pos + VIRTIO_PCI_CAP_LENGTH) != 4 ||
	    pread(fd, ret, 1, pos + (off_t)offsetof(struct virtio_pci_cfg_cap, pci_cfg_data)) != 1)
		return -EIO;
	return 0;
}

static int tag_from_config(const struct pci_address *addr, char *ret)
{
	struct pci_bar bars[PCI_NUM_BARS];
	uint8_t tag[VIRTIO_FS_TAG_SIZE];
	struct virtio_pci_caps caps;
	_cleanup_close_ int fd = -1;
	char path[128];
	int r = virtio_pci_caps_read(addr, NULL, &caps, bars);

	if (r < 0)
		return r;
	if (!caps.pci_cfg || caps.device.len < sizeof(tag))
		return -ENOTSUP;
	(void)snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/config", addr->text);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	for (size_t i = 0; i < sizeof(tag); i++) {
		r = cfg_read8(fd, caps.pci_cfg, &caps.device, i, &tag[i]);
		if (r < 0)
			return r;
	}
	memcpy(ret, tag, sizeof(tag));
	ret[sizeof(tag)] = '\0';
	return 0;
}

int virtio_pci_kernel_tag(const struct pci_address *addr, char ret[VIRTIO_FS_TAG_SIZE + 1])
{
	int r = tag_from_sysfs(addr, ret);

	if (r < 0) {
		r = tag_from_config(addr, ret);
		log_dbg("%s: tag from configuration space: %s", addr->text,
			r < 0 ? strerror(-r) : ret);
	}
	return r;
}

/* The kernel writes space, tab, newline and backslash as \ooo; done in place. */
static void unescape(char *s)
{
	char *out = s;

	while (*s) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' &&
		    s[3] >= '0' && s[3] <= '7') {
			*out++ = (char)((s[1] - '0') * 64 + (s[2] - '0') * 8 + (s[3] - '0'));
			s += 4;
		} else {
			*out++ = *s++;
		}
	}
	*out = '\0';
}

/* One line of mountinfo, proc_pid_mountinfo(5); it is taken apart. */
static bool line_matches(char *line, const char *tag, char *where, size_t where_size)
{
	char *rest = strstr(line, " - "), *type, *source, *save = NULL, *dir = NULL;

	if (!rest)
		return false;
	*rest = '\0';
	type = strtok_r(rest + 3, " \n", &save);
	source = strtok_r(NULL, " \n", &save);
	if (!type || !source || strcmp(type, "virtiofs"))
		return false;
	unescape(source);
	if (tag && strcmp(source, tag))
		return false;
	dir = strtok_r(line, " ", &save);
	for (int i = 0; i < 4 && dir; i++)
		dir = strtok_r(NULL, " ", &save);
	if (dir)
		unescape(dir);
	(void)snprintf(where, where_size, "%s", dir ? dir : "?");
	return true;
}

static int mounted_in(const char *pid, const char *tag, char *where, size_t where_size)
{
	_cleanup_fclose_ FILE *f = NULL;
	_cleanup_free_ char *line = NULL;
	size_t room = 0;
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/%s/mountinfo", pid);
	f = fopen(path, "re");
	if (!f)
		return -errno;
	while (getline(&line, &room, f) > 0) {
		if (line_matches(line, tag, where, where_size))
			return 1;
	}
	return 0;
}

int virtio_pci_mounted(const char *tag, char *where, size_t where_size)
{
	_cleanup_closedir_ DIR *dir = NULL;
	_cleanup_free_ ino_t *seen = NULL;
	size_t num_seen = 0;
	const struct dirent *e;
	int r = mounted_in("self", tag, where, where_size);

	if (r)
		return r;
	/* Containers have mounts of their own: look once into each mount namespace. */
	dir = opendir("/proc");
	if (!dir)
		return -errno;
	while ((e = readdir(dir))) {
		char path[64];
		struct stat st;
		size_t i = 0;
		void *grown;

		if (e->d_name[0] < '1' || e->d_name[0] > '9' || strlen(e->d_name) > 10)
			continue;
		(void)snprintf(path, sizeof(path), "/proc/%.10s/ns/mnt", e->d_name);
		if (stat(path, &st) < 0)
			continue; /* gone meanwhile, or not ours to see */
		while (i < num_seen && seen[i] != st.st_ino)
			i++;
		if (i < num_seen)
			continue;
		grown = realloc(seen, (num_seen + 1) * sizeof(*seen));
		if (!grown)
			return -ENOMEM;
		seen = grown;
		seen[num_seen++] = st.st_ino;
		if (mounted_in(e->d_name, tag, where, where_size) == 1)
			return 1;
	}
	return 0;
}
