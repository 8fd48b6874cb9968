/* What is owed to a slot: requests for which the queue had no room and events that no completion brings. A list in
 * order of arrival, settled at the start of each dispatch; it ends because each slot is visited once per round. */
#define _GNU_SOURCE
#include <errno.h>

#include "channel.h"

static struct mp_slot *pop(struct mp_channel *channel)
{
	struct mp_slot *slot = &channel->handles.slots[channel->owed_head];

	channel->owed_head = slot->next_owed;
	slot->next_owed = MP_NO_SLOT;
	slot->flags &= ~(uint32_t)MP_SLOT_OWES;
	return slot;
}

/* Makes again what `bit` stands for; a closing slot gets the event of the cancelled request instead.
 * true when the bit is settled; *written tells whether `event` was filled. */
static bool settle_request(struct mp_channel *channel, struct mp_slot *slot, uint32_t bit, struct mp_event *event,
			   bool *written)
{
	if (slot->state == MP_SLOT_CLOSING && (bit & (MP_OWED_READ_ONCE | MP_OWED_LEASED | MP_OWED_POLL_READ))) {
		slot->read_state = MP_READ_IDLE;
		mp_event_fill(channel, event, slot, MP_STAGE_READ, -ECANCELED, 0);
		*written = true;
		return true;
	}
	if (slot->state == MP_SLOT_CLOSING && (bit & (MP_OWED_WRITE | MP_OWED_POLL_WRITE))) {
		mp_write_end(channel, slot, -ECANCELED, event);
		*written = true;
		return true;
	}
	if (slot->state == MP_SLOT_CLOSING && bit == MP_OWED_CONNECT) {
		mp_connect_withdrawn(channel, slot, event);
		*written = true;
		return true;
	}
	switch (bit) {
	case MP_OWED_READ_ONCE:
	case MP_OWED_LEASED:
		return mp_read_issue(channel, slot);
	case MP_OWED_WRITE:
		return mp_write_issue(channel, slot);
	case MP_OWED_POLL_READ:
		if (!mp_batch_poll(channel, slot, MP_TOKEN_POLL_READ, 1 /* POLLIN */))
			return false;
		slot->flags |= MP_SLOT_POLLING_READ;
		return true;
	case MP_OWED_POLL_WRITE:
		if (!mp_batch_poll(channel, slot, MP_TOKEN_POLL_WRITE, 4 /* POLLOUT */))
			return false;
		slot->flags |= MP_SLOT_POLLING_WRITE;
		return true;
	case MP_OWED_PAUSE:
		return slot->read_state != MP_READ_LEASED || mp_read_cancel(channel, slot);
	case MP_OWED_PAUSED:
		slot->flags &= ~(uint32_t)(MP_SLOT_PAUSING | MP_SLOT_CANCELLED_READ | MP_SLOT_ASKED | MP_SLOT_SOUGHT);
		slot->flags |= MP_SLOT_PAUSED;
		slot->read_state = MP_READ_IDLE;
		mp_event_fill(channel, event, slot, MP_STAGE_READ, -ECANCELED, 0);
		*written = true;
		return true;
	case MP_OWED_ACCEPT:
		return mp_accept_settle(channel, slot, event, written);
	case MP_OWED_ASK:
		return mp_ends_ask(channel, slot);
	case MP_OWED_STOP:
		return slot->state == MP_SLOT_CLOSING || mp_accept_cancel(channel, slot);
	case MP_OWED_CONNECT:
		return mp_connect_issue(channel, slot);
	case MP_OWED_CLOSE:
		return mp_close_advance(channel, slot);
	default:
		mp_assert_failed("a known debt", __FILE__, __LINE__);
	}
}

/* One slot's debts, lowest bit first; RETIRED last, once nothing else is left. true when it owes nothing more. */
static bool settle(struct mp_channel *channel, struct mp_slot *slot, struct mp_event *events, uint32_t capacity,
		   uint32_t *count)
{
	while (slot->owed & ~(uint32_t)MP_OWED_RETIRED) {
		uint32_t bit = slot->owed & ~(uint32_t)MP_OWED_RETIRED & -(slot->owed & ~(uint32_t)MP_OWED_RETIRED);
		bool written = false, settled;

		if (*count == capacity)
			return false;
		settled = settle_request(channel, slot, bit, &events[*count], &written);
		*count += written;
		if (settled)
			slot->owed &= ~bit;
		else if (!written)
			return false;
	}
	if (slot->state == MP_SLOT_CLOSING && mp_close_finished(slot)) {
		if (*count == capacity) {
			slot->owed |= MP_OWED_RETIRED;
			return false;
		}
		slot->owed = 0;
		mp_close_retire(channel, slot, &events[(*count)++]);
		return true;
	}
	slot->owed &= ~(uint32_t)MP_OWED_RETIRED;
	return true;
}

uint32_t mp_owed_settle(struct mp_channel *channel, struct mp_event *events, uint32_t capacity)
{
	uint32_t count = 0, last = channel->owed_tail;

	while (channel->owed_head != MP_NO_SLOT && count < capacity) {
		struct mp_slot *slot = pop(channel);
		uint32_t index = mp_slot_index(&channel->handles, slot);

		if (!settle(channel, slot, events, capacity, &count))
			mp_owe(channel, slot, slot->owed);
		if (index == last)
			break;
	}
	return count;
}
