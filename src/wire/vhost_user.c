// SPDX-License-Identifier: MIT
// vhost-user messages: the check of a header.

#include <errno.h>

#include "base/num.h"
#include "wire/vhost_user.h"

struct vhu_form {
	const char *name;
	uint16_t min_size;
	uint16_t max_size;
	uint8_t min_fds;
	uint8_t max_fds;
};

#define FORM(n, min, max, min_f, max_f)                                                            \
	[VHU_##n] = { .name = #n,                                                                  \
		      .min_size = (min),                                                           \
		      .max_size = (max),                                                           \
		      .min_fds = (min_f),                                                          \
		      .max_fds = (max_f) }
#define FORM_NONE(n)  FORM(n, 0, 0, 0, 0)
#define FORM_U64(n)   FORM(n, 8, 8, 0, 0)
#define FORM_FD(n)    FORM(n, 8, 8, 0, 1)
#define FORM_OF(n, t) FORM(n, sizeof(t), sizeof(t), 0, 0)

static const struct vhu_form vhu_forms[] = {
	FORM_NONE(GET_FEATURES),
	FORM_U64(SET_FEATURES),
	FORM_NONE(SET_OWNER),
	FORM_NONE(RESET_OWNER),
	FORM(SET_MEM_TABLE, 8, sizeof(struct vhu_mem_table), 0, VHU_MEM_TABLE_MAX),
	FORM_OF(SET_VRING_NUM, struct vhu_vring_state),
	FORM_OF(SET_VRING_ADDR, struct vhu_vring_addr),
	FORM_OF(SET_VRING_BASE, struct vhu_vring_state),
	FORM_OF(GET_VRING_BASE, struct vhu_vring_state),
	FORM_FD(SET_VRING_KICK),
	FORM_FD(SET_VRING_CALL),
	FORM_FD(SET_VRING_ERR),
	FORM_NONE(GET_PROTOCOL_FEATURES),
	FORM_U64(SET_PROTOCOL_FEATURES),
	FORM_NONE(GET_QUEUE_NUM),
	FORM_OF(SET_VRING_ENABLE, struct vhu_vring_state),
	FORM(SET_BACKEND_REQ_FD, 0, 8, 1, 1),
	FORM(GET_CONFIG, VHU_CONFIG_HDR_SIZE, sizeof(struct vhu_config), 0, 0),
	FORM(SET_CONFIG, VHU_CONFIG_HDR_SIZE, sizeof(struct vhu_config), 0, 0),
	FORM_NONE(RESET_DEVICE),
	FORM_NONE(GET_MAX_MEM_SLOTS),
	FORM(ADD_MEM_REG, sizeof(struct vhu_mem_reg), sizeof(struct vhu_mem_reg), 1, 1),
	FORM(REM_MEM_REG, sizeof(struct vhu_mem_reg), sizeof(struct vhu_mem_reg), 0, 1),
	FORM_U64(SET_STATUS),
	FORM_NONE(GET_STATUS),
	FORM_NONE(GET_SHMEM_CONFIG),
};

static const struct vhu_form vhu_backend_forms[] = {
	FORM_NONE(BACKEND_CONFIG_CHANGE_MSG),
	FORM(BACKEND_SHMEM_MAP, sizeof(struct vhu_mmap), sizeof(struct vhu_mmap), 1, 1),
	FORM_OF(BACKEND_SHMEM_UNMAP, struct vhu_mmap),
};

static int vhu_check(const struct vhu_form *forms, size_t n, const struct vhu_header *h,
		     unsigned int nfds)
{
	const struct vhu_form *f;

	if ((h->flags & VHU_VERSION_MASK) != VHU_VERSION || h->flags & ~VHU_FLAGS_KNOWN ||
	    h->flags & VHU_REPLY || h->size > sizeof(union vhu_payload))
		return -EPROTO;
	if (h->request >= n || !forms[h->request].name)
		return -EOPNOTSUPP;
	f = &forms[h->request];
	if (h->size < f->min_size || h->size > f->max_size)
		return -EPROTO;
	return nfds < f->min_fds || nfds > f->max_fds ? -EPROTO : 0;
}

int vhu_request_check(const struct vhu_header *h, unsigned int nfds)
{
	return vhu_check(vhu_forms, ARRAY_SIZE(vhu_forms), h, nfds);
}

int vhu_backend_request_check(const struct vhu_header *h, unsigned int nfds)
{
	return vhu_check(vhu_backend_forms, ARRAY_SIZE(vhu_backend_forms), h, nfds);
}

const char *vhu_request_name(uint32_t request)
{
	const char *name = request < ARRAY_SIZE(vhu_forms) ? vhu_forms[request].name : NULL;

	return name ? name : "?";
}
