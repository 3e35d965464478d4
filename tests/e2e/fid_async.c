// SPDX-License-Identifier: MIT
// Fidelity: asynchronous reading and writing, by aio and by io_uring, without their libraries.

#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fidelity.h"

#define BLOCK  (64 * KIB)
#define BLOCKS 8

static void *buffers(void)
{
	void *p = mmap(NULL, BLOCKS * BLOCK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

/* All blocks of @fd at a time, from or to @buf. */
static void aio_all(int fd, char *buf, uint16_t opcode)
{
	struct iocb cb[BLOCKS], *list[BLOCKS];
	struct io_event event[BLOCKS];
	aio_context_t ctx = 0;
	int done = 0;

	OK(syscall(SYS_io_setup, BLOCKS, &ctx));
	for (int i = 0; i < BLOCKS; i++) {
		cb[i] = (struct iocb){
			.aio_lio_opcode = opcode,
			.aio_fildes = (uint32_t)fd,
			.aio_buf = (uint64_t)(uintptr_t)(buf + i * BLOCK),
			.aio_nbytes = BLOCK,
			.aio_offset = (int64_t)i * BLOCK,
		};
		list[i] = &cb[i];
	}
	EQ(syscall(SYS_io_submit, ctx, BLOCKS, list), BLOCKS);
	while (done < BLOCKS) {
		long n = OK(syscall(SYS_io_getevents, ctx, 1, BLOCKS, event, NULL));

		for (long i = 0; i < n; i++)
			EQ(event[i].res, BLOCK);
		done += (int)n;
	}
	OK(syscall(SYS_io_destroy, ctx));
}

static void aio(int flags)
{
	char *buf = buffers();
	int fd = create_file("f", BLOCKS * BLOCK, 1);

	OK(fsync(fd));
	OK(close(fd));
	fd = OK(open("f", O_RDWR | flags));
	aio_all(fd, buf, IOCB_CMD_PREAD);
	EQ(pattern_check(buf, BLOCKS * BLOCK, 1, 0), -1);
	pattern_fill(buf, BLOCKS * BLOCK, 2, 0);
	aio_all(fd, buf, IOCB_CMD_PWRITE);
	fd = OK(open("f", O_RDONLY));
	check_pattern(fd, 0, BLOCKS * BLOCK, 2);
}

static void aio_buffered(void)
{
	aio(0);
}

static void aio_direct(void)
{
	aio(O_DIRECT);
}

struct ring {
	int fd;
	char *sq, *cq;
	struct io_uring_sqe *sqe;
	struct io_uring_params p;
};

static void *ring_map(const struct ring *r, size_t size, off_t what)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, r->fd, what);

	CHECK(p != MAP_FAILED);
	return p;
}

static void ring_open(struct ring *r)
{
	*r = (struct ring){ 0 };
	r->fd = (int)syscall(SYS_io_uring_setup, BLOCKS, &r->p);
	if (r->fd < 0)
		skip("the kernel gives no io_uring: %m");
	r->sq = ring_map(r, r->p.sq_off.array + BLOCKS * sizeof(uint32_t), IORING_OFF_SQ_RING);
	r->cq = ring_map(r, r->p.cq_off.cqes + r->p.cq_entries * sizeof(struct io_uring_cqe),
			 IORING_OFF_CQ_RING);
	r->sqe = ring_map(r, BLOCKS * sizeof(*r->sqe), IORING_OFF_SQES);
}

static _Atomic uint32_t *ring_word(char *ring, uint32_t off)
{
	return (_Atomic uint32_t *)(void *)(ring + off);
}

static void ring_all(struct ring *r, int fd, char *buf, uint8_t opcode)
{
	uint32_t *array = (uint32_t *)(void *)(r->sq + r->p.sq_off.array);
	_Atomic uint32_t *tail = ring_word(r->sq, r->p.sq_off.tail);
	_Atomic uint32_t *head = ring_word(r->cq, r->p.cq_off.head);
	uint32_t mask = r->p.cq_entries - 1;
	const struct io_uring_cqe *cqe = (const void *)(r->cq + r->p.cq_off.cqes);

	for (uint32_t i = 0; i < BLOCKS; i++) {
		r->sqe[i] = (struct io_uring_sqe){
			.opcode = opcode,
			.fd = fd,
			.addr = (uint64_t)(uintptr_t)(buf + i * BLOCK),
			.len = BLOCK,
			.off = (uint64_t)i * BLOCK,
			.user_data = i,
		};
		array[(atomic_load(tail) + i) % BLOCKS] = i;
	}
	atomic_fetch_add(tail, BLOCKS);
	EQ(syscall(SYS_io_uring_enter, r->fd, BLOCKS, BLOCKS, IORING_ENTER_GETEVENTS, NULL, 0),
	   BLOCKS);
	for (uint32_t i = 0; i < BLOCKS; i++) {
		uint32_t at = atomic_load(head);

		CHECK(at != atomic_load(ring_word(r->cq, r->p.cq_off.tail)));
		EQ(cqe[at & mask].res, BLOCK);
		atomic_store(head, at + 1);
	}
}

static void uring(int flags)
{
	char *buf = buffers();
	int fd = create_file("f", BLOCKS * BLOCK, 1);
	struct ring r;

	ring_open(&r);
	OK(fsync(fd));
	OK(close(fd));
	fd = OK(open("f", O_RDWR | flags));
	ring_all(&r, fd, buf, IORING_OP_READ);
	EQ(pattern_check(buf, BLOCKS * BLOCK, 1, 0), -1);
	pattern_fill(buf, BLOCKS * BLOCK, 2, 0);
	ring_all(&r, fd, buf, IORING_OP_WRITE);
	fd = OK(open("f", O_RDONLY));
	check_pattern(fd, 0, BLOCKS * BLOCK, 2);
}

static void uring_buffered(void)
{
	uring(0);
}

static void uring_direct(void)
{
	uring(O_DIRECT);
}

const struct test fid_async_tests[] = {
	{ "aio_buffered", aio_buffered },
	{ "aio_direct", aio_direct },
	{ "uring_buffered", uring_buffered },
	{ "uring_direct", uring_direct },
	{ 0 },
};
