/* Stage accept, from the other side: this end connects.
 *
 * A Unix socket whose peer's queue is full makes a worker of the kernel wait. From 6.15 to early releases of 6.18 a
 * thread that ends waits for its workers and wakes none, and no cancel finds what they do. So a Unix socket is made
 * non-blocking, asks again every CONNECT_RETRY, and becomes what was asked for when it is connected. See
 * docs/PLATFORMS.md. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/time_types.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "../channel.h"
#include "../os.h"

/* Nothing tells when a Unix peer's queue has room again. */
static const struct __kernel_timespec CONNECT_RETRY = { .tv_nsec = 10000000 };

/* A connected Unix socket on its way into the table of lightweight sockets; in the slot's `long_address`. */
struct move {
	int32_t entry; /* before: the fd, read by the kernel; after: the entry */
	int32_t fd;
};

static bool issue_move(struct mp_channel *channel, struct mp_slot *slot)
{
	struct io_uring_sqe *request = mp_batch_request(channel, slot, MP_TOKEN_SOCKET, IORING_OP_FILES_UPDATE);

	if (!request)
		return false;
	request->addr = (uint64_t)(uintptr_t)slot->long_address;
	request->len = 1;
	request->off = IORING_FILE_INDEX_ALLOC;
	return true;
}

static bool issue_socket(struct mp_channel *channel, struct mp_slot *slot)
{
	const struct sockaddr *address = slot->long_address;
	struct io_uring_sqe *request;

	if (slot->flags & MP_SLOT_UNIX)
		return issue_move(channel, slot);
	request = mp_batch_request(channel, slot, MP_TOKEN_SOCKET, IORING_OP_SOCKET);
	if (!request)
		return false;
	request->fd = address->sa_family;
	request->off = SOCK_STREAM;
	request->file_index = IORING_FILE_INDEX_ALLOC;
	return true;
}

static bool issue_pause(struct mp_channel *channel, struct mp_slot *slot)
{
	struct io_uring_sqe *request = mp_batch_request(channel, slot, MP_TOKEN_POLL_CONNECT, IORING_OP_TIMEOUT);

	if (!request)
		return false;
	request->fd = -1;
	request->addr = (uint64_t)(uintptr_t)&CONNECT_RETRY;
	request->len = 1;
	return true;
}

bool mp_connect_issue(struct mp_channel *channel, struct mp_slot *slot)
{
	struct io_uring_sqe *request;

	if (slot->fd < 0)
		return issue_socket(channel, slot);
	if (slot->flags & MP_SLOT_POLLING_CONNECT)
		return slot->flags & MP_SLOT_UNIX ?
			       issue_pause(channel, slot) :
			       mp_batch_poll(channel, slot, MP_TOKEN_POLL_CONNECT, 4 /* POLLOUT */);
	request = mp_batch_request(channel, slot, MP_TOKEN_CONNECT, IORING_OP_CONNECT);
	if (!request)
		return false;
	mp_batch_target(request, slot);
	request->addr = (uint64_t)(uintptr_t)slot->long_address;
	request->off = slot->long_address_bytes;
	return true;
}

mp_handle mp_connect(struct mp_channel *channel, const void *address, uint32_t address_bytes, uint64_t cookie,
		     uint32_t flags)
{
	const struct sockaddr *target = address;
	bool lwsocket = (flags & MP_ACCEPT_LWSOCKET) != 0, local, fixed;
	struct mp_slot *slot;
	uint32_t index;
	int32_t fd = -1;

	if (!address || address_bytes < sizeof(sa_family_t) || address_bytes > sizeof(struct sockaddr_storage) ||
	    (flags & ~(uint32_t)MP_ACCEPT_LWSOCKET))
		return -EINVAL;
	if (lwsocket && !channel->files_registered)
		return -ENOTSUP;
	if (lwsocket && channel->lwsockets >= channel->max_lwsockets)
		return -ENFILE;
	local = target->sa_family == AF_UNIX;
	fixed = lwsocket && !local;
	if (!fixed) {
		fd = mp_os_socket(target->sa_family, local);
		if (fd < 0)
			return fd;
	}
	mp_channel_enter(channel);
	index = mp_handles_take(&channel->handles);
	if (index == MP_NO_SLOT) {
		mp_channel_leave(channel);
		if (fd >= 0)
			mp_os_close(fd);
		return -ENFILE;
	}
	slot = &channel->handles.slots[index];
	slot->long_address = malloc(address_bytes > sizeof(struct move) ? address_bytes : sizeof(struct move));
	if (!slot->long_address) {
		mp_handles_retire(&channel->handles, index);
		mp_channel_leave(channel);
		if (fd >= 0)
			mp_os_close(fd);
		return -ENOMEM;
	}
	memcpy(slot->long_address, address, address_bytes);
	slot->long_address_bytes = address_bytes;
	slot->state = MP_SLOT_OPEN;
	slot->kind = MP_KIND_SOCKET;
	slot->cookie = cookie;
	slot->fd = fd;
	slot->flags = MP_SLOT_OWNED | MP_SLOT_CONNECTING |
		      (target->sa_family == AF_INET || target->sa_family == AF_INET6 ? MP_SLOT_INET : 0u) |
		      (fixed ? MP_SLOT_FIXED : 0u) | (lwsocket ? MP_SLOT_LWCOUNTED : 0u) | (local ? MP_SLOT_UNIX : 0u);
	if ((slot->flags & MP_SLOT_INET) && address_bytes <= MP_ADDRESS_BYTES) {
		slot->address_bytes = (uint8_t)address_bytes;
		memcpy(slot->address, address, address_bytes);
	}
	channel->lwsockets += lwsocket;
	MP_COUNT(channel, handles_live, 1);
	if (!mp_connect_issue(channel, slot))
		mp_owe(channel, slot, MP_OWED_CONNECT);
	mp_batch_filled(channel);
	mp_channel_leave(channel);
	return mp_channel_handle(channel, slot);
}

static void end_move(struct mp_slot *slot)
{
	if ((slot->flags & MP_SLOT_UNIX) && slot->fd < 0)
		mp_os_close(((struct move *)slot->long_address)->fd);
}

/* The Unix socket is connected: from here on it waits like any other. true: it becomes a lightweight one first. */
static bool begin_move(struct mp_slot *slot)
{
	struct move *move = slot->long_address;

	mp_os_set_blocking(slot->fd);
	if (!(slot->flags & MP_SLOT_LWCOUNTED))
		return false;
	move->entry = move->fd = slot->fd;
	slot->fd = -1;
	slot->flags |= MP_SLOT_FIXED;
	return true;
}

static void tell(struct mp_channel *channel, struct mp_slot *slot, int32_t result, struct mp_event *event)
{
	free(slot->long_address);
	slot->long_address = NULL;
	slot->flags &= ~(uint32_t)(MP_SLOT_CONNECTING | MP_SLOT_POLLING_CONNECT);
	mp_event_fill(channel, event, slot, MP_STAGE_ACCEPT, result,
		      MP_EVENT_CONNECTED | (slot->flags & MP_SLOT_FIXED ? MP_EVENT_LWSOCKET : 0u));
}

void mp_connect_withdrawn(struct mp_channel *channel, struct mp_slot *slot, struct mp_event *event)
{
	end_move(slot);
	tell(channel, slot, -ECANCELED, event);
}

bool mp_connect_completed(struct mp_channel *channel, struct mp_slot *slot, uint32_t op, int32_t result,
			  struct mp_event *event)
{
	bool wait;

	MP_ASSERT(slot->flags & MP_SLOT_CONNECTING);
	if (op == MP_TOKEN_SOCKET && (slot->flags & MP_SLOT_UNIX)) {
		end_move(slot);
		if (result >= 0) {
			slot->fd = ((struct move *)slot->long_address)->entry;
			result = 0;
			if (slot->state == MP_SLOT_CLOSING) {
				mp_owe(channel, slot, MP_OWED_CLOSE);
				result = -ECANCELED;
			}
		}
	} else if (op == MP_TOKEN_SOCKET && result >= 0) {
		MP_ASSERT(slot->fd < 0);
		slot->fd = result;
		if (slot->state != MP_SLOT_CLOSING) {
			mp_owe(channel, slot, MP_OWED_CONNECT);
			return false;
		}
		mp_owe(channel, slot, MP_OWED_CLOSE);
		result = -ECANCELED;
	}
	/* Its thread has ended (ECANCELED, EINTR of a kernel worker): the connection is still being made, or is there.
	 * Connecting once more tells which; EALREADY is then waited for, by a poll, whose end says nothing else. A Unix
	 * peer without room (EAGAIN) is waited for by a pause. */
	wait = result == -EALREADY || (result == -EAGAIN && op == MP_TOKEN_CONNECT && (slot->flags & MP_SLOT_UNIX));
	if (slot->state != MP_SLOT_CLOSING &&
	    (result == -ECANCELED || result == -EINTR || wait || op == MP_TOKEN_POLL_CONNECT)) {
		slot->flags &= ~(uint32_t)MP_SLOT_POLLING_CONNECT;
		if (wait)
			slot->flags |= MP_SLOT_POLLING_CONNECT;
		mp_owe(channel, slot, MP_OWED_CONNECT);
		return false;
	}
	if (op == MP_TOKEN_POLL_CONNECT || (wait && slot->state == MP_SLOT_CLOSING))
		result = -ECANCELED;
	if (op == MP_TOKEN_CONNECT && result >= 0 && (slot->flags & MP_SLOT_UNIX) && slot->state != MP_SLOT_CLOSING &&
	    begin_move(slot)) {
		mp_owe(channel, slot, MP_OWED_CONNECT);
		return false;
	}
	tell(channel, slot, result, event);
	return true;
}
