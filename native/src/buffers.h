/* The channel's receive buffers: a provided-buffer ring that the kernel takes from, and the leases that the caller
 * holds. A buffer is free (in the ring), filled (its completion not yet seen) or leased. */
#ifndef MP_BUFFERS_H
#define MP_BUFFERS_H

#include <stdint.h>

struct io_uring_buf_ring;
struct mp_memory;

struct mp_buffers {
	struct io_uring_buf_ring *ring;
	struct mp_memory *mapping; /* of what follows */
	uint8_t *memory;
	uint8_t *leased; /* one flag per buffer: misuse is caught, not written through */
	uint32_t count;
	uint32_t bytes;
	uint32_t out;     /* leases the caller holds */
	uint16_t tail;    /* next ring position, published by mp_buffers_publish */
	uint16_t visible; /* what the kernel may take up to */
};

/* 0 or -ENOMEM. Memory is page-aligned; every buffer starts free but unpublished. */
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

/* Lets the kernel take what was released. */
void mp_buffers_publish(struct mp_buffers *buffers);

#endif
