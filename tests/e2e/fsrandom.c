// SPDX-License-Identifier: MIT
// Random operations of several processes on files of one directory, each byte checked against a
// model.

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fsrandom.h"

#define STALL_S 60 /* no operation has ended for so long: something hangs */

static const char usage[] =
	"usage: fsrandom [OPTION...] DIR\n"
	"Random operations of several processes on 12 files of up to 3 MiB in DIR, each byte "
	"checked\n"
	"against a model; in the end all files. The same seed gives each process the same "
	"choices.\n"
	"  --seed N          (from the clock)\n"
	"  --seconds N       how long (10)\n"
	"  --ops N           not more than N operations of each process\n"
	"  --processes N     1 to 16 (4); with one and --ops all happens again in the same way\n"
	"  --read-maps       nothing is written by a mapping\n"
	"  --without NAME    of one of the operations: pages (shared with a mapping), setid\n"
	"  --host DIR        the same files on the host's side of a mount; read there, too\n"
	"  --errors TABLE    of errfs, below the file system that has the files: some reads fail\n"
	"  --host-changes    and changed there: needs a mount with cache=none\n"
	"  --fixed-size      a file keeps its size, as one that is passed through must; how many "
	"opens\n"
	"                    were passed through is told in the end\n";

struct options options = { .processes = 4, .seconds = 10 };

static struct operation {
	void (*run)(struct actor *a, struct file *f);
	unsigned int weight;
	const char *name; /* of one that can be left out */
	bool resizes;	  /* or needs the privileges of a file to change */
} operations[] = {
	{ op_read, 500 },
	{ op_write, 300 },
	{ op_scan, 6 },
	{ op_append, 30, .resizes = true },
	{ op_copy, 12, .resizes = true },
	{ op_map_read, 50 },
	{ op_map_write, 40 },
	{ op_map_private, 15 },
	{ op_truncate, 12, .resizes = true },
	{ op_allocate, 10, .resizes = true },
	{ op_zero, 15, .resizes = true },
	{ op_stat, 30 },
	{ op_reopen, 15 },
	{ op_open_truncating, 2, .resizes = true },
	{ op_unlink, 2 },
	{ op_replace, 2 },
	{ op_rename, 2 },
	{ op_host_read, 20 },
	{ op_host_write, 25 },
	{ op_host_resize, 3, .resizes = true },
	{ op_host_replace, 2 },
	{ op_read_error, 30 },
	{ op_share_pages, 8, "pages" },
	{ op_setid, 4, "setid", true },
};

static const struct operation *pick_operation(struct actor *a)
{
	const struct operation *o = operations;
	uint64_t all = 0, n;

	for (size_t i = 0; i < ARRAY_SIZE(operations); i++)
		all += operations[i].weight;
	for (n = pick(a, all); n >= o->weight; o++)
		n -= o->weight;
	return o;
}

static bool leave_out(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(operations); i++)
		if (operations[i].name && !strcmp(operations[i].name, name)) {
			operations[i].weight = 0;
			return true;
		}
	return false;
}

static void leave_out_resizing(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(operations); i++)
		if (operations[i].resizes)
			operations[i].weight = 0;
}

static struct file *pick_file(struct actor *a)
{
	if (!a->focus_left--) {
		a->focus_left = 100 + (unsigned int)pick(a, 500);
		/* Where another is, or somewhere else. */
		if (pick(a, 3) == 0) {
			shared->hot_file = (unsigned int)pick(a, FILES);
			shared->hot_off = (off_t)pick(a, FILE_MAX);
		}
		a->focus_file = shared->hot_file;
		a->focus_off = shared->hot_off;
	}
	return &shared->file[pick(a, 5) ? a->focus_file : pick(a, FILES)];
}

static void act(unsigned int id)
{
	struct actor a = { .id = id, .rnd = options.seed * ACTORS + id };

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	a.buf = malloc(FILE_MAX);
	if (!a.buf)
		wrong(&shared->file[0], "no memory");
	for (long n = 0; !shared->stop && (!options.ops || n < options.ops); n++) {
		struct file *f = pick_file(&a);

		pick_operation(&a)->run(&a, f);
		atomic_fetch_add(&shared->done, 1);
	}
	for (unsigned int i = 0; i < FILES; i++)
		forget_open(&a, &shared->file[i]);
	_exit(0);
}

/* Make all files, or, in the end, compare all of them. */
static void each_file(const char *dir, bool make)
{
	struct actor a = { .id = ACTORS, .rnd = options.seed, .buf = malloc(FILE_MAX) };

	for (unsigned int i = 0; i < FILES; i++) {
		struct file *f = &shared->file[i];
		int fd = NEED(f, open(path_of(dir, "f", i),
				      make ? O_RDWR | O_CREAT | O_TRUNC : O_RDONLY, 0644));

		if (make)
			fill_file(&a, f, fd, pick_size(&a), record_begin(&a, f, "make", 0, 0));
		else
			check_range(&a, f, fd, dir, 0, FILE_MAX);
		if (a.record)
			record_end(&a);
		(void)close(fd);
	}
	free(a.buf);
}

static bool stalled(void)
{
	(void)fprintf(stderr, "fsrandom: nothing happens for %d s, seed %llu; what runs:\n",
		      STALL_S, (unsigned long long)options.seed);
	for (unsigned int i = 0; i < FILES; i++)
		for (unsigned int j = 0; j < RECORDS; j++) {
			const struct record *r = &shared->file[i].record[j];

			if (r->running)
				(void)fprintf(stderr,
					      "  file %u, process %u: %s at %lld for %lld\n", i,
					      r->actor, r->what, (long long)r->off,
					      (long long)r->len);
		}
	return false;
}

/* Wait for the children until the time is over; false: one has failed, or nothing moves any more. */
static bool supervise(pid_t *pid)
{
	time_t begin = time(NULL), moved = begin;
	unsigned int left = options.processes;
	uint64_t done = 0;
	bool ok = true;

	while (left && ok) {
		const struct timespec pause = { .tv_nsec = 20000000 };
		int status;
		pid_t p;

		while ((p = waitpid(-1, &status, WNOHANG)) > 0) {
			left--;
			for (unsigned int i = 0; i < options.processes; i++)
				if (pid[i] == p)
					pid[i] = 0;
			if (!WIFEXITED(status) || WEXITSTATUS(status)) {
				(void)fprintf(stderr, "fsrandom: a process ends with %s %d\n",
					      WIFSIGNALED(status) ? "signal" : "status",
					      WIFSIGNALED(status) ? WTERMSIG(status)
								  : WEXITSTATUS(status));
				ok = false;
			}
		}
		(void)nanosleep(&pause, NULL);
		if (shared->done != done)
			moved = time(NULL);
		done = shared->done;
		if (time(NULL) - moved > STALL_S)
			ok = stalled();
		if (time(NULL) - begin >= options.seconds)
			shared->stop = true;
	}
	for (unsigned int i = 0; i < options.processes; i++)
		if (pid[i])
			(void)kill(pid[i], SIGKILL);
	return ok;
}

static bool parse(int argc, char **argv)
{
	int i;

	options.seed = (uint64_t)time(NULL);
	for (i = 1; i < argc && argv[i][0] == '-'; i++) {
		const char *value = i + 1 < argc ? argv[i + 1] : "";

		if (!strcmp(argv[i], "--host-changes")) {
			options.host_changes = true;
			continue;
		}
		if (!strcmp(argv[i], "--read-maps")) {
			options.read_maps = true;
			continue;
		}
		if (!strcmp(argv[i], "--fixed-size")) {
			options.fixed_size = true;
			leave_out_resizing();
			continue;
		}
		i++;
		if (!strcmp(argv[i - 1], "--seed"))
			options.seed = strtoull(value, NULL, 0);
		else if (!strcmp(argv[i - 1], "--seconds"))
			options.seconds = strtol(value, NULL, 0);
		else if (!strcmp(argv[i - 1], "--ops"))
			options.ops = strtol(value, NULL, 0);
		else if (!strcmp(argv[i - 1], "--processes"))
			options.processes = (unsigned int)strtoul(value, NULL, 0);
		else if (!strcmp(argv[i - 1], "--host"))
			options.host = value;
		else if (!strcmp(argv[i - 1], "--errors"))
			options.errors = value;
		else if (!strcmp(argv[i - 1], "--without") && leave_out(value))
			continue;
		else
			return false;
	}
	if (i + 1 != argc)
		return false;
	options.dir = argv[i];
	return options.processes && options.processes <= ACTORS &&
	       (options.host || !options.host_changes);
}

int main(int argc, char **argv)
{
	pid_t pid[ACTORS];

	if (argc == 2 && !strcmp(argv[1], "--setid"))
		return setid_answer();
	if (!parse(argc, argv)) {
		(void)fputs(usage, stderr);
		return 2;
	}
	shared = model_create();
	if (!shared) {
		(void)fprintf(stderr, "fsrandom: no memory\n");
		return 1;
	}
	if (options.errors && !errors_open()) {
		perror(options.errors);
		return 1;
	}
	printf("fsrandom: --seed %llu\n", (unsigned long long)options.seed);
	(void)fflush(stdout);
	each_file(options.dir, true);
	for (unsigned int i = 0; i < options.processes; i++) {
		pid[i] = fork();
		if (pid[i] < 0)
			wrong(&shared->file[0], "fork: %m");
		if (!pid[i])
			act(i);
	}
	if (!supervise(pid))
		return 1;
	each_file(options.dir, false);
	if (options.host)
		each_file(options.host, false);
	printf("fsrandom: %llu operations, all bytes right\n", (unsigned long long)shared->done);
	if (options.errors)
		printf("fsrandom: %llu reads have failed below\n",
		       (unsigned long long)errors_met());
	if (options.fixed_size)
		printf("fsrandom: %llu of %llu opens passed through\n",
		       (unsigned long long)shared->passed, (unsigned long long)shared->opened);
	if (shared->unsupported)
		printf("fsrandom: FALLOC_FL_ZERO_RANGE is not supported there\n");
	return 0;
}
