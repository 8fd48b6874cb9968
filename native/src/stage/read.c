/* Stage read: into the caller's buffer once (mp_read, and mp_read_now, which does not wait), or into the channel's
 * buffers for as long as data comes (leased read: one multishot receive, armed again whenever the kernel ends it), or
 * into one of them (mp_read_one).
 *
 * No free buffer is back-pressure, not an error: the read waits on the starved list, oldest first, and as many
 * reads are armed again as buffers are free. */
#define _GNU_SOURCE
#include <errno.h>

#include "../channel.h"
#include "../memory.h"

static void starve(struct mp_channel *channel, struct mp_slot *slot)
{
	uint32_t index = mp_slot_index(&channel->handles, slot);

	slot->read_state = MP_READ_STARVED;
	slot->next = MP_NO_SLOT;
	if (channel->starved_head == MP_NO_SLOT)
		channel->starved_head = index;
	else
		channel->handles.slots[channel->starved_tail].next = index;
	channel->starved_tail = index;
}

/* Takes a slot out of the starved list. Linear: only closing or pausing a starved read needs it. */
void mp_read_unstarve(struct mp_channel *channel, struct mp_slot *slot)
{
	uint32_t index = mp_slot_index(&channel->handles, slot), before = MP_NO_SLOT;

	for (uint32_t at = channel->starved_head; at != MP_NO_SLOT; at = channel->handles.slots[at].next) {
		if (at != index) {
			before = at;
			continue;
		}
		if (before == MP_NO_SLOT)
			channel->starved_head = slot->next;
		else
			channel->handles.slots[before].next = slot->next;
		if (channel->starved_tail == index)
			channel->starved_tail = before;
		break;
	}
	slot->next = MP_NO_SLOT;
	slot->read_state = MP_READ_IDLE;
}

/* So many buffers the kernel has for certain. A completion that nobody has looked at may have filled one: a read armed
 * for that one finds none and is back here, once for each look. With 4,096 busy connections and 1,024 buffers a request
 * cost three such reads. */
static uint32_t available_buffers(const struct mp_channel *channel)
{
	uint32_t taken = channel->buffers.out + mp_ring_waiting(&channel->ring);

	return taken < channel->buffers.used ? channel->buffers.used - taken : 0;
}

bool mp_read_hungry(const struct mp_channel *channel)
{
	return channel->starved_head != MP_NO_SLOT && available_buffers(channel) > 0;
}

void mp_read_feed(struct mp_channel *channel)
{
	uint32_t available = available_buffers(channel);

	while (channel->starved_head != MP_NO_SLOT && available-- > 0) {
		struct mp_slot *slot = &channel->handles.slots[channel->starved_head];

		channel->starved_head = slot->next;
		slot->next = MP_NO_SLOT;
		slot->read_state = MP_READ_LEASED;
		if (!mp_read_issue(channel, slot))
			mp_owe(channel, slot, MP_OWED_LEASED);
	}
}

/* To look for several buffers costs each receive, so only a connection whose last one filled its buffer has it. Others
 * are asked again after a shorter run. */
static uint32_t run_bytes(const struct mp_channel *channel, const struct mp_slot *slot)
{
	uint64_t few = (uint64_t)channel->buffers.bytes * MP_SHORT_RUN_BUFFERS;

	return slot->streams || few > MP_LEASED_RUN_BYTES ? MP_LEASED_RUN_BYTES : (uint32_t)few;
}

bool mp_read_issue(struct mp_channel *channel, struct mp_slot *slot)
{
	bool once = slot->read_state == MP_READ_ONCE;
	uint8_t opcode = slot->kind == MP_KIND_SOCKET ? IORING_OP_RECV : IORING_OP_READ;
	struct io_uring_sqe *request = mp_batch_request(channel, slot, once ? MP_TOKEN_READ : MP_TOKEN_LEASED, opcode);

	if (!request)
		return false;
	mp_batch_target(request, slot);
	if (once) {
		request->addr = (uint64_t)(uintptr_t)slot->read_to;
		request->len = slot->read_bytes;
		request->msg_flags = slot->now ? MSG_DONTWAIT : 0;
		request->off = opcode == IORING_OP_READ ? UINT64_MAX : 0; /* -1: at the file's position */
	} else {
		request->flags |= IOSQE_BUFFER_SELECT;
		request->buf_group = 0;
		slot->flags &= ~(uint32_t)MP_SLOT_LIMITED;
		if (slot->one) {
			request->len = channel->buffers.bytes;
			return true;
		}
		request->ioprio = IORING_RECV_MULTISHOT;
		if (channel->reads_limited) {
			request->file_index = run_bytes(channel, slot); /* optlen in newer headers */
			if (slot->streams)
				request->ioprio |= MP_RECV_BUNDLE;
			slot->flags |= MP_SLOT_LIMITED;
		}
	}
	return true;
}

bool mp_read_cancel(struct mp_channel *channel, struct mp_slot *slot)
{
	uint32_t op = slot->flags & MP_SLOT_POLLING_READ ? MP_TOKEN_POLL_READ :
		      slot->read_state == MP_READ_ONCE   ? MP_TOKEN_READ :
							   MP_TOKEN_LEASED;

	if (!mp_batch_cancel(channel, slot, mp_channel_token(channel, slot, op)))
		return false;
	slot->flags |= MP_SLOT_CANCELLED_READ;
	return true;
}

static int32_t read_once(struct mp_channel *channel, mp_handle handle, void *buffer, uint32_t bytes, bool now)
{
	struct mp_slot *slot = mp_handles_open_slot(&channel->handles, handle);

	if (!slot)
		return -EBADF;
	if (slot->kind == MP_KIND_LISTENER || !buffer || bytes == 0 || bytes > INT32_MAX)
		return -EINVAL;
	if (now && slot->kind != MP_KIND_SOCKET)
		return -ENOTSUP;
	if (slot->read_state != MP_READ_IDLE || (slot->flags & MP_SLOT_TRANSFERRING))
		return -EBUSY;
	mp_channel_enter(channel);
	slot->read_state = MP_READ_ONCE;
	if (!now)
		slot->flags &= ~(uint32_t)MP_SLOT_PAUSED;
	slot->now = now;
	slot->read_to = buffer;
	slot->read_bytes = bytes;
	if (!mp_read_issue(channel, slot))
		mp_owe(channel, slot, MP_OWED_READ_ONCE);
	mp_batch_filled(channel);
	mp_channel_leave(channel);
	return 0;
}

int32_t mp_read(struct mp_channel *channel, mp_handle handle, void *buffer, uint32_t bytes)
{
	return read_once(channel, handle, buffer, bytes, false);
}

int32_t mp_read_now(struct mp_channel *channel, mp_handle handle, void *buffer, uint32_t bytes)
{
	return read_once(channel, handle, buffer, bytes, true);
}

static int32_t start(struct mp_channel *channel, mp_handle handle, bool one)
{
	struct mp_slot *slot = mp_handles_open_slot(&channel->handles, handle);

	if (!slot)
		return -EBADF;
	if (slot->kind != MP_KIND_SOCKET || channel->buffers.count == 0)
		return -ENOTSUP;
	if (slot->read_state != MP_READ_IDLE || (slot->flags & MP_SLOT_TRANSFERRING))
		return -EBUSY;
	mp_channel_enter(channel);
	slot->read_state = MP_READ_LEASED;
	slot->one = one;
	slot->flags &= ~(uint32_t)MP_SLOT_PAUSED;
	mp_ends_expect(channel, slot);
	if (!mp_read_issue(channel, slot))
		mp_owe(channel, slot, MP_OWED_LEASED);
	mp_batch_filled(channel);
	mp_channel_leave(channel);
	return 0;
}

int32_t mp_read_start(struct mp_channel *channel, mp_handle handle)
{
	return start(channel, handle, false);
}

int32_t mp_read_one(struct mp_channel *channel, mp_handle handle)
{
	return start(channel, handle, true);
}

int32_t mp_read_pause(struct mp_channel *channel, mp_handle handle)
{
	struct mp_slot *slot = mp_handles_open_slot(&channel->handles, handle);

	if (!slot)
		return -EBADF;
	if (slot->read_state == MP_READ_IDLE || slot->read_state == MP_READ_ONCE || (slot->flags & MP_SLOT_PAUSING))
		return -EALREADY;
	mp_channel_enter(channel);
	slot->flags |= MP_SLOT_PAUSING;
	if (slot->read_state == MP_READ_STARVED) {
		mp_read_unstarve(channel, slot);
		slot->read_state = MP_READ_LEASED; /* until the event */
		mp_owe(channel, slot, MP_OWED_PAUSED);
	} else if (slot->owed & (MP_OWED_LEASED | MP_OWED_POLL_READ)) {
		/* Nothing of it is in the kernel, and nothing shall be. */
		slot->owed &= ~(uint32_t)(MP_OWED_LEASED | MP_OWED_POLL_READ);
		mp_owe(channel, slot, MP_OWED_PAUSED);
	} else if (!mp_read_cancel(channel, slot)) {
		mp_owe(channel, slot, MP_OWED_PAUSE);
	}
	mp_batch_filled(channel);
	mp_channel_leave(channel);
	return 0;
}

int32_t mp_release(struct mp_channel *channel, uint32_t lease)
{
	int32_t error;

	mp_channel_enter(channel);
	error = mp_buffers_release(&channel->buffers, lease);
	if (!error)
		MP_COUNT(channel, leases_out, -1);
	mp_channel_leave(channel);
	return error;
}

void *mp_lease_address(struct mp_channel *channel, uint32_t lease)
{
	return lease < channel->buffers.count ? mp_buffers_address(&channel->buffers, lease) : NULL;
}

struct mp_memory *mp_hold_memory(struct mp_channel *channel)
{
	struct mp_memory *memory = channel->buffers.mapping;

	/* The channel itself holds it as long as it lives. */
	if (memory)
		mp_memory_hold(memory);
	return memory;
}

static bool end(struct mp_channel *channel, struct mp_slot *slot, int32_t result, struct mp_event *event)
{
	/* The end that our own shutdown made is not the peer's. */
	if (result == 0 && (slot->flags & (MP_SLOT_ENDING | MP_SLOT_ENDED)))
		result = -ECANCELED;
	if (result == -ECANCELED && (slot->flags & MP_SLOT_PAUSING)) {
		slot->flags |= MP_SLOT_PAUSED;
	} else if (result <= 0) {
		/* Nothing more will be read: there is no end left to miss. */
		mp_ends_forget(channel, slot);
		if (slot->flags & MP_SLOT_SOUGHT)
			MP_COUNT(channel, ends_found, 1);
	}
	slot->read_state = MP_READ_IDLE;
	slot->flags &= ~(uint32_t)(MP_SLOT_PAUSING | MP_SLOT_CANCELLED_READ | MP_SLOT_ASKED | MP_SLOT_SOUGHT);
	slot->owed &= ~(uint32_t)(MP_OWED_PAUSE | MP_OWED_ASK);
	mp_event_fill(channel, event, slot, MP_STAGE_READ, result, 0);
	return true;
}

/* A piece of data in one of our buffers. What the next buffers hold of it stays for mp_read_piece. */
static void lease(struct mp_channel *channel, struct mp_slot *slot, uint32_t number, uint32_t bytes,
		  struct mp_event *event)
{
	uint32_t piece = bytes < channel->buffers.bytes ? bytes : channel->buffers.bytes;

	mp_buffers_lease(&channel->buffers, number);
	MP_COUNT(channel, leases_out, 1);
	mp_event_fill(channel, event, slot, MP_STAGE_READ, (int32_t)piece, MP_EVENT_LEASED | MP_EVENT_MORE);
	if (bytes == piece && channel->pieces.rest)
		event->flags |= MP_EVENT_REST;
	event->lease = number;
	event->data = (uint64_t)(uintptr_t)mp_buffers_address(&channel->buffers, number);
	channel->pieces.bytes = bytes - piece;
	if (bytes > piece) {
		channel->pieces.slot = mp_slot_index(&channel->handles, slot);
		/* Now: when this lease has come back, its place is another one. */
		channel->pieces.next = mp_buffers_next(&channel->buffers, number);
	}
}

void mp_read_piece(struct mp_channel *channel, struct mp_event *event)
{
	lease(channel, &channel->handles.slots[channel->pieces.slot], channel->pieces.next, channel->pieces.bytes,
	      event);
}

void mp_read_stale(struct mp_channel *channel, const struct io_uring_cqe *completion)
{
	uint32_t number = completion->flags >> IORING_CQE_BUFFER_SHIFT, bytes = channel->buffers.bytes;

	/* The end of the stream may come with an empty buffer. */
	for (int64_t left = completion->res;; left -= bytes) {
		uint32_t next = mp_buffers_next(&channel->buffers, number);

		mp_buffers_lease(&channel->buffers, number);
		(void)mp_buffers_release(&channel->buffers, number);
		if (left <= (int64_t)bytes)
			break;
		number = next;
	}
}

/* A read has ended that is to go no further by itself: as after a pause, the socket may hold what nobody has read. */
static void rest(struct mp_slot *slot)
{
	slot->read_state = MP_READ_IDLE;
	slot->flags &= ~(uint32_t)(MP_SLOT_CANCELLED_READ | MP_SLOT_ASKED | MP_SLOT_SOUGHT);
	slot->flags |= MP_SLOT_PAUSED;
	slot->owed &= ~(uint32_t)(MP_OWED_PAUSE | MP_OWED_ASK);
}

static bool leased_completed(struct mp_channel *channel, struct mp_slot *slot, const struct io_uring_cqe *completion,
			     struct mp_event *event)
{
	bool last = !(completion->flags & IORING_CQE_F_MORE), written = false, refused = false;

	if (completion->res > 0) {
		MP_ASSERT(completion->flags & IORING_CQE_F_BUFFER);
		slot->streams = (uint32_t)completion->res >= channel->buffers.bytes;
		channel->pieces.rest = (completion->flags & IORING_CQE_F_SOCK_NONEMPTY) != 0;
		lease(channel, slot, completion->flags >> IORING_CQE_BUFFER_SHIFT, (uint32_t)completion->res, event);
		if (!last)
			return true;
		written = true;
	} else if (completion->flags & IORING_CQE_F_BUFFER) {
		mp_read_stale(channel, completion);
	}
	if (!last)
		return written;

	/* A kernel that knows no limit (before 6.17) refuses it: a run goes on until the socket or the buffers are
	 * empty, a buffer at a time. */
	if (completion->res == -EINVAL && (slot->flags & MP_SLOT_LIMITED)) {
		channel->reads_limited = false;
		refused = true;
	}
	/* ECANCELED that nobody asked for: the thread that armed it has ended. */
	if (completion->res > 0 || completion->res == -ENOBUFS || completion->res == -EINTR ||
	    completion->res == -EAGAIN || completion->res == -ECANCELED || refused) {
		bool ending = slot->state == MP_SLOT_CLOSING || (slot->flags & MP_SLOT_PAUSING);

		if (ending && !written)
			return end(channel, slot, -ECANCELED, event);
		if (written && slot->one && !ending) {
			rest(slot);
			event->flags &= ~(uint32_t)MP_EVENT_MORE;
			return true;
		}
		if (slot->flags & MP_SLOT_ASKED)
			slot->flags ^= MP_SLOT_ASKED | MP_SLOT_SOUGHT;
		if (ending) {
			/* PAUSED ends it for a closing slot too: same event. */
			mp_owe(channel, slot, MP_OWED_PAUSED);
		} else if (completion->res == -ENOBUFS) {
			/* Where a buffer may be free without a lease coming back, the read is armed again soon. */
			if (mp_buffers_grow(&channel->buffers))
				MP_COUNT(channel, rearms, 1);
			else
				MP_COUNT(channel, buffers_starved, 1);
			starve(channel, slot);
		} else if (completion->res == -EAGAIN) {
			mp_owe(channel, slot, MP_OWED_POLL_READ);
		} else {
			MP_COUNT(channel, rearms, 1);
			mp_owe(channel, slot, MP_OWED_LEASED);
		}
		return written;
	}
	return end(channel, slot, completion->res, event);
}

bool mp_read_completed(struct mp_channel *channel, struct mp_slot *slot, const struct io_uring_cqe *completion,
		       struct mp_event *event)
{
	bool ending = slot->state == MP_SLOT_CLOSING || (slot->flags & MP_SLOT_PAUSING);

	if (mp_token_op(completion->user_data) == MP_TOKEN_POLL_READ) {
		MP_ASSERT(slot->flags & MP_SLOT_POLLING_READ);
		slot->flags &= ~(uint32_t)MP_SLOT_POLLING_READ;
		/* One whose thread has ended is as good as one that saw data: the read itself asks the socket. */
		if (ending || (completion->res < 0 && completion->res != -ECANCELED))
			return end(channel, slot, completion->res < 0 ? completion->res : -ECANCELED, event);
		mp_owe(channel, slot, slot->read_state == MP_READ_ONCE ? MP_OWED_READ_ONCE : MP_OWED_LEASED);
		return false;
	}
	if (mp_token_op(completion->user_data) == MP_TOKEN_LEASED) {
		MP_ASSERT(slot->read_state == MP_READ_LEASED);
		return leased_completed(channel, slot, completion, event);
	}
	MP_ASSERT(slot->read_state == MP_READ_ONCE);
	MP_ASSERT(completion->res <= 0 || (uint32_t)completion->res <= slot->read_bytes);
	if (slot->now && (completion->res > 0 || completion->res == -EAGAIN) && slot->state == MP_SLOT_OPEN) {
		rest(slot);
		mp_event_fill(channel, event, slot, MP_STAGE_READ, completion->res,
			      completion->flags & IORING_CQE_F_SOCK_NONEMPTY ? MP_EVENT_REST : 0u);
		return true;
	}
	if (completion->res == -EAGAIN || completion->res == -EINTR || completion->res == -ECANCELED) {
		if (ending)
			return end(channel, slot, -ECANCELED, event);
		mp_owe(channel, slot, completion->res == -EAGAIN ? MP_OWED_POLL_READ : MP_OWED_READ_ONCE);
		return false;
	}
	return end(channel, slot, completion->res, event);
}
