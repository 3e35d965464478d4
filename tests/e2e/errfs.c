// SPDX-License-Identifier: MIT
// A FUSE file system of one file, an image for a loop device, parts of which cannot be read.
//
// What device mapper's error target does, on machines without it: above it is a real file system.

#define FUSE_USE_VERSION 35

#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "errfs.h"

#define NAME "/image"

static int image;
static struct errfs_table *table;

static bool has_error(off_t off, size_t len)
{
	for (int i = 0; i < ERRFS_RANGES; i++) {
		__auto_type r = &table->range[i];

		if ((uint64_t)off < r->to && (uint64_t)off + len > r->from)
			return true;
	}
	return false;
}

static int err_getattr(const char *path, struct stat *st, struct fuse_file_info *fi)
{
	(void)fi;
	if (!strcmp(path, NAME))
		return fstat(image, st) < 0 ? -errno : 0;
	if (strcmp(path, "/") != 0)
		return -ENOENT;
	*st = (struct stat){ .st_mode = S_IFDIR | 0755, .st_nlink = 2 };
	return 0;
}

static int err_open(const char *path, struct fuse_file_info *fi)
{
	if (strcmp(path, NAME) != 0)
		return -ENOENT;
	fi->direct_io = 1; /* what is in a cache has no errors */
	return 0;
}

static int err_read(const char *path, char *buf, size_t len, off_t off, struct fuse_file_info *fi)
{
	ssize_t n;

	(void)path;
	(void)fi;
	if (has_error(off, len)) {
		table->errors++;
		return -EIO;
	}
	n = pread(image, buf, len, off);
	return n < 0 ? -errno : (int)n;
}

static int err_write(const char *path, const char *buf, size_t len, off_t off,
		     struct fuse_file_info *fi)
{
	ssize_t n;

	(void)path;
	(void)fi;
	n = pwrite(image, buf, len, off);
	return n < 0 ? -errno : (int)n;
}

static int err_fsync(const char *path, int datasync, struct fuse_file_info *fi)
{
	/* What is in this image need not outlive the machine. */
	(void)path;
	(void)datasync;
	(void)fi;
	return 0;
}

static const struct fuse_operations operations = {
	.getattr = err_getattr,
	.open = err_open,
	.read = err_read,
	.write = err_write,
	.fsync = err_fsync,
};

int main(int argc, char **argv)
{
	char *fuse_argv[] = { argv[0], (char[]){ "-f" }, argc == 4 ? argv[3] : NULL, NULL };
	int fd;

	if (argc != 4) {
		(void)fputs("usage: errfs IMAGE TABLE DIR\nServes DIR/image; TABLE is made.\n",
			    stderr);
		return 2;
	}
	image = open(argv[1], O_RDWR | O_CLOEXEC);
	fd = open(argv[2], O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (image < 0 || fd < 0 || ftruncate(fd, sizeof(*table)) < 0) {
		perror("errfs");
		return 1;
	}
	table = mmap(NULL, sizeof(*table), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (table == MAP_FAILED) {
		perror("errfs");
		return 1;
	}
	return fuse_main(3, fuse_argv, &operations, NULL);
}
