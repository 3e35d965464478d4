/* SPDX-License-Identifier: MIT */
/* What the two files of the vhost-user transport share. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "virtio/vhost_user.h"
#include "wire/vhost_user.h"

#define VHU_MAX_QUEUES 64u

struct vhost_user {
	struct virtio_transport t; /* first */
	int sock;		   /* requests to the back end; set-up and end only */
	int irq;		   /* eventfd given to every queue as its call descriptor */
	int kick[VHU_MAX_QUEUES];  /* eventfds, -1 for a queue that is not set up */
	uint64_t features;
	uint64_t protocol_features;
	uint8_t status;
	bool answered; /* the back end has answered a request */
	_Atomic int failed;

	/* The back end's channel: its thread is the only one that changes mappings. */
	int channel;	  /* our end, -1 when there is none */
	int channel_peer; /* the back end's end until it is handed over */
	int empty;	  /* a memfd of size 0: what stands where nothing is mapped */
	pthread_t thread;
	bool thread_running;
	void *window; /* NULL when there is none */
	uint64_t window_size;
};

/* vhu_peer_lost() - remember the first reason and wake whoever waits for an interrupt. */
void vhu_peer_lost(struct vhost_user *u, int error);

/* vhu_channel_start() - reserve the window and run the thread. 0 or a negative errno. */
int vhu_channel_start(struct vhost_user *u, uint64_t window_size);

/* vhu_channel_stop() - end the thread and unmap the window. */
void vhu_channel_stop(struct vhost_user *u);
