/* SPDX-License-Identifier: MIT */
/* Checked arithmetic, alignment, and one distinct type for each kind of address. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

/*
 * A page of the mapping interfaces: what VFIO pins, what pagemap counts and what SETUPMAPPING
 * rounds to on x86-64 is 4 KiB.
 */
#define PAGE_4K	      UINT64_C(4096)

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)                                                                                  \
	({                                                                                         \
		__typeof__(a) min_a_ = (a);                                                        \
		__typeof__(b) min_b_ = (b);                                                        \
		min_a_ < min_b_ ? min_a_ : min_b_;                                                 \
	})
#define MAX(a, b)                                                                                  \
	({                                                                                         \
		__typeof__(a) max_a_ = (a);                                                        \
		__typeof__(b) max_b_ = (b);                                                        \
		max_a_ > max_b_ ? max_a_ : max_b_;                                                 \
	})
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/*
 * Offsets and addresses that must never be mixed. One-member structs cost nothing in a register
 * and make the compiler refuse an exchange.
 */
struct foff { /* byte offset in a file */
	uint64_t v;
};
struct woff { /* byte offset in the DAX window (the shared memory region of id 0) */
	uint64_t v;
};
struct iova { /* address that a device uses behind an IOMMU, or instead of a physical address */
	uint64_t v;
};
struct gpa { /* guest-physical address */
	uint64_t v;
};

#define FOFF(x) ((struct foff){ (x) })
#define WOFF(x) ((struct woff){ (x) })
#define IOVA(x) ((struct iova){ (x) })
#define GPA(x)	((struct gpa){ (x) })

static inline bool is_pow2(uint64_t v)
{
	return v && !(v & (v - 1));
}

static inline uint64_t align_down(uint64_t v, uint64_t pow2)
{
	return v & ~(pow2 - 1);
}

/* align_up() - the caller knows that v + pow2 does not overflow. */
static inline uint64_t align_up(uint64_t v, uint64_t pow2)
{
	return (v + pow2 - 1) & ~(pow2 - 1);
}

/* range_ok() - does [off, off + len) lie in [0, size)? No sum is formed, so none overflows. */
static inline bool range_ok(uint64_t off, uint64_t len, uint64_t size)
{
	return off <= size && len <= size - off;
}

/* add_u64() - true and *ret_sum when a + b fits. */
static inline bool add_u64(uint64_t a, uint64_t b, uint64_t *ret_sum)
{
	uint64_t sum;

	if (__builtin_add_overflow(a, b, &sum))
		return false;
	*ret_sum = sum;
	return true;
}

/* pow2_ceil() - the smallest power of two >= v; v is 1 to 2^63. */
static inline uint64_t pow2_ceil(uint64_t v)
{
	return v <= 1 ? 1 : UINT64_C(1) << (64 - __builtin_clzll(v - 1));
}
