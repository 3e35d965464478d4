// SPDX-License-Identifier: MIT
// The form of vhost-user messages.

#include "unit.h"

#include "base/num.h"
#include "wire/vhost_user.h"

struct form {
	uint32_t request;
	const char *name;
	uint32_t min, max;
	unsigned int min_fds, max_fds;
};

/* By number, from the protocol document. */
static const struct form forms[] = {
	{ 1, "GET_FEATURES", 0, 0, 0, 0 },
	{ 2, "SET_FEATURES", 8, 8, 0, 0 },
	{ 3, "SET_OWNER", 0, 0, 0, 0 },
	{ 4, "RESET_OWNER", 0, 0, 0, 0 },
	{ 5, "SET_MEM_TABLE", 8, 264, 0, 8 },
	{ 8, "SET_VRING_NUM", 8, 8, 0, 0 },
	{ 9, "SET_VRING_ADDR", 40, 40, 0, 0 },
	{ 10, "SET_VRING_BASE", 8, 8, 0, 0 },
	{ 11, "GET_VRING_BASE", 8, 8, 0, 0 },
	{ 12, "SET_VRING_KICK", 8, 8, 0, 1 },
	{ 13, "SET_VRING_CALL", 8, 8, 0, 1 },
	{ 14, "SET_VRING_ERR", 8, 8, 0, 1 },
	{ 15, "GET_PROTOCOL_FEATURES", 0, 0, 0, 0 },
	{ 16, "SET_PROTOCOL_FEATURES", 8, 8, 0, 0 },
	{ 17, "GET_QUEUE_NUM", 0, 0, 0, 0 },
	{ 18, "SET_VRING_ENABLE", 8, 8, 0, 0 },
	{ 21, "SET_BACKEND_REQ_FD", 0, 8, 1, 1 },
	{ 24, "GET_CONFIG", 12, 268, 0, 0 },
	{ 25, "SET_CONFIG", 12, 268, 0, 0 },
	{ 34, "RESET_DEVICE", 0, 0, 0, 0 },
	{ 36, "GET_MAX_MEM_SLOTS", 0, 0, 0, 0 },
	{ 37, "ADD_MEM_REG", 40, 40, 1, 1 },
	{ 38, "REM_MEM_REG", 40, 40, 0, 1 },
	{ 39, "SET_STATUS", 8, 8, 0, 0 },
	{ 40, "GET_STATUS", 0, 0, 0, 0 },
	{ 44, "GET_SHMEM_CONFIG", 0, 0, 0, 0 },
};

static const struct form backend_forms[] = {
	{ 2, "CONFIG_CHANGE_MSG", 0, 0, 0, 0 },
	{ 9, "SHMEM_MAP", 40, 40, 1, 1 },
	{ 10, "SHMEM_UNMAP", 40, 40, 0, 0 },
};

typedef int (*check_fn)(const struct vhu_header *h, unsigned int nfds);

static void sizes_and_fds(check_fn check, const struct form *f, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct vhu_header h = { .request = f[i].request, .flags = VHU_VERSION };

		for (h.size = 0; h.size < 400; h.size++)
			for (unsigned int nfds = 0; nfds < 10; nfds++)
				assert_int_equal(check(&h, nfds),
						 h.size >= f[i].min && h.size <= f[i].max &&
								 nfds >= f[i].min_fds &&
								 nfds <= f[i].max_fds
							 ? 0
							 : -EPROTO);
		h.size = UINT32_MAX;
		assert_int_equal(check(&h, f[i].min_fds), -EPROTO);
	}
}

static void sizes_of_requests(void **state)
{
	sizes_and_fds(vhu_request_check, forms, ARRAY_SIZE(forms));
}

static void sizes_of_backend_requests(void **state)
{
	sizes_and_fds(vhu_backend_request_check, backend_forms, ARRAY_SIZE(backend_forms));
}

static void flags(void **state)
{
	static const struct {
		uint32_t flags;
		int result;
	} cases[] = {
		{ 0x1, 0 },	  { 0x9, 0 },	     { 0x0, -EPROTO },
		{ 0x2, -EPROTO }, { 0x3, -EPROTO },  { 0x5, -EPROTO },
		{ 0xd, -EPROTO }, { 0x11, -EPROTO }, { 0x80000001, -EPROTO },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct vhu_header h = { .request = 1, .flags = cases[i].flags };

		assert_int_equal(vhu_request_check(&h, 0), cases[i].result);
		h.request = 2;
		assert_int_equal(vhu_backend_request_check(&h, 0), cases[i].result);
		/* wrong flags weigh more than an unknown number */
		h.request = 4000;
		assert_int_equal(vhu_request_check(&h, 0), cases[i].result ? -EPROTO : -EOPNOTSUPP);
	}
}

static void unknown_requests(void **state)
{
	for (uint32_t request = 0; request < 300; request++) {
		struct vhu_header h = { .request = request, .flags = VHU_VERSION, .size = 8 };
		bool known = false, known_back = false;

		for (size_t i = 0; i < ARRAY_SIZE(forms); i++)
			known |= forms[i].request == request;
		for (size_t i = 0; i < ARRAY_SIZE(backend_forms); i++)
			known_back |= backend_forms[i].request == request;
		assert_int_equal(vhu_request_check(&h, 0) == -EOPNOTSUPP, !known);
		assert_int_equal(vhu_backend_request_check(&h, 0) == -EOPNOTSUPP, !known_back);
		/* what could not even be skipped is wrong, known or not */
		h.size = 70000;
		assert_int_equal(vhu_request_check(&h, 0), -EPROTO);
	}
}

static void names(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(forms); i++)
		assert_string_equal(vhu_request_name(forms[i].request), forms[i].name);
	assert_string_equal(vhu_request_name(0), "?");
	assert_string_equal(vhu_request_name(6), "?");
	assert_string_equal(vhu_request_name(UINT32_MAX), "?");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes_of_requests),
		cmocka_unit_test(sizes_of_backend_requests),
		cmocka_unit_test(flags),
		cmocka_unit_test(unknown_requests),
		cmocka_unit_test(names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
