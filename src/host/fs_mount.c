// SPDX-License-Identifier: MIT
// Mounts in the shared directory, and file handles of what lies on them.

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/vfs.h>

#include "base/log.h"
#include "host/fs.h"

/*
 * The guest goes from name to name, so the first inode of a mount that it meets is the mount's root
 * (or the shared directory). That is opened once, for open_by_handle_at(2) does not take an O_PATH
 * descriptor, and stays open until the guest has forgotten all inodes of the mount: so long its id
 * stays its own, and the host cannot unmount it, as with an O_PATH descriptor of each.
 */

int fs_file_handle(int fd, struct file_handle **ret)
{
	_Alignas(struct file_handle) char buf[sizeof(struct file_handle) + MAX_HANDLE_SZ];
	struct file_handle *h = (void *)buf;
	int mount_id;

	h->handle_bytes = MAX_HANDLE_SZ;
	if (name_to_handle_at(fd, "", h, &mount_id, AT_EMPTY_PATH) < 0)
		return -errno;
	*ret = malloc(sizeof(*h) + h->handle_bytes);
	if (!*ret)
		return -ENOMEM;
	memcpy(*ret, h, sizeof(*h) + h->handle_bytes);
	return 0;
}

bool fs_file_handle_same(const struct file_handle *a, const struct file_handle *b)
{
	return a->handle_type == b->handle_type && a->handle_bytes == b->handle_bytes &&
	       !memcmp(a->f_handle, b->f_handle, a->handle_bytes);
}

/*
 * FUSE and FAT number their inodes anew when the kernel has dropped them from its memory, and then
 * know nothing of a handle any more.
 */
static bool fs_handles_last(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) == 0 && fs.f_type != FUSE_SUPER_MAGIC &&
	       fs.f_type != MSDOS_SUPER_MAGIC;
}

/* Returns a descriptor for open_by_handle_at(2), with which that works, or a negative errno. */
static int fs_mount_open(const struct fuse_server *s, int path_fd, const struct statx *stx)
{
	_cleanup_close_ int fd = -1, again = -1;
	_cleanup_free_ struct file_handle *h = NULL;
	int r;

	if (s->cfg.file_handles == FUSE_FILE_HANDLES_NEVER || !(stx->stx_mask & STATX_MNT_ID) ||
	    !(S_ISDIR(stx->stx_mode) || S_ISREG(stx->stx_mode)) || !fs_handles_last(path_fd))
		return -EOPNOTSUPP;
	r = fs_file_handle(path_fd, &h);
	if (r < 0)
		return r;
	fd = openat(s->proc_fd, fs_proc_name(path_fd).s,
		    O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	again = open_by_handle_at(fd, h, O_PATH | O_CLOEXEC);
	return again < 0 ? -errno : steal_fd(&fd);
}

static struct fs_common *fs_common_find_locked(const struct idmap *map, uint64_t id)
{
	struct idmap_entry *e = idmap_find(map, id);
	struct fs_common *c = e ? container_of(e, struct fs_common, by_id) : NULL;

	if (c)
		c->inodes++;
	return c;
}

struct fs_common *fs_common_find(struct fuse_server *s, const struct idmap *map, uint64_t id)
{
	scoped_lock(&s->nodes);
	return fs_common_find_locked(map, id);
}

int fs_common_add_locked(struct idmap *map, uint64_t id, struct fs_common **n,
			 struct fs_common **ret)
{
	int r;

	*ret = fs_common_find_locked(map, id);
	if (*ret)
		return 0;
	r = idmap_add(map, &(*n)->by_id, id);
	if (r < 0)
		return r;
	(*n)->inodes = 1;
	*ret = steal_ptr(*n);
	return 0;
}

bool fs_common_put(struct fuse_server *s, struct idmap *map, struct fs_common *c)
{
	scoped_lock(&s->nodes);
	if (--c->inodes)
		return false;
	idmap_remove(map, &c->by_id);
	return true;
}

static void fs_mount_free(struct fs_mount *m)
{
	close_keep_errno(m->fd);
	free(m);
}

static int fs_mount_add(struct fuse_server *s, uint64_t id, struct fs_common **n,
			struct fs_common **ret)
{
	scoped_lock(&s->nodes);
	return fs_common_add_locked(&s->mounts, id, n, ret);
}

int fs_mount_get(struct fuse_server *s, int path_fd, const struct statx *stx, struct fs_mount **ret)
{
	uint64_t id = fs_mount_id(stx);
	struct fs_common *c = fs_common_find(s, &s->mounts, id), *unused;
	struct fs_mount *n;
	int r, fd;

	if (c) {
		*ret = container_of(c, struct fs_mount, common);
		return 0;
	}
	fd = fs_mount_open(s, path_fd, stx);
	log_dbg("mount %llu: inodes are kept by %s: %s", (unsigned long long)id,
		fd < 0 ? "descriptors" : "handles", fd < 0 ? strerror(-fd) : "they can be opened");
	if (fd < 0 && s->cfg.file_handles == FUSE_FILE_HANDLES_MANDATORY)
		return fd;
	n = calloc(1, sizeof(*n));
	if (!n) {
		close_keep_errno(fd);
		return -ENOMEM;
	}
	n->fd = fd < 0 ? -1 : fd;
	unused = &n->common;
	r = fs_mount_add(s, id, &unused, &c);
	if (unused)
		fs_mount_free(n);
	if (r == 0)
		*ret = container_of(c, struct fs_mount, common);
	return r;
}

void fs_mount_put(struct fuse_server *s, struct fs_mount *m)
{
	if (fs_common_put(s, &s->mounts, &m->common))
		fs_mount_free(m);
}
