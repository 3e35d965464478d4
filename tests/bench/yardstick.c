// SPDX-License-Identifier: MIT
// The fastest FUSE server that answers from memory: what vfsdaxfuse is compared with.

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/num.h"
#include "base/time.h"
#include "fs/chan.h"
#include "wire/fuse_init.h"
#include "wire/fuse_req.h"

/*
 * One directory with files "data.0", "data.1"... of the same size, whose bytes lie in memory that
 * has been touched. Nothing is looked up, locked or counted that a READ does not need, so its time
 * is the kernel's FUSE and one copy. What there is besides READ is what a program needs to open a
 * file.
 */
#define MAX_DATA    MIB
#define BUFFER_SIZE (MAX_DATA + 2 * PAGE_4K)
#define ROOT	    FUSE_ROOT_ID
#define FIRST_FILE  2u
#define VALID_S	    3600u /* nothing changes */

/* With --spin: how long a thread looks for a request before it sleeps; vfsdaxfuse's longest. */
#define SPIN_NS (200 * NSEC_PER_US)

struct yard {
	const char *mountpoint;
	unsigned int threads, files;
	size_t file_size; /* bytes */
	bool spin, copy;
	char **data; /* of each file */
	int fd;
	_Atomic unsigned int running;
};

/* A thread that reads a request, answers it, and reads the next. */
struct server {
	const struct yard *yard;
	pthread_t thread;
	int fd_wait; /* a clone of the channel; a read sleeps */
	int fd_look; /* another; a read does not */
	int fd;	     /* the one that the request came from */
	void *req;
	struct fuse_out_header *rep;
	void *payload; /* behind *rep */
};

static void answer(struct server *s, const struct fuse_req *q, size_t len)
{
	*s->rep = (struct fuse_out_header){ .len = (uint32_t)(sizeof(*s->rep) + len),
					    .unique = q->h->unique };
	chan_reply(s->fd, q->h->unique, s->rep, s->rep->len);
}

static bool is_file(const struct yard *y, uint64_t node)
{
	return node >= FIRST_FILE && node - FIRST_FILE < y->files;
}

static struct fuse_attr attr_of(const struct yard *y, uint64_t node)
{
	struct fuse_attr a = { .ino = node, .blksize = PAGE_4K, .nlink = 1 };

	if (node == ROOT) {
		a.mode = S_IFDIR | 0755;
		a.nlink = 2;
		return a;
	}
	a.mode = S_IFREG | 0444;
	a.size = y->file_size;
	a.blocks = y->file_size / 512;
	return a;
}

/* READ: memory, copied once or not at all, goes to the kernel with one system call. */
static void do_read(struct server *s, const struct fuse_req *q)
{
	const struct fuse_read_in *in = q->arg;
	const struct yard *y = s->yard;
	size_t left = in->offset < y->file_size ? y->file_size - in->offset : 0;
	size_t want = MIN((size_t)in->size, (size_t)MAX_DATA), len = MIN(want, left);
	struct iovec iov[2] = { { s->rep, sizeof(*s->rep) }, { NULL, len } };
	char *from;

	if (!is_file(y, q->h->nodeid)) {
		chan_reply_error(s->fd, q->h->unique, -EISDIR);
		return;
	}
	from = y->data[q->h->nodeid - FIRST_FILE] + in->offset;
	if (y->copy) {
		memcpy(s->payload, from, len);
		answer(s, q, len);
		return;
	}
	iov[1].iov_base = from;
	*s->rep = (struct fuse_out_header){ .len = (uint32_t)(sizeof(*s->rep) + len),
					    .unique = q->h->unique };
	if (writev(s->fd, iov, len ? 2 : 1) < 0 && errno != ENOENT)
		log_warn_ratelimited("reply of %zu bytes: %m", len);
}

/* As a host that knows nothing special: what is local to kernel and server is as vfsdaxfuse has it.
 */
static void do_init(struct server *s, const struct fuse_req *q, size_t len)
{
	const struct fuse_init_out host = { .major = FUSE_KERNEL_VERSION,
					    .minor = FUSE_PROTO_MINOR,
					    .max_readahead = UINT32_MAX,
					    .flags = FUSE_MAX_PAGES,
					    .max_write = MAX_DATA,
					    .max_pages = MAX_DATA / PAGE_4K };
	const struct fuse_init_wish wish = { .dax = true, .max_write = MAX_DATA };
	struct fuse_init_result agreed;
	int r = fuse_init_to_kernel(q->arg, len - sizeof(*q->h), &host, sizeof(host), &wish,
				    s->payload, &agreed);

	if (r < 0)
		chan_reply_error(s->fd, q->h->unique, r);
	else
		answer(s, q, sizeof(struct fuse_init_out));
}

static void do_lookup(struct server *s, const struct fuse_req *q)
{
	struct fuse_entry_out *out = s->payload;
	unsigned int n;
	char name[32];

	for (n = 0; n < s->yard->files; n++) {
		(void)snprintf(name, sizeof(name), "data.%u", n);
		if (!strcmp(name, q->name[0]))
			break;
	}
	if (q->h->nodeid != ROOT || n == s->yard->files) {
		chan_reply_error(s->fd, q->h->unique, -ENOENT);
		return;
	}
	*out = (struct fuse_entry_out){ .nodeid = FIRST_FILE + n,
					.entry_valid = VALID_S,
					.attr_valid = VALID_S,
					.attr = attr_of(s->yard, FIRST_FILE + n) };
	answer(s, q, sizeof(*out));
}

static void do_getattr(struct server *s, const struct fuse_req *q)
{
	struct fuse_attr_out *out = s->payload;

	*out = (struct fuse_attr_out){ .attr_valid = VALID_S,
				       .attr = attr_of(s->yard, q->h->nodeid) };
	answer(s, q, sizeof(*out));
}

static void do_open(struct server *s, const struct fuse_req *q)
{
	struct fuse_open_out *out = s->payload;

	*out = (struct fuse_open_out){ .open_flags = is_file(s->yard, q->h->nodeid)
							     ? FOPEN_DIRECT_IO
							     : 0 };
	answer(s, q, sizeof(*out));
}

static void serve(struct server *s, size_t len)
{
	struct fuse_req q;

	if (fuse_req_parse(s->req, len, len, &q) < 0) {
		chan_reply_error(s->fd, ((struct fuse_in_header *)s->req)->unique, -ENOSYS);
		return;
	}
	switch (q.h->opcode) {
	case FUSE_READ:
		do_read(s, &q);
		break;
	case FUSE_INIT:
		do_init(s, &q, len);
		break;
	case FUSE_LOOKUP:
		do_lookup(s, &q);
		break;
	case FUSE_GETATTR:
		do_getattr(s, &q);
		break;
	case FUSE_OPEN:
		do_open(s, &q);
		break;
	case FUSE_RELEASE:
		answer(s, &q, 0);
		break;
	case FUSE_INTERRUPT: /* who waits has its reply before a signal could matter */
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
		break;
	default:
		chan_reply_error(s->fd, q.h->unique, -ENOSYS);
	}
}

/* The next request, as chan_read(). */
static int next(struct server *s)
{
	uint64_t begin, now;
	int n;

	if (s->yard->spin) {
		s->fd = s->fd_look;
		begin = now = time_now_ns();
		while (now - begin < SPIN_NS) {
			n = chan_read(s->fd, s->req, BUFFER_SIZE);
			if (n)
				return n;
			cpu_relax();
			now = time_now_ns();
		}
	}
	s->fd = s->fd_wait;
	return chan_read(s->fd, s->req, BUFFER_SIZE);
}

static void *server_main(void *arg)
{
	struct server *s = arg;
	int n;

	while ((n = next(s)) >= 0)
		if (n)
			serve(s, (size_t)n);
	if (n != -ENODEV)
		log_err("reading requests of the kernel: %s", strerror(-n));
	/* The last one tells main() that there is nothing more to do. */
	if (atomic_fetch_sub(&((struct yard *)s->yard)->running, 1) == 1)
		(void)kill(getpid(), SIGTERM);
	return NULL;
}

/* Memory with a byte in each page; errors end the program. */
static char *touched(size_t size)
{
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (p == MAP_FAILED) {
		log_err("%zu bytes of memory: %m", size);
		exit(1);
	}
	return p;
}

static void make_files(struct yard *y)
{
	y->data = calloc(y->files, sizeof(*y->data));
	if (!y->data)
		exit(1);
	for (unsigned int i = 0; i < y->files; i++) {
		y->data[i] = touched(y->file_size);
		for (size_t at = 0; at < y->file_size; at += PAGE_4K)
			memset(y->data[i] + at, (int)(at / PAGE_4K + i) % 255 + 1, PAGE_4K);
	}
}

static int mount_here(struct yard *y)
{
	char options[160];

	y->fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (y->fd < 0) {
		log_err("/dev/fuse: %m");
		return -errno;
	}
	(void)snprintf(options, sizeof(options),
		       "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions",
		       y->fd);
	if (mount("yardstick", y->mountpoint, "fuse.yardstick", MS_NOSUID | MS_NODEV, options) <
	    0) {
		log_err("mount on %s: %m", y->mountpoint);
		return -errno;
	}
	return 0;
}

static int start(struct server *s, struct yard *y)
{
	char *reply = touched(BUFFER_SIZE);

	s->yard = y;
	s->req = touched(BUFFER_SIZE);
	/* The data of a reply begins on a page: the kernel copies page by page. */
	s->payload = reply + PAGE_4K;
	s->rep = (struct fuse_out_header *)s->payload - 1;
	s->fd_wait = chan_clone(y->fd, false);
	s->fd_look = chan_clone(y->fd, true);
	if (s->fd_wait < 0 || s->fd_look < 0) {
		log_err("clone of /dev/fuse: %s", strerror(-MIN(s->fd_wait, s->fd_look)));
		return -1;
	}
	atomic_fetch_add(&y->running, 1);
	if (pthread_create(&s->thread, NULL, server_main, s)) {
		log_err("no thread");
		return -1;
	}
	return 0;
}

/* A positive decimal number up to @max. */
static unsigned int number(const char *option, const char *text, unsigned long max)
{
	char *end;
	unsigned long v;

	errno = 0;
	v = strtoul(text, &end, 10);
	if (*end || *text < '0' || *text > '9' || errno || !v || v > max) {
		log_err("--%s=%s: not a number from 1 to %lu", option, text, max);
		exit(1);
	}
	return (unsigned int)v;
}

static const char usage[] =
	"usage: yardstick [OPTIONS] MOUNTPOINT\n"
	"Serve files of memory through /dev/fuse, as fast as that can be, until unmounted.\n"
	"  --files=N    data.0, data.1... (1)\n"
	"  --size=MIB   of each file (64)\n"
	"  --threads=N  that read requests (1)\n"
	"  --spin       they look for the next request for a moment before they sleep\n"
	"  --copy       a reply is copied to a buffer first, as from a window (default)\n"
	"  --no-copy    the kernel takes it from the file's memory\n"
	"  --help\n";

static void parse(struct yard *y, int argc, char **argv)
{
	static const struct option options[] = {
		{ "files", required_argument, NULL, 'f' },
		{ "size", required_argument, NULL, 's' },
		{ "threads", required_argument, NULL, 't' },
		{ "spin", no_argument, NULL, 'p' },
		{ "copy", no_argument, NULL, 'c' },
		{ "no-copy", no_argument, NULL, 'n' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'f':
			y->files = number("files", optarg, 1024);
			break;
		case 's':
			y->file_size = number("size", optarg, 65536) * MIB;
			break;
		case 't':
			y->threads = number("threads", optarg, 64);
			break;
		case 'p':
			y->spin = true;
			break;
		case 'c':
		case 'n':
			y->copy = c == 'c';
			break;
		case 'h':
			(void)fputs(usage, stdout);
			exit(0);
		default:
			(void)fputs(usage, stderr);
			exit(1);
		}
	}
	if (argc - optind != 1) {
		(void)fputs(usage, stderr);
		exit(1);
	}
	y->mountpoint = argv[optind];
}

int main(int argc, char **argv)
{
	struct yard y = { .threads = 1, .files = 1, .file_size = 64 * MIB, .copy = true };
	struct server *servers;
	sigset_t ends;
	int r = 0, sig;

	log_init("yardstick", LOG_LEVEL_INFO);
	parse(&y, argc, argv);
	(void)sigemptyset(&ends);
	(void)sigaddset(&ends, SIGTERM);
	(void)sigaddset(&ends, SIGINT);
	(void)pthread_sigmask(SIG_BLOCK, &ends, NULL);
	make_files(&y);
	servers = calloc(y.threads, sizeof(*servers));
	if (!servers || mount_here(&y) < 0)
		return 1;
	for (unsigned int i = 0; i < y.threads && r == 0; i++)
		r = start(&servers[i], &y);
	if (r == 0)
		(void)sigwait(&ends, &sig);
	/* If it was a signal and not the end of the mount. */
	if (atomic_load(&y.running))
		(void)umount2(y.mountpoint, MNT_DETACH);
	return r ? 1 : 0;
}
