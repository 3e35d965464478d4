// SPDX-License-Identifier: MIT
// The kernel's side, over io_uring: one entry of one of the kernel's queues.

#include <errno.h>
#include <liburing.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/counter.h"
#include "base/log.h"
#include "base/waiting.h"
#include "fs/uring.h"
#include "wire/fuse_uring.h"

/*
 * Theory of operation
 *
 * The kernel writes a request to the two buffers of an entry that waits, and completes its command.
 * The reply is put into the same buffers, and a new command, COMMIT_AND_FETCH, says so and waits
 * for the next request. So an entry is in one of these states:
 *
 *   FETCHING  its command is with the kernel, which owns both buffers
 *   SERVING   the request is ours: uring_serve() runs the relay
 *   REPLIED   the reply is in the buffers and the command in the submission queue, not submitted
 *
 * A command is submitted by the system call that waits for its completion: one call a request. Code
 * of the relay behind the reply may come to wait for somebody (waiting_begin()), and the caller
 * must not wait for that as well: then the command is submitted at once.
 *
 * The copies: a request is joined in the worker's slot, as if it had been read there. WRITE is not
 * copied: its header is put in front of the payload, where there is room for it, and the slot's
 * request is that memory meanwhile. READ is copied from the window to the payload buffer. A host's
 * reply is written to the slot and copied: the payload buffer cannot be lent to the device, because
 * a request of somebody who was killed is given up (client_abandon()) and leaves its buffers to the
 * device, while the kernel uses the entry's again. (WRITE is never given up.)
 */
struct uring {
	struct relay_worker rw; /* rw.payload: the payload buffer */
	struct fuse_uring_req_header *head;
	size_t payload_cap;
	struct iovec iov[2]; /* the buffers, as the kernel wants to hear of them */
	unsigned int queue;
	int fd;
	struct io_uring ring;
	uint64_t commit_id;
	bool replied;
	bool submit; /* REPLIED */
	bool broken;
};

/* Head of the block in the arena: the header buffer, and room for a header in front of the payload.
 */
#define HEAD_BYTES PAGE_4K

bool uring_offered(void)
{
	FILE *f = fopen("/sys/module/fuse/parameters/enable_uring", "re");
	int c = f ? fgetc(f) : EOF;

	if (f)
		(void)fclose(f);
	return c == 'Y';
}

size_t uring_arena_size(unsigned int n, size_t payload_cap)
{
	return n * (HEAD_BYTES + align_up(payload_cap, PAGE_4K));
}

static int uring_command(struct uring *u, enum fuse_uring_cmd cmd)
{
	struct fuse_uring_cmd_req req = { .commit_id = u->commit_id, .qid = (uint16_t)u->queue };
	struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);

	/* Never so: one command is under way at a time. */
	if (!sqe)
		return -EBUSY;
	memset(sqe, 0, 2 * sizeof(*sqe));
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = u->fd;
	sqe->cmd_op = cmd;
	if (cmd == FUSE_IO_URING_CMD_REGISTER) {
		sqe->addr = (uintptr_t)u->iov;
		sqe->len = 2;
	}
	memcpy((char *)sqe + offsetof(struct io_uring_sqe, cmd), &req, sizeof(req));
	return 0;
}

/* Hook of waiting_begin(). */
static void uring_flush(void *arg)
{
	struct uring *u = arg;

	if (!u->submit)
		return;
	u->submit = false;
	(void)io_uring_submit(&u->ring);
}

static void uring_reply(struct relay_worker *w, uint64_t unique, int error, void *payload,
			size_t len)
{
	struct uring *u = (struct uring *)(void *)w;

	if (!error && len > u->payload_cap)
		error = -EIO;
	if (error)
		len = 0;
	else if (payload != w->payload)
		memcpy(w->payload, payload, len);
	fuse_uring_reply(u->head, unique, error, len);
	u->replied = true;
	u->submit = true;
	u->broken = uring_command(u, FUSE_IO_URING_CMD_COMMIT_AND_FETCH) < 0;
}

int uring_create(struct relay *relay, unsigned int queue, size_t slot_cap, size_t payload_cap,
		 struct uring **ret)
{
	struct uring *u = calloc(1, sizeof(*u));
	char *block;
	int r;

	if (!u)
		return -ENOMEM;
	u->rw.relay = relay;
	u->rw.reply = uring_reply;
	u->rw.queue = (int)queue;
	u->queue = queue;
	u->payload_cap = payload_cap;
	block = dma_alloc(relay->client->dev->arena, uring_arena_size(1, payload_cap), PAGE_4K);
	r = block ? client_slot_create(relay->client, slot_cap, slot_cap, &u->rw.slot) : -ENOMEM;
	if (r < 0) {
		uring_destroy(u);
		return r;
	}
	u->head = (struct fuse_uring_req_header *)(void *)block;
	u->rw.payload = block + HEAD_BYTES;
	u->iov[0] = (struct iovec){ .iov_base = u->head, .iov_len = sizeof(*u->head) };
	u->iov[1] = (struct iovec){ .iov_base = u->rw.payload, .iov_len = payload_cap };
	relay_add_worker(relay, &u->rw);
	*ret = u;
	return 0;
}

void uring_destroy(struct uring *u)
{
	if (!u)
		return;
	client_slot_destroy(u->rw.slot);
	free(u);
}

int uring_open(struct uring *u)
{
	struct io_uring_params p = {
		.flags = IORING_SETUP_SQE128 | IORING_SETUP_SINGLE_ISSUER |
			 IORING_SETUP_DEFER_TASKRUN,
	};

	return io_uring_queue_init_params(2, &u->ring, &p);
}

void uring_close(struct uring *u)
{
	io_uring_queue_exit(&u->ring);
}

int uring_register(struct uring *u, int fd)
{
	struct io_uring_cqe *cqe;
	int r;

	u->fd = fd;
	waiting_set_hook(uring_flush, u);
	r = uring_command(u, FUSE_IO_URING_CMD_REGISTER);
	if (r == 0)
		r = io_uring_submit(&u->ring);
	if (r < 0)
		return r;
	/* What is refused is so at once; 0 would be the first request. */
	if (io_uring_peek_cqe(&u->ring, &cqe) == 0 && cqe->res < 0)
		return cqe->res;
	return 0;
}

static void uring_handle(struct uring *u, const struct fuse_uring_req *req)
{
	struct relay_worker *w = &u->rw;
	size_t front = sizeof(req->h) + req->op_len;
	char *kept = w->slot->req, *in_place = (char *)w->payload - front;

	if (req->h.opcode == FUSE_WRITE && front % 8 == 0) {
		fuse_uring_join(u->head, req, in_place);
		w->slot->req = in_place;
		relay_handle(w, req->h.len);
		w->slot->req = kept;
		return;
	}
	fuse_uring_join(u->head, req, kept);
	memcpy(kept + front, w->payload, req->payload_len);
	relay_handle(w, req->h.len);
}

int uring_serve(struct uring *u)
{
	struct fuse_uring_req req;
	struct io_uring_cqe *cqe;
	int r;

	if (u->broken)
		return -EBUSY;
	u->submit = false;
	r = io_uring_submit_and_wait(&u->ring, 1);
	if (r < 0 && r != -EINTR)
		return r;
	if (io_uring_peek_cqe(&u->ring, &cqe) < 0)
		return 0;
	r = cqe->res;
	io_uring_cqe_seen(&u->ring, cqe);
	if (r < 0)
		return r == -ECANCELED || r == -ECONNABORTED ? -ENOTCONN : r;
	r = fuse_uring_parse(u->head, u->payload_cap, &req);
	u->commit_id = u->head->ring_ent_in_out.commit_id;
	u->replied = false;
	if (r == 0 && req.h.len <= u->rw.slot->req_cap) {
		counter_add(COUNTER_uring_requests, 1);
		uring_handle(u, &req);
	}
	/* Without a reply the entry would be lost to the kernel. */
	if (!u->replied) {
		log_warn_ratelimited("a request came over io_uring that does not belong there");
		uring_reply(&u->rw, u->commit_id, -EIO, NULL, 0);
	}
	return 0;
}
