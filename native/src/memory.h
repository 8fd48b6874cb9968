/* The memory of receive buffers. It outlives its channel while somebody holds it, and its addresses are never given
 * back to the system: a reader that comes too late finds zeros or newer data, and no fault. */
#ifndef MP_MEMORY_H
#define MP_MEMORY_H

#include <stdint.h>

struct mp_memory {
	struct mp_memory *next; /* in the list of those that wait for a channel */
	uint8_t *address;
	uint64_t bytes;
	_Atomic uint32_t holders; /* the channel is one */
};

/* `bytes`, page-aligned, with one holder; NULL: no memory. What it holds is undefined. Any thread. */
struct mp_memory *mp_memory_open(uint64_t bytes);

/* One holder more, beside one that is there. Any thread. */
void mp_memory_hold(struct mp_memory *memory);

#endif
