/* SPDX-License-Identifier: MIT */
/* What is due for a file some time after a request, done by a thread of its own. */
#pragma once

#include <stdint.h>

/*
 * Two things are due later:
 *
 * mtime. The host does not see a write through the window, so a file's mtime stands still there. It
 * is set when the guest asks for attributes, flushes or closes the file. But a program can keep a
 * file open and write to it for days, and a backup on the host that compares times would miss it.
 * So it is set UPKEEP_MTIME_NS after the first such write, too, and again as long as there are
 * more.
 *
 * Closed files. Their mappings stay, because many files are soon opened again. But a mapping keeps
 * the file's room on the host when the host removes the file, and the guest's kernel may know the
 * name for ever. So a file that is mapped and closed is let go: its mappings are removed, and its
 * entry in the table goes. That is done when the host says that the file has no name any more, for
 * which it is asked UPKEEP_CLOSED_NS after the close, and then after twice the time as before; and
 * the UPKEEP_CLOSED_STAGES-th time in any case, after a minute.
 */
#define UPKEEP_MTIME_NS	     NSEC_PER_SEC
#define UPKEEP_CLOSED_NS     (4 * NSEC_PER_SEC)
#define UPKEEP_CLOSED_STAGES 4u

struct client;
struct inode;
struct inode_table;
struct upkeep;

/* upkeep_create() - NULL: no memory. The thread is made when something is due for the first time. */
struct upkeep *upkeep_create(struct client *c, struct inode_table *t);

/*
 * upkeep_written() - inode_touched() said that this file is to be listed.
 * upkeep_closed() - inode_released() said that this file is to be listed. Any thread.
 */
void upkeep_written(struct upkeep *u, uint64_t nodeid);
void upkeep_closed(struct upkeep *u, uint64_t nodeid);

/*
 * upkeep_settle() - if @i was written through the window, set its mtime now; returns when the host
 * has. So the host's mtime is right for requests that are sent later. May wait (waiting_begin());
 * not with inode.io held.
 */
void upkeep_settle(struct upkeep *u, struct inode *i);

/*
 * upkeep_stop() - nothing more is done; does not wait for the host. upkeep_destroy() - after that:
 * waits for the thread, and so for the host's answer to one request. Before the inode table goes.
 * NULL is fine.
 */
void upkeep_stop(struct upkeep *u);
void upkeep_destroy(struct upkeep *u);
