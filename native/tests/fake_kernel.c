/* The fake kernel's rings: submission and completion queues, fixed files, provided buffers, enter. Stands in for
 * src/ring.c. */
#define _GNU_SOURCE
#include "fake_kernel.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common_test.h"

#define POISON 0xdb /* of a buffer that is the kernel's */
/* A wait ends after this many rounds without a completion: in time for deadlines, and for ever is a lost event. */
#define ROUNDS_TO_DEADLINE 6u
#define ROUNDS_FOR_EVER 200u

struct fake_chances fake_chances;
uint64_t fake_random = 1;
void (*fake_on_broken)(void);
void (*fake_on_wait)(void);
void (*fake_on_yield)(void);
bool fake_no_nosignal;
bool fake_no_accept_wait;
uint32_t fake_vain_accepts, fake_refused_accepts;
uint32_t fake_waits;
uint32_t fake_bundles;
uint32_t fake_cq_entries;
bool fake_releases_late;
uint32_t fake_late_most;
int32_t fake_busy_poll;
uint32_t fake_busy_poll_us;
uint32_t fake_refused;
static uint64_t seed;
static struct {
	uint8_t opcode;
	int32_t error;
	uint32_t count;
} failure, enter_failure, post_failure;

_Noreturn void fake_broken(const char *rule, const char *file, int line)
{
	if (fake_on_broken)
		fake_on_broken();
	fprintf(stderr, "fake kernel, seed %llu: broken rule: %s (%s:%d)\n", (unsigned long long)seed, rule, file,
		line);
	abort();
}

bool fake_chance(uint16_t per_mille)
{
	return per_mille && fake_below(1000) < per_mille;
}

uint32_t fake_below(uint32_t limit)
{
	return random_below(&fake_random, limit);
}

void fake_begin(uint64_t new_seed, const struct fake_chances *chances)
{
	seed = new_seed;
	fake_random = new_seed * 0x9e3779b97f4a7c15u + 1;
	fake_chances = chances ? *chances : (struct fake_chances){ 0 };
	fake_cq_entries = 0;
	fake_releases_late = false;
	fake_late_most = 0;
	fake_refused = 0;
	fake_busy_poll = 0;
	fake_busy_poll_us = 0;
	fake_fd_limit = 1024;
	fake_on_wait = NULL;
	fake_no_nosignal = fake_no_accept_wait = false;
	fake_vain_accepts = fake_refused_accepts = 0;
	fake_on_yield = NULL;
	fake_waits = fake_bundles = 0;
	failure.count = enter_failure.count = post_failure.count = 0;
	fake_requests_begin();
	fake_notices_begin();
	fake_files_begin();
	fake_edge_begin();
}

void fake_end(void)
{
	FAKE_RULE(fake_refused == 0);
	FAKE_RULE(fake_requests_live() == 0);
	FAKE_RULE(fake_notices() == 0);
	FAKE_RULE(fake_fds_open() == 0);
	FAKE_RULE(fake_files_open() == 0);
}

void fake_fail(uint8_t opcode, int32_t error, uint32_t count)
{
	failure.opcode = opcode;
	failure.error = error;
	failure.count = count;
}

void fake_fail_enter(int32_t error, uint32_t count)
{
	enter_failure.error = error;
	enter_failure.count = count;
}

void fake_fail_post(int32_t error, uint32_t count)
{
	post_failure.error = error;
	post_failure.count = count;
}

int32_t fake_failure(uint8_t opcode)
{
	if (!failure.count || failure.opcode != opcode)
		return 0;
	failure.count--;
	return failure.error;
}

bool fake_room(const struct fake_ring *ring)
{
	return !ring->overflow_count && ring->cq_tail - ring->cq_head < ring->ring->cq_entries;
}

static void put(struct fake_ring *ring, const struct io_uring_cqe *completion)
{
	struct io_uring_cqe *entry = &ring->ring->cqes[ring->cq_tail & ring->ring->cq_mask];

	entry->user_data = completion->user_data;
	entry->res = completion->res;
	entry->flags = completion->flags;
	ring->cq_tail++;
}

void fake_post(struct fake_ring *ring, uint64_t user_data, int32_t result, uint32_t flags)
{
	struct io_uring_cqe completion = { .user_data = user_data, .res = result, .flags = flags };

	if (!ring->ring)
		return;
	if (fake_room(ring)) {
		put(ring, &completion);
		return;
	}
	if (ring->overflow_count == ring->overflow_room) {
		ring->overflow_room = ring->overflow_room * 2 + 16;
		ring->overflow = realloc(ring->overflow, ring->overflow_room * sizeof *ring->overflow);
		FAKE_RULE(ring->overflow);
	}
	memcpy(&ring->overflow[ring->overflow_count++], &completion, sizeof completion);
	ring->sq_flags |= IORING_SQ_CQ_OVERFLOW;
}

static void flush_overflow(struct fake_ring *ring)
{
	uint32_t moved = 0;

	while (moved < ring->overflow_count && ring->cq_tail - ring->cq_head < ring->ring->cq_entries)
		put(ring, &ring->overflow[moved++]);
	if (!moved)
		return;
	ring->overflow_count -= moved;
	memmove(ring->overflow, ring->overflow + moved, ring->overflow_count * sizeof *ring->overflow);
	if (!ring->overflow_count)
		ring->sq_flags &= ~IORING_SQ_CQ_OVERFLOW;
}

void fake_inject(struct mp_ring *ring, uint64_t user_data, int32_t result, uint32_t flags)
{
	fake_post(ring->backend, user_data, result, flags);
}

/* Takes over the buffers that were published since the last look. */
static void look_at_buffers(struct fake_ring *ring)
{
	if (!ring->group)
		return;
	while (ring->group_seen != ring->group->tail) {
		struct io_uring_buf *entry = &ring->group->bufs[ring->group_seen++ & (ring->group_entries - 1)];

		FAKE_RULE(entry->bid < ring->group_entries);
		FAKE_RULE(!ring->group_owned[entry->bid]); /* not in the ring twice */
		ring->group_owned[entry->bid] = 1;
		memset((void *)(uintptr_t)entry->addr, POISON, entry->len);
	}
	FAKE_RULE((uint16_t)(ring->group_seen - ring->group_head) <= ring->group_entries);
}

bool fake_buffers_left(struct fake_ring *ring)
{
	look_at_buffers(ring);
	return ring->group_head != ring->group_seen;
}

int32_t fake_buffer_take(struct fake_ring *ring, uint8_t **address, uint32_t *bytes)
{
	struct io_uring_buf *entry;

	look_at_buffers(ring);
	if (ring->group_head == ring->group_seen)
		return -ENOBUFS;
	entry = &ring->group->bufs[ring->group_head++ & (ring->group_entries - 1)];
	*address = (uint8_t *)(uintptr_t)entry->addr;
	*bytes = entry->len;
	for (uint32_t i = 0; i < entry->len; i++)
		FAKE_RULE((*address)[i] == POISON); /* nobody wrote to what is the kernel's */
	FAKE_RULE(ring->group_owned[entry->bid]);
	ring->group_owned[entry->bid] = 0;
	return entry->bid;
}

int32_t fake_fixed_make(struct fake_ring *ring, uint32_t number)
{
	for (uint32_t i = 0; i < ring->fixed_count; i++) {
		if (ring->fixed[i])
			continue;
		ring->fixed[i] = number + 1;
		return (int32_t)i;
	}
	return -ENFILE;
}

static uint32_t power_of_two(uint32_t value)
{
	uint32_t power = 1;

	while (power < value)
		power *= 2;
	return power;
}

int32_t mp_ring_open(struct mp_ring *ring, const struct mp_ring_config *config)
{
	uint32_t cq_entries = fake_cq_entries ? fake_cq_entries : config->cq_entries, number;
	struct fake_ring *fake = calloc(1, sizeof *fake);

	FAKE_RULE(fake);
	memset(ring, 0, sizeof *ring);
	ring->backend = fake;
	ring->sq_entries = power_of_two(config->entries);
	ring->cq_entries = power_of_two(cq_entries);
	ring->sq_mask = ring->sq_entries - 1;
	ring->cq_mask = ring->cq_entries - 1;
	ring->sqes = calloc(ring->sq_entries, sizeof *ring->sqes);
	ring->cqes = calloc(ring->cq_entries, sizeof *ring->cqes);
	FAKE_RULE(ring->sqes && ring->cqes);
	ring->sq_head = &fake->sq_head;
	ring->sq_tail = &fake->sq_tail;
	ring->sq_flags = &fake->sq_flags;
	ring->cq_head = &fake->cq_head;
	ring->cq_tail = &fake->cq_tail;
	fake->ring = ring;
	fake->disabled = config->disabled;
	number = fake_file_make(FAKE_RING);
	fake_file(number)->ring = fake;
	ring->fd = fake_fd_make(number);
	if (ring->fd < 0)
		fake_file_drop(number);
	return ring->fd < 0 ? ring->fd : 0;
}

void mp_ring_close(struct mp_ring *ring)
{
	struct fake_ring *fake = ring->backend;

	if (ring->fd < 0)
		return;
	fake->ring = NULL;
	fake_requests_end();
	fake_notices_end();
	for (uint32_t i = 0; i < fake->fixed_count; i++)
		if (fake->fixed[i])
			fake_file_drop(fake->fixed[i] - 1);
	for (uint32_t i = 0; i < fake->late_count; i++)
		fake_file_drop(fake->late[i].file);
	fake_fd_close(ring->fd);
	ring->fd = -1;
	free(ring->sqes);
	free(ring->cqes);
	fake_ring_free(fake);
}

void fake_ring_free(struct fake_ring *fake)
{
	if (fake->ring) {
		free(fake->ring->sqes);
		free(fake->ring->cqes);
	}
	free(fake->fixed);
	free(fake->group_owned);
	free(fake->overflow);
	free(fake->late);
	free(fake);
}

void fake_abandon(void)
{
	fake_requests_abandon();
	fake_notices_begin();
	fake_files_abandon();
}

static int32_t wait_for_completion(struct fake_ring *fake, int64_t timeout_ns)
{
	uint32_t rounds = timeout_ns < 0 ? ROUNDS_FOR_EVER : ROUNDS_TO_DEADLINE;

	if (fake_chance(fake_chances.interrupt))
		return -EINTR;
	for (uint32_t i = 0; i < rounds; i++) {
		flush_overflow(fake);
		if (fake->cq_head != fake->cq_tail)
			return 0;
		fake_run(1);
	}
	flush_overflow(fake);
	if (fake->cq_head != fake->cq_tail)
		return 0;
	FAKE_RULE(timeout_ns >= 0); /* asleep for ever: an event or a wake-up was lost */
	fake_pass(timeout_ns);
	return -ETIME;
}

int32_t mp_ring_enter(struct mp_ring *ring, uint32_t wait, int64_t timeout_ns)
{
	struct fake_ring *fake = ring->backend;
	uint32_t pending = mp_ring_pending(ring), take = pending;
	int32_t result = 0;

	FAKE_RULE(!fake->disabled);
	if (wait && fake_on_wait)
		fake_on_wait();
	fake->sq_tail = ring->tail;
	flush_overflow(fake);
	look_at_buffers(fake);
	if (enter_failure.count) {
		enter_failure.count--;
		return enter_failure.error;
	}
	if (pending && fake_chance(fake_chances.refuse))
		return fake_chance(500) ? -EAGAIN : -ENOMEM; /* ENOMEM: of what the kernel keeps of a thread */
	if (pending > 1 && fake_chance(fake_chances.partial))
		take = 1 + fake_below(pending - 1);
	for (uint32_t i = 0; i < take; i++) {
		struct io_uring_sqe sqe = ring->sqes[fake->sq_head & ring->sq_mask];

		fake->sq_head++;
		fake_submit(fake, &sqe);
	}
	ring->submitted += take;
	fake_run(fake_below(3));
	if (fake->sq_flags & IORING_SQ_TASKRUN)
		fake_run(1);
	fake->sq_flags &= ~IORING_SQ_TASKRUN;
	FAKE_RULE(wait <= 1); /* more than one would be waited for, for ever */
	if (wait && take == pending)
		result = wait_for_completion(fake, timeout_ns);
	flush_overflow(fake);
	return take ? (int32_t)take : result;
}

int32_t mp_ring_wait(struct mp_ring *ring, int64_t timeout_ns)
{
	look_at_buffers(ring->backend);
	fake_waits++;
	return wait_for_completion(ring->backend, timeout_ns);
}

int32_t mp_ring_check(struct mp_ring *ring)
{
	const struct fake_ring *fake = ring->backend;

	return fake->disabled ? -EBADFD : 0;
}

int32_t mp_ring_start(struct mp_ring *ring, const struct io_uring_restriction *list, uint32_t count)
{
	struct fake_ring *fake = ring->backend;

	FAKE_RULE(fake->disabled && !fake->restricted);
	for (uint32_t i = 0; i < count; i++) {
		if (list[i].opcode == IORING_RESTRICTION_SQE_OP)
			fake->allowed[list[i].sqe_op] = 1;
		else if (list[i].opcode == IORING_RESTRICTION_SQE_FLAGS_ALLOWED)
			fake->allowed_flags = list[i].sqe_flags;
		else
			FAKE_RULE(list[i].opcode == IORING_RESTRICTION_REGISTER_OP &&
				  list[i].register_op == IORING_REGISTER_ENABLE_RINGS);
	}
	fake->restricted = true;
	fake->disabled = false;
	return 0;
}

bool mp_ring_releases_at_once(void)
{
	return !fake_releases_late;
}

int32_t mp_ring_register_files(struct mp_ring *ring, uint32_t count)
{
	struct fake_ring *fake = ring->backend;

	if (fake->restricted)
		return -EACCES;
	fake->fixed = calloc(count, sizeof *fake->fixed);
	fake->fixed_count = count;
	return fake->fixed ? 0 : -ENOMEM;
}

int32_t mp_ring_register_buffers(struct mp_ring *ring, struct io_uring_buf_ring *buffers, uint32_t entries)
{
	struct fake_ring *fake = ring->backend;

	if (fake->restricted)
		return -EACCES;
	fake->group = buffers;
	fake->group_entries = entries;
	fake->group_owned = calloc(entries, 1);
	return fake->group_owned ? 0 : -ENOMEM;
}

int32_t mp_ring_register_busy_poll(struct mp_ring *ring, uint32_t busy_poll_us)
{
	if (((struct fake_ring *)ring->backend)->restricted)
		return -EACCES;
	fake_busy_poll_us = busy_poll_us;
	return fake_busy_poll;
}

int32_t mp_ring_post(struct mp_ring *ring, uint64_t token)
{
	if (post_failure.count) {
		post_failure.count--;
		return post_failure.error;
	}
	fake_post(ring->backend, token, 0, 0);
	return 0;
}
