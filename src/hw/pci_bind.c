// SPDX-License-Identifier: MIT
// Moving a PCI device from one driver to another, and back.

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "hw/pci.h"
#include "hw/sysfs.h"

/* driver_override in Documentation/ABI/testing/sysfs-bus-pci; an empty line clears it. */
static int pci_override(const struct pci_address *addr, const char *driver)
{
	char path[128], line[PCI_DRIVER_MAX + 1];

	(void)snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/driver_override", addr->text);
	(void)snprintf(line, sizeof(line), "%s\n", driver);
	return sysfs_write(path, line);
}

int pci_clear_override(const struct pci_address *addr)
{
	return pci_override(addr, "");
}

static int pci_unbind(const struct pci_address *addr)
{
	char path[128];
	int r;

	(void)snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/driver/unbind", addr->text);
	r = sysfs_write(path, addr->text);
	return r == -ENOENT || r == -ENODEV ? 0 : r; /* no driver, or not any more */
}

static int pci_probe(const struct pci_address *addr)
{
	return sysfs_write("/sys/bus/pci/drivers_probe", addr->text);
}

bool pci_driver_loaded(const char *driver)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "/sys/bus/pci/drivers/%s", driver);
	return sysfs_exists(path);
}

int pci_give_back(struct pci_takeover *t)
{
	char now[PCI_DRIVER_MAX];
	int r;

	if (!t->taken)
		return 0;
	t->taken = false;
	/* Clear first: else the probe would find the same driver again. */
	r = pci_clear_override(&t->addr);
	if (r < 0)
		log_dbg("%s: cannot clear driver_override: %s", t->addr.text, strerror(-r));
	r = pci_unbind(&t->addr);
	if (r < 0)
		log_dbg("%s: cannot unbind: %s", t->addr.text, strerror(-r));
	/* Where no driver had it somebody wanted that. */
	if (!t->former[0])
		return r;
	(void)pci_probe(&t->addr);
	if (pci_driver(&t->addr, now) < 0 || strcmp(now, t->former)) {
		log_dbg("%s: driver %s did not take it back", t->addr.text, t->former);
		return -EIO;
	}
	log_dbg("%s: given back to %s", t->addr.text, t->former);
	return 0;
}

int pci_take_over(const struct pci_address *addr, const char *driver, const struct why *why,
		  struct pci_takeover *ret)
{
	struct pci_takeover t = { .addr = *addr };
	char now[PCI_DRIVER_MAX];
	int r;

	r = pci_driver(addr, t.former);
	if (r < 0)
		return why_set(why, r, "cannot see the driver of %s: %s", addr->text, strerror(-r));
	if (!strcmp(t.former, driver)) {
		*ret = t;
		return 0;
	}
	r = pci_override(addr, driver);
	if (r < 0)
		return why_set(why, r, "cannot take over %s: %s (root is needed)", addr->text,
			       strerror(-r));
	t.taken = true;
	r = pci_unbind(addr);
	if (r < 0) {
		(void)pci_give_back(&t);
		return why_set(why, r, "cannot unbind %s from %s: %s", addr->text, t.former,
			       strerror(-r));
	}
	r = pci_probe(addr);
	if (r < 0 || pci_driver(addr, now) < 0 || strcmp(now, driver)) {
		(void)pci_give_back(&t);
		return why_set(why, r < 0 ? r : -EIO, "driver %s does not take %s: %s", driver,
			       addr->text, r < 0 ? strerror(-r) : "see the kernel's log");
	}
	log_dbg("%s: taken over from %s", addr->text, t.former[0] ? t.former : "no driver");
	*ret = t;
	return 0;
}
