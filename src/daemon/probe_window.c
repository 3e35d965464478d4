// SPDX-License-Identifier: MIT
// vfsdaxfuse --probe: what a mapping costs, and how fast copies from the window are.

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/time.h"
#include "dax/copy.h"
#include "probe_priv.h"

#define FILE_MIN    (64 * KIB)
#define FILE_ENOUGH (1 * MIB) /* no larger file is looked for, nor more of it mapped */
#define ENTRIES_MAX 1024u     /* of each directory */
#define DIRS_MAX    16u
#define MAPPINGS    9u
#define COPY_ROUNDS 16u

/*
 * A copy from the window that takes less than this many times as long as one from ordinary memory
 * is one through the caches. Without them the factor is 10 and more, with a virtual machine's usual
 * troubles below 2.
 */
#define UNCACHED_FACTOR 4u

static void candidate_put(const struct probe *p, struct client_entry *e)
{
	if (e->nodeid)
		(void)client_forget(p->client, e->nodeid, 1);
	e->nodeid = 0;
}

/* Keep the larger one, up to what is enough. */
static void candidate_offer(const struct probe *p, struct client_entry *best,
			    struct client_entry *e)
{
	if (e->attr.size < FILE_MIN || (best->nodeid && e->attr.size <= best->attr.size)) {
		candidate_put(p, e);
		return;
	}
	candidate_put(p, best);
	*best = *e;
}

/*
 * The files of one directory; its first directories go to @dirs, or nowhere when that is NULL.
 * Returns 0 or a negative errno of the host.
 */
static int search_dir(const struct probe *p, uint64_t nodeid, struct client_entry *best,
		      struct client_entry *dirs, unsigned int *ndirs)
{
	_cleanup_free_ struct client_entry *list = calloc(ENTRIES_MAX, sizeof(*list));
	bool plus = p->agreed.host_flags & FUSE_DO_READDIRPLUS;
	int n = list ? client_list(p->client, nodeid, plus, list, ENTRIES_MAX) : -ENOMEM;

	for (int i = 0; i < n; i++) {
		if (S_ISREG(list[i].attr.mode) && best->attr.size < FILE_ENOUGH)
			candidate_offer(p, best, &list[i]);
		else if (S_ISDIR(list[i].attr.mode) && dirs && *ndirs < DIRS_MAX)
			dirs[(*ndirs)++] = list[i];
		else
			candidate_put(p, &list[i]);
	}
	return MIN(n, 0);
}

/* A file in the root or one level below. Returns 0 with or without one, or a negative errno. */
static int search(const struct probe *p, struct client_entry *best)
{
	struct client_entry dirs[DIRS_MAX];
	unsigned int n = 0;
	int r;

	r = search_dir(p, FUSE_ROOT_ID, best, dirs, &n);
	for (unsigned int i = 0; i < n; i++) {
		/* one that may not be read is passed over */
		if (r == 0 && best->attr.size < FILE_ENOUGH && !probe_stopped(p))
			(void)search_dir(p, dirs[i].nodeid, best, NULL, NULL);
		candidate_put(p, &dirs[i]);
	}
	return r;
}

/*
 * Map and unmap @len bytes some times; the last mapping stays. Returns 0, or the error of the host,
 * then nothing is mapped.
 */
static int measure_mapping(const struct probe *p, uint64_t nodeid, uint64_t len)
{
	const struct dax_range range = { WOFF(0), len };
	uint64_t setup[MAPPINGS], removal[MAPPINGS];
	unsigned int n = 0;
	int r;

	for (;;) {
		uint64_t begin = time_now_ns();

		r = client_dax_ops.setup(p->client, nodeid, FOFF(0), len, WOFF(0), false);
		if (r < 0)
			return r;
		setup[n++] = time_now_ns() - begin;
		if (n == MAPPINGS || probe_stopped(p))
			break;
		begin = time_now_ns();
		r = client_dax_ops.remove(p->client, &range, 1);
		if (r < 0)
			return r;
		removal[n - 1] = time_now_ns() - begin;
	}
	probe_line("mapping-setup", "%.1f us", (double)probe_median(setup, n) / 1000);
	if (n > 1)
		probe_line("mapping-remove", "%.1f us",
			   (double)probe_median(removal, n - 1) / 1000);
	return 0;
}

/* One copy by @r; *lowest keeps the lowest time, in ns (0: none yet). -EFAULT: a page is gone. */
static int measure_copy(const struct copy_routine *r, char *buf, const char *src, size_t len,
			uint32_t *lowest)
{
	uint64_t ns = time_now_ns();

	if (copy_by(r, buf, src, len) < 0)
		return -EFAULT;
	ns = MIN(time_now_ns() - ns, (uint64_t)UINT32_MAX);
	if (!*lowest || ns < *lowest)
		*lowest = MAX((uint32_t)ns, 1u);
	return 0;
}

static double mib_per_s(size_t len, uint32_t ns)
{
	return (double)len / (double)MIB / ((double)ns / (double)NSEC_PER_SEC);
}

static int measure_copies(const struct probe *p, size_t len)
{
	_cleanup_free_ char *buf = malloc(len), *plain = malloc(len);
	uint32_t window[COPY_ROUTINES_MAX] = { 0 }, memory[COPY_ROUTINES_MAX] = { 0 };
	unsigned int n, of_window, of_memory;
	const struct copy_routine *all = copy_routines(COPY_FROM_WINDOW, &n);
	char name[64];
	int r = 0;

	if (!buf || !plain)
		return -ENOMEM;
	memset(buf, 1, len);
	memset(plain, 2, len);
	/* In turn, so that what disturbs meets all alike; the first round takes the page faults. */
	for (unsigned int i = 0; i < COPY_ROUNDS * n && r == 0 && !probe_stopped(p); i++) {
		r = measure_copy(&all[i % n], buf, p->dev->window.addr, len, &window[i % n]);
		if (r == 0)
			r = measure_copy(&all[i % n], buf, plain, len, &memory[i % n]);
	}
	if (probe_stopped(p))
		return probe_stopped(p);
	if (r < 0) {
		probe_line("window-memory", "not measured (the mapped file became shorter)");
		return 0;
	}
	for (unsigned int i = 0; i < n; i++) {
		(void)snprintf(name, sizeof(name), "copy-from-window-%s", all[i].name);
		probe_line(name, "%.0f MiB/s", mib_per_s(len, window[i]));
		(void)snprintf(name, sizeof(name), "copy-from-memory-%s", all[i].name);
		probe_line(name, "%.0f MiB/s", mib_per_s(len, memory[i]));
	}
	of_window = copy_best(window, n);
	of_memory = copy_best(memory, n);
	probe_line("copy-routine-read", "%s", all[of_window].name);
	/* Writing would change somebody's file. */
	probe_line("copy-routine-write", "not measured");
	probe_line("window-memory", "%s",
		   window[of_window] / UNCACHED_FACTOR < memory[of_memory] ? "write-back like"
									   : "uncached like");
	return 0;
}

/* The host may want the file to be open. */
static int measure_file(const struct probe *p, struct client_entry *e)
{
	uint64_t len, fh = 0, align = MAX(p->agreed.map_alignment, PAGE_4K);
	const char *why = NULL;
	int r;

	r = client_open(p->client, e->nodeid, O_RDONLY, &fh);
	if (r == 0) {
		/* It may have become shorter: behind its end nothing may be touched. */
		r = client_getattr(p->client, e->nodeid, &e->attr);
		len = MIN(e->attr.size, FILE_ENOUGH);
		len = align_down(MIN(len, p->dev->window.size), align);
		if (r == 0 && len < FILE_MIN)
			why = "the file is too short now";
		if (r == 0 && !why) {
			probe_line("window-test-bytes", "%" PRIu64, len);
			r = measure_mapping(p, e->nodeid, len);
			if (r == 0) {
				r = measure_copies(p, (size_t)len);
				(void)client_dax_ops.remove(p->client,
							    &(struct dax_range){ WOFF(0), len }, 1);
			}
		}
		(void)client_release(p->client, e->nodeid, fh, false);
	}
	if (probe_stopped(p))
		return probe_stopped(p);
	if (r < 0)
		why = strerror(-r);
	if (why)
		probe_line("window-memory", "not measured (%s)", why);
	return 0;
}

int probe_window(struct probe *p)
{
	struct client_entry file = { 0 };
	int r;

	if (!p->dev->window.size)
		return 0;
	r = search(p, &file);
	if (r == 0 && file.nodeid)
		r = measure_file(p, &file);
	else if (!probe_stopped(p))
		probe_line("window-memory", "not measured (%s)",
			   r < 0 ? strerror(-r)
				 : "no file of 64 KiB in the root or one level below");
	candidate_put(p, &file);
	return probe_stopped(p);
}
