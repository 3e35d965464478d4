/* SPDX-License-Identifier: MIT */
/* The one block of memory that a device reads and writes: rings, requests and replies. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/num.h"

/*
 * Concepts: the arena is allocated once, mapped for the device once by the transport, cut up once
 * at start (dma_alloc) and freed as a whole. The device sees it at addresses (IOVA) that are the
 * transport's choice and not contiguous in general; they are known per 4 KiB page.
 *
 * Threads: create, alloc and destroy from one thread; after the transport has set the addresses
 * everything is read-only and any thread may translate.
 */
enum dma_kind {
	DMA_PRIVATE, /* anonymous memory: 2 MiB huge pages where there are any, else locked pages */
	DMA_SHARED,  /* a memfd, for a vhost-user back end */
};

struct dma_arena {
	void *base;	    /* page aligned; 2 MiB aligned where possible */
	size_t size;	    /* a multiple of 2 MiB */
	size_t used;	    /* bytes handed out by dma_alloc() */
	int memfd;	    /* -1 for DMA_PRIVATE */
	struct iova *pages; /* the address of each 4 KiB page, size / 4 KiB of them */
};

struct dma_seg {
	struct iova addr;
	uint32_t len; /* bytes */
};

/*
 * dma_arena_create() - @size is rounded up to 2 MiB. Memory is zeroed, populated and, for
 * DMA_PRIVATE, locked. All addresses are 0 until a transport sets them.
 * Returns 0 and the arena in *ret (free with dma_arena_destroy()), or a negative errno: -ENOMEM,
 * -EPERM (RLIMIT_MEMLOCK).
 */
int dma_arena_create(size_t size, enum dma_kind kind, struct dma_arena **ret);

/* dma_arena_destroy() - NULL is fine. The transport must have unmapped it, or be closed. */
void dma_arena_destroy(struct dma_arena *a);

/*
 * dma_alloc() - cut off @size bytes, aligned to @align (a power of two, at most 2 MiB). Never freed
 * singly. Returns NULL when the arena is used up.
 */
void *dma_alloc(struct dma_arena *a, size_t size, size_t align);

/* dma_iova() - the device's address of @ptr, which must lie in the arena. */
struct iova dma_iova(const struct dma_arena *a, const void *ptr);

/*
 * dma_segments() - describe [@ptr, @ptr + @len), which must lie in the arena, as runs of contiguous
 * device addresses, as few as possible. Returns their number, or -E2BIG when @max do not suffice.
 */
int dma_segments(const struct dma_arena *a, const void *ptr, size_t len, struct dma_seg *out,
		 unsigned int max);
