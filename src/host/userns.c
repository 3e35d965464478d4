// SPDX-License-Identifier: MIT
// User and group ids that do not exist in the user namespace of this process.

#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include "base/log.h"
#include "base/num.h"
#include "host/userns.h"

#define ID_USUAL 65536u	    /* as many as rootless containers have; most systems use no others */
#define ID_ALL	 UINT32_MAX /* the initial namespace */

/* How many ids below @limit the map at @path has (user_namespaces(7)). */
static uint64_t userns_count(const char *path, uint64_t limit)
{
	unsigned int first, outside, n;
	uint64_t count = 0;
	FILE *f = fopen(path, "re");

	if (!f)
		return limit; /* the kernel has no user namespaces */
	while (fscanf(f, "%u %u %u", &first, &outside, &n) == 3)
		if (first < limit)
			count += MIN((uint64_t)n, limit - first);
	(void)fclose(f);
	return count;
}

static void userns_check_one(const char *path, const char *kind)
{
	uint64_t usual = userns_count(path, ID_USUAL);

	if (usual < ID_USUAL)
		log_warn("this user namespace has only %llu of the %s ids up to 65535 (%s): "
			 "requests of the guest for others fail with EINVAL",
			 (unsigned long long)usual, kind, path);
	else if (userns_count(path, ID_ALL) < ID_ALL)
		log_info("not all %s ids exist in this user namespace (%s)", kind, path);
}

void userns_check(void)
{
	if (geteuid() != 0)
		return;
	userns_check_one("/proc/self/uid_map", "user");
	userns_check_one("/proc/self/gid_map", "group");
}
