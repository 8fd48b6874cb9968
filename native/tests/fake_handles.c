/* Handles and completions of the past: a number that has wrapped round is still a handle, and what belongs to a retired
 * one is dropped without harm to whoever has its place now. */
#define _GNU_SOURCE
#include <errno.h>

#include "channel.h"
#include "fake_kernel_rig.h"

static void handle_after_the_last_generation_is_positive(void)
{
	struct mp_handles handles;
	uint32_t index;
	mp_handle handle;

	CHECK_EQUAL(0, mp_handles_open(&handles, 2));
	index = mp_handles_take(&handles);
	handles.slots[index].generation = MP_GENERATION_MASK;
	mp_handles_retire(&handles, index);
	CHECK_EQUAL(index, mp_handles_take(&handles));
	CHECK_EQUAL(1, handles.slots[index].generation);
	handles.slots[index].state = MP_SLOT_OPEN;
	handle = (mp_handle)mp_token(0, handles.slots[index].generation, index);
	CHECK(handle > 0);
	CHECK(mp_handles_open_slot(&handles, handle) == &handles.slots[index]);
	mp_handles_retire(&handles, index);
	mp_handles_close(&handles);
}

/* The handles of a connection that has gone and of one in its place. */
static mp_handle replace(struct rig_link *now)
{
	struct rig_link before = pair(false);
	mp_handle old = before.handle;

	unlink_pair(&before);
	*now = pair(false);
	CHECK_EQUAL(mp_token_index((uint64_t)old), mp_token_index((uint64_t)now->handle));
	CHECK(old != now->handle);
	return old;
}

static uint64_t token_of(mp_handle handle, uint32_t op)
{
	return (uint64_t)handle | (uint64_t)op << MP_OP_SHIFT;
}

/* As `end` of the rig, which would not have stale events. */
static void end_after_stale_events(uint64_t count)
{
	rig_nothing(&rig);
	CHECK_EQUAL(count, rig_counters(&rig).stale_events);
	CHECK_EQUAL(0, rig_counters(&rig).handles_live);
	CHECK_EQUAL(0, rig_counters(&rig).in_flight);
	mp_destroy(rig.channel);
	fake_end();
}

static void stale_completion_leaves_the_next_handle_alone(void)
{
	struct rig_link link;
	mp_handle old;
	char text[2];

	begin();
	old = replace(&link);
	CHECK_EQUAL(0, mp_read(rig.channel, link.handle, text, 2));
	rig_turn(&rig);
	fake_inject(&rig.channel->ring, token_of(old, MP_TOKEN_READ), 2, 0);
	rig_nothing(&rig);
	CHECK_EQUAL(1, rig_counters(&rig).stale_events);
	say(&link, "ok");
	CHECK_EQUAL(2, rig_take(&rig, link.handle, MP_STAGE_READ).result);
	unlink_pair(&link);
	end_after_stale_events(1);
}

static void stale_completion_gives_its_buffer_back(void)
{
	struct rig_link link;
	mp_handle old;

	begin();
	old = replace(&link);
	/* More often than there are buffers. */
	for (uint32_t i = 0; i < 40; i++) {
		uint8_t *address;
		uint32_t bytes;
		int32_t lease = fake_buffer_take(rig.channel->ring.backend, &address, &bytes);

		CHECK(lease >= 0);
		fake_inject(&rig.channel->ring, token_of(old, MP_TOKEN_LEASED), 1,
			    IORING_CQE_F_BUFFER | (uint32_t)lease << IORING_CQE_BUFFER_SHIFT);
		rig_nothing(&rig);
		(void)mp_batch_enter(rig.channel, 0, 0); /* publishes */
	}
	unlink_pair(&link);
	end_after_stale_events(40);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		TEST(handle_after_the_last_generation_is_positive),
		TEST(stale_completion_leaves_the_next_handle_alone),
		TEST(stale_completion_gives_its_buffer_back),
	};

	return RUN_TESTS(tests, argc, argv);
}
