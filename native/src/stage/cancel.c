/* What a cancel answers. The kernel finds what waits for a socket or runs in a worker; it does not find a request that
 * it has set aside as work of the thread that submitted it: a send that found room again, for example. That request
 * goes on to wait as if nobody had cancelled it, so its cancel is made again. This ends: each enter does the thread's
 * work, after which the request has ended or waits where a cancel finds it. */
#define _GNU_SOURCE
#include <errno.h>

#include "../channel.h"

static void missed_read(struct mp_channel *channel, struct mp_slot *slot)
{
	/* Cleared with the read's end; what is owed is not in the kernel. */
	if (!(slot->flags & MP_SLOT_CANCELLED_READ) ||
	    (slot->owed & (MP_OWED_READ_ONCE | MP_OWED_LEASED | MP_OWED_PAUSED | MP_OWED_POLL_READ)))
		return;
	slot->flags &= ~(uint32_t)MP_SLOT_CANCELLED_READ;
	mp_owe(channel, slot, slot->state == MP_SLOT_CLOSING ? MP_OWED_CLOSE : MP_OWED_PAUSE);
}

static void missed_write(struct mp_channel *channel, struct mp_slot *slot)
{
	if (!(slot->flags & MP_SLOT_CANCELLED_WRITE))
		return;
	slot->flags &= ~(uint32_t)MP_SLOT_CANCELLED_WRITE;
	mp_owe(channel, slot, MP_OWED_CLOSE);
}

static void missed_connect(struct mp_channel *channel, struct mp_slot *slot)
{
	/* Without a descriptor there is no connect to cancel: the completion of the socket ends it. */
	if (!(slot->flags & MP_SLOT_CANCELLED_OTHER) || !(slot->flags & MP_SLOT_CONNECTING) || slot->fd < 0)
		return;
	slot->flags &= ~(uint32_t)MP_SLOT_CANCELLED_OTHER;
	mp_owe(channel, slot, MP_OWED_CLOSE);
}

static void missed_accept(struct mp_channel *channel, struct mp_slot *listener, uint32_t number)
{
	struct mp_accept_slot *accept = &listener->accepts->slots[number];

	if (!accept->busy || accept->owed || !accept->cancelled)
		return;
	accept->cancelled = 0;
	mp_owe(channel, listener, listener->state == MP_SLOT_CLOSING ? MP_OWED_CLOSE : MP_OWED_STOP);
}

void mp_cancel_completed(struct mp_channel *channel, struct mp_slot *slot, uint32_t op, int32_t result)
{
	if (result != -ENOENT)
		return;
	switch (op) {
	case MP_TOKEN_CANCEL_READ:
		missed_read(channel, slot);
		break;
	case MP_TOKEN_CANCEL_WRITE:
		missed_write(channel, slot);
		break;
	case MP_TOKEN_CANCEL_CONNECT:
		missed_connect(channel, slot);
		break;
	default:
		MP_ASSERT(slot->kind == MP_KIND_LISTENER && slot->accepts);
		missed_accept(channel, slot, op - MP_TOKEN_CANCEL_ACCEPT);
		break;
	}
}
