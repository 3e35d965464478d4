// SPDX-License-Identifier: MIT
// Which request goes where: the way of each opcode.

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "base/counter.h"
#include "base/log.h"
#include "fs/chan.h"
#include "relay_priv.h"

/* Opcodes that this project does not know get room for this much of a reply. */
#define UNKNOWN_REPLY (64 * KIB)

/* From here on a reply goes by a pipe (fs/chan_pipe.h), which costs some system calls more. */
#define PIPE_MIN (32 * KIB)

/* The kernel takes no error from here on (fs/fuse/dev.c; include/linux/errno.h). */
#define ERESTARTSYS 512

size_t relay_slot_cap(size_t max_write)
{
	/*
	 * An extended attribute may be of 64 KiB, whatever max_write is. A page for headers, and
	 * one more, because the kernel asks for a little more than it uses.
	 */
	return MAX(max_write, (size_t)XATTR_SIZE_MAX) + 2 * PAGE_4K;
}

static struct fuse_out_header *rep_header(struct relay_req *q)
{
	return (struct fuse_out_header *)(void *)q->w->slot->rep;
}

void *relay_payload(struct relay_req *q)
{
	return q->w->payload ? q->w->payload : rep_header(q) + 1;
}

void relay_add_worker(struct relay *r, struct relay_worker *w)
{
	w->next = r->workers;
	r->workers = w;
}

/* Answer by the slot's pipe; false when the reply must be written. */
static bool relay_reply_pipe(struct relay_worker *w, const void *rep, size_t len)
{
	struct client_slot *s = w->slot;

	if (len < PIPE_MIN || rep != s->rep || s->no_pipe)
		return false;
	if (!s->pipe && chan_pipe_create(s->rep, s->rep_cap, &s->pipe) < 0) {
		s->no_pipe = true;
		return false;
	}
	return chan_pipe_reply(s->pipe, w->fd, len) == 0;
}

void relay_reply_fd(struct relay_worker *w, uint64_t unique, int error, void *payload, size_t len)
{
	struct fuse_out_header *h = payload;

	if (error) {
		chan_reply_error(w->fd, unique, error);
		return;
	}
	*--h = (struct fuse_out_header){ .len = (uint32_t)(sizeof(*h) + len), .unique = unique };
	if (!relay_reply_pipe(w, h, sizeof(*h) + len))
		chan_reply(w->fd, unique, h, sizeof(*h) + len);
}

void relay_answer(struct relay_req *q, int error, size_t len)
{
	q->w->reply(q->w, q->h->unique, error, relay_payload(q), len);
}

int relay_exchange(struct relay_req *q, struct relay_rep *ret)
{
	struct fuse_out_header *h = rep_header(q);
	int32_t error;
	int r = client_exchange(q->r->client, q->w->slot, q->w->queue, q->len, q->rep_cap);

	if (r == -EINTR)
		q->w->slot = client_abandon(q->w->slot);
	if (r < 0)
		return r;
	/*
	 * The length that was checked is kept: the host can still write to the header. An error
	 * that the kernel refuses would leave the caller without an answer.
	 */
	error = h->error;
	q->rep = (struct relay_rep){ .error = error > 0 || error <= -ERESTARTSYS ? -EIO : error,
				     .payload = h + 1,
				     .len = (size_t)r - sizeof(*h) };
	*ret = q->rep;
	return 0;
}

void relay_pass(struct relay_req *q)
{
	q->w->reply(q->w, q->h->unique, q->rep.error, q->rep.payload, q->rep.len);
}

void relay_finish(struct relay_req *q, int r)
{
	if (r < 0)
		relay_answer(q, r, 0);
	else
		relay_pass(q);
}

int relay_forward(struct relay_req *q, struct relay_rep *ret)
{
	struct relay_rep rep;
	int r = relay_exchange(q, &rep);

	relay_finish(q, r);
	if (r < 0)
		return r;
	if (ret)
		*ret = rep;
	return rep.error;
}

static void relay_log_init(const struct relay *r, const void *arg, size_t len,
			   const struct fuse_init_out *out)
{
	char names[FUSE_INIT_NAMES_SIZE];
	uint64_t offered;

	log_dbg("FUSE 7.%u, max_write %u, max_pages %u, max_readahead %u, max_background %u, "
		"time_gran %u",
		out->minor, out->max_write, out->max_pages, out->max_readahead, out->max_background,
		out->time_gran);
	if (fuse_init_offered(arg, len, &offered) == 0)
		log_dbg("kernel offers: %s", fuse_init_flag_names(offered, names, sizeof(names)));
	log_dbg("kernel gets: %s",
		fuse_init_flag_names(r->agreed.kernel_flags, names, sizeof(names)));
	log_dbg("host grants: %s",
		fuse_init_flag_names(r->agreed.host_flags, names, sizeof(names)));
}

static void relay_init(struct relay_req *q)
{
	struct relay *r = q->r;
	struct fuse_init_in to_host;
	struct fuse_init_out host = { 0 }, to_kernel;
	const void *arg = q->w->slot->req + sizeof(*q->h);
	size_t arg_len = q->len - sizeof(*q->h), out_len;
	int e;

	e = fuse_init_to_host(arg, arg_len, &r->wish, &to_host);
	if (e == 0)
		e = client_init(r->client, &to_host, &host, &out_len);
	if (e == 0)
		e = fuse_init_to_kernel(arg, arg_len, &host, out_len, &r->wish, &to_kernel,
					&r->agreed);
	if (e == 0 && r->dax)
		e = dax_set_alignment(r->dax, r->agreed.map_alignment);
	if (e == 0) {
		/* Then OPEN comes before the SETATTR that empties the file, which would get EBUSY. */
		if (!(r->agreed.kernel_flags & FUSE_ATOMIC_O_TRUNC))
			r->pass_write = false;
		r->direct_mmap = r->agreed.kernel_flags & FUSE_DIRECT_IO_ALLOW_MMAP;
		memcpy(relay_payload(q), &to_kernel, sizeof(to_kernel));
		relay_log_init(r, arg, arg_len, &to_kernel);
	}
	relay_answer(q, e, sizeof(to_kernel));
	atomic_store(&r->init_state, e < 0 ? e : 1);
}

/* Requests of which the kernel wants no reply; their buffer is free again when they are done. */
static void relay_hiprio(struct relay_req *q)
{
	(void)client_exchange(q->r->client, q->w->slot, CLIENT_HIPRIO, q->len, 0);
}

/* Somebody who waits got a signal: if it is a deadly one, need not wait any more. */
static void relay_interrupt(struct relay_req *q)
{
	const struct fuse_interrupt_in *in = q->p.arg;

	if (!relay_interrupt_lock(q->r, in->unique))
		relay_hiprio(q);
}

static void forget_node(struct relay *r, uint64_t nodeid)
{
	inode_forget(r->inodes, nodeid);
	if (r->pass)
		pass_forget(r->pass, nodeid);
}

static void relay_forget(struct relay_req *q)
{
	const struct fuse_batch_forget_in *in = q->p.arg;
	const struct fuse_forget_one *one = q->p.rest;

	/* The mappings go first: the host may give the number to another file. */
	if (q->h->opcode == FUSE_FORGET)
		forget_node(q->r, q->h->nodeid);
	else
		for (uint32_t i = 0; i < in->count; i++)
			forget_node(q->r, one[i].nodeid);
	relay_hiprio(q);
}

typedef void (*relay_fn)(struct relay_req *q);

static const relay_fn relay_fns[FUSE_OP_MAX] = {
	[FUSE_INIT] = relay_init,
	[FUSE_FORGET] = relay_forget,
	[FUSE_BATCH_FORGET] = relay_forget,
	[FUSE_INTERRUPT] = relay_interrupt,
	[FUSE_READ] = relay_read,
	[FUSE_WRITE] = relay_write,
	[FUSE_OPEN] = relay_open,
	[FUSE_OPENDIR] = relay_opendir,
	[FUSE_CREATE] = relay_create,
	[FUSE_TMPFILE] = relay_create,
	[FUSE_RELEASE] = relay_release,
	[FUSE_SETATTR] = relay_setattr,
	[FUSE_SETXATTR] = relay_setxattr,
	[FUSE_FALLOCATE] = relay_fallocate,
	[FUSE_COPY_FILE_RANGE] = relay_copy_file_range,
	[FUSE_COPY_FILE_RANGE_64] = relay_copy_file_range,
	[FUSE_GETATTR] = relay_attr,
	[FUSE_STATX] = relay_attr,
	[FUSE_LOOKUP] = relay_entry,
	[FUSE_LINK] = relay_entry,
	[FUSE_MKNOD] = relay_entry,
	[FUSE_READDIRPLUS] = relay_readdirplus,
	[FUSE_FLUSH] = relay_flush,
	[FUSE_FSYNC] = relay_flush,
	[FUSE_SETLK] = relay_setlk,
	[FUSE_SETLKW] = relay_setlk,
};

void relay_handle(struct relay_worker *w, size_t len)
{
	struct relay_req q = {
		.w = w,
		.r = w->relay,
		.len = len,
	};
	relay_fn fn = NULL;

	memcpy(&q.header, w->slot->req, sizeof(q.header));
	q.h = &q.header;
	w->slot->interrupted = &w->interrupted;
	atomic_store(&w->unique, q.header.unique);
	counter_add(COUNTER_kernel_requests, 1);
	q.parsed = fuse_req_parse(w->slot->req, len, len, &q.p) == 0;
	if (q.parsed) {
		q.rep_cap = fuse_req_reply_size(&q.p, w->slot->rep_cap - sizeof(*rep_header(&q)));
		fn = relay_fns[q.h->opcode];
	} else {
		/* Not understood is no reason not to forward it. */
		q.rep_cap = MIN(w->slot->rep_cap, (size_t)UNKNOWN_REPLY);
	}
	if (fn)
		fn(&q);
	else
		(void)relay_forward(&q, NULL);
	atomic_store_explicit(&w->unique, 0, memory_order_relaxed);
	if (atomic_load_explicit(&w->relay->client->any_late, memory_order_relaxed))
		client_collect_late(w->relay->client);
}
