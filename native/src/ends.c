/* The peer's end, asked for a second time. A multishot receive can miss it: when the end comes with or right behind
 * data, the kernel may take both for one wake-up, read the data and wait for another one, which never comes, since an
 * end is a state and not an event (liburing issue 1549). So each socket with a leased read gets, once it has lived for
 * a while, a poll for its end, which the kernel answers by the state and only once. A connection that ends sooner costs
 * nothing of this, a longer one a single request.
 *
 * A poll that answers while the read waits has the read cancelled and armed again, which asks the socket anew. While
 * the read is paused the answer is an event of its own, MP_EVENT_HANGUP. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>

#include "channel.h"
#include "os.h"

/* A lost end is noticed after this time at most: far below what a person or a time-out notices, far above the life of a
 * short connection. */
#define END_POLL_AFTER_NS 250000000

/* Polls that are due within this time are made together: an idle channel is woken for them twenty times a second at
 * most. Far above what the coarse clock is late, which is a tick. */
#define END_POLL_TOGETHER_NS 50000000

/* A turn makes this many: a share of a millisecond. */
#define END_POLLS_A_TURN 128u

/* How soon to try again when there was no room, or when more were due than a turn makes. */
#define END_POLL_RETRY_NS 1000000

void mp_ends_expect(struct mp_channel *channel, struct mp_slot *slot)
{
	uint32_t index = mp_slot_index(&channel->handles, slot);

	if (slot->flags & (MP_SLOT_AWAITS_END | MP_SLOT_POLLING_END))
		return;
	slot->flags |= MP_SLOT_AWAITS_END;
	slot->end_poll_at_ns = mp_os_coarse_ns() + END_POLL_AFTER_NS;
	slot->next_end = MP_NO_SLOT;
	slot->previous_end = channel->ends_tail;
	if (channel->ends_tail == MP_NO_SLOT)
		channel->ends_head = index;
	else
		channel->handles.slots[channel->ends_tail].next_end = index;
	channel->ends_tail = index;
}

void mp_ends_forget(struct mp_channel *channel, struct mp_slot *slot)
{
	if (!(slot->flags & MP_SLOT_AWAITS_END))
		return;
	slot->flags &= ~(uint32_t)MP_SLOT_AWAITS_END;
	if (slot->previous_end == MP_NO_SLOT)
		channel->ends_head = slot->next_end;
	else
		channel->handles.slots[slot->previous_end].next_end = slot->next_end;
	if (slot->next_end == MP_NO_SLOT)
		channel->ends_tail = slot->previous_end;
	else
		channel->handles.slots[slot->next_end].previous_end = slot->previous_end;
}

void mp_ends_sweep(struct mp_channel *channel)
{
	int64_t until_ns;

	if (channel->ends_head == MP_NO_SLOT)
		return;
	until_ns = mp_os_coarse_ns() + END_POLL_TOGETHER_NS;
	for (uint32_t made = 0; made < END_POLLS_A_TURN && channel->ends_head != MP_NO_SLOT; made++) {
		struct mp_slot *slot = &channel->handles.slots[channel->ends_head];

		if (slot->end_poll_at_ns > until_ns || !mp_batch_poll(channel, slot, MP_TOKEN_POLL_END, POLLRDHUP))
			return;
		mp_ends_forget(channel, slot);
		slot->flags |= MP_SLOT_POLLING_END;
	}
}

int64_t mp_ends_timeout_ns(const struct mp_channel *channel)
{
	int64_t left_ns;

	if (channel->ends_head == MP_NO_SLOT)
		return -1;
	left_ns = channel->handles.slots[channel->ends_head].end_poll_at_ns - mp_os_coarse_ns();
	return left_ns > END_POLL_RETRY_NS ? left_ns : END_POLL_RETRY_NS;
}

static bool cancel(struct mp_channel *channel, struct mp_slot *slot, uint32_t op)
{
	struct io_uring_sqe *request = mp_batch_request(channel, slot, MP_TOKEN_CANCEL_END, IORING_OP_ASYNC_CANCEL);

	if (!request)
		return false;
	request->addr = mp_channel_token(channel, slot, op);
	return true;
}

bool mp_ends_cancel(struct mp_channel *channel, struct mp_slot *slot)
{
	if (!(slot->flags & MP_SLOT_POLLING_END) || (slot->flags & MP_SLOT_CANCELLED_END))
		return true;
	if (!cancel(channel, slot, MP_TOKEN_POLL_END))
		return false;
	slot->flags |= MP_SLOT_CANCELLED_END;
	return true;
}

/* Whether a leased read waits in the kernel, which therefore has not looked at the socket lately. */
static bool waits(const struct mp_slot *slot)
{
	return slot->state == MP_SLOT_OPEN && slot->read_state == MP_READ_LEASED &&
	       !(slot->flags & (MP_SLOT_PAUSING | MP_SLOT_POLLING_READ | MP_SLOT_ASKED)) &&
	       !(slot->owed & (MP_OWED_LEASED | MP_OWED_POLL_READ | MP_OWED_PAUSED));
}

bool mp_ends_ask(struct mp_channel *channel, struct mp_slot *slot)
{
	if (!waits(slot))
		return true;
	if (!cancel(channel, slot, MP_TOKEN_LEASED))
		return false;
	slot->flags |= MP_SLOT_ASKED;
	return true;
}

void mp_ends_cancel_completed(struct mp_channel *channel, struct mp_slot *slot, int32_t result)
{
	/* A poll that looks at its socket at this moment is not found, and may wait on. The read needs no second try:
	 * what is not found looks at its socket, too. */
	if (result == -ENOENT && (slot->flags & MP_SLOT_POLLING_END) && (slot->flags & MP_SLOT_CANCELLED_END)) {
		slot->flags &= ~(uint32_t)MP_SLOT_CANCELLED_END;
		if (slot->state == MP_SLOT_CLOSING)
			mp_owe(channel, slot, MP_OWED_CLOSE);
	}
	if (result < 0)
		slot->flags &= ~(uint32_t)MP_SLOT_ASKED;
}

bool mp_ends_completed(struct mp_channel *channel, struct mp_slot *slot, int32_t result, struct mp_event *event)
{
	MP_ASSERT(slot->flags & MP_SLOT_POLLING_END);
	slot->flags &= ~(uint32_t)(MP_SLOT_POLLING_END | MP_SLOT_CANCELLED_END);
	if (slot->state != MP_SLOT_OPEN || (slot->flags & MP_SLOT_TRANSFERRING))
		return false;
	if (slot->flags & MP_SLOT_PAUSED) {
		if (result >= 0 && (result & (POLLHUP | POLLRDHUP))) {
			bool reset = (result & POLLHUP) && (result & POLLERR);

			mp_event_fill(channel, event, slot, MP_STAGE_READ, reset ? -ECONNRESET : 0, MP_EVENT_HANGUP);
			return true;
		}
		mp_ends_expect(channel, slot);
	} else if (slot->read_state == MP_READ_LEASED || slot->read_state == MP_READ_STARVED) {
		/* Once more later, unless the read ends: the poll was cancelled with its thread, the end waits behind
		 * data for which there is no buffer, or it was no end (POLLERR stands for the error queue, too). */
		mp_ends_expect(channel, slot);
		if (result >= 0 && waits(slot))
			mp_owe(channel, slot, MP_OWED_ASK);
	}
	return false;
}
