// SPDX-License-Identifier: MIT
// vfsdax-window setup and remove: the device, the modules and the namespaces.

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "hw/modprobe.h"
#include "hw/sysfs.h"
#include "hw/vfio.h"
#include "window/window.h"

/*
 * Order of setup, so that a run that was killed anywhere can be followed by another: check all;
 * write down the driver; take the device (nobody can open it from then on); load the modules, whose
 * driver claims the BAR; make the namespaces, whose descriptions go to the window while nothing is
 * mapped there. remove does the same backwards.
 */

/* One at a time: a descriptor that holds the lock, or a negative errno. */
static int lock(const struct why *why)
{
	char dir[512], path[640];
	int fd, r = sysfs_path(WINDOW_RUN_DIR, dir, sizeof(dir));

	if (r < 0)
		return r;
	(void)snprintf(path, sizeof(path), "%s/lock", dir);
	(void)mkdir(dir, 0700);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return why_set(why, -errno, "cannot open %s: %s", path, strerror(errno));
	if (flock(fd, LOCK_EX) < 0) {
		r = -errno;
		close_keep_errno(fd);
		return why_set(why, r, "cannot lock %s: %s", path, strerror(-r));
	}
	return fd;
}

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
	int r = check_first(f, why);

	if (r == 0)
		r = window_device_take(&f->device, why, &hold);
	if (r == 0)
		r = load_modules(why);
	if (r == 0)
		r = find_regions(address, f, why);
	return r == 0 ? make_all(f, why) : r;
}

int window_setup(const char *address, const struct why *why)
{
	_cleanup_close_ int locked = lock(why);
	struct window_facts f;
	int r;

	if (locked < 0)
		return locked;
	window_facts_read(address, &f);
	r = setup_locked(address, &f, why);
	window_facts_free(&f);
	return r;
}

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
		if (to_remove(f, &f->regions[i]) && nd_user(&f->regions[i], user, sizeof(user)))
			return why_set(why, -EBUSY, "/dev/%s is in use: %s", f->regions[i].block,
				       user);
	return 0;
}

static int remove_namespaces(const struct window_facts *f, const struct why *why)
{
	_cleanup_close_ int hold = -1;
	int r = 0;

	if (!strcmp(f->device.driver, "vfio-pci"))
		r = vfio_group_open(&f->device.addr, why, &hold);
	if (r == 0)
		r = check_unused(f, why);
	for (unsigned int i = 0; i < f->num_regions && r == 0; i++)
		if (to_remove(f, &f->regions[i]))
			r = nd_remove(&f->regions[i], why);
	return r;
}

static int remove_locked(const struct window_facts *f, const struct why *why)
{
	const struct nd_region *window = window_region_of(f, &f->device.window);
	int r = f->device_error ? why_set(why, f->device_error, "%s", f->device_why)
				: remove_namespaces(f, why);

	if (r < 0)
		return r;
	if (window && window->bound && !to_remove(f, window))
		return why_set(why, -EBUSY,
			       "%s over the window was not made by vfsdax-window: it stays, and "
			       "%s stays with its driver",
			       window->claim, f->device.addr.text);
	return window_device_give_back(&f->device, why);
}

int window_remove(const char *address, const struct why *why)
{
	_cleanup_close_ int locked = lock(why);
	struct window_facts f;
	int r;

	if (locked < 0)
		return locked;
	window_facts_read(address, &f);
	r = remove_locked(&f, why);
	window_facts_free(&f);
	return r;
}
