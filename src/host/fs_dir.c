// SPDX-License-Identifier: MIT
// Directories: READDIR and READDIRPLUS.

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "host/fs.h"

/*
 * The offset of an entry is the position that the file system gives it (d_off), so a directory can
 * be read on from any entry by any handle, and nothing is kept between requests but the position of
 * the descriptor.
 */

#define FS_DIR_BUF 65536u

/* As getdents64(2) gives it. */
struct fs_dent {
	uint64_t ino;
	int64_t off;
	uint16_t reclen;
	uint8_t type;
	char name[];
};

static bool fs_dots(const char *name)
{
	return !strcmp(name, ".") || !strcmp(name, "..");
}

/* @ino: the inode number that the guest sees. */
static int fs_put_dirent(struct fs_call *c, const struct fs_dent *d, uint64_t ino)
{
	static const char zero[8];
	size_t len = strlen(d->name);
	struct fuse_dirent out = {
		.ino = ino,
		.off = (uint64_t)d->off,
		.namelen = (uint32_t)len,
		.type = d->type,
	};
	size_t pad = align_up(FUSE_NAME_OFFSET + len, 8) - FUSE_NAME_OFFSET - len;
	int r;

	r = fs_put(c, &out, FUSE_NAME_OFFSET);
	if (r == 0)
		r = fs_put(c, d->name, len);
	return r ? r : fs_put(c, zero, pad);
}

/*
 * The inode number of an entry for the guest. For a mount point it is, as always with getdents(2),
 * that of the covered directory: the mount's would take a system call for each entry.
 */
static uint64_t fs_dent_ino(const struct fs_call *c, const struct fs_inode *dir,
			    const struct fs_dent *d)
{
	/* Do not show the guest the number of the directory above the root. */
	if (dir == c->s->root && !strcmp(d->name, ".."))
		return fs_ino(c, dir);
	return fs_ino_on(c, dir->device, d->ino);
}

/* The entry in front of a READDIRPLUS one; nodeid 0 tells the guest to look it up by itself. */
static int fs_put_plus(struct fs_call *c, struct fs_inode *dir, const struct fs_dent *d)
{
	_cleanup_inode_ struct fs_inode_ref i = { .s = c->s };
	struct fuse_entry_out out = { 0 };
	struct statx stx;
	int r;

	if (!fs_dots(d->name) && fs_inode_lookup(c->s, dir, d->name, &i.i, &stx) == 0) {
		fs_entry_fill(c, i.i, &stx, &out);
		fs_mark_submount(c, dir, i.i, &out.attr);
	}
	r = fs_put(c, &out, sizeof(out));
	if (r == 0)
		r = fs_put_dirent(c, d, i.i ? out.attr.ino : fs_dent_ino(c, dir, d));
	if (r < 0 && i.i)
		fs_inode_forget(c->s, i.i->by_id.key, 1);
	return r;
}

static size_t fs_dirent_size(const struct fs_dent *d, bool plus)
{
	return align_up(FUSE_NAME_OFFSET + strlen(d->name), 8) +
	       (plus ? sizeof(struct fuse_entry_out) : 0);
}

static int fs_readdir(struct fs_call *c, bool plus)
{
	_cleanup_inode_ struct fs_inode_ref dir = { 0 };
	_cleanup_handle_ struct fs_handle_ref h = { 0 };
	const struct fuse_read_in *in = fs_arg(c);
	_cleanup_free_ char *buf = NULL;
	size_t room = MIN((size_t)in->size, c->room), want;
	ssize_t n, at;
	int r = fs_ref_dir(c, c->req.h->nodeid, &dir);

	if (r == 0)
		r = fs_href(c, in->fh, true, &h);
	if (r < 0)
		return r;
	if (in->offset > INT64_MAX)
		return -EINVAL;
	/* An entry is 19 bytes and its name here, and at least 24 in the reply. */
	want = MIN(MAX(plus ? room / 4 : room, (size_t)1024), (size_t)FS_DIR_BUF);
	buf = malloc(want);
	if (!buf)
		return -ENOMEM;

	scoped_lock(&h.h->lock);
	if (lseek(h.h->fd, (off_t)in->offset, SEEK_SET) < 0)
		return -errno;
	while ((n = getdents64(h.h->fd, buf, want)) > 0) {
		for (at = 0; at < n;) {
			const struct fs_dent *d = (const void *)(buf + at);

			if (c->data + fs_dirent_size(d, plus) > room)
				return c->data ? 0 : -EINVAL;
			r = plus ? fs_put_plus(c, dir.i, d)
				 : fs_put_dirent(c, d, fs_dent_ino(c, dir.i, d));
			if (r < 0)
				return r;
			at += d->reclen;
		}
		if (c->data >= room / 2)
			break;
	}
	return n < 0 && !c->data ? -errno : 0;
}

int fs_op_readdir(struct fs_call *c)
{
	return fs_readdir(c, false);
}

int fs_op_readdirplus(struct fs_call *c)
{
	return fs_readdir(c, true);
}
