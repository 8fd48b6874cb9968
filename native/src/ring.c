/* The only caller of io_uring's system calls. */
#define _GNU_SOURCE
#include "ring.h"

#include <errno.h>
#include <linux/time_types.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static int32_t ring_setup(uint32_t entries, struct io_uring_params *params)
{
	long fd = syscall(__NR_io_uring_setup, entries, params);

	return fd < 0 ? -errno : (int32_t)fd;
}

static int32_t ring_register(int32_t fd, uint32_t opcode, const void *argument, uint32_t count)
{
	long result = syscall(__NR_io_uring_register, fd, opcode, argument, count);

	return result < 0 ? -errno : (int32_t)result;
}

int32_t mp_ring_open(struct mp_ring *ring, const struct mp_ring_config *config)
{
	struct io_uring_params params;
	uint8_t *base;
	uint32_t *array;
	int32_t error;

	memset(ring, 0, sizeof *ring);
	memset(&params, 0, sizeof params);
	params.cq_entries = config->cq_entries;
	params.flags = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_SUBMIT_ALL;
	/* COOP_TASKRUN: the kernel never interrupts a running carrier to post completions; it does so when the carrier
	 * enters anyway. It needs no fixed thread, so the carrier may change. */
	params.flags |= config->single_thread ? IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN :
						IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG;
	if (config->disabled)
		params.flags |= IORING_SETUP_R_DISABLED;

	ring->fd = ring_setup(config->entries, &params);
	if (ring->fd < 0)
		return ring->fd;
	if (!(params.features & IORING_FEAT_SINGLE_MMAP) || !(params.features & IORING_FEAT_NODROP) ||
	    !(params.features & IORING_FEAT_EXT_ARG)) {
		error = -EINVAL;
		goto close_fd;
	}
	ring->features = params.features;
	if (params.features & IORING_FEAT_NO_IOWAIT)
		ring->enter_flags |= IORING_ENTER_NO_IOWAIT;

	ring->map_bytes = params.cq_off.cqes + (uint64_t)params.cq_entries * sizeof(struct io_uring_cqe);
	if (params.sq_off.array + (uint64_t)params.sq_entries * sizeof(uint32_t) > ring->map_bytes)
		ring->map_bytes = params.sq_off.array + (uint64_t)params.sq_entries * sizeof(uint32_t);
	ring->map = mmap(NULL, ring->map_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring->fd,
			 IORING_OFF_SQ_RING);
	if (ring->map == MAP_FAILED) {
		error = -errno;
		goto close_fd;
	}
	ring->sqe_map_bytes = (uint64_t)params.sq_entries * sizeof(struct io_uring_sqe);
	ring->sqe_map = mmap(NULL, ring->sqe_map_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring->fd,
			     IORING_OFF_SQES);
	if (ring->sqe_map == MAP_FAILED) {
		error = -errno;
		goto unmap;
	}

	base = ring->map;
	ring->sqes = ring->sqe_map;
	ring->sq_head = (_Atomic uint32_t *)(void *)(base + params.sq_off.head);
	ring->sq_tail = (_Atomic uint32_t *)(void *)(base + params.sq_off.tail);
	ring->sq_flags = (_Atomic uint32_t *)(void *)(base + params.sq_off.flags);
	ring->sq_mask = *(uint32_t *)(void *)(base + params.sq_off.ring_mask);
	ring->sq_entries = params.sq_entries;
	ring->cqes = (struct io_uring_cqe *)(void *)(base + params.cq_off.cqes);
	ring->cq_head = (_Atomic uint32_t *)(void *)(base + params.cq_off.head);
	ring->cq_tail = (_Atomic uint32_t *)(void *)(base + params.cq_off.tail);
	ring->cq_mask = *(uint32_t *)(void *)(base + params.cq_off.ring_mask);
	ring->cq_entries = params.cq_entries;

	/* Submissions are taken in the order in which they are made: the indirection array never changes. */
	array = (uint32_t *)(void *)(base + params.sq_off.array);
	for (uint32_t i = 0; i < params.sq_entries; i++)
		array[i] = i;
	return 0;

unmap:
	munmap(ring->map, ring->map_bytes);
close_fd:
	close(ring->fd);
	ring->fd = -1;
	return error;
}

void mp_ring_close(struct mp_ring *ring)
{
	if (ring->fd < 0)
		return;
	munmap(ring->sqe_map, ring->sqe_map_bytes);
	munmap(ring->map, ring->map_bytes);
	close(ring->fd);
	ring->fd = -1;
}

static int32_t ring_enter(struct mp_ring *ring, uint32_t count, uint32_t wait, int64_t timeout_ns)
{
	struct __kernel_timespec limit = { .tv_sec = timeout_ns / 1000000000, .tv_nsec = timeout_ns % 1000000000 };
	struct io_uring_getevents_arg argument = { .ts = timeout_ns < 0 ? 0 : (uint64_t)(uintptr_t)&limit };
	uint32_t flags = IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG;
	long result;

	if (wait != 0)
		flags |= ring->enter_flags;
	result = syscall(__NR_io_uring_enter, ring->fd, count, wait, flags, &argument, sizeof argument);
	return result < 0 ? -errno : (int32_t)result;
}

int32_t mp_ring_enter(struct mp_ring *ring, uint32_t wait, int64_t timeout_ns)
{
	int32_t result;

	/* Release: the kernel must see the filled submissions before the new tail. */
	atomic_store_explicit(ring->sq_tail, ring->tail, memory_order_release);
	result = ring_enter(ring, mp_ring_pending(ring), wait, timeout_ns);
	if (result > 0)
		ring->submitted += (uint32_t)result;
	return result;
}

int32_t mp_ring_wait(struct mp_ring *ring, int64_t timeout_ns)
{
	return ring_enter(ring, 0, 1, timeout_ns);
}

int32_t mp_ring_check(struct mp_ring *ring)
{
	return ring_enter(ring, 0, 0, 0);
}

int32_t mp_ring_register_files(struct mp_ring *ring, uint32_t count)
{
	struct io_uring_rsrc_register table = { .nr = count, .flags = IORING_RSRC_REGISTER_SPARSE };

	return ring_register(ring->fd, IORING_REGISTER_FILES2, &table, sizeof table);
}

int32_t mp_ring_register_buffers(struct mp_ring *ring, struct io_uring_buf_ring *buffers, uint32_t entries)
{
	struct io_uring_buf_reg group = {
		.ring_addr = (uint64_t)(uintptr_t)buffers,
		.ring_entries = entries,
		.bgid = 0,
	};
	int32_t result = ring_register(ring->fd, IORING_REGISTER_PBUF_RING, &group, 1);

	if (result != -EINVAL)
		return result;
	/* Ubuntu's 6.8 from 6.8.0-142 on has a check of the reserved words the wrong way round: it refuses zeroes and
	 * nothing else. A kernel that checks them rightly refuses this, too. */
	group.resv[2] = 1;
	return ring_register(ring->fd, IORING_REGISTER_PBUF_RING, &group, 1);
}

int32_t mp_ring_register_busy_poll(struct mp_ring *ring, uint32_t busy_poll_us)
{
	struct mp_uapi_napi napi = { .busy_poll_us = busy_poll_us }; /* the kernel answers with what was set before */

	return ring_register(ring->fd, MP_REGISTER_NAPI, &napi, 1);
}

/* What starts the ring also makes its caller the one thread of a ring with `single_thread`. */
int32_t mp_ring_start(struct mp_ring *ring, const struct io_uring_restriction *list, uint32_t count)
{
	int32_t result = ring_register(ring->fd, IORING_REGISTER_RESTRICTIONS, list, count);

	/* The kernel refuses the whole list for an operation that it does not know: the last one is newer than 6.1. */
	if (result == -EINVAL)
		result = ring_register(ring->fd, IORING_REGISTER_RESTRICTIONS, list, count - 1);
	return result < 0 ? result : ring_register(ring->fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
}

int32_t mp_ring_post(struct mp_ring *ring, uint64_t token)
{
	struct io_uring_sqe message;

	memset(&message, 0, sizeof message);
	message.opcode = IORING_OP_MSG_RING;
	message.fd = ring->fd;
	message.addr = IORING_MSG_DATA;
	message.off = token;
	return ring_register(-1, MP_REGISTER_SEND_MSG_RING, &message, 1);
}
