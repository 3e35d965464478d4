/* SPDX-License-Identifier: MIT */
/* Images with an ext4 of src/pass. */
#pragma once

#include "pass_image.h"

#include "pass/ext4.h"

/* ext4_image_make() - an image of empty slots, opened. */
void ext4_image_make(struct image *im, struct ext4_layout *l, uint32_t slots, uint32_t spare,
		     uint32_t data);

/* ext4_image_put() - one slot, its extent tree from block @tree on. */
void ext4_image_put(const struct image *im, const struct ext4_layout *l, uint32_t slot,
		    const struct pass_attr *attr, const struct pass_extent *e, size_t n,
		    struct dblk tree);

/* ext4_image_fsck() - the exit code of e2fsck -fn; ext4_image_clean() - it must find no fault. */
int ext4_image_fsck(const struct image *im, char **ret_output);
void ext4_image_clean(const struct image *im);
