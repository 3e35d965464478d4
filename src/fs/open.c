// SPDX-License-Identifier: MIT
// OPEN, CREATE and RELEASE: the inode table follows, and the kernel's cache is chosen.

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "relay_priv.h"

/*
 * Let data of a file that we serve from the window be cached once, on the host. A kernel before 6.6
 * refuses to map such a file shared, which programs need more than the single copy: there the
 * guest's page cache is used, even if the host asks for direct I/O, as the kernel's DAX ignores
 * that.
 */
static void choose_cache(const struct relay *r, struct inode *i, struct fuse_open_out *out)
{
	if (i->use_dax && !r->direct_mmap) {
		out->open_flags &= ~(uint32_t)FOPEN_DIRECT_IO;
	} else if (i->use_dax) {
		out->open_flags |= FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES;
		out->open_flags &= ~(uint32_t)FOPEN_KEEP_CACHE;
	}
	atomic_store(&i->direct, r->direct_mmap && out->open_flags & FOPEN_DIRECT_IO);
}

/*
 * A file is open: what was known of it before may be old. With dax=inode the host's attribute
 * decides, as of now; the kernel, too, looks at it only when a file comes into use.
 */
static void opened(struct relay *r, struct inode *i, const struct fuse_attr *attr)
{
	uint64_t asked = inode_epoch();
	struct fuse_attr fresh;

	if (!r->dax)
		return;

	(void)pthread_mutex_lock(&i->lock);
	i->size = INODE_SIZE_UNKNOWN;
	i->privs = PRIVS_ANY;
	(void)pthread_mutex_unlock(&i->lock);
	if (!r->dax_inode) {
		atomic_store(&i->use_dax, true);
		return;
	}
	if (!attr && client_getattr(r->client, i->nodeid, &fresh) == 0) {
		attr = &fresh;
		inode_learn_size(i, fresh.size, asked);
	}
	atomic_store(&i->use_dax, attr && attr->flags & FUSE_ATTR_DAX);
}

/* The reply's fuse_open_out, at @off of the payload, to be changed in place; or NULL. */
static struct fuse_open_out *open_out(const struct relay_rep *rep, size_t off)
{
	if (rep->error || !range_ok(off, sizeof(struct fuse_open_out), rep->len))
		return NULL;
	return (struct fuse_open_out *)(void *)((char *)rep->payload + off);
}

/*
 * As relay_exchange(). With @noatime add O_NOATIME, so that reads do not update atime on the host.
 * Only the owner and root may use it (open(2)): if the host refuses it, ask again without.
 */
static int exchange_open(struct relay_req *q, bool noatime, struct relay_rep *ret)
{
	/* OPEN, OPENDIR, CREATE and TMPFILE all begin with the flags. We may change the request. */
	uint32_t *flags = (uint32_t *)q->p.arg;
	int r;

	static_assert(!offsetof(struct fuse_open_in, flags) &&
			      !offsetof(struct fuse_create_in, flags),
		      "flags");
	noatime = noatime && (*flags & O_ACCMODE) != O_WRONLY && !(*flags & O_NOATIME);
	if (noatime)
		*flags |= O_NOATIME;
	r = relay_exchange(q, ret);
	if (r == 0 && noatime && ret->error == -EPERM) {
		*flags &= ~(uint32_t)O_NOATIME;
		r = relay_exchange(q, ret);
	}
	return r;
}

/*
 * OPEN with O_TRUNC (FUSE_ATOMIC_O_TRUNC). Pages of the file that the kernel is about to write back
 * must not make it longer again, so this is ordered as a direct write to all of it.
 */
static int exchange_truncating(struct relay_req *q, struct inode *i, struct relay_rep *ret)
{
	struct page_range range = { 0 };
	bool done;
	int r;

	page_cache_write_begin(&i->page_cache, &range, 0, INT64_MAX);
	inode_io_lock(i, true);
	if (i->dax)
		dax_drop(i->dax, FOFF(0));
	r = exchange_open(q, atomic_load(&q->r->noatime), ret);
	done = r == 0 && !ret->error;
	if (done)
		inode_size_changed(i, 0);
	else
		inode_size_unknown(i);
	(void)pthread_rwlock_unlock(&i->io);
	if (page_cache_write_end(&i->page_cache, &range, done))
		notifier_drop_pages(q->r->notifier, i->nodeid, 0, INT64_MAX);
	return r;
}

void relay_opendir(struct relay_req *q)
{
	struct relay_rep rep;

	relay_finish(q, exchange_open(q, atomic_load(&q->r->nodiratime), &rep));
}

/* The kernel gets an error for an open that the host has done. */
static void take_back_open(struct relay_req *q, uint64_t nodeid, uint64_t fh)
{
	(void)client_release(q->r->client, nodeid, fh, false);
	if (inode_released(q->r->inodes, nodeid))
		upkeep_closed(q->r->upkeep, nodeid);
}

/* The host has opened @i, which is counted. 0, or an error that the kernel gets instead. */
static int relay_opened(struct relay_req *q, struct inode *i, struct fuse_open_out *out)
{
	uint32_t flags = ((const struct fuse_open_in *)q->p.arg)->flags;
	int r;

	opened(q->r, i, NULL);
	choose_cache(q->r, i, out);
	r = relay_pass_open(q, i, flags, out);
	if (r < 0)
		take_back_open(q, i->nodeid, out->fh);
	return r;
}

/* OPEN with O_TRUNC: counted before the host has it, so that no other open maps the file meanwhile.
 */
static int open_truncating(struct relay_req *q, struct relay_rep *rep)
{
	struct fuse_open_out *out = NULL;
	struct pass_hold hold;
	struct inode *i;
	int r;

	if (relay_pass_hold(q->r, q->h->nodeid, &hold) < 0)
		return -EBUSY;
	i = relay_keeps_files(q->r) ? inode_opened(q->r->inodes, q->h->nodeid) : NULL;
	if (i) {
		r = exchange_truncating(q, i, rep);
		out = r == 0 ? open_out(rep, 0) : NULL;
	} else {
		r = exchange_open(q, atomic_load(&q->r->noatime), rep);
	}
	if (out)
		r = relay_opened(q, i, out);
	else if (i && inode_released(q->r->inodes, q->h->nodeid))
		upkeep_closed(q->r->upkeep, q->h->nodeid);
	inode_put(q->r->inodes, i);
	/* After the open has been counted: it keeps others from being passed through. */
	relay_pass_unhold(q->r, &hold);
	return r;
}

static int open_plainly(struct relay_req *q, struct relay_rep *rep)
{
	int r = exchange_open(q, atomic_load(&q->r->noatime), rep);
	struct fuse_open_out *out = r == 0 ? open_out(rep, 0) : NULL;
	struct inode *i;

	i = out && relay_keeps_files(q->r) ? inode_opened(q->r->inodes, q->h->nodeid) : NULL;
	if (i)
		r = relay_opened(q, i, out);
	inode_put(q->r->inodes, i);
	return r;
}

void relay_open(struct relay_req *q)
{
	struct relay_rep rep;
	bool truncate = ((const struct fuse_open_in *)q->p.arg)->flags & O_TRUNC;

	relay_finish(q, truncate ? open_truncating(q, &rep) : open_plainly(q, &rep));
}

/* CREATE may have found an existing file and truncated it (O_TRUNC): drop its mappings. */
static void emptied(struct inode *i, uint64_t size)
{
	inode_io_lock(i, true);
	dax_drop(i->dax, FOFF(align_down(size, PAGE_4K)));
	(void)pthread_rwlock_unlock(&i->io);
}

void relay_create(struct relay_req *q)
{
	struct fuse_entry_out entry;
	struct fuse_open_out *out;
	uint64_t asked = inode_epoch();
	struct relay_rep rep;
	struct inode *i;
	int r;

	r = exchange_open(q, atomic_load(&q->r->noatime), &rep);
	if (r < 0) {
		relay_answer(q, r, 0);
		return;
	}
	out = open_out(&rep, sizeof(entry));
	if (out)
		relay_note_entry(q->r, rep.payload, asked);
	if (out && relay_keeps_files(q->r)) {
		memcpy(&entry, rep.payload, sizeof(entry));
		i = S_ISREG(entry.attr.mode) ? inode_opened(q->r->inodes, entry.nodeid) : NULL;
		if (i) {
			opened(q->r, i, &entry.attr);
			if (q->r->dax)
				emptied(i, entry.attr.size);
			inode_learn_size(i, entry.attr.size, asked);
			choose_cache(q->r, i, out);
			/* It may be a file that is open by another name. */
			r = relay_pass_open(q, i, ((const struct fuse_create_in *)q->p.arg)->flags,
					    out);
			if (r < 0)
				take_back_open(q, i->nodeid, out->fh);
			inode_put(q->r->inodes, i);
		}
	}
	relay_finish(q, r);
}

void relay_release(struct relay_req *q)
{
	const struct fuse_release_in *in = q->p.arg;
	struct relay_rep rep;
	bool closed;
	int r;

	(void)relay_settle_times(q->r, q->h->nodeid);
	/* Before the kernel can forget the node and the host give its number to another file. And
	 * before pass_release(): an open that comes now joins the others, or is the only one. */
	closed = relay_keeps_files(q->r) && inode_released(q->r->inodes, q->h->nodeid) &&
		 (q->r->dax || q->r->pass);
	if (q->r->pass)
		pass_release(q->r->pass, q->h->nodeid, in->fh);
	r = relay_exchange(q, &rep);
	if (closed)
		upkeep_closed(q->r->upkeep, q->h->nodeid);
	relay_finish(q, r);
	relay_unlocked(q);
}
