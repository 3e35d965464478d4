// SPDX-License-Identifier: MIT
// The map of guest-physical addresses: /proc/iomem.

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "hw/sysfs.h"
#include "window/iomem.h"

#define IOMEM	      "/proc/iomem"
#define ALIGNMENT_MAX (64 * MIB)

/* "  00100000-1fffffff : System RAM", two blanks for each level. */
static bool parse_line(const char *line, struct iomem_entry *ret)
{
	unsigned long long first, last;
	size_t indent = strspn(line, " ");
	int used = 0;

	if (sscanf(line + indent, "%llx-%llx : %n", &first, &last, &used) != 2 || !used ||
	    last < first)
		return false;
	ret->depth = (unsigned int)indent / 2;
	ret->range = (struct phys_range){ first, last - first + 1 };
	(void)snprintf(ret->name, sizeof(ret->name), "%.*s", (int)sizeof(ret->name) - 1,
		       line + indent + used);
	ret->name[strcspn(ret->name, "\n")] = '\0';
	return true;
}

int iomem_read(const struct why *why, struct iomem *ret)
{
	_cleanup_fclose_ FILE *f = sysfs_fopen(IOMEM);
	_cleanup_free_ struct iomem_entry *all = NULL;
	unsigned int n = 0, room = 0;
	bool seen = false;
	char line[256];

	if (!f)
		return why_set(why, -errno, "cannot read " IOMEM ": %s", strerror(errno));
	while (fgets(line, sizeof(line), f)) {
		if (n == room) {
			struct iomem_entry *more;

			room = room ? 2 * room : 64;
			more = realloc(all, room * sizeof(*all));
			if (!more)
				return -ENOMEM;
			all = more;
		}
		if (!parse_line(line, &all[n]))
			continue;
		seen = seen || all[n].range.start || all[n].range.size > 1;
		n++;
	}
	if (!seen)
		return why_set(why, -EPERM,
			       "the kernel hides the addresses in " IOMEM ": root is needed");
	*ret = (struct iomem){ .entries = steal_ptr(all), .n = n };
	return 0;
}

void iomem_free(struct iomem *m)
{
	free(m->entries);
	*m = (struct iomem){ 0 };
}

/* The entries that lie in the one at @at are those behind it, up to what is returned. */
static unsigned int end_of(const struct iomem *m, unsigned int at)
{
	unsigned int i = at + 1;

	while (i < m->n && m->entries[i].depth > m->entries[at].depth)
		i++;
	return i;
}

static bool is_namespace(const char *name)
{
	return !strncmp(name, "namespace", 9) || !strncmp(name, "pfn", 3) ||
	       !strncmp(name, "dax", 3) || !strncmp(name, "btt", 3) ||
	       !strcmp(name, "System RAM (kmem)"); /* a devdax namespace that is memory */
}

unsigned int iomem_pmem_list(const struct iomem *m, struct iomem_pmem *out, unsigned int max)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < m->n && n < max; i++) {
		struct iomem_pmem p = { .range = m->entries[i].range };

		if (strcmp(m->entries[i].name, "Persistent Memory (legacy)") != 0)
			continue;
		for (unsigned int j = i + 1; j < end_of(m, i); j++)
			p.device = p.device || !is_namespace(m->entries[j].name);
		out[n++] = p;
	}
	return n;
}

/* The end of something that @r would lie on, or 0. */
static uint64_t blocked_until(const struct iomem *m, unsigned int ram,
			      const struct phys_range *avoid, const struct phys_range *r)
{
	if (avoid->size && phys_overlap(avoid, r))
		return avoid->start + avoid->size;
	for (unsigned int i = ram + 1; i < end_of(m, ram); i++)
		if (phys_overlap(&m->entries[i].range, r))
			return m->entries[i].range.start + m->entries[i].range.size;
	return 0;
}

static bool find_in(const struct iomem *m, unsigned int ram, const struct phys_range *avoid,
		    uint64_t from, uint64_t size, struct phys_range *ret)
{
	const struct phys_range *all = &m->entries[ram].range;
	uint64_t alignment = MIN(pow2_ceil(size), ALIGNMENT_MAX);
	struct phys_range r = { align_up(MAX(all->start, from), alignment), size };

	while (range_ok(r.start - all->start, size, all->size)) {
		uint64_t end = blocked_until(m, ram, avoid, &r);

		if (!end) {
			*ret = r;
			return true;
		}
		r.start = align_up(end, alignment);
	}
	return false;
}

int iomem_find_free(const struct iomem *m, const struct phys_range *avoid, uint64_t size,
		    struct phys_range *ret)
{
	/* Boot loaders put the kernel low, and it may be larger the next time. */
	static const uint64_t from[] = { 512 * MIB, 256 * MIB, 128 * MIB };

	for (size_t f = 0; f < ARRAY_SIZE(from); f++)
		for (unsigned int i = 0; i < m->n; i++)
			if (!strcmp(m->entries[i].name, "System RAM") &&
			    find_in(m, i, avoid, from[f], size, ret))
				return 0;
	return -ENOSPC;
}
