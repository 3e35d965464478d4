// SPDX-License-Identifier: MIT
// Fidelity: mappings, beyond what test_mmap.c looks at.

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "fidelity.h"

#define LEN (256 * KIB)

static char *map(int fd, size_t len, int prot, int flags)
{
	char *p = mmap(NULL, len, prot, flags, fd, 0);

	if (p == MAP_FAILED)
		fail(__FILE__, __LINE__, "mmap: %m");
	return p;
}

static void touch(void *arg)
{
	(void)*(volatile char *)arg;
}

static void touch_write(void *arg)
{
	*(volatile char *)arg = 1;
}

static void mmap_past_end(void)
{
	int fd = create_file("f", 5000, 1);
	char *p = map(fd, LEN, PROT_READ | PROT_WRITE, MAP_SHARED);
	char *q = map(fd, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE);

	EQ(p[8191], 0);
	EQ(signals(touch, p + 8192), SIGBUS);
	EQ(signals(touch_write, p + 8192), SIGBUS);
	EQ(signals(touch, q + 8192), SIGBUS);
	/* What is written behind the end inside of the last page does not come into the file. */
	p[6000] = 'x';
	OK(msync(p, LEN, MS_SYNC));
	EQ(size_of(fd), 5000);
	OK(ftruncate(fd, 8192));
	check_zero(fd, 5000, 3192);
}

static void mmap_modes(void)
{
	int fd, ro, wo;

	fd = create_file("f", LEN, 1);
	ro = OK(open("f", O_RDONLY));
	wo = OK(open("f", O_WRONLY));
	CHECK(mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, ro, 0) == MAP_FAILED);
	EQ(errno, EACCES);
	CHECK(mmap(NULL, LEN, PROT_READ, MAP_SHARED, wo, 0) == MAP_FAILED);
	EQ(errno, EACCES);
	CHECK(mmap(NULL, LEN, PROT_READ, MAP_SHARED, fd, 100) == MAP_FAILED);
	EQ(errno, EINVAL);
	FAILS(mprotect(map(ro, LEN, PROT_READ, MAP_SHARED), LEN, PROT_READ | PROT_WRITE), EACCES);
	OK(mprotect(map(ro, LEN, PROT_READ, MAP_PRIVATE), LEN, PROT_READ | PROT_WRITE));
	CHECK(mmap(NULL, LEN, PROT_READ, MAP_SHARED, OK(open(".", O_RDONLY)), 0) == MAP_FAILED);
	EQ(errno, ENODEV);
}

/* The mapping outlives the descriptor and the name. */
static void mmap_outlives(void)
{
	int fd = create_file("f", LEN, 1), other;
	char *p = map(fd, LEN, PROT_READ | PROT_WRITE, MAP_SHARED);

	other = OK(open("f", O_RDONLY));
	OK(close(fd));
	OK(unlink("f"));
	EQ(pattern_check(p, LEN, 1, 0), -1);
	pattern_fill(p, LEN, 2, 0);
	OK(msync(p, LEN, MS_SYNC));
	check_pattern(other, 0, LEN, 2);
}

static void mmap_advice(void)
{
	int fd = create_file("f", LEN, 1);
	char *p = map(fd, LEN, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE);

	pattern_fill(p, PAGE, 2, 0);
	OK(madvise(p, LEN, MADV_WILLNEED));
	OK(madvise(p, LEN, MADV_DONTNEED));
	EQ(pattern_check(p, PAGE, 2, 0), -1);
	EQ(pattern_check(p + PAGE, LEN - PAGE, 1, PAGE), -1);
	OK(mlock(p, LEN));
	OK(munlock(p, LEN));
	p = mremap(p, LEN, 2 * LEN, MREMAP_MAYMOVE);
	CHECK(p != MAP_FAILED);
	EQ(pattern_check(p, PAGE, 2, 0), -1);
}

static void mmap_remove_pages(void)
{
	int fd = create_file("f", LEN, 1);
	char *p = map(fd, LEN, PROT_READ | PROT_WRITE, MAP_SHARED);

	CAN(madvise(p + PAGE, PAGE, MADV_REMOVE));
	check_zero(fd, PAGE, PAGE);
	check_pattern(fd, 0, PAGE, 1);
	EQ(p[PAGE], 0);
}

struct shared {
	pthread_mutex_t lock;
	long count;
};

static void count(void *arg)
{
	struct shared *s =
		(void *)map(OK(open("f", O_RDWR)), PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);

	(void)arg;
	for (int i = 0; i < 10000; i++) {
		EQ(pthread_mutex_lock(&s->lock), 0);
		s->count++;
		EQ(pthread_mutex_unlock(&s->lock), 0);
	}
}

/* A lock in the file: the mappings of two processes are one memory. */
static void mmap_mutex(void)
{
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));
	pthread_mutexattr_t attr;
	struct shared *s;
	pid_t pid[2];

	OK(ftruncate(fd, PAGE));
	s = (void *)map(fd, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);
	(void)pthread_mutexattr_init(&attr);
	EQ(pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED), 0);
	EQ(pthread_mutex_init(&s->lock, &attr), 0);
	for (int i = 0; i < 2; i++)
		pid[i] = start(count, NULL);
	for (int i = 0; i < 2; i++)
		finish(pid[i]);
	EQ(s->count, 20000);
}

/* Reading by another open file sees what is in a mapping that nobody has synchronised. */
static void mmap_seen_unsynced(void)
{
	int fd = create_file("f", LEN, 1), other = OK(open("f", O_RDONLY));
	char *p = map(fd, LEN, PROT_READ | PROT_WRITE, MAP_SHARED);

	pattern_fill(p, LEN, 2, 0);
	check_pattern(other, 0, LEN, 2);
	OK(munmap(p, LEN));
	check_pattern(other, 0, LEN, 2);
}

/* A private mapping sees what others write to pages that it has not written to itself. */
static void mmap_private_sees(void)
{
	int fd = create_file("f", LEN, 1);
	char *p = map(fd, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE);

	EQ(pattern_check(p, LEN, 1, 0), -1);
	pattern_fill(p, PAGE, 3, 0);
	write_pattern(fd, 0, LEN, 2);
	EQ(pattern_check(p, PAGE, 3, 0), -1);
	EQ(pattern_check(p + PAGE, LEN - PAGE, 2, PAGE), -1);
}

/* MAP_SYNC is for persistent memory: elsewhere it must be refused, not ignored. */
static void mmap_sync_refused(void)
{
	int fd = create_file("f", LEN, 1);

	CHECK(mmap(NULL, LEN, PROT_READ, MAP_SHARED_VALIDATE | MAP_SYNC, fd, 0) == MAP_FAILED);
	EQ(errno, EOPNOTSUPP);
}

/* The mapping and O_DIRECT of one file show the same data. */
static void mmap_and_direct(void)
{
	char *buf = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = create_file("f", LEN, 1), direct;
	char *p = map(fd, LEN, PROT_READ | PROT_WRITE, MAP_SHARED);

	CHECK(buf != MAP_FAILED);
	direct = OK(open("f", O_RDWR | O_DIRECT));
	pattern_fill(p, 8 * PAGE, 2, 0);
	read_all(direct, buf, 8 * PAGE, 0);
	EQ(pattern_check(buf, 8 * PAGE, 2, 0), -1);
	pattern_fill(buf, LEN, 3, 0);
	write_all(direct, buf, LEN, 0);
	EQ(pattern_check(p, LEN, 3, 0), -1);
}

#define PAGES	  64
#define STORE_AT  3072 /* in each page, by one thread, through the mapping */
#define WRITE_AT  1024 /* and by the other, with pwrite() */
#define ROUNDS	  150  /* one of 20 fails where the two are not ordered */
#define SECONDS	  60   /* in which fewer rounds will do, on a slow machine */
#define WRITE_LEN (ssize_t)sizeof(uint32_t)

struct beside {
	int fd;
	char *p;
	uint32_t value;
	atomic_int at[2]; /* the pages that each has come to */
};

/* Both begin with a page at the same time. */
static void meet(struct beside *b, int who, int page)
{
	atomic_store(&b->at[who], page + 1);
	for (int spins = 0; atomic_load(&b->at[!who]) <= page; spins++)
		if (spins > 10000)
			(void)sched_yield(); /* there is one processor, or others work, too */
}

static void *stores_beside(void *arg)
{
	struct beside *b = arg;

	for (int i = 0; i < PAGES; i++) {
		meet(b, 0, i);
		*(volatile uint32_t *)(b->p + i * PAGE + STORE_AT) = b->value;
	}
	return NULL;
}

static void *writes_beside(void *arg)
{
	struct beside *b = arg;

	for (int i = 0; i < PAGES; i++) {
		meet(b, 1, i);
		EQ(pwrite(b->fd, &b->value, WRITE_LEN, i * PAGE + WRITE_AT), WRITE_LEN);
	}
	return NULL;
}

static uint32_t value_at(const char *data, size_t off)
{
	uint32_t value;

	memcpy(&value, data + off, sizeof(value));
	return value;
}

/* A page that one changes by a mapping and the other by pwrite() at the same time has both. */
static void mmap_beside_write(void)
{
	static const char zeros[PAGES * PAGE];
	static char found[PAGES * PAGE];
	time_t end = time(NULL) + SECONDS;
	int lost_stores = 0, lost_writes = 0;

	for (uint32_t round = 1;
	     round <= ROUNDS && !lost_stores && !lost_writes && time(NULL) < end; round++) {
		struct beside b = { .value = round };
		pthread_t thread[2];

		b.fd = OK(open("f", O_RDWR | O_CREAT, 0644));
		write_all(b.fd, zeros, sizeof(zeros), 0);
		b.p = map(b.fd, sizeof(zeros), PROT_READ | PROT_WRITE, MAP_SHARED);
		EQ(pthread_create(&thread[0], NULL, stores_beside, &b), 0);
		EQ(pthread_create(&thread[1], NULL, writes_beside, &b), 0);
		EQ(pthread_join(thread[0], NULL), 0);
		EQ(pthread_join(thread[1], NULL), 0);
		OK(msync(b.p, sizeof(zeros), MS_SYNC));
		OK(munmap(b.p, sizeof(zeros)));
		OK(fsync(b.fd));
		read_all(b.fd, found, sizeof(found), 0);
		for (size_t i = 0; i < PAGES; i++) {
			lost_stores += value_at(found, i * PAGE + STORE_AT) != round;
			lost_writes += value_at(found, i * PAGE + WRITE_AT) != round;
		}
		OK(close(b.fd));
	}
	/* Without numbers, which differ each time: the reason stands in a table. */
	if (lost_stores)
		fail(__FILE__, __LINE__, "stores through a mapping are lost beside a pwrite");
	if (lost_writes)
		fail(__FILE__, __LINE__, "a pwrite is lost beside stores through a mapping");
}

const struct test fid_map_tests[] = {
	{ "mmap_past_end", mmap_past_end },	      { "mmap_modes", mmap_modes },
	{ "mmap_outlives", mmap_outlives },	      { "mmap_advice", mmap_advice },
	{ "mmap_remove_pages", mmap_remove_pages },   { "mmap_mutex", mmap_mutex },
	{ "mmap_seen_unsynced", mmap_seen_unsynced }, { "mmap_private_sees", mmap_private_sees },
	{ "mmap_sync_refused", mmap_sync_refused },   { "mmap_and_direct", mmap_and_direct },
	{ "mmap_beside_write", mmap_beside_write },   { 0 },
};
