// SPDX-License-Identifier: MIT
// Requests as they come over io_uring: lengths that fit, lengths that do not, and the reply.

#include "unit.h"

#include <errno.h>
#include <string.h>

#include "base/num.h"
#include "wire/fuse_req.h"
#include "wire/fuse_uring.h"

#define CAP 4096u

/* A request of @len bytes in all, @payload of them in the payload buffer. */
static struct fuse_uring_req_header request(uint32_t opcode, size_t len, uint32_t payload)
{
	struct fuse_in_header h = { .len = (uint32_t)len, .opcode = opcode, .unique = 6 };
	struct fuse_uring_req_header r = { .ring_ent_in_out = { .commit_id = 6,
								.payload_sz = payload } };

	memcpy(r.in_out, &h, sizeof(h));
	return r;
}

static void lengths(void **state)
{
	static const struct {
		size_t len;
		uint32_t payload;
		int result;
	} cases[] = {
		{ 40, 0, 0 },
		{ 40 + 128, 0, 0 },
		{ 40 + 129, 0, -EPROTO },
		{ 40 + 5, 5, 0 },
		{ 40 + 4, 5, -EPROTO },
		{ 39, 0, -EPROTO },
		{ 0, 0, -EPROTO },
		{ 40 + CAP, CAP, 0 },
		{ 40 + CAP + 1, CAP + 1, -EPROTO },
		{ 40 + CAP + 128, CAP, 0 },
		{ UINT32_MAX, UINT32_MAX, -EPROTO },
		{ UINT32_MAX, 0, -EPROTO },
		{ 39, UINT32_MAX, -EPROTO },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct fuse_uring_req_header r =
			request(FUSE_GETATTR, cases[i].len, cases[i].payload);
		struct fuse_uring_req q = { .op_len = 999 };

		if (fuse_uring_parse(&r, CAP, &q) != cases[i].result)
			fail_msg("case %zu", i);
		/* a ret_ parameter is untouched on failure */
		assert_int_equal(q.op_len,
				 cases[i].result ? 999 : cases[i].len - 40 - cases[i].payload);
	}
}

/* Joined, it is the request that /dev/fuse would have given. */
static void joined(void **state)
{
	struct fuse_write_in in = { .fh = 3, .offset = 4096, .size = 11 };
	char buf[40 + sizeof(in) + 11] __attribute__((aligned(8)));
	struct fuse_uring_req_header r = request(FUSE_WRITE, sizeof(buf), 11);
	struct fuse_uring_req q;
	struct fuse_req p;

	memcpy(r.op_in, &in, sizeof(in));
	memset(buf, 'x', sizeof(buf));
	assert_int_equal(fuse_uring_parse(&r, CAP, &q), 0);
	assert_int_equal(q.commit_id, 6);
	fuse_uring_join(&r, &q, buf);
	/* the payload stays as it was */
	assert_memory_equal(buf + sizeof(buf) - 11, "xxxxxxxxxxx", 11);
	assert_int_equal(fuse_req_parse(buf, sizeof(buf), sizeof(buf), &p), 0);
	assert_memory_equal(p.arg, &in, sizeof(in));
	assert_ptr_equal(p.rest, buf + sizeof(buf) - 11);
}

static void reply(void **state)
{
	struct fuse_uring_req_header r = request(FUSE_READ, 80, 0);
	struct fuse_out_header h;

	r.ring_ent_in_out.flags = 1;
	r.ring_ent_in_out.padding = 2;
	r.ring_ent_in_out.reserved = 3;
	fuse_uring_reply(&r, 6, 0, 100);
	memcpy(&h, r.in_out, sizeof(h));
	assert_int_equal(h.unique, 6);
	assert_int_equal(h.error, 0);
	assert_int_equal(h.len, 116);
	assert_int_equal(r.ring_ent_in_out.payload_sz, 100);
	assert_int_equal(r.ring_ent_in_out.flags | r.ring_ent_in_out.padding |
				 r.ring_ent_in_out.reserved,
			 0);
	fuse_uring_reply(&r, 8, -EIO, 0);
	memcpy(&h, r.in_out, sizeof(h));
	assert_int_equal(h.unique, 8);
	assert_int_equal(h.error, -EIO);
	assert_int_equal(r.ring_ent_in_out.payload_sz, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lengths),
		cmocka_unit_test(joined),
		cmocka_unit_test(reply),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
