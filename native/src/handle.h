/* The handle table: one slot per listener, socket or fd, with everything the channel knows of it.
 *
 * A slot is free, open or closing. `in_flight` counts its requests whose completions have not been reaped; a slot is
 * retired (generation + 1) only at zero, so a completion always finds the slot that made it, or is stale and
 * dropped. */
#ifndef MP_HANDLE_H
#define MP_HANDLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "megapipe.h"

struct mp_accepts;

enum mp_slot_state { MP_SLOT_FREE, MP_SLOT_RESERVED, MP_SLOT_OPEN, MP_SLOT_CLOSING };
enum mp_slot_kind { MP_KIND_FILE, MP_KIND_PIPE, MP_KIND_SOCKET, MP_KIND_LISTENER };

/* What a leased or single read is doing. STARVED: wanted, but no buffer was free, so nothing is in the kernel. */
enum mp_read_state { MP_READ_IDLE, MP_READ_ONCE, MP_READ_LEASED, MP_READ_STARVED };

/* What is owed to a slot and could not be done at once: no room in the queue, or an event that no completion brings. */
enum {
	MP_OWED_READ_ONCE = 1u << 0,  /* make the single read again */
	MP_OWED_LEASED = 1u << 1,     /* arm the leased read again */
	MP_OWED_WRITE = 1u << 2,      /* go on with a write done in part */
	MP_OWED_PAUSE = 1u << 3,      /* cancel the leased read */
	MP_OWED_PAUSED = 1u << 4,     /* event: the leased read has stopped */
	MP_OWED_CLOSE = 1u << 5,      /* cancel, reset, close: whatever step is next */
	MP_OWED_RETIRED = 1u << 6,    /* event: retired */
	MP_OWED_POLL_READ = 1u << 7,  /* wait until a non-blocking fd is readable, then read again */
	MP_OWED_POLL_WRITE = 1u << 8, /* the same for writing */
	MP_OWED_ACCEPT = 1u << 9,     /* see mp_accepts */
	MP_OWED_CONNECT = 1u << 10,   /* the socket is there, connect it */
	MP_OWED_STOP = 1u << 11,      /* cancel every accept */
	MP_OWED_ASK = 1u << 16,       /* have the leased read look at its socket again: ends.c */
};

enum {
	MP_SLOT_FIXED = 1u << 0,          /* `fd` is an index of the fixed-file table: a lightweight socket */
	MP_SLOT_OWNED = 1u << 1,          /* closed when the handle is retired */
	MP_SLOT_INET = 1u << 2,           /* TCP: can be reset */
	MP_SLOT_PAUSING = 1u << 3,        /* a pause was asked for and has not ended */
	MP_SLOT_ABORT = 1u << 4,          /* close with RST */
	MP_SLOT_KEEP_FD = 1u << 5,        /* closing by mp_unregister: a caller's fd stays open */
	MP_SLOT_CANCELLED_READ = 1u << 6, /* closing: steps that were taken */
	MP_SLOT_CANCELLED_WRITE = 1u << 7,
	MP_SLOT_RESET_DONE = 1u << 8,
	MP_SLOT_CLOSE_SENT = 1u << 9,
	MP_SLOT_GIVEN = 1u << 10, /* transferred: retire without closing the connection */
	MP_SLOT_TRANSFERRING = 1u << 11,
	MP_SLOT_OWES = 1u << 12,            /* on the owed list */
	MP_SLOT_CANCELLED_OTHER = 1u << 13, /* connect or accepts cancelled */
	MP_SLOT_CONNECTING = 1u << 14,
	MP_SLOT_LWCOUNTED = 1u << 15,    /* counts against max_lwsockets */
	MP_SLOT_POLLING_READ = 1u << 16, /* what is in the kernel is a poll for the read, not the read */
	MP_SLOT_POLLING_WRITE = 1u << 17,
	MP_SLOT_LIMITED = 1u << 18,    /* the leased read in the kernel has a limit */
	MP_SLOT_INSTALLING = 1u << 19, /* mp_to_fd gave up on an install that is still to complete */
	MP_SLOT_SHARED = 1u << 20,     /* mp_to_fd made an fd of it: closing the handle does not end the connection */
	MP_SLOT_ENDING = 1u << 21,     /* closing: the shutdown before the close is in flight */
	MP_SLOT_ENDED = 1u << 22,      /* ... and has completed */
	MP_SLOT_POLLING_CONNECT = 1u << 23, /* what is in the kernel is a poll for the connect, not the connect */
	MP_SLOT_UNREAD = 1u << 24,          /* closing: the socket may hold what nobody has read */
	MP_SLOT_AWAITS_END = 1u << 25,      /* on the list of those that get a poll for their end: ends.c */
	MP_SLOT_POLLING_END = 1u << 26,     /* that poll is in the kernel */
	MP_SLOT_CANCELLED_END = 1u << 27,   /* and was cancelled */
	MP_SLOT_PAUSED = 1u << 28,          /* a leased read was paused, and none made since */
	MP_SLOT_ASKED = 1u << 29,  /* the leased read was cancelled to be armed again, since the poll saw the end */
	MP_SLOT_SOUGHT = 1u << 30, /* ... and was armed again */
	MP_SLOT_UNIX = 1u << 31,   /* this end has connected it, to a Unix socket */
};

#define MP_ADDRESS_BYTES 28u /* sizeof(struct sockaddr_in6): what a slot keeps of a peer's address */
#define MP_NO_SLOT UINT32_MAX
#define MP_CACHE_LINE_BYTES 64u
#define MP_HOLD_REFUSED UINT16_MAX /* a zero-copy write that is made as a plain one */

/* One cache line that each request and each event touches, and two for the rest: with thousands of busy connections a
 * line is in no near cache when its turn comes. */
struct mp_slot {
	_Alignas(MP_CACHE_LINE_BYTES) uint64_t cookie;
	void *write_from; /* next byte, or next struct iovec */
	uint32_t generation;
	int32_t fd;
	uint32_t flags;
	uint32_t owed;
	uint32_t in_flight;
	uint32_t write_bytes; /* asked for */
	uint32_t write_done;  /* already with the kernel */
	uint32_t next;        /* free list, or starved list */
	uint32_t next_owed;
	uint16_t vector_count; /* 0: a plain write */
	uint16_t hold;         /* of a zero-copy write: 1 + its hold, or MP_HOLD_REFUSED; else 0 */
	uint8_t state;
	uint8_t kind;
	uint8_t read_state;
	uint8_t writing;
	uint8_t one;      /* the leased read ends with its first buffer */
	uint8_t now;      /* the single read does not wait */
	uint8_t streams;  /* the last leased receive filled its buffer: the next run may fill several at a time */
	uint8_t nosignal; /* the write in the kernel was asked to bring no SIGPIPE */

	int64_t end_poll_at_ns;          /* of the coarse clock */
	uint32_t next_end, previous_end; /* list of those that get a poll for their end, oldest first */
	void *read_to;
	struct msghdr message; /* of a gathered write, until the kernel took it */
	union {
		struct mp_accepts *accepts; /* listeners: the accept slots; owned */
		void *long_address;         /* others: mp_connect: where to; accept: a Unix peer's name; owned */
	};
	uint32_t read_bytes;
	uint32_t long_address_bytes;
	uint8_t address[MP_ADDRESS_BYTES];
	uint8_t address_bytes;
	uint8_t shutdowns; /* mp_disconnect requests in flight */
	uint8_t orphaned;  /* a fixed-file table holds the socket where nobody can close it: see transfer.c */
};

_Static_assert(offsetof(struct mp_slot, end_poll_at_ns) == MP_CACHE_LINE_BYTES, "what is hot is one cache line");
_Static_assert(sizeof(struct mp_slot) == 3 * MP_CACHE_LINE_BYTES, "a slot is three cache lines");

struct mp_handles {
	struct mp_slot *slots;
	uint32_t count;
	uint32_t free_head;
	uint32_t untouched; /* slots from here on were never used and lie on no list */
	uint32_t live;
};

int32_t mp_handles_open(struct mp_handles *handles, uint32_t count);
void mp_handles_close(struct mp_handles *handles);

/* Takes a free slot (state RESERVED, zeroed but for its generation); MP_NO_SLOT when the table is full. */
uint32_t mp_handles_take(struct mp_handles *handles);

/* Puts a slot with nothing in flight back; its handle is dead from here on. */
void mp_handles_retire(struct mp_handles *handles, uint32_t index);

/* The open or closing slot of a handle, or NULL: retired or never made. */
struct mp_slot *mp_handles_slot(struct mp_handles *handles, mp_handle handle);
/* The open slot of a handle, or NULL: retired, never made, or closing. */
struct mp_slot *mp_handles_open_slot(struct mp_handles *handles, mp_handle handle);

static inline uint32_t mp_slot_index(const struct mp_handles *handles, const struct mp_slot *slot)
{
	return (uint32_t)(slot - handles->slots);
}

#endif
