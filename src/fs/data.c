// SPDX-License-Identifier: MIT
// READ and WRITE: through the window, or to the host.

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/counter.h"
#include "base/time.h"
#include "relay_priv.h"

#define ATIME_NS (10 * NSEC_PER_MS)

/* What is known of a file when an access to it begins. */
struct known {
	bool size;	 /* the size is known */
	uint64_t limit;	 /* whole pages inside the file, in bytes */
	bool privs_gone; /* a write need not drop privileges any more */
	bool atime_due;	 /* a read must be seen by the host */
};

static struct known inode_known(struct inode *i)
{
	struct known k;

	(void)pthread_mutex_lock(&i->lock);
	k = (struct known){ .size = i->size_known,
			    .limit = i->size_known ? align_down(i->size, PAGE_4K) : 0,
			    .privs_gone = i->privs_gone,
			    .atime_due = i->atime_due && time_now_ns() - i->atime_ns >= ATIME_NS };
	(void)pthread_mutex_unlock(&i->lock);
	return k;
}

/* Ask the host for the size, if somebody found that it is wanted. */
static void renew_size(struct relay *r, struct inode *i)
{
	uint64_t asked = inode_epoch();
	struct fuse_attr attr;
	bool wanted;

	(void)pthread_mutex_lock(&i->lock);
	wanted = i->size_wanted;
	i->size_wanted = false;
	(void)pthread_mutex_unlock(&i->lock);
	if (wanted && client_getattr(r->client, i->nodeid, &attr) == 0)
		inode_learn_size(i, attr.size, asked);
}

/* What a reply to a READ of the host says about the size. */
static void learn_from_read(struct inode *i, const struct fuse_read_in *in, size_t got,
			    uint64_t asked)
{
	struct known k = inode_known(i);
	uint64_t end;

	if (!add_u64(in->offset, got, &end))
		return;
	if (got && got < in->size) {
		inode_learn_size(i, end, asked);
	} else if (!got && k.size && in->offset < k.limit) {
		/* The end is somewhere before: until we know where, nothing is touched there. */
		inode_size_unknown(i);
	} else if (!k.size || end > k.limit + PAGE_4K) {
		/* Still data where we thought the end was, or no idea at all. */
		(void)pthread_mutex_lock(&i->lock);
		i->size_wanted = true;
		(void)pthread_mutex_unlock(&i->lock);
	}
}

/*
 * A read moves atime when that is not younger than mtime or ctime (relatime). The host does it by
 * its own rules, if it sees the first read after such a time moved; of more there is no need. Where
 * reads and writes alternate it sees one in ATIME_NS.
 */
static bool read_from_window(struct relay_req *q, struct inode *i, const struct fuse_read_in *in)
{
	struct known k;
	int r = -EAGAIN;

	renew_size(q->r, i);
	(void)pthread_rwlock_rdlock(&i->io);
	k = inode_known(i);
	if (i->use_dax && in->size && !k.atime_due && range_ok(in->offset, in->size, k.limit) &&
	    in->size <= q->r->wish.max_write)
		r = dax_read(i->dax, FOFF(in->offset), relay_payload(q), in->size, k.limit);
	(void)pthread_rwlock_unlock(&i->io);
	if (r == 0)
		relay_answer(q, 0, in->size);
	return r == 0;
}

static void atime_settled(struct inode *i)
{
	scoped_lock(&i->lock);
	i->atime_due = false;
	i->atime_ns = time_now_ns();
}

void relay_read(struct relay_req *q)
{
	const struct fuse_read_in *in = q->p.arg;
	struct inode *i = q->r->dax ? inode_get(q->r->inodes, q->h->nodeid) : NULL;
	uint64_t asked, begin;
	struct relay_rep rep;
	int r;

	if (!i || !read_from_window(q, i, in)) {
		asked = inode_epoch();
		begin = time_now_ns();
		if (i)
			atime_settled(i);
		r = relay_exchange(q, &rep);
		if (i && r == 0)
			dax_missed(q->r->dax, time_now_ns() - begin);
		relay_finish(q, r);
		if (r == 0 && !rep.error) {
			counter_add(COUNTER_virtqueue_read_bytes, rep.len);
			if (i)
				learn_from_read(i, in, rep.len, asked);
		}
	}
	inode_put(q->r->inodes, i);
}

/*
 * A write through the window must look like one. The first write after an open or a change of
 * attributes goes to the host, which drops setuid, setgid and capabilities; mtime follows by
 * relay_settle_times().
 */
static bool write_to_window(struct relay_req *q, struct inode *i, const struct fuse_write_in *in)
{
	struct known k;
	int r = -EAGAIN;

	renew_size(q->r, i);
	(void)pthread_rwlock_rdlock(&i->io);
	k = inode_known(i);
	if (i->use_dax && in->size && k.privs_gone && range_ok(in->offset, in->size, k.limit))
		r = dax_write(i->dax, FOFF(in->offset), q->p.rest, in->size, k.limit);
	(void)pthread_rwlock_unlock(&i->io);
	if (r < 0)
		return false;

	(void)pthread_mutex_lock(&i->lock);
	i->touched = true;
	i->atime_due = true;
	(void)pthread_mutex_unlock(&i->lock);
	*(struct fuse_write_out *)relay_payload(q) = (struct fuse_write_out){ .size = in->size };
	relay_answer(q, 0, sizeof(struct fuse_write_out));
	return true;
}

/* The host has written: what follows for us. Before the kernel hears of it. */
static void written_by_host(struct relay_req *q, struct inode *i, const struct fuse_write_in *in,
			    const struct relay_rep *rep)
{
	struct fuse_write_out out;
	uint64_t end;

	if (rep->error || rep->len < sizeof(out))
		return;
	memcpy(&out, rep->payload, sizeof(out));
	if (out.size > in->size || !add_u64(in->offset, out.size, &end))
		return;
	counter_add(COUNTER_virtqueue_write_bytes, out.size);
	if (!i)
		return;
	inode_size_grown(i, end);
	(void)pthread_mutex_lock(&i->lock);
	i->privs_gone = true;
	i->atime_due = true;
	if (!i->size_known)
		i->size_wanted = true;
	(void)pthread_mutex_unlock(&i->lock);
}

void relay_write(struct relay_req *q)
{
	const struct fuse_write_in *in = q->p.arg;
	struct inode *i = q->r->dax ? inode_get(q->r->inodes, q->h->nodeid) : NULL;
	struct relay_rep rep;
	uint64_t begin;
	int r;

	if (!i || !write_to_window(q, i, in)) {
		begin = time_now_ns();
		r = relay_exchange(q, &rep);
		if (i && r == 0)
			dax_missed(q->r->dax, time_now_ns() - begin);
		if (r == 0)
			written_by_host(q, i, in, &rep);
		relay_finish(q, r);
	}
	inode_put(q->r->inodes, i);
}
