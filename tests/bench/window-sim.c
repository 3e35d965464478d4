// SPDX-License-Identifier: MIT
// The window's real allocator, index and policy under traces, against a cost model and a virtual
// clock.

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/guard.h"
#include "base/time.h"
#include "dax/dax.h"
#include "fs/cost.h"
#include "policy/params.h"

/*
 * Theory of operation
 *
 * Each row is one trace: reads of one size in a set of files. The window is memory that reads as
 * zero, the host is a fake that only adds up what its work costs. The clock is virtual: main_ns is
 * advanced by the reader, janitor_ns by what the janitor asks the host for.
 *
 * The janitor is a real thread. For the same seed to give the same numbers, the reader holds the
 * gate except while it waits in dax_settle() after each access; what the janitor asks of the host
 * waits for the gate. The janitor's clock stands where the access began and moves by its own work
 * only.
 *
 * Compared with: all over the virtqueue; the kernel's DAX (2 MiB ranges, mapped on every miss, the
 * oldest given up); and the best set that never changes, chosen with the whole trace known.
 */

/* Times in ns. The defaults and where they come from: doc/window.md. */
struct model {
	const char *name;
	double hit, hit_byte;
	double vq, vq_byte;
	double map, map_live;	  /* one mapping; and for each that there is already */
	double unmap, unmap_live; /* the same for one removal */
	double unmap_req;	  /* a request that removes, whatever the number */
	double budget;		  /* the host refuses more mappings; 0: never */
	double both;		  /* what window and virtqueue share, the round trip of FUSE */
};

static struct model models[] = {
	{ "stock", 300, 0.49, 70000, 0.456, 200000, 90000, 200000, 90000, 70000, 500, 0 },
	{ "polled", 300, 0.49, 8000, 0.456, 200000, 90000, 200000, 90000, 8000, 500, 0 },
	{ "cheap", 100, 0.10, 20000, 0.15, 60000, 0, 20000, 0, 20000, 0, 0 },
};

static const struct {
	const char *name;
	size_t at;
} costs[] = {
	{ "hit", offsetof(struct model, hit) },
	{ "hit-byte", offsetof(struct model, hit_byte) },
	{ "vq", offsetof(struct model, vq) },
	{ "vq-byte", offsetof(struct model, vq_byte) },
	{ "map", offsetof(struct model, map) },
	{ "map-live", offsetof(struct model, map_live) },
	{ "unmap", offsetof(struct model, unmap) },
	{ "unmap-live", offsetof(struct model, unmap_live) },
	{ "unmap-req", offsetof(struct model, unmap_req) },
	{ "budget", offsetof(struct model, budget) },
	{ "both", offsetof(struct model, both) },
};

#define COSTS ARRAY_SIZE(costs)

static struct policy_params params;

static const struct {
	const char *name, *help;
	uint64_t min;
	size_t at;
} param_info[] = {
#define X(name, value, min, help) { #name, help, min, offsetof(struct policy_params, name) },
	POLICY_PARAM_LIST(X)
#undef X
};

enum kind {
	UNIFORM,
	ZIPF,	   /* hot blocks anywhere */
	CLUSTERED, /* hot blocks side by side in pieces of CLUSTER */
	SHIFT,	   /* the same; half-way other pieces become hot */
	SCAN,	   /* from begin to end, again and again */
	SCAN_HOT,  /* every other access to a hot eighth of the window */
	SMALL,	   /* whole small files, all in each pass, in another order */
	SMALL_ZIPF,
};

#define CLUSTER (2 * MIB)

struct trace {
	const char *name;
	enum kind kind;
	double theta;
	unsigned int files; /* of a size for all; 0: one for each quarter of the window */
	unsigned int sets;  /* which of the file sets: a bit for each of set_sizes */
	unsigned int passes;
};

static const double set_sizes[] = { 0.5, 1, 2, 4, 1.1 };
#define SETS_USUAL 0x0fu
#define SETS_LOOP  0x10u

static const struct trace traces[] = {
	{ "uniform", UNIFORM, 0, 4, SETS_USUAL, 0 },
	{ "uniform, 7 files", UNIFORM, 0, 7, SETS_USUAL, 0 },
	{ "zipf 0.8", ZIPF, 0.8, 4, SETS_USUAL, 0 },
	{ "zipf 0.99", ZIPF, 0.99, 4, SETS_USUAL, 0 },
	{ "zipf 1.2", ZIPF, 1.2, 4, SETS_USUAL, 0 },
	{ "zipf 0.8 clustered", CLUSTERED, 0.8, 4, SETS_USUAL, 0 },
	{ "zipf 0.99 clustered", CLUSTERED, 0.99, 4, SETS_USUAL, 0 },
	{ "zipf 1.2 clustered", CLUSTERED, 1.2, 4, SETS_USUAL, 0 },
	{ "zipf 1.2 that moves", SHIFT, 1.2, 4, SETS_USUAL, 0 },
	{ "scan", SCAN, 0, 1, SETS_USUAL, 0 },
	{ "scan + hot set", SCAN_HOT, 0, 2, SETS_USUAL, 0 },
	{ "loop", SCAN, 0, 4, SETS_LOOP, 0 },
	{ "small files, once", SMALL, 0, 0, 1, 1 },
	{ "small files, twice", SMALL, 0, 0, 1, 2 },
	{ "small files, 10 times", SMALL, 0, 0, 1, 10 },
	{ "small files, zipf 0.99", SMALL_ZIPF, 0.99, 0, 1, 10 },
};

#define SMALL_FILES 20000u
#define SMALL_MAX   (16 * KIB)

struct file {
	uint64_t size;
	uint64_t first; /* in a numbering of all blocks */
	struct dax_inode *di;
};

struct access {
	uint32_t file;
	uint32_t len;
	uint64_t off;
};

struct run {
	const struct model *m;
	const struct trace *t;
	double set;
	uint64_t window, block;
	struct file *file;
	uint32_t nfiles;
	uint64_t nblocks;
	struct access *access;
	uint64_t n;
};

struct result {
	uint64_t hits, late_hits;
	uint64_t maps, unmaps, refused;
	double ns, late_ns; /* with all the work of the janitor */
	double janitor_ns;
};

static uint64_t rng_state;

/* splitmix64 */
static uint64_t rng(void)
{
	uint64_t z = rng_state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static uint64_t rng_below(uint64_t n)
{
	return (uint64_t)(((unsigned __int128)rng() * n) >> 64);
}

static void *xcalloc(size_t n, size_t size)
{
	void *p = calloc(n ? n : 1, size);

	if (!p) {
		perror("window-sim");
		exit(1);
	}
	return p;
}

/* Traces */

static uint32_t *permutation(uint64_t n)
{
	uint32_t *p = xcalloc(n, sizeof(*p));

	for (uint64_t i = 0; i < n; i++) {
		uint64_t j = rng_below(i + 1);

		p[i] = p[j];
		p[j] = (uint32_t)i;
	}
	return p;
}

static double *zipf_sums(uint64_t n, double theta)
{
	double *sums = xcalloc(n, sizeof(*sums)), sum = 0;

	for (uint64_t i = 0; i < n; i++)
		sums[i] = sum += pow((double)(i + 1), -theta);
	return sums;
}

static uint64_t zipf_rank(const double *sums, uint64_t n)
{
	double x = (double)(rng() >> 11) * 0x1p-53 * sums[n - 1];
	uint64_t lo = 0, hi = n - 1;

	while (lo < hi) {
		uint64_t mid = (lo + hi) / 2;

		if (sums[mid] <= x)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static void put_block(struct run *r, uint64_t i, uint64_t block)
{
	uint32_t f = 0;

	while (f + 1 < r->nfiles && r->file[f + 1].first <= block)
		f++;
	r->access[i] = (struct access){ .file = f,
					.len = (uint32_t)r->block,
					.off = (block - r->file[f].first) * r->block };
}

static void make_large_files(struct run *r)
{
	uint64_t each = (uint64_t)(r->set * (double)r->window) / r->t->files;

	r->nfiles = r->t->files;
	r->file = xcalloc(r->nfiles, sizeof(*r->file));
	each = align_down(each, r->block);
	for (uint32_t f = 0; f < r->nfiles; f++) {
		r->file[f].size = each;
		r->file[f].first = r->nblocks;
		r->nblocks += each / r->block;
	}
}

static void make_blocks(struct run *r)
{
	const struct trace *t = r->t;
	bool zipf = t->theta > 0, pieces = t->kind == CLUSTERED || t->kind == SHIFT;
	uint64_t unit = pieces ? CLUSTER / r->block : 1, nunits, hot;
	uint32_t *perm;
	double *sums;

	make_large_files(r);
	nunits = r->nblocks / unit;
	hot = MAX(r->window / 8 / r->block, (uint64_t)1);
	perm = permutation(nunits);
	sums = zipf ? zipf_sums(nunits * unit, t->theta) : NULL;
	r->access = xcalloc(r->n, sizeof(*r->access));
	for (uint64_t i = 0, scan = 0; i < r->n; i++) {
		uint64_t b;

		if (t->kind == SHIFT && i == r->n / 2) {
			free(perm);
			perm = permutation(nunits);
		}
		if (t->kind == UNIFORM)
			b = rng_below(r->nblocks);
		else if (zipf)
			b = zipf_rank(sums, nunits * unit);
		else if (t->kind == SCAN_HOT && i % 2)
			b = r->nblocks - 1 - rng_below(MIN(hot, r->nblocks));
		else
			b = scan++ % r->nblocks;
		if (zipf)
			b = (uint64_t)perm[b / unit] * unit + b % unit;
		put_block(r, i, b);
	}
	free(perm);
	free(sums);
}

static void add_whole_file(struct run *r, uint32_t f)
{
	uint64_t size = r->file[f].size;

	for (uint64_t off = 0; off < size; off += r->block) {
		uint64_t len = MIN(r->block, size - off);

		r->access[r->n++] = (struct access){ .file = f, .off = off, .len = (uint32_t)len };
	}
}

static void make_small(struct run *r)
{
	double *sums = NULL;

	r->nfiles = SMALL_FILES;
	r->file = xcalloc(r->nfiles, sizeof(*r->file));
	for (uint32_t f = 0; f < r->nfiles; f++)
		r->file[f].size = KIB + rng_below(SMALL_MAX - KIB + 1);
	r->n = 0;
	r->access = xcalloc(r->t->passes * SMALL_FILES * (SMALL_MAX / PAGE_4K), sizeof(*r->access));
	if (r->t->kind == SMALL_ZIPF)
		sums = zipf_sums(r->nfiles, r->t->theta);
	for (unsigned int p = 0; p < r->t->passes; p++) {
		uint32_t *perm = permutation(r->nfiles);

		for (uint32_t i = 0; i < r->nfiles; i++)
			add_whole_file(r, sums ? (uint32_t)zipf_rank(sums, r->nfiles) : perm[i]);
		free(perm);
	}
	free(sums);
}

/* Costs */

static double cost_hit(const struct model *m, const struct access *a)
{
	return m->both + m->hit + m->hit_byte * a->len;
}

static double cost_vq(const struct model *m, const struct access *a)
{
	return m->both + m->vq + m->vq_byte * a->len;
}

static double cost_map(const struct model *m, uint64_t live)
{
	return m->map + m->map_live * (double)live;
}

static double cost_unmap(const struct model *m, uint64_t live)
{
	return m->unmap + m->unmap_live * (double)live;
}

/* The host */

static struct {
	const struct model *m;
	pthread_mutex_t gate;
	uint64_t live;
	double main_ns, janitor_ns, begin_ns;
	struct result res;
} host = { .gate = PTHREAD_MUTEX_INITIALIZER };

static __thread bool is_reader;

static uint64_t host_clock(void)
{
	return (uint64_t)((is_reader ? host.main_ns : host.begin_ns) + host.janitor_ns);
}

static void host_begin(void)
{
	if (!is_reader)
		(void)pthread_mutex_lock(&host.gate);
}

static void host_end(double ns)
{
	if (is_reader) {
		host.main_ns += ns;
	} else {
		host.janitor_ns += ns;
		(void)pthread_mutex_unlock(&host.gate);
	}
}

static int host_setup(void *ctx, uint64_t nodeid, struct foff from, uint64_t len, struct woff to,
		      bool writable)
{
	bool full;

	host_begin();
	full = host.m->budget > 0 && (double)host.live >= host.m->budget;
	if (full) {
		host.res.refused++;
		host_end(host.m->vq);
		return -ENOSPC;
	}
	host.res.maps++;
	host_end(host.m->vq + cost_map(host.m, host.live++));
	return 0;
}

static int host_remove(void *ctx, const struct dax_range *ranges, unsigned int n)
{
	double ns = 0;

	host_begin();
	for (unsigned int i = 0; i < n; i++)
		ns += cost_unmap(host.m, --host.live);
	host.res.unmaps += n;
	host_end(host.m->unmap_req + ns);
	return 0;
}

static const struct dax_remote_ops host_ops = { .setup = host_setup, .remove = host_remove };

/* The real thing */

static bool read_one(struct run *r, struct dax *d, const struct access *a, char *buf)
{
	const struct file *f = &r->file[a->file];
	uint64_t limit = align_down(f->size, PAGE_4K);
	bool hit = false;

	host.begin_ns = host.main_ns;
	/* As relay_read(). What reaches into the tail of the file is not asked of the window. */
	if (range_ok(a->off, a->len, limit)) {
		if (a->len >= COST_SIZE_MIN || !dax_declines(f->di, FOFF(a->off)))
			hit = dax_read(f->di, FOFF(a->off), buf, a->len, limit) == 0;
		else if (!dax_note_miss(f->di, FOFF(a->off), a->len, limit, false))
			dax_count_miss(f->di, FOFF(a->off), a->len, limit, false);
	}
	if (hit) {
		host.main_ns += cost_hit(r->m, a);
	} else {
		host.main_ns += cost_vq(r->m, a);
		dax_missed(d, (uint64_t)cost_vq(r->m, a));
	}
	(void)pthread_mutex_unlock(&host.gate);
	dax_settle(d);
	(void)pthread_mutex_lock(&host.gate);
	return hit;
}

static struct result run_real(struct run *r, void *window, char *buf)
{
	struct dax_params p = { .addr = window,
				.size = r->window,
				.alignment = PAGE_4K,
				.remote = &host_ops,
				.clock_ns = host_clock,
				.policy = &params };
	struct dax *d;
	uint64_t late = r->n - r->n / 4;

	host.m = r->m;
	host.live = 0;
	host.main_ns = host.janitor_ns = host.begin_ns = 0;
	host.res = (struct result){ 0 };
	if (dax_create(&p, &d) < 0)
		exit(1);
	(void)pthread_mutex_lock(&host.gate);
	for (uint32_t f = 0; f < r->nfiles; f++)
		r->file[f].di = dax_inode_create(d, f + 1);
	for (uint64_t i = 0; i < r->n; i++) {
		if (i == late)
			host.res.late_ns = -(host.main_ns + host.janitor_ns);
		if (read_one(r, d, &r->access[i], buf)) {
			host.res.hits++;
			host.res.late_hits += i >= late;
		}
	}
	host.res.ns = host.main_ns + host.janitor_ns;
	host.res.late_ns += host.res.ns;
	host.res.janitor_ns = host.janitor_ns;
	struct result res = host.res;
	(void)pthread_mutex_unlock(&host.gate);
	for (uint32_t f = 0; f < r->nfiles; f++)
		dax_inode_destroy(r->file[f].di);
	dax_settle(d);
	dax_destroy(d);
	return res;
}

/* What it is compared with */

static struct result run_nodax(const struct run *r)
{
	struct result res = { 0 };

	for (uint64_t i = 0; i < r->n; i++) {
		res.ns += cost_vq(r->m, &r->access[i]);
		if (i >= r->n - r->n / 4)
			res.late_ns += cost_vq(r->m, &r->access[i]);
	}
	return res;
}

/* Number the pieces of 2^shift bytes of all files: the first of each file. */
static uint64_t *number_pieces(const struct run *r, unsigned int shift, uint64_t *ret_n)
{
	uint64_t *first = xcalloc(r->nfiles, sizeof(*first)), n = 0;

	for (uint32_t f = 0; f < r->nfiles; f++) {
		first[f] = n;
		n += (r->file[f].size + (UINT64_C(1) << shift) - 1) >> shift;
	}
	*ret_n = n;
	return first;
}

static struct result run_kernel(const struct run *r)
{
	unsigned int shift = 21;
	uint64_t n, slots = r->window >> shift, live = 0, next = 0;
	uint64_t *first = number_pieces(r, shift, &n), *fifo = xcalloc(slots, sizeof(*fifo));
	bool *mapped = xcalloc(n, sizeof(*mapped));
	struct result res = { 0 };

	for (uint64_t i = 0; i < r->n; i++) {
		const struct access *a = &r->access[i];
		uint64_t piece = first[a->file] + (a->off >> shift);

		if (mapped[piece]) {
			res.hits++;
		} else {
			if (live == slots) {
				mapped[fifo[next]] = false;
				res.ns += r->m->unmap_req + cost_unmap(r->m, --live);
			}
			res.ns += r->m->vq + cost_map(r->m, live++);
			res.maps++;
			mapped[piece] = true;
			fifo[next] = piece;
			next = (next + 1) % slots;
		}
		res.ns += cost_hit(r->m, a);
	}
	free(first);
	free(fifo);
	free(mapped);
	return res;
}

static int by_gain(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? 1 : x > y ? -1 : 0;
}

/* The pieces that gain most, as many as pay and fit; all mapped before the first access. */
static double best_of_size(const struct run *r, unsigned int shift, double nodax_ns)
{
	uint64_t n, *first = number_pieces(r, shift, &n);
	double *gain = xcalloc(n, sizeof(*gain)), ns = nodax_ns, best = nodax_ns;

	for (uint64_t i = 0; i < r->n; i++) {
		const struct access *a = &r->access[i];

		if (range_ok(a->off, a->len, align_down(r->file[a->file].size, PAGE_4K)))
			gain[first[a->file] + (a->off >> shift)] +=
				cost_vq(r->m, a) - cost_hit(r->m, a);
	}
	qsort(gain, n, sizeof(*gain), by_gain);
	for (uint64_t k = 0; k < MIN(n, r->window >> shift); k++) {
		ns += r->m->vq + cost_map(r->m, k) - gain[k];
		best = MIN(best, ns);
	}
	free(first);
	free(gain);
	return best;
}

static double run_static(const struct run *r, double nodax_ns)
{
	double best = nodax_ns;

	for (unsigned int shift = 16; shift <= 26; shift += 2)
		best = MIN(best, best_of_size(r, shift, nodax_ns));
	return best;
}

/* Output */

static bool json, summary;
static double worst = INFINITY;

/*
 * Logarithms of the ratios to no DAX, of the traces and sets that the table "What was tried" sums
 * up.
 */
enum group { GROUP_ZIPF, GROUP_UNIFORM, GROUP_SCANS, GROUP_SMALL, GROUPS };

static struct {
	double sum;
	unsigned int n;
} ratios[ARRAY_SIZE(models)][GROUPS];
static unsigned int rows_below;

#define BELOW 0.97

static enum group group_of(const struct trace *t)
{
	if (t->kind == UNIFORM)
		return GROUP_UNIFORM;
	if (t->kind == SCAN || t->kind == SCAN_HOT)
		return GROUP_SCANS;
	return t->kind == SMALL || t->kind == SMALL_ZIPF ? GROUP_SMALL : GROUP_ZIPF;
}

static void sum_up(const struct run *r, double ratio)
{
	enum group g = group_of(r->t);

	worst = MIN(worst, ratio);
	rows_below += ratio < BELOW;
	if (g != GROUP_SMALL && r->set <= 1)
		return;
	ratios[r->m - models][g].sum += log(ratio);
	ratios[r->m - models][g].n++;
}

static void print_summary(void)
{
	for (unsigned int m = 0; m < ARRAY_SIZE(models); m++) {
		printf("%s:", models[m].name);
		for (unsigned int g = 0; g < GROUPS; g++)
			if (ratios[m][g].n)
				printf("%s %.3f", g ? " /" : "",
				       exp(ratios[m][g].sum / ratios[m][g].n));
			else
				printf("%s -", g ? " /" : "");
		printf(" | ");
	}
	printf("lowest %.3f, %u rows below %.2f\n", worst, rows_below, BELOW);
}

static void print_head(void)
{
	if (!json && !summary)
		printf("| costs | trace | set | block | hits | late hits | maps | unmaps | time ms "
		       "| no DAX "
		       "| late | free janitor | kernel DAX | best fixed |\n"
		       "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n");
}

static void print_row(const struct run *r, const struct result *res, const struct result *nodax,
		      const struct result *kernel, double fixed)
{
	bool small = r->t->kind == SMALL || r->t->kind == SMALL_ZIPF;
	double hit = 100.0 * (double)res->hits / (double)r->n;
	double late = 100.0 * (double)res->late_hits / (double)(r->n / 4);
	double ratio = nodax->ns / res->ns, late_ratio = nodax->late_ns / res->late_ns;
	double free_ratio = nodax->ns / (res->ns - res->janitor_ns);
	char set[16] = "-";

	sum_up(r, ratio);
	if (summary)
		return;
	if (!small)
		(void)snprintf(set, sizeof(set), "%g", r->set);
	printf(json ? "{\"costs\":\"%s\",\"trace\":\"%s\",\"set\":\"%s\",\"block\":%llu,"
		      "\"hits\":%.1f,\"late_hits\":%.1f,\"maps\":%llu,\"unmaps\":%llu,\"ms\":%.1f,"
		      "\"vs_nodax\":%.3f,\"late_vs_nodax\":%.3f,\"vs_nodax_free_janitor\":%.3f,"
		      "\"vs_kernel\":%.3f,\"vs_fixed\":%.3f}\n"
		    : "| %s | %s | %s | %lluk | %.1f | %.1f | %llu | %llu | %.1f | %.2f | %.2f | "
		      "%.2f "
		      "| %.2f | %.2f |\n",
	       r->m->name, r->t->name, set, (unsigned long long)(json ? r->block : r->block / KIB),
	       hit, late, (unsigned long long)res->maps, (unsigned long long)res->unmaps,
	       res->ns / 1e6, ratio, late_ratio, free_ratio, kernel->ns / res->ns, fixed / res->ns);
	(void)fflush(stdout);
}

static void run_row(struct run *r, uint64_t seed, void *window, char *buf)
{
	struct result nodax, kernel, res;

	rng_state = seed;
	if (r->t->files)
		make_blocks(r);
	else
		make_small(r);
	nodax = run_nodax(r);
	kernel = run_kernel(r);
	res = run_real(r, window, buf);
	print_row(r, &res, &nodax, &kernel, run_static(r, nodax.ns));
	free(r->access);
	free(r->file);
}

static void set_cost(struct model *m, unsigned int cost, double value)
{
	memcpy((char *)m + costs[cost].at, &value, sizeof(value));
}

/* "name=value"; false: there is no such parameter, or it cannot have this value. */
static bool set_param(const char *arg)
{
	const char *sep = strchr(arg, '=');
	char *end;

	for (unsigned int i = 0; sep && i < ARRAY_SIZE(param_info); i++) {
		const char *name = param_info[i].name;
		uint64_t value = strtoull(sep + 1, &end, 0);

		if (strlen(name) != (size_t)(sep - arg) || strncmp(name, arg, strlen(name)) != 0)
			continue;
		memcpy((char *)&params + param_info[i].at, &value, sizeof(value));
		return end != sep + 1 && !*end && value >= param_info[i].min;
	}
	return false;
}

static void usage_params(FILE *to)
{
	(void)fprintf(to, "NAME and VALUE of the policy's parameters:\n");
	for (unsigned int i = 0; i < ARRAY_SIZE(param_info); i++) {
		uint64_t value;

		memcpy(&value, (const char *)&policy_defaults + param_info[i].at, sizeof(value));
		(void)fprintf(to, "  %s=%llu: %s\n", param_info[i].name, (unsigned long long)value,
			      param_info[i].help);
	}
}

static void usage(FILE *to)
{
	(void)fprintf(
		to,
		"usage: window-sim [--json|--summary] [--model stock|polled|cheap] [--trace WORD]\n"
		"                  [--window MIB] [--accesses N] [--seed N] [--COST NUMBER]...\n"
		"                  [--param NAME=VALUE]...\n"
		"COST, in ns unless it says otherwise, for all models:\n ");
	for (unsigned int i = 0; i < COSTS; i++)
		(void)fprintf(to, " %s", costs[i].name);
	(void)fprintf(to, "\n(-byte: for a byte; -live: for each mapping there is; "
			  "budget: mappings, 0 without end)\n");
	(void)fprintf(to,
		      "--summary: geometric means of the ratio to no DAX, zipf / uniform / scans "
		      "(sets larger than the window) / small files\n");
	usage_params(to);
}

int main(int argc, char **argv)
{
	enum { JSON = COSTS, SUMMARY, MODEL, TRACE, WINDOW, ACCESSES, SEED, PARAM, HELP, END };
	static const char *const others[] = { "json",	  "summary", "model", "trace", "window",
					      "accesses", "seed",    "param", "help" };
	static const uint64_t blocks[] = { 4 * KIB, 128 * KIB };
	struct option options[END + 1] = { 0 };
	const char *model = "", *trace = "";
	uint64_t window = 256 * MIB, accesses = 200000, seed = 1;
	void *addr;
	char *buf;
	int c;

	params = policy_defaults;
	for (int i = 0; i < END; i++) {
		const char *name = i < JSON ? costs[i].name : others[i - JSON];

		options[i] = (struct option){ .name = name, .val = i + 1 };
		options[i].has_arg = i != JSON && i != SUMMARY && i != HELP;
	}
	while ((c = getopt_long(argc, argv, "", options, NULL)) > 0) {
		switch (--c) {
		case JSON:
			json = true;
			break;
		case SUMMARY:
			summary = true;
			break;
		case MODEL:
			model = optarg;
			break;
		case TRACE:
			trace = optarg;
			break;
		case WINDOW:
			window = strtoull(optarg, NULL, 0) * MIB;
			break;
		case ACCESSES:
			accesses = strtoull(optarg, NULL, 0);
			break;
		case SEED:
			seed = strtoull(optarg, NULL, 0);
			break;
		case PARAM:
			if (!set_param(optarg)) {
				(void)fprintf(
					stderr,
					"window-sim: --param %s is not possible; see --help\n",
					optarg);
				return 2;
			}
			break;
		case HELP:
			usage(stdout);
			return 0;
		default:
			if (c < 0 || c >= JSON) {
				usage(stderr);
				return 2;
			}
			for (unsigned int i = 0; i < ARRAY_SIZE(models); i++)
				set_cost(&models[i], (unsigned int)c, strtod(optarg, NULL));
		}
	}
	if (window < 8 * MIB || accesses < 4) {
		usage(stderr);
		return 2;
	}
	is_reader = true;
	addr = mmap(NULL, window, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	buf = malloc(128 * KIB);
	if (addr == MAP_FAILED || !buf || guard_init() < 0)
		return 1;

	print_head();
	for (unsigned int m = 0; m < ARRAY_SIZE(models); m++)
		for (unsigned int t = 0; t < ARRAY_SIZE(traces); t++)
			for (unsigned int s = 0; s < ARRAY_SIZE(set_sizes); s++)
				for (unsigned int b = 0; b < ARRAY_SIZE(blocks); b++) {
					struct run r = { .m = &models[m],
							 .t = &traces[t],
							 .set = set_sizes[s],
							 .window = window,
							 .block = blocks[b],
							 .n = b ? accesses / 8 : accesses };

					if (!strstr(models[m].name, model) ||
					    !strstr(traces[t].name, trace) ||
					    !(traces[t].sets >> s & 1) || (b && !r.t->files))
						continue;
					run_row(&r, seed, addr, buf);
				}
	if (summary)
		print_summary();
	else if (json)
		printf("{\"worst_vs_nodax\":%.3f}\n", worst);
	else
		printf("\nlowest ratio to no DAX: %.3f\n", worst);
	(void)munmap(addr, window);
	free(buf);
	return 0;
}
