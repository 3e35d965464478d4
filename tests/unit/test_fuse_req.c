// SPDX-License-Identifier: MIT
// FUSE requests: every opcode, cut at every length, with wrong names, arrays and sizes.

#include "unit.h"

#include <limits.h>

#include "base/num.h"
#include "wire/fuse_req.h"

#define HEADER 40u

/*
 * What the protocol says, by number, so that the table in src/wire is not compared with itself.
 * @extra: bytes put behind fixed part and names, which the opcode needs for what make() writes.
 */
struct form {
	uint32_t opcode;
	const char *name;
	size_t in, out;
	unsigned int names;
	size_t extra;
	bool no_reply;
};

static const struct form forms[] = {
	{ 1, "LOOKUP", 0, 128, 1 },
	{ 2, "FORGET", 8, 0, 0, 0, true },
	{ 3, "GETATTR", 16, 104, 0 },
	{ 4, "SETATTR", 88, 104, 0 },
	{ 5, "READLINK", 0, PATH_MAX, 0 },
	{ 6, "SYMLINK", 0, 128, 2 },
	{ 8, "MKNOD", 16, 128, 1 },
	{ 9, "MKDIR", 8, 128, 1 },
	{ 10, "UNLINK", 0, 0, 1 },
	{ 11, "RMDIR", 0, 0, 1 },
	{ 12, "RENAME", 8, 0, 2 },
	{ 13, "LINK", 8, 128, 1 },
	{ 14, "OPEN", 8, 16, 0 },
	{ 15, "READ", 40, 0, 0 },
	{ 16, "WRITE", 40, 8, 0, 100 },
	{ 17, "STATFS", 0, 80, 0 },
	{ 18, "RELEASE", 24, 0, 0 },
	{ 20, "FSYNC", 16, 0, 0 },
	{ 21, "SETXATTR", 8, 0, 0 },
	{ 22, "GETXATTR", 8, 8, 1 },
	{ 23, "LISTXATTR", 8, 8, 0 },
	{ 24, "REMOVEXATTR", 0, 0, 1 },
	{ 25, "FLUSH", 24, 0, 0 },
	{ 26, "INIT", 8, 64, 0 },
	{ 27, "OPENDIR", 8, 16, 0 },
	{ 28, "READDIR", 40, 0, 0 },
	{ 29, "RELEASEDIR", 24, 0, 0 },
	{ 30, "FSYNCDIR", 16, 0, 0 },
	{ 31, "GETLK", 48, 24, 0 },
	{ 32, "SETLK", 48, 0, 0 },
	{ 33, "SETLKW", 48, 0, 0 },
	{ 34, "ACCESS", 8, 0, 0 },
	{ 35, "CREATE", 16, 144, 1 },
	{ 36, "INTERRUPT", 8, 0, 0 },
	{ 37, "BMAP", 16, 8, 0 },
	{ 38, "DESTROY", 0, 0, 0 },
	{ 39, "IOCTL", 32, 16, 0, 24 },
	{ 40, "POLL", 24, 8, 0 },
	{ 41, "NOTIFY_REPLY", 0, 0, 0, 0, true },
	{ 42, "BATCH_FORGET", 8, 0, 0, 3 * 16, true },
	{ 43, "FALLOCATE", 32, 0, 0 },
	{ 44, "READDIRPLUS", 40, 0, 0 },
	{ 45, "RENAME2", 16, 0, 2 },
	{ 46, "LSEEK", 24, 8, 0 },
	{ 47, "COPY_FILE_RANGE", 56, 8, 0 },
	{ 48, "SETUPMAPPING", 40, 0, 0 },
	{ 49, "REMOVEMAPPING", 4, 0, 0, 3 * 16 },
	{ 50, "SYNCFS", 8, 0, 0 },
	{ 51, "TMPFILE", 16, 144, 1 },
	{ 52, "STATX", 24, 288, 0 },
	{ 53, "COPY_FILE_RANGE_64", 56, 8, 0 },
};

/* A valid request of @f in memory of exactly its size, so that a sanitizer sees a read behind it. */
static char *make(const struct form *f, size_t *ret_len)
{
	size_t names = f->names * 4, len = HEADER + f->in + names + f->extra;
	char *buf = calloc(1, len);
	struct fuse_in_header *h = (struct fuse_in_header *)(void *)buf;
	char *p;

	assert_non_null(buf);
	h->len = (uint32_t)len;
	h->opcode = f->opcode;
	h->unique = 77;
	p = buf + HEADER;
	if (f->opcode == FUSE_WRITE)
		((struct fuse_write_in *)(void *)p)->size = (uint32_t)f->extra;
	if (f->opcode == FUSE_IOCTL)
		((struct fuse_ioctl_in *)(void *)p)->in_size = (uint32_t)f->extra;
	if (f->opcode == FUSE_BATCH_FORGET || f->opcode == FUSE_REMOVEMAPPING)
		*(uint32_t *)(void *)p = 3;
	p += f->in;
	for (unsigned int i = 0; i < f->names; i++, p += 4)
		memcpy(p, i ? "two" : "one", 4);
	*ret_len = len;
	return buf;
}

static int parse(const char *buf, size_t len, struct fuse_req *ret)
{
	memset(ret, 0, sizeof(*ret));
	return fuse_req_parse(buf, len, len, ret);
}

static void every_opcode(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		const struct form *f = &forms[i];
		struct fuse_req req;
		size_t len;
		char *buf = make(f, &len);

		assert_int_equal(parse(buf, len, &req), 0);
		assert_ptr_equal(req.h, buf);
		assert_string_equal(req.op->name, f->name);
		assert_string_equal(fuse_op_name(f->opcode), f->name);
		assert_int_equal(req.op->in_size, f->in);
		assert_int_equal(req.op->out_size, f->out);
		assert_int_equal(req.op->no_reply, f->no_reply);
		if (f->in)
			assert_ptr_equal(req.arg, buf + HEADER);
		else
			assert_null(req.arg);
		if (f->names)
			assert_string_equal(req.name[0], "one");
		if (f->names > 1)
			assert_string_equal(req.name[1], "two");
		assert_int_equal(req.rest_len, f->extra);
		assert_ptr_equal(req.rest, buf + len - f->extra);
		free(buf);
	}
}

/* Opcodes that the table knows are those of this test: a new one needs a line here. */
static void no_opcode_is_forgotten(void **state)
{
	for (uint32_t op = 0; op < FUSE_OP_MAX + 8; op++) {
		bool here = false;

		for (size_t i = 0; i < ARRAY_SIZE(forms); i++)
			here |= forms[i].opcode == op;
		assert_int_equal(fuse_op_info(op)->name != NULL, here);
	}
}

/* Cut at every length; the header tells the truth about it. */
static void every_truncated_length(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		size_t len;
		char *whole = make(&forms[i], &len);

		for (size_t cut = 0; cut < len; cut++) {
			char *buf = malloc(cut ? cut : 1);
			struct fuse_req req;

			assert_non_null(buf);
			memcpy(buf, whole, cut);
			if (cut >= 4)
				memcpy(buf, &(uint32_t){ (uint32_t)cut }, 4);
			assert_int_equal(parse(buf, cut, &req), -EINVAL);
			free(buf);
		}
		free(whole);
	}
}

/* The header's length is not that of the message. */
static void wrong_header_length(void **state)
{
	static const int64_t off_by[] = { -40, -1, 1, 4096, INT32_MAX };

	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		struct fuse_req req;
		size_t len;
		char *buf = make(&forms[i], &len);

		for (size_t k = 0; k < ARRAY_SIZE(off_by); k++) {
			uint32_t lie = (uint32_t)((int64_t)len + off_by[k]);

			memcpy(buf, &lie, 4);
			assert_int_equal(parse(buf, len, &req), -EINVAL);
		}
		free(buf);
	}
}

static void names_unterminated(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		const struct form *f = &forms[i];
		struct fuse_req req;
		size_t len;
		char *buf;

		if (!f->names)
			continue;
		buf = make(f, &len);
		buf[len - f->extra - 1] = 'x';
		assert_int_equal(parse(buf, len, &req), -EINVAL);
		free(buf);
	}
}

static void names_empty(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		const struct form *f = &forms[i];

		for (unsigned int n = 0; n < f->names; n++) {
			struct fuse_req req;
			size_t len;
			char *buf = make(f, &len);

			buf[HEADER + f->in + 4 * n] = '\0';
			/* the first name's end makes what follows the second; only an empty one is
			 * wrong */
			assert_int_equal(parse(buf, len, &req), -EINVAL);
			free(buf);
		}
	}
}

static int parse_with_count(uint32_t opcode, size_t at, uint32_t count)
{
	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		struct fuse_req req;
		size_t len;
		char *buf;
		int r;

		if (forms[i].opcode != opcode)
			continue;
		buf = make(&forms[i], &len);
		memcpy(buf + HEADER + at, &count, 4);
		r = parse(buf, len, &req);
		free(buf);
		return r;
	}
	return 1;
}

static void arrays_with_wrong_counts(void **state)
{
	const size_t write_size = offsetof(struct fuse_write_in, size);
	const size_t ioctl_size = offsetof(struct fuse_ioctl_in, in_size);
	static const uint32_t counted[] = { FUSE_BATCH_FORGET, FUSE_REMOVEMAPPING };

	for (size_t i = 0; i < ARRAY_SIZE(counted); i++) {
		assert_int_equal(parse_with_count(counted[i], 0, 0), 0);
		assert_int_equal(parse_with_count(counted[i], 0, 3), 0);
		assert_int_equal(parse_with_count(counted[i], 0, 4), -EINVAL);
		/* times 16 this is 0 in 32 bits */
		assert_int_equal(parse_with_count(counted[i], 0, 0x10000000), -EINVAL);
		assert_int_equal(parse_with_count(counted[i], 0, UINT32_MAX), -EINVAL);
	}
	assert_int_equal(parse_with_count(FUSE_WRITE, write_size, 0), 0);
	assert_int_equal(parse_with_count(FUSE_WRITE, write_size, 99), 0);
	assert_int_equal(parse_with_count(FUSE_WRITE, write_size, 101), -EINVAL);
	assert_int_equal(parse_with_count(FUSE_WRITE, write_size, UINT32_MAX), -EINVAL);
	assert_int_equal(parse_with_count(FUSE_IOCTL, ioctl_size, 24), 0);
	assert_int_equal(parse_with_count(FUSE_IOCTL, ioctl_size, 25), -EINVAL);
}

/* The payload of WRITE may lie elsewhere; that of others may not. */
static void payload_elsewhere(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		const struct form *f = &forms[i];
		struct fuse_req req;
		size_t len, head = HEADER + f->in + 4 * f->names;
		char *buf = make(f, &len);

		if (f->opcode == FUSE_WRITE) {
			assert_int_equal(fuse_req_parse(buf, head, len, &req), 0);
			assert_int_equal(req.rest_len, 0);
			assert_int_equal(fuse_req_parse(buf, head - 1, len, &req), -EINVAL);
		} else if (f->extra) {
			assert_int_equal(fuse_req_parse(buf, head, len, &req), -EINVAL);
		}
		/* more here than there is in all */
		assert_int_equal(fuse_req_parse(buf, len, len - 1, &req), -EINVAL);
		free(buf);
	}
}

static void unknown_opcodes(void **state)
{
	static const uint32_t ops[] = { 0, 7, 19, 54, 63, 64, 4096, 1048576, UINT32_MAX };

	for (size_t i = 0; i < ARRAY_SIZE(ops); i++) {
		struct fuse_in_header h = { .len = sizeof(h), .opcode = ops[i] };
		struct fuse_req req = { 0 };

		assert_int_equal(fuse_req_parse(&h, sizeof(h), sizeof(h), &req), -ENOSYS);
		assert_ptr_equal(req.h, &h);
		assert_string_equal(fuse_op_name(ops[i]), "opcode ?");
	}
}

static void reply_sizes(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		const struct form *f = &forms[i];
		struct fuse_req req;
		size_t len;
		char *buf = make(f, &len);

		assert_int_equal(parse(buf, len, &req), 0);
		/* sizes in the request are 0 */
		assert_int_equal(fuse_req_reply_size(&req, 1 << 20), f->no_reply ? 0 : 16 + f->out);
		free(buf);
	}
}

static void reply_sizes_that_the_request_gives(void **state)
{
	static const struct {
		uint32_t opcode;
		size_t at, fixed;
	} sized[] = {
		{ FUSE_READ, offsetof(struct fuse_read_in, size), 0 },
		{ FUSE_READDIR, offsetof(struct fuse_read_in, size), 0 },
		{ FUSE_READDIRPLUS, offsetof(struct fuse_read_in, size), 0 },
		{ FUSE_GETXATTR, offsetof(struct fuse_getxattr_in, size), 8 },
		{ FUSE_LISTXATTR, offsetof(struct fuse_getxattr_in, size), 8 },
		{ FUSE_IOCTL, offsetof(struct fuse_ioctl_in, out_size), 16 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		for (size_t k = 0; k < ARRAY_SIZE(sized); k++) {
			struct fuse_req req;
			size_t len;
			char *buf;

			if (forms[i].opcode != sized[k].opcode)
				continue;
			buf = make(&forms[i], &len);
			memcpy(buf + HEADER + sized[k].at, &(uint32_t){ 5000 }, 4);
			assert_int_equal(parse(buf, len, &req), 0);
			assert_int_equal(fuse_req_reply_size(&req, 1 << 20),
					 16 + sized[k].fixed + 5000);
			assert_int_equal(fuse_req_reply_size(&req, 4096), 16 + 4096);
			memcpy(buf + HEADER + sized[k].at, &(uint32_t){ UINT32_MAX }, 4);
			assert_int_equal(fuse_req_reply_size(&req, 1 << 20), 16 + (1 << 20));
			free(buf);
		}
	}
}

static void names_of_one_component(void **state)
{
	char name[NAME_MAX + 2];

	assert_int_equal(fuse_name_ok("a"), 0);
	assert_int_equal(fuse_name_ok("..."), 0);
	assert_int_equal(fuse_name_ok(".a"), 0);
	assert_int_equal(fuse_name_ok("\xff\x01 \n"), 0);
	assert_int_equal(fuse_name_ok(""), -EINVAL);
	assert_int_equal(fuse_name_ok("."), -EINVAL);
	assert_int_equal(fuse_name_ok(".."), -EINVAL);
	assert_int_equal(fuse_name_ok("a/b"), -EINVAL);
	assert_int_equal(fuse_name_ok("/"), -EINVAL);
	memset(name, 'n', sizeof(name));
	name[NAME_MAX + 1] = '\0';
	assert_int_equal(fuse_name_ok(name), -ENAMETOOLONG);
	name[NAME_MAX] = '\0';
	assert_int_equal(fuse_name_ok(name), 0);
}

/* Random bytes as a request: whatever comes, no crash, and what is accepted lies inside. */
static void random_bytes(void **state)
{
	struct rng rng = { unit_seed() };

	for (unsigned int n = 0; n < 100000; n++) {
		size_t len = HEADER + (size_t)rng_below(&rng, 200);
		struct fuse_in_header h = { .len = (uint32_t)len,
					    .opcode = (uint32_t)rng_below(&rng, 66) };
		char *buf = malloc(len);
		struct fuse_req req;

		assert_non_null(buf);
		for (size_t i = 0; i < len; i++)
			buf[i] = (char)(rng_chance(&rng, 2) ? 0 : rng_below(&rng, 256));
		memcpy(buf, &h, 16);
		if (parse(buf, len, &req) == 0) {
			assert_true((const char *)req.rest + req.rest_len == buf + len);
			assert_true(fuse_req_reply_size(&req, 4096) <= 16 + 4096);
		}
		free(buf);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_opcode),
		cmocka_unit_test(no_opcode_is_forgotten),
		cmocka_unit_test(every_truncated_length),
		cmocka_unit_test(wrong_header_length),
		cmocka_unit_test(names_unterminated),
		cmocka_unit_test(names_empty),
		cmocka_unit_test(arrays_with_wrong_counts),
		cmocka_unit_test(payload_elsewhere),
		cmocka_unit_test(unknown_opcodes),
		cmocka_unit_test(reply_sizes),
		cmocka_unit_test(reply_sizes_that_the_request_gives),
		cmocka_unit_test(names_of_one_component),
		cmocka_unit_test(random_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
