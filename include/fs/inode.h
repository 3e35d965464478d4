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
 * Concepts: a regular file gets an entry when it is first opened, and keeps it until the kernel
 * forgets the node (but never while it is open). Node ids are the host's.
 *
 * The size is the host's business and may change at any time. What we know of it carries an epoch,
 * so that an attribute that was asked for before a truncation is not taken for newer than it. A
 * size that we believe must not be larger than the file's: the window may not be touched behind the
 * end.
 *
 * Locks, in the order in which they may be taken:
 *   1. the settling lock  one of a few, chosen by the number of the file: held by whoever sets
 *                   the host's mtime, until the host has it
 *   2. inode.io     held shared by copies through the window, exclusively by whatever may shorten
 *                   the file
 *   3. inode_table shard locks   guard the table, opens and forgotten, and make references
 *   4. inode.lock   guards changes of size, told, end_until, epoch and privs
 *
 * Each request passes here, so the usual ways take few locks: an access to data reads size and
 * privs without (it may see them as of before a change, as if it had come earlier), a reference is
 * given back without, and so is said that a file was touched.
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
	/* Until then a READ at size may be told that this is the end, in ns; 0 mostly. */
	_Atomic uint64_t end_until;
	/* Under the lock alone: */
	uint64_t told;	/* the size in the host's last attributes, or INODE_SIZE_UNKNOWN */
	uint64_t epoch; /* of the last change of size that we made ourselves */

	/* Of no lock: */
	_Atomic uint64_t atime_ns;    /* time_now_ns() of the last read that the host saw */
	_Atomic bool size_wanted;     /* ask for the size before the next access */
	_Atomic bool atime_due;	      /* a time of the file moved since the host last saw a read */
	_Atomic bool touched, listed; /* see inode_touched() */
	_Atomic bool use_dax;	      /* whether reads and writes may use the window; set at open */
	_Atomic bool direct;	      /* it is open with FOPEN_DIRECT_IO; set at open */

	bool settle;	       /* under the settling lock: mtime is to be set */
	_Atomic uint8_t privs; /* enum privs; written under the lock, read without */

	/* Made under the shard's lock, given back without: */
	_Atomic unsigned int refs;
	/* Of the shard's lock: */
	unsigned int opens : 30;
	bool forgotten : 1;
	bool closed_listed : 1; /* see inode_released() */
	struct inode *next;

	struct page_cache page_cache; /* when it is direct */
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
 * inode_released() - count a release. True: nobody has the file open now, and the caller lists it.
 * inode_get_closed() - the file is not in the list any more: a reference if it is still closed, or
 * NULL. inode_list_closed() - true: it is closed, and the caller lists it again. inode_let_go() -
 * its mappings and its entry go, unless it is open again. Takes the reference over.
 */
bool inode_released(struct inode_table *t, uint64_t nodeid);
struct inode *inode_get_closed(struct inode_table *t, uint64_t nodeid);
bool inode_list_closed(struct inode_table *t, struct inode *i);
void inode_let_go(struct inode_table *t, struct inode *i);

/* inode_forget() - the kernel forgot the node; its entry goes unless it is open. */
void inode_forget(struct inode_table *t, uint64_t nodeid);

/* inode_get() - the entry of @nodeid, or NULL. A reference, to be given back by inode_put(). */
struct inode *inode_get(struct inode_table *t, uint64_t nodeid);

/*
 * Where a thread has found a file of late; a thread has INODE_MEMOS of them. The entry of an open
 * file stays, so that what was found of it is right as long as no entry at all has gone since;
 * other memos' entries may be gone. All 0: nothing yet.
 */
struct inode_memo {
	uint64_t gone; /* of the table, when it was found */
	uint64_t nodeid;
	struct inode *inode;
};

#define INODE_MEMOS 8u

/*
 * inode_get_open() - as inode_get(), without a lock mostly, for a file that is open until the
 * caller has answered, as whose data the kernel reads or writes is. @memos are the thread's own,
 * for this table.
 */
struct inode *inode_get_open(struct inode_table *t, uint64_t nodeid, struct inode_memo *memos);

/*
 * inode_io_lock() - take i->io, shared for an access to data through the window or exclusive for
 * what may take data away. Says waiting_begin() when it has to wait.
 */
void inode_io_lock(struct inode *i, bool exclusive);
void inode_put(struct inode_table *t, struct inode *i);

/*
 * inode_touched() - @i was written through the window: the host's mtime is to follow. True: the
 * caller lists the file for that. Who takes it from the list clears i->listed first. Any thread.
 */
bool inode_touched(struct inode_table *t, struct inode *i);

/* inode_any_touched() - false: no mtime is due, and none is being set. */
bool inode_any_touched(struct inode_table *t);

/*
 * inode_settle_begin() - take the settling lock if the mtime of @i may be due, or if another thread
 * is about to set it: it is set when this returns. False: it is not, and the lock is not held. Says
 * waiting_begin() when it has to wait. inode_settle_due() - true: the caller has the host set
 * mtime, or sets it otherwise. Under the lock. inode_settle_end() - the host has it.
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

/* inode_told_early() - the host said @size of a file without an entry: a hint, for when it gets
 * one. Any thread. */
void inode_told_early(struct inode_table *t, uint64_t nodeid, uint64_t size);

/*
 * inode_learn_end() - a READ of epoch @asked ended early, at @end. Where that is the size that the
 * host has told, it is the end of the file: for the next @ns, and as long as nothing is written to
 * the host, inode_at_end() may repeat that once. Elsewhere it can be an error of the host's disk,
 * or a file without a size: the size is asked for.
 */
void inode_learn_end(struct inode *i, uint64_t end, uint64_t asked, uint64_t ns);

/* inode_size_changed() - we changed the size to @size by a request that has succeeded. */
void inode_size_changed(struct inode *i, uint64_t size);

/* inode_size_grown() - a write of the host's reached to @end: older answers on the size are void. */
void inode_size_grown(struct inode *i, uint64_t end);

/* inode_size_unknown() - ask before the next access. */
void inode_size_unknown(struct inode *i);

bool inode_at_end(struct inode *i, uint64_t off);
