/* SPDX-License-Identifier: MIT */
/* The real guest stack against the real host server, in one process, on a temporary directory. */
#pragma once

#include <pthread.h>

#include "dax/dax.h"
#include "fs/client.h"
#include "host/host.h"
#include "virtio/vhost_user.h"

struct stack {
	struct host_config cfg;
	char dir[64]; /* what is shared */
	int dir_fd;

	struct host *host;
	int host_sock;
	int stop_fd; /* eventfd: written, it ends host_serve() */
	pthread_t thread;
	bool serving;
	int served; /* what host_serve() returned */

	struct virtio_transport *t;
	struct fs_dev *dev;
	struct client *client;
	struct client_slot *slot;
	struct dax *dax; /* NULL without a window */
	struct fuse_init_result agreed;
};

#define STACK_SLOT (256 * KIB)

/* stack_new() - a directory and the host for it. @window in bytes. */
void stack_new(struct stack *s, uint64_t window, unsigned int max_mappings);

/* stack_connect() - connect a guest and exchange INIT. */
void stack_connect(struct stack *s);

/* stack_host_dies() - the host leaves without a word. */
void stack_host_dies(struct stack *s);

/* stack_disconnect() - the guest ends; the host can be connected to again. */
void stack_disconnect(struct stack *s);
void stack_free(struct stack *s);

struct stack_call {
	uint32_t opcode;
	uint64_t nodeid;
	const void *arg; /* fixed part */
	size_t arg_len;
	const void *data; /* what follows */
	size_t data_len;
	void *out;
	size_t out_len;
};

/* stack_call() - one raw FUSE request over queue 0 with @slot; payload's length or a negative
 * errno. */
int stack_call(struct stack *s, struct client_slot *slot, int queue, const struct stack_call *c);

/* stack_lookup() - the node id of @name in the root; asserts that it is there. */
uint64_t stack_lookup(struct stack *s, const char *name);

/* stack_open() - OPEN; returns the handle. */
uint64_t stack_open(struct stack *s, uint64_t nodeid, uint32_t flags);

/* stack_file() - make a file of @size bytes of the pattern; returns a descriptor. */
int stack_file(struct stack *s, const char *name, uint64_t size);

/* pattern_at() - the byte at @off of a file whose pattern has this @version. */
static inline unsigned char pattern_at(uint64_t off, unsigned int version)
{
	return (unsigned char)(off * 31 + (off >> 12) * 7 + version * 101 + 3);
}

/* pattern_fill(), pattern_check() - make, or compare; check returns the first wrong index or @len. */
void pattern_fill(void *buf, uint64_t off, size_t len, unsigned int version);
size_t pattern_check(const void *buf, uint64_t off, size_t len, unsigned int version);
