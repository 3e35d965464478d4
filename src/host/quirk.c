// SPDX-License-Identifier: MIT
// Ways in which other hosts differ, and faults, that tests have the host simulate.

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/num.h"
#include "host/quirk.h"

static int take_number(const char **s, unsigned int *ret)
{
	unsigned long v;
	char *end;

	if (**s < '0' || **s > '9')
		return -EINVAL;
	errno = 0;
	v = strtoul(*s, &end, 10);
	if (errno || v > INT_MAX)
		return -EINVAL;
	*s = end;
	*ret = (unsigned int)v;
	return 0;
}

static int take_alignment(const char *s, unsigned int *ret)
{
	unsigned int v;

	if (take_number(&s, &v) < 0 || *s || v < PAGE_4K || !is_pow2(v))
		return -EINVAL;
	*ret = v;
	return 0;
}

/* ERRNO[:AFTER[:EVERY]] */
static int take_fault(const char *s, struct host_fault *ret)
{
	static const struct {
		const char *name;
		int number;
	} errors[] = {
		{ "ENOSPC", ENOSPC }, { "ENOMEM", ENOMEM }, { "EINVAL", EINVAL },
		{ "ENXIO", ENXIO },   { "EIO", EIO },	    { "EACCES", EACCES },
		{ "EBADF", EBADF },   { "EMFILE", EMFILE }, { "ENOSYS", ENOSYS },
	};
	size_t len = strcspn(s, ":");
	struct host_fault f = { .every = 1 };

	for (size_t i = 0; i < ARRAY_SIZE(errors); i++)
		if (strlen(errors[i].name) == len && !strncmp(s, errors[i].name, len))
			f.error = errors[i].number;
	s += len;
	if (!f.error || (*s == ':' && (s++, take_number(&s, &f.after) < 0)) ||
	    (*s == ':' && (s++, take_number(&s, &f.every) < 0)) || *s || !f.every)
		return -EINVAL;
	*ret = f;
	return 0;
}

enum quirk_kind {
	QUIRK_FLAG,
	QUIRK_NUMBER,
	QUIRK_ALIGNMENT,
	QUIRK_FAULT,
};

#define QUIRK(n, k, m)                                                                             \
	{                                                                                          \
		n, QUIRK_##k, offsetof(struct host_quirks, m)                                      \
	}

static const struct {
	const char *name;
	enum quirk_kind kind;
	size_t offset;
} quirks[] = {
	QUIRK("no-indirect-desc", FLAG, no_indirect_desc),
	QUIRK("no-event-idx", FLAG, no_event_idx),
	QUIRK("access-platform", FLAG, access_platform),
	QUIRK("no-map-alignment", FLAG, no_map_alignment),
	QUIRK("need-read", FLAG, need_read),
	QUIRK("map-alignment", ALIGNMENT, map_alignment),
	QUIRK("map-delay", NUMBER, map_delay_us),
	QUIRK("idle-nodes", NUMBER, idle_nodes),
	QUIRK("map-error", FAULT, map_error),
	QUIRK("unmap-error", FAULT, unmap_error),
};

const char *host_quirk_name(size_t i)
{
	return i < ARRAY_SIZE(quirks) ? quirks[i].name : NULL;
}

/* One word of the list; @value is NULL when there is no "=". */
static int quirk_set(const char *name, const char *value, struct host_quirks *q)
{
	for (size_t i = 0; i < ARRAY_SIZE(quirks); i++) {
		void *at = (char *)q + quirks[i].offset;

		if (strcmp(name, quirks[i].name) != 0)
			continue;
		if ((quirks[i].kind == QUIRK_FLAG) != !value)
			return -EINVAL;
		switch (quirks[i].kind) {
		case QUIRK_FLAG:
			*(bool *)at = true;
			return 0;
		case QUIRK_NUMBER:
			return take_number(&value, at) < 0 || *value ? -EINVAL : 0;
		case QUIRK_ALIGNMENT:
			return take_alignment(value, at);
		case QUIRK_FAULT:
			return take_fault(value, at);
		}
	}
	return -EINVAL;
}

int host_quirks_parse(const char *s, struct host_quirks *ret)
{
	_cleanup_free_ char *copy = strdup(s);
	char *rest = copy, *word, *value;
	struct host_quirks q = *ret;

	if (!copy)
		return -ENOMEM;
	while ((word = strsep(&rest, ","))) {
		value = strchr(word, '=');
		if (value)
			*value++ = '\0';
		if (quirk_set(word, value, &q) < 0)
			return -EINVAL;
	}
	*ret = q;
	return 0;
}

bool host_fault_strikes(const struct host_fault *f, _Atomic uint64_t *count)
{
	uint64_t n;

	if (!f->error)
		return false;
	/* relaxed: each request gets a number of its own, nothing more is wanted */
	n = atomic_fetch_add_explicit(count, 1, memory_order_relaxed);
	return n >= f->after && (n - f->after) % f->every == 0;
}
