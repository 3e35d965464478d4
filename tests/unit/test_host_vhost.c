// SPDX-License-Identifier: MIT
// The host's vhost-user connection: wrong messages, and the back-end channel in its circle of waits.

#include "unit.h"

#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/fdmsg.h"
#include "base/guard.h"
#include "base/num.h"
#include "host/host.h"
#include "host/shm_map.h"
#include "ring/split.h"
#include "wire/fuse_req.h"
#include "wire/vhost_user.h"

#define WINDOW	 (16 * MIB)
#define RAM_SIZE (256 * KIB)
#define UVA	 UINT64_C(0x7e0000000000)
#define SIZE	 16u
#define REQ_AT	 (32 * KIB)
#define REPLY_AT (64 * KIB)

struct fixture {
	char dir[64];
	int dirfd;
	struct host *h;
	int sock; /* the front end's end */
	int back; /* of the connection, in the serving thread */
	pthread_t thread;
	int result;

	/* The front end's memory and its request queue, number 1. */
	int memfd;
	char *ram;
	struct ring_split ring;
	uint16_t used;
	int kick, call;
	int channel; /* our end of the back-end channel */
};

static void *serve(void *arg)
{
	struct fixture *f = arg;

	f->result = host_serve(f->h, f->back, -1);
	close(f->back);
	return NULL;
}

static void connect_host(struct fixture *f)
{
	int s[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s), 0);
	f->sock = s[0];
	f->back = s[1];
	assert_int_equal(pthread_create(&f->thread, NULL, serve, f), 0);
}

/* Wait until the host has closed the connection; returns what host_serve() did. */
static int wait_closed(struct fixture *f)
{
	struct pollfd p = { .fd = f->sock, .events = POLLIN };
	char c;

	assert_int_equal(poll(&p, 1, 5000), 1);
	assert_true(recv(f->sock, &c, 1, 0) <= 0);
	pthread_join(f->thread, NULL);
	close(f->sock);
	return f->result;
}

static int disconnect(struct fixture *f)
{
	close(f->sock);
	pthread_join(f->thread, NULL);
	return f->result;
}

static void send_msg(struct fixture *f, uint32_t request, uint32_t flags, const void *p,
		     uint32_t size, const int *fds, unsigned int nfds)
{
	struct {
		struct vhu_header h;
		char p[2100];
	} __attribute__((packed)) m = { .h = { request, flags, size } };

	assert_true(size <= sizeof(m.p));
	if (size)
		memcpy(m.p, p, size);
	assert_int_equal(fdmsg_send(f->sock, &m, sizeof(m.h) + size, fds, nfds), 0);
}

static void get_reply(struct fixture *f, uint32_t request, void *p, uint32_t size)
{
	struct vhu_header h;

	assert_int_equal(fdmsg_recv(f->sock, &h, sizeof(h), NULL, NULL), 1);
	assert_int_equal(h.request, request);
	assert_int_equal(h.flags, VHU_VERSION | VHU_REPLY);
	assert_int_equal(h.size, size);
	if (size)
		assert_int_equal(fdmsg_recv(f->sock, p, size, NULL, NULL), 1);
}

static uint64_t ask_u64(struct fixture *f, uint32_t request)
{
	uint64_t v = 0;

	send_msg(f, request, VHU_VERSION, NULL, 0, NULL, 0);
	get_reply(f, request, &v, sizeof(v));
	return v;
}

/* Send with NEED_REPLY and expect success. */
static void tell(struct fixture *f, uint32_t request, const void *p, uint32_t size, const int *fds,
		 unsigned int nfds)
{
	uint64_t v = 99;

	send_msg(f, request, VHU_VERSION | VHU_NEED_REPLY, p, size, fds, nfds);
	get_reply(f, request, &v, sizeof(v));
	assert_int_equal(v, 0);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct host_config cfg = {
		.proc_fd = -1,
		.tag = "a tag",
		.num_request_queues = 1,
		.window = WINDOW,
		.max_mappings = 4,
		.cache = FUSE_CACHE_AUTO,
		.xattr = true,
	};

	strcpy(f->dir, "/tmp/test_host_XXXXXX");
	must(mkdtemp(f->dir));
	f->dirfd = cfg.root_fd = open(f->dir, O_DIRECTORY | O_CLOEXEC);
	must(host_new(&cfg, &f->h) == 0);
	f->memfd = memfd_create("ram", MFD_CLOEXEC);
	must(ftruncate(f->memfd, RAM_SIZE) == 0);
	f->ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, f->memfd, 0);
	f->channel = f->kick = f->call = -1;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	char cmd[128];

	host_free(f->h);
	munmap(f->ram, RAM_SIZE);
	close(f->memfd);
	close(f->dirfd);
	close(f->channel);
	close(f->kick);
	close(f->call);
	(void)snprintf(cmd, sizeof(cmd), "rm -rf %s", f->dir);
	must(system(cmd) == 0);
	free(f);
	return 0;
}

static void questions_are_answered(void **state)
{
	struct fixture *f = *state;
	struct vhu_config c = { .size = 44 };
	struct vhu_shmem_config shm;
	uint32_t queues;

	connect_host(f);
	assert_true(ask_u64(f, VHU_GET_FEATURES) & (1ull << VHU_F_PROTOCOL_FEATURES));
	assert_true(ask_u64(f, VHU_GET_PROTOCOL_FEATURES) & (1ull << VHU_PF_SHMEM));
	assert_int_equal(ask_u64(f, VHU_GET_QUEUE_NUM), 2);
	assert_int_equal(ask_u64(f, VHU_GET_MAX_MEM_SLOTS), 512);
	send_msg(f, VHU_GET_CONFIG, VHU_VERSION, &c, VHU_CONFIG_HDR_SIZE + 44, NULL, 0);
	get_reply(f, VHU_GET_CONFIG, &c, VHU_CONFIG_HDR_SIZE + 44);
	assert_string_equal((char *)c.region, "a tag");
	memcpy(&queues, c.region + 36, 4);
	assert_int_equal(le32toh(queues), 1);
	c.offset = 300;
	send_msg(f, VHU_GET_CONFIG, VHU_VERSION, &c, VHU_CONFIG_HDR_SIZE + 44, NULL, 0);
	get_reply(f, VHU_GET_CONFIG, NULL, 0);
	send_msg(f, VHU_GET_SHMEM_CONFIG, VHU_VERSION, NULL, 0, NULL, 0);
	get_reply(f, VHU_GET_SHMEM_CONFIG, &shm, sizeof(shm));
	assert_int_equal(shm.nregions, 1);
	assert_int_equal(shm.sizes[0], WINDOW);
	assert_int_equal(disconnect(f), 0);
}

static void unknown_requests_are_passed_over(void **state)
{
	struct fixture *f = *state;
	char junk[100] = { 0 };
	uint64_t v = 0;

	connect_host(f);
	send_msg(f, 33, VHU_VERSION, junk, sizeof(junk), NULL, 0);
	send_msg(f, 1000, VHU_VERSION | VHU_NEED_REPLY, junk, 3, NULL, 0);
	get_reply(f, 1000, &v, sizeof(v));
	assert_int_equal(v, 1);
	tell(f, VHU_SET_OWNER, NULL, 0, NULL, 0);
	assert_int_equal(disconnect(f), 0);
}

static void wrong_messages_close_the_connection(void **state)
{
	struct fixture *f = *state;
	const struct vhu_mem_region wrap = { UINT64_MAX, 4096, 0, 0 };
	const struct vhu_mem_reg reg = { 0, wrap };
	const struct vhu_mem_table table9 = { .nregions = 9 }, table1 = { .nregions = 1 };
	const struct vhu_vring_state q9 = { 9, 16 }, size3 = { 0, 3 }, base = { 0, 70000 };
	const struct vhu_vring_addr odd = { .index = 0, .desc_user_addr = 1 };
	const uint64_t all = UINT64_MAX, nofd = VHU_VRING_NOFD_MASK, zero = 0;
	int fds[FDMSG_MAX_FDS];
	const struct {
		uint32_t request, flags;
		const void *p;
		uint32_t size;
		unsigned int nfds;
	} bad[] = {
		{ VHU_GET_FEATURES, 0, NULL, 0, 0 },		       /* no version */
		{ VHU_GET_FEATURES, VHU_VERSION | 0x100, NULL, 0, 0 }, /* unknown flag */
		{ VHU_GET_FEATURES, VHU_VERSION | VHU_REPLY, NULL, 0, 0 },
		{ VHU_GET_FEATURES, VHU_VERSION, &all, 8, 0 }, /* a payload too many */
		{ VHU_GET_FEATURES, VHU_VERSION, NULL, 0, 1 }, /* a descriptor too many */
		{ VHU_SET_FEATURES, VHU_VERSION, &all, 8, 0 }, /* not offered */
		{ VHU_SET_FEATURES, VHU_VERSION, &all, 4, 0 },
		{ VHU_SET_PROTOCOL_FEATURES, VHU_VERSION, &all, 8, 0 },
		{ VHU_ADD_MEM_REG, VHU_VERSION, &reg, sizeof(reg), 0 }, /* no descriptor */
		{ VHU_ADD_MEM_REG, VHU_VERSION, &reg, sizeof(reg), 2 },
		{ VHU_ADD_MEM_REG, VHU_VERSION, &reg, sizeof(reg), 1 }, /* wraps */
		{ VHU_REM_MEM_REG, VHU_VERSION, &reg, sizeof(reg), 0 }, /* is not there */
		{ VHU_SET_MEM_TABLE, VHU_VERSION, &table9, sizeof(table9), 8 },
		{ VHU_SET_MEM_TABLE, VHU_VERSION, &table1, sizeof(table1), 0 },
		{ VHU_SET_MEM_TABLE, VHU_VERSION, &table1, 8, 1 },
		{ VHU_SET_VRING_NUM, VHU_VERSION, &q9, sizeof(q9), 0 }, /* no such queue */
		{ VHU_SET_VRING_NUM, VHU_VERSION, &size3, sizeof(size3), 0 },
		{ VHU_SET_VRING_BASE, VHU_VERSION, &base, sizeof(base), 0 },
		{ VHU_GET_VRING_BASE, VHU_VERSION, &q9, sizeof(q9), 0 },
		{ VHU_SET_VRING_ENABLE, VHU_VERSION, &size3, sizeof(size3), 0 },
		{ VHU_SET_VRING_ADDR, VHU_VERSION, &odd, sizeof(odd), 0 },
		{ VHU_SET_VRING_KICK, VHU_VERSION, &zero, 8, 0 }, /* says there is one */
		{ VHU_SET_VRING_KICK, VHU_VERSION, &nofd, 8, 1 },
		{ VHU_SET_VRING_CALL, VHU_VERSION, &all, 8, 1 },
		{ VHU_SET_BACKEND_REQ_FD, VHU_VERSION, NULL, 0, 0 },
		{ VHU_SET_BACKEND_REQ_FD, VHU_VERSION, NULL, 0, 8 },
	};
	unsigned int before;

	for (unsigned int i = 0; i < FDMSG_MAX_FDS; i++)
		fds[i] = f->memfd;
	before = unit_count_fds();
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		connect_host(f);
		send_msg(f, bad[i].request, bad[i].flags, bad[i].p, bad[i].size, fds, bad[i].nfds);
		if (wait_closed(f) >= 0)
			fail_msg("message %zu was taken", i);
	}
	assert_int_equal(unit_count_fds(), before);
	/* A size of 4 GiB. */
	connect_host(f);
	{
		struct vhu_header h = { VHU_SET_FEATURES, VHU_VERSION, UINT32_MAX };

		assert_int_equal(fdmsg_send(f->sock, &h, sizeof(h), NULL, 0), 0);
	}
	assert_true(wait_closed(f) < 0);
	/* And the next connection is served. */
	questions_are_answered(state);
}

static void short_messages_close_the_connection(void **state)
{
	struct fixture *f = *state;
	struct {
		struct vhu_header h;
		uint64_t v;
	} __attribute__((packed)) m = { { VHU_SET_FEATURES, VHU_VERSION, 8 }, 0 };

	for (size_t len = 1; len < sizeof(m); len++) {
		connect_host(f);
		assert_int_equal(fdmsg_send(f->sock, &m, len, &f->memfd, len % 2), 0);
		assert_true(disconnect(f) < 0);
	}
	questions_are_answered(state);
}

static void random_messages_are_harmless(void **state)
{
	struct fixture *f = *state;
	struct rng rng = { unit_seed() };
	unsigned int before = unit_count_fds();

	for (int round = 0; round < 300; round++) {
		connect_host(f);
		for (int i = 0; i < 8; i++) {
			struct {
				struct vhu_header h;
				uint64_t p[40];
			} __attribute__((packed)) m;
			int fds[2] = { f->memfd, f->memfd };
			uint32_t size = (uint32_t)rng_below(&rng, 8) * 8;

			m.h = (struct vhu_header){ (uint32_t)rng_below(&rng, 46), VHU_VERSION,
						   size };
			for (size_t k = 0; k < ARRAY_SIZE(m.p); k++)
				m.p[k] = rng_chance(&rng, 2) ? rng_below(&rng, 5)
							     : rng_below(&rng, 64) * 4096;
			if (fdmsg_send(f->sock, &m, sizeof(m.h) + size, fds,
				       (unsigned int)rng_below(&rng, 3)) < 0)
				break;
		}
		(void)disconnect(f);
	}
	assert_int_equal(unit_count_fds(), before);
}

/* Bring request queue 1 up, with a back-end channel. */
static void bring_up(struct fixture *f)
{
	uint64_t features = (1ull << VIRTIO_F_VERSION_1) | (1ull << VHU_F_PROTOCOL_FEATURES);
	uint64_t protocol;
	struct vhu_mem_reg reg = { 0, { 0, RAM_SIZE, UVA, 0 } };
	struct vhu_vring_state num = { 1, SIZE }, base = { 1, 0 }, enable = { 1, 1 };
	struct vhu_vring_addr addr = {
		.index = 1,
		.desc_user_addr = UVA,
		.avail_user_addr = UVA + 4096,
		.used_user_addr = UVA + 8192,
	};
	uint64_t one = 1;
	int ch[2];

	memset(f->ram, 0, RAM_SIZE);
	f->used = 0;
	f->ring = (struct ring_split){ (void *)f->ram, (void *)(f->ram + 4096),
				       (void *)(f->ram + 8192), SIZE };
	f->kick = eventfd(0, EFD_CLOEXEC);
	f->call = eventfd(0, EFD_CLOEXEC);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ch), 0);
	f->channel = ch[0];
	connect_host(f);
	protocol = ask_u64(f, VHU_GET_PROTOCOL_FEATURES);
	tell(f, VHU_SET_PROTOCOL_FEATURES, &protocol, 8, NULL, 0);
	tell(f, VHU_SET_OWNER, NULL, 0, NULL, 0);
	tell(f, VHU_SET_BACKEND_REQ_FD, NULL, 0, &ch[1], 1);
	close(ch[1]);
	tell(f, VHU_SET_FEATURES, &features, 8, NULL, 0);
	tell(f, VHU_ADD_MEM_REG, &reg, sizeof(reg), &f->memfd, 1);
	tell(f, VHU_SET_VRING_NUM, &num, sizeof(num), NULL, 0);
	tell(f, VHU_SET_VRING_BASE, &base, sizeof(base), NULL, 0);
	tell(f, VHU_SET_VRING_ADDR, &addr, sizeof(addr), NULL, 0);
	tell(f, VHU_SET_VRING_CALL, &one, 8, &f->call, 1);
	tell(f, VHU_SET_VRING_KICK, &one, 8, &f->kick, 1);
	tell(f, VHU_SET_VRING_ENABLE, &enable, sizeof(enable), NULL, 0);
}

static void close_rest(struct fixture *f)
{
	close(f->kick);
	close(f->call);
	close(f->channel);
	f->kick = f->call = f->channel = -1;
}

/* Put a request on the ring; the reply has room for 4 KiB at REPLY_AT. */
static void request(struct fixture *f, uint32_t opcode, uint64_t node, const void *arg,
		    uint32_t len)
{
	struct fuse_in_header h = {
		.len = (uint32_t)sizeof(h) + len, .opcode = opcode, .unique = 5, .nodeid = node
	};
	uint64_t one = 1;

	memcpy(f->ram + REQ_AT, &h, sizeof(h));
	memcpy(f->ram + REQ_AT + sizeof(h), arg, len);
	f->ring.desc[0] = (struct vring_desc){ REQ_AT, h.len, VRING_DESC_F_NEXT, 1 };
	f->ring.desc[1] = (struct vring_desc){ REPLY_AT, 4096, VRING_DESC_F_WRITE, 0 };
	f->ring.avail->ring[f->used % SIZE] = 0;
	ring_store_release(&f->ring.avail->idx, ++f->used);
	must(write(f->kick, &one, sizeof(one)) == sizeof(one));
}

/* Wait for its reply; returns the error. */
static int reply(struct fixture *f)
{
	const struct fuse_out_header *out = (const void *)(f->ram + REPLY_AT);
	struct pollfd p = { .fd = f->call, .events = POLLIN };
	uint64_t v;

	while (ring_load_acquire(&f->ring.used->idx) != f->used) {
		must(poll(&p, 1, 5000) == 1);
		(void)!read(f->call, &v, sizeof(v));
	}
	assert_int_equal(f->ring.used->ring[(f->used - 1) % SIZE].len, out->len);
	return out->error;
}

/* INIT and a lookup of "a", a file of 1 MiB; returns its nodeid. */
static uint64_t begin_session(struct fixture *f)
{
	struct fuse_init_in in = { .major = 7, .minor = 38, .flags = FUSE_MAP_ALIGNMENT };
	const struct fuse_entry_out *e =
		(const void *)(f->ram + REPLY_AT + sizeof(struct fuse_out_header));
	static const char data[MIB];
	int fd = openat(f->dirfd, "a", O_CREAT | O_RDWR | O_CLOEXEC, 0644);

	/* Data, because what has holes is not mapped for writing. */
	assert_int_equal(write(fd, data, sizeof(data)), sizeof(data));
	close(fd);
	request(f, FUSE_INIT, 0, &in, sizeof(in));
	assert_int_equal(reply(f), 0);
	request(f, FUSE_LOOKUP, 1, "a", 2);
	assert_int_equal(reply(f), 0);
	return e->nodeid;
}

static void setup_mapping(struct fixture *f, uint64_t node, uint64_t woff)
{
	struct fuse_setupmapping_in in = {
		.fh = UINT64_MAX,
		.len = 65536,
		.flags = FUSE_SETUPMAPPING_FLAG_READ,
		.moffset = woff,
	};

	request(f, FUSE_SETUPMAPPING, node, &in, sizeof(in));
}

static struct vhu_mmap channel_take(struct fixture *f, uint32_t expect)
{
	struct {
		struct vhu_header h;
		struct vhu_mmap m;
	} __attribute__((packed)) msg;
	int fds[FDMSG_MAX_FDS];
	unsigned int nfds = 0;

	assert_int_equal(fdmsg_recv(f->channel, &msg, sizeof(msg), fds, &nfds), 1);
	assert_int_equal(msg.h.request, expect);
	assert_int_equal(msg.h.flags, VHU_VERSION | VHU_NEED_REPLY);
	assert_int_equal(nfds, expect == VHU_BACKEND_SHMEM_MAP ? 1 : 0);
	while (nfds)
		close(fds[--nfds]);
	return msg.m;
}

static void channel_answer(struct fixture *f, uint32_t request_nr, uint64_t value)
{
	struct {
		struct vhu_header h;
		uint64_t v;
	} __attribute__((packed)) msg = { { request_nr, VHU_VERSION | VHU_REPLY, 8 }, value };

	assert_int_equal(fdmsg_send(f->channel, &msg, sizeof(msg), NULL, 0), 0);
}

/* The request behind a mapping that was granted: QEMU takes it only when the guest sees the
 * mapping. */
static void channel_barrier(struct fixture *f)
{
	struct {
		struct vhu_header h;
		struct vhu_shared s;
	} __attribute__((packed)) msg;

	assert_int_equal(fdmsg_recv(f->channel, &msg, sizeof(msg), NULL, NULL), 1);
	assert_int_equal(msg.h.request, VHU_BACKEND_SHARED_OBJECT_REMOVE);
	assert_int_equal(msg.h.size, sizeof(msg.s));
	assert_int_equal(msg.h.flags, VHU_VERSION | VHU_NEED_REPLY);
}

static void memory_is_added_while_a_mapping_waits(void **state)
{
	struct fixture *f = *state;
	struct vhu_mem_reg reg = { 0, { GIB, 65536, UVA + GIB, 0 } };
	struct vhu_mmap m;
	uint64_t node;

	bring_up(f);
	node = begin_session(f);
	setup_mapping(f, node, MIB);
	m = channel_take(f, VHU_BACKEND_SHMEM_MAP);
	assert_int_equal(m.shm_offset, MIB);
	assert_int_equal(m.len, 65536);
	assert_int_equal(m.flags, VHU_MMAP_MAP_RW);
	/* As QEMU does: the answer, then the region; until then the guest must not hear of it. */
	channel_answer(f, VHU_BACKEND_SHMEM_MAP, 0);
	channel_barrier(f);
	assert_int_not_equal(ring_load_acquire(&f->ring.used->idx), f->used);
	tell(f, VHU_ADD_MEM_REG, &reg, sizeof(reg), &f->memfd, 1);
	assert_int_not_equal(ring_load_acquire(&f->ring.used->idx), f->used);
	channel_answer(f, VHU_BACKEND_SHARED_OBJECT_REMOVE, 1);
	assert_int_equal(reply(f), 0);
	/* Again the same: nothing has to be done. */
	setup_mapping(f, node, MIB);
	assert_int_equal(reply(f), 0);
	/* Refused by the front end. */
	setup_mapping(f, node, 2 * MIB);
	(void)channel_take(f, VHU_BACKEND_SHMEM_MAP);
	channel_answer(f, VHU_BACKEND_SHMEM_MAP, 1);
	assert_int_equal(reply(f), -ENXIO);
	/* DESTROY removes what is there. */
	request(f, FUSE_DESTROY, 0, "", 0);
	m = channel_take(f, VHU_BACKEND_SHMEM_UNMAP);
	assert_int_equal(m.shm_offset, MIB);
	tell(f, VHU_REM_MEM_REG, &reg, sizeof(reg), NULL, 0);
	channel_answer(f, VHU_BACKEND_SHMEM_UNMAP, 0);
	assert_int_equal(reply(f), 0);
	assert_int_equal(disconnect(f), 0);
	close_rest(f);
}

static void queue_stops_while_a_mapping_waits(void **state)
{
	struct fixture *f = *state;
	struct vhu_vring_state st = { 1, 0 };
	uint64_t node, one = 1;

	bring_up(f);
	node = begin_session(f);
	setup_mapping(f, node, 0);
	(void)channel_take(f, VHU_BACKEND_SHMEM_MAP);
	/* As QEMU does: the channel is served only after the answer to this. */
	send_msg(f, VHU_GET_VRING_BASE, VHU_VERSION, &st, sizeof(st), NULL, 0);
	get_reply(f, VHU_GET_VRING_BASE, &st, sizeof(st));
	assert_int_equal(st.num, f->used);
	assert_int_equal(reply(f), -ECANCELED);
	/* The answer comes late and is skipped; the mapping is removed before it is made again. */
	channel_answer(f, VHU_BACKEND_SHMEM_MAP, 0);
	tell(f, VHU_SET_VRING_BASE, &st, sizeof(st), NULL, 0);
	tell(f, VHU_SET_VRING_KICK, &one, 8, &f->kick, 1);
	setup_mapping(f, node, 0);
	(void)channel_take(f, VHU_BACKEND_SHMEM_UNMAP);
	channel_answer(f, VHU_BACKEND_SHMEM_UNMAP, 1);
	(void)channel_take(f, VHU_BACKEND_SHMEM_MAP);
	channel_answer(f, VHU_BACKEND_SHMEM_MAP, 0);
	channel_barrier(f);
	channel_answer(f, VHU_BACKEND_SHARED_OBJECT_REMOVE, 1);
	assert_int_equal(reply(f), 0);
	assert_int_equal(disconnect(f), 0);
	close_rest(f);
}

static void front_end_goes_while_a_mapping_waits(void **state)
{
	struct fixture *f = *state;
	uint64_t node;

	for (int i = 0; i < 3; i++) {
		bring_up(f);
		node = begin_session(f);
		setup_mapping(f, node, 0);
		(void)channel_take(f, VHU_BACKEND_SHMEM_MAP);
		assert_int_equal(disconnect(f), 0);
		assert_int_equal(reply(f), -ENOTCONN);
		close_rest(f);
	}
	/* The channel alone goes. */
	bring_up(f);
	node = begin_session(f);
	setup_mapping(f, node, 0);
	(void)channel_take(f, VHU_BACKEND_SHMEM_MAP);
	close(f->channel);
	f->channel = -1;
	assert_int_equal(reply(f), -ENOTCONN);
	assert_int_equal(disconnect(f), 0);
	close_rest(f);
}

static void wrong_answers_close_the_channel(void **state)
{
	struct fixture *f = *state;
	uint64_t node;

	bring_up(f);
	node = begin_session(f);
	setup_mapping(f, node, 0);
	(void)channel_take(f, VHU_BACKEND_SHMEM_MAP);
	channel_answer(f, VHU_BACKEND_SHMEM_UNMAP, 0);
	assert_int_equal(reply(f), -ENOTCONN);
	setup_mapping(f, node, 0);
	assert_int_equal(reply(f), -ENOTCONN);
	/* Everything else goes on. */
	request(f, FUSE_LOOKUP, 1, "a", 2);
	assert_int_equal(reply(f), 0);
	assert_int_equal(disconnect(f), 0);
	close_rest(f);
}

/* A mapper below shm_map that wants to be used by the rules of QEMU. */
struct strict {
	struct mapper mapper;
	bool page[64];
	unsigned int len[64]; /* of the mapping that begins here, in pages */
	unsigned int count;
	int next; /* errno of the next call, once */
};

static int strict_map(struct mapper *m, int fd, struct foff foff, struct woff woff, uint64_t len,
		      bool writable)
{
	struct strict *s = container_of(m, struct strict, mapper);
	int r = -s->next;

	s->next = 0;
	if (r && r != -ECANCELED)
		return r;
	for (uint64_t p = woff.v / 4096; p < (woff.v + len) / 4096; p++) {
		assert_false(s->page[p]);
		s->page[p] = true;
	}
	s->len[woff.v / 4096] = (unsigned int)(len / 4096);
	s->count++;
	return r;
}

static int strict_unmap(struct mapper *m, struct woff woff, uint64_t len)
{
	struct strict *s = container_of(m, struct strict, mapper);

	if (s->len[woff.v / 4096] != len / 4096)
		return -ENXIO;
	memset(&s->page[woff.v / 4096], 0, len / 4096);
	s->len[woff.v / 4096] = 0;
	s->count--;
	return 0;
}

static void window_books_are_right(void **state)
{
	static const struct mapper_ops ops = { strict_map, strict_unmap };
	struct fixture *f = *state;
	struct strict below = { .mapper = { &ops } };
	struct shm_map *s = shm_map_new(&below.mapper, 64 * 4096, 10);
	struct mapper *m = shm_map_mapper(s);
	struct rng rng = { unit_seed() };
	struct shm_map_stats st;
	uint64_t left;
	bool model[64] = { false };

	assert_int_equal(m->ops->map(m, f->memfd, FOFF(0), WOFF(64 * 4096), 4096, true), -EINVAL);
	assert_int_equal(m->ops->map(m, f->memfd, FOFF(0), WOFF(0), 100, true), -EINVAL);
	assert_int_equal(m->ops->unmap(m, WOFF(0), 0), -EINVAL);
	for (int i = 0; i < 20000; i++) {
		uint64_t at = rng_below(&rng, 64), len = 1 + rng_below(&rng, 64 - at);
		bool map = rng_chance(&rng, 2);
		int r;

		if (rng_chance(&rng, 16))
			below.next = rng_chance(&rng, 2) ? ENXIO : ECANCELED;
		r = map ? m->ops->map(m, f->memfd, FOFF(rng_below(&rng, 4) * 4096), WOFF(at * 4096),
				      len * 4096, rng_chance(&rng, 2))
			: m->ops->unmap(m, WOFF(at * 4096), len * 4096);
		shm_map_stats(s, &st);
		assert_true(st.live <= 10);
		assert_int_equal(st.live, below.count);
		assert_int_equal(st.mapped - st.unmapped, st.live);
		if (r == 0) {
			memset(&model[at], map, len);
			for (uint64_t p = at; p < at + len; p++)
				assert_int_equal(below.page[p], map);
		}
		/* After a failure parts may be gone, but nothing is there that was not before. */
		for (unsigned int p = 0; p < 64; p++) {
			if (r == 0)
				assert_int_equal(below.page[p], model[p]);
			model[p] = below.page[p];
		}
	}
	/* What the end of a session finds was left by the guest. */
	below.next = 0;
	shm_map_stats(s, &st);
	left = st.left + st.live;
	assert_int_equal(m->ops->unmap(m, WOFF(0), 64 * 4096), 0);
	assert_int_equal(below.count, 0);
	assert_int_equal(m->ops->map(m, f->memfd, FOFF(0), WOFF(0), 4096, true), 0);
	shm_map_forget(s);
	shm_map_stats(s, &st);
	assert_int_equal(st.left, left + 1);
	assert_int_equal(st.mapped, st.unmapped);
	shm_map_free(s);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	static const struct CMUnitTest tests[] = {
		T(questions_are_answered),
		T(unknown_requests_are_passed_over),
		T(wrong_messages_close_the_connection),
		T(short_messages_close_the_connection),
		T(random_messages_are_harmless),
		T(memory_is_added_while_a_mapping_waits),
		T(queue_stops_while_a_mapping_waits),
		T(front_end_goes_while_a_mapping_waits),
		T(wrong_answers_close_the_channel),
		T(window_books_are_right),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
