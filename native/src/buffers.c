/* The channel's receive buffers. */
#define _GNU_SOURCE
#include "buffers.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

#include "megapipe.h"
#include "memory.h"
#include "mp_assert.h"
#include "uapi.h"

static void add(struct mp_buffers *buffers, uint32_t lease)
{
	struct io_uring_buf *entry = &buffers->ring->bufs[buffers->tail & (buffers->count - 1)];

	/* Field by field: entry 0's reserved half is the ring's tail. */
	entry->addr = (uint64_t)(uintptr_t)mp_buffers_address(buffers, lease);
	entry->len = buffers->bytes;
	entry->bid = (uint16_t)lease;
	buffers->positions[lease] = buffers->tail++;
}

static uint64_t ring_bytes(const struct mp_buffers *buffers)
{
	return (uint64_t)buffers->count * sizeof(struct io_uring_buf);
}

/* Even, as positions follow. */
static uint64_t memory_bytes(const struct mp_buffers *buffers)
{
	return ((uint64_t)buffers->count * buffers->bytes + 1) & ~(uint64_t)1;
}

static void take_into_use(struct mp_buffers *buffers, uint32_t up_to)
{
	while (buffers->used < up_to)
		add(buffers, buffers->used++);
}

int32_t mp_buffers_open(struct mp_buffers *buffers, uint32_t count, uint32_t bytes)
{
	void *map;

	memset(buffers, 0, sizeof *buffers);
	buffers->count = count;
	buffers->bytes = bytes;
	map = mmap(NULL, ring_bytes(buffers), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED)
		return -ENOMEM;
	buffers->ring = map;
	buffers->mapping = mp_memory_open(memory_bytes(buffers) + count * (sizeof *buffers->positions + 1));
	if (!buffers->mapping) {
		munmap(buffers->ring, ring_bytes(buffers));
		buffers->ring = NULL;
		return -ENOMEM;
	}
	buffers->memory = buffers->mapping->address;
	buffers->positions = (uint16_t *)(void *)(buffers->memory + memory_bytes(buffers));
	buffers->leased = (uint8_t *)(buffers->positions + count);
	memset(buffers->leased, 0, count);
	take_into_use(buffers, count < MP_BUFFERS_FIRST ? count : MP_BUFFERS_FIRST);
	return 0;
}

void mp_buffers_close(struct mp_buffers *buffers)
{
	if (!buffers->ring)
		return;
	mp_drop_memory(buffers->mapping);
	munmap(buffers->ring, ring_bytes(buffers));
	buffers->ring = NULL;
}

void mp_buffers_lease(struct mp_buffers *buffers, uint32_t lease)
{
	MP_ASSERT(lease < buffers->used);
	MP_ASSERT(!buffers->leased[lease]);
	buffers->leased[lease] = 1;
	buffers->out++;
}

int32_t mp_buffers_release(struct mp_buffers *buffers, uint32_t lease)
{
	if (lease >= buffers->count)
		return -EINVAL;
	/* Twice released would be twice filled: two connections' bytes in one buffer. */
	MP_ASSERT(buffers->leased[lease]);
	buffers->leased[lease] = 0;
	MP_ASSERT(buffers->out > 0);
	buffers->out--;
	add(buffers, lease);
	return 0;
}

uint32_t mp_buffers_next(const struct mp_buffers *buffers, uint32_t lease)
{
	uint16_t position;

	MP_ASSERT(lease < buffers->used);
	position = (uint16_t)(buffers->positions[lease] + 1);

	/* The entry is as it was: it is written again once round, which needs the buffers behind `lease` back. */
	return buffers->ring->bufs[position & (buffers->count - 1)].bid;
}

bool mp_buffers_grow(struct mp_buffers *buffers)
{
	if (!buffers->grown && buffers->used < buffers->count && buffers->used - buffers->out < MP_BUFFERS_AHEAD) {
		/* A power of two, as `count` and the first ones. */
		take_into_use(buffers, buffers->used * 2);
		buffers->grown = true;
	}
	return buffers->grown || buffers->out < buffers->used;
}

void mp_buffers_publish(struct mp_buffers *buffers)
{
	buffers->grown = false;
	if (buffers->visible == buffers->tail)
		return;
	buffers->visible = buffers->tail;
	/* Release: pairs with the kernel's acquire of the tail; it must see the entries first. */
	atomic_store_explicit((_Atomic uint16_t *)&buffers->ring->tail, buffers->tail, memory_order_release);
}
