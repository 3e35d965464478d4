// SPDX-License-Identifier: MIT
// READ and WRITE: through the window, or to the host.

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/counter.h"
#include "base/time.h"
#include "relay_priv.h"

/*
 * A program that reads a file to its end asks once more behind a short read. Where that ended at
 * the size that the host has told, it is the end; so soon afterwards it is repeated without asking,
 * once.
 */
#define END_TRUST_NS (2 * NSEC_PER_MS)

/* Where reads and writes alternate, the host sees a read of every so many ns. */
#define ATIME_NS (10 * NSEC_PER_MS)

/* Of small misses one in so many is timed: two readings of the clock cost as much as a look at the
 * window. */
#define MISS_TIMED 8u

/* What is known of a file when an access to it begins. All of it may change at once. */
struct known {
	bool size;	/* the size is known */
	uint64_t limit; /* whole pages inside the file, in bytes */
	enum privs privs;
	bool atime_due; /* a read must be seen by the host */
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

	/* relaxed: who misses it learns the same from the next reply */
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
		/* The end is somewhere before: until we know where, nothing is touched there. */
		inode_size_unknown(i);
	} else if (!k->size || end > k->limit + PAGE_4K) {
		/* Still data where we thought the end was, or no idea at all. */
		atomic_store(&i->size_wanted, true);
	}
}

/* A request on one of the two ways. */
struct trip {
	struct inode *i; /* or NULL */
	enum cost_op op;
	uint64_t off;
	uint32_t size;
	struct known known; /* of the file, from before a reply of the host */
	bool unseen;	    /* the window declined it, and has yet to count it */
	bool both;	    /* either way is open: what it costs can be compared */
	enum cost_way way;  /* that was chosen */
	bool sample;	    /* its cost is wanted */
	uint64_t begin;	    /* in ns; 0 when not wanted */
};

/* Does a look at the window suffice? Where the way is chosen by cost it does not. */
static bool trip_declined(struct trip *t)
{
	t->unseen =
		t->i->use_dax && t->size < COST_SIZE_MIN && dax_declines(t->i->dax, FOFF(t->off));
	return t->unseen;
}

/* Is all of it in whole pages of the file? */
static bool trip_inside(const struct trip *t)
{
	return t->size && range_ok(t->off, t->size, t->known.limit);
}

/* What a trip to the host leaves time for. */
static void trip_under_way(void *arg)
{
	struct trip *t = arg;
	struct inode *i = t->i;
	bool write = t->op == COST_WRITE;

	t->known = inode_known(i);
	if (!trip_inside(t) || dax_note_miss(i->dax, FOFF(t->off), t->size, t->known.limit, write))
		return;
	/* Whoever shortens the file waits for this, or is there already: then it does not count. */
	if (pthread_rwlock_tryrdlock(&i->io))
		return;
	t->known = inode_known(i);
	if (trip_inside(t))
		dax_count_miss(i->dax, FOFF(t->off), t->size, t->known.limit, write);
	(void)pthread_rwlock_unlock(&i->io);
}

/* May an access use the window, and is that the cheaper way? */
static bool trip_by_window(struct relay_req *q, struct trip *t)
{
	if (!t->i->use_dax || !trip_inside(t) || t->size > q->r->wish.max_write)
		return false;
	if (!q->r->by_cost || t->size < COST_SIZE_MIN)
		return true;
	t->both = true;
	t->way = cost_choose(&q->r->cost, t->op, t->size, &t->sample);
	t->begin = t->sample ? time_now_ns() : 0;
	return t->way == COST_WINDOW;
}

static void trip_ended(struct relay_req *q, const struct trip *t, enum cost_way way)
{
	uint64_t ns;

	if (!t->begin)
		return;
	ns = time_now_ns() - t->begin;
	if (t->sample && (way == COST_VIRTQUEUE || !dax_has_mapped()))
		cost_sample(&q->r->cost, t->op, t->size, way, ns);
	/* It was not our choice: mappings are made to spare such requests. */
	if (way == COST_VIRTQUEUE && t->way == COST_WINDOW)
		dax_missed(q->r->dax, t->both ? ns : MISS_TIMED * ns);
}

/* The exchange with the host, of a request that does not use the window. */
static int trip_by_host(struct relay_req *q, struct trip *t, struct relay_rep *rep)
{
	struct client_slot *s = q->w->slot;
	int r;

	if (t->unseen) {
		s->meanwhile = trip_under_way;
		s->meanwhile_arg = t;
	}
	t->begin = t->i && t->i->dax && (t->both || ++q->w->misses % MISS_TIMED == 0)
			   ? time_now_ns()
			   : 0;
	/* What misses the window tells the cost of the other way, too. */
	t->sample = t->both && (t->way == COST_WINDOW || t->sample);
	r = relay_exchange(q, rep);
	if (r == 0)
		trip_ended(q, t, COST_VIRTQUEUE);
	return r;
}

/*
 * A read moves atime when that is not younger than mtime or ctime (relatime). The host does it by
 * its own rules, if it sees the first read after such a time moved; of more there is no need. Where
 * reads and writes alternate it sees one in ATIME_NS.
 */
static bool read_from_window(struct relay_req *q, struct trip *t)
{
	struct inode *i = t->i;
	int r = -EAGAIN;

	if (!i->use_dax)
		return false;
	renew_size(q->r, i);
	if (trip_declined(t))
		return false;
	inode_io_lock(i, false);
	t->known = inode_known(i);
	if (!t->known.atime_due && trip_by_window(q, t))
		r = dax_read(i->dax, FOFF(t->off), relay_payload(q), t->size, t->known.limit);
	(void)pthread_rwlock_unlock(&i->io);
	if (r < 0)
		return false;
	trip_ended(q, t, COST_WINDOW);
	relay_answer(q, 0, t->size);
	return true;
}

static void atime_settled(struct inode *i)
{
	/* A write that comes now is one behind this read. */
	if (!i->atime_due)
		return;
	i->atime_due = false;
	i->atime_ns = time_now_ns();
}

/* The file that is read or written; NULL: it is nothing to the window, nor beside pages of the
 * guest. */
static struct inode *data_inode(struct relay_req *q)
{
	return relay_keeps_files(q->r) ? inode_get_open(q->r->inodes, q->h->nodeid, q->w->memos)
				       : NULL;
}

void relay_read(struct relay_req *q)
{
	const struct fuse_read_in *in = q->p.arg;
	struct inode *i = data_inode(q);
	struct trip t = { .i = i, .op = COST_READ, .off = in->offset, .size = in->size };
	struct relay_rep rep;
	uint64_t asked;
	int r;

	if (i && i->direct && !(in->read_flags & FUSE_READ_LOCKOWNER))
		page_cache_read(&i->page_cache, in->offset, in->size);
	if (i && i->use_dax && inode_at_end(i, in->offset)) {
		relay_answer(q, 0, 0);
		inode_put(q->r->inodes, i);
		return;
	}
	if (!i || !read_from_window(q, &t)) {
		asked = inode_epoch();
		if (i && i->use_dax)
			atime_settled(i);
		r = trip_by_host(q, &t, &rep);
		relay_finish(q, r);
		if (r == 0 && !rep.error) {
			counter_add(COUNTER_virtqueue_read_bytes, rep.len);
			if (i && i->use_dax)
				learn_from_read(i, &t.known, in, rep.len, asked);
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
 * A write through the window must look like one. The first write after an open or a change of
 * attributes goes to the host, which drops setuid, setgid and capabilities; mtime follows
 * (fs/upkeep.h). False: it was not written.
 */
static bool write_to_window(struct relay_req *q, const struct fuse_write_in *in, struct trip *t,
			    const void *data)
{
	struct inode *i = t->i;
	int r = -EAGAIN;

	if (!i || !i->use_dax)
		return false;
	renew_size(q->r, i);
	if (trip_declined(t))
		return false;
	inode_io_lock(i, false);
	t->known = inode_known(i);
	if (t->known.privs >= privs_after(in) && trip_by_window(q, t))
		r = dax_write(i->dax, FOFF(t->off), data, t->size, t->known.limit);
	(void)pthread_rwlock_unlock(&i->io);
	if (r < 0)
		return false;
	trip_ended(q, t, COST_WINDOW);

	if (inode_touched(q->r->inodes, i))
		upkeep_written(q->r->upkeep, i->nodeid);
	i->atime_due = true;
	return true;
}

/* The host has written: what follows for us, before the kernel hears of it. Returns how much; 0 is
 * an error, too. */
static uint32_t written_by_host(struct relay_req *q, struct trip *t, const struct fuse_write_in *in,
				const struct relay_rep *rep)
{
	struct inode *i = t->i;
	struct fuse_write_out out;
	uint64_t end;

	if (rep->error || rep->len < sizeof(out))
		return 0;
	memcpy(&out, rep->payload, sizeof(out));
	if (out.size > t->size || !add_u64(t->off, out.size, &end))
		return 0;
	counter_add(COUNTER_virtqueue_write_bytes, out.size);
	if (!i || !i->use_dax)
		return out.size;
	inode_size_grown(i, end);
	(void)pthread_mutex_lock(&i->lock);
	i->privs = MAX(i->privs, privs_after(in));
	(void)pthread_mutex_unlock(&i->lock);
	i->atime_due = true;
	if (i->size == INODE_SIZE_UNKNOWN)
		i->size_wanted = true;
	return out.size;
}

/* Answer that all was written, or as an error. */
static void answer_written(struct relay_req *q, int error, uint32_t size)
{
	*(struct fuse_write_out *)relay_payload(q) = (struct fuse_write_out){ .size = size };
	relay_answer(q, error, sizeof(struct fuse_write_out));
}

static struct trip write_trip(struct inode *i, uint64_t off, uint32_t size)
{
	return (struct trip){ .i = i, .op = COST_WRITE, .off = off, .size = size };
}

static void write_direct(struct relay_req *q, struct inode *i, const struct fuse_write_in *in)
{
	struct trip t = write_trip(i, in->offset, in->size);
	bool track = i && i->direct && in->write_flags & FUSE_WRITE_LOCKOWNER;
	struct page_range range;
	struct relay_rep rep;
	bool by_window;
	int r = 0;

	if (track)
		page_cache_write_begin(&i->page_cache, &range, in->offset, in->size);
	by_window = write_to_window(q, in, &t, q->p.rest);
	if (!by_window)
		r = trip_by_host(q, &t, &rep);
	if (!by_window && r == 0)
		(void)written_by_host(q, &t, in, &rep);
	if (track && page_cache_write_end(&i->page_cache, &range, r == 0))
		notifier_drop_pages(q->r->notifier, i->nodeid, in->offset, in->size);
	if (by_window)
		answer_written(q, 0, in->size);
	else
		relay_finish(q, r);
}

/*
 * Write @len bytes at @off, which lie in the request at @data, as a request of its own. It is put
 * in front of what follows in the buffer. Returns how many were written, or a negative errno.
 */
static int write_back_part(struct relay_req *q, struct inode *i, uint64_t off, uint32_t len,
			   const char *data)
{
	struct fuse_in_header *h = (void *)q->w->slot->req;
	struct fuse_write_in *in = (void *)(h + 1);
	struct trip t = write_trip(i, off, len);
	struct relay_rep rep;
	uint32_t done;
	int r;

	if (write_to_window(q, in, &t, data))
		return (int)len;
	memmove(in + 1, data, len);
	in->offset = off;
	in->size = len;
	q->len = sizeof(*h) + sizeof(*in) + len;
	h->len = (uint32_t)q->len;
	r = trip_by_host(q, &t, &rep);
	if (r < 0)
		return r;
	done = written_by_host(q, &t, in, &rep);
	return done ? (int)done : rep.error ? rep.error : -EIO;
}

/*
 * Pages that stores made dirty are written back: without what is newer on the host
 * (fs/page_cache.h), and to the end. The kernel takes no notice of a write-back that was cut short
 * (fs/fuse/file.c, fuse_writepage_end()), so that nobody would hear of the error behind it.
 */
static void write_back(struct relay_req *q, struct inode *i, const struct fuse_write_in *in)
{
	const uint64_t first = in->offset;
	const uint32_t all = in->size;
	const char *data = q->p.rest;
	struct page_range range;
	uint64_t off = first, end = first + all, len;
	int r = 0;

	if (i)
		page_cache_back_begin(&i->page_cache, &range, first, all);
	while (r >= 0 && off < end) {
		len = end - off;
		if (i && !page_cache_back_next(&i->page_cache, &range, &off, &len))
			break;
		r = write_back_part(q, i, off, (uint32_t)len, data + (off - first));
		off += r > 0 ? (uint64_t)r : 0;
	}
	if (i)
		page_cache_back_end(&i->page_cache, &range);
	answer_written(q, MIN(r, 0), all);
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
