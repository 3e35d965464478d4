// SPDX-License-Identifier: MIT
// Requests and passthrough: OPEN may start it; FLUSH, FSYNC, GETATTR, SETATTR, RELEASE write back.

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/time.h"
#include "fs/chan.h"
#include "relay_priv.h"
#include "wire/fuse_time.h"

static int backing_open(void *ctx, int fd)
{
	const struct relay *r = ctx;

	return chan_backing_open(r->fuse_fd, fd);
}

static void backing_close(void *ctx, int id)
{
	const struct relay *r = ctx;

	chan_backing_close(r->fuse_fd, id);
}

static int pass_setup(void *ctx, uint64_t nodeid, struct foff from, uint64_t len, struct woff to,
		      bool writable)
{
	return client_dax_ops.setup(((struct relay *)ctx)->client, nodeid, from, len, to, writable);
}

static int pass_remove(void *ctx, const struct dax_range *ranges, unsigned int n)
{
	return client_dax_ops.remove(((struct relay *)ctx)->client, ranges, n);
}

/* The part of the window that the daemon has for itself while the kernel has the rest. */
static int arena_setup(void *ctx, uint64_t nodeid, struct foff from, uint64_t len, struct woff to,
		       bool writable)
{
	const struct relay *r = ctx;

	return pass_setup(ctx, nodeid, from, len, WOFF(r->arena.v + to.v), writable);
}

static int arena_remove(void *ctx, const struct dax_range *ranges, unsigned int n)
{
	struct dax_range moved[16];
	const struct relay *r = ctx;

	while (n) {
		unsigned int some = MIN(n, (unsigned int)ARRAY_SIZE(moved));
		int e;

		for (unsigned int i = 0; i < some; i++)
			moved[i] = (struct dax_range){ .at = WOFF(r->arena.v + ranges[i].at.v),
						       .len = ranges[i].len };
		e = pass_remove(ctx, moved, some);
		if (e < 0)
			return e;
		ranges += some;
		n -= some;
	}
	return 0;
}

const struct dax_remote_ops relay_arena_ops = { .setup = arena_setup, .remove = arena_remove };

static const struct dax_remote_ops pass_map = { .setup = pass_setup, .remove = pass_remove };

/* The handle may be for writing alone. */
static int pass_read_host(void *ctx, uint64_t nodeid, uint64_t fh, uint64_t off, void *buf,
			  size_t len)
{
	struct client *c = ((struct relay *)ctx)->client;
	int e = client_read(c, nodeid, fh, off, buf, len);
	uint64_t own;

	if (e != -EBADF)
		return e;
	e = client_open(c, nodeid, O_RDONLY, &own);
	if (e < 0)
		return e;
	e = client_read(c, nodeid, own, off, buf, len);
	(void)client_release(c, nodeid, own, false);
	return e;
}

/* Without a handle the file is opened: a mapping can be written to after the close. */
static int pass_write_host(void *ctx, uint64_t nodeid, const uint64_t *fh, uint64_t off,
			   const void *buf, size_t len)
{
	struct client *c = ((struct relay *)ctx)->client;
	uint64_t own;
	int e;

	if (fh)
		return client_write(c, nodeid, *fh, off, buf, len);
	e = client_open(c, nodeid, O_WRONLY, &own);
	if (e < 0)
		return e;
	e = client_write(c, nodeid, own, off, buf, len);
	(void)client_release(c, nodeid, own, false);
	return e;
}

/*
 * The kernel does not take set-id bits and capabilities away when it writes by itself, as it leaves
 * that to the server (FUSE_HANDLE_KILLPRIV_V2). Without that flag it asks for the capability before
 * each write, which costs more than the write. So a file that has such privileges is not passed
 * through where it could be written.
 */
static struct pass_attr_in attr_in(const struct fuse_attr *attr)
{
	return (struct pass_attr_in){ .size = attr->size,
				      .mtime_ns = fuse_mtime_ns(attr),
				      .ctime_ns = fuse_ctime_ns(attr),
				      .set_id = attr->mode & (S_ISUID | S_ISGID),
				      .fixed = attr->flags & FUSE_ATTR_DAX };
}

void relay_pass_note(struct relay *r, uint64_t nodeid, const struct fuse_attr *attr)
{
	const struct pass_attr_in in = attr_in(attr);

	if (r->pass)
		pass_note(r->pass, nodeid, &in);
}

static int pass_attr(void *ctx, uint64_t nodeid, struct pass_attr_in *ret)
{
	struct relay *r = ctx;
	struct fuse_attr attr;
	int e = client_getattr(r->client, nodeid, &attr);

	if (e == 0 && !S_ISREG(attr.mode))
		e = -ENOTSUP;
	if (e < 0)
		return e;
	*ret = attr_in(&attr);
	return 0;
}

static bool pass_privileged(void *ctx, uint64_t nodeid)
{
	return client_has_xattr(((struct relay *)ctx)->client, nodeid, "security.capability");
}

static bool pass_fixed(void *ctx, uint64_t nodeid)
{
	return client_has_xattr(((struct relay *)ctx)->client, nodeid, "user.vfsdax.fixed");
}

static bool pass_alone(void *ctx, uint64_t nodeid)
{
	return inode_opens(((struct relay *)ctx)->inodes, nodeid) == 1;
}

static int pass_touch(void *ctx, uint64_t nodeid, struct pass_attr_in *ret)
{
	struct fuse_attr attr;
	int e = client_touch(((struct relay *)ctx)->client, nodeid, &attr);

	if (e == 0)
		*ret = attr_in(&attr);
	return e;
}

const struct pass_ops relay_pass_ops = {
	.map = &pass_map,
	.attr = pass_attr,
	.privileged = pass_privileged,
	.fixed = pass_fixed,
	.alone = pass_alone,
	.read = pass_read_host,
	.write = pass_write_host,
	.touch = pass_touch,
	.backing_open = backing_open,
	.backing_close = backing_close,
};

int relay_pass_open(struct relay_req *q, struct inode *i, uint32_t flags, struct fuse_open_out *out)
{
	struct relay *r = q->r;
	bool write = (flags & O_ACCMODE) != O_RDONLY;
	struct pass_open_in in = {
		.nodeid = i->nodeid,
		.fh = out->fh,
		.writable = write,
		.append = flags & O_APPEND,
		.wanted = !atomic_load(&r->pass_paused) && !(flags & (O_APPEND | O_TRUNC)) &&
			  (r->pass_write || !write) && pass_alone(r, i->nodeid),
	};
	int id;

	if (!r->pass || !(r->agreed.kernel_flags & FUSE_PASSTHROUGH))
		return 0;
	id = pass_open(r->pass, &in);
	if (id == -EBUSY)
		return id;
	if (id <= 0)
		return 0;
	out->open_flags &=
		~(uint32_t)(FOPEN_DIRECT_IO | FOPEN_KEEP_CACHE | FOPEN_PARALLEL_DIRECT_WRITES |
			    FOPEN_CACHE_DIR | FOPEN_STREAM);
	out->open_flags |= FOPEN_PASSTHROUGH;
	fuse_open_backing(out) = id;
	atomic_store(&i->direct, false);
	if (pass_watch(r->pass, i->nodeid))
		upkeep_passed(r->upkeep, i->nodeid);
	return 0;
}

int relay_pass_settle(struct relay *r, uint64_t nodeid)
{
	return r->pass ? upkeep_settle_passed(r->upkeep, nodeid) : 0;
}

struct pass_file *relay_pass_times_begin(struct relay *r, uint64_t nodeid)
{
	int settled;

	return r->pass ? pass_times_begin(r->pass, nodeid, &settled) : NULL;
}

void relay_pass_times_end(struct relay *r, struct pass_file *f, const struct relay_rep *rep)
{
	struct fuse_attr_out out;
	struct pass_attr_in in;

	if (!f)
		return;
	if (!rep || rep->error || rep->len < sizeof(out)) {
		pass_times_end(r->pass, f, NULL);
		return;
	}
	memcpy(&out, rep->payload, sizeof(out));
	in = attr_in(&out.attr);
	pass_times_end(r->pass, f, &in);
}

int relay_pass_hold(struct relay *r, uint64_t nodeid, struct pass_hold *h)
{
	return r->pass ? pass_hold(r->pass, nodeid, h) : 0;
}

void relay_pass_unhold(struct relay *r, struct pass_hold *h)
{
	if (r->pass)
		pass_unhold(r->pass, h);
}
