/* SPDX-License-Identifier: MIT */
/* What the tests of FUSE passthrough share. They run in the mount of pass_server, which has files a
 * and w, but for those of the group mount: these have a directory in a mount of vfsdaxfuse. */
#pragma once

#include "fstest.h"

/* FOPEN_ flags of <linux/fuse.h>, as pass_server answers them. */
#define CACHED 0
#define DIRECT 1
#define PASS   128
#define BOTH   (DIRECT | PASS)

/*
 * a: a file of SIZE bytes of pattern 1 at the beginning of each test, in a file system with room.
 * w: lies in the window, in a file system without room.
 */
#define SIZE (1 * MIB)

extern const struct test pass_open_tests[], pass_data_tests[], pass_window_tests[],
	pass_killpriv_tests[], pass_last_tests[], pass_mount_tests[];

/* answer() - how the server answers opens from now on; open_as() - and open @name so. */
void answer(int fopen_flags);
int open_as(int fopen_flags, const char *name, int flags);

/* tell() - set one of the server's user.* attributes. */
void tell(const char *name, const char *value);

/* asked() - how many requests of this name have come to the server */
long asked(const char *request);

/* backing_of() - the path of the file behind a file; backing_size() - and its size */
char *backing_of(const char *name);

char *map_file(int fd, size_t len, int prot);

/* begin() - each test's: file a as described above, answers PASS, registered anew */
void begin(void);

/*
 * Checks of files that are passed through, of SIZE bytes of pattern 1 in the beginning.
 * check_coherent() - a store is seen by the next read, a write by the mapping, without a call
 * between; @other is open for reading alone. check_race() - a write beside a store in one page at
 * the same time: neither is lost. check_moved() - sendfile and splice, from @fd to @out of the same
 * file; check_copied() - copy_file_range, within the file and to another file system.
 */
void check_coherent(int fd, int other);
void check_race(int fd);
void check_moved(int fd, int out);
void check_copied(int fd, int out);

/* status_of_program() - run it; 99: it cannot be run */
int status_of_program(const char *path);

/* sizes_main() - the tool pass_cases --sizes; an exit status, or -1 when it was called wrongly */
int sizes_main(int argc, char **argv);
