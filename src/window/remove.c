// SPDX-License-Identifier: MIT
// vfsdax-window remove: namespaces and the device are given back.

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "hw/vfio.h"
#include "window/window.h"

/* Is this region one that remove gives back? A free one only where it keeps a driver from the BAR. */
static bool to_remove(const struct window_facts *f, const struct nd_region *r)
{
	return (r->use == ND_FSDAX && r->ours) ||
	       (r->use == ND_FREE && r->bound && phys_equal(&r->range, &f->device.window));
}

static int check_unused(const struct window_facts *f, const struct why *why)
{
	char user[256];

	for (unsigned int i = 0; i < f->num_regions; i++)
		if (to_remove(f, &f->regions[i]) &&
		    nd_wait_unused(&f->regions[i], user, sizeof(user)))
			return why_set(why, -EBUSY, "/dev/%s is in use: %s", f->regions[i].block,
				       user);
	return 0;
}

/* Somebody else's namespace over the window keeps the driver from the BAR. */
static int check_window(const struct window_facts *f, const struct why *why)
{
	const struct nd_region *window = window_region_of(f, &f->device.window);

	if (window && window->bound && !to_remove(f, window))
		return why_set(why, -EBUSY,
			       "%s over the window was not made by vfsdax-window: it stays, and "
			       "%s stays with its driver",
			       window->claim, f->device.addr.text);
	return 0;
}

static int remove_locked(const struct window_facts *f, const struct why *why)
{
	_cleanup_close_ int hold = -1;
	int r = 0;

	if (f->device_error)
		return why_set(why, f->device_error, "%s", f->device_why);
	if (!strcmp(f->device.driver, "vfio-pci"))
		r = vfio_group_open(&f->device.addr, why, &hold);
	if (r == 0)
		r = check_unused(f, why);
	if (r == 0)
		r = check_window(f, why);
	for (unsigned int i = 0; i < f->num_regions && r == 0; i++)
		if (to_remove(f, &f->regions[i]))
			r = nd_remove(&f->regions[i], why);
	return r < 0 ? r : window_device_give_back(&f->device, steal_fd(&hold), why);
}

int window_remove(const char *address, const struct why *why)
{
	_cleanup_close_ int locked = window_lock(why);
	struct window_facts f;
	int r;

	if (locked < 0)
		return locked;
	window_facts_read(address, &f);
	r = remove_locked(&f, why);
	window_facts_free(&f);
	return r;
}
