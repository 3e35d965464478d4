/* SPDX-License-Identifier: MIT */
/* Typed access to device registers. */
#pragma once

#include <endian.h>
#include <stdint.h>

/*
 * Registers of virtio and PCI are little-endian; values are in host order here. Each call is
 * exactly one access of the width in its name: the pointer is volatile, so the compiler neither
 * splits, merges, repeats nor drops it. The address must be aligned to the width. Any thread.
 *
 * Order towards memory that the device reads or writes (DMA):
 *  - A register write tells the device to look at memory, so what was stored before must be visible
 *    first: a write barrier stands before every write.
 *  - A register read learns what the device did to memory, so later loads must not be done early: a
 *    read barrier stands behind every read.
 * On x86 a BAR is mapped uncached, and the CPU keeps both orders by itself; only the compiler must
 * be held. On arm64 the barriers must reach the outer shareable domain, where devices are.
 */
static inline void mmio_wmb(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__asm__ volatile("" ::: "memory");
#elif defined(__aarch64__)
	__asm__ volatile("dmb oshst" ::: "memory");
#else
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

static inline void mmio_rmb(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__asm__ volatile("" ::: "memory");
#elif defined(__aarch64__)
	__asm__ volatile("dmb oshld" ::: "memory");
#else
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

static inline uint8_t mmio_read8(const volatile void *p)
{
	uint8_t v = *(const volatile uint8_t *)p;

	mmio_rmb();
	return v;
}

static inline uint16_t mmio_read16(const volatile void *p)
{
	uint16_t v = *(const volatile uint16_t *)p;

	mmio_rmb();
	return le16toh(v);
}

static inline uint32_t mmio_read32(const volatile void *p)
{
	uint32_t v = *(const volatile uint32_t *)p;

	mmio_rmb();
	return le32toh(v);
}

static inline void mmio_write8(volatile void *p, uint8_t v)
{
	mmio_wmb();
	*(volatile uint8_t *)p = v;
}

static inline void mmio_write16(volatile void *p, uint16_t v)
{
	mmio_wmb();
	*(volatile uint16_t *)p = htole16(v);
}

static inline void mmio_write32(volatile void *p, uint32_t v)
{
	mmio_wmb();
	*(volatile uint32_t *)p = htole32(v);
}
