/* Memory that the kernel sends from without copying it: a write's, until the kernel has said that it is done with it.
 *
 * The kernel answers such a send twice: with its result, and, once nothing refers to the memory any more (the peer has
 * acknowledged it, or the connection is gone), with a notification. The second may come long after the handle was
 * retired, so a hold stands beside the handles: its number, not the handle's, is in the token of the request. A write
 * that the kernel did in part has several sends and one hold. */
#define _GNU_SOURCE
#include "channel.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct mp_hold *of(const struct mp_channel *channel, const struct mp_slot *slot)
{
	return &channel->holds[slot->hold - 1u];
}

static struct mp_hold *find(const struct mp_channel *channel, uint64_t token)
{
	uint32_t index = mp_token_index(token);
	struct mp_hold *hold = channel->holds && index < MP_HOLDS ? &channel->holds[index] : NULL;

	return hold && (hold->generation & MP_GENERATION_MASK) == mp_token_generation(token) ? hold : NULL;
}

static bool make_table(struct mp_channel *channel)
{
	if (channel->holds)
		return true;
	channel->holds = calloc(MP_HOLDS, sizeof *channel->holds);
	if (!channel->holds)
		return false;
	for (uint32_t i = 0; i < MP_HOLDS; i++) {
		channel->holds[i].slot = MP_NO_SLOT;
		channel->holds[i].next = (uint16_t)(i + 1 < MP_HOLDS ? i + 2 : 0);
	}
	channel->holds_free = 1;
	return true;
}

void mp_holds_begin(struct mp_channel *channel, struct mp_slot *slot, uint64_t memory)
{
	struct mp_hold *hold;

	/* Only TCP: what a Unix socket or a file is given it copies. */
	if (channel->copies_all || !(slot->flags & MP_SLOT_INET) || !make_table(channel) || !channel->holds_free) {
		slot->hold = MP_HOLD_REFUSED;
		return;
	}
	slot->hold = channel->holds_free;
	hold = of(channel, slot);
	channel->holds_free = hold->next;
	hold->memory = memory;
	hold->slot = mp_slot_index(&channel->handles, slot);
	hold->owed = 0;
	hold->plain = hold->copied = 0;
}

static void give_back(struct mp_channel *channel, struct mp_hold *hold)
{
	hold->generation++;
	hold->next = channel->holds_free;
	channel->holds_free = (uint16_t)(hold - channel->holds + 1);
}

bool mp_holds_sends(const struct mp_channel *channel, const struct mp_slot *slot)
{
	return slot->hold && slot->hold != MP_HOLD_REFUSED && !of(channel, slot)->plain;
}

uint64_t mp_holds_token(const struct mp_channel *channel, const struct mp_slot *slot)
{
	return mp_token(MP_TOKEN_WRITE_HELD, of(channel, slot)->generation, slot->hold - 1u);
}

struct mp_slot *mp_holds_sent(struct mp_channel *channel, const struct io_uring_cqe *completion)
{
	struct mp_hold *hold = find(channel, completion->user_data);

	if (!hold || hold->slot == MP_NO_SLOT)
		return NULL;
	/* An error may be followed by a notification, too: the flag alone tells. Until then something is in flight,
	 * though not of the slot. */
	if (completion->flags & IORING_CQE_F_MORE)
		hold->owed++;
	else
		MP_COUNT(channel, in_flight, -1);
	return &channel->handles.slots[hold->slot];
}

bool mp_holds_refused(struct mp_channel *channel, struct mp_slot *slot, int32_t result)
{
	/* EINVAL: the kernel cannot tell whether it copies (before 6.2). EOPNOTSUPP: this socket always does. ENOMEM
	 * and ENOBUFS: the process may pin no more, or the socket keep no more. */
	if (!mp_holds_sends(channel, slot) ||
	    (result != -EINVAL && result != -EOPNOTSUPP && result != -ENOMEM && result != -ENOBUFS))
		return false;
	if (result == -EINVAL)
		channel->copies_all = true;
	of(channel, slot)->plain = of(channel, slot)->copied = 1;
	return true;
}

void mp_holds_end(struct mp_channel *channel, struct mp_slot *slot, struct mp_event *event)
{
	struct mp_hold *hold = slot->hold == MP_HOLD_REFUSED ? NULL : of(channel, slot);

	slot->hold = 0;
	if (!hold) {
		event->flags |= MP_EVENT_COPIED;
		return;
	}
	hold->slot = MP_NO_SLOT;
	if (hold->owed) {
		event->flags |= MP_EVENT_HELD;
		return;
	}
	event->flags |= hold->copied ? MP_EVENT_COPIED : 0u;
	give_back(channel, hold);
}

bool mp_holds_notified(struct mp_channel *channel, const struct io_uring_cqe *completion, struct mp_event *event)
{
	struct mp_hold *hold = find(channel, completion->user_data);

	if (!hold) {
		MP_COUNT(channel, stale_events, 1);
		return false;
	}
	MP_COUNT(channel, in_flight, -1);
	hold->owed--;
	hold->copied |= ((uint32_t)completion->res & MP_NOTIF_COPIED) != 0;
	if (hold->owed || hold->slot != MP_NO_SLOT)
		return false;
	memset(event, 0, sizeof *event);
	event->data = hold->memory;
	event->stage = MP_STAGE_WRITE;
	event->flags = MP_EVENT_RELEASED | (hold->copied ? MP_EVENT_COPIED : 0u);
	give_back(channel, hold);
	return true;
}
