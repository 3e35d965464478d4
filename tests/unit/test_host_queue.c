// SPDX-License-Identifier: MIT
// The device's side of a virtqueue: memory table, hostile chains, notifications, the thread.

#include "unit.h"

#include <fcntl.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include "base/guard.h"
#include "base/time.h"
#include "host/devq.h"
#include "ring/split.h"

#define SIZE	 8u
#define MEM_SIZE (64 * KIB)
#define GPA_BASE UINT64_C(0x100000)
#define UVA_BASE UINT64_C(0x7f0000000000)
#define DESC_AT	 0u
#define AVAIL_AT 4096u
#define USED_AT	 8192u
#define INDIR_AT 12288u
#define DATA_AT	 16384u

struct fixture {
	struct mem *mem;
	int memfd;
	char *ram;
	struct ring_split ring; /* the driver's side */
	struct vring_desc *indirect;
	struct devq_side side;
	struct devq_chain chain;
	struct devq *q;
	int kick, call;
	_Atomic unsigned int handled;
	size_t answer;
};

static struct vhu_mem_region region(uint64_t gpa, uint64_t size, uint64_t uva, uint64_t off)
{
	return (struct vhu_mem_region){ gpa, size, uva, off };
}

static size_t handler(void *ctx, const struct iovec *rd, unsigned int n_rd, const struct iovec *wr,
		      unsigned int n_wr)
{
	struct fixture *f = ctx;

	/* Copies what is to be read to what is to be written, as far as it goes. */
	f->handled++;
	if (n_rd && n_wr)
		memcpy(wr[0].iov_base, rd[0].iov_base, MIN(rd[0].iov_len, wr[0].iov_len));
	return f->answer;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct vhu_mem_region r = region(GPA_BASE, MEM_SIZE, UVA_BASE, 0);

	f->memfd = memfd_create("ram", MFD_CLOEXEC);
	must(ftruncate(f->memfd, MEM_SIZE) == 0);
	f->ram = mmap(NULL, MEM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, f->memfd, 0);
	f->mem = mem_new();
	must(mem_add(f->mem, &r, f->memfd) == 0);
	f->ring = (struct ring_split){
		.desc = (void *)(f->ram + DESC_AT),
		.avail = (void *)(f->ram + AVAIL_AT),
		.used = (void *)(f->ram + USED_AT),
		.size = SIZE,
	};
	f->indirect = (void *)(f->ram + INDIR_AT);
	f->side = (struct devq_side){
		.size = SIZE,
		.desc = f->ring.desc,
		.avail = f->ring.avail,
		.used = f->ring.used,
		.indirect = true,
	};
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	devq_free(f->q);
	mem_free(f->mem);
	munmap(f->ram, MEM_SIZE);
	close(f->memfd);
	free(f);
	return 0;
}

static void desc(struct vring_desc *d, uint64_t at, uint32_t len, uint16_t flags, uint16_t next)
{
	*d = (struct vring_desc){ htole64(GPA_BASE + at), htole32(len), htole16(flags),
				  htole16(next) };
}

/* Make @head available. */
static void offer(struct fixture *f, uint16_t head)
{
	uint16_t idx = ring_load_relaxed(&f->ring.avail->idx);

	ring_store_relaxed(&f->ring.avail->ring[idx % SIZE], head);
	ring_store_release(&f->ring.avail->idx, idx + 1);
}

/* Pop once; returns why it is broken, "" for a chain and NULL for none. */
static const char *pop(struct fixture *f)
{
	struct mem_table *t = mem_get(f->mem);
	const char *why = NULL;
	enum devq_popped p = devq_side_pop(&f->side, t, &f->chain, &why);

	mem_put(t);
	if (p == DEVQ_POP_BROKEN)
		assert_non_null(why);
	return p == DEVQ_POP_BROKEN ? why : p == DEVQ_POP_CHAIN ? "" : NULL;
}

static void assert_broken(struct fixture *f, const char *part)
{
	const char *why = pop(f);

	assert_non_null(why);
	if (!strstr(why, part))
		fail_msg("\"%s\", not \"%s\"", why, part);
}

static void good_chains(void **state)
{
	struct fixture *f = *state;
	bool notify;

	assert_null(pop(f));
	desc(&f->ring.desc[3], DATA_AT, 10, VRING_DESC_F_NEXT, 5);
	desc(&f->ring.desc[5], DATA_AT + 100, 20, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 0);
	desc(&f->ring.desc[0], DATA_AT + 200, 30, VRING_DESC_F_WRITE, 9999);
	for (int i = 0; i < 70000; i++) { /* past the wrap of the indices */
		offer(f, 3);
		assert_string_equal(pop(f), "");
		assert_int_equal(f->chain.n_read, 1);
		assert_int_equal(f->chain.n_write, 2);
		assert_int_equal(f->chain.iov[0].iov_len, 10);
		assert_int_equal(f->chain.iov[2].iov_len, 30);
		assert_int_equal(devq_side_push(&f->side, 3, 50, &notify), 0);
		assert_true(notify);
		assert_int_equal(ring_load_acquire(&f->ring.used->idx), (uint16_t)(i + 1));
		assert_int_equal(f->ring.used->ring[i % SIZE].id, 3);
		assert_int_equal(f->ring.used->ring[i % SIZE].len, 50);
	}
	f->ring.avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
	assert_int_equal(devq_side_push(&f->side, 3, 50, &notify), 0);
	assert_false(notify);
}

static void good_indirect_chain(void **state)
{
	struct fixture *f = *state;

	desc(&f->ring.desc[1], INDIR_AT, 32, VRING_DESC_F_INDIRECT, 0);
	desc(&f->indirect[0], DATA_AT, 10, VRING_DESC_F_NEXT, 1);
	desc(&f->indirect[1], DATA_AT + 100, 20, VRING_DESC_F_WRITE, 0);
	offer(f, 1);
	assert_string_equal(pop(f), "");
	assert_int_equal(f->chain.n_read, 1);
	assert_int_equal(f->chain.n_write, 1);
	assert_int_equal(f->chain.head, 1);
}

static void hostile_chains(void **state)
{
	struct fixture *f = *state;
	struct vring_desc *d = f->ring.desc;

	/* Nothing is consumed by a broken one, so each may follow the other. */
	offer(f, 8);
	assert_broken(f, "index outside");
	f->ring.avail->ring[0] = 65535;
	assert_broken(f, "index outside");
	f->ring.avail->ring[0] = 0;
	desc(&d[0], DATA_AT, 1, VRING_DESC_F_NEXT, 0);
	assert_broken(f, "loop");
	desc(&d[0], DATA_AT, 1, VRING_DESC_F_NEXT, 1);
	desc(&d[1], DATA_AT, 1, VRING_DESC_F_NEXT, 0);
	assert_broken(f, "loop");
	desc(&d[1], DATA_AT, 1, VRING_DESC_F_NEXT, 8);
	assert_broken(f, "index outside");
	desc(&d[1], DATA_AT, 0, 0, 0);
	assert_broken(f, "length 0");
	desc(&d[0], DATA_AT, 1, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 1);
	desc(&d[1], DATA_AT, 1, 0, 0);
	assert_broken(f, "readable descriptor behind");
	desc(&d[0], MEM_SIZE, 1, 0, 0);
	assert_broken(f, "outside of memory");
	desc(&d[0], MEM_SIZE - 1, 2, 0, 0);
	assert_broken(f, "outside of memory");
	desc(&d[0], DATA_AT, UINT32_MAX, 0, 0);
	assert_broken(f, "outside of memory");
	desc(&d[0], -GPA_BASE - 1, 2, 0, 0); /* wraps */
	assert_broken(f, "outside of memory");
	f->ring.avail->idx = SIZE + 1;
	assert_broken(f, "more entries");
}

static void hostile_indirect_chains(void **state)
{
	struct fixture *f = *state;
	struct vring_desc *d = f->ring.desc;

	offer(f, 0);
	desc(&d[0], INDIR_AT, 32, VRING_DESC_F_INDIRECT | VRING_DESC_F_NEXT, 1);
	assert_broken(f, "with a next");
	desc(&d[0], INDIR_AT, 0, VRING_DESC_F_INDIRECT, 0);
	assert_broken(f, "wrong size");
	desc(&d[0], INDIR_AT, 33, VRING_DESC_F_INDIRECT, 0);
	assert_broken(f, "wrong size");
	desc(&d[0], INDIR_AT, 16 * 70000, VRING_DESC_F_INDIRECT, 0);
	assert_broken(f, "wrong size");
	desc(&d[0], MEM_SIZE - 16, 32, VRING_DESC_F_INDIRECT, 0);
	assert_broken(f, "outside of memory");
	desc(&d[0], INDIR_AT + 1, 32, VRING_DESC_F_INDIRECT, 0);
	assert_broken(f, "not aligned");
	desc(&d[0], INDIR_AT, 32, VRING_DESC_F_INDIRECT, 0);
	desc(&f->indirect[0], DATA_AT, 1, VRING_DESC_F_NEXT, 0);
	assert_broken(f, "loop");
	desc(&f->indirect[0], DATA_AT, 1, VRING_DESC_F_NEXT, 2);
	assert_broken(f, "next index");
	desc(&f->indirect[0], INDIR_AT, 32, VRING_DESC_F_INDIRECT, 0);
	assert_broken(f, "inside of");
	f->side.indirect = false;
	assert_broken(f, "not negotiated");
}

static void chains_are_bounded(void **state)
{
	struct fixture *f = *state;
	unsigned int n = (unsigned int)((MEM_SIZE - INDIR_AT) / sizeof(struct vring_desc));

	assert_true(n > DEVQ_MAX_IOV);
	offer(f, 0);
	desc(&f->ring.desc[0], INDIR_AT, n * 16, VRING_DESC_F_INDIRECT, 0);
	assert_broken(f, "wrong size");
	n = DEVQ_MAX_IOV;
	desc(&f->ring.desc[0], INDIR_AT, n * 16, VRING_DESC_F_INDIRECT, 0);
	for (unsigned int i = 0; i < n; i++)
		desc(&f->indirect[i], 0, 1, i + 1 < n ? VRING_DESC_F_NEXT : 0, (uint16_t)(i + 1));
	assert_string_equal(pop(f), "");
	assert_int_equal(f->chain.n_read, DEVQ_MAX_IOV);
}

static void ranges_cross_regions(void **state)
{
	struct fixture *f = *state;
	struct vhu_mem_region r = region(GPA_BASE + MEM_SIZE, 4096, UVA_BASE + 4 * MEM_SIZE, 4096);

	assert_int_equal(mem_add(f->mem, &r, f->memfd), 0);
	desc(&f->ring.desc[0], MEM_SIZE - 10, 30, 0, 0);
	offer(f, 0);
	assert_string_equal(pop(f), "");
	assert_int_equal(f->chain.n_read, 2);
	assert_int_equal(f->chain.iov[0].iov_len, 10);
	assert_int_equal(f->chain.iov[1].iov_len, 20);
}

static void regions_are_checked(void **state)
{
	struct fixture *f = *state;
	static const struct vhu_mem_region bad[] = {
		{ 0, 0, 0, 0 },				/* empty */
		{ UINT64_MAX - 4095, 8192, 0x1000, 0 }, /* wraps */
		{ 0, 8192, UINT64_MAX - 4095, 0 },
		{ 0, 4096, 0x1000, UINT64_MAX - 100 },
		{ 0, 4096, 0x1000, MEM_SIZE - 4095 }, /* past the end of the file */
		{ 0, MEM_SIZE + 1, 0x1000, 0 },
		{ GPA_BASE + 4096, 4096, 0x1000, 0 }, /* overlaps */
		{ GPA_BASE - 4096, 4097, 0x1000, 0 },
		{ 0, 4096, UVA_BASE + 4096, 0 },
	};
	struct vhu_mem_region r = region(0, 4096, 0x1000, 0);

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(mem_add(f->mem, &bad[i], f->memfd), -EINVAL);
	assert_int_equal(mem_add(f->mem, &r, -1), -EBADF);
	assert_int_equal(mem_remove(f->mem, &r), -ENOENT);
	assert_int_equal(mem_add(f->mem, &r, f->memfd), 0);
	assert_int_equal(mem_remove(f->mem, &r), 0);
	for (unsigned int i = 1; i < MEM_MAX_SLOTS; i++) {
		r = region(GPA_BASE * (i + 1), 4096, 0x1000 * i, 0);
		assert_int_equal(mem_add(f->mem, &r, f->memfd), 0);
	}
	r = region(0, 4096, 0x10000000, 0);
	assert_int_equal(mem_add(f->mem, &r, f->memfd), -ENOSPC);
}

static void removed_memory_stays_while_it_is_used(void **state)
{
	struct fixture *f = *state;
	struct mem_table *t = mem_get(f->mem);
	char *p = mem_user(t, UADDR(UVA_BASE), 4096);

	assert_non_null(p);
	assert_int_equal(mem_set(f->mem, NULL, NULL, 0), 0);
	f->ram[0] = 'x';
	assert_int_equal(p[0], 'x');
	mem_put(t);
	t = mem_get(f->mem);
	assert_null(mem_user(t, UADDR(UVA_BASE), 1));
	mem_put(t);
}

static void vanished_ring_is_no_crash(void **state)
{
	struct fixture *f = *state;
	bool notify;

#ifdef __SANITIZE_THREAD__
	skip(); /* it does not see the way out of a signal handler */
#endif
	(void)guard_init(); /* cmocka has put a handler of its own in its place */
	offer(f, 0);
	assert_int_equal(ftruncate(f->memfd, 0), 0);
	assert_broken(f, "gone");
	assert_int_equal(devq_side_push(&f->side, 0, 0, &notify), -EFAULT);
	assert_int_equal(devq_side_kicks(&f->side, true), -EFAULT);
	assert_int_equal(ftruncate(f->memfd, MEM_SIZE), 0);
}

static void event_index_suppresses(void **state)
{
	struct fixture *f = *state;
	bool notify;

	f->side.event_idx = true;
	ring_store_relaxed(ring_used_event(&f->ring), 1); /* when the second is used */
	assert_int_equal(devq_side_push(&f->side, 0, 0, &notify), 0);
	assert_false(notify);
	assert_int_equal(devq_side_push(&f->side, 0, 0, &notify), 0);
	assert_true(notify);
	assert_int_equal(devq_side_push(&f->side, 0, 0, &notify), 0);
	assert_false(notify);
	f->side.next_avail = 7;
	assert_int_equal(devq_side_kicks(&f->side, false), 0);
	assert_int_equal(ring_load_relaxed(ring_avail_event(&f->ring)), 0);
	assert_int_equal(devq_side_kicks(&f->side, true), 1);
	assert_int_equal(ring_load_relaxed(ring_avail_event(&f->ring)), 7);
}

static int start(struct fixture *f)
{
	f->kick = eventfd(0, EFD_NONBLOCK);
	f->call = eventfd(0, EFD_NONBLOCK);
	f->q = devq_new(1, f->mem, handler, f);
	assert_non_null(f->q);
	assert_int_equal(devq_set_size(f->q, 0), -EINVAL);
	assert_int_equal(devq_set_size(f->q, 3), -EINVAL);
	assert_int_equal(devq_set_size(f->q, 65536), -EINVAL);
	assert_int_equal(devq_set_size(f->q, SIZE), 0);
	assert_int_equal(devq_set_base(f->q, 65536), -EINVAL);
	assert_int_equal(devq_set_addr(f->q, UADDR(UVA_BASE + 1), UADDR(UVA_BASE + AVAIL_AT),
				       UADDR(UVA_BASE + USED_AT)),
			 -EINVAL);
	assert_int_equal(devq_set_addr(f->q, UADDR(UVA_BASE), UADDR(UVA_BASE + AVAIL_AT),
				       UADDR(UVA_BASE + USED_AT)),
			 0);
	devq_set_features(f->q, 1ull << VIRTIO_RING_F_EVENT_IDX);
	devq_set_kick(f->q, dup(f->kick));
	devq_set_call(f->q, dup(f->call));
	assert_int_equal(devq_start(f->q), 0);
	assert_false(devq_running(f->q)); /* not enabled */
	devq_set_enabled(f->q, true);
	return devq_start(f->q);
}

static void finish(struct fixture *f)
{
	close(f->kick);
	close(f->call);
}

static void kick(struct fixture *f)
{
	uint64_t one = 1;

	must(write(f->kick, &one, sizeof(one)) == sizeof(one));
}

/* Wait until @n were used, by interrupt. */
static void wait_used(struct fixture *f, uint16_t n)
{
	struct pollfd p = { .fd = f->call, .events = POLLIN };
	uint64_t v;

	for (;;) {
		ring_store_relaxed(ring_used_event(&f->ring), n - 1);
		ring_full_barrier();
		if (ring_load_acquire(&f->ring.used->idx) == n)
			return;
		must(poll(&p, 1, 5000) == 1);
		(void)!read(f->call, &v, sizeof(v));
	}
}

static void thread_serves(void **state)
{
	struct fixture *f = *state;
	uint16_t n = 0;

	f->answer = 4;
	assert_int_equal(start(f), 0);
	assert_true(devq_running(f->q));
	desc(&f->ring.desc[0], DATA_AT, 4, VRING_DESC_F_NEXT, 1);
	desc(&f->ring.desc[1], DATA_AT + 4096, 4, VRING_DESC_F_WRITE, 0);
	for (uint32_t i = 0; i < 20000; i++) {
		memcpy(f->ram + DATA_AT, &i, 4);
		offer(f, 0);
		ring_full_barrier();
		if (ring_load_relaxed(ring_avail_event(&f->ring)) == n)
			kick(f);
		wait_used(f, ++n);
		assert_memory_equal(f->ram + DATA_AT + 4096, &i, 4);
		assert_int_equal(f->ring.used->ring[i % SIZE].len, 4);
	}
	assert_int_equal(f->handled, 20000);
	assert_int_equal(devq_stop(f->q, 100, NULL, NULL), 20000);
	/* Started again it goes on where it was. */
	assert_int_equal(devq_start(f->q), 0);
	offer(f, 0);
	kick(f);
	wait_used(f, ++n);
	assert_int_equal(devq_stop(f->q, 0, NULL, NULL), 20001);
	finish(f);
}

/* Spin until it ends, each spin finding nothing; returns how often. */
static unsigned int spin_in_vain(struct devq_spin *p)
{
	unsigned int n = 0;

	for (; p->on; n++)
		devq_spin_ended(p, false, DEVQ_SPIN_NS);
	return n;
}

/* Short sleeps that it takes to spin again. */
static unsigned int sleeps_to_try(struct devq_spin *p)
{
	unsigned int n = 0;

	for (; !p->on; n++)
		devq_spin_slept(p, DEVQ_SPIN_NS);
	return n;
}

static void spinning_is_learned(void **state)
{
	struct devq_spin p = { 0 };
	unsigned int spins = 0, sleeps = 0, few, many;

	/* Long sleeps say nothing for it, the first short one does. */
	for (unsigned int i = 0; i < 1000; i++)
		devq_spin_slept(&p, NSEC_PER_MS);
	assert_false(p.on);
	assert_int_equal(sleeps_to_try(&p), 1);
	/* It goes on while chains come soon. */
	for (unsigned int i = 0; i < 100000; i++)
		devq_spin_ended(&p, true, DEVQ_WAKE_NS / 2);
	assert_true(p.on);
	/* One in three that comes late does no harm, and most that do end it. */
	for (unsigned int i = 0; i < 100000; i++)
		devq_spin_ended(&p, i % 3, i % 3 ? DEVQ_WAKE_NS / 4 : DEVQ_SPIN_NS);
	assert_true(p.on);
	for (unsigned int i = 0; i < 1000; i++)
		devq_spin_ended(&p, i % 3 == 0, DEVQ_SPIN_NS);
	assert_false(p.on);

	/* Where it never pays, the tries become rare, and stay rare when few spins find something. */
	for (unsigned int i = 0; i < 30; i++) {
		sleeps += few = sleeps_to_try(&p);
		spins += spin_in_vain(&p);
	}
	assert_true(spins * 100 < sleeps);
	many = sleeps_to_try(&p);
	assert_int_equal(few, many);
	devq_spin_ended(&p, true, DEVQ_SPIN_NS);
	(void)spin_in_vain(&p);
	assert_int_equal(sleeps_to_try(&p), many);
	/* But where it pays again, that is found, and the next try is soon. */
	for (unsigned int i = 0; i < 1000; i++)
		devq_spin_ended(&p, true, DEVQ_WAKE_NS / 2);
	assert_true(p.on);
	(void)spin_in_vain(&p);
	assert_true(sleeps_to_try(&p) <= 2);
}

static void *churn(void *arg)
{
	struct fixture *f = arg;

	for (int i = 0; i < 2000; i++) {
		struct vhu_mem_region r = region(GPA_BASE * 16, 8192, UVA_BASE * 2, 4096);

		must(mem_add(f->mem, &r, f->memfd) == 0);
		devq_set_call(f->q, dup(f->call));
		must(mem_remove(f->mem, &r) == 0);
	}
	return NULL;
}

static void table_changes_while_requests_run(void **state)
{
	struct fixture *f = *state;
	uint16_t n = 0;
	pthread_t t;

	assert_int_equal(start(f), 0);
	desc(&f->ring.desc[0], DATA_AT, 4, 0, 0);
	assert_int_equal(pthread_create(&t, NULL, churn, f), 0);
	for (int i = 0; i < 3000; i++) {
		offer(f, 0);
		kick(f);
		wait_used(f, ++n);
	}
	pthread_join(t, NULL);
	(void)devq_stop(f->q, 0, NULL, NULL);
	finish(f);
}

static void broken_queue_stops(void **state)
{
	struct fixture *f = *state;
	int err = eventfd(0, 0);
	struct pollfd p = { .fd = err, .events = POLLIN };

	f->q = NULL;
	assert_int_equal(start(f), 0);
	(void)devq_stop(f->q, 0, NULL, NULL);
	devq_set_err(f->q, dup(err));
	assert_int_equal(devq_start(f->q), 0);
	offer(f, 100);
	kick(f);
	assert_int_equal(poll(&p, 1, 5000), 1);
	assert_int_equal(devq_stop(f->q, 100, NULL, NULL), 0);
	assert_int_equal(f->handled, 0);
	close(err);
	finish(f);
}

static void ring_outside_of_memory_is_refused(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(mem_set(f->mem, NULL, NULL, 0), 0);
	assert_int_equal(start(f), -EFAULT);
	assert_false(devq_running(f->q));
	finish(f);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	static const struct CMUnitTest tests[] = {
		T(good_chains),
		T(good_indirect_chain),
		T(hostile_chains),
		T(hostile_indirect_chains),
		T(chains_are_bounded),
		T(ranges_cross_regions),
		T(regions_are_checked),
		T(removed_memory_stays_while_it_is_used),
		T(vanished_ring_is_no_crash),
		T(event_index_suppresses),
		T(thread_serves),
		T(table_changes_while_requests_run),
		cmocka_unit_test(spinning_is_learned),
		T(broken_queue_stops),
		T(ring_outside_of_memory_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
