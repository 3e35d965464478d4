/* SPDX-License-Identifier: MIT */
/* Ways in which other hosts differ, and faults, that tests have the host simulate. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Problem: a guest meets hosts that offer less than this one, or refuse what it grants. Each quirk
 * is one such difference, off by default. None of them makes the host break a rule of VIRTIO,
 * vhost-user or FUSE.
 */

/*
 * Answers that are errors: the first @after requests are served, then every @every-th is refused,
 * beginning with the next one.
 */
struct host_fault {
	int error; /* errno; 0: none is refused */
	unsigned int after;
	unsigned int every; /* >= 1 */
};

struct host_quirks {
	bool no_indirect_desc; /* VIRTIO_F_INDIRECT_DESC is not offered */
	bool no_event_idx;     /* VIRTIO_F_EVENT_IDX is not offered */
	bool access_platform;  /* VIRTIO_F_ACCESS_PLATFORM is offered, and refused when accepted */
	unsigned int map_alignment;  /* bytes that mappings must be aligned to; 0: 4096 */
	bool no_map_alignment;	     /* FUSE_MAP_ALIGNMENT is not granted */
	bool need_read;		     /* SETUPMAPPING without FUSE_SETUPMAPPING_FLAG_READ: EINVAL */
	unsigned int map_delay_us;   /* before SETUPMAPPING and REMOVEMAPPING are served */
	unsigned int idle_nodes;     /* inodes not used keep no more descriptors; 0: the usual */
	struct host_fault map_error; /* of SETUPMAPPING */
	struct host_fault unmap_error; /* of REMOVEMAPPING, which then removes nothing */
};

/*
 * host_quirks_parse() - "NAME[=VALUE][,NAME[=VALUE]...]", added to what *ret holds.
 * Returns 0; or -EINVAL, *ret unchanged.
 */
int host_quirks_parse(const char *s, struct host_quirks *ret);

/* host_quirk_name() - the names, for documentation tests; NULL behind the last. */
const char *host_quirk_name(size_t i);

/* host_fault_strikes() - is this request, the next that @count counts, to be refused? Any thread. */
bool host_fault_strikes(const struct host_fault *f, _Atomic uint64_t *count);
