/* A channel's end. */
#define _GNU_SOURCE
#include <stdlib.h>

#include "channel.h"
#include "os.h"

/* mp_destroy waits this long for the kernel to give memory back, then leaks it rather than let it be reused. */
#define DESTROY_ROUNDS 500
#define DESTROY_ROUND_NS 10000000

/* Every open handle, closed; accepted connections end with FIN. */
static void close_all(struct mp_channel *channel)
{
	for (uint32_t i = 0; i < channel->handles.untouched; i++) {
		struct mp_slot *slot = &channel->handles.slots[i];

		if (slot->state == MP_SLOT_OPEN && !(slot->flags & MP_SLOT_TRANSFERRING))
			(void)mp_close_begin(channel, slot, slot->flags & MP_SLOT_OWNED ? 0 : MP_SLOT_KEEP_FD);
	}
}

void mp_destroy(struct mp_channel *channel)
{
	struct mp_event events[64];

	if (!channel)
		return;
	/* Connections may still arrive, accepted or from other channels, so close again until none is left. */
	for (uint32_t round = 0; round < DESTROY_ROUNDS; round++) {
		bool busy;
		int32_t count;

		close_all(channel);
		busy = channel->counters.handles_live || channel->counters.in_flight || channel->arrivals_refused;
		count = mp_dispatch(channel, events, 64, busy ? DESTROY_ROUND_NS : 0);
		if (count < 0 || (count == 0 && !busy))
			break;
	}
	mp_ring_close(&channel->ring);
	if (channel->wake_fd >= 0)
		mp_os_close(channel->wake_fd);
	if (channel->counters.in_flight)
		return; /* something is still in the kernel, which may write to the buffers: leak them */
	mp_buffers_close(&channel->buffers);
	mp_handles_close(&channel->handles);
	free(channel->holds);
	pthread_mutex_destroy(&channel->mailbox_lock);
	free(channel);
}
