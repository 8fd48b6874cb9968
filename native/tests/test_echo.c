/* The whole way once: accept, read, write, close, over every address family, for both kinds of socket and read, in each
 * mode that a channel can run in. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>

#include "common_rig.h"

static const int families[] = { AF_INET, AF_INET6, AF_UNIX };

static void echo_once(struct rig *rig, int family, uint32_t accept_flags, int leased)
{
	struct rig_link link = rig_link(rig, family, accept_flags);
	struct mp_event event;
	char text[32] = "";

	CHECK_EQUAL(accept_flags & MP_ACCEPT_LWSOCKET ? MP_EVENT_LWSOCKET : 0, link.flags);
	if (leased)
		CHECK_EQUAL(0, mp_read_start(rig->channel, link.handle));
	for (int turn = 0; turn < 3; turn++) {
		send_all(link.peer, "hello", 5);
		if (leased)
			rig_leased(rig, link.handle, text, 5);
		else
			rig_read(rig, link.handle, text, 5);
		CHECK(!memcmp(text, "hello", 5));
		rig_write(rig, link.handle, text, 5);
		memset(text, 0, sizeof text);
		receive_all(link.peer, text, 5);
		CHECK(!memcmp(text, "hello", 5));
	}
	CHECK_EQUAL(0, shutdown(link.peer, SHUT_WR));
	if (!leased)
		CHECK_EQUAL(0, mp_read(rig->channel, link.handle, text, sizeof text));
	event = rig_take(rig, link.handle, MP_STAGE_READ);
	CHECK_EQUAL(0, event.result);
	CHECK_EQUAL(0, event.flags);
	rig_unlink(rig, &link, 0);
}

static void echo_everything(uint32_t flags)
{
	struct mp_config config = rig_config(flags);
	struct rig rig;

	rig_open(&rig, &config);
	for (uint32_t i = 0; i < COUNT_OF(families); i++) {
		for (uint32_t accept_flags = 0; accept_flags <= MP_ACCEPT_LWSOCKET; accept_flags++) {
			echo_once(&rig, families[i], accept_flags, 0);
			if (!(flags & MP_CONFIG_NO_LEASE))
				echo_once(&rig, families[i], accept_flags, 1);
		}
	}
	rig_close(&rig);
}

static void echo_default_returns_bytes(void)
{
	echo_everything(0);
}

static void echo_single_thread_returns_bytes(void)
{
	echo_everything(MP_CONFIG_SINGLE_THREAD);
}

static void echo_without_fd_install_returns_bytes(void)
{
	echo_everything(MP_CONFIG_NO_FD_INSTALL);
}

static void echo_with_eventfd_wake_returns_bytes(void)
{
	echo_everything(MP_CONFIG_WAKE_EVENTFD);
}

static void echo_without_leases_returns_bytes(void)
{
	echo_everything(MP_CONFIG_NO_LEASE);
}

static void echo_single_thread_with_eventfd_returns_bytes(void)
{
	echo_everything(MP_CONFIG_SINGLE_THREAD | MP_CONFIG_WAKE_EVENTFD | MP_CONFIG_NO_FD_INSTALL);
}

static void read_start_without_leases_is_not_supported(void)
{
	struct mp_config config = rig_config(MP_CONFIG_NO_LEASE);
	struct rig_link link;
	struct rig rig;

	rig_open(&rig, &config);
	link = rig_link(&rig, AF_INET, 0);
	CHECK_EQUAL(-ENOTSUP, mp_read_start(rig.channel, link.handle));
	CHECK(!mp_lease_address(rig.channel, 0));
	CHECK_EQUAL(-EINVAL, mp_release(rig.channel, 0));
	rig_unlink(&rig, &link, 0);
	rig_close(&rig);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		TEST(echo_default_returns_bytes),
		TEST(echo_single_thread_returns_bytes),
		TEST(echo_without_fd_install_returns_bytes),
		TEST(echo_with_eventfd_wake_returns_bytes),
		TEST(echo_without_leases_returns_bytes),
		TEST(echo_single_thread_with_eventfd_returns_bytes),
		TEST(read_start_without_leases_is_not_supported),
	};

	return RUN_TESTS(tests, argc, argv);
}
