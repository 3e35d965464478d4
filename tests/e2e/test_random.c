// SPDX-License-Identifier: MIT
// File-system tests: random operations compared with a model in memory, and a race.

#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fstest.h"

#define MAX_SIZE (3 * MIB)
#define FDS	 3

struct model {
	int fd[FDS];
	char *data; /* MAX_SIZE bytes, zero behind the end */
	char *buf;
	off_t size;
	uint64_t rnd;
	long step;
};

static uint64_t pick(struct model *m, uint64_t below)
{
	return random_next(&m->rnd) % below;
}

/* Offsets and lengths that are often near pages, the end, and each other. */
static off_t pick_offset(struct model *m)
{
	off_t o = (off_t)pick(m, MAX_SIZE);

	switch (pick(m, 4)) {
	case 0:
		return o / PAGE * PAGE;
	case 1:
		return m->size > 5000 ? m->size - (off_t)pick(m, 5000) : m->size;
	case 2:
		return (off_t)pick(m, 300 * KIB);
	default:
		return o;
	}
}

static size_t pick_length(struct model *m, off_t off)
{
	static const size_t limits[] = { 10, 5000, 70000, 1 * MIB };
	size_t len = 1 + pick(m, limits[pick(m, ARRAY_SIZE(limits))]);

	if (pick(m, 3) == 0)
		len = (len + PAGE - 1) / PAGE * PAGE;
	return off + (off_t)len > MAX_SIZE ? (size_t)(MAX_SIZE - off) : len;
}

static int pick_fd(struct model *m)
{
	return m->fd[pick(m, FDS)];
}

static void compare(struct model *m, const char *what, const char *got, off_t off, size_t len)
{
	if (memcmp(got, m->data + off, len) == 0)
		return;
	for (size_t i = 0; i < len; i++)
		if (got[i] != m->data[off + (off_t)i])
			fail(__FILE__, __LINE__,
			     "step %ld, %s %zu at %lld, size %lld: byte %lld is 0x%02x, not 0x%02x",
			     m->step, what, len, (long long)off, (long long)m->size,
			     (long long)off + (long long)i, (unsigned char)got[i],
			     (unsigned char)m->data[off + (off_t)i]);
}

static void op_read(struct model *m)
{
	off_t off = pick_offset(m), left = m->size > off ? m->size - off : 0;
	size_t len = pick_length(m, off), want = (off_t)len > left ? (size_t)left : len, got = 0;
	int fd = pick_fd(m);

	while (got < want) {
		ssize_t n = OK(pread(fd, m->buf + got, len - got, off + (off_t)got));

		if (n == 0)
			fail(__FILE__, __LINE__,
			     "step %ld, read %zu at %lld, size %lld: ends at %zu", m->step, len,
			     (long long)off, (long long)m->size, got);
		got += (size_t)n;
	}
	EQ(got, want);
	compare(m, "read", m->buf, off, got);
}

static void model_grow(struct model *m, off_t end)
{
	if (end > m->size)
		m->size = end;
}

static void op_write(struct model *m)
{
	off_t off = pick_offset(m);
	size_t len = pick_length(m, off);

	if (!len)
		return;
	pattern_fill(m->data + off, len, (uint64_t)m->step, (uint64_t)off);
	write_all(pick_fd(m), m->data + off, len, off);
	model_grow(m, off + (off_t)len);
}

static void op_truncate(struct model *m)
{
	off_t size = pick_offset(m);

	OK(ftruncate(pick_fd(m), size));
	if (size < m->size)
		memset(m->data + size, 0, (size_t)(m->size - size));
	m->size = size;
}

static void op_punch(struct model *m)
{
	off_t off = pick_offset(m), len = (off_t)pick_length(m, off);

	if (!len)
		return;
	OK(fallocate(pick_fd(m), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len));
	memset(m->data + off, 0, (size_t)len);
}

static void op_map(struct model *m)
{
	off_t off, len;
	char *p;

	if (m->size == 0)
		return;
	off = pick_offset(m) % m->size;
	len = m->size - off > 100000 ? 100000 : m->size - off;
	p = mmap(NULL, (size_t)m->size, PROT_READ | PROT_WRITE, MAP_SHARED, pick_fd(m), 0);
	CHECK(p != MAP_FAILED);
	compare(m, "map", p + off, off, (size_t)len);
	if (pick(m, 2)) {
		pattern_fill(m->data + off, (size_t)len, (uint64_t)m->step, (uint64_t)off);
		memcpy(p + off, m->data + off, (size_t)len);
	}
	OK(munmap(p, (size_t)m->size));
}

static void op_reopen(struct model *m)
{
	int *fd = &m->fd[pick(m, FDS)];

	OK(close(*fd));
	*fd = OK(open("f", O_RDWR));
	EQ(size_of(*fd), m->size);
}

static void op_empty(struct model *m)
{
	if (pick(m, 4))
		return;
	OK(close(OK(open("f", O_WRONLY | O_TRUNC))));
	memset(m->data, 0, (size_t)m->size);
	m->size = 0;
}

static void model_run(bool with_map)
{
	static void (*const ops[])(struct model *) = {
		op_read,  op_read,  op_read,	 op_read,  op_read,   op_read,	op_write, op_write,
		op_write, op_write, op_truncate, op_punch, op_reopen, op_empty, op_map,
	};
	struct model m = { .rnd = random_seed + with_map };

	m.data = calloc(1, MAX_SIZE + PAGE);
	m.buf = malloc(MAX_SIZE + PAGE);
	CHECK(m.data && m.buf);
	for (int i = 0; i < FDS; i++)
		m.fd[i] = OK(open("f", O_RDWR | O_CREAT, 0644));
	for (m.step = 1; m.step <= random_ops; m.step++) {
		ops[pick(&m, ARRAY_SIZE(ops) - !with_map)](&m);
		if (m.step % 256 == 0)
			EQ(size_of(m.fd[0]), m.size);
	}
	read_all(m.fd[0], m.buf, (size_t)m.size, 0);
	compare(&m, "the end", m.buf, 0, (size_t)m.size);
}

static void random_model(void)
{
	model_run(false);
}

static void random_model_mmap(void)
{
	model_run(true);
}

/* Threads that share a file but no byte; the borders lie inside pages. */
#define THREADS 4
#define PART	(700 * KIB + 77)

static void *thread_main(void *arg)
{
	struct model m = { .rnd = random_seed * 100 + (uintptr_t)arg };
	off_t base = (off_t)(uintptr_t)arg * PART;
	char *buf = malloc(PART), *data = calloc(1, PART);
	int fd = OK(open("f", O_RDWR));

	CHECK(buf && data);
	for (long step = 0; step < random_ops / THREADS; step++) {
		off_t off = (off_t)pick(&m, PART);
		size_t len = 1 + pick(&m, pick(&m, 8) ? 9000 : PART);

		if ((off_t)len > PART - off)
			len = (size_t)(PART - off);
		if (pick(&m, 2)) {
			pattern_fill(data + off, len, (uint64_t)step, (uint64_t)(base + off));
			write_all(fd, data + off, len, base + off);
			continue;
		}
		read_all(fd, buf, len, base + off);
		if (memcmp(buf, data + off, len))
			fail(__FILE__, __LINE__, "thread %d, step %ld: %zu bytes at %lld are wrong",
			     (int)(uintptr_t)arg, step, len, (long long)(base + off));
	}
	read_all(fd, buf, PART, base);
	EQ(memcmp(buf, data, PART), 0);
	free(buf);
	free(data);
	OK(close(fd));
	return NULL;
}

static void random_threads(void)
{
	pthread_t thread[THREADS];
	int fd = create_file("f", 0, 0);

	OK(ftruncate(fd, THREADS * PART));
	for (uintptr_t i = 0; i < THREADS; i++)
		EQ(pthread_create(&thread[i], NULL, thread_main, (void *)i), 0);
	for (int i = 0; i < THREADS; i++)
		EQ(pthread_join(thread[i], NULL), 0);
}

/*
 * What the kernel writes back of a file while it is emptied does not make it longer again. Whether
 * it does elsewhere is a matter of luck, so this is not among the tests of the fidelity table.
 */
static void write_back(void *arg)
{
	for (;;)
		OK(sync_file_range(*(int *)arg, 0, 0, SYNC_FILE_RANGE_WRITE));
}

static void mmap_emptied_while_written_back(void)
{
	int fd = create_file("f", MIB, 1), other;
	char *p = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	pid_t pid = start(write_back, &fd);
	struct stat st;

	CHECK(p != MAP_FAILED);
	for (int n = 0; n < 40; n++) {
		OK(ftruncate(fd, MIB));
		for (long i = 0; i < MIB; i += PAGE)
			p[i] = 1;
		other = OK(open("f", O_RDWR | O_TRUNC));
		OK(fchmod(other, n % 2 ? 0600 : 0644)); /* attributes are asked for again */
		OK(fstat(other, &st));
		EQ(st.st_size, 0);
		OK(close(other));
	}
	OK(kill(pid, SIGKILL));
	EQ(waitpid(pid, NULL, 0), pid);
}

const struct test random_tests[] = {
	{ "random_model", random_model },
	{ "random_model_mmap", random_model_mmap },
	{ "random_threads", random_threads },
	{ "mmap_emptied_while_written_back", mmap_emptied_while_written_back },
	{ 0 },
};
