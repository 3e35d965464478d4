// SPDX-License-Identifier: MIT
// Requests that nobody waits for any more, because who asked was killed.

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "caller.h"
#include "client_priv.h"

/*
 * A request that the host has got cannot be called back: its buffers stay the device's until the
 * answer comes. So the worker goes on with a spare slot, and the other one waits here. What the
 * answer then brings, the kernel will never hear of: a lookup or an open file is given back to the
 * host.
 *
 * Only requests that change nothing may be given up: the killed process is gone, and what it had
 * begun to write must not appear after others' later writes.
 */

/*
 * Is the thread being killed? Signals it survives must not fail its requests. @set: where SIGKILL
 * is looked for, the thread's own signals or those of its process.
 */
static bool killed(uint32_t pid, const char *set)
{
	char text[4096];
	const char *signals;

	if (!caller_status(pid, text, sizeof(text)))
		return false;
	/* Any deadly signal becomes a SIGKILL of each thread. */
	signals = caller_value(text, set);
	return signals && strtoull(signals, NULL, 16) & UINT64_C(1) << (SIGKILL - 1);
}

/* Does it change nothing that anybody else could see, or that could not be undone? */
static bool harmless(const struct fuse_in_header *h)
{
	const struct fuse_lk_in *lk = (const void *)(h + 1);
	const struct fuse_open_in *open = (const void *)(h + 1);

	switch (h->opcode) {
	case FUSE_SETLK:
		return lk->lk.type != F_UNLCK;
	case FUSE_OPEN:
		return !(open->flags & O_TRUNC);
	case FUSE_LOOKUP:
	case FUSE_GETATTR:
	case FUSE_STATX:
	case FUSE_READLINK:
	case FUSE_OPENDIR:
	case FUSE_READ:
	case FUSE_READDIR:
	case FUSE_STATFS:
	case FUSE_FSYNC:
	case FUSE_FSYNCDIR:
	case FUSE_GETXATTR:
	case FUSE_LISTXATTR:
	case FUSE_ACCESS:
	case FUSE_LSEEK:
	case FUSE_GETLK:
	case FUSE_SETLKW:
		return true;
	default:
		return false;
	}
}

/*
 * A process that ends closes its files, and waits for each FLUSH, of which nobody sees the result.
 * The kernel does not tell of a signal then: the thread has taken it already. That of the process
 * stays, when it was SIGKILL.
 */
static bool nobody_waits(const struct client_slot *s, const struct fuse_in_header *h)
{
	if (h->opcode == FUSE_FLUSH)
		return killed(h->pid, "\nShdPnd:");
	return s->interrupted && atomic_load(s->interrupted) == h->unique && harmless(h) &&
	       killed(h->pid, "\nSigPnd:");
}

bool client_give_up(void *arg)
{
	struct client_slot *s = arg;
	const struct fuse_in_header *h = (const void *)s->req;
	struct client *c = s->client;

	if (!nobody_waits(s, h))
		return false;
	scoped_lock(&c->lock);
	s->successor = *s->home;
	if (!s->successor)
		return false;
	*s->home = s->successor->next;
	return true;
}

void client_spare_put(struct client *c, struct client_slot *s)
{
	scoped_lock(&c->lock);
	s->next = *s->home;
	*s->home = s;
}

void client_keep_successor(struct client_slot *s)
{
	if (s->successor)
		client_spare_put(s->client, steal_ptr(s->successor));
}

struct client_slot *client_abandon(struct client_slot *s)
{
	struct client *c = s->client;

	scoped_lock(&c->lock);
	s->next = c->late;
	c->late = s;
	atomic_store_explicit(&c->any_late, true, memory_order_relaxed);
	return steal_ptr(s->successor);
}

/* Give back to the host what came with an answer that nobody hears. */
static void undo(struct client *c, const struct client_slot *s)
{
	const struct fuse_in_header *h = (const void *)s->req;
	const struct fuse_out_header *out = (const void *)s->rep;
	struct fuse_entry_out entry;
	struct fuse_open_out open;

	if (client_check_reply(s, h, s->vreq.used_len) < (int)sizeof(*out) || out->error)
		return;
	switch (h->opcode) {
	case FUSE_LOOKUP:
		memcpy(&entry, out + 1, sizeof(entry));
		if (entry.nodeid)
			(void)client_forget(c, entry.nodeid, 1);
		break;
	case FUSE_OPEN:
	case FUSE_OPENDIR:
		memcpy(&open, out + 1, sizeof(open));
		(void)client_release(c, h->nodeid, open.fh, h->opcode == FUSE_OPENDIR);
		break;
	case FUSE_SETLK:
	case FUSE_SETLKW:
		(void)client_unlock(c, h->nodeid, (const struct fuse_lk_in *)(const void *)(h + 1));
		break;
	}
}

int client_try_lock(struct client *c, const struct fuse_in_header *h, const struct fuse_lk_in *lk,
		    const _Atomic uint64_t *interrupted)
{
	struct {
		struct fuse_in_header h;
		struct fuse_lk_in lk;
	} * req;
	struct client_slot *s;
	int r;

	/* There is one: who calls is alone, and who gives one up gets another. */
	(void)pthread_mutex_lock(&c->lock);
	s = c->small;
	c->small = s->next;
	(void)pthread_mutex_unlock(&c->lock);
	req = (void *)s->req;
	*req = (__typeof__(*req)){ .h = *h, .lk = *lk };
	req->h.opcode = FUSE_SETLK;
	req->h.len = sizeof(*req);
	s->interrupted = interrupted;
	r = client_exchange(c, s, 0, sizeof(*req), sizeof(struct fuse_out_header));
	if (r == -EINTR)
		s = client_abandon(s);
	else if (r > 0)
		r = ((const struct fuse_out_header *)(const void *)s->rep)->error;
	client_spare_put(c, s);
	if (atomic_load_explicit(&c->any_late, memory_order_relaxed))
		client_collect_late(c);
	return r;
}

void client_collect_late(struct client *c)
{
	struct client_slot *done = NULL, **p;

	(void)pthread_mutex_lock(&c->lock);
	for (p = &c->late; *p;) {
		struct client_slot *s = *p;

		if (!event_is_set(&s->vreq.done)) {
			p = &s->next;
			continue;
		}
		*p = s->next;
		s->next = done;
		done = s;
	}
	atomic_store_explicit(&c->any_late, c->late, memory_order_relaxed);
	(void)pthread_mutex_unlock(&c->lock);
	while (done) {
		struct client_slot *s = done;

		done = s->next;
		if (s->vreq.status == 0)
			undo(c, s);
		client_spare_put(c, s);
	}
}
