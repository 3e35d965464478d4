// SPDX-License-Identifier: MIT
// File systems that must not be mapped, because their page cache on this machine is only a copy.

#include <errno.h>
#include <linux/magic.h>
#include <sys/vfs.h>

#include "base/log.h"
#include "host/fs.h"

/*
 * The window maps the page cache of this machine. On these file systems a server or another machine
 * has the data. The kernel checks whether its cache is old at open(2) or read(2), if at all, but
 * never when a mapping is accessed. So a guest would read old data forever, and when it writes one
 * byte, the whole old page would overwrite what others have written.
 *
 * Not in this list are cluster file systems that remove a page from all caches and mappings before
 * another machine may write it (GFS2, OCFS2, Lustre, GPFS), and overlayfs: nobody may change its
 * layers anyway, and it does not tell which file systems they are on.
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

/* Log once for each type, not for each file. */
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
			log_info("files on %s go over the virtqueue: the window would not show "
				 "what others change (see --map-remote)",
				 remote[i].name);
		return -EOPNOTSUPP;
	}
	if (fs_remote_first(s, i))
		log_warn("files on %s are mapped (--map-remote): the guest may see old data and "
			 "undo what others write",
			 remote[i].name);
	return 0;
}
