/* SPDX-License-Identifier: MIT */
/* Little-endian fields of structures on disk: no alignment, no mixing with plain numbers. */
#pragma once

#include <stdint.h>

struct le16 {
	uint8_t b[2];
};
struct le32 {
	uint8_t b[4];
};
struct le64 {
	uint8_t b[8];
};

static inline struct le16 le16(uint32_t v)
{
	return (struct le16){ { (uint8_t)v, (uint8_t)(v >> 8) } };
}

static inline struct le32 le32(uint32_t v)
{
	return (struct le32){ { (uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16),
				(uint8_t)(v >> 24) } };
}

static inline struct le64 le64(uint64_t v)
{
	return (struct le64){ { (uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16),
				(uint8_t)(v >> 24), (uint8_t)(v >> 32), (uint8_t)(v >> 40),
				(uint8_t)(v >> 48), (uint8_t)(v >> 56) } };
}
