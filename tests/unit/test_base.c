// SPDX-License-Identifier: MIT
// The base layer: arithmetic, iovec cursor, messages with descriptors, guarded copies, counters,
// events.

#include "unit.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/counter.h"
#include "base/event.h"
#include "base/fdmsg.h"
#include "base/guard.h"
#include "base/iov.h"
#include "base/log.h"
#include "base/num.h"
#include "base/time.h"

static void num_ranges(void **state)
{
	assert_true(range_ok(0, 0, 0));
	assert_true(range_ok(0, 10, 10));
	assert_true(range_ok(10, 0, 10));
	assert_true(range_ok(3, 7, 10));
	assert_false(range_ok(3, 8, 10));
	assert_false(range_ok(11, 0, 10));
	assert_false(range_ok(UINT64_MAX, 2, 10));
	assert_false(range_ok(2, UINT64_MAX, 10));
	assert_false(range_ok(UINT64_MAX, UINT64_MAX, UINT64_MAX - 1));
	assert_true(range_ok(UINT64_MAX, 0, UINT64_MAX));
}

static void num_sums(void **state)
{
	uint64_t sum = 42;

	assert_true(add_u64(1, 2, &sum));
	assert_int_equal(sum, 3);
	assert_true(add_u64(UINT64_MAX, 0, &sum));
	assert_true(sum == UINT64_MAX);
	sum = 42;
	assert_false(add_u64(UINT64_MAX, 1, &sum));
	assert_int_equal(sum, 42);
}

static void num_powers(void **state)
{
	assert_false(is_pow2(0));
	assert_true(is_pow2(1));
	assert_true(is_pow2(UINT64_C(1) << 63));
	assert_false(is_pow2(6));
	assert_int_equal(pow2_ceil(1), 1);
	assert_int_equal(pow2_ceil(2), 2);
	assert_int_equal(pow2_ceil(3), 4);
	assert_int_equal(pow2_ceil(4097), 8192);
	assert_true(pow2_ceil(UINT64_C(1) << 63) == UINT64_C(1) << 63);
	assert_int_equal(align_up(0, 4096), 0);
	assert_int_equal(align_up(1, 4096), 4096);
	assert_int_equal(align_down(8191, 4096), 4096);
}

/* A cursor over "abc", nothing, "d", "efgh". */
static void make_cursor(struct iov_cursor *c, struct iovec iov[4], char *mem)
{
	memcpy(mem, "abcdefgh", 9);
	iov[0] = (struct iovec){ mem, 3 };
	iov[1] = (struct iovec){ NULL, 0 };
	iov[2] = (struct iovec){ mem + 3, 1 };
	iov[3] = (struct iovec){ mem + 4, 4 };
	iov_cursor_init(c, iov, 4);
}

static void iov_reads_in_order(void **state)
{
	struct iov_cursor c;
	struct iovec iov[4];
	char mem[9], out[9] = "";

	make_cursor(&c, iov, mem);
	assert_int_equal(iov_cursor_left(&c), 8);
	assert_int_equal(iov_cursor_read(&c, out, 2), 0);
	assert_int_equal(iov_cursor_read(&c, out + 2, 4), 0);
	assert_int_equal(iov_cursor_left(&c), 2);
	assert_int_equal(iov_cursor_read(&c, out + 6, 3), -ENODATA);
	assert_int_equal(iov_cursor_left(&c), 2);
	assert_int_equal(iov_cursor_read(&c, out + 6, 2), 0);
	assert_string_equal(out, "abcdefgh");
	assert_int_equal(iov_cursor_left(&c), 0);
	assert_int_equal(iov_cursor_read(&c, out, 0), 0);
	assert_int_equal(iov_cursor_read(&c, out, 1), -ENODATA);
}

static void iov_writes_in_order(void **state)
{
	struct iov_cursor c;
	struct iovec iov[4];
	char mem[9];

	make_cursor(&c, iov, mem);
	assert_int_equal(iov_cursor_write(&c, "123456789", 9), -ENOSPC);
	assert_string_equal(mem, "abcdefgh");
	assert_int_equal(iov_cursor_write(&c, "12345", 5), 0);
	assert_string_equal(mem, "12345fgh");
	assert_int_equal(iov_cursor_skip(&c, 1), 1);
	assert_int_equal(iov_cursor_write(&c, "78", 2), 0);
	assert_string_equal(mem, "12345f78");
}

static void iov_skips(void **state)
{
	struct iov_cursor c;
	struct iovec iov[4];
	char mem[9], out = 0;

	make_cursor(&c, iov, mem);
	assert_int_equal(iov_cursor_skip(&c, 4), 4);
	assert_int_equal(iov_cursor_read(&c, &out, 1), 0);
	assert_int_equal(out, 'e');
	assert_int_equal(iov_cursor_skip(&c, SIZE_MAX), 3);
	assert_int_equal(iov_cursor_skip(&c, 1), 0);
}

static void iov_slices(void **state)
{
	struct iov_cursor c;
	struct iovec iov[4], out[4];
	char mem[9];
	size_t len;

	make_cursor(&c, iov, mem);
	assert_int_equal(iov_cursor_slice(&c, 5, out, 4, &len), 3);
	assert_int_equal(len, 5);
	assert_ptr_equal(out[0].iov_base, mem);
	assert_int_equal(out[2].iov_len, 1);
	assert_int_equal(iov_cursor_left(&c), 3);
	assert_int_equal(iov_cursor_slice(&c, 100, out, 4, &len), 1);
	assert_int_equal(len, 3);
	make_cursor(&c, iov, mem);
	/* too few entries */
	assert_int_equal(iov_cursor_slice(&c, 8, out, 2, &len), 2);
	assert_int_equal(len, 4);
	assert_int_equal(iov_cursor_left(&c), 4);
	assert_int_equal(iov_cursor_slice(&c, 8, out, 0, &len), 0);
	assert_int_equal(len, 0);
}

static void iov_sum_saturates(void **state)
{
	struct iovec iov[2] = { { NULL, SIZE_MAX - 1 }, { NULL, 2 } };
	struct iov_cursor c;

	iov_cursor_init(&c, iov, 2);
	assert_true(iov_cursor_left(&c) == SIZE_MAX);
	iov_cursor_init(&c, NULL, 0);
	assert_int_equal(iov_cursor_left(&c), 0);
}

/* Random cuts against plain memory. */
static void iov_random(void **state)
{
	struct rng rng = { unit_seed() };
	unsigned char from[512], got[512];

	for (unsigned int i = 0; i < sizeof(from); i++)
		from[i] = (unsigned char)rng_next(&rng);
	for (unsigned int round = 0; round < 2000; round++) {
		struct iovec iov[16];
		struct iov_cursor c;
		size_t at = 0, n = 0;

		for (unsigned int i = 0; i < 16; i++) {
			size_t len = (size_t)rng_below(&rng, 32);

			iov[i] = (struct iovec){ from + at, len };
			at += len;
		}
		iov_cursor_init(&c, iov, 16);
		while (n < at) {
			size_t len = 1 + (size_t)rng_below(&rng, at - n);

			if (rng_chance(&rng, 3)) {
				assert_int_equal(iov_cursor_skip(&c, len), len);
				memcpy(got + n, from + n, len);
			} else {
				assert_int_equal(iov_cursor_read(&c, got + n, len), 0);
			}
			n += len;
			assert_int_equal(iov_cursor_left(&c), at - n);
		}
		assert_memory_equal(got, from, at);
	}
}

static void pair(int s[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s), 0);
}

/* Send without fdmsg_send(), which would refuse what is wrong. */
static void send_raw(int sock, const void *buf, size_t len, const int *fds, unsigned int nfds)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int) * 16)];
	} control = { 0 };
	struct iovec iov = { .iov_base = (void *)(uintptr_t)buf, .iov_len = len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *c;

	if (nfds) {
		msg.msg_control = control.buf;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * nfds);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * nfds);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * nfds);
	}
	assert_int_equal(sendmsg(sock, &msg, 0), len);
}

static void fdmsg_passes_descriptors(void **state)
{
	int s[2], fds[FDMSG_MAX_FDS], eight[8] = { 0, 0, 0, 0, 0, 0, 0, 0 };
	unsigned int nfds = 99, before = unit_count_fds();
	char buf[8];

	pair(s);
	assert_int_equal(fdmsg_send(s[0], "12345678", 8, eight, 8), 0);
	assert_int_equal(fdmsg_recv(s[1], buf, 8, fds, &nfds), 1);
	assert_memory_equal(buf, "12345678", 8);
	assert_int_equal(nfds, 8);
	for (unsigned int i = 0; i < 8; i++) {
		assert_true(fcntl(fds[i], F_GETFD) & FD_CLOEXEC);
		(void)close(fds[i]);
	}
	assert_int_equal(fdmsg_send(s[0], "x", 1, eight, 9), -EINVAL);
	assert_int_equal(fdmsg_send(s[0], "abcd", 4, NULL, 0), 0);
	assert_int_equal(fdmsg_recv(s[1], buf, 4, fds, &nfds), 1);
	assert_int_equal(nfds, 0);
	(void)close(s[0]);
	assert_int_equal(fdmsg_recv(s[1], buf, 4, fds, &nfds), 0);
	assert_int_equal(fdmsg_send(s[1], "x", 1, NULL, 0), -EPIPE);
	(void)close(s[1]);
	assert_int_equal(unit_count_fds(), before);
}

static void fdmsg_end_in_the_middle(void **state)
{
	int s[2], fds[FDMSG_MAX_FDS], one = 0;
	unsigned int nfds = 0, before = unit_count_fds();
	char buf[8];

	pair(s);
	send_raw(s[0], "123", 3, &one, 1);
	(void)close(s[0]);
	assert_int_equal(fdmsg_recv(s[1], buf, 8, fds, &nfds), -EPROTO);
	(void)close(s[1]);
	assert_int_equal(unit_count_fds(), before);
}

static void *send_slowly(void *arg)
{
	const int sock = *(const int *)arg;

	for (unsigned int i = 0; i < 8; i++) {
		must(send(sock, &"abcdefgh"[i], 1, 0) == 1);
		(void)usleep(2000);
	}
	return NULL;
}

static void fdmsg_arrives_in_pieces(void **state)
{
	pthread_t thread;
	char buf[8];
	int s[2];

	pair(s);
	assert_int_equal(pthread_create(&thread, NULL, send_slowly, &s[0]), 0);
	assert_int_equal(fdmsg_recv(s[1], buf, 8, NULL, NULL), 1);
	assert_memory_equal(buf, "abcdefgh", 8);
	assert_int_equal(pthread_join(thread, NULL), 0);
	(void)close(s[0]);
	(void)close(s[1]);
}

static void fdmsg_too_many_descriptors(void **state)
{
	int s[2], fds[FDMSG_MAX_FDS], many[12] = { 0 };
	unsigned int nfds = 0, before = unit_count_fds();
	char buf[4];

	pair(s);
	send_raw(s[0], "1234", 4, many, 12);
	assert_int_equal(fdmsg_recv(s[1], buf, 4, fds, &nfds), -EPROTO);
	(void)close(s[0]);
	(void)close(s[1]);
	/* Also those of two parts of one message together. */
	pair(s);
	send_raw(s[0], "12", 2, many, 5);
	send_raw(s[0], "34", 2, many, 5);
	assert_int_equal(fdmsg_recv(s[1], buf, 4, fds, &nfds), -EPROTO);
	(void)close(s[0]);
	(void)close(s[1]);
	assert_int_equal(unit_count_fds(), before);
}

static void fdmsg_unwanted_descriptors(void **state)
{
	unsigned int before = unit_count_fds();
	int s[2], one = 0;
	char buf[4];

	pair(s);
	send_raw(s[0], "1234", 4, &one, 1);
	assert_int_equal(fdmsg_recv(s[1], buf, 4, NULL, NULL), -EPROTO);
	(void)close(s[0]);
	(void)close(s[1]);
	assert_int_equal(unit_count_fds(), before);
}

/* Two pages of a file, of which the second is then cut off. */
static char *cut_mapping(void)
{
	int fd = memfd_create("cut", MFD_CLOEXEC);
	char *p;

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 8192), 0);
	p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(p != MAP_FAILED);
	memset(p, 'x', 8192);
	assert_int_equal(ftruncate(fd, 4096), 0);
	(void)close(fd);
	return p;
}

static void guard_survives_a_page_that_is_gone(void **state)
{
	static char buf[8192];
	char *p = cut_mapping();

	assert_int_equal(guard_init(), 0);
	for (unsigned int i = 0; i < 3; i++) {
		assert_int_equal(guard_copy(buf, p, 4096), 0);
		assert_int_equal(buf[4095], 'x');
		assert_int_equal(guard_copy(buf, p, 4097), -EFAULT);
		assert_int_equal(guard_copy(buf, p + 4096, 1), -EFAULT);
		assert_int_equal(guard_copy(p + 4000, buf, 200), -EFAULT);
		assert_int_equal(guard_copy(p, buf, 100), 0);
		assert_int_equal(guard_copy(p + 8192 - 1, buf, 0), 0);
	}
	(void)munmap(p, 8192);
}

static void guard_survives_missing_access(void **state)
{
	char *p = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char buf[16] = "";

	assert_int_equal(guard_init(), 0);
	assert_int_equal(guard_copy(buf, p, sizeof(buf)), 0);
	assert_int_equal(guard_copy(p, buf, sizeof(buf)), -EFAULT);
	(void)munmap(p, 4096);
}

static void touch(void *arg)
{
	*(volatile char *)arg = 1;
}

static void guard_runs_a_function(void **state)
{
	char *p = cut_mapping(), here = 0;

	assert_int_equal(guard_init(), 0);
	assert_int_equal(guard_run(touch, &here), 0);
	assert_int_equal(here, 1);
	assert_int_equal(guard_run(touch, p + 5000), -EFAULT);
	assert_int_equal(guard_run(touch, p), 0);
	(void)munmap(p, 8192);
}

static void *guard_thread(void *arg)
{
	char buf[64];

	for (unsigned int i = 0; i < 2000; i++) {
		must(guard_copy(buf, (char *)arg + 4096, sizeof(buf)) == -EFAULT);
		must(guard_copy(buf, arg, sizeof(buf)) == 0);
	}
	return NULL;
}

static void guard_in_several_threads(void **state)
{
	char *p = cut_mapping();
	pthread_t t[4];

	assert_int_equal(guard_init(), 0);
	for (unsigned int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&t[i], NULL, guard_thread, p), 0);
	for (unsigned int i = 0; i < 4; i++)
		assert_int_equal(pthread_join(t[i], NULL), 0);
	(void)munmap(p, 8192);
}

/* Outside of a guarded copy the signal ends the process as ever, also after a guarded one. */
static void unguarded_fault_is_deadly(void **state)
{
	char *p = cut_mapping(), buf[16];
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid) {
		if (guard_init() < 0 || guard_copy(buf, p + 4096, 16) != -EFAULT)
			_exit(1);
		(void)signal(SIGALRM, SIG_DFL);
		(void)alarm(10);
		*(volatile char *)(p + 4096) = 1;
		_exit(2);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGBUS);
	(void)munmap(p, 8192);
}

static void *counter_thread(void *arg)
{
	for (unsigned int i = 0; i < 10000; i++)
		counter_add(COUNTER_evictions, 2);
	return NULL;
}

static void counters_add_up(void **state)
{
	uint64_t before = counter_get(COUNTER_evictions);
	pthread_t t[20];

	for (unsigned int i = 0; i < 20; i++)
		assert_int_equal(pthread_create(&t[i], NULL, counter_thread, NULL), 0);
	for (unsigned int i = 0; i < 20; i++)
		assert_int_equal(pthread_join(t[i], NULL), 0);
	assert_int_equal(counter_get(COUNTER_evictions) - before, 20 * 10000 * 2);
}

static void counters_are_dumped(void **state)
{
	char line[COUNTER_DUMP_MAX + 1], small[20], word[64];

	counter_add(COUNTER_maps, 7);
	gauge_set(GAUGE_inodes, UINT64_MAX);
	gauge_set(GAUGE_mappings_1g, 3);
	counter_dump(line, sizeof(line));
	/* the last one of all */
	assert_string_equal(line + strlen(line) - strlen("mappings_1g=3"), "mappings_1g=3");
	for (unsigned int c = 0; c < COUNTER_COUNT; c++) {
		(void)snprintf(word, sizeof(word), "%s=%llu", counter_info[c].name,
			       (unsigned long long)counter_get((enum counter)c));
		assert_non_null(strstr(line, word));
		assert_true(counter_info[c].unit[0] && counter_info[c].help[0]);
	}
	for (unsigned int g = 0; g < GAUGE_COUNT; g++) {
		(void)snprintf(word, sizeof(word), " %s=%llu", gauge_info[g].name,
			       (unsigned long long)gauge_get((enum gauge)g));
		assert_non_null(strstr(line, word));
		assert_true(gauge_info[g].unit[0] && gauge_info[g].help[0]);
	}
	/* the largest numbers fit */
	for (unsigned int c = 0; c < COUNTER_COUNT; c++)
		counter_add((enum counter)c, UINT64_MAX - counter_get((enum counter)c));
	for (unsigned int g = 0; g < GAUGE_COUNT; g++)
		gauge_set((enum gauge)g, UINT64_MAX);
	counter_dump(line, sizeof(line));
	assert_true(strlen(line) < COUNTER_DUMP_MAX);
	memset(small, 'z', sizeof(small));
	counter_dump(small, 10);
	assert_int_equal(strlen(small), 9);
	assert_int_equal(small[10], 'z');
	counter_dump(small, 1);
	assert_int_equal(small[0], '\0');
}

struct ping {
	struct event there, back;
	unsigned int value;
};

static void *ping_thread(void *arg)
{
	struct ping *p = arg;

	for (unsigned int i = 0; i < 5000; i++) {
		(void)event_wait(&p[i].there, 60 * NSEC_PER_SEC);
		p[i].value++;
		event_set(&p[i].back);
	}
	return NULL;
}

static void events(void **state)
{
	struct ping *p = calloc(5000, sizeof(*p));
	pthread_t thread;

	assert_non_null(p);
	assert_int_equal(pthread_create(&thread, NULL, ping_thread, p), 0);
	for (unsigned int i = 0; i < 5000; i++) {
		assert_false(event_is_set(&p[i].there));
		p[i].value = i;
		event_set(&p[i].there);
		(void)event_wait(&p[i].back, 60 * NSEC_PER_SEC);
		assert_int_equal(p[i].value, i + 1);
		/* set already: does not wait */
		(void)event_wait(&p[i].back, 60 * NSEC_PER_SEC);
	}
	assert_int_equal(pthread_join(thread, NULL), 0);
	event_reset(&p[0].back);
	assert_false(event_is_set(&p[0].back));
	/* nobody sets it: the time is over, twice; then somebody does */
	assert_false(event_wait(&p[0].back, 1000000));
	assert_false(event_wait(&p[0].back, 1000000));
	event_set(&p[0].back);
	assert_true(event_wait(&p[0].back, 0));
	free(p);
}

static void log_keeps_errno_and_limits_its_rate(void **state)
{
	_Atomic uint64_t rate = 0;
	unsigned int n = 0;

	errno = EXDEV;
	log_msg(LOG_LEVEL_DEBUG, "not printed");
	assert_int_equal(errno, EXDEV);
	for (unsigned int i = 0; i < 1000; i++)
		n += log_rate_ok(&rate);
	assert_in_range(n, 1, 2);
}

static void released_at_the_end_of_the_scope(void **state)
{
	unsigned int before = unit_count_fds();
	int kept = -1;

	{
		_cleanup_close_ int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
		_cleanup_close_ int other = open("/dev/null", O_RDONLY | O_CLOEXEC);
		_cleanup_free_ char *p = malloc(10);

		assert_non_null(p);
		assert_true(other >= 0);
		kept = steal_fd(&fd);
		assert_int_equal(fd, -1);
	}
	assert_int_equal(unit_count_fds(), before + 1);
	errno = EXDEV;
	close_keep_errno(kept);
	close_keep_errno(kept); /* fails inside, unseen */
	close_keep_errno(-1);
	assert_int_equal(errno, EXDEV);
	assert_int_equal(unit_count_fds(), before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(num_ranges),
		cmocka_unit_test(num_sums),
		cmocka_unit_test(num_powers),
		cmocka_unit_test(iov_reads_in_order),
		cmocka_unit_test(iov_writes_in_order),
		cmocka_unit_test(iov_skips),
		cmocka_unit_test(iov_slices),
		cmocka_unit_test(iov_sum_saturates),
		cmocka_unit_test(iov_random),
		cmocka_unit_test(fdmsg_passes_descriptors),
		cmocka_unit_test(fdmsg_end_in_the_middle),
		cmocka_unit_test(fdmsg_arrives_in_pieces),
		cmocka_unit_test(fdmsg_too_many_descriptors),
		cmocka_unit_test(fdmsg_unwanted_descriptors),
		cmocka_unit_test(guard_survives_a_page_that_is_gone),
		cmocka_unit_test(guard_survives_missing_access),
		cmocka_unit_test(guard_runs_a_function),
		cmocka_unit_test(guard_in_several_threads),
		cmocka_unit_test(unguarded_fault_is_deadly),
		cmocka_unit_test(counters_add_up),
		cmocka_unit_test(counters_are_dumped),
		cmocka_unit_test(events),
		cmocka_unit_test(log_keeps_errno_and_limits_its_rate),
		cmocka_unit_test(released_at_the_end_of_the_scope),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
