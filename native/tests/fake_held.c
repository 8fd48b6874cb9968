/* Zero-copy sends: the memory of a write comes back with the kernel's notification, not with the write's event,
 * whatever happens meanwhile. The fake kernel checks that nobody touches it until then. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "channel.h"
#include "fake_kernel_rig.h"

#define BYTES 3000u

static uint8_t data[BYTES];
static struct iovec vector;

static void begin_held(void)
{
	struct mp_config config = rig_config(MP_CONFIG_ZERO_COPY);

	fake_begin(1, NULL);
	rig_open(&rig, &config);
}

static void write_held(mp_handle handle, uint64_t memory)
{
	fill_pattern(data, BYTES, 0);
	vector = (struct iovec){ data, BYTES };
	CHECK_EQUAL(0, mp_write_held(rig.channel, handle, &vector, 1, memory));
}

static struct mp_event written(mp_handle handle)
{
	return rig_take(&rig, handle, MP_STAGE_WRITE);
}

/* What gives `memory` back; `flags` beside RELEASED. */
static void check_released(uint64_t memory, uint32_t flags)
{
	struct mp_event event = rig_take(&rig, 0, MP_STAGE_WRITE);

	CHECK_EQUAL(0, event.handle);
	CHECK_EQUAL(memory, event.data);
	CHECK_EQUAL(0, event.result);
	CHECK_EQUAL(MP_EVENT_RELEASED | flags, event.flags);
}

static void memory_comes_back_with_the_notification(void)
{
	struct rig_link link;
	struct mp_event event;
	uint8_t got[BYTES];

	begin_held();
	link = pair(false);
	fake_keeps_notices = true;
	write_held(link.handle, 7);
	event = written(link.handle);
	CHECK_EQUAL(BYTES, event.result);
	CHECK_EQUAL(MP_EVENT_HELD, event.flags);
	CHECK_EQUAL(1, fake_notices());
	CHECK_EQUAL(1, rig_counters(&rig).in_flight);
	CHECK_EQUAL(BYTES, fake_peer_receive((uint32_t)link.peer, got, BYTES));
	CHECK(pattern_is(got, BYTES, 0));
	rig_nothing(&rig);
	/* The next write does not wait for it, and a plain one has nothing of it. */
	CHECK_EQUAL(0, mp_write(rig.channel, link.handle, "x", 1));
	CHECK_EQUAL(0, written(link.handle).flags);
	fake_notify(1);
	check_released(7, 0);
	unlink_pair(&link);
	end();
}

static void notification_that_was_copied_says_so(void)
{
	struct rig_link link;
	uint8_t got[BYTES];

	begin_held();
	link = pair(false);
	fake_keeps_notices = true;
	fake_chances.copy = 1000;
	write_held(link.handle, 8);
	CHECK_EQUAL(MP_EVENT_HELD, written(link.handle).flags);
	fake_notify(1);
	check_released(8, MP_EVENT_COPIED);
	CHECK_EQUAL(BYTES, fake_peer_receive((uint32_t)link.peer, got, BYTES));
	/* One that comes before the write's own result is told with it. */
	fake_keeps_notices = false;
	fake_chances.early_notice = 1000;
	write_held(link.handle, 9);
	CHECK_EQUAL(MP_EVENT_COPIED, written(link.handle).flags);
	unlink_pair(&link);
	end();
}

/* RETIRED does not wait for it: a peer that acknowledges nothing keeps memory, not the handle. */
static void notification_comes_after_the_handle_was_retired(void)
{
	struct rig_link link, next;

	for (uint32_t flags = 0; flags <= MP_CLOSE_ABORT; flags += MP_CLOSE_ABORT) {
		begin_held();
		link = pair(false);
		fake_keeps_notices = true;
		write_held(link.handle, 10);
		CHECK_EQUAL(MP_EVENT_HELD, written(link.handle).flags);
		CHECK_EQUAL(0, mp_close(rig.channel, link.handle, flags));
		CHECK_EQUAL(MP_EVENT_RETIRED, rig_take(&rig, link.handle, MP_STAGE_CLOSE).flags);
		CHECK_EQUAL(1, rig_counters(&rig).in_flight);
		CHECK_EQUAL(0, rig_counters(&rig).handles_live);
		/* The slot's next owner has nothing to do with it. */
		next = pair(false);
		rig_write(&rig, next.handle, "y", 1);
		fake_notify(1);
		check_released(10, 0);
		unlink_pair(&next);
		fake_peer_close((uint32_t)link.peer);
		end();
	}
}

static void write_that_is_cut_holds_what_was_sent(void)
{
	static uint8_t much[3 * FAKE_INBOX_BYTES];
	struct rig_link link;
	struct mp_event event;

	begin_held();
	link = pair(false);
	fake_keeps_notices = true;
	vector = (struct iovec){ much, sizeof much };
	CHECK_EQUAL(0, mp_write_held(rig.channel, link.handle, &vector, 1, 11));
	for (uint32_t i = 0; i < 10; i++)
		rig_turn(&rig);
	CHECK_EQUAL(1, fake_notices()); /* what the peer's inbox took; the rest waits */
	CHECK_EQUAL(0, mp_close(rig.channel, link.handle, 0));
	event = written(link.handle);
	CHECK_EQUAL(-ECANCELED, event.result);
	CHECK_EQUAL(MP_EVENT_HELD, event.flags);
	CHECK_EQUAL(MP_EVENT_RETIRED, rig_take(&rig, link.handle, MP_STAGE_CLOSE).flags);
	fake_notify(1);
	check_released(11, 0);
	fake_peer_close((uint32_t)link.peer);
	end();
}

/* Several sends, several notifications, one event. */
static void write_in_parts_is_given_back_once(void)
{
	static uint8_t much[3 * FAKE_INBOX_BYTES], part[FAKE_INBOX_BYTES];
	struct rig_link link;
	uint32_t got = 0, early = 1;

	begin_held();
	link = pair(false);
	fake_keeps_notices = true;
	fill_pattern(much, sizeof much, 0);
	vector = (struct iovec){ much, sizeof much };
	CHECK_EQUAL(0, mp_write_held(rig.channel, link.handle, &vector, 1, 12));
	while (got < sizeof much) {
		int32_t taken = fake_peer_receive((uint32_t)link.peer, part, sizeof part);

		CHECK(taken >= 0 && pattern_is(part, (uint32_t)taken, got));
		got += (uint32_t)taken;
		fake_run(1);
		rig_turn(&rig);
		fake_notify(early); /* of a part: nothing is told */
		early = 0;
	}
	CHECK_EQUAL(MP_EVENT_HELD, written(link.handle).flags);
	CHECK(fake_notices() >= 2);
	fake_notify(fake_notices() - 1);
	rig_nothing(&rig);
	fake_notify(1);
	check_released(12, 0);
	unlink_pair(&link);
	end();
}

static void check_plain(struct rig_link *link, uint64_t memory)
{
	uint8_t got[BYTES];
	struct mp_event event;

	write_held(link->handle, memory);
	event = written(link->handle);
	CHECK_EQUAL(BYTES, event.result);
	CHECK_EQUAL(MP_EVENT_COPIED, event.flags);
	CHECK_EQUAL(BYTES, fake_peer_receive((uint32_t)link->peer, got, BYTES));
	CHECK(pattern_is(got, BYTES, 0));
}

/* The same bytes go by a plain send, once. */
static void refused_send_is_made_as_a_plain_one(void)
{
	static const int32_t errors[] = { -ENOMEM, -ENOBUFS, -EOPNOTSUPP };
	struct rig_link link;

	for (uint32_t i = 0; i < COUNT_OF(errors); i++) {
		begin_held();
		link = pair(false);
		fake_fail(IORING_OP_SENDMSG_ZC, errors[i], 1);
		check_plain(&link, 20 + i);
		/* For this write only. */
		write_held(link.handle, 30 + i);
		CHECK_EQUAL(MP_EVENT_HELD, written(link.handle).flags);
		check_released(30 + i, 0);
		unlink_pair(&link);
		end();
	}
}

/* Nor does a failed one that brings a notification all the same. */
static void failed_send_may_be_notified_too(void)
{
	struct rig_link link;

	begin_held();
	link = pair(false);
	fake_chances.vain_notice = 1000;
	fake_keeps_notices = true;
	fake_fail(IORING_OP_SENDMSG_ZC, -ENOMEM, 1);
	write_held(link.handle, 40);
	CHECK_EQUAL(MP_EVENT_HELD, written(link.handle).flags);
	fake_notify(1);
	check_released(40, MP_EVENT_COPIED);
	fake_fail(IORING_OP_SENDMSG_ZC, -EPIPE, 1);
	write_held(link.handle, 41);
	CHECK_EQUAL(-EPIPE, written(link.handle).result);
	fake_notify(1);
	check_released(41, 0);
	unlink_pair(&link);
	end();
}

/* As on 6.1: asked once. */
static void kernel_that_cannot_tell_is_asked_once(void)
{
	struct rig_link link;
	uint64_t before;

	begin_held();
	link = pair(false);
	fake_no_report = true;
	check_plain(&link, 50);
	before = rig_counters(&rig).requests;
	check_plain(&link, 51);
	CHECK_EQUAL(before + 1, rig_counters(&rig).requests);
	CHECK_EQUAL(0, fake_notices());
	unlink_pair(&link);
	end();
}

static void more_than_the_table_has_are_copied(void)
{
	struct rig_link link;
	uint8_t got[BYTES];

	begin_held();
	link = pair(false);
	fake_keeps_notices = true;
	fill_pattern(data, BYTES, 0);
	for (uint32_t i = 0; i <= MP_HOLDS; i++) {
		vector = (struct iovec){ data, 1 };
		CHECK_EQUAL(0, mp_write_held(rig.channel, link.handle, &vector, 1, i + 1));
		CHECK_EQUAL(i < MP_HOLDS ? MP_EVENT_HELD : MP_EVENT_COPIED, written(link.handle).flags);
		CHECK_EQUAL(1, fake_peer_receive((uint32_t)link.peer, got, 1));
	}
	fake_notify(MP_HOLDS);
	for (uint32_t i = 0; i < MP_HOLDS; i++)
		check_released(i + 1, 0);
	/* And from there on they are not. */
	write_held(link.handle, 60);
	CHECK_EQUAL(MP_EVENT_HELD, written(link.handle).flags);
	fake_notify(1);
	check_released(60, 0);
	unlink_pair(&link);
	end();
}

/* A notification of a hold that has ended is dropped, and counted: not one of its successor. */
static void stale_notification_is_dropped(void)
{
	struct rig_link link;
	uint8_t got[BYTES];
	uint64_t token;

	begin_held();
	link = pair(false);
	fake_keeps_notices = true;
	write_held(link.handle, 70);
	CHECK_EQUAL(MP_EVENT_HELD, written(link.handle).flags);
	token = mp_token(MP_TOKEN_WRITE_HELD, rig.channel->holds[0].generation, 0);
	fake_notify(1);
	check_released(70, 0);
	CHECK_EQUAL(BYTES, fake_peer_receive((uint32_t)link.peer, got, BYTES));
	write_held(link.handle, 71);
	CHECK_EQUAL(MP_EVENT_HELD, written(link.handle).flags);
	fake_inject(&rig.channel->ring, token, 0, IORING_CQE_F_NOTIF);
	rig_nothing(&rig);
	CHECK_EQUAL(1, rig_counters(&rig).stale_events);
	rig.channel->counters.stale_events = 0;
	fake_notify(1);
	check_released(71, 0);
	unlink_pair(&link);
	end();
}

/* A connection moves while its memory is held: the notification comes where the write was made. */
static void connection_that_is_transferred_leaves_its_memory_behind(void)
{
	struct mp_channel *other;
	struct mp_event event = { 0 };
	struct rig_link link;

	begin_held();
	CHECK_EQUAL(0, mp_create(NULL, &other));
	link = pair(false);
	fake_keeps_notices = true;
	write_held(link.handle, 80);
	CHECK_EQUAL(MP_EVENT_HELD, written(link.handle).flags);
	CHECK_EQUAL(0, mp_transfer(rig.channel, link.handle, other, 5));
	CHECK_EQUAL(MP_EVENT_RETIRED | MP_EVENT_GIVEN, rig_take(&rig, link.handle, MP_STAGE_CLOSE).flags);
	CHECK_EQUAL(1, mp_dispatch(other, &event, 1, 1000000));
	CHECK_EQUAL(MP_EVENT_TRANSFERRED, event.flags);
	mp_close(other, event.handle, 0);
	while (!(event.flags & MP_EVENT_RETIRED))
		CHECK(mp_dispatch(other, &event, 1, 1000000) >= 0);
	mp_destroy(other);
	fake_notify(1);
	check_released(80, 0);
	fake_peer_close((uint32_t)link.peer);
	end();
}

/* Nor is a kernel asked that was told to refuse it. */
static void channel_that_was_not_made_for_it_copies(void)
{
	struct rig_link link;

	begin();
	link = pair(false);
	check_plain(&link, 55);
	CHECK_EQUAL(0, fake_refused);
	unlink_pair(&link);
	end();
}

/* mp_destroy waits for notifications. */
static void destroy_waits_until_memory_is_given_back(void)
{
	uint32_t peer;
	int32_t fd;

	begin_held();
	fd = fake_pair(true, false, &peer);
	write_held(mp_register(rig.channel, fd, 0, 0, 0), 90);
	fake_chances.late_notice = 900;
	mp_destroy(rig.channel);
	CHECK_EQUAL(0, fake_notices());
	CHECK_EQUAL(0, fake_fd_close(fd));
	fake_peer_close(peer);
	fake_end();
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		TEST(memory_comes_back_with_the_notification),
		TEST(notification_that_was_copied_says_so),
		TEST(notification_comes_after_the_handle_was_retired),
		TEST(write_that_is_cut_holds_what_was_sent),
		TEST(write_in_parts_is_given_back_once),
		TEST(refused_send_is_made_as_a_plain_one),
		TEST(failed_send_may_be_notified_too),
		TEST(kernel_that_cannot_tell_is_asked_once),
		TEST(more_than_the_table_has_are_copied),
		TEST(stale_notification_is_dropped),
		TEST(connection_that_is_transferred_leaves_its_memory_behind),
		TEST(channel_that_was_not_made_for_it_copies),
		TEST(destroy_waits_until_memory_is_given_back),
	};

	return RUN_TESTS(tests, argc, argv);
}
