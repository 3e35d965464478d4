/* SPDX-License-Identifier: MIT */
/* What the files of the client share. */
#pragma once

#include "fs/client.h"

#define CLIENT_OWN_CAP 4096u /* bytes of request and of reply of our own requests */

/* A slot of the pool; waits for one. */
struct client_slot *client_pool_get(struct client *c);
void client_pool_put(struct client *c, struct client_slot *s);

/* client_watch() - have the host probed when a request waits too long; client.h. */
void client_watch(struct client *c);
void client_unwatch(struct client *c);
