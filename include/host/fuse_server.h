/* SPDX-License-Identifier: MIT */
/* A FUSE server that shares one directory. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/uio.h>

#include "host/mapper.h"
#include "host/quirk.h"

/*
 * The server answers requests of one FUSE session (<linux/fuse.h>) out of one directory of this
 * machine. It knows nothing of virtio or vhost-user: requests are iovecs, and the DAX window is
 * reached through a struct mapper.
 *
 * What it holds to:
 * - One inode has one nodeid however often and under whatever name it is looked up, until all
 *   lookups are forgotten. Nodeids and file handles are numbers that are never used twice in the
 *   life of the server; each is looked up and checked in each request.
 * - Nothing outside of the directory is reachable: names are single components, symbolic links
 *   are never followed, "." and ".." are refused, and only regular files and directories are
 *   opened.
 * - An inode has an open descriptor while it is used. Of the unused ones those that were used last
 *   keep theirs, for a limited time (max_idle, idle_seconds); others are opened again by file
 *   handle, where that works. A file that somebody else has removed on this machine then gives
 *   -ESTALE, and its disk blocks are free; this holds without handles, too. What the guest itself
 *   has removed it can still use.
 * - With max_open descriptors in use, an inode that the guest does not know yet gets -ENFILE; those
 *   it knows can still be opened, and directories listed. New ones work again when the guest
 *   forgets some.
 * - What a caller creates is made with the caller's user and group id, when this process may change
 *   its own (that is, as root); the guest's kernel has checked the caller's permissions.
 */

enum fuse_cache {
	FUSE_CACHE_NONE,   /* nothing is kept: timeouts of 0, FOPEN_DIRECT_IO */
	FUSE_CACHE_AUTO,   /* attributes for 1 s, data as long as mtime and size do not change */
	FUSE_CACHE_ALWAYS, /* everything for a day: only this guest changes the directory */
};

/* Which files are marked with FUSE_ATTR_DAX, so that a guest with dax=inode uses the window for
 * them. */
enum fuse_inode_dax {
	FUSE_INODE_DAX_ATTR, /* those that have the DAX attribute here (statx(2), STATX_ATTR_DAX) */
	FUSE_INODE_DAX_ALL,
	FUSE_INODE_DAX_NONE,
	FUSE_INODE_DAX_XATTR, /* those whose FUSE_DAX_XATTR is there and not "0" */
	FUSE_INODE_DAX_SIZE,  /* those of at least so many bytes */
};

/* Is an inode that is not used remembered by its file handle (name_to_handle_at(2))? */
enum fuse_file_handles {
	FUSE_FILE_HANDLES_NEVER,     /* by a descriptor, all the time */
	FUSE_FILE_HANDLES_PREFER,    /* by its handle where the file system and privileges allow */
	FUSE_FILE_HANDLES_MANDATORY, /* elsewhere it cannot be looked up: -EOPNOTSUPP, -EPERM */
};

#define FUSE_DAX_XATTR "user.virtiofs.dax"

struct fuse_server_config {
	int root_fd; /* the directory, O_PATH or readable; dup'ed */
	int proc_fd; /* /proc/self/fd, O_PATH; dup'ed; -1: is opened */
	enum fuse_cache cache;
	bool readonly;
	bool xattr;
	bool posix_acl;	     /* the guest may check permissions by ACLs; needs xattr */
	bool security_label; /* what the guest creates gets the label that it says */
	bool posix_lock;     /* locks of fcntl(2) are kept here, not in the guest */
	bool flock;	     /* those of flock(2) */
	bool submounts;	     /* the guest may show mount points in the directory as such */
	enum fuse_file_handles file_handles;
	uint64_t max_open;     /* descriptors of inodes; 0: as many as the process may open */
	uint64_t max_idle;     /* of these, for inodes that nobody uses; with file handles */
	uint32_t idle_seconds; /* how long an unused inode keeps its descriptor; 0: no limit */
	uint64_t window;       /* bytes; 0: no DAX */
	struct mapper *mapper; /* outlives the server; NULL when window is 0 */
	bool map_remote;       /* also map files on FUSE, NFS etc., which can be stale */
	enum fuse_inode_dax inode_dax;
	uint64_t inode_dax_size; /* of FUSE_INODE_DAX_SIZE */
	struct host_quirks quirks;
};

struct fuse_server;

/*
 * Returns 0 or a negative errno; -ENOTDIR when the root is none; -EOPNOTSUPP or -EPERM when it has
 * no handles and they are mandatory.
 */
int fuse_server_new(const struct fuse_server_config *cfg, struct fuse_server **ret);
void fuse_server_free(struct fuse_server *s);

/*
 * fuse_server_handle() - serve one request. Blocks as long as the file system does.
 * @rd: the request, @wr: room for the reply; both may be memory that a peer changes or takes away.
 * Returns how many bytes of @wr were written; 0 when there is no reply to this request, or no room.
 * Any number of threads. A thread that calls it gets its own file mode creation mask
 * and working directory (unshare(CLONE_FS)) and, as root, no supplementary groups.
 */
size_t fuse_server_handle(struct fuse_server *s, const struct iovec *rd, unsigned int n_rd,
			  const struct iovec *wr, unsigned int n_wr);

/*
 * fuse_server_reset() - end the session: all nodes but the root and all file handles are dropped.
 * @unmap: what the session mapped is to be removed through the mapper; false when the mapper's peer
 * is gone. Waits for requests that are being served.
 */
void fuse_server_reset(struct fuse_server *s, bool unmap);

/* Counted since fuse_server_new(). */
struct fuse_server_stats {
	uint64_t requests;
	uint64_t by_opcode[64];
	uint64_t read_bytes;  /* data of READ replies */
	uint64_t write_bytes; /* data of WRITE requests */
	uint64_t nodes;	      /* now, the root included */
	uint64_t open_nodes;  /* of these, with a descriptor */
	uint64_t reopened;    /* nodes that got one again by file handle */
	uint64_t handles;     /* now */
	uint64_t lock_owners; /* now: who has locks of fcntl(2) here */
	uint64_t lock_ranges; /* now: what they have locked */
	uint64_t faults;      /* requests refused by a quirk */
};

void fuse_server_stats(struct fuse_server *s, struct fuse_server_stats *ret);
