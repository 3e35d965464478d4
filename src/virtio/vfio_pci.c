// SPDX-License-Identifier: MIT
// The transport of the product: operations on a modern virtio PCI device.

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/time.h"
#include "ring/split.h"
#include "vfio_pci_priv.h"

#define RESET_WAIT_NS	(5 * NSEC_PER_SEC)
#define FAILED_CHECK_NS (100 * NSEC_PER_MS)
#define CONFIG_TRIES	100
#define STATUS_GONE	0xff /* what a read of a device gives that is not there */
#define VECTOR		0    /* the one MSI-X vector that is used for everything */

static struct virtio_pci *to_pci(struct virtio_transport *t)
{
	return container_of(t, struct virtio_pci, t);
}

/* Remember the first reason. */
static void set_failed(struct virtio_pci *p, int err)
{
	int none = 0;

	/* relaxed: the number is all that is handed on */
	if (atomic_compare_exchange_strong_explicit(&p->failed, &none, err, memory_order_relaxed,
						    memory_order_relaxed))
		log_dbg("%s: device failed: %s", p->vfio->addr.text, strerror(-err));
}

/* What a status says about the health of the device; VIRTIO 1.2, 2.1. */
static int judge_status(struct virtio_pci *p, uint8_t status)
{
	int err;

	if (status == STATUS_GONE)
		err = -ENODEV;
	else if (status & VIRTIO_CONFIG_S_NEEDS_RESET)
		err = -EIO;
	else
		return 0;
	set_failed(p, err);
	return err;
}

static uint8_t read_status(struct virtio_pci *p)
{
	return vfio_read8(&p->common, VIRTIO_PCI_COMMON_STATUS);
}

int virtio_pci_reset(struct virtio_transport *t)
{
	const struct timespec ms = { .tv_nsec = (long)NSEC_PER_MS };
	struct virtio_pci *p = to_pci(t);
	uint64_t end = time_now_ns() + RESET_WAIT_NS;
	uint8_t status;

	p->config_vector = false;
	vfio_write8(&p->common, VIRTIO_PCI_COMMON_STATUS, 0);
	/* VIRTIO 1.2, 4.1.4.3.2: the driver waits until a read of device_status returns 0. */
	while ((status = read_status(p))) {
		if (status == STATUS_GONE) {
			set_failed(p, -ENODEV);
			return -ENODEV;
		}
		if (time_now_ns() > end)
			return -ETIMEDOUT;
		(void)nanosleep(&ms, NULL);
	}
	return 0;
}

static int get_status(struct virtio_transport *t, uint8_t *ret)
{
	struct virtio_pci *p = to_pci(t);
	uint8_t status = read_status(p);

	(void)judge_status(p, status);
	if (status == STATUS_GONE)
		return -ENODEV;
	*ret = status;
	return 0;
}

static int set_status(struct virtio_transport *t, uint8_t status)
{
	struct virtio_pci *p = to_pci(t);

	if (!status)
		return virtio_pci_reset(t);
	vfio_write8(&p->common, VIRTIO_PCI_COMMON_STATUS, status);
	return 0;
}

static int get_features(struct virtio_transport *t, uint64_t *ret)
{
	struct virtio_pci *p = to_pci(t);
	uint64_t low, high;

	vfio_write32(&p->common, VIRTIO_PCI_COMMON_DFSELECT, 0);
	low = vfio_read32(&p->common, VIRTIO_PCI_COMMON_DF);
	vfio_write32(&p->common, VIRTIO_PCI_COMMON_DFSELECT, 1);
	high = vfio_read32(&p->common, VIRTIO_PCI_COMMON_DF);
	*ret = low | high << 32;
	return 0;
}

static int set_features(struct virtio_transport *t, uint64_t features)
{
	struct virtio_pci *p = to_pci(t);

	vfio_write32(&p->common, VIRTIO_PCI_COMMON_GFSELECT, 0);
	vfio_write32(&p->common, VIRTIO_PCI_COMMON_GF, (uint32_t)features);
	vfio_write32(&p->common, VIRTIO_PCI_COMMON_GFSELECT, 1);
	vfio_write32(&p->common, VIRTIO_PCI_COMMON_GF, (uint32_t)(features >> 32));
	return 0;
}

/*
 * VIRTIO 1.2, 4.1.3.1: a field is read in its own width. A call for one aligned field of 2 or 4
 * bytes is taken as such, everything else as an array of bytes. The buffer gets little-endian
 * bytes.
 */
static void read_fields(struct virtio_pci *p, size_t off, uint8_t *buf, size_t len)
{
	if (len == 2 && off % 2 == 0) {
		uint16_t v = htole16(vfio_read16(&p->device, off));

		memcpy(buf, &v, sizeof(v));
	} else if ((len == 4 || len == 8) && off % 4 == 0) {
		for (size_t i = 0; i < len; i += 4) {
			uint32_t v = htole32(vfio_read32(&p->device, off + i));

			memcpy(buf + i, &v, sizeof(v));
		}
	} else {
		for (size_t i = 0; i < len; i++)
			buf[i] = vfio_read8(&p->device, off + i);
	}
}

static int read_config(struct virtio_transport *t, size_t off, void *buf, size_t len)
{
	struct virtio_pci *p = to_pci(t);
	uint8_t before, after;

	if (!range_ok(off, len, p->device.len))
		return -EPROTO;
	/* VIRTIO 1.2, 2.5.1: read again while the device changes it. */
	for (int i = 0; i < CONFIG_TRIES; i++) {
		before = vfio_read8(&p->common, VIRTIO_PCI_COMMON_CFGGENERATION);
		read_fields(p, off, buf, len);
		after = vfio_read8(&p->common, VIRTIO_PCI_COMMON_CFGGENERATION);
		if (before == after)
			return 0;
	}
	return -EPROTO;
}

static int num_queues(struct virtio_transport *t, unsigned int *ret)
{
	*ret = to_pci(t)->num_queues;
	return 0;
}

static int queue_max_size(struct virtio_transport *t, unsigned int index, unsigned int *ret)
{
	struct virtio_pci *p = to_pci(t);
	unsigned int size;

	if (index >= p->num_queues) {
		*ret = 0;
		return 0;
	}
	vfio_write16(&p->common, VIRTIO_PCI_COMMON_Q_SELECT, (uint16_t)index);
	size = vfio_read16(&p->common, VIRTIO_PCI_COMMON_Q_SIZE);
	if (size && !ring_size_ok(size))
		return -EPROTO;
	*ret = size;
	return 0;
}

/* VIRTIO 1.2, 4.1.5.1.2.1: a vector that the device cannot provide reads back as NO_VECTOR. */
static int set_vector(struct virtio_pci *p, uint64_t reg)
{
	vfio_write16(&p->common, reg, VECTOR);
	return vfio_read16(&p->common, reg) == VECTOR ? 0 : -EPROTO;
}

static int setup_queue(struct virtio_transport *t, const struct virtio_queue_setup *s)
{
	struct virtio_pci *p = to_pci(t);
	uint64_t kick;
	unsigned int max;
	int r;

	if (s->index >= p->num_queues || !ring_size_ok(s->size))
		return -EINVAL;
	if (!p->config_vector) {
		r = set_vector(p, VIRTIO_PCI_COMMON_MSIX);
		if (r < 0)
			return r;
		p->config_vector = true;
	}
	r = queue_max_size(t, s->index, &max); /* selects the queue */
	if (r < 0)
		return r;
	if (s->size > max)
		return -EINVAL;
	if (vfio_read16(&p->common, VIRTIO_PCI_COMMON_Q_ENABLE))
		return -EPROTO;
	/* VIRTIO 1.2, 4.1.4.4: cap.offset + queue_notify_off * notify_off_multiplier */
	kick = (uint64_t)vfio_read16(&p->common, VIRTIO_PCI_COMMON_Q_NOFF) *
	       p->caps.notify_multiplier;
	if (!range_ok(kick, sizeof(uint16_t), p->notify.len) || kick >= KICK_NONE)
		return -EPROTO;

	vfio_write16(&p->common, VIRTIO_PCI_COMMON_Q_SIZE, (uint16_t)s->size);
	if (vfio_read16(&p->common, VIRTIO_PCI_COMMON_Q_SIZE) != s->size)
		return -EPROTO;
	r = set_vector(p, VIRTIO_PCI_COMMON_Q_MSIX);
	if (r < 0)
		return r;
	vfio_write64(&p->common, VIRTIO_PCI_COMMON_Q_DESCLO, s->desc_iova.v);
	vfio_write64(&p->common, VIRTIO_PCI_COMMON_Q_AVAILLO, s->avail_iova.v);
	vfio_write64(&p->common, VIRTIO_PCI_COMMON_Q_USEDLO, s->used_iova.v);
	vfio_write16(&p->common, VIRTIO_PCI_COMMON_Q_ENABLE, 1);
	p->kick_off[s->index] = (uint32_t)kick;
	return 0;
}

static int dma_map(struct virtio_transport *t, struct dma_arena *arena, bool platform)
{
	return vfio_map_arena(to_pci(t)->vfio, arena, platform);
}

static int window(struct virtio_transport *t, bool map, struct virtio_window *ret)
{
	struct virtio_pci *p = to_pci(t);
	const struct virtio_pci_place *shm = &p->caps.shm;
	struct pci_bar bars[PCI_NUM_BARS];
	int r;

	if (!shm->len)
		return p->caps.shm_bad ? -EPROTO : -ENODEV;
	r = pci_bars(&p->vfio->addr, bars);
	if (r == 0 && map && !p->window.map)
		r = vfio_map_memory(p->vfio, shm->bar, shm->off, shm->len, &p->window);
	if (r < 0)
		return r;
	*ret = (struct virtio_window){ .addr = p->window.map,
				       .size = shm->len,
				       .phys = bars[shm->bar].start + shm->off };
	return 0;
}

static int irq_fd(struct virtio_transport *t)
{
	return to_pci(t)->irq;
}

static void kick(struct virtio_transport *t, unsigned int index)
{
	struct virtio_pci *p = to_pci(t);

	if (index < p->num_queues && p->kick_off[index] != KICK_NONE)
		vfio_write16(&p->notify, p->kick_off[index], (uint16_t)index);
}

/*
 * A read of the status leaves the virtual machine, so it is done by one caller every 100 ms; a
 * caller that waits for the device must therefore ask again after that time.
 */
static int failed(struct virtio_transport *t)
{
	struct virtio_pci *p = to_pci(t);
	/* relaxed, here and below: numbers that order nothing else */
	int err = atomic_load_explicit(&p->failed, memory_order_relaxed);
	uint64_t now, last;

	if (err)
		return err;
	now = time_now_ns();
	last = atomic_load_explicit(&p->checked_ns, memory_order_relaxed);
	if (now - last < FAILED_CHECK_NS ||
	    !atomic_compare_exchange_strong_explicit(&p->checked_ns, &last, now,
						     memory_order_relaxed, memory_order_relaxed))
		return 0;
	return judge_status(p, read_status(p));
}

static void place(struct virtio_transport *t, struct virtio_place *ret)
{
	const struct virtio_pci *p = to_pci(t);
	unsigned int group;

	(void)snprintf(ret->address, sizeof(ret->address), "%s", p->vfio->addr.text);
	ret->iommu_group = pci_iommu_group(&p->vfio->addr, &group) == 0 ? (int)group : -1;
	ret->window_bar = p->caps.shm.len ? p->caps.shm.bar : -1;
	ret->window_bar_off = p->caps.shm.off;
}

const struct virtio_transport_ops virtio_pci_ops = {
	.name = "vfio-pci",
	.dma_kind = DMA_PRIVATE,
	.reset = virtio_pci_reset,
	.get_status = get_status,
	.set_status = set_status,
	.get_features = get_features,
	.set_features = set_features,
	.read_config = read_config,
	.num_queues = num_queues,
	.queue_max_size = queue_max_size,
	.setup_queue = setup_queue,
	.dma_map = dma_map,
	.window = window,
	.irq_fd = irq_fd,
	.kick = kick,
	.failed = failed,
	.place = place,
	.close = virtio_pci_free,
};
