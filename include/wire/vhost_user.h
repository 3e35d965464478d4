/* SPDX-License-Identifier: MIT */
/* vhost-user messages: layout, numbers and the check of a header. */
#pragma once

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Numbers and layouts are those of the vhost-user protocol document (QEMU,
 * docs/interop/vhost-user.rst). Fields are in the host's byte order. The front end is the virtual
 * machine monitor (or our driver); the back end serves the device.
 */

#define VHU_VERSION		0x1u
#define VHU_VERSION_MASK	0x3u
#define VHU_REPLY		0x4u
#define VHU_NEED_REPLY		0x8u
#define VHU_FLAGS_KNOWN		(VHU_VERSION_MASK | VHU_REPLY | VHU_NEED_REPLY)

#define VHU_F_PROTOCOL_FEATURES 30 /* feature bit VHOST_USER_F_PROTOCOL_FEATURES */

/* Protocol feature bits. */
#define VHU_PF_MQ		   0
#define VHU_PF_REPLY_ACK	   3
#define VHU_PF_BACKEND_REQ	   5
#define VHU_PF_CONFIG		   9
#define VHU_PF_BACKEND_SEND_FD	   10
#define VHU_PF_CONFIGURE_MEM_SLOTS 15
#define VHU_PF_SHARED_OBJECT	   18
#define VHU_PF_SHMEM		   22 /* older texts say 20; QEMU 11.1 says 22 */

/* Requests of the front end. */
enum vhu_request {
	VHU_GET_FEATURES = 1,
	VHU_SET_FEATURES = 2,
	VHU_SET_OWNER = 3,
	VHU_RESET_OWNER = 4,
	VHU_SET_MEM_TABLE = 5,
	VHU_SET_LOG_BASE = 6,
	VHU_SET_LOG_FD = 7,
	VHU_SET_VRING_NUM = 8,
	VHU_SET_VRING_ADDR = 9,
	VHU_SET_VRING_BASE = 10,
	VHU_GET_VRING_BASE = 11,
	VHU_SET_VRING_KICK = 12,
	VHU_SET_VRING_CALL = 13,
	VHU_SET_VRING_ERR = 14,
	VHU_GET_PROTOCOL_FEATURES = 15,
	VHU_SET_PROTOCOL_FEATURES = 16,
	VHU_GET_QUEUE_NUM = 17,
	VHU_SET_VRING_ENABLE = 18,
	VHU_SET_BACKEND_REQ_FD = 21,
	VHU_GET_CONFIG = 24,
	VHU_SET_CONFIG = 25,
	VHU_RESET_DEVICE = 34,
	VHU_GET_MAX_MEM_SLOTS = 36,
	VHU_ADD_MEM_REG = 37,
	VHU_REM_MEM_REG = 38,
	VHU_SET_STATUS = 39,
	VHU_GET_STATUS = 40,
	VHU_GET_SHMEM_CONFIG = 44,
};

/* Requests of the back end, on the channel of VHU_SET_BACKEND_REQ_FD. */
enum vhu_backend_request {
	VHU_BACKEND_CONFIG_CHANGE_MSG = 2,
	VHU_BACKEND_SHARED_OBJECT_REMOVE = 7,
	VHU_BACKEND_SHMEM_MAP = 9,
	VHU_BACKEND_SHMEM_UNMAP = 10,
};

struct vhu_header {
	uint32_t request;
	uint32_t flags;
	uint32_t size; /* of the payload */
};

struct vhu_vring_state {
	uint32_t index;
	uint32_t num;
};

struct vhu_vring_addr {
	uint32_t index;
	uint32_t flags;
	uint64_t desc_user_addr; /* front end's virtual addresses, as in vhu_mem_region */
	uint64_t used_user_addr;
	uint64_t avail_user_addr;
	uint64_t log_guest_addr;
};

#define VHU_VRING_INDEX_MASK 0xffu /* in the u64 of KICK, CALL and ERR */
#define VHU_VRING_NOFD_MASK  0x100u

struct vhu_mem_region {
	uint64_t guest_phys_addr;
	uint64_t memory_size;
	uint64_t userspace_addr;
	uint64_t mmap_offset;
};

#define VHU_MEM_TABLE_MAX 8 /* VHOST_MEMORY_BASELINE_NREGIONS */

struct vhu_mem_table {
	uint32_t nregions;
	uint32_t padding;
	struct vhu_mem_region regions[VHU_MEM_TABLE_MAX];
};

struct vhu_mem_reg {
	uint64_t padding;
	struct vhu_mem_region region;
};

#define VHU_CONFIG_MAX 256

struct vhu_config {
	uint32_t offset;
	uint32_t size;
	uint32_t flags;
	uint8_t region[VHU_CONFIG_MAX];
};
#define VHU_CONFIG_HDR_SIZE   offsetof(struct vhu_config, region)

#define VHU_SHMEM_MAX_REGIONS 256

struct vhu_shmem_config {
	uint32_t nregions;
	uint32_t padding;
	uint64_t sizes[VHU_SHMEM_MAX_REGIONS];
};

#define VHU_MMAP_MAP_RW 0x1u

/* Of SHMEM_MAP (with one descriptor) and SHMEM_UNMAP. */
struct vhu_mmap {
	uint8_t shmid;
	uint8_t padding[7];
	uint64_t fd_offset;
	uint64_t shm_offset;
	uint64_t len;
	uint64_t flags;
};

/* Of SHARED_OBJECT_ADD and SHARED_OBJECT_REMOVE. */
struct vhu_shared {
	uint8_t uuid[16];
};

union vhu_payload {
	uint64_t u64;
	struct vhu_vring_state state;
	struct vhu_vring_addr addr;
	struct vhu_mem_table mem_table;
	struct vhu_mem_reg mem_reg;
	struct vhu_config config;
	struct vhu_shmem_config shmem_config;
	struct vhu_mmap mmap;
};

static_assert(sizeof(struct vhu_header) == 12, "vhu_header");
static_assert(sizeof(struct vhu_vring_addr) == 40, "vhu_vring_addr");
static_assert(sizeof(struct vhu_mem_table) == 264, "vhu_mem_table");
static_assert(sizeof(struct vhu_mem_reg) == 40, "vhu_mem_reg");
static_assert(sizeof(struct vhu_config) == 268, "vhu_config");
static_assert(sizeof(struct vhu_shmem_config) == 2056, "vhu_shmem_config");
static_assert(sizeof(struct vhu_mmap) == 40, "vhu_mmap");
static_assert(sizeof(struct vhu_shared) == 16, "vhu_shared");

/*
 * vhu_request_check() - may a request to the back end have this form?
 * @nfds: descriptors that came with it. Checks version and flags, the payload's size and the number
 * of descriptors, not the meaning of the payload.
 * Returns 0; -EPROTO for a wrong form; -EOPNOTSUPP for a request this file does not know (its
 * payload is to be skipped when it is no larger than union vhu_payload).
 */
int vhu_request_check(const struct vhu_header *h, unsigned int nfds);

/* vhu_backend_request_check() - the same for the back end's own requests. */
int vhu_backend_request_check(const struct vhu_header *h, unsigned int nfds);

/* vhu_request_name() - for messages; "?" for an unknown one. */
const char *vhu_request_name(uint32_t request);
