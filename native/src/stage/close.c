/* Stage close: disconnect (the handle lives on) and close, which cancels, resets if asked, closes the descriptor, and
 * retires the handle after the last completion. The requests of a close go out in one batch, in that order. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "../channel.h"

int32_t mp_disconnect(struct mp_channel *channel, mp_handle handle, uint32_t how)
{
	struct mp_slot *slot = mp_handles_open_slot(&channel->handles, handle);
	struct io_uring_sqe *request;

	if (!slot)
		return -EBADF;
	if (slot->kind != MP_KIND_SOCKET || how > MP_SHUT_BOTH)
		return -EINVAL;
	if (slot->shutdowns == UINT8_MAX || (slot->flags & MP_SLOT_TRANSFERRING))
		return -EBUSY;
	mp_channel_enter(channel);
	request = mp_batch_request(channel, slot, MP_TOKEN_SHUTDOWN, IORING_OP_SHUTDOWN);
	if (!request) {
		mp_channel_leave(channel);
		return -EAGAIN;
	}
	mp_batch_target(request, slot);
	request->len = how;
	slot->shutdowns++;
	mp_batch_filled(channel);
	mp_channel_leave(channel);
	return 0;
}

/* RST: connecting a TCP socket to "no address" disconnects it, with a reset if the peer still listens (tcp_disconnect).
 * Unlike SO_LINGER this works on a lightweight socket with every kernel. */
static bool reset(struct mp_channel *channel, struct mp_slot *slot)
{
	static const struct sockaddr nobody = { .sa_family = AF_UNSPEC };
	struct io_uring_sqe *request = mp_batch_request(channel, slot, MP_TOKEN_RESET, IORING_OP_CONNECT);

	if (!request)
		return false;
	mp_batch_target(request, slot);
	request->addr = (uint64_t)(uintptr_t)&nobody;
	request->off = sizeof nobody;
	return true;
}

/* Where the target of a transfer has the socket without knowing (transfer.c), closing it here would not end it; where
 * the kernel releases a closed lightweight socket late, its peer would get the end late; and a TCP socket that is
 * closed with unread bytes sends RST, which may overtake an answer on its way. There the connection is shut down first,
 * both ways as close(2) does. A worker of the kernel does it, so the close waits for its completion. */
static bool ends_first(const struct mp_channel *channel, const struct mp_slot *slot)
{
	bool late = channel->releases_late && slot->kind == MP_KIND_SOCKET && (slot->flags & MP_SLOT_FIXED) &&
		    !(slot->flags & MP_SLOT_SHARED);

	return (slot->orphaned || late || (slot->flags & MP_SLOT_UNREAD)) &&
	       !(slot->flags & (MP_SLOT_GIVEN | MP_SLOT_RESET_DONE | MP_SLOT_ENDED));
}

static bool end(struct mp_channel *channel, struct mp_slot *slot)
{
	struct io_uring_sqe *request = mp_batch_request(channel, slot, MP_TOKEN_END, IORING_OP_SHUTDOWN);

	if (!request)
		return false;
	mp_batch_target(request, slot);
	request->len = SHUT_RDWR;
	slot->flags |= MP_SLOT_ENDING;
	return true;
}

static bool close_descriptor(struct mp_channel *channel, struct mp_slot *slot)
{
	struct io_uring_sqe *request = mp_batch_request(channel, slot, MP_TOKEN_CLOSE, IORING_OP_CLOSE);

	if (!request)
		return false;
	if (slot->flags & MP_SLOT_FIXED)
		request->file_index = (uint32_t)slot->fd + 1;
	else
		request->fd = slot->fd;
	return true;
}

bool mp_close_advance(struct mp_channel *channel, struct mp_slot *slot)
{
	bool reading = (slot->read_state == MP_READ_ONCE || slot->read_state == MP_READ_LEASED) &&
		       !(slot->owed & (MP_OWED_READ_ONCE | MP_OWED_LEASED | MP_OWED_PAUSED | MP_OWED_POLL_READ));
	bool writing = slot->writing && !(slot->owed & (MP_OWED_WRITE | MP_OWED_POLL_WRITE));

	if (reading && !(slot->flags & MP_SLOT_CANCELLED_READ) && !mp_read_cancel(channel, slot))
		return false;
	if (writing && !(slot->flags & MP_SLOT_CANCELLED_WRITE)) {
		if (!mp_write_cancel(channel, slot))
			return false;
		slot->flags |= MP_SLOT_CANCELLED_WRITE;
	}
	if (!mp_ends_cancel(channel, slot))
		return false;
	if (slot->kind == MP_KIND_LISTENER && !mp_accept_cancel(channel, slot))
		return false;
	if ((slot->flags & MP_SLOT_CONNECTING) && !(slot->flags & MP_SLOT_CANCELLED_OTHER)) {
		uint32_t op = slot->flags & MP_SLOT_POLLING_CONNECT ? MP_TOKEN_POLL_CONNECT : MP_TOKEN_CONNECT;

		if (!mp_batch_cancel(channel, slot, mp_channel_token(channel, slot, op)))
			return false;
		slot->flags |= MP_SLOT_CANCELLED_OTHER;
	}
	if ((slot->flags & MP_SLOT_CONNECTING) && slot->fd < 0)
		return true; /* its socket is still being made: that completion comes back here */
	/* A listener is left alone: other channels and processes may listen on the same socket. */
	if ((slot->flags & MP_SLOT_ABORT) && (slot->flags & MP_SLOT_INET) && slot->kind == MP_KIND_SOCKET &&
	    !(slot->flags & MP_SLOT_RESET_DONE)) {
		if (!reset(channel, slot))
			return false;
		slot->flags |= MP_SLOT_RESET_DONE;
	}
	if (slot->fd >= 0 && !(slot->flags & (MP_SLOT_KEEP_FD | MP_SLOT_CLOSE_SENT))) {
		if (ends_first(channel, slot))
			return (slot->flags & MP_SLOT_ENDING) || end(channel, slot);
		if (!close_descriptor(channel, slot))
			return false;
		slot->flags |= MP_SLOT_CLOSE_SENT;
		if (channel->releases_late && (slot->flags & MP_SLOT_FIXED))
			channel->closed_late++;
	}
	return true;
}

int32_t mp_close_begin(struct mp_channel *channel, struct mp_slot *slot, uint32_t flags)
{
	slot->state = MP_SLOT_CLOSING;
	slot->flags |= flags;
	mp_ends_forget(channel, slot);
	/* A read that is armed leaves nothing in the socket. */
	if ((slot->flags & MP_SLOT_INET) && !(slot->flags & (MP_SLOT_ABORT | MP_SLOT_SHARED | MP_SLOT_KEEP_FD)) &&
	    ((slot->flags & (MP_SLOT_PAUSED | MP_SLOT_PAUSING)) || slot->read_state == MP_READ_STARVED))
		slot->flags |= MP_SLOT_UNREAD;
	if (slot->read_state == MP_READ_STARVED) {
		mp_read_unstarve(channel, slot);
		slot->read_state = MP_READ_LEASED;
		mp_owe(channel, slot, MP_OWED_PAUSED);
	}
	slot->owed &= ~(uint32_t)(MP_OWED_PAUSE | MP_OWED_STOP | MP_OWED_ASK);
	/* A connect that waits for room will not be made: its event is owed like any other's. */
	if (!mp_close_advance(channel, slot) || (slot->owed & ~(uint32_t)MP_OWED_CLOSE) || mp_close_finished(slot))
		mp_owe(channel, slot, MP_OWED_CLOSE);
	mp_batch_filled(channel);
	return 0;
}

/* Whether `handle` can be closed now: 0, -EBADF, -EALREADY, -EBUSY. */
static int32_t closable(struct mp_channel *channel, mp_handle handle, struct mp_slot **slot)
{
	*slot = mp_handles_slot(&channel->handles, handle);
	if (!*slot)
		return -EBADF;
	if ((*slot)->state == MP_SLOT_CLOSING)
		return -EALREADY;
	return (*slot)->flags & MP_SLOT_TRANSFERRING ? -EBUSY : 0;
}

int32_t mp_close(struct mp_channel *channel, mp_handle handle, uint32_t flags)
{
	struct mp_slot *slot;
	int32_t result = closable(channel, handle, &slot);

	if (result)
		return result;
	if (flags & ~(uint32_t)MP_CLOSE_ABORT)
		return -EINVAL;
	mp_channel_enter(channel);
	result = mp_close_begin(channel, slot, flags & MP_CLOSE_ABORT ? MP_SLOT_ABORT : 0);
	mp_channel_leave(channel);
	return result;
}

int32_t mp_unregister(struct mp_channel *channel, mp_handle handle)
{
	struct mp_slot *slot;
	int32_t result = closable(channel, handle, &slot);

	if (result)
		return result;
	mp_channel_enter(channel);
	result = mp_close_begin(channel, slot, slot->flags & MP_SLOT_OWNED ? 0 : MP_SLOT_KEEP_FD);
	mp_channel_leave(channel);
	return result;
}

bool mp_close_finished(const struct mp_slot *slot)
{
	bool closed = slot->fd < 0 || (slot->flags & (MP_SLOT_KEEP_FD | MP_SLOT_CLOSE_SENT));

	return slot->in_flight == 0 && (slot->owed & ~(uint32_t)(MP_OWED_RETIRED | MP_OWED_CLOSE)) == 0 && closed;
}

void mp_close_retire(struct mp_channel *channel, struct mp_slot *slot, struct mp_event *event)
{
	uint32_t flags = MP_EVENT_RETIRED | (slot->flags & MP_SLOT_GIVEN ? MP_EVENT_GIVEN : 0u);

	mp_event_fill(channel, event, slot, MP_STAGE_CLOSE, 0, flags);
	if (slot->flags & MP_SLOT_LWCOUNTED) {
		MP_ASSERT(channel->lwsockets > 0);
		channel->lwsockets--;
	}
	if (slot->kind == MP_KIND_LISTENER) {
		free(slot->accepts);
		slot->accepts = NULL;
	} else {
		free(slot->long_address);
		slot->long_address = NULL;
	}
	MP_COUNT(channel, handles_live, -1);
	mp_handles_retire(&channel->handles, mp_slot_index(&channel->handles, slot));
}
