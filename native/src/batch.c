/* Collects requests and gives them to the kernel in one system call (paper §4.1). */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>

#include "channel.h"

int32_t mp_batch_enter(struct mp_channel *channel, uint32_t wait, int64_t timeout_ns)
{
	int32_t result;

	mp_buffers_publish(&channel->buffers);
	result = mp_ring_enter(&channel->ring, wait, timeout_ns);
	MP_COUNT(channel, system_calls, 1);
	if (wait)
		MP_COUNT(channel, waits, 1);
	if (result > 0)
		MP_COUNT(channel, requests, result);
	return result;
}

int32_t mp_batch_wait(struct mp_channel *channel, int64_t timeout_ns)
{
	mp_buffers_publish(&channel->buffers);
	MP_COUNT(channel, system_calls, 1);
	MP_COUNT(channel, waits, 1);
	return mp_ring_wait(&channel->ring, timeout_ns);
}

struct io_uring_sqe *mp_batch_own(struct mp_channel *channel, uint64_t token, uint8_t opcode)
{
	struct io_uring_sqe *request = mp_ring_next(&channel->ring);

	if (!request) {
		/* The queue is full before the threshold: flush early rather than refuse. */
		if (mp_batch_enter(channel, 0, 0) < 0)
			return NULL;
		request = mp_ring_next(&channel->ring);
		if (!request)
			return NULL;
	}
	memset(request, 0, sizeof *request);
	request->opcode = opcode;
	request->user_data = token;
	return request;
}

struct io_uring_sqe *mp_batch_request(struct mp_channel *channel, struct mp_slot *slot, uint32_t op, uint8_t opcode)
{
	struct io_uring_sqe *request = mp_batch_own(channel, mp_channel_token(channel, slot, op), opcode);

	if (!request)
		return NULL;
	slot->in_flight++;
	MP_COUNT(channel, in_flight, 1);
	return request;
}

void mp_batch_target(struct io_uring_sqe *request, const struct mp_slot *slot)
{
	request->fd = slot->fd;
	if (slot->flags & MP_SLOT_FIXED)
		request->flags |= IOSQE_FIXED_FILE;
}

/* The operation of the cancel of `op`. */
static uint32_t cancel_op(uint32_t op)
{
	switch (op) {
	case MP_TOKEN_READ:
	case MP_TOKEN_LEASED:
	case MP_TOKEN_POLL_READ:
		return MP_TOKEN_CANCEL_READ;
	case MP_TOKEN_WRITE:
	case MP_TOKEN_WRITE_HELD:
	case MP_TOKEN_POLL_WRITE:
		return MP_TOKEN_CANCEL_WRITE;
	case MP_TOKEN_CONNECT:
	case MP_TOKEN_POLL_CONNECT:
		return MP_TOKEN_CANCEL_CONNECT;
	default:
		MP_ASSERT(op >= MP_TOKEN_ACCEPT && op < MP_TOKEN_CANCEL_ACCEPT);
		return MP_TOKEN_CANCEL_ACCEPT + (op & (MP_ACCEPT_SLOTS - 1u));
	}
}

bool mp_batch_cancel(struct mp_channel *channel, struct mp_slot *slot, uint64_t token)
{
	struct io_uring_sqe *request =
		mp_batch_request(channel, slot, cancel_op(mp_token_op(token)), IORING_OP_ASYNC_CANCEL);

	if (!request)
		return false;
	request->addr = token;
	return true;
}

bool mp_batch_poll(struct mp_channel *channel, struct mp_slot *slot, uint32_t op, uint32_t events)
{
	struct io_uring_sqe *request = mp_batch_request(channel, slot, op, IORING_OP_POLL_ADD);

	if (!request)
		return false;
	mp_batch_target(request, slot);
	request->poll32_events = events;
	return true;
}

void mp_batch_filled(struct mp_channel *channel)
{
	if (mp_ring_pending(&channel->ring) >= channel->batch_threshold)
		(void)mp_batch_enter(channel, 0, 0); /* what the kernel did not take goes with the next batch */
}

int32_t mp_flush(struct mp_channel *channel)
{
	int32_t result = 0;

	mp_channel_enter(channel);
	if (mp_ring_pending(&channel->ring))
		result = mp_batch_enter(channel, 0, 0);
	mp_channel_leave(channel);
	return result;
}
