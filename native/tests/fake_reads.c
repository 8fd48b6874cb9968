/* Reads that do not go on by themselves: one piece into the channel's buffers (mp_read_one), and what a socket holds
 * into the caller's (mp_read_now). The fake kernel checks that memory which it owns is left alone. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>

#include "fake_kernel_rig.h"

static struct rig_link send_bytes(uint32_t bytes)
{
	static uint8_t data[FAKE_INBOX_BYTES];
	struct rig_link link = pair(false);

	fill_pattern(data, bytes, 0);
	if (bytes)
		CHECK_EQUAL(bytes, fake_peer_send((uint32_t)link.peer, data, bytes));
	return link;
}

static struct mp_event read_event(const struct rig_link *link)
{
	return rig_take(&rig, link->handle, MP_STAGE_READ);
}

static void stop(const struct rig_link *link)
{
	rig_turn(&rig);
	CHECK_EQUAL(0, mp_read_pause(rig.channel, link->handle));
	CHECK_EQUAL(-ECANCELED, read_event(link).result);
}

static void one_piece_then_the_rest_is_taken_without_waiting(void)
{
	static uint8_t buffer[FAKE_INBOX_BYTES];
	struct rig_link link;
	struct mp_event event;
	uint32_t first;

	begin();
	link = send_bytes(sizeof buffer);
	CHECK_EQUAL(0, mp_read_one(rig.channel, link.handle));
	CHECK_EQUAL(-EBUSY, mp_read_now(rig.channel, link.handle, buffer, sizeof buffer));
	event = read_event(&link);
	CHECK_EQUAL(MP_EVENT_LEASED | MP_EVENT_REST, event.flags);
	first = (uint32_t)event.result;
	CHECK(pattern_is((const void *)(uintptr_t)event.data, first, 0));
	CHECK_EQUAL(0, mp_release(rig.channel, event.lease));

	/* Nothing is armed: the rest stays where it is. */
	rig_turn(&rig);
	CHECK_EQUAL(0, rig_counters(&rig).in_flight);
	CHECK_EQUAL(0, mp_read_now(rig.channel, link.handle, buffer, 10));
	event = read_event(&link);
	CHECK_EQUAL(10, event.result);
	CHECK_EQUAL(MP_EVENT_REST, event.flags);
	CHECK(pattern_is(buffer, 10, first));
	CHECK_EQUAL(0, mp_read_now(rig.channel, link.handle, buffer, sizeof buffer));
	event = read_event(&link);
	CHECK_EQUAL(sizeof buffer - first - 10, event.result);
	CHECK_EQUAL(0, event.flags);
	CHECK(pattern_is(buffer, (uint32_t)event.result, first + 10));
	unlink_pair(&link);
	end();
}

static void nothing_there_is_told_at_once(void)
{
	uint8_t byte = 7;
	struct rig_link link;

	begin();
	link = send_bytes(0);
	CHECK_EQUAL(0, mp_read_now(rig.channel, link.handle, &byte, 1));
	CHECK_EQUAL(-EAGAIN, read_event(&link).result);
	CHECK_EQUAL(7, byte);
	CHECK_EQUAL(0, rig_counters(&rig).in_flight);

	/* The handle goes on, as after a pause. */
	CHECK_EQUAL(0, mp_read_start(rig.channel, link.handle));
	stop(&link);
	unlink_pair(&link);
	end();
}

static void the_end_is_told_by_either(void)
{
	uint8_t byte;
	struct rig_link link;

	for (uint32_t one = 0; one < 2; one++) {
		begin();
		link = send_bytes(0);
		fake_peer_shutdown((uint32_t)link.peer);
		CHECK_EQUAL(0, one ? mp_read_one(rig.channel, link.handle) :
				     mp_read_now(rig.channel, link.handle, &byte, 1));
		CHECK_EQUAL(0, read_event(&link).result);
		unlink_pair(&link);
		end();
	}
}

static void pause_stops_one(void)
{
	struct rig_link link;

	begin();
	link = send_bytes(0);
	CHECK_EQUAL(0, mp_read_one(rig.channel, link.handle));
	stop(&link);
	CHECK_EQUAL(-EALREADY, mp_read_pause(rig.channel, link.handle));
	unlink_pair(&link);
	end();
}

/* Between two reads nothing would tell the end: the poll for it does. */
static void an_end_between_two_reads_is_told(void)
{
	struct rig_link link;
	struct mp_event event;

	begin();
	link = send_bytes(1);
	CHECK_EQUAL(0, mp_read_one(rig.channel, link.handle));
	event = read_event(&link);
	CHECK_EQUAL(1, event.result);
	CHECK_EQUAL(0, mp_release(rig.channel, event.lease));
	fake_peer_shutdown((uint32_t)link.peer);
	fake_pass(1000000000);
	event = read_event(&link);
	CHECK_EQUAL(MP_EVENT_HANGUP, event.flags);
	unlink_pair(&link);
	end();
}

/* The buffer comes back before the handle is gone, whatever else happens. */
static void close_waits_for_the_memory(void)
{
	static uint8_t buffer[100];
	struct rig_link link;
	struct mp_event event;

	for (uint32_t sent = 0; sent < 2; sent++) {
		begin();
		link = send_bytes(sent * 50);
		CHECK_EQUAL(0, mp_read_now(rig.channel, link.handle, buffer, sizeof buffer));
		CHECK_EQUAL(0, mp_close(rig.channel, link.handle, MP_CLOSE_ABORT));
		event = read_event(&link);
		CHECK(event.result == 50 || event.result == -ECANCELED || event.result == -ECONNRESET ||
		      event.result == -ENOTCONN);
		CHECK_EQUAL(MP_EVENT_RETIRED, rig_take(&rig, link.handle, MP_STAGE_CLOSE).flags);
		fake_peer_close((uint32_t)link.peer);
		end();
	}
}

static void without_a_buffer_one_waits(void)
{
	struct rig_link link;
	struct mp_event event;

	begin();
	link = send_bytes(1);
	fake_fail(IORING_OP_RECV, -ENOBUFS, 1);
	CHECK_EQUAL(0, mp_read_one(rig.channel, link.handle));
	event = read_event(&link);
	CHECK_EQUAL(1, event.result);
	CHECK_EQUAL(MP_EVENT_LEASED, event.flags);
	CHECK_EQUAL(0, mp_release(rig.channel, event.lease));
	unlink_pair(&link);
	end();
}

static void misuse_is_an_error(void)
{
	uint8_t byte;
	struct rig_link link;

	begin();
	link = send_bytes(0);
	CHECK_EQUAL(-EBADF, mp_read_now(rig.channel, link.handle + 1, &byte, 1));
	CHECK_EQUAL(-EBADF, mp_read_one(rig.channel, link.handle + 1));
	CHECK_EQUAL(-EINVAL, mp_read_now(rig.channel, link.handle, NULL, 1));
	CHECK_EQUAL(-EINVAL, mp_read_now(rig.channel, link.handle, &byte, 0));
	CHECK_EQUAL(0, mp_read_one(rig.channel, link.handle));
	CHECK_EQUAL(-EBUSY, mp_read_one(rig.channel, link.handle));
	CHECK_EQUAL(-EBUSY, mp_read_start(rig.channel, link.handle));
	stop(&link);
	unlink_pair(&link);
	end();
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		TEST(one_piece_then_the_rest_is_taken_without_waiting),
		TEST(nothing_there_is_told_at_once),
		TEST(the_end_is_told_by_either),
		TEST(pause_stops_one),
		TEST(an_end_between_two_reads_is_told),
		TEST(close_waits_for_the_memory),
		TEST(without_a_buffer_one_waits),
		TEST(misuse_is_an_error),
	};

	return RUN_TESTS(tests, argc, argv);
}
