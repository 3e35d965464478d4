// SPDX-License-Identifier: MIT
// Does the host still do anything? Asked when a request waits for very long.

#include <errno.h>
#include <time.h>

#include "base/time.h"
#include "client_priv.h"

#define PROBE_WAIT_NS (10 * NSEC_PER_SEC)
#define PROBE_LOOK_NS (10 * NSEC_PER_MS)

/* virtq.on_stall: does the host still do anything at all? See client.h. */
static void client_probe(void *arg)
{
	struct client *c = arg;
	struct client_slot *s = c->probe;
	struct {
		struct fuse_in_header h;
		struct fuse_forget_in in;
	} *forget = (void *)s->req;
	struct timespec pause = { .tv_nsec = (long)PROBE_LOOK_NS };
	uint64_t until = time_now_ns() + PROBE_WAIT_NS;
	int n;

	if (atomic_exchange(&c->probing, true))
		return;
	*forget = (__typeof__(*forget)){
		.h = { .len = sizeof(*forget), .opcode = FUSE_FORGET, .nodeid = FUSE_ROOT_ID },
	};
	n = dma_segments(c->dev->arena, s->req, sizeof(*forget), s->segs, s->max_segs);
	if (n > 0 &&
	    virtq_submit(&c->dev->hiprio, &s->vreq, s->segs, (unsigned int)n, NULL, 0) == 0)
		while (!virtq_done(&c->dev->hiprio, &s->vreq)) {
			if (time_now_ns() > until) {
				/* The slot stays the queue's until the device is reset. */
				fs_dev_break(c->dev, -ENOTCONN);
				return;
			}
			(void)nanosleep(&pause, NULL);
		}
	atomic_store(&c->probing, false);
}

static void set_on_stall(struct client *c, void (*on_stall)(void *arg))
{
	for (unsigned int i = 0; i <= c->dev->num_request; i++) {
		struct virtq *q = i ? &c->dev->request[i - 1] : &c->dev->hiprio;

		q->on_stall_arg = c;
		q->on_stall = on_stall;
	}
}

void client_watch(struct client *c)
{
	set_on_stall(c, client_probe);
}

void client_unwatch(struct client *c)
{
	set_on_stall(c, NULL);
}
