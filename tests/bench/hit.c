// SPDX-License-Identifier: MIT
// What a hit in the window costs beside the copy: dax_read() against memcpy() of the same bytes.

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/guard.h"
#include "base/time.h"
#include "dax/dax.h"

#define WINDOW (256 * MIB)
#define ROUNDS 2000000u
#define SPREAD 1021u /* pages that are touched in turn */

/* A host that maps nothing: the window is memory, and any part of it may stand for any file. */
static int fake_setup(void *ctx, uint64_t nodeid, struct foff from, uint64_t len, struct woff to,
		      bool writable)
{
	return 0;
}

static int fake_remove(void *ctx, const struct dax_range *ranges, unsigned int n)
{
	return 0;
}

static const struct dax_remote_ops fake = { .setup = fake_setup, .remove = fake_remove };

struct bench {
	struct dax_inode *di;
	char *window;
	size_t len;
	bool plain; /* memcpy() alone */
	double ns;
};

static void *bench_run(void *arg)
{
	struct bench *b = arg;
	char *buf = malloc(b->len);
	uint64_t begin;

	for (unsigned int pass = 0; buf && pass < 2; pass++) { /* the first warms up */
		begin = time_now_ns();
		for (unsigned int i = 0; i < ROUNDS; i++) {
			uint64_t off = (uint64_t)(i % SPREAD) * 4096;

			if (b->plain)
				memcpy(buf, b->window + off, b->len);
			else if (dax_read(b->di, FOFF(off), buf, b->len, WINDOW / 2) < 0)
				abort();
			__asm__ volatile("" ::"r"(buf) : "memory");
		}
		b->ns = (double)(time_now_ns() - begin) / ROUNDS;
	}
	free(buf);
	return NULL;
}

static double bench_threads(struct bench b, unsigned int n)
{
	struct bench each[8];
	pthread_t thread[8];
	double sum = 0;

	for (unsigned int i = 0; i < n; i++) {
		each[i] = b;
		if (pthread_create(&thread[i], NULL, bench_run, &each[i]))
			abort();
	}
	for (unsigned int i = 0; i < n; i++) {
		(void)pthread_join(thread[i], NULL);
		sum += each[i].ns;
	}
	return sum / n;
}

int main(void)
{
	static const size_t lens[] = { 64, 4096 };
	struct dax_params params = { .size = WINDOW, .alignment = PAGE_4K, .remote = &fake };
	struct dax_inode *di;
	struct dax *d;

	params.addr = mmap(NULL, WINDOW, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (params.addr == MAP_FAILED || guard_init() < 0 || dax_create(&params, &d) < 0)
		return 1;
	di = dax_inode_create(d, 1);
	if (!di)
		return 1;
	(void)printf("%8s %8s %12s %12s %14s\n", "bytes", "threads", "dax_read ns", "memcpy ns",
		     "beside copy ns");
	for (unsigned int l = 0; l < ARRAY_SIZE(lens); l++)
		for (unsigned int n = 1; n <= 2; n++) {
			struct bench b = { .di = di, .window = params.addr, .len = lens[l] };
			double dax = bench_threads(b, n), plain;

			b.plain = true;
			plain = bench_threads(b, n);
			(void)printf("%8zu %8u %12.1f %12.1f %14.1f\n", lens[l], n, dax, plain,
				     dax - plain);
		}
	dax_inode_destroy(di);
	dax_destroy(d);
	return 0;
}
