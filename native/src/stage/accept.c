/* Stage accept: connections come to be. Each outstanding accept has its own address buffer, because a multishot
 * accept does not report each peer's address reliably, and a handle reserved for the connection, so that none is
 * accepted only to be dropped. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "../channel.h"

static void release_reserved(struct mp_channel *channel, struct mp_accept_slot *accept)
{
	if (accept->reserved == MP_NO_SLOT)
		return;
	if (accept->lwsocket) {
		MP_ASSERT(channel->lwsockets > 0);
		channel->lwsockets--;
	}
	mp_handles_retire(&channel->handles, accept->reserved);
	accept->reserved = MP_NO_SLOT;
}

/* -ENFILE when the handle or lwsocket table is full. */
static int32_t reserve(struct mp_channel *channel, struct mp_accept_slot *accept)
{
	if (accept->lwsocket && channel->lwsockets >= channel->max_lwsockets)
		return -ENFILE;
	accept->reserved = mp_handles_take(&channel->handles);
	if (accept->reserved == MP_NO_SLOT)
		return -ENFILE;
	channel->lwsockets += accept->lwsocket;
	return 0;
}

/* 0, -ENFILE (no event was made), -EAGAIN (no room in the queue; the reservation stays). */
static int32_t issue(struct mp_channel *channel, struct mp_slot *listener, uint32_t number)
{
	struct mp_accept_slot *accept = &listener->accepts->slots[number];
	struct io_uring_sqe *request;

	if (accept->reserved == MP_NO_SLOT) {
		int32_t error = reserve(channel, accept);

		if (error)
			return error;
	}
	request = mp_batch_request(channel, listener, MP_TOKEN_ACCEPT + number, IORING_OP_ACCEPT);
	if (!request)
		return -EAGAIN;
	mp_batch_target(request, listener);
	accept->address_bytes = sizeof accept->address;
	request->addr = (uint64_t)(uintptr_t)accept->address;
	request->addr2 = (uint64_t)(uintptr_t)&accept->address_bytes;
	/* Trying in vain costs the kernel a socket and a file, made and freed. */
	accept->waited = channel->accepts_wait && !accept->tries;
	if (accept->waited)
		request->ioprio = IORING_ACCEPT_POLL_FIRST;
	accept->tries = 0;
	if (accept->lwsocket)
		request->file_index = IORING_FILE_INDEX_ALLOC;
	else
		request->accept_flags = SOCK_CLOEXEC;
	return 0;
}

static void end(struct mp_channel *channel, struct mp_slot *listener, struct mp_accept_slot *accept)
{
	release_reserved(channel, accept);
	accept->busy = 0;
	accept->owed = 0;
	if (--listener->accepts->busy == 0)
		listener->accepts->stopping = false;
}

int32_t mp_accept(struct mp_channel *channel, mp_handle handle, uint32_t count, uint32_t flags)
{
	struct mp_slot *listener = mp_handles_open_slot(&channel->handles, handle);
	struct mp_accepts *accepts;

	if (!listener)
		return -EBADF;
	if (listener->kind != MP_KIND_LISTENER || count == 0 || count > MP_ACCEPT_SLOTS ||
	    (flags & ~(uint32_t)(MP_ACCEPT_LWSOCKET | MP_ACCEPT_KEEP)))
		return -EINVAL;
	if ((flags & MP_ACCEPT_LWSOCKET) && !channel->files_registered)
		return -ENOTSUP;
	mp_channel_enter(channel);
	accepts = listener->accepts;
	/* Accepts made while others are being stopped would be stopped with them. */
	if (accepts->stopping || count > MP_ACCEPT_SLOTS - accepts->busy) {
		mp_channel_leave(channel);
		return -EBUSY;
	}
	for (uint32_t number = 0; count > 0; number++) {
		struct mp_accept_slot *accept = &accepts->slots[number];

		if (accept->busy)
			continue;
		accept->busy = 1;
		accept->keep = (flags & MP_ACCEPT_KEEP) != 0;
		accept->lwsocket = (flags & MP_ACCEPT_LWSOCKET) != 0;
		accept->tries = 1;
		accept->reserved = MP_NO_SLOT;
		/* What cannot be made now is made at the next dispatch, or becomes an event there. */
		accept->owed = issue(channel, listener, number) != 0;
		if (accept->owed)
			mp_owe(channel, listener, MP_OWED_ACCEPT);
		accepts->busy++;
		count--;
	}
	mp_batch_filled(channel);
	mp_channel_leave(channel);
	return 0;
}

/* Makes the accepts that are owed; one that cannot be made becomes an event. true when all are settled. */
bool mp_accept_settle(struct mp_channel *channel, struct mp_slot *listener, struct mp_event *event, bool *written)
{
	struct mp_accepts *accepts = listener->accepts;

	for (uint32_t number = 0; number < MP_ACCEPT_SLOTS; number++) {
		struct mp_accept_slot *accept = &accepts->slots[number];
		int32_t error;

		if (!accept->owed)
			continue;
		error = listener->state == MP_SLOT_CLOSING || accepts->stopping ? -ECANCELED :
										  issue(channel, listener, number);
		if (error == -EAGAIN)
			return false;
		accept->owed = 0;
		if (error) {
			end(channel, listener, accept);
			mp_event_fill(channel, event, listener, MP_STAGE_ACCEPT, error, 0);
			event->source = event->handle;
			event->handle = 0;
			*written = true;
			return false; /* one event at a time; the caller comes back */
		}
	}
	return true;
}

bool mp_accept_cancel(struct mp_channel *channel, struct mp_slot *listener)
{
	for (uint32_t number = 0; number < MP_ACCEPT_SLOTS; number++) {
		struct mp_accept_slot *accept = &listener->accepts->slots[number];
		uint32_t op = (accept->polling ? MP_TOKEN_POLL_ACCEPT : MP_TOKEN_ACCEPT) + number;

		if (!accept->busy || accept->owed || accept->cancelled)
			continue;
		if (!mp_batch_cancel(channel, listener, mp_channel_token(channel, listener, op)))
			return false;
		accept->cancelled = 1;
	}
	return true;
}

int32_t mp_accept_stop(struct mp_channel *channel, mp_handle handle)
{
	struct mp_slot *listener = mp_handles_open_slot(&channel->handles, handle);

	if (!listener || listener->kind != MP_KIND_LISTENER)
		return -EBADF;
	if (listener->accepts->busy == 0)
		return 0;
	mp_channel_enter(channel);
	listener->accepts->stopping = true;
	mp_owe(channel, listener, MP_OWED_ACCEPT | MP_OWED_STOP);
	mp_channel_leave(channel);
	return 0;
}

static void adopt(struct mp_channel *channel, struct mp_slot *listener, struct mp_accept_slot *accept, int32_t result,
		  struct mp_event *event)
{
	struct mp_slot *slot = &channel->handles.slots[accept->reserved];

	accept->reserved = MP_NO_SLOT;
	slot->state = MP_SLOT_OPEN;
	slot->kind = MP_KIND_SOCKET;
	slot->cookie = listener->cookie;
	slot->fd = result;
	slot->flags = MP_SLOT_OWNED | (listener->flags & MP_SLOT_INET) |
		      (accept->lwsocket ? MP_SLOT_FIXED | MP_SLOT_LWCOUNTED : 0u);
	if ((listener->flags & MP_SLOT_INET) && accept->address_bytes <= MP_ADDRESS_BYTES) {
		slot->address_bytes = (uint8_t)accept->address_bytes;
		memcpy(slot->address, accept->address, accept->address_bytes);
	} else if (accept->address_bytes > sizeof(sa_family_t) && accept->address_bytes <= sizeof accept->address) {
		/* A Unix client with a name: rare, so it is kept apart. Without memory it counts as unnamed. */
		slot->long_address = malloc(accept->address_bytes);
		slot->long_address_bytes = slot->long_address ? accept->address_bytes : 0;
		if (slot->long_address)
			memcpy(slot->long_address, accept->address, accept->address_bytes);
	}
	MP_COUNT(channel, accepted, 1);
	MP_COUNT(channel, handles_live, 1);
	mp_event_fill(channel, event, slot, MP_STAGE_ACCEPT, 0, accept->lwsocket ? MP_EVENT_LWSOCKET : 0);
	event->source = mp_channel_handle(channel, listener);
}

bool mp_accept_completed(struct mp_channel *channel, struct mp_slot *listener, const struct io_uring_cqe *completion,
			 struct mp_event *event)
{
	uint32_t op = mp_token_op(completion->user_data);
	int32_t result = completion->res;
	bool poll = op >= MP_TOKEN_POLL_ACCEPT, ending, refused;
	uint32_t number = op - (poll ? MP_TOKEN_POLL_ACCEPT : MP_TOKEN_ACCEPT);
	struct mp_accept_slot *accept;

	MP_ASSERT(listener->kind == MP_KIND_LISTENER && listener->accepts && number < MP_ACCEPT_SLOTS);
	accept = &listener->accepts->slots[number];
	MP_ASSERT(accept->busy && !accept->owed && accept->polling == poll);
	ending = listener->state == MP_SLOT_CLOSING || listener->accepts->stopping;
	accept->cancelled = 0;
	if (poll) {
		accept->polling = 0;
		accept->tries = 1;
	} else {
		accept->tries = (completion->flags & IORING_CQE_F_SOCK_NONEMPTY) != 0;
	}
	/* A kernel that cannot wait first (before 6.10) refuses to. */
	refused = !poll && result == -EINVAL && accept->waited && !channel->accepts_waited;
	if (refused)
		channel->accepts_wait = false;
	else if (!poll && result >= 0 && accept->waited)
		channel->accepts_waited = true;
	/* ECANCELED that nobody asked for: the thread that made it has ended. */
	if ((poll && result >= 0) || (!poll && (result == -EAGAIN || result == -EINTR)) || result == -ECANCELED ||
	    refused) {
		if (!ending) {
			/* A poll that finds no room is replaced by the accept, which asks for it once more. */
			accept->polling =
				result == -EAGAIN &&
				mp_batch_poll(channel, listener, MP_TOKEN_POLL_ACCEPT + number, 1 /* POLLIN */);
			accept->owed = !accept->polling;
			if (accept->owed)
				mp_owe(channel, listener, MP_OWED_ACCEPT);
			return false;
		}
		result = -ECANCELED;
	}
	if (result < 0) {
		end(channel, listener, accept);
		mp_event_fill(channel, event, listener, MP_STAGE_ACCEPT, result, 0);
		event->source = event->handle;
		event->handle = 0;
		return true;
	}
	adopt(channel, listener, accept, result, event);
	if (accept->keep && !ending) {
		event->flags |= MP_EVENT_MORE;
		accept->owed = 1;
		mp_owe(channel, listener, MP_OWED_ACCEPT);
	} else {
		end(channel, listener, accept);
	}
	return true;
}

int32_t mp_set_cookie(struct mp_channel *channel, mp_handle handle, uint64_t cookie)
{
	struct mp_slot *slot = mp_handles_open_slot(&channel->handles, handle);

	if (!slot)
		return -EBADF;
	slot->cookie = cookie;
	return 0;
}
