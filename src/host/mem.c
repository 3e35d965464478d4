// SPDX-License-Identifier: MIT
// The front end's memory: a changing table of regions, read through snapshots.

#include <errno.h>
#include <linux/magic.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "base/cleanup.h"
#include "host/mem.h"

struct mem_region {
	atomic_uint refs; /* tables that hold it */
	struct vhu_mem_region r;
	char *data; /* where guest_phys_addr is */
	void *map;
	size_t map_len;
	bool writable;
};

struct mem_table {
	atomic_uint refs; /* holders, struct mem included */
	uint64_t serial;
	unsigned int n;
	struct mem_region *regions[]; /* by guest_phys_addr, ascending */
};

struct mem {
	pthread_mutex_t lock; /* guards cur and serial; a leaf, held for no system call */
	struct mem_table *cur;
	uint64_t serial;
	pthread_mutex_t change; /* one change at a time; taken before lock */
};

static void mem_region_put(struct mem_region *r)
{
	/* acq_rel: what others did with the memory is over before it is unmapped */
	if (!r || atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) != 1)
		return;
	if (r->map)
		(void)munmap(r->map, r->map_len);
	free(r);
}

static struct mem_table *mem_table_new(unsigned int max)
{
	struct mem_table *t = calloc(1, sizeof(*t) + max * sizeof(t->regions[0]));

	if (t)
		atomic_init(&t->refs, 1);
	return t;
}

void mem_put(struct mem_table *t)
{
	/* acq_rel: as in mem_region_put() */
	if (!t || atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (unsigned int i = 0; i < t->n; i++)
		mem_region_put(t->regions[i]);
	free(t);
}

struct mem *mem_new(void)
{
	struct mem *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->cur = mem_table_new(0);
	if (!m->cur) {
		free(m);
		return NULL;
	}
	m->cur->serial = m->serial = 1;
	(void)pthread_mutex_init(&m->lock, NULL);
	(void)pthread_mutex_init(&m->change, NULL);
	return m;
}

void mem_free(struct mem *m)
{
	if (!m)
		return;
	mem_put(m->cur);
	(void)pthread_mutex_destroy(&m->lock);
	(void)pthread_mutex_destroy(&m->change);
	free(m);
}

struct mem_table *mem_get(struct mem *m)
{
	scoped_lock(&m->lock);
	/* relaxed: the lock keeps the table alive until the count is raised */
	atomic_fetch_add_explicit(&m->cur->refs, 1, memory_order_relaxed);
	return m->cur;
}

uint64_t mem_table_serial(const struct mem_table *t)
{
	return t->serial;
}

/* Publish @t, which becomes the struct mem's. */
static void mem_replace(struct mem *m, struct mem_table *t)
{
	struct mem_table *old;

	(void)pthread_mutex_lock(&m->lock);
	old = m->cur;
	t->serial = ++m->serial;
	m->cur = t;
	(void)pthread_mutex_unlock(&m->lock);
	mem_put(old);
}

static bool mem_overlap(uint64_t a, uint64_t a_len, uint64_t b, uint64_t b_len)
{
	return a < b + b_len && b < a + a_len;
}

/* Insert @r in order; the table has room. */
static int mem_table_insert(struct mem_table *t, struct mem_region *r)
{
	unsigned int at = t->n;

	for (unsigned int i = 0; i < t->n; i++) {
		const struct vhu_mem_region *o = &t->regions[i]->r;

		if (mem_overlap(o->guest_phys_addr, o->memory_size, r->r.guest_phys_addr,
				r->r.memory_size) ||
		    mem_overlap(o->userspace_addr, o->memory_size, r->r.userspace_addr,
				r->r.memory_size))
			return -EINVAL;
	}
	while (at && t->regions[at - 1]->r.guest_phys_addr > r->r.guest_phys_addr) {
		t->regions[at] = t->regions[at - 1];
		at--;
	}
	t->regions[at] = r;
	t->n++;
	return 0;
}

/* The unit in which @fd can be mapped. */
static uint64_t mem_page_size(int fd)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) == 0 && fs.f_type == HUGETLBFS_MAGIC && is_pow2((uint64_t)fs.f_bsize))
		return (uint64_t)fs.f_bsize;
	return PAGE_4K;
}

static int mem_region_new(const struct vhu_mem_region *r, int fd, struct mem_region **ret)
{
	struct mem_region *n;
	uint64_t page, off, end;
	struct stat st;

	if (!r->memory_size || !add_u64(r->guest_phys_addr, r->memory_size, &end) ||
	    !add_u64(r->userspace_addr, r->memory_size, &end) ||
	    !add_u64(r->mmap_offset, r->memory_size, &end) || end > INT64_MAX)
		return -EINVAL;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (S_ISREG(st.st_mode) && !range_ok(r->mmap_offset, r->memory_size, (uint64_t)st.st_size))
		return -EINVAL;
	n = calloc(1, sizeof(*n));
	if (!n)
		return -ENOMEM;
	atomic_init(&n->refs, 1);
	n->r = *r;
	page = mem_page_size(fd);
	off = align_down(r->mmap_offset, page);
	n->map_len = align_up(end - off, page);
	n->writable = true;
	n->map = mmap(NULL, n->map_len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd,
		      (off_t)off);
	if (n->map == MAP_FAILED && errno == EACCES) {
		n->writable = false;
		n->map = mmap(NULL, n->map_len, PROT_READ, MAP_SHARED, fd, (off_t)off);
	}
	if (n->map == MAP_FAILED) {
		int e = -errno;

		free(n);
		return e;
	}
	n->data = (char *)n->map + (r->mmap_offset - off);
	*ret = n;
	return 0;
}

/* A copy of the current table with room for one more. Only under m->change. */
static struct mem_table *mem_copy(struct mem *m, const struct mem_region *without)
{
	struct mem_table *t = mem_table_new(m->cur->n + 1);

	if (!t)
		return NULL;
	for (unsigned int i = 0; i < m->cur->n; i++) {
		struct mem_region *r = m->cur->regions[i];

		if (r == without)
			continue;
		/* relaxed: the current table holds a reference meanwhile */
		atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
		t->regions[t->n++] = r;
	}
	return t;
}

int mem_add(struct mem *m, const struct vhu_mem_region *r, int fd)
{
	struct mem_region *n = NULL;
	struct mem_table *t;
	int e;

	scoped_lock(&m->change);
	if (m->cur->n >= MEM_MAX_SLOTS)
		return -ENOSPC;
	e = mem_region_new(r, fd, &n);
	if (e < 0)
		return e;
	t = mem_copy(m, NULL);
	e = t ? mem_table_insert(t, n) : -ENOMEM;
	if (e < 0) {
		mem_region_put(n);
		mem_put(t);
		return e;
	}
	mem_replace(m, t);
	return 0;
}

int mem_remove(struct mem *m, const struct vhu_mem_region *r)
{
	struct mem_table *t;
	const struct mem_region *found = NULL;

	scoped_lock(&m->change);
	for (unsigned int i = 0; i < m->cur->n && !found; i++) {
		const struct vhu_mem_region *o = &m->cur->regions[i]->r;

		if (o->guest_phys_addr == r->guest_phys_addr &&
		    o->userspace_addr == r->userspace_addr && o->memory_size == r->memory_size)
			found = m->cur->regions[i];
	}
	if (!found)
		return -ENOENT;
	t = mem_copy(m, found);
	if (!t)
		return -ENOMEM;
	mem_replace(m, t);
	return 0;
}

int mem_set(struct mem *m, const struct vhu_mem_region *r, const int *fds, unsigned int n)
{
	struct mem_table *t = mem_table_new(n);
	int e = t ? 0 : -ENOMEM;

	for (unsigned int i = 0; i < n && e == 0; i++) {
		struct mem_region *reg = NULL;

		e = mem_region_new(&r[i], fds[i], &reg);
		if (e == 0)
			e = mem_table_insert(t, reg);
		if (e < 0)
			mem_region_put(reg);
	}
	if (e < 0) {
		mem_put(t);
		return e;
	}
	scoped_lock(&m->change);
	mem_replace(m, t);
	return 0;
}

/* The region that holds @gpa, or NULL: the last one that begins at or before it. */
static const struct mem_region *mem_find(const struct mem_table *t, uint64_t gpa)
{
	unsigned int lo = 0, hi = t->n;

	while (lo < hi) {
		unsigned int mid = (lo + hi) / 2;

		if (t->regions[mid]->r.guest_phys_addr <= gpa)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (!lo || gpa - t->regions[lo - 1]->r.guest_phys_addr >= t->regions[lo - 1]->r.memory_size)
		return NULL;
	return t->regions[lo - 1];
}

int mem_gpa(const struct mem_table *t, struct gpa gpa, uint64_t len, bool writable,
	    struct iovec *iov, unsigned int max, unsigned int *count)
{
	while (len) {
		const struct mem_region *r = mem_find(t, gpa.v);
		uint64_t off, here;

		if (!r || (writable && !r->writable))
			return -EFAULT;
		if (*count >= max)
			return -E2BIG;
		off = gpa.v - r->r.guest_phys_addr;
		here = MIN(len, r->r.memory_size - off);
		iov[(*count)++] = (struct iovec){ .iov_base = r->data + off, .iov_len = here };
		gpa.v += here;
		len -= here;
	}
	return 0;
}

void *mem_user(const struct mem_table *t, struct uaddr addr, uint64_t len)
{
	for (unsigned int i = 0; i < t->n; i++) {
		const struct mem_region *r = t->regions[i];

		if (addr.v >= r->r.userspace_addr &&
		    range_ok(addr.v - r->r.userspace_addr, len, r->r.memory_size) && r->writable)
			return r->data + (addr.v - r->r.userspace_addr);
	}
	return NULL;
}
