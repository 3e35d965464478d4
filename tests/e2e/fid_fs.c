// SPDX-License-Identifier: MIT
// Fidelity: the file system as a whole, ioctls, handles and notification.

#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fidelity.h"

static void sync_fs(void)
{
	int fd = create_file("f", MIB, 1);

	OK(syncfs(fd));
	OK(syncfs(OK(open(".", O_RDONLY))));
	check_pattern(fd, 0, MIB, 1);
}

/* Where the extents lie; or a clean error. */
static void fiemap(void)
{
	struct {
		struct fiemap map;
		struct fiemap_extent extent[4];
	} m = { .map = { .fm_length = FIEMAP_MAX_OFFSET, .fm_extent_count = 4 } };
	int fd = create_file("f", MIB, 1);

	OK(fsync(fd));
	CAN(ioctl(fd, FS_IOC_FIEMAP, &m));
	CHECK(m.map.fm_mapped_extents > 0);
}

static void inode_flags(void)
{
	int fd = create_file("f", 100, 1), flags = 0;

	CAN(ioctl(fd, FS_IOC_GETFLAGS, &flags));
	flags |= FS_NODUMP_FL;
	CAN(ioctl(fd, FS_IOC_SETFLAGS, &flags));
	flags = 0;
	CAN(ioctl(fd, FS_IOC_GETFLAGS, &flags));
	CHECK(flags & FS_NODUMP_FL);
}

static void inode_fsxattr(void)
{
	int fd = create_file("f", 100, 1);
	struct fsxattr x = { 0 };

	CAN(ioctl(fd, FS_IOC_FSGETXATTR, &x));
	CAN(ioctl(fd, FS_IOC_FSSETXATTR, &x));
}

static void ioctl_unknown(void)
{
	int fd = create_file("f", 100, 1), n = 0;

	FAILS(ioctl(fd, _IOR('?', 99, int), &n), ENOTTY);
	OK(ioctl(fd, FIONREAD, &n));
	EQ(n, 100);
	OK(lseek(fd, 40, SEEK_SET));
	OK(ioctl(fd, FIONREAD, &n));
	EQ(n, 60);
}

struct handle {
	struct file_handle h;
	unsigned char bytes[MAX_HANDLE_SZ];
};

/* A handle leads to the file whatever its name is, as long as somebody has it open. */
static void handle_of_open_file(void)
{
	struct handle h = { .h = { .handle_bytes = MAX_HANDLE_SZ } };
	int fd, mount_id, dir = OK(open(".", O_RDONLY | O_DIRECTORY)), held;

	need_root();
	held = create_file("f", 10000, 1);
	CAN(name_to_handle_at(AT_FDCWD, "f", &h.h, &mount_id, 0));
	fd = OK(open_by_handle_at(dir, &h.h, O_RDWR));
	check_pattern(fd, 0, 10000, 1);
	OK(rename("f", "g"));
	OK(close(fd));
	fd = OK(open_by_handle_at(dir, &h.h, O_RDONLY));
	check_pattern(fd, 0, 10000, 1);
	check_pattern(held, 0, 10000, 1);
}

/* And later, when nobody has, as a server of NFS needs it. */
static void handle_of_closed_file(void)
{
	struct handle h = { .h = { .handle_bytes = MAX_HANDLE_SZ } };
	int fd, mount_id, dir = OK(open(".", O_RDONLY | O_DIRECTORY));

	need_root();
	OK(close(create_file("f", 10000, 1)));
	CAN(name_to_handle_at(AT_FDCWD, "f", &h.h, &mount_id, 0));
	(void)sleep(2); /* until the close has come to the host, and the kernel has forgotten it */
	fd = OK(open_by_handle_at(dir, &h.h, O_RDONLY));
	check_pattern(fd, 0, 10000, 1);
}

/* inotify_next() - the next event's mask */
static uint32_t inotify_next(int fd, char *name, size_t len)
{
	static char buf[4096] __attribute__((aligned(8)));
	static size_t at, end;
	const struct inotify_event *e;

	if (at == end) {
		struct pollfd p = { .fd = fd, .events = POLLIN };

		if (poll(&p, 1, 5000) != 1)
			fail(__FILE__, __LINE__, "no event");
		end = (size_t)OK(read(fd, buf, sizeof(buf)));
		at = 0;
	}
	e = (const void *)(buf + at);
	at += sizeof(*e) + e->len;
	(void)snprintf(name, len, "%s", e->len ? e->name : "");
	return e->mask;
}

#define EVENT(want, who)                                                                           \
	do {                                                                                       \
		uint32_t mask_ = inotify_next(in, name, sizeof(name));                             \
		EQ(mask_, want);                                                                   \
		EQ(strcmp(name, who), 0);                                                          \
	} while (0)

static void inotify(void)
{
	int in = OK(inotify_init1(IN_CLOEXEC)), fd;
	char name[300];

	OK(inotify_add_watch(
		in, ".", IN_CREATE | IN_MODIFY | IN_CLOSE_WRITE | IN_MOVE | IN_DELETE | IN_ATTRIB));
	fd = OK(open("f", O_RDWR | O_CREAT, 0644));
	EQ(write(fd, "x", 1), 1);
	OK(close(fd));
	OK(chmod("f", 0600));
	OK(rename("f", "g"));
	OK(unlink("g"));
	OK(mkdir("d", 0755));
	EVENT(IN_CREATE, "f");
	EVENT(IN_MODIFY, "f");
	EVENT(IN_CLOSE_WRITE, "f");
	EVENT(IN_ATTRIB, "f");
	EVENT(IN_MOVED_FROM, "f");
	EVENT(IN_MOVED_TO, "g");
	EVENT(IN_DELETE, "g");
	EVENT(IN_CREATE | IN_ISDIR, "d");
}

static void fanotify(void)
{
	struct fanotify_event_metadata e[8];
	struct stat st;
	uint64_t mask = 0;
	ssize_t n;
	int fan;

	need_root();
	fan = CAN(fanotify_init(FAN_CLASS_NOTIF | FAN_NONBLOCK, O_RDONLY));
	OK(close(create_file("f", 10, 1)));
	CAN(fanotify_mark(fan, FAN_MARK_ADD, FAN_OPEN | FAN_MODIFY | FAN_CLOSE_WRITE, AT_FDCWD,
			  "f"));
	EQ(write(OK(open("f", O_WRONLY)), "x", 1), 1);
	n = OK(read(fan, e, sizeof(e)));
	for (size_t i = 0; i < (size_t)n / sizeof(e[0]); i++) {
		mask |= e[i].mask;
		OK(fstat(e[i].fd, &st));
		EQ(st.st_size, 10);
	}
	EQ(mask, FAN_OPEN | FAN_MODIFY);
}

/* With handles instead of descriptors; needs name_to_handle_at and an f_fsid. */
static void fanotify_handles(void)
{
	char buf[1024];
	int fan;

	need_root();
	fan = CAN(fanotify_init(FAN_CLASS_NOTIF | FAN_NONBLOCK | FAN_REPORT_DFID_NAME, O_RDONLY));
	if (fanotify_mark(fan, FAN_MARK_ADD, FAN_CREATE | FAN_DELETE, AT_FDCWD, ".") < 0 &&
	    errno == ENODEV)
		skip("fanotify_mark: %m");
	OK(close(create_file("f", 1, 1)));
	CHECK(OK(read(fan, buf, sizeof(buf))) > 0);
}

const struct test fid_fs_tests[] = {
	{ "sync_fs", sync_fs },
	{ "fiemap", fiemap },
	{ "inode_flags", inode_flags },
	{ "inode_fsxattr", inode_fsxattr },
	{ "ioctl_unknown", ioctl_unknown },
	{ "handle_of_open_file", handle_of_open_file },
	{ "handle_of_closed_file", handle_of_closed_file },
	{ "inotify", inotify },
	{ "fanotify", fanotify },
	{ "fanotify_handles", fanotify_handles },
	{ 0 },
};
