/* SPDX-License-Identifier: MIT */
/* The mtime of files that are written through the window. */
#pragma once

#include <stdint.h>

/*
 * Problem: the host does not see a write through the window, so a file's mtime stands still there.
 * It is set when the guest asks for attributes, flushes or closes the file; but a program can keep
 * a file open and write to it for days, and a backup on the host that compares times would miss it.
 *
 * So a thread sets it too, TIMES_NS after the first such write, and again as long as there are more.
 */
#define TIMES_NS NSEC_PER_SEC

struct client;
struct inode;
struct inode_table;
struct times;

/* times_create() - NULL: no memory. The thread is made by the first write. */
struct times *times_create(struct client *c, struct inode_table *t);

/* times_touched() - inode_touched() said that this file is to be listed. Any thread. */
void times_touched(struct times *t, uint64_t nodeid);

/*
 * times_settle() - if @i was written through the window, set its mtime now; returns when the host
 * has. So the host's mtime is right for requests that are sent later. May wait (waiting_begin());
 * not with inode.io held.
 */
void times_settle(struct times *t, struct inode *i);

/*
 * times_stop() - sets no more times; does not wait for the host. times_destroy() - after that:
 * waits for the thread, and so for the host's answer to one request. Before the inode table goes.
 * NULL is fine.
 */
void times_stop(struct times *t);
void times_destroy(struct times *t);
