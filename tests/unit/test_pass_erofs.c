// SPDX-License-Identifier: MIT
// The EROFS over a composed device, as fsck.erofs and the kernel see it.

#include "pass_image.h"

#include <sys/stat.h>

#include "base/num.h"
#include "pass/erofs.h"

static const uint8_t uuid[16] = "0123456789abcdef";

/* An image of empty slots. */
static void make_fs(struct image *im, struct erofs_layout *l, const struct erofs_shape *shape)
{
	uint8_t *buf;
	size_t len;

	assert_int_equal(erofs_layout_init(l, shape), 0);
	image_open(im, l->blocks);
	len = (size_t)erofs_fs_blocks(l) * PASS_BLOCK;
	buf = malloc(len);
	assert_non_null(buf);
	assert_int_equal(erofs_write_fs(l, uuid, time(NULL), buf, len), 0);
	image_put(im, DBLK(0), buf, erofs_fs_blocks(l));
	free(buf);
}

static void put_slot(const struct image *im, const struct erofs_layout *l, uint32_t slot,
		     const struct pass_attr *attr, const struct pass_extent *e, size_t n)
{
	uint32_t blocks = erofs_slot_blocks(e, n);
	uint8_t *buf = malloc((size_t)blocks * PASS_BLOCK);

	assert_non_null(buf);
	assert_int_equal(erofs_write_slot(l, slot, attr, e, n, buf, (size_t)blocks * PASS_BLOCK),
			 blocks);
	image_put(im, erofs_slot(l, slot), buf, blocks);
	free(buf);
}

/* fsck.erofs finds nothing wrong and takes all files out to im->out. */
static void extract(const struct image *im)
{
	char *output;

	if (image_run(&output, "rm -rf '%s' && fsck.erofs --extract='%s' '%s'", im->out, im->out,
		      im->path))
		fail_msg("fsck.erofs: %s", output);
	free(output);
}

static void test_bad_shapes(void **state)
{
	const struct erofs_shape bad[] = { { 0, 1, 0, 1 },
					   { PASS_SLOTS_MAX + 1, 1, 0, 1 },
					   { 1, 0, 0, 1 } };
	const struct erofs_shape big[] = { { 1, 1, 0, UINT32_MAX },
					   { PASS_SLOTS_MAX, UINT32_MAX, 0, 0 },
					   { 1, 1, UINT32_MAX, UINT32_MAX } };
	struct erofs_layout l, untouched;

	memset(&l, 0x5a, sizeof(l));
	untouched = l;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(erofs_layout_init(&l, &bad[i]), -EINVAL);
	for (size_t i = 0; i < ARRAY_SIZE(big); i++)
		assert_int_equal(erofs_layout_init(&l, &big[i]), -EFBIG);
	assert_memory_equal(&l, &untouched, sizeof(l));
}

static void test_bad_files(void **state)
{
	const struct erofs_shape shape = { 2, 1, 10, 2000 };
	struct pass_attr a = image_attr(8192), dir = a;
	uint8_t slot[2 * PASS_BLOCK], marks[2 * PASS_BLOCK];
	static struct pass_extent many[EROFS_CHUNKS_FIRST + 1];
	struct erofs_layout l;

	assert_int_equal(erofs_layout_init(&l, &shape), 0);
	memset(marks, 0x5a, sizeof(marks));
	memset(slot, 0x5a, sizeof(slot));
	dir.mode = S_IFDIR | 0755;
#define TRY(i, attr, len, ...)                                                                     \
	erofs_write_slot(&l, i, &(attr), (const struct pass_extent[]){ __VA_ARGS__ }, 1, slot, len)
	assert_int_equal(TRY(2, a, 4096, { FBLK(0), l.data, 2 }), -EINVAL);
	assert_int_equal(TRY(0, dir, 4096, { FBLK(0), l.data, 2 }), -EINVAL);
	assert_int_equal(TRY(0, a, 4096, { FBLK(1), l.data, 2 }), -EINVAL);
	assert_int_equal(TRY(0, a, 4096, { FBLK(0), l.data, 1 }), -EINVAL);
	/* Behind the end of the file, in our metadata, behind the device's end. */
	assert_int_equal(TRY(0, a, 4096, { FBLK(0), l.data, 3 }), -EINVAL);
	assert_int_equal(TRY(0, a, 4096, { FBLK(0), DBLK(l.spare.v - 1), 2 }), -EINVAL);
	assert_int_equal(TRY(0, a, 4096, { FBLK(0), DBLK(l.blocks - 1), 2 }), -EINVAL);
	assert_int_equal(TRY(0, a, 4095, { FBLK(0), l.data, 2 }), -ENOBUFS);
#undef TRY
	for (uint32_t i = 0; i < ARRAY_SIZE(many); i++)
		many[i] = (struct pass_extent){ FBLK(i), DBLK(l.data.v + 2 * i), 1 };
	a = image_attr(ARRAY_SIZE(many) * PASS_BLOCK);
	assert_int_equal(erofs_write_slot(&l, 0, &a, many, ARRAY_SIZE(many), slot, 8192), -ENOSPC);
	assert_memory_equal(slot, marks, sizeof(slot));
	a.size -= PASS_BLOCK;
	assert_int_equal(erofs_write_slot(&l, 0, &a, many, ARRAY_SIZE(many) - 1, slot, 4096), 1);
	assert_memory_equal(slot + PASS_BLOCK, marks, PASS_BLOCK);
}

static int write_fs(const void *layout, void *buf, size_t len)
{
	return erofs_write_fs(layout, uuid, 0, buf, len);
}

static void test_buffer(void **state)
{
	struct erofs_layout l;

	assert_int_equal(erofs_layout_init(&l, &(struct erofs_shape){ 2, 1, 10, 100 }), 0);
	image_check_buffer(write_fs, &l, (size_t)erofs_fs_blocks(&l) * PASS_BLOCK);
}

/* Chunks are as large as the places allow where the device's blocks jump. */
static void test_chunk_sizes(void **state)
{
	const struct {
		uint32_t n, count[4]; /* pieces that do not follow each other on the device */
		uint32_t slot_blocks;
	} files[] = {
		{ 1, { 1 }, 1 },
		{ 1, { 3000000000 }, 1 },	   /* one chunk would be larger than 2^31: two */
		{ 2, { 512 * 512, 1 }, 1 },	   /* 1 GiB and its last block elsewhere */
		{ 2, { 512 * 512 + 1, 1 }, 513 },  /* the same, a page longer: chunks of a page */
		{ 3, { 512 * 503, 512, 1 }, 2 },   /* 504 chunks of 2 MiB and one for a block */
		{ 3, { 512 * 500, 512, 512 }, 1 }, /* 502 chunks */
		{ 3, { 512 * 1014, 512 * 1, 100 }, 2 }, /* 1016 = 504 + 512 chunks */
		{ 4, { 512, 512 * 1013, 512, 100 }, 2 },
		{ 4, { 512, 512 * 1013, 512 * 1, 513 }, 3 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		struct pass_extent e[4];
		uint32_t at = 0;

		for (uint32_t k = 0; k < files[i].n; k++) {
			e[k] = (struct pass_extent){ FBLK(at), DBLK(10000 + at + 2 * k),
						     files[i].count[k] };
			at += files[i].count[k];
		}
		if (erofs_slot_blocks(e, files[i].n) != files[i].slot_blocks)
			fail_msg("%zu: %u blocks", i, erofs_slot_blocks(e, files[i].n));
	}
}

/* The directory at the borders of its blocks, and slots that nobody has written. */
static void test_empty(void **state)
{
	const uint32_t slots[] = { 1, 2, 225, 226, 227, 452, 453, 454, 3000, PASS_SLOTS_MAX };

	if (!image_has_tool("fsck.erofs"))
		skip();
	for (size_t i = 0; i < ARRAY_SIZE(slots); i++) {
		const struct erofs_shape shape = { slots[i], 1, 0, 1 };
		char name[PASS_NAME_LEN + 1];
		struct erofs_layout l;
		struct image im;
		char *output;

		make_fs(&im, &l, &shape);
		extract(&im);
		assert_int_equal(image_run(&output, "ls '%s' | wc -l", im.out), 0);
		assert_int_equal(atoi(output), slots[i]);
		free(output);
		for (uint32_t k = 0; k < slots[i]; k += 1 + slots[i] / 500) {
			pass_slot_name(k, name);
			image_expect(im.files, name, NULL, 0, 0);
		}
		image_close(&im);
	}
}

/* One file system for each file: random sizes and pieces, the last block a spare one. */
static void test_random_files(void **state)
{
	struct rng rng = { unit_seed() };
	time_t end = time(NULL) + (time_t)unit_seconds(5);
	unsigned int rounds = 0;

	if (!image_has_tool("fsck.erofs"))
		skip();
	do {
		/* Pieces of single blocks, or of powers of two, so that chunks are large, too. */
		unsigned int shift = (unsigned int)rng_below(&rng, 8);
		uint32_t units = (uint32_t)rng_below(&rng, 3000 >> shift), blocks = units << shift;
		uint32_t most = 1 + (uint32_t)rng_below(&rng, 40);
		uint32_t rest = rng_chance(&rng, 3) ? 0 : (uint32_t)rng_below(&rng, PASS_BLOCK);
		struct erofs_shape shape = { 1, 1, 1, blocks };
		struct pass_attr a = image_attr((uint64_t)blocks * PASS_BLOCK + rest);
		struct erofs_layout l;
		struct pass_extent *e;
		struct image im;
		size_t n;

		e = random_pieces(&rng, DBLK(0), units, most, rest ? &DBLK(0) : NULL, &n);
		/* The worst case of this file: chunks of one block. */
		shape.slot_blocks = 2 + (blocks + 1) / EROFS_CHUNKS_MORE;
		make_fs(&im, &l, &shape);
		for (size_t i = 0; i < n; i++) {
			bool tail = rest && i == n - 1;

			e[i].at.v <<= shift;
			e[i].block.v = tail ? l.spare.v : l.data.v + (e[i].block.v << shift);
			e[i].count = tail ? 1 : e[i].count << shift;
		}
		put_slot(&im, &l, 0, &a, e, n);
		image_fill(&im, e, n);
		extract(&im);
		image_expect(im.files, "f00000", e, n, a.size);
		free(e);
		image_close(&im);
		rounds++;
	} while (time(NULL) < end);
	(void)printf("%u files\n", rounds);
}

/* Each size from 1 to 8193 bytes: one file system of 8193 slots. */
#define TAILS 8193u
static void tails_extents(const struct erofs_layout *l, uint32_t slot, struct pass_extent e[2],
			  size_t *ret_n)
{
	uint32_t size = slot + 1, whole = size / PASS_BLOCK;

	*ret_n = 0;
	if (whole)
		e[(*ret_n)++] = (struct pass_extent){ FBLK(0), DBLK(l->data.v + slot), whole };
	if (size % PASS_BLOCK)
		e[(*ret_n)++] = (struct pass_extent){ FBLK(whole), DBLK(l->spare.v + slot), 1 };
}

static void tails_expect(const struct image *im, const struct erofs_layout *l)
{
	for (uint32_t i = 0; i < TAILS; i++) {
		char name[PASS_NAME_LEN + 1];
		struct pass_extent e[2];
		size_t n;

		pass_slot_name(i, name);
		tails_extents(l, i, e, &n);
		image_expect(im->files, name, e, n, i + 1);
	}
}

static void test_tails(void **state)
{
	const struct erofs_shape shape = { TAILS, 1, TAILS, TAILS + 1 };
	bool tool = image_has_tool("fsck.erofs"), mounts = image_can_mount("erofs");
	struct erofs_layout l;
	struct image im;

	if (!tool && !mounts)
		skip();
	make_fs(&im, &l, &shape);
	for (uint32_t i = 0; i < TAILS; i++) {
		struct pass_attr a = image_attr(i + 1);
		struct pass_extent e[2];
		size_t n;

		tails_extents(&l, i, e, &n);
		put_slot(&im, &l, i, &a, e, n);
		image_fill(&im, e, n);
	}
	if (mounts) {
		image_mount(&im, "erofs", "ro");
		tails_expect(&im, &l);
		image_umount(&im);
	}
	if (tool) {
		extract(&im);
		tails_expect(&im, &l);
	}
	image_close(&im);
}

/* Of image_attr(). */
static void expect_attributes(const struct image *im, uint32_t slot)
{
	char name[PASS_NAME_LEN + 1], path[160];
	const struct pass_attr want = image_attr(0);
	struct stat st;

	pass_slot_name(slot, name);
	(void)snprintf(path, sizeof(path), "%s/%s", im->files, name);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode, want.mode);
	assert_int_equal(st.st_uid, want.uid);
	assert_int_equal(st.st_gid, want.gid);
	assert_int_equal(st.st_nlink, 1);
	assert_int_equal(st.st_mtim.tv_sec, want.mtime.sec);
	assert_int_equal(st.st_mtim.tv_nsec, want.mtime.nsec);
}

/* Slots are written while the file system is mounted, each before its first lookup. */
static void test_generation(void **state)
{
	enum { SLOTS = 300, FILE_BLOCKS = 1100, LIST_BLOCKS = 3 };
	const struct erofs_shape shape = { SLOTS, LIST_BLOCKS, SLOTS, FILE_BLOCKS };
	struct rng rng = { unit_seed() };
	static struct image_file files[SLOTS];
	uint32_t order[SLOTS];
	struct erofs_layout l;
	struct image im;

	if (!image_can_mount("erofs"))
		skip();
	make_fs(&im, &l, &shape);
	/* Files may share blocks: nobody writes them. */
	for (uint32_t i = 0; i < SLOTS; i++)
		image_file_init(&files[i], &im, &rng, l.data,
				(uint32_t)rng_below(&rng, i % 50 ? 30 : FILE_BLOCKS),
				DBLK(l.spare.v + i));
	random_order(&rng, order, SLOTS);
	image_mount(&im, "erofs", "ro");
	for (uint32_t i = 0; i < SLOTS; i++) {
		const struct image_file *f = &files[order[i]];

		put_slot(&im, &l, order[i], &f->attr, f->e, f->n);
		image_expect_file(&im, order[i], f);
		expect_attributes(&im, order[i]);
	}
	image_umount(&im);
	/* All are read again from the beginning. */
	image_mount(&im, "erofs", "ro");
	for (uint32_t i = 0; i < SLOTS; i++)
		image_expect_file(&im, i, &files[i]);
	image_umount(&im);
	if (image_has_tool("fsck.erofs")) {
		extract(&im);
		for (uint32_t i = 0; i < SLOTS; i++)
			image_expect_file(&im, i, &files[i]);
	}
	for (uint32_t i = 0; i < SLOTS; i++)
		free(files[i].e);
	image_close(&im);
}

/* fsck.erofs looks: what is wrong is found. */
static void test_wrong_bits_are_found(void **state)
{
	const struct erofs_shape shape = { 3, 1, 0, 20 };
	struct pass_attr a = image_attr(20 * PASS_BLOCK);
	struct erofs_layout l;
	struct image im;

	if (!image_has_tool("fsck.erofs"))
		skip();
	make_fs(&im, &l, &shape);
	put_slot(&im, &l, 1, &a, &(struct pass_extent){ FBLK(0), l.data, 20 }, 1);
	extract(&im);

	const struct {
		struct dblk block;
		uint32_t byte;
		uint8_t bits;
	} wrong[] = {
		{ DBLK(0), 1024, 1 },	      /* magic */
		{ erofs_slot(&l, 1), 0, 2 },  /* kind and layout of the inode */
		{ erofs_slot(&l, 1), 70, 1 }, /* where its chunk is: behind the device's end */
		{ l.root, 2 * 12 + 1, 0x70 }, /* where the inode of a name is: behind the end */
	};
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		char *output;

		image_flip(&im, wrong[i].block, wrong[i].byte, wrong[i].bits);
		if (!image_run(&output, "rm -rf '%s' && fsck.erofs --extract='%s' '%s'", im.out,
			       im.out, im.path))
			fail_msg("%zu: fsck.erofs: %s", i, output);
		free(output);
		image_flip(&im, wrong[i].block, wrong[i].byte, wrong[i].bits);
	}
	extract(&im);
	image_close(&im);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_bad_shapes, image_teardown),
		cmocka_unit_test_teardown(test_bad_files, image_teardown),
		cmocka_unit_test_teardown(test_buffer, image_teardown),
		cmocka_unit_test_teardown(test_chunk_sizes, image_teardown),
		cmocka_unit_test_teardown(test_wrong_bits_are_found, image_teardown),
		cmocka_unit_test_teardown(test_empty, image_teardown),
		cmocka_unit_test_teardown(test_random_files, image_teardown),
		cmocka_unit_test_teardown(test_tails, image_teardown),
		cmocka_unit_test_teardown(test_generation, image_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
