/* Stage accept: one or many, kept or not, stopped, listeners that do not block. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

#include "common_rig.h"

#define MANY 24u

static void take_many(struct rig *rig, const struct rig_listener *listener, uint32_t count, uint32_t flags)
{
	int32_t peers[MANY];
	mp_handle handles[MANY];

	for (uint32_t i = 0; i < count; i++)
		peers[i] = connect_fd(&listener->address, listener->bytes);
	for (uint32_t i = 0; i < count; i++) {
		struct mp_event event = rig_take(rig, 0, MP_STAGE_ACCEPT);

		CHECK_EQUAL(0, event.result);
		CHECK_EQUAL(flags, event.flags);
		CHECK_EQUAL(77, event.cookie);
		CHECK_EQUAL(listener->handle, event.source);
		handles[i] = event.handle;
	}
	for (uint32_t i = 0; i < count; i++) {
		struct rig_link link = { .handle = handles[i], .peer = peers[i] };

		rig_unlink(rig, &link, 0);
	}
}

static void accept_count_accepts_as_many_and_stops(void)
{
	struct rig_listener listener;
	struct rig rig;
	int32_t extra;

	rig_open(&rig, NULL);
	listener = rig_listen(&rig, AF_INET, 77);
	CHECK_EQUAL(0, mp_accept(rig.channel, listener.handle, 3, 0));
	take_many(&rig, &listener, 3, 0);
	extra = connect_fd(&listener.address, listener.bytes);
	rig_nothing(&rig);
	close(extra);
	CHECK_EQUAL(3, rig_counters(&rig).accepted);
	rig_unlisten(&rig, &listener);
	rig_close(&rig);
}

static void stop(struct rig *rig, const struct rig_listener *listener, uint32_t count)
{
	CHECK_EQUAL(0, mp_accept_stop(rig->channel, listener->handle));
	for (uint32_t i = 0; i < count; i++) {
		struct mp_event event = rig_take(rig, 0, MP_STAGE_ACCEPT);

		CHECK_EQUAL(-ECANCELED, event.result);
		CHECK_EQUAL(0, event.flags);
		CHECK_EQUAL(0, event.handle);
		CHECK_EQUAL(listener->handle, event.source);
	}
}

static void accept_keep_accepts_until_stopped(void)
{
	for (uint32_t lwsocket = 0; lwsocket <= MP_ACCEPT_LWSOCKET; lwsocket++) {
		struct rig_listener listener;
		struct rig rig;

		rig_open(&rig, NULL);
		listener = rig_listen(&rig, AF_INET, 77);
		CHECK_EQUAL(0, mp_accept(rig.channel, listener.handle, 4, lwsocket | MP_ACCEPT_KEEP));
		for (int round = 0; round < 3; round++)
			take_many(&rig, &listener, MANY, MP_EVENT_MORE | (lwsocket ? (uint32_t)MP_EVENT_LWSOCKET : 0u));
		stop(&rig, &listener, 4);
		CHECK_EQUAL(3 * MANY, rig_counters(&rig).accepted);
		rig_unlisten(&rig, &listener);
		rig_close(&rig);
	}
}

static void accept_after_stop_accepts_again(void)
{
	struct rig_listener listener;
	struct rig rig;

	rig_open(&rig, NULL);
	listener = rig_listen(&rig, AF_INET, 77);
	for (int round = 0; round < 3; round++) {
		CHECK_EQUAL(0, mp_accept(rig.channel, listener.handle, 2, MP_ACCEPT_KEEP));
		take_many(&rig, &listener, 3, MP_EVENT_MORE);
		stop(&rig, &listener, 2);
	}
	CHECK_EQUAL(0, mp_accept_stop(rig.channel, listener.handle)); /* nothing to stop: no event */
	rig_nothing(&rig);
	rig_unlisten(&rig, &listener);
	rig_close(&rig);
}

static void accept_while_stopping_is_busy(void)
{
	struct rig_listener listener;
	struct rig rig;

	rig_open(&rig, NULL);
	listener = rig_listen(&rig, AF_INET, 77);
	CHECK_EQUAL(0, mp_accept(rig.channel, listener.handle, 2, MP_ACCEPT_KEEP));
	rig_turn(&rig);
	CHECK_EQUAL(0, mp_accept_stop(rig.channel, listener.handle));
	CHECK_EQUAL(-EBUSY, mp_accept(rig.channel, listener.handle, 1, 0));
	for (int i = 0; i < 2; i++)
		CHECK_EQUAL(-ECANCELED, rig_take(&rig, 0, MP_STAGE_ACCEPT).result);
	CHECK_EQUAL(0, mp_accept(rig.channel, listener.handle, 1, 0));
	take_many(&rig, &listener, 1, 0);
	rig_unlisten(&rig, &listener);
	rig_close(&rig);
}

static void accept_on_nonblocking_listener_waits(void)
{
	for (uint32_t lwsocket = 0; lwsocket <= MP_ACCEPT_LWSOCKET; lwsocket++) {
		struct rig_listener listener;
		struct rig rig;

		rig_open(&rig, NULL);
		listener.fd = listen_fd(AF_INET, SOCK_NONBLOCK, &listener.address, &listener.bytes);
		listener.handle = mp_register(rig.channel, listener.fd, 77, 0, 0);
		CHECK_EQUAL(0, mp_accept(rig.channel, listener.handle, 3, lwsocket | MP_ACCEPT_KEEP));
		rig_nothing(&rig);
		take_many(&rig, &listener, MANY, MP_EVENT_MORE | (lwsocket ? (uint32_t)MP_EVENT_LWSOCKET : 0u));
		rig_nothing(&rig);
		stop(&rig, &listener, 3);
		rig_unlisten(&rig, &listener);
		rig_close(&rig);
	}
}

static void unregister_listener_cancels_accepts_before_retiring(void)
{
	struct rig_listener listener;
	struct rig rig;

	rig_open(&rig, NULL);
	listener = rig_listen(&rig, AF_INET, 77);
	CHECK_EQUAL(0, mp_accept(rig.channel, listener.handle, 5, MP_ACCEPT_KEEP | MP_ACCEPT_LWSOCKET));
	rig_turn(&rig);
	CHECK_EQUAL(0, mp_unregister(rig.channel, listener.handle));
	CHECK_EQUAL(MP_EVENT_RETIRED, rig_take(&rig, listener.handle, MP_STAGE_CLOSE).flags);
	CHECK_EQUAL(5, rig.kept_count); /* all five came before it */
	for (int i = 0; i < 5; i++)
		CHECK_EQUAL(-ECANCELED, rig_take(&rig, 0, MP_STAGE_ACCEPT).result);
	/* The fd still works for its owner. */
	{
		int32_t peer = connect_fd(&listener.address, listener.bytes), taken = accept(listener.fd, NULL, NULL);

		CHECK(taken >= 0);
		close(taken);
		close(peer);
	}
	close(listener.fd);
	rig_close(&rig);
}

static void accept_flush_gives_it_to_the_kernel(void)
{
	struct rig_listener listener;
	struct rig rig;

	rig_open(&rig, NULL);
	listener = rig_listen(&rig, AF_INET, 77);
	CHECK_EQUAL(0, mp_accept(rig.channel, listener.handle, 2, 0));
	CHECK_EQUAL(2, rig_counters(&rig).in_flight);
	CHECK_EQUAL(2, mp_flush(rig.channel));
	take_many(&rig, &listener, 2, 0);
	rig_unlisten(&rig, &listener);
	rig_close(&rig);
}

static void accept_misuse_is_refused(void)
{
	struct rig_listener listener;
	struct rig_link link;
	struct rig rig;

	rig_open(&rig, NULL);
	listener = rig_listen(&rig, AF_INET, 77);
	CHECK_EQUAL(-EINVAL, mp_accept(rig.channel, listener.handle, 0, 0));
	CHECK_EQUAL(-EINVAL, mp_accept(rig.channel, listener.handle, 65, 0));
	CHECK_EQUAL(-EINVAL, mp_accept(rig.channel, listener.handle, 1, 4));
	CHECK_EQUAL(-EBADF, mp_accept(rig.channel, 12345, 1, 0));
	CHECK_EQUAL(-EBADF, mp_accept(rig.channel, 0, 1, 0));
	CHECK_EQUAL(-EBADF, mp_accept(rig.channel, -1, 1, 0));
	CHECK_EQUAL(-EBADF, mp_accept_stop(rig.channel, 12345));
	link = rig_connect(&rig, &listener, 0);
	CHECK_EQUAL(-EINVAL, mp_accept(rig.channel, link.handle, 1, 0));
	CHECK_EQUAL(-EBADF, mp_accept_stop(rig.channel, link.handle));
	CHECK_EQUAL(-EINVAL, mp_read(rig.channel, listener.handle, &link, 1));
	CHECK_EQUAL(-ENOTSUP, mp_read_start(rig.channel, listener.handle));
	CHECK_EQUAL(-EINVAL, mp_write(rig.channel, listener.handle, &link, 1));
	CHECK_EQUAL(-EINVAL, mp_disconnect(rig.channel, listener.handle, MP_SHUT_BOTH));
	rig_unlink(&rig, &link, 0);
	CHECK_EQUAL(0, mp_accept(rig.channel, listener.handle, 60, MP_ACCEPT_KEEP));
	CHECK_EQUAL(-EBUSY, mp_accept(rig.channel, listener.handle, 5, MP_ACCEPT_KEEP));
	stop(&rig, &listener, 60);
	rig_unlisten(&rig, &listener);
	rig_close(&rig);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		TEST(accept_count_accepts_as_many_and_stops), TEST(accept_keep_accepts_until_stopped),
		TEST(accept_after_stop_accepts_again),        TEST(accept_while_stopping_is_busy),
		TEST(accept_on_nonblocking_listener_waits),   TEST(unregister_listener_cancels_accepts_before_retiring),
		TEST(accept_flush_gives_it_to_the_kernel),    TEST(accept_misuse_is_refused),
	};

	return RUN_TESTS(tests, argc, argv);
}
