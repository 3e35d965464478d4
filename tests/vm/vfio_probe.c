// SPDX-License-Identifier: MIT
// In a guest: drive a virtio-rng device through the VFIO transport, or open a virtio-fs one.

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../src/virtio/vfio_pci_priv.h"
#include "base/log.h"
#include "base/time.h"
#include "ring/split.h"

#define DIE(...)                                                                                   \
	do {                                                                                       \
		fprintf(stderr, __VA_ARGS__);                                                      \
		fputc('\n', stderr);                                                               \
		exit(1);                                                                           \
	} while (0)
#define TRY(x)                                                                                     \
	do {                                                                                       \
		int r_ = (x);                                                                      \
		if (r_ < 0)                                                                        \
			DIE("%s: %s", #x, strerror(-r_));                                          \
	} while (0)

static void one_request(struct virtio_transport *t, struct ring_split *q, struct dma_arena *a,
			unsigned char *buf, unsigned int len, bool irq)
{
	struct pollfd pfd = { .fd = t->ops->irq_fd(t), .events = POLLIN };
	static uint16_t idx;
	struct dma_seg seg[16];
	int n = dma_segments(a, buf, len, seg, 16);
	uint64_t count = 0, began;

	TRY(n);
	for (int i = 0; i < n; i++)
		q->desc[i] = (struct vring_desc){ htole64(seg[i].addr.v), htole32(seg[i].len),
						  htole16(VRING_DESC_F_WRITE |
							  (i + 1 < n ? VRING_DESC_F_NEXT : 0)),
						  htole16((uint16_t)(i + 1)) };
	ring_store_relaxed(&q->avail->flags, irq ? 0 : VRING_AVAIL_F_NO_INTERRUPT);
	q->avail->ring[idx % q->size] = 0;
	idx++;
	began = time_now_ns();
	ring_store_release(&q->avail->idx, idx);
	ring_full_barrier();
	t->ops->kick(t, 0);
	if (irq) {
		if (poll(&pfd, 1, 5000) != 1)
			DIE("no interrupt; used index %u of %u, status %d",
			    ring_load_acquire(&q->used->idx), idx, t->ops->failed(t));
		if (read(pfd.fd, &count, 8) != 8)
			DIE("eventfd: %m");
	}
	while (ring_load_acquire(&q->used->idx) != idx) {
		if (time_now_ns() - began > 5 * NSEC_PER_SEC)
			DIE("no answer");
		cpu_relax();
	}
	printf("request: %d segments, used len %u of %u, %s, %llu us, bytes %02x %02x %02x .. "
	       "%02x\n",
	       n, le32toh(q->used->ring[(idx - 1) % q->size].len), len, irq ? "irq" : "poll",
	       (unsigned long long)(time_now_ns() - began) / 1000, buf[0], buf[1], buf[2],
	       buf[len - 1]);
}

static void drive(const char *address)
{
	struct virtio_pci *p;
	struct virtio_transport *t;
	struct dma_arena *a;
	struct virtio_queue_setup s = { .index = 0 };
	struct ring_split q;
	char text[300] = "";
	const struct why why = { text, sizeof(text) };
	struct pci_address addr;
	uint64_t features;
	unsigned int n, max;
	uint8_t status;
	bool platform;
	unsigned char *buf;
	struct virtio_window win;
	int r;

	TRY(pci_address_parse(address, &addr));
	r = virtio_pci_open_at(&addr, &why, &p);
	if (r < 0)
		DIE("open: %s (%s)", text, strerror(-r));
	t = &p->t;
	TRY(t->ops->reset(t));
	TRY(t->ops->set_status(t, VIRTIO_CONFIG_S_ACKNOWLEDGE));
	TRY(t->ops->set_status(t, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER));
	TRY(t->ops->get_features(t, &features));
	printf("features %#llx\n", (unsigned long long)features);
	platform = features & (UINT64_C(1) << VIRTIO_F_ACCESS_PLATFORM);
	features &= UINT64_C(1) << VIRTIO_F_VERSION_1 | UINT64_C(1) << VIRTIO_F_ACCESS_PLATFORM;
	TRY(t->ops->set_features(t, features));
	TRY(t->ops->set_status(t, 11));
	TRY(t->ops->get_status(t, &status));
	if (!(status & VIRTIO_CONFIG_S_FEATURES_OK))
		DIE("features refused, status %#x", status);
	TRY(t->ops->num_queues(t, &n));
	TRY(t->ops->queue_max_size(t, 0, &max));
	printf("%u queues, size %u, platform %d\n", n, max, platform);
	TRY(t->ops->queue_max_size(t, n, &max));
	if (max)
		DIE("queue past the end");
	TRY(dma_arena_create(16 * MIB, t->ops->dma_kind, &a));
	TRY(t->ops->dma_map(t, a, platform));
	printf("arena at %p, first page %#llx, huge %d\n", a->base,
	       (unsigned long long)a->pages[0].v, a->pages[511].v == a->pages[0].v + 511 * 4096);
	q.size = s.size = 8;
	s.desc = q.desc = dma_alloc(a, ring_desc_bytes(8), RING_DESC_ALIGN);
	s.avail = q.avail = dma_alloc(a, ring_avail_bytes(8), RING_AVAIL_ALIGN);
	s.used = q.used = dma_alloc(a, ring_used_bytes(8), RING_USED_ALIGN);
	s.desc_iova = dma_iova(a, s.desc);
	s.avail_iova = dma_iova(a, s.avail);
	s.used_iova = dma_iova(a, s.used);
	TRY(t->ops->setup_queue(t, &s));
	if (t->ops->setup_queue(t, &s) != -EPROTO)
		DIE("a queue was set up twice");
	TRY(t->ops->set_status(t, 15));
	buf = dma_alloc(a, 8192, 4096);
	for (int i = 0; i < 3; i++) {
		one_request(t, &q, a, buf, 32, true);
		one_request(t, &q, a, buf, 32, false);
	}
	one_request(t, &q, a, buf, 8192, true);
	printf("window: %s\n", strerror(-t->ops->window(t, &win)));
	TRY(t->ops->failed(t));
	t->ops->close(t);
	dma_arena_destroy(a);
}

static void print_driver(const char *when, const char *address)
{
	struct pci_address addr;
	char driver[PCI_DRIVER_MAX];

	TRY(pci_address_parse(address, &addr));
	TRY(pci_driver(&addr, driver));
	printf("%s: driver \"%s\"\n", when, driver);
}

int main(int argc, char **argv)
{
	log_init("probe", LOG_LEVEL_DEBUG);
	setlinebuf(stdout);
	if (argc == 2) {
		print_driver("before", argv[1]);
		drive(argv[1]);
		print_driver("after", argv[1]);
		return 0;
	}
	if (argc == 3) {
		struct virtio_pci_choice c = {
			.tag = strcmp(argv[1], "-") ? argv[1] : NULL,
			.address = strcmp(argv[2], "-") ? argv[2] : NULL,
		};
		struct virtio_transport *t;
		struct virtio_window w = { 0 };
		char why[300], tag[37] = "";
		int r = virtio_pci_open(&c, why, sizeof(why), &t);

		if (r < 0)
			DIE("%s (%s)", why, strerror(-r));
		TRY(t->ops->read_config(t, 0, tag, 36));
		r = t->ops->window(t, &w);
		printf("tag %s, window %d, %p, %#llx bytes\n", tag, r, w.addr,
		       (unsigned long long)w.size);
		t->ops->close(t);
		return 0;
	}
	DIE("usage: vfio_probe RNG-ADDRESS | vfio_probe TAG|- ADDRESS|-");
}
