/* Receive buffers: a receive that fills several, and how many go round. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>

#include "channel.h"
#include "fake_kernel_rig.h"

/* As begin(), with buffers of its own size. */
static void begin_with_buffers(uint32_t count, uint32_t bytes)
{
	struct mp_config config = rig_config(0);

	config.buffer_count = count;
	config.buffer_bytes = bytes;
	fake_begin(1, NULL);
	rig_open(&rig, &config);
}

/* Takes so many bytes, as many events as they come in. */
static void receive(const struct rig_link *link, int32_t bytes)
{
	while (bytes > 0) {
		struct mp_event event = rig_take(&rig, link->handle, MP_STAGE_READ);

		CHECK(event.result > 0);
		bytes -= event.result;
		CHECK_EQUAL(0, mp_release(rig.channel, event.lease));
	}
	CHECK_EQUAL(0, bytes);
}

static void stop_reading(const struct rig_link *link)
{
	CHECK_EQUAL(0, mp_read_pause(rig.channel, link->handle));
	CHECK_EQUAL(-ECANCELED, rig_take(&rig, link->handle, MP_STAGE_READ).result);
}

/* A connection, with 16 buffers of 3 bytes, that has filled so many that several are filled at a time. */
static struct rig_link stream(void)
{
	struct rig_link link;

	begin_with_buffers(16, 3);
	link = pair(false);
	CHECK_EQUAL(0, mp_read_start(rig.channel, link.handle));
	for (uint32_t i = 0; i < MP_SHORT_RUN_BUFFERS; i++) {
		say(&link, "abc");
		receive(&link, 3);
	}
	CHECK(mp_flush(rig.channel) >= 0);
	return link;
}

/* An event for each buffer, in the order in which the ring had them; also where the events are taken one at a time and
 * the leases come back in between, the second of two before the first. */
static void receive_of_several_buffers_is_told_in_order(void)
{
	static const char text[] = "0123456789abcdefghijklmnopqrstuvwxyz";
	struct rig_link link;
	uint32_t first = UINT32_MAX;

	link = stream();
	for (uint32_t round = 0; round < 50; round++) {
		uint32_t at = 0;

		say(&link, text);
		while (at < sizeof text - 1) {
			struct mp_event event;

			CHECK_EQUAL(1, mp_dispatch(rig.channel, &event, 1, -1));
			CHECK_EQUAL(MP_EVENT_LEASED | MP_EVENT_MORE, event.flags);
			CHECK(!memcmp((const void *)(uintptr_t)event.data, text + at, (size_t)event.result));
			at += (uint32_t)event.result;
			if (first == UINT32_MAX) {
				first = event.lease;
				continue;
			}
			CHECK_EQUAL(0, mp_release(rig.channel, event.lease));
			CHECK_EQUAL(0, mp_release(rig.channel, first));
			first = UINT32_MAX;
		}
	}
	if (first != UINT32_MAX)
		CHECK_EQUAL(0, mp_release(rig.channel, first));
	CHECK(fake_bundles > 0);
	CHECK_EQUAL(0, rig_counters(&rig).leases_out);
	stop_reading(&link);
	unlink_pair(&link);
	end();
}

/* A pause in the middle of such a receive: all of it is told, then the pause. */
static void pause_between_the_buffers_of_a_receive_loses_none(void)
{
	struct rig_link link;
	char text[9];

	link = stream();
	say(&link, "abcdefghi");
	for (uint32_t at = 0; at < sizeof text;) {
		struct mp_event event;

		CHECK_EQUAL(1, mp_dispatch(rig.channel, &event, 1, -1));
		memcpy(text + at, (const void *)(uintptr_t)event.data, (size_t)event.result);
		if (!at)
			CHECK_EQUAL(0, mp_read_pause(rig.channel, link.handle));
		at += (uint32_t)event.result;
		CHECK_EQUAL(0, mp_release(rig.channel, event.lease));
	}
	CHECK(!memcmp(text, "abcdefghi", sizeof text));
	CHECK_EQUAL(1, fake_bundles);
	CHECK_EQUAL(-ECANCELED, rig_take(&rig, link.handle, MP_STAGE_READ).result);
	unlink_pair(&link);
	end();
}

/* Who fills no buffer gets one at a time, however long it lasts; who does gets several at a time from its next run. */
static void only_a_stream_is_received_into_several_buffers(void)
{
	struct rig_link link;

	begin_with_buffers(16, 4);
	link = pair(false);
	CHECK_EQUAL(0, mp_read_start(rig.channel, link.handle));
	for (uint32_t i = 0; i < 8 * MP_SHORT_RUN_BUFFERS; i++) {
		say(&link, "abc");
		receive(&link, 3);
	}
	CHECK(rig_counters(&rig).rearms >= 4);
	CHECK_EQUAL(0, fake_bundles);
	for (uint32_t i = 0; i < 2 * MP_SHORT_RUN_BUFFERS; i++) {
		say(&link, "abcdefgh");
		receive(&link, 8);
	}
	CHECK(fake_bundles > 0);
	stop_reading(&link);
	unlink_pair(&link);
	end();
}

/* What a receive for nobody had filled goes back, all of it. */
static void several_buffers_of_a_stale_completion_come_back(void)
{
	struct io_uring_cqe completion = { .res = 3 * 3 + 1 };
	uint8_t *address;
	uint32_t bytes;

	begin_with_buffers(16, 3);
	CHECK(mp_flush(rig.channel) >= 0);
	for (uint32_t i = 0; i < 4; i++) {
		int32_t number = fake_buffer_take(rig.channel->ring.backend, &address, &bytes);

		CHECK(number >= 0);
		if (i == 0)
			completion.flags = IORING_CQE_F_BUFFER | (uint32_t)number << IORING_CQE_BUFFER_SHIFT;
	}
	mp_read_stale(rig.channel, &completion);
	CHECK_EQUAL(0, rig.channel->buffers.out);
	CHECK_EQUAL(16 + 4, rig.channel->buffers.tail);
	end();
}

/* Few go round until the kernel finds none; then more do, and nobody waits for a lease. */
static void buffers_come_into_use_when_they_are_needed(void)
{
	static struct mp_event held[MP_BUFFERS_FIRST * 3];
	const struct mp_buffers *buffers;
	struct rig_link link;

	begin_with_buffers(MP_BUFFERS_FIRST * 4, 1);
	buffers = &rig.channel->buffers;
	link = pair(false);
	CHECK_EQUAL(0, mp_read_start(rig.channel, link.handle));
	for (uint32_t i = 0; i < COUNT_OF(held); i++) {
		say(&link, "x");
		held[i] = rig_take(&rig, link.handle, MP_STAGE_READ);
		CHECK_EQUAL(1, held[i].result);
		CHECK(buffers->used <= (i < MP_BUFFERS_FIRST     ? 2 :
					i < MP_BUFFERS_FIRST * 2 ? 4 :
								   8) *
					       MP_BUFFERS_FIRST);
		if (i + 1 < MP_BUFFERS_FIRST)
			CHECK_EQUAL(MP_BUFFERS_FIRST, buffers->used);
	}
	CHECK_EQUAL(MP_BUFFERS_FIRST * 4, buffers->used);
	CHECK_EQUAL(0, rig_counters(&rig).buffers_starved);
	for (uint32_t i = 0; i < COUNT_OF(held); i++)
		CHECK_EQUAL(0, mp_release(rig.channel, held[i].lease));
	stop_reading(&link);
	unlink_pair(&link);
	end();
}

/* Many reads that find none at a time are one reason to double, not many. */
static void reads_that_find_no_buffer_together_double_them_once(void)
{
	begin_with_buffers(MP_BUFFERS_FIRST * 16, 1);
	for (uint32_t i = 0; i < 100; i++)
		CHECK(mp_buffers_grow(&rig.channel->buffers));
	CHECK_EQUAL(MP_BUFFERS_FIRST * 2, rig.channel->buffers.used);
	CHECK(mp_flush(rig.channel) >= 0);
	mp_buffers_publish(&rig.channel->buffers);
	CHECK(mp_buffers_grow(&rig.channel->buffers));
	CHECK_EQUAL(MP_BUFFERS_FIRST * 4, rig.channel->buffers.used);
	end();
}

/* What nobody has looked at yet is no reason for more, once there are many of them. */
static void buffers_stop_growing_far_ahead_of_the_caller(void)
{
	begin_with_buffers(MP_BUFFERS_AHEAD * 8, 1);
	for (uint32_t i = 0; i < 10; i++) {
		CHECK(mp_buffers_grow(&rig.channel->buffers));
		mp_buffers_publish(&rig.channel->buffers);
	}
	CHECK_EQUAL(MP_BUFFERS_AHEAD, rig.channel->buffers.used);
	for (uint32_t i = 0; i < 2; i++)
		mp_buffers_lease(&rig.channel->buffers, i);
	CHECK(mp_buffers_grow(&rig.channel->buffers));
	CHECK_EQUAL(MP_BUFFERS_AHEAD * 2, rig.channel->buffers.used);
	for (uint32_t i = 0; i < 2; i++)
		CHECK_EQUAL(0, mp_buffers_release(&rig.channel->buffers, i));
	CHECK(mp_flush(rig.channel) >= 0);
	end();
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		TEST(receive_of_several_buffers_is_told_in_order),
		TEST(pause_between_the_buffers_of_a_receive_loses_none),
		TEST(only_a_stream_is_received_into_several_buffers),
		TEST(several_buffers_of_a_stale_completion_come_back),
		TEST(buffers_stop_growing_far_ahead_of_the_caller),
		TEST(buffers_come_into_use_when_they_are_needed),
		TEST(reads_that_find_no_buffer_together_double_them_once),
	};

	return RUN_TESTS(tests, argc, argv);
}
