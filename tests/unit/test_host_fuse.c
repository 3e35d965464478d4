// SPDX-License-Identifier: MIT
// The host's FUSE server, called directly on a directory of its own.

#include "unit.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "base/num.h"
#include "host_fuse.h"

static void init_grants_only_what_is_offered(void **state)
{
	struct fixture *f = *state;
	const struct fuse_init_out *out = (const void *)f->reply;
	struct fuse_init_in in = { .major = 7, .minor = 31, .flags = FUSE_ASYNC_READ };

	assert_int_equal(call(f, FUSE_INIT, 0, &in, offsetof(struct fuse_init_in, flags2)), 0);
	assert_int_equal(out->minor, 31);
	assert_int_equal(out->flags, FUSE_ASYNC_READ);
	assert_int_equal(out->flags2, 0);
	assert_int_equal(out->map_alignment, 0);
	assert_int_equal(init(f, FUSE_MAP_ALIGNMENT | FUSE_HAS_INODE_DAX), 0);
	assert_int_equal(out->flags, (uint32_t)(FUSE_MAP_ALIGNMENT | FUSE_INIT_EXT));
	assert_int_equal(out->flags2, FUSE_HAS_INODE_DAX >> 32);
	assert_int_equal(out->map_alignment, 12);
	in.major = 8;
	assert_int_equal(call(f, FUSE_INIT, 0, &in, sizeof(in)), 0);
	assert_int_equal(out->major, 7);
	in.major = 6;
	assert_int_equal(call(f, FUSE_INIT, 0, &in, sizeof(in)), -EPROTO);
	/* After a failed INIT there is no session. */
	assert_int_equal(call_names(f, FUSE_LOOKUP, 1, NULL, 0, "a", NULL), -EIO);
}

static void one_inode_has_one_nodeid(void **state)
{
	struct fixture *f = *state;
	uint64_t a, b;
	int r;

	put_file(f, "a", "x", 1);
	assert_int_equal(linkat(f->fd, "a", f->fd, "b", 0), 0);
	a = lookup(f, 1, "a", NULL);
	assert_true(a > 1);
	assert_int_equal(lookup(f, 1, "a", NULL), a);
	assert_int_equal(lookup(f, 1, "b", NULL), a);
	assert_int_equal(nodes(f), 2);
	forget(f, a, 2);
	assert_int_equal(nodes(f), 2);
	forget(f, a, 1);
	assert_int_equal(nodes(f), 1);
	assert_int_equal(open_file(f, a, O_RDONLY, &b), -ENOENT);
	/* A new lookup gets a number that was never used. */
	b = lookup(f, 1, "a", &r);
	assert_true(b > a);
	forget(f, b, UINT64_MAX);
	forget(f, b, 1);
	forget(f, 1, UINT64_MAX);
	forget(f, 12345, 1);
	assert_int_equal(nodes(f), 1);
	assert_int_equal(call(f, FUSE_STATFS, 1, NULL, 0), 0);
}

static void batch_forget_counts(void **state)
{
	struct fixture *f = *state;
	struct {
		struct fuse_batch_forget_in in;
		struct fuse_forget_one one[2];
	} b = { .in = { .count = 2 } };

	put_file(f, "a", "x", 1);
	put_file(f, "b", "x", 1);
	b.one[0] = (struct fuse_forget_one){ lookup(f, 1, "a", NULL), 1 };
	b.one[1] = (struct fuse_forget_one){ lookup(f, 1, "b", NULL), 1 };
	assert_int_equal(nodes(f), 3);
	assert_int_equal(call(f, FUSE_BATCH_FORGET, 0, &b, sizeof(b)), 1);
	assert_int_equal(nodes(f), 1);
	b.in.count = 3; /* more than there are */
	assert_int_equal(call(f, FUSE_BATCH_FORGET, 0, &b, sizeof(b)), 1);
}

static void nothing_outside_is_reachable(void **state)
{
	static const char *const bad[] = { "..", ".", "a/b", "/etc", "d/..", "../etc" };
	struct fixture *f = *state;
	struct fuse_rename_in ren = { .newdir = 1 };
	struct fuse_link_in ln;
	struct fuse_mkdir_in md = { .mode = 0755 };
	uint64_t d, l, fh;
	int r;

	assert_int_equal(mkdirat(f->fd, "d", 0755), 0);
	put_file(f, "file", "x", 1);
	assert_int_equal(symlinkat("/etc/passwd", f->fd, "link"), 0);
	assert_int_equal(symlinkat("/etc", f->fd, "dirlink"), 0);
	d = lookup(f, 1, "d", NULL);
	ln.oldnodeid = lookup(f, 1, "file", NULL);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		(void)lookup(f, 1, bad[i], &r);
		assert_int_equal(r, -EINVAL);
		(void)lookup(f, d, bad[i], &r);
		assert_int_equal(r, -EINVAL);
		assert_int_equal(call_names(f, FUSE_MKDIR, d, &md, sizeof(md), bad[i], NULL),
				 -EINVAL);
		assert_int_equal(call_names(f, FUSE_UNLINK, d, NULL, 0, bad[i], NULL), -EINVAL);
		assert_int_equal(call_names(f, FUSE_RMDIR, d, NULL, 0, bad[i], NULL), -EINVAL);
		assert_int_equal(call_names(f, FUSE_SYMLINK, d, NULL, 0, bad[i], "x"), -EINVAL);
		assert_int_equal(call_names(f, FUSE_LINK, d, &ln, sizeof(ln), bad[i], NULL),
				 -EINVAL);
		assert_int_equal(call_names(f, FUSE_RENAME, 1, &ren, sizeof(ren), bad[i], "n"),
				 -EINVAL);
		assert_int_equal(call_names(f, FUSE_RENAME, 1, &ren, sizeof(ren), "d", bad[i]),
				 -EINVAL);
	}
	/* A link is read, not followed. */
	l = lookup(f, 1, "link", &r);
	assert_int_equal(r, 0);
	assert_int_equal(call(f, FUSE_READLINK, l, NULL, 0), 0);
	assert_int_equal(f->reply_len, strlen("/etc/passwd"));
	assert_int_equal(open_file(f, l, O_RDONLY, &fh), -ELOOP);
	l = lookup(f, 1, "dirlink", NULL);
	(void)lookup(f, l, "passwd", &r);
	assert_int_equal(r, -ENOTDIR);
	/* Neither as a directory in the other operations. */
	ren.newdir = l;
	assert_int_equal(call_names(f, FUSE_RENAME, 1, &ren, sizeof(ren), "d", "n"), -ENOTDIR);
	assert_int_equal(call_names(f, FUSE_MKDIR, l, &md, sizeof(md), "n", NULL), -ENOTDIR);
}

static void special_files_are_not_opened(void **state)
{
	struct fixture *f = *state;
	struct fuse_create_in cr = { .flags = O_RDWR, .mode = 0644 };
	uint64_t n, fh;

	assert_int_equal(mkfifoat(f->fd, "p", 0600), 0);
	n = lookup(f, 1, "p", NULL);
	assert_int_equal(open_file(f, n, O_RDONLY, &fh), -ENXIO);
	/* CREATE of what exists opens it, and this it must not. */
	assert_int_equal(call_names(f, FUSE_CREATE, 1, &cr, sizeof(cr), "p", NULL), -ENXIO);
	assert_int_equal(symlinkat("/etc/passwd", f->fd, "l"), 0);
	assert_int_equal(call_names(f, FUSE_CREATE, 1, &cr, sizeof(cr), "l", NULL), -ELOOP);
	cr.flags |= O_EXCL;
	assert_int_equal(call_names(f, FUSE_CREATE, 1, &cr, sizeof(cr), "l", NULL), -EEXIST);
	assert_int_equal(nodes(f), 2); /* failed ones hold nothing: the root and "p" */
}

static void files_are_read_and_written(void **state)
{
	struct fixture *f = *state;
	struct fuse_create_in cr = { .flags = O_RDWR, .mode = 0640, .umask = 022 };
	const struct fuse_entry_out *e = (const void *)f->reply;
	const struct fuse_open_out *o = (const void *)(e + 1);
	struct {
		struct fuse_write_in in;
		char data[5000];
	} w = { .in = { .size = 5000 } };
	struct fuse_read_in rd = { .size = 8192 };
	struct fuse_setattr_in sa = { .valid = FATTR_SIZE, .size = 3 };
	struct fuse_release_in rel;
	struct stat st;
	uint64_t node;

	assert_int_equal(call_names(f, FUSE_CREATE, 1, &cr, sizeof(cr), "new", NULL), 0);
	assert_int_equal(f->reply_len, sizeof(*e) + sizeof(*o));
	assert_int_equal(e->attr.mode & 07777, 0640);
	node = e->nodeid;
	w.in.fh = rd.fh = rel.fh = o->fh;
	for (size_t i = 0; i < sizeof(w.data); i++)
		w.data[i] = (char)i;
	assert_int_equal(call(f, FUSE_WRITE, node, &w, sizeof(w)), 0);
	assert_int_equal(((const struct fuse_write_out *)f->reply)->size, 5000);
	assert_int_equal(call(f, FUSE_READ, node, &rd, sizeof(rd)), 0);
	assert_int_equal(f->reply_len, 5000);
	assert_memory_equal(f->reply, w.data, 5000);
	rd.offset = 5000;
	assert_int_equal(call(f, FUSE_READ, node, &rd, sizeof(rd)), 0);
	assert_int_equal(f->reply_len, 0);
	rd.offset = UINT64_MAX;
	assert_int_equal(call(f, FUSE_READ, node, &rd, sizeof(rd)), -EINVAL);
	/* A wish larger than the room for the reply is refused, not cut. */
	rd.offset = 0;
	assert_int_equal(call_room(f, FUSE_READ, node, &rd, sizeof(rd), 100), -EINVAL);
	/* More than the request holds. */
	w.in.size = 5001;
	assert_int_equal(call(f, FUSE_WRITE, node, &w, sizeof(w)), -EINVAL);
	assert_int_equal(call(f, FUSE_SETATTR, node, &sa, sizeof(sa)), 0);
	assert_int_equal(((const struct fuse_attr_out *)f->reply)->attr.size, 3);
	assert_int_equal(fstatat(f->fd, "new", &st, 0), 0);
	assert_int_equal(st.st_size, 3);
	assert_int_equal(call_names(f, FUSE_UNLINK, 1, NULL, 0, "new", NULL), 0);
	assert_int_equal(call(f, FUSE_READ, node, &rd, sizeof(rd)), 0);
	assert_int_equal(f->reply_len, 3);
	assert_int_equal(call(f, FUSE_RELEASE, node, &rel, sizeof(rel)), 0);
	assert_int_equal(call(f, FUSE_RELEASE, node, &rel, sizeof(rel)), -EBADF);
	assert_int_equal(call(f, FUSE_READ, node, &rd, sizeof(rd)), -EBADF);
}

static void handles_have_a_type(void **state)
{
	struct fixture *f = *state;
	struct fuse_open_in in = { .flags = O_RDONLY };
	struct fuse_read_in rd = { .size = 4096 };
	uint64_t node, file, dir;

	put_file(f, "a", "x", 1);
	node = lookup(f, 1, "a", NULL);
	assert_int_equal(open_file(f, node, O_RDONLY, &file), 0);
	assert_int_equal(call(f, FUSE_OPENDIR, 1, &in, sizeof(in)), 0);
	dir = ((const struct fuse_open_out *)f->reply)->fh;
	assert_int_equal(call(f, FUSE_OPENDIR, node, &in, sizeof(in)), -ENOTDIR);
	assert_int_equal(call(f, FUSE_OPEN, 1, &in, sizeof(in)), -EISDIR);
	rd.fh = dir;
	assert_int_equal(call(f, FUSE_READ, node, &rd, sizeof(rd)), -EBADF);
	rd.fh = file;
	assert_int_equal(call(f, FUSE_READDIR, 1, &rd, sizeof(rd)), -EBADF);
	assert_int_equal(call(f, FUSE_RELEASEDIR, 1, &rd, sizeof(struct fuse_release_in)), -EBADF);
}

/* Read a directory in small replies; returns the number of names. */
static unsigned int list(struct fixture *f, bool plus, size_t room)
{
	struct fuse_open_in in = { .flags = O_RDONLY };
	struct fuse_read_in rd = { .size = (uint32_t)room };
	unsigned int n = 0;

	assert_int_equal(call(f, FUSE_OPENDIR, 1, &in, sizeof(in)), 0);
	rd.fh = ((const struct fuse_open_out *)f->reply)->fh;
	for (;;) {
		size_t at = 0;

		assert_int_equal(call_room(f, plus ? FUSE_READDIRPLUS : FUSE_READDIR, 1, &rd,
					   sizeof(rd), room),
				 0);
		if (!f->reply_len)
			break;
		while (at < f->reply_len) {
			const struct fuse_dirent *d =
				(const void *)(f->reply + at +
					       (plus ? sizeof(struct fuse_entry_out) : 0));

			rd.offset = d->off;
			at += plus ? FUSE_DIRENTPLUS_SIZE((const struct fuse_direntplus
								   *)(const void *)(f->reply + at))
				   : FUSE_DIRENT_SIZE(d);
			n++;
		}
		assert_int_equal(at, f->reply_len);
	}
	assert_int_equal(call(f, FUSE_RELEASEDIR, 1, &rd, sizeof(struct fuse_release_in)), 0);
	return n;
}

static void directories_are_read_in_pieces(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 300; i++) {
		char name[300];

		(void)snprintf(name, sizeof(name), "%0*d", 1 + i % 255, i);
		put_file(f, name, "", 0);
	}
	assert_int_equal(list(f, false, 600), 302);
	assert_int_equal(list(f, false, 65536), 302);
	assert_int_equal(nodes(f), 1);
	assert_int_equal(list(f, true, 600), 302);
	assert_int_equal(list(f, true, 65536), 302);
	assert_int_equal(nodes(f), 301);
}

static void callers_own_what_they_create(void **state)
{
	struct fixture *f = *state;
	struct fuse_mkdir_in md = { .mode = 0777, .umask = 027 };
	struct fuse_mknod_in mn = { .mode = S_IFREG | 0666, .umask = 077 };
	struct stat st;

	if (geteuid() != 0)
		skip();
	assert_int_equal(fchmod(f->fd, 0700), 0); /* the guest has checked, we do not */
	f->uid = 1000;
	f->gid = 1001;
	assert_int_equal(call_names(f, FUSE_MKDIR, 1, &md, sizeof(md), "d", NULL), 0);
	assert_int_equal(call_names(f, FUSE_MKNOD, 1, &mn, sizeof(mn), "n", NULL), 0);
	assert_int_equal(call_names(f, FUSE_SYMLINK, 1, NULL, 0, "s", "to"), 0);
	assert_int_equal(fstatat(f->fd, "d", &st, 0), 0);
	assert_true(st.st_uid == 1000 && st.st_gid == 1001 && (st.st_mode & 07777) == 0750);
	assert_int_equal(fstatat(f->fd, "n", &st, 0), 0);
	assert_true(st.st_uid == 1000 && st.st_gid == 1001 && (st.st_mode & 07777) == 0600);
	assert_int_equal(fstatat(f->fd, "s", &st, AT_SYMLINK_NOFOLLOW), 0);
	assert_true(st.st_uid == 1000 && st.st_gid == 1001);
	assert_int_equal(geteuid(), 0);
	f->uid = UINT32_MAX;
	assert_int_equal(call_names(f, FUSE_MKDIR, 1, &md, sizeof(md), "e", NULL), -EINVAL);
}

static void writes_take_setuid_away(void **state)
{
	struct fixture *f = *state;
	struct {
		struct fuse_write_in in;
		char data[1];
	} __attribute__((packed)) w = { .in = { .size = 1 } };
	struct stat st;
	uint64_t node, fh;

	if (geteuid() != 0)
		skip();
	put_file(f, "s", "xx", 2);
	assert_int_equal(fchmodat(f->fd, "s", 06755, 0), 0);
	node = lookup(f, 1, "s", NULL);
	assert_int_equal(open_file(f, node, O_RDWR, &fh), 0);
	w.in.fh = fh;
	assert_int_equal(call(f, FUSE_WRITE, node, &w, sizeof(w)), 0);
	assert_int_equal(fstatat(f->fd, "s", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 06755);
	w.in.write_flags = FUSE_WRITE_KILL_SUIDGID;
	assert_int_equal(call(f, FUSE_WRITE, node, &w, sizeof(w)), 0);
	assert_int_equal(fstatat(f->fd, "s", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0755);
}

/* The mode that a write of the request's user leaves of @mode; without flag by FALLOCATE. */
static mode_t written(struct fixture *f, mode_t mode, uid_t uid, gid_t gid, bool flag)
{
	struct {
		struct fuse_write_in in;
		char data[1];
	} __attribute__((packed)) w = { .in = { .size = 1 } };
	struct fuse_fallocate_in fa = { .length = 100 };
	uint64_t node = lookup(f, 1, "s", NULL), fh;
	struct stat st;

	assert_int_equal(fchmodat(f->fd, "s", mode, 0), 0);
	assert_int_equal(open_file(f, node, O_RDWR, &fh), 0);
	f->uid = uid;
	f->gid = gid;
	w.in.fh = fa.fh = fh;
	w.in.write_flags = FUSE_WRITE_KILL_SUIDGID;
	if (flag)
		assert_int_equal(call(f, FUSE_WRITE, node, &w, sizeof(w)), 0);
	else
		assert_int_equal(call(f, FUSE_FALLOCATE, node, &fa, sizeof(fa)), 0);
	f->uid = f->gid = 0;
	assert_int_equal(fstatat(f->fd, "s", &st, 0), 0);
	return st.st_mode & 07777;
}

static void setgid_is_for_members(void **state)
{
	struct fixture *f = *state;
	const gid_t groups[] = { 0, 1001, 65534 };

	if (geteuid() != 0)
		skip();
	put_file(f, "s", "xx", 2);
	for (size_t i = 0; i < ARRAY_SIZE(groups); i++) {
		gid_t gid = groups[i];

		assert_int_equal(fchownat(f->fd, "s", 1000, gid, 0), 0);
		for (int flag = 0; flag < 2; flag++) {
			/* A program of the group's never stays one. */
			assert_int_equal(written(f, 06775, 1000, gid, flag), 0775);
			assert_int_equal(written(f, 06666, 1000, gid, flag), 02666);
			assert_int_equal(written(f, 06666, 1000, 77, flag), 0666);
			/* Nobody says who it is: it is one who may write. */
			assert_int_equal(written(f, 06664, UINT32_MAX, UINT32_MAX, flag), 02664);
			assert_int_equal(written(f, 06666, UINT32_MAX, UINT32_MAX, flag), 0666);
			assert_int_equal(written(f, 06775, UINT32_MAX, UINT32_MAX, flag), 0775);
		}
		assert_int_equal(written(f, 06775, 0, 0, false), 06775);
	}
	assert_int_equal(geteuid(), 0);
	assert_int_equal(getegid(), 0);
}

static void attributes_are_set(void **state)
{
	struct fixture *f = *state;
	struct fuse_setattr_in sa = {
		.valid = FATTR_MODE | FATTR_MTIME,
		.mode = 0604,
		.mtime = 1234567,
		.mtimensec = 89,
	};
	const struct fuse_attr_out *out = (const void *)f->reply;
	uint64_t node;

	put_file(f, "a", "x", 1);
	node = lookup(f, 1, "a", NULL);
	assert_int_equal(call(f, FUSE_SETATTR, node, &sa, sizeof(sa)), 0);
	assert_int_equal(out->attr.mode, S_IFREG | 0604);
	assert_int_equal(out->attr.mtime, 1234567);
	assert_int_equal(out->attr.mtimensec, 89);
	assert_int_equal(out->attr_valid, 1);
	sa.mtimensec = UTIME_NOW; /* a magic value of utimensat(), not of FUSE */
	assert_int_equal(call(f, FUSE_SETATTR, node, &sa, sizeof(sa)), -EINVAL);
	sa = (struct fuse_setattr_in){ .valid = FATTR_SIZE, .size = UINT64_MAX };
	assert_int_equal(call(f, FUSE_SETATTR, node, &sa, sizeof(sa)), -EFBIG);
	assert_int_equal(call(f, FUSE_SETATTR, 1, &sa, sizeof(sa)), -EFBIG);
	/* A link's own times, not those of what it points to. */
	assert_int_equal(symlinkat("a", f->fd, "l"), 0);
	node = lookup(f, 1, "l", NULL);
	sa = (struct fuse_setattr_in){ .valid = FATTR_MTIME, .mtime = 42 };
	assert_int_equal(call(f, FUSE_SETATTR, node, &sa, sizeof(sa)), 0);
	assert_int_equal(out->attr.mtime, 42);
	assert_true(S_ISLNK(out->attr.mode));
}

static void xattrs_work_on_files(void **state)
{
	struct fixture *f = *state;
	struct {
		struct fuse_setxattr_in in;
		char rest[16];
	} set = { .in = { .size = 3 }, .rest = "user.x\0abc" };
	struct {
		struct fuse_getxattr_in in;
		char name[8];
	} get = { .in = { .size = 100 }, .name = "user.x" };
	uint64_t node;

	put_file(f, "a", "x", 1);
	node = lookup(f, 1, "a", NULL);
	if (call(f, FUSE_SETXATTR, node, &set, sizeof(set.in) + 10) == -EOPNOTSUPP)
		skip();
	assert_int_equal(call(f, FUSE_GETXATTR, node, &get, sizeof(get)), 0);
	assert_int_equal(f->reply_len, 3);
	assert_memory_equal(f->reply, "abc", 3);
	get.in.size = 2;
	assert_int_equal(call(f, FUSE_GETXATTR, node, &get, sizeof(get)), -ERANGE);
	get.in.size = 0;
	assert_int_equal(call(f, FUSE_GETXATTR, node, &get, sizeof(get)), 0);
	assert_int_equal(((const struct fuse_getxattr_out *)f->reply)->size, 3);
	/* A value longer than the request. */
	set.in.size = 4;
	assert_int_equal(call(f, FUSE_SETXATTR, node, &set, sizeof(set.in) + 10), -EINVAL);
	assert_int_equal(call_names(f, FUSE_REMOVEXATTR, node, NULL, 0, "user.x", NULL), 0);
	assert_int_equal(call_names(f, FUSE_REMOVEXATTR, node, NULL, 0, "user.x", NULL), -ENODATA);
	assert_int_equal(symlinkat("a", f->fd, "l"), 0);
	node = lookup(f, 1, "l", NULL);
	get.in.size = 100;
	assert_int_equal(call(f, FUSE_GETXATTR, node, &get, sizeof(get)), -ENODATA);
	assert_int_equal(call(f, FUSE_LISTXATTR, node, &get.in, sizeof(get.in)), 0);
	assert_int_equal(f->reply_len, 0);
}

static int setup_mapping(struct fixture *f, uint64_t node, uint64_t foff, uint64_t len,
			 uint64_t woff, uint64_t flags)
{
	struct fuse_setupmapping_in in = {
		.fh = UINT64_MAX, .foffset = foff, .len = len, .flags = flags, .moffset = woff
	};

	return call(f, FUSE_SETUPMAPPING, node, &in, sizeof(in));
}

static void mappings_are_checked(void **state)
{
	const uint64_t rd = FUSE_SETUPMAPPING_FLAG_READ, wr = FUSE_SETUPMAPPING_FLAG_WRITE;
	struct fixture *f = *state;
	_Alignas(8) static char data[10000];
	struct {
		struct fuse_removemapping_in in;
		struct fuse_removemapping_one one[2];
	} __attribute__((packed)) rm = { .in = { .count = 2 } };
	uint64_t node;

	memset(data, 'q', sizeof(data));
	put_file(f, "a", data, sizeof(data));
	node = lookup(f, 1, "a", NULL);
	assert_int_equal(setup_mapping(f, node, 0, 8192, 4096, rd), 0);
	assert_memory_equal(f->map.window + 4096, data, 8192);
	assert_int_equal(f->map.maps, 1);
	/* Past the last whole page. */
	assert_int_equal(setup_mapping(f, node, 0, 12288, 0, rd), -ENXIO);
	assert_int_equal(setup_mapping(f, node, 8192, 4096, 0, rd), -ENXIO);
	assert_int_equal(setup_mapping(f, node, UINT64_C(1) << 62, 4096, 0, rd), -ENXIO);
	assert_int_equal(setup_mapping(f, node, -UINT64_C(4096), 8192, 0, rd), -ENXIO);
	/* Not aligned, empty, outside of the window, wrong flags. */
	assert_int_equal(setup_mapping(f, node, 1, 4096, 0, rd), -EINVAL);
	assert_int_equal(setup_mapping(f, node, 0, 4095, 0, rd), -EINVAL);
	assert_int_equal(setup_mapping(f, node, 0, 4096, 5, rd), -EINVAL);
	assert_int_equal(setup_mapping(f, node, 0, 0, 0, rd), -EINVAL);
	assert_int_equal(setup_mapping(f, node, 0, 8192, WINDOW - 4096, rd), -EINVAL);
	assert_int_equal(setup_mapping(f, node, 0, 4096, -UINT64_C(4096), rd), -EINVAL);
	assert_int_equal(setup_mapping(f, node, 0, 4096, 0, 0), -EINVAL);
	assert_int_equal(setup_mapping(f, node, 0, 4096, 0, 4), -EINVAL);
	assert_int_equal(setup_mapping(f, 1, 0, 4096, 0, rd), -EINVAL);
	assert_int_equal(setup_mapping(f, 99, 0, 4096, 0, rd), -ENOENT);
	assert_int_equal(f->map.maps, 1);
	/* Writing is seen in the file. */
	assert_int_equal(setup_mapping(f, node, 4096, 4096, 0, rd | wr), 0);
	assert_true(f->map.writable);
	f->map.window[5] = 'Z';
	(void)lseek(f->fd, 0, SEEK_SET);
	{
		int fd = openat(f->fd, "a", O_RDONLY);
		char c = 0;

		assert_int_equal(pread(fd, &c, 1, 4096 + 5), 1);
		assert_int_equal(c, 'Z');
		close(fd);
	}
	rm.one[0] = (struct fuse_removemapping_one){ 0, 4096 };
	rm.one[1] = (struct fuse_removemapping_one){ 4096, 8192 };
	assert_int_equal(call(f, FUSE_REMOVEMAPPING, node, &rm, sizeof(rm)), 0);
	assert_int_equal(f->map.unmaps, 3); /* and once for the INIT of the fixture */
	rm.one[0] = (struct fuse_removemapping_one){ WINDOW, 4096 };
	assert_int_equal(call(f, FUSE_REMOVEMAPPING, node, &rm, sizeof(rm)), -EINVAL);
	f->map.refuse = ENOSPC;
	assert_int_equal(setup_mapping(f, node, 0, 4096, 0, rd), -ENOSPC);
	/* DESTROY empties the window. */
	assert_int_equal(call(f, FUSE_DESTROY, 0, NULL, 0), 0);
	assert_int_equal(f->map.unmaps, 5);
}

static bool marked(struct fixture *f, const char *name)
{
	const struct fuse_entry_out *e = (const void *)f->reply;
	const struct fuse_attr_out *a = (const void *)f->reply;
	struct fuse_getattr_in in = { 0 };
	uint64_t node = lookup(f, 1, name, NULL);
	bool by_lookup = e->attr.flags & FUSE_ATTR_DAX;

	assert_int_not_equal(node, 0);
	assert_int_equal(call(f, FUSE_GETATTR, node, &in, sizeof(in)), 0);
	assert_int_equal(!!(a->attr.flags & FUSE_ATTR_DAX), by_lookup);
	return by_lookup;
}

/* Which files are marked for dax=inode, by each rule. */
static void files_are_marked(void **state)
{
	struct fixture *f = *state;
	struct fuse_server_config cfg;
	static char data[8192];

	put_file(f, "large", data, 8192);
	put_file(f, "small", data, 8191);
	assert_int_equal(mkdirat(f->fd, "dir", 0755), 0);
	config(f, &cfg);
	for (unsigned int rule = FUSE_INODE_DAX_ATTR; rule <= FUSE_INODE_DAX_SIZE; rule++) {
		bool all = rule == FUSE_INODE_DAX_ALL;

		cfg.inode_dax = (enum fuse_inode_dax)rule;
		cfg.inode_dax_size = 8192;
		restart(f, &cfg);
		assert_int_equal(marked(f, "large"), all || rule == FUSE_INODE_DAX_SIZE);
		assert_int_equal(marked(f, "small"), all);
		assert_false(marked(f, "dir"));
	}
	cfg.inode_dax = FUSE_INODE_DAX_ALL;
	cfg.window = 0;
	restart(f, &cfg);
	assert_false(marked(f, "large"));
	/* Only for a guest that has asked. */
	cfg.window = WINDOW;
	restart(f, &cfg);
	assert_int_equal(init(f, ~(uint64_t)FUSE_HAS_INODE_DAX), 0);
	assert_false(marked(f, "large"));
}

static void files_are_marked_by_xattr(void **state)
{
	static const struct {
		const char *value;
		bool marked;
	} values[] = {
		{ "1", true }, { "0", false }, { "", true }, { "01", true }, { "yes", true }
	};
	struct fixture *f = *state;
	struct fuse_server_config cfg;
	int fd;

	put_file(f, "a", "x", 1);
	fd = openat(f->fd, "a", O_RDONLY);
	config(f, &cfg);
	cfg.inode_dax = FUSE_INODE_DAX_XATTR;
	restart(f, &cfg);
	assert_false(marked(f, "a"));
	for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
		assert_int_equal(fsetxattr(fd, FUSE_DAX_XATTR, values[i].value,
					   strlen(values[i].value), 0),
				 0);
		assert_int_equal(marked(f, "a"), values[i].marked);
	}
	close(fd);
}

static void close_of_a_reader_asks_nothing(void **state)
{
	static const struct {
		uint32_t flags, minor;
		bool noflush;
	} opens[] = { { O_RDONLY, 40, true },
		      { O_RDONLY, 35, true },
		      { O_RDONLY, 34, false },
		      { O_WRONLY, 40, false },
		      { O_RDWR, 40, false } };
	struct fixture *f = *state;
	const struct fuse_open_out *out = (const void *)f->reply;

	put_file(f, "a", "x", 1);
	for (size_t i = 0; i < ARRAY_SIZE(opens); i++) {
		struct fuse_init_in in = { .major = 7, .minor = opens[i].minor };
		uint64_t fh;

		assert_int_equal(call(f, FUSE_INIT, 0, &in, sizeof(in)), 0);
		assert_int_equal(open_file(f, lookup(f, 1, "a", NULL), opens[i].flags, &fh), 0);
		assert_int_equal(!!(out->open_flags & FOPEN_NOFLUSH), opens[i].noflush);
	}
}

static void quirks_refuse(void **state)
{
	const uint64_t rd = FUSE_SETUPMAPPING_FLAG_READ, wr = FUSE_SETUPMAPPING_FLAG_WRITE;
	struct fuse_removemapping_one *one;
	struct {
		struct fuse_removemapping_in in;
		char one[sizeof(*one)];
	} rm = { .in = { .count = 1 } };
	struct fixture *f = *state;
	const struct fuse_init_out *out = (const void *)f->reply;
	struct fuse_server_config cfg;
	struct fuse_server_stats st;
	static char data[65536];
	uint64_t node;
	int unmaps;

	put_file(f, "a", data, sizeof(data));
	config(f, &cfg);
	cfg.quirks = (struct host_quirks){
		.map_alignment = 16384,
		.need_read = true,
		.map_error = { .error = ENXIO, .after = 3, .every = 2 },
		.unmap_error = { .error = EIO, .every = 2 },
	};
	restart(f, &cfg);
	assert_int_equal(out->map_alignment, 14);
	node = lookup(f, 1, "a", NULL);
	assert_int_equal(setup_mapping(f, node, 4096, 4096, 0, rd), -EINVAL);
	assert_int_equal(setup_mapping(f, node, 0, 4096, 0, wr), -EINVAL);
	assert_int_equal(setup_mapping(f, node, 16384, 4096, 0, rd | wr), 0);
	assert_int_equal(setup_mapping(f, node, 0, 4096, 0, rd), -ENXIO);
	assert_int_equal(setup_mapping(f, node, 0, 4096, 0, rd), 0);
	assert_int_equal(setup_mapping(f, node, 0, 4096, 0, rd), -ENXIO);
	one = (void *)rm.one;
	memcpy(one, &(struct fuse_removemapping_one){ 0, 4096 }, sizeof(*one));
	unmaps = (int)f->map.unmaps;
	assert_int_equal(call(f, FUSE_REMOVEMAPPING, node, &rm, sizeof(rm.in) + sizeof(rm.one)),
			 -EIO);
	assert_int_equal(f->map.unmaps, unmaps);
	assert_int_equal(call(f, FUSE_REMOVEMAPPING, node, &rm, sizeof(rm.in) + sizeof(rm.one)), 0);
	assert_int_equal(f->map.unmaps, unmaps + 1);
	fuse_server_stats(f->s, &st);
	assert_int_equal(st.faults, 3);
	cfg.quirks = (struct host_quirks){ .no_map_alignment = true };
	restart(f, &cfg);
	assert_int_equal(out->flags & FUSE_MAP_ALIGNMENT, 0);
	assert_int_equal(out->map_alignment, 0);
}

static void readonly_refuses_changes(void **state)
{
	struct fixture *f = *state;
	struct fuse_server_config cfg;
	struct fuse_mkdir_in md = { .mode = 0755 };
	struct fuse_setattr_in sa = { .valid = FATTR_MODE, .mode = 0600 };
	uint64_t node, fh;

	static char page[4096];

	put_file(f, "a", page, sizeof(page));
	config(f, &cfg);
	cfg.readonly = true;
	restart(f, &cfg);
	node = lookup(f, 1, "a", NULL);
	assert_int_equal(open_file(f, node, O_RDWR, &fh), -EROFS);
	assert_int_equal(open_file(f, node, O_RDONLY | O_TRUNC, &fh), -EROFS);
	assert_int_equal(open_file(f, node, O_RDONLY, &fh), 0);
	assert_int_equal(call(f, FUSE_SETATTR, node, &sa, sizeof(sa)), -EROFS);
	assert_int_equal(call_names(f, FUSE_MKDIR, 1, &md, sizeof(md), "d", NULL), -EROFS);
	assert_int_equal(call_names(f, FUSE_UNLINK, 1, NULL, 0, "a", NULL), -EROFS);
	assert_int_equal(setup_mapping(f, node, 0, 4096, 0, FUSE_SETUPMAPPING_FLAG_WRITE), -EROFS);
	assert_int_equal(setup_mapping(f, node, 0, 4096, 0, FUSE_SETUPMAPPING_FLAG_READ), 0);
	assert_false(f->map.writable);
}

/* No more descriptors: new inodes are refused before anything is made, all else works on. */
static void no_more_nodes_than_descriptors(void **state)
{
	struct fixture *f = *state;
	struct fuse_mkdir_in md = { .mode = 0755 };
	struct fuse_create_in cr = { .flags = O_RDWR, .mode = 0644 };
	struct fuse_server_config cfg;
	char name[] = "file0";
	uint64_t first, fh;
	int error;

	for (; name[4] < '6'; name[4]++)
		put_file(f, name, "x", 1);
	config(f, &cfg);
	cfg.max_open = 4; /* the root is one */
	restart(f, &cfg);
	first = lookup(f, 1, "file0", NULL);
	assert_true(first && lookup(f, 1, "file1", NULL) && lookup(f, 1, "file2", NULL));
	assert_int_equal(lookup(f, 1, "file3", &error), 0);
	assert_int_equal(error, -ENFILE);
	assert_int_equal(call_names(f, FUSE_MKDIR, 1, &md, sizeof(md), "d", NULL), -ENFILE);
	assert_int_equal(faccessat(f->fd, "d", F_OK, 0), -1);
	assert_int_equal(call_names(f, FUSE_CREATE, 1, &cr, sizeof(cr), "c", NULL), -ENFILE);
	assert_int_equal(faccessat(f->fd, "c", F_OK, 0), -1);
	/* What is known: found again, opened, listed. */
	assert_int_equal(lookup(f, 1, "file0", NULL), first);
	assert_int_equal(open_file(f, first, O_RDONLY, &fh), 0);
	assert_int_equal(list(f, true, 4096), 8);
	assert_int_equal(nodes(f), 4);
	assert_int_equal(call(f, FUSE_RELEASE, first, &(struct fuse_release_in){ .fh = fh },
			      sizeof(struct fuse_release_in)),
			 0);
	/* looked up twice, and listed: all of it */
	forget(f, first, 100);
	assert_int_equal(nodes(f), 3);
	assert_true(lookup(f, 1, "file3", NULL) != 0);
}

/* Every opcode with every length of its fixed part and some more, and with a small reply. */
static void truncated_requests_are_harmless(void **state)
{
	struct fixture *f = *state;
	uint64_t node;

	put_file(f, "a", "x", 1);
	for (uint32_t op = 0; op < FUSE_OP_MAX + 2; op++) {
		const struct fuse_op_info *info = fuse_op_info(op);

		if (op == FUSE_DESTROY)
			continue;
		for (size_t len = 0; len <= info->in_size + 40u; len++) {
			static const size_t rooms[] = { 0, 1, 8, 128, 4096 };

			for (size_t fill = 0; fill < 3; fill++) {
				char arg[300];
				int r;

				memset(arg, fill == 0 ? 0 : fill == 1 ? 'a' : 0xff, sizeof(arg));
				if (len)
					arg[len - 1] = 0;
				node = lookup(f, 1, "a", &r);
				if (r == -EIO && init(f, 0) == 0)
					node = lookup(f, 1, "a", &r);
				r = call_room(f, op, len % 2 ? node : 1, arg, len,
					      rooms[(len + fill) % ARRAY_SIZE(rooms)]);
				if (!info->name)
					assert_int_equal(r, -ENOSYS);
				else if (len < info->in_size && !info->no_reply)
					assert_int_equal(r, -EINVAL);
			}
		}
	}
	assert_int_equal(init(f, 0), 0);
}

static void lying_lengths_are_refused(void **state)
{
	struct fixture *f = *state;
	struct fuse_in_header h = { .len = 100, .opcode = FUSE_STATFS, .unique = 7, .nodeid = 1 };
	struct fuse_out_header out = { 0 };
	struct iovec rd = { &h, sizeof(h) }, wr = { &out, sizeof(out) };

	assert_int_equal(fuse_server_handle(f->s, &rd, 1, &wr, 1), sizeof(out));
	assert_int_equal(out.error, -EINVAL);
	rd.iov_len = 39;
	assert_int_equal(fuse_server_handle(f->s, &rd, 1, &wr, 1), 0);
	assert_int_equal(fuse_server_handle(f->s, NULL, 0, NULL, 0), 0);
	rd.iov_len = 40;
	wr.iov_len = 15;
	assert_int_equal(fuse_server_handle(f->s, &rd, 1, &wr, 1), 0);
}

struct racer {
	struct fuse_server *s;
	unsigned int seed;
};

static void *race(void *arg)
{
	struct racer *r = arg;

	for (int i = 0; i < 3000; i++) {
		_Alignas(8) char reply[1024];
		const struct fuse_entry_out *e = (const void *)reply;
		struct fuse_forget_in fg = { .nlookup = 1 };
		struct fuse_open_in op = { .flags = O_RDONLY };
		struct fuse_read_in rd = { .size = 512 };
		struct fuse_init_in in = { .major = 7, .minor = 38 };
		uint64_t node;

		if (rand_r(&r->seed) % 500 == 0)
			(void)call_unlocked(r->s, FUSE_INIT, 0, &in, sizeof(in), reply,
					    sizeof(reply));
		if (call_unlocked(r->s, FUSE_LOOKUP, 1, "a", 2, reply, sizeof(reply)))
			continue;
		node = e->nodeid;
		/* Another thread may forget it now: that is a wrong guest, and must be harmless. */
		(void)call_unlocked(r->s, FUSE_FORGET, node, &fg, sizeof(fg), NULL, 0);
		if (call_unlocked(r->s, FUSE_OPEN, node, &op, sizeof(op), reply, sizeof(reply)) ==
		    0) {
			rd.fh = ((const struct fuse_open_out *)(const void *)reply)->fh;
			(void)call_unlocked(r->s, FUSE_READ, node, &rd, sizeof(rd), reply,
					    sizeof(reply));
			rd.fh -= rand_r(&r->seed) % 2;
			(void)call_unlocked(r->s, FUSE_RELEASE, node, &rd,
					    sizeof(struct fuse_release_in), reply, sizeof(reply));
		}
		(void)call_unlocked(r->s, FUSE_FORGET, node, &fg, sizeof(fg), NULL, 0);
	}
	return NULL;
}

static void threads_do_not_harm_each_other(void **state)
{
	struct fixture *f = *state;
	struct racer r[3];
	pthread_t t[3];

	put_file(f, "a", "hello", 5);
	for (unsigned int i = 0; i < 3; i++) {
		r[i] = (struct racer){ f->s, i };
		assert_int_equal(pthread_create(&t[i], NULL, race, &r[i]), 0);
	}
	for (unsigned int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	assert_int_equal(init(f, 0), 0);
	assert_int_equal(nodes(f), 1);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, host_fuse_setup, host_fuse_teardown)
	static const struct CMUnitTest tests[] = {
		T(init_grants_only_what_is_offered),
		T(one_inode_has_one_nodeid),
		T(batch_forget_counts),
		T(nothing_outside_is_reachable),
		T(special_files_are_not_opened),
		T(files_are_read_and_written),
		T(handles_have_a_type),
		T(directories_are_read_in_pieces),
		T(callers_own_what_they_create),
		T(writes_take_setuid_away),
		T(setgid_is_for_members),
		T(attributes_are_set),
		T(xattrs_work_on_files),
		T(mappings_are_checked),
		T(files_are_marked),
		T(files_are_marked_by_xattr),
		T(close_of_a_reader_asks_nothing),
		T(quirks_refuse),
		T(readonly_refuses_changes),
		T(no_more_nodes_than_descriptors),
		T(truncated_requests_are_harmless),
		T(lying_lengths_are_refused),
		T(threads_do_not_harm_each_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
