// SPDX-License-Identifier: MIT
// FUSE_INIT: what this server offers.

#include <errno.h>

#include "base/log.h"
#include "host/fs.h"
#include "wire/fuse_init.h"

/*
 * Flags are granted only when the guest offers them. Not here:
 * EXPORT_SUPPORT, because a nodeid is void once it is forgotten; WRITEBACK_CACHE, because the size
 * and mtime are this side's; HANDLE_KILLPRIV, as V2 tells more; what is about notifications.
 */
static uint64_t fs_init_flags(const struct fuse_server *s)
{
	uint64_t flags = FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_ATOMIC_O_TRUNC | FUSE_MAX_PAGES |
			 FUSE_PARALLEL_DIROPS | FUSE_DONT_MASK | FUSE_ASYNC_DIO |
			 FUSE_HANDLE_KILLPRIV_V2 | FUSE_SETXATTR_EXT | FUSE_INIT_EXT |
			 FUSE_CREATE_SUPP_GROUP | FUSE_HAS_INODE_DAX | FUSE_ALLOW_IDMAP;

	switch (s->cfg.cache) {
	case FUSE_CACHE_NONE:
		/* Without it a file with FOPEN_DIRECT_IO cannot be mapped shared. */
		flags |= FUSE_AUTO_INVAL_DATA | FUSE_DIRECT_IO_ALLOW_MMAP;
		break;
	case FUSE_CACHE_AUTO:
		flags |= FUSE_AUTO_INVAL_DATA | FUSE_DO_READDIRPLUS | FUSE_READDIRPLUS_AUTO;
		break;
	case FUSE_CACHE_ALWAYS:
		flags |= FUSE_CACHE_SYMLINKS | FUSE_DO_READDIRPLUS | FUSE_READDIRPLUS_AUTO;
		break;
	}
	if (s->cfg.window && !s->cfg.quirks.no_map_alignment)
		flags |= FUSE_MAP_ALIGNMENT;
	if (s->cfg.xattr && s->cfg.posix_acl)
		flags |= FUSE_POSIX_ACL;
	if (s->cfg.security_label)
		flags |= FUSE_SECURITY_CTX;
	if (s->cfg.submounts)
		flags |= FUSE_SUBMOUNTS;
	/* Without these the guest's kernel keeps its locks itself. */
	if (s->cfg.posix_lock)
		flags |= FUSE_POSIX_LOCKS;
	if (s->cfg.flock)
		flags |= FUSE_FLOCK_LOCKS;
	return flags;
}

int fs_op_init(struct fs_call *c)
{
	const struct fuse_init_in *in = fs_arg(c);
	size_t in_len = c->req.op->in_size + c->req.rest_len;
	struct fuse_init_out out = { .major = FUSE_KERNEL_VERSION };
	char names[FUSE_INIT_NAMES_SIZE];
	uint64_t offered, granted;

	/* The guest offers again with our version, or knows ours (fs/fuse/inode.c). */
	if (in->major > FUSE_KERNEL_VERSION) {
		out.minor = FUSE_PROTO_MINOR;
		return fs_put(c, &out, sizeof(out));
	}
	/* VIRTIO 1.2, 5.11.6: at least 7.27; the fields up to flags are there since 7.6. */
	if (in->major < FUSE_KERNEL_VERSION || in_len < offsetof(struct fuse_init_in, flags2) ||
	    in->minor < 27)
		return -EPROTO;
	offered = in->flags;
	if (in->flags & FUSE_INIT_EXT && in_len >= offsetof(struct fuse_init_in, unused))
		offered |= (uint64_t)in->flags2 << 32;
	granted = offered & fs_init_flags(c->s);

	out.minor = MIN((uint32_t)FUSE_PROTO_MINOR, in->minor);
	c->s->minor = out.minor;
	out.max_readahead = in->max_readahead;
	out.flags = (uint32_t)granted;
	out.flags2 = granted & FUSE_INIT_EXT ? (uint32_t)(granted >> 32) : 0;
	out.max_background = UINT16_MAX;
	out.congestion_threshold = UINT16_MAX / 4 * 3;
	out.max_write = FS_MAX_WRITE;
	out.time_gran = 1;
	out.max_pages = FS_MAX_PAGES;
	if (granted & FUSE_MAP_ALIGNMENT)
		out.map_alignment = (uint16_t)__builtin_ctz(fs_map_alignment(c->s));
	/* relaxed: readers hold session, which we hold for writing */
	atomic_store_explicit(&c->s->flags, granted, memory_order_relaxed);
	log_dbg("INIT 7.%u, offered: %s", in->minor,
		fuse_init_flag_names(offered, names, sizeof(names)));
	log_dbg("granted: %s", fuse_init_flag_names(granted, names, sizeof(names)));
	return fs_put(c, &out, sizeof(out));
}
