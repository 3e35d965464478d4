/* SPDX-License-Identifier: MIT */
/* A FUSE server on a directory of its own, and calls of it: for the tests of vfsdaxhost. */
#pragma once

#include "base/num.h"
#include "host/fuse_server.h"
#include "wire/fuse_req.h"

#define WINDOW (4 * MIB)

/* A window of ordinary memory: files are really mapped into it. */
struct fake_mapper {
	struct mapper mapper;
	char *window;
	unsigned int maps, unmaps;
	bool writable;
	int refuse; /* errno to answer with */
};

struct fixture {
	char dir[64];
	int fd;
	struct fuse_server *s;
	struct fake_mapper map;
	char reply[70000]; /* of the last call, behind the header */
	size_t reply_len;
	uint64_t unique;
	uint32_t uid, gid;
};

void config(struct fixture *f, struct fuse_server_config *cfg);
/* Send a request of @len bytes behind the header; returns the error of the reply. */
int call_room(struct fixture *f, uint32_t opcode, uint64_t nodeid, const void *arg, size_t len,
	      size_t room);
int call(struct fixture *f, uint32_t opcode, uint64_t nodeid, const void *arg, size_t len);
/* A request of a fixed part and up to two names. */
int call_names(struct fixture *f, uint32_t opcode, uint64_t nodeid, const void *arg, size_t len,
	       const char *a, const char *b);
int init(struct fixture *f, uint64_t flags);
/* LOOKUP; returns the nodeid or 0 and *ret_error. */
uint64_t lookup(struct fixture *f, uint64_t dir, const char *name, int *ret_error);
void forget(struct fixture *f, uint64_t nodeid, uint64_t n);
int open_file(struct fixture *f, uint64_t nodeid, uint32_t flags, uint64_t *ret_fh);
void put_file(struct fixture *f, const char *name, const void *data, size_t len);
int host_fuse_setup(void **state);
int host_fuse_teardown(void **state);
void restart(struct fixture *f, const struct fuse_server_config *cfg);
uint64_t nodes(struct fixture *f);
/* As call(), for any thread: its reply goes to @reply. */
int call_unlocked(struct fuse_server *s, uint32_t op, uint64_t node, const void *arg, size_t len,
		  void *reply, size_t room);
