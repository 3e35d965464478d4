// SPDX-License-Identifier: MIT
// The window: what is mapped, what a copy gives, what a drop leaves, what a refusal does.

#include "unit.h"

#include "../../src/dax/extent.h"
#include "../../src/dax/space.h"
#include "base/counter.h"
#include "base/guard.h"
#include "base/time.h"
#include "fake_remote.h"

#define WINDOW (32 * MIB)

static struct remote R;
static unsigned char BUF[4 * MIB];

static unsigned char byte_at(unsigned int file, uint64_t off)
{
	return (unsigned char)(off * 13 + (off >> 12) + file * 57 + 1);
}

static void fill(unsigned int file, uint64_t size)
{
	for (uint64_t off = 0; off < size; off += sizeof(BUF)) {
		size_t here = MIN(size - off, (uint64_t)sizeof(BUF));

		for (size_t i = 0; i < here; i++)
			BUF[i] = byte_at(file, off + i);
		assert_int_equal(pwrite(R.fd[file], BUF, here, (off_t)off), here);
	}
}

static void check(unsigned int file, uint64_t off, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (BUF[i] != byte_at(file, off + i))
			fail_msg("file %u, byte %llu", file, (unsigned long long)(off + i));
}

static struct dax *open_window(uint64_t size, uint64_t alignment)
{
	assert_int_equal(guard_init(), 0);
	remote_init(&R, size, alignment);
	return remote_dax(&R);
}

static void close_window(struct dax *d)
{
	dax_settle(d);
	assert_int_equal(dax_live_maps(d), 0);
	assert_int_equal(remote_live(&R), 0);
	dax_destroy(d);
	remote_fini(&R);
}

/* Read until the window serves it; pauses of the layer's own are waited for. */
static void read_served(struct dax_inode *di, uint64_t off, size_t len, uint64_t limit)
{
	uint64_t until = time_now_ns() + 5 * NSEC_PER_SEC;

	while (dax_read(di, FOFF(off), BUF, len, limit) < 0) {
		assert_true(time_now_ns() < until);
		(void)usleep(1000);
	}
}

static void reads_and_writes(void **state)
{
	struct dax *d = open_window(WINDOW, PAGE_4K);
	struct dax_inode *di = dax_inode_create(d, 1);
	uint64_t reads = counter_get(COUNTER_dax_read_bytes);
	uint64_t writes = counter_get(COUNTER_dax_write_bytes);

	fill(0, 8 * MIB);
	assert_int_equal(dax_read(di, FOFF(4097), BUF, 3 * MIB, 8 * MIB), 0);
	check(0, 4097, 3 * MIB);
	assert_true(remote_live(&R) > 0);
	assert_int_equal(dax_live_maps(d), remote_live(&R));
	memset(BUF, 0xee, 10000);
	assert_int_equal(dax_write(di, FOFF(4 * MIB - 5000), BUF, 10000, 8 * MIB), 0);
	memset(BUF, 0, 10002);
	assert_int_equal(pread(R.fd[0], BUF, 10002, 4 * MIB - 5001), 10002);
	assert_int_equal(BUF[0], byte_at(0, 4 * MIB - 5001));
	assert_int_equal(BUF[10001], byte_at(0, 4 * MIB + 5000));
	for (unsigned int i = 1; i <= 10000; i++)
		assert_int_equal(BUF[i], 0xee);
	assert_int_equal(counter_get(COUNTER_dax_read_bytes) - reads, 3 * MIB);
	assert_int_equal(counter_get(COUNTER_dax_write_bytes) - writes, 10000);
	dax_inode_destroy(di);
	close_window(d);
}

static void up_to_the_last_whole_page(void **state)
{
	struct dax *d = open_window(WINDOW, PAGE_4K);
	struct dax_inode *di = dax_inode_create(d, 1);

	fill(0, 3 * MIB + 2 * 4096 + 77);
	/* the remote asserts that nothing behind the last whole page is asked for */
	assert_int_equal(dax_read(di, FOFF(3 * MIB), BUF, 2 * 4096, 3 * MIB + 2 * 4096), 0);
	check(0, 3 * MIB, 2 * 4096);
	dax_inode_destroy(di);
	close_window(d);
}

static void growing_file(void **state)
{
	struct dax *d = open_window(WINDOW, PAGE_4K);
	struct dax_inode *di = dax_inode_create(d, 1);

	for (uint64_t size = MIB; size <= 12 * MIB; size += MIB + 4096) {
		fill(0, size);
		read_served(di, size - 8192, 8192, align_down(size, PAGE_4K));
		check(0, size - 8192, 8192);
	}
	dax_inode_destroy(di);
	close_window(d);
}

static void drop_leaves_nothing_behind(void **state)
{
	static const uint64_t from[] = { 7 * MIB, 5 * MIB + 4096, 3 * MIB, 4096, 0 };
	struct dax *d = open_window(WINDOW, PAGE_4K);
	struct dax_inode *di = dax_inode_create(d, 1), *other = dax_inode_create(d, 2);

	fill(0, 8 * MIB);
	fill(1, MIB);
	read_served(other, 0, 4096, MIB);
	for (unsigned int i = 0; i < ARRAY_SIZE(from); i++) {
		for (uint64_t off = 0; off < 8 * MIB; off += MIB)
			read_served(di, off, 4096, 8 * MIB);
		assert_true(remote_shows(&R, 1, from[i]));
		dax_drop(di, FOFF(from[i]));
		assert_false(remote_shows(&R, 1, from[i]));
		/* only that file's */
		assert_true(remote_shows(&R, 2, 0));
	}
	dax_drop(di, FOFF(0));
	dax_inode_destroy(di);
	dax_inode_destroy(other);
	close_window(d);
}

static void shorter_after_drop(void **state)
{
	struct dax *d = open_window(WINDOW, PAGE_4K);
	struct dax_inode *di = dax_inode_create(d, 1);
	uint64_t faults = counter_get(COUNTER_dax_faults);

	for (uint64_t size = 8 * MIB; size >= 64 * KIB; size = align_down(size * 2 / 3, PAGE_4K)) {
		fill(0, size);
		read_served(di, size - 4096, 4096, size);
		dax_drop(di, FOFF(size * 2 / 3));
		assert_int_equal(ftruncate(R.fd[0], (off_t)(size * 2 / 3)), 0);
	}
	assert_int_equal(counter_get(COUNTER_dax_faults), faults);
	dax_inode_destroy(di);
	close_window(d);
}

/* The caller's rule was broken by somebody else: an error, no crash. */
static void shorter_without_drop(void **state)
{
	struct dax *d = open_window(WINDOW, PAGE_4K);
	struct dax_inode *di = dax_inode_create(d, 1);
	uint64_t faults = counter_get(COUNTER_dax_faults);

	fill(0, 2 * MIB);
	read_served(di, 2 * MIB - 4096, 4096, 2 * MIB);
	assert_int_equal(ftruncate(R.fd[0], MIB), 0);
	assert_int_equal(dax_read(di, FOFF(2 * MIB - 4096), BUF, 4096, 2 * MIB), -EAGAIN);
	assert_true(counter_get(COUNTER_dax_faults) > faults);
	dax_drop(di, FOFF(0));
	read_served(di, 0, MIB, MIB);
	check(0, 0, MIB);
	dax_inode_destroy(di);
	close_window(d);
}

static void refusals_are_no_errors(void **state)
{
	static const int errors[] = { ENOSPC, ENOMEM, EINVAL, ENXIO, EIO, ENOTCONN, ENOSYS };

	for (unsigned int i = 0; i < ARRAY_SIZE(errors); i++) {
		struct dax *d = open_window(WINDOW, PAGE_4K);
		struct dax_inode *di = dax_inode_create(d, 1);

		fill(0, MIB);
		R.refuse = errors[i];
		assert_int_equal(dax_read(di, FOFF(0), BUF, 4096, MIB), -EAGAIN);
		assert_int_equal(dax_write(di, FOFF(0), BUF, 4096, MIB), -EAGAIN);
		assert_int_equal(dax_live_maps(d), 0);
		dax_inode_destroy(di);
		/* When the host has room again, a new file is served. */
		R.refuse = 0;
		di = dax_inode_create(d, 1);
		read_served(di, 0, 4096, MIB);
		check(0, 0, 4096);
		dax_inode_destroy(di);
		close_window(d);
	}
}

static void refused_once_is_asked_again(void **state)
{
	struct dax *d = open_window(WINDOW, PAGE_4K);
	struct dax_inode *di = dax_inode_create(d, 1);

	fill(0, MIB);
	R.refuse = EINVAL;
	assert_int_equal(dax_read(di, FOFF(0), BUF, 4096, MIB), -EAGAIN);
	R.refuse = 0;
	read_served(di, 0, 4096, MIB);
	check(0, 0, 4096);
	dax_inode_destroy(di);
	close_window(d);
}

static _Atomic uint64_t NOW;

static uint64_t fake_clock(void)
{
	return NOW;
}

/* A window whose time stands still. */
static struct dax *open_clocked(void)
{
	struct dax_params p = {
		.size = WINDOW,
		.alignment = PAGE_4K,
		.remote = &remote_ops,
		.remote_ctx = &R,
		.clock_ns = fake_clock,
	};
	struct dax *d = NULL;

	assert_int_equal(guard_init(), 0);
	remote_init(&R, WINDOW, PAGE_4K);
	p.addr = R.window;
	NOW = NSEC_PER_SEC;
	assert_int_equal(dax_create(&p, &d), 0);
	return d;
}

/* One refusal is no reason to leave a file alone for long, many are. */
static void refusals_back_off(void **state)
{
	struct dax *d = open_clocked();
	struct dax_inode *di = dax_inode_create(d, 1);

	fill(0, MIB);
	for (unsigned int round = 0; round < 2; round++) {
		R.refuse = EINVAL;
		R.refused = 0;
		assert_int_equal(dax_read(di, FOFF(0), BUF, 4096, MIB), -EAGAIN);
		assert_int_equal(dax_read(di, FOFF(0), BUF, 4096, MIB), -EAGAIN);
		assert_int_equal(R.refused, 1);
		R.refuse = 0;
		NOW += 2 * NSEC_PER_MS;
		assert_int_equal(dax_read(di, FOFF(0), BUF, 4096, MIB), 0);
		check(0, 0, 4096);
		dax_drop(di, FOFF(0));
	}
	R.refuse = ENXIO;
	R.refused = 0;
	for (unsigned int ms = 0; ms < 2000; ms++, NOW += NSEC_PER_MS)
		assert_int_equal(dax_read(di, FOFF(0), BUF, 4096, MIB), -EAGAIN);
	assert_true(R.refused >= 8 && R.refused <= 16);
	dax_inode_destroy(di);
	close_window(d);
}

/* What lies on a file system that the host does not map is never mapped: once is enough. */
static void refused_for_good(void **state)
{
	struct dax *d = open_clocked();
	struct dax_inode *di = dax_inode_create(d, 1), *other = dax_inode_create(d, 2);

	fill(0, MIB);
	fill(1, MIB);
	R.refuse = EOPNOTSUPP;
	for (unsigned int i = 0; i < 1000; i++, NOW += NSEC_PER_SEC)
		assert_int_equal(dax_read(di, FOFF(0), BUF, 4096, MIB), -EAGAIN);
	assert_int_equal(R.refused, 1);
	R.refuse = 0;
	assert_int_equal(dax_read(di, FOFF(0), BUF, 4096, MIB), -EAGAIN);
	assert_int_equal(dax_read(other, FOFF(0), BUF, 4096, MIB), 0);
	dax_inode_destroy(di);
	dax_inode_destroy(other);
	close_window(d);
}

/* A host that refuses every file is not asked for each file anew. */
static void refused_everything(void **state)
{
	struct dax *d = open_clocked();

	fill(0, MIB);
	R.refuse = EIO;
	for (unsigned int i = 0; i < 1000; i++) {
		struct dax_inode *di = dax_inode_create(d, 1);

		assert_int_equal(dax_read(di, FOFF(0), BUF, 4096, MIB), -EAGAIN);
		dax_inode_destroy(di);
		NOW += NSEC_PER_MS / 10;
	}
	assert_true(R.refused >= 16 && R.refused <= 32);
	R.refuse = 0;
	NOW += NSEC_PER_SEC;
	for (unsigned int i = 0; i < 20; i++) {
		struct dax_inode *di = dax_inode_create(d, 1);

		assert_int_equal(dax_read(di, FOFF(0), BUF, 4096, MIB), 0);
		dax_inode_destroy(di);
	}
	close_window(d);
}

/* The host's limit is kept, and found out again when the host has more to give. */
static void limit_is_raised(void **state)
{
	struct dax *d = open_clocked();
	struct dax_inode *di[REMOTE_FILES];
	unsigned int asked, live[2];

	for (unsigned int i = 0; i < REMOTE_FILES; i++) {
		fill(i, MIB);
		di[i] = dax_inode_create(d, i + 1);
	}
	for (unsigned int round = 0; round < 2; round++) {
		R.limit = round ? 0 : 2;
		for (unsigned int i = 0; i < REMOTE_FILES; i++)
			(void)dax_read(di[i], FOFF(0), BUF, 4096, MIB);
		live[round] = R.n;
		asked = R.refused;
		/* Known for now: no more questions. */
		for (unsigned int i = 0; i < REMOTE_FILES && !round; i++)
			(void)dax_read(di[i], FOFF(0), BUF, 4096, MIB);
		assert_int_equal(R.refused, asked);
		NOW += NSEC_PER_SEC;
	}
	assert_int_equal(live[0], 2);
	assert_int_equal(live[1], REMOTE_FILES);
	for (unsigned int i = 0; i < REMOTE_FILES; i++)
		dax_inode_destroy(di[i]);
	close_window(d);
}

/* What the host demands in INIT is known after the window. */
static void alignment_is_told_later(void **state)
{
	struct dax *d = open_window(WINDOW, 2 * MIB);
	struct dax_params p = {
		.addr = R.window,
		.size = WINDOW,
		.alignment = PAGE_4K,
		.remote = &remote_ops,
		.remote_ctx = &R,
	};
	struct dax_inode *di;

	dax_destroy(d);
	assert_int_equal(dax_create(&p, &d), 0);
	assert_int_equal(dax_set_alignment(d, 2 * WINDOW), -EINVAL);
	assert_int_equal(dax_set_alignment(d, 2 * MIB), 0);
	assert_int_equal(dax_set_alignment(d, PAGE_4K), 0);
	di = dax_inode_create(d, 1);
	fill(0, 7 * MIB);
	for (uint64_t off = 0; off < 7 * MIB; off += 512 * KIB) {
		read_served(di, off, 4096, 7 * MIB);
		check(0, off, 4096);
	}
	assert_int_equal(dax_set_alignment(d, 4 * MIB), -EBUSY);
	dax_inode_destroy(di);
	close_window(d);
}

/* The host minds one range (an end of file that it knows better): the others go on. */
static void one_range_is_refused(void **state)
{
	struct dax *d = open_clocked();
	struct dax_inode *di = dax_inode_create(d, 1);

	fill(0, 31 * MIB);
	R.refuse = ENXIO;
	R.refuse_end = 4096;
	assert_int_equal(dax_read(di, FOFF(0), BUF, 4096, 31 * MIB), -EAGAIN);
	assert_int_equal(R.refused, 1);
	for (uint64_t off = 8 * MIB; off < 31 * MIB; off += 8 * MIB) {
		NOW += 2 * NSEC_PER_MS;
		assert_int_equal(dax_read(di, FOFF(off), BUF, 4096, 31 * MIB), 0);
		check(0, off, 4096);
		/* In between the refused one again and again: each time it is the first again. */
		assert_int_equal(dax_read(di, FOFF(0), BUF, 4096, 31 * MIB), -EAGAIN);
	}
	assert_int_equal(R.refused, 4);
	dax_inode_destroy(di);
	close_window(d);
}

/* A file that the host never maps is asked for ever more seldom, but for ever. */
static void refusals_become_seldom(void **state)
{
	static const unsigned int most[] = { 8, 10, 14, 22 };
	struct dax *d = open_clocked();
	struct dax_inode *di = dax_inode_create(d, 1);

	fill(0, MIB);
	R.refuse = EINVAL;
	/* A read every 100 us, for 0.1 s, 1 s, 3 s and 7 s. */
	for (unsigned int i = 0, ms = 0; i < ARRAY_SIZE(most); i++) {
		unsigned int before = R.refused;

		for (unsigned int end = (unsigned int[]){ 100, 1000, 3000, 7000 }[i]; ms < end;
		     ms++)
			for (unsigned int n = 0; n < 10; n++, NOW += 100 * NSEC_PER_US)
				assert_int_equal(dax_read(di, FOFF(0), BUF, 4096, MIB), -EAGAIN);
		assert_in_range(R.refused, before + 1, most[i]);
	}
	/* Then it grants: within half a second, and the past is forgotten. */
	R.refuse = 0;
	NOW += NSEC_PER_SEC / 2 + 20 * NSEC_PER_MS;
	assert_int_equal(dax_read(di, FOFF(0), BUF, 4096, MIB), 0);
	dax_drop(di, FOFF(0));
	R.refuse = EINVAL;
	assert_int_equal(dax_read(di, FOFF(0), BUF, 4096, MIB), -EAGAIN);
	R.refuse = 0;
	NOW += 2 * NSEC_PER_MS;
	assert_int_equal(dax_read(di, FOFF(0), BUF, 4096, MIB), 0);
	dax_inode_destroy(di);
	close_window(d);
}

/* A mapping that another thread is just making is not paid for again. */
static void pending_is_not_paid_for(void **state)
{
	struct dax *d = open_window(WINDOW, PAGE_4K);
	struct dax_inode *di = dax_inode_create(d, 1);
	struct placement pending = { .what = PLACE_NOW, .shift = 16, .len = 65536 };
	struct woff full[3];
	struct extent *e;

	fill(0, 8 * MIB);
	(void)pthread_mutex_lock(&di->share->lock);
	e = dax_extent_new_locked(di, &pending, WOFF(0));
	(void)pthread_mutex_unlock(&di->share->lock);
	assert_non_null(e);
	/* Under pressure a sequential reader pays for space: a quarter of the window is left. */
	(void)pthread_mutex_lock(&d->lock);
	for (unsigned int i = 0; i < ARRAY_SIZE(full); i++)
		assert_int_equal(dax_space_get_locked(d, 23, &full[i]), 0);
	d->policy.age = 1;
	(void)pthread_mutex_unlock(&d->lock);
	for (unsigned int i = 0; i < 4; i++)
		assert_int_equal(dax_read(di, FOFF(MIB + i * 4096), BUF, 4096, 8 * MIB), -EAGAIN);
	assert_int_equal(d->policy.tokens_ns, 0);
	dax_extent_fail(e);
	/* Without the other it is mapped at once, and paid for. */
	assert_int_equal(dax_read(di, FOFF(MIB + 4 * 4096), BUF, 4096, 8 * MIB), 0);
	check(0, MIB + 4 * 4096, 4096);
	assert_true(d->policy.tokens_ns < 0);
	(void)pthread_mutex_lock(&d->lock);
	for (unsigned int i = 0; i < ARRAY_SIZE(full); i++)
		dax_space_put_locked(d, full[i], 23);
	(void)pthread_mutex_unlock(&d->lock);
	dax_inode_destroy(di);
	close_window(d);
}

static void read_only_file(void **state)
{
	struct dax *d = open_window(WINDOW, PAGE_4K);
	struct dax_inode *di = dax_inode_create(d, 1);

	fill(0, 4 * MIB);
	R.readonly = true;
	read_served(di, 0, 4096, 4 * MIB);
	assert_int_equal(dax_write(di, FOFF(0), BUF, 4096, 4 * MIB), -EAGAIN);
	assert_int_equal(dax_write(di, FOFF(2 * MIB), BUF, 4096, 4 * MIB), -EAGAIN);
	read_served(di, 4096, 4096, 4 * MIB);
	check(0, 4096, 4096);
	dax_inode_destroy(di);
	close_window(d);
}

/* Reads first, then writes: the mapping must become writable, not fault. */
static void read_then_write(void **state)
{
	struct dax *d = open_window(WINDOW, PAGE_4K);
	struct dax_inode *di = dax_inode_create(d, 1);
	uint64_t faults = counter_get(COUNTER_dax_faults);
	unsigned char x = 0x5a, got = 0;

	fill(0, MIB);
	read_served(di, 0, 4096, MIB);
	assert_int_equal(dax_write(di, FOFF(123), &x, 1, MIB), 0);
	assert_int_equal(pread(R.fd[0], &got, 1, 123), 1);
	assert_int_equal(got, x);
	assert_int_equal(counter_get(COUNTER_dax_faults), faults);
	dax_inode_destroy(di);
	close_window(d);
}

static void more_files_than_window(void **state)
{
	struct dax *d = open_window(8 * MIB, PAGE_4K);
	struct dax_inode *di[REMOTE_FILES];
	uint64_t evictions = counter_get(COUNTER_evictions);
	unsigned int served = 0;
	struct rng rng = { 5 };

	for (unsigned int i = 0; i < REMOTE_FILES; i++) {
		fill(i, 4 * MIB);
		di[i] = dax_inode_create(d, i + 1);
	}
	for (unsigned int n = 0; n < 3000; n++) {
		/* One file is hot, for a while. */
		unsigned int i = rng_below(&rng, 4) ? n / 500 % REMOTE_FILES
						    : (unsigned int)rng_below(&rng, REMOTE_FILES);
		uint64_t off = rng_below(&rng, 4 * MIB - 8192);

		if (dax_read(di[i], FOFF(off), BUF, 8192, 4 * MIB) == 0) {
			check(i, off, 8192);
			served++;
		} else {
			/* The virtqueue costs as much as a replacement: what is hot gets in. */
			dax_missed(d, 10 * NSEC_PER_MS);
			(void)usleep(50);
		}
	}
	assert_true(served > 100);
	assert_true(counter_get(COUNTER_evictions) > evictions);
	for (unsigned int i = 0; i < REMOTE_FILES; i++)
		dax_inode_destroy(di[i]);
	close_window(d);
}

static void miss(struct dax_inode *di, struct foff at, uint64_t limit)
{
	if (!dax_note_miss(di, at, 4096, limit, false))
		dax_count_miss(di, at, 4096, limit, false);
}

/* A full window declines without a lock what it does not show, and what is counted then gets in. */
static void declined_and_counted(void **state)
{
	struct dax *d = open_window(8 * MIB, PAGE_4K);
	struct dax_inode *full = dax_inode_create(d, 1), *hot = dax_inode_create(d, 2);
	const struct foff at = FOFF(MIB + 8192);
	unsigned int tries = 0;

	fill(0, 31 * MIB);
	fill(1, 4 * MIB);
	assert_false(dax_declines(hot, at));
	for (uint64_t off = 0; off < 31 * MIB; off += 128 * KIB + 4096)
		(void)dax_read(full, FOFF(off), BUF, 4096, 31 * MIB);
	assert_true(dax_declines(hot, at));
	/* What would go on where the last access ended may get space; so it is not declined. */
	miss(hot, FOFF(0), 4 * MIB);
	assert_false(dax_declines(hot, FOFF(4096)));
	assert_true(dax_declines(hot, at));
	while (dax_declines(hot, at)) {
		assert_true(tries++ < 10000);
		dax_missed(d, 10 * NSEC_PER_MS);
		miss(hot, at, 4 * MIB);
		(void)usleep(50);
		/* Somewhere else, so that this is no sequential reader. */
		miss(hot, FOFF(tries % 2 * MIB), 4 * MIB);
	}
	/* What a thread wrote down comes to nothing unless it is counted, too. */
	assert_true(tries > 1 && tries < 200);
	read_served(hot, at.v, 4096, 4 * MIB);
	check(1, at.v, 4096);
	dax_inode_destroy(full);
	dax_inode_destroy(hot);
	close_window(d);
}

/* The host takes few mappings: the layer stays below, and goes on serving. */
static void few_mappings(void **state)
{
	struct dax *d = open_window(WINDOW, PAGE_4K);
	struct dax_inode *di = dax_inode_create(d, 1);
	unsigned int served = 0;

	fill(0, 31 * MIB);
	R.limit = 5;
	for (unsigned int round = 0; round < 5; round++) {
		for (uint64_t off = 0; off < 31 * MIB; off += MIB) {
			if (dax_read(di, FOFF(off), BUF, 4096, 31 * MIB) == 0) {
				check(0, off, 4096);
				served++;
			}
		}
	}
	assert_true(served > 5);
	assert_true(R.max_live <= 5);
	dax_inode_destroy(di);
	close_window(d);
}

static void alignment_is_kept(void **state)
{
	static const uint64_t alignments[] = { 65536, MIB, 2 * MIB };

	for (unsigned int i = 0; i < ARRAY_SIZE(alignments); i++) {
		struct dax *d = open_window(WINDOW, alignments[i]);
		struct dax_inode *di = dax_inode_create(d, 1);

		fill(0, 7 * MIB);
		for (uint64_t off = 0; off < 7 * MIB; off += 300000) {
			size_t len = MIN(UINT64_C(300000), 7 * MIB - off);

			read_served(di, off, len, 7 * MIB);
			check(0, off, len);
		}
		dax_inode_destroy(di);
		close_window(d);
	}
}

static void odd_windows(void **state)
{
	static const uint64_t sizes[] = { 3 * MIB + 4096, 65536, 11 * MIB - 4096 };
	struct dax_params p = { .size = 4096, .alignment = PAGE_4K, .remote = &remote_ops };
	struct dax *d = NULL;

	assert_int_equal(dax_create(&p, &d), -EINVAL);
	p.size = 0;
	assert_int_equal(dax_create(&p, &d), -EINVAL);
	p.size = MIB;
	p.alignment = 2 * MIB;
	assert_int_equal(dax_create(&p, &d), -EINVAL);
	dax_destroy(NULL);
	dax_inode_destroy(NULL);

	for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct dax_inode *di;

		d = open_window(sizes[i], PAGE_4K);
		di = dax_inode_create(d, 1);
		fill(0, 4 * MIB);
		for (uint64_t off = 0; off < 4 * MIB; off += 65536)
			if (dax_read(di, FOFF(off), BUF, 65536, 4 * MIB) == 0)
				check(0, off, 65536);
		dax_inode_destroy(di);
		close_window(d);
	}
}

struct slow_read {
	struct dax_inode *di;
	pthread_t thread;
	int result;
};

static void *slow_read_main(void *arg)
{
	struct slow_read *s = arg;

	s->result = dax_read(s->di, FOFF(0), BUF, 4096, MIB);
	return NULL;
}

/* A drop that meets a mapping in the making waits for it and removes it. */
static void drop_meets_a_mapping_in_the_making(void **state)
{
	for (unsigned int i = 0; i < 20; i++) {
		struct dax *d = open_window(WINDOW, PAGE_4K);
		struct slow_read s = { .di = dax_inode_create(d, 1) };

		fill(0, MIB);
		R.slow_us = 20000;
		R.seed = i * 131;
		assert_int_equal(pthread_create(&s.thread, NULL, slow_read_main, &s), 0);
		(void)usleep(i * 500);
		dax_drop(s.di, FOFF(0));
		assert_int_equal(pthread_join(s.thread, NULL), 0);
		dax_drop(s.di, FOFF(0));
		assert_false(remote_shows(&R, 1, 0));
		dax_inode_destroy(s.di);
		close_window(d);
	}
}

/* A mapping that the host does not remove keeps its place until it does. */
static void removal_fails(void **state)
{
	struct dax *d = open_window(MIB, PAGE_4K);
	struct dax_inode *di = dax_inode_create(d, 1), *other = dax_inode_create(d, 2);
	struct dax_status status;

	fill(0, 4 * MIB);
	fill(1, 4 * MIB);
	read_served(di, 0, 4096, 4 * MIB);
	R.stay_one_in = 1;
	dax_drop(di, FOFF(0));
	assert_int_equal(dax_live_maps(d), remote_live(&R));
	assert_true(remote_shows(&R, 1, 0));
	/* The fake host checks that nothing is mapped on top of it. */
	for (unsigned int i = 0; i < 64; i++) {
		(void)dax_read(other, FOFF(i % 16 * 256 * KIB), BUF, 64 * KIB, 4 * MIB);
		dax_missed(d, 10 * NSEC_PER_MS);
	}
	dax_inode_destroy(di);
	dax_inode_destroy(other);
	dax_settle(d);
	assert_true(remote_live(&R) > 0);
	assert_int_equal(dax_live_maps(d), remote_live(&R));
	R.stay_one_in = 0;
	dax_settle(d);
	dax_get_status(d, &status);
	assert_int_equal(status.free_bytes, status.window_bytes);
	close_window(d);
}

/* At the end what is stuck is asked for once more, and no memory is lost. */
static void removal_fails_to_the_end(void **state)
{
	struct dax *d = open_window(MIB, PAGE_4K);
	struct dax_inode *di = dax_inode_create(d, 1);

	fill(0, MIB);
	read_served(di, 0, 4096, MIB);
	R.stay_one_in = 1;
	dax_inode_destroy(di);
	dax_settle(d);
	dax_destroy(d);
	assert_true(remote_live(&R) > 0);
	remote_fini(&R);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_and_writes),
		cmocka_unit_test(up_to_the_last_whole_page),
		cmocka_unit_test(growing_file),
		cmocka_unit_test(drop_leaves_nothing_behind),
		cmocka_unit_test(shorter_after_drop),
		cmocka_unit_test(shorter_without_drop),
		cmocka_unit_test(refusals_are_no_errors),
		cmocka_unit_test(refused_once_is_asked_again),
		cmocka_unit_test(refusals_back_off),
		cmocka_unit_test(refused_everything),
		cmocka_unit_test(limit_is_raised),
		cmocka_unit_test(alignment_is_told_later),
		cmocka_unit_test(one_range_is_refused),
		cmocka_unit_test(refusals_become_seldom),
		cmocka_unit_test(refused_for_good),
		cmocka_unit_test(pending_is_not_paid_for),
		cmocka_unit_test(read_only_file),
		cmocka_unit_test(read_then_write),
		cmocka_unit_test(more_files_than_window),
		cmocka_unit_test(declined_and_counted),
		cmocka_unit_test(few_mappings),
		cmocka_unit_test(alignment_is_kept),
		cmocka_unit_test(odd_windows),
		cmocka_unit_test(drop_meets_a_mapping_in_the_making),
		cmocka_unit_test(removal_fails),
		cmocka_unit_test(removal_fails_to_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
