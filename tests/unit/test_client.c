// SPDX-License-Identifier: MIT
// What a client takes for a reply, from a device that the test plays.

#include "unit.h"

#include "fake_virtio.h"
#include "fs/client.h"

static struct {
	struct fake_virtio f;
	struct fs_dev dev;
	struct virtq q;
	struct client *client;
	pthread_t thread;
	uint32_t used;		  /* what the device says that it wrote */
	struct fuse_out_header h; /* and what it writes; unique is the request's */
} T;

/* Answers one request. */
static void *device_main(void *arg)
{
	struct fuse_out_header h = T.h;
	struct fake_chain c;

	while (!fake_take(&T.f, &c))
		(void)usleep(100);
	must(c.n_in >= 1 && c.in[0].len >= sizeof(h));
	if (T.used) {
		h.unique = ((const struct fuse_in_header *)(const void *)c.out[0].p)->unique;
		memcpy(c.in[0].p, &h, sizeof(h));
	}
	fake_put(&T.f, c.head, T.used);
	fake_publish(&T.f);
	virtq_reap(&T.q); /* what the interrupt thread does */
	return arg;
}

static int start(void **state)
{
	memset(&T, 0, sizeof(T));
	fake_init(&T.f, 0, false);
	T.dev.t = &T.f.t;
	T.dev.arena = T.f.arena;
	T.dev.request = &T.q;
	T.dev.num_request = 1;
	assert_int_equal(virtq_init(&T.q, &T.f.t, T.f.arena, 1, 64, 0), 0);
	assert_int_equal(client_create(&T.dev, &T.client), 0);
	return 0;
}

static int end(void **state)
{
	client_destroy(T.client);
	virtq_fini(&T.q);
	fake_fini(&T.f);
	return 0;
}

static void device_answers(uint32_t used, uint32_t len, int32_t error)
{
	T.used = used;
	T.h = (struct fuse_out_header){ .len = len, .error = error };
	assert_int_equal(pthread_create(&T.thread, NULL, device_main, NULL), 0);
}

static void device_done(void)
{
	assert_int_equal(pthread_join(T.thread, NULL), 0);
}

static void destroy_without_a_reply(void **state)
{
	/* An error stands in the slot that is used again: it must not be taken for the answer. */
	for (int i = 0; i < 64; i++) {
		device_answers(16, 16, -EBUSY);
		assert_int_equal(client_destroy_session(T.client), -EBUSY);
		device_done();
		device_answers(0, 0, 0);
		assert_int_equal(client_destroy_session(T.client), 0);
		device_done();
	}
	assert_int_equal(fs_dev_broken(&T.dev), 0);
}

static void nothing_else_without_a_reply(void **state)
{
	device_answers(0, 0, 0);
	assert_int_equal(client_touch(T.client, FUSE_ROOT_ID, NULL), -EIO);
	device_done();
	assert_int_equal(fs_dev_broken(&T.dev), -EIO);
}

static void destroy_with_half_a_reply(void **state)
{
	device_answers(8, 16, 0);
	assert_int_equal(client_destroy_session(T.client), -EIO);
	device_done();
	assert_int_equal(fs_dev_broken(&T.dev), -EIO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(destroy_without_a_reply, start, end),
		cmocka_unit_test_setup_teardown(nothing_else_without_a_reply, start, end),
		cmocka_unit_test_setup_teardown(destroy_with_half_a_reply, start, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
