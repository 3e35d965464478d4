// SPDX-License-Identifier: MIT
// Locks that the real host keeps, and requests that wait for them in the relay, interrupted at all
// times.

#include "unit.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>

#include "base/time.h"
#include "fs/relay.h"
#include "host/lock_range.h"
#include "stack.h"

static struct stack S;
static struct {
	uint64_t node, fh;
	int fd; /* the same file, of the host */

	struct relay relay;
	struct relay_worker ask, other; /* the second one brings INTERRUPT */
	int answers;			/* what the kernel would read */
} T;

static int start(void **state)
{
	stack_new(&S, 0, 0);
	stack_connect(&S);
	memset(&T, 0, sizeof(T));
	T.fd = stack_file(&S, "f", 100);
	T.node = stack_lookup(&S, "f");
	T.fh = stack_open(&S, T.node, O_RDWR);
	return 0;
}

static int end(void **state)
{
	(void)close(T.fd);
	stack_disconnect(&S);
	stack_free(&S);
	return 0;
}

static void worker(struct relay_worker *w, int fd)
{
	*w = (struct relay_worker){ .relay = &T.relay, .reply = relay_reply_fd, .fd = fd };
	assert_int_equal(client_slot_create(S.client, STACK_SLOT, STACK_SLOT, &w->slot), 0);
	relay_add_worker(&T.relay, w);
}

static int start_relay(void **state)
{
	int pipes[2];

	(void)start(state);
	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	T.answers = pipes[0];
	T.relay.client = S.client;
	T.relay.lock_waits = lock_waits_create(S.client);
	assert_non_null(T.relay.lock_waits);
	worker(&T.ask, pipes[1]);
	worker(&T.other, pipes[1]);
	return 0;
}

static int end_relay(void **state)
{
	lock_waits_stop(T.relay.lock_waits);
	lock_waits_join(T.relay.lock_waits);
	lock_waits_destroy(T.relay.lock_waits);
	client_slot_destroy(T.ask.slot);
	client_slot_destroy(T.other.slot);
	(void)close(T.answers);
	(void)close(T.ask.fd);
	return end(state);
}

static struct fuse_lk_in lk_in(uint64_t owner, int type, uint64_t first, uint64_t last)
{
	return (struct fuse_lk_in){
		.fh = T.fh,
		.owner = owner,
		.lk = { .start = first,
			.end = last,
			.type = (uint32_t)type,
			.pid = 1000 + (uint32_t)owner },
	};
}

static int setlk_by(uint32_t opcode, uint64_t fh, uint64_t owner, int type, uint64_t first,
		    uint64_t last)
{
	struct fuse_lk_in in = lk_in(owner, type, first, last);

	in.fh = fh;
	return stack_call(
		&S, S.slot, 0,
		&(struct stack_call){
			.opcode = opcode, .nodeid = T.node, .arg = &in, .arg_len = sizeof(in) });
}

static int setlk(uint64_t owner, int type, uint64_t first, uint64_t last)
{
	return setlk_by(FUSE_SETLK, T.fh, owner, type, first, last);
}

static struct fuse_file_lock getlk(uint64_t owner, int type, uint64_t first, uint64_t last)
{
	struct fuse_lk_in in = lk_in(owner, type, first, last);
	struct fuse_lk_out out = { 0 };
	int r = stack_call(&S, S.slot, 0,
			   &(struct stack_call){ .opcode = FUSE_GETLK,
						 .nodeid = T.node,
						 .arg = &in,
						 .arg_len = sizeof(in),
						 .out = &out,
						 .out_len = sizeof(out) });

	assert_int_equal(r, sizeof(out));
	return out.lk;
}

/* A lock of the host's. */
static int host_lock(int type, off_t first, off_t len)
{
	struct flock l = { .l_type = (short)type, .l_start = first, .l_len = len };

	return fcntl(T.fd, F_OFD_SETLK, &l) < 0 ? -errno : 0;
}

static void flush(uint64_t owner)
{
	struct fuse_flush_in in = { .fh = T.fh, .lock_owner = owner };

	assert_int_equal(stack_call(&S, S.slot, 0,
				    &(struct stack_call){ .opcode = FUSE_FLUSH,
							  .nodeid = T.node,
							  .arg = &in,
							  .arg_len = sizeof(in) }),
			 0);
}

static void owners_exclude_each_other(void **state)
{
	struct fuse_file_lock l;

	assert_int_equal(setlk(1, F_WRLCK, 10, 19), 0);
	assert_int_equal(setlk(1, F_WRLCK, 15, 24), 0);
	assert_int_equal(setlk(2, F_RDLCK, 24, 30), -EAGAIN);
	assert_int_equal(setlk_by(FUSE_SETLKW, T.fh, 2, F_RDLCK, 24, 30), -EOPNOTSUPP);
	assert_int_equal(setlk_by(FUSE_SETLKW, T.fh, 2, F_RDLCK, 25, INT64_MAX), 0);
	assert_int_equal(host_lock(F_WRLCK, 0, 11), -EAGAIN);
	assert_int_equal(host_lock(F_WRLCK, 0, 10), 0);

	l = getlk(2, F_RDLCK, 0, 9);
	assert_int_equal(l.type, F_WRLCK);
	assert_int_equal(l.start, 0);
	assert_int_equal(l.end, 9);
	assert_int_equal(l.pid, 0); /* of the host */
	l = getlk(2, F_RDLCK, 12, 12);
	assert_int_equal(l.start, 10);
	assert_int_equal(l.end, 24);
	assert_int_equal(l.pid, 1001);
	l = getlk(3, F_WRLCK, 1000, 1000);
	assert_int_equal(l.type, F_RDLCK);
	assert_int_equal(l.end, INT64_MAX);
	assert_int_equal(l.pid, 1002);
	assert_int_equal(getlk(1, F_WRLCK, 10, 24).type, F_UNLCK);

	assert_int_equal(setlk(1, F_UNLCK, 0, INT64_MAX), 0);
	assert_int_equal(setlk(9, F_UNLCK, 0, INT64_MAX), 0);
	assert_int_equal(host_lock(F_WRLCK, 0, 25), 0);
}

static void a_close_ends_them(void **state)
{
	struct fuse_release_in rel = { .fh = stack_open(&S, T.node, O_RDONLY) };

	assert_int_equal(setlk(1, F_WRLCK, 0, 9), 0);
	assert_int_equal(setlk_by(FUSE_SETLK, rel.fh, 2, F_RDLCK, 10, 19), 0);
	flush(2);
	assert_int_equal(host_lock(F_WRLCK, 10, 10), 0);
	assert_int_equal(host_lock(F_WRLCK, 0, 10), -EAGAIN);
	flush(1);
	assert_int_equal(host_lock(F_WRLCK, 0, 10), 0);
	assert_int_equal(host_lock(F_UNLCK, 0, 0), 0);

	/* The kernel does not flush locks of an open file (F_OFD_SETLK). */
	assert_int_equal(setlk_by(FUSE_SETLK, rel.fh, 3, F_RDLCK, 0, 9), 0);
	assert_int_equal(host_lock(F_WRLCK, 0, 10), -EAGAIN);
	assert_int_equal(client_release(S.client, T.node, rel.fh, false), 0);
	assert_int_equal(host_lock(F_WRLCK, 0, 10), 0);
}

static void nonsense_is_refused(void **state)
{
	assert_int_equal(setlk(1, 7, 0, 9), -EINVAL);
	assert_int_equal(setlk(1, F_RDLCK, 10, 9), -EINVAL);
	assert_int_equal(setlk(1, F_RDLCK, 0, UINT64_MAX), -EINVAL);
	assert_int_equal(setlk_by(FUSE_SETLK, T.fh + 1, 1, F_RDLCK, 0, 9), -EBADF);
}

/* A guest that does not stop gets ENOLCK, can unlock, and takes nothing from the host for ever. */
static void ranges_are_bounded(void **state)
{
	unsigned int n = 0;

	while (setlk(1, F_RDLCK, 2 * n, 2 * n) == 0)
		n++;
	assert_int_equal(setlk(1, F_RDLCK, 2 * n, 2 * n), -ENOLCK);
	assert_int_equal(setlk(2, F_RDLCK, 2 * n, 2 * n), -ENOLCK);
	assert_in_range(n, 8000, 8192);
	/* Also not by taking one to pieces. */
	assert_int_equal(setlk(1, F_UNLCK, 0, INT64_MAX), 0);
	assert_int_equal(setlk(1, F_RDLCK, 0, INT64_MAX), 0);
	for (n = 0; setlk(1, F_UNLCK, 2 * n + 1, 2 * n + 1) == 0; n++)
		assert_true(n < 8192);
	assert_int_equal(setlk(1, F_UNLCK, 2 * n + 1, 2 * n + 1), -ENOLCK);
	assert_int_equal(setlk(1, F_UNLCK, 0, INT64_MAX), 0);
	assert_int_equal(setlk(2, F_WRLCK, 0, INT64_MAX), 0);
}

static void owners_are_bounded(void **state)
{
	struct rlimit lim;
	unsigned int n = 0, before;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &lim), 0);
	lim.rlim_cur = lim.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &lim);
	before = unit_count_fds();
	while (setlk(n + 1, F_RDLCK, 0, 9) == 0)
		n++;
	assert_int_equal(setlk(n + 1, F_RDLCK, 0, 9), -ENOLCK);
	assert_in_range(n, 1, 1024);
	assert_int_equal(unit_count_fds() - before, n);
	flush(1);
	assert_int_equal(setlk(n + 1, F_RDLCK, 0, 9), 0);
	for (unsigned int i = 0; i <= n; i++)
		flush(i + 1);
	assert_int_equal(unit_count_fds(), before);
	assert_int_equal(host_lock(F_WRLCK, 0, 0), 0);
}

/* Against a table of bytes. */
static void ranges_model(void **state)
{
	struct rng rng = { unit_seed() };
	struct lock_ranges l = { 0 };
	int model[64] = { [0 ... 63] = F_UNLCK };

	for (int round = 0; round < 20000; round++) {
		struct lock_range w = { .first = rng_below(&rng, 64) };
		struct lock_range_room room;
		unsigned int before = l.count, pieces = 0;
		bool splits;

		w.last = w.first + rng_below(&rng, 64 - w.first);
		w.type = (int[]){ F_RDLCK, F_WRLCK, F_UNLCK }[rng_below(&rng, 3)];
		splits = lock_ranges_splits(&l, &w);
		assert_int_equal(lock_range_room_get(&room), 0);
		lock_ranges_set(&l, &w, &room);
		lock_range_room_put(&room);
		assert_true(l.count <= before + (w.type == F_UNLCK ? splits : LOCK_RANGE_MORE));
		for (uint64_t i = w.first; i <= w.last; i++)
			model[i] = w.type;
		for (uint64_t i = 0; i < 64; i++) {
			const struct lock_range *r = lock_ranges_find(&l, i, i);

			assert_int_equal(r ? r->type : F_UNLCK, model[i]);
			pieces += model[i] != F_UNLCK && (!i || model[i] != model[i - 1]);
		}
		assert_int_equal(l.count, pieces);
	}
	lock_ranges_free(&l);
}

/* What the kernel sends, to one of the two workers. */
static void send_request(struct relay_worker *w, uint32_t opcode, uint64_t unique, const void *arg,
			 size_t len)
{
	struct fuse_in_header *h = (void *)w->slot->req;

	*h = (struct fuse_in_header){ .len = (uint32_t)(sizeof(*h) + len),
				      .opcode = opcode,
				      .unique = unique,
				      .nodeid = T.node };
	memcpy(h + 1, arg, len);
	relay_handle(w, h->len);
}

static void send_lock(uint32_t opcode, uint64_t unique, uint64_t owner, int type)
{
	struct fuse_lk_in in = lk_in(owner, type, 0, 9);

	send_request(&T.ask, opcode, unique, &in, sizeof(in));
}

static void send_interrupt(uint64_t unique)
{
	struct fuse_interrupt_in in = { .unique = unique };

	send_request(&T.other, FUSE_INTERRUPT, unique | 1, &in, sizeof(in));
}

static bool answered(int ms)
{
	struct pollfd p = { .fd = T.answers, .events = POLLIN };

	return poll(&p, 1, ms) == 1;
}

/* The answer to @unique, which must come, and no other. */
static int answer_to(uint64_t unique)
{
	struct fuse_out_header h;

	assert_true(answered(20000));
	assert_int_equal(read(T.answers, &h, sizeof(h)), sizeof(h));
	assert_int_equal(h.len, sizeof(h));
	assert_int_equal(h.unique, unique);
	return h.error;
}

static void waits_and_gets_it(void **state)
{
	assert_int_equal(host_lock(F_WRLCK, 0, 0), 0);
	send_lock(FUSE_SETLKW, 2, 1, F_WRLCK);
	send_lock(FUSE_SETLKW, 4, 2, F_WRLCK);
	assert_int_equal(lock_waits_count(T.relay.lock_waits), 2);
	assert_false(answered(150));
	assert_int_equal(host_lock(F_UNLCK, 0, 0), 0);
	assert_int_equal(answer_to(2), 0);
	assert_false(answered(150));
	/* Its end calls the next one. */
	send_lock(FUSE_SETLK, 6, 1, F_UNLCK);
	assert_int_equal(answer_to(6), 0);
	assert_int_equal(answer_to(4), 0);
	assert_int_equal(lock_waits_count(T.relay.lock_waits), 0);
	assert_int_equal(host_lock(F_WRLCK, 0, 0), -EAGAIN);
	send_lock(FUSE_SETLK, 8, 1, F_WRLCK);
	assert_int_equal(answer_to(8), -EAGAIN);
}

static void interrupted_before_and_while_it_waits(void **state)
{
	assert_int_equal(host_lock(F_WRLCK, 0, 0), 0);
	send_interrupt(2);
	send_lock(FUSE_SETLKW, 2, 1, F_WRLCK);
	assert_int_equal(answer_to(2), -EINTR);
	send_lock(FUSE_SETLKW, 4, 1, F_WRLCK);
	send_interrupt(6); /* of another */
	assert_false(answered(50));
	send_interrupt(4);
	assert_int_equal(answer_to(4), -EINTR);
	send_interrupt(4); /* too late */
	send_lock(FUSE_SETLKW, 8, 1, F_WRLCK);
	assert_false(answered(50));
	assert_int_equal(host_lock(F_UNLCK, 0, 0), 0);
	assert_int_equal(answer_to(8), 0);
	assert_false(answered(50));
}

static void the_end_is_told(void **state)
{
	assert_int_equal(host_lock(F_WRLCK, 0, 0), 0);
	send_lock(FUSE_SETLKW, 2, 1, F_WRLCK);
	send_lock(FUSE_SETLKW, 4, 2, F_WRLCK);
	lock_waits_stop(T.relay.lock_waits);
	lock_waits_join(T.relay.lock_waits);
	/* One of them may have been asked for at that moment. */
	assert_true(answered(0));
	for (uint64_t seen = 0; seen != (2 | 4);) {
		struct fuse_out_header h;

		assert_true(answered(0));
		assert_int_equal(read(T.answers, &h, sizeof(h)), sizeof(h));
		assert_int_equal(h.error, -ENOTCONN);
		assert_true((h.unique == 2 || h.unique == 4) && !(seen & h.unique));
		seen |= h.unique;
	}
	send_lock(FUSE_SETLKW, 6, 3, F_WRLCK);
	assert_int_equal(answer_to(6), -ENOTCONN);
}

struct race {
	pthread_barrier_t begin;
	_Atomic bool stop;
	_Atomic uint64_t unique;
	_Atomic unsigned int pause_us;
};

static void *interrupter(void *arg)
{
	struct race *r = arg;

	for (;;) {
		unsigned int us;

		(void)pthread_barrier_wait(&r->begin);
		if (atomic_load(&r->stop))
			return NULL;
		us = atomic_load(&r->pause_us);
		for (uint64_t until = time_now_ns() + us * NSEC_PER_US; time_now_ns() < until;)
			cpu_relax();
		send_interrupt(atomic_load(&r->unique));
		(void)pthread_barrier_wait(&r->begin);
	}
}

/*
 * INTERRUPT by another thread at any time: before the request, in its first try, between tries, in
 * one. None is lost (the host holds its lock until there is an answer, so only EINTR can be it);
 * and where the host gives up its lock at the same time, the answer is what the host has done.
 */
static void interrupts_race(void **state)
{
	struct race r = { .unique = 0 };
	struct rng rng = { unit_seed() };
	unsigned int got = 0, rounds = 1500;
	pthread_t t;

	assert_int_equal(pthread_barrier_init(&r.begin, NULL, 2), 0);
	assert_int_equal(pthread_create(&t, NULL, interrupter, &r), 0);
	for (uint64_t i = 1; i <= rounds; i++) {
		bool release = rng_chance(&rng, 2);
		int error;

		assert_int_equal(host_lock(F_WRLCK, 0, 0), 0);
		atomic_store(&r.unique, 2 * i);
		atomic_store(&r.pause_us,
			     (unsigned int)rng_below(&rng, rng_chance(&rng, 2) ? 5000 : 300));
		(void)pthread_barrier_wait(&r.begin);
		send_lock(FUSE_SETLKW, 2 * i, i, F_WRLCK);
		if (release) {
			(void)usleep((unsigned int)rng_below(&rng, 2000));
			assert_int_equal(host_lock(F_UNLCK, 0, 0), 0);
		}
		error = answer_to(2 * i);
		(void)pthread_barrier_wait(&r.begin);
		assert_true(error == -EINTR || (release && error == 0));
		if (!release)
			assert_int_equal(host_lock(F_UNLCK, 0, 0), 0);
		assert_int_equal(host_lock(F_WRLCK, 0, 0), error ? 0 : -EAGAIN);
		if (error == 0)
			assert_int_equal(setlk(i, F_UNLCK, 0, INT64_MAX), 0);
		got += error == 0;
		assert_int_equal(host_lock(F_UNLCK, 0, 0), 0);
		assert_int_equal(lock_waits_count(T.relay.lock_waits), 0);
	}
	(void)printf("%u of %u got the lock\n", got, rounds);
	assert_in_range(got, 1, rounds - 1);
	atomic_store(&r.stop, true);
	(void)pthread_barrier_wait(&r.begin);
	assert_int_equal(pthread_join(t, NULL), 0);
	(void)pthread_barrier_destroy(&r.begin);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ranges_model),
		cmocka_unit_test_setup_teardown(owners_exclude_each_other, start, end),
		cmocka_unit_test_setup_teardown(a_close_ends_them, start, end),
		cmocka_unit_test_setup_teardown(nonsense_is_refused, start, end),
		cmocka_unit_test_setup_teardown(ranges_are_bounded, start, end),
		cmocka_unit_test_setup_teardown(owners_are_bounded, start, end),
		cmocka_unit_test_setup_teardown(waits_and_gets_it, start_relay, end_relay),
		cmocka_unit_test_setup_teardown(interrupted_before_and_while_it_waits, start_relay,
						end_relay),
		cmocka_unit_test_setup_teardown(the_end_is_told, start_relay, end_relay),
		cmocka_unit_test_setup_teardown(interrupts_race, start_relay, end_relay),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
