/* SPDX-License-Identifier: MIT */
/* User and group ids that this process cannot take on. */
#pragma once

/*
 * userns_check() - log which ids are missing in the user namespace of this process, if it is root
 * in it and so acts for the guest's users. To be called while /proc is there.
 */
void userns_check(void);
