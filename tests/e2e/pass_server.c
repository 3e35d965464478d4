// SPDX-License-Identifier: MIT
// A FUSE server of a few files that hands them to the kernel: FUSE_PASSTHROUGH, spoken on /dev/fuse
// itself.

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "wire/fuse_proto.h"

#define FILES_MAX 16
#define FIRST	  2u /* node of the first file */
#define MAX_WRITE (1u << 20)
#define NOBODY	  65534

static const char usage[] =
	"usage: pass_server [--killpriv] MOUNTPOINT NAME=BACKING-FILE...\n"
	"  --killpriv           say FUSE_HANDLE_KILLPRIV_V2\n"
	"Told by setxattr() of any file of the mount:\n"
	"  user.open FLAGS      answer to opens from now on: FOPEN_ bits (128 passthrough, 1 "
	"direct)\n"
	"  user.register ro|rw|nobody  register the backing file anew at the next passthrough "
	"open, from a\n"
	"                       descriptor for reading, for both, or with the rights of nobody\n"
	"  user.grow SIZE       make the backing file as long\n"
	"  user.valid SECONDS   how long the kernel may keep attributes (0)\n"
	"Asked by getxattr(): user.count (requests so far, NAME=N), user.pid, user.backing (the "
	"path)\n";

struct file {
	const char *name, *path;
	int fd;	       /* for the requests that come here */
	int backing;   /* id in the kernel; 0: none */
	uint32_t mode; /* as the kernel sees it */
	uint32_t uid;
};

enum count {
	LOOKUP,
	GETATTR,
	SETATTR,
	OPEN,
	READ,
	WRITE,
	FLUSH,
	FSYNC,
	RELEASE,
	FALLOCATE,
	COPY,
	KILL,
	CAPABILITY,
	COUNTS
};

static const char *const count_name[COUNTS] = { "lookup",    "getattr",	  "setattr", "open",
						"read",	     "write",	  "flush",   "fsync",
						"release",   "fallocate", "copy",    "kill",
						"capability" };

static struct file files[FILES_MAX];
static unsigned int num_files;
static int dev; /* /dev/fuse */
static uint32_t open_flags = FOPEN_PASSTHROUGH;
static uint64_t valid;
static int register_flags = O_RDWR;
static bool register_as_nobody, killpriv;
static unsigned long counts[COUNTS];

static char request[MAX_WRITE + 65536], reply[MAX_WRITE];

static struct file *file_of(uint64_t node)
{
	return node >= FIRST && node - FIRST < num_files ? &files[node - FIRST] : NULL;
}

static void fill_attr(uint64_t node, struct fuse_attr *a)
{
	const struct file *f = file_of(node);
	struct stat st;

	*a = (struct fuse_attr){ .ino = node, .mode = S_IFDIR | 0755, .nlink = 2, .blksize = 4096 };
	if (!f || fstat(f->fd, &st) < 0)
		return;
	a->size = (uint64_t)st.st_size;
	a->blocks = (uint64_t)st.st_blocks;
	a->mtime = (uint64_t)st.st_mtim.tv_sec;
	a->mtimensec = (uint32_t)st.st_mtim.tv_nsec;
	a->ctime = (uint64_t)st.st_ctim.tv_sec;
	a->ctimensec = (uint32_t)st.st_ctim.tv_nsec;
	a->mode = S_IFREG | f->mode;
	a->uid = f->uid;
	a->nlink = 1;
}

/* cap_drop() - take a capability out of the effective set of this thread, or put all permitted ones
 * back */
static void cap_drop(int cap)
{
	struct __user_cap_header_struct h = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct d[2];

	if (syscall(SYS_capget, &h, d) < 0)
		return;
	for (int i = 0; i < 2; i++)
		d[i].effective = d[i].permitted;
	if (cap >= 0)
		d[cap / 32].effective &= ~(1u << (cap % 32));
	(void)syscall(SYS_capset, &h, d);
}

/* The kernel keeps this thread's credentials for the backing file. CAP_SYS_ADMIN is needed. */
static int register_backing(struct file *f)
{
	struct fuse_backing_map map = { .fd = open(f->path, register_flags | O_CLOEXEC) };
	int id;

	if (map.fd < 0)
		return -errno;
	if (register_as_nobody) {
		(void)setfsgid(NOBODY);
		(void)setfsuid(NOBODY); /* drops the capabilities about files */
		cap_drop(-1);
		cap_drop(CAP_FSETID);
		(void)setfsuid(NOBODY);
	}
	id = ioctl(dev, FUSE_DEV_IOC_BACKING_OPEN, &map);
	if (id < 0)
		id = -errno;
	if (register_as_nobody) {
		(void)setfsuid(0);
		(void)setfsgid(0);
		cap_drop(-1);
	}
	(void)close(map.fd);
	return id;
}

static int do_init(const void *arg, size_t len)
{
	const struct fuse_init_in *in = arg;
	struct fuse_init_out *out = (void *)reply;
	uint64_t offered = in->flags, want = FUSE_INIT_EXT | FUSE_ASYNC_READ | FUSE_BIG_WRITES |
					     FUSE_MAX_PAGES | FUSE_ATOMIC_O_TRUNC |
					     FUSE_PASSTHROUGH | FUSE_DIRECT_IO_ALLOW_MMAP;

	if (len >= sizeof(*in) && in->flags & FUSE_INIT_EXT)
		offered |= (uint64_t)in->flags2 << 32;
	if (!(offered & FUSE_PASSTHROUGH))
		(void)fputs("pass_server: the kernel does not offer FUSE_PASSTHROUGH\n", stderr);
	if (killpriv)
		want |= FUSE_HANDLE_KILLPRIV_V2;
	want &= offered;
	out->major = 7;
	out->minor = 40;
	out->max_readahead = MAX_WRITE;
	out->flags = (uint32_t)want;
	out->flags2 = (uint32_t)(want >> 32);
	out->max_background = 32;
	out->congestion_threshold = 24;
	out->max_write = MAX_WRITE;
	out->max_pages = MAX_WRITE / 4096;
	out->time_gran = 1;
	fuse_init_stack_depth(out) = 1;
	return sizeof(*out);
}

static int do_lookup(const char *name)
{
	struct fuse_entry_out *out = (void *)reply;

	counts[LOOKUP]++;
	for (unsigned int i = 0; i < num_files; i++) {
		if (strcmp(files[i].name, name) != 0)
			continue;
		out->nodeid = FIRST + i;
		out->attr_valid = valid;
		fill_attr(out->nodeid, &out->attr);
		return sizeof(*out);
	}
	return -ENOENT;
}

static int answer_attr(uint64_t node)
{
	struct fuse_attr_out *out = (void *)reply;

	out->attr_valid = valid;
	fill_attr(node, &out->attr);
	return sizeof(*out);
}

static int do_setattr(struct file *f, uint64_t node, const struct fuse_setattr_in *in)
{
	counts[SETATTR]++;
	if (!f)
		return -EPERM;
	if (in->valid & FATTR_MODE)
		f->mode = in->mode & 07777;
	if (in->valid & FATTR_UID)
		f->uid = in->uid;
	if (in->valid & FATTR_SIZE && ftruncate(f->fd, (off_t)in->size) < 0)
		return -errno;
	return answer_attr(node);
}

static int do_open(struct file *f, const struct fuse_open_in *in)
{
	struct fuse_open_out *out = (void *)reply;

	counts[OPEN]++;
	if (in->flags & O_TRUNC && ftruncate(f->fd, 0) < 0)
		return -errno;
	out->open_flags = open_flags;
	if (!(open_flags & FOPEN_PASSTHROUGH))
		return sizeof(*out);
	if (!f->backing) {
		int id = register_backing(f);

		if (id < 0)
			(void)fprintf(stderr, "pass_server: BACKING_OPEN: %s\n", strerror(-id));
		if (id < 0)
			return id;
		f->backing = id;
	}
	fuse_open_backing(out) = f->backing;
	return sizeof(*out);
}

static int do_read(const struct file *f, const struct fuse_read_in *in)
{
	ssize_t n = pread(f->fd, reply, in->size < sizeof(reply) ? in->size : sizeof(reply),
			  (off_t)in->offset);

	counts[READ]++;
	return n < 0 ? -errno : (int)n;
}

static int do_write(struct file *f, const struct fuse_write_in *in)
{
	struct fuse_write_out *out = (void *)reply;
	ssize_t n = pwrite(f->fd, in + 1, in->size, (off_t)in->offset);

	counts[WRITE]++;
	if (n < 0)
		return -errno;
	if (in->write_flags & FUSE_WRITE_KILL_SUIDGID) {
		f->mode &= ~06000u;
		counts[KILL]++;
	}
	out->size = (uint32_t)n;
	return sizeof(*out);
}

/* The id of the file as it is now stays with the opens that have it. */
static int do_register(struct file *f, const char *how)
{
	uint32_t id = (uint32_t)f->backing;

	register_flags = strcmp(how, "ro") == 0 ? O_RDONLY : O_RDWR;
	register_as_nobody = strcmp(how, "nobody") == 0;
	f->backing = 0;
	return id && ioctl(dev, FUSE_DEV_IOC_BACKING_CLOSE, &id) < 0 ? -errno : 0;
}

static int do_setxattr(struct file *f, const struct fuse_setxattr_in *in)
{
	const char *name = (const char *)in + 8; /* without FUSE_SETXATTR_EXT */
	char value[32] = "";

	if (in->size >= sizeof(value))
		return -E2BIG;
	memcpy(value, name + strlen(name) + 1, in->size);
	if (strcmp(name, "user.open") == 0)
		open_flags = (uint32_t)strtoul(value, NULL, 0);
	else if (strcmp(name, "user.valid") == 0)
		valid = strtoul(value, NULL, 0);
	else if (strcmp(name, "user.register") == 0)
		return do_register(f, value);
	else if (strcmp(name, "user.grow") == 0)
		return ftruncate(f->fd, strtol(value, NULL, 0)) < 0 ? -errno : 0;
	else
		return -EOPNOTSUPP;
	return 0;
}

static int do_getxattr(const struct file *f, const struct fuse_getxattr_in *in)
{
	const char *name = (const char *)(in + 1);
	int n = 0;

	if (strcmp(name, "user.count") == 0) {
		for (int i = 0; i < COUNTS; i++)
			n += sprintf(reply + n, " %s=%lu", count_name[i], counts[i]);
	} else if (strcmp(name, "user.pid") == 0) {
		n = sprintf(reply, "%d", (int)getpid());
	} else if (strcmp(name, "user.backing") == 0) {
		n = sprintf(reply, "%s", f->path);
	} else {
		counts[CAPABILITY] += strcmp(name, "security.capability") == 0;
		return -ENODATA;
	}
	if (!in->size) {
		struct fuse_getxattr_out out = { .size = (uint32_t)n };

		memcpy(reply, &out, sizeof(out));
		return sizeof(out);
	}
	return in->size < (uint32_t)n ? -ERANGE : n;
}

static int count_only(enum count which, int result)
{
	counts[which]++;
	return result;
}

static int handle(const struct fuse_in_header *h)
{
	struct file *f = file_of(h->nodeid);
	const void *arg = h + 1;

	switch (h->opcode) {
	case FUSE_INIT:
		return do_init(arg, h->len - sizeof(*h));
	case FUSE_LOOKUP:
		return do_lookup(arg);
	case FUSE_GETATTR:
		counts[GETATTR]++;
		return answer_attr(h->nodeid);
	case FUSE_SETATTR:
		return do_setattr(f, h->nodeid, arg);
	case FUSE_OPENDIR:
		return sizeof(struct fuse_open_out);
	case FUSE_READDIR:
	case FUSE_RELEASEDIR:
	case FUSE_ACCESS:
		return 0;
	case FUSE_FLUSH:
		return count_only(FLUSH, 0);
	case FUSE_FSYNC:
		return count_only(FSYNC, 0);
	case FUSE_RELEASE:
		return count_only(RELEASE, 0);
	case FUSE_FALLOCATE:
		return count_only(FALLOCATE, -EOPNOTSUPP);
	case FUSE_COPY_FILE_RANGE:
		return count_only(COPY, -ENOSYS);
	}
	if (!f)
		return -ENOSYS;
	switch (h->opcode) {
	case FUSE_OPEN:
		return do_open(f, arg);
	case FUSE_READ:
		return do_read(f, arg);
	case FUSE_WRITE:
		return do_write(f, arg);
	case FUSE_SETXATTR:
		return do_setxattr(f, arg);
	case FUSE_GETXATTR:
		return do_getxattr(f, arg);
	default:
		return -ENOSYS;
	}
}

static int serve(void)
{
	for (;;) {
		const struct fuse_in_header *h = (void *)request;
		struct fuse_out_header out;
		struct iovec iov[2] = { { &out, sizeof(out) }, { reply, 0 } };
		ssize_t n = read(dev, request, sizeof(request));
		int r;

		if (n < 0 && errno == ENODEV)
			return 0; /* unmounted */
		if (n < 0)
			continue;
		if (h->opcode == FUSE_FORGET || h->opcode == FUSE_BATCH_FORGET ||
		    h->opcode == FUSE_INTERRUPT)
			continue;
		memset(reply, 0, sizeof(struct fuse_init_out) + sizeof(struct fuse_entry_out));
		r = handle(h);
		iov[1].iov_len = r > 0 ? (size_t)r : 0;
		out = (struct fuse_out_header){ .len = (uint32_t)(sizeof(out) + iov[1].iov_len),
						.error = r < 0 ? r : 0,
						.unique = h->unique };
		if (writev(dev, iov, 2) < 0 && errno != ENOENT)
			perror("pass_server: reply");
	}
}

int main(int argc, char **argv)
{
	char options[128];

	killpriv = argc > 1 && strcmp(argv[1], "--killpriv") == 0;
	argc -= killpriv;
	argv += killpriv;
	if (argc < 3 || argc > FILES_MAX + 2) {
		(void)fputs(usage, stderr);
		return 2;
	}
	for (int i = 2; i < argc; i++) {
		struct file *f = &files[num_files++];
		char *path = strchr(argv[i], '=');

		if (!path) {
			(void)fputs(usage, stderr);
			return 2;
		}
		*path++ = '\0';
		*f = (struct file){ .name = argv[i], .path = path, .mode = 0666 };
		f->fd = open(path, O_RDWR | O_CLOEXEC);
		if (f->fd < 0) {
			perror(path);
			return 1;
		}
	}
	dev = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	(void)snprintf(options, sizeof(options),
		       "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions",
		       dev);
	if (dev < 0 || mount("pass", argv[1], "fuse.pass", MS_NODEV, options) < 0) {
		perror("pass_server: mount");
		return 1;
	}
	return serve();
}
