// SPDX-License-Identifier: MIT
// The window's copy routines against each other, in ordinary memory or in a file that is mapped
// shared.

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/guard.h"
#include "base/num.h"
#include "base/time.h"
#include "dax/copy.h"

#define SPAN   (64 * MIB) /* of the window; larger than most caches */
#define BATCH  (1 * MIB)
#define RUN_NS (200 * NSEC_PER_MS)

#if defined(__x86_64__)
#include <immintrin.h>

/* What the product does not have: stores that pass the caches. */
__attribute__((target("avx2"))) static void copy_stream(void *dst, const void *src, size_t n)
{
	const char *s = src;
	char *d = dst;

	if ((uintptr_t)d % 32 || n % 128) {
		memcpy(dst, src, n);
		return;
	}
	for (; n; n -= 128, d += 128, s += 128)
		for (unsigned int i = 0; i < 128; i += 32)
			_mm256_stream_si256((void *)(d + i),
					    _mm256_loadu_si256((const void *)(s + i)));
	_mm_sfence();
}

static const struct copy_routine stream = { "stream", copy_stream };
#endif

/*
 * MiB/s of copies of @len bytes, from all over the window (@cold) or always the same place: of the
 * quickest batch, which is the one that nothing else has disturbed.
 */
static double rate(const struct copy_routine *r, enum copy_dir dir, char *window, char *buf,
		   size_t len, bool cold)
{
	uint64_t end = time_now_ns() + RUN_NS, best = UINT64_MAX;
	size_t at = 0;

	do {
		uint64_t begin = time_now_ns();

		for (size_t done = 0; done < BATCH; done += len) {
			char *w = window + at;
			int e = dir == COPY_TO_WINDOW ? copy_by(r, w, buf, len)
						      : copy_by(r, buf, w, len);

			if (e < 0)
				abort();
			at = cold ? (at + len) % SPAN : 0;
		}
		best = MIN(best, time_now_ns() - begin);
	} while (time_now_ns() < end);
	return (double)BATCH / (double)MIB / ((double)best / (double)NSEC_PER_SEC);
}

/* @r: the routine for each direction. */
static void bench(const struct copy_routine *const r[COPY_DIRS], char *window, char *buf)
{
	static const size_t lens[] = { 4 * KIB, 16 * KIB, 128 * KIB, MIB };

	for (enum copy_dir dir = 0; dir < COPY_DIRS; dir++)
		for (unsigned int cold = 0; cold < 2; cold++) {
			(void)printf("%-10s %-4s %-4s", r[dir]->name, dir ? "to" : "from",
				     cold ? "cold" : "warm");
			for (unsigned int i = 0; i < ARRAY_SIZE(lens); i++)
				(void)printf(" %9.0f",
					     rate(r[dir], dir, window, buf, lens[i], cold));
			(void)printf("\n");
			(void)fflush(stdout);
		}
}

int main(int argc, char **argv)
{
	int fd = argc > 1 ? open(argv[1], O_RDWR | O_CLOEXEC) : -1;
	char *window, *buf = aligned_alloc(PAGE_4K, MIB);
	unsigned int n;
	const struct copy_routine *from = copy_routines(COPY_FROM_WINDOW, &n);
	const struct copy_routine *to = copy_routines(COPY_TO_WINDOW, &n);

	if (argc > 1 && fd < 0) {
		perror(argv[1]);
		return 1;
	}
	window = mmap(NULL, SPAN, PROT_READ | PROT_WRITE,
		      (fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED) | MAP_POPULATE, fd, 0);
	if (window == MAP_FAILED || !buf || guard_init() < 0) {
		perror("mmap");
		return 1;
	}
	if (fd < 0)
		memset(window, 1, SPAN);
	memset(buf, 2, MIB);
	(void)printf("MiB/s                 %9s %9s %9s %9s\n", "4 KiB", "16 KiB", "128 KiB",
		     "1 MiB");
	for (unsigned int i = 0; i < n; i++)
		bench((const struct copy_routine *const[]){ &from[i], &to[i] }, window, buf);
#if defined(__x86_64__)
	if (__builtin_cpu_supports("avx2"))
		bench((const struct copy_routine *const[]){ &stream, &stream }, window, buf);
#endif
	return 0;
}
