// SPDX-License-Identifier: MIT
// Inodes of the host's FUSE server that have no descriptor, but a file handle.

#include "unit.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "base/num.h"
#include "host_fuse.h"

#define OTHERS 70 /* more than what is closed at a time */

static struct fuse_server_stats stats(struct fixture *f)
{
	struct fuse_server_stats st;

	fuse_server_stats(f->s, &st);
	return st;
}

/* A server that keeps one descriptor that it need not keep. */
static int setup(void **state)
{
	struct fuse_server_config cfg;
	struct fixture *f;

	if (host_fuse_setup(state) < 0)
		return -1;
	f = *state;
	config(f, &cfg);
	cfg.file_handles = FUSE_FILE_HANDLES_PREFER;
	cfg.max_idle = 1;
	restart(f, &cfg);
	for (int i = 0; i < OTHERS; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "other%d", i);
		put_file(f, name, "x", 1);
	}
	return 0;
}

/* Other inodes are looked up and forgotten, so that all that may be closed is. */
static void cool(struct fixture *f)
{
	uint64_t node[OTHERS];

	for (int i = 0; i < OTHERS; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "other%d", i);
		node[i] = lookup(f, 1, name, NULL);
		assert_true(node[i] > 1);
	}
	for (int i = 0; i < OTHERS; i++)
		forget(f, node[i], 1);
}

/* Where file handles need a privilege that we do not have there is nothing to test. */
static void need_handles(struct fixture *f)
{
	uint64_t before, node;

	put_file(f, "probe", "x", 1);
	node = lookup(f, 1, "probe", NULL);
	before = stats(f).open_nodes;
	cool(f);
	if (stats(f).open_nodes == before)
		skip();
	forget(f, node, 1);
	assert_int_equal(unlinkat(f->fd, "probe", 0), 0);
}

static int getattr(struct fixture *f, uint64_t node)
{
	struct fuse_getattr_in in = { 0 };

	return call(f, FUSE_GETATTR, node, &in, sizeof(in));
}

static const struct fuse_attr *attr(struct fixture *f)
{
	return &((const struct fuse_attr_out *)(const void *)f->reply)->attr;
}

static uint64_t made_cold(struct fixture *f, const char *name)
{
	uint64_t node;

	put_file(f, name, "data", 4);
	node = lookup(f, 1, name, NULL);
	assert_true(node > 1);
	cool(f);
	assert_int_equal(stats(f).open_nodes, 1); /* the root */
	return node;
}

static void cold_inodes_are_opened_again(void **state)
{
	struct fixture *f = *state;
	uint64_t node[OTHERS], fh, before;
	char name[16];
	struct stat st;

	need_handles(f);
	before = stats(f).reopened;
	for (int i = 0; i < OTHERS; i++) {
		(void)snprintf(name, sizeof(name), "f%d", i);
		put_file(f, name, name, strlen(name));
		node[i] = lookup(f, 1, name, NULL);
	}
	assert_int_equal(nodes(f), OTHERS + 1);
	assert_true(stats(f).open_nodes < OTHERS);
	for (int i = 0; i < OTHERS; i++) {
		(void)snprintf(name, sizeof(name), "f%d", i);
		assert_int_equal(getattr(f, node[i]), 0);
		assert_int_equal(fstatat(f->fd, name, &st, 0), 0);
		assert_int_equal(attr(f)->ino, st.st_ino);
		assert_int_equal(lookup(f, 1, name, NULL), node[i]);
		assert_int_equal(open_file(f, node[i], O_RDWR, &fh), 0);
	}
	assert_true(stats(f).reopened > before);
	/* Open files are used: none of them is closed. */
	cool(f);
	assert_int_equal(stats(f).open_nodes, OTHERS + 1);
}

static void another_name_is_the_same_inode(void **state)
{
	struct fixture *f = *state;
	uint64_t a;

	need_handles(f);
	a = made_cold(f, "a");
	assert_int_equal(linkat(f->fd, "a", f->fd, "b", 0), 0);
	assert_int_equal(lookup(f, 1, "b", NULL), a);
	cool(f);
	assert_int_equal(lookup(f, 1, "a", NULL), a);
	assert_int_equal(nodes(f), 2);
}

static void other_types_are_opened_again(void **state)
{
	struct fixture *f = *state;
	uint64_t link, dir, fifo;

	need_handles(f);
	assert_int_equal(symlinkat("where", f->fd, "link"), 0);
	assert_int_equal(mkdirat(f->fd, "dir", 0755), 0);
	assert_int_equal(mknodat(f->fd, "fifo", S_IFIFO | 0600, 0), 0);
	put_file(f, "dir/file", "x", 1);
	link = lookup(f, 1, "link", NULL);
	dir = lookup(f, 1, "dir", NULL);
	fifo = lookup(f, 1, "fifo", NULL);
	cool(f);
	assert_int_equal(stats(f).nodes, 4);
	assert_true(stats(f).open_nodes < 4);
	assert_int_equal(call(f, FUSE_READLINK, link, NULL, 0), 0);
	assert_int_equal(f->reply_len, 5);
	assert_memory_equal(f->reply, "where", 5);
	assert_true(lookup(f, dir, "file", NULL) > 1);
	assert_int_equal(getattr(f, fifo), 0);
	assert_true(S_ISFIFO(attr(f)->mode));
}

/* What the guest removes it may go on using, however long ago it was used. */
static void removed_by_the_guest_they_stay(void **state)
{
	struct fixture *f = *state;
	struct fuse_rename_in ren = { .newdir = 1 };
	uint64_t node[4];

	need_handles(f);
	assert_int_equal(mkdirat(f->fd, "dir", 0755), 0);
	node[0] = lookup(f, 1, "dir", NULL);
	node[1] = made_cold(f, "file");
	node[2] = made_cold(f, "target");
	node[3] = made_cold(f, "warm");
	assert_int_equal(getattr(f, node[3]), 0);
	put_file(f, "source", "x", 1);
	assert_int_equal(call_names(f, FUSE_RMDIR, 1, NULL, 0, "dir", NULL), 0);
	assert_int_equal(call_names(f, FUSE_UNLINK, 1, NULL, 0, "file", NULL), 0);
	assert_int_equal(call_names(f, FUSE_RENAME, 1, &ren, sizeof(ren), "source", "target"), 0);
	assert_int_equal(call_names(f, FUSE_UNLINK, 1, NULL, 0, "warm", NULL), 0);
	assert_int_equal(call_names(f, FUSE_UNLINK, 1, NULL, 0, "none", NULL), -ENOENT);
	cool(f);
	for (size_t i = 0; i < ARRAY_SIZE(node); i++) {
		assert_int_equal(getattr(f, node[i]), 0);
		assert_int_equal(attr(f)->nlink, 0);
		forget(f, node[i], 1);
	}
	cool(f);
	assert_true(stats(f).nodes == 1 && stats(f).open_nodes == 1);
}

/* One of two names is no reason to keep it for ever. */
static void removed_names_are_not_removed_inodes(void **state)
{
	struct fixture *f = *state;
	uint64_t node;

	need_handles(f);
	put_file(f, "a", "x", 1);
	assert_int_equal(linkat(f->fd, "a", f->fd, "b", 0), 0);
	node = lookup(f, 1, "a", NULL);
	cool(f);
	assert_int_equal(call_names(f, FUSE_UNLINK, 1, NULL, 0, "a", NULL), 0);
	assert_int_equal(stats(f).open_nodes, 2);
	cool(f);
	assert_int_equal(stats(f).open_nodes, 1);
	assert_int_equal(getattr(f, node), 0);
	assert_int_equal(attr(f)->nlink, 1);
}

static void removed_on_the_host_they_are_stale(void **state)
{
	struct fixture *f = *state;
	uint64_t cold, used, fh;

	need_handles(f);
	cold = made_cold(f, "cold");
	used = made_cold(f, "used");
	assert_int_equal(open_file(f, used, O_RDONLY, &fh), 0);
	cool(f);
	assert_int_equal(unlinkat(f->fd, "cold", 0), 0);
	assert_int_equal(unlinkat(f->fd, "used", 0), 0);
	assert_int_equal(getattr(f, cold), -ESTALE);
	assert_int_equal(open_file(f, cold, O_RDONLY, &fh), -ESTALE);
	assert_int_equal(getattr(f, used), 0);
	forget(f, cold, 1);
	assert_int_equal(nodes(f), 2);
}

/* A file system gives the number of an inode that is gone to a new one. */
static void a_number_used_again_is_another_inode(void **state)
{
	struct fixture *f = *state;
	uint64_t old, new;
	struct stat st;
	ino_t ino;

	need_handles(f);
	old = made_cold(f, "old");
	assert_int_equal(fstatat(f->fd, "old", &st, 0), 0);
	ino = st.st_ino;
	assert_int_equal(unlinkat(f->fd, "old", 0), 0);
	for (int i = 0; i < 1000; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "new%d", i);
		put_file(f, name, "x", 1);
		assert_int_equal(fstatat(f->fd, name, &st, 0), 0);
		if (st.st_ino != ino)
			continue;
		new = lookup(f, 1, name, NULL);
		assert_true(new > 1 && new != old);
		assert_int_equal(getattr(f, old), -ESTALE);
		assert_int_equal(getattr(f, new), 0);
		cool(f);
		assert_int_equal(lookup(f, 1, name, NULL), new);
		return;
	}
	skip(); /* not this one (tmpfs counts up) */
}

static void full_of_descriptors_it_closes_some(void **state)
{
	struct fixture *f = *state;
	struct fuse_server_config cfg;
	uint64_t fh, node[4];
	int error;

	need_handles(f);
	config(f, &cfg);
	cfg.file_handles = FUSE_FILE_HANDLES_PREFER;
	cfg.max_idle = 1000;
	cfg.max_open = 4; /* the root is one */
	restart(f, &cfg);
	for (size_t i = 0; i < ARRAY_SIZE(node); i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "other%zu", i);
		node[i] = lookup(f, 1, name, &error);
		assert_int_equal(error, 0);
		assert_true(stats(f).open_nodes <= cfg.max_open);
	}
	/* Those that are open cannot be closed. */
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(open_file(f, node[i], O_RDONLY, &fh), 0);
	assert_int_equal(lookup(f, 1, "other9", &error), 0);
	assert_int_equal(error, -ENFILE);
}

/* In the test's own mount namespace: who may open by handle may have one. */
static void mount_in(struct fixture *f, const char *type, char path[static 96])
{
	(void)snprintf(path, 96, "%s/mount", f->dir);
	assert_int_equal(mkdir(path, 0755), 0);
	assert_int_equal(mount("test", path, type, 0, NULL), 0);
}

static void each_mount_has_its_handles(void **state)
{
	struct fixture *f = *state;
	uint64_t dir, file;
	char path[96];

	need_handles(f);
	mount_in(f, "tmpfs", path);
	put_file(f, "mount/file", "data", 4);
	dir = lookup(f, 1, "mount", NULL);
	file = lookup(f, dir, "file", NULL);
	assert_true(file > 1);
	cool(f);
	assert_int_equal(stats(f).open_nodes, 1);
	assert_int_equal(umount2(path, 0), -1);
	assert_int_equal(errno, EBUSY);
	assert_int_equal(getattr(f, file), 0);
	assert_int_equal(attr(f)->size, 4);
	forget(f, file, 1);
	forget(f, dir, 1);
	assert_int_equal(umount2(path, 0), 0);
}

static void where_there_are_none_descriptors_are_kept(void **state)
{
	struct fixture *f = *state;
	struct fuse_server_config cfg;
	struct fuse_server *s;
	uint64_t dir, file;
	char path[96];
	int error;

	need_handles(f);
	mount_in(f, "ramfs", path);
	put_file(f, "mount/file", "data", 4);
	dir = lookup(f, 1, "mount", NULL);
	file = lookup(f, dir, "file", NULL);
	assert_true(file > 1);
	cool(f);
	assert_int_equal(stats(f).open_nodes, 3);
	assert_int_equal(unlinkat(f->fd, "mount/file", 0), 0);
	assert_int_equal(getattr(f, file), 0);
	/* When handles are a must they are no part of it. */
	config(f, &cfg);
	cfg.file_handles = FUSE_FILE_HANDLES_MANDATORY;
	restart(f, &cfg);
	assert_int_equal(lookup(f, 1, "mount", &error), 0);
	assert_int_equal(error, -EOPNOTSUPP);
	assert_true(lookup(f, 1, "other0", NULL) > 1);
	cfg.root_fd = open(path, O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(fuse_server_new(&cfg, &s), -EOPNOTSUPP);
	close(cfg.root_fd);
	assert_int_equal(umount2(path, 0), 0);
}

/* A server that keeps descriptors for a second, and more than there are inodes here. */
static void restart_aging(struct fixture *f, enum fuse_file_handles how)
{
	struct fuse_server_config cfg;

	config(f, &cfg);
	cfg.file_handles = how;
	cfg.max_idle = 1000;
	cfg.idle_seconds = 1;
	restart(f, &cfg);
}

/* Wait until so many are open. */
static void until_open(struct fixture *f, uint64_t n)
{
	for (int i = 0; i < 100 && stats(f).open_nodes != n; i++)
		(void)usleep(100000);
	assert_int_equal(stats(f).open_nodes, n);
}

static void old_ones_are_closed(void **state)
{
	struct fixture *f = *state;
	uint64_t live, used, gone, fh;
	int error;

	need_handles(f);
	restart_aging(f, FUSE_FILE_HANDLES_PREFER);
	put_file(f, "live", "data", 4);
	put_file(f, "used", "data", 4);
	put_file(f, "gone", "data", 4);
	live = lookup(f, 1, "live", NULL);
	used = lookup(f, 1, "used", NULL);
	gone = lookup(f, 1, "gone", NULL);
	assert_int_equal(open_file(f, used, O_RDONLY, &fh), 0);
	assert_int_equal(stats(f).open_nodes, 4);
	assert_int_equal(unlinkat(f->fd, "used", 0), 0);
	assert_int_equal(unlinkat(f->fd, "gone", 0), 0);
	until_open(f, 2);
	assert_int_equal(getattr(f, used), 0);
	assert_int_equal(attr(f)->nlink, 0);
	assert_int_equal(getattr(f, live), 0);
	assert_int_equal(getattr(f, gone), -ESTALE);
	assert_int_equal(open_file(f, gone, O_RDONLY, &fh), -ESTALE);
	/* The name is merely not there, and another file's afterwards. */
	assert_int_equal(lookup(f, 1, "gone", &error), 0);
	assert_int_equal(error, -ENOENT);
	put_file(f, "gone", "x", 1);
	assert_true(lookup(f, 1, "gone", NULL) != gone);
	forget(f, gone, 1);
	until_open(f, 2);
}

/* What the guest has removed stays, however long it is not used. */
static void nameless_ones_are_not(void **state)
{
	struct fixture *f = *state;
	struct fuse_create_in tmp = { .flags = O_RDWR, .mode = 0600 };
	struct fuse_rename_in ren = { .newdir = 1 };
	struct fuse_release_in rel = { 0 };
	const struct fuse_entry_out *entry = (const void *)f->reply;
	uint64_t node[4];

	need_handles(f);
	restart_aging(f, FUSE_FILE_HANDLES_PREFER);
	put_file(f, "file", "data", 4);
	put_file(f, "from", "data", 4);
	put_file(f, "to", "data", 4);
	assert_int_equal(mkdirat(f->fd, "dir", 0755), 0);
	node[0] = lookup(f, 1, "file", NULL);
	node[1] = lookup(f, 1, "to", NULL);
	node[2] = lookup(f, 1, "dir", NULL);
	assert_int_equal(call_names(f, FUSE_UNLINK, 1, NULL, 0, "file", NULL), 0);
	assert_int_equal(call_names(f, FUSE_RENAME, 1, &ren, sizeof(ren), "from", "to"), 0);
	assert_int_equal(call_names(f, FUSE_RMDIR, 1, NULL, 0, "dir", NULL), 0);
	assert_int_equal(call_names(f, FUSE_TMPFILE, 1, &tmp, sizeof(tmp), "#1", NULL), 0);
	node[3] = entry->nodeid;
	rel.fh = ((const struct fuse_open_out *)(const void *)(f->reply + sizeof(*entry)))->fh;
	assert_int_equal(call(f, FUSE_RELEASE, node[3], &rel, sizeof(rel)), 0);
	(void)lookup(f, 1, "other0", NULL);
	until_open(f, 5); /* the root and these, "other0" no more */
	for (size_t i = 0; i < ARRAY_SIZE(node); i++) {
		assert_int_equal(getattr(f, node[i]), 0);
		assert_int_equal(attr(f)->nlink, 0);
		forget(f, node[i], 1);
	}
	assert_int_equal(stats(f).open_nodes, 1);
}

/* Where descriptors are all there is, those of what is gone on this machine are closed. */
static void without_handles_what_is_gone_is_closed(void **state)
{
	struct fixture *f = *state;
	uint64_t live, gone, dir, own;

	restart_aging(f, FUSE_FILE_HANDLES_NEVER);
	put_file(f, "live", "data", 4);
	put_file(f, "gone", "data", 4);
	put_file(f, "own", "data", 4);
	assert_int_equal(mkdirat(f->fd, "dir", 0755), 0);
	live = lookup(f, 1, "live", NULL);
	gone = lookup(f, 1, "gone", NULL);
	own = lookup(f, 1, "own", NULL);
	dir = lookup(f, 1, "dir", NULL);
	assert_int_equal(unlinkat(f->fd, "gone", 0), 0);
	assert_int_equal(unlinkat(f->fd, "dir", AT_REMOVEDIR), 0);
	assert_int_equal(call_names(f, FUSE_UNLINK, 1, NULL, 0, "own", NULL), 0);
	until_open(f, 3);
	assert_int_equal(getattr(f, live), 0);
	assert_int_equal(getattr(f, own), 0);
	assert_int_equal(getattr(f, gone), -ESTALE);
	assert_int_equal(getattr(f, dir), -ESTALE);
	/* What is there is looked at again and again. */
	assert_int_equal(unlinkat(f->fd, "live", 0), 0);
	until_open(f, 2);
	assert_int_equal(getattr(f, live), -ESTALE);
}

/* What is gone on this machine takes no descriptors beyond the limit. */
static void what_is_gone_is_within_the_limit(void **state)
{
	struct fixture *f = *state;
	struct fuse_server_config cfg;
	char name[16];

	need_handles(f);
	config(f, &cfg);
	cfg.file_handles = FUSE_FILE_HANDLES_PREFER;
	cfg.max_idle = 50;
	restart(f, &cfg);
	for (int i = 0; i < 400; i++) {
		(void)snprintf(name, sizeof(name), "d%d", i);
		assert_int_equal(mkdirat(f->fd, name, 0755), 0);
		assert_true(lookup(f, 1, name, NULL) > 1);
		assert_int_equal(unlinkat(f->fd, name, AT_REMOVEDIR), 0);
		assert_true(stats(f).open_nodes <= 52);
	}
}

#define PAIRS 400

struct remover {
	struct fuse_server *s;
	pthread_barrier_t *barrier;
	const uint64_t *nodes;
	char name; /* "a0", "a1", ...: one of two names of each file */
	unsigned int wrong;
};

static int name_call(struct remover *r, uint32_t op, const char *name, char reply[static 1024])
{
	return call_unlocked(r->s, op, 1, name, strlen(name) + 1, reply, 1024);
}

/* Remove one name of each file, and have other inodes in use meanwhile. */
static void *remove_names(void *arg)
{
	struct remover *r = arg;
	struct fuse_getattr_in in = { 0 };

	for (int i = 0; i < PAIRS; i++) {
		_Alignas(8) char reply[1024];
		const struct fuse_attr_out *out = (const void *)reply;
		char name[16];

		(void)pthread_barrier_wait(r->barrier);
		for (int j = 0; j < 4; j++) {
			(void)snprintf(name, sizeof(name), "other%d", (i * 4 + j) % OTHERS);
			r->wrong += name_call(r, FUSE_LOOKUP, name, reply) != 0;
		}
		(void)snprintf(name, sizeof(name), "%c%d", r->name, i);
		r->wrong += name_call(r, FUSE_UNLINK, name, reply) != 0;
		(void)pthread_barrier_wait(r->barrier);
		r->wrong += call_unlocked(r->s, FUSE_GETATTR, r->nodes[i], &in, sizeof(in), reply,
					  sizeof(reply)) != 0 ||
			    out->attr.nlink != 0;
	}
	return NULL;
}

static void both_names_are_removed_at_a_time(void **state)
{
	struct fixture *f = *state;
	struct remover r[2] = { { .name = 'a' }, { .name = 'b' } };
	pthread_barrier_t barrier;
	uint64_t node[PAIRS];
	pthread_t t[2];

	need_handles(f);
	for (int i = 0; i < PAIRS; i++) {
		char a[16], b[16];

		(void)snprintf(a, sizeof(a), "a%d", i);
		(void)snprintf(b, sizeof(b), "b%d", i);
		put_file(f, a, "x", 1);
		assert_int_equal(linkat(f->fd, a, f->fd, b, 0), 0);
		node[i] = lookup(f, 1, a, NULL);
		assert_true(node[i] > 1);
	}
	cool(f);
	assert_int_equal(stats(f).open_nodes, 1);
	(void)pthread_barrier_init(&barrier, NULL, 2);
	for (unsigned int i = 0; i < 2; i++) {
		r[i].s = f->s;
		r[i].barrier = &barrier;
		r[i].nodes = node;
		assert_int_equal(pthread_create(&t[i], NULL, remove_names, &r[i]), 0);
	}
	for (unsigned int i = 0; i < 2; i++)
		(void)pthread_join(t[i], NULL);
	(void)pthread_barrier_destroy(&barrier);
	assert_int_equal(r[0].wrong + r[1].wrong, 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, host_fuse_teardown)
	static const struct CMUnitTest tests[] = {
		T(cold_inodes_are_opened_again),
		T(another_name_is_the_same_inode),
		T(other_types_are_opened_again),
		T(removed_by_the_guest_they_stay),
		T(removed_names_are_not_removed_inodes),
		T(removed_on_the_host_they_are_stale),
		T(a_number_used_again_is_another_inode),
		T(full_of_descriptors_it_closes_some),
		T(each_mount_has_its_handles),
		T(where_there_are_none_descriptors_are_kept),
		T(old_ones_are_closed),
		T(nameless_ones_are_not),
		T(without_handles_what_is_gone_is_closed),
		T(what_is_gone_is_within_the_limit),
		T(both_names_are_removed_at_a_time),
	};

	if (unshare(CLONE_NEWNS) == 0)
		(void)mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
