/* SPDX-License-Identifier: MIT */
/* Jobs that are due for a file some time after a request, done by a thread of its own. */
#pragma once

#include <stdint.h>

/*
 * There are three jobs:
 *
 * mtime. The host does not see a write through the window, so the file's mtime there does not
 * change. A worker has the host set it when the guest asks for attributes, flushes or closes the
 * file. But a program can keep a file open and write to it for days, and a backup on the host that
 * compares times would miss it. So this thread also sets mtime UPKEEP_MTIME_NS after the first such
 * write, and again while there are more.
 *
 * Files that are passed through (pass/pass.h). The kernel tells nobody of its writes. So while such
 * a file is open or mapped, its last page and mtime are brought to the host every UPKEEP_MTIME_NS.
 * Nor does anybody notice that the host is gone as long as there are no requests, and then the
 * window shows zeroes. So meanwhile the host is asked for the attributes of the root every
 * UPKEEP_CHECK_NS.
 *
 * Closed files. Mappings stay after the close, because many files are soon opened again. But if the
 * host removes the file, a mapping keeps its disk blocks, and the guest's kernel may never forget
 * the node. So this thread lets a mapped, closed file go: it removes the mappings and the entry in
 * the inode table. It first asks the host UPKEEP_CLOSED_NS after the close whether the file has
 * lost its last name, and then again after twice the pause before, and lets the file go if so. At
 * the UPKEEP_CLOSED_STAGES-th time, a minute after the close, it lets the file go without asking.
 */
#define UPKEEP_MTIME_NS	     NSEC_PER_SEC
#define UPKEEP_CHECK_NS	     (5 * NSEC_PER_SEC)
#define UPKEEP_CLOSED_NS     (4 * NSEC_PER_SEC)
#define UPKEEP_CLOSED_STAGES 4u

struct client;
struct inode;
struct inode_table;
struct pass;
struct upkeep;

/* upkeep_create() - @pass: or NULL. NULL: no memory. The thread starts with the first file that is
 * listed. */
struct upkeep *upkeep_create(struct client *c, struct inode_table *t, struct pass *pass);

/*
 * upkeep_written() - list a file for its mtime; inode_touched() returned true for it.
 * upkeep_passed() - list a file that is passed through; pass_watch() returned true for it.
 * upkeep_closed() - list a closed file; inode_released() returned true for it. Any thread.
 */
void upkeep_written(struct upkeep *u, struct inode *i);
void upkeep_passed(struct upkeep *u, uint64_t nodeid);
void upkeep_closed(struct upkeep *u, uint64_t nodeid);

/*
 * upkeep_settle() - if @i was written through the window, have the host set its mtime now. When
 * this returns the host has set it, so requests that are sent later see it. May wait
 * (waiting_begin()); the caller must not hold inode.io.
 */
void upkeep_settle(struct upkeep *u, struct inode *i);

/*
 * upkeep_settle_passed() - pass_settle(). Returns 0, or its error, which is logged. Only with @pass.
 */
int upkeep_settle_passed(struct upkeep *u, uint64_t nodeid);

/*
 * upkeep_destroy() - set the mtimes that are due, and wait for the thread. No thread may call the
 * functions above any more; the inode table is still there. NULL is fine.
 */
void upkeep_destroy(struct upkeep *u);
