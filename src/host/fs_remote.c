// SPDX-License-Identifier: MIT
// File systems whose page cache on this machine is only a copy, which must not be in the window.

#include <errno.h>
#include <linux/magic.h>
#include <sys/vfs.h>

#include "base/log.h"
#include "host/fs.h"

/*
 * What is mapped is the page cache of this machine. On these file systems somebody else, a server
 * or another machine, has the data: the cache is checked when a file is opened or read by a system
 * call, if at all, and never when a mapping is touched. So a guest would read old data for good,
 * and one byte that it writes would bring a whole old page back over what others have written.
 *
 * Cluster file systems are not here that take a page out of all caches and mappings before another
 * machine may write it (GFS2, OCFS2, Lustre, GPFS). An overlayfs is not either, since its layers
 * must not be changed by others anyway; what they lie on it does not tell.
 */
static const struct {
	uint32_t magic;
	const char *name;
} remote[] = {
	{ FUSE_SUPER_MAGIC, "FUSE or virtiofs" },
	{ V9FS_MAGIC, "9p" },
	{ NFS_SUPER_MAGIC, "NFS" },
	{ SMB_SUPER_MAGIC, "SMB" },
	{ SMB2_SUPER_MAGIC, "SMB" },
	{ CIFS_SUPER_MAGIC, "SMB" },
	{ CEPH_SUPER_MAGIC, "Ceph" },
	{ AFS_SUPER_MAGIC, "AFS" },
	{ AFS_FS_MAGIC, "AFS" },
	{ CODA_SUPER_MAGIC, "Coda" },
	{ NCP_SUPER_MAGIC, "NCP" },
	{ HOSTFS_SUPER_MAGIC, "hostfs" },
	{ 0x20030528, "OrangeFS" },
	{ 0x19830326, "BeeGFS" },
	{ 0xaad7aaea, "PanFS" },
	{ 0x786f4256, "vboxsf" },
	{ 0xbacbacbc, "vmhgfs" },
	{ 0x7c7c6673, "prl_fs" },
};

static_assert(ARRAY_SIZE(remote) <= 64, "a bit each in remote_said");

/* Once for each entry: the log is not to tell of each file. */
static bool fs_remote_first(struct fuse_server *s, unsigned int i)
{
	uint64_t bit = UINT64_C(1) << i;

	/* relaxed: only the bit itself counts */
	return !(atomic_fetch_or_explicit(&s->remote_said, bit, memory_order_relaxed) & bit);
}

int fs_remote_check(struct fuse_server *s, const struct statfs *fs)
{
	unsigned int i = 0;

	while (i < ARRAY_SIZE(remote) && remote[i].magic != (uint32_t)fs->f_type)
		i++;
	if (i == ARRAY_SIZE(remote))
		return 0;
	if (!s->cfg.map_remote) {
		if (fs_remote_first(s, i))
			log_info("files on %s go over the virtqueue: what others change would not "
				 "show in the window (see --map-remote)",
				 remote[i].name);
		return -EOPNOTSUPP;
	}
	if (fs_remote_first(s, i))
		log_warn("files on %s are mapped (--map-remote): the guest may see old data, and "
			 "undo what others write",
			 remote[i].name);
	return 0;
}
