// SPDX-License-Identifier: MIT
// Extensions of requests that create something: groups and security labels, good and bad ones.

#include "unit.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "base/guard.h"
#include "host/fuse_server.h"
#include "wire/fuse_req.h"

#define LABEL	   "security.vfsdax"
#define LABEL_SIZE sizeof(LABEL)

static char dir[64];
static int dir_fd = -1;
static struct fuse_server *server;

/* A request in the making. */
static struct {
	_Alignas(8) char buf[4096];
	size_t len;
} q;

static void put(const void *p, size_t len)
{
	assert_true(q.len + len <= sizeof(q.buf));
	memcpy(q.buf + q.len, p, len);
	q.len += len;
}

static int send_it(uint32_t opcode, size_t ext_len)
{
	char reply[1024];
	struct iovec rd = { q.buf, q.len }, wr = { reply, sizeof(reply) };
	struct fuse_out_header out;

	*(struct fuse_in_header *)(void *)q.buf = (struct fuse_in_header){
		.len = (uint32_t)q.len,
		.opcode = opcode,
		.unique = 1,
		.nodeid = opcode == FUSE_INIT ? 0 : FUSE_ROOT_ID,
		.total_extlen = (uint16_t)(ext_len / 8),
	};
	assert_true(fuse_server_handle(server, &rd, 1, &wr, 1) >= sizeof(out));
	memcpy(&out, reply, sizeof(out));
	return out.error;
}

static void begin(const void *arg, size_t len)
{
	q.len = sizeof(struct fuse_in_header);
	put(arg, len);
}

static void init(uint64_t flags)
{
	struct fuse_init_in in = { .major = 7,
				   .minor = 46,
				   .flags = (uint32_t)flags | FUSE_INIT_EXT,
				   .flags2 = (uint32_t)(flags >> 32) };

	begin(&in, sizeof(in));
	assert_int_equal(send_it(FUSE_INIT, 0), 0);
}

/* The fixed part and names of a request that makes "n". */
static void begin_making(uint32_t opcode)
{
	struct fuse_mknod_in mknod = { .mode = S_IFIFO | 0600 };
	struct fuse_mkdir_in mkdir = { .mode = 0700 };
	struct fuse_create_in create = { .flags = O_RDWR, .mode = 0600 };

	switch (opcode) {
	case FUSE_MKNOD:
		begin(&mknod, sizeof(mknod));
		break;
	case FUSE_MKDIR:
		begin(&mkdir, sizeof(mkdir));
		break;
	case FUSE_SYMLINK:
		begin("", 0);
		break;
	default:
		begin(&create, sizeof(create));
		break;
	}
	put("n", 2);
	if (opcode == FUSE_SYMLINK)
		put("to", 3);
}

/* Put contexts: their number, the name (with its length), the value. Returns the length. */
static size_t put_context(uint32_t number, const char *name, size_t name_len, uint32_t size,
			  const char *value)
{
	size_t from = q.len;
	struct fuse_proto_ext *head = (void *)(q.buf + from);
	struct fuse_proto_secctx sec = { .size = size };
	struct fuse_proto_ext h = { .type = number };

	put(&h, sizeof(h));
	if (number) {
		put(&sec, sizeof(sec));
		put(name, name_len);
		put(value, strlen(value));
	}
	while ((q.len - from) % 8)
		put("", 1);
	h.size = (uint32_t)(q.len - from);
	memcpy(head, &h, sizeof(h));
	return q.len - from;
}

static const uint32_t makers[] = { FUSE_MKNOD, FUSE_MKDIR, FUSE_SYMLINK, FUSE_CREATE };

static ssize_t label_of_n(char *buf, size_t size)
{
	char path[80];

	(void)snprintf(path, sizeof(path), "%s/n", dir);
	return lgetxattr(path, LABEL, buf, size);
}

static void remove_n(void)
{
	if (unlinkat(dir_fd, "n", 0) < 0)
		assert_int_equal(unlinkat(dir_fd, "n", AT_REMOVEDIR), 0);
}

static bool n_is_there(void)
{
	struct stat st;

	return fstatat(dir_fd, "n", &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* Can labels be stored here at all? */
static void need_labels(void)
{
	int fd = openat(dir_fd, "try", O_CREAT | O_RDWR, 0600);

	if (fsetxattr(fd, LABEL, "x", 1, 0) < 0) {
		(void)printf("no " LABEL " here: %s\n", strerror(errno));
		skip();
	}
	close(fd);
}

static void labels_are_stored(void **state)
{
	char buf[64];

	need_labels();
	init(FUSE_SECURITY_CTX);
	/* With the length of extensions in the header, and as before 7.38 without. */
	for (size_t i = 0; i < 2 * sizeof(makers) / sizeof(makers[0]); i++) {
		size_t len;

		begin_making(makers[i / 2]);
		len = put_context(1, LABEL, LABEL_SIZE, 5, "label");
		assert_int_equal(send_it(makers[i / 2], i % 2 ? len : 0), 0);
		assert_int_equal(label_of_n(buf, sizeof(buf)), 5);
		assert_memory_equal(buf, "label", 5);
		remove_n();
	}
}

static void no_label_is_fine(void **state)
{
	init(FUSE_SECURITY_CTX);
	for (size_t i = 0; i < sizeof(makers) / sizeof(makers[0]); i++) {
		size_t len;

		begin_making(makers[i]);
		len = put_context(0, NULL, 0, 0, "");
		assert_int_equal(send_it(makers[i], len), 0);
		assert_true(label_of_n(NULL, 0) < 0);
		remove_n();
	}
	/* Not granted: not looked at. */
	init(0);
	begin_making(FUSE_MKDIR);
	(void)put_context(1, LABEL, LABEL_SIZE, 5, "label");
	assert_int_equal(send_it(FUSE_MKDIR, 0), 0);
	assert_true(label_of_n(NULL, 0) < 0);
	remove_n();
}

/* What cannot be understood or stored makes nothing. */
static void bad_labels_make_nothing(void **state)
{
	static const struct {
		uint32_t number;
		const char *name;
		size_t name_len;
		uint32_t size;
	} bad[] = {
		{ 2, LABEL, LABEL_SIZE, 1 },
		{ 31, LABEL, LABEL_SIZE, 1 },
		{ 1, LABEL, LABEL_SIZE, 1000 },
		{ 1, LABEL, LABEL_SIZE, UINT32_MAX },
		{ 1, "user.x", 7, 1 },
		{ 1, "", 1, 1 },
		{ 1, "security.aaaaaaaaaaaaaaa", 24, 1 }, /* no end */
	};

	init(FUSE_SECURITY_CTX);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		for (size_t k = 0; k < sizeof(makers) / sizeof(makers[0]); k++) {
			size_t len;

			begin_making(makers[k]);
			len = put_context(bad[i].number, bad[i].name, bad[i].name_len, bad[i].size,
					  i == 6 ? "aaaaaaaa" : "v");
			assert_true(send_it(makers[k], len) < 0);
			assert_false(n_is_there());
		}
}

static void group_behind_label(void **state)
{
	struct stat st;

	if (geteuid() != 0)
		skip();
	need_labels();
	init(FUSE_SECURITY_CTX | FUSE_CREATE_SUPP_GROUP);
	assert_int_equal(fchown(dir_fd, 0, 5678), 0);
	assert_int_equal(fchmod(dir_fd, 02775), 0);
	for (size_t i = 0; i < sizeof(makers) / sizeof(makers[0]); i++) {
		struct fuse_proto_ext head = { .size = 16, .type = FUSE_PROTO_EXT_GROUPS };
		const uint32_t groups[2] = { 1, 5678 };
		size_t len;

		begin_making(makers[i]);
		len = put_context(1, LABEL, LABEL_SIZE, 5, "label");
		put(&head, sizeof(head));
		put(groups, sizeof(groups));
		assert_int_equal(send_it(makers[i], len + 16), 0);
		assert_int_equal(label_of_n(NULL, 0), 5);
		assert_int_equal(fstatat(dir_fd, "n", &st, AT_SYMLINK_NOFOLLOW), 0);
		assert_int_equal(st.st_gid, 5678);
		remove_n();
	}
}

/* Any bytes: with sanitizers this finds reads behind the end. */
static void random_extensions(void **state)
{
	struct rng r = { .state = unit_env("VFSDAXFUSE_TEST_SEED", 1) };

	init(FUSE_SECURITY_CTX | FUSE_CREATE_SUPP_GROUP);
	for (int n = 0; n < 3000; n++) {
		uint32_t opcode = makers[rng_below(&r, 4)];
		size_t len;

		begin_making(opcode);
		len = put_context((uint32_t)rng_below(&r, 3), LABEL, rng_below(&r, LABEL_SIZE + 1),
				  (uint32_t)rng_below(&r, 40), "value");
		for (unsigned int i = 0; i < 3; i++)
			q.buf[q.len - 1 - rng_below(&r, len)] = (char)rng_next(&r);
		(void)send_it(opcode, rng_chance(&r, 2) ? len : 8 * rng_below(&r, 20));
		if (n_is_there())
			remove_n();
	}
}

static int setup(void **state)
{
	struct fuse_server_config cfg = {
		.proc_fd = -1, .cache = FUSE_CACHE_AUTO, .xattr = true, .security_label = true
	};

	(void)guard_init();
	strcpy(dir, "/var/tmp/test_host_ext_XXXXXX");
	assert_non_null(mkdtemp(dir));
	dir_fd = open(dir, O_RDONLY | O_DIRECTORY);
	assert_true(dir_fd >= 0);
	cfg.root_fd = dir_fd;
	return fuse_server_new(&cfg, &server);
}

static int teardown(void **state)
{
	fuse_server_free(server);
	server = NULL;
	(void)unlinkat(dir_fd, "try", 0);
	close(dir_fd);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(labels_are_stored, setup, teardown),
		cmocka_unit_test_setup_teardown(no_label_is_fine, setup, teardown),
		cmocka_unit_test_setup_teardown(bad_labels_make_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(group_behind_label, setup, teardown),
		cmocka_unit_test_setup_teardown(random_extensions, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
