// SPDX-License-Identifier: MIT
// A directory that stands for the root.

#include "unit.h"

#include <ftw.h>
#include <sys/stat.h>

#include "hw/sysfs.h"
#include "tree.h"

static char root[64];

int tree_begin(void **state)
{
	(void)strcpy(root, "/tmp/vfsdax-tree-XXXXXX");
	if (!mkdtemp(root))
		return -1;
	sysfs_set_root(root);
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

int tree_end(void **state)
{
	sysfs_set_root("");
	return nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void whole_path(const char *path, char *ret, size_t size)
{
	char *slash;

	assert_true(snprintf(ret, size, "%s%s", root, path) < (int)size);
	for (slash = strchr(ret + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		(void)mkdir(ret, 0755);
		*slash = '/';
	}
}

void tree_put_bytes(const char *path, const void *data, size_t size)
{
	char whole[512];
	FILE *f;

	whole_path(path, whole, sizeof(whole));
	f = fopen(whole, "we");
	assert_non_null(f);
	assert_int_equal(fwrite(data, 1, size, f), size);
	assert_int_equal(fclose(f), 0);
}

void tree_put(const char *path, const char *fmt, ...)
{
	char text[4096];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	assert_true(n >= 0 && (size_t)n < sizeof(text));
	tree_put_bytes(path, text, (size_t)n);
}

void tree_link(const char *path, const char *target)
{
	char whole[512], to[512];

	whole_path(path, whole, sizeof(whole));
	whole_path(target, to, sizeof(to));
	(void)unlink(whole);
	assert_int_equal(symlink(to, whole), 0);
}

void tree_get(const char *path, char *ret, size_t size)
{
	if (sysfs_read(path, ret, size) < 0)
		ret[0] = '\0';
}

void tree_remove(const char *path)
{
	char whole[512];

	whole_path(path, whole, sizeof(whole));
	assert_int_equal(unlink(whole), 0);
}
