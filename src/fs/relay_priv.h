/* SPDX-License-Identifier: MIT */
/* What the files of the relay share. */
#pragma once

#include "fs/relay.h"

/* What the host said. */
struct relay_rep {
	int error;     /* 0, or the negative errno in the header */
	void *payload; /* behind the header */
	size_t len;    /* of the payload */
};

/* One request on its way. */
struct relay_req {
	struct relay_worker *w;
	struct relay *r;
	struct fuse_in_header header;	/* a copy: the slot may be given up meanwhile */
	const struct fuse_in_header *h; /* the copy */
	size_t len;			/* of the request */
	size_t rep_cap;			/* what the reply may have */
	struct relay_rep rep;		/* the host's, once it is there */
	struct fuse_req p;		/* valid when parsed */
	bool parsed;
};

/*
 * relay_exchange() - send the request to the host. Returns 0 and the reply, or a negative errno:
 * then there is no reply, and the kernel must be given that error.
 */
int relay_exchange(struct relay_req *q, struct relay_rep *ret);

/* relay_pass() - give the host's reply to the kernel as it is. */
void relay_pass(struct relay_req *q);

/* relay_answer() - reply with @error, or with @len bytes at relay_payload(). */
void relay_answer(struct relay_req *q, int error, size_t len);

/* relay_payload() - where the payload of a reply of ours is put. */
void *relay_payload(struct relay_req *q);

/* relay_finish() - pass the reply, or answer with @r, the error of the exchange. */
void relay_finish(struct relay_req *q, int r);

/* relay_forward() - exchange and pass, or the error. Returns 0 when the host answered without
 * error. */
int relay_forward(struct relay_req *q, struct relay_rep *ret);

/* relay_keeps_files() - do open files get an entry in the inode table? Constant after INIT. */
static inline bool relay_keeps_files(const struct relay *r)
{
	return r->dax || r->direct_mmap || r->pass;
}

/* data.c */
void relay_read(struct relay_req *q);
void relay_write(struct relay_req *q);

/* open.c */
void relay_open(struct relay_req *q);
void relay_opendir(struct relay_req *q);
void relay_create(struct relay_req *q);
void relay_release(struct relay_req *q);

/* through.c: files that are passed through */
/*
 * relay_pass_open() - the host has opened @i; if it can be, it is passed through, and *out says so.
 * Returns 0, or -EBUSY: others have it open in a way that this open cannot join.
 */
int relay_pass_open(struct relay_req *q, struct inode *i, uint32_t flags,
		    struct fuse_open_out *out);
/* relay_pass_note() - the host has just told these attributes. */
void relay_pass_note(struct relay *r, uint64_t nodeid, const struct fuse_attr *attr);
/*
 * relay_pass_settle() - make the host's file what the kernel has written to its backing file. 0, or
 * a negative errno: its last page is not on the host.
 */
int relay_pass_settle(struct relay *r, uint64_t nodeid);
/*
 * relay_pass_times_begin(), relay_pass_times_end() - around a SETATTR that sets mtime, see
 * pass_times_begin(). @rep: its reply, or NULL.
 */
struct pass_file *relay_pass_times_begin(struct relay *r, uint64_t nodeid);
void relay_pass_times_end(struct relay *r, struct pass_file *f, const struct relay_rep *rep);
/*
 * relay_pass_hold(), relay_pass_unhold() - around a request that changes size, blocks or privileges
 * of a file: nobody passes it through meanwhile. 0, or -EBUSY: it is passed through.
 */
int relay_pass_hold(struct relay *r, uint64_t nodeid, struct pass_hold *h);
void relay_pass_unhold(struct relay *r, struct pass_hold *h);

/* lock.c */
void relay_setlk(struct relay_req *q); /* SETLK, SETLKW */
/* relay_unlocked() - @q may have unlocked something of its inode: others may get it now. */
void relay_unlocked(struct relay_req *q);
/*
 * relay_interrupt_lock() - the asker of @unique got a signal: mark it with whoever serves it. True
 * when it waits for a lock here: the host, which is only asked by SETLK, has nothing to interrupt.
 */
bool relay_interrupt_lock(struct relay *r, uint64_t unique);

/* size.c: what changes a file's size or data, and what tells of it. */
void relay_setattr(struct relay_req *q);
void relay_fallocate(struct relay_req *q);
void relay_copy_file_range(struct relay_req *q);
void relay_attr(struct relay_req *q);  /* GETATTR, STATX */
void relay_entry(struct relay_req *q); /* LOOKUP, LINK, MKNOD: replies with a fuse_entry_out */
void relay_readdirplus(struct relay_req *q);
void relay_flush(struct relay_req *q); /* FLUSH, FSYNC */
void relay_setxattr(struct relay_req *q);

/*
 * relay_tell_caller() - put the caller's user and group into a request that came without them. The
 * host needs them to decide whether set-id bits stay. Does nothing if they cannot be found.
 */
void relay_tell_caller(struct relay_req *q);

/*
 * relay_note_attr() - note attributes that the host was asked for at epoch @asked: the size, and
 * set-id bits, which the next write must drop.
 * relay_note_entry() - the same for the fuse_entry_out at @reply. If the mode has set-id bits, set
 * attr_valid in the reply to 0, so that the kernel does not cache them.
 */
void relay_note_attr(struct relay *r, uint64_t nodeid, const struct fuse_attr *attr,
		     uint64_t asked);
void relay_note_entry(struct relay *r, void *reply, uint64_t asked);

/*
 * relay_settle_times() - set the mtime that is due for a file written through the window or by
 * passthrough, before the host is asked for it. 0, or the error of relay_pass_settle().
 */
int relay_settle_times(struct relay *r, uint64_t nodeid);
