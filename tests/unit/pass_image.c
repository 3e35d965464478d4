// SPDX-License-Identifier: MIT
// Images of composed devices: sparse files, a pattern in each block, tools and mounts that look at
// them.

#include "pass_image.h"

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/num.h"

/* The directory of the image that is open. */
static char open_dir[sizeof(((struct image *)NULL)->dir)];

int image_teardown(void **state)
{
	if (open_dir[0])
		(void)image_run(NULL, "rm -rf --one-file-system '%s'", open_dir);
	open_dir[0] = 0;
	return 0;
}

void image_open(struct image *im, uint32_t blocks)
{
	const char *tmp = getenv("TMPDIR");

	(void)snprintf(im->dir, sizeof(im->dir), "%s/pass-XXXXXX", tmp && *tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(im->dir));
	memcpy(open_dir, im->dir, sizeof(open_dir));
	(void)snprintf(im->path, sizeof(im->path), "%s/image", im->dir);
	(void)snprintf(im->out, sizeof(im->out), "%s/out", im->dir);
	assert_int_equal(mkdir(im->out, 0700), 0);
	memcpy(im->files, im->out, sizeof(im->files));
	im->mount = -1;
	im->fd = open(im->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	assert_true(im->fd >= 0);
	assert_int_equal(ftruncate(im->fd, (off_t)blocks * PASS_BLOCK), 0);
}

void image_close(struct image *im)
{
	(void)close(im->fd);
	assert_int_equal(image_run(NULL, "rm -rf --one-file-system '%s'", im->dir), 0);
	open_dir[0] = 0;
}

void image_put(const struct image *im, struct dblk at, const void *buf, uint32_t blocks)
{
	ssize_t len = (ssize_t)blocks * PASS_BLOCK;

	assert_true(pwrite(im->fd, buf, (size_t)len, (off_t)at.v * PASS_BLOCK) == len);
}

void image_get(const struct image *im, struct dblk at, void *buf, uint32_t blocks)
{
	ssize_t len = (ssize_t)blocks * PASS_BLOCK;

	assert_true(pread(im->fd, buf, (size_t)len, (off_t)at.v * PASS_BLOCK) == len);
}

void image_flip(const struct image *im, struct dblk at, uint32_t byte, uint8_t bits)
{
	uint8_t buf[PASS_BLOCK];

	image_get(im, at, buf, 1);
	buf[byte] ^= bits;
	image_put(im, at, buf, 1);
}

void image_pattern(struct dblk block, uint8_t buf[PASS_BLOCK])
{
	struct rng rng = { block.v };

	for (size_t i = 0; i < PASS_BLOCK; i += 8) {
		uint64_t v = rng_next(&rng);

		memcpy(buf + i, &v, 8);
	}
}

void image_fill(const struct image *im, const struct pass_extent *extents, size_t n)
{
	uint8_t buf[PASS_BLOCK];

	for (size_t i = 0; i < n; i++)
		for (uint32_t k = 0; k < extents[i].count; k++) {
			struct dblk b = { extents[i].block.v + k };

			image_pattern(b, buf);
			image_put(im, b, buf, 1);
		}
}

void image_expect(const char *dir, const char *name, const struct pass_extent *extents, size_t n,
		  uint64_t size)
{
	uint8_t want[PASS_BLOCK], got[PASS_BLOCK];
	uint64_t left = size;
	char path[160];
	struct stat st;
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		fail_msg("%s: %s", path, strerror(errno));
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, size);
	for (size_t i = 0; i < n; i++)
		for (uint32_t k = 0; k < extents[i].count && left; k++) {
			uint32_t len = (uint32_t)MIN(left, (uint64_t)PASS_BLOCK);

			image_pattern(DBLK(extents[i].block.v + k), want);
			assert_int_equal(read(fd, got, PASS_BLOCK), len);
			assert_memory_equal(got, want, len);
			left -= len;
		}
	assert_int_equal(left, 0);
	assert_int_equal(read(fd, got, 1), 0);
	(void)close(fd);
}

int image_run(char **ret_output, const char *format, ...)
{
	char command[1024], full[1200], *output = NULL;
	size_t size;
	va_list ap;
	FILE *in, *out;
	int c, status;

	va_start(ap, format);
	must(vsnprintf(command, sizeof(command), format, ap) < (int)sizeof(command));
	va_end(ap);
	/* What a sanitizer preloads or sets is not for the tools. */
	(void)snprintf(full, sizeof(full), "{ PATH=$PATH:/usr/sbin:/sbin LC_ALL=C; %s; } 2>&1",
		       command);
	in = popen(full, "re");
	out = open_memstream(&output, &size);
	must(in && out);
	while ((c = fgetc(in)) != EOF)
		(void)fputc(c, out);
	(void)fclose(out);
	status = pclose(in);
	must(WIFEXITED(status));
	if (ret_output)
		*ret_output = output;
	else
		free(output);
	return WEXITSTATUS(status);
}

bool image_has_tool(const char *tool)
{
	if (!image_run(NULL, "command -v %s", tool))
		return true;
	(void)printf("SKIPPED: there is no %s\n", tool);
	return false;
}

bool image_can_mount(const char *type)
{
	int fs = fsopen(type, FSOPEN_CLOEXEC);

	if (fs < 0) {
		(void)printf("SKIPPED: cannot mount %s: %s\n", type, strerror(errno));
		return false;
	}
	(void)close(fs);
	if (access("/dev/loop-control", R_OK | W_OK)) {
		(void)printf("SKIPPED: no loop devices: %s\n", strerror(errno));
		return false;
	}
	return true;
}

int image_loop(const struct image *im, char path[32])
{
	struct loop_config config = { .fd = (uint32_t)im->fd, .info.lo_flags = LO_FLAGS_AUTOCLEAR };
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), loop, taken;

	assert_true(control >= 0);
	do { /* until nobody was quicker */
		int n = ioctl(control, LOOP_CTL_GET_FREE);

		assert_true(n >= 0);
		(void)snprintf(path, 32, "/dev/loop%d", n);
		loop = open(path, O_RDWR | O_CLOEXEC);
		assert_true(loop >= 0);
		taken = ioctl(loop, LOOP_CONFIGURE, &config);
		if (taken) {
			assert_int_equal(errno, EBUSY);
			(void)close(loop);
		}
	} while (taken);
	(void)close(control);
	return loop;
}

void image_mount(struct image *im, const char *type, const char *options)
{
	char device[32], copy[128], *save = NULL;
	int loop = image_loop(im, device), fs = fsopen(type, FSOPEN_CLOEXEC);

	assert_true(fs >= 0);
	assert_int_equal(fsconfig(fs, FSCONFIG_SET_STRING, "source", device, 0), 0);
	(void)snprintf(copy, sizeof(copy), "%s", options);
	for (char *o = strtok_r(copy, ",", &save); o; o = strtok_r(NULL, ",", &save)) {
		char *value = strchr(o, '=');

		if (value)
			*value++ = 0;
		assert_int_equal(fsconfig(fs, value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG, o,
					  value, 0),
				 0);
	}
	if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0)) {
		char why[256] = "";

		(void)!read(fs, why, sizeof(why) - 1);
		fail_msg("%s on %s: %s: %s", type, device, strerror(errno), why);
	}
	im->mount = fsmount(fs, FSMOUNT_CLOEXEC, 0);
	assert_true(im->mount >= 0);
	(void)snprintf(im->files, sizeof(im->files), "/proc/self/fd/%d", im->mount);
	(void)close(fs);
	(void)close(loop);
}

void image_umount(struct image *im)
{
	assert_int_equal(close(im->mount), 0);
	im->mount = -1;
	memcpy(im->files, im->out, sizeof(im->files));
}

struct pass_extent *random_pieces(struct rng *rng, struct dblk first, uint32_t blocks,
				  uint32_t most, const struct dblk *tail, size_t *ret_n)
{
	struct pass_extent *e = calloc((size_t)blocks + 1, sizeof(*e));
	uint32_t at = 0;
	size_t n = 0;

	must(e);
	for (uint32_t done = 0; done < blocks; n++) {
		uint32_t count = 1 + (uint32_t)rng_below(rng, MIN(most, blocks - done));

		e[n] = (struct pass_extent){ .block = DBLK(first.v + done), .count = count };
		done += count;
	}
	for (size_t i = n; i > 1; i--) {
		size_t k = rng_below(rng, i);
		struct pass_extent swap = e[k];

		e[k] = e[i - 1];
		e[i - 1] = swap;
	}
	if (tail)
		e[n++] = (struct pass_extent){ .block = *tail, .count = 1 };
	for (size_t i = 0; i < n; i++) {
		e[i].at.v = at;
		at += e[i].count;
	}
	*ret_n = n;
	return e;
}

void random_order(struct rng *rng, uint32_t *order, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		uint32_t k = (uint32_t)rng_below(rng, i + 1);

		order[i] = order[k];
		order[k] = i;
	}
}

struct pass_attr image_attr(uint64_t size)
{
	return (struct pass_attr){ .size = size,
				   .mode = S_IFREG | 0640,
				   .uid = 70001,
				   .gid = 70002,
				   .atime = { 1000000001, 11 },
				   .mtime = { 1700000002, 222222222 },
				   .ctime = { 1700000003, 999999999 } };
}

void image_file_init(struct image_file *f, const struct image *im, struct rng *rng,
		     struct dblk first, uint32_t blocks, struct dblk tail)
{
	uint64_t size = (uint64_t)blocks * PASS_BLOCK + 1 + rng_below(rng, PASS_BLOCK);

	f->attr = image_attr(size);
	f->e = random_pieces(rng, first, blocks, 1 + (uint32_t)rng_below(rng, 30), &tail, &f->n);
	image_fill(im, f->e, f->n);
}

void image_expect_file(const struct image *im, uint32_t slot, const struct image_file *f)
{
	char name[PASS_NAME_LEN + 1];

	pass_slot_name(slot, name);
	image_expect(im->files, name, f->e, f->n, f->attr.size);
}

void image_check_buffer(int (*write)(const void *layout, void *buf, size_t len), const void *layout,
			size_t need)
{
	uint8_t *buf = malloc(need + 1);

	assert_non_null(buf);
	memset(buf, 0x5a, need + 1);
	assert_int_equal(write(layout, buf, need - 1), -ENOBUFS);
	for (size_t i = 0; i <= need; i++)
		assert_int_equal(buf[i], 0x5a);
	assert_int_equal(write(layout, buf, need), 0);
	assert_int_equal(buf[need], 0x5a);
	/* Also where no zeroes were. */
	assert_int_equal(buf[0], 0);
	free(buf);
}
