/* A channel's beginning and end, its wake-up and its counters. */
#define _GNU_SOURCE
#include "channel.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "os.h"

#define DEFAULT_QUEUE_ENTRIES 256u
#define DEFAULT_MAX_HANDLES 16384u
#define DEFAULT_BUFFER_COUNT 256u
#define DEFAULT_BUFFER_BYTES 4096u
#define DEFAULT_BATCH_THRESHOLD 32u
#define MAX_QUEUE_ENTRIES 4096u
#define MAX_HANDLES (1u << 20)
#define MAX_BUFFER_COUNT (1u << 15)
#define MAX_BUFFER_BYTES (1u << 20)

#define MAX_ERRNO 4095 /* the kernel's */

#define ALL_FLAGS \
	((uint32_t)(MP_CONFIG_SINGLE_THREAD | MP_CONFIG_NO_FD_INSTALL | MP_CONFIG_WAKE_EVENTFD | MP_CONFIG_NO_LEASE))

/* A request may complete at any time, so the completion queue holds many times what one batch submits; past it the
 * kernel keeps the rest (NODROP) and the overflow is counted. */
#define CQ_FACTOR 16u

/* mp_destroy waits this long for the kernel to give memory back, then leaks it rather than let it be reused. */
#define DESTROY_ROUNDS 500
#define DESTROY_ROUND_NS 10000000

/* Tries of a wake-up before it is given up for lost: seconds, while memory is short. */
#define WAKE_ATTEMPTS 1000000u

uint32_t mp_abi_version(void)
{
	return MP_ABI_VERSION;
}

static int32_t resolve(const struct mp_config *given, struct mp_config *config)
{
	memset(config, 0, sizeof *config);
	config->cpu = -1;
	if (given) {
		if (given->size != sizeof *config)
			return -EINVAL;
		*config = *given;
	}
	if (!config->queue_entries)
		config->queue_entries = DEFAULT_QUEUE_ENTRIES;
	if (!config->max_handles)
		config->max_handles = DEFAULT_MAX_HANDLES;
	if (!config->buffer_count)
		config->buffer_count = DEFAULT_BUFFER_COUNT;
	if (!config->buffer_bytes)
		config->buffer_bytes = DEFAULT_BUFFER_BYTES;
	if (!config->batch_threshold)
		config->batch_threshold = DEFAULT_BATCH_THRESHOLD;
	if (!config->max_lwsockets || config->max_lwsockets > config->max_handles)
		config->max_lwsockets = config->max_handles;
	/* The kernel refuses a fixed-file table larger than RLIMIT_NOFILE. */
	if (config->max_lwsockets > mp_os_fd_limit())
		config->max_lwsockets = mp_os_fd_limit();
	if (config->queue_entries > MAX_QUEUE_ENTRIES || config->max_handles > MAX_HANDLES ||
	    config->buffer_count > MAX_BUFFER_COUNT || (config->buffer_count & (config->buffer_count - 1)) ||
	    config->buffer_bytes > MAX_BUFFER_BYTES || config->reserved || (config->flags & ~ALL_FLAGS))
		return -EINVAL;
	return 0;
}

/* A kernel without one of the mechanisms answers EINVAL, one that denies io_uring EPERM: see probe.c for the text. */
static int32_t floor_error(int32_t error)
{
	switch (error) {
	case -ENOSYS:
	case -EINVAL:
		return MP_ERROR_TOO_OLD;
	case -EPERM:
	case -EACCES:
		return MP_ERROR_DENIED;
	default:
		return error;
	}
}

int32_t mp_create(const struct mp_config *given, struct mp_channel **result)
{
	struct mp_config config;
	struct mp_ring_config ring;
	struct mp_channel *channel;
	int32_t error = resolve(given, &config);

	*result = NULL;
	if (error)
		return error;
	channel = calloc(1, sizeof *channel);
	if (!channel)
		return -ENOMEM;
	channel->flags = config.flags;
	channel->cpu = config.cpu;
	channel->batch_threshold = config.batch_threshold;
	channel->max_lwsockets = config.max_lwsockets;
	channel->owed_head = MP_NO_SLOT;
	channel->starved_head = MP_NO_SLOT;
	channel->ends_head = MP_NO_SLOT;
	channel->ends_tail = MP_NO_SLOT;
	channel->wake_fd = -1;
	channel->reads_limited = true;
	pthread_mutex_init(&channel->mailbox_lock, NULL);

	ring.entries = config.queue_entries;
	ring.cq_entries = config.queue_entries * CQ_FACTOR;
	ring.single_thread = (config.flags & MP_CONFIG_SINGLE_THREAD) != 0;
	error = floor_error(mp_ring_open(&channel->ring, &ring));
	if (error)
		goto free_channel;
	error = mp_handles_open(&channel->handles, config.max_handles);
	if (error)
		goto close_ring;
	if (!(config.flags & MP_CONFIG_NO_LEASE)) {
		error = mp_buffers_open(&channel->buffers, config.buffer_count, config.buffer_bytes);
		if (error)
			goto close_handles;
		mp_buffers_publish(&channel->buffers);
		error = floor_error(mp_ring_register_buffers(&channel->ring, channel->buffers.ring,
							     config.buffer_count));
		if (error)
			goto close_buffers;
	}
	channel->files_registered = mp_ring_register_files(&channel->ring, config.max_lwsockets) == 0;
	channel->direct_wake = !(config.flags & MP_CONFIG_WAKE_EVENTFD) &&
			       mp_ring_post(&channel->ring, mp_token(MP_TOKEN_NONE, 0, 0)) == 0;
	if (!channel->direct_wake) {
		channel->wake_fd = mp_os_eventfd();
		if (channel->wake_fd < 0) {
			error = channel->wake_fd;
			goto close_buffers;
		}
	}
	*result = channel;
	return 0;

close_buffers:
	mp_ring_close(&channel->ring);
	channel->ring.fd = -1;
	mp_buffers_close(&channel->buffers);
close_handles:
	mp_handles_close(&channel->handles);
close_ring:
	mp_ring_close(&channel->ring);
free_channel:
	pthread_mutex_destroy(&channel->mailbox_lock);
	free(channel);
	return error;
}

/* Every open handle, closed; accepted connections end with FIN. */
static void close_all(struct mp_channel *channel)
{
	for (uint32_t i = 0; i < channel->handles.untouched; i++) {
		struct mp_slot *slot = &channel->handles.slots[i];

		if (slot->state == MP_SLOT_OPEN && !(slot->flags & MP_SLOT_TRANSFERRING))
			(void)mp_close_begin(channel, slot, slot->flags & MP_SLOT_OWNED ? 0 : MP_SLOT_KEEP_FD);
	}
}

void mp_destroy(struct mp_channel *channel)
{
	struct mp_event events[64];

	if (!channel)
		return;
	/* Connections may still arrive, accepted or from other channels, so close again until none is left. */
	for (uint32_t round = 0; round < DESTROY_ROUNDS; round++) {
		bool busy;
		int32_t count;

		close_all(channel);
		busy = channel->counters.handles_live || channel->counters.in_flight || channel->arrivals_refused;
		count = mp_dispatch(channel, events, 64, busy ? DESTROY_ROUND_NS : 0);
		if (count < 0 || (count == 0 && !busy))
			break;
	}
	mp_ring_close(&channel->ring);
	if (channel->wake_fd >= 0)
		mp_os_close(channel->wake_fd);
	if (channel->counters.in_flight)
		return; /* something is still in the kernel, which may write to the buffers: leak them */
	mp_buffers_close(&channel->buffers);
	mp_handles_close(&channel->handles);
	pthread_mutex_destroy(&channel->mailbox_lock);
	free(channel);
}

void mp_wake(struct mp_channel *channel)
{
	/* Pairs with dispatch: whoever finds the carrier asleep makes the one system call of this sleep. */
	if (atomic_exchange_explicit(&channel->wake_state, MP_WAKE_ASKED, memory_order_seq_cst) != MP_SLEEPING)
		return;
	atomic_fetch_add_explicit(&channel->wakes, 1, memory_order_relaxed);
	if (!channel->direct_wake) {
		(void)mp_os_notify(channel->wake_fd);
		return;
	}
	/* Fails only while the kernel is out of memory. A lost wake-up would be a carrier that sleeps for ever. */
	for (uint32_t attempt = 0; attempt < WAKE_ATTEMPTS; attempt++) {
		if (!mp_ring_post(&channel->ring, mp_token(MP_TOKEN_NONE, 0, 0)))
			return;
		(void)sched_yield();
	}
}

void mp_read_counters(const struct mp_channel *channel, struct mp_counters *counters)
{
	const uint64_t *from = (const uint64_t *)&channel->counters;
	uint64_t *to = (uint64_t *)counters;

	for (uint32_t i = 0; i < sizeof *counters / sizeof *to; i++)
		to[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
	counters->wakes = atomic_load_explicit(&channel->wakes, memory_order_relaxed);
}

const char *mp_error_text(int32_t error)
{
	if (error == MP_ERROR_TOO_OLD)
		return "the kernel lacks an io_uring mechanism that MegaPipe needs (Linux 6.1 or later)";
	if (error == MP_ERROR_DENIED)
		return "io_uring is denied to this process (seccomp profile, security module or "
		       "kernel.io_uring_disabled)";
	if (error >= 0)
		return "success";
	/* INT32_MIN has no negation, and nothing below -MAX_ERRNO is an error of the system. */
	return error >= -MAX_ERRNO && strerrordesc_np(-error) ? strerrordesc_np(-error) : "unknown error";
}
