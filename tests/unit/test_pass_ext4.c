// SPDX-License-Identifier: MIT
// The ext4 over a composed device, as e2fsck, debugfs and (sizes) the kernel see it.

#include "pass_ext4_image.h"

#include <sys/stat.h>

#include "base/num.h"

/* What debugfs says of a slot's extents is what we asked for. */
static void expect_extents(const struct image *im, uint32_t slot, const struct pass_extent *e,
			   size_t n)
{
	struct pass_runs runs = { .extents = e, .n = n, .max = 32768 };
	struct pass_extent run;
	char *output, *save = NULL;

	assert_int_equal(image_run(&output, "debugfs -R 'ex <%u>' '%s'", 11 + slot, im->path), 0);
	for (char *line = strtok_r(output, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		unsigned int level, depth, from, to, block, end, count;
		char flags[16] = "";

		/* " 1/ 1   2/340     7 -     9  4711 -  4713      3 Uninit" */
		if (sscanf(line, "%u/%u %*u/%*u %u - %u %u - %u %u %15s", &level, &depth, &from,
			   &to, &block, &end, &count, flags) < 7 ||
		    level != depth)
			continue;
		assert_true(pass_run_next(&runs, &run));
		assert_int_equal(from, run.at.v);
		assert_int_equal(block, run.block.v);
		assert_int_equal(count, run.count);
		assert_string_equal(flags, "");
	}
	assert_false(pass_run_next(&runs, &run));
	free(output);
}

static void test_bad_shapes(void **state)
{
	const struct ext4_shape bad[] = { { 0, 0, 1 }, { PASS_SLOTS_MAX + 1, 0, 1 } };
	const struct ext4_shape big[] = { { 1, 0, UINT32_MAX },
					  { 1, UINT32_MAX, UINT32_MAX },
					  { 1, 0, UINT32_MAX - 1000 } };
	struct ext4_layout l, untouched;

	memset(&l, 0x5a, sizeof(l));
	untouched = l;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(ext4_layout_init(&l, &bad[i]), -EINVAL);
	for (size_t i = 0; i < ARRAY_SIZE(big); i++)
		assert_int_equal(ext4_layout_init(&l, &big[i]), -EFBIG);
	assert_memory_equal(&l, &untouched, sizeof(l));
}

static void test_bad_files(void **state)
{
	struct ext4_shape shape = { 2, 10, 100 };
	uint8_t inode[PASS_BLOCK], tree[PASS_BLOCK], marks[PASS_BLOCK];
	struct pass_extent many[5];
	struct ext4_layout l;

	assert_int_equal(ext4_layout_init(&l, &shape), 0);
	memset(marks, 0x5a, sizeof(marks));
	memset(inode, 0x5a, sizeof(inode));
	memset(tree, 0x5a, sizeof(tree));
	for (uint32_t i = 0; i < 5; i++)
		many[i] = (struct pass_extent){ FBLK(i), DBLK(l.data.v + 10 * i), 1 };

#define TRY(slot, attr, n, at, len, ...)                                                           \
	ext4_write_slot(&l, slot, &(attr), (const struct pass_extent[]){ __VA_ARGS__ }, n, inode,  \
			at, tree, len)
	struct pass_attr a = image_attr(8192), dir = a, odd = a, late = a,
			 huge = image_attr(UINT64_MAX);

	dir.mode = S_IFDIR | 0755;
	odd.mode |= 1u << 20;
	late.mtime.nsec = 1000000000;
	assert_int_equal(TRY(2, a, 1, DBLK(0), 0, { FBLK(0), l.data, 2 }), -EINVAL);
	assert_int_equal(TRY(0, dir, 1, DBLK(0), 0, { FBLK(0), l.data, 2 }), -EINVAL);
	assert_int_equal(TRY(0, odd, 1, DBLK(0), 0, { FBLK(0), l.data, 2 }), -EINVAL);
	assert_int_equal(TRY(0, late, 1, DBLK(0), 0, { FBLK(0), l.data, 2 }), -EINVAL);
	assert_int_equal(TRY(0, huge, 1, DBLK(0), 0, { FBLK(0), l.data, 2 }), -EFBIG);
	/* Too few blocks, a gap, an empty piece. */
	assert_int_equal(TRY(0, a, 1, DBLK(0), 0, { FBLK(0), l.data, 1 }), -EINVAL);
	assert_int_equal(TRY(0, a, 1, DBLK(0), 0, { FBLK(1), l.data, 2 }), -EINVAL);
	assert_int_equal(TRY(0, a, 2, DBLK(0), 0, { FBLK(0), l.data, 1 }, { FBLK(2), l.data, 1 }),
			 -EINVAL);
	assert_int_equal(TRY(0, a, 2, DBLK(0), 0, { FBLK(0), l.data, 0 }, { FBLK(0), l.data, 2 }),
			 -EINVAL);
	/* In our metadata, and behind the device's end. */
	assert_int_equal(TRY(0, a, 1, DBLK(0), 0, { FBLK(0), DBLK(l.spare.v - 1), 2 }), -EINVAL);
	assert_int_equal(TRY(0, a, 1, DBLK(0), 0, { FBLK(0), DBLK(l.blocks - 1), 2 }), -EINVAL);
	assert_int_equal(TRY(0, a, 1, DBLK(0), 0, { FBLK(0), DBLK(UINT32_MAX), UINT32_MAX }),
			 -EINVAL);
	/* A tree that has no room, or stands in our metadata or behind the end. */
	a = image_attr(5 * PASS_BLOCK);
	assert_int_equal(ext4_tree_blocks(many, 5), 1);
	assert_int_equal(ext4_write_slot(&l, 0, &a, many, 5, inode, l.spare, tree, 4095), -ENOBUFS);
	assert_int_equal(ext4_write_slot(&l, 0, &a, many, 5, inode, DBLK(l.spare.v - 1), tree,
					 4096),
			 -EINVAL);
	assert_int_equal(ext4_write_slot(&l, 0, &a, many, 5, inode, DBLK(l.blocks), tree, 4096),
			 -EINVAL);
#undef TRY
	assert_memory_equal(inode, marks, PASS_BLOCK);
	assert_memory_equal(tree, marks, PASS_BLOCK);
	assert_int_equal(ext4_write_slot(&l, 0, &a, many, 5, inode, l.spare, tree, 4096), 1);
}

static int write_fs(const void *layout, void *buf, size_t len)
{
	return ext4_write_fs(layout, (const uint8_t[16]){ 1 }, 0, buf, len);
}

static void test_buffer(void **state)
{
	struct ext4_layout l;

	assert_int_equal(ext4_layout_init(&l, &(struct ext4_shape){ 2, 10, 100 }), 0);
	image_check_buffer(write_fs, &l, (size_t)ext4_fs_blocks(&l) * PASS_BLOCK);
}

/* 340 extents in a leaf, 340 leaves in a node, 4 nodes in the inode, and then no more. */
static void test_tree_limits(void **state)
{
	const uint32_t max = EXT4_EXTENTS_MAX;
	struct pass_extent *e = calloc(max + 1, sizeof(*e));
	struct pass_extent *long_one = calloc(1, sizeof(*e));

	assert_non_null(e);
	assert_non_null(long_one);
	for (uint32_t i = 0; i <= max; i++)
		e[i] = (struct pass_extent){ FBLK(i), DBLK(100000 + 2 * i), 1 };
	assert_int_equal(ext4_tree_blocks(e, 0), 0);
	assert_int_equal(ext4_tree_blocks(e, 4), 0);
	assert_int_equal(ext4_tree_blocks(e, 5), 1);
	assert_int_equal(ext4_tree_blocks(e, 340), 1);
	assert_int_equal(ext4_tree_blocks(e, 341), 2);
	assert_int_equal(ext4_tree_blocks(e, 1360), 4);
	assert_int_equal(ext4_tree_blocks(e, 1361), 6);
	assert_int_equal(ext4_tree_blocks(e, max), EXT4_TREE_BLOCKS_MAX);
	assert_int_equal(ext4_tree_blocks(e, max + 1), -EFBIG);
	/* Neighbours become one, long ones are split. */
	for (uint32_t i = 0; i <= max; i++)
		e[i].block.v = 100000 + i;
	assert_int_equal(ext4_tree_blocks(e, 4 * 32768), 0);
	assert_int_equal(ext4_tree_blocks(e, 4 * 32768 + 1), 1);
	*long_one = (struct pass_extent){ FBLK(0), DBLK(1), 340 * 32768 };
	assert_int_equal(ext4_tree_blocks(long_one, 1), 1);
	free(e);
	free(long_one);
}

/* Without the feature huge_file an inode counts blocks up to 2 TiB; here 16 TiB less a block. */
static void test_too_many_blocks(void **state)
{
	const struct ext4_shape shape = { 1, 400, 1u << 30 };
	struct pass_attr a = image_attr(UINT64_C(0xfffffffe) * PASS_BLOCK);
	uint8_t inode[PASS_BLOCK], *tree = malloc(400 * PASS_BLOCK);
	struct pass_extent e[4];
	struct ext4_layout l;

	assert_non_null(tree);
	assert_int_equal(ext4_layout_init(&l, &shape), 0);
	for (uint32_t i = 0; i < 4; i++)
		e[i] = (struct pass_extent){ FBLK(i << 30), l.data, (1u << 30) - (i == 3 ? 2 : 0) };
	assert_int_equal(ext4_tree_blocks(e, 4), 388);
	assert_int_equal(ext4_write_slot(&l, 0, &a, e, 4, inode, l.spare, tree, 400 * PASS_BLOCK),
			 -EFBIG);
	/* One block more than it counts, and just as many. */
	e[0].count = (1u << 29) - 50;
	a.size = (uint64_t)e[0].count * PASS_BLOCK;
	assert_int_equal(ext4_tree_blocks(e, 1), 50);
	assert_int_equal(ext4_write_slot(&l, 0, &a, e, 1, inode, l.spare, tree, 400 * PASS_BLOCK),
			 -EFBIG);
	e[0].count--;
	a.size = (uint64_t)e[0].count * PASS_BLOCK;
	assert_int_equal(ext4_write_slot(&l, 0, &a, e, 1, inode, l.spare, tree, 400 * PASS_BLOCK),
			 50);
	free(tree);
}

/* The largest trees that there are, all blocks of the file in reverse order. */
static void test_large_trees(void **state)
{
	/* One node, two, all four full, and one extent too many. */
	const uint32_t runs[] = { 115600, 115601, EXT4_EXTENTS_MAX, EXT4_EXTENTS_MAX + 1 };
	const int trees[] = { 341, 343, EXT4_TREE_BLOCKS_MAX, -EFBIG };
	struct pass_extent *e = calloc(EXT4_EXTENTS_MAX + 1, sizeof(*e));

	assert_non_null(e);
	if (!image_has_tool("e2fsck") || !image_has_tool("debugfs"))
		skip();
	for (size_t i = 0; i < ARRAY_SIZE(runs); i++) {
		struct pass_attr a = image_attr((uint64_t)runs[i] * PASS_BLOCK - 1);
		struct ext4_layout l;
		struct image im;

		ext4_image_make(&im, &l, 1, trees[i] > 0 ? (uint32_t)trees[i] : 0, runs[i]);
		for (uint32_t k = 0; k < runs[i]; k++)
			e[k] = (struct pass_extent){ FBLK(k), DBLK(l.blocks - 1 - k), 1 };
		assert_int_equal(ext4_tree_blocks(e, runs[i]), trees[i]);
		if (trees[i] > 0) {
			ext4_image_put(&im, &l, 0, &a, e, runs[i], l.spare);
			ext4_image_clean(&im);
			expect_extents(&im, 0, e, runs[i]);
		} else {
			uint8_t inode[PASS_BLOCK];

			assert_int_equal(ext4_write_slot(&l, 0, &a, e, runs[i], inode, l.spare,
							 NULL, SIZE_MAX),
					 -EFBIG);
		}
		image_close(&im);
	}
	free(e);
}

/* Devices of many sizes around the borders of groups: one slot has all that is not ours. */
static void test_shapes(void **state)
{
	/* Whole images of 2 GiB and more are sparse; 17 million blocks are a window of 64 GiB. */
	const uint32_t data[] = { 1,	 100,	32740, 32741, 32742, 32743,  32744,   32768,
				  65400, 65450, 65500, 65536, 70000, 600000, 17000000 };
	const uint32_t slots[] = { 1, 6, 7, 300, 4103 };
	struct ext4_layout l;
	struct image im;

	if (!image_has_tool("e2fsck"))
		skip();
	for (size_t s = 0; s < ARRAY_SIZE(slots); s++)
		for (size_t i = 0; i < ARRAY_SIZE(data); i++) {
			struct pass_extent all;
			struct pass_attr a;

			ext4_image_make(&im, &l, slots[s], 2, data[i]);
			/* The tree stands in the first spare blocks. */
			all = (struct pass_extent){ FBLK(0), l.spare, l.blocks - l.spare.v };
			all.block.v += (uint32_t)ext4_tree_blocks(&all, 1);
			all.count = l.blocks - all.block.v;
			a = image_attr((uint64_t)all.count * PASS_BLOCK);
			ext4_image_put(&im, &l, slots[s] - 1, &a, &all, 1, l.spare);
			ext4_image_clean(&im);
			image_close(&im);
		}
}

/* Each number of blocks near the border of a group gives a device that is just full. */
static void test_layout_is_exact(void **state)
{
	struct ext4_layout l;

	for (uint32_t slots = 1; slots < PASS_SLOTS_MAX; slots = slots * 3 + 1)
		for (uint32_t groups = 1; groups < 300; groups = groups * 2 + 1)
			for (uint32_t less = 0; less < 32768; less += 61) {
				struct ext4_shape shape = { slots, 3, groups * 32768 - less };

				assert_int_equal(ext4_layout_init(&l, &shape), 0);
				assert_int_equal(l.groups, (l.blocks + 32767) / 32768);
				assert_true(l.groups * l.inodes_per_group >= 10 + slots);
				assert_int_equal(l.inodes_per_group % 8, 0);
				assert_int_equal(l.data.v + shape.data_blocks, l.blocks);
			}
}

/* One file system for each file: random sizes and pieces, the last block a spare one. */
static void test_random_files(void **state)
{
	struct rng rng = { unit_seed() };
	time_t end = time(NULL) + (time_t)unit_seconds(5);
	unsigned int rounds = 0;

	if (!image_has_tool("e2fsck") || !image_has_tool("debugfs"))
		skip();
	do {
		/* The first one has a tree of depth 2 for certain. */
		uint32_t blocks =
			!rounds ? 3000 : (uint32_t)rng_below(&rng, rounds % 4 ? 300 : 3500);
		uint32_t most = !rounds ? 1 : 1 + (uint32_t)rng_below(&rng, rounds % 4 ? 40 : 3);
		uint32_t rest = rng_chance(&rng, 3) ? 0 : (uint32_t)rng_below(&rng, PASS_BLOCK);
		struct pass_attr a = image_attr((uint64_t)blocks * PASS_BLOCK + rest);
		struct rng again = rng;
		struct pass_extent *e;
		struct ext4_layout l;
		struct dblk tail = { 1 };
		struct image im;
		size_t n;
		int tree;

		/* The size of the tree does not depend on where all the pieces lie. */
		e = random_pieces(&again, DBLK(1000), blocks, most, rest ? &tail : NULL, &n);
		tree = ext4_tree_blocks(e, n);
		assert_true(tree >= 0);
		free(e);

		ext4_image_make(&im, &l, 1, (uint32_t)tree + !!rest, blocks);
		tail = DBLK(l.spare.v + (uint32_t)tree);
		e = random_pieces(&rng, l.data, blocks, most, rest ? &tail : NULL, &n);
		assert_int_equal(ext4_tree_blocks(e, n), tree);
		ext4_image_put(&im, &l, 0, &a, e, n, l.spare);
		image_fill(&im, e, n);
		ext4_image_clean(&im);
		expect_extents(&im, 0, e, n);
		assert_int_equal(image_run(NULL, "debugfs -R 'dump /f00000 %s/f00000' '%s'", im.out,
					   im.path),
				 0);
		image_expect(im.files, "f00000", e, n, a.size);
		free(e);
		image_close(&im);
		rounds++;
	} while (time(NULL) < end);
	(void)printf("%u files\n", rounds);
}

/* Each size from 1 to 8193 bytes: one file system of 8193 slots. */
#define TAILS 8193u
static void tails_extents(const struct ext4_layout *l, uint32_t slot, struct pass_extent e[2],
			  size_t *ret_n)
{
	uint32_t size = slot + 1, whole = size / PASS_BLOCK;
	/* Whole pages: one for sizes from 4096 to 8191, two for the last two files. */
	uint32_t first = size < 4096 ? 0 : MIN(size - 4096, 4096u) + (size == 8193 ? 2 : 0);

	*ret_n = 0;
	if (whole)
		e[(*ret_n)++] = (struct pass_extent){ FBLK(0), DBLK(l->data.v + first), whole };
	if (size % PASS_BLOCK)
		e[(*ret_n)++] = (struct pass_extent){ FBLK(whole), DBLK(l->spare.v + slot), 1 };
}

static void test_tails(void **state)
{
	struct pass_extent e[2];
	struct ext4_layout l;
	struct image im;
	char name[PASS_NAME_LEN + 1];
	size_t n;

	if (!image_has_tool("e2fsck") || !image_has_tool("debugfs"))
		skip();
	/* One slot more takes the spare blocks of the two sizes that need none. */
	ext4_image_make(&im, &l, TAILS + 1, TAILS, 4096 + 2 * 2);
	for (uint32_t i = 0; i < TAILS; i++) {
		struct pass_attr a = image_attr(i + 1);

		tails_extents(&l, i, e, &n);
		ext4_image_put(&im, &l, i, &a, e, n, DBLK(0));
		image_fill(&im, e, n);
	}
	e[0] = (struct pass_extent){ FBLK(0), DBLK(l.spare.v + 4095), 1 };
	e[1] = (struct pass_extent){ FBLK(1), DBLK(l.spare.v + 8191), 1 };
	ext4_image_put(&im, &l, TAILS, &(struct pass_attr){ .size = 8192, .mode = S_IFREG }, e, 2,
		       DBLK(0));
	ext4_image_clean(&im);
	assert_int_equal(image_run(NULL, "debugfs -R 'rdump / %s' '%s'", im.out, im.path), 0);
	for (uint32_t i = 0; i < TAILS; i++) {
		pass_slot_name(i, name);
		tails_extents(&l, i, e, &n);
		image_expect(im.files, name, e, n, i + 1);
	}
	if (image_can_mount("ext4")) {
		image_mount(&im, "ext4", "ro,inode_readahead_blks=0");
		for (uint32_t i = 0; i < TAILS; i++) {
			pass_slot_name(i, name);
			tails_extents(&l, i, e, &n);
			image_expect(im.files, name, e, n, i + 1);
		}
		image_umount(&im);
	}
	image_close(&im);
}

/* A generation: slots are written in random order, and e2fsck finds no fault at any moment. */
#define GEN_SLOTS 40u
#define GEN_FILE  50u
#define GEN_OWN	  6u
struct generation {
	struct ext4_layout l;
	struct image im;
	struct image_file file[GEN_SLOTS];
};

/*
 * Slot i has blocks [data + i * GEN_FILE ...) in random order, a spare block for its tail, one for
 * its tree. One slot more, the last, has what the others do not use yet and GEN_OWN blocks at the
 * device's end, so that e2fsck finds an owner for each block.
 */
static void generation_init(struct generation *g, struct rng *rng)
{
	ext4_image_make(&g->im, &g->l, GEN_SLOTS + 1, 2 * GEN_SLOTS + 1,
			GEN_SLOTS * GEN_FILE + GEN_OWN);
	for (uint32_t i = 0; i < GEN_SLOTS; i++)
		image_file_init(&g->file[i], &g->im, rng, DBLK(g->l.data.v + i * GEN_FILE),
				GEN_FILE, DBLK(g->l.spare.v + 2 * i));
}

static struct dblk generation_tree(const struct generation *g, uint32_t slot)
{
	return DBLK(g->l.spare.v + 2 * slot + (slot < GEN_SLOTS));
}

/* The last slot gets all blocks of slots that are still empty, and those of trees that need none. */
static void generation_rest(const struct generation *g, const bool *written)
{
	static struct pass_extent rest[GEN_OWN + 3 * GEN_SLOTS];
	uint32_t at = 0;
	struct pass_attr a;
	size_t n = 0;

	/* Blocks of its own, backwards, so that it always needs a tree. */
	for (uint32_t i = 1; i <= GEN_OWN; i++)
		rest[n++] = (struct pass_extent){ .block = { g->l.blocks - i }, .count = 1 };
	for (uint32_t i = 0; i < GEN_SLOTS; i++) {
		if (!written[i] || !ext4_tree_blocks(g->file[i].e, g->file[i].n))
			rest[n++] =
				(struct pass_extent){ .block = generation_tree(g, i), .count = 1 };
		if (written[i])
			continue;
		rest[n++] = (struct pass_extent){ .block = { g->l.spare.v + 2 * i }, .count = 1 };
		rest[n++] = (struct pass_extent){ .block = { g->l.data.v + i * GEN_FILE },
						  .count = GEN_FILE };
	}
	for (size_t i = 0; i < n; i++) {
		rest[i].at.v = at;
		at += rest[i].count;
	}
	a = image_attr((uint64_t)at * PASS_BLOCK);
	assert_int_equal(ext4_tree_blocks(rest, n), 1);
	ext4_image_put(&g->im, &g->l, GEN_SLOTS, &a, rest, n, generation_tree(g, GEN_SLOTS));
}

static void test_generation(void **state)
{
	struct rng rng = { unit_seed() };
	bool written[GEN_SLOTS] = { false };
	uint32_t order[GEN_SLOTS];
	static struct generation g;

	if (!image_has_tool("e2fsck") || !image_has_tool("debugfs"))
		skip();
	generation_init(&g, &rng);
	random_order(&rng, order, GEN_SLOTS);
	for (uint32_t i = 0; i < GEN_SLOTS; i++) {
		uint32_t slot = order[i];
		const struct image_file *f = &g.file[slot];

		ext4_image_put(&g.im, &g.l, slot, &f->attr, f->e, f->n, generation_tree(&g, slot));
		written[slot] = true;
		generation_rest(&g, written);
		ext4_image_clean(&g.im);
		expect_extents(&g.im, slot, f->e, f->n);
	}
	assert_int_equal(image_run(NULL, "debugfs -R 'rdump / %s' '%s'", g.im.out, g.im.path), 0);
	for (uint32_t i = 0; i < GEN_SLOTS; i++) {
		image_expect_file(&g.im, i, &g.file[i]);
		free(g.file[i].e);
	}
	image_close(&g.im);
}

/* e2fsck looks: what is wrong in one bit is found. */
static void test_wrong_bits_are_found(void **state)
{
	struct pass_attr a = image_attr(20 * PASS_BLOCK);
	struct ext4_layout l;
	struct image im;

	if (!image_has_tool("e2fsck"))
		skip();
	ext4_image_make(&im, &l, 3, 0, 20);
	ext4_image_put(&im, &l, 1, &a, &(struct pass_extent){ FBLK(0), l.data, 20 }, 1, DBLK(0));
	ext4_image_clean(&im);

	const struct {
		struct dblk block;
		uint32_t byte;
		uint8_t bits;
		const char *complaint;
	} wrong[] = {
		{ l.block_bitmaps, l.data.v / 8, 1, "Block bitmap differences" },
		{ l.block_bitmaps, 4095, 1, "Padding at end of block bitmap is not set" },
		{ l.inode_bitmaps, 1, 1, "Inode bitmap differences" },
		{ ext4_slot_inode(&l, 1), 0x1c, 1, "i_blocks is" },
		{ ext4_slot_inode(&l, 1), 0x3c, 1, "" }, /* where its blocks are */
		{ ext4_slot_inode(&l, 2), 0x1a, 2, "ref count is 3, should be 1" },
		{ l.root, 0x18, 1, "" }, /* the inode of a name */
		{ l.group_table, 0x0c, 1, "Free blocks count wrong" },
	};
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		char *output;

		image_flip(&im, wrong[i].block, wrong[i].byte, wrong[i].bits);
		if (!ext4_image_fsck(&im, &output) || !strstr(output, wrong[i].complaint))
			fail_msg("%zu: e2fsck: %s", i, output);
		free(output);
		image_flip(&im, wrong[i].block, wrong[i].byte, wrong[i].bits);
	}
	ext4_image_clean(&im);
	image_close(&im);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_bad_shapes, image_teardown),
		cmocka_unit_test_teardown(test_bad_files, image_teardown),
		cmocka_unit_test_teardown(test_buffer, image_teardown),
		cmocka_unit_test_teardown(test_tree_limits, image_teardown),
		cmocka_unit_test_teardown(test_layout_is_exact, image_teardown),
		cmocka_unit_test_teardown(test_wrong_bits_are_found, image_teardown),
		cmocka_unit_test_teardown(test_too_many_blocks, image_teardown),
		cmocka_unit_test_teardown(test_large_trees, image_teardown),
		cmocka_unit_test_teardown(test_shapes, image_teardown),
		cmocka_unit_test_teardown(test_random_files, image_teardown),
		cmocka_unit_test_teardown(test_tails, image_teardown),
		cmocka_unit_test_teardown(test_generation, image_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
