/* SPDX-License-Identifier: MIT */
/* What has left the index: extents that are to be unmapped, and replaced memory of the index. */
#pragma once

#include "dax_priv.h"

/* dax_leaving_add_locked() - the extent is nobody's any more. Needs dax.lock. */
void dax_leaving_add_locked(struct dax *d, struct extent *e);

/* dax_leaving_garbage() - what the index has replaced; freed after a grace period. No locks. */
void dax_leaving_garbage(struct dax *d, struct index_garbage *list);

/* dax_leaving_hurry_locked() - have the janitor unmap now. Needs dax.lock. */
void dax_leaving_hurry_locked(struct dax *d);

/*
 * dax_leaving_due_locked() - is there enough to unmap, or does somebody wait for it? Needs
 * dax.lock.
 */
bool dax_leaving_due_locked(const struct dax *d);

/*
 * dax_leaving_flush_locked() - unmap all that has left. Called by the janitor's thread alone, with
 * dax.lock, which it gives up meanwhile.
 */
void dax_leaving_flush_locked(struct dax *d);

/*
 * dax_leaving_end() - the janitor has ended: ask once more for what the host did not unmap, and
 * forget it.
 */
void dax_leaving_end(struct dax *d);

/* dax_leaving_wait() - wait until what has left so far is unmapped, or was refused. No locks. */
void dax_leaving_wait(struct dax *d);
void dax_leaving_wait_locked(struct dax *d);
