/* SPDX-License-Identifier: MIT */
/* The back end's own requests: map and unmap files in the front end's shared memory region. */
#pragma once

#include "host/mapper.h"

/*
 * vhost-user, "Back-end message types": SHMEM_MAP and SHMEM_UNMAP on the channel that
 * SET_BACKEND_REQ_FD gave, each with NEED_REPLY. Region id 0 is the DAX window
 * (VIRTIO 1.2, 5.11.6). The peer wants exactly what was mapped to be unmapped and nothing mapped
 * twice: shm_map (above this) keeps the books.
 *
 * QEMU serves the channel in its main loop. It answers SHMEM_MAP before it commits the change of
 * the guest's memory, so the guest can still see what was there before: shm_channel_set_barrier().
 * In the commit it sends ADD_MEM_REG on the main socket and waits for our answer: the main socket's
 * thread must take no lock that is held while a request waits. When it stops a queue it can be the
 * other way round: QEMU waits for our answer to GET_VRING_BASE and serves the channel only after
 * it. Then the waiting request has to be broken off (shm_channel_cancel); its answer is skipped
 * when it comes.
 */
struct shm_channel;

struct shm_channel *shm_channel_new(void); /* NULL: no memory */
void shm_channel_free(struct shm_channel *c);

/* shm_channel_mapper() - its operations; lives as long as @c. unmap() needs the exact range. */
struct mapper *shm_channel_mapper(struct shm_channel *c);

/*
 * shm_channel_set_fd() - from now on use @fd, which becomes the channel's; -1: there is none, and a
 * request that waits ends with -ENOTCONN. Never blocks.
 */
void shm_channel_set_fd(struct shm_channel *c, int fd);

/*
 * shm_channel_set_barrier() - true: the peer knows SHARED_OBJECT messages, and a mapping counts as
 * made when it has answered one of them after SHMEM_MAP. Any thread.
 */
void shm_channel_set_barrier(struct shm_channel *c, bool on);

/*
 * shm_channel_cancel() - true: the request that waits, and all that come, end with -ECANCELED until
 * this is called with false. Never blocks.
 */
void shm_channel_cancel(struct shm_channel *c, bool on);
