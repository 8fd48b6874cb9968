/* The channel's receive buffers: a provided-buffer ring that the kernel takes from, and the leases that the caller
 * holds. A buffer is idle (never used), free (in the ring), filled (its completion not yet seen) or leased.
 *
 * The kernel takes them in turn, so what goes round costs memory and cache lines, needed or not. A channel begins with
 * a few and takes more into use when the kernel finds none. */
#ifndef MP_BUFFERS_H
#define MP_BUFFERS_H

#include <stdbool.h>
#include <stdint.h>

struct io_uring_buf_ring;
struct mp_memory;

/* Buffers that go round from the start: a request each of so many connections at a time. */
#define MP_BUFFERS_FIRST 64u

/* So many that the caller does not hold, and no more come into use: about two batches of events. What the kernel fills
 * further ahead has left the near caches, with its socket, when its turn comes. */
#define MP_BUFFERS_AHEAD 256u

struct mp_buffers {
	struct io_uring_buf_ring *ring;
	struct mp_memory *mapping; /* of what follows */
	uint8_t *memory;
	uint16_t *positions; /* per buffer: where in the ring it was put last */
	uint8_t *leased;     /* one flag per buffer: misuse is caught, not written through */
	uint32_t count;
	uint32_t used; /* the first so many go round, the others are idle */
	uint32_t bytes;
	uint32_t out;     /* leases the caller holds */
	uint16_t tail;    /* next ring position, published by mp_buffers_publish */
	uint16_t visible; /* what the kernel may take up to */
	bool grown;       /* since the last mp_buffers_publish */
};

/* 0 or -ENOMEM. Memory is page-aligned; the first buffers start free but unpublished. */
int32_t mp_buffers_open(struct mp_buffers *buffers, uint32_t count, uint32_t bytes);

/* The kernel must be through with the buffers. Their memory stays for those who hold it. */
void mp_buffers_close(struct mp_buffers *buffers);

static inline uint8_t *mp_buffers_address(const struct mp_buffers *buffers, uint32_t lease)
{
	return buffers->memory + (uint64_t)lease * buffers->bytes;
}

/* The kernel filled `lease`; it is the caller's now. */
void mp_buffers_lease(struct mp_buffers *buffers, uint32_t lease);

/* Takes a lease back into the ring, unpublished. 0, or -EINVAL when it was not out. */
int32_t mp_buffers_release(struct mp_buffers *buffers, uint32_t lease);

/* The buffer that the kernel took after `lease`, of one completion that filled several. */
uint32_t mp_buffers_next(const struct mp_buffers *buffers, uint32_t lease);

/* The kernel found no buffer: twice as many go round from now on, unless there are enough ahead of the caller; and not
 * twice between two publications, since many reads may have found none at a time. true where somebody may get one
 * without a lease coming back. */
bool mp_buffers_grow(struct mp_buffers *buffers);

/* Lets the kernel take what was released. */
void mp_buffers_publish(struct mp_buffers *buffers);

#endif
