/* SPDX-License-Identifier: MIT */
/* The front end's memory: a changing table of regions, read through snapshots. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/num.h"
#include "wire/vhost_user.h"

/*
 * Problem: queue threads translate addresses all the time, while the socket's thread adds and
 * removes regions (QEMU sends one for each mapping of the window). A region must not be unmapped
 * under a request that uses it.
 *
 * So the table is never changed: each change makes a new one, and a thread works with the table
 * that it took with mem_get(). A region is unmapped when the last table that holds it is put. A
 * thread that sleeps for an unknown time holds no table.
 *
 * Addresses (vhost-user, "Memory region description"): a descriptor holds a guest-physical
 * address, SET_VRING_ADDR a virtual address of the front end.
 */

#define MEM_MAX_SLOTS 512u /* what GET_MAX_MEM_SLOTS answers; QEMU's own limit is the same */

/* A virtual address in the front end's process; never mixed with a guest-physical one. */
struct uaddr {
	uint64_t v;
};
#define UADDR(x) ((struct uaddr){ (x) })

struct mem;	  /* the changing table; all functions may be called by any thread */
struct mem_table; /* a snapshot */

struct mem *mem_new(void); /* NULL: no memory */
void mem_free(struct mem *m);

/* mem_get() - the current snapshot, to be given back with mem_put(). Never NULL. */
struct mem_table *mem_get(struct mem *m);
void mem_put(struct mem_table *t);

/* mem_table_serial() - differs between any two tables of one struct mem; never 0. */
uint64_t mem_table_serial(const struct mem_table *t);

/*
 * mem_add() - map one region. @fd stays the caller's.
 * Returns 0 or a negative errno: -EINVAL for a size of 0, a range that wraps or overlaps another
 * region, or one that lies outside of the file; -ENOSPC with MEM_MAX_SLOTS regions; or mmap(2)'s.
 */
int mem_add(struct mem *m, const struct vhu_mem_region *r, int fd);

/* mem_remove() - the region with these three addresses; -ENOENT when there is none. */
int mem_remove(struct mem *m, const struct vhu_mem_region *r);

/* mem_set() - replace all regions by @n others (SET_MEM_TABLE); errors as mem_add(). */
int mem_set(struct mem *m, const struct vhu_mem_region *r, const int *fds, unsigned int n);

/*
 * mem_gpa() - describe [gpa, gpa + len) as iovecs, one for each region that it crosses, appended at
 * @iov[*count] with @max entries in all. @writable: the memory is to be written.
 * Returns 0; -EFAULT when a byte is in no region (or in one that cannot be written); -E2BIG when
 * entries ran out. @len is at least 1. The pointers live as long as @t is held.
 */
int mem_gpa(const struct mem_table *t, struct gpa gpa, uint64_t len, bool writable,
	    struct iovec *iov, unsigned int max, unsigned int *count);

/*
 * mem_user() - one contiguous and writable range [addr, addr + len) by the front end's address, for
 * rings. Returns the pointer, or NULL when it is not inside of one region.
 */
void *mem_user(const struct mem_table *t, struct uaddr addr, uint64_t len);
