// SPDX-License-Identifier: MIT
// The daemon's own requests to the host.

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "client_priv.h"

int client_own_call(struct client *c, const struct client_call *call)
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
	int r = client_own_call(c, &(struct client_call){ .opcode = FUSE_INIT,
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
	int r = client_own_call(c, &(struct client_call){ .opcode = FUSE_GETATTR,
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

int client_touch(struct client *c, uint64_t nodeid, struct fuse_attr *ret)
{
	struct fuse_setattr_in in = { .valid = FATTR_MTIME | FATTR_MTIME_NOW };
	struct fuse_attr_out out;
	int r = client_own_call(c, &(struct client_call){ .opcode = FUSE_SETATTR,
							  .nodeid = nodeid,
							  .arg = &in,
							  .arg_len = sizeof(in),
							  .out = &out,
							  .out_len = sizeof(out) });

	if (r < 0)
		return r;
	if (r < (int)sizeof(out))
		return -EIO;
	if (ret)
		*ret = out.attr;
	return 0;
}

/* Data that one of our own requests carries: half of what a slot takes, to have room for headers. */
#define OWN_DATA (CLIENT_OWN_CAP / 2)

int client_read(struct client *c, uint64_t nodeid, uint64_t fh, uint64_t off, void *buf, size_t len)
{
	for (size_t done = 0; done < len;) {
		size_t part = MIN(len - done, (size_t)OWN_DATA);
		struct fuse_read_in in = { .fh = fh, .offset = off + done, .size = (uint32_t)part };
		int r = client_own_call(c, &(struct client_call){ .opcode = FUSE_READ,
								  .nodeid = nodeid,
								  .arg = &in,
								  .arg_len = sizeof(in),
								  .out = (char *)buf + done,
								  .out_len = part });

		if (r < 0)
			return r;
		if ((size_t)r != part)
			return -ENODATA;
		done += part;
	}
	return 0;
}

int client_write(struct client *c, uint64_t nodeid, uint64_t fh, uint64_t off, const void *buf,
		 size_t len)
{
	for (size_t done = 0; done < len;) {
		size_t part = MIN(len - done, (size_t)OWN_DATA);
		struct fuse_write_in in = { .fh = fh,
					    .offset = off + done,
					    .size = (uint32_t)part };
		struct fuse_write_out out;
		int r = client_own_call(c, &(struct client_call){ .opcode = FUSE_WRITE,
								  .nodeid = nodeid,
								  .arg = &in,
								  .arg_len = sizeof(in),
								  .array = (const char *)buf + done,
								  .array_len = part,
								  .out = &out,
								  .out_len = sizeof(out) });

		if (r < 0)
			return r;
		if (r < (int)sizeof(out) || out.size != part)
			return -EIO;
		done += part;
	}
	return 0;
}

bool client_has_xattr(struct client *c, uint64_t nodeid, const char *name)
{
	struct fuse_getxattr_in in = { 0 }; /* its size is asked for */
	struct fuse_getxattr_out out;

	return client_own_call(c, &(struct client_call){ .opcode = FUSE_GETXATTR,
							 .nodeid = nodeid,
							 .arg = &in,
							 .arg_len = sizeof(in),
							 .array = name,
							 .array_len = strlen(name) + 1,
							 .out = &out,
							 .out_len = sizeof(out) }) >= 0;
}

int client_forget(struct client *c, uint64_t nodeid, uint64_t nlookup)
{
	struct fuse_forget_in in = { .nlookup = nlookup };

	return client_own_call(c, &(struct client_call){ .opcode = FUSE_FORGET,
							 .nodeid = nodeid,
							 .arg = &in,
							 .arg_len = sizeof(in),
							 .no_reply = true });
}

int client_release(struct client *c, uint64_t nodeid, uint64_t fh, bool dir)
{
	struct fuse_release_in in = { .fh = fh };
	int r = client_own_call(c, &(struct client_call){ .opcode = dir ? FUSE_RELEASEDIR
									: FUSE_RELEASE,
							  .nodeid = nodeid,
							  .arg = &in,
							  .arg_len = sizeof(in) });

	return MIN(r, 0);
}

int client_unlock(struct client *c, uint64_t nodeid, const struct fuse_lk_in *lk)
{
	struct fuse_lk_in in = *lk;
	int r;

	in.lk.type = F_UNLCK;
	r = client_own_call(c, &(struct client_call){ .opcode = FUSE_SETLK,
						      .nodeid = nodeid,
						      .arg = &in,
						      .arg_len = sizeof(in) });
	return MIN(r, 0);
}

int client_destroy_session(struct client *c)
{
	int r = client_own_call(c, &(struct client_call){ .opcode = FUSE_DESTROY });

	return MIN(r, 0);
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
		.flags =
			FUSE_SETUPMAPPING_FLAG_READ | (writable ? FUSE_SETUPMAPPING_FLAG_WRITE : 0),
		.moffset = to.v,
	};
	int r = client_own_call(ctx, &(struct client_call){ .opcode = FUSE_SETUPMAPPING,
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
		r = client_own_call(
			ctx, &(struct client_call){ .opcode = FUSE_REMOVEMAPPING,
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
