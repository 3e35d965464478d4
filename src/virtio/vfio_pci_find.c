// SPDX-License-Identifier: MIT
// Choosing the device: by tag, by address, or because it is the only one.

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "vfio_pci_priv.h"

#define CANDIDATES_MAX 64
#define KERNEL_DRIVER  "virtio-pci"

struct candidate {
	struct pci_address addr;
	char driver[PCI_DRIVER_MAX];
	char tag[VIRTIO_FS_TAG_SIZE + 1];
	int tag_error; /* 0: tag is known */
};

/* The tag of a device that no kernel driver has: open it for a moment. */
static int tag_by_opening(const struct pci_address *addr, const struct why *why, char *ret)
{
	struct virtio_pci *p = NULL;
	int r = virtio_pci_open_at(addr, why, &p);

	if (r < 0)
		return r;
	r = p->t.ops->read_config(&p->t, 0, ret, VIRTIO_FS_TAG_SIZE);
	ret[r < 0 ? 0 : VIRTIO_FS_TAG_SIZE] = '\0';
	virtio_pci_free(&p->t);
	return r;
}

/* @may_open: even of a device that must be opened for that. */
static void read_tag(struct candidate *c, bool may_open, const struct why *why)
{
	if (!strcmp(c->driver, KERNEL_DRIVER))
		c->tag_error = virtio_pci_kernel_tag(&c->addr, c->tag);
	else if (c->driver[0] && strcmp(c->driver, "vfio-pci"))
		c->tag_error = -EBUSY;
	else if (may_open)
		c->tag_error = tag_by_opening(&c->addr, why, c->tag);
	log_dbg("%s: driver %s, tag %s", c->addr.text, c->driver[0] ? c->driver : "none",
		c->tag_error ? strerror(-c->tag_error) : c->tag);
}

/* "TAG (0000:00:04.0), ..." of all candidates, cut off where @size ends. */
static void list_candidates(const struct candidate *c, unsigned int n, char *text, size_t size)
{
	size_t used = 0;

	text[0] = '\0';
	for (unsigned int i = 0; i < n && used < size; i++) {
		int len = snprintf(text + used, size - used, "%s%s (%s)", i ? ", " : "",
				   c[i].tag_error ? "?" : c[i].tag, c[i].addr.text);

		used += len > 0 ? (size_t)len : 0;
	}
}

/* Refuse what others use. To unbind a mounted file system would take it from under its users. */
static int check_free(struct candidate *c, const struct why *why)
{
	char where[256];
	int r;

	if (!c->driver[0] || !strcmp(c->driver, "vfio-pci"))
		return 0;
	if (strcmp(c->driver, KERNEL_DRIVER))
		return why_set(why, -EBUSY, "%s is used by the driver %s", c->addr.text, c->driver);
	if (c->tag_error == -EAGAIN)
		read_tag(c, false, why);
	/* Where the tag cannot be known every mounted virtiofs may be this one. */
	r = virtio_pci_mounted(c->tag_error ? NULL : c->tag, where, sizeof(where));
	if (r < 0)
		return why_set(why, r, "cannot find out what is mounted: %s", strerror(-r));
	if (r && c->tag_error)
		return why_set(why, -EBUSY,
			       "the kernel has a virtiofs mounted on %s, which may be %s; unmount "
			       "it first",
			       where, c->addr.text);
	if (r)
		return why_set(why, -EBUSY,
			       "the kernel has \"%s\" (%s) mounted on %s; unmount it first", c->tag,
			       c->addr.text, where);
	return 0;
}

int virtio_pci_check_free(const struct pci_address *addr, const struct why *why)
{
	struct candidate c = { .addr = *addr, .tag_error = -EAGAIN };
	int r = pci_driver(addr, c.driver);

	return r < 0 ? why_set(why, r, "cannot see the driver of %s: %s", addr->text, strerror(-r))
		     : check_free(&c, why);
}

static int find_candidates(uint16_t device_id, const char *address, const struct why *why,
			   struct candidate *out)
{
	struct pci_address all[CANDIDATES_MAX], wanted = { 0 };
	unsigned int used = 0;
	int n;

	if (address && pci_address_parse(address, &wanted) < 0)
		return why_set(why, -ENODEV,
			       "\"%s\" is no PCI address (one looks like 0000:00:04.0)", address);
	n = pci_find(VIRTIO_PCI_VENDOR, device_id, all, CANDIDATES_MAX);
	if (n < 0 && n != -ENXIO)
		return why_set(why, n, "cannot look for PCI devices: %s", strerror(-n));
	for (int i = 0; i < n; i++) {
		struct candidate c = { .addr = all[i], .tag_error = -EAGAIN };

		if (address && strcmp(all[i].text, wanted.text))
			continue;
		if (pci_driver(&c.addr, c.driver) < 0)
			continue;
		out[used++] = c;
	}
	if (!used && address)
		return why_set(why, -ENODEV, "there is no virtio-fs device at %s", wanted.text);
	if (!used)
		return why_set(why, -ENODEV, "this machine has no virtio-fs device (PCI %04x:%04x)",
			       VIRTIO_PCI_VENDOR, device_id);
	return (int)used;
}

int virtio_pci_choose(uint16_t device_id, const struct virtio_pci_choice *choice,
		      const struct why *why, struct pci_address *ret)
{
	struct candidate c[CANDIDATES_MAX], *found = NULL;
	char list[256], tag_why[256] = "";
	const struct why tw = { tag_why, sizeof(tag_why) };
	unsigned int matches = 0;
	int n = find_candidates(device_id, choice->address, why, c), r;

	if (n < 0)
		return n;
	for (int i = 0; i < n; i++) {
		if (choice->tag || n > 1)
			read_tag(&c[i], choice->tag, &tw);
		if (choice->tag && (c[i].tag_error || strcmp(c[i].tag, choice->tag)))
			continue;
		found = &c[i];
		matches++;
	}
	list_candidates(c, (unsigned int)n, list, sizeof(list));
	if (matches > 1)
		return why_set(why, -ENOTUNIQ,
			       choice->tag ? "several virtio-fs devices have this tag, name one by "
					     "its address: %s"
					   : "several virtio-fs devices, name one by its tag: %s",
			       list);
	if (!matches) {
		for (int i = 0; i < n; i++) {
			if (c[i].tag_error)
				return why_set(why, c[i].tag_error, "cannot read the tag of %s: %s",
					       c[i].addr.text,
					       tag_why[0] ? tag_why : strerror(-c[i].tag_error));
		}
		return why_set(why, -ENODEV, "no virtio-fs device has the tag \"%s\"; there is %s",
			       choice->tag, list);
	}
	r = check_free(found, why);
	if (r < 0)
		return r;
	*ret = found->addr;
	return 0;
}
