// SPDX-License-Identifier: MIT
// Rules of pass.h, one at a time, over a loop device.

#include "fake_pass.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "../../src/pass/pass_priv.h"

static const struct host_setup usual = { .window = 2 * MIB, .front = 2 * MIB, .slots = 4 };

/* A setup of which nothing is left in the end. */
static bool begin(struct host *h, const struct host_setup *setup)
{
	if (!host_open(h, setup))
		return false;
	(void)alarm(60);
	return true;
}

static void forget_all(struct host *h)
{
	for (unsigned int i = 0; i < HOST_FILES; i++)
		pass_forget(h->pass, h->file[i].nodeid);
}

/* Nothing is in use. */
static void expect_unused(struct host *h)
{
	assert_int_equal(h->pass->files, 0);
	assert_int_equal(host_live(h, 0), 0);
	assert_int_equal(host_slots(h), h->l.shape.slots);
	assert_int_equal(host_free(h), h->window);
	for (unsigned int i = 0; i < HOST_IDS; i++)
		assert_int_equal(h->id[i], -1);
}

static void end(struct host *h)
{
	forget_all(h);
	expect_unused(h);
	host_close(h);
	(void)alarm(0);
}

/* What the host's file holds now is what programs have written. */
static void expect_on_host(const struct host_file *f)
{
	assert_int_equal(f->host_size, f->guest_size);
	assert_memory_equal(f->host, f->guest, f->guest_size);
}

/* It is passed through, with its right content. */
static void open_passed(struct host *h, struct host_file *f, int flags, struct guest_open *ret)
{
	assert_true(guest_open(h, f, flags, ret) > 0);
	if ((flags & O_ACCMODE) != O_WRONLY)
		guest_check_locked(f, ret->fd);
}

static void expect_plain(struct host *h, struct host_file *f, int flags)
{
	struct guest_open o;

	assert_int_equal(guest_open(h, f, flags, &o), 0);
	guest_close(h, &o);
}

static void compose_and_close(struct host *h, struct host_file *f, int flags)
{
	struct guest_open o;

	open_passed(h, f, flags, &o);
	guest_close(h, &o);
}

static void *map_file(const struct guest_open *o)
{
	void *map = mmap(NULL, o->f->guest_size, PROT_READ | PROT_WRITE, MAP_SHARED, o->fd, 0);

	assert_ptr_not_equal(map, MAP_FAILED);
	return map;
}

/* A program stores to its mapping. */
static void store(struct host_file *f, void *map, uint64_t at, uint8_t byte)
{
	((uint8_t *)map)[at] = byte;
	guest_wrote_locked(f, &byte, at, 1);
}

static void one_id_while_open(void **state)
{
	struct guest_open a, b, c;
	struct host h;
	unsigned int setups;

	if (!begin(&h, &usual))
		skip();
	for (uint64_t size = 4096; size < 300000; size = size * 3 + 1) {
		host_fill(&h, &h.file[0], size);
		open_passed(&h, &h.file[0], O_RDWR, &a);
		open_passed(&h, &h.file[0], O_RDONLY, &b);
		open_passed(&h, &h.file[0], O_WRONLY | O_APPEND, &c);
		assert_int_equal(a.id, b.id);
		assert_int_equal(a.id, c.id);
		guest_close(&h, &a);
		guest_close(&h, &c);
		guest_close(&h, &b);
		assert_true(pass_keeps(h.pass, h.file[0].nodeid));
		/* It is kept. */
		setups = h.calls[CALL_SETUP];
		compose_and_close(&h, &h.file[0], O_RDONLY);
		assert_int_equal(h.calls[CALL_SETUP], setups);
	}
	end(&h);
}

static void held_only_when_closed(void **state)
{
	struct host_file *f;
	struct pass_hold hold;
	struct guest_open o;
	struct host h;

	if (!begin(&h, &usual))
		skip();
	f = &h.file[0];
	open_passed(&h, f, O_RDWR, &o);
	assert_int_equal(pass_hold(h.pass, f->nodeid, &hold), -EBUSY);
	guest_check_locked(f, o.fd);
	guest_close(&h, &o);
	assert_int_equal(pass_hold(h.pass, f->nodeid, &hold), 0);
	assert_int_equal(host_live(&h, 0), 0);
	host_fill(&h, f, 50000);
	expect_plain(&h, f, O_RDWR);
	compose_and_close(&h, &h.file[1], O_RDWR);
	pass_unhold(h.pass, &hold);
	compose_and_close(&h, f, O_RDWR);
	end(&h);
}

static void *unmap_soon(void *map)
{
	(void)usleep(100000);
	must(munmap(map, 100000) == 0);
	return NULL;
}

/* The mapping goes while somebody waits for that. */
static void held_when_unmapped(void **state)
{
	struct host_file *f;
	struct pass_hold hold;
	struct guest_open o;
	pthread_t thread;
	struct host h;
	void *map;

	if (!begin(&h, &usual))
		skip();
	f = &h.file[0];
	open_passed(&h, f, O_RDWR, &o);
	map = map_file(&o);
	guest_close(&h, &o);
	assert_int_equal(pthread_create(&thread, NULL, unmap_soon, map), 0);
	assert_int_equal(pass_hold(h.pass, f->nodeid, &hold), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	pass_unhold(h.pass, &hold);
	end(&h);
}

static void not_begun(void **state)
{
	struct host_setup setup = usual;
	struct guest_open a, b;
	struct host_file *f;
	struct host h;

	setup.min_size = 10000;
	if (!begin(&h, &setup))
		skip();
	f = &h.file[0];
	expect_plain(&h, f, O_RDWR | O_APPEND);
	expect_plain(&h, f, O_RDWR | O_TRUNC);
	/* It is open already, and not passed through. */
	assert_int_equal(guest_open(&h, f, O_RDWR | O_APPEND, &a), 0);
	assert_int_equal(guest_open(&h, f, O_RDWR, &b), 0);
	guest_close(&h, &a);
	guest_close(&h, &b);
	host_fill(&h, f, 9999);
	expect_plain(&h, f, O_RDWR);
	host_fill(&h, f, 10000);
	compose_and_close(&h, f, O_RDWR);
	host_fill(&h, f, 9999);
	expect_plain(&h, f, O_RDWR);
	end(&h);
}

static void privileges(void **state)
{
	struct host_setup setup = usual;
	struct host_file *f;
	struct host h;

	for (unsigned int ro = 0; ro < 2; ro++) {
		setup.read_only = ro;
		if (!begin(&h, &setup))
			skip();
		f = &h.file[0];
		compose_and_close(&h, f, O_RDONLY);
		f->set_id = true;
		f->ctime_ns = ++h.clock;
		if (ro)
			compose_and_close(&h, f, O_RDONLY);
		else
			expect_plain(&h, f, O_RDONLY);
		f->set_id = false;
		f->ctime_ns = ++h.clock;
		compose_and_close(&h, f, O_RDONLY);
		f->privileged = true;
		f->ctime_ns = ++h.clock;
		if (ro)
			compose_and_close(&h, f, O_RDONLY);
		else
			expect_plain(&h, f, O_RDONLY);
		end(&h);
	}
}

static void read_only(void **state)
{
	struct host_setup setup = usual;
	struct guest_open a, b;
	struct host h;

	setup.read_only = true;
	if (!begin(&h, &setup))
		skip();
	expect_plain(&h, &h.file[0], O_RDWR);
	open_passed(&h, &h.file[0], O_RDONLY, &a);
	assert_int_equal(guest_open(&h, &h.file[0], O_RDWR, &b), -EBUSY);
	guest_close(&h, &a);
	end(&h);
}

static void only_fixed(void **state)
{
	struct host_setup setup = usual;
	struct host h;

	setup.only_fixed = true;
	if (!begin(&h, &setup))
		skip();
	expect_plain(&h, &h.file[0], O_RDWR);
	h.file[0].fixed = true;
	compose_and_close(&h, &h.file[0], O_RDWR);
	expect_plain(&h, &h.file[1], O_RDWR);
	end(&h);
}

/* The last page of 5000 bytes is a copy. */
static void last_page_by_handle(void **state)
{
	struct host_file *f;
	struct guest_open r, w;
	struct host h;

	if (!begin(&h, &usual))
		skip();
	f = &h.file[0];
	host_fill(&h, f, 5000);
	open_passed(&h, f, O_RDONLY, &r);
	assert_int_equal(host_settled(&h, f), 0);
	open_passed(&h, f, O_RDWR, &w);
	assert_int_equal(guest_write_locked(f, w.fd, 4990, 5, 1), 5);
	assert_int_equal(host_settled(&h, f), 1);
	assert_true(f->last_by_handle && f->last_fh == w.fh);
	expect_on_host(f);
	assert_int_equal(host_settled(&h, f), 0);
	/* A page that the window shows. */
	assert_int_equal(guest_write_locked(f, w.fd, 10, 5, 1), 5);
	assert_int_equal(host_settled(&h, f), 1);
	assert_int_equal(f->writes, 1);
	/* It becomes longer inside of its last page, and no more. */
	assert_int_equal(guest_write_locked(f, w.fd, 4999, 100, 2), 100);
	assert_int_equal(host_settled(&h, f), 1);
	expect_on_host(f);
	assert_int_equal(guest_write_locked(f, w.fd, 8192, 1, 2), -1);
	assert_int_equal(errno, ENOSPC);
	guest_check_locked(f, r.fd);
	guest_close(&h, &w);
	guest_close(&h, &r);
	compose_and_close(&h, f, O_RDWR);
	end(&h);
}

/* To the end of its last block, which stays a copy. */
static void last_page_becomes_whole(void **state)
{
	struct host_file *f;
	struct guest_open o;
	struct host h;

	if (!begin(&h, &usual))
		skip();
	f = &h.file[0];
	host_fill(&h, f, 5000);
	open_passed(&h, f, O_RDWR, &o);
	assert_int_equal(guest_write_locked(f, o.fd, 5000, 8192 - 5000, 1), 8192 - 5000);
	assert_int_equal(host_settled(&h, f), 1);
	expect_on_host(f);
	assert_int_equal(guest_write_locked(f, o.fd, 6000, 10, 2), 10);
	assert_int_equal(host_settled(&h, f), 1);
	expect_on_host(f);
	guest_close(&h, &o);
	open_passed(&h, f, O_RDWR, &o);
	assert_int_equal(guest_write_locked(f, o.fd, 7000, 10, 3), 10);
	guest_close(&h, &o);
	expect_on_host(f);
	end(&h);
}

/* A write right after the file was composed, or settled, counts. */
static void writes_at_once(void **state)
{
	struct host_file *f;
	struct guest_open o;
	struct host h;

	if (!begin(&h, &usual))
		skip();
	f = &h.file[0];
	for (unsigned int i = 0; i < 50; i++) {
		open_passed(&h, f, O_RDWR, &o);
		assert_int_equal(host_settled(&h, f), 0);
		for (unsigned int k = 0; k < 20; k++) {
			assert_int_equal(guest_write_locked(f, o.fd, k, 1, i), 1);
			assert_int_equal(host_settled(&h, f), 1);
			assert_int_equal(host_settled(&h, f), 0);
		}
		guest_close(&h, &o);
		pass_forget(h.pass, f->nodeid);
	}
	end(&h);
}

/* ext4 with DAX makes a file longer when a write behind its last block fails. */
static void failed_growth(void **state)
{
	struct host_file *f;
	struct guest_open o;
	struct host h;

	if (!begin(&h, &usual))
		skip();
	f = &h.file[0];
	for (uint64_t to = 8192 - ENOSPC; to < 8200; to++) {
		host_fill(&h, f, 5000);
		open_passed(&h, f, O_RDWR, &o);
		assert_int_equal(ftruncate(o.fd, (off_t)to), 0);
		assert_int_equal(host_settled(&h, f), 1);
		assert_int_equal(host_settled(&h, f), 0);
		guest_check_locked(f, o.fd);
		expect_on_host(f);
		assert_int_equal(f->writes, 0);
		guest_close(&h, &o);
	}
	end(&h);
}

/* A mapping outlives its close: its stores reach the host, without a handle. */
static void stores_after_close(void **state)
{
	struct host_file *f;
	struct guest_open o;
	struct host h;
	void *map;

	if (!begin(&h, &usual))
		skip();
	f = &h.file[0];
	host_fill(&h, f, 5000);
	open_passed(&h, f, O_RDWR, &o);
	assert_true(pass_watch(h.pass, f->nodeid));
	assert_false(pass_watch(h.pass, f->nodeid));
	assert_false(pass_unwatch(h.pass, f->nodeid));
	map = map_file(&o);
	guest_close(&h, &o);
	store(f, map, 4500, 1);
	assert_false(pass_unwatch(h.pass, f->nodeid));
	assert_int_equal(host_settled(&h, f), 1);
	assert_false(f->last_by_handle);
	expect_on_host(f);
	store(f, map, 4500, 2);
	assert_int_equal(munmap(map, 5000), 0);
	assert_true(pass_unwatch(h.pass, f->nodeid));
	pass_forget(h.pass, f->nodeid);
	expect_on_host(f);
	end(&h);
}

/* Who watches a file does so once, whatever becomes of it meanwhile. */
static void watched_once(void **state)
{
	struct host_file *f;
	struct guest_open o;
	struct host h;

	if (!begin(&h, &usual))
		skip();
	f = &h.file[0];
	for (unsigned int i = 0; i < 3; i++) {
		open_passed(&h, f, O_RDWR, &o);
		assert_int_equal(pass_watch(h.pass, f->nodeid), !i);
		guest_close(&h, &o);
		pass_forget(h.pass, f->nodeid);
	}
	open_passed(&h, f, O_RDWR, &o);
	assert_false(pass_unwatch(h.pass, f->nodeid));
	guest_close(&h, &o);
	assert_true(pass_unwatch(h.pass, f->nodeid));
	open_passed(&h, f, O_RDWR, &o);
	assert_true(pass_watch(h.pass, f->nodeid));
	guest_close(&h, &o);
	end(&h);
}

static struct {
	struct host_file *f;
	void *map;
} late;

static void store_late(struct host *h)
{
	h->on_write = NULL;
	store(late.f, late.map, 4501, 7);
	assert_int_equal(munmap(late.map, 5000), 0);
}

/* The last store comes, and the mapping goes, while the last page is being written back. */
static void stores_while_evicted(void **state)
{
	struct guest_open o;
	struct host h;

	if (!begin(&h, &usual))
		skip();
	late.f = &h.file[0];
	host_fill(&h, late.f, 5000);
	open_passed(&h, late.f, O_RDWR, &o);
	late.map = map_file(&o);
	guest_close(&h, &o);
	store(late.f, late.map, 4500, 1);
	h.on_write = store_late;
	pass_forget(h.pass, late.f->nodeid);
	if (h.on_write) { /* nothing is written while it is mapped */
		store_late(&h);
		pass_forget(h.pass, late.f->nodeid);
	}
	assert_false(pass_keeps(h.pass, late.f->nodeid));
	expect_on_host(late.f);
	end(&h);
}

/* A store after the close counts when the file is composed anew because of its times. */
static void stores_before_composed_again(void **state)
{
	struct host_file *f;
	struct guest_open o;
	struct host h;
	void *map;

	if (!begin(&h, &usual))
		skip();
	f = &h.file[0];
	host_fill(&h, f, 5000);
	open_passed(&h, f, O_RDWR, &o);
	map = map_file(&o);
	guest_close(&h, &o);
	store(f, map, 4500, 1);
	assert_int_equal(munmap(map, 5000), 0);
	f->mtime_ns = ++h.clock;
	compose_and_close(&h, f, O_RDWR);
	expect_on_host(f);
	end(&h);
}

/* An evicted file that is mapped is not composed again until nobody has it mapped. */
static void dying(void **state)
{
	static const uint64_t sizes[] = { 5001, 8192, 20000, 7000, 4096 };
	struct pass_hold hold;
	struct host_file *f;
	struct guest_open o;
	struct host h;
	void *map;

	if (!begin(&h, &usual))
		skip();
	f = &h.file[0];
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		uint64_t old = i % 2 ? 5000 : 9000;
		unsigned int writes;

		host_fill(&h, f, old);
		open_passed(&h, f, O_RDWR, &o);
		map = map_file(&o);
		guest_close(&h, &o);
		writes = f->writes;
		/* The host's file becomes another. */
		host_fill(&h, f, sizes[i]);
		expect_plain(&h, f, O_RDWR);
		expect_plain(&h, f, O_RDWR);
		assert_int_equal(pass_hold(h.pass, f->nodeid, &hold), -EBUSY);
		assert_true(host_live(&h, f->nodeid) > 0);
		assert_int_equal(munmap(map, old), 0);
		compose_and_close(&h, f, O_RDWR);
		/* Nothing of the old file is written over the new one. */
		assert_int_equal(f->writes, writes);
		expect_on_host(f);
	}
	end(&h);
}

/* Somebody has a path to the slot's file, as who reads a link in /proc: its pages must stay. */
static void held_path(void **state)
{
	struct host_file *f;
	struct guest_open o;
	struct host h;
	char path[32];
	int fd;

	if (!begin(&h, &usual))
		skip();
	f = &h.file[0];
	open_passed(&h, f, O_RDWR, &o);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", o.fd);
	fd = open(path, O_PATH | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(guest_write_locked(f, o.fd, f->guest_size - 1, 1, 1), 1);
	guest_close(&h, &o);
	pass_forget(h.pass, f->nodeid);
	assert_true(host_live(&h, f->nodeid) > 0);
	assert_int_equal(host_settled(&h, f), 0);
	expect_plain(&h, f, O_RDWR);
	assert_int_equal(close(fd), 0);
	compose_and_close(&h, f, O_RDWR);
	expect_on_host(f);
	end(&h);
}

static void least_recent_goes(void **state)
{
	struct guest_open o;
	struct host h;

	if (!begin(&h, &usual))
		skip();
	for (unsigned int i = 0; i < 4; i++)
		compose_and_close(&h, &h.file[i], O_RDONLY);
	compose_and_close(&h, &h.file[0], O_RDONLY);
	open_passed(&h, &h.file[1], O_RDONLY, &o);
	/* 2 is the oldest that is not open, then 3. */
	compose_and_close(&h, &h.file[4], O_RDONLY);
	assert_false(pass_keeps(h.pass, 3));
	compose_and_close(&h, &h.file[5], O_RDONLY);
	assert_false(pass_keeps(h.pass, 4));
	assert_true(pass_keeps(h.pass, 1) && pass_keeps(h.pass, 2));
	guest_close(&h, &o);
	end(&h);
}

/* Others are evicted for room in the window or at the host, but not in vain. */
static void room(void **state)
{
	struct host_setup setup = usual;
	struct guest_open o;
	struct host h;

	setup.window = 512 * KIB;
	if (!begin(&h, &setup))
		skip();
	host_fill(&h, &h.file[0], 128 * KIB);
	host_fill(&h, &h.file[1], 200 * KIB);
	host_fill(&h, &h.file[2], 384 * KIB);
	open_passed(&h, &h.file[0], O_RDONLY, &o);
	compose_and_close(&h, &h.file[1], O_RDONLY);
	compose_and_close(&h, &h.file[2], O_RDONLY);
	assert_false(pass_keeps(h.pass, 2));
	guest_close(&h, &o);
	open_passed(&h, &h.file[1], O_RDONLY, &o);
	assert_false(pass_keeps(h.pass, 3));
	/* There is none for the third. */
	compose_and_close(&h, &h.file[0], O_RDONLY);
	expect_plain(&h, &h.file[2], O_RDONLY);
	assert_true(pass_keeps(h.pass, 1));
	guest_close(&h, &o);
	h.limit = host_live(&h, 0);
	compose_and_close(&h, &h.file[3], O_RDONLY);
	assert_false(pass_keeps(h.pass, 2));
	assert_true(pass_keeps(h.pass, 1));
	end(&h);
}

/* An open goes by what was just told, and asks the host when that says that the file has changed. */
static void told(void **state)
{
	struct pass_attr_in old, now;
	struct host_file *f;
	struct host h;
	unsigned int asked;

	if (!begin(&h, &usual))
		skip();
	f = &h.file[0];
	compose_and_close(&h, f, O_RDONLY);
	asked = h.calls[CALL_ATTR];
	now = old = host_attr(f);
	pass_note(h.pass, f->nodeid, &now);
	compose_and_close(&h, f, O_RDONLY);
	assert_int_equal(h.calls[CALL_ATTR], asked);
	/* Two replies of the host cross: the older is noted last. */
	for (unsigned int i = 0; i < 2; i++) {
		(void)usleep(30000); /* until what was noted is too old */
		host_fill(&h, f, i ? 200000 : 50000);
		compose_and_close(&h, f, O_RDONLY);
		pass_note(h.pass, f->nodeid, &old);
		compose_and_close(&h, f, O_RDONLY);
	}
	end(&h);
}

static void arena(void **state)
{
	struct host_setup setup = usual;
	struct pass_arena a;
	struct host h;
	uint64_t before;

	setup.window = 3 * MIB + 64 * KIB + 4096;
	for (unsigned int all = 0; all < 2; all++) {
		if (!begin(&h, &setup))
			skip();
		before = host_free(&h);
		assert_int_equal(pass_arena_open(h.pass, all, &a), 0);
		assert_int_equal(a.size, all ? align_down(setup.window, 65536) : 1 * MIB);
		assert_int_equal(host_free(&h), before - a.size);
		assert_true(a.at.v >= h.front && range_ok(a.at.v - h.front, a.size, h.window));
		/* It is that part of the window, from its first byte to its last. */
		for (uint64_t at = 0; at < a.size; at += PAGE_4K)
			memset((char *)a.addr + at, (int)(at / PAGE_4K + 1), PAGE_4K);
		if (all)
			expect_plain(&h, &h.file[0], O_RDONLY);
		else
			compose_and_close(&h, &h.file[0], O_RDONLY);
		assert_int_equal(msync(a.addr, a.size, MS_SYNC), 0);
		for (uint64_t at = 0; at < a.size; at += PAGE_4K) {
			uint8_t want[PAGE_4K], got[PAGE_4K];

			memset(want, (int)(at / PAGE_4K + 1), sizeof(want));
			image_get(
				&h.im,
				DBLK(h.l.data.v + (uint32_t)((a.at.v - h.front + at) / PASS_BLOCK)),
				got, 1);
			assert_memory_equal(got, want, sizeof(want));
		}
		forget_all(&h);
		assert_int_equal(host_free(&h), before - a.size);
		host_close(&h);
	}
	(void)alarm(0);
}

static void large_arena(void **state)
{
	struct host_setup setup = usual;
	struct pass_arena a;
	struct host h;

	setup.window = PASS_SLOT_EXTENT_MAX + GIB;
	if (!begin(&h, &setup))
		skip();
	assert_int_equal(pass_arena_open(h.pass, true, &a), 0);
	assert_int_equal(a.size, PASS_SLOT_EXTENT_MAX);
	((char *)a.addr)[a.size - 1] = 1;
	host_close(&h);
	(void)alarm(0);
}

/* Windows of any size, larger than the largest block, too; the namespace's data is in front. */
static void any_window(void **state)
{
	static const uint64_t sizes[] = { 192 * KIB, 1022 * MIB, 1536 * MIB - 2 * MIB,
					  2 * GIB - 2 * MIB, 3 * GIB + 64 * KIB };
	struct host_setup setup = usual;
	struct host h;

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		setup.window = sizes[i];
		if (!begin(&h, &setup))
			skip();
		assert_int_equal(host_free(&h), setup.window);
		compose_and_close(&h, &h.file[0], O_RDWR);
		end(&h);
	}
}

/* No open is answered with passthrough, nothing is left, and the next open works. */
static void expect_refused(struct host *h, struct host_file *f)
{
	expect_plain(h, f, O_RDWR);
	assert_false(pass_keeps(h->pass, f->nodeid));
	forget_all(h);
	expect_unused(h);
	compose_and_close(h, f, O_RDWR);
	expect_on_host(f);
	forget_all(h);
}

/* Each call to the host and the kernel that composing makes fails once. */
static void composing_fails(void **state)
{
	static const enum host_call calls[] = { CALL_ATTR, CALL_SETUP, CALL_READ, CALL_BACKING };
	static const int errors[] = { -EIO, -ENOSPC, -ENODATA, -ENOMEM, -EACCES };
	struct host_file *f;
	struct host h;

	if (!begin(&h, &usual))
		skip();
	f = &h.file[0];
	host_fill(&h, f, 300001); /* of 256 + 32 KiB and a copy */
	for (size_t c = 0; c < ARRAY_SIZE(calls); c++)
		for (size_t e = 0; e < ARRAY_SIZE(errors); e++)
			for (unsigned int n = 1; n <= (calls[c] == CALL_SETUP ? 2 : 1); n++) {
				/* With room at the host an eviction helps. */
				if (calls[c] == CALL_SETUP && errors[e] == -ENOSPC)
					continue;
				compose_and_close(&h, &h.file[1], O_RDWR);
				h.fail_with = errors[e];
				h.fail_at[calls[c]] = n;
				expect_refused(&h, f);
				assert_int_equal(h.fail_at[calls[c]], 0);
			}
	end(&h);
}

/* So does what is asked when a file that is kept is opened again. */
static void opening_again_fails(void **state)
{
	struct host_file *f;
	struct host h;

	if (!begin(&h, &usual))
		skip();
	f = &h.file[0];
	compose_and_close(&h, f, O_RDWR);
	h.fail_with = -EIO;
	h.fail_at[CALL_ATTR] = 1;
	expect_plain(&h, f, O_RDWR);
	assert_int_equal(h.fail_at[CALL_ATTR], 0);
	forget_all(&h);
	expect_unused(&h);
	compose_and_close(&h, f, O_RDWR);
	end(&h);
}

/* The mounted device refuses writes, or there is no descriptor for the file. */
static void slots_fail(void **state)
{
	struct rlimit old, none;
	struct host_file *f;
	struct host h;
	int ro = 1;

	if (!begin(&h, &usual))
		skip();
	f = &h.file[0];
	assert_int_equal(ioctl(h.loop, BLKROSET, &ro), 0);
	expect_plain(&h, f, O_RDWR);
	ro = 0;
	assert_int_equal(ioctl(h.loop, BLKROSET, &ro), 0);
	expect_unused(&h);
	compose_and_close(&h, f, O_RDWR);
	forget_all(&h);

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	none = (struct rlimit){ .rlim_cur = 0, .rlim_max = old.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	expect_plain(&h, f, O_RDWR);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	expect_unused(&h);
	compose_and_close(&h, f, O_RDWR);
	end(&h);
}

/* A write of the last page fails: it is tried again. */
static void settling_fails(void **state)
{
	struct host_file *f;
	struct guest_open o;
	struct host h;

	if (!begin(&h, &usual))
		skip();
	f = &h.file[0];
	open_passed(&h, f, O_RDWR, &o);
	assert_int_equal(guest_write_locked(f, o.fd, f->guest_size, 10, 1), 10);
	h.fail_with = -EIO;
	h.fail_at[CALL_WRITE] = 1;
	assert_int_equal(host_settled(&h, f), -EIO);
	assert_int_equal(host_settled(&h, f), 1);
	expect_on_host(f);
	guest_close(&h, &o);
	end(&h);
}

/* What the host has not removed is not used again, and the rest is. */
static void removing_fails(void **state)
{
	struct host h;

	if (!begin(&h, &usual))
		skip();
	compose_and_close(&h, &h.file[0], O_RDWR);
	h.fail_with = -EIO;
	h.fail_at[CALL_REMOVE] = 1;
	forget_all(&h);
	assert_int_equal(h.pass->files, 0);
	assert_int_equal(host_slots(&h), usual.slots);
	assert_true(host_free(&h) < h.window);
	for (unsigned int round = 0; round < 5; round++)
		for (unsigned int i = 0; i < HOST_FILES; i++)
			compose_and_close(&h, &h.file[i], O_RDWR);
	forget_all(&h);
	host_close(&h);
	(void)alarm(0);
}

static void destroyed_while_mapped(void **state)
{
	struct guest_open o;
	struct host h;
	void *map;

	if (!begin(&h, &usual))
		skip();
	open_passed(&h, &h.file[0], O_RDWR, &o);
	map = map_file(&o);
	guest_close(&h, &o);
	pass_destroy(h.pass);
	assert_memory_equal(map, h.file[0].guest, h.file[0].guest_size);
	/* The host must not take the pages away from it. */
	assert_int_equal(host_live(&h, 0), h.maps);
	assert_true(h.maps > 0);
	assert_int_equal(munmap(map, h.file[0].guest_size), 0);
	h.maps = 0;
	h.pass = NULL;
	host_close(&h);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, image_teardown)
	const struct CMUnitTest tests[] = {
		TEST(one_id_while_open),
		TEST(held_only_when_closed),
		TEST(held_when_unmapped),
		TEST(not_begun),
		TEST(privileges),
		TEST(read_only),
		TEST(only_fixed),
		TEST(last_page_by_handle),
		TEST(last_page_becomes_whole),
		TEST(writes_at_once),
		TEST(failed_growth),
		TEST(stores_after_close),
		TEST(watched_once),
		TEST(stores_while_evicted),
		TEST(stores_before_composed_again),
		TEST(dying),
		TEST(held_path),
		TEST(least_recent_goes),
		TEST(room),
		TEST(told),
		TEST(arena),
		TEST(large_arena),
		TEST(any_window),
		TEST(composing_fails),
		TEST(opening_again_fails),
		TEST(slots_fail),
		TEST(settling_fails),
		TEST(removing_fails),
		TEST(destroyed_while_mapped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
