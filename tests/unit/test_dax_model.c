// SPDX-License-Identifier: MIT
// The window under random operations of several threads, against files whose content is known.

#include "unit.h"

#include <pthread.h>
#include <sys/stat.h>

#include "base/counter.h"
#include "base/guard.h"
#include "base/time.h"
#include "fake_remote.h"

/*
 * Each word of a file says where it belongs: file, version, number of the word. Versions count per
 * block of 4 KiB: lo is the oldest that any of its words can have, hi the newest that was begun. A
 * reader notes lo before and hi after; what it has read must lie between. Writers of one block are
 * serialised by a stripe lock. Readers take none, but for the thread sanitizer, which rightly calls
 * that a race of the applications.
 */
#ifdef __SANITIZE_THREAD__
#define READERS_LOCK true
#else
#define READERS_LOCK false
#endif

#define THREADS	       6u
#define BLOCK	       4096u
#define FILE_MAX       (6 * MIB)
#define BLOCKS_MAX     (FILE_MAX / BLOCK)
#define STRIPES	       64u
#define RANGE_MAX      (48 * BLOCK)
#define HOT	       (256 * KIB)

#define HOT_OPERATIONS 4096u

struct mfile {
	unsigned int id;
	pthread_rwlock_t
		io; /* the caller's rule of dax.h: shared for copies, exclusive to shorten */
	pthread_mutex_t grow;
	pthread_mutex_t stripe[STRIPES];
	_Atomic uint64_t size;
	_Atomic uint32_t lo[BLOCKS_MAX], hi[BLOCKS_MAX];
	struct dax_inode *di; /* changes only with io held exclusively */
};

struct model {
	struct remote remote;
	struct dax *dax;
	struct mfile file[REMOTE_FILES];
	_Atomic bool stop;
	_Atomic uint64_t served, fallback, ops;
};

struct worker {
	struct model *m;
	struct rng rng;
	pthread_t thread;
	uint64_t *buf;
	uint32_t *lo; /* of the blocks of a read */
};

static uint64_t word_make(unsigned int file, uint32_t version, uint64_t off)
{
	return (uint64_t)(file + 1) << 56 | (uint64_t)(version & 0xffffff) << 32 | off / 8;
}

static void words_fill(uint64_t *buf, unsigned int file, uint32_t version, uint64_t off, size_t len)
{
	for (size_t i = 0; i < len / 8; i++)
		buf[i] = word_make(file, version, off + i * 8);
}

static void word_check(const struct mfile *f, uint64_t got, uint64_t off, uint32_t lo,
		       const char *path)
{
	uint32_t hi = atomic_load(&f->hi[off / BLOCK]);
	uint32_t version = (uint32_t)(got >> 32) & 0xffffff;

	if (got >> 56 == f->id + 1 && (uint32_t)got == off / 8 && version >= lo && version <= hi)
		return;
	(void)fprintf(stderr,
		      "%s: file %u at %llu: found file %d, word %u, version %u; wanted word %llu, "
		      "version %u to %u\n",
		      path, f->id, (unsigned long long)off, (int)(got >> 56) - 1, (uint32_t)got,
		      version, (unsigned long long)(off / 8), lo, hi);
	abort();
}

/*
 * A range of whole words below the last whole page; 0 when there is none. Half of them begin in one
 * piece of each file, so that it is worth another's place; another piece after some thousands of
 * operations.
 */
static size_t pick_range(struct worker *w, struct mfile *f, uint64_t *ret_off, uint64_t *ret_limit)
{
	uint64_t limit = align_down(atomic_load(&f->size), PAGE_4K), len;
	uint64_t turn = atomic_load(&w->m->ops) / HOT_OPERATIONS;

	if (!limit)
		return 0;
	*ret_limit = limit;
	*ret_off = rng_below(&w->rng, limit);
	if (rng_below(&w->rng, 2))
		*ret_off = (turn * 5 * HOT + rng_below(&w->rng, HOT)) % limit;
	*ret_off = align_down(*ret_off, 8);
	len = MIN(8 + align_down(rng_below(&w->rng, RANGE_MAX), 8), limit - *ret_off);
	return (size_t)len;
}

/* The stripes of up to STRIPES blocks, in the order of their numbers. */
static void stripes(struct mfile *f, uint64_t first, uint64_t last, bool lock)
{
	for (uint64_t s = 0; s < STRIPES; s++) {
		uint64_t b = first + (s + STRIPES - first % STRIPES) % STRIPES;

		if (b > last)
			continue;
		if (lock)
			(void)pthread_mutex_lock(&f->stripe[s]);
		else
			(void)pthread_mutex_unlock(&f->stripe[s]);
	}
}

static void op_read(struct worker *w, struct mfile *f)
{
	uint64_t off, limit;
	bool declined;
	size_t len;
	int r;

	(void)pthread_rwlock_rdlock(&f->io);
	len = pick_range(w, f, &off, &limit);
	if (len) {
		uint64_t first = off / BLOCK, last = (off + len - 1) / BLOCK;

		if (READERS_LOCK)
			stripes(f, first, last, true);
		for (uint64_t b = first; b <= last; b++)
			w->lo[b - first] = atomic_load(&f->lo[b]);
		/* As the relay does it: where the window is full, the policy hears of it
		 * afterwards. */
		declined = dax_declines(f->di, FOFF(off));
		r = declined ? -EAGAIN : dax_read(f->di, FOFF(off), w->buf, len, limit);
		must(r == 0 || r == -EAGAIN);
		if (declined && !dax_note_miss(f->di, FOFF(off), len, limit, false))
			dax_count_miss(f->di, FOFF(off), len, limit, false);
		if (r < 0)
			must(pread(w->m->remote.fd[f->id], w->buf, len, (off_t)off) ==
			     (ssize_t)len);
		if (r < 0)
			dax_missed(w->m->dax, NSEC_PER_MS);
		atomic_fetch_add(r ? &w->m->fallback : &w->m->served, 1);
		for (size_t i = 0; i < len / 8; i++)
			word_check(f, w->buf[i], off + i * 8, w->lo[(off + i * 8) / BLOCK - first],
				   r ? "pread" : "window");
		if (READERS_LOCK)
			stripes(f, first, last, false);
	}
	(void)pthread_rwlock_unlock(&f->io);
}

static void write_locked(struct worker *w, struct mfile *f, uint64_t off, size_t len,
			 uint64_t limit)
{
	uint64_t first = off / BLOCK, last = (off + len - 1) / BLOCK;
	int r;

	for (uint64_t b = first; b <= last; b++) {
		uint64_t from = MAX(off, b * BLOCK), to = MIN(off + len, (b + 1) * BLOCK);
		uint32_t version = atomic_load(&f->hi[b]) + 1;

		words_fill(w->buf + (from - off) / 8, f->id, version, from, to - from);
		atomic_store(&f->hi[b], version);
	}
	r = dax_write(f->di, FOFF(off), w->buf, len, limit);
	must(r == 0 || r == -EAGAIN);
	if (r < 0)
		must(pwrite(w->m->remote.fd[f->id], w->buf, len, (off_t)off) == (ssize_t)len);
	atomic_fetch_add(r ? &w->m->fallback : &w->m->served, 1);
	for (uint64_t b = first; b <= last; b++)
		if (off <= b * BLOCK && off + len >= (b + 1) * BLOCK)
			atomic_store(&f->lo[b], atomic_load(&f->hi[b]));
}

static void op_write(struct worker *w, struct mfile *f)
{
	uint64_t off, limit;
	size_t len;

	(void)pthread_rwlock_rdlock(&f->io);
	len = pick_range(w, f, &off, &limit);
	if (len) {
		stripes(f, off / BLOCK, (off + len - 1) / BLOCK, true);
		write_locked(w, f, off, len, limit);
		stripes(f, off / BLOCK, (off + len - 1) / BLOCK, false);
	}
	(void)pthread_rwlock_unlock(&f->io);
}

/* Longer, while others read and write what was there; as a write over the virtqueue would do it. */
static void grow_to(struct model *m, struct mfile *f, uint64_t *buf, uint64_t to)
{
	uint64_t from = atomic_load(&f->size);

	while (from < to) {
		uint64_t b = from / BLOCK;
		size_t len = (size_t)(MIN((b + 1) * BLOCK, to) - from);
		uint32_t version = atomic_load(&f->hi[b]);

		words_fill(buf, f->id, version, from, len);
		must(pwrite(m->remote.fd[f->id], buf, len, (off_t)from) == (ssize_t)len);
		from += len;
	}
	atomic_store(&f->size, to);
}

static void op_grow(struct worker *w, struct mfile *f)
{
	uint64_t to;

	(void)pthread_rwlock_rdlock(&f->io);
	(void)pthread_mutex_lock(&f->grow);
	to = atomic_load(&f->size) + 8 + align_down(rng_below(&w->rng, MIB), 8);
	grow_to(w->m, f, w->buf, MIN(to, FILE_MAX));
	(void)pthread_mutex_unlock(&f->grow);
	(void)pthread_rwlock_unlock(&f->io);
}

static void op_shorten(struct worker *w, struct mfile *f)
{
	uint64_t to;

	(void)pthread_rwlock_wrlock(&f->io);
	to = align_down(rng_below(&w->rng, atomic_load(&f->size) + 1), 8);
	dax_drop(f->di, FOFF(align_down(to, PAGE_4K)));
	/* What the host did not remove nobody finds any more. */
	must(w->m->remote.stay_one_in ||
	     !remote_shows(&w->m->remote, f->id + 1, align_down(to, PAGE_4K)));
	must(ftruncate(w->m->remote.fd[f->id], (off_t)to) == 0);
	/* What comes back must be newer than what was cut off: a stale mapping shows it. */
	for (uint64_t b = to / BLOCK; b < BLOCKS_MAX; b++) {
		uint32_t version = atomic_load(&f->hi[b]) + 1;

		atomic_store(&f->hi[b], version);
		if (to <= b * BLOCK)
			atomic_store(&f->lo[b], version);
	}
	atomic_store(&f->size, to);
	if (rng_chance(&w->rng, 2))
		grow_to(w->m, f, w->buf, MIN(to + 2 * MIB, FILE_MAX));
	(void)pthread_rwlock_unlock(&f->io);
}

static void op_drop(struct worker *w, struct mfile *f)
{
	(void)pthread_rwlock_rdlock(&f->io);
	dax_drop(f->di, FOFF(rng_below(&w->rng, FILE_MAX)));
	(void)pthread_rwlock_unlock(&f->io);
}

static void op_renew_inode(struct worker *w, struct mfile *f)
{
	(void)pthread_rwlock_wrlock(&f->io);
	dax_inode_destroy(f->di);
	/* It lets go, the host unmaps soon after: wait, so that op_shorten() can be strict. */
	dax_settle(w->m->dax);
	f->di = dax_inode_create(w->m->dax, f->id + 1);
	must(f->di);
	(void)pthread_rwlock_unlock(&f->io);
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;

	while (!atomic_load(&w->m->stop)) {
		/* Some files are used more than others. */
		uint64_t i =
			MIN(rng_below(&w->rng, REMOTE_FILES), rng_below(&w->rng, REMOTE_FILES));
		struct mfile *f = &w->m->file[i];
		uint64_t op = rng_below(&w->rng, 1000);

		if (op < 600)
			op_read(w, f);
		else if (op < 950)
			op_write(w, f);
		else if (op < 975)
			op_grow(w, f);
		else if (op < 985)
			op_shorten(w, f);
		else if (op < 993)
			op_drop(w, f);
		else
			op_renew_inode(w, f);
		atomic_fetch_add(&w->m->ops, 1);
	}
	return NULL;
}

static void file_init(struct model *m, unsigned int id)
{
	static uint64_t buf[BLOCK / 8];
	struct mfile *f = &m->file[id];
	pthread_rwlockattr_t attr;

	f->id = id;
	(void)pthread_rwlockattr_init(&attr);
	(void)pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	(void)pthread_rwlock_init(&f->io, &attr);
	(void)pthread_rwlockattr_destroy(&attr);
	(void)pthread_mutex_init(&f->grow, NULL);
	for (unsigned int i = 0; i < STRIPES; i++)
		(void)pthread_mutex_init(&f->stripe[i], NULL);
	grow_to(m, f, buf, (id + 1) * (MIB / 2) + 4104);
	f->di = dax_inode_create(m->dax, id + 1);
	must(f->di);
}

static void file_fini(struct mfile *f)
{
	dax_inode_destroy(f->di);
	(void)pthread_rwlock_destroy(&f->io);
	(void)pthread_mutex_destroy(&f->grow);
	for (unsigned int i = 0; i < STRIPES; i++)
		(void)pthread_mutex_destroy(&f->stripe[i]);
}

struct mood {
	uint64_t window, alignment;
	unsigned int limit, refuse_one_in, slow_us, stay_one_in;
	bool evicts; /* what is hot is to take the place of other things */
};

static void model_run(const struct mood *mood, uint64_t seed, uint64_t us)
{
	struct model *m = calloc(1, sizeof(*m));
	struct worker w[THREADS];
	uint64_t faults = counter_get(COUNTER_dax_faults);
	uint64_t evictions = counter_get(COUNTER_evictions);

	must(m && guard_init() == 0);
	remote_init(&m->remote, mood->window, mood->alignment);
	m->remote.limit = mood->limit;
	m->remote.refuse_one_in = mood->refuse_one_in;
	m->remote.slow_us = mood->slow_us;
	m->remote.stay_one_in = mood->stay_one_in;
	m->remote.seed = seed;
	m->dax = remote_dax(&m->remote);
	for (unsigned int i = 0; i < REMOTE_FILES; i++)
		file_init(m, i);
	for (unsigned int i = 0; i < THREADS; i++) {
		w[i] = (struct worker){ .m = m,
					.rng = { seed + i },
					.buf = malloc(RANGE_MAX + BLOCK),
					.lo = calloc(RANGE_MAX / BLOCK + 2, sizeof(uint32_t)) };
		must(w[i].buf && w[i].lo);
		must(pthread_create(&w[i].thread, NULL, worker_main, &w[i]) == 0);
	}
	(void)usleep((useconds_t)us);
	atomic_store(&m->stop, true);
	for (unsigned int i = 0; i < THREADS; i++) {
		must(pthread_join(w[i].thread, NULL) == 0);
		free(w[i].buf);
		free(w[i].lo);
	}
	/* The janitor may still be at a mapping, and the host at its numbers. */
	dax_settle(m->dax);
	evictions = counter_get(COUNTER_evictions) - evictions;
	(void)printf("%llu operations, %llu copies through the window, %llu not; %u mappings, %llu "
		     "evicted, "
		     "%u refused, %u not removed at first, at most %u at a time\n",
		     (unsigned long long)m->ops, (unsigned long long)m->served,
		     (unsigned long long)m->fallback, m->remote.setups,
		     (unsigned long long)evictions, m->remote.refused, m->remote.stays,
		     m->remote.max_live);
	/* Nothing was touched that was not mapped. */
	assert_int_equal(counter_get(COUNTER_dax_faults), faults);
	assert_true(m->served > 0);
	/* The mood has shown itself, unless there was no time for it. */
	assert_true(evictions > 0 || m->remote.setups <= 200 || !mood->evicts);
	assert_true(m->remote.refused > 0 || m->remote.setups <= 20 * mood->refuse_one_in ||
		    !mood->refuse_one_in);
	assert_true(m->remote.stays > 0 || m->remote.removes <= 20 * mood->stay_one_in ||
		    !mood->stay_one_in);
	m->remote.stay_one_in = 0;
	for (unsigned int i = 0; i < REMOTE_FILES; i++)
		file_fini(&m->file[i]);
	dax_settle(m->dax);
	assert_int_equal(dax_live_maps(m->dax), 0);
	assert_int_equal(remote_live(&m->remote), 0);
	assert_int_equal(m->remote.setups, m->remote.removes);
	dax_destroy(m->dax);
	remote_fini(&m->remote);
	free(m);
}

/* A quarter of the time each. */
static uint64_t share_us(void)
{
	return unit_seconds(5) * 1000000 / 4;
}

static void friendly_host(void **state)
{
	model_run(&(struct mood){ .window = 16 * MIB, .alignment = PAGE_4K }, unit_seed(),
		  share_us());
}

static void tiny_window(void **state)
{
	model_run(&(struct mood){ .window = 2 * MIB + 4096,
				  .alignment = 65536,
				  .slow_us = 200,
				  .evicts = true },
		  unit_seed(), share_us());
}

static void moody_host(void **state)
{
	model_run(&(struct mood){ .window = 64 * MIB,
				  .alignment = PAGE_4K,
				  .limit = 12,
				  .refuse_one_in = 40,
				  .slow_us = 1000,
				  .evicts = true },
		  unit_seed(), share_us());
}

/* Removals fail: what is stuck is neither used again nor lost. */
static void clinging_host(void **state)
{
	model_run(&(struct mood){ .window = 16 * MIB,
				  .alignment = PAGE_4K,
				  .refuse_one_in = 20,
				  .slow_us = 100,
				  .stay_one_in = 4,
				  .evicts = true },
		  unit_seed(), share_us());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(friendly_host),
		cmocka_unit_test(tiny_window),
		cmocka_unit_test(moody_host),
		cmocka_unit_test(clinging_host),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
