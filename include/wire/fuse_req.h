/* SPDX-License-Identifier: MIT */
/* FUSE requests: what each opcode carries, and one bounds-checked parse for all. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/fuse_proto.h"

/* What an opcode carries behind fuse_in_header, in this order: fixed part, names, the rest. */
struct fuse_op_info {
	const char *name;   /* "LOOKUP"; NULL: an opcode this table does not know */
	uint16_t in_size;   /* bytes of the fixed part */
	uint16_t out_size;  /* bytes of the fixed part of a successful reply */
	uint8_t names;	    /* NUL-terminated strings behind the fixed part: 0 to 2 */
	bool no_reply : 1;  /* the protocol forbids a reply (FORGET, BATCH_FORGET) */
	bool out_sized : 1; /* the fixed part holds the size of the reply's payload */
};

#define FUSE_OP_MAX 64u /* the table's size; opcodes at and above it are unknown */

/* fuse_op_info() - never NULL; an entry with name == NULL for an unknown opcode. */
const struct fuse_op_info *fuse_op_info(uint32_t opcode);

/* fuse_op_name() - for messages; "opcode ?" for an unknown one. */
const char *fuse_op_name(uint32_t opcode);

/*
 * A checked request. All pointers point into the buffer that was parsed and live as long as it.
 * @arg is NULL for an opcode without a fixed part; @rest is what follows the names (the payload of
 * WRITE and SETXATTR, the array of BATCH_FORGET and REMOVEMAPPING, extensions).
 */
struct fuse_req {
	const struct fuse_in_header *h;
	const struct fuse_op_info *op;
	const void *arg;
	const char *name[2];
	const void *rest;
	size_t rest_len;
};

/*
 * fuse_req_parse() - check everything about the form of a request that needs no state.
 * @buf: the whole request in private memory, 8-byte aligned; or for WRITE at least the header and
 *       the fixed part. @len: bytes there.
 * @total: bytes the request has in all (== @len, or more for WRITE whose payload is elsewhere).
 * Returns 0, or a negative errno: -EINVAL when the request is too short, header.len differs from
 * @total, a name is not terminated or empty, or an array is shorter than its count; -ENOSYS for an
 * unknown opcode (ret->h is then set, and only it).
 * Any thread.
 */
int fuse_req_parse(const void *buf, size_t len, size_t total, struct fuse_req *ret);

/*
 * fuse_req_reply_size() - how many bytes a reply to a checked request can have, header included.
 * @max_data: the bound for payloads whose size the request gives; larger wishes are cut to it.
 */
size_t fuse_req_reply_size(const struct fuse_req *req, size_t max_data);

/*
 * fuse_name_ok() - may @name be one component of a path? Not empty, not "." or "..", no slash, at
 * most NAME_MAX bytes. Returns 0, -EINVAL or -ENAMETOOLONG.
 */
int fuse_name_ok(const char *name);
