// SPDX-License-Identifier: MIT
// The host device as one piece: FUSE server, window and vhost-user back end put together.

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "host/host.h"
#include "host/shm_map.h"
#include "wire/fuse_req.h"

/* So long the disk blocks of a file that is removed on this machine stay, if the guest knows it. */
#define IDLE_SECONDS 3

struct host {
	struct shm_channel *channel;
	struct shm_map *map;
	struct fuse_server *server;
	struct vhost_backend *backend;
};

static size_t host_handle(void *ctx, const struct iovec *rd, unsigned int n_rd,
			  const struct iovec *wr, unsigned int n_wr)
{
	struct host *h = ctx;

	return fuse_server_handle(h->server, rd, n_rd, wr, n_wr);
}

static void host_disconnected(void *ctx)
{
	struct host *h = ctx;

	host_log_stats(h);
	shm_map_forget(h->map);
	fuse_server_reset(h->server, false);
}

int host_new(const struct host_config *cfg, struct host **ret)
{
	struct host *h = calloc(1, sizeof(*h));
	struct fuse_server_config fs = {
		.root_fd = cfg->root_fd,
		.proc_fd = cfg->proc_fd,
		.cache = cfg->cache,
		.readonly = cfg->readonly,
		.xattr = cfg->xattr,
		.posix_acl = cfg->posix_acl,
		.security_label = cfg->security_label,
		.submounts = cfg->submounts,
		.posix_lock = cfg->posix_lock,
		.flock = cfg->flock,
		.file_handles = cfg->file_handles,
		.max_open = cfg->max_open,
		.max_idle = cfg->max_idle,
		.idle_seconds = IDLE_SECONDS,
		.window = cfg->window,
		.map_remote = cfg->map_remote,
		.inode_dax = cfg->inode_dax,
		.inode_dax_size = cfg->inode_dax_size,
		.quirks = cfg->quirks,
	};
	struct vhost_backend_config vhost = {
		.num_request_queues = cfg->num_request_queues,
		.window = cfg->window,
		.quirks = cfg->quirks,
		.handle = host_handle,
		.disconnected = host_disconnected,
		.ctx = h,
	};
	int r = -ENOMEM;

	if (!h)
		return r;
	h->channel = shm_channel_new();
	if (h->channel)
		h->map =
			shm_map_new(shm_channel_mapper(h->channel), cfg->window, cfg->max_mappings);
	if (h->map) {
		fs.mapper = shm_map_mapper(h->map);
		r = fuse_server_new(&fs, &h->server);
	}
	if (r == 0) {
		memcpy(vhost.tag, cfg->tag, sizeof(vhost.tag));
		vhost.channel = h->channel;
		r = vhost_backend_new(&vhost, &h->backend);
	}
	if (r < 0) {
		host_free(h);
		return r;
	}
	*ret = h;
	return 0;
}

void host_free(struct host *h)
{
	if (!h)
		return;
	vhost_backend_free(h->backend);
	fuse_server_free(h->server);
	shm_map_free(h->map);
	shm_channel_free(h->channel);
	free(h);
}

int host_serve(struct host *h, int sock, int stop_fd)
{
	return vhost_backend_serve(h->backend, sock, stop_fd);
}

void host_log_stats(struct host *h)
{
	struct fuse_server_stats s;
	struct shm_map_stats m;
	char ops[700] = "";
	size_t at = 0;

	fuse_server_stats(h->server, &s);
	shm_map_stats(h->map, &m);
	for (unsigned int i = 0; i < ARRAY_SIZE(s.by_opcode) && at < sizeof(ops); i++) {
		size_t from = at + 1;

		if (!s.by_opcode[i] || !fuse_op_info(i)->name)
			continue;
		at += (size_t)snprintf(ops + at, sizeof(ops) - at, " %s=%llu", fuse_op_name(i),
				       (unsigned long long)s.by_opcode[i]);
		for (size_t j = from; j < at && j < sizeof(ops) && ops[j] != '='; j++)
			ops[j] = (char)tolower((unsigned char)ops[j]);
	}
	log_info("stats: live_mappings=%llu map_total=%llu unmap_total=%llu map_left=%llu "
		 "map_refused=%llu faults=%llu read_bytes=%llu write_bytes=%llu requests=%llu "
		 "nodes=%llu open_nodes=%llu reopened=%llu handles=%llu lock_owners=%llu "
		 "lock_ranges=%llu%s",
		 (unsigned long long)m.live, (unsigned long long)m.mapped,
		 (unsigned long long)m.unmapped, (unsigned long long)m.left,
		 (unsigned long long)m.refused, (unsigned long long)s.faults,
		 (unsigned long long)s.read_bytes, (unsigned long long)s.write_bytes,
		 (unsigned long long)s.requests, (unsigned long long)s.nodes,
		 (unsigned long long)s.open_nodes, (unsigned long long)s.reopened,
		 (unsigned long long)s.handles, (unsigned long long)s.lock_owners,
		 (unsigned long long)s.lock_ranges, ops);
}
