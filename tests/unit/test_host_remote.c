// SPDX-License-Identifier: MIT
// Which file systems vfsdaxhost maps.

#include "unit.h"

#include <linux/magic.h>

#include "host/fs.h"

static int check(struct fuse_server *s, uint32_t magic)
{
	/* On some machines f_type is signed and of 32 bits. */
	struct statfs fs = { .f_type = (__typeof__(fs.f_type))magic };

	return fs_remote_check(s, &fs);
}

static const uint32_t remote[] = { FUSE_SUPER_MAGIC, V9FS_MAGIC,       NFS_SUPER_MAGIC,
				   CIFS_SUPER_MAGIC, SMB2_SUPER_MAGIC, CEPH_SUPER_MAGIC };
static const uint32_t local[] = { EXT4_SUPER_MAGIC,	 XFS_SUPER_MAGIC,   BTRFS_SUPER_MAGIC,
				  TMPFS_MAGIC,		 F2FS_SUPER_MAGIC,  MSDOS_SUPER_MAGIC,
				  OVERLAYFS_SUPER_MAGIC, OCFS2_SUPER_MAGIC, 0x01161970 /* GFS2 */ };

static void copies_are_not_mapped(void **state)
{
	struct fuse_server s = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(remote); i++)
		assert_int_equal(check(&s, remote[i]), -EOPNOTSUPP);
	for (size_t i = 0; i < ARRAY_SIZE(local); i++)
		assert_int_equal(check(&s, local[i]), 0);
}

static void but_when_asked_for(void **state)
{
	struct fuse_server s = { .cfg.map_remote = true };

	for (size_t i = 0; i < ARRAY_SIZE(remote); i++)
		assert_int_equal(check(&s, remote[i]), 0);
	assert_int_equal(__builtin_popcountll(s.remote_said), ARRAY_SIZE(remote));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(copies_are_not_mapped),
		cmocka_unit_test(but_when_asked_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
