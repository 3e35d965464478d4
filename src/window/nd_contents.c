// SPDX-License-Identifier: MIT
// What a region holds before a namespace is made in it.

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/num.h"
#include "hw/sysfs.h"
#include "nd_priv.h"

#define READ_SIZE    (64 * KIB)	       /* at a time, and all that is read of memory for metadata */
#define WINDOW_SIZE  ND_ALIGNMENT      /* what making a namespace may write to */
#define SB_OFFSET    4096	       /* struct nd_pfn_sb: drivers/nvdimm/pfn.h */
#define SB_SIGNATURE "NVDIMM_PFN_INFO" /* with its zero, 16 bytes; the UUID is behind it */

static bool all_zero(const uint8_t *p, size_t size)
{
	return !p[0] && !memcmp(p, p + 1, size - 1);
}

static bool has_our_description(const uint8_t *begin)
{
	const uint8_t *sb = begin + SB_OFFSET, *u = sb + sizeof(SB_SIGNATURE);
	char uuid[16];

	(void)snprintf(uuid, sizeof(uuid), "%02x%02x%02x%02x-%02x%02x-%x", u[0], u[1], u[2], u[3],
		       u[4], u[5], u[6] >> 4);
	return !memcmp(sb, SB_SIGNATURE, sizeof(SB_SIGNATURE)) && !strcmp(uuid, ND_UUID_BEGIN);
}

/* Not from the page cache: another program may have read the device when it held something else. */
static int open_direct(const char *node)
{
	int fd = sysfs_open(node, O_RDONLY | O_DIRECT);

	return fd == -EINVAL ? sysfs_open(node, O_RDONLY) : fd; /* a file system without it */
}

int nd_contents(const struct nd_region *r, uint64_t size, const struct why *why)
{
	_cleanup_free_ uint8_t *buf = aligned_alloc(PAGE_4K, READ_SIZE);
	_cleanup_close_ int fd = -1;
	char node[64];

	if (!buf)
		return -ENOMEM;
	(void)snprintf(node, sizeof(node), "/dev/%s", r->block);
	fd = open_direct(node);
	if (fd < 0)
		return why_set(why, fd, "cannot open %s: %s", node, strerror(-fd));
	for (uint64_t at = 0; at < size; at += READ_SIZE) {
		ssize_t n = pread(fd, buf, READ_SIZE, (off_t)at);

		if (n != (ssize_t)READ_SIZE)
			return why_set(why, n < 0 ? -errno : -EIO, "cannot read %s: %s", node,
				       n < 0 ? strerror(errno) : "it is too short");
		if (!all_zero(buf, READ_SIZE))
			return !at && has_our_description(buf) ? ND_OURS : ND_FOREIGN;
	}
	return ND_BLANK;
}

int nd_contents_meta(const struct nd_region *r, const struct why *why)
{
	return nd_contents(r, READ_SIZE, why);
}

/* As a raw block device, also where the driver would find the description of another kind. */
static int make_raw(const struct nd_region *r, const struct why *why, struct nd_region *ret)
{
	int err = 0;

	*ret = *r;
	if (r->use == ND_FSDAX) {
		err = nd_remove(r, why);
		ret->bound = false;
	}
	if (err == 0 && !ret->bound) {
		err = nd_write(r->space, "force_raw", "1", why);
		if (err == 0)
			err = nd_bind(r->space, why);
		if (err == 0)
			err = nd_write(r->space, "force_raw", "0", why);
	}
	if (err == 0)
		err = nd_read_again(ret);
	return err == 0 && (ret->use != ND_FREE || !ret->block[0])
		       ? why_set(why, -EBUSY, "%s cannot be read: it is no block device", r->space)
		       : err;
}

int nd_check_contents(const struct nd_region *r, bool window, bool keep, const struct why *why)
{
	struct nd_region raw;
	int what;

	if (r->use == ND_FSDAX && r->bound && keep)
		return 0;
	what = make_raw(r, why, &raw);
	if (what == 0)
		what = window ? nd_contents(&raw, WINDOW_SIZE, why) : nd_contents_meta(&raw, why);
	if (what < 0 || what == ND_BLANK || (what == ND_OURS && !window))
		return MIN(what, 0);
	if (window)
		return why_set(why, -EBUSY,
			       "the window is not empty: a vfsdaxfuse that was killed has left "
			       "files of the host mapped there, and a namespace would be written "
			       "into them; restart the virtual machine");
	return why_set(why, -EBUSY,
		       "memory for metadata at %#llx-%#llx (%s) holds something that is not of "
		       "vfsdax-window; if nobody needs it, erase it: dd if=/dev/zero of=/dev/%s "
		       "bs=64K count=1",
		       (unsigned long long)raw.range.start,
		       (unsigned long long)(raw.range.start + raw.range.size - 1), raw.name,
		       raw.block);
}
