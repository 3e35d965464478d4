// SPDX-License-Identifier: MIT
// File-system tests: several processes use one file.

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fstest.h"

#define BLOCK  4096L
#define BLOCKS 1024L

/* Every second block, in another order than they stand. */
static void write_blocks(void *arg)
{
	long parity = *(long *)arg;
	int fd = OK(open("f", O_RDWR));

	for (long i = 0; i < BLOCKS / 2; i++) {
		long block = 2 * (i * 77 % (BLOCKS / 2)) + parity;

		write_pattern(fd, block * BLOCK, BLOCK, (uint64_t)parity);
		check_pattern(fd, block * BLOCK, BLOCK, (uint64_t)parity);
	}
}

static void check_blocks(int fd)
{
	for (long block = 0; block < BLOCKS; block++)
		check_pattern(fd, block * BLOCK, BLOCK, (uint64_t)block % 2);
}

static void two_writers(void)
{
	long parity[2] = { 0, 1 };
	int fd = create_file("f", BLOCKS * BLOCK, 9);
	pid_t pid[2];

	for (int i = 0; i < 2; i++)
		pid[i] = start(write_blocks, &parity[i]);
	for (int i = 0; i < 2; i++)
		finish(pid[i]);
	check_blocks(fd);
	/* The same in a file that grows meanwhile. */
	OK(unlink("f"));
	fd = create_file("f", 0, 0);
	for (int i = 0; i < 2; i++)
		pid[i] = start(write_blocks, &parity[i]);
	for (int i = 0; i < 2; i++)
		finish(pid[i]);
	EQ(size_of(fd), BLOCKS * BLOCK);
	check_blocks(fd);
}

static void write_mapped(void *arg)
{
	long parity = *(long *)arg;
	int fd = OK(open("f", O_RDWR));
	char *p = mmap(NULL, BLOCKS * BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	CHECK(p != MAP_FAILED);
	for (long block = parity; block < BLOCKS; block += 2)
		pattern_fill(p + block * BLOCK, BLOCK, (uint64_t)parity, (uint64_t)(block * BLOCK));
}

static void two_mappers(void)
{
	long parity[2] = { 0, 1 };
	int fd = create_file("f", BLOCKS * BLOCK, 9);
	pid_t pid = start(write_mapped, &parity[0]);

	write_blocks(&parity[1]);
	finish(pid);
	check_blocks(fd);
}

#define RECORD	64
#define RECORDS 300

static void append_records(void *arg)
{
	int who = *(int *)arg, fd = OK(open("f", O_WRONLY | O_APPEND));
	char record[RECORD];

	for (int i = 0; i < RECORDS; i++) {
		memset(record, 'a' + who, sizeof(record));
		(void)snprintf(record, sizeof(record), "%d %d", who, i);
		EQ(write(fd, record, sizeof(record)), sizeof(record));
	}
}

static void appenders(void)
{
	int who[4] = { 0, 1, 2, 3 }, next[4] = { 0 };
	int fd = create_file("f", 0, 0);
	char record[RECORD];
	pid_t pid[4];

	for (int i = 0; i < 4; i++)
		pid[i] = start(append_records, &who[i]);
	for (int i = 0; i < 4; i++)
		finish(pid[i]);
	EQ(size_of(fd), 4 * RECORDS * RECORD);
	for (int i = 0; i < 4 * RECORDS; i++) {
		int w, n;

		read_all(fd, record, sizeof(record), (off_t)i * RECORD);
		if (sscanf(record, "%d %d", &w, &n) != 2 || w < 0 || w > 3)
			fail(__FILE__, __LINE__, "record %d is not one", i);
		EQ(n, next[w]);
		EQ(record[RECORD - 1], 'a' + w);
		next[w]++;
	}
}

/* What one has written the other reads, as soon as a pipe has told so. */
static void reader(void *arg)
{
	const int *told = arg, *ack = told + 2;
	int fd = OK(open("f", O_RDONLY));
	uint64_t seed;

	OK(close(told[1]));
	while (read(told[0], &seed, sizeof(seed)) == sizeof(seed)) {
		check_pattern(fd, (off_t)seed % 7 * 1000, 3000, seed);
		EQ(write(ack[1], &seed, sizeof(seed)), sizeof(seed));
	}
}

static void writer_and_reader(void)
{
	int fd = create_file("f", 0, 0), pipes[4];
	uint64_t seed, back;
	pid_t pid;

	OK(pipe2(pipes, O_CLOEXEC));
	OK(pipe2(pipes + 2, O_CLOEXEC));
	pid = start(reader, pipes);
	OK(close(pipes[3])); /* so that the end of the reader shows */
	for (seed = 0; seed < 200; seed++) {
		write_pattern(fd, (off_t)seed % 7 * 1000, 3000, seed);
		EQ(write(pipes[1], &seed, sizeof(seed)), sizeof(seed));
		if (read(pipes[2], &back, sizeof(back)) != sizeof(back))
			break;
	}
	OK(close(pipes[1]));
	finish(pid);
	EQ(seed, 200);
}

static void try_locks(void *arg)
{
	struct flock lock = { .l_type = F_WRLCK, .l_start = 0, .l_len = 10 };
	int fd = OK(open("f", O_RDWR));

	(void)arg;
	FAILS(fcntl(fd, F_SETLK, &lock), EAGAIN);
	lock.l_start = 10;
	OK(fcntl(fd, F_SETLK, &lock));
	FAILS(flock(fd, LOCK_EX | LOCK_NB), EAGAIN);
}

static void locks(void)
{
	struct flock lock = { .l_type = F_WRLCK, .l_start = 0, .l_len = 10 };
	int fd = create_file("f", 100, 1);

	OK(fcntl(fd, F_SETLK, &lock));
	OK(flock(fd, LOCK_EX));
	finish(start(try_locks, NULL));
	lock.l_type = F_UNLCK;
	OK(fcntl(fd, F_SETLK, &lock));
	OK(flock(fd, LOCK_UN));
}

const struct test share_tests[] = {
	{ "two_writers", two_writers },
	{ "two_mappers", two_mappers },
	{ "appenders", appenders },
	{ "writer_and_reader", writer_and_reader },
	{ "locks", locks },
	{ 0 },
};
