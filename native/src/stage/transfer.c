/* A connection goes to another channel: the target's ring gets the descriptor and a message (MSG_RING). What the
 * target must know besides travels in its mailbox, the one place where two channels meet. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "../channel.h"
#include "../os.h"

static uint32_t post(struct mp_channel *target, const struct mp_slot *slot, uint64_t cookie)
{
	uint32_t entry = MP_NO_SLOT;

	pthread_mutex_lock(&target->mailbox_lock);
	for (uint32_t i = 0; i < MP_MAILBOX_ENTRIES && entry == MP_NO_SLOT; i++)
		if (!target->mailbox[i].used)
			entry = i;
	if (entry != MP_NO_SLOT) {
		struct mp_arrival *arrival = &target->mailbox[entry];

		arrival->used = 1;
		arrival->refused = 0;
		arrival->cookie = cookie;
		arrival->inet = (slot->flags & MP_SLOT_INET) != 0;
		arrival->fixed = (slot->flags & MP_SLOT_FIXED) != 0;
		arrival->owned = (slot->flags & MP_SLOT_OWNED) != 0;
		arrival->orphaned = slot->orphaned;
		arrival->address_bytes = slot->address_bytes;
		memcpy(arrival->address, slot->address, sizeof slot->address);
	}
	pthread_mutex_unlock(&target->mailbox_lock);
	return entry;
}

static struct mp_arrival take(struct mp_channel *target, uint32_t entry)
{
	struct mp_arrival arrival;

	pthread_mutex_lock(&target->mailbox_lock);
	MP_ASSERT(target->mailbox[entry].used);
	arrival = target->mailbox[entry];
	target->mailbox[entry].used = 0;
	target->mailbox[entry].refused = 0;
	pthread_mutex_unlock(&target->mailbox_lock);
	return arrival;
}

int32_t mp_transfer(struct mp_channel *channel, mp_handle handle, struct mp_channel *target, uint64_t cookie)
{
	struct mp_slot *slot = mp_handles_open_slot(&channel->handles, handle);
	struct io_uring_sqe *request;
	uint32_t entry;

	if (!slot)
		return -EBADF;
	if (slot->kind != MP_KIND_SOCKET || !target || target == channel)
		return -EINVAL;
	if ((slot->flags & MP_SLOT_FIXED) && !target->files_registered)
		return -ENOTSUP;
	/* The poll for its end is ours, and is cancelled with the handle. */
	if (slot->in_flight > (slot->flags & MP_SLOT_POLLING_END ? 1u : 0u))
		return -EBUSY;
	if (slot->owed || slot->read_state != MP_READ_IDLE || slot->writing)
		return -EBUSY;
	mp_channel_enter(channel);
	entry = post(target, slot, cookie);
	if (entry == MP_NO_SLOT) {
		mp_channel_leave(channel);
		return -EBUSY;
	}
	request = mp_batch_request(channel, slot, MP_TOKEN_TRANSFER, IORING_OP_MSG_RING);
	if (!request) {
		(void)take(target, entry);
		mp_channel_leave(channel);
		return -EAGAIN;
	}
	request->fd = target->ring.fd;
	request->off = mp_token(MP_TOKEN_ARRIVE, 0, entry);
	if (slot->flags & MP_SLOT_FIXED) {
		request->addr = IORING_MSG_SEND_FD;
		request->addr3 = (uint32_t)slot->fd;
		request->file_index = IORING_FILE_INDEX_ALLOC;
	} else {
		request->addr = IORING_MSG_DATA;
		request->len = (uint32_t)slot->fd;
	}
	slot->flags |= MP_SLOT_TRANSFERRING;
	slot->read_to = target; /* not reading: remembers where it goes */
	slot->read_bytes = entry;
	mp_batch_filled(channel);
	mp_channel_leave(channel);
	return 0;
}

bool mp_transfer_completed(struct mp_channel *channel, struct mp_slot *slot, int32_t result, struct mp_event *event)
{
	MP_ASSERT(slot->flags & MP_SLOT_TRANSFERRING);
	slot->flags &= ~(uint32_t)MP_SLOT_TRANSFERRING;
	if (result < 0) {
		/* The target's table has got the descriptor, and there was no memory for the message: neither side
		 * knows its number, so it stays there for the target's life. To end the socket it must be shut down. */
		if (result == -EOVERFLOW && (slot->flags & MP_SLOT_FIXED))
			slot->orphaned = 1;
		(void)take(slot->read_to, slot->read_bytes);
		mp_event_fill(channel, event, slot, MP_STAGE_CLOSE, result, MP_EVENT_GIVEN);
		return true;
	}
	MP_COUNT(channel, transfers, 1);
	/* A direct descriptor was copied, so ours is closed; a plain fd has only changed its owner. */
	(void)mp_close_begin(channel, slot,
			     MP_SLOT_GIVEN | (slot->flags & MP_SLOT_FIXED ? 0u : (uint32_t)MP_SLOT_KEEP_FD));
	return false;
}

/* Closes the descriptor of a connection for which no handle was free; a caller's fd is left to the caller. false: the
 * queue has no room. */
static bool refuse(struct mp_channel *channel, const struct mp_arrival *arrival)
{
	struct io_uring_sqe *request;

	if (!arrival->fixed) {
		if (arrival->owned)
			mp_os_close(arrival->fd);
		return true;
	}
	if (channel->releases_late) {
		/* As in close.c, but there is no slot to wait with: the close is chained to it, whatever its result. */
		request = mp_batch_own(channel, mp_token(MP_TOKEN_NONE, 0, 0), IORING_OP_SHUTDOWN);
		if (!request)
			return false;
		request->fd = arrival->fd;
		request->flags = IOSQE_FIXED_FILE | IOSQE_IO_HARDLINK;
		request->len = SHUT_RDWR;
	}
	request = mp_batch_own(channel, mp_token(MP_TOKEN_NONE, 0, 0), IORING_OP_CLOSE);
	if (!request)
		return false;
	request->file_index = (uint32_t)arrival->fd + 1;
	channel->closed_late += channel->releases_late;
	return true;
}

void mp_arrive_settle(struct mp_channel *channel)
{
	for (uint32_t entry = 0; channel->arrivals_refused && entry < MP_MAILBOX_ENTRIES; entry++) {
		bool refused;

		pthread_mutex_lock(&channel->mailbox_lock);
		refused = channel->mailbox[entry].refused;
		pthread_mutex_unlock(&channel->mailbox_lock);
		if (!refused)
			continue;
		if (!refuse(channel, &channel->mailbox[entry]))
			return;
		channel->arrivals_refused--;
		(void)take(channel, entry);
	}
}

bool mp_arrive_completed(struct mp_channel *channel, uint32_t entry, int32_t result, struct mp_event *event)
{
	struct mp_arrival arrival;
	struct mp_slot *slot;
	uint32_t index;

	MP_ASSERT(entry < MP_MAILBOX_ENTRIES);
	if (result < 0)
		return false; /* the sender gets the error too, and frees the entry */
	index = mp_handles_take(&channel->handles);
	if (index == MP_NO_SLOT) {
		pthread_mutex_lock(&channel->mailbox_lock);
		MP_ASSERT(channel->mailbox[entry].used);
		channel->mailbox[entry].refused = 1;
		channel->mailbox[entry].fd = result;
		memset(event, 0, sizeof *event);
		event->cookie = channel->mailbox[entry].cookie;
		pthread_mutex_unlock(&channel->mailbox_lock);
		event->stage = MP_STAGE_ACCEPT;
		event->result = -ENFILE;
		event->flags = MP_EVENT_TRANSFERRED;
		channel->arrivals_refused++;
		mp_arrive_settle(channel);
		return true;
	}
	arrival = take(channel, entry);
	slot = &channel->handles.slots[index];
	slot->state = MP_SLOT_OPEN;
	slot->kind = MP_KIND_SOCKET;
	slot->cookie = arrival.cookie;
	slot->fd = result;
	slot->flags = (arrival.owned ? MP_SLOT_OWNED : 0u) | (arrival.inet ? MP_SLOT_INET : 0u) |
		      (arrival.fixed ? MP_SLOT_FIXED | MP_SLOT_LWCOUNTED : 0u);
	slot->orphaned = arrival.orphaned;
	slot->address_bytes = arrival.address_bytes;
	memcpy(slot->address, arrival.address, sizeof slot->address);
	channel->lwsockets += arrival.fixed;
	MP_COUNT(channel, handles_live, 1);
	mp_event_fill(channel, event, slot, MP_STAGE_ACCEPT, 0,
		      MP_EVENT_TRANSFERRED | (arrival.fixed ? MP_EVENT_LWSOCKET : 0u));
	return true;
}
