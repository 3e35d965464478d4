// SPDX-License-Identifier: MIT
// Inode numbers that the host's FUSE server gives, where other file systems lie below the share.

#include "unit.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "base/num.h"
#include "host_fuse.h"

#define MOUNTS 3

static void path_of(const struct fixture *f, const char *name, char path[static 96])
{
	(void)snprintf(path, 96, "%s/%s", f->dir, name);
}

/* A server whose share has file systems in it: of each the root has the same number. */
static int setup(void **state)
{
	struct fuse_server_config cfg;
	struct fixture *f;
	char path[96];

	if (geteuid() != 0 || host_fuse_setup(state) < 0)
		return -1;
	f = *state;
	for (int i = 0; i < MOUNTS; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "m%d", i);
		path_of(f, name, path);
		assert_int_equal(mkdir(path, 0755), 0);
		assert_int_equal(mount("test", path, "tmpfs", 0, "size=1m,inode64"), 0);
		(void)snprintf(name, sizeof(name), "m%d/f", i);
		put_file(f, name, "x", 1);
	}
	config(f, &cfg);
	restart(f, &cfg); /* a share that is one itself */
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	char path[96];

	fuse_server_reset(f->s, false);
	for (int i = 0; i < MOUNTS; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "m%d", i);
		path_of(f, name, path);
		(void)umount2(path, MNT_DETACH);
	}
	return host_fuse_teardown(state);
}

static uint64_t number(struct fixture *f, uint64_t dir, const char *name, uint64_t *ret_node)
{
	const struct fuse_entry_out *out = (const void *)f->reply;
	struct fuse_getattr_in in = { 0 };
	const struct fuse_attr_out *attr = (const void *)f->reply;
	struct fuse_statx_in sx = { 0 };
	const struct fuse_statx_out *statx = (const void *)f->reply;
	uint64_t ino, node = lookup(f, dir, name, NULL);

	assert_true(node > 1);
	ino = out->attr.ino;
	assert_int_equal(call(f, FUSE_GETATTR, node, &in, sizeof(in)), 0);
	assert_int_equal(attr->attr.ino, ino);
	assert_int_equal(call(f, FUSE_STATX, node, &sx, sizeof(sx)), 0);
	assert_int_equal(statx->stat.ino, ino);
	if (ret_node)
		*ret_node = node;
	return ino;
}

/* What READDIR or READDIRPLUS says of @name in @dir. */
static uint64_t listed(struct fixture *f, uint64_t dir, const char *name, bool plus)
{
	struct fuse_open_in open = { 0 };
	struct fuse_read_in in = { .size = 32768 };
	size_t off = 0, skip = plus ? sizeof(struct fuse_entry_out) : 0;

	assert_int_equal(call(f, FUSE_OPENDIR, dir, &open, sizeof(open)), 0);
	in.fh = ((const struct fuse_open_out *)f->reply)->fh;
	assert_int_equal(call(f, plus ? FUSE_READDIRPLUS : FUSE_READDIR, dir, &in, sizeof(in)), 0);
	while (off < f->reply_len) {
		const struct fuse_dirent *d = (const void *)(f->reply + off + skip);

		if (d->namelen == strlen(name) && !memcmp(d->name, name, d->namelen))
			return d->ino;
		off += skip + align_up(FUSE_NAME_OFFSET + d->namelen, 8);
	}
	fail_msg("%s is not listed", name);
	return 0;
}

static void numbers_are_told_apart(void **state)
{
	struct fixture *f = *state;
	uint64_t ino[MOUNTS], file[MOUNTS], node;
	struct stat st, root;
	char name[16];

	assert_int_equal(fstat(f->fd, &root), 0);
	for (int i = 0; i < MOUNTS; i++) {
		(void)snprintf(name, sizeof(name), "m%d", i);
		assert_int_equal(fstatat(f->fd, name, &st, 0), 0);
		ino[i] = number(f, 1, name, &node);
		file[i] = number(f, node, "f", NULL);
		/* The number as it is, with a mark above; no sign. */
		assert_int_equal(ino[i] & 0xffffffffffff, st.st_ino);
		assert_true(ino[i] >> 48 && ino[i] >> 63 == 0);
		assert_int_equal(file[i] >> 48, ino[i] >> 48);
		for (int j = 0; j < i; j++)
			assert_true(ino[j] >> 48 != ino[i] >> 48);
		for (int plus = 0; plus < 2; plus++) {
			assert_int_equal(listed(f, node, "f", plus), file[i]);
			assert_int_equal(listed(f, node, ".", plus), ino[i]);
		}
		assert_int_equal(listed(f, 1, name, true), ino[i]);
	}
	/* Those of the share stay. */
	put_file(f, "own", "x", 1);
	assert_int_equal(fstatat(f->fd, "own", &st, 0), 0);
	assert_int_equal(number(f, 1, "own", NULL), st.st_ino);
	assert_int_equal(listed(f, 1, "own", false), st.st_ino);
	assert_int_equal(listed(f, 1, "..", false), root.st_ino);
}

static void numbers_last(void **state)
{
	struct fixture *f = *state;
	struct fuse_server_config cfg;
	uint64_t before[MOUNTS];
	char name[16];

	for (int i = 0; i < MOUNTS; i++) {
		(void)snprintf(name, sizeof(name), "m%d", i);
		before[i] = number(f, 1, name, NULL);
	}
	fuse_server_reset(f->s, false);
	assert_int_equal(init(f, ~UINT64_C(0)), 0);
	assert_int_equal(number(f, 1, "m2", NULL), before[2]);
	config(f, &cfg);
	restart(f, &cfg);
	for (int i = MOUNTS; i-- > 0;) {
		(void)snprintf(name, sizeof(name), "m%d", i);
		assert_int_equal(number(f, 1, name, NULL), before[i]);
	}
}

static void links_have_one_number(void **state)
{
	struct fixture *f = *state;
	uint64_t node;

	assert_int_equal(linkat(f->fd, "m1/f", f->fd, "m1/g", 0), 0);
	(void)number(f, 1, "m1", &node);
	assert_int_equal(number(f, node, "f", NULL), number(f, node, "g", NULL));
}

/* A guest that sees each file system as one needs no mark. */
static void submounts_keep_their_numbers(void **state)
{
	struct fixture *f = *state;
	struct fuse_server_config cfg;
	struct stat st;

	config(f, &cfg);
	cfg.submounts = true;
	restart(f, &cfg);
	assert_int_equal(fstatat(f->fd, "m0", &st, 0), 0);
	assert_int_equal(number(f, 1, "m0", NULL), st.st_ino);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	static const struct CMUnitTest tests[] = {
		T(numbers_are_told_apart),
		T(numbers_last),
		T(links_have_one_number),
		T(submounts_keep_their_numbers),
	};

	if (geteuid() != 0 || unshare(CLONE_NEWNS) != 0)
		return 77; /* meson: skipped */
	(void)mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
