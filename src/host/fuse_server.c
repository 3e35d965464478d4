// SPDX-License-Identifier: MIT
// The FUSE server: its life, and one request from iovecs to a reply.

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/log.h"
#include "base/time.h"
#include "host/fs.h"

#define FS_OP_ENTRY(code, name) [FUSE_##code] = fs_op_##name,
static fs_op *const fs_ops[FUSE_OP_MAX] = { FS_OPS(FS_OP_ENTRY) };

int fs_put(struct fs_call *c, const void *buf, size_t len)
{
	int r = iov_cursor_write(&c->out, buf, len);

	if (r < 0)
		return r == -ENOSPC ? -ERANGE : r;
	c->data += len;
	return 0;
}

int fs_put_entry(struct fs_call *c, struct fs_inode *i, const struct statx *stx)
{
	struct fuse_entry_out out;

	fs_entry_fill(c, i, stx, &out);
	return fs_put(c, &out, sizeof(out));
}

/*
 * The fixed part of a reply must fit before anything is done. Not so for GETXATTR and LISTXATTR,
 * whose fixed part is there only when the size is asked, and READLINK, whose length is what it is.
 */
static bool fs_room_ok(const struct fs_call *c)
{
	const struct fuse_op_info *op = c->req.op;

	return op->out_sized || c->req.h->opcode == FUSE_READLINK || op->out_size <= c->room;
}

static int fs_run(struct fs_call *c)
{
	struct fuse_server *s = c->s;
	uint32_t opcode = c->req.h->opcode;
	int r;

	if (opcode == FUSE_INIT || opcode == FUSE_DESTROY) {
		if (opcode == FUSE_DESTROY) {
			fuse_server_reset(s, true);
			return 0;
		}
		/* A guest that was reset comes back without DESTROY. */
		fuse_server_reset(s, true);
		(void)pthread_rwlock_wrlock(&s->session);
		r = fs_op_init(c);
		s->inited = r == 0;
		/* Not earlier: the thread must inherit the seccomp filter. */
		if (r == 0)
			fs_closer_start(s);
		(void)pthread_rwlock_unlock(&s->session);
		return r;
	}
	if (!fs_ops[opcode])
		return -ENOSYS;
	(void)pthread_rwlock_rdlock(&s->session);
	r = s->inited ? fs_ops[opcode](c) : -EIO;
	(void)pthread_rwlock_unlock(&s->session);
	return r;
}

/* Copy what has to be looked at into @buf (or memory of its own) and check it. */
static int fs_take(struct fs_call *c, const struct iovec *rd, unsigned int n_rd, size_t total,
		   void *buf, size_t buf_size, void **ret_own)
{
	struct fuse_in_header *h = buf;
	size_t len = total;
	int r;

	/* Here @buf holds the header. */
	if (h->opcode == FUSE_WRITE)
		len = MIN(total, sizeof(*h) + sizeof(struct fuse_write_in));
	if (len > FS_MAX_REQUEST)
		return -E2BIG;
	if (len > buf_size) {
		*ret_own = malloc(len);
		if (!*ret_own)
			return -ENOMEM;
		memcpy(*ret_own, buf, sizeof(*h));
		buf = *ret_own;
	}
	iov_cursor_init(&c->in, rd, n_rd);
	(void)iov_cursor_skip(&c->in, sizeof(*h));
	r = iov_cursor_read(&c->in, (char *)buf + sizeof(*h), len - sizeof(*h));
	if (r < 0)
		return r;
	return fuse_req_parse(buf, len, total, &c->req);
}

static bool fs_no_reply(uint32_t opcode)
{
	return fuse_op_info(opcode)->no_reply;
}

/* Descriptors have run out: the guest gets the error each time, the log once. */
static void fs_say_full(struct fuse_server *s)
{
	struct fuse_server_stats stats;

	if (atomic_exchange(&s->full_said, true))
		return;
	fuse_server_stats(s, &stats);
	log_warn("no more files can be opened (RLIMIT_NOFILE): the guest knows %llu and has %llu "
		 "open; "
		 "others get an error until it forgets some",
		 (unsigned long long)stats.nodes, (unsigned long long)stats.handles);
}

size_t fuse_server_handle(struct fuse_server *s, const struct iovec *rd, unsigned int n_rd,
			  const struct iovec *wr, unsigned int n_wr)
{
	_Alignas(8) char buf[4096];
	struct fuse_in_header *h = (void *)buf, head;
	_cleanup_free_ void *own = NULL;
	struct fs_call c = { .s = s };
	struct fuse_out_header out;
	struct iov_cursor cur;
	size_t total, room;
	int r;

	cred_thread_init();
	iov_cursor_init(&cur, rd, n_rd);
	total = iov_cursor_left(&cur);
	if (iov_cursor_read(&cur, h, sizeof(*h)) < 0)
		return 0; /* without a header there is no one to answer */
	head = *h;

	iov_cursor_init(&cur, wr, n_wr);
	room = iov_cursor_left(&cur);
	if (!fs_no_reply(head.opcode) && room < sizeof(out))
		return 0;
	c.out = cur;
	c.room = room - iov_cursor_skip(&c.out, sizeof(out));

	/* relaxed: statistics */
	atomic_fetch_add_explicit(&s->requests, 1, memory_order_relaxed);
	if (head.opcode < FUSE_OP_MAX)
		atomic_fetch_add_explicit(&s->by_opcode[head.opcode], 1, memory_order_relaxed);

	r = fs_take(&c, rd, n_rd, total, buf, sizeof(buf), &own);
	if (r == 0)
		r = fs_room_ok(&c) ? fs_run(&c) : -EINVAL;
	if (r == -EMFILE || r == -ENFILE)
		fs_say_full(s);
	log_dbg("%s node %llu: %d, %zu bytes", fuse_op_name(head.opcode),
		(unsigned long long)head.nodeid, r, c.data);
	if (fs_no_reply(head.opcode))
		return 0;

	/* The kernel takes errors down to -999 (fs/fuse/dev.c). */
	if (r > 0 || r <= -1000)
		r = -EIO;
	if (r < 0)
		c.data = 0;
	out = (struct fuse_out_header){
		.len = (uint32_t)(sizeof(out) + c.data),
		.error = r,
		.unique = head.unique,
	};
	return iov_cursor_write(&cur, &out, sizeof(out)) < 0 ? 0 : out.len;
}

int fuse_server_new(const struct fuse_server_config *cfg, struct fuse_server **ret)
{
	_cleanup_free_ struct fuse_server *s = calloc(1, sizeof(*s));
	pthread_rwlockattr_t attr;
	int r;

	if (!s)
		return -ENOMEM;
	s->cfg = *cfg;
	s->max_idle = cfg->quirks.idle_nodes ? cfg->quirks.idle_nodes : cfg->max_idle;
	s->proc_fd = cfg->proc_fd >= 0 ? fcntl(cfg->proc_fd, F_DUPFD_CLOEXEC, 3)
				       : open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (s->proc_fd < 0)
		return -errno;
	(void)pthread_mutex_init(&s->nodes, NULL);
	time_cond_init(&s->closer_cond);
	(void)pthread_mutex_init(&s->files, NULL);
	(void)pthread_mutex_init(&s->locks, NULL);
	(void)pthread_rwlockattr_init(&attr);
	/* Else INIT, and who closes descriptors, could wait for ever behind requests that overlap. */
	(void)pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	(void)pthread_rwlock_init(&s->session, &attr);
	(void)pthread_rwlock_init(&s->removing, &attr);
	(void)pthread_rwlockattr_destroy(&attr);
	r = fs_inode_init(s);
	if (r < 0)
		fuse_server_free(steal_ptr(s));
	else
		*ret = steal_ptr(s);
	return r;
}

void fuse_server_reset(struct fuse_server *s, bool unmap)
{
	(void)pthread_rwlock_wrlock(&s->session);
	s->inited = false;
	/* relaxed: readers hold session */
	atomic_store_explicit(&s->flags, 0, memory_order_relaxed);
	fs_handle_drop_all(s);
	fs_inode_drop_all(s, false);
	if (unmap && s->cfg.mapper && s->cfg.window)
		(void)s->cfg.mapper->ops->unmap(s->cfg.mapper, WOFF(0), s->cfg.window);
	(void)pthread_rwlock_unlock(&s->session);
}

void fuse_server_free(struct fuse_server *s)
{
	if (!s)
		return;
	fs_closer_stop(s);
	fs_handle_drop_all(s);
	if (s->root)
		fs_inode_drop_all(s, true);
	idmap_free(&s->by_id);
	idmap_free(&s->by_key);
	idmap_free(&s->mounts);
	idmap_free(&s->devices);
	idmap_free(&s->handles);
	idmap_free(&s->lock_owners);
	close_keep_errno(s->proc_fd);
	(void)pthread_mutex_destroy(&s->nodes);
	(void)pthread_mutex_destroy(&s->files);
	(void)pthread_mutex_destroy(&s->locks);
	(void)pthread_rwlock_destroy(&s->session);
	(void)pthread_rwlock_destroy(&s->removing);
	(void)pthread_cond_destroy(&s->closer_cond);
	free(s);
}

void fuse_server_stats(struct fuse_server *s, struct fuse_server_stats *ret)
{
	/* relaxed: single numbers */
	ret->requests = atomic_load_explicit(&s->requests, memory_order_relaxed);
	ret->read_bytes = atomic_load_explicit(&s->read_bytes, memory_order_relaxed);
	ret->write_bytes = atomic_load_explicit(&s->write_bytes, memory_order_relaxed);
	for (unsigned int i = 0; i < FUSE_OP_MAX; i++)
		ret->by_opcode[i] = atomic_load_explicit(&s->by_opcode[i], memory_order_relaxed);
	ret->faults = atomic_load_explicit(&s->faults, memory_order_relaxed);
	(void)pthread_mutex_lock(&s->nodes);
	ret->nodes = s->by_id.count;
	ret->open_nodes = s->n_open;
	ret->reopened = s->reopened;
	(void)pthread_mutex_unlock(&s->nodes);
	(void)pthread_mutex_lock(&s->files);
	ret->handles = s->handles.count;
	(void)pthread_mutex_unlock(&s->files);
	(void)pthread_mutex_lock(&s->locks);
	ret->lock_owners = s->lock_owners.count;
	ret->lock_ranges = s->lock_ranges;
	(void)pthread_mutex_unlock(&s->locks);
}
