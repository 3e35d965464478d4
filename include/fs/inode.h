/* SPDX-License-Identifier: MIT */
/* What the daemon knows of files: their size, their use, their part of the window. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/num.h"
#include "dax/dax.h"
#include "fs/page_cache.h"

/*
 * Concepts: a regular file gets an entry when it is first opened. The entry stays while the file is
 * open. After that it goes when the kernel forgets the node or the upkeep thread lets the file go
 * (fs/upkeep.h). Node ids are the host's.
 *
 * The host may change the size at any time. Each size that we learn has an epoch: one that was
 * asked for before a truncation must not replace the one after it. A size that we believe must not
 * be larger than the file's: nothing may access the window beyond the end of the file.
 *
 * Locks, in the order in which they may be taken:
 *   1. the settling lock  one of SETTLING, chosen by a hash of the node id: held by who sets the
 *                   host's mtime, until the host has it
 *   2. inode.io     held shared by copies through the window, exclusively by whatever may shorten
 *                   the file
 *   3. inode_table shard locks   guard the table, opens, forgotten and closed_listed; references
 *                   are made under them
 *   4. inode.lock   guards changes of size, told, end_until, epoch and privs
 *
 * Each request uses this table, so the frequent paths take few locks. No lock is needed to read
 * size and privs for an access to data (values from before a concurrent change are fine, as if the
 * access had come earlier), to put a reference, and to mark a file as touched.
 */

/*
 * What privileges a file can still have that a write must take away. The host does that, by the
 * first write that goes to it; capabilities by anyone's, setuid and setgid only by that of a caller
 * who may not keep them (FUSE_WRITE_KILL_SUIDGID).
 */
enum privs {
	PRIVS_ANY,
	PRIVS_SET_ID, /* capabilities are gone */
	PRIVS_NONE,
};

#define INODE_SIZE_UNKNOWN UINT64_MAX

/* In refs: nobody needs the entry but who holds a reference; who gives the last one back frees it. */
#define INODE_GOING (1u << 31)

struct inode {
	uint64_t nodeid;
	pthread_rwlock_t io;
	struct dax_inode *dax; /* NULL when the window is not used */

	/* Written under the lock, read without: */
	pthread_mutex_t lock;
	_Atomic uint64_t size; /* bytes, or INODE_SIZE_UNKNOWN */
	/* Until this time (ns) a READ at size gets 0 bytes, without asking the host. */
	_Atomic uint64_t end_until;
	/* Under the lock alone: */
	uint64_t told;	/* size in the last attributes of the host, or INODE_SIZE_UNKNOWN */
	uint64_t epoch; /* of the last change of size that we made ourselves */

	/* Without a lock: */
	_Atomic uint64_t atime_ns;    /* time_now_ns() of the last read that the host saw */
	_Atomic bool size_wanted;     /* ask for the size before the next access */
	_Atomic bool atime_due;	      /* mtime or ctime changed since the host last saw a read */
	_Atomic bool touched, listed; /* see inode_touched() */
	_Atomic bool use_dax;	      /* reads and writes may use the window; set by each open */
	_Atomic bool direct;	      /* the last open was with FOPEN_DIRECT_IO */

	bool settle;	       /* mtime must be set; under the settling lock */
	_Atomic uint8_t privs; /* enum privs; written under the lock, read without */

	/* Incremented under the shard's lock, decremented without: */
	_Atomic unsigned int refs;
	/* Under the shard's lock: */
	unsigned int opens : 30;
	bool forgotten : 1;
	bool closed_listed : 1; /* see inode_released() */
	struct inode *next;

	struct page_cache page_cache; /* used when direct is set */
};

struct inode_table;

/* inode_table_create() - @dax may be NULL: no file uses the window. NULL: no memory. */
struct inode_table *inode_table_create(struct dax *dax);

/* inode_table_destroy() - unmaps and frees all. No thread may use an inode any more. */
void inode_table_destroy(struct inode_table *t);

/* inode_table_count() - how many entries there are. */
uint64_t inode_table_count(struct inode_table *t);

/* inode_opened() - count an open; makes the entry. NULL when there is no memory. A reference. */
struct inode *inode_opened(struct inode_table *t, uint64_t nodeid);

/*
 * Closed files, for the upkeep thread (fs/upkeep.h), which lists them:
 * inode_released() - count a release. True: nobody has the file open any more, and it uses the
 * window: the caller adds it to the list.
 * inode_get_closed() - the caller has taken the file off the list. Returns a reference, or NULL if
 * the file is open again or has no entry.
 * inode_list_closed() - true: the file is still closed, and the caller adds it to the list again.
 * inode_let_go() - remove the file's entry and its mappings, unless it is open again. Takes over
 * the reference.
 */
bool inode_released(struct inode_table *t, uint64_t nodeid);
struct inode *inode_get_closed(struct inode_table *t, uint64_t nodeid);
bool inode_list_closed(struct inode_table *t, struct inode *i);
void inode_let_go(struct inode_table *t, struct inode *i);

/* inode_opens() - how many opens there are now. */
unsigned int inode_opens(struct inode_table *t, uint64_t nodeid);

/* inode_forget() - the kernel forgot the node; its entry goes unless it is open. */
void inode_forget(struct inode_table *t, uint64_t nodeid);

/* inode_get() - the entry of @nodeid, or NULL. A reference, to be given back by inode_put(). */
struct inode *inode_get(struct inode_table *t, uint64_t nodeid);

/*
 * A per-thread cache of look-ups: each thread has INODE_MEMOS of them. The entry of an open file is
 * not freed, so a memo is valid for an open file if the table has freed no entry since the look-up.
 * Otherwise the pointer may be stale. All 0: empty.
 */
struct inode_memo {
	uint64_t gone; /* inode_table.gone at the look-up */
	uint64_t nodeid;
	struct inode *inode;
};

#define INODE_MEMOS 8u

/*
 * inode_get_open() - as inode_get(), usually without a lock. The file must stay open until the
 * caller has answered the request; for READ and WRITE the kernel sees to that. @memos are the
 * calling thread's, for this table.
 */
struct inode *inode_get_open(struct inode_table *t, uint64_t nodeid, struct inode_memo *memos);

/*
 * inode_io_lock() - take i->io: shared for an access through the window, exclusive for a request
 * that may remove data. Calls waiting_begin() before it waits.
 */
void inode_io_lock(struct inode *i, bool exclusive);
void inode_put(struct inode_table *t, struct inode *i);

/*
 * inode_touched() - @i was written through the window, so the host's mtime must be set. True: the
 * caller adds the file to the upkeep thread's list. Who takes a file off that list clears i->listed
 * first. Any thread.
 */
bool inode_touched(struct inode_table *t, struct inode *i);

/* inode_any_touched() - false: no file's mtime is due, and no thread is setting one. */
bool inode_any_touched(struct inode_table *t);

/*
 * inode_settle_begin() - take the settling lock of @i, and so wait for a thread that is setting its
 * mtime. False: no mtime is due for any file, and the lock is not taken. Calls waiting_begin()
 * before it waits.
 * inode_settle_due() - true: the mtime of @i is due, and before inode_settle_end() the caller must
 * have the host set it or replace it. Needs the lock.
 * inode_settle_end() - release the lock; the host has the mtime.
 */
bool inode_settle_begin(struct inode_table *t, struct inode *i);
bool inode_settle_due(struct inode *i);
void inode_settle_end(struct inode_table *t, struct inode *i);

/* inode_epoch() - to be taken before the host is asked for a size. */
uint64_t inode_epoch(void);

/*
 * inode_learn_size() - the host said @size in an answer to a question of epoch @asked. Ignored when
 * it is older than a change of ours. Mappings behind a smaller size are dropped.
 * The caller holds no lock.
 */
void inode_learn_size(struct inode *i, uint64_t size, uint64_t asked);

/*
 * inode_told_early() - the host told the @size of a file that has no entry. Kept as a hint for the
 * file's next open; another file's may replace it. Any thread.
 */
void inode_told_early(struct inode_table *t, uint64_t nodeid, uint64_t size);

/*
 * inode_learn_end() - a READ of epoch @asked was short and ended at @end. If @end is the size that
 * the host has told, it is the end of the file: inode_take_end() may say so once, within the next
 * @ns and while nothing is written to the host. Otherwise it can be an error of the host's disk, or
 * a file without a size (/proc): the size becomes unknown and is asked for.
 */
void inode_learn_end(struct inode *i, uint64_t end, uint64_t asked, uint64_t ns);

/* inode_size_changed() - we changed the size to @size by a request that has succeeded. */
void inode_size_changed(struct inode *i, uint64_t size);

/*
 * inode_size_grown() - a write that the host was asked for at epoch @asked reached to @end: what
 * the host said of the size before is void.
 */
void inode_size_grown(struct inode *i, uint64_t end, uint64_t asked);

/* inode_size_unknown() - ask before the next access. */
void inode_size_unknown(struct inode *i);

/* inode_take_end() - is @off the end that inode_learn_end() was told? Says so once. */
bool inode_take_end(struct inode *i, uint64_t off);
