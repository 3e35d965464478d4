// SPDX-License-Identifier: MIT
// Making and removing the fsdax namespace of a region.

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/log.h"
#include "base/num.h"
#include "hw/sysfs.h"
#include "nd_priv.h"
#include "window/window.h"

int nd_write(const char *device, const char *name, const char *text, const struct why *why)
{
	char path[256];
	int r;

	(void)snprintf(path, sizeof(path), ND_DEVICES "/%s/%s", device, name);
	r = sysfs_write(path, text);
	if (text[0] == '\n')
		text = "";
	log_dbg("%s: \"%s\": %s", path, text, r < 0 ? strerror(-r) : "ok");
	return r < 0 ? why_set(why, r, "cannot write \"%s\" to %s: %s", text, path, strerror(-r))
		     : 0;
}

static int nd_unbind(const char *device, const struct why *why)
{
	return nd_bound(device) ? nd_write(device, "driver/unbind", device, why) : 0;
}

/* Version 8 of RFC 9562: what is in it is the maker's business. */
static int make_uuid(char *ret, size_t size)
{
	uint64_t v;

	if (getrandom(&v, sizeof(v), 0) != sizeof(v))
		return -errno;
	(void)snprintf(ret, size, ND_UUID_BEGIN "000-8000-%012llx",
		       (unsigned long long)v & UINT64_C(0xffffffffffff));
	return 0;
}

/* The namespace last: from then on it counts as ours. */
static int claim(const struct nd_region *r, const char *pfn, const struct why *why)
{
	char uuid[48], alignment[24];
	int err = make_uuid(uuid, sizeof(uuid));

	if (err < 0)
		return why_set(why, err, "no random numbers: %s", strerror(-err));
	(void)snprintf(alignment, sizeof(alignment), "%llu", (unsigned long long)ND_ALIGNMENT);
	err = nd_write(pfn, "mode", "ram", why);
	if (err == 0)
		err = nd_write(pfn, "align", alignment, why);
	if (err == 0)
		err = nd_write(pfn, "uuid", uuid, why);
	if (err == 0)
		err = nd_write(pfn, "namespace", r->space, why);
	return err;
}

int nd_bind(const char *device, const struct why *why)
{
	int r = sysfs_write("/sys/bus/nd/drivers/nd_pmem/bind", device);

	if (nd_bound(device))
		return 0;
	return why_set(why, r < 0 ? r : -EIO,
		       "the driver nd_pmem does not take %s: %s (see the kernel's log)", device,
		       r < 0 ? strerror(-r) : "it says nothing");
}

static int wait_block(const struct nd_region *r, const struct why *why)
{
	struct nd_region now = *r;

	for (unsigned int i = 0; i < WINDOW_TRIES; i++) {
		char path[64], dax[8], node[64];

		if (nd_read_again(&now) == 0 && now.block[0]) {
			(void)snprintf(path, sizeof(path), "/sys/block/%s/queue/dax", now.block);
			(void)snprintf(node, sizeof(node), "/dev/%s", now.block);
			if (sysfs_read(path, dax, sizeof(dax)) > 0 && !strcmp(dax, "1") &&
			    sysfs_exists(node))
				return 0;
		}
		(void)usleep(WINDOW_TRY_US);
	}
	return why_set(why, -ETIMEDOUT, "no block device with DAX appears for %s", r->name);
}

int nd_check(const struct nd_region *r, const struct why *why)
{
	char user[256];

	if (r->use == ND_DEVDAX)
		return why_set(why, -EBUSY,
			       "%s has a devdax namespace (%s%s%s): give it back, for example by "
			       "ndctl destroy-namespace --force %s",
			       r->name, r->claim, r->driver[0] ? ", driver " : "", r->driver,
			       r->space);
	if (r->use == ND_OTHER)
		return why_set(why, -EBUSY, "%s has the namespace of %s: give it back first",
			       r->claim, r->name);
	if (r->use == ND_FSDAX && !r->ours)
		return why_set(
			why, -EBUSY,
			"%s in %s was not made by vfsdax-window: restart the virtual machine or, "
			"if "
			"nobody needs it, give it back by ndctl destroy-namespace --force %s",
			r->claim, r->name, r->space);
	if (r->use == ND_FSDAX && !r->fit)
		return why_set(
			why, -EBUSY,
			"%s in %s is not of mode ram with alignment 2 MiB: give it back, for "
			"example by ndctl destroy-namespace --force %s",
			r->claim, r->name, r->space);
	if (r->use == ND_FREE && nd_wait_unused(r, user, sizeof(user)))
		return why_set(why, -EBUSY, "/dev/%s is in use: %s", r->block, user);
	return 0;
}

int nd_make(const struct nd_region *r, const struct why *why)
{
	char pfn[32];
	int err = nd_check(r, why);

	if (err < 0)
		return err;
	if (r->use == ND_FSDAX)
		return wait_block(r, why);
	if (nd_read(r->name, "pfn_seed", pfn, sizeof(pfn)) <= 0)
		return why_set(why, -ENXIO, "%s offers no fsdax namespaces (CONFIG_NVDIMM_PFN)",
			       r->name);
	err = nd_unbind(r->space, why);
	if (err == 0)
		err = claim(r, pfn, why);
	if (err == 0)
		err = nd_bind(pfn, why);
	return err < 0 ? err : wait_block(r, why);
}

int nd_remove(const struct nd_region *r, const struct why *why)
{
	int err;

	if (r->use == ND_FREE)
		return nd_unbind(r->space, why);
	if (r->use != ND_FSDAX || !r->ours)
		return why_set(why, -EBUSY, "%s in %s was not made by vfsdax-window, and stays",
			       r->claim, r->name);
	err = nd_unbind(r->claim, why);
	return err < 0 ? err : nd_write(r->claim, "namespace", "\n", why);
}
