/* Corners that the real kernel reaches rarely, each from a defect that was there once, and an enter that fails. */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>

#include "channel.h"
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

/* The kernel has no memory for requests: the channel waits for completions meanwhile, and does not end or spin. */
static void enter_refused_waits_in_between(void)
{
	static const int32_t errors[] = { EAGAIN, EBUSY };

	for (uint32_t i = 0; i < COUNT_OF(errors); i++) {
		struct mp_event event;

		begin();
		fake_fail_enter(-errors[i], 1);
		mp_wake(rig.channel);
		CHECK_EQUAL(0, mp_dispatch(rig.channel, &event, 1, -1)); /* refused, and awake: it comes back */
		CHECK_EQUAL(0, fake_waits);
		fake_fail_enter(-errors[i], 5);
		CHECK_EQUAL(0, mp_dispatch(rig.channel, &event, 1, 1000000));
		CHECK(fake_waits >= 1);
		fake_fail_enter(0, 0);
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

/* Gives the cancels that are queued to a kernel that does not find what they should cancel. */
static void flush_cancels_that_miss(void)
{
	fake_chances.miss = 1000;
	CHECK(mp_flush(rig.channel) >= 0);
	fake_chances.miss = 0;
}

static void cancel_that_misses_is_made_again(void)
{
	static uint8_t data[2 * FAKE_INBOX_BYTES];
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = 80 };
	struct rig_link link;
	mp_handle listener, connecting;
	int32_t fd;
	char text[2];

	begin();
	link = pair(false);
	/* A pause, and a close with a read and a write. */
	CHECK_EQUAL(0, mp_read_start(rig.channel, link.handle));
	CHECK_EQUAL(0, mp_read_pause(rig.channel, link.handle));
	flush_cancels_that_miss();
	CHECK_EQUAL(-ECANCELED, rig_take(&rig, link.handle, MP_STAGE_READ).result);
	CHECK_EQUAL(0, mp_read(rig.channel, link.handle, text, 2));
	CHECK_EQUAL(0, mp_write(rig.channel, link.handle, data, sizeof data));
	CHECK_EQUAL(0, mp_close(rig.channel, link.handle, 0));
	flush_cancels_that_miss();
	CHECK_EQUAL(-ECANCELED, rig_take(&rig, link.handle, MP_STAGE_READ).result);
	CHECK_EQUAL(-ECANCELED, rig_take(&rig, link.handle, MP_STAGE_WRITE).result);
	CHECK_EQUAL(MP_EVENT_RETIRED, rig_take(&rig, link.handle, MP_STAGE_CLOSE).flags);
	fake_peer_close((uint32_t)link.peer);
	/* Accepts that are stopped, then closed. */
	fd = fake_listen(80, false);
	listener = mp_register(rig.channel, fd, 0, 0, 0);
	for (uint32_t round = 0; round < 2; round++) {
		CHECK_EQUAL(0, mp_accept(rig.channel, listener, 2, 0));
		if (round == 0)
			CHECK_EQUAL(0, mp_accept_stop(rig.channel, listener));
		else
			CHECK_EQUAL(0, mp_unregister(rig.channel, listener));
		fake_chances.miss = 1000; /* a stop is settled by dispatch */
		rig_turn(&rig);
		fake_chances.miss = 0;
		for (uint32_t i = 0; i < 2; i++)
			CHECK_EQUAL(-ECANCELED, rig_take(&rig, 0, MP_STAGE_ACCEPT).result);
	}
	CHECK_EQUAL(MP_EVENT_RETIRED, rig_take(&rig, listener, MP_STAGE_CLOSE).flags);
	/* A connect to a listener whose queue is full. */
	for (uint16_t i = 0; i < FAKE_BACKLOG; i++)
		fake_peer_close(fake_peer_connect(80, 100 + i));
	connecting = mp_connect(rig.channel, &address, sizeof address, 0, 0);
	CHECK(connecting > 0);
	CHECK_EQUAL(0, mp_close(rig.channel, connecting, 0));
	flush_cancels_that_miss();
	CHECK_EQUAL(-ECANCELED, rig_take(&rig, connecting, MP_STAGE_ACCEPT).result);
	CHECK_EQUAL(MP_EVENT_RETIRED, rig_take(&rig, connecting, MP_STAGE_CLOSE).flags);
	CHECK_EQUAL(0, fake_fd_close(fd));
	end();
}

static struct rig_link lwsocket(uint16_t port)
{
	int32_t fd = fake_listen(port, false);
	mp_handle listener = mp_register(rig.channel, fd, 0, 0, 0);
	struct rig_link link;

	CHECK_EQUAL(0, mp_accept(rig.channel, listener, 1, MP_ACCEPT_LWSOCKET));
	link.peer = (int32_t)fake_peer_connect(port, 5);
	link.handle = rig_take(&rig, 0, MP_STAGE_ACCEPT).handle;
	CHECK_EQUAL(0, mp_unregister(rig.channel, listener));
	rig_take(&rig, listener, MP_STAGE_CLOSE);
	CHECK_EQUAL(0, fake_fd_close(fd));
	return link;
}

static void close_and_see_the_end(struct rig *here, struct rig_link *link, uint32_t close_flags)
{
	uint8_t byte;

	CHECK_EQUAL(0, mp_close(here->channel, link->handle, close_flags));
	CHECK_EQUAL(MP_EVENT_RETIRED, rig_take(here, link->handle, MP_STAGE_CLOSE).flags);
	CHECK_EQUAL(close_flags ? -2 : -1, fake_peer_receive((uint32_t)link->peer, &byte, 1));
	fake_peer_close((uint32_t)link->peer);
}

/* More failures than the target's mailbox has entries: each gives its entry back. */
static void transfer_that_failed_frees_the_mailbox(void)
{
	struct rig_link link;
	struct rig other;

	begin();
	rig_open(&other, NULL);
	link = pair(false);
	for (uint32_t i = 0; i <= MP_MAILBOX_ENTRIES; i++) {
		fake_fail(IORING_OP_MSG_RING, -ENOMEM, 1);
		CHECK_EQUAL(0, mp_transfer(rig.channel, link.handle, other.channel, 0));
		CHECK_EQUAL(-ENOMEM, rig_take(&rig, link.handle, MP_STAGE_CLOSE).result);
	}
	rig_close(&other);
	unlink_pair(&link);
	end();
}

/* The target's table has the descriptor and nobody knows where: the connection goes on here or there, and ends. */
static void transfer_that_overflowed_still_ends_with_its_handle(void)
{
	for (uint32_t close_flags = 0; close_flags <= MP_CLOSE_ABORT; close_flags++) {
		for (int again = 0; again <= 1; again++) {
			struct mp_event event;
			struct rig_link link;
			struct rig other;
			char text[2];

			begin();
			rig_open(&other, NULL);
			link = lwsocket(80);
			fake_fail(IORING_OP_MSG_RING, -EOVERFLOW, 1);
			CHECK_EQUAL(0, mp_transfer(rig.channel, link.handle, other.channel, 0));
			event = rig_take(&rig, link.handle, MP_STAGE_CLOSE);
			CHECK_EQUAL(-EOVERFLOW, event.result);
			CHECK_EQUAL(MP_EVENT_GIVEN, event.flags);
			if (again) {
				CHECK_EQUAL(0, mp_transfer(rig.channel, link.handle, other.channel, 0));
				rig_take(&rig, link.handle, MP_STAGE_CLOSE);
				link.handle = rig_take(&other, 0, MP_STAGE_ACCEPT).handle;
			}
			say(&link, "ok");
			rig_read(again ? &other : &rig, link.handle, text, 2);
			close_and_see_the_end(again ? &other : &rig, &link, close_flags);
			rig_close(&other);
			end();
		}
	}
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		TEST(enter_refused_is_tried_again),
		TEST(enter_refused_waits_in_between),
		TEST(enter_refused_to_a_thread_does_not_stop_the_channel),
		TEST(enter_broken_is_told),
		TEST(close_after_paused_read_ended_with_data_cancels_the_next),
		TEST(pause_before_the_poll_is_made_ends),
		TEST(cancel_that_misses_is_made_again),
		TEST(transfer_that_failed_frees_the_mailbox),
		TEST(transfer_that_overflowed_still_ends_with_its_handle),
	};

	return RUN_TESTS(tests, argc, argv);
}
