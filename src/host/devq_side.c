// SPDX-License-Identifier: MIT
// What the device reads from and writes to the memory of a split virtqueue.

#include <errno.h>
#include <stdlib.h>

#include "base/guard.h"
#include "base/time.h"
#include "host/devq.h"
#include "ring/split.h"

/*
 * The areas are memory that the peer can take away (a ring inside a file that is truncated), so all
 * of it is touched only inside of guard_run(): each public function packs its arguments, and the
 * function that runs guarded takes no lock and owns nothing.
 */

static struct ring_split side_ring(const struct devq_side *s)
{
	return (struct ring_split){ s->desc, s->avail, s->used, s->size };
}

struct side_pop {
	struct devq_side *s;
	const struct mem_table *t;
	struct devq_chain *ret;
	const char *why;
	enum devq_popped result;
};

/* A descriptor in the host's byte order, copied once. */
struct side_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
	uint16_t next;
};

static struct side_desc side_desc_copy(const volatile struct vring_desc *d)
{
	return (struct side_desc){ le64toh(d->addr), le32toh(d->len), le16toh(d->flags),
				   le16toh(d->next) };
}

/* Add the memory of one descriptor to the chain; a reason when it may not be there. */
static const char *side_add(struct side_pop *p, const struct side_desc *d)
{
	struct devq_chain *c = p->ret;
	unsigned int count = c->n_read + c->n_write, before = count;
	bool writable = d->flags & VRING_DESC_F_WRITE;
	int r;

	if (!d->len)
		return "descriptor of length 0";
	if (!writable && c->n_write)
		return "readable descriptor behind a writable one";
	r = mem_gpa(p->t, GPA(d->addr), d->len, writable, c->iov, DEVQ_MAX_IOV, &count);
	if (r == -E2BIG)
		return "chain too long";
	if (r < 0)
		return "descriptor outside of memory";
	if (writable)
		c->n_write += count - before;
	else
		c->n_read += count - before;
	return NULL;
}

/* The table of an indirect descriptor (VIRTIO 1.2, 2.7.5.3). */
static const char *side_indirect(struct side_pop *p, const struct side_desc *in)
{
	unsigned int n = in->len / sizeof(struct vring_desc), seen = 0, i = 0;
	const struct vring_desc *table;
	struct iovec iov[1];
	unsigned int count = 0;

	if (!p->s->indirect)
		return "indirect descriptor that was not negotiated";
	if (in->flags & VRING_DESC_F_NEXT)
		return "indirect descriptor with a next one";
	if (!n || in->len % sizeof(struct vring_desc) || n > DEVQ_MAX_IOV)
		return "indirect table of a wrong size";
	/* One region must hold the table: a table that crosses two is nothing a driver makes. */
	if (mem_gpa(p->t, GPA(in->addr), in->len, false, iov, 1, &count) < 0)
		return "indirect table outside of memory";
	if ((uintptr_t)iov[0].iov_base % sizeof(uint64_t))
		return "indirect table that is not aligned";
	table = iov[0].iov_base;
	for (;;) {
		struct side_desc d = side_desc_copy(&table[i]);
		const char *why;

		if (++seen > n)
			return "loop in an indirect table";
		if (d.flags & VRING_DESC_F_INDIRECT)
			return "indirect descriptor inside of an indirect table";
		why = side_add(p, &d);
		if (why)
			return why;
		if (!(d.flags & VRING_DESC_F_NEXT))
			return NULL;
		i = d.next;
		if (i >= n)
			return "next index outside of an indirect table";
	}
}

static const char *side_chain(struct side_pop *p, uint16_t head)
{
	unsigned int seen = 0, i = head;

	for (;;) {
		struct side_desc d;
		const char *why;

		if (i >= p->s->size)
			return "descriptor index outside of the queue";
		if (++seen > p->s->size)
			return "loop of descriptors";
		d = side_desc_copy(&p->s->desc[i]);
		why = d.flags & VRING_DESC_F_INDIRECT ? side_indirect(p, &d) : side_add(p, &d);
		if (why)
			return why;
		if (d.flags & VRING_DESC_F_INDIRECT || !(d.flags & VRING_DESC_F_NEXT))
			return NULL;
		i = d.next;
	}
}

static void side_pop_guarded(void *arg)
{
	struct side_pop *p = arg;
	struct devq_side *s = p->s;
	/* acquire: the entries were written before the index */
	uint16_t n = ring_load_acquire(&s->avail->idx) - s->next_avail;

	if (!n)
		return;
	p->result = DEVQ_POP_BROKEN;
	if (n > s->size) {
		p->why = "more entries available than the queue has";
		return;
	}
	p->ret->n_read = p->ret->n_write = 0;
	p->ret->head = ring_load_relaxed(&s->avail->ring[s->next_avail & (s->size - 1)]);
	p->why = side_chain(p, p->ret->head);
	if (p->why)
		return;
	s->next_avail++;
	p->result = DEVQ_POP_CHAIN;
}

enum devq_popped devq_side_pop(struct devq_side *s, const struct mem_table *t,
			       struct devq_chain *ret, const char **ret_why)
{
	struct side_pop p = { .s = s, .t = t, .ret = ret, .result = DEVQ_POP_EMPTY };

	if (guard_run(side_pop_guarded, &p) < 0) {
		p.result = DEVQ_POP_BROKEN;
		p.why = "memory of the ring is gone";
	}
	if (p.result == DEVQ_POP_BROKEN)
		*ret_why = p.why;
	return p.result;
}

struct side_push {
	struct devq_side *s;
	uint16_t head;
	uint32_t written;
	bool notify;
};

static void side_push_guarded(void *arg)
{
	struct side_push *p = arg;
	struct devq_side *s = p->s;
	struct ring_split r = side_ring(s);
	struct vring_used_elem *e = &s->used->ring[s->next_used & (s->size - 1)];
	uint16_t old = s->next_used;

	e->id = htole32(p->head);
	e->len = htole32(p->written);
	/* release: the driver sees the entry and the reply before the index */
	ring_store_release(&s->used->idx, ++s->next_used);
	ring_full_barrier();
	if (s->event_idx)
		p->notify =
			ring_need_event(ring_load_relaxed(ring_used_event(&r)), s->next_used, old);
	else
		p->notify = !(ring_load_relaxed(&s->avail->flags) & VRING_AVAIL_F_NO_INTERRUPT);
}

int devq_side_push(struct devq_side *s, uint16_t head, uint32_t written, bool *ret_notify)
{
	struct side_push p = { .s = s, .head = head, .written = written };
	int r = guard_run(side_push_guarded, &p);

	*ret_notify = p.notify;
	return r;
}

struct side_wait {
	struct devq_side *s;
	uint64_t until;
	const atomic_bool *stop;
	bool wanted;
	bool found;
};

static bool side_has_chain(const struct devq_side *s)
{
	/* acquire: as in side_pop_guarded(), which reads the index again */
	return ring_load_acquire(&s->avail->idx) != s->next_avail;
}

static void side_kicks_guarded(void *arg)
{
	struct side_wait *w = arg;
	struct devq_side *s = w->s;
	struct ring_split r = side_ring(s);

	/*
	 * With event indices "no kicks" is said by not moving avail_event: the driver passes it at
	 * most once in 2^16 entries.
	 */
	if (!s->event_idx)
		ring_store_relaxed(&s->used->flags, w->wanted ? 0 : VRING_USED_F_NO_NOTIFY);
	else if (w->wanted)
		ring_store_relaxed(ring_avail_event(&r), s->next_avail);
	if (!w->wanted)
		return;
	ring_full_barrier();
	w->found = side_has_chain(s);
}

int devq_side_kicks(struct devq_side *s, bool wanted)
{
	struct side_wait w = { .s = s, .wanted = wanted };
	int r = guard_run(side_kicks_guarded, &w);

	return r < 0 ? r : w.found;
}

static void side_spin_guarded(void *arg)
{
	struct side_wait *w = arg;

	do {
		for (int i = 0; i < 16; i++) {
			if (side_has_chain(w->s)) {
				w->found = true;
				return;
			}
			cpu_relax();
		}
		/* relaxed: only the wish itself matters */
	} while (time_now_ns() < w->until && !atomic_load_explicit(w->stop, memory_order_relaxed));
}

int devq_side_spin(struct devq_side *s, uint64_t ns, const atomic_bool *stop)
{
	struct side_wait w = { .s = s, .until = time_now_ns() + ns, .stop = stop };
	int r = guard_run(side_spin_guarded, &w);

	return r < 0 ? r : w.found;
}

/* A sleep shorter than this could have been a spin (it includes the wake-up). */
#define QUICK_NS (2 * DEVQ_SPIN_NS)
/* A try may spin for so long in vain: threads need a moment to find their processors. */
#define CREDIT_NS 1000000
#define VAIN_MAX  12u /* then a try is seldom enough: 1 ms in 4096 sleeps */

void devq_spin_ended(struct devq_spin *p, bool found, uint64_t ns)
{
	p->credit_ns += (found ? DEVQ_WAKE_NS : 0) - (int64_t)ns;
	if (p->credit_ns < 0) {
		p->on = false;
		if (p->vain < VAIN_MAX)
			p->vain++;
	} else if (p->credit_ns > CREDIT_NS) {
		p->credit_ns = CREDIT_NS;
		p->vain = 0;
	}
}

void devq_spin_slept(struct devq_spin *p, uint64_t ns)
{
	if (p->on || ns > QUICK_NS || ++p->quick < 1u << p->vain)
		return;
	*p = (struct devq_spin){ .on = true, .credit_ns = CREDIT_NS, .vain = p->vain };
}
