/* Bounds what closed lightweight sockets cost on a kernel that releases them late (release.c): there each request that
 * uses a lightweight socket keeps all that are closed after it was made. After so many closes those requests are
 * therefore cancelled and made again, a few at each dispatch; the caller sees nothing of it. */
#define _GNU_SOURCE
#include "channel.h"

/* Slots looked at in one dispatch: microseconds. */
#define RENEW_SLOTS 256u

/* false: the queue has no room. */
static bool renew(struct mp_channel *channel, struct mp_slot *slot)
{
	bool reading = (slot->read_state == MP_READ_ONCE || slot->read_state == MP_READ_LEASED) &&
		       !(slot->owed &
			 (MP_OWED_READ_ONCE | MP_OWED_LEASED | MP_OWED_PAUSE | MP_OWED_PAUSED | MP_OWED_POLL_READ)) &&
		       !(slot->flags & (MP_SLOT_PAUSING | MP_SLOT_POLLING_READ));
	bool writing = slot->writing && !(slot->owed & (MP_OWED_WRITE | MP_OWED_POLL_WRITE)) &&
		       !(slot->flags & MP_SLOT_POLLING_WRITE);

	if (slot->state != MP_SLOT_OPEN || slot->kind != MP_KIND_SOCKET || !(slot->flags & MP_SLOT_FIXED))
		return true;
	if (reading) {
		uint32_t op = slot->read_state == MP_READ_ONCE ? MP_TOKEN_READ : MP_TOKEN_LEASED;

		if (!mp_batch_cancel(channel, slot, mp_channel_token(channel, slot, op)))
			return false;
	}
	if (writing && !mp_write_cancel(channel, slot))
		return false;
	return mp_ends_cancel(channel, slot); /* made again later */
}

void mp_renew_some(struct mp_channel *channel)
{
	uint32_t end;

	if (channel->renew_next == MP_NO_SLOT) {
		/* Not before as many were closed as are there: so a close costs one renewed read and write at most. */
		if (channel->closed_late < channel->renew_after || channel->closed_late < channel->lwsockets)
			return;
		channel->closed_late = 0;
		channel->renew_next = 0;
	}
	end = channel->handles.untouched;
	if (end - channel->renew_next > RENEW_SLOTS)
		end = channel->renew_next + RENEW_SLOTS;
	for (; channel->renew_next < end; channel->renew_next++)
		if (!renew(channel, &channel->handles.slots[channel->renew_next]))
			return;
	if (channel->renew_next >= channel->handles.untouched)
		channel->renew_next = MP_NO_SLOT;
}
