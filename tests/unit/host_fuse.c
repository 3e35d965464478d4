// SPDX-License-Identifier: MIT
// A FUSE server on a directory of its own, and calls of it: for the tests of vfsdaxhost.

#include "unit.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/guard.h"
#include "host_fuse.h"

static int fake_map(struct mapper *m, int fd, struct foff foff, struct woff woff, uint64_t len,
		    bool writable)
{
	struct fake_mapper *f = container_of(m, struct fake_mapper, mapper);

	assert_true(range_ok(woff.v, len, WINDOW));
	if (f->refuse)
		return -f->refuse;
	f->maps++;
	f->writable = writable;
	return mmap(f->window + woff.v, len, PROT_READ | (writable ? PROT_WRITE : 0),
		    MAP_SHARED | MAP_FIXED, fd, (off_t)foff.v) == MAP_FAILED
		       ? -errno
		       : 0;
}

static int fake_unmap(struct mapper *m, struct woff woff, uint64_t len)
{
	struct fake_mapper *f = container_of(m, struct fake_mapper, mapper);

	if (!range_ok(woff.v, len, WINDOW) || len % PAGE_4K || woff.v % PAGE_4K)
		return -EINVAL;
	f->unmaps++;
	return mmap(f->window + woff.v, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
		    0) == MAP_FAILED
		       ? -errno
		       : 0;
}

static const struct mapper_ops fake_ops = { fake_map, fake_unmap };

void config(struct fixture *f, struct fuse_server_config *cfg)
{
	*cfg = (struct fuse_server_config){
		.root_fd = f->fd,
		.proc_fd = -1,
		.cache = FUSE_CACHE_AUTO,
		.xattr = true,
		.window = WINDOW,
		.mapper = &f->map.mapper,
	};
}

int call_room(struct fixture *f, uint32_t opcode, uint64_t nodeid, const void *arg, size_t len,
	      size_t room)
{
	_Alignas(8) static char buf[70000];
	struct fuse_in_header *h = (void *)buf;
	struct fuse_out_header out = { 0 };
	struct iovec rd[2], wr[2];
	size_t n;

	*h = (struct fuse_in_header){
		.len = (uint32_t)(sizeof(*h) + len),
		.opcode = opcode,
		.unique = ++f->unique,
		.nodeid = nodeid,
		.uid = f->uid,
		.gid = f->gid,
	};
	assert_true(sizeof(*h) + len <= sizeof(buf) && room <= sizeof(f->reply));
	if (len)
		memcpy(h + 1, arg, len);
	/* In two pieces that end in the middle of things. */
	rd[0] = (struct iovec){ buf, MIN((size_t)h->len, (size_t)43) };
	rd[1] = (struct iovec){ buf + rd[0].iov_len, h->len - rd[0].iov_len };
	wr[0] = (struct iovec){ &out, sizeof(out) };
	wr[1] = (struct iovec){ f->reply, room };
	memset(f->reply, 0x5a, sizeof(f->reply));
	n = fuse_server_handle(f->s, rd, 2, wr, 2);
	if (!n) {
		f->reply_len = 0;
		return 1; /* no reply */
	}
	assert_true(n >= sizeof(out) && n <= sizeof(out) + room);
	assert_int_equal(out.len, n);
	assert_int_equal(out.unique, f->unique);
	assert_true(out.error <= 0 && out.error > -1000);
	f->reply_len = n - sizeof(out);
	assert_true(out.error == 0 || f->reply_len == 0);
	return out.error;
}

int call(struct fixture *f, uint32_t opcode, uint64_t nodeid, const void *arg, size_t len)
{
	return call_room(f, opcode, nodeid, arg, len, sizeof(f->reply));
}

int call_names(struct fixture *f, uint32_t opcode, uint64_t nodeid, const void *arg, size_t len,
	       const char *a, const char *b)
{
	char buf[9000];

	if (len)
		memcpy(buf, arg, len);
	memcpy(buf + len, a, strlen(a) + 1);
	len += strlen(a) + 1;
	if (b) {
		memcpy(buf + len, b, strlen(b) + 1);
		len += strlen(b) + 1;
	}
	return call(f, opcode, nodeid, buf, len);
}

int init(struct fixture *f, uint64_t flags)
{
	struct fuse_init_in in = {
		.major = 7,
		.minor = 40,
		.max_readahead = 131072,
		.flags = (uint32_t)flags | FUSE_INIT_EXT,
		.flags2 = (uint32_t)(flags >> 32),
	};

	return call(f, FUSE_INIT, 0, &in, sizeof(in));
}

uint64_t lookup(struct fixture *f, uint64_t dir, const char *name, int *ret_error)
{
	const struct fuse_entry_out *out = (const void *)f->reply;
	int r = call_names(f, FUSE_LOOKUP, dir, NULL, 0, name, NULL);

	if (ret_error)
		*ret_error = r;
	return r ? 0 : out->nodeid;
}

void forget(struct fixture *f, uint64_t nodeid, uint64_t n)
{
	struct fuse_forget_in in = { .nlookup = n };

	assert_int_equal(call(f, FUSE_FORGET, nodeid, &in, sizeof(in)), 1);
}

int open_file(struct fixture *f, uint64_t nodeid, uint32_t flags, uint64_t *ret_fh)
{
	struct fuse_open_in in = { .flags = flags };
	int r = call(f, FUSE_OPEN, nodeid, &in, sizeof(in));

	if (r == 0)
		*ret_fh = ((const struct fuse_open_out *)f->reply)->fh;
	return r;
}

void put_file(struct fixture *f, const char *name, const void *data, size_t len)
{
	int fd = openat(f->fd, name, O_CREAT | O_WRONLY | O_TRUNC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, len), len);
	close(fd);
}

int host_fuse_setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct fuse_server_config cfg;

	(void)guard_init();
	strcpy(f->dir, "/tmp/test_host_XXXXXX");
	if (!mkdtemp(f->dir))
		return -1;
	f->fd = open(f->dir, O_DIRECTORY | O_CLOEXEC);
	f->map.mapper.ops = &fake_ops;
	f->map.window = mmap(NULL, WINDOW, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	config(f, &cfg);
	if (fuse_server_new(&cfg, &f->s) < 0 || init(f, ~UINT64_C(0)))
		return -1;
	*state = f;
	return 0;
}

int host_fuse_teardown(void **state)
{
	struct fixture *f = *state;
	char cmd[128];

	fuse_server_free(f->s);
	munmap(f->map.window, WINDOW);
	close(f->fd);
	(void)snprintf(cmd, sizeof(cmd), "rm -rf %s", f->dir);
	if (system(cmd))
		return -1;
	free(f);
	return 0;
}

void restart(struct fixture *f, const struct fuse_server_config *cfg)
{
	fuse_server_free(f->s);
	assert_int_equal(fuse_server_new(cfg, &f->s), 0);
	assert_int_equal(init(f, ~UINT64_C(0)), 0);
}

uint64_t nodes(struct fixture *f)
{
	struct fuse_server_stats st;

	fuse_server_stats(f->s, &st);
	return st.nodes;
}

int call_unlocked(struct fuse_server *s, uint32_t op, uint64_t node, const void *arg, size_t len,
		  void *reply, size_t room)
{
	_Alignas(8) char buf[512];
	struct fuse_in_header h = {
		.len = (uint32_t)(40 + len), .opcode = op, .unique = 1, .nodeid = node
	};
	struct fuse_out_header out = { 0 };
	struct iovec rd = { buf, 40 + len };
	struct iovec wr[2] = { { &out, sizeof(out) }, { reply, room } };

	memcpy(buf, &h, sizeof(h));
	memcpy(buf + 40, arg, len);
	return fuse_server_handle(s, &rd, 1, wr, 2) ? out.error : 1;
}
