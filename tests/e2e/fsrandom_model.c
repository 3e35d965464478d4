// SPDX-License-Identifier: MIT
// fsrandom: the model of the files in shared memory, its locks, and what is said when it is violated.

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fsrandom.h"

/* Of the first kind of file, which ends in the middle of a page, and of the second. */
#define STRIPE_ODD  50021
#define STRIPE_PAGE (13 * PAGE)

struct shared *shared;

static void file_init(struct file *f, unsigned int id)
{
	pthread_mutexattr_t ma;
	pthread_rwlockattr_t ra;

	f->id = id;
	f->mapped = id % 2;
	f->stripe_len = f->mapped ? STRIPE_PAGE : STRIPE_ODD;
	f->generation = 1;
	(void)pthread_mutexattr_init(&ma);
	(void)pthread_mutexattr_setpshared(&ma, PTHREAD_PROCESS_SHARED);
	(void)pthread_mutex_init(&f->grow, &ma);
	(void)pthread_rwlockattr_init(&ra);
	(void)pthread_rwlockattr_setpshared(&ra, PTHREAD_PROCESS_SHARED);
	(void)pthread_rwlockattr_setkind_np(&ra, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	for (int i = 0; i < STRIPES; i++)
		(void)pthread_rwlock_init(&f->stripe[i], &ra);
}

struct shared *model_create(void)
{
	struct shared *s =
		mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	_Static_assert(STRIPES * (off_t)STRIPE_ODD > FILE_MAX, "all of a file has a stripe");
	if (s == MAP_FAILED)
		return NULL;
	for (unsigned int i = 0; i < FILES; i++)
		file_init(&s->file[i], i);
	return s;
}

void lock_range(struct file *f, off_t from, off_t to, bool write)
{
	for (off_t i = from / f->stripe_len; i <= (to - 1) / f->stripe_len && i < STRIPES; i++)
		if (write)
			(void)pthread_rwlock_wrlock(&f->stripe[i]);
		else
			(void)pthread_rwlock_rdlock(&f->stripe[i]);
}

void unlock_range(struct file *f, off_t from, off_t to)
{
	for (off_t i = from / f->stripe_len; i <= (to - 1) / f->stripe_len && i < STRIPES; i++)
		(void)pthread_rwlock_unlock(&f->stripe[i]);
}

void lock_all(struct file *f)
{
	(void)pthread_mutex_lock(&f->grow);
	lock_range(f, 0, FILE_MAX, true);
}

void unlock_all(struct file *f)
{
	unlock_range(f, 0, FILE_MAX);
	(void)pthread_mutex_unlock(&f->grow);
}

uint64_t record_begin(struct actor *a, struct file *f, const char *what, off_t off, off_t len)
{
	uint64_t number = atomic_fetch_add(&shared->number, 1) + 1;
	struct record *r = &f->record[atomic_fetch_add(&f->next, 1) % RECORDS];

	*r = (struct record){ number, what, off, len, a->id, true };
	a->record = r;
	return number;
}

void record_end(struct actor *a)
{
	/* It may have been overwritten by many newer ones; then this is about another. */
	if (a->record->actor == a->id)
		a->record->running = false;
}

static int older(const void *a, const void *b)
{
	const struct record *x = a, *y = b;

	return x->number < y->number ? -1 : x->number > y->number;
}

void wrong(const struct file *f, const char *fmt, ...)
{
	struct record list[RECORDS];
	int error = errno; /* for %m */
	va_list ap;

	/* The first counts: what others find then may come from it. */
	if (atomic_exchange(&shared->failed, true)) {
		for (;;)
			(void)pause();
	}
	(void)fprintf(stderr, "fsrandom: file %u, size %lld: ", f->id, (long long)f->size);
	va_start(ap, fmt);
	errno = error;
	(void)vfprintf(stderr, fmt, ap); // NOLINT(clang-analyzer-valist.Uninitialized)
	va_end(ap);
	(void)fprintf(stderr, "\nlast operations on this file:\n");
	memcpy(list, f->record, sizeof(list));
	qsort(list, RECORDS, sizeof(list[0]), older);
	for (unsigned int i = 0; i < RECORDS; i++)
		if (list[i].number)
			(void)fprintf(stderr, "  %8llu process %2u %-16s at %8lld for %8lld%s\n",
				      (unsigned long long)list[i].number, list[i].actor,
				      list[i].what, (long long)list[i].off, (long long)list[i].len,
				      list[i].running ? " (runs)" : "");
	(void)fprintf(stderr, "again: --seed %llu --processes %u\n",
		      (unsigned long long)options.seed, options.processes);
	_exit(1);
}

/* Whose data is it that was found? All that wrote to @f lately are asked. */
static void explain(const struct file *f, const unsigned char *got, off_t off, size_t len,
		    char *ret, size_t size)
{
	unsigned char want[16] = { 0 };
	size_t n = len < sizeof(want) ? len : sizeof(want);

	if (!memcmp(got, want, n)) {
		(void)snprintf(ret, size, "zeros");
		return;
	}
	for (unsigned int i = 0; i < RECORDS; i++) {
		pattern_fill(want, n, f->record[i].number, (uint64_t)off);
		if (f->record[i].number && !memcmp(got, want, n)) {
			(void)snprintf(ret, size, "data of operation %llu",
				       (unsigned long long)f->record[i].number);
			return;
		}
	}
	(void)snprintf(ret, size, "0x%02x 0x%02x..., of no operation below", got[0],
		       n > 1 ? got[1] : 0);
}

/* Is the page of @at, read once more by @path, right? Tells whose copy of it is the wrong one. */
static const char *once_more(const struct file *f, const char *path, int flags, off_t at)
{
	static unsigned char page[PAGE] __attribute__((aligned(PAGE)));
	int fd = open(path, O_RDONLY | O_CLOEXEC | flags);
	ssize_t n = fd < 0 ? -1 : pread(fd, page, PAGE, at / PAGE * PAGE);

	if (fd >= 0)
		(void)close(fd);
	if (n <= at % PAGE)
		return "not readable";
	return page[at % PAGE] == f->data[at] ? "right" : "wrong";
}

void compare(const struct file *f, const char *way, const unsigned char *got, off_t off, size_t len)
{
	const unsigned char *want = f->data + off;
	const char *again, *direct, *host;
	char found[80], wanted[80];
	size_t first = 0, last = len, bad = 0;
	off_t at;

	if (!memcmp(got, want, len))
		return;
	while (got[first] == want[first])
		first++;
	while (got[last - 1] == want[last - 1])
		last--;
	for (size_t i = first; i < last; i++)
		bad += got[i] != want[i];
	explain(f, got + first, off + (off_t)first, last - first, found, sizeof(found));
	explain(f, want + first, off + (off_t)first, last - first, wanted, sizeof(wanted));
	at = off + (off_t)first;
	host = options.host ? once_more(f, path_of(options.host, "f", f->id), 0, at) : "unknown";
	direct = once_more(f, path_of(options.dir, "f", f->id), O_DIRECT, at);
	again = once_more(f, path_of(options.dir, "f", f->id), 0, at);
	wrong(f,
	      "%s of %zu at %lld: %zu bytes from %lld to %lld are wrong: %s instead of %s (the "
	      "first of them once more: for the host %s, past the kernel's cache %s, by it %s)",
	      way, len, (long long)off, bad, (long long)at, (long long)off + (long long)last, found,
	      wanted, host, direct, again);
}

void model_fill(struct file *f, off_t off, off_t len, uint64_t number)
{
	pattern_fill(f->data + off, (size_t)len, number, (uint64_t)off);
	if (off + len > f->size)
		f->size = off + len;
}

void model_zero(struct file *f, off_t off, off_t len)
{
	if (off < f->size)
		memset(f->data + off, 0, (size_t)(off + len < f->size ? len : f->size - off));
}

void model_resize(struct file *f, off_t size)
{
	if (size < f->size)
		memset(f->data + size, 0, (size_t)(f->size - size));
	f->size = size;
}
