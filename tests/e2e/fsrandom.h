/* SPDX-License-Identifier: MIT */
/* What the parts of fsrandom share: the model of all files, locks on its ranges, who acts. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "fstest.h"

/*
 * Several processes change and read the same files at random. A model in shared memory says what
 * each byte must be. It can do so because a byte has one writer or several readers at a time, by
 * locks on stripes of a file; different stripes, and different files, are used at the same time.
 *
 * There are two kinds of files. The stripes of the first end in the middle of pages, so two
 * processes work on one page. Those of the second are whole pages, and such files are also mapped:
 * with a mapping the kernel writes whole pages back. There, only op_share_pages() has two processes
 * on one page, with all of it locked for both.
 *
 * Locks, in the order in which they are taken:
 *   1. file.grow     who changes the size; by the number of the file
 *   2. file.stripe[] by the number of the file, then upward. What changes the size from A to B
 * holds all stripes between, so whoever has locked a range knows how much of it there is. Who
 * replaces the file or its name holds all of them.
 */
#define FILES	 12u
#define FILE_MAX (3 * MIB)
#define STRIPES	 64
#define ACTORS	 16u
#define RECORDS	 40u /* of the last operations on each file */

struct record {
	uint64_t number; /* of the operation; also the seed of what it wrote */
	const char *what;
	off_t off;
	off_t len;
	unsigned int actor;
	bool running;
};

struct file {
	unsigned int id;
	bool mapped; /* of the second kind */
	off_t stripe_len;
	pthread_mutex_t grow;
	pthread_rwlock_t stripe[STRIPES];
	_Atomic off_t size;
	_Atomic unsigned int generation; /* counts inodes of this name */
	_Atomic unsigned int next;	 /* record to be overwritten */
	struct record record[RECORDS];
	unsigned char data[FILE_MAX]; /* zero behind the end */
};

/* Where two processes are in their work on the same pages. */
struct meeting {
	_Atomic unsigned int at[2];
};

struct shared {
	_Atomic uint64_t number; /* of the last operation */
	_Atomic uint64_t done;
	_Atomic bool stop, failed;
	_Atomic unsigned int hot_file; /* where others work, too */
	_Atomic off_t hot_off;
	_Atomic uint64_t unsupported; /* FALLOC_FL_ZERO_RANGE on a file system without */
	_Atomic uint64_t opened,
		passed; /* with options.fixed_size: opens, and those passed through */
	struct meeting meeting[ACTORS];
	struct file file[FILES];
};

/* The command line. */
struct options {
	const char *dir;    /* the mount */
	const char *host;   /* the same files on the other side, or NULL */
	const char *errors; /* errfs' table of the file system below, or NULL */
	bool host_changes;
	bool read_maps;	 /* mappings are not written to */
	bool fixed_size; /* of files that are there */
	uint64_t seed;
	unsigned int processes;
	long seconds;
	long ops; /* of each process; 0: no limit */
};

/* A process, with what it has open. */
struct actor {
	unsigned int id;
	uint64_t rnd;
	unsigned char *buf; /* FILE_MAX bytes */
	struct record *record;
	struct {
		unsigned int generation;
		int fd, append_fd;
		unsigned char *map; /* all of FILE_MAX, or NULL */
	} open[FILES];
	/* It works for a while around one place, so that some ranges are hot. */
	unsigned int focus_left;
	unsigned int focus_file;
	off_t focus_off;
};

extern struct shared *shared;
extern struct options options;

/* fsrandom_model.c */
struct shared *model_create(void);
void lock_range(struct file *f, off_t from, off_t to, bool write);
void unlock_range(struct file *f, off_t from, off_t to);
void lock_all(struct file *f); /* grow, then every stripe */
void unlock_all(struct file *f);

/* record_begin() - note an operation on @f; returns its number. It ends with record_end(). */
uint64_t record_begin(struct actor *a, struct file *f, const char *what, off_t off, off_t len);
void record_end(struct actor *a);

/* wrong() - say what is wrong with @f, its last operations and the seed, and end the process. */
void wrong(const struct file *f, const char *fmt, ...)
	__attribute__((noreturn, format(printf, 2, 3)));

/* NEED() - the value of a call on @f that must not fail. */
#define NEED(f, call)                                                                              \
	({                                                                                         \
		__auto_type need_value_ = (call);                                                  \
		if (need_value_ < 0)                                                               \
			wrong(f, "%s: %s: %m", __func__, #call);                                   \
		need_value_;                                                                       \
	})

/* compare() - @got against the model; @way says how it was read. */
void compare(const struct file *f, const char *way, const unsigned char *got, off_t off,
	     size_t len);

/* The model's side of writing the data of operation @number, of zeroing, of a new size. */
void model_fill(struct file *f, off_t off, off_t len, uint64_t number);
void model_zero(struct file *f, off_t off, off_t len);
void model_resize(struct file *f, off_t size);

/* fsrandom_actor.c: numbers, names and descriptors of a process. */
uint64_t pick(struct actor *a, uint64_t below);
off_t pick_offset(struct actor *a, const struct file *f);
off_t pick_length(struct actor *a, off_t off);
off_t pick_size(struct actor *a);
const char *path_of(const char *dir, const char *prefix, unsigned int id);

/* These need a stripe of @f, so that it is not replaced meanwhile. */
int fd_of(struct actor *a, struct file *f);
int append_fd_of(struct actor *a, struct file *f);
unsigned char *map_of(struct actor *a, struct file *f);
void forget_open(struct actor *a, const struct file *f);

/* fill_file() - give an empty file of @fd the first @size bytes of new content, with all locked. */
void fill_file(struct actor *a, struct file *f, int fd, off_t size, uint64_t number);

/* child_end() - wait for a child of this process; its exit status, which is not 1 */
int child_end(const struct file *f, pid_t pid);

/* Read [off, off + len) from @fd and compare; with the range locked. */
void check_range(struct actor *a, struct file *f, int fd, const char *way, off_t off, off_t len);

/* fsrandom_error.c: errors_open() - map options.errors; errors_met() - how many reads have failed */
bool errors_open(void);
uint64_t errors_met(void);

/* fsrandom_setid.c: setid_answer() - the exit status of a copy of this program that is run there */
int setid_answer(void);

/* The operations: data, mappings, sizes, names and the host's side. */
void op_read(struct actor *a, struct file *f);
void op_scan(struct actor *a, struct file *f);
void op_write(struct actor *a, struct file *f);
void op_append(struct actor *a, struct file *f);
void op_copy(struct actor *a, struct file *f);
void op_map_read(struct actor *a, struct file *f);
void op_map_write(struct actor *a, struct file *f);
void op_map_private(struct actor *a, struct file *f);
void op_truncate(struct actor *a, struct file *f);
void op_allocate(struct actor *a, struct file *f);
void op_zero(struct actor *a, struct file *f);
void op_stat(struct actor *a, struct file *f);
void op_reopen(struct actor *a, struct file *f);
void op_open_truncating(struct actor *a, struct file *f);
void op_unlink(struct actor *a, struct file *f);
void op_replace(struct actor *a, struct file *f);
void op_rename(struct actor *a, struct file *f);
void op_host_read(struct actor *a, struct file *f);
void op_host_write(struct actor *a, struct file *f);
void op_host_resize(struct actor *a, struct file *f);
void op_host_replace(struct actor *a, struct file *f);
void op_read_error(struct actor *a, struct file *f);
void op_share_pages(struct actor *a, struct file *f);
void op_setid(struct actor *a, struct file *f);
