// SPDX-License-Identifier: MIT
// Writes a small EROFS over a composed device: files to read.

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/num.h"
#include "erofs_disk.h"
#include "pass/erofs.h"

#define BLOCK_BITS 12u
static_assert(PASS_BLOCK == 1u << BLOCK_BITS, "blkszbits");

#define ROOT_OFFSET (EROFS_SUPER_OFFSET + (uint32_t)sizeof(struct erofs_super))
#define ROOT_INO    1u /* slot i has 2 + i; only seen in stat(2) of 32 bits */
static_assert(ROOT_OFFSET % EROFS_NID_SIZE == 0, "the root's number");

#define CHUNK_SIZE ((uint32_t)sizeof(struct erofs_chunk))
static_assert(EROFS_CHUNKS_FIRST == (PASS_BLOCK - sizeof(struct erofs_inode)) / CHUNK_SIZE,
	      "behind the inode");
static_assert(EROFS_CHUNKS_MORE == PASS_BLOCK / CHUNK_SIZE, "a block of chunks");

/* What "." and "..", and what a file takes of a block of the directory. */
#define DOTS_SIZE     (2 * (uint32_t)sizeof(struct erofs_dirent) + 3)
#define FILE_SIZE     ((uint32_t)sizeof(struct erofs_dirent) + PASS_NAME_LEN)
#define FILES_IN_ROOT ((PASS_BLOCK - DOTS_SIZE) / FILE_SIZE) /* in its first block */
#define FILES_BEHIND  (PASS_BLOCK / FILE_SIZE)

/* The chunks of a file. */
struct chunking {
	unsigned int bits; /* 2^bits blocks each */
	uint32_t n;
	uint32_t slot_blocks; /* that inode and list take */
};

/* Where a run ends, a chunk must end, unless it is the last run. */
static struct chunking chunking(const struct pass_extent *extents, size_t n)
{
	struct pass_runs runs = { .extents = extents, .n = n, .max = UINT32_MAX };
	struct chunking c = { .bits = EROFS_CHUNK_BITS_MAX, .slot_blocks = 1 };
	struct pass_extent run;
	uint64_t blocks = 0;

	while (pass_run_next(&runs, &run)) {
		if (run.at.v)
			c.bits = MIN(c.bits, (unsigned int)__builtin_ctz(run.at.v));
		blocks = (uint64_t)run.at.v + run.count;
	}
	/* Not larger than the file: a plain number for those who look at it. */
	while (c.bits && UINT64_C(1) << (c.bits - 1) >= blocks)
		c.bits--;
	c.n = (uint32_t)((blocks + (UINT64_C(1) << c.bits) - 1) >> c.bits);
	if (c.n > EROFS_CHUNKS_FIRST)
		c.slot_blocks +=
			(c.n - EROFS_CHUNKS_FIRST + EROFS_CHUNKS_MORE - 1) / EROFS_CHUNKS_MORE;
	return c;
}

uint32_t erofs_slot_blocks(const struct pass_extent *extents, size_t n)
{
	return chunking(extents, n).slot_blocks;
}

int erofs_layout_init(struct erofs_layout *ret, const struct erofs_shape *shape)
{
	struct erofs_layout l = { .shape = *shape };
	uint64_t total;

	if (!shape->slots || shape->slots > PASS_SLOTS_MAX || !shape->slot_blocks)
		return -EINVAL;
	l.root_blocks = 1;
	if (shape->slots > FILES_IN_ROOT)
		l.root_blocks += (shape->slots - FILES_IN_ROOT + FILES_BEHIND - 1) / FILES_BEHIND;
	/* No overflow: each summand is below 2^46. */
	total = 1 + l.root_blocks + (uint64_t)shape->slots * shape->slot_blocks +
		shape->spare_blocks + shape->data_blocks;
	if (total >= UINT32_MAX)
		return -EFBIG;
	l.root.v = 1;
	l.slots.v = l.root.v + l.root_blocks;
	l.spare.v = l.slots.v + shape->slots * shape->slot_blocks;
	l.data.v = l.spare.v + shape->spare_blocks;
	l.blocks = (uint32_t)total;
	*ret = l;
	return 0;
}

uint32_t erofs_fs_blocks(const struct erofs_layout *l)
{
	return l->spare.v;
}

struct dblk erofs_slot(const struct erofs_layout *l, uint32_t slot)
{
	return DBLK(l->slots.v + slot * l->shape.slot_blocks);
}

static uint8_t *block_of(void *buf, struct dblk b)
{
	return (uint8_t *)buf + (size_t)b.v * PASS_BLOCK;
}

static uint64_t slot_nid(const struct erofs_layout *l, uint32_t slot)
{
	return (uint64_t)erofs_slot(l, slot).v * (PASS_BLOCK / EROFS_NID_SIZE);
}

/* Files of the directory's block @b: *ret_first and the number. */
static uint32_t files_in(const struct erofs_layout *l, uint32_t b, uint32_t *ret_first)
{
	*ret_first = b ? FILES_IN_ROOT + (b - 1) * FILES_BEHIND : 0;
	return MIN(l->shape.slots - *ret_first, b ? FILES_BEHIND : FILES_IN_ROOT);
}

static uint32_t root_bytes(const struct erofs_layout *l)
{
	uint32_t last = l->root_blocks - 1, first, n = files_in(l, last, &first);

	return last * PASS_BLOCK + n * FILE_SIZE + (last ? 0 : DOTS_SIZE);
}

struct dir_block {
	uint8_t *block;
	struct erofs_dirent *next;
	uint32_t names; /* where the next name goes */
};

static void put_dirent(struct dir_block *d, uint64_t nid, uint8_t type, const char *name)
{
	size_t len = strlen(name);

	*d->next++ = (struct erofs_dirent){ .nid = le64(nid),
					    .nameoff = le16(d->names),
					    .file_type = type };
	memcpy(d->block + d->names, name, len);
	d->names += (uint32_t)len;
}

static void put_root_block(const struct erofs_layout *l, uint32_t b, uint8_t *block)
{
	uint32_t first, n = files_in(l, b, &first);
	struct dir_block d = { block, (struct erofs_dirent *)block,
			       (n + (b ? 0 : 2)) * (uint32_t)sizeof(struct erofs_dirent) };

	if (!b) {
		put_dirent(&d, ROOT_OFFSET / EROFS_NID_SIZE, EROFS_FT_DIR, ".");
		put_dirent(&d, ROOT_OFFSET / EROFS_NID_SIZE, EROFS_FT_DIR, "..");
	}
	for (uint32_t i = first; i < first + n; i++) {
		char name[PASS_NAME_LEN + 1];

		pass_slot_name(i, name);
		put_dirent(&d, slot_nid(l, i), EROFS_FT_REG, name);
	}
}

static void put_inode(struct erofs_inode *inode, uint32_t ino, const struct pass_attr *attr,
		      uint32_t links, uint32_t layout, uint32_t u)
{
	*inode = (struct erofs_inode){ .i_format = le16(EROFS_EXTENDED | layout),
				       .i_mode = le16(attr->mode),
				       .i_size = le64(attr->size),
				       .i_u = le32(u),
				       .i_ino = le32(ino),
				       .i_uid = le32(attr->uid),
				       .i_gid = le32(attr->gid),
				       .i_mtime = le64((uint64_t)attr->mtime.sec),
				       .i_mtime_nsec = le32(attr->mtime.nsec),
				       .i_nlink = le32(links) };
}

/* @buf: blocks of zeroes. */
static void put_file(uint32_t slot, const struct pass_attr *attr, const struct pass_extent *extents,
		     size_t n, const struct chunking *c, uint8_t *buf)
{
	struct erofs_chunk *chunk = (struct erofs_chunk *)(buf + sizeof(struct erofs_inode));
	struct pass_runs runs = { .extents = extents, .n = n, .max = UINT32_MAX };
	struct pass_extent run;

	put_inode((struct erofs_inode *)buf, ROOT_INO + 1 + slot, attr, 1, EROFS_CHUNK_BASED,
		  EROFS_CHUNK_INDEXES | c->bits);
	while (pass_run_next(&runs, &run))
		for (uint64_t off = 0; off < run.count; off += UINT64_C(1) << c->bits)
			(chunk++)->blkaddr = le32(run.block.v + (uint32_t)off);
}

int erofs_write_fs(const struct erofs_layout *l, const uint8_t uuid[16], int64_t now, void *buf,
		   size_t len)
{
	size_t need = (size_t)erofs_fs_blocks(l) * PASS_BLOCK;
	struct pass_attr root = { .size = root_bytes(l),
				  .mode = S_IFDIR | 0700,
				  .mtime = { .sec = now } };
	struct pass_attr empty = { .mode = S_IFREG | 0600, .mtime = { .sec = now } };
	struct erofs_super *s = (struct erofs_super *)((uint8_t *)buf + EROFS_SUPER_OFFSET);
	const struct chunking none = chunking(NULL, 0);

	if (len < need)
		return -ENOBUFS;
	memset(buf, 0, need);
	s->magic = le32(EROFS_MAGIC);
	s->feature_compat = le32(EROFS_COMPAT_MTIME);
	s->blkszbits = BLOCK_BITS;
	s->root_nid = le16(ROOT_OFFSET / EROFS_NID_SIZE);
	s->inos = le64(1 + (uint64_t)l->shape.slots);
	s->build_time = le64((uint64_t)now);
	s->blocks = le32(l->blocks);
	memcpy(s->uuid, uuid, sizeof(s->uuid));
	s->feature_incompat = le32(EROFS_INCOMPAT_CHUNKED_FILE);
	put_inode((struct erofs_inode *)((uint8_t *)buf + ROOT_OFFSET), ROOT_INO, &root, 2,
		  EROFS_FLAT_PLAIN, l->root.v);
	for (uint32_t b = 0; b < l->root_blocks; b++)
		put_root_block(l, b, block_of(buf, DBLK(l->root.v + b)));
	for (uint32_t i = 0; i < l->shape.slots; i++)
		put_file(i, &empty, NULL, 0, &none, block_of(buf, erofs_slot(l, i)));
	return 0;
}

int erofs_write_slot(const struct erofs_layout *l, uint32_t slot, const struct pass_attr *attr,
		     const struct pass_extent *extents, size_t n, void *buf, size_t len)
{
	struct chunking c;
	int r;

	if (slot >= l->shape.slots)
		return -EINVAL;
	r = pass_file_check(attr, extents, n, l->spare, DBLK(l->blocks), false);
	if (r)
		return r;
	c = chunking(extents, n);
	if (c.slot_blocks > l->shape.slot_blocks)
		return -ENOSPC;
	if (c.slot_blocks > len / PASS_BLOCK)
		return -ENOBUFS;
	memset(buf, 0, (size_t)c.slot_blocks * PASS_BLOCK);
	put_file(slot, attr, extents, n, &c, buf);
	return (int)c.slot_blocks;
}
