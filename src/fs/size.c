// SPDX-License-Identifier: MIT
// What changes a file's size or attributes, and what tells of them.

#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "relay_priv.h"

void relay_note_attr(struct relay *r, uint64_t nodeid, const struct fuse_attr *attr, uint64_t asked)
{
	struct inode *i;

	if (!r->dax || !S_ISREG(attr->mode))
		return;
	i = inode_get(r->inodes, nodeid);
	if (!i)
		return;
	if (attr->mode & (S_ISUID | S_ISGID)) {
		scoped_lock(&i->lock);
		if (i->privs == PRIVS_NONE)
			i->privs = PRIVS_SET_ID;
	}
	inode_learn_size(i, attr->size, asked);
	inode_put(r->inodes, i);
}

void relay_settle_times(struct relay *r, uint64_t nodeid)
{
	struct inode *i;

	if (!r->dax || !inode_any_touched(r->inodes))
		return;
	i = inode_get(r->inodes, nodeid);
	if (i && inode_settled(r->inodes, i))
		(void)client_touch(r->client, nodeid);
	inode_put(r->inodes, i);
}

void relay_attr(struct relay_req *q)
{
	uint64_t asked;
	struct relay_rep rep;

	relay_settle_times(q->r, q->h->nodeid);
	asked = inode_epoch();
	if (relay_forward(q, &rep) < 0 || !q->r->dax)
		return;
	if (q->h->opcode == FUSE_STATX && rep.len >= sizeof(struct fuse_statx_out)) {
		const struct fuse_statx_out *out = rep.payload;
		struct fuse_attr attr = { .mode = out->stat.mode, .size = out->stat.size };

		relay_note_attr(q->r, q->h->nodeid, &attr, asked);
	} else if (q->h->opcode == FUSE_GETATTR && rep.len >= sizeof(struct fuse_attr_out)) {
		struct fuse_attr_out out;

		memcpy(&out, rep.payload, sizeof(out));
		relay_note_attr(q->r, q->h->nodeid, &out.attr, asked);
	}
}

void relay_entry(struct relay_req *q)
{
	uint64_t asked = inode_epoch();
	struct fuse_entry_out out;
	struct relay_rep rep;

	/* Before the kernel can forget the node again, what the reply says must be noted. */
	int r = relay_exchange(q, &rep);

	if (r < 0) {
		relay_answer(q, r, 0);
		return;
	}
	if (rep.error == 0 && rep.len >= sizeof(out)) {
		memcpy(&out, rep.payload, sizeof(out));
		if (out.nodeid)
			relay_note_attr(q->r, out.nodeid, &out.attr, asked);
	}
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
	for (; q->r->dax && !rep.error && range_ok(off, sizeof(struct fuse_direntplus), rep.len);
	     off = next) {
		struct fuse_direntplus d;

		/* The host can still write to it: copied once, and only the copy is used. */
		memcpy(&d, (const char *)rep.payload + off, sizeof(d));
		if (!range_ok(off, FUSE_DIRENTPLUS_SIZE(&d), rep.len))
			break;
		next = off + FUSE_DIRENTPLUS_SIZE(&d);
		if (d.entry_out.nodeid)
			relay_note_attr(q->r, d.entry_out.nodeid, &d.entry_out.attr, asked);
	}
	relay_pass(q);
}

void relay_flush(struct relay_req *q)
{
	relay_settle_times(q->r, q->h->nodeid);
	(void)relay_forward(q, NULL);
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

void relay_setxattr(struct relay_req *q)
{
	struct inode *i;

	(void)relay_forward(q, NULL);
	i = q->r->dax ? inode_get(q->r->inodes, q->h->nodeid) : NULL;
	if (i)
		privs_may_come(i);
	inode_put(q->r->inodes, i);
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

void relay_setattr(struct relay_req *q)
{
	const struct fuse_setattr_in *in = q->p.arg;
	struct inode *i = q->r->dax ? inode_get(q->r->inodes, q->h->nodeid) : NULL;
	struct relay_rep rep;
	int r;

	/* Times that the caller sets replace those of earlier writes. */
	if (!(in->valid & (FATTR_MTIME | FATTR_SIZE)))
		relay_settle_times(q->r, q->h->nodeid);
	if (!i) {
		(void)relay_forward(q, NULL);
		return;
	}
	if (in->valid & (FATTR_MTIME | FATTR_SIZE))
		(void)inode_settled(q->r->inodes, i);
	if (in->valid & (FATTR_MODE | FATTR_UID | FATTR_GID))
		privs_may_come(i);
	/* Whatever it sets, ctime moves. */
	i->atime_due = true;
	if (in->valid & FATTR_SIZE) {
		inode_io_lock(i, true);
		r = exchange_exclusive(q, i, in->size, &rep);
		if (r == 0 && !rep.error)
			inode_size_changed(i, in->size);
		(void)pthread_rwlock_unlock(&i->io);
	} else {
		r = relay_exchange(q, &rep);
	}
	relay_finish(q, r);
	inode_put(q->r->inodes, i);
}

/* Punching, zeroing, collapsing and growing alike: the file is held still, the size asked anew. */
static void relay_exclusive(struct relay_req *q, uint64_t nodeid, uint64_t from)
{
	struct inode *i = q->r->dax ? inode_get(q->r->inodes, nodeid) : NULL;
	struct relay_rep rep;
	int r;

	if (!i) {
		(void)relay_forward(q, NULL);
		return;
	}
	inode_io_lock(i, true);
	r = exchange_exclusive(q, i, from, &rep);
	inode_size_unknown(i);
	(void)pthread_rwlock_unlock(&i->io);
	relay_finish(q, r);
	inode_put(q->r->inodes, i);
}

void relay_fallocate(struct relay_req *q)
{
	const struct fuse_fallocate_in *in = q->p.arg;

	relay_tell_caller(q);
	relay_settle_times(q->r, q->h->nodeid);
	relay_exclusive(q, q->h->nodeid, in->offset);
}

void relay_copy_file_range(struct relay_req *q)
{
	const struct fuse_copy_file_range_in *in = q->p.arg;

	relay_tell_caller(q);
	relay_settle_times(q->r, in->nodeid_out);
	relay_exclusive(q, in->nodeid_out, in->off_out);
}
