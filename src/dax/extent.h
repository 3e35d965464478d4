/* SPDX-License-Identifier: MIT */
/* The life of an extent: pending, live, leaving. */
#pragma once

#include "dax_priv.h"
#include "policy/policy.h"

/*
 * dax_extent_new() - a PENDING extent of @di, in its list, with the block at @at. NULL: no memory.
 * Needs inode.lock.
 */
struct extent *dax_extent_new_locked(struct dax_inode *di, const struct placement *pl,
				     struct woff at);

/*
 * dax_extent_run() - map a PENDING extent whose block is taken; then it is LIVE or freed. No locks.
 */
int dax_extent_run(struct extent *e);

/* dax_extent_fail() - free a PENDING extent that gets no block. No locks. */
void dax_extent_fail(struct extent *e);

/* dax_extent_leave_locked() - LIVE -> LEAVING. Needs inode.lock. */
void dax_extent_leave_locked(struct dax_inode *di, struct extent *e);

/* dax_extent_evict() - the same for a victim that was taken out of the clock. No locks. */
void dax_extent_evict(struct extent *e);

/*
 * dax_extent_around_locked() - the extent whose block contains @off, though it may be too short to
 * show it; or NULL. Blocks never overlap, so there is one at the most. Needs inode.lock.
 */
struct extent *dax_extent_around_locked(const struct dax_inode *di, struct foff off);

/*
 * dax_extent_pending_shift_locked() - the smallest block around @off, as a shift, that overlaps the
 * block of a PENDING extent; POLICY_NOT_PENDING: none does. Needs inode.lock.
 */
unsigned int dax_extent_pending_shift_locked(const struct dax_inode *di, struct foff off);

/*
 * dax_extent_refused_locked() - has the host refused this file lately, or for good? Needs
 * inode.lock.
 */
bool dax_extent_refused_locked(const struct dax_inode *di);

/* dax_extent_all_refused_locked() - has the host refused all files lately? Needs dax.lock. */
bool dax_extent_all_refused_locked(const struct dax *d);
