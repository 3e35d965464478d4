// SPDX-License-Identifier: MIT
// FUSE requests: what each opcode carries, and one bounds-checked parse for all.

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "base/num.h"
#include "wire/fuse_req.h"

/*
 * SETXATTR's fixed part has two sizes (FUSE_SETXATTR_EXT); the table holds the smaller and the one
 * who acts steps over the rest by what was negotiated. INIT's grew with 7.36; the table holds what
 * 7.0 had.
 */
#define FUSE_INIT_IN_MIN 8

#define OP(n, in, out, nn, ...)                                                                    \
	[FUSE_##n] = { .name = #n, .in_size = (in), .out_size = (out), .names = (nn), __VA_ARGS__ }

static const struct fuse_op_info fuse_ops[FUSE_OP_MAX] = {
	OP(LOOKUP, 0, sizeof(struct fuse_entry_out), 1),
	OP(FORGET, sizeof(struct fuse_forget_in), 0, 0, .no_reply = true),
	OP(GETATTR, sizeof(struct fuse_getattr_in), sizeof(struct fuse_attr_out), 0),
	OP(SETATTR, sizeof(struct fuse_setattr_in), sizeof(struct fuse_attr_out), 0),
	OP(READLINK, 0, PATH_MAX, 0),
	OP(SYMLINK, 0, sizeof(struct fuse_entry_out), 2),
	OP(MKNOD, sizeof(struct fuse_mknod_in), sizeof(struct fuse_entry_out), 1),
	OP(MKDIR, sizeof(struct fuse_mkdir_in), sizeof(struct fuse_entry_out), 1),
	OP(UNLINK, 0, 0, 1),
	OP(RMDIR, 0, 0, 1),
	OP(RENAME, sizeof(struct fuse_rename_in), 0, 2),
	OP(LINK, sizeof(struct fuse_link_in), sizeof(struct fuse_entry_out), 1),
	OP(OPEN, sizeof(struct fuse_open_in), sizeof(struct fuse_open_out), 0),
	OP(READ, sizeof(struct fuse_read_in), 0, 0, .out_sized = true),
	OP(WRITE, sizeof(struct fuse_write_in), sizeof(struct fuse_write_out), 0),
	OP(STATFS, 0, sizeof(struct fuse_statfs_out), 0),
	OP(RELEASE, sizeof(struct fuse_release_in), 0, 0),
	OP(FSYNC, sizeof(struct fuse_fsync_in), 0, 0),
	OP(SETXATTR, FUSE_COMPAT_SETXATTR_IN_SIZE, 0, 0),
	OP(GETXATTR, sizeof(struct fuse_getxattr_in), sizeof(struct fuse_getxattr_out), 1,
	   .out_sized = true),
	OP(LISTXATTR, sizeof(struct fuse_getxattr_in), sizeof(struct fuse_getxattr_out), 0,
	   .out_sized = true),
	OP(REMOVEXATTR, 0, 0, 1),
	OP(FLUSH, sizeof(struct fuse_flush_in), 0, 0),
	OP(INIT, FUSE_INIT_IN_MIN, sizeof(struct fuse_init_out), 0),
	OP(OPENDIR, sizeof(struct fuse_open_in), sizeof(struct fuse_open_out), 0),
	OP(READDIR, sizeof(struct fuse_read_in), 0, 0, .out_sized = true),
	OP(RELEASEDIR, sizeof(struct fuse_release_in), 0, 0),
	OP(FSYNCDIR, sizeof(struct fuse_fsync_in), 0, 0),
	OP(GETLK, sizeof(struct fuse_lk_in), sizeof(struct fuse_lk_out), 0),
	OP(SETLK, sizeof(struct fuse_lk_in), 0, 0),
	OP(SETLKW, sizeof(struct fuse_lk_in), 0, 0),
	OP(ACCESS, sizeof(struct fuse_access_in), 0, 0),
	OP(CREATE, sizeof(struct fuse_create_in),
	   sizeof(struct fuse_entry_out) + sizeof(struct fuse_open_out), 1),
	OP(INTERRUPT, sizeof(struct fuse_interrupt_in), 0, 0),
	OP(BMAP, sizeof(struct fuse_bmap_in), sizeof(struct fuse_bmap_out), 0),
	OP(DESTROY, 0, 0, 0),
	OP(IOCTL, sizeof(struct fuse_ioctl_in), sizeof(struct fuse_ioctl_out), 0,
	   .out_sized = true),
	OP(POLL, sizeof(struct fuse_poll_in), sizeof(struct fuse_poll_out), 0),
	OP(NOTIFY_REPLY, 0, 0, 0, .no_reply = true),
	OP(BATCH_FORGET, sizeof(struct fuse_batch_forget_in), 0, 0, .no_reply = true),
	OP(FALLOCATE, sizeof(struct fuse_fallocate_in), 0, 0),
	OP(READDIRPLUS, sizeof(struct fuse_read_in), 0, 0, .out_sized = true),
	OP(RENAME2, sizeof(struct fuse_rename2_in), 0, 2),
	OP(LSEEK, sizeof(struct fuse_lseek_in), sizeof(struct fuse_lseek_out), 0),
	OP(COPY_FILE_RANGE, sizeof(struct fuse_copy_file_range_in), sizeof(struct fuse_write_out),
	   0),
	OP(SETUPMAPPING, sizeof(struct fuse_setupmapping_in), 0, 0),
	OP(REMOVEMAPPING, sizeof(struct fuse_removemapping_in), 0, 0),
	OP(SYNCFS, sizeof(struct fuse_syncfs_in), 0, 0),
	OP(TMPFILE, sizeof(struct fuse_create_in),
	   sizeof(struct fuse_entry_out) + sizeof(struct fuse_open_out), 1),
	OP(STATX, sizeof(struct fuse_statx_in), sizeof(struct fuse_statx_out), 0),
	OP(COPY_FILE_RANGE_64, sizeof(struct fuse_copy_file_range_in),
	   sizeof(struct fuse_copy_file_range_out), 0),
};

const struct fuse_op_info *fuse_op_info(uint32_t opcode)
{
	static const struct fuse_op_info unknown;

	return opcode < FUSE_OP_MAX ? &fuse_ops[opcode] : &unknown;
}

const char *fuse_op_name(uint32_t opcode)
{
	const char *name = fuse_op_info(opcode)->name;

	return name ? name : "opcode ?";
}

/* The arrays whose count stands in the fixed part must be there in full. */
static bool fuse_req_arrays_ok(const struct fuse_req *req, size_t rest_total)
{
	switch (req->h->opcode) {
	case FUSE_WRITE:
		return ((const struct fuse_write_in *)req->arg)->size <= rest_total;
	case FUSE_BATCH_FORGET:
		return ((const struct fuse_batch_forget_in *)req->arg)->count <=
		       rest_total / sizeof(struct fuse_forget_one);
	case FUSE_REMOVEMAPPING:
		return ((const struct fuse_removemapping_in *)req->arg)->count <=
		       rest_total / sizeof(struct fuse_removemapping_one);
	case FUSE_IOCTL:
		return ((const struct fuse_ioctl_in *)req->arg)->in_size <= rest_total;
	default:
		return true;
	}
}

int fuse_req_parse(const void *buf, size_t len, size_t total, struct fuse_req *ret)
{
	struct fuse_req req = { .h = buf };
	const char *p = buf;
	size_t off = sizeof(struct fuse_in_header);

	if (len < off || total < len || req.h->len != total)
		return -EINVAL;
	if (total > len && req.h->opcode != FUSE_WRITE)
		return -EINVAL;
	req.op = fuse_op_info(req.h->opcode);
	if (!req.op->name) {
		*ret = req;
		return -ENOSYS;
	}
	if (len - off < req.op->in_size)
		return -EINVAL;
	if (req.op->in_size)
		req.arg = p + off;
	off += req.op->in_size;

	for (unsigned int i = 0; i < req.op->names; i++) {
		size_t max = len - off;
		size_t n = strnlen(p + off, max);

		if (n == max || n == 0)
			return -EINVAL;
		req.name[i] = p + off;
		off += n + 1;
	}
	req.rest = p + off;
	req.rest_len = len - off;
	if (!fuse_req_arrays_ok(&req, total - off))
		return -EINVAL;
	*ret = req;
	return 0;
}

/* What the request itself says about the size of the payload it wants. */
static size_t fuse_req_wanted(const struct fuse_req *req)
{
	switch (req->h->opcode) {
	case FUSE_READ:
	case FUSE_READDIR:
	case FUSE_READDIRPLUS:
		return ((const struct fuse_read_in *)req->arg)->size;
	case FUSE_GETXATTR:
	case FUSE_LISTXATTR:
		return ((const struct fuse_getxattr_in *)req->arg)->size;
	case FUSE_IOCTL:
		return ((const struct fuse_ioctl_in *)req->arg)->out_size;
	default:
		return 0;
	}
}

size_t fuse_req_reply_size(const struct fuse_req *req, size_t max_data)
{
	size_t size = req->op->out_size;

	if (req->op->no_reply)
		return 0;
	if (req->op->out_sized)
		size += fuse_req_wanted(req);
	return sizeof(struct fuse_out_header) + MIN(size, max_data);
}

int fuse_name_ok(const char *name)
{
	if (!name[0] || strchr(name, '/') || !strcmp(name, ".") || !strcmp(name, ".."))
		return -EINVAL;
	return strlen(name) > NAME_MAX ? -ENAMETOOLONG : 0;
}
