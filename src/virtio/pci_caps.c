// SPDX-License-Identifier: MIT
// Where a modern virtio PCI device keeps its structures.

#include <endian.h>
#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/virtio_pci.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/num.h"
#include "virtio/pci_caps.h"

/* VIRTIO 1.2, 4.1.4.3, up to queue_device; what 1.2 added behind it is not used. */
#define COMMON_MIN 56

/* The capability structures, copied out of configuration space; little-endian. */
union vendor_cap {
	struct virtio_pci_cap cap;
	struct virtio_pci_notify_cap notify;
	struct virtio_pci_cap64 shm;
};

/* What a structure of one type must look like. */
struct cap_rule {
	uint8_t type;
	const char *name;
	size_t cap_len; /* bytes of the capability */
	uint64_t min;	/* bytes of the structure */
	uint32_t align; /* of its offset */
	size_t place;	/* in struct virtio_pci_caps */
	bool needed;
};

#define PLACE(field) offsetof(struct virtio_pci_caps, field)

static const struct cap_rule cap_rules[] = {
	{ VIRTIO_PCI_CAP_COMMON_CFG, "common", sizeof(struct virtio_pci_cap), COMMON_MIN, 4,
	  PLACE(common), true },
	{ VIRTIO_PCI_CAP_NOTIFY_CFG, "notify", sizeof(struct virtio_pci_notify_cap), 2, 2,
	  PLACE(notify), true },
	{ VIRTIO_PCI_CAP_ISR_CFG, "isr", sizeof(struct virtio_pci_cap), 1, 1, PLACE(isr), false },
	{ VIRTIO_PCI_CAP_DEVICE_CFG, "device", sizeof(struct virtio_pci_cap), 1, 4, PLACE(device),
	  true },
	{ VIRTIO_PCI_CAP_SHARED_MEMORY_CFG, "shared memory", sizeof(struct virtio_pci_cap64),
	  PAGE_4K, PAGE_4K, PLACE(shm), false },
};

static uint32_t get_le32(const void *field)
{
	uint32_t v;

	memcpy(&v, field, sizeof(v));
	return le32toh(v);
}

static struct virtio_pci_place *place_of(struct virtio_pci_caps *c, const struct cap_rule *rule)
{
	return (struct virtio_pci_place *)(void *)((char *)c + rule->place);
}

static const struct cap_rule *rule_of(uint8_t type)
{
	for (size_t i = 0; i < ARRAY_SIZE(cap_rules); i++) {
		if (cap_rules[i].type == type)
			return &cap_rules[i];
	}
	return NULL;
}

/* NULL and *ret when the structure is possible; else why it is not. */
static const char *check_cap(const union vendor_cap *v, const struct cap_rule *rule, size_t room,
			     const uint64_t *bars, struct virtio_pci_place *ret)
{
	struct virtio_pci_place p;
	uint32_t mult;

	if (v->cap.cap_len < rule->cap_len || room < rule->cap_len)
		return "its capability is too short";
	p.bar = v->cap.bar;
	p.off = get_le32(&v->cap.offset);
	p.len = get_le32(&v->cap.length);
	if (rule->type == VIRTIO_PCI_CAP_SHARED_MEMORY_CFG) {
		p.off |= (uint64_t)get_le32(&v->shm.offset_hi) << 32;
		p.len |= (uint64_t)get_le32(&v->shm.length_hi) << 32;
	}
	if (p.bar >= PCI_NUM_BARS)
		return "there is no such BAR";
	if (!bars[p.bar])
		return "its BAR is absent";
	if (!range_ok(p.off, p.len, bars[p.bar]))
		return "it reaches past its BAR";
	if (p.off % rule->align)
		return "it is misaligned";
	if (p.len < rule->min)
		return "it is too small";
	if (rule->type == VIRTIO_PCI_CAP_NOTIFY_CFG) {
		/* VIRTIO 1.2, 4.1.4.4.1: "an even power of 2, or present as 0" */
		mult = get_le32(&v->notify.notify_off_multiplier);
		if (mult && (mult == 1 || !is_pow2(mult)))
			return "its multiplier is not a power of two";
	}
	if (rule->type == VIRTIO_PCI_CAP_SHARED_MEMORY_CFG)
		p.len = align_down(p.len, PAGE_4K);
	*ret = p;
	return NULL;
}

static bool overlaps(const struct virtio_pci_place *a, const struct virtio_pci_place *b)
{
	if (!a->len || !b->len || a->bar != b->bar)
		return false;
	return a->off < b->off ? b->off - a->off < a->len : a->off - b->off < b->len;
}

/* Registers inside the window would be written to by whoever writes a file. */
static bool shm_overlaps(const struct virtio_pci_caps *c)
{
	return overlaps(&c->shm, &c->common) || overlaps(&c->shm, &c->notify) ||
	       overlaps(&c->shm, &c->isr) || overlaps(&c->shm, &c->device);
}

/* State of one walk: what was found, and what was refused of each type. */
struct caps_walk {
	const uint8_t *config;
	size_t size;
	const uint64_t *bars;
	struct virtio_pci_caps caps;
	const char *bad[ARRAY_SIZE(cap_rules)];
};

static void take_cap(struct caps_walk *w, uint8_t pos)
{
	size_t room = MIN(w->size - pos, sizeof(union vendor_cap));
	union vendor_cap v = { 0 };
	const struct cap_rule *rule;
	struct virtio_pci_place *place;
	const char *bad;

	if (room < sizeof(v.cap))
		return;
	memcpy(&v, w->config + pos, room);
	if (v.cap.cfg_type == VIRTIO_PCI_CAP_PCI_CFG) {
		if (!w->caps.pci_cfg && room >= sizeof(struct virtio_pci_cfg_cap) &&
		    v.cap.cap_len >= sizeof(struct virtio_pci_cfg_cap))
			w->caps.pci_cfg = pos;
		return;
	}
	rule = rule_of(v.cap.cfg_type);
	if (!rule || (rule->type == VIRTIO_PCI_CAP_SHARED_MEMORY_CFG && v.cap.id != 0))
		return;
	place = place_of(&w->caps, rule);
	if (place->len)
		return;
	bad = check_cap(&v, rule, room, w->bars, place);
	if (bad) {
		log_dbg("virtio: %s structure at %#x passed over: %s", rule->name, pos, bad);
		w->bad[rule - cap_rules] = bad;
	} else if (rule->type == VIRTIO_PCI_CAP_NOTIFY_CFG) {
		w->caps.notify_multiplier = get_le32(&v.notify.notify_off_multiplier);
	}
}

static const char *list_error(int err)
{
	switch (err) {
	case -ELOOP:
		return "goes round in a circle";
	case -ENODATA:
		return "leaves the configuration space";
	default:
		return "points into the header";
	}
}

int virtio_pci_caps_parse(const uint8_t *config, size_t size, const uint64_t bars[PCI_NUM_BARS],
			  const struct why *why, struct virtio_pci_caps *ret)
{
	struct caps_walk w = { .config = config, .size = size, .bars = bars };
	struct pci_cap_iter it;
	uint8_t pos, id;
	int r;

	pci_cap_begin(&it, config, size);
	while ((r = pci_cap_next(&it, &pos, &id)) > 0) {
		if (id == PCI_CAP_ID_VNDR)
			take_cap(&w, pos);
	}
	if (r < 0)
		return why_set(why, -EPROTO, "the device's list of capabilities %s", list_error(r));

	for (size_t i = 0; i < ARRAY_SIZE(cap_rules); i++) {
		if (!cap_rules[i].needed || place_of(&w.caps, &cap_rules[i])->len)
			continue;
		if (w.bad[i])
			return why_set(why, -EPROTO, "the device's %s structure is impossible: %s",
				       cap_rules[i].name, w.bad[i]);
		return why_set(why, -ENOTSUP,
			       "the device has no %s structure, so it is not a modern one",
			       cap_rules[i].name);
	}
	w.caps.shm_bad = !w.caps.shm.len && w.bad[ARRAY_SIZE(cap_rules) - 1];
	if (shm_overlaps(&w.caps)) {
		w.caps.shm = (struct virtio_pci_place){ 0 };
		w.caps.shm_bad = true;
	}
	*ret = w.caps;
	return 0;
}

int virtio_pci_caps_read(const struct pci_address *addr, const struct why *why,
			 struct virtio_pci_caps *ret, struct pci_bar ret_bars[PCI_NUM_BARS])
{
	uint8_t config[PCI_CONFIG_SIZE];
	uint64_t sizes[PCI_NUM_BARS];
	int n = pci_read_config(addr, config), r;

	r = n < 0 ? n : pci_bars(addr, ret_bars);
	if (r < 0)
		return why_set(why, r, "cannot read the configuration space of %s: %s", addr->text,
			       strerror(-r));
	for (unsigned int i = 0; i < PCI_NUM_BARS; i++)
		sizes[i] = ret_bars[i].size;
	return virtio_pci_caps_parse(config, (size_t)n, sizes, why, ret);
}
