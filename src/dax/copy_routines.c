// SPDX-License-Identifier: MIT
// The routines that copy from and to the window, by the width of their accesses.

#include <string.h>

#include "base/guard.h"
#include "base/num.h"
#include "dax/copy.h"

static void copy_memcpy(void *dst, const void *src, size_t n)
{
	memcpy(dst, src, n);
}

#if defined(__x86_64__)
/* Vectors at whole addresses, and at any address. */
#define COPY_VECTOR(bytes)                                                                         \
	typedef long long vec##bytes __attribute__((vector_size(bytes), may_alias));               \
	typedef long long vec##bytes##u __attribute__((vector_size(bytes), may_alias, aligned(1)))

COPY_VECTOR(16);
COPY_VECTOR(32);
COPY_VECTOR(64);

/*
 * One routine for each width and direction. The window's side (@window: s or d) is accessed in
 * whole aligned vectors; its uneven beginning and end are covered by a vector each that overlaps
 * its neighbour: the same bytes are read or written twice, which is harmless, and quicker than
 * single bytes. Volatile, so that the accesses are those that are written here.
 */
#define COPY_ROUTINE(name, isa, bytes, load_type, store_type, window)                              \
	__attribute__((target(isa))) static void name(void *dst, const void *src, size_t n)        \
	{                                                                                          \
		const char *s = src;                                                               \
		char *d = dst;                                                                     \
		size_t head;                                                                       \
                                                                                                   \
		if (n < (size_t)2 * (bytes)) {                                                     \
			memcpy(dst, src, n);                                                       \
			return;                                                                    \
		}                                                                                  \
		COPY_STORE(vec##bytes##u, d, 0) = COPY_LOAD(vec##bytes##u, s, 0);                  \
		head = (bytes) - ((uintptr_t)(window) & ((bytes)-1));                              \
		d += head;                                                                         \
		s += head;                                                                         \
		n -= head;                                                                         \
		for (; n >= (size_t)4 * (bytes); n -= (size_t)4 * (bytes)) {                       \
			vec##bytes v0 = COPY_LOAD(load_type, s, 0);                                \
			vec##bytes v1 = COPY_LOAD(load_type, s, (bytes));                          \
			vec##bytes v2 = COPY_LOAD(load_type, s, 2 * (bytes));                      \
			vec##bytes v3 = COPY_LOAD(load_type, s, 3 * (bytes));                      \
                                                                                                   \
			COPY_STORE(store_type, d, 0) = v0;                                         \
			COPY_STORE(store_type, d, (bytes)) = v1;                                   \
			COPY_STORE(store_type, d, 2 * (bytes)) = v2;                               \
			COPY_STORE(store_type, d, 3 * (bytes)) = v3;                               \
			d += (size_t)4 * (bytes);                                                  \
			s += (size_t)4 * (bytes);                                                  \
		}                                                                                  \
		for (; n >= (bytes); n -= (bytes)) {                                               \
			COPY_STORE(store_type, d, 0) = COPY_LOAD(load_type, s, 0);                 \
			d += (bytes);                                                              \
			s += (bytes);                                                              \
		}                                                                                  \
		if (n) {                                                                           \
			d -= (bytes)-n;                                                            \
			s -= (bytes)-n;                                                            \
			COPY_STORE(vec##bytes##u, d, 0) = COPY_LOAD(vec##bytes##u, s, 0);          \
		}                                                                                  \
	}
#define COPY_LOAD(type, p, at)	(*(const volatile type *)(const volatile void *)((p) + (at)))
#define COPY_STORE(type, p, at) (*(volatile type *)(volatile void *)((p) + (at)))

#define COPY_WIDTH(isa, bytes)                                                                     \
	COPY_ROUTINE(copy_from_##bytes, isa, bytes, vec##bytes, vec##bytes##u, s)                  \
	COPY_ROUTINE(copy_to_##bytes, isa, bytes, vec##bytes##u, vec##bytes, d)

COPY_WIDTH("sse2", 16)
COPY_WIDTH("avx2", 32)
COPY_WIDTH("avx512f", 64)
#endif

static const struct copy_routine copy_table[COPY_DIRS][COPY_ROUTINES_MAX] = {
	[COPY_FROM_WINDOW] = {
		{ "memcpy", copy_memcpy },
#if defined(__x86_64__)
		{ "16-byte", copy_from_16 },
		{ "32-byte", copy_from_32 },
		{ "64-byte", copy_from_64 },
#endif
	},
	[COPY_TO_WINDOW] = {
		{ "memcpy", copy_memcpy },
#if defined(__x86_64__)
		{ "16-byte", copy_to_16 },
		{ "32-byte", copy_to_32 },
		{ "64-byte", copy_to_64 },
#endif
	},
};

/* Each one that is there has the narrower ones, too, so the first ones of the table are there. */
const struct copy_routine *copy_routines(enum copy_dir dir, unsigned int *ret_n)
{
#if defined(__x86_64__)
	*ret_n = !__builtin_cpu_supports("avx2") ? 2 : !__builtin_cpu_supports("avx512f") ? 3 : 4;
#else
	*ret_n = 1;
#endif
	return copy_table[dir];
}

struct copy_args {
	const struct copy_routine *by;
	void *dst;
	const void *src;
	size_t n;
};

static void copy_do(void *arg)
{
	const struct copy_args *a = arg;

	a->by->fn(a->dst, a->src, a->n);
}

int copy_by(const struct copy_routine *r, void *dst, const void *src, size_t n)
{
	struct copy_args a = { r, dst, src, n };

	return guard_run(copy_do, &a);
}
