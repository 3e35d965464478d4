/* SPDX-License-Identifier: MIT */
/* The numbers of the window's policy, each with its name and its reason. */
#pragma once

#include <stdint.h>

/*
 * window-sim takes each of them as --param NAME=VALUE; doc/window.md has what it found. "Matters little"
 * means there: half and twice the value change no geometric mean by more than 1 %.
 */
/* clang-format off */
#define POLICY_PARAM_LIST(X)                                                                       \
	/* Shapes. */                                                                              \
	X(extents, 4, 1, "the largest extent is the window divided by this")                         \
	X(regions, 256, 1, "a region is the window divided by this")                                 \
	X(fill_eighths, 7, 0, "eighths of a block that must be file")                                \
	X(free_doublings, 2, 0, "doublings of a region where there is free space")                  \
	X(growth_part, 4, 1, "a file must grow by one part of so many to be mapped longer")          \
	/* Evidence. */                                                                            \
	X(pressure_part, 2, 1, "pressure ends when the window divided by this is free")              \
	X(admit_min, 3, 0, "misses of a region before it may be mapped")                             \
	X(margin, 3, 0, "a region needs so many times the hits of the extent it replaces")           \
	X(sigmas, 3, 0, "and so many standard deviations more")                                      \
	X(coldest_of, 8, 1, "extents among which the coldest is sought")                             \
	X(floor_misses, 16, 0, "misses for which the coldest is not sought again")                   \
	X(age_misses, 32, 1, "misses for each region of the window before counts are halved")        \
	X(small_file, 256 * 1024, 0, "bytes; a smaller file counts its own misses")                  \
	X(small_file_misses, 8, 0, "misses of a small file that are not worth a mapping")            \
	X(sequential_after, 2, 0, "accesses in a row that make a sequential reader")                 \
	/* Budget of time. */                                                                      \
	X(token_part, 32, 1, "a virtqueue request earns its time divided by this")                   \
	X(tokens_max, 16, 0, "replacements that can be saved up")                                    \
	X(debt_max, 4, 0, "replacements that may be owed")                                           \
	X(few_maps, 8, 0, "mappings below which one may be owed")                                    \
	X(hit_gain_ns, 3000, 0, "what a hit saves")                                                  \
	X(stream_gain, 2, 0, "times that a sequential reader's hits must pay for the replacement")   \
	X(replace_first_ns, 400000, 1, "cost of a replacement until one is measured")                \
	X(replace_mean_of, 8, 1, "replacements that the mean cost remembers")
/* clang-format on */

struct policy_params {
#define X(name, value, min, help) uint64_t name;
	POLICY_PARAM_LIST(X)
#undef X
};

/* The values that the daemon uses. */
extern const struct policy_params policy_defaults;
