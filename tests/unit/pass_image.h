/* SPDX-License-Identifier: MIT */
/* Images of composed devices: sparse files, a pattern in each block, tools and mounts. */
#pragma once

#include "unit.h"

#include "pass/extent.h"

struct image {
	char dir[64];	/* a directory of its own */
	char path[80];	/* the image in it */
	char out[80];	/* an empty directory, for files that a tool takes out */
	char files[80]; /* where image_expect_file() looks: out, or the mount */
	int fd;
	int mount;
};

/* image_open() - an image of @blocks blocks, all a hole; image_close() removes it and its dir. */
void image_open(struct image *im, uint32_t blocks);
void image_close(struct image *im);

/* image_teardown() - for cmocka: removes what a test that failed has left. */
int image_teardown(void **state);

void image_put(const struct image *im, struct dblk at, const void *buf, uint32_t blocks);
void image_get(const struct image *im, struct dblk at, void *buf, uint32_t blocks);

/* image_flip() - flip bits of one byte of a block. */
void image_flip(const struct image *im, struct dblk at, uint32_t byte, uint8_t bits);

/* image_fill() - each block of the extents gets what image_pattern() says for its number. */
void image_fill(const struct image *im, const struct pass_extent *extents, size_t n);
void image_pattern(struct dblk block, uint8_t buf[PASS_BLOCK]);

/* image_expect() - the file at @dir/@name has @size bytes, just those of the extents' patterns. */
void image_expect(const char *dir, const char *name, const struct pass_extent *extents, size_t n,
		  uint64_t size);

/*
 * image_run() - run a command of the shell. Returns its exit code, with *ret_output (may be NULL)
 * what it printed, to be freed.
 */
int image_run(char **ret_output, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* image_has_tool() - false, and says so, when there is no such program. */
bool image_has_tool(const char *tool);

/*
 * image_can_mount() - false, and says why, when this process cannot mount a file system of the type
 * over a loop device.
 */
bool image_can_mount(const char *type);

/* image_loop() - a loop device over the image, opened; it goes away when nobody uses it. */
int image_loop(const struct image *im, char path[32]);

/*
 * image_mount() - mount the image where nobody sees it; im->files is its root directory.
 * @options: as for mount(8), "" for none. image_umount() ends it, and so does the process's end.
 */
void image_mount(struct image *im, const char *type, const char *options);
void image_umount(struct image *im);

/*
 * random_pieces() - cut blocks [first, first + blocks) into pieces of at most @most blocks, in
 * random order, and give them to a file. Returns the pieces and *ret_n, to be freed. With @tail
 * set, a last piece of one block, @tail.
 */
struct pass_extent *random_pieces(struct rng *rng, struct dblk first, uint32_t blocks,
				  uint32_t most, const struct dblk *tail, size_t *ret_n);

/* random_order() - the numbers 0 to @n - 1 in random order. */
void random_order(struct rng *rng, uint32_t *order, uint32_t n);

/* A file of random pieces of some blocks, then a last partial block elsewhere. */
struct image_file {
	struct pass_extent *e; /* to be freed */
	size_t n;
	struct pass_attr attr;
};

/* image_file_init() - of @blocks blocks from @first on, filled in @im, and @tail. */
void image_file_init(struct image_file *f, const struct image *im, struct rng *rng,
		     struct dblk first, uint32_t blocks, struct dblk tail);

/* image_expect_file() - a slot's file below im->files is this one. */
void image_expect_file(const struct image *im, uint32_t slot, const struct image_file *f);

/* image_attr() - attributes that no file has by chance. */
struct pass_attr image_attr(uint64_t size);

/*
 * image_check_buffer() - @write, which says that it needs @need bytes, writes nothing into less and
 * nothing behind them.
 */
void image_check_buffer(int (*write)(const void *layout, void *buf, size_t len), const void *layout,
			size_t need);
