// SPDX-License-Identifier: MIT
// The daemon's own requests to the host: opening files, reading directories.

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>

#include "client_priv.h"

static int open_any(struct client *c, uint32_t opcode, uint64_t nodeid, uint32_t flags,
		    uint64_t *ret_fh)
{
	struct fuse_open_in in = { .flags = flags };
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

int client_open(struct client *c, uint64_t nodeid, uint32_t flags, uint64_t *ret_fh)
{
	return open_any(c, FUSE_OPEN, nodeid, flags, ret_fh);
}

static bool is_dots(const char *name, uint32_t len)
{
	return name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.'));
}

/* A name of READDIR: ask for what READDIRPLUS would have told. Nothing when it is gone meanwhile. */
static int list_lookup(struct client *c, uint64_t parent, const char *name, uint32_t len,
		       struct client_entry *ret)
{
	char text[NAME_MAX + 1];
	struct fuse_entry_out out;
	int r;

	if (len > NAME_MAX)
		return -ENAMETOOLONG;
	memcpy(text, name, len);
	text[len] = '\0';
	r = client_own_call(c, &(struct client_call){ .opcode = FUSE_LOOKUP,
						      .nodeid = parent,
						      .arg = text,
						      .arg_len = len + 1,
						      .out = &out,
						      .out_len = sizeof(out) });
	if (r < 0)
		return r;
	if (r < (int)sizeof(out) || !out.nodeid)
		return -ENOENT;
	*ret = (struct client_entry){ .nodeid = out.nodeid, .attr = out.attr };
	return 0;
}

struct listing {
	struct client *c;
	uint64_t nodeid;
	bool plus;
	struct client_entry *out;
	unsigned int n, max;
	uint64_t off; /* where the next request goes on */
};

/* One entry of a reply, whose name is complete. */
static void list_entry(struct listing *l, const struct fuse_direntplus *d, const char *name)
{
	uint32_t type = d->dirent.type;

	/* The host counts no lookup of "." and "..". */
	if (is_dots(name, d->dirent.namelen))
		return;
	if (l->plus) {
		if (!d->entry_out.nodeid)
			return;
		if (l->n < l->max)
			l->out[l->n++] = (struct client_entry){ .nodeid = d->entry_out.nodeid,
								.attr = d->entry_out.attr };
		else
			(void)client_forget(l->c, d->entry_out.nodeid, 1);
	} else if (l->n < l->max && (type == DT_REG || type == DT_DIR || type == DT_UNKNOWN)) {
		if (list_lookup(l->c, l->nodeid, name, d->dirent.namelen, &l->out[l->n]) == 0)
			l->n++;
	}
}

/* Take the entries out of @len bytes of a reply. 0, or -EIO when it is not well-formed. */
static int list_parse(struct listing *l, const char *buf, size_t len)
{
	size_t fixed = l->plus ? FUSE_NAME_OFFSET_DIRENTPLUS : FUSE_NAME_OFFSET;

	while (len >= fixed) {
		struct fuse_direntplus d = { 0 };
		size_t size;

		if (l->plus)
			memcpy(&d, buf, fixed);
		else
			memcpy(&d.dirent, buf, fixed);
		if (!d.dirent.namelen || d.dirent.namelen > len - fixed)
			return -EIO;
		size = align_up(fixed + d.dirent.namelen, sizeof(uint64_t));
		l->off = d.dirent.off;
		list_entry(l, &d, buf + fixed);
		if (size >= len)
			break;
		buf += size;
		len -= size;
	}
	return 0;
}

int client_list(struct client *c, uint64_t nodeid, bool plus, struct client_entry *out,
		unsigned int max)
{
	uint64_t buf[(CLIENT_OWN_CAP - sizeof(struct fuse_out_header)) / sizeof(uint64_t)];
	struct listing l = { .c = c, .nodeid = nodeid, .plus = plus, .out = out, .max = max };
	struct fuse_read_in in = { .size = sizeof(buf) };
	int r = open_any(c, FUSE_OPENDIR, nodeid, O_RDONLY, &in.fh);

	if (r < 0)
		return r;
	do {
		in.offset = l.off;
		r = client_own_call(c, &(struct client_call){ .opcode = plus ? FUSE_READDIRPLUS
									     : FUSE_READDIR,
							      .nodeid = nodeid,
							      .arg = &in,
							      .arg_len = sizeof(in),
							      .out = buf,
							      .out_len = sizeof(buf) });
		if (r <= 0)
			break;
		r = list_parse(&l, (const char *)buf, (size_t)r);
		/* A host that comes back to where it was is not followed for ever. */
	} while (r == 0 && l.n < max && l.off != in.offset);
	(void)client_release(c, nodeid, in.fh, true);
	return r < 0 && !l.n ? r : (int)l.n;
}
