/* A leased read paused and resumed: nothing lost, one event says that it stopped. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "common_rig.h"

/* Takes the rest of the data and then the pause's end. Bytes taken. */
static uint32_t take_pause(struct rig *rig, mp_handle handle, uint64_t position)
{
	uint32_t bytes = 0;

	for (;;) {
		struct mp_event event = rig_take(rig, handle, MP_STAGE_READ);

		if (event.result == -ECANCELED) {
			CHECK_EQUAL(0, event.flags);
			return bytes;
		}
		CHECK(event.result > 0);
		CHECK_EQUAL(MP_EVENT_LEASED | MP_EVENT_MORE, event.flags & ~(uint32_t)MP_EVENT_REST);
		CHECK(pattern_is((void *)(uintptr_t)event.data, (uint32_t)event.result, position + bytes));
		CHECK_EQUAL(0, mp_release(rig->channel, event.lease));
		bytes += (uint32_t)event.result;
	}
}

static void pause_and_resume(struct rig *rig, struct rig_link *link)
{
	uint8_t data[600], back[600];
	uint64_t sent = 0, got = 0;

	for (int round = 0; round < 8; round++) {
		CHECK_EQUAL(0, mp_read_start(rig->channel, link->handle));
		CHECK_EQUAL(-EBUSY, mp_read_start(rig->channel, link->handle));
		CHECK_EQUAL(-EBUSY, mp_read(rig->channel, link->handle, back, 1));
		if (round & 1)
			rig_turn(rig);
		fill_pattern(data, sizeof data, sent);
		send_all(link->peer, data, sizeof data);
		sent += sizeof data;
		CHECK_EQUAL(0, mp_read_pause(rig->channel, link->handle));
		CHECK_EQUAL(-EALREADY, mp_read_pause(rig->channel, link->handle));
		got += take_pause(rig, link->handle, got);
		CHECK_EQUAL(-EALREADY, mp_read_pause(rig->channel, link->handle));
		rig_nothing(rig);
		/* What came in between waits for a plain read, or for the next leased one. */
		if (round & 2 && got < sent) {
			uint32_t rest = (uint32_t)(sent - got);

			rig_read(rig, link->handle, back, rest);
			CHECK(pattern_is(back, rest, got));
			got = sent;
		}
	}
	if (got < sent) {
		CHECK_EQUAL(0, mp_read_start(rig->channel, link->handle));
		rig_leased(rig, link->handle, back, (uint32_t)(sent - got));
		CHECK(pattern_is(back, (uint32_t)(sent - got), got));
		CHECK_EQUAL(0, mp_read_pause(rig->channel, link->handle));
		CHECK_EQUAL(0, take_pause(rig, link->handle, sent));
	}
}

static void pause_resume_loses_nothing(void)
{
	for (uint32_t flags = 0; flags <= MP_CONFIG_SINGLE_THREAD; flags++) {
		for (uint32_t lwsocket = 0; lwsocket <= MP_ACCEPT_LWSOCKET; lwsocket++) {
			struct mp_config config = rig_config(flags);
			struct rig_link link;
			struct rig rig;

			rig_open(&rig, &config);
			link = rig_link(&rig, AF_INET, lwsocket);
			pause_and_resume(&rig, &link);
			rig_unlink(&rig, &link, 0);
			rig_close(&rig);
		}
	}
}

static void pause_on_nonblocking_socket_stops(void)
{
	struct rig_link link;
	struct rig rig;
	int32_t fd;

	rig_open(&rig, NULL);
	link = rig_pair(&rig, &fd);
	CHECK_EQUAL(0, fcntl(fd, F_SETFL, O_NONBLOCK));
	pause_and_resume(&rig, &link);
	/* Idle: the channel polls for it. */
	CHECK_EQUAL(0, mp_read_start(rig.channel, link.handle));
	rig_nothing(&rig);
	CHECK_EQUAL(0, mp_read_pause(rig.channel, link.handle));
	CHECK_EQUAL(-ECANCELED, rig_take(&rig, link.handle, MP_STAGE_READ).result);
	rig_unlink(&rig, &link, 0);
	rig_close(&rig);
}

/* The EAGAIN of a non-blocking socket was seen, and the poll that follows it not made yet. */
static void pause_before_poll_is_made_stops(void)
{
	struct rig_link idle, busy;
	struct mp_event event;
	struct rig rig;
	int32_t fd, other;

	rig_open(&rig, NULL);
	idle = rig_pair(&rig, &fd);
	busy = rig_pair(&rig, &other);
	CHECK_EQUAL(0, fcntl(fd, F_SETFL, O_NONBLOCK));
	send_all(busy.peer, "x", 1);
	CHECK_EQUAL(0, mp_read_start(rig.channel, idle.handle));
	CHECK_EQUAL(0, mp_read_start(rig.channel, busy.handle));
	CHECK_EQUAL(1, mp_dispatch(rig.channel, &event, 1, -1));
	CHECK_EQUAL(busy.handle, event.handle);
	CHECK_EQUAL(0, mp_release(rig.channel, event.lease));
	CHECK_EQUAL(0, mp_read_pause(rig.channel, idle.handle));
	CHECK_EQUAL(-ECANCELED, rig_take(&rig, idle.handle, MP_STAGE_READ).result);
	CHECK_EQUAL(0, mp_read_pause(rig.channel, busy.handle));
	CHECK_EQUAL(-ECANCELED, rig_take(&rig, busy.handle, MP_STAGE_READ).result);
	rig_unlink(&rig, &idle, 0);
	rig_unlink(&rig, &busy, 0);
	rig_close(&rig);
}

static void pause_then_close_brings_one_end(void)
{
	struct mp_event event;
	struct rig_link link;
	struct rig rig;

	rig_open(&rig, NULL);
	link = rig_link(&rig, AF_INET, 0);
	CHECK_EQUAL(0, mp_read_start(rig.channel, link.handle));
	rig_turn(&rig);
	CHECK_EQUAL(0, mp_read_pause(rig.channel, link.handle));
	CHECK_EQUAL(0, mp_close(rig.channel, link.handle, 0));
	event = rig_take(&rig, link.handle, MP_STAGE_READ);
	CHECK_EQUAL(-ECANCELED, event.result);
	CHECK_EQUAL(MP_EVENT_RETIRED, rig_take(&rig, link.handle, MP_STAGE_CLOSE).flags);
	close(link.peer);
	rig_close(&rig);
}

static void pause_at_end_of_stream_tells_the_end_or_the_pause(void)
{
	struct mp_event event;
	struct rig_link link;
	struct rig rig;

	rig_open(&rig, NULL);
	link = rig_link(&rig, AF_INET, 0);
	CHECK_EQUAL(0, mp_read_start(rig.channel, link.handle));
	rig_turn(&rig);
	CHECK_EQUAL(0, shutdown(link.peer, SHUT_WR));
	CHECK_EQUAL(0, mp_read_pause(rig.channel, link.handle));
	event = rig_take(&rig, link.handle, MP_STAGE_READ);
	CHECK(event.result == 0 || event.result == -ECANCELED);
	CHECK_EQUAL(0, event.flags);
	rig_nothing(&rig);
	rig_unlink(&rig, &link, 0);
	rig_close(&rig);
}

static void pause_without_leased_read_is_already_so(void)
{
	struct rig_link link;
	struct rig rig;
	char byte;

	rig_open(&rig, NULL);
	link = rig_link(&rig, AF_INET, 0);
	CHECK_EQUAL(-EALREADY, mp_read_pause(rig.channel, link.handle));
	CHECK_EQUAL(-EBADF, mp_read_pause(rig.channel, 4711));
	CHECK_EQUAL(0, mp_read(rig.channel, link.handle, &byte, 1));
	CHECK_EQUAL(-EALREADY, mp_read_pause(rig.channel, link.handle));
	send_all(link.peer, "x", 1);
	CHECK_EQUAL(1, rig_take(&rig, link.handle, MP_STAGE_READ).result);
	rig_unlink(&rig, &link, 0);
	rig_close(&rig);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		TEST(pause_resume_loses_nothing),
		TEST(pause_on_nonblocking_socket_stops),
		TEST(pause_before_poll_is_made_stops),
		TEST(pause_then_close_brings_one_end),
		TEST(pause_at_end_of_stream_tells_the_end_or_the_pause),
		TEST(pause_without_leased_read_is_already_so),
	};

	return RUN_TESTS(tests, argc, argv);
}
