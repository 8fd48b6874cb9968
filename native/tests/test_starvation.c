/* No receive buffer is free: those who can go on do, the others wait their turn and lose nothing. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "common_rig.h"

#define BUFFERS 4u
#define BUFFER_BYTES 64u

static void open_starving(struct rig *rig)
{
	struct mp_config config = rig_config(0);

	config.buffer_count = BUFFERS;
	config.buffer_bytes = BUFFER_BYTES;
	rig_open(rig, &config);
}

/* Fills every buffer from `link`, whose leased read is on, and holds the leases. */
static void hold_all(struct rig *rig, const struct rig_link *link, struct mp_event held[BUFFERS])
{
	uint8_t data[BUFFERS * BUFFER_BYTES];

	fill_pattern(data, sizeof data, 0);
	send_all(link->peer, data, sizeof data);
	for (uint32_t i = 0; i < BUFFERS; i++) {
		held[i] = rig_take(rig, link->handle, MP_STAGE_READ);
		CHECK_EQUAL(BUFFER_BYTES, held[i].result);
		CHECK_EQUAL(MP_EVENT_LEASED | MP_EVENT_MORE, held[i].flags & ~(uint32_t)MP_EVENT_REST);
	}
	CHECK_EQUAL(BUFFERS, rig_counters(rig).leases_out);
}

static void starved_reads_wait_and_others_go_on(void)
{
	struct mp_event held[BUFFERS];
	struct rig_link holder, starved, plain;
	struct rig rig;
	char text[8];

	open_starving(&rig);
	holder = rig_link(&rig, AF_INET, MP_ACCEPT_LWSOCKET);
	starved = rig_link(&rig, AF_INET, 0);
	plain = rig_link(&rig, AF_INET, 0);
	CHECK_EQUAL(0, mp_read_start(rig.channel, holder.handle));
	hold_all(&rig, &holder, held);
	CHECK_EQUAL(0, mp_read_start(rig.channel, starved.handle));
	send_all(starved.peer, "starved", 8);
	rig_nothing(&rig);
	CHECK(rig_counters(&rig).buffers_starved > 0);
	/* A plain read, a write and the data that is leased are not touched by it. */
	send_all(plain.peer, "plain", 6);
	rig_read(&rig, plain.handle, text, 6);
	CHECK(!memcmp(text, "plain", 6));
	rig_write(&rig, holder.handle, "x", 1);
	for (uint32_t i = 0; i < BUFFERS; i++) {
		CHECK(pattern_is((void *)(uintptr_t)held[i].data, BUFFER_BYTES, i * BUFFER_BYTES));
		CHECK_EQUAL(0, mp_release(rig.channel, held[i].lease));
	}
	rig_leased(&rig, starved.handle, text, 8);
	CHECK(!memcmp(text, "starved", 8));
	rig_turn(&rig);
	send_all(holder.peer, "again", 6);
	rig_leased(&rig, holder.handle, text, 6);
	CHECK(!memcmp(text, "again", 6));
	for (int i = 0; i < 2; i++) {
		mp_handle handle = i ? holder.handle : starved.handle;

		CHECK_EQUAL(0, mp_read_pause(rig.channel, handle));
		CHECK_EQUAL(-ECANCELED, rig_take(&rig, handle, MP_STAGE_READ).result);
	}
	rig_unlink(&rig, &holder, 0);
	rig_unlink(&rig, &starved, 0);
	rig_unlink(&rig, &plain, 0);
	rig_close(&rig);
}

static void starved_reads_resume_in_order(void)
{
	enum { WAITING = 6 };
	struct mp_event held[BUFFERS], event;
	struct rig_link holder, links[WAITING];
	struct rig rig;

	open_starving(&rig);
	holder = rig_link(&rig, AF_INET, 0);
	CHECK_EQUAL(0, mp_read_start(rig.channel, holder.handle));
	hold_all(&rig, &holder, held);
	for (uint32_t i = 0; i < WAITING; i++) {
		links[i] = rig_link(&rig, AF_INET, 0);
		send_all(links[i].peer, "data", 4);
		CHECK_EQUAL(0, mp_read_start(rig.channel, links[i].handle));
		rig_nothing(&rig);
	}
	/* The holder's own receive ended before theirs, so it is first; it has no data and takes no buffer. */
	for (uint32_t i = 0; i < WAITING; i++) {
		CHECK_EQUAL(0, mp_release(rig.channel, held[0].lease));
		event = rig_take(&rig, 0, MP_STAGE_READ);
		CHECK_EQUAL(links[i].handle, event.handle);
		CHECK_EQUAL(4, event.result);
		held[0] = event;
	}
	for (uint32_t i = 0; i < BUFFERS; i++)
		CHECK_EQUAL(0, mp_release(rig.channel, held[i].lease));
	for (uint32_t i = 0; i < WAITING; i++) {
		CHECK_EQUAL(0, mp_close(rig.channel, links[i].handle, 0));
		CHECK_EQUAL(-ECANCELED, rig_take(&rig, links[i].handle, MP_STAGE_READ).result);
		CHECK_EQUAL(MP_EVENT_RETIRED, rig_take(&rig, links[i].handle, MP_STAGE_CLOSE).flags);
		close(links[i].peer);
	}
	CHECK_EQUAL(0, mp_read_pause(rig.channel, holder.handle));
	CHECK_EQUAL(-ECANCELED, rig_take(&rig, holder.handle, MP_STAGE_READ).result);
	rig_unlink(&rig, &holder, 0);
	rig_close(&rig);
}

/* One buffer comes back; the first in the queue have nothing to read, so it is for the last. */
static void starved_idle_reads_do_not_keep_the_buffer(void)
{
	enum { WAITING = 6 };
	struct mp_event held[BUFFERS], event;
	struct rig_link holder, links[WAITING];
	struct rig rig;

	open_starving(&rig);
	holder = rig_link(&rig, AF_INET, 0);
	CHECK_EQUAL(0, mp_read_start(rig.channel, holder.handle));
	hold_all(&rig, &holder, held);
	for (uint32_t i = 0; i < WAITING; i++) {
		links[i] = rig_link(&rig, AF_INET, 0);
		CHECK_EQUAL(0, mp_read_start(rig.channel, links[i].handle));
		rig_nothing(&rig);
	}
	send_all(links[WAITING - 1].peer, "data", 4);
	rig_nothing(&rig);
	CHECK_EQUAL(0, mp_release(rig.channel, held[0].lease));
	event = rig_take(&rig, links[WAITING - 1].handle, MP_STAGE_READ);
	CHECK_EQUAL(4, event.result);
	CHECK_EQUAL(0, mp_release(rig.channel, event.lease));
	for (uint32_t i = 1; i < BUFFERS; i++)
		CHECK_EQUAL(0, mp_release(rig.channel, held[i].lease));
	for (uint32_t i = 0; i < WAITING; i++) {
		CHECK_EQUAL(0, mp_close(rig.channel, links[i].handle, 0));
		CHECK_EQUAL(-ECANCELED, rig_take(&rig, links[i].handle, MP_STAGE_READ).result);
		CHECK_EQUAL(MP_EVENT_RETIRED, rig_take(&rig, links[i].handle, MP_STAGE_CLOSE).flags);
		close(links[i].peer);
	}
	CHECK_EQUAL(0, mp_read_pause(rig.channel, holder.handle));
	CHECK_EQUAL(-ECANCELED, rig_take(&rig, holder.handle, MP_STAGE_READ).result);
	rig_unlink(&rig, &holder, 0);
	rig_close(&rig);
}

/* Pause and close of a read that waits for buffers: its end comes without any. */
static void starved_read_can_be_paused_and_closed(void)
{
	struct mp_event held[BUFFERS];
	struct rig_link holder, links[3];
	struct rig rig;

	open_starving(&rig);
	holder = rig_link(&rig, AF_INET, 0);
	CHECK_EQUAL(0, mp_read_start(rig.channel, holder.handle));
	hold_all(&rig, &holder, held);
	for (uint32_t i = 0; i < 3; i++) {
		links[i] = rig_link(&rig, AF_INET, MP_ACCEPT_LWSOCKET);
		CHECK_EQUAL(0, mp_read_start(rig.channel, links[i].handle));
		send_all(links[i].peer, "data", 4);
		rig_nothing(&rig);
	}
	CHECK_EQUAL(0, mp_read_pause(rig.channel, links[1].handle)); /* from the middle, */
	CHECK_EQUAL(-ECANCELED, rig_take(&rig, links[1].handle, MP_STAGE_READ).result);
	CHECK_EQUAL(0, mp_read_start(rig.channel, links[1].handle));
	rig_nothing(&rig);
	CHECK_EQUAL(0, mp_close(rig.channel, links[1].handle, 0)); /* the end, */
	CHECK_EQUAL(-ECANCELED, rig_take(&rig, links[1].handle, MP_STAGE_READ).result);
	CHECK_EQUAL(MP_EVENT_RETIRED, rig_take(&rig, links[1].handle, MP_STAGE_CLOSE).flags);
	CHECK_EQUAL(0, mp_close(rig.channel, holder.handle, 0)); /* and the head of the queue */
	CHECK_EQUAL(-ECANCELED, rig_take(&rig, holder.handle, MP_STAGE_READ).result);
	CHECK_EQUAL(MP_EVENT_RETIRED, rig_take(&rig, holder.handle, MP_STAGE_CLOSE).flags);
	for (uint32_t i = 0; i < BUFFERS; i++)
		CHECK_EQUAL(0, mp_release(rig.channel, held[i].lease));
	for (uint32_t i = 0; i < 3; i += 2) {
		char text[4];

		rig_leased(&rig, links[i].handle, text, 4);
		CHECK_EQUAL(0, mp_close(rig.channel, links[i].handle, 0));
		CHECK_EQUAL(-ECANCELED, rig_take(&rig, links[i].handle, MP_STAGE_READ).result);
		CHECK_EQUAL(MP_EVENT_RETIRED, rig_take(&rig, links[i].handle, MP_STAGE_CLOSE).flags);
	}
	for (uint32_t i = 0; i < 3; i++)
		close(links[i].peer);
	close(holder.peer);
	rig_close(&rig);
}

/* Far more data than buffers, released one by one: complete and in order. */
static void scarce_buffers_carry_everything(void)
{
	enum { TOTAL = 64 << 10 };
	static uint8_t data[TOTAL];
	struct rig_link link;
	struct rig rig;
	uint32_t got = 0;

	open_starving(&rig);
	link = rig_link(&rig, AF_INET, MP_ACCEPT_LWSOCKET);
	fill_pattern(data, TOTAL, 0);
	send_all(link.peer, data, TOTAL);
	CHECK_EQUAL(0, mp_read_start(rig.channel, link.handle));
	while (got < TOTAL) {
		struct mp_event event = rig_take(&rig, link.handle, MP_STAGE_READ);

		CHECK(event.result > 0);
		CHECK(pattern_is((void *)(uintptr_t)event.data, (uint32_t)event.result, got));
		got += (uint32_t)event.result;
		CHECK_EQUAL(0, mp_release(rig.channel, event.lease));
	}
	CHECK_EQUAL(0, mp_read_pause(rig.channel, link.handle));
	CHECK_EQUAL(-ECANCELED, rig_take(&rig, link.handle, MP_STAGE_READ).result);
	rig_unlink(&rig, &link, 0);
	rig_close(&rig);
}

/* A buffer that was filled for an event nobody has taken yet is not free: no read is armed for it again and again. */
static void reads_are_armed_for_free_buffers_only(void)
{
	enum { CONNECTIONS = 64 };
	struct rig_link links[CONNECTIONS];
	struct rig_listener listener;
	struct mp_counters counters;
	struct rig rig;

	open_starving(&rig);
	listener = rig_listen(&rig, AF_INET, 0);
	for (uint32_t i = 0; i < CONNECTIONS; i++) {
		links[i] = rig_connect(&rig, &listener, MP_ACCEPT_LWSOCKET);
		CHECK_EQUAL(0, mp_read_start(rig.channel, links[i].handle));
	}
	rig_turn(&rig);
	for (uint32_t i = 0; i < CONNECTIONS; i++)
		send_all(links[i].peer, "data", 4);
	for (uint32_t i = 0; i < CONNECTIONS; i++) {
		struct mp_event event;

		CHECK_EQUAL(1, mp_dispatch(rig.channel, &event, 1, RIG_WAIT_NS));
		CHECK_EQUAL(4, event.result);
		CHECK_EQUAL(0, mp_release(rig.channel, event.lease));
	}
	counters = rig_counters(&rig);
	CHECK(counters.rearms + counters.buffers_starved <= 2 * CONNECTIONS);
	for (uint32_t i = 0; i < CONNECTIONS; i++) {
		CHECK_EQUAL(0, mp_read_pause(rig.channel, links[i].handle));
		CHECK_EQUAL(-ECANCELED, rig_take(&rig, links[i].handle, MP_STAGE_READ).result);
		rig_unlink(&rig, &links[i], 0);
	}
	rig_unlisten(&rig, &listener);
	rig_close(&rig);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		TEST(starved_reads_wait_and_others_go_on),       TEST(starved_reads_resume_in_order),
		TEST(starved_idle_reads_do_not_keep_the_buffer), TEST(starved_read_can_be_paused_and_closed),
		TEST(scarce_buffers_carry_everything),           TEST(reads_are_armed_for_free_buffers_only),
	};

	return RUN_TESTS(tests, argc, argv);
}
