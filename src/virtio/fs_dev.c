// SPDX-License-Identifier: MIT
// A virtio-fs device that is ready to take requests.

#include <assert.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_fs.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "virtio/fs_dev.h"

#define BIT64(n) (UINT64_C(1) << (n))

/* Of virtio feature bits, what this driver can use (VIRTIO 1.2, 6). */
static const uint64_t fs_dev_features =
	BIT64(VIRTIO_F_VERSION_1) | BIT64(VIRTIO_RING_F_INDIRECT_DESC) |
	BIT64(VIRTIO_RING_F_EVENT_IDX) | BIT64(VIRTIO_F_ACCESS_PLATFORM);

static_assert(sizeof(struct virtio_fs_config) == FS_DEV_TAG_MAX + 4, "virtio_fs_config");

/* A queue larger than this brings nothing: requests in flight are bounded by our buffers. */
#define QUEUE_SIZE_MAX	     1024u
#define RINGS_BYTES(nqueues) ((size_t)(nqueues)*128 * KIB)

/* End all requests once the device cannot touch their memory any more. */
static void fs_dev_end_requests(struct fs_dev *d)
{
	int r = d->t->ops->failed(d->t) < 0 ? 0 : d->t->ops->reset(d->t);

	if (r < 0)
		log_dbg("reset of the broken device: error %d", -r);
	virtq_fail_all(&d->hiprio);
	for (unsigned int i = 0; i < d->num_request; i++)
		virtq_fail_all(&d->request[i]);
}

static void fs_dev_break_queues(struct fs_dev *d, int error)
{
	virtq_break(&d->hiprio, error);
	for (unsigned int i = 0; i < d->num_request; i++)
		virtq_break(&d->request[i], error);
}

/* The reason why nothing works any more, or 0. */
static int fs_dev_find_fault(struct fs_dev *d)
{
	int r = atomic_load(&d->broken);

	if (!r)
		r = d->t->ops->failed(d->t);
	if (!r)
		r = virtq_is_broken(&d->hiprio);
	for (unsigned int i = 0; !r && i < d->num_request; i++)
		r = virtq_is_broken(&d->request[i]);
	return r;
}

static void *fs_dev_irq_main(void *arg)
{
	struct fs_dev *d = arg;
	struct pollfd pfd = { .fd = d->t->ops->irq_fd(d->t), .events = POLLIN };
	eventfd_t count;
	bool ended = false;

	while (!atomic_load(&d->stopping)) {
		int fault;

		if (poll(&pfd, 1, -1) < 0 && errno != EINTR)
			break;
		(void)eventfd_read(pfd.fd, &count);
		fault = fs_dev_find_fault(d);
		if (fault && !ended) {
			atomic_store(&d->broken, fault);
			if (!atomic_load(&d->stopping))
				log_err("the device is given up: %s", strerror(-fault));
			fs_dev_break_queues(d, fault);
			fs_dev_end_requests(d);
			ended = true;
		}
		/* One vector may serve all queues, so every wake looks at each. */
		virtq_reap(&d->hiprio);
		for (unsigned int i = 0; i < d->num_request; i++)
			virtq_reap(&d->request[i]);
	}
	return NULL;
}

int fs_dev_broken(const struct fs_dev *d)
{
	return atomic_load(&d->broken);
}

void fs_dev_break(struct fs_dev *d, int error)
{
	int expected = 0;

	(void)atomic_compare_exchange_strong(&d->broken, &expected, error);
	(void)eventfd_write(d->t->ops->irq_fd(d->t), 1);
}

/* VIRTIO 1.2, 3.1.1, steps 1 to 6. */
static int fs_dev_negotiate(struct fs_dev *d, char *why, size_t why_size)
{
	const struct virtio_transport_ops *ops = d->t->ops;
	uint8_t status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;
	uint64_t offered;
	int r;

	r = ops->reset(d->t);
	if (r < 0) {
		(void)snprintf(why, why_size, "the device does not reset: %s", strerror(-r));
		return r;
	}
	r = ops->set_status(d->t, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	if (r == 0)
		r = ops->set_status(d->t, status);
	if (r == 0)
		r = ops->get_features(d->t, &offered);
	if (r < 0) {
		(void)snprintf(why, why_size, "the device does not start: %s", strerror(-r));
		return r;
	}
	if (!(offered & BIT64(VIRTIO_F_VERSION_1))) {
		(void)snprintf(why, why_size,
			       "the device is not a modern one (VIRTIO_F_VERSION_1)");
		return -ENOTSUP;
	}
	d->offered = offered;
	d->features = offered & fs_dev_features;
	status |= VIRTIO_CONFIG_S_FEATURES_OK;
	r = ops->set_features(d->t, d->features);
	if (r == 0)
		r = ops->set_status(d->t, status);
	if (r == 0)
		r = ops->get_status(d->t, &status);
	if (r == 0 && !(status & VIRTIO_CONFIG_S_FEATURES_OK))
		r = -ENOTSUP;
	if (r < 0)
		(void)snprintf(why, why_size, "the device refuses features 0x%llx of 0x%llx: %s",
			       (unsigned long long)d->features, (unsigned long long)offered,
			       strerror(-r));
	return r;
}

static int fs_dev_read_config(struct fs_dev *d, unsigned int max_request, char *why,
			      size_t why_size)
{
	struct virtio_fs_config config;
	unsigned int nqueues, want;
	int r;

	r = d->t->ops->read_config(d->t, 0, &config, sizeof(config));
	if (r == 0)
		r = d->t->ops->num_queues(d->t, &nqueues);
	if (r < 0) {
		(void)snprintf(why, why_size, "the device's configuration cannot be read: %s",
			       strerror(-r));
		return r;
	}
	memcpy(d->tag, config.tag, sizeof(config.tag));
	want = le32toh(config.num_request_queues);
	if (want < 1 || nqueues < 2) {
		(void)snprintf(why, why_size, "the device has no request queue");
		return -EPROTO;
	}
	want = MIN(want, nqueues - 1);
	d->num_request = MIN(want, max_request);
	return 0;
}

static int fs_dev_make_queues(struct fs_dev *d, unsigned int max, char *why, size_t why_size)
{
	unsigned int size;
	int r = 0;

	d->request = calloc(d->num_request, sizeof(struct virtq));
	if (!d->request)
		r = -ENOMEM;
	for (unsigned int i = 0; r == 0 && i <= d->num_request; i++) {
		r = d->t->ops->queue_max_size(d->t, i, &size);
		if (r == 0 && !size)
			r = -EPROTO;
		if (r == 0)
			r = virtq_init(i ? &d->request[i - 1] : &d->hiprio, d->t, d->arena, i,
				       MIN(size, max), d->features);
		if (r < 0)
			(void)snprintf(why, why_size, "queue %u cannot be set up: %s", i,
				       strerror(-r));
	}
	return r;
}

static int fs_dev_setup(struct fs_dev *d, const struct fs_dev_params *params, char *why,
			size_t why_size)
{
	uint8_t status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
			 VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK;
	int r;

	r = fs_dev_negotiate(d, why, why_size);
	if (r == 0)
		r = fs_dev_read_config(d, params->max_request, why, why_size);
	if (r < 0)
		return r;

	r = dma_arena_create(params->arena_size + RINGS_BYTES(d->num_request + 1),
			     d->t->ops->dma_kind, &d->arena);
	if (r == 0)
		r = d->t->ops->dma_map(d->t, d->arena,
				       d->features & BIT64(VIRTIO_F_ACCESS_PLATFORM));
	if (r < 0) {
		(void)snprintf(why, why_size, "no memory that the device can reach: %s%s",
			       strerror(-r),
			       r == -EPERM ? " (CAP_SYS_ADMIN and CAP_IPC_LOCK are needed)" : "");
		return r;
	}
	r = fs_dev_make_queues(d, params->queue_size ? params->queue_size : QUEUE_SIZE_MAX, why,
			       why_size);
	if (r < 0)
		return r;
	r = d->t->ops->window(d->t, !params->window_unmapped, &d->window);
	if (r == -ENODEV)
		d->window = (struct virtio_window){ 0 };
	else if (r < 0) {
		(void)snprintf(why, why_size, "the window cannot be mapped: %s", strerror(-r));
		return r;
	}
	r = d->t->ops->set_status(d->t, status);
	if (r == 0) {
		r = -pthread_create(&d->irq_thread, NULL, fs_dev_irq_main, d);
		d->irq_running = r == 0;
	}
	if (r < 0)
		(void)snprintf(why, why_size, "the device does not start: %s", strerror(-r));
	return r;
}

int fs_dev_start(struct virtio_transport *t, const struct fs_dev_params *params, char *why,
		 size_t why_size, struct fs_dev **ret)
{
	struct fs_dev *d = calloc(1, sizeof(*d));
	int r;

	if (!d) {
		t->ops->close(t);
		return -ENOMEM;
	}
	d->t = t;
	r = fs_dev_setup(d, params, why, why_size);
	if (r < 0) {
		fs_dev_stop(d);
		return r;
	}
	*ret = d;
	return 0;
}

void fs_dev_stop(struct fs_dev *d)
{
	if (!d)
		return;
	if (d->irq_running) {
		atomic_store(&d->stopping, true);
		(void)eventfd_write(d->t->ops->irq_fd(d->t), 1);
		(void)pthread_join(d->irq_thread, NULL);
	}
	d->t->lost = fs_dev_broken(d) != 0;
	d->t->ops->close(d->t);
	virtq_fini(&d->hiprio);
	for (unsigned int i = 0; d->request && i < d->num_request; i++)
		virtq_fini(&d->request[i]);
	free(d->request);
	dma_arena_destroy(d->arena);
	free(d);
}
