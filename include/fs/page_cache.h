/* SPDX-License-Identifier: MIT */
/* The order of WRITEs to a file whose pages are in the guest's page cache. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/*
 * Problem: a file that is opened with FOPEN_DIRECT_IO and mapped has pages in the guest's page
 * cache. For write(2) the kernel writes these pages back, drops them, and then sends the WRITE. A
 * page fault in between reads the page as it was before the WRITE. A store makes that page dirty,
 * and later it is written back whole: the bytes of write(2) are lost. (The kernel's virtiofs loses
 * them, too.)
 *
 * Concepts: flags of the kernel's requests tell where they come from.
 *   page read    READ without FUSE_READ_LOCKOWNER: a page fault, or readahead for one
 *   write-back   WRITE with FUSE_WRITE_CACHE: pages that stores made dirty
 *   direct write WRITE with FUSE_WRITE_LOCKOWNER: a system call that bypasses the page cache
 * (fs/fuse/file.c: fuse_read_args_fill(), fuse_write_args_fill(), fuse_direct_io())
 *
 * A direct write covers a range of the file. The range has one of these states:
 *
 *   PENDING  it waits for write-backs of the same bytes that another thread is sending to the host
 *   WRITING  it is being sent to the host
 *   WRITTEN  the host has it. The caller drops the pages that were read before it (fs/notifier.h),
 *            and then answers write(2).
 *
 * A write-back skips bytes that are WRITING or WRITTEN, because its page may be older. That must
 * not skip a page that was read after the direct write. So a page read removes its pages from all
 * WRITTEN ranges. This also holds for write-backs that are still queued in the kernel: before it
 * sends a page read, the kernel waits for all write-backs of that page
 * (fuse_wait_on_page_writeback(), since 6.16 the folio's own flag).
 *
 * Limits: bytes that a store and a write(2) change at the same time have the value of either, as on
 * any file system. If the host refuses that write(2), the store is lost. If the kernel needs more
 * than 100 ms to drop old pages (a slow host; max_threads=1, where the only worker waits), write(2)
 * returns while they are still mapped, and a store to its bytes in such a page is lost.
 *
 * Locks: one of a few mutexes, chosen by the address of the page_cache, guards the ranges of a
 * file. They are leaves: no other lock is taken under them.
 */
enum page_range_state {
	PAGE_RANGE_WRITE_BACK, /* a write-back that is being sent to the host */
	PAGE_RANGE_PENDING,
	PAGE_RANGE_WRITING,
	PAGE_RANGE_WRITTEN,
	PAGE_RANGE_MAPPED, /* no range, but a mark: the guest may hold pages of the file */
};

/* Caller-allocated; must live from _begin() to _end(). Private to page_cache.c. */
struct page_range {
	struct page_range *next;
	uint64_t off, end; /* bytes of the file */
	enum page_range_state state;
};

/* Part of each file's entry; zeroed at first. One pointer: there are many files, few are mapped. */
struct page_cache {
	struct page_range *ranges; /* if the guest may hold pages, the last is PAGE_RANGE_MAPPED */
};

/*
 * page_cache_read() - a page read of @size bytes at @off begins. To be called before the request
 * goes to the host or the data is copied from the window.
 */
void page_cache_read(struct page_cache *pc, uint64_t off, uint64_t size);

/*
 * page_cache_write_begin() - a direct write begins. May wait for write-backs (waiting_begin()).
 * page_cache_write_end() - it ends; @written: all or part of it reached the host or the window.
 * True: the guest may hold older pages, and the caller must drop them before it answers write(2).
 */
void page_cache_write_begin(struct page_cache *pc, struct page_range *r, uint64_t off,
			    uint64_t size);
bool page_cache_write_end(struct page_cache *pc, struct page_range *r, bool written);

/*
 * page_cache_back_begin(), page_cache_back_end() - a write-back begins and ends.
 * page_cache_back_next() - find the next part of @r, from *@off on, that must be written, and set
 * *@off and *ret_size to it. False: there is no more.
 */
void page_cache_back_begin(struct page_cache *pc, struct page_range *r, uint64_t off,
			   uint64_t size);
bool page_cache_back_next(struct page_cache *pc, const struct page_range *r, uint64_t *off,
			  uint64_t *ret_size);
void page_cache_back_end(struct page_cache *pc, struct page_range *r);

/* page_cache_mapped() - may the guest hold pages of the file? */
bool page_cache_mapped(const struct page_cache *pc);

/* page_cache_closed() - nobody has the file open any more, and so nobody maps it. */
void page_cache_closed(struct page_cache *pc);
