// SPDX-License-Identifier: MIT
// A virtio device in memory: the test plays its side of one virtqueue.

#include "unit.h"

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <sys/eventfd.h>

#include "fake_virtio.h"

static struct fake_virtio *fake_of(struct virtio_transport *t)
{
	return container_of(t, struct fake_virtio, t);
}

static int fake_setup_queue(struct virtio_transport *t, const struct virtio_queue_setup *s)
{
	struct fake_virtio *f = fake_of(t);

	f->setup = *s;
	f->ring = (struct ring_split){
		.desc = fake_ptr(f, s->desc_iova.v, ring_desc_bytes(s->size)),
		.avail = fake_ptr(f, s->avail_iova.v, ring_avail_bytes(s->size)),
		.used = fake_ptr(f, s->used_iova.v, ring_used_bytes(s->size)),
		.size = s->size,
	};
	return 0;
}

static int fake_irq_fd(struct virtio_transport *t)
{
	return fake_of(t)->irq;
}

static void fake_kick(struct virtio_transport *t, unsigned int index)
{
	struct fake_virtio *f = fake_of(t);

	must(index == f->setup.index);
	atomic_fetch_add(&f->kicks, 1);
	(void)eventfd_write(f->kick_fd, 1);
}

static int fake_failed(struct virtio_transport *t)
{
	return fake_of(t)->failed;
}

void fake_init(struct fake_virtio *f, uint64_t features, bool scatter)
{
	memset(f, 0, sizeof(*f));
	f->ops = (struct virtio_transport_ops){
		.name = "fake",
		.dma_kind = DMA_SHARED,
		.setup_queue = fake_setup_queue,
		.irq_fd = fake_irq_fd,
		.kick = fake_kick,
		.failed = fake_failed,
	};
	f->t.ops = &f->ops;
	f->features = features;
	f->irq = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	f->kick_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	must(f->irq >= 0 && f->kick_fd >= 0);
	must(dma_arena_create(4 * MIB, DMA_SHARED, &f->arena) == 0);
	for (size_t i = 0; i < f->arena->size / PAGE_4K; i++)
		f->arena->pages[i] = IOVA(FAKE_ARENA_IOVA + (scatter ? i * 3 : i) * PAGE_4K);
}

void fake_fini(struct fake_virtio *f)
{
	dma_arena_destroy(f->arena);
	(void)close(f->irq);
	(void)close(f->kick_fd);
}

void *fake_ptr(const struct fake_virtio *f, uint64_t iova, size_t len)
{
	const struct dma_arena *a = f->arena;
	size_t first, last;

	must(iova >= FAKE_ARENA_IOVA);
	first = (size_t)(iova - FAKE_ARENA_IOVA) / PAGE_4K;
	last = (size_t)(iova - FAKE_ARENA_IOVA + (len ? len - 1 : 0)) / PAGE_4K;
	for (size_t i = 0; i < a->size / PAGE_4K; i++) {
		if (a->pages[i].v != FAKE_ARENA_IOVA + first * PAGE_4K)
			continue;
		/* All pages of the range must be neighbours for the device and in memory. */
		for (size_t j = 1; j <= last - first; j++)
			must(i + j < a->size / PAGE_4K &&
			     a->pages[i + j].v == a->pages[i].v + j * PAGE_4K);
		return (char *)a->base + i * PAGE_4K + iova % PAGE_4K;
	}
	must(!"an address that is none");
	return NULL;
}

unsigned int fake_pending(const struct fake_virtio *f)
{
	return (uint16_t)(ring_load_acquire(&f->ring.avail->idx) - f->last_avail);
}

static void fake_add(struct fake_virtio *f, struct fake_chain *c, const struct vring_desc *d)
{
	char *p = fake_ptr(f, le64toh(d->addr), le32toh(d->len));
	uint32_t len = le32toh(d->len);

	must(len > 0);
	if (le16toh(d->flags) & VRING_DESC_F_WRITE) {
		must(c->n_in < FAKE_MAX_DESCS);
		c->in[c->n_in].p = p;
		c->in[c->n_in++].len = len;
		c->in_bytes += len;
	} else {
		/* VIRTIO 1.2, 2.7.4.2: device-writable ones come last */
		must(c->n_out < FAKE_MAX_DESCS && !c->n_in);
		c->out[c->n_out].p = p;
		c->out[c->n_out++].len = len;
		c->out_bytes += len;
	}
}

bool fake_take(struct fake_virtio *f, struct fake_chain *ret)
{
	const struct vring_desc *table = f->ring.desc;
	unsigned int size = f->ring.size, at, n = 0;
	uint16_t flags;

	must(fake_pending(f) <= f->ring.size);
	if (!fake_pending(f))
		return false;
	memset(ret, 0, sizeof(*ret));
	at = le16toh(f->ring.avail->ring[f->last_avail++ & (f->ring.size - 1)]);
	must(at < f->ring.size);
	ret->head = (uint16_t)at;
	if (le16toh(table[at].flags) & VRING_DESC_F_INDIRECT) {
		const struct vring_desc *d = &table[at];

		must(f->features & (UINT64_C(1) << VIRTIO_RING_F_INDIRECT_DESC));
		must(le16toh(d->flags) == VRING_DESC_F_INDIRECT);
		must(le32toh(d->len) % sizeof(*d) == 0 && le32toh(d->len));
		ret->indirect = true;
		size = le32toh(d->len) / (unsigned int)sizeof(*d);
		table = fake_ptr(f, le64toh(d->addr), le32toh(d->len));
		at = 0;
	}
	do {
		must(at < size && n++ < f->ring.size);
		flags = le16toh(table[at].flags);
		fake_add(f, ret, &table[at]);
		at = le16toh(table[at].next);
	} while (flags & VRING_DESC_F_NEXT);
	return true;
}

void fake_put(struct fake_virtio *f, uint32_t id, uint32_t len)
{
	struct vring_used_elem *e = &f->ring.used->ring[f->used_idx++ & (f->ring.size - 1)];

	e->id = htole32(id);
	e->len = htole32(len);
}

static bool fake_event_idx(const struct fake_virtio *f)
{
	return f->features & (UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX);
}

void fake_publish(struct fake_virtio *f)
{
	uint16_t old = ring_load_relaxed(&f->ring.used->idx);
	bool wanted;

	ring_store_release(&f->ring.used->idx, f->used_idx);
	ring_full_barrier();
	if (fake_event_idx(f))
		wanted = ring_need_event(ring_load_relaxed(ring_used_event(&f->ring)), f->used_idx,
					 old);
	else
		wanted = !(ring_load_relaxed(&f->ring.avail->flags) & VRING_AVAIL_F_NO_INTERRUPT);
	if (wanted && old != f->used_idx) {
		atomic_fetch_add(&f->interrupts, 1);
		(void)eventfd_write(f->irq, 1);
	}
}

bool fake_idle(struct fake_virtio *f)
{
	if (fake_event_idx(f))
		ring_store_relaxed(ring_avail_event(&f->ring), f->last_avail);
	else
		ring_store_relaxed(&f->ring.used->flags, 0);
	ring_full_barrier();
	return !fake_pending(f);
}

void fake_busy(struct fake_virtio *f)
{
	/* With event indices an old wish is enough: it lies behind. */
	if (!fake_event_idx(f))
		ring_store_relaxed(&f->ring.used->flags, VRING_USED_F_NO_NOTIFY);
}
