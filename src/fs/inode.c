// SPDX-License-Identifier: MIT
// What the daemon knows of files: their size, their use, their part of the window.

#include <malloc.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/time.h"
#include "base/waiting.h"
#include "fs/inode.h"

#define SHARDS	      16u
#define BUCKETS_FIRST 64u

struct inode_shard {
	pthread_mutex_t lock;
	struct inode **bucket;
	size_t nbuckets; /* a power of two */
	size_t count;
};

/* So many entries freed are some 2.5 MiB that the allocator would keep for ever. */
#define TRIM_AFTER 8192u

/*
 * Sizes that the host told of files without an entry (they get one when they are opened). A slot
 * has no lock: check = nodeid ^ size, so a reader notices when the two words are not of one file.
 */
#define TOLD 1024u

struct told {
	_Atomic uint64_t check, size;
};

struct inode_table {
	struct dax *dax;
	_Atomic uint64_t gone;	      /* entries removed so far, plus one */
	_Atomic unsigned int touched; /* entries with touched set; may be too high for a moment */
	struct inode_shard shard[SHARDS];
	struct told told[TOLD];
};

static _Atomic uint64_t size_epoch = 1;

/* Spread the host's numbers, which may be small or addresses (splitmix64's finish). */
static uint64_t node_hash(uint64_t v)
{
	v = (v ^ v >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	v = (v ^ v >> 27) * UINT64_C(0x94d049bb133111eb);
	return v ^ v >> 31;
}

/* Few shared locks instead of one in each entry: entries are many, collisions are rare. */
#define SETTLING 32u

static pthread_mutex_t settling[SETTLING] = { [0 ... SETTLING - 1] = PTHREAD_MUTEX_INITIALIZER };

static pthread_mutex_t *settling_of(const struct inode *i)
{
	return &settling[node_hash(i->nodeid) % SETTLING];
}

static struct inode_shard *shard_of(struct inode_table *t, uint64_t nodeid)
{
	return &t->shard[node_hash(nodeid) % SHARDS];
}

/* Where the pointer to the entry stands, or would be put. */
static struct inode **slot_locked(struct inode_shard *s, uint64_t nodeid)
{
	struct inode **p = &s->bucket[(node_hash(nodeid) / SHARDS) & (s->nbuckets - 1)];

	while (*p && (*p)->nodeid != nodeid)
		p = &(*p)->next;
	return p;
}

struct inode_table *inode_table_create(struct dax *dax)
{
	struct inode_table *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->dax = dax;
	atomic_init(&t->gone, 1);
	for (unsigned int i = 0; i < SHARDS; i++) {
		struct inode_shard *s = &t->shard[i];

		(void)pthread_mutex_init(&s->lock, NULL);
		s->bucket = calloc(BUCKETS_FIRST, sizeof(struct inode *));
		s->nbuckets = s->bucket ? BUCKETS_FIRST : 0;
		if (!s->bucket) {
			inode_table_destroy(t);
			return NULL;
		}
	}
	return t;
}

static void inode_free(struct inode *i)
{
	dax_inode_destroy(i->dax);
	page_cache_closed(&i->page_cache);
	(void)pthread_rwlock_destroy(&i->io);
	(void)pthread_mutex_destroy(&i->lock);
	free(i);
}

void inode_table_destroy(struct inode_table *t)
{
	if (!t)
		return;
	for (unsigned int i = 0; i < SHARDS; i++) {
		struct inode_shard *s = &t->shard[i];

		for (size_t b = 0; b < s->nbuckets; b++) {
			while (s->bucket[b]) {
				struct inode *inode = s->bucket[b];

				s->bucket[b] = inode->next;
				inode_free(inode);
			}
		}
		free(s->bucket);
		(void)pthread_mutex_destroy(&s->lock);
	}
	free(t);
}

uint64_t inode_table_count(struct inode_table *t)
{
	uint64_t n = 0;

	for (unsigned int i = 0; i < SHARDS; i++) {
		scoped_lock(&t->shard[i].lock);
		n += t->shard[i].count;
	}
	return n;
}

/* Twice the buckets when they are full; failing leaves longer chains, nothing worse. */
static void shard_grow_locked(struct inode_shard *s)
{
	struct inode_shard bigger = { .nbuckets = s->nbuckets * 2 };

	if (s->count < s->nbuckets)
		return;
	bigger.bucket = calloc(bigger.nbuckets, sizeof(struct inode *));
	if (!bigger.bucket)
		return;
	for (size_t b = 0; b < s->nbuckets; b++) {
		while (s->bucket[b]) {
			struct inode *i = s->bucket[b], **to;

			s->bucket[b] = i->next;
			i->next = NULL;
			to = slot_locked(&bigger, i->nodeid);
			*to = i;
		}
	}
	free(s->bucket);
	s->bucket = bigger.bucket;
	s->nbuckets = bigger.nbuckets;
}

static struct told *told_of(struct inode_table *t, uint64_t nodeid)
{
	return &t->told[node_hash(nodeid) % TOLD];
}

void inode_told_early(struct inode_table *t, uint64_t nodeid, uint64_t size)
{
	struct told *o = told_of(t, nodeid);

	/* relaxed: see struct told */
	atomic_store_explicit(&o->check, nodeid ^ size, memory_order_relaxed);
	atomic_store_explicit(&o->size, size, memory_order_relaxed);
}

/* The size of inode_told_early(), or INODE_SIZE_UNKNOWN. */
static uint64_t told_early(struct inode_table *t, uint64_t nodeid)
{
	const struct told *o = told_of(t, nodeid);
	uint64_t size = atomic_load_explicit(&o->size, memory_order_relaxed);

	return atomic_load_explicit(&o->check, memory_order_relaxed) == (nodeid ^ size)
		       ? size
		       : INODE_SIZE_UNKNOWN;
}

static struct inode *inode_create(struct inode_table *t, uint64_t nodeid)
{
	struct inode *i = calloc(1, sizeof(*i));
	pthread_rwlockattr_t attr;

	if (!i)
		return NULL;
	if (t->dax) {
		i->dax = dax_inode_create(t->dax, nodeid);
		if (!i->dax) {
			free(i);
			return NULL;
		}
	}
	i->nodeid = nodeid;
	atomic_init(&i->size, INODE_SIZE_UNKNOWN);
	i->told = told_early(t, nodeid);
	/* A truncation must not wait for ever behind a stream of readers. */
	(void)pthread_rwlockattr_init(&attr);
	(void)pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	(void)pthread_rwlock_init(&i->io, &attr);
	(void)pthread_rwlockattr_destroy(&attr);
	(void)pthread_mutex_init(&i->lock, NULL);
	return i;
}

void inode_io_lock(struct inode *i, bool exclusive)
{
	int r = exclusive ? pthread_rwlock_trywrlock(&i->io) : pthread_rwlock_tryrdlock(&i->io);

	if (r == 0)
		return;
	waiting_begin();
	if (exclusive)
		(void)pthread_rwlock_wrlock(&i->io);
	else
		(void)pthread_rwlock_rdlock(&i->io);
}

struct inode *inode_opened(struct inode_table *t, uint64_t nodeid)
{
	struct inode_shard *s = shard_of(t, nodeid);
	struct inode **p, *i;

	scoped_lock(&s->lock);
	p = slot_locked(s, nodeid);
	if (!*p) {
		*p = inode_create(t, nodeid);
		if (!*p)
			return NULL;
		s->count++;
	}
	i = *p;
	i->opens++;
	i->forgotten = false;
	atomic_fetch_and(&i->refs, ~INODE_GOING);
	atomic_fetch_add(&i->refs, 1);
	shard_grow_locked(s);
	return i;
}

unsigned int inode_opens(struct inode_table *t, uint64_t nodeid)
{
	struct inode_shard *s = shard_of(t, nodeid);
	const struct inode *i;

	scoped_lock(&s->lock);
	i = *slot_locked(s, nodeid);
	return i ? i->opens : 0;
}

struct inode *inode_get(struct inode_table *t, uint64_t nodeid)
{
	struct inode_shard *s = shard_of(t, nodeid);
	struct inode *i;

	scoped_lock(&s->lock);
	i = *slot_locked(s, nodeid);
	if (i)
		atomic_fetch_add(&i->refs, 1);
	return i;
}

struct inode *inode_get_open(struct inode_table *t, uint64_t nodeid, struct inode_memo *memos)
{
	uint64_t gone = atomic_load(&t->gone);
	struct inode_memo *m = &memos[node_hash(nodeid) % INODE_MEMOS];
	struct inode *i;

	/*
	 * If the entry was removed before its file was opened again, we see it in gone: the removal
	 * is ordered before that open by the shard's lock, and the open before this request by the
	 * kernel. While the file is open its entry is not removed. Entries of other memos may be
	 * freed, so do not access them.
	 */
	if (m->gone == gone && m->nodeid == nodeid) {
		atomic_fetch_add(&m->inode->refs, 1);
		return m->inode;
	}
	i = inode_get(t, nodeid);
	if (i)
		*m = (struct inode_memo){ .gone = gone, .nodeid = nodeid, .inode = i };
	return i;
}

/*
 * Retire an entry that nobody needs. True: free it now. If references keep it, inode_put() of the
 * last one frees it.
 */
static bool retire_locked(struct inode *i)
{
	return i->forgotten && !i->opens &&
	       !(atomic_fetch_or(&i->refs, INODE_GOING) & ~INODE_GOING);
}

/*
 * Call @change_locked (or nothing, if NULL) for the entry of @nodeid, if there is one, and free the
 * entry if nobody needs it any more. Returns the result of @change_locked, or false.
 */
static bool inode_change(struct inode_table *t, uint64_t nodeid,
			 bool (*change_locked)(struct inode *i))
{
	struct inode_shard *s = shard_of(t, nodeid);
	struct inode **p, *i;
	uint64_t gone = 0;
	bool r = false;

	(void)pthread_mutex_lock(&s->lock);
	p = slot_locked(s, nodeid);
	i = *p;
	if (i && change_locked)
		r = change_locked(i);
	if (i && retire_locked(i)) {
		*p = i->next;
		s->count--;
		/* Before it is freed: who has found it by a memo must not use that any more. */
		gone = atomic_fetch_add(&t->gone, 1);
	} else {
		i = NULL;
	}
	(void)pthread_mutex_unlock(&s->lock);
	if (!i)
		return r;
	if (atomic_load(&i->touched))
		atomic_fetch_sub(&t->touched, 1);
	/* Without the lock, because it waits for copies and mappings. */
	inode_free(i);
	/* It takes some ms, so only once in thousands of FORGETs. */
	if (gone % TRIM_AFTER == 0)
		(void)malloc_trim(0);
	return r;
}

void inode_put(struct inode_table *t, struct inode *i)
{
	uint64_t nodeid;

	if (!i)
		return;
	nodeid = i->nodeid;
	/* From here on it may be freed: another thread may get a reference and put it first. */
	if (atomic_fetch_sub(&i->refs, 1) == (INODE_GOING | 1))
		(void)inode_change(t, nodeid, NULL);
}

bool inode_touched(struct inode_table *t, struct inode *i)
{
	if (!atomic_load(&i->touched)) {
		/* Count first: who sees touched subtracts one, which must be this one. */
		atomic_fetch_add(&t->touched, 1);
		if (atomic_exchange(&i->touched, true))
			atomic_fetch_sub(&t->touched, 1);
	}
	return !atomic_load(&i->listed) && !atomic_exchange(&i->listed, true);
}

bool inode_any_touched(struct inode_table *t)
{
	/* A file counts until the host has its mtime, so 0 means that no thread is setting one. */
	return atomic_load(&t->touched);
}

bool inode_settle_begin(struct inode_table *t, struct inode *i)
{
	if (!inode_any_touched(t))
		return false;
	if (pthread_mutex_trylock(settling_of(i))) {
		waiting_begin();
		(void)pthread_mutex_lock(settling_of(i));
	}
	i->settle = atomic_exchange(&i->touched, false);
	return true;
}

bool inode_settle_due(struct inode *i)
{
	return i->settle;
}

void inode_settle_end(struct inode_table *t, struct inode *i)
{
	if (i->settle)
		atomic_fetch_sub(&t->touched, 1);
	i->settle = false;
	(void)pthread_mutex_unlock(settling_of(i));
}

static bool list_closed_locked(struct inode *i)
{
	bool list = !i->opens && !i->closed_listed;

	i->closed_listed |= list;
	return list;
}

static bool released_locked(struct inode *i)
{
	i->opens -= i->opens != 0;
	if (!i->opens)
		page_cache_closed(&i->page_cache);
	return list_closed_locked(i);
}

bool inode_released(struct inode_table *t, uint64_t nodeid)
{
	return inode_change(t, nodeid, released_locked);
}

bool inode_list_closed(struct inode_table *t, struct inode *i)
{
	return inode_change(t, i->nodeid, list_closed_locked);
}

static bool forget_locked(struct inode *i)
{
	i->forgotten = true;
	return false;
}

void inode_forget(struct inode_table *t, uint64_t nodeid)
{
	(void)inode_change(t, nodeid, forget_locked);
}

struct inode *inode_get_closed(struct inode_table *t, uint64_t nodeid)
{
	struct inode_shard *s = shard_of(t, nodeid);
	struct inode *i;

	scoped_lock(&s->lock);
	i = *slot_locked(s, nodeid);
	if (!i)
		return NULL;
	i->closed_listed = false;
	if (i->opens)
		return NULL;
	atomic_fetch_add(&i->refs, 1);
	return i;
}

static bool let_go_locked(struct inode *i)
{
	/* As after FORGET: only the next open could use what we know of a closed file. */
	if (!i->opens)
		i->forgotten = true;
	return false;
}

void inode_let_go(struct inode_table *t, struct inode *i)
{
	uint64_t nodeid = i->nodeid;

	if (i->size != INODE_SIZE_UNKNOWN)
		inode_told_early(t, nodeid, i->size);
	inode_put(t, i);
	(void)inode_change(t, nodeid, let_go_locked);
}

uint64_t inode_epoch(void)
{
	return atomic_load(&size_epoch);
}

/* What the host has said before about the size is void. */
static void overtake_locked(struct inode *i)
{
	i->end_until = 0;
	i->epoch = atomic_fetch_add(&size_epoch, 1) + 1;
}

static void unknown_locked(struct inode *i)
{
	i->size = INODE_SIZE_UNKNOWN;
	i->size_wanted = true;
	overtake_locked(i);
}

void inode_learn_end(struct inode *i, uint64_t end, uint64_t asked, uint64_t ns)
{
	scoped_lock(&i->lock);
	if (i->epoch > asked)
		return;
	if (end != (i->size == INODE_SIZE_UNKNOWN ? i->told : i->size)) {
		unknown_locked(i);
		return;
	}
	i->size = end;
	i->size_wanted = false;
	i->end_until = time_now_ns() + ns;
}

void inode_learn_size(struct inode *i, uint64_t size, uint64_t asked)
{
	bool shrunk;

	/* Nothing to change, whatever the epoch. */
	if (i->size == size && !i->size_wanted && !i->end_until)
		return;
	(void)pthread_mutex_lock(&i->lock);
	if (i->epoch > asked) {
		(void)pthread_mutex_unlock(&i->lock);
		return;
	}
	shrunk = i->size != INODE_SIZE_UNKNOWN && size < i->size;
	i->size = i->told = size;
	i->size_wanted = false;
	i->end_until = 0;
	(void)pthread_mutex_unlock(&i->lock);
	if (shrunk && i->dax) {
		inode_io_lock(i, true);
		dax_drop(i->dax, FOFF(align_down(size, PAGE_4K)));
		(void)pthread_rwlock_unlock(&i->io);
	}
}

void inode_size_changed(struct inode *i, uint64_t size)
{
	scoped_lock(&i->lock);
	i->size = i->told = size;
	i->size_wanted = false;
	overtake_locked(i);
}

void inode_size_grown(struct inode *i, uint64_t end, uint64_t asked)
{
	scoped_lock(&i->lock);
	/* A truncation may have come after the write: then the file need not reach to its end. */
	if (i->epoch > asked && i->size != INODE_SIZE_UNKNOWN && end > i->size) {
		unknown_locked(i);
		return;
	}
	/* Also of a size that we do not know: what the host has told before may be too small now. */
	overtake_locked(i);
	if (i->size != INODE_SIZE_UNKNOWN && end > i->size)
		i->size = end;
	if (i->told != INODE_SIZE_UNKNOWN && end > i->told)
		i->told = INODE_SIZE_UNKNOWN;
}

void inode_size_unknown(struct inode *i)
{
	scoped_lock(&i->lock);
	unknown_locked(i);
}

bool inode_take_end(struct inode *i, uint64_t off)
{
	uint64_t until;

	/* relaxed: each READ comes here, and whoever misses it asks the host */
	if (!atomic_load_explicit(&i->end_until, memory_order_relaxed))
		return false;
	scoped_lock(&i->lock);
	if (!i->end_until || off != i->size)
		return false;
	until = i->end_until;
	i->end_until = 0;
	return time_now_ns() < until;
}
