// SPDX-License-Identifier: MIT
// Requests in the form in which they come over io_uring.

#include <errno.h>
#include <string.h>

#include "wire/fuse_uring.h"

int fuse_uring_parse(const struct fuse_uring_req_header *r, size_t cap, struct fuse_uring_req *ret)
{
	struct fuse_uring_req q = { .commit_id = r->ring_ent_in_out.commit_id,
				    .payload_len = r->ring_ent_in_out.payload_sz };
	size_t rest;

	memcpy(&q.h, r->in_out, sizeof(q.h));
	if (q.h.len < sizeof(q.h))
		return -EPROTO;
	rest = q.h.len - sizeof(q.h);
	if (q.payload_len > rest || q.payload_len > cap ||
	    rest - q.payload_len > FUSE_URING_OP_IN_OUT_SZ)
		return -EPROTO;
	q.op_len = rest - q.payload_len;
	*ret = q;
	return 0;
}

void fuse_uring_join(const struct fuse_uring_req_header *r, const struct fuse_uring_req *req,
		     void *to)
{
	memcpy(to, &req->h, sizeof(req->h));
	memcpy((char *)to + sizeof(req->h), r->op_in, req->op_len);
}

void fuse_uring_reply(struct fuse_uring_req_header *r, uint64_t unique, int error, size_t len)
{
	struct fuse_out_header h = { .len = (uint32_t)(sizeof(h) + len),
				     .error = error,
				     .unique = unique };

	memcpy(r->in_out, &h, sizeof(h));
	r->ring_ent_in_out = (struct fuse_uring_ent_in_out){ .payload_sz = (uint32_t)len };
}
