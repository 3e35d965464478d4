// SPDX-License-Identifier: MIT
// The daemon's own requests to the host.

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "client_priv.h"

/* Kernel numbers never have the top bit (fs/fuse: they count from 0 in steps of 2). */
#define OWN_UNIQUE (UINT64_C(1) << 63)

struct own_call {
	uint32_t opcode;
	uint64_t nodeid;
	const void *arg;   /* the fixed part */
	size_t arg_len;
	const void *array; /* what follows it */
	size_t array_len;
	void *out;	   /* receives at most out_len bytes of payload */
	size_t out_len;
	bool no_reply;
};

/* Returns the payload's length or a negative errno, the host's or the device's. */
static int own_call(struct client *c, const struct own_call *call)
{
	struct client_slot *s = client_pool_get(c);
	struct fuse_in_header *h = (struct fuse_in_header *)(void *)s->req;
	const struct fuse_out_header *rep = (const struct fuse_out_header *)(const void *)s->rep;
	size_t len = sizeof(*h) + call->arg_len + call->array_len;
	bool hiprio = call->no_reply;
	int r = -E2BIG;

	if (len <= s->req_cap && sizeof(*rep) + call->out_len <= s->rep_cap) {
		*h = (struct fuse_in_header){
			.len = (uint32_t)len,
			.opcode = call->opcode,
			.unique = OWN_UNIQUE | atomic_fetch_add(&c->unique, 1),
			.nodeid = call->nodeid,
		};
		if (call->arg_len)
			memcpy(h + 1, call->arg, call->arg_len);
		if (call->array_len)
			memcpy((char *)(h + 1) + call->arg_len, call->array, call->array_len);
		r = client_exchange(c, s, hiprio ? CLIENT_HIPRIO : 0, len,
				    call->no_reply ? 0 : sizeof(*rep) + call->out_len);
		if (r > 0) {
			int error = rep->error;

			r -= (int)sizeof(*rep);
			if (error)
				r = error;
			else if (r > 0)
				memcpy(call->out, rep + 1, MIN((size_t)r, call->out_len));
		}
	}
	client_pool_put(c, s);
	return r;
}

int client_init(struct client *c, const struct fuse_init_in *in, struct fuse_init_out *out,
		size_t *ret_len)
{
	int r = own_call(c, &(struct own_call){ .opcode = FUSE_INIT,
						.arg = in,
						.arg_len = sizeof(*in),
						.out = out,
						.out_len = sizeof(*out) });

	if (r < 0)
		return r;
	*ret_len = (size_t)r;
	return 0;
}

int client_getattr(struct client *c, uint64_t nodeid, struct fuse_attr *ret)
{
	struct fuse_getattr_in in = { 0 };
	struct fuse_attr_out out;
	int r = own_call(c, &(struct own_call){ .opcode = FUSE_GETATTR,
						.nodeid = nodeid,
						.arg = &in,
						.arg_len = sizeof(in),
						.out = &out,
						.out_len = sizeof(out) });

	if (r < 0)
		return r;
	if (r < (int)sizeof(out))
		return -EIO;
	*ret = out.attr;
	return 0;
}

int client_touch(struct client *c, uint64_t nodeid)
{
	struct fuse_setattr_in in = { .valid = FATTR_MTIME | FATTR_MTIME_NOW };
	struct fuse_attr_out out;
	int r = own_call(c, &(struct own_call){ .opcode = FUSE_SETATTR,
						.nodeid = nodeid,
						.arg = &in,
						.arg_len = sizeof(in),
						.out = &out,
						.out_len = sizeof(out) });

	return MIN(r, 0);
}

int client_forget(struct client *c, uint64_t nodeid, uint64_t nlookup)
{
	struct fuse_forget_in in = { .nlookup = nlookup };

	return own_call(c, &(struct own_call){ .opcode = FUSE_FORGET,
					       .nodeid = nodeid,
					       .arg = &in,
					       .arg_len = sizeof(in),
					       .no_reply = true });
}

int client_destroy_session(struct client *c)
{
	int r = own_call(c, &(struct own_call){ .opcode = FUSE_DESTROY });

	return MIN(r, 0);
}

/*
 * Is there a hole in the file between @from and @end? 1, 0, or a negative errno. A host that cannot
 * tell gives -ENOSYS.
 */
static int client_has_hole(struct client *c, uint64_t nodeid, uint64_t from, uint64_t end)
{
	struct fuse_open_in open = { .flags = O_RDONLY };
	struct fuse_lseek_in seek = { .offset = from, .whence = SEEK_HOLE };
	struct fuse_release_in release = { .flags = O_RDONLY };
	struct fuse_lseek_out found;
	struct fuse_open_out out;
	int r = own_call(c, &(struct own_call){ .opcode = FUSE_OPEN,
						.nodeid = nodeid,
						.arg = &open,
						.arg_len = sizeof(open),
						.out = &out,
						.out_len = sizeof(out) });

	if (r < 0)
		return r;
	if (r < (int)sizeof(out))
		return -EIO;
	seek.fh = release.fh = out.fh;
	r = own_call(c, &(struct own_call){ .opcode = FUSE_LSEEK,
					    .nodeid = nodeid,
					    .arg = &seek,
					    .arg_len = sizeof(seek),
					    .out = &found,
					    .out_len = sizeof(found) });
	(void)own_call(c, &(struct own_call){ .opcode = FUSE_RELEASE,
					      .nodeid = nodeid,
					      .arg = &release,
					      .arg_len = sizeof(release) });
	if (r < 0)
		return r;
	return r < (int)sizeof(found) ? -EIO : found.offset < end;
}

static int client_dax_setup(void *ctx, uint64_t nodeid, struct foff from, uint64_t len,
			    struct woff to, bool writable)
{
	/*
	 * The file need not be open: fh -1 says so, as the kernel does. READ is always set, because
	 * some hosts refuse a mapping without it.
	 */
	struct fuse_setupmapping_in in = {
		.fh = UINT64_MAX,
		.foffset = from.v,
		.len = len,
		.flags = FUSE_SETUPMAPPING_FLAG_READ |
			 (writable ? FUSE_SETUPMAPPING_FLAG_WRITE : 0),
		.moffset = to.v,
	};
	int r;

	/*
	 * A hole has no room on the host yet. If there is none when it is touched (on a tmpfs by a
	 * read, too), that is a SIGBUS in the monitor, which ends the virtual machine; as a request
	 * it is ENOSPC.
	 */
	r = client_has_hole(ctx, nodeid, from.v, from.v + len);
	if (r > 0)
		return -ENODATA;
	if (r < 0 && r != -ENOSYS)
		return r;
	r = own_call(ctx, &(struct own_call){ .opcode = FUSE_SETUPMAPPING,
						  .nodeid = nodeid,
						  .arg = &in,
						  .arg_len = sizeof(in) });

	return MIN(r, 0);
}

#define REMOVE_MAX 128u

static int client_dax_remove(void *ctx, const struct dax_range *ranges, unsigned int n)
{
	struct fuse_removemapping_one ones[REMOVE_MAX];
	int result = 0;

	static_assert(sizeof(struct fuse_in_header) + sizeof(struct fuse_removemapping_in) +
				      sizeof(ones) <=
			      CLIENT_OWN_CAP,
		      "a full batch fits");
	while (n) {
		struct fuse_removemapping_in in = { .count = MIN(n, REMOVE_MAX) };
		int r;

		for (unsigned int i = 0; i < in.count; i++)
			ones[i] = (struct fuse_removemapping_one){ .moffset = ranges[i].at.v,
								   .len = ranges[i].len };
		r = own_call(ctx, &(struct own_call){ .opcode = FUSE_REMOVEMAPPING,
						      .nodeid = FUSE_ROOT_ID,
						      .arg = &in,
						      .arg_len = sizeof(in),
						      .array = ones,
						      .array_len = in.count * sizeof(ones[0]) });
		if (r < 0 && result == 0)
			result = r;
		ranges += in.count;
		n -= in.count;
	}
	return result;
}

const struct dax_remote_ops client_dax_ops = {
	.setup = client_dax_setup,
	.remove = client_dax_remove,
};
