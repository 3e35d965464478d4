/* SPDX-License-Identifier: MIT */
/* The thread that unmaps what has left, evicts for what is wanted, and maps it. */
#pragma once

#include "dax_priv.h"

int dax_janitor_start(struct dax *d);
void dax_janitor_stop(struct dax *d);

/* dax_janitor_map_locked() - have a PENDING extent mapped in the background. Needs dax.lock. */
void dax_janitor_map_locked(struct dax *d, struct extent *e);
