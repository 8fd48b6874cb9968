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
	buffers->tail++;
}

static uint64_t ring_bytes(const struct mp_buffers *buffers)
{
	return (uint64_t)buffers->count * sizeof(struct io_uring_buf);
}

static uint64_t memory_bytes(const struct mp_buffers *buffers)
{
	return (uint64_t)buffers->count * buffers->bytes;
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
	buffers->mapping = mp_memory_open(memory_bytes(buffers) + count);
	if (!buffers->mapping) {
		munmap(buffers->ring, ring_bytes(buffers));
		buffers->ring = NULL;
		return -ENOMEM;
	}
	buffers->memory = buffers->mapping->address;
	buffers->leased = buffers->memory + memory_bytes(buffers);
	memset(buffers->leased, 0, count);
	for (uint32_t i = 0; i < count; i++)
		add(buffers, i);
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
	MP_ASSERT(lease < buffers->count);
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

void mp_buffers_publish(struct mp_buffers *buffers)
{
	if (buffers->visible == buffers->tail)
		return;
	buffers->visible = buffers->tail;
	/* Release: pairs with the kernel's acquire of the tail; it must see the entries first. */
	atomic_store_explicit((_Atomic uint16_t *)&buffers->ring->tail, buffers->tail, memory_order_release);
}
