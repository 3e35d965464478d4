// SPDX-License-Identifier: MIT
// A thread says that it is about to wait for something that may take long.

#include <stddef.h>

#include "base/waiting.h"

static _Thread_local void (*waiting_fn)(void *arg);
static _Thread_local void *waiting_arg;

void waiting_set_hook(void (*fn)(void *arg), void *arg)
{
	waiting_fn = fn;
	waiting_arg = arg;
}

void waiting_begin(void)
{
	if (waiting_fn)
		waiting_fn(waiting_arg);
}
