// SPDX-License-Identifier: MIT
// In one process: what the guest asks over the virtqueue and sees through the window is the host's.

#include "unit.h"

#include <fcntl.h>
#include <malloc.h>
#include <sys/stat.h>

#include "base/counter.h"
#include "base/guard.h"
#include "base/time.h"
#include "fs/inode.h"
#include "stack.h"

#define SMALL_WINDOW (16 * MIB)

static struct stack S;

static int start(void **state)
{
	stack_new(&S, SMALL_WINDOW, 1024);
	stack_connect(&S);
	return 0;
}

static int end(void **state)
{
	stack_disconnect(&S);
	stack_free(&S);
	return 0;
}

static void init_is_agreed(void **state)
{
	assert_string_equal(S.dev->tag, "stack");
	assert_int_equal(S.dev->num_request, 2);
	assert_int_equal(S.dev->window.size, SMALL_WINDOW);
	assert_int_equal(S.agreed.map_alignment, 4096);
	assert_true(S.agreed.minor >= 31);
	assert_true(S.agreed.host_flags & FUSE_MAP_ALIGNMENT);
	assert_int_equal(S.agreed.max_write, 128 * KIB);
}

static uint64_t create(const char *name, uint64_t *ret_fh)
{
	struct fuse_create_in in = { .flags = O_RDWR, .mode = S_IFREG | 0640, .umask = 022 };
	struct {
		struct fuse_entry_out entry;
		struct fuse_open_out open;
	} out;
	int r = stack_call(&S, S.slot, 0,
			   &(struct stack_call){ .opcode = FUSE_CREATE,
						 .nodeid = FUSE_ROOT_ID,
						 .arg = &in,
						 .arg_len = sizeof(in),
						 .data = name,
						 .data_len = strlen(name) + 1,
						 .out = &out,
						 .out_len = sizeof(out) });

	assert_int_equal(r, sizeof(out));
	*ret_fh = out.open.fh;
	return out.entry.nodeid;
}

static int write_req(uint64_t node, uint64_t fh, uint64_t off, const void *data, uint32_t len)
{
	struct fuse_write_in in = { .fh = fh, .offset = off, .size = len };
	struct fuse_write_out out = { 0 };
	int r = stack_call(&S, S.slot, 1,
			   &(struct stack_call){ .opcode = FUSE_WRITE,
						 .nodeid = node,
						 .arg = &in,
						 .arg_len = sizeof(in),
						 .data = data,
						 .data_len = len,
						 .out = &out,
						 .out_len = sizeof(out) });

	return r < 0 ? r : (int)out.size;
}

static int read_req(struct client_slot *slot, int queue, uint64_t node, uint64_t fh, uint64_t off,
		    void *data, uint32_t len)
{
	struct fuse_read_in in = { .fh = fh, .offset = off, .size = len };

	return stack_call(&S, slot, queue,
			  &(struct stack_call){ .opcode = FUSE_READ,
						.nodeid = node,
						.arg = &in,
						.arg_len = sizeof(in),
						.out = data,
						.out_len = len });
}

static int setattr_size(uint64_t node, uint64_t size)
{
	struct fuse_setattr_in in = { .valid = FATTR_SIZE, .size = size };
	struct fuse_attr_out out;

	return stack_call(&S, S.slot, 0,
			  &(struct stack_call){ .opcode = FUSE_SETATTR,
						.nodeid = node,
						.arg = &in,
						.arg_len = sizeof(in),
						.out = &out,
						.out_len = sizeof(out) });
}

static void create_write_and_read(void **state)
{
	static char data[100000], back[100000];
	struct fuse_attr attr;
	uint64_t node, fh;
	struct stat st;
	int fd;

	pattern_fill(data, 0, sizeof(data), 5);
	node = create("new", &fh);
	assert_int_equal(write_req(node, fh, 0, data, sizeof(data)), sizeof(data));
	fd = openat(S.dir_fd, "new", O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, sizeof(data));
	assert_int_equal(st.st_mode, S_IFREG | 0640);
	assert_int_equal(pread(fd, back, sizeof(back), 0), sizeof(back));
	assert_memory_equal(back, data, sizeof(data));
	(void)close(fd);

	memset(back, 0, sizeof(back));
	assert_int_equal(read_req(S.slot, 0, node, fh, 0, back, sizeof(back)), sizeof(back));
	assert_memory_equal(back, data, sizeof(data));
	assert_int_equal(read_req(S.slot, 0, node, fh, 99990, back, 4096), 10);
	assert_int_equal(read_req(S.slot, 0, node, fh, 100000, back, 4096), 0);

	assert_int_equal(client_getattr(S.client, node, &attr), 0);
	assert_int_equal(attr.size, sizeof(data));
	assert_int_equal(stack_lookup(&S, "new"), node);
}

static void errors_of_the_host_come_back(void **state)
{
	struct fuse_attr attr;
	char buf[16];

	assert_int_equal(client_getattr(S.client, 123456, &attr), -ENOENT);
	assert_int_equal(read_req(S.slot, 0, FUSE_ROOT_ID, 999, 0, buf, sizeof(buf)), -EBADF);
	assert_int_equal(stack_call(&S, S.slot, 0,
				    &(struct stack_call){ .opcode = 61, .nodeid = FUSE_ROOT_ID }),
			 -ENOSYS);
	/* a request that is too short */
	assert_int_equal(stack_call(&S, S.slot, 0,
				    &(struct stack_call){ .opcode = FUSE_OPEN, .nodeid = 1 }),
			 -EINVAL);
	assert_int_equal(fs_dev_broken(S.dev), 0);
}

static void names_stay_inside(void **state)
{
	static const char *const bad[] = { "..", ".", "a/b", "../etc" };
	struct fuse_entry_out out;

	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++)
		assert_true(stack_call(&S, S.slot, 0,
				       &(struct stack_call){ .opcode = FUSE_LOOKUP,
							     .nodeid = FUSE_ROOT_ID,
							     .data = bad[i],
							     .data_len = strlen(bad[i]) + 1,
							     .out = &out,
							     .out_len = sizeof(out) }) < 0);
}

static void window_shows_the_file(void **state)
{
	const uint64_t size = 5 * MIB + 12345, limit = align_down(size, PAGE_4K);
	static unsigned char buf[300000];
	int fd = stack_file(&S, "data", size);
	struct dax_inode *di = dax_inode_create(S.dax, stack_lookup(&S, "data"));
	uint64_t before = counter_get(COUNTER_dax_read_bytes), sum = 0;
	uint64_t queue = counter_get(COUNTER_virtqueue_read_bytes);
	struct rng rng = { 7 };

	assert_non_null(di);
	for (unsigned int i = 0; i < 200; i++) {
		uint64_t off = rng_below(&rng, limit - 1);
		size_t len = 1 + (size_t)rng_below(&rng, MIN(limit - off, sizeof(buf)));

		assert_int_equal(dax_read(di, FOFF(off), buf, len, limit), 0);
		assert_int_equal(pattern_check(buf, off, len, 0), len);
		sum += len;
	}
	assert_int_equal(counter_get(COUNTER_dax_read_bytes) - before, sum);
	assert_int_equal(counter_get(COUNTER_virtqueue_read_bytes), queue);
	assert_true(dax_live_maps(S.dax) > 0);
	dax_inode_destroy(di);
	dax_settle(S.dax);
	assert_int_equal(dax_live_maps(S.dax), 0);
	(void)close(fd);
}

static void window_writes_reach_the_file(void **state)
{
	const uint64_t size = 2 * MIB;
	static unsigned char buf[200000], back[200000];
	int fd = stack_file(&S, "data", size);
	struct dax_inode *di = dax_inode_create(S.dax, stack_lookup(&S, "data"));
	uint64_t before = counter_get(COUNTER_dax_write_bytes);

	pattern_fill(buf, 70001, sizeof(buf), 9);
	assert_int_equal(dax_write(di, FOFF(70001), buf, sizeof(buf), size), 0);
	assert_int_equal(counter_get(COUNTER_dax_write_bytes) - before, sizeof(buf));
	assert_int_equal(pread(fd, back, sizeof(back), 70001), sizeof(back));
	assert_memory_equal(back, buf, sizeof(buf));
	/* neighbours are as they were */
	assert_int_equal(pread(fd, back, 1, 70000), 1);
	assert_int_equal(back[0], pattern_at(70000, 0));
	dax_inode_destroy(di);
	(void)close(fd);
}

static void both_sides_see_each_other_at_once(void **state)
{
	int fd = stack_file(&S, "data", MIB);
	struct dax_inode *di = dax_inode_create(S.dax, stack_lookup(&S, "data"));

	for (unsigned char v = 1; v < 50; v++) {
		unsigned char got = 0;

		assert_int_equal(pwrite(fd, &v, 1, 4097), 1);
		assert_int_equal(dax_read(di, FOFF(4097), &got, 1, MIB), 0);
		assert_int_equal(got, v);
		got = (unsigned char)~v;
		assert_int_equal(dax_write(di, FOFF(9000), &got, 1, MIB), 0);
		got = 0;
		assert_int_equal(pread(fd, &got, 1, 9000), 1);
		assert_int_equal(got, (unsigned char)~v);
	}
	dax_inode_destroy(di);
	(void)close(fd);
}

/*
 * A write to a hole may find no room on the host. Through a mapping that would be a SIGBUS in the
 * process that is the machine (tests/e2e/fidelity: full_hole ended the virtual machine).
 */
static void holes_are_not_mapped_for_writing(void **state)
{
	static unsigned char buf[PAGE_4K];
	int fd = stack_file(&S, "data", MIB);
	uint64_t node = stack_lookup(&S, "data");
	struct dax_inode *di = dax_inode_create(S.dax, node);

	assert_int_equal(ftruncate(fd, 4 * MIB), 0);
	assert_int_equal(dax_write(di, FOFF(3 * MIB), buf, sizeof(buf), 4 * MIB), -EAGAIN);
	dax_inode_destroy(di);
	for (uint64_t off = 0; off < 4 * MIB; off += sizeof(buf)) {
		pattern_fill(buf, off, sizeof(buf), 0);
		assert_int_equal(pwrite(fd, buf, sizeof(buf), (off_t)off), sizeof(buf));
	}
	di = dax_inode_create(S.dax, node);
	assert_int_equal(dax_write(di, FOFF(3 * MIB), buf, sizeof(buf), 4 * MIB), 0);
	assert_true(dax_live_maps(S.dax) > 0);
	dax_inode_destroy(di);
	(void)close(fd);
}

static void truncation_after_drop(void **state)
{
	static unsigned char buf[65536];
	int fd = stack_file(&S, "data", 4 * MIB);
	uint64_t node = stack_lookup(&S, "data");
	struct dax_inode *di = dax_inode_create(S.dax, node);

	assert_int_equal(dax_read(di, FOFF(3 * MIB), buf, sizeof(buf), 4 * MIB), 0);
	dax_drop(di, FOFF(MIB));
	assert_int_equal(setattr_size(node, MIB + 100), sizeof(struct fuse_attr_out));
	assert_int_equal(dax_read(di, FOFF(MIB - 4096), buf, 4096, MIB), 0);
	assert_int_equal(pattern_check(buf, MIB - 4096, 4096, 0), 4096);
	/* It grows again: zeroes, not what was there. */
	dax_drop(di, FOFF(MIB));
	assert_int_equal(setattr_size(node, 4 * MIB), sizeof(struct fuse_attr_out));
	assert_int_equal(dax_read(di, FOFF(3 * MIB), buf, sizeof(buf), 4 * MIB), 0);
	for (size_t i = 0; i < sizeof(buf); i++)
		assert_int_equal(buf[i], 0);
	dax_inode_destroy(di);
	(void)close(fd);
}

/* The host shortens the file by itself: the copy fails, the process lives. */
static void truncation_behind_our_back(void **state)
{
	static unsigned char buf[65536];
	int fd = stack_file(&S, "data", 4 * MIB);
	struct dax_inode *di = dax_inode_create(S.dax, stack_lookup(&S, "data"));
	uint64_t before = counter_get(COUNTER_dax_faults), until;

	assert_int_equal(guard_init(), 0); /* cmocka sets its own handlers before each test */
	assert_int_equal(dax_read(di, FOFF(3 * MIB), buf, sizeof(buf), 4 * MIB), 0);
	assert_int_equal(ftruncate(fd, MIB), 0);
	assert_int_equal(dax_read(di, FOFF(3 * MIB), buf, sizeof(buf), 4 * MIB), -EAGAIN);
	assert_int_equal(dax_write(di, FOFF(3 * MIB), buf, sizeof(buf), 4 * MIB), -EAGAIN);
	assert_true(counter_get(COUNTER_dax_faults) > before);
	/* What is still there is served again, perhaps after a pause. */
	until = time_now_ns() + 5 * NSEC_PER_SEC;
	while (dax_read(di, FOFF(0), buf, sizeof(buf), MIB) == -EAGAIN)
		assert_true(usleep(1000) == 0 && time_now_ns() < until);
	assert_int_equal(pattern_check(buf, 0, sizeof(buf), 0), sizeof(buf));
	dax_inode_destroy(di);
	(void)close(fd);
}

static void files_larger_than_the_window(void **state)
{
	const uint64_t size = 12 * MIB;
	struct dax_inode *di[4];
	static unsigned char buf[32768];
	uint64_t before = counter_get(COUNTER_evictions);
	unsigned int served = 0;
	struct rng rng = { 3 };
	int fd[4];

	for (unsigned int i = 0; i < 4; i++) {
		char name[8];

		(void)snprintf(name, sizeof(name), "f%u", i);
		fd[i] = stack_file(&S, name, size);
		di[i] = dax_inode_create(S.dax, stack_lookup(&S, name));
		assert_non_null(di[i]);
	}
	for (unsigned int n = 0; n < 2000; n++) {
		/* The begin of one file is hot, for a while. */
		bool hot = rng_below(&rng, 4);
		unsigned int i = hot ? n / 500 : (unsigned int)rng_below(&rng, 4);
		uint64_t off = rng_below(&rng, (hot ? 2 * MIB : size) - sizeof(buf));
		int r = dax_read(di[i], FOFF(off), buf, sizeof(buf), size);

		if (r == 0)
			assert_int_equal(pattern_check(buf, off, sizeof(buf), 0), sizeof(buf));
		else
			assert_int_equal(r, -EAGAIN);
		served += r == 0;
		if (r) {
			/* As if the other way cost as much as a swap: what is hot gets in. */
			dax_missed(S.dax, 10 * NSEC_PER_MS);
			(void)usleep(50);
		}
	}
	assert_true(served > 0);
	assert_true(counter_get(COUNTER_evictions) > before);
	for (unsigned int i = 0; i < 4; i++) {
		dax_inode_destroy(di[i]);
		(void)close(fd[i]);
	}
	dax_settle(S.dax);
	assert_int_equal(dax_live_maps(S.dax), 0);
	assert_int_equal(fs_dev_broken(S.dev), 0);
}

/* The host allows few mappings: reads are right, from the window or not. */
static void few_mappings(void **state)
{
	static unsigned char buf[4096];
	struct dax_inode *di;
	unsigned int served = 0;
	struct rng rng = { 11 };
	int fd;

	stack_new(&S, SMALL_WINDOW, 3);
	stack_connect(&S);
	fd = stack_file(&S, "data", 14 * MIB);
	di = dax_inode_create(S.dax, stack_lookup(&S, "data"));
	for (unsigned int i = 0; i < 3000; i++) {
		uint64_t off = rng_below(&rng, 14 * MIB - sizeof(buf));
		int r = dax_read(di, FOFF(off), buf, sizeof(buf), 14 * MIB);

		if (r == 0)
			assert_int_equal(pattern_check(buf, off, sizeof(buf), 0), sizeof(buf));
		served += r == 0;
	}
	assert_true(served > 0);
	dax_inode_destroy(di);
	dax_settle(S.dax);
	assert_int_equal(dax_live_maps(S.dax), 0);
	(void)close(fd);
	stack_disconnect(&S);
	stack_free(&S);
}

static void no_window(void **state)
{
	char buf[100];
	uint64_t node, fh;
	int fd;

	stack_new(&S, 0, 16);
	stack_connect(&S);
	assert_int_equal(S.dev->window.size, 0);
	assert_null(S.dax);
	assert_false(S.agreed.host_flags & FUSE_MAP_ALIGNMENT);
	fd = stack_file(&S, "data", 1000);
	node = stack_lookup(&S, "data");
	fh = stack_open(&S, node, O_RDONLY);
	assert_int_equal(read_req(S.slot, 0, node, fh, 950, buf, sizeof(buf)), 50);
	assert_int_equal(pattern_check(buf, 950, 50, 0), 50);
	(void)close(fd);
	stack_disconnect(&S);
	stack_free(&S);
}

/* The same host serves one guest after the other; nothing of the first is left. */
static void next_guest(void **state)
{
	unsigned int fds;

	stack_new(&S, SMALL_WINDOW, 64);
	stack_connect(&S);
	stack_disconnect(&S);
	fds = unit_count_fds();
	for (unsigned int i = 0; i < 5; i++) {
		static unsigned char buf[4096];
		struct dax_inode *di;
		int fd;

		stack_connect(&S);
		fd = stack_file(&S, "data", MIB);
		di = dax_inode_create(S.dax, stack_lookup(&S, "data"));
		assert_int_equal(dax_read(di, FOFF(i * 4096), buf, 4096, MIB), 0);
		assert_int_equal(pattern_check(buf, i * 4096, 4096, 0), 4096);
		dax_inode_destroy(di);
		(void)close(fd);
		stack_disconnect(&S);
		assert_int_equal(unit_count_fds(), fds);
	}
	stack_free(&S);
}

struct reader {
	pthread_t thread;
	struct client_slot *slot;
	struct dax_inode *di;
	unsigned int id;
	uint64_t node, fh;
	_Atomic bool stop;
	uint64_t good, failed;
	bool expect_failure;
};

static void *reader_main(void *arg)
{
	struct reader *r = arg;
	unsigned char *buf = malloc(65536);
	struct rng rng = { r->id };

	must(buf);
	while (!atomic_load(&r->stop)) {
		uint64_t off = rng_below(&rng, 8 * MIB - 65536);
		bool window = r->di && rng_chance(&rng, 2);
		int n = window ? dax_read(r->di, FOFF(off), buf, 65536, 8 * MIB)
			       : read_req(r->slot, (int)r->id, r->node, r->fh, off, buf, 65536);

		if (n == (window ? 0 : 65536)) {
			must(pattern_check(buf, off, 65536, 0) == 65536);
			r->good++;
		} else if (!window) {
			must(r->expect_failure && n < 0);
			r->failed++;
			break;
		}
	}
	free(buf);
	return NULL;
}

static void readers_run(struct reader *r, unsigned int n, struct dax_inode *di, uint64_t node)
{
	uint64_t fh = stack_open(&S, node, O_RDONLY);

	for (unsigned int i = 0; i < n; i++) {
		r[i] = (struct reader){ .id = i, .node = node, .fh = fh, .di = di };
		assert_int_equal(client_slot_create(S.client, STACK_SLOT / 2, STACK_SLOT / 2,
						    &r[i].slot),
				 0);
	}
}

static void many_threads(void **state)
{
	int fd = stack_file(&S, "data", 8 * MIB);
	uint64_t node = stack_lookup(&S, "data");
	struct dax_inode *di = dax_inode_create(S.dax, node);
	struct reader r[6];

	readers_run(r, 6, di, node);
	for (unsigned int i = 0; i < 6; i++)
		assert_int_equal(pthread_create(&r[i].thread, NULL, reader_main, &r[i]), 0);
	(void)usleep(500000);
	for (unsigned int i = 0; i < 6; i++)
		atomic_store(&r[i].stop, true);
	for (unsigned int i = 0; i < 6; i++) {
		assert_int_equal(pthread_join(r[i].thread, NULL), 0);
		assert_true(r[i].good > 0);
		client_slot_destroy(r[i].slot);
	}
	dax_inode_destroy(di);
	(void)close(fd);
}

/* Requests of several threads are on their way when the host goes: all end, none hangs. */
static void host_dies(void **state)
{
	int fd = stack_file(&S, "data", 8 * MIB);
	uint64_t node = stack_lookup(&S, "data");
	struct dax_inode *di = dax_inode_create(S.dax, node);
	struct reader r[6];
	struct fuse_attr attr;
	unsigned char buf[4096];
	uint64_t until;

	assert_int_equal(guard_init(), 0); /* as above */
	readers_run(r, 6, di, node);
	for (unsigned int i = 0; i < 6; i++) {
		r[i].expect_failure = true;
		assert_int_equal(pthread_create(&r[i].thread, NULL, reader_main, &r[i]), 0);
	}
	(void)usleep(100000);
	stack_host_dies(&S);
	for (unsigned int i = 0; i < 6; i++) {
		assert_int_equal(pthread_join(r[i].thread, NULL), 0);
		assert_int_equal(r[i].failed, 1);
		client_slot_destroy(r[i].slot);
	}
	until = time_now_ns() + 5 * NSEC_PER_SEC;
	while (!fs_dev_broken(S.dev) && time_now_ns() < until)
		(void)usleep(1000);
	assert_int_equal(fs_dev_broken(S.dev), -ENOTCONN);
	assert_true(client_getattr(S.client, node, &attr) < 0);
	/* The window may still show what it showed, or not; it does not hang or crash. */
	for (uint64_t off = 0; off < 8 * MIB; off += MIB)
		if (dax_read(di, FOFF(off), buf, sizeof(buf), 8 * MIB) == 0)
			assert_int_equal(pattern_check(buf, off, sizeof(buf), 0), sizeof(buf));
	dax_drop(di, FOFF(0));
	dax_inode_destroy(di);
	/* Nobody unmaps what was there, so it keeps its place; but nobody waits for that, either. */
	dax_settle(S.dax);
	(void)close(fd);
}

static void forget_once(struct client_slot *slot, uint64_t node)
{
	struct {
		struct fuse_in_header h;
		struct fuse_forget_in in;
	} *req = (void *)slot->req;

	*req = (__typeof__(*req)){
		.h = { .len = sizeof(*req), .opcode = FUSE_FORGET, .nodeid = node },
		.in = { .nlookup = 1 }
	};
	assert_int_equal(client_exchange(S.client, slot, CLIENT_HIPRIO, sizeof(*req), 0), 0);
}

static void forgotten_nodes_are_gone(void **state)
{
	int fd = stack_file(&S, "data", 100);
	uint64_t node = stack_lookup(&S, "data");
	struct client_slot *slot;
	struct fuse_attr attr;
	int r = 0;

	assert_int_equal(client_slot_create(S.client, 4096, 4096, &slot), 0);
	assert_int_equal(stack_lookup(&S, "data"), node);
	forget_once(slot, node);
	assert_int_equal(client_getattr(S.client, node, &attr), 0);
	forget_once(slot, node);
	/* FORGET goes over another queue: it may be served a little later */
	for (unsigned int i = 0; i < 1000 && r == 0; i++) {
		r = client_getattr(S.client, node, &attr);
		(void)usleep(1000);
	}
	assert_int_equal(r, -ENOENT);
	client_slot_destroy(slot);
	(void)close(fd);
}

/* 100,000 files that were opened and read; forgotten, all is freed. */
static void inodes_are_small(void **state)
{
	const unsigned int many = 100000;
	struct inode_table *t = inode_table_create(S.dax);
	size_t before = mallinfo2().uordblks, each;
	unsigned char buf[4096];

	assert_non_null(t);
	for (unsigned int n = 1; n <= many; n++) {
		struct inode *i = inode_opened(t, (uint64_t)n << 20);

		assert_non_null(i);
		assert_int_equal(dax_read(i->dax, FOFF(0), buf, sizeof(buf), sizeof(buf)), -EAGAIN);
		inode_put(t, i);
		inode_released(t, (uint64_t)n << 20);
	}
	assert_int_equal(inode_table_count(t), many);
	/* 0 with a sanitizer's allocator */
	each = (mallinfo2().uordblks - before) / many;
	printf("%zu bytes for each of %u inodes\n", each, many);
	assert_true(each < 320);
	for (unsigned int n = 1; n <= many; n++)
		inode_forget(t, (uint64_t)n << 20);
	assert_int_equal(inode_table_count(t), 0);
	/* The buckets stay: 8 bytes for each. */
	assert_true(mallinfo2().uordblks < before + 16 * many);
	inode_table_destroy(t);
}

static struct inode *file_opened(struct inode_table *t, uint64_t node)
{
	struct inode *i = inode_opened(t, node);

	assert_non_null(i);
	inode_put(t, i);
	return i;
}

static void file_gone(struct inode_table *t, uint64_t node)
{
	inode_released(t, node);
	inode_forget(t, node);
}

/* A memo finds what is open, never what has gone, and does not touch that: many files in few
 * places. */
static void files_are_remembered(void **state)
{
	const uint64_t files = 4 * INODE_MEMOS;
	struct inode_table *t = inode_table_create(NULL);
	struct inode_memo memos[INODE_MEMOS] = { 0 };
	struct inode *i;

	assert_null(inode_get_open(t, 1, memos));
	for (unsigned int round = 0; round < 3; round++) {
		for (uint64_t node = 1; node <= files; node++) {
			struct inode *opened = file_opened(t, node);

			for (unsigned int n = 0; n < 2; n++) {
				i = inode_get_open(t, node, memos);
				assert_ptr_equal(i, opened);
				assert_int_equal(i->nodeid, node);
				inode_put(t, i);
			}
			/* The references are given back: it can go. */
			if (node % 2) {
				file_gone(t, node);
				assert_null(inode_get_open(t, node, memos));
			}
		}
		for (uint64_t node = 2; node <= files; node += 2) {
			i = inode_get_open(t, node, memos);
			assert_int_equal(i->nodeid, node);
			inode_put(t, i);
			file_gone(t, node);
		}
		assert_int_equal(inode_table_count(t), 0);
	}
	inode_table_destroy(t);
}

/* An answer about the size that a write has overtaken counts for nothing, known or not. */
static void sizes_that_are_overtaken(void **state)
{
	struct inode_table *t = inode_table_create(NULL);
	struct inode *i = inode_opened(t, 1);
	uint64_t asked = inode_epoch();

	/* A short READ tells the end; the next append is answered before that is noted. */
	assert_true(i->size == INODE_SIZE_UNKNOWN);
	inode_size_grown(i, 5000, inode_epoch());
	inode_learn_end(i, 4096, asked, NSEC_PER_SEC);
	assert_true(i->size == INODE_SIZE_UNKNOWN);
	assert_false(inode_take_end(i, 4096));

	/* What is not overtaken counts, once. */
	asked = inode_epoch();
	inode_learn_size(i, 5000, asked);
	inode_learn_end(i, 5000, asked, NSEC_PER_SEC);
	assert_int_equal(i->size, 5000);
	assert_false(inode_take_end(i, 4096));
	assert_true(inode_take_end(i, 5000));
	assert_false(inode_take_end(i, 5000));

	/* A write that a truncation has overtaken says nothing of the end. */
	asked = inode_epoch();
	inode_size_changed(i, 1000);
	inode_size_grown(i, 3000, asked);
	assert_true(i->size == INODE_SIZE_UNKNOWN);
	inode_learn_size(i, 5000, inode_epoch());
	asked = inode_epoch();

	/* A write inside of what is known does not move the end, but what the host has said is old.
	 */
	inode_learn_end(i, 5000, asked, NSEC_PER_SEC);
	inode_size_grown(i, 100, inode_epoch());
	assert_false(inode_take_end(i, 5000));
	inode_learn_size(i, 50, asked);
	assert_int_equal(i->size, 5000);
	inode_learn_end(i, 5000, asked, NSEC_PER_SEC);
	assert_false(inode_take_end(i, 5000));

	inode_put(t, i);
	inode_released(t, 1);
	inode_forget(t, 1);
	assert_int_equal(inode_table_count(t), 0);
	inode_table_destroy(t);
}

/* A short READ is the end of the file only where the host has told that size; else it may be an
 * error. */
static void short_reads_are_not_sizes(void **state)
{
	struct inode_table *t = inode_table_create(NULL);
	struct inode *i;

	/* Told by a lookup before the file was opened: a hint that a short read can confirm. */
	inode_told_early(t, 1, 5000);
	inode_told_early(t, 2, 700);
	i = inode_opened(t, 1);
	assert_true(i->size == INODE_SIZE_UNKNOWN);
	inode_learn_end(i, 4096, inode_epoch(), NSEC_PER_SEC);
	assert_true(i->size == INODE_SIZE_UNKNOWN);
	assert_false(inode_take_end(i, 4096));
	assert_true(i->size_wanted);
	inode_learn_end(i, 5000, inode_epoch(), NSEC_PER_SEC);
	assert_int_equal(i->size, 5000);
	assert_true(inode_take_end(i, 5000));

	/* A size that is known is not made smaller, but is asked for before it is used again. */
	inode_learn_end(i, 4096, inode_epoch(), NSEC_PER_SEC);
	assert_true(i->size == INODE_SIZE_UNKNOWN);
	assert_true(i->size_wanted);
	assert_false(inode_take_end(i, 4096));

	/* What was told before the file grew is old. */
	inode_size_grown(i, 6000, inode_epoch());
	inode_learn_end(i, 5000, inode_epoch(), NSEC_PER_SEC);
	assert_false(inode_take_end(i, 5000));
	inode_put(t, i);

	/* A file of which nothing was told, though another has its place among the hints. */
	i = inode_opened(t, 3);
	assert_true(i->told == INODE_SIZE_UNKNOWN);
	inode_learn_end(i, 0, inode_epoch(), NSEC_PER_SEC);
	assert_false(inode_take_end(i, 0));
	inode_put(t, i);
	inode_table_destroy(t);
}

/* The mtime of a file is settled once for its writes, and whoever sets one meanwhile waits. */
static void times_are_settled_once(void **state)
{
	struct inode_table *t = inode_table_create(NULL);
	struct inode *i = inode_opened(t, 1);

	assert_false(inode_settle_begin(t, i)); /* nothing is due */
	assert_true(inode_touched(t, i));
	assert_false(inode_touched(t, i)); /* it is listed */
	assert_true(inode_any_touched(t));
	assert_true(inode_settle_begin(t, i));
	assert_true(inode_settle_due(i));
	assert_true(inode_any_touched(t)); /* until the host has it */
	assert_false(inode_touched(t, i)); /* written meanwhile */
	inode_settle_end(t, i);
	assert_true(inode_settle_begin(t, i));
	assert_true(inode_settle_due(i));
	inode_settle_end(t, i);
	assert_false(inode_any_touched(t));
	atomic_store(&i->listed, false);
	assert_true(inode_touched(t, i));
	inode_put(t, i);
	inode_released(t, 1);
	inode_forget(t, 1); /* what is due goes with it */
	assert_false(inode_any_touched(t));
	inode_table_destroy(t);
}

int main(void)
{
#define WITH(t) cmocka_unit_test_setup_teardown(t, start, end)
	const struct CMUnitTest tests[] = {
		WITH(init_is_agreed),
		WITH(create_write_and_read),
		WITH(errors_of_the_host_come_back),
		WITH(names_stay_inside),
		WITH(window_shows_the_file),
		WITH(window_writes_reach_the_file),
		WITH(both_sides_see_each_other_at_once),
		WITH(holes_are_not_mapped_for_writing),
		WITH(truncation_after_drop),
		WITH(truncation_behind_our_back),
		WITH(files_larger_than_the_window),
		cmocka_unit_test(files_are_remembered),
		cmocka_unit_test(few_mappings),
		cmocka_unit_test(no_window),
		cmocka_unit_test(next_guest),
		cmocka_unit_test(sizes_that_are_overtaken),
		cmocka_unit_test(short_reads_are_not_sizes),
		cmocka_unit_test(times_are_settled_once),
		WITH(many_threads),
		WITH(host_dies),
		WITH(forgotten_nodes_are_gone),
		WITH(inodes_are_small),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
