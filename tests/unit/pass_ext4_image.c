// SPDX-License-Identifier: MIT
// Images with an ext4 of src/pass.

#include "pass_ext4_image.h"

static const uint8_t uuid[16] = "0123456789abcdef";

void ext4_image_make(struct image *im, struct ext4_layout *l, uint32_t slots, uint32_t spare,
		     uint32_t data)
{
	struct ext4_shape shape = { slots, spare, data };
	uint8_t *buf;
	size_t len;

	assert_int_equal(ext4_layout_init(l, &shape), 0);
	image_open(im, l->blocks);
	len = (size_t)ext4_fs_blocks(l) * PASS_BLOCK;
	buf = malloc(len);
	assert_non_null(buf);
	assert_int_equal(ext4_write_fs(l, uuid, time(NULL), buf, len), 0);
	image_put(im, DBLK(0), buf, ext4_fs_blocks(l));
	free(buf);
}

void ext4_image_put(const struct image *im, const struct ext4_layout *l, uint32_t slot,
		    const struct pass_attr *attr, const struct pass_extent *e, size_t n,
		    struct dblk tree)
{
	int blocks = ext4_tree_blocks(e, n);
	uint8_t inode[PASS_BLOCK];
	uint8_t *buf = malloc((size_t)blocks * PASS_BLOCK + 1);

	assert_true(blocks >= 0);
	assert_non_null(buf);
	assert_int_equal(ext4_write_slot(l, slot, attr, e, n, inode, tree, buf,
					 (size_t)blocks * PASS_BLOCK),
			 blocks);
	if (blocks)
		image_put(im, tree, buf, (uint32_t)blocks);
	image_put(im, ext4_slot_inode(l, slot), inode, 1);
	free(buf);
}

int ext4_image_fsck(const struct image *im, char **ret_output)
{
	return image_run(ret_output, "e2fsck -fn '%s'", im->path);
}

void ext4_image_clean(const struct image *im)
{
	char *output;

	if (ext4_image_fsck(im, &output))
		fail_msg("e2fsck: %s", output);
	free(output);
}
