// SPDX-License-Identifier: MIT
// Which set-id bits a change of a file's data clears.

#include <sys/stat.h>

#include "host/fs.h"

/*
 * On a local file system write(), truncate() and fallocate() of a caller without CAP_FSETID clear
 *
 *   1. setuid;
 *   2. setgid, if the group may execute the file: only then setgid has an effect on exec;
 *   3. setgid, if the group may not, but the caller is not in the file's group (Linux 6.2).
 *
 * With HANDLE_KILLPRIV_V2 the guest's kernel leaves all of this to us. A flag of the request says
 * that the caller is without CAP_FSETID (KILL_SUIDGID). But rule 3 needs the caller's groups. No
 * request has the supplementary ones, and with ALLOW_IDMAP (Linux 6.12) most do not even have the
 * primary one. So this file decides in this order:
 *
 *   - The request's group is the file's group: the caller is a member.
 *   - Not everybody may write the file: assume a member. The guest's kernel has allowed the write,
 *     so the caller is the owner, a member, or named by an ACL.
 *   - Everybody may write the file: assume a stranger.
 *
 * A wrong guess gives nobody a privilege: setgid has no effect on a file that the group may not
 * execute, and chmod() of a caller who is not in the group clears the bit.
 *
 * FALLOCATE and COPY_FILE_RANGE have no such flag: there only root keeps the bits.
 */

/* Any group but @group. */
static gid_t fs_other_group(gid_t group)
{
	return group == 65534 ? 65533 : 65534;
}

static bool fs_in_group(const struct fs_call *c, const struct statx *stx)
{
	return c->req.h->gid == stx->stx_gid || !(stx->stx_mode & S_IWOTH);
}

/* The group to write the file with; 0, which changes nothing, if rule 3 does not apply. */
static gid_t fs_setid_group(const struct fs_call *c, int fd)
{
	struct statx stx;

	if (fs_stat(fd, &stx) < 0 || !(stx.stx_mode & S_ISGID) || stx.stx_mode & S_IXGRP)
		return 0;
	return fs_in_group(c, &stx) ? stx.stx_gid : fs_other_group(stx.stx_gid);
}

void fs_kill_setid(const struct fs_call *c, int fd, struct cred *cred)
{
	/* Even if no bit is set now: somebody may set one before the write. */
	cred_drop_fsetid(cred, fs_setid_group(c, fd));
}

bool fs_keeps_setid(const struct fs_call *c)
{
	/* Without V2 the guest's kernel clears the bits itself. */
	return !(fs_flags(c) & FUSE_HANDLE_KILLPRIV_V2) || c->req.h->uid == 0;
}
