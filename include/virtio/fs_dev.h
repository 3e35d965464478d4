/* SPDX-License-Identifier: MIT */
/* A virtio-fs device that is ready to take requests. */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "virtio/transport.h"
#include "virtio/virtq.h"

#define FS_DEV_TAG_MAX 36 /* VIRTIO 1.2, 5.11.4 */

struct fs_dev {
	/* Constants after fs_dev_start(). */
	struct virtio_transport *t;
	struct dma_arena *arena;
	uint64_t offered;  /* feature bits of the device */
	uint64_t features; /* those of them that are used */
	char tag[FS_DEV_TAG_MAX + 1];
	struct virtq hiprio;   /* VIRTIO 1.2, 5.11.2: FORGET and INTERRUPT */
	struct virtq *request; /* num_request of them */
	unsigned int num_request;
	struct virtio_window window; /* size 0: the device has none */

	pthread_t irq_thread;
	bool irq_running;
	_Atomic bool stopping;
	_Atomic int broken; /* 0, or the negative errno since which nothing works */
};

struct fs_dev_params {
	size_t arena_size;	  /* bytes for requests and replies; rings come on top */
	unsigned int max_request; /* use at most this many request queues */
	unsigned int queue_size;  /* of at most so many entries, a power of two; 0: 1024 */
	bool window_unmapped;	  /* do not map the window: the kernel has it (pass/region.h) */
};

/*
 * fs_dev_start() - take @t through the initialisation of VIRTIO 1.2, 3.1.1 until DRIVER_OK:
 * features, arena, queues, window; and start the thread that handles interrupts.
 * @why: receives one sentence when it fails. @t is owned by the device from here on, also on
 * failure. Returns 0 and the device in *ret (end it with fs_dev_stop()), or a negative errno.
 */
int fs_dev_start(struct virtio_transport *t, const struct fs_dev_params *params, char *why,
		 size_t why_size, struct fs_dev **ret);

/* fs_dev_broken() - 0, or the negative errno since which every request fails. Any thread. */
int fs_dev_broken(const struct fs_dev *d);

/*
 * fs_dev_break() - give up the device: reset it, end all requests with @error. Any thread; the end
 * itself is the interrupt thread's and comes soon after.
 */
void fs_dev_break(struct fs_dev *d, int error);

/* fs_dev_stop() - reset and release everything. No thread may use it any more. NULL is fine. */
void fs_dev_stop(struct fs_dev *d);
