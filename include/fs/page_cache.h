/* SPDX-License-Identifier: MIT */
/* WRITEs of a file beside the pages of it that the guest's page cache holds. */
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
 * Concepts: the kernel's requests tell where they come from.
 *   page read    READ without FUSE_READ_LOCKOWNER: a page fault, or reading ahead for one
 *   write-back   WRITE with FUSE_WRITE_CACHE: pages that stores made dirty
 *   direct write WRITE with FUSE_WRITE_LOCKOWNER: a system call, past the page cache
 * (fs/fuse/file.c: fuse_read_args_fill(), fuse_write_args_fill(), fuse_direct_io())
 *
 * The bytes of a direct write are a range of the file, which takes these states:
 *
 *   PENDING  waits for write-backs of the same bytes that another thread sends to the host now
 *   WRITING  on its way to the host
 *   WRITTEN  the host has it. Pages that were read before it are dropped by the caller
 *            (fs/notifier.h), who answers write(2) after that.
 *
 * A write-back leaves out what is WRITING or WRITTEN: its page may be older than that. Nothing is
 * lost by that as long as a page that was read after the direct write is not left out. So a page
 * read that begins when a range is WRITTEN ends the range for these pages. That is right for
 * write-backs that are still queued in the kernel, too: before it sends a page read it waits for
 * all write-backs of that page (fuse_wait_on_page_writeback(), since 6.16 the folio's own flag).
 *
 * What stays open: bytes that a store changes while write(2) is about to change them have the
 * value of either, as on any file system; if the host refuses the direct write in that moment, the
 * store is lost.
 *
 * Locks: the ranges of a file are guarded by one of a few locks, chosen by its address. They are
 * leaves: no other lock is taken under them.
 */
enum page_range_state {
	PAGE_RANGE_WRITE_BACK, /* of a write-back on its way to the host */
	PAGE_RANGE_PENDING,
	PAGE_RANGE_WRITING,
	PAGE_RANGE_WRITTEN,
	PAGE_RANGE_MAPPED, /* of no bytes: the guest may hold pages of the file */
};

/* The caller's memory, from begin to end. Of no interest to it. */
struct page_range {
	struct page_range *next;
	uint64_t off, end; /* bytes of the file */
	enum page_range_state state;
};

/* Of one file; all 0 at first. One pointer, because there are many files and few that are mapped. */
struct page_cache {
	struct page_range *ranges; /* the last one says that the guest may hold pages, if it may */
};

/* page_cache_read() - a page read of @size bytes at @off is about to be sent to the host, or
 * copied. */
void page_cache_read(struct page_cache *pc, uint64_t off, uint64_t size);

/*
 * page_cache_write_begin() - a direct write begins. May wait for write-backs (waiting_begin()).
 * page_cache_write_end() - it is over; @written: the host has (some of) it. True: the guest may
 * hold pages that are older. They must be dropped before write(2) is answered.
 */
void page_cache_write_begin(struct page_cache *pc, struct page_range *r, uint64_t off,
			    uint64_t size);
bool page_cache_write_end(struct page_cache *pc, struct page_range *r, bool written);

/*
 * page_cache_back_begin(), page_cache_back_end() - a write-back begins and ends.
 * page_cache_back_next() - what of it is to be written at and behind *@off: sets *@off and
 * *ret_size. False: nothing more.
 */
void page_cache_back_begin(struct page_cache *pc, struct page_range *r, uint64_t off,
			   uint64_t size);
bool page_cache_back_next(struct page_cache *pc, const struct page_range *r, uint64_t *off,
			  uint64_t *ret_size);
void page_cache_back_end(struct page_cache *pc, struct page_range *r);

/* page_cache_mapped() - may the guest hold pages of the file? */
bool page_cache_mapped(const struct page_cache *pc);

/* page_cache_closed() - nobody has the file open any more, so nobody has it mapped. */
void page_cache_closed(struct page_cache *pc);
