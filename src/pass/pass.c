// SPDX-License-Identifier: MIT
// Files of the host that the guest's kernel reads and writes by itself: their life.

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/counter.h"
#include "base/log.h"
#include "base/time.h"
#include "base/waiting.h"
#include "pass/compose.h"
#include "pass_priv.h"

/*
 * close(2) sends FLUSH and does not wait for RELEASE: a program that has closed a file can change
 * its size before that arrives.
 */
#define RELEASE_NS (300 * NSEC_PER_MS)

/*
 * Attributes that the host told this long ago are those of an open: between the kernel's LOOKUP and
 * OPEN pass some 0.3 ms, or 2 under emulation. Later the host is asked. A change on the host in
 * between is found at the next open, as is one right after it.
 */
#define TOLD_NS (20 * NSEC_PER_MS)

/* How long a file that is still in use after its eviction is left alone. */
#define RETRY_NS (100 * NSEC_PER_MS)

/* Fewest slots with which it is worth while, and most; the host allows some 500 mappings on QEMU. */
#define SLOTS_MIN 16u
#define SLOTS_MAX 512u

static unsigned int hash(uint64_t nodeid)
{
	return (unsigned int)(nodeid * UINT64_C(0x9e3779b97f4a7c15) >> 56);
}

static struct pass_file **bucket_of(struct pass *p, uint64_t nodeid)
{
	return &p->bucket[hash(nodeid)];
}

static struct pass_file *find_locked(struct pass *p, uint64_t nodeid)
{
	struct pass_file *f = *bucket_of(p, nodeid);

	while (f && f->nodeid != nodeid)
		f = f->next;
	return f;
}

/* The file, when no other thread works on it any more; or NULL. */
static struct pass_file *get_locked(struct pass *p, uint64_t nodeid)
{
	struct pass_file *f;

	while ((f = find_locked(p, nodeid)) && f->busy) {
		waiting_begin();
		(void)pthread_cond_wait(&p->changed, &p->lock);
	}
	return f;
}

static void begin_locked(struct pass *p, struct pass_file *f)
{
	f->busy = true;
	(void)pthread_mutex_unlock(&p->lock);
}

/* Take the pages from all mappings. That punching a hole fails after that does not matter. */
static void punch(const struct pass_file *f)
{
	if (f->has_slot && f->slot.fd >= 0)
		(void)fallocate(f->slot.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
				(off_t)f->attr.size);
}

static void end_and_lock(struct pass *p, struct pass_file *f)
{
	(void)pthread_mutex_lock(&p->lock);
	f->busy = false;
	if (p->failed)
		punch(f);
	(void)pthread_cond_broadcast(&p->changed);
}

static struct pass_file *add_locked(struct pass *p, uint64_t nodeid)
{
	struct pass_file *f = calloc(1, sizeof(*f)), **at = bucket_of(p, nodeid);

	if (!f)
		return NULL;
	f->nodeid = nodeid;
	f->next = *at;
	*at = f;
	gauge_set(GAUGE_pass_files, ++p->files);
	return f;
}

static void remove_locked(struct pass *p, struct pass_file *f)
{
	struct pass_file **at = bucket_of(p, f->nodeid);

	while (*at != f)
		at = &(*at)->next;
	*at = f->next;
	gauge_set(GAUGE_pass_files, --p->files);
	free(f->handle);
	free(f);
}

/* All is given back, and the file goes; or it is dying. */
static bool after_free_locked(struct pass *p, struct pass_file *f, bool freed)
{
	if (freed) {
		remove_locked(p, f);
		return true;
	}
	if (!f->dying)
		log_dbg("node %llu: a mapping outlives its close", (unsigned long long)f->nodeid);
	f->dying = true;
	f->retry_ns = time_now_ns() + RETRY_NS;
	return false;
}

/* It is idle and not busy. The lock is released meanwhile. False: it is dying. */
static bool evict_locked(struct pass *p, struct pass_file *f)
{
	bool freed;

	begin_locked(p, f);
	freed = pass_file_free(p, f);
	end_and_lock(p, f);
	counter_add(COUNTER_pass_evictions, freed);
	return after_free_locked(p, f, freed);
}

static bool can_evict(const struct pass_file *f, uint64_t now)
{
	return !f->busy && !f->opens && (!f->dying || now >= f->retry_ns);
}

static bool evict_one_locked(struct pass *p)
{
	uint64_t now = time_now_ns();
	struct pass_file *best;

	do {
		best = NULL;
		for (unsigned int b = 0; b < PASS_BUCKETS; b++)
			for (struct pass_file *f = p->bucket[b]; f; f = f->next)
				if (can_evict(f, now) && (!best || f->used < best->used))
					best = f;
	} while (best && !evict_locked(p, best));
	return best;
}

bool pass_evict_one(struct pass *p)
{
	scoped_lock(&p->lock);
	return evict_one_locked(p);
}

int pass_reserve(struct pass *p, unsigned int shift, struct woff *ret)
{
	int r;

	scoped_lock(&p->lock);
	while ((r = buddy_alloc(p->window, shift, ret)) == -ENOSPC && evict_one_locked(p))
		;
	if (r == 0)
		ret->v += p->first;
	return r;
}

uint64_t pass_room(struct pass *p)
{
	uint64_t sum, now = time_now_ns();

	scoped_lock(&p->lock);
	sum = buddy_free_bytes(p->window);
	for (unsigned int b = 0; b < PASS_BUCKETS; b++)
		for (const struct pass_file *f = p->bucket[b]; f; f = f->next)
			for (unsigned int i = 0; can_evict(f, now) && i < f->n; i++)
				sum += UINT64_C(1) << f->piece[i].shift;
	return sum;
}

static bool is_held_locked(const struct pass *p, uint64_t nodeid)
{
	for (const struct pass_hold *h = p->holds; h; h = h->next)
		if (h->nodeid == nodeid)
			return true;
	return false;
}

static int add_handle_locked(struct pass_file *f, const struct pass_open_in *in)
{
	struct pass_handle *more;

	if (f->opens == f->opens_max) {
		more = reallocarray(f->handle, 2 * f->opens_max + 4, sizeof(*more));
		if (!more)
			return -ENOMEM;
		f->handle = more;
		f->opens_max = 2 * f->opens_max + 4;
	}
	f->written = f->written || in->writable;
	f->handle[f->opens++] =
		(struct pass_handle){ .fh = in->fh, .tail = in->writable && !in->append };
	return 0;
}

/* May the file be passed through, by what the host says of it? @known: that was so at @f->attr. */
static int check_attr(const struct pass *p, const struct pass_file *f,
		      const struct pass_attr_in *attr, bool known)
{
	const struct pass_params *params = &p->params;

	if (attr->size < params->min_size || (attr->set_id && params->writable))
		return -ENOTSUP;
	/* What follows changes ctime. */
	if (known && attr->ctime_ns == f->attr.ctime_ns)
		return 0;
	if (params->only_fixed && !attr->fixed && !params->ops->fixed(params->ctx, f->nodeid))
		return -ENOTSUP;
	return params->writable && params->ops->privileged(params->ctx, f->nodeid) ? -ENOTSUP : 0;
}

static bool is_same(const struct pass_attr_in *a, const struct pass_attr_in *b)
{
	return a->size == b->size && a->mtime_ns == b->mtime_ns;
}

/*
 * What the host says of the busy file. What it was told by pass_note() can be older than it seems,
 * as replies cross: only that nothing has changed is believed.
 */
static int get_attr(const struct pass *p, const struct pass_file *f, struct pass_attr_in *ret)
{
	if (f->backing && time_now_ns() - f->told_ns <= TOLD_NS && is_same(&f->told, &f->attr)) {
		*ret = f->told;
		return 0;
	}
	return p->params.ops->attr(p->params.ctx, f->nodeid, ret);
}

/* The host has changed the busy file, or it may not be passed through any more. As
 * pass_file_free(). */
static bool free_changed(struct pass *p, struct pass_file *f, const struct pass_attr_in *attr)
{
	/* What a mapping has stored behind the end of the old one must not come into the new one. */
	if (attr->size != f->attr.size)
		f->written = false;
	counter_add(COUNTER_pass_evictions, 1);
	return pass_file_free(p, f);
}

/* Make f->backing of the busy file, as it is on the host now. As prepare(). */
static int update(struct pass *p, struct pass_file *f, uint64_t fh, bool *ret_free)
{
	struct pass_attr_in attr = f->attr;
	bool composed = f->backing;
	int r = get_attr(p, f, &attr);

	if (r == 0)
		r = check_attr(p, f, &attr, composed);
	if (composed && (r < 0 || !is_same(&attr, &f->attr))) {
		*ret_free = free_changed(p, f, &attr);
		/* It stays what it was as long as it is mapped. */
		if (!*ret_free)
			return -ENOTSUP;
		composed = false;
	}
	f->attr = attr;
	if (r == 0 && !composed) {
		r = pass_file_compose(p, f, fh);
		counter_add(COUNTER_pass_composed, r == 0);
	}
	if (r < 0)
		*ret_free = pass_file_free(p, f);
	return r;
}

/*
 * Compose the busy file, unless it is composed and the host has not changed it since. 0 or a
 * negative errno; *ret_free is false when something of it could not be given back.
 */
static int prepare(struct pass *p, struct pass_file *f, const struct pass_open_in *in,
		   bool *ret_free)
{
	int r = update(p, f, in->fh, ret_free);

	if (r < 0) {
		counter_add(COUNTER_pass_refused, 1);
		log_dbg("node %llu of %llu bytes is not passed through: %s",
			(unsigned long long)in->nodeid, (unsigned long long)f->attr.size,
			strerror(-r));
		return r;
	}
	/* Another open may have come meanwhile: it is answered without, and so is this one. */
	return p->params.ops->alone(p->params.ctx, in->nodeid) ? 0 : -ENOTSUP;
}

/* An open of a file that nobody has open by passthrough; @f: it is idle, or NULL. */
static int first_open_locked(struct pass *p, struct pass_file *f, const struct pass_open_in *in)
{
	bool freed = true;
	int r;

	if (!in->wanted || is_held_locked(p, in->nodeid)) {
		/* What a reader cannot change stays for the next open. */
		if (f && in->writable)
			(void)evict_locked(p, f);
		return -ENOTSUP;
	}
	if (!f)
		f = add_locked(p, in->nodeid);
	if (!f)
		return -ENOMEM;
	begin_locked(p, f);
	r = prepare(p, f, in, &freed);
	end_and_lock(p, f);
	if (!f->backing)
		(void)after_free_locked(p, f, freed);
	else if (r == 0)
		r = add_handle_locked(f, in);
	if (r < 0)
		return r;
	f->used = ++p->opens;
	counter_add(COUNTER_pass_opens, 1);
	return f->backing;
}

int pass_open(struct pass *p, const struct pass_open_in *in)
{
	struct pass_file *f;

	waiting_begin(); /* it may compose a file itself */
	scoped_lock(&p->lock);
	while ((f = get_locked(p, in->nodeid)) && f->dying)
		if (!evict_locked(p, f))
			return -ENOTSUP;
	if (!f || !f->opens)
		return first_open_locked(p, f, in);
	if ((in->writable && !p->params.writable) || add_handle_locked(f, in) < 0)
		return -EBUSY;
	counter_add(COUNTER_pass_opens, 1);
	return f->backing;
}

void pass_note(struct pass *p, uint64_t nodeid, const struct pass_attr_in *attr)
{
	struct pass_file *f;

	scoped_lock(&p->lock);
	f = find_locked(p, nodeid);
	if (!f || f->busy)
		return;
	f->told = *attr;
	f->told_ns = time_now_ns();
}

static const struct pass_handle *tail_handle(const struct pass_file *f)
{
	for (size_t i = 0; i < f->opens; i++)
		if (f->handle[i].tail)
			return &f->handle[i];
	return NULL;
}

struct pass_file *pass_times_begin(struct pass *p, uint64_t nodeid, int *ret_settled)
{
	const struct pass_handle *h;
	struct pass_file *f;
	uint64_t fh = 0;

	*ret_settled = 0;
	if (!p->params.writable)
		return NULL;
	(void)pthread_mutex_lock(&p->lock);
	f = get_locked(p, nodeid);
	if (!f || !f->has_slot || !f->written) {
		(void)pthread_mutex_unlock(&p->lock);
		return NULL;
	}
	/* The handle stays: a RELEASE waits. */
	h = tail_handle(f);
	if (h)
		fh = h->fh;
	begin_locked(p, f);
	*ret_settled = pass_file_settle(p, f, h ? &fh : NULL);
	return f;
}

void pass_times_end(struct pass *p, struct pass_file *f, const struct pass_attr_in *attr)
{
	if (!f)
		return;
	/* What was written before has an mtime of its own now. */
	if (attr)
		pass_file_settled(f, attr);
	end_and_lock(p, f);
	(void)pthread_mutex_unlock(&p->lock);
}

int pass_settle(struct pass *p, uint64_t nodeid)
{
	int r;
	struct pass_file *f = pass_times_begin(p, nodeid, &r);

	pass_times_end(p, f, NULL);
	return r;
}

/* The place of the pointer to the file's mark, or to NULL. */
static struct pass_watched **find_watched_locked(struct pass *p, uint64_t nodeid)
{
	struct pass_watched **at = &p->watched[hash(nodeid)];

	while (*at && (*at)->nodeid != nodeid)
		at = &(*at)->next;
	return at;
}

bool pass_watch(struct pass *p, uint64_t nodeid)
{
	struct pass_watched **at, *w;
	struct pass_file *f;

	scoped_lock(&p->lock);
	f = get_locked(p, nodeid);
	at = find_watched_locked(p, nodeid);
	if (!f || *at)
		return false;
	w = calloc(1, sizeof(*w));
	if (!w)
		return false;
	w->nodeid = nodeid;
	*at = w;
	return true;
}

bool pass_unwatch(struct pass *p, uint64_t nodeid)
{
	struct pass_watched **at, *w;
	struct pass_file *f;

	scoped_lock(&p->lock);
	f = get_locked(p, nodeid);
	if (f && (f->opens || pass_slot_in_use(&f->slot)))
		return false;
	at = find_watched_locked(p, nodeid);
	w = *at;
	if (w)
		*at = w->next;
	free(w);
	return true;
}

bool pass_keeps(struct pass *p, uint64_t nodeid)
{
	scoped_lock(&p->lock);
	return find_locked(p, nodeid);
}

void pass_release(struct pass *p, uint64_t nodeid, uint64_t fh)
{
	struct pass_file *f;

	scoped_lock(&p->lock);
	f = get_locked(p, nodeid);
	/* Only what was counted: an open that was answered without, or refused, is not here. */
	for (size_t i = 0; f && i < f->opens; i++) {
		if (f->handle[i].fh != fh)
			continue;
		f->handle[i] = f->handle[--f->opens];
		if (!f->opens)
			(void)pthread_cond_broadcast(&p->changed);
		return;
	}
}

/* Evict it if it is idle. -EBUSY: it is open, or mapped. */
static int evict_node_locked(struct pass *p, uint64_t nodeid)
{
	struct pass_file *f;

	while ((f = get_locked(p, nodeid)))
		if (f->opens || !evict_locked(p, f))
			return -EBUSY;
	return 0;
}

void pass_flushed(struct pass *p, uint64_t nodeid, uint64_t fh)
{
	struct pass_file *f;

	scoped_lock(&p->lock);
	p->flushes = true;
	f = get_locked(p, nodeid);
	for (size_t i = 0; f && i < f->opens; i++)
		if (f->handle[i].fh == fh)
			f->handle[i].flushed_ns = time_now_ns();
}

/* Is one of its handles not about to be released? */
static bool stays_open_locked(struct pass *p, uint64_t nodeid)
{
	const struct pass_file *f = get_locked(p, nodeid);
	uint64_t now = time_now_ns();

	/* A host without FLUSH: the kernel sends none, and nobody knows. */
	if (!f || !p->flushes)
		return false;
	for (size_t i = 0; i < f->opens; i++)
		if (now - f->handle[i].flushed_ns > RELEASE_NS)
			return true;
	return false;
}

int pass_hold(struct pass *p, uint64_t nodeid, struct pass_hold *h)
{
	struct timespec ts = time_spec(time_now_ns() + RELEASE_NS);
	bool waited = false, late = false;
	int r;

	scoped_lock(&p->lock);
	/* Once more in the end: nobody tells when a mapping goes. */
	while ((r = evict_node_locked(p, nodeid)) == -EBUSY && !late &&
	       !stays_open_locked(p, nodeid)) {
		if (!waited)
			waiting_begin();
		waited = true;
		late = pthread_cond_timedwait(&p->changed, &p->lock, &ts);
	}
	if (r < 0)
		return r;
	*h = (struct pass_hold){ .next = p->holds, .nodeid = nodeid };
	p->holds = h;
	return 0;
}

void pass_unhold(struct pass *p, struct pass_hold *h)
{
	struct pass_hold **at = &p->holds;

	scoped_lock(&p->lock);
	while (*at != h)
		at = &(*at)->next;
	*at = h->next;
}

void pass_forget(struct pass *p, uint64_t nodeid)
{
	scoped_lock(&p->lock);
	(void)evict_node_locked(p, nodeid);
}

/* The block device must be nobody else's, because what is on it is overwritten. */
static int check_meta(const char *path)
{
	int fd = open(path, O_RDWR | O_EXCL | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	close_keep_errno(fd);
	return 0;
}

/* As many slots as the memory for metadata allows. */
static int choose_layout(const struct pass_params *params, struct ext4_layout *ret)
{
	uint64_t blocks = params->window.size / PASS_BLOCK;
	int r;

	if (blocks > UINT32_MAX)
		return -EFBIG;
	for (uint32_t slots = SLOTS_MAX; slots >= SLOTS_MIN; slots /= 2) {
		r = pass_slots_layout(ret, slots, (uint32_t)blocks);
		if (r < 0 || (uint64_t)ret->data.v * PASS_BLOCK <= params->meta.size)
			return r;
	}
	return -ENOSPC;
}

/* One device for all files: the metadata, then the window's region. */
static int make_device(const struct pass_params *params, const struct ext4_layout *l,
		       const char *name, char ret_path[COMPOSE_PATH_MAX])
{
	const struct pass_region *w = &params->window, *m = &params->meta;
	const struct compose_piece pieces[] = {
		{ m->major, m->minor, 0, (uint64_t)l->data.v * PASS_BLOCK },
		{ w->major, w->minor, 0, align_down(w->size, PASS_BLOCK) },
	};

	return compose_device(name, pieces, ARRAY_SIZE(pieces), ret_path);
}

int pass_create_over(const struct pass_params *params, const struct ext4_layout *l,
		     const char *device, struct pass **ret)
{
	struct pass *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return -ENOMEM;
	p->params = *params;
	p->layout = *l;
	p->front = params->window.start - params->window_start;
	(void)pthread_mutex_init(&p->lock, NULL);
	time_cond_init(&p->changed);
	p->first = align_up(p->front, UINT64_C(1) << PASS_PIECE_SHIFT);
	p->window = buddy_create(p->front + params->window.size - p->first, PASS_PIECE_SHIFT,
				 PASS_SHIFT_MAX);
	r = p->window ? pass_slots_create(device, l, &p->slots) : -ENOMEM;
	if (r < 0) {
		pass_destroy(p);
		return r;
	}
	*ret = p;
	return 0;
}

int pass_create(const struct pass_params *params, struct pass **ret)
{
	char path[COMPOSE_PATH_MAX], name[sizeof((*ret)->device)];
	struct ext4_layout l;
	int r;

	(void)snprintf(name, sizeof(name), PASS_DEVICE_PREFIX "%d", (int)getpid());
	/* What a killed process has left may still be in use: then its pages are, too. */
	r = compose_remove_all(PASS_DEVICE_PREFIX);
	if (r == 0)
		r = check_meta(params->meta.block);
	if (r == 0)
		r = choose_layout(params, &l);
	if (r == 0)
		r = make_device(params, &l, name, path);
	if (r < 0)
		return r;
	r = pass_create_over(params, &l, path, ret);
	if (r < 0)
		(void)compose_device_remove(name);
	else
		memcpy((*ret)->device, name, sizeof(name));
	return r;
}

/* A block of a power of two, at most a third of the window; or everything. */
static int reserve_arena(struct pass *p, bool all, struct pass_arena *a)
{
	unsigned int shift = PASS_PIECE_SHIFT;
	struct woff any;

	if (all) {
		a->at = WOFF(p->first);
		a->size = MIN(buddy_free_bytes(p->window), PASS_SLOT_EXTENT_MAX);
		while (pass_reserve(p, PASS_PIECE_SHIFT, &any) == 0)
			;
		return 0;
	}
	while (shift < PASS_SHIFT_MAX && UINT64_C(2) << shift <= p->params.window.size / 3)
		shift++;
	a->size = UINT64_C(1) << shift;
	return pass_reserve(p, shift, &a->at);
}

int pass_arena_open(struct pass *p, bool all, struct pass_arena *ret)
{
	struct pass_attr attr = { .mode = S_IFREG | 0600 };
	struct pass_arena a = { 0 };
	struct pass_extent e;
	int r;

	r = pass_slot_take(p->slots, &p->arena_slot);
	if (r == 0)
		r = reserve_arena(p, all, &a);
	if (r < 0)
		return r;
	attr.size = a.size;
	e = pass_extent_of(p, 0, a.at, a.size);
	r = pass_slot_open(p->slots, &p->arena_slot, &attr, &e, 1);
	if (r < 0)
		return r;
	a.addr = mmap(NULL, a.size, PROT_READ | PROT_WRITE, MAP_SHARED, p->arena_slot.fd, 0);
	if (a.addr == MAP_FAILED)
		return -errno;
	*ret = p->arena = a;
	return 0;
}

void pass_fail(struct pass *p)
{
	int r;

	scoped_lock(&p->lock);
	if (p->failed)
		return;
	r = compose_device_fail(p->device, (uint64_t)p->layout.blocks * PASS_BLOCK);
	if (r < 0) {
		log_warn("files that are passed through are not made to fail: %s", strerror(-r));
		return;
	}
	p->failed = true;
	/* A file that is busy follows in end_and_lock(). */
	for (unsigned int b = 0; b < PASS_BUCKETS; b++)
		for (const struct pass_file *f = p->bucket[b]; f; f = f->next)
			if (!f->busy)
				punch(f);
}

static void free_watched(struct pass *p)
{
	for (unsigned int b = 0; b < PASS_BUCKETS; b++) {
		struct pass_watched *w = p->watched[b], *next;

		for (; w; w = next) {
			next = w->next;
			free(w);
		}
	}
}

static void evict_all(struct pass *p)
{
	for (unsigned int b = 0; b < PASS_BUCKETS; b++) {
		struct pass_file *f = p->bucket[b], *next;

		for (; f; f = next) {
			next = f->next;
			if (!pass_file_free(p, f))
				log_warn("a file is still in use by a mapping");
			free(f->handle);
			free(f);
		}
	}
}

void pass_destroy(struct pass *p)
{
	if (!p)
		return;
	if (p->slots)
		evict_all(p);
	if (p->arena.addr)
		(void)munmap(p->arena.addr, p->arena.size);
	if (p->arena_slot.fd > 0)
		(void)pass_slot_evict(p->slots, &p->arena_slot);
	pass_slots_destroy(p->slots);
	if (p->device[0] && compose_device_remove(p->device) < 0)
		log_warn("the device %s is still in use", p->device);
	buddy_destroy(p->window);
	free_watched(p);
	(void)pthread_cond_destroy(&p->changed);
	(void)pthread_mutex_destroy(&p->lock);
	free(p);
}
