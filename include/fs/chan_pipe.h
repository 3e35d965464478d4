/* SPDX-License-Identifier: MIT */
/* Large replies to the kernel without a look-up of each of their pages. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/*
 * Concepts: of a reply that is written to /dev/fuse the kernel looks up each page in our page
 * table, by itself, before it copies it. A pipe can hold references to pages instead. One is filled
 * once with references to all pages of a buffer and never emptied; for a reply, tee(2) duplicates
 * as many of them as it has into a second pipe, which splice(2) empties into /dev/fuse. The bytes
 * are those that the buffer holds at that moment.
 *
 * One thread at a time.
 */
struct chan_pipe;

/*
 * chan_pipe_create() - for replies that begin at @rep and have at most @cap bytes. The memory must
 * stay, and nobody else write to it now. 0 or a negative errno.
 */
int chan_pipe_create(void *rep, size_t cap, struct chan_pipe **ret);
void chan_pipe_free(struct chan_pipe *p);

/* chan_pipe_cap() - how long a reply may be, in bytes: less than @cap where pipes are limited. */
size_t chan_pipe_cap(const struct chan_pipe *p);

/*
 * chan_pipe_reply() - answer with the first @len bytes of the buffer. 0 when the kernel has them,
 * or does not want them any more; -E2BIG: longer than chan_pipe_cap(); another negative errno when
 * it has not: then chan_reply() tells what is wrong.
 */
int chan_pipe_reply(struct chan_pipe *p, int fd, size_t len);
