/* SPDX-License-Identifier: MIT */
/* A host and a kernel for src/pass: files of known content, a window on a loop device, backing ids.
 */
#pragma once

#include "pass_image.h"

#include <stdatomic.h>

#include "base/num.h"
#include "pass/ext4.h"
#include "pass/pass.h"

#define HOST_FILES    10u
#define HOST_SIZE_MAX (384 * KIB)
#define HOST_MAPS     256u
#define HOST_IDS      64u

/* What the host or the kernel is asked. */
enum host_call { CALL_ATTR, CALL_READ, CALL_WRITE, CALL_SETUP, CALL_REMOVE, CALL_BACKING, CALLS };

/*
 * @guest is what a program in the guest must see, @host what the host's file holds. They differ in
 * the last page only, from @tail on, where passthrough has a copy. Programs hold @lock while they
 * access the file, so that both can be compared with what they find.
 */
struct host_file {
	uint64_t nodeid;
	_Atomic unsigned int opens; /* that are announced: see pass_ops.alone */
	pthread_mutex_t lock;	    /* guards what follows */
	uint8_t *host, *guest;
	uint64_t host_size, guest_size;
	uint64_t mtime_ns, ctime_ns;
	uint64_t tail; /* where the copy begins when it was composed last; UINT64_MAX: there is none
			*/
	bool set_id, privileged, fixed;
	bool doubt;	     /* a write of the last page has failed */
	unsigned int writes; /* of the last page */
	bool last_by_handle; /* the last of them */
	uint64_t last_fh;
};

struct host_map {
	uint64_t nodeid, from, len, at;
	bool stuck;   /* the host has not removed it */
	bool changed; /* the host's file is another since */
};

struct host {
	struct image im;
	int loop;
	struct ext4_layout l;
	struct pass *pass;
	uint64_t window, front;		   /* bytes: of the region, and of the window before it */
	struct host_file file[HOST_FILES]; /* node id i + 1 */

	/* Change it only while nothing runs. */
	unsigned int fail_one_in[CALLS];  /* at random; 0: never */
	unsigned int fail_at[CALLS];	  /* the n-th call from now fails; 0: none */
	int fail_with;			  /* a negative errno */
	void (*on_write)(struct host *h); /* called in the midst of a write of the last page */
	unsigned int limit;		  /* more mappings get ENOSPC; 0: no limit */
	unsigned int slow_us;		  /* answers take up to this long */

	pthread_mutex_t lock; /* guards what follows; comes after that of a file */
	struct rng rng;
	struct host_map map[HOST_MAPS];
	unsigned int maps;
	int id[HOST_IDS]; /* descriptors of the backing ids; -1: free */
	uint64_t clock;
	unsigned int calls[CALLS];
};

struct host_setup {
	uint64_t window; /* bytes, a multiple of 4096 */
	uint64_t front;	 /* bytes of the window before its region */
	uint32_t slots;
	bool read_only, only_fixed;
	uint64_t min_size; /* 0: 4096 */
};

/* host_open() - false when this process cannot mount. */
bool host_open(struct host *h, const struct host_setup *setup);
/* host_close() - checks that all is given back. */
void host_close(struct host *h);

/* host_fill() - the host's file gets another size, content and times. Its lock is held. */
void host_fill_locked(struct host *h, struct host_file *f, uint64_t size);
void host_fill(struct host *h, struct host_file *f, uint64_t size);

/* host_attr() - what the host says of the file now. */
struct pass_attr_in host_attr(struct host_file *f);

/* host_settled() - pass_settle(), and what its caller does after that. */
int host_settled(struct host *h, struct host_file *f);

/* kernel_open() - open the file of a backing id as the kernel does. */
int kernel_open(struct host *h, int id, int flags);

/* An open file of a program. */
struct guest_open {
	struct host_file *f;
	uint64_t fh;
	int flags;
	int id; /* backing id, or 0: it is not passed through */
	int fd; /* of the backing file */
};

/*
 * guest_open() - open as relay and kernel do. Returns the backing id; 0: it is open and not passed
 * through; -EBUSY: it is not open. guest_close() ends the open.
 */
int guest_open(struct host *h, struct host_file *f, int flags, struct guest_open *ret);
void guest_close(struct host *h, struct guest_open *o);

/* guest_check_locked() - the program that has opened @fd sees just what it must. */
void guest_check_locked(const struct host_file *f, int fd);

/* guest_write_locked() - a program writes random bytes at @off. Returns what pwrite() does. */
ssize_t guest_write_locked(struct host_file *f, int fd, uint64_t off, size_t len, uint64_t seed);

/* guest_wrote_locked() - that was done: what must be found from now on. */
void guest_wrote_locked(struct host_file *f, const void *buf, uint64_t off, size_t len);

/* host_live() - mappings of a node that the host has, stuck ones not counted; 0: of all. */
unsigned int host_live(struct host *h, uint64_t nodeid);

/* host_free() - bytes of the window in no use by files; host_slots() - free slots. */
uint64_t host_free(struct host *h);
unsigned int host_slots(struct host *h);
