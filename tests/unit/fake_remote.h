/* SPDX-License-Identifier: MIT */
/* A host for the dax layer: it really maps memfd files into a window, and checks what it is asked. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "dax/dax.h"

#define REMOTE_FILES 8u
#define REMOTE_MAPS  4096u

struct remote_map {
	uint64_t nodeid;
	uint64_t from, len, to;
	bool writable;
};

struct remote {
	char *window;
	uint64_t size;
	uint64_t alignment;
	int fd[REMOTE_FILES]; /* node id i + 1 */

	/* What the host has in mind; change it only while nothing runs. */
	unsigned int limit;		  /* more mappings than this get ENOSPC; 0: no limit */
	unsigned int refuse_one_in;	  /* refuse at random; 0: never */
	unsigned int slow_us;		  /* answers take up to this long */
	_Atomic unsigned int stay_one_in; /* removals fail at random; 0: never */
	bool readonly;			  /* EACCES for writable mappings */
	int refuse;			  /* always this errno (positive); 0: no */
	uint64_t refuse_from; /* but only for what shows a byte of [from, end); end 0: for all */
	uint64_t refuse_end;
	_Atomic uint64_t seed;

	pthread_mutex_t lock; /* guards what follows */
	struct remote_map map[REMOTE_MAPS];
	unsigned int n; /* live */
	unsigned int setups, refused, removes, stays, max_live;
};

void remote_init(struct remote *r, uint64_t size, uint64_t alignment);
void remote_fini(struct remote *r);

/* remote_dax() - a dax on this window. */
struct dax *remote_dax(struct remote *r);

unsigned int remote_live(struct remote *r);

/* remote_shows() - does a mapping show a byte of @nodeid at or behind @from? */
bool remote_shows(struct remote *r, uint64_t nodeid, uint64_t from);

extern const struct dax_remote_ops remote_ops;
