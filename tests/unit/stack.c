// SPDX-License-Identifier: MIT
// The real guest stack against the real host server, in one process, on a temporary directory.

#include "unit.h"

#include <fcntl.h>
#include <ftw.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/guard.h"
#include "stack.h"
#include "wire/fuse_req.h"

void pattern_fill(void *buf, uint64_t off, size_t len, unsigned int version)
{
	for (size_t i = 0; i < len; i++)
		((unsigned char *)buf)[i] = pattern_at(off + i, version);
}

size_t pattern_check(const void *buf, uint64_t off, size_t len, unsigned int version)
{
	for (size_t i = 0; i < len; i++)
		if (((const unsigned char *)buf)[i] != pattern_at(off + i, version))
			return i;
	return len;
}

void stack_new(struct stack *s, uint64_t window, unsigned int max_mappings)
{
	memset(s, 0, sizeof(*s));
	/* the host copies guarded, too */
	assert_int_equal(guard_init(), 0);
	(void)strcpy(s->dir, "/tmp/vfsdax-stack-XXXXXX");
	assert_non_null(mkdtemp(s->dir));
	s->dir_fd = open(s->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(s->dir_fd >= 0);
	s->cfg = (struct host_config){
		.root_fd = s->dir_fd,
		.proc_fd = -1,
		.tag = "stack",
		.num_request_queues = 2,
		.window = window,
		.max_mappings = max_mappings,
		.cache = FUSE_CACHE_NONE,
		.xattr = true,
		.posix_lock = true,
		.flock = true,
	};
	assert_int_equal(host_new(&s->cfg, &s->host), 0);
}

static void *stack_host_main(void *arg)
{
	struct stack *s = arg;

	s->served = host_serve(s->host, s->host_sock, s->stop_fd);
	/* Only now the peer sees that nobody is there. */
	(void)close(s->host_sock);
	return NULL;
}

static void stack_init(struct stack *s)
{
	struct fuse_init_wish wish = { .dax = s->dax, .max_write = 128 * KIB };
	struct fuse_init_in kernel = {
		.major = FUSE_KERNEL_VERSION,
		.minor = 38,
		.max_readahead = 128 * KIB,
		.flags = FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_MAX_PAGES | FUSE_INIT_EXT |
			 FUSE_DO_READDIRPLUS | FUSE_POSIX_LOCKS | FUSE_FLOCK_LOCKS,
	};
	struct fuse_init_in to_host;
	struct fuse_init_out host = { 0 }, to_kernel;
	size_t len;

	assert_int_equal(fuse_init_to_host(&kernel, sizeof(kernel), &wish, &to_host), 0);
	assert_int_equal(client_init(s->client, &to_host, &host, &len), 0);
	assert_int_equal(fuse_init_to_kernel(&kernel, sizeof(kernel), &host, len, &wish, &to_kernel,
					     &s->agreed),
			 0);
}

void stack_connect(struct stack *s)
{
	struct fs_dev_params params = {
		.arena_size = client_arena_size(16, STACK_SLOT, STACK_SLOT),
		.max_request = 2,
	};
	char why[256] = "";
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	s->host_sock = pair[0];
	s->stop_fd = eventfd(0, EFD_CLOEXEC);
	assert_true(s->stop_fd >= 0);
	assert_int_equal(pthread_create(&s->thread, NULL, stack_host_main, s), 0);
	s->serving = true;
	if (vhost_user_attach(pair[1], why, sizeof(why), &s->t) < 0 ||
	    fs_dev_start(s->t, &params, why, sizeof(why), &s->dev) < 0)
		fail_msg("%s", why);
	assert_int_equal(client_create(s->dev, &s->client), 0);
	assert_int_equal(client_slot_create(s->client, STACK_SLOT, STACK_SLOT, &s->slot), 0);
	if (s->dev->window.size) {
		struct dax_params dax = {
			.addr = s->dev->window.addr,
			.size = s->dev->window.size,
			.alignment = PAGE_4K,
			.remote = &client_dax_ops,
			.remote_ctx = s->client,
		};

		assert_int_equal(dax_create(&dax, &s->dax), 0);
	}
	stack_init(s);
}

void stack_host_dies(struct stack *s)
{
	if (!s->serving)
		return;
	(void)eventfd_write(s->stop_fd, 1);
	assert_int_equal(pthread_join(s->thread, NULL), 0);
	s->serving = false;
}

void stack_disconnect(struct stack *s)
{
	dax_destroy(s->dax);
	client_slot_destroy(s->slot);
	client_destroy(s->client);
	fs_dev_stop(s->dev);
	s->dax = NULL;
	s->slot = NULL;
	s->client = NULL;
	s->dev = NULL;
	if (s->serving) {
		assert_int_equal(pthread_join(s->thread, NULL), 0);
		assert_int_equal(s->served, 0);
		s->serving = false;
	}
	(void)close(s->stop_fd);
}

static int stack_remove(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

void stack_free(struct stack *s)
{
	host_free(s->host);
	(void)close(s->dir_fd);
	(void)nftw(s->dir, stack_remove, 16, FTW_DEPTH | FTW_PHYS);
}

int stack_call(struct stack *s, struct client_slot *slot, int queue, const struct stack_call *c)
{
	static _Atomic uint64_t unique = 2;
	struct fuse_in_header *h = (struct fuse_in_header *)(void *)slot->req;
	const struct fuse_out_header *rep = (const struct fuse_out_header *)(void *)slot->rep;
	size_t len = sizeof(*h) + c->arg_len + c->data_len;
	const struct fuse_op_info *op = fuse_op_info(c->opcode);
	int r;

	must(len <= slot->req_cap && sizeof(*rep) + c->out_len <= slot->rep_cap);
	*h = (struct fuse_in_header){
		.len = (uint32_t)len,
		.opcode = c->opcode,
		.unique = atomic_fetch_add(&unique, 2),
		.nodeid = c->nodeid,
		.uid = getuid(),
		.gid = getgid(),
	};
	if (c->arg_len)
		memcpy(h + 1, c->arg, c->arg_len);
	if (c->data_len)
		memcpy((char *)(h + 1) + c->arg_len, c->data, c->data_len);
	r = client_exchange(s->client, slot, queue, len,
			    op->no_reply ? 0 : sizeof(*rep) + c->out_len);
	if (r <= 0)
		return r;
	if (rep->error)
		return rep->error;
	r -= (int)sizeof(*rep);
	must((size_t)r <= c->out_len);
	if (r)
		memcpy(c->out, rep + 1, (size_t)r);
	return r;
}

uint64_t stack_lookup(struct stack *s, const char *name)
{
	struct fuse_entry_out out = { 0 };
	int r = stack_call(s, s->slot, 0,
			   &(struct stack_call){ .opcode = FUSE_LOOKUP,
						 .nodeid = FUSE_ROOT_ID,
						 .data = name,
						 .data_len = strlen(name) + 1,
						 .out = &out,
						 .out_len = sizeof(out) });

	assert_int_equal(r, sizeof(out));
	assert_true(out.nodeid > FUSE_ROOT_ID);
	return out.nodeid;
}

uint64_t stack_open(struct stack *s, uint64_t nodeid, uint32_t flags)
{
	struct fuse_open_in in = { .flags = flags };
	struct fuse_open_out out = { 0 };
	int r = stack_call(s, s->slot, 0,
			   &(struct stack_call){ .opcode = FUSE_OPEN,
						 .nodeid = nodeid,
						 .arg = &in,
						 .arg_len = sizeof(in),
						 .out = &out,
						 .out_len = sizeof(out) });

	assert_int_equal(r, sizeof(out));
	return out.fh;
}

int stack_file(struct stack *s, const char *name, uint64_t size)
{
	int fd = openat(s->dir_fd, name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	static char buf[65536];

	assert_true(fd >= 0);
	for (uint64_t off = 0; off < size;) {
		size_t here = MIN(size - off, (uint64_t)sizeof(buf));

		pattern_fill(buf, off, here, 0);
		assert_int_equal(pwrite(fd, buf, here, (off_t)off), here);
		off += here;
	}
	return fd;
}
