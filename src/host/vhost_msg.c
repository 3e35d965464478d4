// SPDX-License-Identifier: MIT
// What each vhost-user request does.

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_fs.h>
#include <linux/virtio_ring.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/num.h"
#include "host/vhost_conn.h"

#define BIT(n) (UINT64_C(1) << (n))

#define VHOST_FEATURES                                                                             \
	(BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_RING_F_INDIRECT_DESC) |                              \
	 BIT(VIRTIO_RING_F_EVENT_IDX) | BIT(VHU_F_PROTOCOL_FEATURES))

#define VHOST_PROTOCOL_FEATURES                                                                    \
	(BIT(VHU_PF_MQ) | BIT(VHU_PF_REPLY_ACK) | BIT(VHU_PF_BACKEND_REQ) | BIT(VHU_PF_CONFIG) |   \
	 BIT(VHU_PF_BACKEND_SEND_FD) | BIT(VHU_PF_CONFIGURE_MEM_SLOTS))

static int bad(struct vhost_msg *m, const char *why)
{
	m->why = why;
	return -EPROTO;
}

static int reply_u64(struct vhost_msg *m, uint64_t v)
{
	m->p.u64 = v;
	m->h.size = sizeof(v);
	m->reply = true;
	return 0;
}

static uint64_t protocol_features(const struct vhost_backend *b)
{
	/* Shared objects we have none; see shm_channel_set_barrier() for what the messages serve. */
	return VHOST_PROTOCOL_FEATURES |
	       (b->cfg.window ? BIT(VHU_PF_SHMEM) | BIT(VHU_PF_SHARED_OBJECT) : 0);
}

static struct devq *queue_of(struct vhost_backend *b, uint64_t index)
{
	return index < b->num_queues ? b->queue[index] : NULL;
}

static void queue_give_up(void *arg)
{
	struct vhost_backend *b = arg;

	if (b->cfg.channel)
		shm_channel_cancel(b->cfg.channel, true);
}

static unsigned int queue_stop(struct vhost_backend *b, struct devq *q)
{
	unsigned int base = devq_stop(q, VHOST_STOP_PATIENCE_MS, queue_give_up, b);

	/* Nothing was cancelled most of the time; then this does nothing. */
	if (b->cfg.channel)
		shm_channel_cancel(b->cfg.channel, false);
	return base;
}

static int queue_start(struct vhost_backend *b, struct vhost_msg *m, struct devq *q)
{
	int r;

	if (devq_running(q))
		return 0;
	devq_set_features(q, b->features);
	r = devq_start(q);
	if (r < 0)
		m->why = "the ring lies outside of memory";
	return r;
}

static uint64_t device_features(const struct vhost_backend *b)
{
	const struct host_quirks *q = &b->cfg.quirks;

	return VHOST_FEATURES & ~(q->no_indirect_desc ? BIT(VIRTIO_RING_F_INDIRECT_DESC) : 0) &
	       ~(q->no_event_idx ? BIT(VIRTIO_RING_F_EVENT_IDX) : 0);
}

static int on_set_features(struct vhost_backend *b, struct vhost_msg *m)
{
	/* ACCESS_PLATFORM, too: there is no IOTLB here, so whoever accepts it cannot be served. */
	if (m->p.u64 & ~device_features(b))
		return bad(m, "features that were not offered");
	b->features = m->p.u64;
	/* vhost-user, "Ring states": without the protocol features rings are enabled at once. */
	for (unsigned int i = 0; i < b->num_queues; i++)
		if (!(b->features & BIT(VHU_F_PROTOCOL_FEATURES)))
			devq_set_enabled(b->queue[i], true);
	return 0;
}

static int on_set_protocol_features(struct vhost_backend *b, struct vhost_msg *m)
{
	if (m->p.u64 & ~protocol_features(b))
		return bad(m, "protocol features that were not offered");
	b->protocol_features = m->p.u64;
	shm_channel_set_barrier(b->cfg.channel, b->protocol_features & BIT(VHU_PF_SHARED_OBJECT));
	return 0;
}

static int on_set_mem_table(struct vhost_backend *b, struct vhost_msg *m)
{
	uint32_t n = m->p.mem_table.nregions;
	int r;

	if (n > VHU_MEM_TABLE_MAX || n != m->nfds ||
	    m->h.size < offsetof(struct vhu_mem_table, regions) + n * sizeof(struct vhu_mem_region))
		return bad(m, "number of regions");
	r = mem_set(b->mem, m->p.mem_table.regions, m->fds, n);
	if (r < 0)
		m->why = "a region cannot be added";
	return r;
}

static int on_add_mem_reg(struct vhost_backend *b, struct vhost_msg *m)
{
	int r = mem_add(b->mem, &m->p.mem_reg.region, m->fds[0]);

	if (r < 0)
		m->why = "the region cannot be added";
	return r;
}

static int on_rem_mem_reg(struct vhost_backend *b, struct vhost_msg *m)
{
	int r = mem_remove(b->mem, &m->p.mem_reg.region);

	if (r < 0)
		m->why = "no such region";
	return r;
}

static int on_vring_num(struct vhost_backend *b, struct vhost_msg *m)
{
	struct devq *q = queue_of(b, m->p.state.index);

	if (!q)
		return bad(m, "no such queue");
	if (devq_running(q))
		return bad(m, "the queue runs");
	return devq_set_size(q, m->p.state.num) < 0 ? bad(m, "size of the queue") : 0;
}

static int on_vring_addr(struct vhost_backend *b, struct vhost_msg *m)
{
	const struct vhu_vring_addr *a = &m->p.addr;
	struct devq *q = queue_of(b, a->index);

	if (!q)
		return bad(m, "no such queue");
	(void)queue_stop(b, q);
	if (devq_set_addr(q, UADDR(a->desc_user_addr), UADDR(a->avail_user_addr),
			  UADDR(a->used_user_addr)) < 0)
		return bad(m, "alignment of the ring");
	return queue_start(b, m, q);
}

static int on_set_vring_base(struct vhost_backend *b, struct vhost_msg *m)
{
	struct devq *q = queue_of(b, m->p.state.index);

	if (!q)
		return bad(m, "no such queue");
	if (devq_running(q))
		return bad(m, "the queue runs");
	return devq_set_base(q, m->p.state.num) < 0 ? bad(m, "index out of range") : 0;
}

static int on_get_vring_base(struct vhost_backend *b, struct vhost_msg *m)
{
	struct devq *q = queue_of(b, m->p.state.index);

	if (!q)
		return bad(m, "no such queue");
	m->p.state.num = queue_stop(b, q);
	/* vhost-user, "Ring states": stopped until the next kick descriptor. */
	devq_set_kick(q, -1);
	m->reply = true;
	return 0;
}

/* The queue of a KICK, CALL or ERR message; *ret_fd is the message's descriptor or -1. */
static struct devq *queue_of_fd(struct vhost_backend *b, struct vhost_msg *m, int *ret_fd)
{
	bool nofd = m->p.u64 & VHU_VRING_NOFD_MASK;
	struct devq *q = queue_of(b, m->p.u64 & VHU_VRING_INDEX_MASK);

	if (!q || m->p.u64 & ~(uint64_t)(VHU_VRING_NOFD_MASK | VHU_VRING_INDEX_MASK) ||
	    nofd != (m->nfds == 0))
		return NULL;
	*ret_fd = nofd ? -1 : steal_fd(&m->fds[0]);
	return q;
}

static int on_vring_kick(struct vhost_backend *b, struct vhost_msg *m)
{
	int fd;
	struct devq *q = queue_of_fd(b, m, &fd);

	if (!q)
		return bad(m, "no such queue, or a descriptor too many or missing");
	(void)queue_stop(b, q);
	devq_set_kick(q, fd);
	return queue_start(b, m, q);
}

static int on_vring_call(struct vhost_backend *b, struct vhost_msg *m)
{
	int fd;
	struct devq *q = queue_of_fd(b, m, &fd);

	if (!q)
		return bad(m, "no such queue, or a descriptor too many or missing");
	devq_set_call(q, fd);
	return 0;
}

static int on_vring_err(struct vhost_backend *b, struct vhost_msg *m)
{
	int fd;
	struct devq *q = queue_of_fd(b, m, &fd);

	if (!q)
		return bad(m, "no such queue, or a descriptor too many or missing");
	devq_set_err(q, fd);
	return 0;
}

static int on_vring_enable(struct vhost_backend *b, struct vhost_msg *m)
{
	struct devq *q = queue_of(b, m->p.state.index);

	if (!q || m->p.state.num > 1)
		return bad(m, "no such queue or state");
	if (!m->p.state.num)
		(void)queue_stop(b, q);
	devq_set_enabled(q, m->p.state.num);
	return queue_start(b, m, q);
}

static int on_backend_req_fd(struct vhost_backend *b, struct vhost_msg *m)
{
	if (b->cfg.channel)
		shm_channel_set_fd(b->cfg.channel, steal_fd(&m->fds[0]));
	return 0;
}

static int on_get_config(struct vhost_backend *b, struct vhost_msg *m)
{
	struct vhu_config *c = &m->p.config;
	uint8_t all[VHU_CONFIG_MAX] = { 0 };
	struct virtio_fs_config fs = { .num_request_queues = htole32(b->cfg.num_request_queues) };

	m->reply = true;
	if (!range_ok(c->offset, c->size, VHU_CONFIG_MAX) ||
	    c->size != m->h.size - VHU_CONFIG_HDR_SIZE) {
		/* vhost-user, GET_CONFIG: a failure is a reply without a payload. */
		m->h.size = 0;
		return 0;
	}
	memcpy(fs.tag, b->cfg.tag, sizeof(fs.tag));
	memcpy(all, &fs, sizeof(fs));
	memcpy(c->region, all + c->offset, c->size);
	return 0;
}

static int on_get_shmem_config(struct vhost_backend *b, struct vhost_msg *m)
{
	m->p.shmem_config = (struct vhu_shmem_config){ .nregions = b->cfg.window ? 1 : 0 };
	m->p.shmem_config.sizes[0] = b->cfg.window;
	m->h.size = sizeof(m->p.shmem_config);
	m->reply = true;
	return 0;
}

int vhost_msg_handle(struct vhost_backend *b, struct vhost_msg *m)
{
	switch (m->h.request) {
	case VHU_GET_FEATURES:
		return reply_u64(m, device_features(b) | (b->cfg.quirks.access_platform
								  ? BIT(VIRTIO_F_ACCESS_PLATFORM)
								  : 0));
	case VHU_SET_FEATURES:
		return on_set_features(b, m);
	case VHU_SET_OWNER:
		return 0;
	case VHU_RESET_OWNER:
	case VHU_RESET_DEVICE:
		for (unsigned int i = 0; i < b->num_queues; i++)
			(void)queue_stop(b, b->queue[i]);
		vhost_stop_queues(b);
		b->status = 0;
		return 0;
	case VHU_SET_MEM_TABLE:
		return on_set_mem_table(b, m);
	case VHU_SET_VRING_NUM:
		return on_vring_num(b, m);
	case VHU_SET_VRING_ADDR:
		return on_vring_addr(b, m);
	case VHU_SET_VRING_BASE:
		return on_set_vring_base(b, m);
	case VHU_GET_VRING_BASE:
		return on_get_vring_base(b, m);
	case VHU_SET_VRING_KICK:
		return on_vring_kick(b, m);
	case VHU_SET_VRING_CALL:
		return on_vring_call(b, m);
	case VHU_SET_VRING_ERR:
		return on_vring_err(b, m);
	case VHU_GET_PROTOCOL_FEATURES:
		return reply_u64(m, protocol_features(b));
	case VHU_SET_PROTOCOL_FEATURES:
		return on_set_protocol_features(b, m);
	case VHU_GET_QUEUE_NUM:
		return reply_u64(m, b->num_queues);
	case VHU_SET_VRING_ENABLE:
		return on_vring_enable(b, m);
	case VHU_SET_BACKEND_REQ_FD:
		return on_backend_req_fd(b, m);
	case VHU_GET_CONFIG:
		return on_get_config(b, m);
	case VHU_SET_CONFIG:
		return 0; /* VIRTIO 1.2, 5.11.4: the driver must not write */
	case VHU_GET_MAX_MEM_SLOTS:
		return reply_u64(m, MEM_MAX_SLOTS);
	case VHU_ADD_MEM_REG:
		return on_add_mem_reg(b, m);
	case VHU_REM_MEM_REG:
		return on_rem_mem_reg(b, m);
	case VHU_SET_STATUS:
		b->status = (uint8_t)m->p.u64;
		return 0;
	case VHU_GET_STATUS:
		return reply_u64(m, b->status);
	case VHU_GET_SHMEM_CONFIG:
		return on_get_shmem_config(b, m);
	default:
		return -EOPNOTSUPP;
	}
}
