/* SPDX-License-Identifier: MIT */
/* The device's side of one split virtqueue and the thread that serves it. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "host/mem.h"

/*
 * Rules: VIRTIO 1.2, 2.7 "Split Virtqueues"; life of a ring: vhost-user, "Ring states".
 *
 * Theory of operation. A ring is
 *   stopped  - no thread. All setters may be called.
 *   running  - its thread pops chains, calls the handler for each, pushes them as used. The
 * socket's thread may only call devq_set_call(), devq_stop() and devq_running(). broken   - as
 * running, but the driver gave something that is against the rules, or ring memory is gone: the
 * thread logged it once, signalled the error fd and takes no more chains.
 *
 * Between requests the thread spins for up to DEVQ_SPIN_NS where that paid of late (struct
 * devq_spin), and sleeps in poll() otherwise. While it does not sleep it asks the driver not to
 * kick.
 */

#define DEVQ_MAX_IOV 1032u /* descriptors of one chain: 4 MiB in pages and the headers */
#define DEVQ_SPIN_NS 50000u
#define DEVQ_WAKE_NS 40000 /* what it costs both sides that the thread sleeps and is woken */

/* One popped chain. The memory is valid until the handler returns. */
struct devq_chain {
	uint16_t head;
	unsigned int n_read;  /* iovecs that the device reads */
	unsigned int n_write; /* iovecs behind them that it writes */
	struct iovec iov[DEVQ_MAX_IOV];
};

/* Serves one request. Returns how many bytes were written into the writable iovecs. */
typedef size_t devq_handler(void *ctx, const struct iovec *rd, unsigned int n_rd,
			    const struct iovec *wr, unsigned int n_wr);

struct devq;

/* @index is for messages. NULL: no memory. @mem, @handler and @ctx outlive the ring. */
struct devq *devq_new(unsigned int index, struct mem *mem, devq_handler *handler, void *ctx);

/* devq_free() - stops it first. */
void devq_free(struct devq *v);

/*
 * Setters, for a stopped ring. Return 0 or -EINVAL (the value is out of range or misaligned).
 * Descriptors become the ring's; -1 is none.
 */
int devq_set_size(struct devq *v, unsigned int size);
int devq_set_base(struct devq *v, unsigned int avail_idx);
int devq_set_addr(struct devq *v, struct uaddr desc, struct uaddr avail, struct uaddr used);
void devq_set_kick(struct devq *v, int fd);
void devq_set_err(struct devq *v, int fd);
void devq_set_enabled(struct devq *v, bool enabled);
/* @features: VIRTIO feature bits that were negotiated; they hold from the next start on. */
void devq_set_features(struct devq *v, uint64_t features);

/* devq_set_call() - in any state; takes effect at once. */
void devq_set_call(struct devq *v, int fd);

/*
 * devq_start() - start the thread if size, addresses and kick descriptor are known and the ring is
 * enabled; otherwise nothing. Returns 0, -EFAULT (an address lies in no region) or pthread errors.
 */
int devq_start(struct devq *v);

bool devq_running(const struct devq *v);

/*
 * devq_stop() - finish the request that is being served and end the thread. Any state.
 * @patience_ms: when the thread has not ended after so long, @give_up(@arg) is called once (it makes
 * the handler return early) and the wait goes on. @give_up may be NULL.
 * Returns the index of the next chain that would have been taken.
 */
unsigned int devq_stop(struct devq *v, unsigned int patience_ms, void (*give_up)(void *arg),
		       void *arg);

/* devq_reset() - stop it and forget everything but its index. */
void devq_reset(struct devq *v);

/* devq_pop(): result of one attempt, for tests too. */
enum devq_popped {
	DEVQ_POP_EMPTY,
	DEVQ_POP_CHAIN,
	DEVQ_POP_BROKEN, /* *ret_why says why */
};

/*
 * The ring's memory as one thread sees it. Pure functions of it; the thread that serves the ring is
 * the only caller.
 */
struct devq_side {
	unsigned int size;
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t next_avail; /* the next entry of avail to take */
	uint16_t next_used;  /* the next entry of used to fill */
	bool event_idx;
	bool indirect;
};

enum devq_popped devq_side_pop(struct devq_side *s, const struct mem_table *t,
			       struct devq_chain *ret, const char **ret_why);

/* devq_side_push() - 0 or -EFAULT; *ret_notify: the driver wants an interrupt. */
int devq_side_push(struct devq_side *s, uint16_t head, uint32_t written, bool *ret_notify);

/*
 * devq_side_kicks() - ask the driver for kicks or for none. Returns 1 when there are chains that it
 * may have added without one, 0, or -EFAULT.
 */
int devq_side_kicks(struct devq_side *s, bool wanted);

/*
 * Whether spinning pays is learned by trying: it does while the time that is spun for each chain
 * that a spin finds is below DEVQ_WAKE_NS. On a machine whose processors are all needed to run the
 * guest, it does not: the guest cannot give more work while the thread holds its processor. When it
 * does not, the thread only sleeps, and sleeps that a spin could have replaced lead to another try;
 * each try in vain doubles how many of them it takes. {0} is the begin.
 */
struct devq_spin {
	bool on;	    /* spin before sleeping */
	int64_t credit_ns;  /* what was gained by spinning less what it took; it ends below 0 */
	unsigned int quick; /* short sleeps since it ended */
	unsigned int vain;  /* 2^vain of those lead to another try */
};

/* devq_spin_ended() - a spin that took @ns found a chain, or none. */
void devq_spin_ended(struct devq_spin *p, bool found, uint64_t ns);
/* devq_spin_slept() - the thread slept for @ns. */
void devq_spin_slept(struct devq_spin *p, uint64_t ns);

/* devq_side_spin() - wait up to @ns for a chain. 1: there is one, 0: none, or -EFAULT. */
int devq_side_spin(struct devq_side *s, uint64_t ns, const atomic_bool *stop);
