// SPDX-License-Identifier: MIT
// Requests to the host: buffers that the device reaches, and one exchange.

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/counter.h"
#include "base/waiting.h"
#include "client_priv.h"

#define POOL_SLOTS  6u
#define SPARE_SLOTS 2u
#define SMALL_SLOTS (1 + SPARE_SLOTS)

/*
 * What lies before the data of a WRITE, and of a reply. The buffers begin so far before the end of
 * their first page that the data begins on one: the kernel copies page by page, and would
 * otherwise copy each in two parts.
 */
#define REQ_FRONT (sizeof(struct fuse_in_header) + sizeof(struct fuse_write_in))
#define REP_FRONT sizeof(struct fuse_out_header)

static size_t slot_bytes(size_t req_cap, size_t rep_cap)
{
	size_t pages = (req_cap + rep_cap) / PAGE_4K + 6;

	return 2 * PAGE_4K + align_up(req_cap, PAGE_4K) + align_up(rep_cap, PAGE_4K) +
	       align_up(pages * sizeof(struct vring_desc), PAGE_4K);
}

/* A buffer of @cap bytes whose byte @front is the first of a page. */
static char *slot_buffer(struct dma_arena *a, size_t front, size_t cap)
{
	char *page = dma_alloc(a, PAGE_4K + cap, PAGE_4K);

	return page ? page + PAGE_4K - front : NULL;
}

size_t client_arena_size(unsigned int nslots, size_t req_cap, size_t rep_cap)
{
	return (nslots + SPARE_SLOTS) * slot_bytes(req_cap, rep_cap) +
	       (POOL_SLOTS + SMALL_SLOTS + 1) * slot_bytes(CLIENT_OWN_CAP, CLIENT_OWN_CAP);
}

int client_slot_create(struct client *c, size_t req_cap, size_t rep_cap, struct client_slot **ret)
{
	struct dma_arena *a = c->dev->arena;
	struct client_slot *s = calloc(1, sizeof(*s));
	/* Every page may be a segment of its own, and neither buffer need begin on one. */
	unsigned int max = (unsigned int)((req_cap + rep_cap) / PAGE_4K + 6);

	if (!s)
		return -ENOMEM;
	s->req = slot_buffer(a, REQ_FRONT, req_cap);
	s->rep = slot_buffer(a, REP_FRONT, rep_cap);
	s->vreq.table = dma_alloc(a, max * sizeof(struct vring_desc), PAGE_4K);
	s->segs = calloc(max, sizeof(*s->segs));
	if (!s->req || !s->rep || !s->vreq.table || !s->segs) {
		client_slot_destroy(s);
		return -ENOMEM;
	}
	s->client = c;
	s->home = &c->spare;
	s->vreq.give_up_arg = s;
	s->req_cap = req_cap;
	s->rep_cap = rep_cap;
	s->max_segs = max;
	s->vreq.table_iova = dma_iova(a, s->vreq.table);
	/* An indirect table must be contiguous for the device: only its first run counts. */
	s->vreq.table_max = max;
	for (unsigned int n = 1; n < max; n++) {
		struct dma_seg seg;

		if (dma_segments(a, s->vreq.table, (n + 1) * sizeof(struct vring_desc), &seg, 1) <
		    0) {
			s->vreq.table_max = n;
			break;
		}
	}
	*ret = s;
	return 0;
}

void client_slot_destroy(struct client_slot *s)
{
	if (!s)
		return;
	chan_pipe_free(s->pipe);
	free(s->segs);
	free(s);
}

int client_add_spares(struct client *c, size_t req_cap, size_t rep_cap)
{
	for (unsigned int i = 0; i < SPARE_SLOTS; i++) {
		struct client_slot *s;
		int r = client_slot_create(c, req_cap, rep_cap, &s);

		if (r < 0)
			return r;
		client_spare_put(c, s);
	}
	return 0;
}

static void slots_destroy(struct client_slot *list)
{
	while (list) {
		struct client_slot *s = list;

		list = s->next;
		client_slot_destroy(s);
	}
}

int client_create(struct fs_dev *dev, struct client **ret)
{
	struct client *c = calloc(1, sizeof(*c));
	int r = c ? 0 : -ENOMEM;

	if (r < 0)
		return r;
	c->dev = dev;
	(void)pthread_mutex_init(&c->lock, NULL);
	(void)pthread_cond_init(&c->freed, NULL);
	for (unsigned int i = 0; r == 0 && i < POOL_SLOTS + SMALL_SLOTS; i++) {
		struct client_slot *s;

		r = client_slot_create(c, CLIENT_OWN_CAP, CLIENT_OWN_CAP, &s);
		if (r == 0) {
			s->home = i < POOL_SLOTS ? &c->pool : &c->small;
			client_spare_put(c, s);
		}
	}
	if (r == 0)
		r = client_slot_create(c, CLIENT_OWN_CAP, CLIENT_OWN_CAP, &c->probe);
	if (r < 0) {
		client_destroy(c);
		return r;
	}
	client_watch(c);
	*ret = c;
	return 0;
}

void client_destroy(struct client *c)
{
	if (!c)
		return;
	client_unwatch(c);
	client_slot_destroy(c->probe);
	slots_destroy(c->pool);
	slots_destroy(c->spare);
	slots_destroy(c->small);
	slots_destroy(c->late);
	(void)pthread_mutex_destroy(&c->lock);
	(void)pthread_cond_destroy(&c->freed);
	free(c);
}

struct client_slot *client_pool_get(struct client *c)
{
	struct client_slot *s;

	scoped_lock(&c->lock);
	while (!c->pool) {
		waiting_begin();
		(void)pthread_cond_wait(&c->freed, &c->lock);
	}
	s = c->pool;
	c->pool = s->next;
	return s;
}

void client_pool_put(struct client *c, struct client_slot *s)
{
	scoped_lock(&c->lock);
	s->next = c->pool;
	c->pool = s;
	(void)pthread_cond_signal(&c->freed);
}

/* What the host writes is copied once and only the copy is used. */
int client_check_reply(const struct client_slot *slot, const struct fuse_in_header *in,
		       uint32_t used)
{
	struct fuse_out_header out = { .len = sizeof(out), .unique = in->unique };

	/* virtiofsd returns the buffers of DESTROY empty, and the kernel's virtiofs takes that. */
	if (!used && in->opcode == FUSE_DESTROY) {
		memcpy(slot->rep, &out, sizeof(out));
		return (int)sizeof(out);
	}
	if (used < sizeof(out))
		return -EIO;
	memcpy(&out, slot->rep, sizeof(out));
	if (out.len < sizeof(out) || out.len > used || out.unique != in->unique || out.error > 0 ||
	    out.error <= -4096 || (out.error && out.len != sizeof(out)))
		return -EIO;
	return (int)out.len;
}

int client_exchange(struct client *c, struct client_slot *slot, int queue, size_t req_len,
		    size_t rep_len)
{
	struct fs_dev *dev = c->dev;
	struct virtq *q =
		queue < 0 ? &dev->hiprio : &dev->request[(unsigned int)queue % dev->num_request];
	/* A copy: the host can write to the slot. */
	const struct fuse_in_header in = *(const struct fuse_in_header *)(const void *)slot->req;
	void (*meanwhile)(void *arg) = steal_ptr(slot->meanwhile);
	uint32_t used = 0;
	int n_out, n_in = 0, r;

	n_out = dma_segments(dev->arena, slot->req, req_len, slot->segs, slot->max_segs);
	if (n_out > 0 && rep_len)
		n_in = dma_segments(dev->arena, slot->rep, rep_len, slot->segs + n_out,
				    slot->max_segs - (unsigned int)n_out);
	if (n_out < 0 || n_in < 0)
		return -E2BIG;
	counter_add(COUNTER_virtqueue_requests, 1);
	slot->vreq.give_up = in.unique & OWN_UNIQUE ? NULL : client_give_up;
	r = virtq_submit(q, &slot->vreq, slot->segs, (unsigned int)n_out, slot->segs + n_out,
			 (unsigned int)n_in);
	if (r == 0) {
		if (meanwhile)
			meanwhile(slot->meanwhile_arg);
		r = virtq_wait(q, &slot->vreq, &used);
	}
	if (r == -EINTR)
		return r;
	client_keep_successor(slot);
	if (r == 0 && rep_len) {
		r = client_check_reply(slot, &in, used);
		if (r < 0)
			fs_dev_break(dev, r);
	}
	if (r < 0)
		counter_add(COUNTER_errors, 1);
	return r;
}
