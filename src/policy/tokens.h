/* SPDX-License-Identifier: MIT */
/* Tokens: time that virtqueue requests have earned, to be spent on replacements. */
#pragma once

#include "policy/policy.h"

/* tokens_cover() - is the price of one replacement there? */
bool tokens_cover(const struct policy *p);

/* tokens_may_owe() - may one more replacement be owed? */
bool tokens_may_owe(const struct policy *p);

void tokens_pay(struct policy *p);
