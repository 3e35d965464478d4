// SPDX-License-Identifier: MIT
// The walk of the PCI capability list and the virtio structures in it.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/virtio_pci.h>

#include "base/num.h"
#include "virtio/pci_caps.h"

/* A configuration space under construction. */
struct space {
	uint8_t config[PCI_CONFIG_SIZE];
	uint64_t bars[PCI_NUM_BARS];
	uint8_t *link; /* where the next capability's place belongs */
	uint8_t pos;
};

static void put32(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

static void space_init(struct space *s)
{
	*s = (struct space){ .bars = { 0, 0, 16384, 0, 1 * GIB, 0 }, .pos = 0x40 };
	s->config[PCI_STATUS] = PCI_STATUS_CAP_LIST;
	s->link = &s->config[PCI_CAPABILITY_LIST];
}

/* Append a capability of @len bytes. */
static uint8_t *add_raw(struct space *s, uint8_t id, uint8_t len)
{
	uint8_t *p = s->config + s->pos;

	assert_true(s->pos + len <= PCI_CONFIG_SIZE);
	*s->link = s->pos;
	p[0] = id;
	s->link = &p[1];
	s->pos = (uint8_t)(s->pos + align_up(len, 4));
	return p;
}

static uint8_t *add(struct space *s, uint8_t type, uint8_t len, uint8_t bar, uint64_t off,
		    uint64_t size)
{
	uint8_t *p = add_raw(s, PCI_CAP_ID_VNDR, len);

	p[2] = len;
	p[3] = type;
	p[4] = bar;
	put32(p + 8, (uint32_t)off);
	put32(p + 12, (uint32_t)size);
	if (len >= 24) {
		put32(p + 16, (uint32_t)(off >> 32));
		put32(p + 20, (uint32_t)(size >> 32));
	}
	return p;
}

static uint8_t *add_notify(struct space *s, uint8_t bar, uint64_t off, uint64_t size, uint32_t mult)
{
	uint8_t *p = add(s, VIRTIO_PCI_CAP_NOTIFY_CFG, 20, bar, off, size);

	put32(p + 16, mult);
	return p;
}

static uint8_t *add_shm(struct space *s, uint8_t id, uint8_t bar, uint64_t off, uint64_t size)
{
	uint8_t *p = add(s, VIRTIO_PCI_CAP_SHARED_MEMORY_CFG, 24, bar, off, size);

	p[5] = id;
	return p;
}

/* As QEMU lays a device out, but for shared memory. */
static void add_usual(struct space *s)
{
	add_raw(s, PCI_CAP_ID_MSIX, 12);
	add(s, VIRTIO_PCI_CAP_COMMON_CFG, 16, 2, 0, 4096);
	add(s, VIRTIO_PCI_CAP_ISR_CFG, 16, 2, 4096, 4096);
	add(s, VIRTIO_PCI_CAP_DEVICE_CFG, 16, 2, 8192, 4096);
	add_notify(s, 2, 12288, 4096, 4);
}

static int parse(const struct space *s, struct virtio_pci_caps *ret)
{
	/* Of its exact size on the heap, so that a sanitizer sees a read behind it. */
	uint8_t *copy = malloc(sizeof(s->config));
	char why[128] = "";
	const struct why w = { why, sizeof(why) };
	int r;

	assert_non_null(copy);
	memcpy(copy, s->config, sizeof(s->config));
	r = virtio_pci_caps_parse(copy, sizeof(s->config), s->bars, &w, ret);
	free(copy);
	assert_int_equal(r < 0, why[0] != '\0');
	return r;
}

static void assert_place(struct virtio_pci_place p, uint8_t bar, uint64_t off, uint64_t len)
{
	assert_int_equal(p.bar, bar);
	assert_int_equal(p.off, off);
	assert_int_equal(p.len, len);
}

static void usual_device(void **state)
{
	struct virtio_pci_caps c;
	struct space s;

	space_init(&s);
	add_usual(&s);
	add_shm(&s, 0, 4, 0, 1 * GIB);
	add(&s, VIRTIO_PCI_CAP_PCI_CFG, 20, 0, 0, 0);
	assert_int_equal(parse(&s, &c), 0);
	assert_place(c.common, 2, 0, 4096);
	assert_place(c.isr, 2, 4096, 4096);
	assert_place(c.device, 2, 8192, 4096);
	assert_place(c.notify, 2, 12288, 4096);
	assert_int_equal(c.notify_multiplier, 4);
	assert_place(c.shm, 4, 0, 1 * GIB);
	assert_false(c.shm_bad);
	assert_int_equal(c.pci_cfg, s.pos - 20);
}

static void no_shm_no_isr(void **state)
{
	struct virtio_pci_caps c;
	struct space s;

	space_init(&s);
	add(&s, VIRTIO_PCI_CAP_COMMON_CFG, 16, 2, 0, 56);
	add(&s, VIRTIO_PCI_CAP_DEVICE_CFG, 16, 2, 8192, 44);
	add_notify(&s, 2, 12288, 2, 0);
	assert_int_equal(parse(&s, &c), 0);
	assert_int_equal(c.isr.len, 0);
	assert_int_equal(c.shm.len, 0);
	assert_false(c.shm_bad);
	assert_int_equal(c.pci_cfg, 0);
}

static void shm_64_bit(void **state)
{
	struct virtio_pci_caps c;
	struct space s;

	space_init(&s);
	add_usual(&s);
	s.bars[4] = 64 * GIB;
	add_shm(&s, 1, 4, 0, 4096);
	add_shm(&s, 0, 4, 32 * GIB, 32 * GIB);
	assert_int_equal(parse(&s, &c), 0);
	assert_place(c.shm, 4, 32 * GIB, 32 * GIB);
}

static void shm_is_cut_to_pages(void **state)
{
	struct virtio_pci_caps c;
	struct space s;

	space_init(&s);
	add_usual(&s);
	add_shm(&s, 0, 4, 8192, 3 * 4096 + 100);
	assert_int_equal(parse(&s, &c), 0);
	assert_place(c.shm, 4, 8192, 3 * 4096);
}

/* What is wrong with the only region makes it absent and leaves the device usable. */
static void shm_impossible(void **state)
{
	static const struct {
		uint8_t bar;
		uint64_t off, len;
	} bad[] = {
		{ 4, 0, 1 * GIB + 4096 },	/* past the end */
		{ 4, 4096, 1 * GIB },		/* the same by its offset */
		{ 4, UINT64_MAX - 4095, 8192 }, /* the sum overflows */
		{ 4, 4096, UINT64_MAX - 4095 }, /* and this way */
		{ 4, UINT64_C(1) << 32, 4096 }, /* high half only */
		{ 4, 0, UINT64_C(1) << 40 },
		{ 6, 0, 4096 }, /* no such BAR */
		{ 255, 0, 4096 },
		{ 5, 0, 4096 },	   /* upper half of BAR 4 */
		{ 4, 2048, 4096 }, /* misaligned */
		{ 4, 0, 4095 },	   /* less than a page */
		{ 4, 0, 0 },
		{ 2, 0, 16384 }, /* over the registers */
		{ 2, 12288, 4096 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct virtio_pci_caps c;
		struct space s;

		space_init(&s);
		add_usual(&s);
		add_shm(&s, 0, bad[i].bar, bad[i].off, bad[i].len);
		assert_int_equal(parse(&s, &c), 0);
		assert_int_equal(c.shm.len, 0);
		assert_true(c.shm_bad);
	}
}

static void shm_capability_too_short(void **state)
{
	struct virtio_pci_caps c;
	struct space s;

	space_init(&s);
	add_usual(&s);
	add(&s, VIRTIO_PCI_CAP_SHARED_MEMORY_CFG, 16, 4, 0, 4096);
	assert_int_equal(parse(&s, &c), 0);
	assert_int_equal(c.shm.len, 0);
	assert_true(c.shm_bad);
}

static void first_good_one_wins(void **state)
{
	struct virtio_pci_caps c;
	struct space s;

	space_init(&s);
	add(&s, VIRTIO_PCI_CAP_COMMON_CFG, 16, 7, 0, 4096);	/* reserved BAR */
	add(&s, VIRTIO_PCI_CAP_COMMON_CFG, 16, 2, 16384, 4096); /* past its end */
	add(&s, VIRTIO_PCI_CAP_COMMON_CFG, 16, 2, 64, 56);
	add(&s, VIRTIO_PCI_CAP_COMMON_CFG, 16, 2, 0, 4096);
	add(&s, VIRTIO_PCI_CAP_DEVICE_CFG, 16, 2, 8192, 4096);
	add_notify(&s, 2, 12288, 4096, 3);
	add_notify(&s, 2, 12290, 4094, 8);
	add(&s, 99, 16, 2, 0, 4096); /* unknown type */
	assert_int_equal(parse(&s, &c), 0);
	assert_place(c.common, 2, 64, 56);
	assert_place(c.notify, 2, 12290, 4094);
	assert_int_equal(c.notify_multiplier, 8);
}

static void needed_one_impossible(void **state)
{
	static const struct {
		uint8_t len, bar;
		uint32_t off, size;
	} bad[] = {
		{ 15, 2, 0, 4096 },	      { 16, 6, 0, 4096 },  { 16, 1, 0, 4096 },
		{ 16, 2, 0, 16385 },	      { 16, 2, 16385, 0 }, { 16, 2, UINT32_MAX - 3, 8 },
		{ 16, 2, 4, UINT32_MAX - 3 }, { 16, 2, 2, 4096 },  { 16, 2, 0, 55 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct virtio_pci_caps c;
		struct space s;

		space_init(&s);
		add(&s, VIRTIO_PCI_CAP_COMMON_CFG, 16, bad[i].bar, bad[i].off, bad[i].size)[2] =
			bad[i].len;
		add(&s, VIRTIO_PCI_CAP_DEVICE_CFG, 16, 2, 8192, 4096);
		add_notify(&s, 2, 12288, 4096, 4);
		assert_int_equal(parse(&s, &c), -EPROTO);
	}
}

static void notify_impossible(void **state)
{
	static const struct {
		uint32_t off, size, mult;
	} bad[] = {
		{ 12288, 4096, 1 }, { 12288, 4096, 3 }, { 12288, 4096, UINT32_MAX },
		{ 12288, 1, 4 },    { 12289, 4095, 4 }, { 12288, 4097, 4 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct virtio_pci_caps c;
		struct space s;

		space_init(&s);
		add(&s, VIRTIO_PCI_CAP_COMMON_CFG, 16, 2, 0, 4096);
		add(&s, VIRTIO_PCI_CAP_DEVICE_CFG, 16, 2, 8192, 4096);
		add_notify(&s, 2, bad[i].off, bad[i].size, bad[i].mult);
		assert_int_equal(parse(&s, &c), -EPROTO);
	}
}

static void not_modern(void **state)
{
	struct virtio_pci_caps c;
	struct space s;

	space_init(&s);
	assert_int_equal(parse(&s, &c), -ENOTSUP); /* an empty list */
	s.config[PCI_STATUS] = 0;
	s.config[PCI_CAPABILITY_LIST] = 0x13; /* not to be looked at */
	assert_int_equal(parse(&s, &c), -ENOTSUP);
	space_init(&s);
	add(&s, VIRTIO_PCI_CAP_COMMON_CFG, 16, 2, 0, 4096);
	add_notify(&s, 2, 12288, 4096, 4);
	assert_int_equal(parse(&s, &c), -ENOTSUP); /* no device structure */
}

static void list_in_a_circle(void **state)
{
	struct virtio_pci_caps c;
	struct space s;

	space_init(&s);
	add_usual(&s);
	*s.link = 0x40;
	assert_int_equal(parse(&s, &c), -EPROTO);
	space_init(&s);
	add_raw(&s, PCI_CAP_ID_VNDR, 16);
	*s.link = 0x42; /* itself, but for the reserved bits */
	assert_int_equal(parse(&s, &c), -EPROTO);
}

static void list_into_the_header(void **state)
{
	struct virtio_pci_caps c;
	struct space s;

	space_init(&s);
	add_usual(&s);
	*s.link = 0x3c;
	assert_int_equal(parse(&s, &c), -EPROTO);
}

/* Every length of the buffer, as an unprivileged reader gets 64 bytes. */
static void truncated(void **state)
{
	struct virtio_pci_caps c;
	struct space s;

	space_init(&s);
	add_usual(&s);
	add_shm(&s, 0, 4, 0, 1 * GIB);
	for (size_t size = 0; size < s.pos; size++) {
		uint8_t *copy = malloc(size ? size : 1);
		int r;

		assert_non_null(copy);
		memcpy(copy, s.config, size);
		r = virtio_pci_caps_parse(copy, size, s.bars, NULL, &c);
		/* When only the last one is cut off the rest is a whole device. */
		if (size < s.pos - 22u)
			assert_int_equal(r, -EPROTO);
		else
			assert_true(r == 0 && !c.shm.len);
		free(copy);
	}
}

/* A capability in the last bytes must not be read past the end. */
static void at_the_very_end(void **state)
{
	for (unsigned int pos = 0xe8; pos < 0x100; pos += 4) {
		struct virtio_pci_caps c;
		struct space s;

		space_init(&s);
		add_usual(&s);
		*s.link = (uint8_t)pos;
		s.config[pos] = PCI_CAP_ID_VNDR;
		if (pos + 3 < PCI_CONFIG_SIZE) {
			s.config[pos + 2] = 24;
			s.config[pos + 3] = VIRTIO_PCI_CAP_SHARED_MEMORY_CFG;
		}
		assert_int_equal(parse(&s, &c), 0);
		assert_int_equal(c.shm.len, 0);
	}
}

/* Any bytes at all end in an answer, and whatever is found lies inside its BAR. */
static void random_bytes(void **state)
{
	unsigned int seed = 1;

	for (int round = 0; round < 20000; round++) {
		struct virtio_pci_caps c;
		struct space s;
		int changes = 1 + round % 40;

		space_init(&s);
		add_usual(&s);
		add_shm(&s, 0, 4, 0, 1 * GIB);
		for (int i = 0; i < changes; i++)
			s.config[rand_r(&seed) % PCI_CONFIG_SIZE] = (uint8_t)rand_r(&seed);
		if (parse(&s, &c) < 0)
			continue;
		assert_true(range_ok(c.common.off, c.common.len, s.bars[c.common.bar]));
		assert_true(range_ok(c.notify.off, c.notify.len, s.bars[c.notify.bar]));
		assert_true(range_ok(c.device.off, c.device.len, s.bars[c.device.bar]));
		assert_true(range_ok(c.shm.off, c.shm.len, s.bars[c.shm.bar]));
	}
}

static void addresses(void **state)
{
	struct pci_address a;

	assert_int_equal(pci_address_parse("0000:00:04.0", &a), 0);
	assert_string_equal(a.text, "0000:00:04.0");
	assert_int_equal(pci_address_parse("00:1f.7", &a), 0);
	assert_string_equal(a.text, "0000:00:1f.7");
	assert_int_equal(pci_address_parse("10000:e1:00.0", &a), 0);
	assert_string_equal(a.text, "10000:e1:00.0");
	assert_int_equal(pci_address_parse("", &a), -EINVAL);
	assert_int_equal(pci_address_parse("../../etc", &a), -EINVAL);
	assert_int_equal(pci_address_parse("0000:00:04.8", &a), -EINVAL);
	assert_int_equal(pci_address_parse("0000:00:20.0", &a), -EINVAL);
	assert_int_equal(pci_address_parse("0000:00:04.0/..", &a), -EINVAL);
	assert_int_equal(pci_address_parse("0000:00:04", &a), -EINVAL);
	assert_int_equal(pci_address_parse("fffffffff:00:04.0", &a), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(usual_device),	       cmocka_unit_test(no_shm_no_isr),
		cmocka_unit_test(shm_64_bit),	       cmocka_unit_test(shm_is_cut_to_pages),
		cmocka_unit_test(shm_impossible),      cmocka_unit_test(shm_capability_too_short),
		cmocka_unit_test(first_good_one_wins), cmocka_unit_test(needed_one_impossible),
		cmocka_unit_test(notify_impossible),   cmocka_unit_test(not_modern),
		cmocka_unit_test(list_in_a_circle),    cmocka_unit_test(list_into_the_header),
		cmocka_unit_test(truncated),	       cmocka_unit_test(at_the_very_end),
		cmocka_unit_test(random_bytes),	       cmocka_unit_test(addresses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
