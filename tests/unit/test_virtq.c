// SPDX-License-Identifier: MIT
// The driver's side of a virtqueue against a device that the test plays, also a hostile one.

#include "unit.h"

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>

#include "fake_virtio.h"

#define INDIRECT (UINT64_C(1) << VIRTIO_RING_F_INDIRECT_DESC)
#define EVENT	 (UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX)

#define BUF	 4096u
#define SEGS	 8u
#define NREQS	 16u

/* A request with buffers of its own. */
struct one {
	struct virtq_req req;
	char *out;
	char *in;
	struct dma_seg segs[2 * SEGS];
	unsigned int n_out, n_in;
};

struct bench {
	struct fake_virtio f;
	struct virtq q;
	struct one one[NREQS];
};

static void bench_start(struct bench *b, unsigned int size, uint64_t features, bool scatter)
{
	memset(b, 0, sizeof(*b));
	fake_init(&b->f, features, scatter);
	assert_int_equal(virtq_init(&b->q, &b->f.t, b->f.arena, 3, size, features), 0);
	assert_int_equal(b->f.setup.index, 3);
	for (unsigned int i = 0; i < NREQS; i++) {
		struct one *o = &b->one[i];

		o->out = dma_alloc(b->f.arena, BUF, PAGE_4K);
		o->in = dma_alloc(b->f.arena, BUF, PAGE_4K);
		o->req.table = dma_alloc(b->f.arena, 2 * SEGS * sizeof(struct vring_desc), PAGE_4K);
		assert_non_null(o->req.table);
		o->req.table_iova = dma_iova(b->f.arena, o->req.table);
		o->req.table_max = 2 * SEGS;
	}
}

static void bench_end(struct bench *b)
{
	virtq_fini(&b->q);
	fake_fini(&b->f);
}

/* @n segments of equal size over @bytes at @p. */
static void cut(const struct bench *b, char *p, unsigned int n, struct dma_seg *segs)
{
	for (unsigned int i = 0; i < n; i++)
		segs[i] =
			(struct dma_seg){ dma_iova(b->f.arena, p + i * (BUF / SEGS)), BUF / SEGS };
}

static int submit(struct bench *b, struct one *o, unsigned int n_out, unsigned int n_in)
{
	cut(b, o->out, n_out, o->segs);
	cut(b, o->in, n_in, o->segs + n_out);
	o->n_out = n_out;
	o->n_in = n_in;
	return virtq_submit(&b->q, &o->req, o->segs, n_out, o->segs + n_out, n_in);
}

/* The device sends back what it received, as far as there is room. */
static uint32_t echo(struct fake_chain *c)
{
	uint32_t done = 0;
	unsigned int from = 0, from_off = 0;

	for (unsigned int i = 0; i < c->n_in; i++) {
		for (uint32_t j = 0; j < c->in[i].len; j++) {
			if (from == c->n_out)
				return done;
			c->in[i].p[j] = c->out[from].p[from_off++];
			done++;
			if (from_off == c->out[from].len) {
				from++;
				from_off = 0;
			}
		}
	}
	return done;
}

static void serve_all(struct bench *b)
{
	struct fake_chain c;

	while (fake_take(&b->f, &c))
		fake_put(&b->f, c.head, echo(&c));
	fake_publish(&b->f);
}

static void round_trip(uint64_t features, unsigned int n_out, unsigned int n_in, bool indirect)
{
	struct bench b;
	struct fake_chain c;
	struct one *o = &b.one[0];
	uint32_t len = 0;

	bench_start(&b, 32, features, false);
	memset(o->out, 'x', BUF);
	assert_int_equal(submit(&b, o, n_out, n_in), 0);
	assert_true(fake_take(&b.f, &c));
	assert_int_equal(c.indirect, indirect);
	assert_int_equal(c.n_out, n_out);
	assert_int_equal(c.n_in, n_in);
	assert_int_equal(c.out_bytes, n_out * (BUF / SEGS));
	fake_put(&b.f, c.head, echo(&c));
	fake_publish(&b.f);
	assert_int_equal(virtq_wait(&b.q, &o->req, &len), 0);
	assert_int_equal(len, MIN(n_out, n_in) * (BUF / SEGS));
	for (unsigned int i = 0; i < len; i++)
		assert_int_equal(o->in[i], 'x');
	bench_end(&b);
}

static void one_descriptor(void **state)
{
	round_trip(0, 1, 0, false);
	round_trip(INDIRECT | EVENT, 0, 1, false);
}

static void chained(void **state)
{
	round_trip(0, 3, 5, false);
	round_trip(EVENT, 8, 8, false);
}

static void indirect(void **state)
{
	round_trip(INDIRECT, 1, 1, true);
	round_trip(INDIRECT | EVENT, 8, 8, true);
}

static void small_indirect_table_falls_back_to_a_chain(void **state)
{
	struct bench b;
	struct fake_chain c;
	uint32_t len;

	bench_start(&b, 16, INDIRECT, false);
	b.one[0].req.table_max = 3;
	assert_int_equal(submit(&b, &b.one[0], 2, 2), 0);
	assert_true(fake_take(&b.f, &c));
	assert_false(c.indirect);
	assert_int_equal(c.n_out + c.n_in, 4);
	fake_put(&b.f, c.head, 0);
	fake_publish(&b.f);
	assert_int_equal(virtq_wait(&b.q, &b.one[0].req, &len), 0);
	bench_end(&b);
}

static void too_many_segments(void **state)
{
	struct bench b;

	bench_start(&b, 8, INDIRECT, false);
	assert_int_equal(b.q.max_segs, 8);
	assert_int_equal(submit(&b, &b.one[0], 5, 4), -E2BIG);
	assert_int_equal(submit(&b, &b.one[0], 0, 0), -E2BIG);
	assert_int_equal(fake_pending(&b.f), 0);
	assert_int_equal(virtq_is_broken(&b.q), 0);
	bench_end(&b);
}

static void bad_sizes(void **state)
{
	static const unsigned int sizes[] = { 0, 3, 12, 65536 };
	struct fake_virtio f;
	struct virtq q;

	fake_init(&f, 0, false);
	for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++)
		assert_int_equal(virtq_init(&q, &f.t, f.arena, 0, sizes[i], 0), -EINVAL);
	fake_fini(&f);
}

/* In scattered memory the ring shrinks until each area is contiguous for the device. */
static void scattered_memory_gives_a_smaller_ring(void **state)
{
	struct bench b;
	uint32_t len;

	bench_start(&b, 1024, INDIRECT, true);
	assert_true(ring_size_ok(b.q.ring.size));
	assert_true(ring_desc_bytes(b.q.ring.size) <= PAGE_4K);
	assert_int_equal(b.f.setup.size, b.q.ring.size);
	assert_int_equal(submit(&b, &b.one[0], 1, 1), 0);
	serve_all(&b);
	assert_int_equal(virtq_wait(&b.q, &b.one[0].req, &len), 0);
	bench_end(&b);
}

/* More than 65536 requests, out of order, on a small ring. */
static void indices_wrap(uint64_t features, unsigned int size)
{
	const unsigned int rounds = 24000, depth = 3;
	struct rng rng = { 1 };
	struct bench b;

	bench_start(&b, size, features, false);
	for (unsigned int i = 0; i < rounds; i++) {
		struct fake_chain c[3];
		unsigned int first = (unsigned int)rng_below(&rng, depth);

		for (unsigned int k = 0; k < depth; k++) {
			struct one *o = &b.one[k];

			memcpy(o->out, &(uint32_t){ i * depth + k }, 4);
			assert_int_equal(submit(&b, o, 1, 1 + (i + k) % 2), 0);
		}
		for (unsigned int k = 0; k < depth; k++)
			assert_true(fake_take(&b.f, &c[k]));
		for (unsigned int k = 0; k < depth; k++) {
			struct fake_chain *one = &c[(first + k) % depth];

			memcpy(one->in[0].p, one->out[0].p, 4);
			fake_put(&b.f, one->head, 4 + k % 2);
		}
		fake_publish(&b.f);
		for (unsigned int k = 0; k < depth; k++) {
			uint32_t len, got;

			assert_int_equal(virtq_wait(&b.q, &b.one[k].req, &len), 0);
			assert_in_range(len, 4, 5);
			memcpy(&got, b.one[k].in, 4);
			assert_int_equal(got, i * depth + k);
		}
	}
	assert_int_equal(b.q.num_free, b.q.ring.size);
	bench_end(&b);
}

static void indices_wrap_chained(void **state)
{
	indices_wrap(0, 16);
}

static void indices_wrap_indirect(void **state)
{
	indices_wrap(INDIRECT | EVENT, 4);
}

static void kicks_follow_the_flag(void **state)
{
	struct bench b;

	bench_start(&b, 8, 0, false);
	assert_int_equal(submit(&b, &b.one[0], 1, 1), 0);
	assert_int_equal(b.f.kicks, 1);
	fake_busy(&b.f);
	assert_int_equal(submit(&b, &b.one[1], 1, 1), 0);
	assert_int_equal(b.f.kicks, 1);
	assert_false(fake_idle(&b.f));
	assert_int_equal(submit(&b, &b.one[2], 1, 1), 0);
	assert_int_equal(b.f.kicks, 2);
	bench_end(&b);
}

static void kicks_follow_the_event_index(void **state)
{
	struct bench b;

	bench_start(&b, 8, INDIRECT | EVENT, false);
	assert_int_equal(submit(&b, &b.one[0], 1, 1), 0); /* the device's wish is 0 */
	assert_int_equal(b.f.kicks, 1);
	assert_int_equal(submit(&b, &b.one[1], 1, 1), 0); /* not renewed */
	assert_int_equal(b.f.kicks, 1);
	ring_store_relaxed(ring_avail_event(&b.f.ring), 3);
	assert_int_equal(submit(&b, &b.one[2], 1, 1), 0);
	assert_int_equal(b.f.kicks, 1);
	assert_int_equal(submit(&b, &b.one[3], 1, 1), 0); /* index 3 is the one */
	assert_int_equal(b.f.kicks, 2);
	/* With event indices the flag says nothing: VIRTIO 1.2, 2.7.10. */
	ring_store_relaxed(ring_avail_event(&b.f.ring), 4);
	ring_store_relaxed(&b.f.ring.used->flags, VRING_USED_F_NO_NOTIFY);
	assert_int_equal(submit(&b, &b.one[4], 1, 1), 0);
	assert_int_equal(b.f.kicks, 3);
	bench_end(&b);
}

static void no_interrupt_when_nobody_sleeps(uint64_t features)
{
	struct bench b;

	bench_start(&b, 8, features, false);
	for (unsigned int i = 0; i < 100; i++) {
		uint32_t len;

		assert_int_equal(submit(&b, &b.one[0], 1, 1), 0);
		serve_all(&b);
		assert_int_equal(virtq_wait(&b.q, &b.one[0].req, &len), 0);
	}
	/* An index that is passed once in 65536 entries may cost one. */
	assert_true(b.f.interrupts <= 1);
	bench_end(&b);
}

static void no_interrupt_by_flag(void **state)
{
	no_interrupt_when_nobody_sleeps(0);
}

static void no_interrupt_by_event_index(void **state)
{
	no_interrupt_when_nobody_sleeps(EVENT);
}

/* A thread that sends one request and waits for it. */
struct sender {
	struct bench *b;
	struct one *o;
	unsigned int n_out, n_in;
	pthread_t thread;
	_Atomic int submitted; /* 0, or 1 when virtq_submit() is over */
	int result;
	uint32_t len;
};

static void *sender_main(void *arg)
{
	struct sender *s = arg;

	s->result = submit(s->b, s->o, s->n_out, s->n_in);
	atomic_store(&s->submitted, 1);
	if (s->result == 0)
		s->result = virtq_wait(&s->b->q, &s->o->req, &s->len);
	return NULL;
}

static void sender_start(struct sender *s, struct bench *b, unsigned int i, unsigned int n_out,
			 unsigned int n_in)
{
	*s = (struct sender){ .b = b, .o = &b->one[i], .n_out = n_out, .n_in = n_in };
	assert_int_equal(pthread_create(&s->thread, NULL, sender_main, s), 0);
}

static int sender_join(struct sender *s)
{
	assert_int_equal(pthread_join(s->thread, NULL), 0);
	return s->result;
}

static unsigned int sleepers(struct bench *b)
{
	unsigned int n;

	(void)pthread_mutex_lock(&b->q.lock);
	n = b->q.sleepers;
	(void)pthread_mutex_unlock(&b->q.lock);
	return n;
}

static void wait_sleepers(struct bench *b, unsigned int n)
{
	while (sleepers(b) < n)
		(void)usleep(500);
}

static void sleeper_is_woken_by_an_interrupt(uint64_t features)
{
	struct pollfd pfd;
	struct sender s;
	struct bench b;
	eventfd_t count;

	bench_start(&b, 8, features, false);
	for (unsigned int i = 0; i < 5; i++) {
		sender_start(&s, &b, 0, 1, 1);
		wait_sleepers(&b, 1);
		serve_all(&b);
		pfd = (struct pollfd){ .fd = b.f.irq, .events = POLLIN };
		assert_int_equal(poll(&pfd, 1, 5000), 1);
		assert_int_equal(eventfd_read(b.f.irq, &count), 0);
		virtq_reap(&b.q);
		assert_int_equal(sender_join(&s), 0);
		assert_int_equal(sleepers(&b), 0);
	}
	bench_end(&b);
}

static void sleeper_is_woken_flags(void **state)
{
	sleeper_is_woken_by_an_interrupt(0);
}

static void sleeper_is_woken_event_index(void **state)
{
	sleeper_is_woken_by_an_interrupt(INDIRECT | EVENT);
}

/* The ring takes 4; the fifth waits and goes on as soon as there is room. */
static void full_queue_waits(void **state)
{
	struct sender s[5];
	struct bench b;
	unsigned int waiting = 0;

	bench_start(&b, 4, INDIRECT | EVENT, false);
	for (unsigned int i = 0; i < 5; i++)
		sender_start(&s[i], &b, i, 1, 1);
	wait_sleepers(&b, 5);
	assert_int_equal(fake_pending(&b.f), 4);
	for (unsigned int i = 0; i < 5; i++)
		waiting += !atomic_load(&s[i].submitted);
	assert_int_equal(waiting, 1);
	serve_all(&b);
	virtq_reap(&b.q);
	while (!fake_pending(&b.f))
		(void)usleep(500);
	serve_all(&b);
	for (unsigned int i = 0; i < 5; i++) {
		virtq_reap(&b.q);
		if (i == 4)
			while (sleepers(&b))
				virtq_reap(&b.q);
		assert_int_equal(sender_join(&s[i]), 0);
	}
	bench_end(&b);
}

/* A chain longer than what is free waits for more than one completion. */
static void long_chain_waits_for_enough_room(void **state)
{
	struct sender s;
	struct bench b;
	struct fake_chain c[3];
	uint32_t len;

	bench_start(&b, 8, 0, false);
	for (unsigned int i = 0; i < 3; i++)
		assert_int_equal(submit(&b, &b.one[i], 1, 1), 0);
	sender_start(&s, &b, 3, 3, 3);
	wait_sleepers(&b, 1);
	for (unsigned int i = 0; i < 3; i++)
		assert_true(fake_take(&b.f, &c[i]));
	fake_put(&b.f, c[1].head, 0);
	fake_publish(&b.f);
	virtq_reap(&b.q);
	assert_int_equal(virtq_wait(&b.q, &b.one[1].req, &len), 0);
	assert_int_equal(fake_pending(&b.f), 0);
	fake_put(&b.f, c[0].head, 0);
	fake_publish(&b.f);
	virtq_reap(&b.q);
	while (!fake_pending(&b.f))
		(void)usleep(500);
	fake_put(&b.f, c[2].head, 0);
	serve_all(&b);
	while (!event_is_set(&b.one[3].req.done))
		virtq_reap(&b.q);
	assert_int_equal(sender_join(&s), 0);
	assert_int_equal(virtq_wait(&b.q, &b.one[0].req, &len), 0);
	assert_int_equal(virtq_wait(&b.q, &b.one[2].req, &len), 0);
	bench_end(&b);
}

/* After a used entry that @evil writes, everything ends with EIO and nothing hangs. */
static void hostile(void (*evil)(struct bench *b, struct fake_chain *first), unsigned int releases)
{
	struct sender s[6];
	struct bench b;
	struct fake_chain c;
	eventfd_t count;
	unsigned int ok = 0;

	bench_start(&b, 4, INDIRECT, false);
	/* four in flight, one waits for room */
	for (unsigned int i = 0; i < 5; i++)
		sender_start(&s[i], &b, i, 1, 1);
	wait_sleepers(&b, 5);
	assert_true(fake_take(&b.f, &c));
	evil(&b, &c);
	(void)eventfd_read(b.f.irq, &count);
	virtq_reap(&b.q);
	assert_int_equal(virtq_is_broken(&b.q), -EIO);
	/* the owner of the queue is told */
	assert_int_equal(eventfd_read(b.f.irq, &count), 0);
	/* later ones do not even start */
	sender_start(&s[5], &b, 5, 1, 1);
	assert_int_equal(sender_join(&s[5]), -EIO);
	virtq_fail_all(&b.q);
	for (unsigned int i = 0; i < 5; i++) {
		int r = sender_join(&s[i]);

		assert_true(r == 0 || r == -EIO);
		ok += r == 0;
	}
	assert_int_equal(ok, releases);
	/* once more is harmless */
	virtq_reap(&b.q);
	virtq_fail_all(&b.q);
	bench_end(&b);
}

static void evil_id_out_of_range(struct bench *b, struct fake_chain *c)
{
	fake_put(&b->f, b->f.ring.size, 0);
	fake_publish(&b->f);
}

static void evil_id_huge(struct bench *b, struct fake_chain *c)
{
	/* would be in range if only 16 bits were looked at */
	fake_put(&b->f, 0x10000u | c->head, 0);
	fake_publish(&b->f);
}

static void evil_id_twice(struct bench *b, struct fake_chain *c)
{
	fake_put(&b->f, c->head, 0);
	fake_put(&b->f, c->head, 0);
	fake_publish(&b->f);
}

static void evil_length(struct bench *b, struct fake_chain *c)
{
	fake_put(&b->f, c->head, c->in_bytes + 1);
	fake_publish(&b->f);
}

static void evil_length_huge(struct bench *b, struct fake_chain *c)
{
	fake_put(&b->f, c->head, UINT32_MAX);
	fake_publish(&b->f);
}

static void evil_index_far(struct bench *b, struct fake_chain *c)
{
	b->f.used_idx = (uint16_t)(b->f.used_idx + 5);
	fake_publish(&b->f);
}

static void evil_index_back(struct bench *b, struct fake_chain *c)
{
	b->f.used_idx--;
	fake_publish(&b->f);
}

static void hostile_id_out_of_range(void **state)
{
	hostile(evil_id_out_of_range, 0);
	hostile(evil_id_huge, 0);
}

static void hostile_id_twice(void **state)
{
	hostile(evil_id_twice, 1);
}

static void hostile_length(void **state)
{
	hostile(evil_length, 0);
	hostile(evil_length_huge, 0);
}

static void hostile_index(void **state)
{
	hostile(evil_index_far, 0);
	hostile(evil_index_back, 0);
}

/* An id that is a descriptor of a chain, but not its head. */
static void hostile_id_not_in_flight(void **state)
{
	struct bench b;
	struct fake_chain c;
	uint32_t len;

	bench_start(&b, 8, 0, false);
	assert_int_equal(submit(&b, &b.one[0], 1, 2), 0);
	assert_true(fake_take(&b.f, &c));
	fake_put(&b.f, (uint32_t)(c.head + 1), 0);
	fake_publish(&b.f);
	virtq_reap(&b.q);
	assert_int_equal(virtq_is_broken(&b.q), -EIO);
	virtq_fail_all(&b.q);
	assert_int_equal(virtq_wait(&b.q, &b.one[0].req, &len), -EIO);
	bench_end(&b);
}

static void length_up_to_what_was_offered(void **state)
{
	struct bench b;
	struct fake_chain c;
	uint32_t len;

	bench_start(&b, 8, INDIRECT, false);
	assert_int_equal(submit(&b, &b.one[0], 1, 3), 0);
	assert_true(fake_take(&b.f, &c));
	fake_put(&b.f, c.head, c.in_bytes);
	fake_publish(&b.f);
	assert_int_equal(virtq_wait(&b.q, &b.one[0].req, &len), 0);
	assert_int_equal(len, 3 * (BUF / SEGS));
	bench_end(&b);
}

static void broken_by_its_owner(void **state)
{
	struct sender s;
	struct bench b;

	bench_start(&b, 8, INDIRECT | EVENT, false);
	sender_start(&s, &b, 0, 1, 1);
	wait_sleepers(&b, 1);
	virtq_break(&b.q, -ENOTCONN);
	virtq_break(&b.q, -EIO); /* the first reason stays */
	assert_int_equal(virtq_is_broken(&b.q), -ENOTCONN);
	/* in flight stays in flight until the device is stopped */
	assert_int_equal(fake_pending(&b.f), 1);
	serve_all(&b);
	virtq_reap(&b.q);
	assert_false(event_is_set(&b.one[0].req.done));
	virtq_fail_all(&b.q);
	assert_int_equal(sender_join(&s), -ENOTCONN);
	assert_int_equal(submit(&b, &b.one[1], 1, 1), -ENOTCONN);
	bench_end(&b);
}

/* The peer goes without a word: a sleeper finds out by itself and tells the owner. */
static void lost_peer_is_noticed(void **state)
{
	struct pollfd pfd;
	struct sender s;
	struct bench b;

	bench_start(&b, 8, INDIRECT | EVENT, false);
	pfd = (struct pollfd){ .fd = b.f.irq, .events = POLLIN };
	sender_start(&s, &b, 0, 1, 1);
	wait_sleepers(&b, 1);
	assert_int_equal(poll(&pfd, 1, 0), 0);
	atomic_store(&b.f.failed, -ENODEV);
	assert_int_equal(poll(&pfd, 1, 5000), 1);
	assert_int_equal(virtq_is_broken(&b.q), -ENODEV);
	virtq_fail_all(&b.q);
	assert_int_equal(sender_join(&s), -ENODEV);
	bench_end(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_descriptor),
		cmocka_unit_test(chained),
		cmocka_unit_test(indirect),
		cmocka_unit_test(small_indirect_table_falls_back_to_a_chain),
		cmocka_unit_test(too_many_segments),
		cmocka_unit_test(bad_sizes),
		cmocka_unit_test(scattered_memory_gives_a_smaller_ring),
		cmocka_unit_test(indices_wrap_chained),
		cmocka_unit_test(indices_wrap_indirect),
		cmocka_unit_test(kicks_follow_the_flag),
		cmocka_unit_test(kicks_follow_the_event_index),
		cmocka_unit_test(no_interrupt_by_flag),
		cmocka_unit_test(no_interrupt_by_event_index),
		cmocka_unit_test(sleeper_is_woken_flags),
		cmocka_unit_test(sleeper_is_woken_event_index),
		cmocka_unit_test(full_queue_waits),
		cmocka_unit_test(long_chain_waits_for_enough_room),
		cmocka_unit_test(hostile_id_out_of_range),
		cmocka_unit_test(hostile_id_twice),
		cmocka_unit_test(hostile_id_not_in_flight),
		cmocka_unit_test(hostile_length),
		cmocka_unit_test(hostile_index),
		cmocka_unit_test(length_up_to_what_was_offered),
		cmocka_unit_test(broken_by_its_owner),
		cmocka_unit_test(lost_peer_is_noticed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
