/* A channel's beginning, its wake-up and its counters, and what every stage leaves with it: events and debts. */
#define _GNU_SOURCE
#include "channel.h"

#include <errno.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

#include "floor.h"
#include "os.h"
#include "restrict.h"
#include "testing.h"

#define DEFAULT_QUEUE_ENTRIES 256u
#define DEFAULT_MAX_HANDLES 16384u
#define DEFAULT_BUFFER_COUNT 256u
#define DEFAULT_BUFFER_BYTES 4096u
#define DEFAULT_BATCH_THRESHOLD 32u
#define MAX_QUEUE_ENTRIES 4096u
#define MAX_HANDLES (1u << 20)
#define MAX_BUFFER_COUNT (1u << 15)
#define MAX_BUFFER_BYTES (1u << 20)

#define MAX_BUSY_POLL_US 10000u
#define MAX_CPU_PLUS_ONE (1u << 16) /* beyond any system; a negative number is none */
#define LEAST_CONFIG_BYTES 8u       /* size and flags */
#define MOST_CONFIG_BYTES 4096u     /* a larger size is a mistake, not a newer caller */
#define MAX_ERRNO 4095              /* the kernel's */

#define ALL_FLAGS \
	((uint32_t)(MP_CONFIG_SINGLE_THREAD | MP_CONFIG_NO_FD_INSTALL | MP_CONFIG_WAKE_EVENTFD | MP_CONFIG_NO_LEASE | \
		    MP_CONFIG_SOCKETS | MP_CONFIG_UNRESTRICTED | MP_CONFIG_ZERO_COPY))

/* A request may complete at any time, so the completion queue holds many times what one batch submits; past it the
 * kernel keeps the rest (NODROP) and the overflow is counted. */
#define CQ_FACTOR 16u

uint32_t mp_abi_version(void)
{
	return MP_ABI_VERSION;
}

/* A struct of another age: what is missing is zero, what is unknown must be. */
static int32_t copy_config(const struct mp_config *given, struct mp_config *config)
{
	uint32_t size = given->size;

	if (size < LEAST_CONFIG_BYTES || size % sizeof(uint32_t))
		return -EINVAL;
	if (size > MOST_CONFIG_BYTES)
		return -E2BIG;
	for (uint32_t i = sizeof *config; i < size; i++)
		if (((const uint8_t *)given)[i])
			return -E2BIG;
	memcpy(config, given, size < sizeof *config ? size : sizeof *config);
	return 0;
}

static int32_t resolve(const struct mp_config *given, struct mp_config *config)
{
	int32_t error;

	memset(config, 0, sizeof *config);
	error = given ? copy_config(given, config) : 0;
	if (error)
		return error;
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
	    config->buffer_bytes > MAX_BUFFER_BYTES || config->cpu_plus_one > MAX_CPU_PLUS_ONE ||
	    config->busy_poll_us > MAX_BUSY_POLL_US || (config->flags & ~ALL_FLAGS))
		return -EINVAL;
	return 0;
}

/* After this nothing can be registered any more. */
static int32_t start(struct mp_channel *channel)
{
	struct io_uring_restriction list[MP_RESTRICTIONS];
	int32_t error = 0;

	if (!(channel->flags & MP_CONFIG_UNRESTRICTED))
		error = mp_ring_start(&channel->ring, list, mp_restrictions(channel->flags, list));
	/* A filter may deny this call alone. */
	return mp_floor_error(error ? error : mp_ring_check(&channel->ring), false);
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
	channel->cpu = (int32_t)config.cpu_plus_one - 1;
	channel->batch_threshold = config.batch_threshold;
	channel->max_lwsockets = config.max_lwsockets;
	channel->owed_head = MP_NO_SLOT;
	channel->starved_head = MP_NO_SLOT;
	channel->renew_next = MP_NO_SLOT;
	channel->renew_after = MP_RENEW_AFTER;
	channel->ends_head = MP_NO_SLOT;
	channel->ends_tail = MP_NO_SLOT;
	channel->wake_fd = -1;
	channel->accepts_wait = true;
	channel->reads_limited = true;
	channel->copies_all = !(config.flags & MP_CONFIG_ZERO_COPY);
	pthread_mutex_init(&channel->mailbox_lock, NULL);

	ring.entries = config.queue_entries;
	ring.cq_entries = config.queue_entries * CQ_FACTOR;
	ring.single_thread = (config.flags & MP_CONFIG_SINGLE_THREAD) != 0;
	ring.disabled = !(config.flags & MP_CONFIG_UNRESTRICTED);
	error = mp_floor_error(mp_ring_open(&channel->ring, &ring), true);
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
		error = mp_floor_error(
			mp_ring_register_buffers(&channel->ring, channel->buffers.ring, config.buffer_count), false);
		if (error)
			goto close_buffers;
	}
	channel->files_registered = mp_ring_register_files(&channel->ring, config.max_lwsockets) == 0;
	/* Where the kernel refuses, a channel sleeps at once: mp_probe says so. */
	if (config.busy_poll_us)
		(void)mp_ring_register_busy_poll(&channel->ring, config.busy_poll_us);
	error = start(channel);
	if (error)
		goto close_buffers;
	channel->releases_late = channel->files_registered && !mp_ring_releases_at_once();
	atomic_store_explicit(&channel->direct_wake,
			      !(config.flags & MP_CONFIG_WAKE_EVENTFD) &&
				      mp_ring_post(&channel->ring, mp_token(MP_TOKEN_NONE, 0, 0)) == 0,
			      memory_order_relaxed);
	/* Always: the system call that posts may be denied later, and a sleep needs its poll before that. */
	channel->wake_fd = mp_os_eventfd();
	if (channel->wake_fd < 0) {
		error = channel->wake_fd;
		goto close_buffers;
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

void mp_event_fill(struct mp_channel *channel, struct mp_event *event, const struct mp_slot *slot, uint32_t stage,
		   int32_t result, uint32_t flags)
{
	event->cookie = slot->cookie;
	event->handle = mp_channel_handle(channel, slot);
	event->data = 0;
	event->result = result;
	event->stage = stage;
	event->flags = flags;
	event->lease = 0;
	event->source = 0;
}

void mp_owe(struct mp_channel *channel, struct mp_slot *slot, uint32_t what)
{
	uint32_t index = mp_slot_index(&channel->handles, slot);

	slot->owed |= what;
	if (slot->flags & MP_SLOT_OWES)
		return;
	slot->flags |= MP_SLOT_OWES;
	slot->next_owed = MP_NO_SLOT;
	if (channel->owed_head == MP_NO_SLOT)
		channel->owed_head = index;
	else
		channel->handles.slots[channel->owed_tail].next_owed = index;
	channel->owed_tail = index;
}

/* Posts to the ring where the kernel can. false: the eventfd has to do it. */
static bool post_wake(struct mp_channel *channel)
{
	int32_t error;

	if (!atomic_load_explicit(&channel->direct_wake, memory_order_relaxed))
		return false;
	error = mp_ring_post(&channel->ring, mp_token(MP_TOKEN_NONE, 0, 0));
	/* Too little memory is over soon; what a filter denies stays denied. */
	if (error && error != -ENOMEM && error != -EAGAIN && error != -EOVERFLOW)
		atomic_store_explicit(&channel->direct_wake, false, memory_order_relaxed);
	return !error;
}

void mp_wake(struct mp_channel *channel)
{
	uint32_t asked = MP_WAKE_ASKED;

	/* Pairs with dispatch: the first waker of a sleep makes its one system call. */
	if (atomic_exchange_explicit(&channel->wake_state, MP_WAKE_ASKED, memory_order_seq_cst) != MP_SLEEPING)
		return;
	atomic_fetch_add_explicit(&channel->wakes, 1, memory_order_relaxed);
	if (post_wake(channel) || !mp_os_notify(channel->wake_fd))
		return;
	/* This thread can wake nobody: the next waker finds the carrier asleep, too, unless it woke by itself. */
	(void)atomic_compare_exchange_strong_explicit(&channel->wake_state, &asked, MP_SLEEPING, memory_order_seq_cst,
						      memory_order_seq_cst);
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
	if (error == MP_ERROR_LOCKED_MEMORY)
		return "no memory for the ring or its buffers: RLIMIT_MEMLOCK, which counts all processes of the user, "
		       "may be used up (ulimit -l, LimitMEMLOCK=), or the container's memory limit";
	if (error == MP_ERROR_DENIED)
		return "io_uring is denied to this process (seccomp profile, security module or "
		       "kernel.io_uring_disabled)";
	if (error >= 0)
		return "success";
	/* INT32_MIN has no negation, and nothing below -MAX_ERRNO is an error of the system. */
	if (error < -MAX_ERRNO)
		return "unknown error";
	/* Always English. The C locale is a constant of the C library: nothing is allocated, so nothing is freed. */
	return strerror_l(-error, newlocale(LC_ALL_MASK, "C", (locale_t)0));
}
