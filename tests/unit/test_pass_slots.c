// SPDX-License-Identifier: MIT
// Slots of the composed file system that are filled, evicted and filled again, over a loop device.

#include "pass_image.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/num.h"
#include "pass/slots.h"

enum { SLOTS = 4, DATA_BLOCKS = 400 };

struct setup {
	struct image im;
	struct ext4_layout l;
	struct pass_slots *s;
};

static bool setup_open(struct setup *t)
{
	char device[32];
	int loop;

	if (!image_can_mount("ext4"))
		return false;
	assert_int_equal(pass_slots_layout(&t->l, SLOTS, DATA_BLOCKS), 0);
	image_open(&t->im, t->l.blocks);
	image_fill(&t->im, &(struct pass_extent){ .block = t->l.data, .count = DATA_BLOCKS }, 1);
	loop = image_loop(&t->im, device);
	assert_int_equal(pass_slots_create(device, &t->l, &t->s), 0);
	(void)close(loop);
	return true;
}

static void setup_close(struct setup *t)
{
	pass_slots_destroy(t->s);
	image_close(&t->im);
}

/* The file of @slot is just @extents, to the last byte. */
static void expect(const struct pass_slot *slot, const struct pass_extent *extents, size_t n,
		   uint64_t size)
{
	uint8_t want[PASS_BLOCK], got[PASS_BLOCK];
	uint64_t at = 0;
	struct stat st;

	assert_int_equal(fstat(slot->fd, &st), 0);
	assert_int_equal(st.st_size, size);
	for (size_t i = 0; i < n; i++)
		for (uint32_t b = 0; b < extents[i].count; b++) {
			size_t len = (size_t)MIN(size - at, (uint64_t)PASS_BLOCK);

			image_pattern(DBLK(extents[i].block.v + b), want);
			assert_int_equal(pread(slot->fd, got, sizeof(got), (off_t)at), len);
			assert_memory_equal(got, want, len);
			at += len;
		}
	assert_int_equal(at, size);
}

/* Each time another file, of other blocks and another size, while the other slots stay. */
static void test_again_and_again(void **state)
{
	struct rng rng = { unit_seed() };
	struct pass_slot slot[SLOTS];
	struct image_file file[SLOTS] = { 0 };
	unsigned int used = 0;
	struct setup t;

	if (!setup_open(&t))
		skip();
	for (unsigned int round = 0; round < 300; round++) {
		unsigned int i = (unsigned int)rng_below(&rng, SLOTS);
		uint32_t blocks = 1 + (uint32_t)rng_below(&rng, 90);
		struct dblk first = DBLK(t.l.data.v + (uint32_t)rng_below(&rng, 400 - 90));
		struct image_file *f = &file[i];

		if (used & 1u << i) {
			assert_int_equal(pass_slot_evict(t.s, &slot[i]), 0);
			assert_int_equal(slot[i].fd, -1);
			free(f->e);
		}
		used |= 1u << i;
		f->e = random_pieces(&rng, first, blocks, 30, NULL, &f->n);
		f->attr = image_attr((uint64_t)blocks * PASS_BLOCK - rng_below(&rng, PASS_BLOCK));
		assert_int_equal(pass_slot_take(t.s, &slot[i]), 0);
		assert_int_equal(pass_slot_open(t.s, &slot[i], &f->attr, f->e, f->n), 0);
		for (unsigned int k = 0; k < SLOTS; k++)
			if (used & 1u << k)
				expect(&slot[k], file[k].e, file[k].n, file[k].attr.size);
	}
	for (unsigned int i = 0; i < SLOTS; i++) {
		if (used & 1u << i)
			assert_int_equal(pass_slot_evict(t.s, &slot[i]), 0);
		free(file[i].e);
	}
	setup_close(&t);
}

static void take_and_open(struct setup *t, struct pass_slot *ret, uint64_t size)
{
	struct pass_extent e = { .block = t->l.data,
				 .count = (uint32_t)((size + PASS_BLOCK - 1) / PASS_BLOCK) };
	struct pass_attr a = image_attr(size);

	assert_int_equal(pass_slot_take(t->s, ret), 0);
	assert_int_equal(pass_slot_open(t->s, ret, &a, &e, 1), 0);
}

/* Another open file of the inode keeps it, for reading or writing, and so does a mapping of that. */
static void test_in_use(void **state)
{
	const int modes[] = { O_RDONLY, O_WRONLY, O_RDWR };
	struct pass_slot slot;
	struct setup t;
	char path[32];
	void *map;
	int fd;

	if (!setup_open(&t))
		skip();
	for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
		take_and_open(&t, &slot, 10000);
		(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", slot.fd);
		fd = open(path, modes[i] | O_CLOEXEC);
		assert_true(fd >= 0);
		assert_int_equal(pass_slot_evict(t.s, &slot), -EBUSY);
		if (modes[i] != O_WRONLY) {
			map = mmap(NULL, 10000, PROT_READ, MAP_SHARED, fd, 0);
			assert_ptr_not_equal(map, MAP_FAILED);
			assert_int_equal(close(fd), 0);
			assert_int_equal(pass_slot_evict(t.s, &slot), -EBUSY);
			assert_int_equal(munmap(map, 10000), 0);
		} else {
			assert_int_equal(close(fd), 0);
		}
		assert_int_equal(pass_slot_evict(t.s, &slot), 0);
	}
	setup_close(&t);
}

/* So does a path, as who reads a link in /proc has it, but its slot's file is closed then. */
static void test_held_path(void **state)
{
	struct pass_slot slot;
	struct setup t;
	char path[32];
	int fd;

	if (!setup_open(&t))
		skip();
	take_and_open(&t, &slot, 10000);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", slot.fd);
	fd = open(path, O_PATH | O_CLOEXEC);
	assert_true(fd >= 0);
	for (unsigned int i = 0; i < 3; i++) {
		assert_int_equal(pass_slot_evict(t.s, &slot), -EBUSY);
		assert_int_equal(slot.fd, -1);
	}
	assert_int_equal(close(fd), 0);
	assert_int_equal(pass_slot_evict(t.s, &slot), 0);
	take_and_open(&t, &slot, 20000);
	assert_int_equal(pass_slot_evict(t.s, &slot), 0);
	setup_close(&t);
}

static void test_limits(void **state)
{
	struct pass_extent e[800];
	struct pass_attr a = image_attr(400 * PASS_BLOCK);
	struct pass_slot slot[SLOTS], more;
	struct setup t;
	char byte = 1;

	if (!setup_open(&t))
		skip();
	/* Behind the last block there is no room, and inside of it there is. */
	take_and_open(&t, &slot[0], 10000);
	assert_int_equal(pwrite(slot[0].fd, &byte, 1, 12287), 1);
	assert_int_equal(pwrite(slot[0].fd, &byte, 1, 12288), -1);
	assert_int_equal(errno, ENOSPC);
	/* Each block for itself, backwards: too many for the tree of a slot. */
	for (uint32_t i = 0; i < 400; i++)
		e[i] = (struct pass_extent){ FBLK(i), DBLK(t.l.data.v + 399 - i), 1 };
	assert_int_equal(pass_slot_take(t.s, &slot[1]), 0);
	assert_int_equal(pass_slot_open(t.s, &slot[1], &a, e, 400), -EFBIG);
	assert_int_equal(slot[1].fd, -1);
	/* and 340 are not */
	a.size = 340 * PASS_BLOCK;
	assert_int_equal(pass_slot_open(t.s, &slot[1], &a, e, 340), 0);
	expect(&slot[1], e, 340, a.size);
	for (unsigned int i = 2; i < SLOTS; i++)
		assert_int_equal(pass_slot_take(t.s, &slot[i]), 0);
	assert_int_equal(pass_slot_take(t.s, &more), -ENOSPC);
	for (unsigned int i = 0; i < SLOTS; i++)
		assert_int_equal(pass_slot_evict(t.s, &slot[i]), 0);
	assert_int_equal(pass_slot_take(t.s, &more), 0);
	setup_close(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_again_and_again, image_teardown),
		cmocka_unit_test_teardown(test_in_use, image_teardown),
		cmocka_unit_test_teardown(test_held_path, image_teardown),
		cmocka_unit_test_teardown(test_limits, image_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
