/* An end that the leased read has missed: found by the poll for it, once, at every state of the read. */
#define _GNU_SOURCE
#include <errno.h>

#include "fake_kernel_rig.h"
#include "os.h"

#define SECOND_NS 1000000000

/* Data and the end behind it, of which the read takes the data only. */
static void lose_end(const struct rig_link *link, bool reset)
{
	char text[2];

	fake_chances.lose_end = 1000;
	CHECK_EQUAL(0, mp_read_start(rig.channel, link->handle));
	CHECK(mp_flush(rig.channel) >= 0);
	fake_run(1);
	say(link, "ok");
	if (reset)
		fake_peer_reset((uint32_t)link->peer);
	else
		fake_peer_shutdown((uint32_t)link->peer);
	rig_leased(&rig, link->handle, text, 2);
	rig_nothing(&rig);
}

static void lost_end_is_found_and_told_once(void)
{
	for (int reset = 0; reset < 2; reset++) {
		struct rig_link link;
		struct mp_event event;

		begin();
		link = pair(false);
		lose_end(&link, reset);
		event = rig_take(&rig, link.handle, MP_STAGE_READ);
		CHECK_EQUAL(reset ? -ECONNRESET : 0, event.result);
		CHECK_EQUAL(0, event.flags);
		CHECK_EQUAL(1, rig_counters(&rig).ends_found);
		fake_pass(SECOND_NS);
		rig_nothing(&rig);
		unlink_pair(&link);
		end();
	}
}

static void end_that_is_not_lost_needs_no_second_look(void)
{
	struct rig_link link;

	begin();
	link = pair(false);
	CHECK_EQUAL(0, mp_read_start(rig.channel, link.handle));
	fake_pass(SECOND_NS);
	rig_nothing(&rig);
	CHECK_EQUAL(2, rig_counters(&rig).in_flight); /* the read, and the poll for its end */
	fake_peer_shutdown((uint32_t)link.peer);
	CHECK_EQUAL(0, rig_take(&rig, link.handle, MP_STAGE_READ).result);
	CHECK_EQUAL(0, rig_counters(&rig).ends_found);
	rig_nothing(&rig);
	unlink_pair(&link);
	end();
}

static void close_while_the_poll_is_awaited_made_or_answered_retires(void)
{
	for (uint32_t step = 0; step < 5; step++) {
		struct rig_link link;

		begin();
		link = pair(false);
		if (step == 4)
			lose_end(&link, false);
		else
			CHECK_EQUAL(0, mp_read_start(rig.channel, link.handle));
		fake_pass(step ? SECOND_NS : 0);
		if (step == 2 || step == 4)
			rig_turn(&rig);
		if (step == 3)
			CHECK(mp_flush(rig.channel) >= 0);
		CHECK_EQUAL(0, mp_close(rig.channel, link.handle, 0));
		CHECK(rig_take(&rig, link.handle, MP_STAGE_READ).result <= 0);
		CHECK_EQUAL(MP_EVENT_RETIRED, rig_take(&rig, link.handle, MP_STAGE_CLOSE).flags);
		fake_peer_close((uint32_t)link.peer);
		end();
	}
}

static void pause(const struct rig_link *link)
{
	CHECK_EQUAL(0, mp_read_pause(rig.channel, link->handle));
	CHECK_EQUAL(-ECANCELED, rig_take(&rig, link->handle, MP_STAGE_READ).result);
}

static void end_while_paused_is_an_event_of_its_own(void)
{
	for (int reset = 0; reset < 2; reset++) {
		struct rig_link link;
		struct mp_event event;

		begin();
		link = pair(false);
		CHECK_EQUAL(0, mp_read_start(rig.channel, link.handle));
		pause(&link);
		fake_pass(SECOND_NS);
		rig_nothing(&rig);
		if (reset)
			fake_peer_reset((uint32_t)link.peer);
		else
			fake_peer_shutdown((uint32_t)link.peer);
		event = rig_take(&rig, link.handle, MP_STAGE_READ);
		CHECK_EQUAL(MP_EVENT_HANGUP, event.flags);
		CHECK_EQUAL(reset ? -ECONNRESET : 0, event.result);
		fake_pass(SECOND_NS);
		rig_nothing(&rig);
		CHECK_EQUAL(0, mp_read_start(rig.channel, link.handle));
		event = rig_take(&rig, link.handle, MP_STAGE_READ);
		CHECK_EQUAL(0, event.flags);
		CHECK_EQUAL(reset ? -ECONNRESET : 0, event.result);
		unlink_pair(&link);
		end();
	}
}

/* The poll dies with the thread that made it: made again, and the read is not disturbed. */
static void poll_cancelled_by_nobody_is_made_again(void)
{
	struct rig_link link;

	begin();
	link = pair(false);
	CHECK_EQUAL(0, mp_read_start(rig.channel, link.handle));
	fake_pass(SECOND_NS);
	fake_fail(IORING_OP_POLL_ADD, -ECANCELED, 1);
	rig_nothing(&rig);
	CHECK_EQUAL(1, rig_counters(&rig).in_flight);
	fake_pass(SECOND_NS);
	rig_nothing(&rig);
	CHECK_EQUAL(2, rig_counters(&rig).in_flight);
	CHECK_EQUAL(0, rig_counters(&rig).rearms);
	pause(&link);
	unlink_pair(&link);
	end();
}

/* The poll looked at its socket when it was to be cancelled, and waits on. */
static void cancel_that_misses_the_poll_is_made_again(void)
{
	struct rig_link link;

	begin();
	link = pair(false);
	CHECK_EQUAL(0, mp_read_start(rig.channel, link.handle));
	pause(&link);
	fake_pass(SECOND_NS);
	rig_nothing(&rig);
	CHECK_EQUAL(1, rig_counters(&rig).in_flight);
	fake_fail(IORING_OP_ASYNC_CANCEL, -ENOENT, 1);
	unlink_pair(&link);
	end();
}

/* The poll is the library's: it does not keep a connection from another channel, and tells nothing on its way there. */
static void transfer_with_the_poll_in_flight_goes_on(void)
{
	struct mp_config config = rig_config(0);
	struct mp_channel *target;
	struct rig_link link;
	struct mp_event event;
	int32_t fd;

	begin();
	CHECK_EQUAL(0, mp_create(&config, &target));
	link = pair(false);
	fd = mp_peek_fd(rig.channel, link.handle);
	CHECK_EQUAL(0, mp_read_start(rig.channel, link.handle));
	pause(&link);
	fake_pass(SECOND_NS);
	rig_nothing(&rig);
	CHECK_EQUAL(1, rig_counters(&rig).in_flight);
	CHECK_EQUAL(0, mp_transfer(rig.channel, link.handle, target, 5));
	fake_peer_shutdown((uint32_t)link.peer);
	fake_run(1);
	CHECK(mp_flush(rig.channel) >= 0);
	event = rig_take(&rig, link.handle, MP_STAGE_CLOSE);
	CHECK_EQUAL(MP_EVENT_RETIRED | MP_EVENT_GIVEN, event.flags);
	rig_nothing(&rig);
	CHECK_EQUAL(1, mp_dispatch(target, &event, 1, -1));
	CHECK_EQUAL(5, event.cookie);
	CHECK_EQUAL(0, mp_read_start(target, event.handle));
	CHECK_EQUAL(1, mp_dispatch(target, &event, 1, -1));
	CHECK_EQUAL(0, event.result);
	CHECK_EQUAL(0, event.flags);
	mp_destroy(target);
	mp_os_close(fd); /* the caller's, also after the transfer */
	fake_peer_close((uint32_t)link.peer);
	end();
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		TEST(lost_end_is_found_and_told_once),
		TEST(end_that_is_not_lost_needs_no_second_look),
		TEST(close_while_the_poll_is_awaited_made_or_answered_retires),
		TEST(end_while_paused_is_an_event_of_its_own),
		TEST(poll_cancelled_by_nobody_is_made_again),
		TEST(cancel_that_misses_the_poll_is_made_again),
		TEST(transfer_with_the_poll_in_flight_goes_on),
	};

	return RUN_TESTS(tests, argc, argv);
}
