// SPDX-License-Identifier: MIT
// A host for the dax layer: it really maps memfd files into a window, and checks what it is asked.

#include "unit.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "fake_remote.h"

/*
 * Past the sanitizers' own mmap(): to the one for threads, that would be a write to all of the
 * range.
 */
static bool remote_mmap(char *at, uint64_t len, int prot, int flags, int fd, uint64_t off)
{
	return syscall(SYS_mmap, at, len, prot, flags | MAP_FIXED, fd, off) == (long)(uintptr_t)at;
}

void remote_init(struct remote *r, uint64_t size, uint64_t alignment)
{
	memset(r, 0, sizeof(*r));
	r->size = size;
	r->alignment = alignment;
	r->window = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	must(r->window != MAP_FAILED);
	for (unsigned int i = 0; i < REMOTE_FILES; i++) {
		r->fd[i] = memfd_create("remote", MFD_CLOEXEC);
		must(r->fd[i] >= 0);
	}
	(void)pthread_mutex_init(&r->lock, NULL);
}

void remote_fini(struct remote *r)
{
	for (unsigned int i = 0; i < REMOTE_FILES; i++)
		(void)close(r->fd[i]);
	(void)munmap(r->window, r->size);
	(void)pthread_mutex_destroy(&r->lock);
}

struct dax *remote_dax(struct remote *r)
{
	struct dax_params p = {
		.addr = r->window,
		.size = r->size,
		.alignment = r->alignment,
		.remote = &remote_ops,
		.remote_ctx = r,
	};
	struct dax *d = NULL;

	must(dax_create(&p, &d) == 0);
	return d;
}

unsigned int remote_live(struct remote *r)
{
	scoped_lock(&r->lock);
	return r->n;
}

bool remote_shows(struct remote *r, uint64_t nodeid, uint64_t from)
{
	scoped_lock(&r->lock);
	for (unsigned int i = 0; i < r->n; i++)
		if (r->map[i].nodeid == nodeid && r->map[i].from + r->map[i].len > from)
			return true;
	return false;
}

static int remote_mood_locked(struct remote *r, uint64_t from, uint64_t len, bool writable)
{
	static const int errors[] = { ENOSPC, ENOMEM, EINVAL, ENXIO, EIO };
	struct rng rng = { atomic_fetch_add(&r->seed, 1) };

	if (r->refuse && (!r->refuse_end || (from < r->refuse_end && r->refuse_from < from + len)))
		return -r->refuse;
	if (writable && r->readonly)
		return -EACCES;
	if (r->limit && r->n >= r->limit)
		return -ENOSPC;
	if (r->refuse_one_in && rng_chance(&rng, r->refuse_one_in))
		return -errors[rng_below(&rng, ARRAY_SIZE(errors))];
	return 0;
}

static void remote_delay(struct remote *r)
{
	if (r->slow_us)
		(void)usleep((useconds_t)(r->seed * 7919 % r->slow_us));
}

static int remote_setup(void *ctx, uint64_t nodeid, struct foff from, uint64_t len, struct woff to,
			bool writable)
{
	struct remote *r = ctx;
	struct remote_map *m;
	struct stat st;
	int e;

	must(nodeid >= 1 && nodeid <= REMOTE_FILES);
	must(len && len % PAGE_4K == 0);
	must(from.v % r->alignment == 0 && to.v % r->alignment == 0);
	must(range_ok(to.v, len, r->size));
	remote_delay(r);

	scoped_lock(&r->lock);
	/* The caller keeps the file from becoming shorter than the limit that it gave. */
	must(fstat(r->fd[nodeid - 1], &st) == 0);
	must(range_ok(from.v, len, align_down((uint64_t)st.st_size, PAGE_4K)));
	for (unsigned int i = 0; i < r->n; i++)
		must(to.v + len <= r->map[i].to || r->map[i].to + r->map[i].len <= to.v);
	e = remote_mood_locked(r, from.v, len, writable);
	if (e < 0) {
		r->refused++;
		return e;
	}
	must(remote_mmap(r->window + to.v, len, PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED,
			 r->fd[nodeid - 1], from.v));
	must(r->n < REMOTE_MAPS);
	m = &r->map[r->n++];
	*m = (struct remote_map){ nodeid, from.v, len, to.v, writable };
	r->setups++;
	r->max_live = MAX(r->max_live, r->n);
	return 0;
}

/* What one setup() has mapped, or nothing: then it is the second attempt to remove it. */
static struct remote_map *remote_find_locked(struct remote *r, const struct dax_range *range)
{
	for (unsigned int i = 0; i < r->n; i++) {
		struct remote_map *m = &r->map[i];

		if (m->to == range->at.v && m->len == range->len)
			return m;
		must(m->to + m->len <= range->at.v || range->at.v + range->len <= m->to);
	}
	must(r->stays);
	return NULL;
}

static int remote_remove(void *ctx, const struct dax_range *ranges, unsigned int n)
{
	struct remote *r = ctx;
	int result = 0;

	must(n > 0);
	remote_delay(r);
	scoped_lock(&r->lock);
	for (unsigned int k = 0; k < n; k++) {
		struct remote_map *m = remote_find_locked(r, &ranges[k]);
		struct rng rng = { atomic_fetch_add(&r->seed, 1) };
		unsigned int stay = r->stay_one_in;

		if (!m)
			continue;
		if (stay && rng_chance(&rng, stay)) {
			r->stays++;
			result = -EIO;
			continue;
		}
		must(remote_mmap(r->window + ranges[k].at.v, ranges[k].len, PROT_NONE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
		*m = r->map[--r->n];
		r->removes++;
	}
	return result;
}

const struct dax_remote_ops remote_ops = { .setup = remote_setup, .remove = remote_remove };
