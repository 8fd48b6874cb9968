/* Memory of receive buffers, between channels and those who read from it. */
#define _GNU_SOURCE
#include "memory.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "megapipe.h"
#include "mp_assert.h"

/* What nobody holds. It waits for the next channel of that size, so a process has as many as it had channels at a
 * time, and what waits costs addresses only. */
static struct mp_memory *waiting;
static pthread_mutex_t waiting_lock = PTHREAD_MUTEX_INITIALIZER;

static struct mp_memory *take(uint64_t bytes)
{
	struct mp_memory *memory = NULL;

	pthread_mutex_lock(&waiting_lock);
	for (struct mp_memory **at = &waiting; *at; at = &(*at)->next) {
		if ((*at)->bytes != bytes)
			continue;
		memory = *at;
		*at = memory->next;
		break;
	}
	pthread_mutex_unlock(&waiting_lock);
	return memory;
}

struct mp_memory *mp_memory_open(uint64_t bytes)
{
	struct mp_memory *memory = take(bytes);

	if (!memory) {
		void *map;

		memory = malloc(sizeof *memory);
		if (!memory)
			return NULL;
		map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (map == MAP_FAILED) {
			free(memory);
			return NULL;
		}
		memory->address = map;
		memory->bytes = bytes;
	}
	memory->next = NULL;
	atomic_store_explicit(&memory->holders, 1, memory_order_relaxed);
	return memory;
}

void mp_memory_hold(struct mp_memory *memory)
{
	/* Relaxed: the holder that is there keeps it alive meanwhile. */
	atomic_fetch_add_explicit(&memory->holders, 1, memory_order_relaxed);
}

void mp_drop_memory(struct mp_memory *memory)
{
	uint32_t before;

	if (!memory)
		return;
	/* Acquire and release: what the other holders read and wrote comes before the pages go. */
	before = atomic_fetch_sub_explicit(&memory->holders, 1, memory_order_acq_rel);
	MP_ASSERT(before > 0);
	if (before > 1)
		return;
	/* Fails on locked pages, which then stay. */
	(void)madvise(memory->address, memory->bytes, MADV_DONTNEED);
	pthread_mutex_lock(&waiting_lock);
	memory->next = waiting;
	waiting = memory;
	pthread_mutex_unlock(&waiting_lock);
}
