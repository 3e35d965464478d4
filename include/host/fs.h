/* SPDX-License-Identifier: MIT */
/* The inside of the FUSE server: inodes, handles and the operations. Only for src/host/fs_*.c. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include "base/cleanup.h"
#include "base/iov.h"
#include "base/num.h"
#include "host/cred.h"
#include "host/fuse_server.h"
#include "host/idmap.h"
#include "host/lock_range.h"
#include "wire/fuse_req.h"

/*
 * Data goes between file and guest memory as it lies there, so what bounds a request is the chain
 * of descriptors that describes it (DEVQ_MAX_IOV), with room for headers. The guest's kernel and
 * its queue usually allow less.
 */
#define FS_MAX_PAGES 512u
#define FS_MAX_WRITE (FS_MAX_PAGES * 4096u)

/*
 * What a guest can have of locks of fcntl(2): owners, each of which takes a descriptor, and ranges,
 * which take memory of the kernel. More are refused with ENOLCK.
 */
#define FS_MAX_LOCK_OWNERS 1024u
#define FS_MAX_LOCK_RANGES 8192u

/* A request without WRITE's payload is copied into private memory; this bounds it. */
#define FS_MAX_REQUEST (257u * 4096u)

/*
 * Locks, in the order in which they are taken:
 *   session       read: each request, and the closer (fs_idle.c); write: INIT, DESTROY,
 *                 fuse_server_reset()
 *   fs_handle.lock the position of one open directory
 *   (the mapper's locks; they are held while the front end answers)
 *   removing      read: a request that removes a name; write: who closes descriptors of inodes
 *                 (fs_idle.c)
 *   nodes         the tables of inodes, mounts and devices, the lists of idle inodes, the counts
 *                 and the descriptor in each fs_inode; a leaf
 *   files         the handle table and the counts in each fs_handle; a leaf
 *   (a lock owner's own, fs_lock.c)
 *   locks         the table of lock owners and what stands in each; a leaf
 * No leaf is held during a system call on the shared directory.
 */
struct fs_link {
	struct fs_link *prev, *next;
};

struct fuse_server {
	struct fuse_server_config cfg;
	uint64_t max_idle; /* cfg's, or a quirk's */
	int proc_fd;
	pthread_rwlock_t session;
	_Atomic uint64_t flags; /* granted in INIT; 0 before. Written under session (write). */
	bool inited;		/* under session */
	uint32_t minor;		/* of the guest's protocol 7.minor; under session */

	pthread_mutex_t nodes;
	struct idmap by_id;
	struct idmap by_key;
	uint64_t last_id;
	struct fs_inode *root;
	struct idmap mounts;
	struct idmap devices;
	bool tags[32768];    /* tags of devices that are in use (fs_ino.c) */
	struct fs_link idle; /* unused inodes; .next is the one used last */
	struct fs_link bare; /* the same, for inodes without file handles */
	uint64_t n_idle;
	uint64_t n_open; /* inodes with a descriptor */
	uint64_t freed;	 /* since the start */
	uint64_t reopened;
	pthread_rwlock_t removing;
	pthread_t closer; /* see fs_idle.c; the fields below are under nodes */
	pthread_cond_t closer_cond;
	bool closer_runs, closer_waits, closer_ends;
	_Atomic bool full_said;	      /* "out of descriptors" is logged: once is enough */
	_Atomic uint64_t remote_said; /* a bit for each type of file system logged (fs_remote.c) */

	pthread_mutex_t files;
	struct idmap handles;
	uint64_t last_fh;

	pthread_mutex_t locks;
	struct idmap lock_owners;
	unsigned int lock_ranges; /* of all of them, and those that a request may add */

	/* Statistics: single numbers, relaxed. */
	_Atomic uint64_t requests;
	_Atomic uint64_t by_opcode[FUSE_OP_MAX];
	_Atomic uint64_t read_bytes;
	_Atomic uint64_t write_bytes;
	_Atomic uint64_t maps, unmaps; /* SETUPMAPPING and REMOVEMAPPING, for quirks */
	_Atomic uint64_t faults;       /* of these, refused by a quirk */
};

/* An object that inodes share, with a count: a mount or a device. */
struct fs_common {
	struct idmap_entry by_id;
	uint64_t inodes; /* how many refer to it */
};

struct fs_mount {
	struct fs_common common;
	int fd; /* for open_by_handle_at(2); -1: no handles, its inodes need descriptors */
};

struct fs_device {
	struct fs_common common;
	unsigned int tag; /* in inode numbers (fs_ino.c); 0: the shared directory's device */
};

struct fs_inode {
	struct idmap_entry by_id;
	struct idmap_entry by_key;
	uint64_t lookups;   /* what the guest has to forget; at 0 the nodeid is void */
	unsigned int users; /* requests that use it now, and open files */
	dev_t dev;
	ino_t ino;
	struct fs_mount *mount;
	struct fs_device *device;
	struct fs_link idle;	    /* {} when it is in no list */
	uint32_t idle_since;	    /* when it was put in the list, in seconds */
	struct file_handle *handle; /* NULL until it is needed; never changes */
	mode_t type;		    /* S_IFMT part: an inode's type never changes */
	bool nameless;		    /* the guest removed its last name, or made it without one */
	bool kept;		    /* the descriptor must stay open */
	_Atomic bool noatime;	    /* the last OPEN had O_NOATIME; mappings are opened alike */
	int fd; /* O_PATH; -1 when it is cold, which nobody sees who has got it */
};

struct fs_handle {
	struct idmap_entry by_id;
	unsigned int users; /* requests that use it now, and 1 until RELEASE */
	struct fs_inode *inode;
	bool dir;
	int fd;
	pthread_mutex_t lock;
	struct fs_lock_owner *lock_owners; /* whose locks end with it; under locks */
};

/* One request on its way. */
struct fs_call {
	struct fuse_server *s;
	struct fuse_req req;
	struct iov_cursor in;  /* behind the fixed part: WRITE's payload */
	struct iov_cursor out; /* behind fuse_out_header */
	size_t room;	       /* bytes in out at the beginning */
	size_t data;	       /* bytes put into it */
};

/* Operations return 0 or a negative errno; the reply's payload is put with these. */
int fs_put(struct fs_call *c, const void *buf, size_t len); /* -ERANGE: no room, -EFAULT */
int fs_put_entry(struct fs_call *c, struct fs_inode *i, const struct statx *stx);

static inline const void *fs_arg(const struct fs_call *c)
{
	return c->req.arg;
}

static inline uint64_t fs_flags(const struct fs_call *c)
{
	/* relaxed: constant while a request is served (session) */
	return atomic_load_explicit(&c->s->flags, memory_order_relaxed);
}

/* fs_inode.c. An inode that was got is used, and its descriptor open, until it is put. */
int fs_inode_init(struct fuse_server *s);
void fs_inode_drop_all(struct fuse_server *s, bool root_too);
/* -ENOENT: no such nodeid; -ESTALE: the file is gone. */
int fs_inode_get(struct fuse_server *s, uint64_t nodeid, struct fs_inode **ret);
/* Get an inode that is used already. */
void fs_inode_get_again(struct fuse_server *s, struct fs_inode *i);
/* Not with removing held. */
void fs_inode_put(struct fuse_server *s, struct fs_inode *i);
/* No descriptor of another inode is closed. Returns whether there are too many. */
bool fs_inode_put_only(struct fuse_server *s, struct fs_inode *i);
void fs_inode_forget(struct fuse_server *s, uint64_t nodeid, uint64_t n);
/* Find or make the inode of @fd (O_PATH, taken over in any case), get it and count one lookup. */
int fs_inode_enter(struct fuse_server *s, int fd, const struct statx *stx, struct fs_inode **ret);
/* Get the inode of *@fd (O_PATH; may be taken over). *ret is NULL if the guest does not know it. */
int fs_inode_get_same(struct fuse_server *s, int *fd, const struct statx *stx,
		      struct fs_inode **ret);
/* Would a new inode find room? 0 or -ENFILE; asked before one is made on the disk. */
int fs_inode_room(struct fuse_server *s);
/* Look @name up in @dir, get it and count one lookup. */
int fs_inode_lookup(struct fuse_server *s, struct fs_inode *dir, const char *name,
		    struct fs_inode **ret, struct statx *ret_stx);
/* Look @name up in @dir and put the reply. */
int fs_reply_lookup(struct fs_call *c, struct fs_inode *dir, const char *name);
/*
 * Open for data: regular files and directories only. Opens without O_NOATIME where this process has
 * no right to it. Returns a descriptor or a negative errno.
 */
int fs_inode_open(struct fuse_server *s, const struct fs_inode *i, int flags);

struct fs_inode_ref {
	struct fuse_server *s;
	struct fs_inode *i;
};

static inline void fs_inode_cleanup(struct fs_inode_ref *r)
{
	if (r->i)
		fs_inode_put(r->s, r->i);
}

#define _cleanup_inode_ __attribute__((cleanup(fs_inode_cleanup)))

/* The inode of the request, or of @nodeid, into a reference that puts itself. */
static inline int fs_ref(struct fs_call *c, uint64_t nodeid, struct fs_inode_ref *r)
{
	r->s = c->s;
	return fs_inode_get(c->s, nodeid, &r->i);
}

/* As fs_ref() for a directory; -ENOTDIR. */
static inline int fs_ref_dir(struct fs_call *c, uint64_t nodeid, struct fs_inode_ref *r)
{
	int e = fs_ref(c, nodeid, r);

	return e == 0 && !S_ISDIR(r->i->type) ? -ENOTDIR : e;
}

/* fs_idle.c: which inodes have a descriptor. */
void fs_idle_init(struct fuse_server *s);
void fs_inode_use_locked(struct fuse_server *s, struct fs_inode *i);
/* Nobody uses it; it goes to the list, if it belongs there. */
void fs_idle_in_locked(struct fuse_server *s, struct fs_inode *i);
/* It is not in the tables any more. */
void fs_inode_forgotten_locked(struct fuse_server *s, struct fs_inode *i);
/* *@fd is a descriptor of it: take it, if it has none. */
void fs_inode_opened_locked(struct fuse_server *s, struct fs_inode *i, int *fd);
bool fs_idle_many_locked(const struct fuse_server *s);
bool fs_inode_full_locked(const struct fuse_server *s);
/* Open a cold inode that is used. 0 or a negative errno. */
int fs_inode_open_cold(struct fuse_server *s, struct fs_inode *i);
/* Close descriptors if there are too many. Not with removing held. */
void fs_idle_trim(struct fuse_server *s);
/* The thread that closes descriptors of inodes that nobody has used for cfg.idle_seconds. */
void fs_closer_start(struct fuse_server *s);
void fs_closer_stop(struct fuse_server *s);
/* The guest has made @i nameless (unlink, TMPFILE). The caller uses @i. */
void fs_inode_nameless(struct fuse_server *s, struct fs_inode *i);
/*
 * Around a request that removes @name from @dir. fs_removing_begin() gets the inode, *ret_i (NULL:
 * the guest does not know it), and keeps it from becoming cold. Returns 0, or a negative errno:
 * then the caller must not remove the name. fs_removing_end() is to be called in any case;
 * @removed: the name is gone. It puts the inode.
 */
int fs_removing_begin(struct fuse_server *s, const struct fs_inode *dir, const char *name,
		      struct fs_inode **ret_i);
void fs_removing_end(struct fuse_server *s, struct fs_inode *i, bool removed);

/* fs_mount.c */
/* Find the object @id in @map (mounts, devices) and count one more inode. NULL: there is none. */
struct fs_common *fs_common_find(struct fuse_server *s, const struct idmap *map, uint64_t id);
/*
 * Add *n to @map as @id, for one inode. Returns 0 or a negative errno. *ret is *n, which is taken
 * over (*n is NULL then), or an object that another thread has added since.
 */
int fs_common_add_locked(struct idmap *map, uint64_t id, struct fs_common **n,
			 struct fs_common **ret);
/* Count one inode less. true: it was the last; @c is removed from @map, and the caller frees it. */
bool fs_common_put(struct fuse_server *s, struct idmap *map, struct fs_common *c);
/* The mount of @fd (O_PATH), counted as used by one more inode. 0 or a negative errno. */
int fs_mount_get(struct fuse_server *s, int fd, const struct statx *stx, struct fs_mount **ret);
void fs_mount_put(struct fuse_server *s, struct fs_mount *m);
/* Returns 0 and a handle to be freed, or a negative errno. */
int fs_file_handle(int fd, struct file_handle **ret);
bool fs_file_handle_same(const struct file_handle *a, const struct file_handle *b);

/* fs_ino.c */
/* The device of @fd (O_PATH), counted as used by one more inode. 0 or a negative errno. */
int fs_device_get(struct fuse_server *s, int fd, const struct statx *stx, struct fs_device **ret);
void fs_device_put(struct fuse_server *s, struct fs_device *d);
/* The inode number that the guest sees: of @i, or of number @ino on @device. */
uint64_t fs_ino(const struct fs_call *c, const struct fs_inode *i);
uint64_t fs_ino_on(const struct fs_call *c, const struct fs_device *device, uint64_t ino);

static inline dev_t fs_dev(const struct statx *stx)
{
	return makedev(stx->stx_dev_major, stx->stx_dev_minor);
}

static inline uint64_t fs_mount_id(const struct statx *stx)
{
	return stx->stx_mask & STATX_MNT_ID ? stx->stx_mnt_id : 0;
}

/* fs_handle.c */
/* @fd is taken over in any case; @i is used until the handle is gone. */
int fs_handle_new(struct fuse_server *s, struct fs_inode *i, int fd, bool dir, uint64_t *ret_fh);
int fs_handle_get(struct fuse_server *s, uint64_t fh, bool dir, struct fs_handle **ret);
void fs_handle_put(struct fuse_server *s, struct fs_handle *h);
int fs_handle_release(struct fuse_server *s, uint64_t fh, bool dir);
void fs_handle_drop_all(struct fuse_server *s);
/* What a guest may ask of open(2), made safe; -EROFS when it wants to write and must not. */
int fs_open_flags(const struct fuse_server *s, uint32_t guest);
/* @flags: what the file is opened with (open(2)). */
uint32_t fs_open_reply_flags(const struct fs_call *c, bool dir, int flags);

struct fs_handle_ref {
	struct fuse_server *s;
	struct fs_handle *h;
};

static inline void fs_handle_cleanup(struct fs_handle_ref *r)
{
	if (r->h)
		fs_handle_put(r->s, r->h);
}

#define _cleanup_handle_ __attribute__((cleanup(fs_handle_cleanup)))

static inline int fs_href(struct fs_call *c, uint64_t fh, bool dir, struct fs_handle_ref *r)
{
	r->s = c->s;
	return fs_handle_get(c->s, fh, dir, &r->h);
}

/* fs_lock.c: a process has closed the file, or ended; an open file is closed. Their locks end. */
void fs_lock_flush(struct fuse_server *s, uint64_t nodeid, uint64_t owner);
void fs_lock_drop_handle(struct fuse_server *s, struct fs_handle *h);

/* fs_attr.c */
#define FS_STATX_MASK (STATX_BASIC_STATS | STATX_BTIME | STATX_MNT_ID)
int fs_stat(int fd, struct statx *ret); /* of an O_PATH descriptor too */
/* The 32-bit device number of the protocol (the kernel's new_encode_dev()). */
uint32_t fs_encode_dev(uint32_t major, uint32_t minor);
void fs_attr_fill(const struct fs_call *c, const struct fs_inode *i, const struct statx *stx,
		  struct fuse_attr *ret);
void fs_entry_fill(const struct fs_call *c, const struct fs_inode *i, const struct statx *stx,
		   struct fuse_entry_out *ret);
/* Tell the guest that @i, found in @dir, is a mount point, if it wants to know. */
void fs_mark_submount(const struct fs_call *c, const struct fs_inode *dir, const struct fs_inode *i,
		      struct fuse_attr *attr);
/* How long the guest may keep attributes and names, in seconds. */
uint64_t fs_timeout(const struct fuse_server *s);

/* The "N" of /proc/self/fd/N, relative to proc_fd. */
struct fs_proc_name {
	char s[16];
};
struct fs_proc_name fs_proc_name(int fd);

/*
 * fs_setid.c: the caller of this request may not keep set-id bits. Until cred_restore() a write of
 * this thread to the file of @fd (O_PATH or open) clears them.
 */
void fs_kill_setid(const struct fs_call *c, int fd, struct cred *cred);
/* May the caller keep set-id bits? For requests that have no flag for it. */
bool fs_keeps_setid(const struct fs_call *c);

/* fs_ext.c: what stands behind a request that creates something. */
gid_t fs_ext_group(const struct fs_call *c); /* (gid_t)-1: none */
/*
 * Give the new inode of @fd (O_PATH or open) the label that the request says, if it says one.
 * Returns 0 or a negative errno: then the caller removes what it has made.
 */
int fs_ext_label(const struct fs_call *c, int fd);

/* fs_xattr.c: a name for the inode of @fd in the working directory, which this sets. */
int fs_xattr_name(struct fuse_server *s, int fd, struct fs_proc_name *ret);
/* What offsets of mappings must be multiples of; a power of two. */
static inline unsigned int fs_map_alignment(const struct fuse_server *s)
{
	return s->cfg.quirks.map_alignment ? s->cfg.quirks.map_alignment : PAGE_4K;
}

/* fs_dax.c: shall the guest use the window for this inode? @fd: O_PATH. */
bool fs_dax_wanted(struct fuse_server *s, int fd, const struct statx *stx);
/* fs_remote.c: 0, or -EOPNOTSUPP: this file system must not be mapped. Logs each type once. */
int fs_remote_check(struct fuse_server *s, const struct statfs *fs);

typedef int fs_op(struct fs_call *c);

/* The opcodes that have an operation; the table in fuse_server.c is made of the same list. */
/* clang-format off */
#define FS_OPS(X)                                                                                  \
	X(LOOKUP, lookup) X(GETATTR, getattr) X(SETATTR, setattr) X(READLINK, readlink)            \
	X(SYMLINK, symlink) X(MKNOD, mknod) X(MKDIR, mkdir) X(UNLINK, unlink) X(RMDIR, rmdir)      \
	X(RENAME, rename) X(RENAME2, rename2) X(LINK, link) X(OPEN, open) X(READ, read)            \
	X(WRITE, write) X(STATFS, statfs) X(RELEASE, release) X(FSYNC, fsync)                      \
	X(SETXATTR, setxattr) X(GETXATTR, getxattr) X(LISTXATTR, listxattr)                        \
	X(REMOVEXATTR, removexattr) X(FLUSH, flush) X(OPENDIR, opendir) X(READDIR, readdir)        \
	X(READDIRPLUS, readdirplus) X(RELEASEDIR, releasedir) X(FSYNCDIR, fsyncdir)                \
	X(ACCESS, access) X(CREATE, create) X(TMPFILE, tmpfile) X(FALLOCATE, fallocate)            \
	X(LSEEK, lseek) X(COPY_FILE_RANGE, copy_file_range) X(SYNCFS, syncfs) X(STATX, statx)      \
	X(COPY_FILE_RANGE_64, copy_file_range_64)                                                  \
	X(GETLK, getlk) X(SETLK, setlk) X(SETLKW, setlkw)                                          \
	X(FORGET, forget) X(BATCH_FORGET, batch_forget) X(INTERRUPT, interrupt)                    \
	X(SETUPMAPPING, setupmapping) X(REMOVEMAPPING, removemapping)
/* clang-format on */

#define FS_OP_PROTO(code, name) int fs_op_##name(struct fs_call *c);
FS_OPS(FS_OP_PROTO)

int fs_op_init(struct fs_call *c); /* session is held for writing */
