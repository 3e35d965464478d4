// SPDX-License-Identifier: MIT
// WRITEs beside pages of the guest's cache: states by hand, and threads against a model of the
// kernel.

#include "unit.h"

#include <sched.h>
#include <stdatomic.h>

#include "base/num.h"
#include "base/time.h"
#include "fs/page_cache.h"

#define PAGE 4096u

static void write_now(struct page_cache *pc, uint64_t off, uint64_t size, bool mapped)
{
	struct page_range r;

	page_cache_write_begin(pc, &r, off, size);
	assert_int_equal(page_cache_write_end(pc, &r, true), mapped);
}

/* What a write-back of [off, end) writes, as "off+size off+size". */
static const char *parts_of(struct page_cache *pc, uint64_t off, uint64_t end)
{
	static char text[200];
	struct page_range r;
	uint64_t size;
	size_t at = 0;

	text[0] = '\0';
	page_cache_back_begin(pc, &r, off, end - off);
	for (; page_cache_back_next(pc, &r, &off, &size); off += size)
		at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%llu+%llu", at ? " " : "",
				       (unsigned long long)off, (unsigned long long)size);
	page_cache_back_end(pc, &r);
	return text;
}

static unsigned int written_ranges(const struct page_cache *pc)
{
	unsigned int n = 0;

	for (const struct page_range *r = pc->ranges; r; r = r->next)
		n += r->state == PAGE_RANGE_WRITTEN;
	return n;
}

static void nothing_is_kept_of_files_without_pages(void **state)
{
	struct page_cache pc = { 0 };

	write_now(&pc, 100, 200, false);
	assert_null(pc.ranges);
	assert_string_equal(parts_of(&pc, 0, PAGE), "0+4096");
	assert_true(page_cache_mapped(&pc)); /* a write-back comes from a mapping */
	write_now(&pc, 100, 200, true);
	page_cache_closed(&pc);
	assert_null(pc.ranges);
	assert_false(page_cache_mapped(&pc));
}

static void write_backs_leave_out_what_is_newer(void **state)
{
	struct page_cache pc = { 0 };
	struct page_range failed;

	page_cache_read(&pc, 0, 4 * PAGE);
	write_now(&pc, 100, 200, true);
	write_now(&pc, 1000, 10, true);
	write_now(&pc, 3 * PAGE, PAGE, true);
	assert_string_equal(parts_of(&pc, 0, PAGE), "0+100 300+700 1010+3086");
	assert_string_equal(parts_of(&pc, 0, 4 * PAGE), "0+100 300+700 1010+11278");
	assert_string_equal(parts_of(&pc, 3 * PAGE, 4 * PAGE), "");
	/* Ranges that touch are one. */
	write_now(&pc, 300, 700, true);
	assert_string_equal(parts_of(&pc, 0, PAGE), "0+100 1010+3086");
	/* What the host has refused is not newer. */
	page_cache_write_begin(&pc, &failed, PAGE, 50);
	assert_string_equal(parts_of(&pc, PAGE, 2 * PAGE), "4146+4046");
	assert_false(page_cache_write_end(&pc, &failed, false));
	assert_string_equal(parts_of(&pc, PAGE, 2 * PAGE), "4096+4096");
	page_cache_closed(&pc);
}

static void pages_that_are_read_later_are_written_whole(void **state)
{
	struct page_cache pc = { 0 };
	struct page_range r;

	page_cache_read(&pc, 0, PAGE);
	write_now(&pc, 0, 3 * PAGE, true);
	page_cache_read(&pc, PAGE + 10, 20); /* of all the page */
	assert_string_equal(parts_of(&pc, 0, 3 * PAGE), "4096+4096");
	page_cache_read(&pc, 0, 3 * PAGE);
	assert_string_equal(parts_of(&pc, 0, 3 * PAGE), "0+12288");
	assert_int_equal(written_ranges(&pc), 0);
	/* A page that is read while the write is on its way may be older than it. */
	page_cache_write_begin(&pc, &r, 50, 50);
	page_cache_read(&pc, 0, PAGE);
	assert_true(page_cache_write_end(&pc, &r, true));
	assert_string_equal(parts_of(&pc, 0, PAGE), "0+50 100+3996");
	page_cache_closed(&pc);
}

static void only_so_many_are_kept(void **state)
{
	struct page_cache pc = { 0 };

	page_cache_read(&pc, 0, PAGE);
	for (uint64_t i = 0; i < 1000; i++)
		write_now(&pc, i * 2 * PAGE, 10, true);
	assert_int_equal(written_ranges(&pc), 64);
	assert_string_equal(parts_of(&pc, 999 * 2 * PAGE, 999 * 2 * PAGE + 20), "8183818+10");
	page_cache_closed(&pc);
}

/* Ranges up to the last byte that a file can have. */
static void ends_do_not_overflow(void **state)
{
	struct page_cache pc = { 0 };

	page_cache_read(&pc, UINT64_MAX - 5, 100);
	write_now(&pc, UINT64_MAX - 10, 100, true);
	assert_int_equal(written_ranges(&pc), 1);
	page_cache_read(&pc, UINT64_MAX - 20, UINT64_MAX);
	assert_int_equal(written_ranges(&pc), 0);
}

/*
 * The model: one page of a host, one page in the kernel's cache with its lock, a writer of each
 * kind. As the kernel does: write(2) writes the page back and drops it, sends a direct write, and
 * has the page dropped once more if it is told so; a fault reads the page; a store changes it;
 * anybody may write it back. Each of the bytes 0 to 3 has one writer, which alternates between
 * stores (0, 1) and direct writes (2, 3), or uses its own.
 */
struct model {
	struct page_cache pc;
	pthread_mutex_t host_lock; /* one byte at a time, as a copy is made */
	unsigned char host[8];

	pthread_mutex_t lock; /* of the page */
	bool cached, dirty;
	unsigned char page[8];
	_Atomic bool stop;
	uint64_t seed;
	_Atomic uint64_t direct, stored, dropped;
};

static void host_read(struct model *m, unsigned char *to)
{
	for (unsigned int i = 0; i < sizeof(m->host); i++) {
		(void)pthread_mutex_lock(&m->host_lock);
		to[i] = m->host[i];
		(void)pthread_mutex_unlock(&m->host_lock);
	}
}

static void host_write(struct model *m, uint64_t off, const unsigned char *from, uint64_t len)
{
	for (uint64_t i = 0; i < len; i++) {
		(void)pthread_mutex_lock(&m->host_lock);
		m->host[off + i] = from[i];
		(void)pthread_mutex_unlock(&m->host_lock);
	}
}

static void page_back_locked(struct model *m)
{
	struct page_range r;
	uint64_t off = 0, size;

	if (!m->cached || !m->dirty)
		return;
	m->dirty = false;
	page_cache_back_begin(&m->pc, &r, 0, sizeof(m->page));
	for (; page_cache_back_next(&m->pc, &r, &off, &size); off += size)
		host_write(m, off, m->page + off, size);
	page_cache_back_end(&m->pc, &r);
}

static void page_drop(struct model *m)
{
	(void)pthread_mutex_lock(&m->lock);
	page_back_locked(m);
	m->cached = false;
	(void)pthread_mutex_unlock(&m->lock);
}

static void page_fault_locked(struct model *m)
{
	if (m->cached)
		return;
	page_cache_read(&m->pc, 0, sizeof(m->page));
	host_read(m, m->page);
	m->cached = true;
}

static void store(struct model *m, unsigned int at, unsigned char value)
{
	(void)pthread_mutex_lock(&m->lock);
	page_fault_locked(m);
	m->page[at] = value;
	m->dirty = true;
	(void)pthread_mutex_unlock(&m->lock);
	atomic_fetch_add(&m->stored, 1);
}

static void write_direct(struct model *m, unsigned int at, unsigned char value)
{
	struct page_range r;

	page_drop(m);
	page_cache_write_begin(&m->pc, &r, at, 1);
	host_write(m, at, &value, 1);
	if (page_cache_write_end(&m->pc, &r, true)) {
		page_drop(m);
		atomic_fetch_add(&m->dropped, 1);
	}
	atomic_fetch_add(&m->direct, 1);
}

static unsigned char read_mapped(struct model *m, unsigned int at)
{
	unsigned char value;

	(void)pthread_mutex_lock(&m->lock);
	page_fault_locked(m);
	value = m->page[at];
	(void)pthread_mutex_unlock(&m->lock);
	return value;
}

struct writer {
	struct model *m;
	unsigned int at;
	unsigned char value;
};

/* A byte is of one thread, so what it wrote last is what it must find, in either way. */
static void *writer_main(void *arg)
{
	struct writer *w = arg;
	struct rng rng = { w->m->seed + w->at };

	while (!atomic_load(&w->m->stop)) {
		bool direct = w->at < 2 ? false : w->at < 4 ? true : rng_chance(&rng, 2);

		w->value++;
		if (direct)
			write_direct(w->m, w->at, w->value);
		else
			store(w->m, w->at, w->value);
		if (rng_chance(&rng, 4))
			must(read_mapped(w->m, w->at) == w->value);
	}
	return NULL;
}

static void *flusher_main(void *arg)
{
	struct model *m = arg;

	while (!atomic_load(&m->stop)) {
		(void)pthread_mutex_lock(&m->lock);
		page_back_locked(m);
		(void)pthread_mutex_unlock(&m->lock);
		(void)sched_yield();
	}
	return NULL;
}

static void nothing_is_lost(void **state)
{
	struct model m = { .host_lock = PTHREAD_MUTEX_INITIALIZER,
			   .lock = PTHREAD_MUTEX_INITIALIZER,
			   .seed = unit_seed() };
	struct writer w[6];
	pthread_t thread[6], flusher;
	struct timespec pause = { .tv_sec = (time_t)unit_seconds(2) };

	for (unsigned int i = 0; i < 6; i++) {
		w[i] = (struct writer){ .m = &m, .at = i };
		assert_int_equal(pthread_create(&thread[i], NULL, writer_main, &w[i]), 0);
	}
	assert_int_equal(pthread_create(&flusher, NULL, flusher_main, &m), 0);
	(void)nanosleep(&pause, NULL);
	atomic_store(&m.stop, true);
	for (unsigned int i = 0; i < 6; i++)
		(void)pthread_join(thread[i], NULL);
	(void)pthread_join(flusher, NULL);
	page_drop(&m);
	printf("%llu direct writes, %llu stores, %llu drops\n", (unsigned long long)m.direct,
	       (unsigned long long)m.stored, (unsigned long long)m.dropped);
	for (unsigned int i = 0; i < 6; i++)
		assert_int_equal(m.host[i], w[i].value);
	assert_true(m.direct > 100 && m.stored > 100 && m.dropped > 100);
	page_cache_closed(&m.pc);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_kept_of_files_without_pages),
		cmocka_unit_test(write_backs_leave_out_what_is_newer),
		cmocka_unit_test(pages_that_are_read_later_are_written_whole),
		cmocka_unit_test(only_so_many_are_kept),
		cmocka_unit_test(ends_do_not_overflow),
		cmocka_unit_test(nothing_is_lost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
