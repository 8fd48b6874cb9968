/* The channel's inside, shared by the files that work on it. Everything but `wake_state` and the mailbox belongs to
 * the carrier. */
#ifndef MP_CHANNEL_H
#define MP_CHANNEL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "buffers.h"
#include "handle.h"
#include "megapipe.h"
#include "mp_assert.h"
#include "ring.h"
#include "token.h"

/* Whether the carrier sleeps and whether somebody wants it awake; pairs: mp_wake and dispatch's sleep. */
enum { MP_AWAKE, MP_SLEEPING, MP_WAKE_ASKED };

/* Connections on their way from other channels. Bounded: a sender that finds no entry gets -EBUSY. */
#define MP_MAILBOX_ENTRIES 256u

/* Late releases: closed lightweight sockets between two renewals (renew.c), so about so many wait at a time. About a
 * megabyte of the kernel's. */
#define MP_RENEW_AFTER 256u

struct mp_arrival {
	uint64_t cookie;
	int32_t fd; /* of a refused one: to be closed */
	uint8_t used;
	uint8_t refused; /* no handle was free, and no room to close the descriptor at once */
	uint8_t inet;
	uint8_t fixed;
	uint8_t owned; /* false: a caller's registered fd, which stays open after mp_unregister */
	uint8_t orphaned;
	uint8_t address_bytes;
	uint8_t address[MP_ADDRESS_BYTES];
};

struct mp_accept_slot {
	uint32_t address_bytes; /* socklen_t, written by the kernel */
	uint32_t reserved;      /* the handle slot kept for the connection */
	uint8_t busy;
	uint8_t keep;
	uint8_t lwsocket;
	uint8_t owed;                     /* to be made, or made again */
	uint8_t polling;                  /* a poll is in the kernel, for a listener with O_NONBLOCK */
	uint8_t cancelled;                /* a cancel is on its way */
	uint8_t tries;                    /* a connection waits: try at once */
	uint8_t waited;                   /* the request in the kernel was to wait first */
	_Alignas(8) uint8_t address[128]; /* struct sockaddr_storage */
};

struct mp_accepts {
	uint32_t busy;
	bool stopping;
	struct mp_accept_slot slots[MP_ACCEPT_SLOTS];
};

/* Writes at a time whose memory the kernel holds; beyond it writes are copied. 24 KiB, made by the first of them. */
#define MP_HOLDS 1024u

/* See holds.c. */
struct mp_hold {
	uint64_t memory; /* the caller's name for it */
	uint32_t generation;
	uint32_t slot;  /* whose write it is; MP_NO_SLOT: that has ended */
	int32_t owed;   /* notifications to come, each for one send of the write */
	uint16_t next;  /* free list: 1 + the next */
	uint8_t plain;  /* the rest of the write is copied */
	uint8_t copied; /* some of it was copied, by the kernel or by a plain send */
};

/* See wait.c. */
struct mp_wait {
	int64_t began_ns; /* of a wait that is measured; 0: none */
	uint32_t spin_ns; /* 0: never awake */
	uint32_t most_spinners;
	uint8_t history; /* of the last waits: whether they were short */
	uint64_t spins;
	uint64_t spins_paid; /* that ended with something to do */
	_Atomic bool spinning;
};

struct mp_channel {
	struct mp_ring ring;
	struct mp_handles handles;
	struct mp_buffers buffers;
	uint32_t batch_threshold;
	uint32_t flags;
	int32_t cpu; /* -1: none */
	uint32_t max_lwsockets;
	uint32_t lwsockets; /* in use or reserved for an outstanding accept */
	bool files_registered;
	_Atomic bool direct_wake; /* post to the ring; cleared by a waker that is denied it, orders nothing */
	bool releases_late;       /* the kernel keeps closed lightweight sockets behind earlier requests: release.c */
	bool accepts_wait;        /* ask for IORING_ACCEPT_POLL_FIRST; cleared when the kernel refuses */
	bool accepts_waited;      /* it has not refused: EINVAL is the listener's */
	bool reads_limited;       /* ask for MP_LEASED_RUN_BYTES; cleared when the kernel refuses */
	bool copies_all;          /* without MP_CONFIG_ZERO_COPY, or the kernel refused such a send: holds.c */
	bool pipes_by_workers;    /* the kernel knows no MP_RWF_NOSIGNAL: see stage/write.c */
	_Atomic bool inside;      /* a carrier is in a call: catches a second one, orders nothing */
	uint32_t owed_head;       /* slots with something owed, oldest first */
	uint32_t owed_tail;
	uint32_t starved_head; /* leased reads waiting for buffers, oldest first */
	uint32_t starved_tail;
	struct {
		uint32_t slot;
		uint32_t next;  /* the first of their buffers */
		uint32_t bytes; /* 0: none */
		bool rest;      /* MP_EVENT_REST of the last one */
	} pieces; /* of a completion that filled several buffers: those that had no room among the caller's events */
	uint32_t renew_after; /* MP_RENEW_AFTER; tests have less */
	uint32_t closed_late; /* lightweight sockets closed since the last renewal began */
	uint32_t renew_next;  /* the slot that is next, or MP_NO_SLOT between renewals */
	uint32_t ends_head;   /* slots that get a poll for their end, oldest first */
	uint32_t ends_tail;
	int32_t wake_fd;
	bool wake_armed;

	_Atomic uint32_t wake_state;
	_Atomic uint64_t wakes;

	struct mp_hold *holds; /* NULL until the first zero-copy write */
	uint16_t holds_free;   /* 1 + the first free one; 0: none */

	uint32_t arrivals_refused; /* mailbox entries whose descriptors are still to be closed */
	pthread_mutex_t mailbox_lock;
	struct mp_arrival mailbox[MP_MAILBOX_ENTRIES];

	struct mp_wait wait;
	struct mp_counters counters;
};

/* Counters are read by other threads; a relaxed store keeps that defined and costs a plain one. */
#define MP_COUNT(channel, counter, by) \
	__atomic_store_n(&(channel)->counters.counter, (channel)->counters.counter + (uint64_t)(by), __ATOMIC_RELAXED)

static inline void mp_channel_enter(struct mp_channel *channel)
{
	MP_ASSERT(!atomic_load_explicit(&channel->inside, memory_order_relaxed)); /* two carriers at once */
	atomic_store_explicit(&channel->inside, true, memory_order_relaxed);
}

static inline void mp_channel_leave(struct mp_channel *channel)
{
	atomic_store_explicit(&channel->inside, false, memory_order_relaxed);
}

static inline mp_handle mp_channel_handle(const struct mp_channel *channel, const struct mp_slot *slot)
{
	return (mp_handle)mp_token(0, slot->generation, mp_slot_index(&channel->handles, slot));
}

static inline uint64_t mp_channel_token(const struct mp_channel *channel, const struct mp_slot *slot, uint32_t op)
{
	return mp_token(op, slot->generation, mp_slot_index(&channel->handles, slot));
}

/* The files, from the bottom to the top: each uses those before it only (tests/check_circles). Not here: listener.c,
 * address.c, dispatch.c and destroy.c, which only the caller uses, and destroy.c dispatch.c. */

/* channel.c */
void mp_event_fill(struct mp_channel *channel, struct mp_event *event, const struct mp_slot *slot, uint32_t stage,
		   int32_t result, uint32_t flags);
/* Puts a slot on the list of those with something owed: MP_OWED_*. */
void mp_owe(struct mp_channel *channel, struct mp_slot *slot, uint32_t what);

/* batch.c */

/* A zeroed submission for `op` of `slot`, counted as in flight; NULL when queue and kernel take no more. */
struct io_uring_sqe *mp_batch_request(struct mp_channel *channel, struct mp_slot *slot, uint32_t op, uint8_t opcode);
/* The same for the channel's own requests. */
struct io_uring_sqe *mp_batch_own(struct mp_channel *channel, uint64_t token, uint8_t opcode);
/* Points a submission at the slot's descriptor. */
void mp_batch_target(struct io_uring_sqe *request, const struct mp_slot *slot);
/* Cancels the request with `token`; its own completion, and the cancelled one's, are in flight until reaped. */
bool mp_batch_cancel(struct mp_channel *channel, struct mp_slot *slot, uint64_t token);
/* Waits until an O_NONBLOCK fd is ready: the kernel answers EAGAIN for those instead of waiting by itself. */
bool mp_batch_poll(struct mp_channel *channel, struct mp_slot *slot, uint32_t op, uint32_t events);
/* Flushes when the threshold is reached. Call after a request is complete. */
void mp_batch_filled(struct mp_channel *channel);
/* Gives everything to the kernel. >= 0 or -errno. */
int32_t mp_batch_enter(struct mp_channel *channel, uint32_t wait, int64_t timeout_ns);
/* Waits for a completion without giving anything. >= 0 or -errno. */
int32_t mp_batch_wait(struct mp_channel *channel, int64_t timeout_ns);

/* wait.c */

/* Waits awake, where that is likely to pay. true: there may be something, so do not sleep. */
bool mp_wait_spin(struct mp_channel *channel, int64_t timeout_ns);
/* After a sleep. */
void mp_wait_ended(struct mp_channel *channel);

/* holds.c */

/* A hold for the write that begins on `slot`; where none can be, the write is a plain one. */
void mp_holds_begin(struct mp_channel *channel, struct mp_slot *slot, uint64_t memory);
/* Whether the next request of the slot's write, or the one in the kernel, is one that does not copy. */
bool mp_holds_sends(const struct mp_channel *channel, const struct mp_slot *slot);
/* The token of that request. */
uint64_t mp_holds_token(const struct mp_channel *channel, const struct mp_slot *slot);
/* The slot whose send has ended with `completion`; a notification that follows is owed from here on. NULL: stale. */
struct mp_slot *mp_holds_sent(struct mp_channel *channel, const struct io_uring_cqe *completion);
/* Whether the kernel did not take the send for what it is: then the rest of the write is a plain one. */
bool mp_holds_refused(struct mp_channel *channel, struct mp_slot *slot, int32_t result);
/* The write has ended with `event`, which from here on says whether the memory is still held. */
void mp_holds_end(struct mp_channel *channel, struct mp_slot *slot, struct mp_event *event);
/* Takes a notification; true when it wrote the event that gives the memory back. */
bool mp_holds_notified(struct mp_channel *channel, const struct io_uring_cqe *completion, struct mp_event *event);

/* ends.c */

/* A leased read begins: its socket gets a poll for the end after a while. */
void mp_ends_expect(struct mp_channel *channel, struct mp_slot *slot);
/* No poll is to be made any more. */
void mp_ends_forget(struct mp_channel *channel, struct mp_slot *slot);
/* Makes the polls that are due, as far as the queue has room. */
void mp_ends_sweep(struct mp_channel *channel);
/* How long the channel may sleep until the next is due; -1: as long as it likes. */
int64_t mp_ends_timeout_ns(const struct mp_channel *channel);
/* Cancels the poll, if there is one. false: the queue has no room. */
bool mp_ends_cancel(struct mp_channel *channel, struct mp_slot *slot);
/* Cancels the leased read so that it is armed again. false: the queue has no room. */
bool mp_ends_ask(struct mp_channel *channel, struct mp_slot *slot);
void mp_ends_cancel_completed(struct mp_channel *channel, struct mp_slot *slot, int32_t result);
bool mp_ends_completed(struct mp_channel *channel, struct mp_slot *slot, int32_t result, struct mp_event *event);

/* renew.c */
/* Renews what holds closed lightweight sockets back, a part at a time. */
void mp_renew_some(struct mp_channel *channel);

/* Stages. `..._issue` makes a request and returns false when the queue has no room (the caller owes it then);
 * `..._completed` takes a completion and returns true when it wrote an event. */

/* stage/cancel.c */
/* Takes a cancel's answer: one that did not find what it should cancel is made again. */
void mp_cancel_completed(struct mp_channel *channel, struct mp_slot *slot, uint32_t op, int32_t result);

/* stage/accept.c */
bool mp_accept_completed(struct mp_channel *channel, struct mp_slot *slot, const struct io_uring_cqe *completion,
			 struct mp_event *event);
bool mp_accept_settle(struct mp_channel *channel, struct mp_slot *slot, struct mp_event *event, bool *written);
bool mp_accept_cancel(struct mp_channel *channel, struct mp_slot *slot);

/* stage/connect.c */
bool mp_connect_issue(struct mp_channel *channel, struct mp_slot *slot);
/* The event of a closing slot's connect that was still to be made. */
void mp_connect_withdrawn(struct mp_channel *channel, struct mp_slot *slot, struct mp_event *event);
bool mp_connect_completed(struct mp_channel *channel, struct mp_slot *slot, uint32_t op, int32_t result,
			  struct mp_event *event);

/* stage/read.c */
bool mp_read_issue(struct mp_channel *channel, struct mp_slot *slot);
bool mp_read_cancel(struct mp_channel *channel, struct mp_slot *slot);
bool mp_read_completed(struct mp_channel *channel, struct mp_slot *slot, const struct io_uring_cqe *completion,
		       struct mp_event *event);
/* The next event of channel->pieces. */
void mp_read_piece(struct mp_channel *channel, struct mp_event *event);
/* Gives the buffers of a completion back that brings no data to anybody. */
void mp_read_stale(struct mp_channel *channel, const struct io_uring_cqe *completion);
void mp_read_unstarve(struct mp_channel *channel, struct mp_slot *slot);
/* Arms starved reads, the oldest first, one for each buffer that is free. */
void mp_read_feed(struct mp_channel *channel);
/* Whether reads wait though a buffer is free: those armed before them may not have needed it. */
bool mp_read_hungry(const struct mp_channel *channel);

/* stage/write.c */
bool mp_write_issue(struct mp_channel *channel, struct mp_slot *slot);
/* Cancels the request in the kernel. A write that is not to end is made again. false: the queue has no room. */
bool mp_write_cancel(struct mp_channel *channel, struct mp_slot *slot);
bool mp_write_completed(struct mp_channel *channel, struct mp_slot *slot, int32_t result, struct mp_event *event);
/* The event of a write that has ended, or of a closing slot's that was still to be made. */
void mp_write_end(struct mp_channel *channel, struct mp_slot *slot, int32_t result, struct mp_event *event);

/* stage/close.c */
int32_t mp_close_begin(struct mp_channel *channel, struct mp_slot *slot, uint32_t flags);
/* Takes the next steps of a closing slot. false: the queue has no room. */
bool mp_close_advance(struct mp_channel *channel, struct mp_slot *slot);
/* Whether nothing of a closing slot is in flight or owed any more. */
bool mp_close_finished(const struct mp_slot *slot);
void mp_close_retire(struct mp_channel *channel, struct mp_slot *slot, struct mp_event *event);

/* stage/transfer.c */
bool mp_transfer_completed(struct mp_channel *channel, struct mp_slot *slot, int32_t result, struct mp_event *event);
bool mp_arrive_completed(struct mp_channel *channel, uint32_t entry, int32_t result, struct mp_event *event);
/* Closes refused arrivals, as far as the queue has room. */
void mp_arrive_settle(struct mp_channel *channel);

/* owed.c */
/* Does what is owed, as far as the queue has room and `capacity` events allow. Events written. */
uint32_t mp_owed_settle(struct mp_channel *channel, struct mp_event *events, uint32_t capacity);

#endif
