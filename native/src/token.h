/* user_data of every request: which operation, on which generation of which handle. The one place in C that
 * knows the layout (op 8 bits | generation 32 bits | index 24 bits); a handle is a token without its operation. */
#ifndef MP_TOKEN_H
#define MP_TOKEN_H

#include <stdint.h>

#define MP_INDEX_BITS 24u
#define MP_INDEX_MASK ((1u << MP_INDEX_BITS) - 1u)
#define MP_GENERATION_BITS 31u /* handles stay positive in an int64_t */
#define MP_GENERATION_MASK ((1u << MP_GENERATION_BITS) - 1u)
#define MP_OP_SHIFT 56u

/* Operations. The accept slots of a listener are operations of their own, since each has its address buffer. */
enum {
	MP_TOKEN_NONE = 0, /* a completion nobody waits for */
	MP_TOKEN_READ = 1,
	MP_TOKEN_LEASED = 2,
	MP_TOKEN_WRITE = 3,
	MP_TOKEN_SHUTDOWN = 4,
	MP_TOKEN_CANCEL_READ = 5, /* whose answer it is, since a cancel that missed is made again */
	MP_TOKEN_CANCEL_WRITE = 18,
	MP_TOKEN_CANCEL_CONNECT = 19,
	MP_TOKEN_RESET = 6,
	MP_TOKEN_CLOSE = 7,
	MP_TOKEN_CONNECT = 8,
	MP_TOKEN_SOCKET = 9,
	MP_TOKEN_INSTALL = 10,
	MP_TOKEN_TRANSFER = 11,
	MP_TOKEN_WAKE = 12,
	MP_TOKEN_ARRIVE = 13, /* index: the mailbox entry in the target channel */
	MP_TOKEN_POLL_READ = 14,
	MP_TOKEN_POLL_WRITE = 15,
	MP_TOKEN_END = 17,        /* the shutdown before a close */
	MP_TOKEN_POLL_END = 24,   /* see ends.c */
	MP_TOKEN_CANCEL_END = 25, /* of that poll, or of the read that it has asked again */
	MP_TOKEN_POLL_CONNECT = 26,
	MP_TOKEN_WRITE_HELD = 27,      /* index: the hold (holds.c) */
	MP_TOKEN_ACCEPT = 0x40,        /* + accept slot */
	MP_TOKEN_POLL_ACCEPT = 0x80,   /* + accept slot */
	MP_TOKEN_CANCEL_ACCEPT = 0xc0, /* + accept slot */
	MP_ACCEPT_SLOTS = 64,
};

static inline uint64_t mp_token(uint32_t op, uint32_t generation, uint32_t index)
{
	return (uint64_t)op << MP_OP_SHIFT | (uint64_t)(generation & MP_GENERATION_MASK) << MP_INDEX_BITS |
	       (index & MP_INDEX_MASK);
}

static inline uint32_t mp_token_op(uint64_t token)
{
	return (uint32_t)(token >> MP_OP_SHIFT);
}

static inline uint32_t mp_token_generation(uint64_t token)
{
	return (uint32_t)(token >> MP_INDEX_BITS) & MP_GENERATION_MASK;
}

static inline uint32_t mp_token_index(uint64_t token)
{
	return (uint32_t)token & MP_INDEX_MASK;
}

#endif
