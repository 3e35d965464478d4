// SPDX-License-Identifier: MIT
// FUSE_INIT in both directions: flags by their rules, sizes, versions and short messages.

#include "unit.h"

#include "base/num.h"
#include "wire/fuse_init.h"

#define ALL_FLAGS UINT64_MAX

static bool io_uring = true;

static struct fuse_init_wish wish(bool dax)
{
	return (struct fuse_init_wish){ .dax = dax, .io_uring = io_uring, .max_write = 1 << 20 };
}

/* As most mounts are. */
static int without_io_uring(void **state)
{
	io_uring = false;
	return 0;
}

static int with_io_uring(void **state)
{
	io_uring = true;
	return 0;
}

static struct fuse_init_in kernel_in(uint64_t flags)
{
	return (struct fuse_init_in){
		.major = 7,
		.minor = 38,
		.max_readahead = 131072,
		.flags = (uint32_t)flags | FUSE_INIT_EXT,
		.flags2 = (uint32_t)(flags >> 32),
	};
}

static struct fuse_init_out host_out(uint64_t flags)
{
	return (struct fuse_init_out){
		.major = 7,
		.minor = 38,
		.max_readahead = 65536,
		.flags = (uint32_t)flags | FUSE_INIT_EXT | FUSE_MAX_PAGES,
		.flags2 = (uint32_t)(flags >> 32),
		.max_background = 12,
		.congestion_threshold = 9,
		.max_write = 1 << 20,
		.time_gran = 1,
		.max_pages = 256,
		.map_alignment = 12,
	};
}

/* What our INIT to the host offers when the kernel offers @kernel. */
static uint64_t offered(uint64_t kernel, bool dax)
{
	struct fuse_init_in in = kernel_in(kernel), out = { 0 };
	struct fuse_init_wish w = wish(dax);

	assert_int_equal(fuse_init_to_host(&in, sizeof(in), &w, &out), 0);
	return out.flags | (uint64_t)out.flags2 << 32;
}

/* What the kernel is granted when it offers @kernel and the host grants @host. */
static uint64_t granted(uint64_t kernel, uint64_t host, bool dax)
{
	struct fuse_init_in in = kernel_in(kernel);
	struct fuse_init_out h = host_out(host), out = { 0 };
	struct fuse_init_wish w = wish(dax);
	struct fuse_init_result result;

	assert_int_equal(fuse_init_to_kernel(&in, sizeof(in), &h, sizeof(h), &w, &out, &result), 0);
	assert_int_equal(result.kernel_flags, out.flags | (uint64_t)out.flags2 << 32);
	return result.kernel_flags;
}

static void each_flag_once(void **state)
{
	size_t n;
	const struct fuse_init_flag *f = fuse_init_flags(&n);
	uint64_t seen = 0;

	assert_true(n > 30);
	for (size_t i = 0; i < n; i++) {
		assert_true(is_pow2(f[i].bit));
		assert_false(seen & f[i].bit);
		seen |= f[i].bit;
		assert_true(f[i].name[0] && f[i].why[0]);
		for (size_t k = 0; k < i; k++)
			assert_string_not_equal(f[i].name, f[k].name);
		if (i)
			assert_true(f[i].bit > f[i - 1].bit);
	}
}

/* Some bits by number, so that the table is not only compared with itself. */
static void some_flags_by_number(void **state)
{
	static const struct {
		const char *name;
		unsigned int bit;
	} known[] = {
		{ "ASYNC_READ", 0 },
		{ "ATOMIC_O_TRUNC", 3 },
		{ "WRITEBACK_CACHE", 16 },
		{ "MAX_PAGES", 22 },
		{ "MAP_ALIGNMENT", 26 },
		{ "SETXATTR_EXT", 29 },
		{ "INIT_EXT", 30 },
		{ "HAS_INODE_DAX", 33 },
		{ "CREATE_SUPP_GROUP", 34 },
		{ "DIRECT_IO_ALLOW_MMAP", 36 },
		{ "OVER_IO_URING", 41 },
		{ "INIT_RESERVED", 31 },
		{ "HAS_IO_URING_BUFPOOL", 43 },
	};
	size_t n;
	const struct fuse_init_flag *f = fuse_init_flags(&n);

	for (size_t k = 0; k < ARRAY_SIZE(known); k++) {
		bool found = false;

		for (size_t i = 0; i < n; i++)
			if (!strcmp(f[i].name, known[k].name))
				found = f[i].bit == UINT64_C(1) << known[k].bit;
		assert_true(found);
	}
}

static void forward(void **state)
{
	size_t n;
	const struct fuse_init_flag *f = fuse_init_flags(&n);

	for (unsigned int dax = 0; dax < 2; dax++) {
		for (size_t i = 0; i < n; i++) {
			uint64_t b = f[i].bit;

			if ((dax ? f[i].rule_dax : f[i].rule) != FUSE_INIT_FORWARD)
				continue;
			assert_true(offered(b, dax) & b);
			assert_false(offered(0, dax) & b);
			assert_true(granted(b, b, dax) & b);
			assert_false(granted(0, b, dax) & b);
			assert_false(granted(b, 0, dax) & b);
		}
	}
}

static void local(void **state)
{
	size_t n;
	const struct fuse_init_flag *f = fuse_init_flags(&n);

	for (unsigned int dax = 0; dax < 2; dax++) {
		for (size_t i = 0; i < n; i++) {
			uint64_t b = f[i].bit;

			if ((dax ? f[i].rule_dax : f[i].rule) != FUSE_INIT_LOCAL ||
			    b == FUSE_PASSTHROUGH) /* has a test of its own */
				continue;
			/* granted whatever the host says, when the kernel asks */
			assert_true(granted(b, 0, dax) & b);
			if (b != FUSE_INIT_EXT)
				assert_false(granted(0, ALL_FLAGS, dax) & b);
			/* what is said to the host does not depend on the kernel */
			assert_int_equal(offered(b, dax) & b, offered(0, dax) & b);
		}
	}
}

static void passthrough_only_on_wish(void **state)
{
	struct fuse_init_in in = kernel_in(ALL_FLAGS);
	struct fuse_init_out h = host_out(ALL_FLAGS), out;
	struct fuse_init_wish w = wish(false);
	struct fuse_init_result result;

	assert_false(granted(ALL_FLAGS, ALL_FLAGS, false) & FUSE_PASSTHROUGH);
	w.passthrough = true;
	assert_int_equal(fuse_init_to_kernel(&in, sizeof(in), &h, sizeof(h), &w, &out, &result), 0);
	assert_true(result.kernel_flags & FUSE_PASSTHROUGH);
	assert_int_equal(fuse_init_stack_depth(&out), 1);
	/* It is not granted to a kernel that does not ask. */
	in = kernel_in(ALL_FLAGS & ~(uint64_t)FUSE_PASSTHROUGH);
	assert_int_equal(fuse_init_to_kernel(&in, sizeof(in), &h, sizeof(h), &w, &out, &result), 0);
	assert_false(result.kernel_flags & FUSE_PASSTHROUGH);
	assert_int_equal(fuse_init_stack_depth(&out), 0);
}

static void truncating_open_only_on_wish(void **state)
{
	struct fuse_init_in in = kernel_in(ALL_FLAGS);
	struct fuse_init_out h = host_out(ALL_FLAGS), out;
	struct fuse_init_wish w = wish(false);
	struct fuse_init_result result;

	assert_false(granted(ALL_FLAGS, ALL_FLAGS, false) & FUSE_ATOMIC_O_TRUNC);
	w.truncating_open = true;
	assert_int_equal(fuse_init_to_kernel(&in, sizeof(in), &h, sizeof(h), &w, &out, &result), 0);
	assert_true(result.kernel_flags & FUSE_ATOMIC_O_TRUNC);
	/* The host must do it. */
	h = host_out(ALL_FLAGS & ~(uint64_t)FUSE_ATOMIC_O_TRUNC);
	assert_int_equal(fuse_init_to_kernel(&in, sizeof(in), &h, sizeof(h), &w, &out, &result), 0);
	assert_false(result.kernel_flags & FUSE_ATOMIC_O_TRUNC);
}

/* The kernel would wait for rings that never come. */
static void io_uring_only_on_wish(void **state)
{
	struct fuse_init_in in = kernel_in(ALL_FLAGS);
	struct fuse_init_out h = host_out(ALL_FLAGS), out;
	struct fuse_init_wish w = wish(true);
	struct fuse_init_result result;

	assert_true(granted(ALL_FLAGS, 0, true) & FUSE_OVER_IO_URING);
	w.io_uring = false;
	assert_int_equal(fuse_init_to_kernel(&in, sizeof(in), &h, sizeof(h), &w, &out, &result), 0);
	assert_int_equal(out.flags2 & (uint32_t)(FUSE_OVER_IO_URING >> 32), 0);
	assert_false(result.kernel_flags & FUSE_OVER_IO_URING);
}

/* Over io_uring who waits for a lock would be in the way of who unlocks it. */
static void locks_only_without_io_uring(void **state)
{
	const uint64_t locks = FUSE_POSIX_LOCKS | FUSE_FLOCK_LOCKS;

	assert_int_equal(offered(ALL_FLAGS, true) & locks, 0);
	assert_int_equal(granted(ALL_FLAGS, ALL_FLAGS, true) & locks, 0);
	(void)without_io_uring(state);
	assert_int_equal(offered(ALL_FLAGS, true) & locks, locks);
	assert_int_equal(granted(ALL_FLAGS, ALL_FLAGS, true) & locks, locks);
}

static void host_only(void **state)
{
	size_t n, found = 0;
	const struct fuse_init_flag *f = fuse_init_flags(&n);

	for (size_t i = 0; i < n; i++) {
		uint64_t b = f[i].bit;

		if (f[i].rule_dax == FUSE_INIT_HOST) {
			found++;
			assert_true(offered(0, true) & b);
			assert_false(granted(ALL_FLAGS, ALL_FLAGS, true) & b);
		}
		if (f[i].rule == FUSE_INIT_HOST) {
			/* only of use with a window */
			assert_false(offered(ALL_FLAGS, false) & b);
			assert_false(granted(ALL_FLAGS, ALL_FLAGS, false) & b);
		}
	}
	assert_true(found >= 2);
}

static void mask(void **state)
{
	size_t n;
	const struct fuse_init_flag *f = fuse_init_flags(&n);
	uint64_t known = 0;

	for (size_t i = 0; i < n; i++)
		known |= f[i].bit;
	for (unsigned int dax = 0; dax < 2; dax++) {
		uint64_t to_host = offered(ALL_FLAGS, dax);
		uint64_t to_kernel = granted(ALL_FLAGS, ALL_FLAGS, dax);

		/* what the table does not know is masked */
		assert_int_equal(to_host & ~known, 0);
		assert_int_equal(to_kernel & ~known, 0);
		for (size_t i = 0; i < n; i++) {
			if ((dax ? f[i].rule_dax : f[i].rule) != FUSE_INIT_MASK)
				continue;
			assert_false(to_host & f[i].bit);
			assert_false(to_kernel & f[i].bit);
		}
	}
	/* With the window, size and mtime must stay the host's. */
	assert_false(granted(ALL_FLAGS, ALL_FLAGS, true) & FUSE_WRITEBACK_CACHE);
	assert_true(granted(ALL_FLAGS, ALL_FLAGS, false) & FUSE_WRITEBACK_CACHE);
}

/* flags2 counts only with INIT_EXT, on either side. */
static void high_flags_need_init_ext(void **state)
{
	struct fuse_init_in in = kernel_in(ALL_FLAGS), to_host;
	struct fuse_init_out h = host_out(ALL_FLAGS), out;
	struct fuse_init_wish w = wish(true);
	struct fuse_init_result result;

	in.flags &= ~(uint32_t)FUSE_INIT_EXT;
	assert_int_equal(fuse_init_to_host(&in, sizeof(in), &w, &to_host), 0);
	assert_false(to_host.flags2 & (uint32_t)(FUSE_CREATE_SUPP_GROUP >> 32));
	assert_int_equal(fuse_init_to_kernel(&in, sizeof(in), &h, sizeof(h), &w, &out, &result), 0);
	assert_int_equal(out.flags2, 0);
	assert_false(out.flags & FUSE_INIT_EXT);

	in = kernel_in(ALL_FLAGS);
	h.flags &= ~(uint32_t)FUSE_INIT_EXT;
	assert_int_equal(fuse_init_to_kernel(&in, sizeof(in), &h, sizeof(h), &w, &out, &result), 0);
	assert_false(out.flags2 & (uint32_t)(FUSE_CREATE_SUPP_GROUP >> 32));
	assert_int_equal(result.host_flags >> 32, 0);
}

static void minor_is_the_lowest(void **state)
{
	static const struct {
		uint32_t kernel, host, agreed;
	} cases[] = {
		{ 38, 31, 31 }, { 31, 38, 31 }, { 27, 27, 27 }, { 100, 36, 36 }, { 36, 100, 36 }
	};
	struct fuse_init_wish w = wish(true);

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct fuse_init_in in = kernel_in(0), to_host;
		struct fuse_init_out h = host_out(0), out;
		struct fuse_init_result result;

		in.minor = cases[i].kernel;
		h.minor = cases[i].host;
		assert_int_equal(fuse_init_to_host(&in, sizeof(in), &w, &to_host), 0);
		assert_int_equal(to_host.major, 7);
		assert_true(to_host.minor <= cases[i].kernel);
		assert_int_equal(
			fuse_init_to_kernel(&in, sizeof(in), &h, sizeof(h), &w, &out, &result), 0);
		assert_int_equal(out.minor, cases[i].agreed);
		assert_int_equal(result.minor, cases[i].agreed);
		assert_int_equal(out.major, 7);
	}
}

static void a_future_on_both_sides_is_ours(void **state)
{
	struct fuse_init_in in = kernel_in(0), to_host;
	struct fuse_init_out h = host_out(0), out;
	struct fuse_init_wish w = wish(true);
	struct fuse_init_result result;

	in.minor = h.minor = 1000;
	assert_int_equal(fuse_init_to_host(&in, sizeof(in), &w, &to_host), 0);
	assert_true(to_host.minor < 1000);
	assert_int_equal(fuse_init_to_kernel(&in, sizeof(in), &h, sizeof(h), &w, &out, &result), 0);
	assert_int_equal(out.minor, to_host.minor);
}

static void versions_refused(void **state)
{
	struct fuse_init_wish w = wish(true);
	struct fuse_init_in in = kernel_in(0), to_host;
	struct fuse_init_out h = host_out(0), out;
	struct fuse_init_result result;

	in.major = 6;
	assert_int_equal(fuse_init_to_host(&in, sizeof(in), &w, &to_host), -EPROTO);
	in = kernel_in(0);
	in.minor = 26;
	assert_int_equal(fuse_init_to_host(&in, sizeof(in), &w, &to_host), -EPROTO);
	in = kernel_in(0);
	h.major = 8;
	assert_int_equal(fuse_init_to_kernel(&in, sizeof(in), &h, sizeof(h), &w, &out, &result),
			 -EPROTO);
	h = host_out(0);
	h.minor = 26;
	assert_int_equal(fuse_init_to_kernel(&in, sizeof(in), &h, sizeof(h), &w, &out, &result),
			 -EPROTO);
}

static void kernel_message_of_every_length(void **state)
{
	struct fuse_init_wish w = wish(true);
	struct fuse_init_in in = kernel_in(ALL_FLAGS), to_host;

	for (size_t len = 0; len <= sizeof(in); len++) {
		void *buf = malloc(len ? len : 1);
		int r;

		assert_non_null(buf);
		memcpy(buf, &in, len);
		r = fuse_init_to_host(buf, len, &w, &to_host);
		assert_int_equal(r, len < 8 ? -EPROTO : 0);
		/* before flags2 is there it says nothing */
		if (r == 0 && len <= 16)
			assert_false(to_host.flags2 & (uint32_t)(FUSE_CREATE_SUPP_GROUP >> 32));
		free(buf);
	}
}

static void host_message_of_every_length(void **state)
{
	struct fuse_init_wish w = wish(true);
	struct fuse_init_in in = kernel_in(ALL_FLAGS);
	struct fuse_init_out h = host_out(ALL_FLAGS), out;
	struct fuse_init_result result;

	for (size_t len = 0; len <= sizeof(h); len++) {
		void *buf = malloc(len ? len : 1);
		int r;

		assert_non_null(buf);
		memcpy(buf, &h, len);
		r = fuse_init_to_kernel(&in, sizeof(in), buf, len, &w, &out, &result);
		assert_int_equal(r, len < 24 ? -EPROTO : 0);
		free(buf);
	}
}

/* 24 bytes: FUSE before 7.23. What is not there has the values of its time. */
static void short_reply(void **state)
{
	struct fuse_init_wish w = wish(true);
	struct fuse_init_in in = kernel_in(ALL_FLAGS);
	struct fuse_init_out h = host_out(0), out;
	struct fuse_init_result result;

	h.flags &= ~(uint32_t)(FUSE_INIT_EXT | FUSE_MAX_PAGES);
	assert_int_equal(fuse_init_to_kernel(&in, sizeof(in), &h, 24, &w, &out, &result), 0);
	assert_int_equal(out.time_gran, 1);
	assert_int_equal(out.max_write, 32 * 4096);
	assert_int_equal(result.map_alignment, 4096);
}

static struct fuse_init_out with_sizes(uint64_t kernel, uint32_t max_write, int max_pages,
				       uint32_t ours, int *ret)
{
	struct fuse_init_wish w = { .dax = true, .max_write = ours };
	struct fuse_init_in in = kernel_in(kernel);
	struct fuse_init_out h = host_out(0), out = { 0 };
	struct fuse_init_result result = { 0 };

	h.max_write = max_write;
	if (max_pages < 0)
		h.flags &= ~(uint32_t)FUSE_MAX_PAGES;
	else
		h.max_pages = (uint16_t)max_pages;
	*ret = fuse_init_to_kernel(&in, sizeof(in), &h, sizeof(h), &w, &out, &result);
	if (*ret == 0)
		assert_int_equal(out.max_write, result.max_write);
	return out;
}

static void sizes(void **state)
{
	static const struct {
		uint64_t kernel;
		uint32_t max_write;
		int max_pages; /* -1: the host does not say */
		uint32_t ours;
		uint32_t write, pages;
	} cases[] = {
		{ FUSE_MAX_PAGES, 1 << 20, 256, 1 << 20, 1 << 20, 256 },
		/* a tiny and an odd host */
		{ FUSE_MAX_PAGES, 4096, 256, 1 << 20, 4096, 1 },
		{ FUSE_MAX_PAGES, 10000, 256, 1 << 20, 8192, 2 },
		/* a huge one: our buffers count */
		{ FUSE_MAX_PAGES, UINT32_MAX, 65535, 1 << 20, 1 << 20, 256 },
		{ FUSE_MAX_PAGES, UINT32_MAX, 65535, 4096, 4096, 1 },
		/* pages of the host, 0 is as 1, not saying is 32 */
		{ FUSE_MAX_PAGES, 1 << 20, 3, 1 << 20, 12288, 3 },
		{ FUSE_MAX_PAGES, 1 << 20, 0, 1 << 20, 4096, 1 },
		{ FUSE_MAX_PAGES, 1 << 20, -1, 1 << 20, 131072, 32 },
		/* a kernel that does not know of it */
		{ 0, 1 << 20, 256, 1 << 20, 131072, 32 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		int r;
		struct fuse_init_out out = with_sizes(cases[i].kernel, cases[i].max_write,
						      cases[i].max_pages, cases[i].ours, &r);

		assert_int_equal(r, 0);
		assert_int_equal(out.max_write, cases[i].write);
		assert_int_equal(out.max_pages, cases[i].pages);
	}
}

static void max_write_too_small(void **state)
{
	int r;

	(void)with_sizes(FUSE_MAX_PAGES, 4095, 256, 1 << 20, &r);
	assert_int_equal(r, -EPROTO);
	(void)with_sizes(FUSE_MAX_PAGES, 0, 256, 1 << 20, &r);
	assert_int_equal(r, -EPROTO);
}

static void map_alignment(void **state)
{
	static const struct {
		uint64_t flags;
		uint16_t shift;
		uint64_t bytes;
	} cases[] = {
		{ FUSE_MAP_ALIGNMENT, 12, 4096 },    { FUSE_MAP_ALIGNMENT, 16, 65536 },
		{ FUSE_MAP_ALIGNMENT, 21, 2 * MIB }, { FUSE_MAP_ALIGNMENT, 0, 4096 },
		{ FUSE_MAP_ALIGNMENT, 65535, 4096 }, { 0, 21, 4096 },
	};
	struct fuse_init_wish w = wish(true);
	struct fuse_init_in in = kernel_in(0);

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct fuse_init_out h = host_out(cases[i].flags), out;
		struct fuse_init_result result;

		h.map_alignment = cases[i].shift;
		assert_int_equal(
			fuse_init_to_kernel(&in, sizeof(in), &h, sizeof(h), &w, &out, &result), 0);
		assert_int_equal(result.map_alignment, cases[i].bytes);
		/* the window is not the kernel's */
		assert_int_equal(out.map_alignment, 0);
	}
}

static void the_rest_is_passed_on(void **state)
{
	struct fuse_init_wish w = wish(true);
	struct fuse_init_in in = kernel_in(0), to_host;
	struct fuse_init_out h = host_out(0), out;
	struct fuse_init_result result;

	h.time_gran = 1000;
	assert_int_equal(fuse_init_to_host(&in, sizeof(in), &w, &to_host), 0);
	assert_int_equal(to_host.max_readahead, 131072);
	assert_int_equal(fuse_init_to_kernel(&in, sizeof(in), &h, sizeof(h), &w, &out, &result), 0);
	assert_int_equal(out.max_readahead, 65536);
	assert_int_equal(out.max_background, 12);
	assert_int_equal(out.congestion_threshold, 9);
	assert_int_equal(out.time_gran, 1000);
}

/* What a queue in front of our workers is good for bounds what the host allows. */
static void background(void **state)
{
	static const struct {
		uint16_t host, ours, want;
	} cases[] = { { 12, 0, 12 }, { 12, 32, 12 }, { UINT16_MAX, 32, 32 }, { 0, 32, 0 } };
	struct fuse_init_in in = kernel_in(0);

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct fuse_init_wish w = wish(true);
		struct fuse_init_out h = host_out(0), out;
		struct fuse_init_result result;

		w.max_background = cases[i].ours;
		h.max_background = h.congestion_threshold = cases[i].host;
		assert_int_equal(
			fuse_init_to_kernel(&in, sizeof(in), &h, sizeof(h), &w, &out, &result), 0);
		assert_int_equal(out.max_background, cases[i].want);
		assert_true(out.congestion_threshold <= out.max_background);
	}
}

/*
 * What Linux 7.3's virtiofs would negotiate with a host that grants all, and we do not: each of
 * these has its reason in the table, and a change of it is a change of behaviour.
 */
static void what_the_kernels_virtiofs_has(void **state)
{
	/* fuse_new_init() of 7.3, without what is for its window and without SUBMOUNTS */
	const uint64_t theirs =
		FUSE_ASYNC_READ | FUSE_POSIX_LOCKS | FUSE_ATOMIC_O_TRUNC | FUSE_EXPORT_SUPPORT |
		FUSE_BIG_WRITES | FUSE_DONT_MASK | FUSE_SPLICE_WRITE | FUSE_SPLICE_MOVE |
		FUSE_SPLICE_READ | FUSE_FLOCK_LOCKS | FUSE_HAS_IOCTL_DIR | FUSE_AUTO_INVAL_DATA |
		FUSE_DO_READDIRPLUS | FUSE_READDIRPLUS_AUTO | FUSE_ASYNC_DIO |
		FUSE_WRITEBACK_CACHE | FUSE_NO_OPEN_SUPPORT | FUSE_PARALLEL_DIROPS |
		FUSE_HANDLE_KILLPRIV | FUSE_POSIX_ACL | FUSE_ABORT_ERROR | FUSE_MAX_PAGES |
		FUSE_CACHE_SYMLINKS | FUSE_NO_OPENDIR_SUPPORT | FUSE_EXPLICIT_INVAL_DATA |
		FUSE_HANDLE_KILLPRIV_V2 | FUSE_SETXATTR_EXT | FUSE_INIT_EXT | FUSE_SECURITY_CTX |
		FUSE_CREATE_SUPP_GROUP | FUSE_HAS_EXPIRE_ONLY | FUSE_DIRECT_IO_ALLOW_MMAP |
		FUSE_NO_EXPORT_SUPPORT | FUSE_HAS_RESEND | FUSE_ALLOW_IDMAP | FUSE_REQUEST_TIMEOUT |
		FUSE_PASSTHROUGH;
	/* what the kernel only tells, and does not look at in the reply */
	const uint64_t informs = FUSE_SPLICE_WRITE | FUSE_SPLICE_MOVE | FUSE_SPLICE_READ |
				 FUSE_HAS_EXPIRE_ONLY | FUSE_HAS_RESEND;
	uint64_t missing = informs | FUSE_ATOMIC_O_TRUNC | FUSE_PASSTHROUGH | FUSE_REQUEST_TIMEOUT;

	assert_int_equal(theirs & ~granted(theirs, theirs, false), missing);
	missing |= FUSE_WRITEBACK_CACHE | FUSE_NO_OPEN_SUPPORT;
	assert_int_equal(theirs & ~granted(theirs, theirs, true), missing);
}

static void names_of_flags(void **state)
{
	char buf[FUSE_INIT_NAMES_SIZE], small[20];

	assert_string_equal(fuse_init_flag_names(0, buf, sizeof(buf)), "");
	assert_string_equal(fuse_init_flag_names(FUSE_ASYNC_READ | FUSE_POSIX_ACL |
							 UINT64_C(1) << 63,
						 buf, sizeof(buf)),
			    "ASYNC_READ POSIX_ACL bit63");
	/* All of them fit; less room cuts. */
	(void)fuse_init_flag_names(ALL_FLAGS, buf, sizeof(buf));
	assert_non_null(strstr(buf, " bit63"));
	memset(small, 'x', sizeof(small));
	(void)fuse_init_flag_names(ALL_FLAGS, small, sizeof(small));
	assert_int_equal(strlen(small), sizeof(small) - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_flag_once),
		cmocka_unit_test(some_flags_by_number),
		cmocka_unit_test_setup_teardown(forward, without_io_uring, with_io_uring),
		cmocka_unit_test(local),
		cmocka_unit_test(passthrough_only_on_wish),
		cmocka_unit_test(truncating_open_only_on_wish),
		cmocka_unit_test(io_uring_only_on_wish),
		cmocka_unit_test_teardown(locks_only_without_io_uring, with_io_uring),
		cmocka_unit_test(host_only),
		cmocka_unit_test(mask),
		cmocka_unit_test(high_flags_need_init_ext),
		cmocka_unit_test(minor_is_the_lowest),
		cmocka_unit_test(a_future_on_both_sides_is_ours),
		cmocka_unit_test(versions_refused),
		cmocka_unit_test(kernel_message_of_every_length),
		cmocka_unit_test(host_message_of_every_length),
		cmocka_unit_test(short_reply),
		cmocka_unit_test(sizes),
		cmocka_unit_test(max_write_too_small),
		cmocka_unit_test(map_alignment),
		cmocka_unit_test(the_rest_is_passed_on),
		cmocka_unit_test(background),
		cmocka_unit_test_setup_teardown(what_the_kernels_virtiofs_has, without_io_uring,
						with_io_uring),
		cmocka_unit_test(names_of_flags),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
