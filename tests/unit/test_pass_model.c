// SPDX-License-Identifier: MIT
// Passthrough under random opens, writes and mappings of several threads, while the host refuses.

#include "fake_pass.h"

#include <fcntl.h>
#include <sys/mman.h>

#include "../../src/pass/pass_priv.h"
#include "base/cleanup.h"
#include "base/counter.h"
#include "base/time.h"

/*
 * Each file has a lock for its users: shared for programs and opens, exclusive for the host, which
 * changes the file. What the host changes while a program has it open or mapped is undefined, so it
 * does not. fake_pass.h compares each byte: what a program reads with what it must see, what the
 * window shows at the end of a mapping with the host's file, and this file the host's with all that
 * programs have written, whenever nobody uses it.
 */
#define THREADS	     6u
#define THREAD_OPENS 2u

/* Older than what pass_open() believes. */
#define NOTE_NS (25 * NSEC_PER_MS)

struct mapping {
	void *addr;
	size_t len;
	bool writable;
};

struct user_file {
	pthread_rwlock_t users;
	pthread_mutex_t lock; /* guards what follows */
	unsigned int passed, plain;
	int id; /* of the opens that are passed through */
	_Atomic unsigned int maps;
	_Atomic bool watched;
	_Atomic uint64_t noted_ns;
};

struct model {
	struct host h;
	struct user_file user[HOST_FILES];
	_Atomic bool stop;
	_Atomic uint64_t ops, passed, plain, busy, held, changed, mapped;
};

/* An open or a mapping that has outlived it. */
struct use {
	struct guest_open o;
	struct mapping map;
	bool open;
};

struct worker {
	struct model *m;
	struct rng rng;
	pthread_t thread;
	struct use use[THREAD_OPENS];
};

static struct user_file *user_of(struct model *m, const struct host_file *f)
{
	return &m->user[f->nodeid - 1];
}

/* All opens of a file are passed through, with one id, or none is. */
static void count_open(struct user_file *u, int id)
{
	scoped_lock(&u->lock);
	if (id)
		must(u->plain == 0 && (u->passed == 0 || u->id == id));
	else
		must(u->passed == 0);
	u->id = id;
	u->passed += id > 0;
	u->plain += id == 0;
}

static void count_close(struct user_file *u, int id)
{
	scoped_lock(&u->lock);
	u->passed -= id > 0;
	u->plain -= id == 0;
}

static void op_open(struct worker *w, struct host_file *f, struct use *s)
{
	static const int flags[] = { O_RDONLY, O_RDWR, O_RDWR, O_RDWR | O_APPEND };
	struct user_file *u = user_of(w->m, f);
	struct pass_attr_in attr;
	int r;

	(void)pthread_rwlock_rdlock(&u->users);
	if (rng_chance(&w->rng, 2)) {
		atomic_store(&u->noted_ns, time_now_ns());
		attr = host_attr(f);
		pass_note(w->m->h.pass, f->nodeid, &attr);
	}
	r = guest_open(&w->m->h, f, flags[rng_below(&w->rng, ARRAY_SIZE(flags))], &s->o);
	if (r >= 0) {
		count_open(u, r);
		s->open = true;
		atomic_fetch_add(r ? &w->m->passed : &w->m->plain, 1);
	} else {
		atomic_fetch_add(&w->m->busy, 1);
	}
	if (r > 0 && (s->o.flags & O_ACCMODE) != O_RDONLY && pass_watch(w->m->h.pass, f->nodeid))
		atomic_store(&u->watched, true);
	(void)pthread_rwlock_unlock(&u->users);
}

/* It can go on as a mapping. */
static void op_close(struct worker *w, struct use *s)
{
	struct host_file *f = s->o.f;
	struct user_file *u = user_of(w->m, f);

	(void)pthread_rwlock_rdlock(&u->users);
	count_close(u, s->o.id);
	guest_close(&w->m->h, &s->o);
	s->open = false;
	(void)pthread_rwlock_unlock(&u->users);
}

static void op_map(struct worker *w, struct use *s)
{
	struct host_file *f = s->o.f;
	struct user_file *u = user_of(w->m, f);
	bool writable = (s->o.flags & O_ACCMODE) == O_RDWR;

	if (!s->o.id || s->map.addr)
		return;
	(void)pthread_rwlock_rdlock(&u->users);
	(void)pthread_mutex_lock(&f->lock);
	s->map = (struct mapping){ .len = (size_t)f->guest_size, .writable = writable };
	s->map.addr = mmap(NULL, s->map.len, PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED,
			   s->o.fd, 0);
	must(s->map.addr != MAP_FAILED);
	(void)pthread_mutex_unlock(&f->lock);
	atomic_fetch_add(&u->maps, 1);
	atomic_fetch_add(&w->m->mapped, 1);
	(void)pthread_rwlock_unlock(&u->users);
}

static void op_unmap(struct worker *w, struct use *s)
{
	struct user_file *u = user_of(w->m, s->o.f);

	if (!s->map.addr)
		return;
	(void)pthread_rwlock_rdlock(&u->users);
	must(munmap(s->map.addr, s->map.len) == 0);
	s->map.addr = NULL;
	atomic_fetch_sub(&u->maps, 1);
	(void)pthread_rwlock_unlock(&u->users);
}

/* A write into the file, now and then behind its end, where there is no room. */
static void write_passed(struct worker *w, struct use *s)
{
	struct host_file *f = s->o.f;
	uint64_t blocks = align_up(f->guest_size, PAGE_4K);
	uint64_t off = rng_below(&w->rng, f->guest_size);
	size_t len = 1 + (size_t)rng_below(&w->rng, 9000);

	if (rng_chance(&w->rng, 2)) /* near the end */
		off = f->guest_size - rng_below(&w->rng, MIN(f->guest_size, PAGE_4K));
	len = MIN(len, (size_t)(blocks - off));
	if (len && !(s->o.flags & O_APPEND))
		must(guest_write_locked(f, s->o.fd, off, len, rng_next(&w->rng)) == (ssize_t)len);
	if (rng_chance(&w->rng, 8) && !(s->o.flags & O_APPEND))
		must(guest_write_locked(f, s->o.fd, blocks + rng_below(&w->rng, 9000), 1, 0) < 0);
}

static void use_mapping(struct worker *w, struct use *s)
{
	struct host_file *f = s->o.f;
	uint64_t at = rng_below(&w->rng, s->map.len);
	uint8_t byte = (uint8_t)rng_next(&w->rng);

	must(!memcmp(s->map.addr, f->guest, s->map.len));
	if (!s->map.writable)
		return;
	if (rng_chance(&w->rng, 2)) /* in the last page */
		at = s->map.len - 1 - rng_below(&w->rng, MIN(s->map.len, (size_t)100));
	((uint8_t *)s->map.addr)[at] = byte;
	guest_wrote_locked(f, &byte, at, 1);
}

static void op_use(struct worker *w, struct use *s)
{
	struct host_file *f = s->o.f;
	struct user_file *u = user_of(w->m, f);

	(void)pthread_rwlock_rdlock(&u->users);
	(void)pthread_mutex_lock(&f->lock);
	if (s->map.addr)
		use_mapping(w, s);
	if (s->open && s->o.id) {
		if ((s->o.flags & O_ACCMODE) == O_RDONLY)
			guest_check_locked(f, s->o.fd);
		else
			write_passed(w, s);
		if ((s->o.flags & O_ACCMODE) == O_RDWR)
			guest_check_locked(f, s->o.fd);
	}
	(void)pthread_mutex_unlock(&f->lock);
	if (rng_chance(&w->rng, 3))
		(void)host_settled(&w->m->h, f);
	(void)pthread_rwlock_unlock(&u->users);
}

/*
 * Nobody uses it: all that was written is on the host. False: the host has refused that, and the
 * last page is still to be written.
 */
static bool expect_settled(struct model *m, struct host_file *f)
{
	int r = host_settled(&m->h, f);

	scoped_lock(&f->lock);
	if (r < 0 || f->doubt)
		return r >= 0;
	must(f->host_size == f->guest_size && !memcmp(f->host, f->guest, f->guest_size));
	return true;
}

static void change_locked(struct worker *w, struct host_file *f)
{
	uint64_t size =
		4000 + rng_below(&w->rng, rng_chance(&w->rng, 3) ? HOST_SIZE_MAX - 12000 : 20000);

	host_fill_locked(&w->m->h, f, rng_chance(&w->rng, 4) ? align_down(size, PAGE_4K) : size);
	f->set_id = rng_chance(&w->rng, 20);
	f->privileged = rng_chance(&w->rng, 20);
	atomic_fetch_add(&w->m->changed, 1);
}

static void change(struct worker *w, struct host_file *f)
{
	if (!expect_settled(w->m, f))
		return;
	(void)pthread_mutex_lock(&f->lock);
	change_locked(w, f);
	(void)pthread_mutex_unlock(&f->lock);
}

/* The host changes a file that nobody uses. */
static void op_change(struct worker *w, struct host_file *f)
{
	struct user_file *u = user_of(w->m, f);

	(void)pthread_rwlock_wrlock(&u->users);
	if (!u->passed && !u->plain && !atomic_load(&u->maps) &&
	    time_now_ns() - atomic_load(&u->noted_ns) > NOTE_NS)
		change(w, f);
	(void)pthread_rwlock_unlock(&u->users);
}

/* A request of the guest changes it. */
static void op_hold(struct worker *w, struct host_file *f)
{
	struct user_file *u = user_of(w->m, f);
	struct pass_hold hold;

	if (pass_hold(w->m->h.pass, f->nodeid, &hold) < 0)
		return;
	(void)pthread_rwlock_wrlock(&u->users);
	must(!u->passed && !atomic_load(&u->maps) && !pass_keeps(w->m->h.pass, f->nodeid));
	must(!host_live(&w->m->h, f->nodeid));
	if (!u->plain)
		change(w, f);
	atomic_fetch_add(&w->m->held, 1);
	(void)pthread_rwlock_unlock(&u->users);
	pass_unhold(w->m->h.pass, &hold);
}

/* As the upkeep thread does it. */
static void op_upkeep(struct worker *w, struct host_file *f)
{
	struct user_file *u = user_of(w->m, f);
	bool last;

	if (!atomic_exchange(&u->watched, false))
		return;
	last = pass_unwatch(w->m->h.pass, f->nodeid);
	(void)host_settled(&w->m->h, f);
	if (!last)
		atomic_store(&u->watched, true);
}

/* Until it is gone: who reads the links in /proc/PID/fd of this process holds it for a moment. */
static void forget(struct model *m, struct host_file *f)
{
	do {
		pass_forget(m->h.pass, f->nodeid);
	} while (pass_keeps(m->h.pass, f->nodeid) && usleep(1000) == 0);
}

/* The kernel forgets a file that nobody uses. */
static void op_forget(struct worker *w, struct host_file *f)
{
	struct user_file *u = user_of(w->m, f);

	(void)pthread_rwlock_wrlock(&u->users);
	if (!u->passed && !u->plain && !atomic_load(&u->maps)) {
		forget(w->m, f);
		(void)expect_settled(w->m, f);
	}
	(void)pthread_rwlock_unlock(&u->users);
}

static void use_one(struct worker *w, struct host_file *f)
{
	struct use *s = &w->use[rng_below(&w->rng, THREAD_OPENS)];
	uint64_t op = rng_below(&w->rng, 100);

	if (!s->open && !s->map.addr)
		op_open(w, f, s);
	else if (op < 60)
		op_use(w, s);
	else if (op < 70 && s->open)
		op_map(w, s);
	else if (op < 85 && s->open)
		op_close(w, s);
	else
		op_unmap(w, s);
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;

	while (!atomic_load(&w->m->stop)) {
		struct host_file *f = &w->m->h.file[rng_below(&w->rng, HOST_FILES)];
		uint64_t op = rng_below(&w->rng, 1000);

		if (op < 900)
			use_one(w, f);
		else if (op < 940)
			op_change(w, f);
		else if (op < 945)
			op_hold(w, f);
		else if (op < 980)
			op_upkeep(w, f);
		else
			op_forget(w, f);
		atomic_fetch_add(&w->m->ops, 1);
	}
	for (unsigned int i = 0; i < THREAD_OPENS; i++) {
		if (w->use[i].open)
			op_close(w, &w->use[i]);
		op_unmap(w, &w->use[i]);
	}
	return NULL;
}

static void users_init(struct model *m)
{
	pthread_rwlockattr_t attr;

	(void)pthread_rwlockattr_init(&attr);
	(void)pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	for (unsigned int i = 0; i < HOST_FILES; i++) {
		(void)pthread_rwlock_init(&m->user[i].users, &attr);
		(void)pthread_mutex_init(&m->user[i].lock, NULL);
	}
	(void)pthread_rwlockattr_destroy(&attr);
}

/* Nobody uses anything any more. */
static void expect_unused(struct model *m, bool clings)
{
	for (unsigned int i = 0; i < HOST_FILES; i++) {
		forget(m, &m->h.file[i]);
		(void)expect_settled(m, &m->h.file[i]);
	}
	assert_int_equal(m->h.pass->files, 0);
	assert_int_equal(host_live(&m->h, 0), 0);
	assert_int_equal(host_slots(&m->h), m->h.l.shape.slots);
	if (clings)
		assert_true(host_free(&m->h) <= m->h.window);
	else
		assert_int_equal(host_free(&m->h), m->h.window);
}

struct mood {
	struct host_setup setup;
	unsigned int fail_one_in[CALLS];
	unsigned int limit, slow_us;
};

static void model_run(const struct mood *mood)
{
	uint64_t seed = unit_seed(), composed = counter_get(COUNTER_pass_composed);
	unsigned int fds = unit_count_fds();
	struct model *m = calloc(1, sizeof(*m));
	struct worker w[THREADS];

	must(m);
	if (!host_open(&m->h, &mood->setup)) {
		free(m);
		skip();
	}
	/* It ends in time, or something waits for ever. */
	(void)alarm((unsigned int)unit_seconds(5) + 60);
	users_init(m);
	m->h.rng.state = seed;
	m->h.limit = mood->limit;
	m->h.slow_us = mood->slow_us;
	memcpy(m->h.fail_one_in, mood->fail_one_in, sizeof(m->h.fail_one_in));
	for (unsigned int i = 0; i < THREADS; i++) {
		w[i] = (struct worker){ .m = m, .rng = { seed + i + 1 } };
		must(pthread_create(&w[i].thread, NULL, worker_main, &w[i]) == 0);
	}
	(void)usleep((useconds_t)(unit_seconds(5) * 1000000 / 3));
	atomic_store(&m->stop, true);
	for (unsigned int i = 0; i < THREADS; i++)
		must(pthread_join(w[i].thread, NULL) == 0);
	composed = counter_get(COUNTER_pass_composed) - composed;
	(void)printf("%llu operations, %llu opens passed through, %llu not, %llu refused; %llu "
		     "composed, "
		     "%llu mapped, %llu changed, %llu held\n",
		     (unsigned long long)m->ops, (unsigned long long)m->passed,
		     (unsigned long long)m->plain, (unsigned long long)m->busy,
		     (unsigned long long)composed, (unsigned long long)m->mapped,
		     (unsigned long long)m->changed, (unsigned long long)m->held);
	assert_true(m->passed > 0 && composed > 0);
	memset(m->h.fail_one_in, 0, sizeof(m->h.fail_one_in));
	expect_unused(m, mood->fail_one_in[CALL_REMOVE]);
	host_close(&m->h);
	free(m);
	assert_int_equal(unit_count_fds(), fds);
	(void)alarm(0);
}

static void friendly_host(void **state)
{
	model_run(&(struct mood){ .setup = { .window = 8 * MIB, .front = 2 * MIB, .slots = 64 } });
}

static void little_room(void **state)
{
	model_run(&(struct mood){ .setup = { .window = 640 * KIB, .front = 2 * MIB, .slots = 5 },
				  .limit = 7,
				  .slow_us = 1000 });
}

/* It refuses at random; sometimes it does not remove a mapping either. */
static void moody_host(void **state)
{
	model_run(&(struct mood){ .setup = { .window = 16 * MIB, .slots = 8 },
				  .slow_us = 200,
				  .fail_one_in = { [CALL_ATTR] = 30,
						   [CALL_READ] = 20,
						   [CALL_WRITE] = 20,
						   [CALL_SETUP] = 20,
						   [CALL_REMOVE] = 200,
						   [CALL_BACKING] = 20 } });
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(friendly_host, image_teardown),
		cmocka_unit_test_teardown(little_room, image_teardown),
		cmocka_unit_test_teardown(moody_host, image_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
