/* SPDX-License-Identifier: MIT */
/* The host device as one piece: FUSE server, window and vhost-user back end put together. */
#pragma once

#include "host/fuse_server.h"
#include "host/vhost_backend.h"

struct host_config {
	int root_fd; /* the shared directory; dup'ed */
	int proc_fd; /* /proc/self/fd or -1, as in fuse_server_config */
	char tag[VHOST_TAG_MAX];
	unsigned int num_request_queues;
	uint64_t window; /* bytes, a multiple of 4 KiB; 0: none */
	unsigned int max_mappings;
	bool map_remote; /* as in fuse_server_config */
	enum fuse_cache cache;
	bool readonly;
	bool xattr;
	bool posix_acl;
	bool security_label;
	bool submounts;
	bool posix_lock;
	bool flock;
	enum fuse_inode_dax inode_dax;
	uint64_t inode_dax_size;
	struct host_quirks quirks;
	enum fuse_file_handles file_handles; /* this and the next as in fuse_server_config */
	uint64_t max_open;
	uint64_t max_idle;
};

struct host;

/* Returns 0 or a negative errno. guard_init() must have been called. */
int host_new(const struct host_config *cfg, struct host **ret);
void host_free(struct host *h);

/*
 * host_serve() - serve one connected socket to its end, as vhost_backend_serve(); logs the
 * statistics when it is over.
 */
int host_serve(struct host *h, int sock, int stop_fd);

/* host_log_stats() - one line "stats: key=value ..."; any thread. */
void host_log_stats(struct host *h);
