/* SPDX-License-Identifier: MIT */
/* User and group ids that do not exist in the user namespace of this process. */
#pragma once

/*
 * userns_check() - if this process is root in its user namespace, and so acts for the guest's
 * users, log how many ids are missing there. To be called while /proc can be reached.
 */
void userns_check(void);
