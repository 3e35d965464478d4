// SPDX-License-Identifier: MIT
// Taking a virtio PCI device over, opening it, and giving it back.

#include <errno.h>
#include <linux/virtio_pci.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "vfio_pci_priv.h"

static int map_structure(struct virtio_pci *p, const char *name,
			 const struct virtio_pci_place *place, const struct why *why,
			 struct vfio_range *ret)
{
	int r = vfio_map(p->vfio, place->bar, place->off, place->len, ret);

	if (r < 0)
		return why_set(why, r, "cannot map the %s structure of %s: %s", name,
			       p->vfio->addr.text, strerror(-r));
	return 0;
}

static int map_structures(struct virtio_pci *p, const struct why *why)
{
	uint8_t config[PCI_CONFIG_SIZE];
	uint64_t bars[PCI_NUM_BARS];
	int r = vfio_config_read(p->vfio, config);

	if (r < 0)
		return why_set(why, r, "cannot read the configuration space of %s: %s",
			       p->vfio->addr.text, strerror(-r));
	for (unsigned int i = 0; i < PCI_NUM_BARS; i++)
		bars[i] = p->vfio->bars[i].size;
	r = virtio_pci_caps_parse(config, sizeof(config), bars, why, &p->caps);
	if (r < 0)
		return r;
	r = map_structure(p, "common", &p->caps.common, why, &p->common);
	if (r == 0)
		r = map_structure(p, "notify", &p->caps.notify, why, &p->notify);
	if (r == 0)
		r = map_structure(p, "device", &p->caps.device, why, &p->device);
	return r;
}

static int count_queues(struct virtio_pci *p, const struct why *why)
{
	unsigned int n = vfio_read16(&p->common, VIRTIO_PCI_COMMON_NUMQ);

	if (!n)
		return why_set(why, -EPROTO, "the device %s has no queues", p->vfio->addr.text);
	p->kick_off = malloc(n * sizeof(*p->kick_off));
	if (!p->kick_off)
		return -ENOMEM;
	for (unsigned int i = 0; i < n; i++)
		p->kick_off[i] = KICK_NONE;
	p->num_queues = n;
	return 0;
}

static int open_irq(struct virtio_pci *p, const struct why *why)
{
	int r;

	p->irq = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (p->irq < 0)
		return -errno;
	r = vfio_irq_msix(p->vfio, p->irq);
	if (r < 0)
		return why_set(why, r, "cannot get an MSI-X interrupt of %s: %s",
			       p->vfio->addr.text, strerror(-r));
	return 0;
}

static int open_vfio(struct virtio_pci *p, const struct pci_address *addr, const struct why *why)
{
	unsigned int group;
	int r = vfio_group_of(addr, why, &group);

	if (r == 0)
		r = vfio_load(why);
	if (r < 0)
		return r;
	r = pci_take_over(addr, "vfio-pci", why, &p->takeover);
	if (r < 0)
		return r;
	return vfio_open(addr, why, &p->vfio);
}

int virtio_pci_open_at(const struct pci_address *addr, const struct why *why,
		       struct virtio_pci **ret)
{
	struct virtio_pci *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return -ENOMEM;
	p->t.ops = &virtio_pci_ops;
	p->irq = -1;
	r = open_vfio(p, addr, why);
	if (r == 0)
		r = map_structures(p, why);
	if (r == 0) {
		r = virtio_pci_reset(&p->t);
		if (r < 0)
			(void)why_set(why, r, "the device %s does not answer to a reset: %s",
				      addr->text, strerror(-r));
	}
	if (r == 0)
		r = count_queues(p, why);
	if (r == 0)
		r = open_irq(p, why);
	if (r < 0) {
		virtio_pci_free(&p->t);
		return r;
	}
	*ret = p;
	return 0;
}

void virtio_pci_free(struct virtio_transport *t)
{
	struct virtio_pci *p = container_of(t, struct virtio_pci, t);

	if (p->vfio) {
		/* The device must have stopped using our memory before that is unmapped. */
		if (p->common.len && virtio_pci_reset(t) < 0)
			log_dbg("%s: did not reset", p->vfio->addr.text);
		if (p->irq >= 0)
			vfio_irq_off(p->vfio);
		vfio_unmap(&p->window);
		vfio_unmap(&p->device);
		vfio_unmap(&p->notify);
		vfio_unmap(&p->common);
		vfio_close(p->vfio);
	}
	close_keep_errno(p->irq);
	if (!t->lost)
		(void)pci_give_back(&p->takeover);
	free(p->kick_off);
	free(p);
}

int virtio_pci_open(const struct virtio_pci_choice *choice, char *why, size_t why_size,
		    struct virtio_transport **ret)
{
	const struct why w = { why, why_size };
	struct virtio_pci *p = NULL;
	struct pci_address addr;
	int r;

	if (why_size)
		why[0] = '\0';
	r = virtio_pci_choose(VIRTIO_PCI_ID_FS, choice, &w, &addr);
	if (r == 0)
		r = virtio_pci_open_at(&addr, &w, &p);
	if (r < 0) {
		if (why_size && !why[0])
			(void)why_set(&w, r, "%s", strerror(-r));
		return r;
	}
	*ret = &p->t;
	return 0;
}
