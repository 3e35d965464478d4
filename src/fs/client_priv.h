/* SPDX-License-Identifier: MIT */
/* What the files of the client share. */
#pragma once

#include "fs/client.h"

#define CLIENT_OWN_CAP 4096u /* bytes of request and of reply of our own requests */

/* Kernel numbers never have the top bit (fs/fuse: they count from 0 in steps of 2). */
#define OWN_UNIQUE (UINT64_C(1) << 63)

/* A slot of the pool; waits for one. */
struct client_slot *client_pool_get(struct client *c);
void client_pool_put(struct client *c, struct client_slot *s);

/* One of our own requests. */
struct client_call {
	uint32_t opcode;
	uint64_t nodeid;
	const void *arg; /* the fixed part */
	size_t arg_len;
	const void *array; /* what follows it */
	size_t array_len;
	void *out; /* receives at most out_len bytes of payload */
	size_t out_len;
	bool no_reply;
};

/* client_own_call() - the payload's length or a negative errno, the host's or the device's. */
int client_own_call(struct client *c, const struct client_call *call);

/* Is it a reply to that request? Its length, or -EIO. */
int client_check_reply(const struct client_slot *slot, const struct fuse_in_header *in,
		       uint32_t used);

/* virtq_req.give_up: the slot is @arg. When true, it has a successor. */
bool client_give_up(void *arg);

/* client_spare_put() - one more spare of its size, or one that is free again. */
void client_spare_put(struct client *c, struct client_slot *s);

/* client_keep_successor() - the answer has come after all. */
void client_keep_successor(struct client_slot *s);

/* client_watch() - have the host probed when a request waits too long; client.h. */
void client_watch(struct client *c);
void client_unwatch(struct client *c);
