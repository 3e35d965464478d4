// SPDX-License-Identifier: MIT
// The daemon's own requests to the host: opening files, reading directories.

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "client_priv.h"

static int open_any(struct client *c, uint32_t opcode, uint64_t nodeid, uint64_t *ret_fh)
{
	struct fuse_open_in in = { .flags = O_RDONLY };
	struct fuse_open_out out;
	int r = client_own_call(c, &(struct client_call){ .opcode = opcode,
							  .nodeid = nodeid,
							  .arg = &in,
							  .arg_len = sizeof(in),
							  .out = &out,
							  .out_len = sizeof(out) });

	if (r < 0)
		return r;
	if (r < (int)sizeof(out))
		return -EIO;
	*ret_fh = out.fh;
	return 0;
}

int client_open(struct client *c, uint64_t nodeid, uint64_t *ret_fh)
{
	return open_any(c, FUSE_OPEN, nodeid, ret_fh);
}

static bool is_dots(const char *name, uint32_t len)
{
	return name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.'));
}

/*
 * Take the entries out of @len bytes of a reply. *ret_off is where the next request goes on. What
 * has no room in @out is forgotten. Returns how many were stored, or -EIO when the reply is not
 * well-formed.
 */
static int list_parse(struct client *c, const char *buf, size_t len, struct client_entry *out,
		      unsigned int max, uint64_t *ret_off)
{
	unsigned int n = 0;

	while (len >= FUSE_NAME_OFFSET_DIRENTPLUS) {
		struct fuse_direntplus d;
		size_t size;

		memcpy(&d, buf, FUSE_NAME_OFFSET_DIRENTPLUS);
		if (!d.dirent.namelen || d.dirent.namelen > len - FUSE_NAME_OFFSET_DIRENTPLUS)
			return -EIO;
		size = align_up(FUSE_NAME_OFFSET_DIRENTPLUS + d.dirent.namelen, sizeof(uint64_t));
		*ret_off = d.dirent.off;
		/* The host counts no lookup of "." and "..", nor where it gives no node. */
		if (d.entry_out.nodeid &&
		    !is_dots(buf + FUSE_NAME_OFFSET_DIRENTPLUS, d.dirent.namelen)) {
			if (n < max)
				out[n++] = (struct client_entry){ .nodeid = d.entry_out.nodeid,
								  .attr = d.entry_out.attr };
			else
				(void)client_forget(c, d.entry_out.nodeid, 1);
		}
		if (size >= len)
			break;
		buf += size;
		len -= size;
	}
	return (int)n;
}

int client_list(struct client *c, uint64_t nodeid, struct client_entry *out, unsigned int max)
{
	uint64_t buf[(CLIENT_OWN_CAP - sizeof(struct fuse_out_header)) / sizeof(uint64_t)];
	struct fuse_read_in in = { .size = sizeof(buf) };
	unsigned int n = 0;
	int r = open_any(c, FUSE_OPENDIR, nodeid, &in.fh), got;

	if (r < 0)
		return r;
	while (r == 0 && n < max) {
		uint64_t off = in.offset;

		got = client_own_call(c, &(struct client_call){ .opcode = FUSE_READDIRPLUS,
								.nodeid = nodeid,
								.arg = &in,
								.arg_len = sizeof(in),
								.out = buf,
								.out_len = sizeof(buf) });
		if (got <= 0) {
			r = got;
			break;
		}
		r = list_parse(c, (const char *)buf, (size_t)got, out + n, max - n, &in.offset);
		if (r < 0)
			break;
		n += (unsigned int)r;
		r = 0;
		/* A host that comes back to where it was is not followed for ever. */
		if (in.offset == off)
			break;
	}
	(void)client_release(c, nodeid, in.fh, true);
	if (r < 0 && !n)
		return r;
	return (int)n;
}
