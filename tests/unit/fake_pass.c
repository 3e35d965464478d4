// SPDX-License-Identifier: MIT
// A host and a kernel for src/pass: files of known content, a window on a loop device, backing ids.

#include "fake_pass.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "../../src/pass/pass_priv.h"
#include "base/cleanup.h"

static struct host_file *file_of(struct host *h, uint64_t nodeid)
{
	must(nodeid >= 1 && nodeid <= HOST_FILES);
	return &h->file[nodeid - 1];
}

static int fails_locked(struct host *h, enum host_call call)
{
	static const int errors[] = { -ENOSPC, -EIO, -ENODATA, -ENOMEM };

	h->calls[call]++;
	if (h->fail_at[call] && !--h->fail_at[call])
		return h->fail_with;
	if (h->fail_one_in[call] && rng_chance(&h->rng, h->fail_one_in[call]))
		return errors[rng_below(&h->rng, ARRAY_SIZE(errors))];
	return 0;
}

/* Does this call fail? 0 or a negative errno, after some time. */
static int fails(struct host *h, enum host_call call)
{
	useconds_t us;
	int r;

	(void)pthread_mutex_lock(&h->lock);
	r = fails_locked(h, call);
	us = h->slow_us ? (useconds_t)rng_below(&h->rng, h->slow_us) : 0;
	(void)pthread_mutex_unlock(&h->lock);
	if (us)
		(void)usleep(us);
	return r;
}

static off_t place(const struct host *h, uint64_t at)
{
	return (off_t)((uint64_t)h->l.data.v * PASS_BLOCK + at);
}

static void put(const struct host *h, const void *buf, uint64_t len, uint64_t at)
{
	must(pwrite(h->im.fd, buf, len, place(h, at)) == (ssize_t)len);
}

static bool overlap(uint64_t a, uint64_t a_len, uint64_t b, uint64_t b_len)
{
	return a < b + b_len && b < a + a_len;
}

static int add_map(struct host *h, const struct host_map *map)
{
	scoped_lock(&h->lock);
	if (h->limit && h->maps >= h->limit)
		return -ENOSPC;
	must(h->maps < HOST_MAPS);
	for (unsigned int i = 0; i < h->maps; i++) {
		const struct host_map *m = &h->map[i];

		must(!overlap(m->at, m->len, map->at, map->len));
		/* No page of a file is in two places: fs/dax knows one inode of a page. */
		must(m->stuck || m->nodeid != map->nodeid ||
		     !overlap(m->from, m->len, map->from, map->len));
	}
	h->map[h->maps++] = *map;
	return 0;
}

/* It was evicted: what could not be written to the host is lost. */
static void begin_composing_locked(struct host_file *f)
{
	f->tail = UINT64_MAX;
	if (!f->doubt)
		return;
	memcpy(f->guest, f->host, HOST_SIZE_MAX);
	f->guest_size = f->host_size;
	f->doubt = false;
}

static int map_setup(void *ctx, uint64_t nodeid, struct foff from, uint64_t len, struct woff to,
		     bool writable)
{
	struct host *h = ctx;
	struct host_file *f = file_of(h, nodeid);
	struct host_map map = { .nodeid = nodeid, .from = from.v, .len = len };
	int r = fails(h, CALL_SETUP);

	must(to.v >= h->front && to.v % PAGE_4K == 0 && from.v % PAGE_4K == 0);
	map.at = to.v - h->front;
	must(range_ok(map.at, len, h->window));
	scoped_lock(&f->lock);
	if (r == 0 && !range_ok(from.v, len, f->host_size))
		r = -ENODATA;
	if (r == 0)
		r = add_map(h, &map);
	if (r < 0)
		return r;
	if (!from.v)
		begin_composing_locked(f);
	put(h, f->host + from.v, len, map.at);
	return 0;
}

/* The mapping that is just this range goes, or stays stuck. */
static bool take_map(struct host *h, const struct dax_range *range, struct host_map *ret)
{
	bool stuck = fails(h, CALL_REMOVE) < 0;

	scoped_lock(&h->lock);
	for (unsigned int i = 0; i < h->maps; i++) {
		struct host_map *m = &h->map[i];

		if (m->stuck || m->at + h->front != range->at.v || m->len != range->len)
			continue;
		*ret = *m;
		m->stuck = stuck;
		if (!stuck)
			*m = h->map[--h->maps];
		return stuck;
	}
	must(!"a mapping that is there is removed");
	return false;
}

/* The window has shown the host's file to the last byte. Now it shows something else. */
static bool remove_map(struct host *h, const struct dax_range *range)
{
	uint8_t *buf = malloc(range->len);
	struct host_map map;
	bool stuck = take_map(h, range, &map);
	struct host_file *f = file_of(h, map.nodeid);

	must(buf && pread(h->im.fd, buf, map.len, place(h, map.at)) == (ssize_t)map.len);
	(void)pthread_mutex_lock(&f->lock);
	must(map.changed || !memcmp(buf, f->host + map.from, map.len));
	(void)pthread_mutex_unlock(&f->lock);
	memset(buf, 0xee, map.len);
	put(h, buf, map.len, map.at);
	free(buf);
	return stuck;
}

static int map_remove(void *ctx, const struct dax_range *ranges, unsigned int n)
{
	bool stuck = false;

	must(n >= 1 && n <= PASS_PIECES_MAX);
	for (unsigned int i = 0; i < n; i++)
		stuck = remove_map(ctx, &ranges[i]) || stuck;
	return stuck ? -EIO : 0;
}

struct pass_attr_in host_attr(struct host_file *f)
{
	scoped_lock(&f->lock);
	return (struct pass_attr_in){ .size = f->host_size,
				      .mtime_ns = f->mtime_ns,
				      .ctime_ns = f->ctime_ns,
				      .set_id = f->set_id };
}

static uint64_t tick(struct host *h)
{
	scoped_lock(&h->lock);
	return ++h->clock;
}

static int touch(void *ctx, uint64_t nodeid, struct pass_attr_in *ret)
{
	struct host_file *f = file_of(ctx, nodeid);
	uint64_t now = tick(ctx);

	(void)pthread_mutex_lock(&f->lock);
	f->mtime_ns = f->ctime_ns = now;
	(void)pthread_mutex_unlock(&f->lock);
	*ret = host_attr(f);
	return 0;
}

static int ask_attr(void *ctx, uint64_t nodeid, struct pass_attr_in *ret)
{
	int r = fails(ctx, CALL_ATTR);

	if (r == 0)
		*ret = host_attr(file_of(ctx, nodeid));
	return r;
}

static bool ask_privileged(void *ctx, uint64_t nodeid)
{
	struct host_file *f = file_of(ctx, nodeid);

	scoped_lock(&f->lock);
	return f->privileged;
}

static bool ask_fixed(void *ctx, uint64_t nodeid)
{
	struct host_file *f = file_of(ctx, nodeid);

	scoped_lock(&f->lock);
	return f->fixed;
}

static bool ask_alone(void *ctx, uint64_t nodeid)
{
	return atomic_load(&file_of(ctx, nodeid)->opens) == 1;
}

static int read_tail(void *ctx, uint64_t nodeid, uint64_t fh, uint64_t off, void *buf, size_t len)
{
	struct host_file *f = file_of(ctx, nodeid);
	int r = fails(ctx, CALL_READ);

	must(fh && off % PAGE_4K == 0 && len < PAGE_4K);
	scoped_lock(&f->lock);
	if (r == 0 && !range_ok(off, len, f->host_size))
		r = -ENODATA;
	if (r < 0)
		return r;
	memcpy(buf, f->host + off, len);
	f->tail = off;
	return 0;
}

static int write_tail(void *ctx, uint64_t nodeid, const uint64_t *fh, uint64_t off, const void *buf,
		      size_t len)
{
	struct host *h = ctx;
	struct host_file *f = file_of(h, nodeid);
	int r = fails(h, CALL_WRITE);

	must(off % PAGE_4K == 0 && len && len <= PAGE_4K && off + len <= HOST_SIZE_MAX);
	if (h->on_write)
		h->on_write(h);
	scoped_lock(&f->lock);
	f->writes++;
	f->last_by_handle = fh;
	f->last_fh = fh ? *fh : 0;
	f->doubt = f->doubt || r < 0;
	if (r < 0)
		return r;
	must(off == f->tail);
	memcpy(f->host + off, buf, len);
	f->host_size = MAX(f->host_size, off + len);
	f->mtime_ns = f->ctime_ns = tick(h);
	return 0;
}

static int backing_open(void *ctx, int fd)
{
	struct host *h = ctx;
	int r = fails(h, CALL_BACKING);

	if (r < 0)
		return r;
	scoped_lock(&h->lock);
	for (unsigned int i = 0; i < HOST_IDS; i++)
		if (h->id[i] < 0) {
			/* The kernel keeps the open file, and does not open it again for this. */
			h->id[i] = fcntl(fd, F_DUPFD_CLOEXEC, 0);
			must(h->id[i] >= 0);
			return (int)i + 1;
		}
	return -ENOMEM;
}

static void backing_close(void *ctx, int id)
{
	struct host *h = ctx;

	scoped_lock(&h->lock);
	must(id >= 1 && id <= (int)HOST_IDS && h->id[id - 1] >= 0);
	must(close(steal_fd(&h->id[id - 1])) == 0);
}

int kernel_open(struct host *h, int id, int flags)
{
	char path[32];
	int fd;

	scoped_lock(&h->lock);
	must(id >= 1 && id <= (int)HOST_IDS && h->id[id - 1] >= 0);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", h->id[id - 1]);
	fd = open(path, flags | O_CLOEXEC);
	must(fd >= 0);
	return fd;
}

static const struct dax_remote_ops map_ops = { .setup = map_setup, .remove = map_remove };
static const struct pass_ops host_ops = {
	.map = &map_ops,
	.attr = ask_attr,
	.privileged = ask_privileged,
	.fixed = ask_fixed,
	.alone = ask_alone,
	.read = read_tail,
	.write = write_tail,
	.touch = touch,
	.backing_open = backing_open,
	.backing_close = backing_close,
};

void host_fill_locked(struct host *h, struct host_file *f, uint64_t size)
{
	must(size <= HOST_SIZE_MAX);
	(void)pthread_mutex_lock(&h->lock);
	for (size_t i = 0; i < HOST_SIZE_MAX; i += 8) {
		uint64_t v = i < size ? rng_next(&h->rng) : 0;

		memcpy(f->host + i, &v, sizeof(v));
	}
	for (unsigned int i = 0; i < h->maps; i++)
		h->map[i].changed = h->map[i].changed || h->map[i].nodeid == f->nodeid;
	f->mtime_ns = f->ctime_ns = ++h->clock;
	(void)pthread_mutex_unlock(&h->lock);
	memset(f->host + size, 0, HOST_SIZE_MAX - size);
	memcpy(f->guest, f->host, HOST_SIZE_MAX);
	f->host_size = f->guest_size = size;
	f->doubt = false;
}

void host_fill(struct host *h, struct host_file *f, uint64_t size)
{
	scoped_lock(&f->lock);
	host_fill_locked(h, f, size);
}

int host_settled(struct host *h, struct host_file *f)
{
	return pass_settle(h->pass, f->nodeid);
}

int guest_open(struct host *h, struct host_file *f, int flags, struct guest_open *ret)
{
	static _Atomic uint64_t next = 1;
	bool writable = (flags & O_ACCMODE) != O_RDONLY;
	struct guest_open o = { .f = f, .fh = next++, .flags = flags, .fd = -1 };
	struct pass_open_in in = {
		.nodeid = f->nodeid, .fh = o.fh, .writable = writable, .append = flags & O_APPEND
	};
	int r;

	atomic_fetch_add(&f->opens, 1);
	in.wanted = !(flags & (O_APPEND | O_TRUNC)) && (h->pass->params.writable || !writable) &&
		    ask_alone(h, f->nodeid);
	r = pass_open(h->pass, &in);
	must(r);
	if (r == -EBUSY) {
		atomic_fetch_sub(&f->opens, 1);
		return r;
	}
	o.id = MAX(r, 0);
	if (o.id)
		o.fd = kernel_open(h, o.id, flags);
	*ret = o;
	return o.id;
}

void guest_close(struct host *h, struct guest_open *o)
{
	if (o->fd >= 0)
		must(close(steal_fd(&o->fd)) == 0);
	(void)host_settled(h, o->f);
	pass_release(h->pass, o->f->nodeid, o->fh);
	atomic_fetch_sub(&o->f->opens, 1);
}

void guest_check_locked(const struct host_file *f, int fd)
{
	uint8_t *buf = malloc(HOST_SIZE_MAX);
	struct stat st;

	must(buf && fstat(fd, &st) == 0);
	must((uint64_t)st.st_size == f->guest_size);
	must(pread(fd, buf, HOST_SIZE_MAX, 0) == (ssize_t)f->guest_size);
	must(!memcmp(buf, f->guest, f->guest_size));
	free(buf);
}

void guest_wrote_locked(struct host_file *f, const void *buf, uint64_t off, size_t len)
{
	uint64_t shown = off < f->tail ? MIN((uint64_t)len, f->tail - off) : 0;

	memcpy(f->guest + off, buf, len);
	f->guest_size = MAX(f->guest_size, off + len);
	/* The window shows the host's pages themselves. */
	memcpy(f->host + off, buf, shown);
}

ssize_t guest_write_locked(struct host_file *f, int fd, uint64_t off, size_t len, uint64_t seed)
{
	struct rng rng = { seed };
	uint8_t *buf = malloc(len);
	ssize_t n;

	must(buf);
	for (size_t i = 0; i < len; i++)
		buf[i] = (uint8_t)rng_next(&rng);
	n = pwrite(fd, buf, len, (off_t)off);
	if (n > 0)
		guest_wrote_locked(f, buf, off, (size_t)n);
	free(buf);
	return n;
}

unsigned int host_live(struct host *h, uint64_t nodeid)
{
	unsigned int n = 0;

	scoped_lock(&h->lock);
	for (unsigned int i = 0; i < h->maps; i++)
		n += !h->map[i].stuck && (!nodeid || h->map[i].nodeid == nodeid);
	return n;
}

uint64_t host_free(struct host *h)
{
	scoped_lock(&h->pass->lock);
	return buddy_free_bytes(h->pass->window);
}

unsigned int host_slots(struct host *h)
{
	struct pass_slot *slot = calloc(h->l.shape.slots, sizeof(*slot));
	unsigned int n = 0;

	must(slot);
	while (pass_slot_take(h->pass->slots, &slot[n]) == 0)
		if (++n == h->l.shape.slots)
			break;
	for (unsigned int i = n; i > 0; i--)
		must(pass_slot_evict(h->pass->slots, &slot[i - 1]) == 0);
	free(slot);
	return n;
}

static void files_init(struct host *h)
{
	for (unsigned int i = 0; i < HOST_FILES; i++) {
		struct host_file *f = &h->file[i];

		f->nodeid = i + 1;
		(void)pthread_mutex_init(&f->lock, NULL);
		f->host = calloc(1, HOST_SIZE_MAX);
		f->guest = calloc(1, HOST_SIZE_MAX);
		must(f->host && f->guest);
		host_fill(h, f, 100000 + 1000 * i);
	}
}

bool host_open(struct host *h, const struct host_setup *setup)
{
	struct pass_params params = {
		.window_size = setup->front + setup->window,
		.window_start = 1 * GIB,
		.window = { .start = 1 * GIB + setup->front, .size = setup->window },
		.min_size = setup->min_size ? setup->min_size : 4096,
		.writable = !setup->read_only,
		.only_fixed = setup->only_fixed,
		.ops = &host_ops,
		.ctx = h,
	};
	char device[32];

	if (!image_can_mount("ext4"))
		return false;
	*h = (struct host){ .window = setup->window, .front = setup->front };
	(void)pthread_mutex_init(&h->lock, NULL);
	for (unsigned int i = 0; i < HOST_IDS; i++)
		h->id[i] = -1;
	must(pass_slots_layout(&h->l, setup->slots, (uint32_t)(setup->window / PASS_BLOCK)) == 0);
	image_open(&h->im, h->l.blocks);
	h->loop = image_loop(&h->im, device);
	must(pass_create_over(&params, &h->l, device, &h->pass) == 0);
	files_init(h);
	return true;
}

void host_close(struct host *h)
{
	pass_destroy(h->pass);
	must(host_live(h, 0) == 0);
	for (unsigned int i = 0; i < HOST_IDS; i++)
		must(h->id[i] < 0);
	(void)close(h->loop);
	image_close(&h->im);
	for (unsigned int i = 0; i < HOST_FILES; i++) {
		(void)pthread_mutex_destroy(&h->file[i].lock);
		free(h->file[i].host);
		free(h->file[i].guest);
	}
	(void)pthread_mutex_destroy(&h->lock);
}
