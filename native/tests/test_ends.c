/* The peer's end right behind its data: thousands for each kind of socket, of end and of wake-up, and none is lost. It
 * is the kernel that loses them: the last line says how many. fake_ends.c shows each way in which they are found. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common_rig.h"

#define CLIENTS 2u
#define ENDS 200u /* of each client, of each kind */
#define KEPT 32u  /* sockets that are shut down and stay open for so many others */

enum end { BY_CLOSE, BY_SHUTDOWN, BY_RESET };

static uint64_t found; /* ends that this kernel has lost */

struct flood {
	struct rig_listener listener;
	enum end end;
};

static void end_with(int32_t fd, enum end end)
{
	static const struct linger now = { .l_onoff = 1 };

	if (end == BY_SHUTDOWN) {
		CHECK_EQUAL(0, shutdown(fd, SHUT_WR));
		return;
	}
	if (end == BY_RESET)
		CHECK_EQUAL(0, setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now));
	close(fd);
}

static void *client(void *argument)
{
	const struct flood *flood = argument;
	int32_t kept[KEPT] = { 0 };
	uint64_t random = 7;

	for (uint32_t i = 0; i < ENDS; i++) {
		int32_t fd = connect_fd(&flood->listener.address, flood->listener.bytes);

		/* Before the read is armed, while it is, and after it has taken the first piece. */
		if (random_below(&random, 4))
			send_all(fd, "some", 4);
		for (uint32_t spin = random_below(&random, 20000); spin > 0; spin--)
			__atomic_thread_fence(__ATOMIC_SEQ_CST);
		if (random_below(&random, 4))
			send_all(fd, "more", 4);
		end_with(fd, flood->end);
		if (flood->end != BY_SHUTDOWN)
			continue;
		if (i >= KEPT)
			close(kept[i % KEPT]);
		kept[i % KEPT] = fd;
	}
	for (uint32_t i = 0; i < KEPT && flood->end == BY_SHUTDOWN; i++) {
		CHECK_EQUAL(0, receive_end(kept[i])); /* the channel has seen the end, and closed */
		close(kept[i]);
	}
	return NULL;
}

static void flood(int family, enum end end, uint32_t config_flags, uint32_t accept_flags)
{
	struct mp_config config = rig_config(config_flags);
	uint32_t accepted = 0, ended = 0, open = 0;
	struct flood flood = { .end = end };
	pthread_t clients[CLIENTS];
	struct rig rig;

	config.max_handles = 2 * CLIENTS * ENDS;
	config.buffer_count = 256;
	rig_open(&rig, &config);
	flood.listener = rig_listen(&rig, family, 0);
	CHECK_EQUAL(0, listen(flood.listener.fd, CLIENTS * ENDS));
	CHECK_EQUAL(0, mp_accept(rig.channel, flood.listener.handle, 4, MP_ACCEPT_KEEP | accept_flags));
	CHECK(mp_flush(rig.channel) >= 0);
	for (uint32_t i = 0; i < CLIENTS; i++)
		CHECK_EQUAL(0, pthread_create(&clients[i], NULL, client, &flood));
	while (accepted < CLIENTS * ENDS || open > 0) {
		struct mp_event events[64];
		int32_t count = mp_dispatch(rig.channel, events, COUNT_OF(events), RIG_WAIT_NS);

		CHECK(count > 0); /* none of those that are open ends: their ends are lost */
		for (int32_t i = 0; i < count; i++) {
			if (events[i].stage == MP_STAGE_ACCEPT) {
				CHECK_EQUAL(0, events[i].result);
				CHECK_EQUAL(0, mp_read_start(rig.channel, events[i].handle));
				accepted++;
				open++;
			} else if (events[i].stage == MP_STAGE_CLOSE) {
				CHECK_EQUAL(MP_EVENT_RETIRED, events[i].flags);
				open--;
			} else if (events[i].flags & MP_EVENT_LEASED) {
				CHECK_EQUAL(0, mp_release(rig.channel, events[i].lease));
			} else {
				CHECK(events[i].result == 0 || (end == BY_RESET && events[i].result == -ECONNRESET));
				CHECK_EQUAL(0, mp_close(rig.channel, events[i].handle, 0));
				ended++;
			}
		}
	}
	CHECK_EQUAL(CLIENTS * ENDS, ended);
	found += rig_counters(&rig).ends_found;
	for (uint32_t i = 0; i < CLIENTS; i++)
		CHECK_EQUAL(0, pthread_join(clients[i], NULL));
	CHECK_EQUAL(0, mp_accept_stop(rig.channel, flood.listener.handle));
	for (uint32_t i = 0; i < 4; i++)
		CHECK_EQUAL(-ECANCELED, rig_take(&rig, 0, MP_STAGE_ACCEPT).result);
	rig_unlisten(&rig, &flood.listener);
	rig_close(&rig);
}

static void floods(int family, enum end end)
{
	static const uint32_t wakes[] = { 0, MP_CONFIG_WAKE_EVENTFD, MP_CONFIG_SINGLE_THREAD };

	for (uint32_t i = 0; i < COUNT_OF(wakes); i++)
		for (uint32_t lwsocket = 0; lwsocket <= MP_ACCEPT_LWSOCKET; lwsocket++)
			flood(family, end, wakes[i], lwsocket);
}

static void tcp_close_behind_data_is_told(void)
{
	floods(AF_INET, BY_CLOSE);
}

static void tcp_shutdown_behind_data_is_told(void)
{
	floods(AF_INET, BY_SHUTDOWN);
}

static void tcp_reset_behind_data_is_told(void)
{
	floods(AF_INET, BY_RESET);
}

static void unix_close_behind_data_is_told(void)
{
	floods(AF_UNIX, BY_CLOSE);
}

static void unix_shutdown_behind_data_is_told(void)
{
	floods(AF_UNIX, BY_SHUTDOWN);
}

static void end_while_paused_is_told_once(void)
{
	static const enum end ends[] = { BY_CLOSE, BY_RESET };
	static const int families[] = { AF_INET, AF_UNIX };

	for (uint32_t i = 0; i < 8; i++) {
		bool reset = ends[i & 1] == BY_RESET && families[i >> 1 & 1] == AF_INET;
		struct rig_link link;
		struct mp_event event;
		struct rig rig;

		rig_open(&rig, NULL);
		link = rig_link(&rig, families[i >> 1 & 1], i & 4 ? MP_ACCEPT_LWSOCKET : 0);
		CHECK_EQUAL(0, mp_read_start(rig.channel, link.handle));
		CHECK_EQUAL(0, mp_read_pause(rig.channel, link.handle));
		CHECK_EQUAL(-ECANCELED, rig_take(&rig, link.handle, MP_STAGE_READ).result);
		send_all(link.peer, "rest", 4);
		end_with(link.peer, reset ? BY_RESET : BY_CLOSE);
		link.peer = -1;
		event = rig_take(&rig, link.handle, MP_STAGE_READ);
		CHECK_EQUAL(MP_EVENT_HANGUP, event.flags);
		CHECK_EQUAL(reset ? -ECONNRESET : 0, event.result);
		/* What the socket holds still comes, and then the end. */
		CHECK_EQUAL(0, mp_read_start(rig.channel, link.handle));
		rig_leased(&rig, link.handle, &(char[4]){ 0 }, 4);
		event = rig_take(&rig, link.handle, MP_STAGE_READ);
		CHECK_EQUAL(0, event.flags);
		CHECK_EQUAL(reset ? -ECONNRESET : 0, event.result);
		rig_unlink(&rig, &link, 0);
		rig_close(&rig);
	}
}

/* A request of its own for a long connection, once, and no timer for a channel whose connections have it. */
static void idle_channel_sleeps_without_a_timer(void)
{
	struct mp_counters before, after;
	struct mp_event event;
	struct rig_link link;
	struct rig rig;

	rig_open(&rig, NULL);
	link = rig_link(&rig, AF_INET, MP_ACCEPT_LWSOCKET);
	CHECK_EQUAL(0, mp_read_start(rig.channel, link.handle));
	for (int64_t end = now_ns() + RIG_WAIT_NS; rig_counters(&rig).in_flight < 2 && now_ns() < end;)
		CHECK_EQUAL(0, mp_dispatch(rig.channel, &event, 1, 100000000));
	CHECK_EQUAL(0, mp_dispatch(rig.channel, &event, 1, 1000000));
	before = rig_counters(&rig);
	CHECK_EQUAL(0, mp_dispatch(rig.channel, &event, 1, 600000000));
	after = rig_counters(&rig);
	CHECK_EQUAL(before.requests, after.requests);
	CHECK_EQUAL(1, after.waits - before.waits);
	CHECK_EQUAL(0, mp_read_pause(rig.channel, link.handle));
	CHECK_EQUAL(-ECANCELED, rig_take(&rig, link.handle, MP_STAGE_READ).result);
	rig_unlink(&rig, &link, 0);
	rig_close(&rig);
}

static void time_out_is_the_callers(void)
{
	struct mp_event event;
	struct rig_link link;
	struct rig rig;
	int64_t start;

	rig_open(&rig, NULL);
	link = rig_link(&rig, AF_INET, 0);
	CHECK_EQUAL(0, mp_read_start(rig.channel, link.handle));
	start = now_ns();
	CHECK_EQUAL(0, mp_dispatch(rig.channel, &event, 1, 20000000));
	CHECK(now_ns() - start >= 20000000);
	start = now_ns();
	CHECK_EQUAL(0, mp_dispatch(rig.channel, &event, 1, 700000000));
	CHECK(now_ns() - start >= 700000000);
	CHECK_EQUAL(0, mp_read_pause(rig.channel, link.handle));
	CHECK_EQUAL(-ECANCELED, rig_take(&rig, link.handle, MP_STAGE_READ).result);
	rig_unlink(&rig, &link, 0);
	rig_close(&rig);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		TEST(tcp_close_behind_data_is_told),       TEST(tcp_shutdown_behind_data_is_told),
		TEST(tcp_reset_behind_data_is_told),       TEST(unix_close_behind_data_is_told),
		TEST(unix_shutdown_behind_data_is_told),   TEST(end_while_paused_is_told_once),
		TEST(idle_channel_sleeps_without_a_timer), TEST(time_out_is_the_callers),
	};

	int result = RUN_TESTS(tests, argc, argv);

	printf("  %llu ends were lost and found\n", (unsigned long long)found);
	return result;
}
