/* The handle table. Slots are handed out last in, first out: a busy channel stays within few cache lines. */
#define _GNU_SOURCE
#include "handle.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "mp_assert.h"
#include "token.h"

int32_t mp_handles_open(struct mp_handles *handles, uint32_t count)
{
	memset(handles, 0, sizeof *handles);
	/* Mapped, not allocated: a slot costs memory once it is used for the first time. */
	handles->slots = mmap(NULL, (uint64_t)count * sizeof(struct mp_slot), PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (handles->slots == MAP_FAILED) {
		handles->slots = NULL;
		return -ENOMEM;
	}
	handles->count = count;
	handles->free_head = MP_NO_SLOT;
	return 0;
}

void mp_handles_close(struct mp_handles *handles)
{
	if (handles->slots)
		munmap(handles->slots, (uint64_t)handles->count * sizeof(struct mp_slot));
	handles->slots = NULL;
}

uint32_t mp_handles_take(struct mp_handles *handles)
{
	uint32_t index = handles->free_head;
	struct mp_slot *slot;
	uint32_t generation;

	if (index != MP_NO_SLOT)
		handles->free_head = handles->slots[index].next;
	else if (handles->untouched < handles->count)
		index = handles->untouched++;
	else
		return MP_NO_SLOT;
	slot = &handles->slots[index];
	MP_ASSERT(slot->state == MP_SLOT_FREE);
	generation = slot->generation;
	memset(slot, 0, sizeof *slot);
	/* Generation 0 is never used, so no handle is 0. */
	slot->generation = generation ? generation : 1;
	slot->state = MP_SLOT_RESERVED;
	slot->next = MP_NO_SLOT;
	slot->next_owed = MP_NO_SLOT;
	slot->fd = -1;
	handles->live++;
	return index;
}

void mp_handles_retire(struct mp_handles *handles, uint32_t index)
{
	struct mp_slot *slot = &handles->slots[index];

	MP_ASSERT(slot->state != MP_SLOT_FREE);
	MP_ASSERT(slot->in_flight == 0);
	MP_ASSERT(!(slot->flags & (MP_SLOT_OWES | MP_SLOT_AWAITS_END)));
	slot->state = MP_SLOT_FREE;
	slot->generation = (slot->generation + 1) & MP_GENERATION_MASK;
	slot->next = handles->free_head;
	handles->free_head = index;
	MP_ASSERT(handles->live > 0);
	handles->live--;
}

struct mp_slot *mp_handles_slot(struct mp_handles *handles, mp_handle handle)
{
	uint64_t token = (uint64_t)handle;
	uint32_t index = mp_token_index(token);
	struct mp_slot *slot;

	if (handle <= 0 || mp_token_op(token) != 0 || index >= handles->untouched)
		return NULL;
	slot = &handles->slots[index];
	if (slot->generation != mp_token_generation(token) ||
	    (slot->state != MP_SLOT_OPEN && slot->state != MP_SLOT_CLOSING))
		return NULL;
	return slot;
}

struct mp_slot *mp_handles_open_slot(struct mp_handles *handles, mp_handle handle)
{
	struct mp_slot *slot = mp_handles_slot(handles, handle);

	return slot && slot->state == MP_SLOT_OPEN ? slot : NULL;
}
