// SPDX-License-Identifier: MIT
// A block device put together of pieces of others, and a mount of it that nobody sees.

#include <errno.h>
#include <fcntl.h>
#include <libdevmapper.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "pass/compose.h"

#define SECTOR 512u

/* libdevmapper prints by itself otherwise. */
static void dm_quiet(int level, const char *file, int line, int dm_errno, const char *f, ...)
{
	(void)level, (void)file, (void)line, (void)dm_errno, (void)f;
}

static struct dm_task *task_new(int type, const char *name)
{
	struct dm_task *t;

	dm_log_with_errno_init(dm_quiet);
	/* The kernel's devtmpfs makes /dev/dm-N; nodes by name, and udev, are of no use here. */
	(void)dm_udev_set_sync_support(0);
	t = dm_task_create(type);
	if (t && name && !dm_task_set_name(t, name)) {
		dm_task_destroy(t);
		return NULL;
	}
	return t;
}

/* Run it and free it. */
static int task_run(struct dm_task *t, struct dm_info *ret_info)
{
	int r = 0;

	if (!t)
		return -ENOMEM;
	if (!dm_task_run(t))
		r = dm_task_get_errno(t) ? -dm_task_get_errno(t) : -EIO;
	else if (ret_info && !dm_task_get_info(t, ret_info))
		r = -EIO;
	dm_task_destroy(t);
	return r;
}

static struct dm_task *create_task(const char *name, const struct compose_piece *pieces,
				   unsigned int n)
{
	struct dm_task *t = task_new(DM_DEVICE_CREATE, name);
	uint64_t at = 0;
	bool ok = t;

	for (unsigned int i = 0; ok && i < n; i++) {
		const struct compose_piece *p = &pieces[i];
		char params[64];

		(void)snprintf(params, sizeof(params), "%u:%u %llu", p->major, p->minor,
			       (unsigned long long)(p->from / SECTOR));
		ok = dm_task_add_target(t, at, p->len / SECTOR, "linear", params);
		at += p->len / SECTOR;
	}
	if (ok || !t)
		return t;
	dm_task_destroy(t);
	return NULL;
}

int compose_device(const char *name, const struct compose_piece *pieces, unsigned int n,
		   char ret_path[COMPOSE_PATH_MAX])
{
	struct dm_info info;
	int r = task_run(create_task(name, pieces, n), &info);

	if (r < 0)
		return r;
	(void)snprintf(ret_path, COMPOSE_PATH_MAX, "/dev/dm-%u", info.minor);
	return 0;
}

int compose_device_remove(const char *name)
{
	return task_run(task_new(DM_DEVICE_REMOVE, name), NULL);
}

/* Without flushing: what is to be written back cannot be written any more. */
static int suspend(const char *name)
{
	struct dm_task *t = task_new(DM_DEVICE_SUSPEND, name);

	if (t && (!dm_task_no_flush(t) || !dm_task_skip_lockfs(t))) {
		dm_task_destroy(t);
		return -ENOMEM;
	}
	return task_run(t, NULL);
}

int compose_device_fail(const char *name, uint64_t size)
{
	struct dm_task *t = task_new(DM_DEVICE_RELOAD, name);
	int r, resumed;

	if (t && !dm_task_add_target(t, 0, size / SECTOR, "error", "")) {
		dm_task_destroy(t);
		return -ENOMEM;
	}
	r = task_run(t, NULL);
	if (r < 0)
		return r;
	r = suspend(name);
	/* Resuming changes the table; in any case the device must not stay suspended. */
	resumed = task_run(task_new(DM_DEVICE_RESUME, name), NULL);
	return r < 0 ? r : resumed;
}

int compose_remove_all(const char *prefix)
{
	struct dm_task *t = task_new(DM_DEVICE_LIST, NULL);
	const struct dm_names *d;
	int r = 0;

	if (!t)
		return -ENOMEM;
	d = dm_task_run(t) ? dm_task_get_names(t) : NULL;
	while (d && d->dev) {
		if (!strncmp(d->name, prefix, strlen(prefix)) && compose_device_remove(d->name) < 0)
			r = -EBUSY;
		d = d->next ? (const struct dm_names *)(const void *)((const char *)d + d->next)
			    : NULL;
	}
	dm_task_destroy(t);
	return r;
}

static const struct {
	const char *key, *value;
} ext4_options[] = {
	/* Of each inode, so that changing its flag evicts it (pass/slots.h). */
	{ "dax", "inode" },
	/* Inodes are written after the mount, when they are first used: none may be read ahead. */
	{ "inode_readahead_blks", "0" },
	{ "errors", "continue" },
};

int compose_mount(const char *path)
{
	_cleanup_close_ int fs = fsopen("ext4", FSOPEN_CLOEXEC);
	int fd;

	if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "source", path, 0) < 0)
		return -errno;
	for (size_t i = 0; i < sizeof(ext4_options) / sizeof(ext4_options[0]); i++)
		if (fsconfig(fs, FSCONFIG_SET_STRING, ext4_options[i].key, ext4_options[i].value,
			     0) < 0)
			return -errno;
	if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0) {
		int r = -errno;
		char line[256];
		ssize_t n = read(fs, line, sizeof(line) - 1);

		if (n > 0) {
			line[n] = '\0';
			log_dbg("mounting %s: %s", path, line);
		}
		return r;
	}
	fd = fsmount(fs, FSMOUNT_CLOEXEC,
		     MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOATIME);
	return fd < 0 ? -errno : fd;
}
