// SPDX-License-Identifier: MIT
// A virtqueue under load: many threads, a device that sleeps and reorders, an interrupt thread.

#include "unit.h"

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>

#include "base/time.h"
#include "fake_virtio.h"

#define INDIRECT (UINT64_C(1) << VIRTIO_RING_F_INDIRECT_DESC)
#define EVENT	 (UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX)
#define THREADS	 6u
#define HELD	 8u /* requests that the device keeps back and answers out of order */

struct load {
	struct fake_virtio f;
	struct virtq q;
	uint64_t seed;
	unsigned int delay_us;	  /* before each answer, at random, up to this */
	_Atomic bool stop;	  /* the senders */
	_Atomic bool stop_device; /* the rest */
	_Atomic uint64_t done;
};

struct client {
	struct load *l;
	unsigned int id;
	pthread_t thread;
	struct virtq_req req;
	char *out, *in;
};

static void *client_main(void *arg)
{
	struct client *c = arg;
	struct load *l = c->l;
	struct rng rng = { l->seed + c->id };

	while (!atomic_load(&l->stop)) {
		uint64_t value = rng_next(&rng), got[2];
		unsigned int n = 1 + (unsigned int)rng_below(&rng, 2);
		struct dma_seg in[2];
		struct dma_seg out = { dma_iova(l->f.arena, c->out), 8 };
		uint32_t len = 0;

		for (unsigned int i = 0; i < n; i++)
			in[i] = (struct dma_seg){ dma_iova(l->f.arena, c->in + 512 * i), 8 };
		memcpy(c->out, &value, 8);
		memset(c->in, 0, 1024);
		must(virtq_submit(&l->q, &c->req, &out, 1, in, n) == 0);
		must(virtq_wait(&l->q, &c->req, &len) == 0);
		must(len == 8 * n);
		for (unsigned int i = 0; i < n; i++) {
			memcpy(&got[i], c->in + 512 * i, 8);
			must(got[i] == value + i);
		}
		atomic_fetch_add_explicit(&l->done, 1, memory_order_relaxed);
	}
	return NULL;
}

static void answer(struct load *l, struct fake_chain *c)
{
	uint64_t value;

	must(c->n_out == 1 && c->out_bytes == 8);
	memcpy(&value, c->out[0].p, 8);
	for (unsigned int i = 0; i < c->n_in; i++, value++)
		memcpy(c->in[i].p, &value, 8);
	fake_put(&l->f, c->head, c->in_bytes);
}

static void *device_main(void *arg)
{
	struct load *l = arg;
	struct rng rng = { ~l->seed };
	struct fake_chain *held = calloc(HELD, sizeof(*held));
	unsigned int n = 0;

	must(held);
	for (;;) {
		bool quiet = !fake_pending(&l->f);

		while (n < HELD && fake_take(&l->f, &held[n]))
			n++;
		if (n && l->delay_us) {
			uint64_t until = time_now_ns() + rng_below(&rng, l->delay_us * NSEC_PER_US);

			while (time_now_ns() < until)
				cpu_relax();
		} else if (rng_chance(&rng, 64))
			(void)usleep((useconds_t)rng_below(&rng, 300));
		/* Answer some in any order; all of them when nothing else is there to do. */
		while (n && (quiet || !rng_chance(&rng, 3))) {
			unsigned int i = (unsigned int)rng_below(&rng, n);

			answer(l, &held[i]);
			held[i] = held[--n];
			if (rng_chance(&rng, 4))
				fake_publish(&l->f);
		}
		fake_publish(&l->f);
		if (n || fake_pending(&l->f))
			continue;
		if (fake_idle(&l->f)) {
			struct pollfd pfd = { .fd = l->f.kick_fd, .events = POLLIN };
			eventfd_t count;

			/* Only a kick ends this: a lost one shows as a hang. */
			while (poll(&pfd, 1, 20) == 0)
				if (atomic_load(&l->stop_device))
					goto out;
			(void)eventfd_read(l->f.kick_fd, &count);
		}
		fake_busy(&l->f);
	}
out:
	free(held);
	return NULL;
}

static void *irq_main(void *arg)
{
	struct load *l = arg;
	struct pollfd pfd = { .fd = l->f.irq, .events = POLLIN };
	eventfd_t count;

	while (!atomic_load(&l->stop_device)) {
		if (poll(&pfd, 1, 20) <= 0)
			continue;
		(void)eventfd_read(l->f.irq, &count);
		virtq_reap(&l->q);
	}
	return NULL;
}

static void load_run(uint64_t features, unsigned int size, unsigned int threads,
		     unsigned int delay_us, uint64_t ns)
{
	struct load *l = calloc(1, sizeof(*l));
	struct client *c = calloc(THREADS, sizeof(*c));
	pthread_t device, irq;

	assert_non_null(l);
	assert_non_null(c);
	fake_init(&l->f, features, false);
	l->seed = unit_seed();
	l->delay_us = delay_us;
	assert_int_equal(virtq_init(&l->q, &l->f.t, l->f.arena, 0, size, features), 0);
	for (unsigned int i = 0; i < threads; i++) {
		c[i].l = l;
		c[i].id = i;
		c[i].out = dma_alloc(l->f.arena, PAGE_4K, PAGE_4K);
		c[i].in = dma_alloc(l->f.arena, PAGE_4K, PAGE_4K);
		c[i].req.table = dma_alloc(l->f.arena, PAGE_4K, PAGE_4K);
		assert_non_null(c[i].req.table);
		c[i].req.table_iova = dma_iova(l->f.arena, c[i].req.table);
		c[i].req.table_max = 8;
	}
	assert_int_equal(pthread_create(&device, NULL, device_main, l), 0);
	assert_int_equal(pthread_create(&irq, NULL, irq_main, l), 0);
	for (unsigned int i = 0; i < threads; i++)
		assert_int_equal(pthread_create(&c[i].thread, NULL, client_main, &c[i]), 0);
	(void)usleep((useconds_t)(ns / NSEC_PER_US));
	atomic_store(&l->stop, true);
	for (unsigned int i = 0; i < threads; i++)
		assert_int_equal(pthread_join(c[i].thread, NULL), 0);
	atomic_store(&l->stop_device, true);
	assert_int_equal(pthread_join(device, NULL), 0);
	assert_int_equal(pthread_join(irq, NULL), 0);
	(void)printf("%llu requests, %u kicks, %u interrupts\n", (unsigned long long)l->done,
		     l->f.kicks, l->f.interrupts);
	assert_true(l->done > 0);
	assert_int_equal(l->q.num_free, l->q.ring.size);
	assert_int_equal(l->q.sleepers, 0);
	virtq_fini(&l->q);
	fake_fini(&l->f);
	free(l);
	free(c);
}

/* A fifth of the time each. */
static uint64_t share_ns(void)
{
	return unit_seconds(5) * NSEC_PER_SEC / 5;
}

static void indirect_event_index(void **state)
{
	load_run(INDIRECT | EVENT, 4, THREADS, 0, share_ns());
}

static void chained_flags(void **state)
{
	load_run(0, 8, THREADS, 0, share_ns());
}

static void large_ring(void **state)
{
	load_run(INDIRECT | EVENT, 256, THREADS, 0, share_ns());
}

/*
 * With one request at a time no other one wakes a sleeper that was forgotten. The answer comes
 * about when the waiter stops to spin and falls asleep.
 */
static void one_at_a_time_event_index(void **state)
{
	load_run(INDIRECT | EVENT, 4, 1, 20, share_ns());
}

static void one_at_a_time_flags(void **state)
{
	load_run(0, 4, 1, 20, share_ns());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(indirect_event_index), cmocka_unit_test(chained_flags),
		cmocka_unit_test(large_ring),		cmocka_unit_test(one_at_a_time_event_index),
		cmocka_unit_test(one_at_a_time_flags),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
