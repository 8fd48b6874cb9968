/* The owner's rules end the process when they are broken; and a channel can be destroyed whatever is going on. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "common_rig.h"

static void body_release_twice(void)
{
	struct rig_link link;
	struct mp_event event;
	struct rig rig;
	int32_t fd;

	rig_open(&rig, NULL);
	link = rig_pair(&rig, &fd);
	CHECK_EQUAL(0, mp_read_start(rig.channel, link.handle));
	send_all(link.peer, "x", 1);
	event = rig_take(&rig, link.handle, MP_STAGE_READ);
	CHECK_EQUAL(0, mp_release(rig.channel, event.lease));
	mp_release(rig.channel, event.lease);
}

static void release_twice_aborts(void)
{
	CHECK(aborts(body_release_twice));
}

static void body_release_never_leased(void)
{
	struct rig rig;

	rig_open(&rig, NULL);
	CHECK_EQUAL(-EINVAL, mp_release(rig.channel, 16)); /* past the last is only an error */
	mp_release(rig.channel, 3);
}

static void release_of_what_was_not_leased_aborts(void)
{
	CHECK(aborts(body_release_never_leased));
}

static _Atomic int inside;

static void *carry(void *argument)
{
	struct rig *rig = argument;
	struct mp_event event;

	atomic_store(&inside, 1);
	mp_dispatch(rig->channel, &event, 1, -1);
	return NULL;
}

/* The second carrier tries until the first is inside; each try before that is allowed and does nothing. */
static void body_two_carriers(void)
{
	static struct rig rig;
	pthread_t thread;

	rig_open(&rig, NULL);
	CHECK_EQUAL(0, pthread_create(&thread, NULL, carry, &rig));
	while (!atomic_load(&inside))
		sched_yield();
	for (int64_t end = now_ns() + RIG_WAIT_NS; now_ns() < end;)
		mp_flush(rig.channel);
}

static void second_carrier_aborts(void)
{
	CHECK(aborts(body_two_carriers));
}

/* Accepts, leased and plain reads, a stuck write, a connect, leases and a paused read: all at once. */
static void destroy_with(uint32_t flags)
{
	enum { BIG = 8 << 20 };
	struct mp_config config = rig_config(flags);
	struct rig_listener listener;
	struct rig_link links[8];
	static struct rig rig;
	struct mp_event event;
	uint8_t *big = calloc(1, BIG);
	char byte[8];
	int32_t fd;

	rig_open(&rig, &config);
	listener = rig_listen(&rig, AF_INET, 0);
	for (uint32_t i = 0; i < 8; i++)
		links[i] = rig_connect(&rig, &listener, i & 1);
	CHECK_EQUAL(0, mp_accept(rig.channel, listener.handle, 8, MP_ACCEPT_KEEP | MP_ACCEPT_LWSOCKET));
	for (uint32_t i = 0; i < 4; i++)
		CHECK_EQUAL(0, mp_read_start(rig.channel, links[i].handle));
	for (uint32_t i = 4; i < 8; i++)
		CHECK_EQUAL(0, mp_read(rig.channel, links[i].handle, &byte[i], 1));
	for (uint32_t i = 2; i < 6; i++)
		CHECK_EQUAL(0, mp_write(rig.channel, links[i].handle, big, BIG));
	send_all(links[0].peer, "leased", 6);
	event = rig_take(&rig, links[0].handle, MP_STAGE_READ);
	CHECK_EQUAL(6, event.result);
	CHECK(mp_connect(rig.channel, &listener.address, listener.bytes, 0, MP_ACCEPT_LWSOCKET) > 0);
	CHECK_EQUAL(0, mp_read_pause(rig.channel, links[1].handle));
	CHECK_EQUAL(0, mp_disconnect(rig.channel, links[6].handle, MP_SHUT_WRITE));
	CHECK_EQUAL(0, mp_close(rig.channel, links[7].handle, MP_CLOSE_ABORT));
	fd = connect_fd(&listener.address, listener.bytes); /* one that nobody has taken */
	mp_destroy(rig.channel);
	free(big);
	close(fd);
	for (uint32_t i = 0; i < 8; i++)
		close(links[i].peer);
	/* The listener was only registered: it is still the caller's. */
	fd = connect_fd(&listener.address, listener.bytes);
	close(fd);
	CHECK_EQUAL(0, close(listener.fd));
}

static void destroy_with_everything_in_flight_leaves_nothing(void)
{
	destroy_with(0);
	destroy_with(MP_CONFIG_SINGLE_THREAD);
	destroy_with(MP_CONFIG_WAKE_EVENTFD);
}

static void destroy_ends_connections_with_fin(void)
{
	struct rig_link link;
	struct rig rig;
	char text[4];

	rig_open(&rig, NULL);
	link = rig_link(&rig, AF_INET, MP_ACCEPT_LWSOCKET);
	rig_write(&rig, link.handle, "last", 4);
	mp_destroy(rig.channel);
	receive_all(link.peer, text, 4);
	CHECK_EQUAL(0, receive_end(link.peer));
	close(link.peer);
}

static void destroy_leaves_registered_fd_open(void)
{
	struct rig_link link;
	struct rig rig;
	int32_t fd;
	char text[2];

	rig_open(&rig, NULL);
	link = rig_pair(&rig, &fd);
	CHECK_EQUAL(0, mp_read_start(rig.channel, link.handle));
	rig_turn(&rig);
	mp_destroy(rig.channel);
	send_all(link.peer, "ok", 2);
	receive_all(fd, text, 2);
	close(fd);
	close(link.peer);
}

static void create_and_destroy_many_times_leaks_nothing(void)
{
	int32_t before = fd_count();

	for (int i = 0; i < 50; i++) {
		struct rig rig;

		rig_open(&rig, NULL);
		rig_close(&rig);
	}
	CHECK_EQUAL(before, fd_count());
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		TEST(release_twice_aborts),
		TEST(release_of_what_was_not_leased_aborts),
		TEST(second_carrier_aborts),
		TEST(destroy_with_everything_in_flight_leaves_nothing),
		TEST(destroy_ends_connections_with_fin),
		TEST(destroy_leaves_registered_fd_open),
		TEST(create_and_destroy_many_times_leaks_nothing),
	};

	return RUN_TESTS(tests, argc, argv);
}
