/* Register: an fd becomes a handle. For listeners this is where the paper's partitioned accept queues come from: a
 * non-zero CPU mask opens the channel's own partition of the address (paper §3.2). */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>

#include "channel.h"
#include "os.h"

/* Whether the mask lets this channel take part. */
static bool takes_part(const struct mp_channel *channel, uint64_t cpu_mask)
{
	return channel->cpu < 0 || channel->cpu > 63 || (cpu_mask >> channel->cpu & 1);
}

static mp_handle register_fd(struct mp_channel *channel, int32_t fd, bool owned, const struct mp_os_fd *what,
			     uint64_t cookie)
{
	struct mp_accepts *accepts = NULL;
	struct mp_slot *slot;
	uint32_t index;

	if (what->listening) {
		accepts = calloc(1, sizeof *accepts);
		if (!accepts)
			return -ENOMEM;
		for (uint32_t i = 0; i < MP_ACCEPT_SLOTS; i++)
			accepts->slots[i].reserved = MP_NO_SLOT;
	}
	index = mp_handles_take(&channel->handles);
	if (index == MP_NO_SLOT) {
		free(accepts);
		return -ENFILE;
	}
	slot = &channel->handles.slots[index];
	slot->state = MP_SLOT_OPEN;
	slot->kind = what->listening ? MP_KIND_LISTENER :
		     what->socket    ? MP_KIND_SOCKET :
		     what->pipe      ? MP_KIND_PIPE :
				       MP_KIND_FILE;
	slot->cookie = cookie;
	slot->fd = fd;
	slot->flags = (owned ? MP_SLOT_OWNED : 0u) | (what->inet && what->stream ? MP_SLOT_INET : 0u);
	slot->accepts = accepts;
	MP_COUNT(channel, handles_live, 1);
	return mp_channel_handle(channel, slot);
}

mp_handle mp_register(struct mp_channel *channel, int32_t fd, uint64_t cookie, uint64_t cpu_mask, uint32_t backlog)
{
	struct mp_os_fd what;
	mp_handle handle;
	int32_t error = mp_os_describe(fd, &what), partition;

	if (error)
		return error;
	if (!what.socket && (channel->flags & MP_CONFIG_SOCKETS))
		return -EACCES;
	if (cpu_mask == 0) {
		mp_channel_enter(channel);
		handle = register_fd(channel, fd, false, &what, cookie);
		mp_channel_leave(channel);
		return handle;
	}
	if (!what.inet || !what.stream || !what.reuseport || backlog == 0 || backlog > INT32_MAX)
		return -EINVAL;
	if (!takes_part(channel, cpu_mask))
		return -EPERM;
	partition = mp_os_partition(fd, channel->cpu, (int32_t)backlog);
	if (partition < 0)
		return partition;
	what.listening = true;
	mp_channel_enter(channel);
	handle = register_fd(channel, partition, true, &what, cookie);
	mp_channel_leave(channel);
	if (handle < 0)
		mp_os_close(partition);
	return handle;
}
