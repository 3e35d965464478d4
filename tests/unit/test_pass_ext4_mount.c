// SPDX-License-Identifier: MIT
// The ext4 over a composed device, mounted by this machine's kernel over a loop device.

#include "pass_ext4_image.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "base/num.h"

/* Slots are written while the file system is mounted, each before its first lookup. */
static void test_generation(void **state)
{
	enum { SLOTS = 100, FILE_BLOCKS = 50 };
	struct rng rng = { unit_seed() };
	struct image_file files[SLOTS];
	uint32_t order[SLOTS];
	struct ext4_layout l;
	struct image im;

	if (!image_can_mount("ext4"))
		skip();
	/* For each slot a copy of the last block, and a block for its tree. */
	ext4_image_make(&im, &l, SLOTS, 2 * SLOTS, SLOTS * FILE_BLOCKS);
	for (uint32_t i = 0; i < SLOTS; i++)
		image_file_init(&files[i], &im, &rng, DBLK(l.data.v + i * FILE_BLOCKS), FILE_BLOCKS,
				DBLK(l.spare.v + i));
	random_order(&rng, order, SLOTS);
	image_mount(&im, "ext4", "inode_readahead_blks=0");
	for (uint32_t i = 0; i < SLOTS; i++) {
		const struct image_file *f = &files[order[i]];

		ext4_image_put(&im, &l, order[i], &f->attr, f->e, f->n,
			       DBLK(l.spare.v + SLOTS + order[i]));
		image_expect_file(&im, order[i], f);
	}
	image_umount(&im);
	for (uint32_t i = 0; i < SLOTS; i++)
		free(files[i].e);
	image_close(&im);
}

/* Owner, mode and times. */
static void test_attributes(void **state)
{
	const struct {
		struct pass_time is, shown;
	} times[] = {
		{ { 0, 0 }, { 0, 0 } },
		{ { 1, 999999999 }, { 1, 999999999 } },
		{ { -1, 5 }, { -1, 5 } },
		{ { INT32_MAX, 1 }, { INT32_MAX, 1 } },
		{ { INT64_C(1) + INT32_MAX, 2 }, { INT64_C(1) + INT32_MAX, 2 } },
		{ { INT64_C(9876543210), 3 }, { INT64_C(9876543210), 3 } },
		{ { INT32_MIN, 4 }, { INT32_MIN, 4 } },
		{ { INT64_C(-1) + INT32_MIN, 6 }, { INT32_MIN, 0 } },
		{ { INT64_C(15032385535), 7 }, { INT64_C(15032385535), 7 } },
		{ { INT64_C(15032385536), 8 }, { INT64_C(15032385535), 0 } },
		{ { INT64_MAX, 8 }, { INT64_C(15032385535), 0 } },
		{ { INT64_MIN, 8 }, { INT32_MIN, 0 } },
	};
	const uint32_t modes[] = { 0, 0600, 0777, 04755, 02755, 07777 };
	struct ext4_layout l;
	struct image im;

	if (!image_can_mount("ext4"))
		skip();
	ext4_image_make(&im, &l, ARRAY_SIZE(times), 0, 1);
	for (uint32_t i = 0; i < ARRAY_SIZE(times); i++) {
		struct pass_attr a = { .mode = S_IFREG | modes[i % ARRAY_SIZE(modes)],
				       .uid = 0xfffffffe - i,
				       .gid = 65535 + i,
				       .atime = times[i].is,
				       .mtime = times[i].is,
				       .ctime = times[i].is };

		ext4_image_put(&im, &l, i, &a, NULL, 0, DBLK(0));
	}
	image_mount(&im, "ext4", "ro");
	for (uint32_t i = 0; i < ARRAY_SIZE(times); i++) {
		char name[PASS_NAME_LEN + 1], path[160];
		const struct pass_time *t = &times[i].shown;
		struct stat st;

		pass_slot_name(i, name);
		(void)snprintf(path, sizeof(path), "%s/%s", im.files, name);
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_mode, S_IFREG | modes[i % ARRAY_SIZE(modes)]);
		assert_int_equal(st.st_uid, 0xfffffffe - i);
		assert_int_equal(st.st_gid, 65535 + i);
		assert_int_equal(st.st_nlink, 1);
		assert_int_equal(st.st_ino, 11 + i);
		assert_int_equal(st.st_atim.tv_sec, t->sec);
		assert_int_equal(st.st_mtim.tv_sec, t->sec);
		assert_int_equal(st.st_ctim.tv_sec, t->sec);
		assert_int_equal(st.st_atim.tv_nsec, t->nsec);
		assert_int_equal(st.st_mtim.tv_nsec, t->nsec);
		assert_int_equal(st.st_ctim.tv_nsec, t->nsec);
	}
	image_umount(&im);
	image_close(&im);
}

/* The kernel writes into the blocks that it was given, and finds no others. */
static void test_writes(void **state)
{
	struct rng rng = { unit_seed() };
	uint32_t blocks = 60, size = 60 * PASS_BLOCK + 1234;
	uint8_t buf[PASS_BLOCK], got[PASS_BLOCK];
	struct pass_attr a = image_attr(size);
	struct pass_extent *e;
	struct ext4_layout l;
	struct image im;
	struct stat st;
	char path[160];
	size_t n, page = 0;
	int fd;

	if (!image_can_mount("ext4"))
		skip();
	ext4_image_make(&im, &l, 1, 2, blocks);
	e = random_pieces(&rng, l.data, blocks, 3, &DBLK(l.spare.v + 1), &n);
	assert_int_equal(ext4_tree_blocks(e, n), 1);
	ext4_image_put(&im, &l, 0, &a, e, n, l.spare);
	image_fill(&im, e, n);
	image_mount(&im, "ext4", "inode_readahead_blks=0");
	(void)snprintf(path, sizeof(path), "%s/f00000", im.files);
	image_expect(im.files, "f00000", e, n, size);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	/* Each page of the file gets its own number, the last partial one, too. */
	for (uint32_t i = 0; i <= blocks; i++) {
		uint32_t len = MIN(PASS_BLOCK, size - i * PASS_BLOCK);

		memset(buf, (int)i + 1, sizeof(buf));
		assert_int_equal(pwrite(fd, buf, len, (off_t)i * PASS_BLOCK), len);
	}
	assert_int_equal(fsync(fd), 0);
	/* Behind the last block there is no room. */
	assert_int_equal(pwrite(fd, buf, 1, (off_t)(blocks + 1) * PASS_BLOCK), -1);
	assert_int_equal(errno, ENOSPC);
	assert_int_equal(pwrite(fd, buf, 1, 0x7fffffff), -1);
	assert_int_equal(errno, ENOSPC);
	assert_int_equal(fallocate(fd, 0, (off_t)(blocks + 1) * PASS_BLOCK, PASS_BLOCK), -1);
	assert_int_equal(errno, ENOSPC);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, size);
	/* Inside the last block there is: the file becomes longer. */
	memset(buf, (int)blocks + 1, sizeof(buf));
	assert_int_equal(pwrite(fd, buf, 2000, size), 2000);
	size += 2000;
	assert_int_equal(pwrite(fd, buf, PASS_BLOCK, size), PASS_BLOCK - 3234);
	size = (blocks + 1) * PASS_BLOCK;
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, size);
	(void)close(fd);
	image_umount(&im);
	for (size_t i = 0; i < n; i++)
		for (uint32_t k = 0; k < e[i].count; k++, page++) {
			uint32_t len = MIN(PASS_BLOCK, size - (uint32_t)page * PASS_BLOCK);

			image_get(&im, DBLK(e[i].block.v + k), got, 1);
			memset(buf, (int)page + 1, sizeof(buf));
			assert_memory_equal(got, buf, len);
		}
	if (image_has_tool("e2fsck"))
		ext4_image_clean(&im);
	free(e);
	image_close(&im);
}

/* Blocks behind the end are there for a file that grows; the kernel needs no others. */
static void test_growth(void **state)
{
	struct pass_attr a = image_attr(3 * PASS_BLOCK);
	uint8_t buf[PASS_BLOCK], got[PASS_BLOCK];
	struct ext4_layout l;
	struct pass_extent e;
	struct image im;
	char path[160];
	int fd;

	if (!image_can_mount("ext4"))
		skip();
	ext4_image_make(&im, &l, 1, 0, 16);
	e = (struct pass_extent){ FBLK(0), l.data, 16 };
	ext4_image_put(&im, &l, 0, &a, &e, 1, DBLK(0));
	image_fill(&im, &e, 1);
	/* e2fsck knows no initialised extents behind the end: the size is all it complains of. */
	if (image_has_tool("e2fsck")) {
		char *output;

		assert_int_equal(ext4_image_fsck(&im, &output), 4);
		assert_non_null(strstr(output, "i_size is 12288, should be 65536"));
		assert_null(strstr(output, "bitmap"));
		free(output);
	}
	image_mount(&im, "ext4", "inode_readahead_blks=0");
	image_expect(im.files, "f00000", &e, 1, 3 * PASS_BLOCK);
	(void)snprintf(path, sizeof(path), "%s/f00000", im.files);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	/* What the device has there becomes the file's: nothing is zeroed, nothing allocated. */
	assert_int_equal(ftruncate(fd, 8 * PASS_BLOCK), 0);
	image_expect(im.files, "f00000", &e, 1, 8 * PASS_BLOCK);
	memset(buf, 7, sizeof(buf));
	assert_int_equal(pwrite(fd, buf, PASS_BLOCK, 15 * PASS_BLOCK), PASS_BLOCK);
	assert_int_equal(fsync(fd), 0);
	assert_int_equal(pwrite(fd, buf, 1, 16 * PASS_BLOCK), -1);
	assert_int_equal(errno, ENOSPC);
	(void)close(fd);
	image_umount(&im);
	image_get(&im, DBLK(l.data.v + 15), got, 1);
	assert_memory_equal(got, buf, PASS_BLOCK);
	if (image_has_tool("e2fsck"))
		ext4_image_clean(&im);
	image_close(&im);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_generation, image_teardown),
		cmocka_unit_test_teardown(test_attributes, image_teardown),
		cmocka_unit_test_teardown(test_writes, image_teardown),
		cmocka_unit_test_teardown(test_growth, image_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
