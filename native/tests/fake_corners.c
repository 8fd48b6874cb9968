/* Corners that the real kernel reaches rarely, each from a defect that was there once, and an enter that fails. */
#define _GNU_SOURCE
#include <errno.h>

#include "fake_kernel_rig.h"

static void enter_refused_is_tried_again(void)
{
	static const int32_t errors[] = { EAGAIN, EBUSY, ENOMEM };

	for (uint32_t i = 0; i < COUNT_OF(errors); i++) {
		struct rig_link link;
		char text[2];

		begin();
		link = pair(false);
		fake_fail_enter(-errors[i], 5);
		say(&link, "ok");
		rig_read(&rig, link.handle, text, 2);
		rig_write(&rig, link.handle, text, 2);
		unlink_pair(&link);
		end();
	}
}

/* A thread's first enter needs memory that is not there: what others armed still completes, and a wake-up ends the
 * sleep, as often as it is refused. */
static void enter_refused_to_a_thread_does_not_stop_the_channel(void)
{
	static const int32_t errors[] = { EAGAIN, EBUSY, ENOMEM };

	for (uint32_t i = 0; i < COUNT_OF(errors); i++) {
		struct rig_link link, other;
		struct mp_event event;
		char text[2];

		begin();
		link = pair(false);
		other = pair(false);
		CHECK_EQUAL(0, mp_read(rig.channel, link.handle, text, 2));
		CHECK(mp_flush(rig.channel) >= 0);
		fake_fail_enter(-errors[i], UINT32_MAX);
		CHECK_EQUAL(0, mp_write(rig.channel, other.handle, "no", 2));
		CHECK_EQUAL(-errors[i], mp_flush(rig.channel));
		say(&link, "ok");
		CHECK_EQUAL(2, rig_take(&rig, link.handle, MP_STAGE_READ).result);
		CHECK_EQUAL(0, mp_dispatch(rig.channel, &event, 1, 5000000));
		mp_wake(rig.channel);
		CHECK_EQUAL(0, mp_dispatch(rig.channel, &event, 1, -1));
		fake_fail_enter(0, 0);
		CHECK_EQUAL(2, rig_take(&rig, other.handle, MP_STAGE_WRITE).result);
		unlink_pair(&link);
		unlink_pair(&other);
		end();
	}
}

static void enter_broken_is_told(void)
{
	struct mp_event event;

	begin();
	fake_fail_enter(-EBADR, 1);
	CHECK_EQUAL(-EBADR, mp_dispatch(rig.channel, &event, 1, 1000));
	fake_fail_enter(-EINTR, 1);
	CHECK_EQUAL(0, mp_dispatch(rig.channel, &event, 1, -1));
	end();
}

/* The kernel ended the paused read with data: the next one is not taken for cancelled (schedule seed 12699). */
static void close_after_paused_read_ended_with_data_cancels_the_next(void)
{
	struct rig_link link;
	char text[2];

	begin();
	link = pair(false);
	fake_chances.end_multishot = 1000;
	CHECK_EQUAL(0, mp_read_start(rig.channel, link.handle));
	CHECK(mp_flush(rig.channel) >= 0);
	say(&link, "ok");
	fake_run(1);
	CHECK_EQUAL(0, mp_read_pause(rig.channel, link.handle));
	rig_leased(&rig, link.handle, text, 2);
	CHECK_EQUAL(-ECANCELED, rig_take(&rig, link.handle, MP_STAGE_READ).result);
	CHECK_EQUAL(0, mp_read_start(rig.channel, link.handle));
	CHECK_EQUAL(0, mp_close(rig.channel, link.handle, 0));
	CHECK_EQUAL(-ECANCELED, rig_take(&rig, link.handle, MP_STAGE_READ).result);
	CHECK_EQUAL(MP_EVENT_RETIRED, rig_take(&rig, link.handle, MP_STAGE_CLOSE).flags);
	fake_peer_close((uint32_t)link.peer);
	end();
}

/* The EAGAIN of a non-blocking socket was seen, and the poll that follows is owed: dispatch had no room for more. */
static void pause_before_the_poll_is_made_ends(void)
{
	struct rig_link idle, busy;
	struct mp_event event;

	begin();
	idle = pair(true);
	busy = pair(false);
	say(&busy, "x");
	CHECK_EQUAL(0, mp_read_start(rig.channel, idle.handle));
	CHECK_EQUAL(0, mp_read_start(rig.channel, busy.handle));
	CHECK(mp_flush(rig.channel) >= 0);
	CHECK_EQUAL(1, mp_dispatch(rig.channel, &event, 1, 0));
	CHECK_EQUAL(busy.handle, event.handle);
	CHECK_EQUAL(0, mp_release(rig.channel, event.lease));
	CHECK_EQUAL(0, mp_read_pause(rig.channel, idle.handle));
	CHECK_EQUAL(-ECANCELED, rig_take(&rig, idle.handle, MP_STAGE_READ).result);
	CHECK_EQUAL(0, mp_read_pause(rig.channel, busy.handle));
	CHECK_EQUAL(-ECANCELED, rig_take(&rig, busy.handle, MP_STAGE_READ).result);
	unlink_pair(&idle);
	unlink_pair(&busy);
	end();
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		TEST(enter_refused_is_tried_again),
		TEST(enter_refused_to_a_thread_does_not_stop_the_channel),
		TEST(enter_broken_is_told),
		TEST(close_after_paused_read_ended_with_data_cancels_the_next),
		TEST(pause_before_the_poll_is_made_ends),
	};

	return RUN_TESTS(tests, argc, argv);
}
