// SPDX-License-Identifier: MIT
// The composed file system, mounted: each slot holds one file at a time, again and again.

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/num.h"
#include "pass/compose.h"
#include "pass/slots.h"

/* Spare blocks of each slot: a last block, then the extent tree. */
#define SLOT_SPARE  2u
#define TREE_BLOCKS 1u

struct pass_slots {
	struct ext4_layout l;
	int device; /* written through its page cache */
	int mount;
	pthread_mutex_t lock; /* guards free[] and generation; innermost */
	uint32_t generation;
	uint32_t n; /* free slots */
	uint32_t free[];
};

int pass_slots_layout(struct ext4_layout *ret, uint32_t slots, uint32_t data_blocks)
{
	struct ext4_shape shape = { .slots = slots,
				    .spare_blocks = slots * SLOT_SPARE,
				    .data_blocks = data_blocks };

	return ext4_layout_init(ret, &shape);
}

static int write_blocks(int fd, struct dblk at, const void *buf, size_t len)
{
	ssize_t n = pwrite(fd, buf, len, (off_t)at.v * PASS_BLOCK);

	return n == (ssize_t)len ? 0 : n < 0 ? -errno : -EIO;
}

static int write_empty(const struct pass_slots *s)
{
	size_t len = (size_t)ext4_fs_blocks(&s->l) * PASS_BLOCK;
	_cleanup_free_ void *buf = malloc(len);
	uint8_t uuid[16];
	int r;

	if (!buf)
		return -ENOMEM;
	if (getrandom(uuid, sizeof(uuid), 0) != (ssize_t)sizeof(uuid))
		return -EIO;
	r = ext4_write_fs(&s->l, uuid, time(NULL), buf, len);
	return r < 0 ? r : write_blocks(s->device, DBLK(0), buf, len);
}

void pass_slots_destroy(struct pass_slots *s)
{
	if (!s)
		return;
	close_keep_errno(s->mount);
	close_keep_errno(s->device);
	(void)pthread_mutex_destroy(&s->lock);
	free(s);
}

int pass_slot_take(struct pass_slots *s, struct pass_slot *ret)
{
	scoped_lock(&s->lock);
	if (!s->n)
		return -ENOSPC;
	*ret = (struct pass_slot){ .index = s->free[--s->n], .fd = -1 };
	return 0;
}

static uint32_t next_generation(struct pass_slots *s)
{
	scoped_lock(&s->lock);
	return ++s->generation;
}

struct dblk pass_slot_tail(const struct pass_slots *s, const struct pass_slot *slot)
{
	return DBLK(s->l.spare.v + slot->index * SLOT_SPARE);
}

/* The tree first: a file whose inode is there is complete. */
static int write_slot(struct pass_slots *s, const struct pass_slot *slot,
		      const struct pass_attr *attr, const struct pass_extent *extents, size_t n)
{
	uint8_t inode[PASS_BLOCK], tree[TREE_BLOCKS * PASS_BLOCK] = { 0 };
	struct dblk at = DBLK(pass_slot_tail(s, slot).v + 1);
	int r = ext4_tree_blocks(extents, n);

	if (r > (int)TREE_BLOCKS)
		return -EFBIG;
	if (r >= 0)
		r = ext4_write_slot(&s->l, slot->index, attr, extents, n, inode, at, tree,
				    sizeof(tree));
	if (r > 0)
		r = write_blocks(s->device, at, tree, sizeof(tree));
	return r < 0 ? r
		     : write_blocks(s->device, ext4_slot_inode(&s->l, slot->index), inode,
				    sizeof(inode));
}

static int open_slot(const struct pass_slots *s, struct pass_slot *slot, uint32_t generation)
{
	char name[PASS_NAME_LEN + 1];
	long got = -1; /* the kernel writes an int, whatever the name of the request says */
	int fd;

	pass_slot_name(slot->index, name);
	fd = openat(s->mount, name, O_RDWR | O_CLOEXEC | O_NOATIME);
	if (fd < 0)
		return -errno;
	if (ioctl(fd, FS_IOC_GETVERSION, &got) < 0) {
		close_keep_errno(fd);
		return -errno;
	}
	if ((uint32_t) * (int *)(void *)&got != generation) {
		(void)close(fd);
		return -ESTALE;
	}
	slot->fd = fd;
	return 0;
}

int pass_slot_open(struct pass_slots *s, struct pass_slot *slot, const struct pass_attr *attr,
		   const struct pass_extent *extents, size_t n)
{
	struct pass_attr a = *attr;
	int r;

	a.generation = next_generation(s);
	r = write_slot(s, slot, &a, extents, n);
	return r < 0 ? r : open_slot(s, slot, a.generation);
}

/* A lease for writing is granted to the only open file of an inode. */
static int try_lease(int fd)
{
	if (fcntl(fd, F_SETLEASE, F_WRLCK) < 0)
		return errno == EAGAIN ? -EBUSY : -errno;
	(void)fcntl(fd, F_SETLEASE, F_UNLCK);
	return 0;
}

bool pass_slot_in_use(const struct pass_slot *slot)
{
	return slot->fd >= 0 && try_lease(slot->fd) < 0;
}

static int evict_inode(int fd)
{
	int r = try_lease(fd), flags;

	if (r < 0)
		return r;
	if (ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0)
		return -errno;
	flags ^= FS_DAX_FL;
	return ioctl(fd, FS_IOC_SETFLAGS, &flags) < 0 ? -errno : 0;
}

/*
 * Has the kernel forgotten the inode of the slot, which is closed? Who reads the link
 * /proc/PID/fd/N holds it for a moment, of which a lease does not know. Another inode is written to
 * the slot: it is found only when the old one has gone.
 */
static int check_gone(struct pass_slots *s, struct pass_slot *slot)
{
	struct pass_attr empty = { .mode = S_IFREG | 0600 };
	int r = pass_slot_open(s, slot, &empty, NULL, 0);

	if (r < 0)
		return r == -ESTALE ? -EBUSY : r;
	/* When this one stays, the next pass_slot_open() finds out. */
	(void)evict_inode(slot->fd);
	close_keep_errno(steal_fd(&slot->fd));
	return 0;
}

int pass_slot_evict(struct pass_slots *s, struct pass_slot *slot)
{
	int r = slot->fd < 0 ? 0 : evict_inode(slot->fd);

	if (r == 0 && slot->fd >= 0) {
		slot->closed = true;
		close_keep_errno(steal_fd(&slot->fd));
	}
	if (r == 0 && slot->closed)
		r = check_gone(s, slot);
	if (r < 0) {
		if (r != -EBUSY)
			log_warn_ratelimited("slot %u cannot be evicted: %s", slot->index,
					     strerror(-r));
		return -EBUSY;
	}
	slot->closed = false;
	scoped_lock(&s->lock);
	s->free[s->n++] = slot->index;
	return 0;
}

/*
 * A file that could not be evicted could never be changed by a program again. So find out whether
 * the kernel grants leases (fs.leases-enable) and forgets inodes, before the first file is composed.
 */
static int check_evicting(struct pass_slots *s)
{
	struct pass_attr empty = { .mode = S_IFREG | 0600 };
	struct pass_slot slot;
	int r = 0;

	for (unsigned int i = 0; r == 0 && i < 2; i++) {
		r = pass_slot_take(s, &slot);
		if (r == 0)
			r = pass_slot_open(s, &slot, &empty, NULL, 0);
		if (r == 0 && pass_slot_evict(s, &slot) < 0) {
			close_keep_errno(slot.fd);
			r = -EOPNOTSUPP;
		}
	}
	return r == -ESTALE ? -EOPNOTSUPP : r;
}

int pass_slots_create(const char *device, const struct ext4_layout *l, struct pass_slots **ret)
{
	struct pass_slots *s = calloc(1, sizeof(*s) + l->shape.slots * sizeof(s->free[0]));
	int r;

	if (!s)
		return -ENOMEM;
	s->l = *l;
	s->mount = -1;
	(void)pthread_mutex_init(&s->lock, NULL);
	/* The lowest is taken first. */
	for (uint32_t i = l->shape.slots; i > 0; i--)
		s->free[s->n++] = i - 1;
	s->device = open(device, O_RDWR | O_CLOEXEC);
	r = s->device < 0 ? -errno : write_empty(s);
	if (r == 0) {
		s->mount = compose_mount(device);
		r = MIN(s->mount, 0);
	}
	if (r == 0)
		r = check_evicting(s);
	if (r < 0) {
		pass_slots_destroy(s);
		return r;
	}
	*ret = s;
	return 0;
}
