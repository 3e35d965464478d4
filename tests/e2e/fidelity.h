/* SPDX-License-Identifier: MIT */
/* What the tests of fidelity share beyond fstest.h. */
#pragma once

#include "fstest.h"

/*
 * CAN() - the value of a call that a file system may refuse as unknown to it. With those errors the
 * test ends as unsupported; with any other it has failed.
 */
#define CAN(call)                                                                                  \
	({                                                                                         \
		__auto_type can_value_ = (call);                                                   \
		if (can_value_ < 0 && (errno == EOPNOTSUPP || errno == ENOSYS || errno == ENOTTY)) \
			skip("%s: %m", #call);                                                     \
		if (can_value_ < 0)                                                                \
			fail(__FILE__, __LINE__, "%s: %m", #call);                                 \
		can_value_;                                                                        \
	})

/*
 * Tables of tests. Those of place_tests run in a directory that the caller has prepared, each in
 * one of its kind (fidelity.sh says how), and only when they are named.
 */
extern const struct test fid_io_tests[], fid_async_tests[], fid_range_tests[], fid_map_tests[],
	fid_exec_tests[], fid_lock_tests[], fid_name_tests[], fid_dir_tests[], fid_time_tests[],
	fid_perm_tests[], fid_xattr_tests[], fid_fs_tests[], fid_full_tests[], fid_error_tests[],
	fid_place_tests[];

/* as_user() - run @fn in a child as this user with these supplementary groups, without privileges. */
struct identity {
	uid_t uid;
	gid_t gid;
	size_t ngroups;
	gid_t groups[4];
};
void as_user(const struct identity *who, void (*fn)(void *), void *arg);

/* signals() - run @fn in a child; the signal that ended it, or 0. */
int signals(void (*fn)(void *), void *arg);

/*
 * effective_uid_of() - run @program, a copy of this one, with --uid: the effective user that it
 * printed, or minus the errno of exec.
 */
long effective_uid_of(const char *program);
