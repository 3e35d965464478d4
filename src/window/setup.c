// SPDX-License-Identifier: MIT
// vfsdax-window setup: the device, the modules and the namespaces.

#include <errno.h>

#include "base/cleanup.h"
#include "hw/modprobe.h"
#include "hw/sysfs.h"
#include "window/window.h"

/*
 * Order of setup, so that a run that was killed anywhere can be followed by another: check all;
 * write down the driver; take the device (nobody can open it from then on); load the modules, whose
 * driver claims the BAR; read both regions, because a description is written into whatever is
 * mapped there; make the namespaces. remove.c does the same backwards.
 */

static int check_first(const struct window_facts *f, const struct why *why)
{
	const struct window_check *c;
	size_t n;
	int r = 0;

	c = window_checks(&n);
	for (size_t i = 0; i < n && r == 0; i++)
		if (c[i].first)
			r = c[i].run(f, why);
	return r;
}

static int load_modules(const struct why *why)
{
	const struct window_module *m;
	size_t n;

	m = window_modules(&n);
	for (size_t i = 0; i < n; i++) {
		int r = sysfs_exists(m[i].sign) ? 0 : modprobe(m[i].name);

		if (r < 0)
			return why_set(
				why, r,
				"modprobe cannot load the module %s (see the kernel's log; a "
				"kernel that is locked down takes only signed modules)",
				m[i].name);
	}
	return 0;
}

/* Wait until the drivers have both regions, and check these, too. */
static int find_regions(const char *address, struct window_facts *f, const struct why *why)
{
	nd_settle();
	window_facts_free(f);
	window_facts_read(address, f);
	if (f->num_regions != 2 || !f->regions[0].space[0] || !f->regions[1].space[0])
		return why_set(
			why, -ENXIO,
			"the modules are loaded, and there are %u regions with a namespace in "
			"/sys/bus/nd/devices instead of two (see the kernel's log)",
			f->num_regions);
	return check_first(f, why);
}

static bool has_namespace(const struct window_facts *f, const struct phys_range *range)
{
	const struct nd_region *n = window_region_of(f, range);

	return n && n->use == ND_FSDAX && n->bound;
}

/*
 * @made: the window had a namespace before this run. One that appears with the modules was found by
 * the kernel in a mapped file.
 */
static int check_contents(const struct window_facts *f, bool made, const struct why *why)
{
	int r = 0;

	for (unsigned int i = 0; i < f->num_regions && r == 0; i++) {
		bool window = phys_equal(&f->regions[i].range, &f->device.window);

		r = nd_check_contents(&f->regions[i], window, !window || made, why);
	}
	return r;
}

static int make_all(const struct window_facts *f, const struct why *why)
{
	int r = 0;

	for (unsigned int i = 0; i < f->num_regions && r == 0; i++)
		r = nd_make(&f->regions[i], why);
	return r;
}

static int setup_locked(const char *address, struct window_facts *f, const struct why *why)
{
	_cleanup_close_ int hold = -1;
	bool made = !f->device_error && has_namespace(f, &f->device.window);
	int r = check_first(f, why);

	if (r == 0)
		r = window_device_take(&f->device, why, &hold);
	if (r == 0)
		r = load_modules(why);
	if (r == 0)
		r = find_regions(address, f, why);
	if (r == 0)
		r = check_contents(f, made, why);
	if (r == 0)
		r = find_regions(address, f, why);
	return r == 0 ? make_all(f, why) : r;
}

int window_setup(const char *address, const struct why *why)
{
	_cleanup_close_ int locked = window_lock(why);
	struct window_facts f;
	int r;

	if (locked < 0)
		return locked;
	window_facts_read(address, &f);
	r = setup_locked(address, &f, why);
	window_facts_free(&f);
	return r;
}
