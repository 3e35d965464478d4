// SPDX-License-Identifier: MIT
// Set-id bits: what a change of a file's data leaves of them.

#include <sys/stat.h>

#include "host/fs.h"

/*
 * On a local file system a write, a truncation and fallocate() by one without CAP_FSETID take away
 *
 *   setuid;
 *   setgid, where the group may execute the file, for only then is it a program's;
 *   setgid, where the group may not, if the caller is not in the file's group (Linux 6.2).
 *
 * With HANDLE_KILLPRIV_V2 the guest's kernel leaves all of this to us and says with each request
 * whether the caller is without CAP_FSETID (KILL_SUIDGID). It does not say what the third rule
 * asks: supplementary groups are in no request, and with ALLOW_IDMAP (Linux 6.12) the group is not,
 * either. So we go by what is known:
 *
 *   the request's group is the file's       it is a member
 *   not everybody may write the file        it is taken for one: the guest's kernel has let it
 * write, so it is the owner, a member, or one whom an ACL names everybody may write the file it is
 * taken for a stranger
 *
 * Where this is wrong nobody gains anything: without the right to execute, setgid makes no program,
 * and chmod() by one who is not in the group takes the bit away.
 *
 * FALLOCATE and COPY_FILE_RANGE have no such flag: there root keeps the bits, and nobody else.
 */

/* Some group that is not the file's. */
static gid_t fs_other_group(gid_t group)
{
	return group == 65534 ? 65533 : 65534;
}

static bool fs_in_group(const struct fs_call *c, const struct statx *stx)
{
	return c->req.h->gid == stx->stx_gid || !(stx->stx_mode & S_IWOTH);
}

/* The group that decides: our own where the file has no setgid that depends on it. */
static gid_t fs_setid_group(const struct fs_call *c, int fd)
{
	struct statx stx;

	if (fs_stat(fd, &stx) < 0 || !(stx.stx_mode & S_ISGID) || stx.stx_mode & S_IXGRP)
		return 0;
	return fs_in_group(c, &stx) ? stx.stx_gid : fs_other_group(stx.stx_gid);
}

void fs_kill_setid(const struct fs_call *c, int fd, struct cred *cred)
{
	/* Also where there is no bit now: it may come before the write does. */
	cred_drop_fsetid(cred, fs_setid_group(c, fd));
}

bool fs_keeps_setid(const struct fs_call *c)
{
	/* Without V2 the guest's kernel takes the bits away itself. */
	return !(fs_flags(c) & FUSE_HANDLE_KILLPRIV_V2) || c->req.h->uid == 0;
}
