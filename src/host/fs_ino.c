// SPDX-License-Identifier: MIT
// Inode numbers for the guest, if there is more than one file system in the shared directory.

#include <errno.h>
#include <fcntl.h>
#include <linux/ioctl.h>
#include <sys/ioctl.h>
#include <sys/vfs.h>

#include "host/fs.h"
#include "host/seccomp.h"

/*
 * A guest without FUSE_SUBMOUNTS sees one device. Programs tell files apart by device and inode
 * number. find, du, cp and chmod take a directory for a loop if a directory above it has the same
 * number, and take two files with the same number for hard links. But the root of each ext4 is
 * inode 2, and that of each btrfs subvolume 256.
 *
 * So the numbers of the shared directory's own device stay as they are. Those of any other device
 * get the device's tag in bits 48 to 62. Inode numbers of more than 48 bits, which few file systems
 * have, are hashed to 48. Bit 63 stays 0, for programs that take inode numbers as signed.
 *
 * The tag is a hash of the file system's identity, f_fsid (in btrfs each subvolume has its own). So
 * the numbers are the same after a remount in the guest, after a restart of vfsdaxhost, and when
 * disks get other device numbers. If f_fsid is 0 or only the device number (XFS), the hash is that
 * of the file system's UUID (Linux 6.9), or else of the device number. File systems with the same
 * identity, such as copies of an image, get different tags in the order in which the guest finds
 * them.
 */

#define FS_TAG_SHIFT 48
#define FS_TAGS	     ((1u << (63 - FS_TAG_SHIFT)) - 1) /* 1 to FS_TAGS */

struct fs_uuid {
	uint8_t len;
	uint8_t uuid[16];
};
#define FS_UUID_IOCTL _IOR(0x15, 0, struct fs_uuid) /* FS_IOC_GETFSUUID */
static_assert(FS_UUID_IOCTL == HOST_IOCTL_UUID, "the one that the seccomp filter allows");

/* The finalizer of splitmix64. */
static uint64_t fs_hash(uint64_t x)
{
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

static uint64_t fs_ino_tagged(unsigned int tag, uint64_t ino)
{
	if (!tag)
		return ino;
	if (ino >> FS_TAG_SHIFT)
		ino = fs_hash(ino) & ((UINT64_C(1) << FS_TAG_SHIFT) - 1);
	return (uint64_t)tag << FS_TAG_SHIFT | ino;
}

uint64_t fs_ino_on(const struct fs_call *c, const struct fs_device *device, uint64_t ino)
{
	return fs_flags(c) & FUSE_SUBMOUNTS ? ino : fs_ino_tagged(device->tag, ino);
}

uint64_t fs_ino(const struct fs_call *c, const struct fs_inode *i)
{
	return fs_ino_on(c, i->device, i->ino);
}

/* A hash of the file system's UUID. 0: it has none, or this is no directory or regular file. */
static uint64_t fs_uuid_hash(const struct fuse_server *s, int path_fd, const struct statx *stx)
{
	_cleanup_close_ int fd = -1;
	struct fs_uuid u;
	uint64_t h = 0;

	if (!S_ISDIR(stx->stx_mode) && !S_ISREG(stx->stx_mode))
		return 0;
	fd = openat(s->proc_fd, fs_proc_name(path_fd).s,
		    O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0 || ioctl(fd, FS_UUID_IOCTL, &u) < 0)
		return 0;
	for (size_t i = 0; i < MIN((size_t)u.len, sizeof(u.uuid)); i++)
		h = fs_hash(h << 8 | u.uuid[i] | 1);
	return h;
}

/* A hash of the most stable identity that the file system of @fd (O_PATH) has. */
static uint64_t fs_name_hash(const struct fuse_server *s, int fd, const struct statx *stx)
{
	uint64_t dev = fs_encode_dev(stx->stx_dev_major, stx->stx_dev_minor), id = 0;
	struct statfs fs;

	if (fstatfs(fd, &fs) == 0)
		id = (uint32_t)fs.f_fsid.__val[0] | (uint64_t)(uint32_t)fs.f_fsid.__val[1] << 32;
	if (id == 0 || id == dev)
		id = fs_uuid_hash(s, fd, stx);
	return fs_hash(id ? id : dev);
}

static unsigned int fs_tag_new_locked(struct fuse_server *s, uint64_t hash)
{
	for (unsigned int n = 0; n < FS_TAGS; n++) {
		unsigned int tag = 1 + (unsigned int)((hash + n) % FS_TAGS);

		if (!s->tags[tag]) {
			s->tags[tag] = true;
			return tag;
		}
	}
	return 1 + (unsigned int)(hash % FS_TAGS); /* more devices than tags: some share one */
}

static int fs_device_add(struct fuse_server *s, const struct statx *stx, uint64_t hash,
			 struct fs_device *n, struct fs_device **ret)
{
	struct fs_common *unused = &n->common, *c;
	int r;

	scoped_lock(&s->nodes);
	r = fs_common_add_locked(&s->devices, fs_dev(stx), &unused, &c);
	if (r < 0)
		return r;
	*ret = container_of(c, struct fs_device, common);
	if (*ret == n && s->root) /* without a root yet, this is its device: tag 0 */
		n->tag = fs_tag_new_locked(s, hash);
	return 0;
}

int fs_device_get(struct fuse_server *s, int fd, const struct statx *stx, struct fs_device **ret)
{
	struct fs_common *c = fs_common_find(s, &s->devices, fs_dev(stx));
	struct fs_device *n;
	uint64_t hash;
	int r;

	if (c) {
		*ret = container_of(c, struct fs_device, common);
		return 0;
	}
	hash = fs_name_hash(s, fd, stx);
	n = calloc(1, sizeof(*n));
	if (!n)
		return -ENOMEM;
	r = fs_device_add(s, stx, hash, n, ret);
	if (r < 0 || *ret != n)
		free(n);
	return r;
}

static void fs_tag_free(struct fuse_server *s, unsigned int tag)
{
	scoped_lock(&s->nodes);
	s->tags[tag] = false;
}

void fs_device_put(struct fuse_server *s, struct fs_device *d)
{
	if (!fs_common_put(s, &s->devices, &d->common))
		return;
	fs_tag_free(s, d->tag);
	free(d);
}
