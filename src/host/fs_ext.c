// SPDX-License-Identifier: MIT
// Extensions of requests that create something: the caller's group, the security label.

#include <errno.h>
#include <limits.h>
#include <linux/xattr.h>
#include <string.h>
#include <sys/xattr.h>

#include "host/fs.h"

/*
 * Extensions stand at the end of the request, each with its size and type (7.38). The security
 * contexts are the one whose type is their number.
 */
struct fs_ext {
	uint32_t type;
	const char *data; /* behind the header */
	size_t len;
};

/* Look for the first extension that @wanted takes. Returns whether there is one. */
static bool fs_ext_find(const struct fs_call *c, bool (*wanted)(uint32_t type), struct fs_ext *ret)
{
	size_t len = (size_t)c->req.h->total_extlen * 8;
	const char *p;

	/* Before 7.38 contexts are all there is, and nothing says how long they are. */
	if (!len && fs_flags(c) & FUSE_SECURITY_CTX)
		len = c->req.rest_len;
	if (len > c->req.rest_len)
		return false;
	p = (const char *)c->req.rest + c->req.rest_len - len;
	while (len >= sizeof(struct fuse_proto_ext)) {
		struct fuse_proto_ext head;

		memcpy(&head, p, sizeof(head));
		if (head.size < sizeof(head) || head.size > len)
			return false;
		if (wanted(head.type)) {
			*ret = (struct fs_ext){ .type = head.type,
						.data = p + sizeof(head),
						.len = head.size - sizeof(head) };
			return true;
		}
		p += head.size;
		len -= head.size;
	}
	return false;
}

static bool fs_ext_is_groups(uint32_t type)
{
	return type == FUSE_PROTO_EXT_GROUPS;
}

gid_t fs_ext_group(const struct fs_call *c)
{
	uint32_t v[2]; /* number of groups, the first */
	struct fs_ext ext;

	if (!(fs_flags(c) & FUSE_CREATE_SUPP_GROUP) || !fs_ext_find(c, fs_ext_is_groups, &ext) ||
	    ext.len < sizeof(v))
		return (gid_t)-1;
	memcpy(v, ext.data, sizeof(v));
	return v[0] ? (gid_t)v[1] : (gid_t)-1;
}

static bool fs_ext_is_secctx(uint32_t type)
{
	return type < FUSE_PROTO_EXT_GROUPS;
}

int fs_ext_label(const struct fs_call *c, int fd)
{
	static const char prefix[] = XATTR_SECURITY_PREFIX;
	struct fuse_proto_secctx sec;
	struct fs_proc_name proc;
	struct fs_ext ext;
	const char *name;
	size_t left, len;
	int r;

	if (!(fs_flags(c) & FUSE_SECURITY_CTX) || !fs_ext_find(c, fs_ext_is_secctx, &ext) ||
	    ext.type == 0)
		return 0;
	/* The kernel sends one; a second would need a rule for what to do when only one can be set.
	 */
	if (ext.type != 1 || ext.len < sizeof(sec))
		return -EINVAL;
	memcpy(&sec, ext.data, sizeof(sec));
	name = ext.data + sizeof(sec);
	left = ext.len - sizeof(sec);
	len = strnlen(name, left);
	if (len == left || len > XATTR_NAME_MAX || sec.size > left - len - 1 ||
	    strncmp(name, prefix, sizeof(prefix) - 1) != 0)
		return -EINVAL;
	r = fs_xattr_name(c->s, fd, &proc);
	if (r < 0)
		return r;
	return setxattr(proc.s, name, name + len + 1, sec.size, 0) < 0 ? -errno : 0;
}
