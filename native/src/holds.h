/* Memory that the kernel sends from without copying it: a write's, until the kernel has said that it is done with it.
 *
 * The kernel answers such a send twice: with its result, and, once nothing refers to the memory any more (the peer has
 * acknowledged it, or the connection is gone), with a notification. The second may come long after the handle was
 * retired, so a hold stands beside the handles: its number, not the handle's, is in the token of the request. */
#ifndef MP_HOLDS_H
#define MP_HOLDS_H

#include <stdbool.h>
#include <stdint.h>

#include "uapi.h"

struct mp_channel;
struct mp_event;
struct mp_slot;

/* Writes at a time whose memory the kernel holds; beyond it writes are copied. 24 KiB, made by the first of them. */
#define MP_HOLDS 1024u

struct mp_hold {
	uint64_t memory; /* the caller's name for it */
	uint32_t generation;
	uint32_t slot;  /* whose write it is; MP_NO_SLOT: that has ended */
	uint16_t next;  /* free list: 1 + the next */
	int16_t owed;   /* notifications to come, each later than its result */
	uint8_t plain;  /* the rest of the write is copied */
	uint8_t copied; /* the kernel, or the library, has copied some of it */
};

/* A hold for the write that begins on `slot`. none is free: the write is a plain one. */
void mp_holds_begin(struct mp_channel *channel, struct mp_slot *slot, uint64_t memory);
/* Whether the next request of the slot's write is one that does not copy. */
bool mp_holds_sends(const struct mp_channel *channel, const struct mp_slot *slot);
/* The token of that request. */
uint64_t mp_holds_token(const struct mp_channel *channel, const struct mp_slot *slot);
/* The slot whose send has ended with `completion`; its notification, if one comes, is owed from here on. NULL: stale. */
struct mp_slot *mp_holds_sent(struct mp_channel *channel, const struct io_uring_cqe *completion);
/* Whether the kernel did not take the send for what it is: then the rest of the write is a plain one. */
bool mp_holds_refused(struct mp_channel *channel, struct mp_slot *slot, int32_t result);
/* The write has ended with `event`, which says whether the memory is still held. */
void mp_holds_end(struct mp_channel *channel, struct mp_slot *slot, struct mp_event *event);
/* Takes a notification; true when it wrote the event that gives the memory back. */
bool mp_holds_notified(struct mp_channel *channel, const struct io_uring_cqe *completion, struct mp_event *event);

#endif
