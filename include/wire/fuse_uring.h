/* SPDX-License-Identifier: MIT */
/* Requests in the form in which they come over io_uring. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "wire/fuse_proto.h"

/*
 * Over /dev/fuse a request is one run of bytes: header, fixed part of the opcode, the rest. Over
 * io_uring (7.42; Documentation/filesystems/fuse/fuse-io-uring.rst) header and fixed part lie in a
 * buffer of their own, struct fuse_uring_req_header, and the rest in the payload buffer. How long
 * the fixed part is follows from the request's length.
 */
struct fuse_uring_req {
	struct fuse_in_header h; /* a copy */
	uint64_t commit_id;	 /* what the reply is to name */
	size_t op_len;		 /* of the fixed part, in op_in */
	size_t payload_len;
};

/* fuse_uring_parse() - @cap: of the payload buffer. 0, or -EPROTO when the lengths contradict. */
int fuse_uring_parse(const struct fuse_uring_req_header *r, size_t cap, struct fuse_uring_req *ret);

/* fuse_uring_join() - write header and fixed part, h.len - payload_len bytes, to @to. */
void fuse_uring_join(const struct fuse_uring_req_header *r, const struct fuse_uring_req *req,
		     void *to);

/* fuse_uring_reply() - make the header buffer that of a reply with @len bytes of payload. */
void fuse_uring_reply(struct fuse_uring_req_header *r, uint64_t unique, int error, size_t len);
