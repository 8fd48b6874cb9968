/* Stage write: everything that was asked for, or an error. What the kernel sends in part goes on from there.
 *
 * A send does not ask for all of it (MSG_WAITALL). The kernel polls for room up to 127 times for one request, and then
 * gives it to a worker, which waits in the send for as long as the peer likes. No size keeps a request below that: to a
 * peer with a small window a poll sends a few bytes. A request that ends with the part it sent has polled once. */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "../channel.h"

/* A pipe whose reader has gone brings SIGPIPE to the thread that writes: this one, at any time for a write that had
 * to wait. A kernel from 6.18 on can be told to bring none. Before that a worker thread of the kernel writes, which has
 * all signals blocked; as a write that waits would come back to this thread, it is made when poll says that there is
 * room. */
static void spare_the_signal(const struct mp_channel *channel, struct mp_slot *slot, struct io_uring_sqe *request)
{
	slot->nosignal = slot->kind == MP_KIND_PIPE && !channel->pipes_by_workers;
	if (slot->nosignal)
		request->rw_flags = MP_RWF_NOSIGNAL;
	else if (slot->kind == MP_KIND_PIPE)
		request->flags |= IOSQE_ASYNC;
}

/* What is owed for a write that is to be made. */
static uint32_t next_step(const struct mp_channel *channel, const struct mp_slot *slot)
{
	return slot->kind == MP_KIND_PIPE && channel->pipes_by_workers ? MP_OWED_POLL_WRITE : MP_OWED_WRITE;
}

/* A sendmsg carries its vectors through a struct msghdr, which the kernel copies when it takes the request. */
static bool issue_vectors(struct mp_channel *channel, struct mp_slot *slot)
{
	struct io_uring_sqe *request;

	if (slot->kind != MP_KIND_SOCKET) {
		request = mp_batch_request(channel, slot, MP_TOKEN_WRITE, IORING_OP_WRITEV);
		if (!request)
			return false;
		request->addr = (uint64_t)(uintptr_t)slot->write_from;
		request->len = slot->vector_count;
		request->off = UINT64_MAX;
		mp_batch_target(request, slot);
		spare_the_signal(channel, slot, request);
		return true;
	}
	if (mp_holds_sends(channel, slot)) {
		request = mp_batch_own(channel, mp_holds_token(channel, slot), IORING_OP_SENDMSG_ZC);
		if (!request)
			return false;
		slot->in_flight++;
		MP_COUNT(channel, in_flight, 1);
		request->ioprio = MP_SEND_ZC_REPORT_USAGE;
	} else {
		request = mp_batch_request(channel, slot, MP_TOKEN_WRITE, IORING_OP_SENDMSG);
		if (!request)
			return false;
	}
	slot->message.msg_iov = slot->write_from;
	slot->message.msg_iovlen = slot->vector_count;
	request->addr = (uint64_t)(uintptr_t)&slot->message;
	request->len = 1;
	request->msg_flags = MSG_NOSIGNAL;
	mp_batch_target(request, slot);
	return true;
}

bool mp_write_issue(struct mp_channel *channel, struct mp_slot *slot)
{
	struct io_uring_sqe *request;

	if (slot->vector_count)
		return issue_vectors(channel, slot);
	request = mp_batch_request(channel, slot, MP_TOKEN_WRITE,
				   slot->kind == MP_KIND_SOCKET ? IORING_OP_SEND : IORING_OP_WRITE);
	if (!request)
		return false;
	mp_batch_target(request, slot);
	request->addr = (uint64_t)(uintptr_t)slot->write_from;
	request->len = slot->write_bytes - slot->write_done;
	if (slot->kind == MP_KIND_SOCKET) {
		request->msg_flags = MSG_NOSIGNAL;
	} else {
		request->off = UINT64_MAX;
		spare_the_signal(channel, slot, request);
	}
	return true;
}

static uint64_t token_of(const struct mp_channel *channel, const struct mp_slot *slot)
{
	if (slot->flags & MP_SLOT_POLLING_WRITE)
		return mp_channel_token(channel, slot, MP_TOKEN_POLL_WRITE);
	return mp_holds_sends(channel, slot) ? mp_holds_token(channel, slot) :
					       mp_channel_token(channel, slot, MP_TOKEN_WRITE);
}

bool mp_write_cancel(struct mp_channel *channel, struct mp_slot *slot)
{
	return mp_batch_cancel(channel, slot, token_of(channel, slot));
}

/* `memory`: of a zero-copy write; NULL: a plain one. */
static int32_t begin(struct mp_channel *channel, mp_handle handle, void *from, uint16_t vector_count, uint32_t bytes,
		     const uint64_t *memory)
{
	struct mp_slot *slot = mp_handles_open_slot(&channel->handles, handle);

	if (!slot)
		return -EBADF;
	if (slot->kind == MP_KIND_LISTENER || !from || bytes == 0 || bytes > INT32_MAX)
		return -EINVAL;
	if (slot->writing || (slot->flags & MP_SLOT_TRANSFERRING))
		return -EBUSY;
	mp_channel_enter(channel);
	slot->writing = 1;
	slot->write_from = from;
	slot->vector_count = vector_count;
	slot->write_bytes = bytes;
	slot->write_done = 0;
	if (memory)
		mp_holds_begin(channel, slot, *memory);
	if (next_step(channel, slot) != MP_OWED_WRITE || !mp_write_issue(channel, slot))
		mp_owe(channel, slot, next_step(channel, slot));
	mp_batch_filled(channel);
	mp_channel_leave(channel);
	return 0;
}

int32_t mp_write(struct mp_channel *channel, mp_handle handle, const void *buffer, uint32_t bytes)
{
	return begin(channel, handle, (void *)(uintptr_t)buffer, 0, bytes, NULL);
}

static int32_t begin_vectors(struct mp_channel *channel, mp_handle handle, void *vectors, uint32_t count,
			     const uint64_t *memory)
{
	const struct iovec *vector = vectors;
	uint64_t bytes = 0;

	if (!vectors || count == 0 || count > 1024)
		return -EINVAL;
	for (uint32_t i = 0; i < count; i++) {
		/* Checked one by one: a sum of sizes may wrap around. */
		if (vector[i].iov_len > INT32_MAX)
			return -EINVAL;
		bytes += vector[i].iov_len;
	}
	if (bytes > INT32_MAX)
		return -EINVAL;
	return begin(channel, handle, vectors, (uint16_t)count, (uint32_t)bytes, memory);
}

int32_t mp_writev(struct mp_channel *channel, mp_handle handle, void *vectors, uint32_t count)
{
	return begin_vectors(channel, handle, vectors, count, NULL);
}

int32_t mp_write_held(struct mp_channel *channel, mp_handle handle, void *vectors, uint32_t count, uint64_t memory)
{
	return begin_vectors(channel, handle, vectors, count, &memory);
}

/* Moves past `bytes` that the kernel took. */
static void advance(struct mp_slot *slot, uint32_t bytes)
{
	struct iovec *vector = slot->write_from;

	slot->write_done += bytes;
	if (!slot->vector_count) {
		slot->write_from = (uint8_t *)slot->write_from + bytes;
		return;
	}
	while (slot->vector_count && bytes >= vector->iov_len) {
		bytes -= (uint32_t)vector->iov_len;
		vector++;
		slot->vector_count--;
	}
	if (bytes) {
		vector->iov_base = (uint8_t *)vector->iov_base + bytes;
		vector->iov_len -= bytes;
	}
	slot->write_from = vector;
}

void mp_write_end(struct mp_channel *channel, struct mp_slot *slot, int32_t result, struct mp_event *event)
{
	slot->writing = 0;
	slot->flags &= ~(uint32_t)MP_SLOT_CANCELLED_WRITE;
	mp_event_fill(channel, event, slot, MP_STAGE_WRITE, result, 0);
	if (slot->hold)
		mp_holds_end(channel, slot, event);
}

bool mp_write_completed(struct mp_channel *channel, struct mp_slot *slot, int32_t result, struct mp_event *event)
{
	bool closing = slot->state == MP_SLOT_CLOSING;

	if (result > 0) {
		MP_ASSERT((uint32_t)result <= slot->write_bytes - slot->write_done);
		if ((uint32_t)result == slot->write_bytes - slot->write_done) {
			result = (int32_t)slot->write_bytes;
		} else if (closing) {
			result = -ECANCELED;
		} else {
			advance(slot, (uint32_t)result);
			MP_COUNT(channel, short_writes, 1);
			mp_owe(channel, slot, next_step(channel, slot));
			return false;
		}
	} else if (result == -EOPNOTSUPP && slot->nosignal) {
		channel->pipes_by_workers = true;
		if (!closing) {
			mp_owe(channel, slot, MP_OWED_POLL_WRITE);
			return false;
		}
		result = -ECANCELED;
	} else if (slot->hold && mp_holds_refused(channel, slot, result)) {
		if (!closing) {
			mp_owe(channel, slot, next_step(channel, slot));
			return false;
		}
		result = -ECANCELED;
	} else if (result == -EAGAIN || result == -EINTR || result == -ECANCELED) {
		/* ECANCELED that nobody asked for: its thread has ended, or renew.c; before any byte was taken. */
		if (!closing) {
			mp_owe(channel, slot, result == -EAGAIN ? MP_OWED_POLL_WRITE : next_step(channel, slot));
			return false;
		}
		result = -ECANCELED;
	}
	mp_write_end(channel, slot, result, event);
	return true;
}
