/* SPDX-License-Identifier: MIT */
/* The numbers of the window's policy, each with its name, its least value and its reason. */
#pragma once

#include <stdint.h>

/*
 * The daemon uses the values below; window-sim takes each as --param NAME=VALUE. "Measured" is
 * window-sim --accesses 100000 --summary --param NAME=VALUE: geometric means of the gain over no
 * window, for zipf, uniform, scans and small files on three kinds of hosts. "Nothing" means that no
 * mean changes by 1 %.
 */

/*
 * extents: a few files should be there at a time. Measured: 2 loses 3 % with zipf, 8 loses 3 to 19
 * % of the scans.
 *
 * regions: QEMU bears about 500 mappings. A window full of single regions stays at half of that,
 * so that the other half is left for extents that are smaller. doc/tuning.md has 64 and 1024.
 *
 * fill_eighths: a file of 7/8 of a block takes one mapping, where exact blocks would be three
 * (1/2, 1/4 and 1/8); at most 1/8 of the block is wasted for that. Measured: 4 gains up to 4 % of
 * the scans and loses a little in uniform sets, 8: nothing.
 *
 * free_doublings: fewer mappings, where no other need be evicted for it. Measured: 0 loses 6 %
 * (zipf, stock), 4 gains at most 1 %.
 *
 * growth_part: a file that grows page by page is mapped again each time that it is longer by a
 * quarter: ten times until it is ten times as long.
 */
/* clang-format off */
#define POLICY_SHAPE_PARAMS(X)                                                                     \
	X(extents, 4, 1, "the largest extent is the window divided by this")                       \
	X(regions, 256, 1, "a region is the window divided by this")                               \
	X(fill_eighths, 7, 0, "eighths of a block that must be file")                              \
	X(free_doublings, 2, 0, "doublings of a region where there is free space")                 \
	X(growth_part, 4, 1, "a file must grow by one part of so many to be mapped longer")
/* clang-format on */

/*
 * pressure_part: an eviction frees a little, and must not end the pressure that caused it. Half is
 * free only when files were closed or shortened. Measured: 1 and 4: nothing.
 *
 * admit_min: what is read once and then once more (copied and compared) is not used often. Where
 * space must be replaced sigmas ask for more anyway. Measured: 2 loses 1 % of the scans on cheap
 * hosts, 6: nothing.
 *
 * margin, sigmas: fixed. Measured with all accesses, margin 1 to 6 and sigmas 2 to 6: at most 2 %,
 * on cheap hosts. Without sigmas uniform sets lose 2 %.
 *
 * coldest_of: a sample of eight has one of the coldest quarter in 90 of 100 cases (1 - 0.75^8).
 * Measured: 4 and 16: scans on stock gain 5 and 2 %, else 1 %.
 *
 * floor_misses: a search reads the memory of eight extents; with 16 it costs half an extent for
 * each miss. Measured: 4 and 64: nothing.
 *
 * age_misses: where all regions are asked for alike, each counts about 32 before the halving, give
 * or take 6, which is far from the margin. Measured: 16 and 64: nothing.
 *
 * small_file, small_file_misses: the kernel reads 256 KiB in two requests of 128 KiB, and a hit
 * saves about 65 us of each (stock in doc/window.md). Eight of them save what a mapping and its
 * removal cost at the least, 0.4 ms. Measured: 4 misses have two rows below 0.97, 16: nothing.
 * Files are of up to 16 KiB there, so that a larger small_file changes nothing.
 *
 * sequential_after: in random reads one in a row is chance, two hardly ever. Measured: 1 loses 4 %
 * of uniform sets, 4 loses 8 % of the scans on cheap hosts.
 */
/* clang-format off */
#define POLICY_EVIDENCE_PARAMS(X)                                                                  \
	X(pressure_part, 2, 1, "pressure ends when the window divided by this is free")            \
	X(admit_min, 3, 0, "misses of a region before it may be mapped")                           \
	X(margin, 3, 0, "a region needs so many times the hits of the extent it replaces")         \
	X(sigmas, 3, 0, "and so many standard deviations more")                                    \
	X(coldest_of, 8, 1, "extents among which the coldest is sought")                           \
	X(floor_misses, 16, 0, "misses for which the coldest is not sought again")                 \
	X(age_misses, 32, 1, "misses for each region of the window before counts are halved")      \
	X(small_file, 256 * 1024, 0, "bytes; a smaller file counts its own misses")                \
	X(small_file_misses, 8, 0, "misses of a small file that are not worth a mapping")          \
	X(sequential_after, 2, 0, "accesses in a row that make a sequential reader")
/* clang-format on */

/*
 * token_part: bounds what futile replacements cost to 3 % of the time. doc/tuning.md has 16, which
 * breaks the promise of at least 0.97 of no window, and 64.
 *
 * tokens_max: after a time of few misses a new working set may come in at once. Measured: 4 and 64:
 * nothing, but 64 has a row below 0.97.
 *
 * debt_max: a reader has one block that it reads and one that is being mapped; so two readers may
 * be there at a time. Measured: 1 loses 2 % of the scans on cheap hosts, 8 gains 1 %.
 *
 * few_maps: a mapping on stock QEMU takes 0.2 ms and 90 us for each that there is, so that the
 * eighth is still below a millisecond. Measured: 0 loses 1 to 2 % with zipf, 16 gains as much.
 *
 * hit_gain_ns: a hit of 4 KiB saves 7.6 us on the host where it saves least (polled in
 * doc/window.md); 3 us leaves something for faster ones. Measured: 1.5 us loses 20 % of the scans
 * on cheap hosts, 6 us gains 10 % on stock and loses 12 % on cheap ones.
 *
 * stream_gain: a block is earned when half of it has been read, so all of it must be worth twice
 * as much. Measured: 1 and 4 are about as hit_gain_ns twice and half.
 *
 * replace_first_ns: a mapping and an unmapping of 0.2 ms each, the first on stock QEMU. Measured:
 * 0.1 ms gains 5 % (zipf, cheap), 1.6 ms loses 12 %.
 *
 * replace_mean_of: what one replacement costs varies with how many it evicts. Measured: 2 loses 7 %
 * of the scans on stock; 32 gains 10 %, but has rows of 0.96.
 */
/* clang-format off */
#define POLICY_TIME_PARAMS(X)                                                                      \
	X(token_part, 32, 1, "a virtqueue request earns its time divided by this")                 \
	X(tokens_max, 16, 0, "replacements that can be saved up")                                  \
	X(debt_max, 4, 0, "replacements that may be owed")                                         \
	X(few_maps, 8, 0, "mappings below which one may be owed")                                  \
	X(hit_gain_ns, 3000, 0, "what a hit saves")                                                \
	X(stream_gain, 2, 0, "times that a sequential reader's hits must pay for the replacement") \
	X(replace_first_ns, 400000, 1, "cost of a replacement until one is measured")              \
	X(replace_mean_of, 8, 1, "replacements that the mean cost remembers")

#define POLICY_PARAM_LIST(X) POLICY_SHAPE_PARAMS(X) POLICY_EVIDENCE_PARAMS(X) POLICY_TIME_PARAMS(X)
/* clang-format on */

struct policy_params {
#define X(name, value, min, help) uint64_t name;
	POLICY_PARAM_LIST(X)
#undef X
};

extern const struct policy_params policy_defaults;
