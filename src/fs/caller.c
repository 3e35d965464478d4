// SPDX-License-Identifier: MIT
// Look up the caller of a request that has neither user and group nor a flag for set-id bits.

#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "caller.h"
#include "relay_priv.h"

/*
 * With ALLOW_IDMAP (Linux 6.12) requests that create nothing come without user and group. WRITE and
 * SETATTR have a flag that says whether the caller may keep set-id bits. FALLOCATE and
 * COPY_FILE_RANGE have none, so the host would clear the bits for root, too. But the request has
 * the ID of the calling thread, which waits for the answer, so /proc tells its user and group.
 */

struct caller {
	uint32_t uid, gid; /* fsuid and fsgid */
	bool fsetid;	   /* has CAP_FSETID in its user namespace */
};

bool caller_status(uint32_t pid, char *text, size_t size)
{
	char path[32];
	_cleanup_close_ int fd = -1;
	ssize_t n;

	(void)snprintf(path, sizeof(path), "/proc/%u/status", pid);
	fd = pid ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	n = fd < 0 ? -1 : read(fd, text, size - 1);
	if (n < 0)
		return false;
	text[n] = 0;
	return true;
}

const char *caller_value(const char *text, const char *key)
{
	const char *line = strstr(text, key);

	return line ? line + strlen(key) : NULL;
}

static bool caller_parse(const char *text, struct caller *ret)
{
	const char *uid = caller_value(text, "\nUid:"), *gid = caller_value(text, "\nGid:"),
		   *caps = caller_value(text, "\nCapEff:");

	/* A kernel thread has no memory, and /proc does not tell whom it acts for. */
	if (!uid || !gid || !caps || !caller_value(text, "\nVmSize:"))
		return false;
	if (sscanf(uid, "%*u %*u %*u %u", &ret->uid) != 1 ||
	    sscanf(gid, "%*u %*u %*u %u", &ret->gid) != 1)
		return false;
	ret->fsetid = strtoull(caps, NULL, 16) & UINT64_C(1) << CAP_FSETID;
	return true;
}

/* CAP_FSETID counts only in the user namespace of the mount, which is ours. */
static bool same_user_namespace(uint32_t pid)
{
	struct stat own, its;
	char path[32];

	(void)snprintf(path, sizeof(path), "/proc/%u/ns/user", pid);
	return stat("/proc/self/ns/user", &own) == 0 && stat(path, &its) == 0 &&
	       own.st_dev == its.st_dev && own.st_ino == its.st_ino;
}

/* Is /proc of our PID namespace? The kernel's requests have the thread IDs of that namespace. */
static bool proc_is_ours(void)
{
	char own[16];
	ssize_t n = readlink("/proc/self", own, sizeof(own) - 1);

	if (n < 0)
		return false;
	own[n] = 0;
	return strtol(own, NULL, 10) == getpid();
}

static bool caller_find(uint32_t pid, struct caller *ret)
{
	char text[4096];

	return caller_status(pid, text, sizeof(text)) && caller_parse(text, ret) &&
	       proc_is_ours() && (ret->uid != 0 || (ret->fsetid && same_user_namespace(pid)));
}

void relay_tell_caller(struct relay_req *q)
{
	struct fuse_in_header *h = (struct fuse_in_header *)(void *)q->w->slot->req;
	struct caller who;

	if (h->uid != FUSE_PROTO_INVALID_UID || !caller_find(h->pid, &who))
		return;
	h->uid = who.uid;
	h->gid = who.gid;
}
