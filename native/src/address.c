/* The fd and the addresses of a handle, asked for and answered at once. For a lightweight socket that takes a request
 * which completes while it is submitted, so its completion is in the queue when the kernel returns. It is taken from
 * among the others, which keep their order. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "channel.h"
#include "os.h"
#include "testing.h"

/* Takes the completion with `token` out of the queue, wherever it stands. */
static bool pick(struct mp_channel *channel, uint64_t token, int32_t *result)
{
	struct io_uring_cqe *completion;

	for (uint32_t ahead = 0; ahead < channel->ring.cq_entries; ahead++) {
		completion = mp_ring_peek(&channel->ring, ahead);
		if (!completion)
			return false;
		if (completion->user_data != token)
			continue;
		*result = completion->res;
		completion->user_data = MP_TOKEN_NONE;
		completion->flags = 0;
		return true;
	}
	return false;
}

static int32_t finish(struct mp_channel *channel, struct mp_slot *slot, uint32_t op)
{
	int32_t result;

	if (mp_batch_enter(channel, 0, 0) < 0 || !pick(channel, mp_channel_token(channel, slot, op), &result)) {
		slot->flags |= MP_SLOT_INSTALLING; /* dispatch gets its late completion, and closes the fd */
		return -EAGAIN;
	}
	slot->in_flight--;
	MP_COUNT(channel, in_flight, -1);
	return result;
}

static int32_t install(struct mp_channel *channel, struct mp_slot *slot)
{
	struct io_uring_sqe *request;

	if (channel->flags & MP_CONFIG_NO_FD_INSTALL)
		return -ENOTSUP;
	if (slot->flags & MP_SLOT_INSTALLING)
		return -EAGAIN;
	request = mp_batch_request(channel, slot, MP_TOKEN_INSTALL, MP_OP_FIXED_FD_INSTALL);
	if (!request)
		return -EAGAIN;
	mp_batch_target(request, slot);
	return finish(channel, slot, MP_TOKEN_INSTALL);
}

/* An fd for a lightweight socket. */
static int32_t make_fd(struct mp_channel *channel, struct mp_slot *slot)
{
	int32_t result;

	mp_channel_enter(channel);
	result = install(channel, slot);
	mp_channel_leave(channel);
	return result == -EINVAL || result == -EOPNOTSUPP ? -ENOTSUP : result;
}

int32_t mp_to_fd(struct mp_channel *channel, mp_handle handle)
{
	struct mp_slot *slot = mp_handles_open_slot(&channel->handles, handle);
	int32_t fd;

	if (!slot)
		return -EBADF;
	if (!(slot->flags & MP_SLOT_FIXED))
		return mp_os_duplicate(slot->fd);
	fd = make_fd(channel, slot);
	if (fd >= 0)
		slot->flags |= MP_SLOT_SHARED;
	return fd;
}

int32_t mp_peek_fd(struct mp_channel *channel, mp_handle handle)
{
	struct mp_slot *slot = mp_handles_open_slot(&channel->handles, handle);

	if (!slot)
		return -EBADF;
	return slot->flags & MP_SLOT_FIXED ? -ENOTSUP : slot->fd;
}

int32_t mp_peer_address(struct mp_channel *channel, mp_handle handle, void *address, uint32_t capacity)
{
	const struct mp_slot *slot = mp_handles_open_slot(&channel->handles, handle);
	const void *long_address;

	if (!slot)
		return -EBADF;
	long_address = slot->kind == MP_KIND_LISTENER ? NULL : slot->long_address;
	if (slot->address_bytes == 0 && !long_address && slot->kind == MP_KIND_SOCKET &&
	    !(slot->flags & MP_SLOT_FIXED)) {
		int32_t bytes = mp_os_name(slot->fd, true, address, capacity);

		return bytes == sizeof(sa_family_t) ? 0 : bytes; /* a Unix client without a name has a family only */
	}
	if (long_address && !(slot->flags & MP_SLOT_INET)) {
		memcpy(address, long_address,
		       slot->long_address_bytes < capacity ? slot->long_address_bytes : capacity);
		return (int32_t)slot->long_address_bytes;
	}
	memcpy(address, slot->address, slot->address_bytes < capacity ? slot->address_bytes : capacity);
	return slot->address_bytes;
}

int32_t mp_local_address(struct mp_channel *channel, mp_handle handle, void *address, uint32_t capacity)
{
	struct mp_slot *slot = mp_handles_open_slot(&channel->handles, handle);
	int32_t fd, result;

	if (!slot)
		return -EBADF;
	if (!(slot->flags & MP_SLOT_FIXED))
		return mp_os_name(slot->fd, false, address, capacity);
	/* No getsockname on a direct descriptor up to 6.18; an fd for a moment answers (6.8). */
	fd = make_fd(channel, slot);
	if (fd < 0)
		return fd;
	result = mp_os_name(fd, false, address, capacity);
	mp_os_close(fd);
	return result;
}

int32_t mp_set_option(struct mp_channel *channel, mp_handle handle, int32_t level, int32_t name, const void *value,
		      uint32_t bytes)
{
	struct mp_slot *slot = mp_handles_open_slot(&channel->handles, handle);
	int32_t fd, result;

	if (!slot)
		return -EBADF;
	if (!(slot->flags & MP_SLOT_FIXED))
		return mp_os_set_option(slot->fd, level, name, value, bytes);
	/* As above: what is set is the socket's, not the descriptor's. */
	fd = make_fd(channel, slot);
	if (fd < 0)
		return fd;
	result = mp_os_set_option(fd, level, name, value, bytes);
	mp_os_close(fd);
	return result;
}
