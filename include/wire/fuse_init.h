/* SPDX-License-Identifier: MIT */
/* FUSE_INIT in both directions: what the kernel and the host learn of each other. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/fuse_proto.h"

/*
 * The kernel's INIT is answered by us, after we have sent an INIT of our own to the host. Each flag
 * follows one rule, and all rules stand in one table (src/wire/fuse_init.c; doc/protocol.md).
 */
enum fuse_init_rule {
	FUSE_INIT_FORWARD, /* the host hears the kernel's wish, the kernel the host's answer */
	FUSE_INIT_LOCAL,   /* between the kernel and us: granted when the kernel offers it */
	FUSE_INIT_HOST,	   /* between us and the host: asked for, never shown to the kernel */
	FUSE_INIT_MASK,	   /* neither side hears of it */
};

struct fuse_init_flag {
	uint64_t bit;
	const char *name; /* without FUSE_ */
	enum fuse_init_rule rule;
	enum fuse_init_rule rule_dax; /* the rule when files are served from the window */
	const char *why;
};

/* fuse_init_flags() - the table; *ret_count entries. Flags that are not in it are masked. */
const struct fuse_init_flag *fuse_init_flags(size_t *ret_count);

const char *fuse_init_rule_name(enum fuse_init_rule rule);

/*
 * fuse_init_flag_names() - "ASYNC_READ POSIX_LOCKS bit63" into @buf, for messages; returns @buf.
 * What does not fit is cut off: FUSE_INIT_NAMES_SIZE is enough for all.
 */
#define FUSE_INIT_NAMES_SIZE 1024
char *fuse_init_flag_names(uint64_t flags, char *buf, size_t size);

struct fuse_init_wish {
	bool dax;		 /* there is a window and it is to be used */
	bool io_uring;		 /* requests may come over io_uring, where the kernel offers it */
	bool passthrough;	 /* files may be passed through, where the kernel offers it */
	bool truncating_open;	 /* OPEN with O_TRUNC is handled (ATOMIC_O_TRUNC) */
	uint32_t max_write;	 /* bytes of data in one request that our buffers take; >= 4096 */
	uint16_t max_background; /* requests that nobody waits for; 0: what the host says */
};

/* What both sides have agreed upon. */
struct fuse_init_result {
	uint32_t minor;		/* of the protocol 7.minor */
	uint64_t host_flags;	/* what the host granted */
	uint64_t kernel_flags;	/* what the kernel was granted */
	uint32_t max_write;	/* bytes */
	uint64_t map_alignment; /* bytes, a power of two; 4096 when the host does not say */
};

/* fuse_init_offered() - the flags of the kernel's INIT; 0 or -EPROTO, as fuse_init_to_host(). */
int fuse_init_offered(const void *in, size_t len, uint64_t *ret);

/*
 * fuse_init_to_host() - make our INIT from the kernel's. @in, @len: the kernel's fixed part, which
 * is shorter before 7.36. Returns 0 or -EPROTO (too short, or not major 7 with minor >= 27, which
 * VIRTIO 1.2, 5.11 demands).
 */
int fuse_init_to_host(const void *in, size_t len, const struct fuse_init_wish *wish,
		      struct fuse_init_in *ret);

/*
 * fuse_init_to_kernel() - make the kernel's reply from the host's. @in: what the kernel sent; @out,
 * @len: the host's fixed part, which is shorter before 7.23. Returns 0, or -EPROTO when the host
 * speaks another major, a minor below 27, or grants nothing sensible (max_write below 4096).
 */
int fuse_init_to_kernel(const void *in, size_t in_len, const void *out, size_t len,
			const struct fuse_init_wish *wish, struct fuse_init_out *ret,
			struct fuse_init_result *result);
