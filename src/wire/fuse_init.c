// SPDX-License-Identifier: MIT
// FUSE_INIT in both directions: what the kernel and the host learn of each other.

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "wire/fuse_init.h"

#define FUSE_INIT_MIN_MINOR	    27 /* VIRTIO 1.2, 5.11: FUSE 7.27 is the oldest */
#define FUSE_INIT_DEFAULT_MAX_PAGES 32 /* fs/fuse: FUSE_DEFAULT_MAX_PAGES_PER_REQ */

#define FLAG(n, r, d, w)                                                                           \
	{                                                                                          \
		.bit = FUSE_##n, .name = #n, .rule = FUSE_INIT_##r, .rule_dax = FUSE_INIT_##d,     \
		.why = (w)                                                                         \
	}

/*
 * Checked against fs/fuse of Linux 7.3. "The reply is not looked at" means that
 * process_init_reply() does not: such a flag only tells what the kernel can do.
 */
static const struct fuse_init_flag init_flags[] = {
	FLAG(ASYNC_READ, LOCAL, LOCAL, "requests run in parallel on our workers"),
	FLAG(POSIX_LOCKS, FORWARD, FORWARD, "the host keeps the locks; else the kernel does"),
	FLAG(FILE_OPS, MASK, MASK, "no kernel has ever used it"),
	FLAG(ATOMIC_O_TRUNC, MASK, MASK,
	     "a page that is written back meanwhile would make the file longer again; SETATTR "
	     "keeps "
	     "such pages out. Granted with passthrough for writing, where the file must be empty "
	     "before OPEN is answered; then the relay keeps such pages out"),
	FLAG(EXPORT_SUPPORT, FORWARD, FORWARD, "the host must find \".\" and \"..\" by nodeid"),
	FLAG(BIG_WRITES, LOCAL, LOCAL, "our buffers take max_write"),
	FLAG(DONT_MASK, FORWARD, FORWARD, "the host applies the umask, which default ACLs need"),
	FLAG(SPLICE_WRITE, MASK, MASK,
	     "requests are read into memory that the device reaches; the reply is not looked at"),
	FLAG(SPLICE_MOVE, MASK, MASK, "as SPLICE_WRITE"),
	FLAG(SPLICE_READ, MASK, MASK, "as SPLICE_WRITE"),
	FLAG(FLOCK_LOCKS, FORWARD, FORWARD, "the host keeps the locks; else the kernel does"),
	FLAG(HAS_IOCTL_DIR, FORWARD, FORWARD,
	     "tells the host that the kernel sends them; the reply is not looked at"),
	FLAG(AUTO_INVAL_DATA, FORWARD, FORWARD, "the kernel's cache follows the host's mtime"),
	FLAG(DO_READDIRPLUS, FORWARD, FORWARD, "the host answers it; the sizes in it are noted"),
	FLAG(READDIRPLUS_AUTO, FORWARD, FORWARD, "the kernel chooses between the two"),
	FLAG(ASYNC_DIO, LOCAL, LOCAL, "requests run in parallel on our workers"),
	FLAG(WRITEBACK_CACHE, FORWARD, MASK,
	     "would make the kernel, not the host, the owner of size and mtime"),
	FLAG(NO_OPEN_SUPPORT, FORWARD, MASK,
	     "the window needs to see OPEN and RELEASE; the reply is not looked at"),
	FLAG(PARALLEL_DIROPS, FORWARD, FORWARD, "the host must bear parallel lookups"),
	FLAG(HANDLE_KILLPRIV, FORWARD, FORWARD,
	     "the host drops privileges by every write; the first after an open goes to it"),
	FLAG(POSIX_ACL, FORWARD, FORWARD,
	     "the host stores ACLs and applies default ones; the kernel checks by them"),
	FLAG(ABORT_ERROR, LOCAL, LOCAL, "tells us an abort (ECONNABORTED) from an unmount"),
	FLAG(MAX_PAGES, LOCAL, LOCAL, "our buffers take max_write; the host sees our limit"),
	FLAG(CACHE_SYMLINKS, FORWARD, FORWARD, "the host says whether links change"),
	FLAG(NO_OPENDIR_SUPPORT, FORWARD, FORWARD,
	     "directories do not use the window; the reply is not looked at"),
	FLAG(EXPLICIT_INVAL_DATA, FORWARD, FORWARD, "the host answers for the kernel's cache"),
	FLAG(MAP_ALIGNMENT, HOST, HOST, "the window is ours, not the kernel's"),
	FLAG(SUBMOUNTS, FORWARD, FORWARD,
	     "the kernel offers it for its own virtiofs only, not on /dev/fuse"),
	FLAG(HANDLE_KILLPRIV_V2, FORWARD, FORWARD,
	     "the host drops what a write says; until it has, writes go to it"),
	FLAG(SETXATTR_EXT, FORWARD, FORWARD, "changes the size of SETXATTR, which we forward"),
	FLAG(INIT_EXT, LOCAL, LOCAL, "flags2 is there; stated to the host by ourselves"),
	/* FUSE_INIT_RESERVED is a negative int in the header. */
	{ .bit = UINT64_C(1) << 31,
	  .name = "INIT_RESERVED",
	  .rule = FUSE_INIT_MASK,
	  .rule_dax = FUSE_INIT_MASK,
	  .why = "must not be used" },
	FLAG(SECURITY_CTX, FORWARD, FORWARD, "the host stores the label with what is created"),
	FLAG(HAS_INODE_DAX, MASK, HOST, "FUSE_ATTR_DAX is for our window"),
	FLAG(CREATE_SUPP_GROUP, FORWARD, FORWARD,
	     "the host creates with the caller's group that fits the directory"),
	FLAG(HAS_EXPIRE_ONLY, MASK, MASK,
	     "no notification queue is driven (nor by the kernel's virtiofs); the reply is not "
	     "looked at"),
	FLAG(DIRECT_IO_ALLOW_MMAP, FORWARD, LOCAL,
	     "with a window the kernel's cache of a file is its mappings only"),
	FLAG(PASSTHROUGH, LOCAL, LOCAL, "only granted when there are regions for backing files"),
	FLAG(NO_EXPORT_SUPPORT, FORWARD, FORWARD, "the host says that handles are of no use"),
	FLAG(HAS_RESEND, MASK, MASK,
	     "requests are not taken over by another daemon; the reply is not looked at"),
	FLAG(ALLOW_IDMAP, FORWARD, FORWARD,
	     "the host must bear requests without user; needs default_permissions, which we set"),
	FLAG(OVER_IO_URING, LOCAL, LOCAL, "only granted when our rings are ready"),
	FLAG(REQUEST_TIMEOUT, MASK, MASK,
	     "a host that stalls is found by a probe of ours; one that is slow is let be"),
	FLAG(HAS_IO_URING_BUFPOOL, MASK, MASK, "our rings have buffers of their own"),
};

const struct fuse_init_flag *fuse_init_flags(size_t *ret_count)
{
	*ret_count = ARRAY_SIZE(init_flags);
	return init_flags;
}

const char *fuse_init_rule_name(enum fuse_init_rule rule)
{
	static const char *const names[] = { "forward", "local", "host", "mask" };

	return names[rule];
}

char *fuse_init_flag_names(uint64_t flags, char *buf, size_t size)
{
	size_t at = 0;

	buf[0] = '\0';
	for (unsigned int bit = 0; bit < 64 && at < size; bit++) {
		uint64_t b = UINT64_C(1) << bit;
		const char *name = NULL;

		if (!(flags & b))
			continue;
		for (size_t i = 0; i < ARRAY_SIZE(init_flags); i++)
			if (init_flags[i].bit == b)
				name = init_flags[i].name;
		at += (size_t)(name ? snprintf(buf + at, size - at, "%s%s", at ? " " : "", name)
				    : snprintf(buf + at, size - at, "%sbit%u", at ? " " : "", bit));
	}
	return buf;
}

/* All bits that follow @rule. */
static uint64_t init_mask(enum fuse_init_rule rule, bool dax)
{
	uint64_t mask = 0;

	for (size_t i = 0; i < ARRAY_SIZE(init_flags); i++)
		if ((dax ? init_flags[i].rule_dax : init_flags[i].rule) == rule)
			mask |= init_flags[i].bit;
	return mask;
}

/* What the host may grant to the kernel. */
static uint64_t init_forwarded(const struct fuse_init_wish *wish)
{
	uint64_t mask = init_mask(FUSE_INIT_FORWARD, wish->dax);

	if (wish->truncating_open)
		mask |= FUSE_ATOMIC_O_TRUNC;
	/* A ring's entry cannot be left before its answer: who waits would be in the way of who
	 * unlocks. */
	return wish->io_uring ? mask & ~(uint64_t)(FUSE_POSIX_LOCKS | FUSE_FLOCK_LOCKS) : mask;
}

/* What the kernel sent, extended by zeroes to the newest layout. */
static int init_in_read(const void *in, size_t len, struct fuse_init_in *ret, uint64_t *ret_flags)
{
	struct fuse_init_in i = { 0 };

	if (len < offsetof(struct fuse_init_in, max_readahead))
		return -EPROTO;
	memcpy(&i, in, MIN(len, sizeof(i)));
	if (i.major != FUSE_KERNEL_VERSION || i.minor < FUSE_INIT_MIN_MINOR)
		return -EPROTO;
	*ret_flags = i.flags;
	if (i.flags & FUSE_INIT_EXT)
		*ret_flags |= (uint64_t)i.flags2 << 32;
	*ret = i;
	return 0;
}

int fuse_init_offered(const void *in, size_t len, uint64_t *ret)
{
	struct fuse_init_in kernel;

	return init_in_read(in, len, &kernel, ret);
}

int fuse_init_to_host(const void *in, size_t len, const struct fuse_init_wish *wish,
		      struct fuse_init_in *ret)
{
	struct fuse_init_in kernel;
	uint64_t offered, flags;
	int r;

	r = init_in_read(in, len, &kernel, &offered);
	if (r < 0)
		return r;
	flags = offered & init_forwarded(wish);
	if (wish->dax)
		flags |= init_mask(FUSE_INIT_HOST, true);

	/* The host's side of what is local to us: we bear all of it. */
	flags |=
		FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_ASYNC_DIO | FUSE_MAX_PAGES | FUSE_INIT_EXT;
	*ret = (struct fuse_init_in){
		.major = FUSE_KERNEL_VERSION,
		.minor = MIN(kernel.minor, (uint32_t)FUSE_PROTO_MINOR),
		.max_readahead = kernel.max_readahead,
		.flags = (uint32_t)flags,
		.flags2 = (uint32_t)(flags >> 32),
	};
	return 0;
}

/* The host's reply, extended by zeroes; an old host's by what its time took for granted. */
static int init_out_read(const void *out, size_t len, struct fuse_init_out *ret)
{
	struct fuse_init_out o = { 0 };

	if (len < FUSE_COMPAT_22_INIT_OUT_SIZE)
		return -EPROTO;
	memcpy(&o, out, MIN(len, sizeof(o)));
	if (o.major != FUSE_KERNEL_VERSION || o.minor < FUSE_INIT_MIN_MINOR || o.max_write < 4096)
		return -EPROTO;
	if (!(o.flags & FUSE_INIT_EXT))
		o.flags2 = 0;
	if (!(o.flags & FUSE_MAX_PAGES))
		o.max_pages = FUSE_INIT_DEFAULT_MAX_PAGES;
	*ret = o;
	return 0;
}

/*
 * max_background and congestion_threshold are about the queue in front of our workers, not the
 * host's: what waits there in excess is in the way of requests that somebody waits for. 0: the
 * kernel takes its own default.
 */
static uint16_t init_background(uint16_t host, const struct fuse_init_wish *wish)
{
	return wish->max_background ? MIN(host, wish->max_background) : host;
}

int fuse_init_to_kernel(const void *in, size_t in_len, const void *out, size_t len,
			const struct fuse_init_wish *wish, struct fuse_init_out *ret,
			struct fuse_init_result *result)
{
	struct fuse_init_in kernel;
	struct fuse_init_out host;
	uint64_t offered, host_flags, flags;
	uint64_t max_bytes;
	uint32_t minor;
	int r;

	r = init_in_read(in, in_len, &kernel, &offered);
	if (r < 0)
		return r;
	r = init_out_read(out, len, &host);
	if (r < 0)
		return r;

	host_flags = host.flags | (uint64_t)host.flags2 << 32;
	flags = offered & host_flags & init_forwarded(wish);
	flags |= offered & init_mask(FUSE_INIT_LOCAL, wish->dax);
	/* Once it is granted the kernel holds requests back until all rings are registered. */
	if (!wish->io_uring)
		flags &= ~(uint64_t)FUSE_OVER_IO_URING;
	if (!wish->passthrough)
		flags &= ~(uint64_t)FUSE_PASSTHROUGH;

	/* Data of one request: what kernel, host and our buffers all take. */
	max_bytes = MIN(host.max_write, wish->max_write);
	max_bytes = MIN(max_bytes, (uint64_t)MAX(host.max_pages, 1) * 4096);
	if (!(flags & FUSE_MAX_PAGES))
		max_bytes = MIN(max_bytes, (uint64_t)FUSE_INIT_DEFAULT_MAX_PAGES * 4096);
	max_bytes = align_down(max_bytes, 4096);

	minor = MIN(kernel.minor, (uint32_t)FUSE_PROTO_MINOR);
	minor = MIN(minor, host.minor);

	*ret = (struct fuse_init_out){
		.major = FUSE_KERNEL_VERSION,
		.minor = minor,
		.max_readahead = MIN(kernel.max_readahead, host.max_readahead),
		.flags = (uint32_t)flags,
		.flags2 = (uint32_t)(flags >> 32),
		.max_background = init_background(host.max_background, wish),
		.congestion_threshold = init_background(host.congestion_threshold, wish),
		.max_write = (uint32_t)max_bytes,
		.time_gran = host.time_gran ? host.time_gran : 1,
		.max_pages = (uint16_t)(max_bytes / 4096),
	};
	/* Backing files lie on a file system that lies on none. */
	if (flags & FUSE_PASSTHROUGH)
		fuse_init_stack_depth(ret) = 1;
	*result = (struct fuse_init_result){
		.minor = ret->minor,
		.host_flags = host_flags,
		.kernel_flags = flags,
		.max_write = ret->max_write,
		.map_alignment = 4096,
	};
	/* map_alignment is a power of two's exponent (linux/fuse.h). */
	if (host_flags & FUSE_MAP_ALIGNMENT && host.map_alignment > 12 && host.map_alignment < 40)
		result->map_alignment = UINT64_C(1) << host.map_alignment;
	return 0;
}
