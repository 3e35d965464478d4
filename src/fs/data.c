// SPDX-License-Identifier: MIT
// READ and WRITE: through the window, or to the host.

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/counter.h"
#include "base/time.h"
#include "relay_priv.h"

/*
 * A program that reads a file to its end reads once more after a short read. If the short read
 * ended at the size that the host has told, that is the end of the file. For this time the next
 * read there gets 0 bytes without asking the host, once.
 */
#define END_TRUST_NS (2 * NSEC_PER_MS)

/* Where reads and writes alternate, the host sees one read in this time. */
#define ATIME_NS (10 * NSEC_PER_MS)

/* Time one small miss in so many: to read the clock twice costs as much as to search the window. */
#define MISS_TIMED 8u

/* What is known of a file when an access to it begins. All of it may change at once. */
struct known {
	bool size;	/* the size is known */
	uint64_t limit; /* whole pages inside the file, in bytes */
	enum privs privs;
	bool atime_due; /* the host must see the next read */
};

static struct known inode_known(struct inode *i)
{
	uint64_t size = i->size;
	bool known = size != INODE_SIZE_UNKNOWN;

	return (struct known){ .size = known,
			       .limit = known ? align_down(size, PAGE_4K) : 0,
			       .privs = i->privs,
			       .atime_due =
				       i->atime_due && time_now_ns() - i->atime_ns >= ATIME_NS };
}

/* Ask the host for the size, if somebody found that it is wanted. */
static void renew_size(struct relay *r, struct inode *i)
{
	uint64_t asked = inode_epoch();
	struct fuse_attr attr;

	/* relaxed: a thread that misses it learns the same from the next reply */
	if (!atomic_load_explicit(&i->size_wanted, memory_order_relaxed))
		return;
	if (atomic_exchange(&i->size_wanted, false) &&
	    client_getattr(r->client, i->nodeid, &attr) == 0)
		inode_learn_size(i, attr.size, asked);
}

/* What a reply to a READ of the host says about the size; @k: what was known before. */
static void learn_from_read(struct inode *i, const struct known *k, const struct fuse_read_in *in,
			    size_t got, uint64_t asked)
{
	uint64_t end;

	if (!add_u64(in->offset, got, &end))
		return;
	if (got && got < in->size) {
		inode_learn_end(i, end, asked, END_TRUST_NS);
	} else if (!got && k->size && in->offset < k->limit) {
		/* The file has become shorter. Until we know its size, do not use the window. */
		inode_size_unknown(i);
	} else if (!k->size || end > k->limit + PAGE_4K) {
		/* There is data where we thought the end was, or we do not know the size. */
		atomic_store(&i->size_wanted, true);
	}
}

/* A READ or WRITE, which goes through the window or over the virtqueue. */
struct access {
	struct inode *i; /* or NULL */
	enum cost_op op;
	uint64_t off;
	uint32_t size;
	struct known known;  /* of the file, from before a reply of the host */
	bool uncounted;	     /* the window declined it and has not counted the miss yet */
	bool both;	     /* window and virtqueue are both possible: compare their cost */
	enum cost_path path; /* the one that was chosen */
	bool sample;	     /* measure its cost */
	uint64_t begin;	     /* in ns; 0: not measured */
	uint64_t asked;	     /* the epoch when the host was asked */
};

/* Small accesses always try the window first; for larger ones the cost may decide. */
static bool access_small(const struct access *a)
{
	return a->size < COST_SIZE_MIN;
}

/* Does the window decline it without taking locks? */
static bool access_declined(const struct access *a)
{
	return a->i->use_dax && access_small(a) && dax_declines(a->i->dax, FOFF(a->off));
}

/* Is all of it in whole pages of the file? */
static bool access_inside(const struct access *a)
{
	return a->size && range_ok(a->off, a->size, a->known.limit);
}

/* Called while the host works on the request: count the miss. */
static void access_count_miss(void *arg)
{
	struct access *a = arg;
	struct inode *i = a->i;
	bool write = a->op == COST_WRITE;

	a->known = inode_known(i);
	if (!access_inside(a) ||
	    dax_note_miss(i->dax, FOFF(a->off), a->size, a->known.limit, write))
		return;
	/* Keep truncations out. If one is running, do not count the miss. */
	if (pthread_rwlock_tryrdlock(&i->io))
		return;
	a->known = inode_known(i);
	if (access_inside(a))
		dax_count_miss(i->dax, FOFF(a->off), a->size, a->known.limit, write);
	(void)pthread_rwlock_unlock(&i->io);
}

/*
 * Choose the path of an access. True: the window, which it may use and which is cheaper, as far as
 * is known.
 */
static bool access_choose_window(struct relay_req *q, struct access *a)
{
	if (!a->i->use_dax || !access_inside(a) || a->size > q->r->wish.max_write)
		return false;
	if (!q->r->by_cost || access_small(a))
		return true;
	a->both = true;
	a->path = cost_choose(&q->r->cost, a->op, a->size, &a->sample);
	a->begin = a->sample ? time_now_ns() : 0;
	return a->path == COST_WINDOW;
}

static void access_ended(struct relay_req *q, const struct access *a, enum cost_path path)
{
	uint64_t ns;

	if (!a->begin)
		return;
	ns = time_now_ns() - a->begin;
	if (a->sample && (path == COST_VIRTQUEUE || !dax_has_mapped()))
		cost_sample(&q->r->cost, a->op, a->size, path, ns);
	/* The window was chosen but could not serve it: tell what a mapping would have saved. */
	if (path == COST_VIRTQUEUE && a->path == COST_WINDOW)
		dax_missed(q->r->dax, a->both ? ns : MISS_TIMED * ns);
}

/* Send a request that does not use the window to the host. */
static int access_by_host(struct relay_req *q, struct access *a, struct relay_rep *rep)
{
	struct client_slot *s = q->w->slot;
	int r;

	if (a->uncounted) {
		s->meanwhile = access_count_miss;
		s->meanwhile_arg = a;
	}
	a->begin = a->i && a->i->dax && (a->both || ++q->w->misses % MISS_TIMED == 0)
			   ? time_now_ns()
			   : 0;
	/* A miss also measures the cost of the virtqueue. */
	a->sample = a->both && (a->path == COST_WINDOW || a->sample);
	a->asked = inode_epoch();
	r = relay_exchange(q, rep);
	if (r == 0)
		access_ended(q, a, COST_VIRTQUEUE);
	return r;
}

/*
 * A read updates atime if that is not later than mtime or ctime (relatime). The host does so by its
 * own rules if it sees the first read after one of these changed; it need not see more. Where reads
 * and writes alternate, it sees one read in ATIME_NS.
 */
static bool read_from_window(struct relay_req *q, struct access *a)
{
	struct inode *i = a->i;
	int r = -EAGAIN;

	if (!i->use_dax)
		return false;
	renew_size(q->r, i);
	a->uncounted = access_declined(a);
	if (a->uncounted)
		return false;
	inode_io_lock(i, false);
	a->known = inode_known(i);
	if (!a->known.atime_due && access_choose_window(q, a))
		r = dax_read(i->dax, FOFF(a->off), relay_payload(q), a->size, a->known.limit);
	(void)pthread_rwlock_unlock(&i->io);
	if (r < 0)
		return false;
	access_ended(q, a, COST_WINDOW);
	relay_answer(q, 0, a->size);
	return true;
}

static void atime_settled(struct inode *i)
{
	/* Cleared before the read is sent: a write from now on counts as later than this read. */
	if (!i->atime_due)
		return;
	i->atime_due = false;
	i->atime_ns = time_now_ns();
}

/*
 * The entry of the file that is read or written. NULL: there is none, and neither the window nor
 * the guest's page cache matters.
 */
static struct inode *data_inode(struct relay_req *q)
{
	return relay_keeps_files(q->r) ? inode_get_open(q->r->inodes, q->h->nodeid, q->w->memos)
				       : NULL;
}

void relay_read(struct relay_req *q)
{
	const struct fuse_read_in *in = q->p.arg;
	struct inode *i = data_inode(q);
	struct access a = { .i = i, .op = COST_READ, .off = in->offset, .size = in->size };
	struct relay_rep rep;
	uint64_t asked;
	int r;

	/* Also of a file that another open has made direct: its ranges are still there. */
	if (i && !(in->read_flags & FUSE_READ_LOCKOWNER))
		page_cache_read(&i->page_cache, in->offset, in->size);
	if (i && i->use_dax && inode_take_end(i, in->offset)) {
		relay_answer(q, 0, 0);
		inode_put(q->r->inodes, i);
		return;
	}
	if (!i || !read_from_window(q, &a)) {
		asked = inode_epoch();
		if (i && i->use_dax)
			atime_settled(i);
		r = access_by_host(q, &a, &rep);
		relay_finish(q, r);
		if (r == 0 && !rep.error) {
			counter_add(COUNTER_virtqueue_read_bytes, rep.len);
			if (i && i->use_dax)
				learn_from_read(i, &a.known, in, rep.len, asked);
		}
	}
	inode_put(q->r->inodes, i);
}

/* What a write leaves of a file's privileges. */
static enum privs privs_after(const struct fuse_write_in *in)
{
	return in->write_flags & FUSE_WRITE_KILL_SUIDGID ? PRIVS_NONE : PRIVS_SET_ID;
}

/*
 * A write through the window must have the effects of one. The first write after an open or a
 * change of attributes goes to the host, which drops setuid, setgid and capabilities. The mtime is
 * set later (fs/upkeep.h). False: it was not written.
 */
static bool write_to_window(struct relay_req *q, const struct fuse_write_in *in, struct access *a,
			    const void *data)
{
	struct inode *i = a->i;
	int r = -EAGAIN;

	if (!i || !i->use_dax)
		return false;
	renew_size(q->r, i);
	a->uncounted = access_declined(a);
	if (a->uncounted)
		return false;
	inode_io_lock(i, false);
	a->known = inode_known(i);
	if (a->known.privs >= privs_after(in) && access_choose_window(q, a))
		r = dax_write(i->dax, FOFF(a->off), data, a->size, a->known.limit);
	(void)pthread_rwlock_unlock(&i->io);
	if (r < 0)
		return false;
	access_ended(q, a, COST_WINDOW);

	if (inode_touched(q->r->inodes, i))
		upkeep_written(q->r->upkeep, i);
	i->atime_due = true;
	return true;
}

/*
 * Note what a WRITE by the host changes for us, before the kernel gets the reply. Returns how many
 * bytes were written; 0 if none, or on an error.
 */
static uint32_t written_by_host(struct relay_req *q, struct access *a,
				const struct fuse_write_in *in, const struct relay_rep *rep)
{
	struct inode *i = a->i;
	struct fuse_write_out out;
	uint64_t end;

	if (rep->error || rep->len < sizeof(out))
		return 0;
	memcpy(&out, rep->payload, sizeof(out));
	if (out.size > a->size || !add_u64(a->off, out.size, &end))
		return 0;
	counter_add(COUNTER_virtqueue_write_bytes, out.size);
	if (!i || !i->use_dax)
		return out.size;
	inode_size_grown(i, end, a->asked);
	(void)pthread_mutex_lock(&i->lock);
	i->privs = MAX(i->privs, privs_after(in));
	(void)pthread_mutex_unlock(&i->lock);
	i->atime_due = true;
	if (i->size == INODE_SIZE_UNKNOWN)
		i->size_wanted = true;
	return out.size;
}

/* Answer a WRITE: @size bytes were written, or @error. */
static void answer_written(struct relay_req *q, int error, uint32_t size)
{
	*(struct fuse_write_out *)relay_payload(q) = (struct fuse_write_out){ .size = size };
	relay_answer(q, error, sizeof(struct fuse_write_out));
}

static struct access write_access(struct inode *i, uint64_t off, uint32_t size)
{
	return (struct access){ .i = i, .op = COST_WRITE, .off = off, .size = size };
}

static void write_direct(struct relay_req *q, struct inode *i, const struct fuse_write_in *in)
{
	struct access a = write_access(i, in->offset, in->size);
	bool track = i && i->direct && in->write_flags & FUSE_WRITE_LOCKOWNER;
	struct page_range range = { 0 };
	struct relay_rep rep;
	bool by_window;
	int r = 0;

	/* write(2) through the page cache leaves pages there, newer than what a truncation has
	 * covered. */
	if (i && q->r->wish.truncating_open && !(in->write_flags & FUSE_WRITE_LOCKOWNER))
		page_cache_read(&i->page_cache, in->offset, in->size);
	if (track)
		page_cache_write_begin(&i->page_cache, &range, in->offset, in->size);
	by_window = write_to_window(q, in, &a, q->p.rest);
	if (!by_window)
		r = access_by_host(q, &a, &rep);
	if (!by_window && r == 0)
		(void)written_by_host(q, &a, in, &rep);
	if (track && page_cache_write_end(&i->page_cache, &range, r == 0))
		notifier_drop_pages(q->r->notifier, i->nodeid, in->offset, in->size);
	if (by_window)
		answer_written(q, 0, in->size);
	else
		relay_finish(q, r);
}

/*
 * Send @len bytes at @off of a write-back as a WRITE of their own, and what is left after a short
 * write again. They lie at @data in the request buffer and are moved to its front, over bytes that
 * are done; bytes behind them stay. Returns 0 when all is written, or a negative errno.
 */
static int write_back_part(struct relay_req *q, struct inode *i, uint64_t off, uint32_t len,
			   const char *data)
{
	struct fuse_in_header *h = (void *)q->w->slot->req;
	struct fuse_write_in *in = (void *)(h + 1);

	while (len) {
		struct access a = write_access(i, off, len);
		struct relay_rep rep;
		uint32_t done;
		int r;

		if (write_to_window(q, in, &a, data))
			return 0;
		memmove(in + 1, data, len);
		in->offset = off;
		in->size = len;
		q->len = sizeof(*h) + sizeof(*in) + len;
		h->len = (uint32_t)q->len;
		r = access_by_host(q, &a, &rep);
		if (r < 0)
			return r;
		done = written_by_host(q, &a, in, &rep);
		if (!done)
			return rep.error ? rep.error : -EIO;
		data = (const char *)(in + 1) + done;
		off += done;
		len -= done;
	}
	return 0;
}

/*
 * Write back pages that stores made dirty, but not the bytes that are newer on the host
 * (fs/page_cache.h). After a short write go on until all is written or an error comes: the kernel
 * ignores that a write-back was short (fs/fuse/file.c, fuse_writepage_end()), so nobody would learn
 * of the error.
 */
static void write_back(struct relay_req *q, struct inode *i, const struct fuse_write_in *in)
{
	const uint64_t first = in->offset;
	const uint32_t all = in->size;
	const char *data = q->p.rest;
	struct page_range range = { 0 };
	uint64_t off = first, end = first + all, len;
	int r = 0;

	if (i)
		page_cache_back_begin(&i->page_cache, &range, first, all);
	while (r == 0 && off < end) {
		len = end - off;
		if (i && !page_cache_back_next(&i->page_cache, &range, &off, &len))
			break;
		r = write_back_part(q, i, off, (uint32_t)len, data + (off - first));
		off += len;
	}
	if (i)
		page_cache_back_end(&i->page_cache, &range);
	answer_written(q, r, all);
}

void relay_write(struct relay_req *q)
{
	const struct fuse_write_in *in = q->p.arg;
	struct inode *i = data_inode(q);
	uint64_t end;

	if (in->write_flags & FUSE_WRITE_CACHE && add_u64(in->offset, in->size, &end))
		write_back(q, i, in);
	else
		write_direct(q, i, in);
	inode_put(q->r->inodes, i);
}
