/* Takes completions and turns them into events; sleeps when there are none (paper §3.1, mp_dispatch). */
#define _GNU_SOURCE
#include <errno.h>

#include "channel.h"
#include "os.h"

/* How soon to try again when the kernel refuses requests (no memory): soon for a person, rarely for a core. */
#define OWED_RETRY_NS 1000000

/* 146 years: a longer time-out is none, so that the deadline cannot overflow. */
#define MAX_TIMEOUT_NS (INT64_MAX / 2)

/* A completion whose slot is gone. Its buffers, if it took some, go back to the kernel. */
static void stale(struct mp_channel *channel, const struct io_uring_cqe *completion)
{
	MP_COUNT(channel, stale_events, 1);
	if (completion->flags & IORING_CQE_F_BUFFER)
		mp_read_stale(channel, completion);
}

/* After a completion of `slot`: it may have been the last that a closing one waited for. Whether `event` is filled. */
static bool settled(struct mp_channel *channel, struct mp_slot *slot, struct mp_event *event, bool written)
{
	if (slot->state != MP_SLOT_CLOSING || !mp_close_finished(slot))
		return written;
	if (written) {
		mp_owe(channel, slot, MP_OWED_RETIRED);
		return true;
	}
	if (slot->flags & MP_SLOT_OWES)
		return false;
	mp_close_retire(channel, slot, event);
	return true;
}

/* The result of a zero-copy send. */
static bool sent(struct mp_channel *channel, const struct io_uring_cqe *completion, struct mp_event *event)
{
	struct mp_slot *slot = mp_holds_sent(channel, completion);

	if (!slot) {
		stale(channel, completion);
		return false;
	}
	MP_ASSERT(slot->in_flight > 0 && slot->writing);
	slot->in_flight--;
	return settled(channel, slot, event, mp_write_completed(channel, slot, completion->res, event));
}

static bool complete(struct mp_channel *channel, const struct io_uring_cqe *completion, struct mp_event *event)
{
	uint32_t op = mp_token_op(completion->user_data), index = mp_token_index(completion->user_data);
	struct mp_slot *slot;
	bool written = false;

	if (op == MP_TOKEN_NONE)
		return false;
	if (op == MP_TOKEN_WAKE) {
		if (!(completion->flags & IORING_CQE_F_MORE))
			channel->wake_armed = false;
		return false;
	}
	if (op == MP_TOKEN_ARRIVE)
		return mp_arrive_completed(channel, index, completion->res, event);
	if (op == MP_TOKEN_WRITE_HELD)
		return completion->flags & IORING_CQE_F_NOTIF ? mp_holds_notified(channel, completion, event) :
								sent(channel, completion, event);
	slot = index < channel->handles.untouched ? &channel->handles.slots[index] : NULL;
	if (!slot || slot->state == MP_SLOT_FREE || slot->generation != mp_token_generation(completion->user_data)) {
		stale(channel, completion);
		return false;
	}
	if (!(completion->flags & IORING_CQE_F_MORE)) {
		MP_ASSERT(slot->in_flight > 0);
		slot->in_flight--;
		MP_COUNT(channel, in_flight, -1);
	}
	switch (op) {
	case MP_TOKEN_READ:
	case MP_TOKEN_LEASED:
	case MP_TOKEN_POLL_READ:
		written = mp_read_completed(channel, slot, completion, event);
		break;
	case MP_TOKEN_WRITE:
		MP_ASSERT(slot->writing);
		written = mp_write_completed(channel, slot, completion->res, event);
		break;
	case MP_TOKEN_POLL_WRITE:
		MP_ASSERT(slot->flags & MP_SLOT_POLLING_WRITE);
		slot->flags &= ~(uint32_t)MP_SLOT_POLLING_WRITE;
		if (completion->res < 0)
			written = mp_write_completed(channel, slot, completion->res, event);
		else
			mp_owe(channel, slot, MP_OWED_WRITE);
		break;
	case MP_TOKEN_SHUTDOWN:
		MP_ASSERT(slot->shutdowns > 0);
		slot->shutdowns--;
		mp_event_fill(channel, event, slot, MP_STAGE_CLOSE, completion->res, MP_EVENT_DISCONNECTED);
		written = true;
		break;
	case MP_TOKEN_CONNECT:
	case MP_TOKEN_SOCKET:
	case MP_TOKEN_POLL_CONNECT:
		written = mp_connect_completed(channel, slot, op, completion->res, event);
		break;
	case MP_TOKEN_TRANSFER:
		written = mp_transfer_completed(channel, slot, completion->res, event);
		break;
	case MP_TOKEN_INSTALL:
		/* mp_to_fd gave up on it: nobody owns the new fd. */
		MP_ASSERT(slot->flags & MP_SLOT_INSTALLING);
		slot->flags &= ~(uint32_t)MP_SLOT_INSTALLING;
		if (completion->res >= 0)
			mp_os_close(completion->res);
		break;
	case MP_TOKEN_CANCEL_READ:
	case MP_TOKEN_CANCEL_WRITE:
	case MP_TOKEN_CANCEL_CONNECT:
		mp_cancel_completed(channel, slot, op, completion->res);
		break;
	case MP_TOKEN_END:
		MP_ASSERT(slot->flags & MP_SLOT_ENDING);
		slot->flags ^= MP_SLOT_ENDING | MP_SLOT_ENDED;
		mp_owe(channel, slot, MP_OWED_CLOSE);
		break;
	case MP_TOKEN_POLL_END:
		written = mp_ends_completed(channel, slot, completion->res, event);
		break;
	case MP_TOKEN_CANCEL_END:
		mp_ends_cancel_completed(channel, slot, completion->res);
		break;
	case MP_TOKEN_RESET:
	case MP_TOKEN_CLOSE:
		break;
	default:
		MP_ASSERT(op >= MP_TOKEN_ACCEPT);
		if (op >= MP_TOKEN_CANCEL_ACCEPT)
			mp_cancel_completed(channel, slot, op, completion->res);
		else
			written = mp_accept_completed(channel, slot, completion, event);
		break;
	}
	return settled(channel, slot, event, written);
}

/* What is left of a completion that filled several buffers, before anything else happens to its slot. */
static uint32_t pieces(struct mp_channel *channel, struct mp_event *events, uint32_t capacity)
{
	uint32_t count = 0;

	while (count < capacity && channel->pieces.bytes)
		mp_read_piece(channel, &events[count++]);
	return count;
}

/* Turns waiting completions into at most `capacity` events; *seen tells how many completions there were. */
static uint32_t reap(struct mp_channel *channel, struct mp_event *events, uint32_t capacity, uint32_t *seen)
{
	const struct io_uring_cqe *waiting;
	uint32_t count = 0;

	*seen = 0;
	while (count < capacity && (waiting = mp_ring_peek(&channel->ring, 0))) {
		struct io_uring_cqe completion = { .user_data = waiting->user_data,
						   .res = waiting->res,
						   .flags = waiting->flags };

		/* Copied first: making requests below may enter the kernel, which may reuse the entry. */
		mp_ring_seen(&channel->ring, 1);
		(*seen)++;
		count += complete(channel, &completion, &events[count]);
		count += pieces(channel, events + count, capacity - count);
	}
	return count;
}

/* Arms the eventfd that mp_wake writes to where it cannot post to the ring. false: no room for it. */
static bool arm_wake(struct mp_channel *channel)
{
	struct io_uring_sqe *request;

	if (channel->wake_armed)
		return true;
	request = mp_batch_own(channel, mp_token(MP_TOKEN_WAKE, 0, 0), IORING_OP_POLL_ADD);
	if (!request)
		return false;
	request->fd = channel->wake_fd;
	request->len = IORING_POLL_ADD_MULTI; /* edge-triggered: the counter need not be read */
	request->poll32_events = 1;           /* POLLIN */
	channel->wake_armed = true;
	return true;
}

/* The kernel took nothing, for now: no memory for requests (EAGAIN) or for what it keeps of a thread that gives its
 * first (ENOMEM), or too many completions wait (EBUSY). It is asked again, at most every OWED_RETRY_NS in a sleep. */
static bool refused(int32_t result)
{
	return result == -EAGAIN || result == -EBUSY || result == -ENOMEM;
}

static bool kernel_has_work(const struct mp_channel *channel)
{
	return mp_ring_pending(&channel->ring) ||
	       (mp_ring_flags(&channel->ring) & (IORING_SQ_CQ_OVERFLOW | IORING_SQ_TASKRUN)) ||
	       (channel->flags & MP_CONFIG_SINGLE_THREAD);
}

/* One enter: submits, and sleeps unless somebody asked the channel to be awake; *slept tells. Two where the channel
 * waits awake first: what is submitted must not wait for that. */
static int32_t enter(struct mp_channel *channel, int64_t timeout_ns, bool *slept)
{
	uint32_t awake = MP_AWAKE;
	int64_t short_ns = timeout_ns < 0 || timeout_ns > OWED_RETRY_NS ? OWED_RETRY_NS : timeout_ns;
	int32_t result;

	*slept = false;
	if (mp_ring_flags(&channel->ring) & IORING_SQ_CQ_OVERFLOW)
		MP_COUNT(channel, cq_overflows, 1);
	if (timeout_ns == 0)
		return mp_batch_enter(channel, 0, 0);
	if (channel->wait.spin_ns) {
		result = kernel_has_work(channel) ? mp_batch_enter(channel, 0, 0) : 0;
		if ((result < 0 && !refused(result)) || mp_ring_peek(&channel->ring, 0))
			return result;
		/* What was refused is asked for again below, and waits as there. */
		if (result >= 0 && mp_wait_spin(channel, timeout_ns))
			return kernel_has_work(channel) ? mp_batch_enter(channel, 0, 0) : 0;
	}
	*slept = true;
	if (!arm_wake(channel))
		timeout_ns = short_ns; /* nobody can wake this sleep */
	/* Sleeping is announced before the kernel is entered; a waker that comes later posts a completion, one that
	 * came earlier left WAKE_ASKED and the exchange fails. Pairs with mp_wake. */
	if (!atomic_compare_exchange_strong_explicit(&channel->wake_state, &awake, MP_SLEEPING, memory_order_seq_cst,
						     memory_order_seq_cst))
		return mp_batch_enter(channel, 0, 0);
	result = mp_batch_enter(channel, 1, timeout_ns);
	mp_wait_ended(channel);
	if (refused(result)) {
		/* Nothing was taken, and the kernel did not wait. Completions still come. */
		result = mp_batch_wait(channel, short_ns);
		return result == -ETIME ? 0 : result;
	}
	return result;
}

/* Takes the wake-up back; true when somebody had asked. Pairs with mp_wake: what the waker wrote is visible after. */
static bool awake_again(struct mp_channel *channel)
{
	if (atomic_load_explicit(&channel->wake_state, memory_order_relaxed) == MP_AWAKE)
		return false;
	return atomic_exchange_explicit(&channel->wake_state, MP_AWAKE, memory_order_seq_cst) == MP_WAKE_ASKED;
}

static int32_t dispatch(struct mp_channel *channel, struct mp_event *events, uint32_t capacity, int64_t timeout_ns)
{
	int64_t deadline_ns = timeout_ns > 0 ? mp_os_now_ns() + timeout_ns : 0;
	uint32_t count, seen;

	mp_renew_some(channel);
	mp_ends_sweep(channel);
	mp_read_feed(channel);
	mp_arrive_settle(channel);
	count = pieces(channel, events, capacity);
	count += mp_owed_settle(channel, events + count, capacity - count);
	count += reap(channel, events + count, capacity - count, &seen);
	if (count > 0) {
		mp_batch_filled(channel);
		return (int32_t)count;
	}
	if (timeout_ns == 0 && !kernel_has_work(channel))
		return 0;
	/* Ends with an event, a wake-up, a signal or the deadline; completions that are no events go round again. */
	for (uint32_t round = 0;; round++) {
		bool owed = (channel->owed_head != MP_NO_SLOT || channel->arrivals_refused) && timeout_ns != 0;
		/* Reads wait for buffers that those before them did not need: no sleep until each was tried. */
		bool hungry = mp_read_hungry(channel) && timeout_ns != 0;
		int64_t sleep_ns = hungry ? 0 : !owed ? timeout_ns : round ? OWED_RETRY_NS : 0;
		int64_t ends_ns = mp_ends_timeout_ns(channel);
		bool shortened = ends_ns >= 0 && (sleep_ns < 0 || ends_ns < sleep_ns);
		int64_t until_ns = shortened ? mp_os_now_ns() + ends_ns : 0;
		bool slept;
		int32_t result = enter(channel, shortened ? ends_ns : sleep_ns, &slept);
		bool woken = awake_again(channel);
		/* If a signal ends the wait after requests were submitted, io_uring_enter returns their number. */
		bool waited = slept && result >= 0 && !owed && !hungry && !mp_ring_pending(&channel->ring);

		/* Not the caller's time was over but that until the next poll for an end (ends.c); earlier it was a
		 * signal, hidden as below. */
		shortened = shortened && (result == -ETIME || mp_os_now_ns() >= until_ns);
		if (result < 0 && result != -ETIME && result != -EINTR && !refused(result))
			return result;
		count = reap(channel, events, capacity, &seen);
		mp_arrive_settle(channel);
		count += mp_owed_settle(channel, events + count, capacity - count);
		if (count > 0 || woken || timeout_ns == 0 || result == -EINTR || (waited && !seen && !shortened) ||
		    (result == -ETIME && !owed && !shortened))
			return (int32_t)count;
		mp_ends_sweep(channel);
		mp_read_feed(channel);
		if (timeout_ns > 0) {
			timeout_ns = deadline_ns - mp_os_now_ns();
			if (timeout_ns <= 0)
				return 0;
		}
	}
}

int32_t mp_dispatch(struct mp_channel *channel, struct mp_event *events, uint32_t capacity, int64_t timeout_ns)
{
	int32_t count;

	if (capacity == 0)
		return -EINVAL;
	if (timeout_ns > MAX_TIMEOUT_NS)
		timeout_ns = -1;
	mp_channel_enter(channel);
	count = dispatch(channel, events, capacity, timeout_ns);
	(void)awake_again(channel);
	if (count > 0) {
		MP_COUNT(channel, events, count);
		MP_COUNT(channel, dispatches, 1);
	}
	mp_channel_leave(channel);
	return count;
}
