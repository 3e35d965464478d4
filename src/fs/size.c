// SPDX-License-Identifier: MIT
// What changes a file's size or attributes, and what tells of them.

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "relay_priv.h"

void relay_note_attr(struct relay *r, uint64_t nodeid, const struct fuse_attr *attr, uint64_t asked)
{
	struct inode *i;

	if (!S_ISREG(attr->mode))
		return;
	relay_pass_note(r, nodeid, attr);
	if (!r->dax)
		return;
	i = inode_get(r->inodes, nodeid);
	if (!i) {
		inode_told_early(r->inodes, nodeid, attr->size);
		return;
	}
	if (attr->mode & (S_ISUID | S_ISGID)) {
		scoped_lock(&i->lock);
		if (i->privs == PRIVS_NONE)
			i->privs = PRIVS_SET_ID;
	}
	inode_learn_size(i, attr->size, asked);
	inode_put(r->inodes, i);
}

int relay_settle_times(struct relay *r, uint64_t nodeid)
{
	int settled = relay_pass_settle(r, nodeid);
	struct inode *i;

	if (!r->dax || !inode_any_touched(r->inodes))
		return settled;
	i = inode_get(r->inodes, nodeid);
	if (i)
		upkeep_settle(r->upkeep, i);
	inode_put(r->inodes, i);
	return settled;
}

/*
 * A write that bypasses the kernel's page cache clears set-id bits on the host, but the kernel
 * keeps those in its cached mode (fs/fuse/file.c sends FUSE_WRITE_KILL_SUIDGID and invalidates only
 * size and times). It would then run a program with set-id bits that somebody has just overwritten.
 * So the kernel must not cache such a mode: it asks each time.
 */
static bool may_keep(const struct fuse_attr *attr)
{
	return !S_ISREG(attr->mode) || !(attr->mode & (S_ISUID | S_ISGID));
}

void relay_note_entry(struct relay *r, void *reply, uint64_t asked)
{
	struct fuse_entry_out out;

	/* The host can still change the reply: copy it once and use only the copy. */
	memcpy(&out, reply, sizeof(out));
	if (!out.nodeid)
		return;
	relay_note_attr(r, out.nodeid, &out.attr, asked);
	if (may_keep(&out.attr))
		return;
	out.attr_valid = out.attr_valid_nsec = 0;
	memcpy(reply, &out, sizeof(out));
}

/* Do not let the kernel cache set-id bits of a GETATTR or SETATTR reply. */
static struct fuse_attr limit_attr(void *reply)
{
	struct fuse_attr_out out;

	memcpy(&out, reply, sizeof(out));
	if (!may_keep(&out.attr)) {
		out.attr_valid = out.attr_valid_nsec = 0;
		memcpy(reply, &out, sizeof(out));
	}
	return out.attr;
}

/* The same for STATX. Returns only the attributes that are used here. */
static struct fuse_attr limit_statx(void *reply)
{
	struct fuse_statx_out out;
	struct fuse_attr attr;

	memcpy(&out, reply, sizeof(out));
	attr = (struct fuse_attr){ .mode = out.stat.mode, .size = out.stat.size };
	if (!may_keep(&attr)) {
		out.attr_valid = out.attr_valid_nsec = 0;
		memcpy(reply, &out, sizeof(out));
	}
	return attr;
}

void relay_attr(struct relay_req *q)
{
	bool statx = q->h->opcode == FUSE_STATX;
	struct fuse_attr attr;
	struct relay_rep rep;
	uint64_t asked;
	int r;

	(void)relay_settle_times(q->r, q->h->nodeid);
	asked = inode_epoch();
	r = relay_exchange(q, &rep);
	if (r == 0 && !rep.error &&
	    rep.len >= (statx ? sizeof(struct fuse_statx_out) : sizeof(struct fuse_attr_out))) {
		attr = statx ? limit_statx(rep.payload) : limit_attr(rep.payload);
		relay_note_attr(q->r, q->h->nodeid, &attr, asked);
	}
	relay_finish(q, r);
}

void relay_entry(struct relay_req *q)
{
	uint64_t asked = inode_epoch();
	struct relay_rep rep;

	/* Before the kernel can forget the node again, what the reply says must be noted. */
	int r = relay_exchange(q, &rep);

	if (r < 0) {
		relay_answer(q, r, 0);
		return;
	}
	if (rep.error == 0 && rep.len >= sizeof(struct fuse_entry_out))
		relay_note_entry(q->r, rep.payload, asked);
	relay_pass(q);
}

void relay_readdirplus(struct relay_req *q)
{
	uint64_t asked = inode_epoch();
	struct relay_rep rep;
	size_t off = 0, next;
	int r = relay_exchange(q, &rep);

	if (r < 0) {
		relay_answer(q, r, 0);
		return;
	}
	for (; !rep.error && range_ok(off, sizeof(struct fuse_direntplus), rep.len); off = next) {
		char *at = (char *)rep.payload + off;
		struct fuse_direntplus d;

		memcpy(&d, at, sizeof(d));
		if (!range_ok(off, FUSE_DIRENTPLUS_SIZE(&d), rep.len))
			break;
		next = off + FUSE_DIRENTPLUS_SIZE(&d);
		relay_note_entry(q->r, at, asked); /* a direntplus begins with the entry */
	}
	relay_pass(q);
}

void relay_flush(struct relay_req *q)
{
	struct relay_rep rep;
	int r, settled = relay_settle_times(q->r, q->h->nodeid);

	if (q->r->pass && q->h->opcode == FUSE_FLUSH)
		pass_flushed(q->r->pass, q->h->nodeid,
			     ((const struct fuse_flush_in *)q->p.arg)->fh);
	r = relay_exchange(q, &rep);
	relay_finish(q, settled < 0 ? settled : r);
	/* What closes a file has no locks on it any more. */
	if (q->h->opcode == FUSE_FLUSH)
		relay_unlocked(q);
}

/* A change of attributes or extended attributes may bring privileges that a write must drop. */
static void privs_may_come(struct inode *i)
{
	scoped_lock(&i->lock);
	i->privs = PRIVS_ANY;
}

/* The fixed part of SETXATTR is longer with FUSE_SETXATTR_EXT; the name and the value follow it. */
static bool sets_capability(const struct relay_req *q)
{
	static const char name[] = "security.capability";
	size_t more = q->r->agreed.kernel_flags & FUSE_SETXATTR_EXT
			      ? sizeof(struct fuse_setxattr_in) - FUSE_COMPAT_SETXATTR_IN_SIZE
			      : 0;

	return q->p.rest_len >= more + sizeof(name) &&
	       !memcmp((const char *)q->p.rest + more, name, sizeof(name));
}

void relay_setxattr(struct relay_req *q)
{
	bool held = q->r->pass_write && sets_capability(q);
	struct pass_hold hold;
	struct relay_rep rep;
	struct inode *i;
	int r;

	if (held && relay_pass_hold(q->r, q->h->nodeid, &hold) < 0) {
		relay_answer(q, -EBUSY, 0);
		return;
	}
	r = relay_exchange(q, &rep);
	if (held)
		relay_pass_unhold(q->r, &hold);
	/* Before the program hears of it: its next write must go to the host. */
	i = q->r->dax ? inode_get(q->r->inodes, q->h->nodeid) : NULL;
	if (i)
		privs_may_come(i);
	inode_put(q->r->inodes, i);
	relay_finish(q, r);
}

/* Forward what may take data of @i at and behind @from away; the file is held still meanwhile. */
static int exchange_exclusive(struct relay_req *q, struct inode *i, uint64_t from,
			      struct relay_rep *rep)
{
	int r;

	dax_drop(i->dax, FOFF(align_down(from, PAGE_4K)));
	r = relay_exchange(q, rep);
	if (r < 0 || rep->error)
		inode_size_unknown(i);
	return r;
}

static int setattr_exchange(struct relay_req *q, struct inode *i, const struct fuse_setattr_in *in,
			    struct relay_rep *rep)
{
	int r;

	if (!(in->valid & FATTR_SIZE))
		return relay_exchange(q, rep);
	inode_io_lock(i, true);
	r = exchange_exclusive(q, i, in->size, rep);
	if (r == 0 && !rep->error)
		inode_size_changed(i, in->size);
	(void)pthread_rwlock_unlock(&i->io);
	return r;
}

/* This request sets mtime, so an mtime that is due for earlier writes must not replace it. */
static int setattr_with_mtime(struct relay_req *q, struct inode *i,
			      const struct fuse_setattr_in *in, struct relay_rep *rep)
{
	bool settling = inode_settle_begin(q->r->inodes, i);
	int r = setattr_exchange(q, i, in, rep);

	if (settling && inode_settle_due(i) && (r < 0 || rep->error))
		(void)client_touch(q->r->client, i->nodeid, NULL);
	if (settling)
		inode_settle_end(q->r->inodes, i);
	return r;
}

void relay_setattr(struct relay_req *q)
{
	const struct fuse_setattr_in *in = q->p.arg;
	struct inode *i = q->r->dax ? inode_get(q->r->inodes, q->h->nodeid) : NULL;
	bool mtime = in->valid & (FATTR_MTIME | FATTR_SIZE);
	bool held = in->valid & FATTR_SIZE ||
		    (q->r->pass_write && in->valid & FATTR_MODE && in->mode & (S_ISUID | S_ISGID));
	struct pass_file *times = NULL;
	struct pass_hold hold;
	struct relay_rep rep;
	int r;

	(void)relay_pass_settle(q->r, q->h->nodeid);
	if (held && relay_pass_hold(q->r, q->h->nodeid, &hold) < 0) {
		relay_answer(q, -EBUSY, 0);
		inode_put(q->r->inodes, i);
		return;
	}
	/* If it does not set mtime, set the one that is due for earlier writes first. */
	if (i && !mtime)
		upkeep_settle(q->r->upkeep, i);
	if (i && in->valid & (FATTR_MODE | FATTR_UID | FATTR_GID))
		privs_may_come(i);
	/* Whatever it sets, ctime moves. */
	if (i)
		i->atime_due = true;
	if (mtime)
		times = relay_pass_times_begin(q->r, q->h->nodeid);
	r = !i	    ? relay_exchange(q, &rep)
	    : mtime ? setattr_with_mtime(q, i, in, &rep)
		    : setattr_exchange(q, i, in, &rep);
	relay_pass_times_end(q->r, times, r == 0 ? &rep : NULL);
	if (held)
		relay_pass_unhold(q->r, &hold);
	if (r == 0 && !rep.error && rep.len >= sizeof(struct fuse_attr_out))
		(void)limit_attr(rep.payload);
	/* Again: a write that the host did before this may have been answered meanwhile. */
	if (i && in->valid & (FATTR_MODE | FATTR_UID | FATTR_GID))
		privs_may_come(i);
	relay_finish(q, r);
	inode_put(q->r->inodes, i);
}

/*
 * Punching, zeroing, collapsing and growing alike: the file is held still, the size asked anew.
 * @passed: the answer when the file is passed through.
 */
static void relay_exclusive(struct relay_req *q, uint64_t nodeid, uint64_t from, int passed)
{
	struct inode *i = q->r->dax ? inode_get(q->r->inodes, nodeid) : NULL;
	struct pass_hold hold;
	struct relay_rep rep;
	int r;

	if (relay_pass_hold(q->r, nodeid, &hold) < 0) {
		relay_answer(q, passed, 0);
		inode_put(q->r->inodes, i);
		return;
	}
	if (i) {
		inode_io_lock(i, true);
		r = exchange_exclusive(q, i, from, &rep);
		inode_size_unknown(i);
		(void)pthread_rwlock_unlock(&i->io);
	} else {
		r = relay_exchange(q, &rep);
	}
	relay_pass_unhold(q->r, &hold);
	relay_finish(q, r);
	inode_put(q->r->inodes, i);
}

void relay_fallocate(struct relay_req *q)
{
	const struct fuse_fallocate_in *in = q->p.arg;

	relay_tell_caller(q);
	(void)relay_settle_times(q->r, q->h->nodeid);
	relay_exclusive(q, q->h->nodeid, in->offset, -EBUSY);
}

void relay_copy_file_range(struct relay_req *q)
{
	const struct fuse_copy_file_range_in *in = q->p.arg;

	relay_tell_caller(q);
	/* The last page of the source, too: the host copies what it has. */
	(void)relay_pass_settle(q->r, q->h->nodeid);
	(void)relay_settle_times(q->r, in->nodeid_out);
	/* Then the kernel copies by reading and writing, which works. */
	relay_exclusive(q, in->nodeid_out, in->off_out, -EOPNOTSUPP);
}
