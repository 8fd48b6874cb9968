/* Connecting, and what a handle tells of its socket: addresses and fds. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "common_rig.h"

static const int families[] = { AF_INET, AF_INET6, AF_UNIX };

static void connect_reaches_listener(void)
{
	for (uint32_t i = 0; i < COUNT_OF(families); i++) {
		for (uint32_t flags = 0; flags <= MP_ACCEPT_LWSOCKET; flags++) {
			struct rig_link link;
			struct sockaddr_storage address, peer;
			struct mp_event event;
			struct rig rig;
			socklen_t bytes;
			int32_t listener = listen_fd(families[i], 0, &address, &bytes);
			char text[4];

			rig_open(&rig, NULL);
			link.handle = mp_connect(rig.channel, &address, bytes, 5, flags);
			CHECK(link.handle > 0);
			event = rig_take(&rig, link.handle, MP_STAGE_ACCEPT);
			CHECK_EQUAL(0, event.result);
			CHECK_EQUAL(5, event.cookie);
			CHECK_EQUAL(0, event.source);
			CHECK_EQUAL(MP_EVENT_CONNECTED | (flags ? (uint32_t)MP_EVENT_LWSOCKET : 0u), event.flags);
			link.peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
			rig_write(&rig, link.handle, "ping", 4);
			receive_all(link.peer, text, 4);
			send_all(link.peer, "pong", 4);
			rig_read(&rig, link.handle, text, 4);
			CHECK(!memcmp(text, "pong", 4));
			if (families[i] != AF_UNIX) {
				CHECK_EQUAL(bytes, mp_peer_address(rig.channel, link.handle, &peer, sizeof peer));
				CHECK(!memcmp(&address, &peer, bytes));
			}
			rig_unlink(&rig, &link, 0);
			close(listener);
			rig_close(&rig);
		}
	}
}

static void connect_refused_keeps_the_handle(void)
{
	for (uint32_t flags = 0; flags <= MP_ACCEPT_LWSOCKET; flags++) {
		struct rig_link link = { .peer = -1 };
		struct sockaddr_storage address;
		struct mp_event event;
		struct rig rig;
		socklen_t bytes;

		close(listen_fd(AF_INET, 0, &address, &bytes));
		rig_open(&rig, NULL);
		link.handle = mp_connect(rig.channel, &address, bytes, 5, flags);
		event = rig_take(&rig, link.handle, MP_STAGE_ACCEPT);
		CHECK_EQUAL(-ECONNREFUSED, event.result);
		CHECK(event.flags & MP_EVENT_CONNECTED);
		CHECK_EQUAL(1, rig_counters(&rig).handles_live);
		rig_unlink(&rig, &link, 0);
		rig_close(&rig);
	}
}

/* At once, after a turn, and with RST: the connect's event comes, then the end. */
static void connect_then_close_ends_both(void)
{
	for (uint32_t variant = 0; variant < 8; variant++) {
		struct sockaddr_storage address;
		struct rig_link link = { .peer = -1 };
		struct mp_event event;
		struct rig rig;
		socklen_t bytes;
		int32_t listener = listen_fd(AF_INET, 0, &address, &bytes);

		rig_open(&rig, NULL);
		link.handle = mp_connect(rig.channel, &address, bytes, 5, variant & 1);
		if (variant & 2)
			CHECK(mp_flush(rig.channel) >= 0);
		CHECK_EQUAL(0, mp_close(rig.channel, link.handle, variant & 4 ? MP_CLOSE_ABORT : 0));
		event = rig_take(&rig, link.handle, MP_STAGE_ACCEPT);
		CHECK(event.flags & MP_EVENT_CONNECTED);
		CHECK_EQUAL(MP_EVENT_RETIRED, rig_take(&rig, link.handle, MP_STAGE_CLOSE).flags);
		close(listener);
		rig_close(&rig);
	}
}

static void connect_misuse_is_refused(void)
{
	struct sockaddr_storage address = { .ss_family = 12345 };
	struct rig rig;

	rig_open(&rig, NULL);
	CHECK_EQUAL(-EINVAL, mp_connect(rig.channel, NULL, 16, 0, 0));
	CHECK_EQUAL(-EINVAL, mp_connect(rig.channel, &address, 1, 0, 0));
	CHECK_EQUAL(-EINVAL, mp_connect(rig.channel, &address, sizeof address + 1, 0, 0));
	CHECK_EQUAL(-EINVAL, mp_connect(rig.channel, &address, sizeof address, 0, 8));
	CHECK_EQUAL(-EAFNOSUPPORT, mp_connect(rig.channel, &address, sizeof address, 0, 0));
	{
		struct rig_link link = { .peer = -1 };

		link.handle = mp_connect(rig.channel, &address, sizeof address, 0, MP_ACCEPT_LWSOCKET);
		CHECK(link.handle > 0);
		CHECK_EQUAL(-EAFNOSUPPORT, rig_take(&rig, link.handle, MP_STAGE_ACCEPT).result);
		CHECK_EQUAL(kernel_has(MP_FEATURE_FD_INSTALL) ? -EBADF : -ENOTSUP, mp_to_fd(rig.channel, link.handle));
		rig_unlink(&rig, &link, 0);
	}
	rig_close(&rig);
}

/* An fd of a lightweight socket, and with it its local address: kernels before 6.8 have none. */
static int tells(uint32_t accept_flags)
{
	return !(accept_flags & MP_ACCEPT_LWSOCKET) || kernel_has(MP_FEATURE_FD_INSTALL);
}

#define NO_FD "the lightweight half: no fd for a lightweight socket on this kernel (6.8 brings it)"

static void addresses_are_those_of_the_socket(void)
{
	for (uint32_t i = 0; i < 2; i++) {
		for (uint32_t flags = 0; flags <= MP_ACCEPT_LWSOCKET; flags++) {
			struct sockaddr_storage expected, address;
			struct rig_link link;
			struct rig rig;
			socklen_t bytes = sizeof expected;

			rig_open(&rig, NULL);
			link = rig_link(&rig, families[i], flags);
			CHECK_EQUAL(0, getsockname(link.peer, (struct sockaddr *)&expected, &bytes));
			CHECK_EQUAL(bytes, mp_peer_address(rig.channel, link.handle, &address, sizeof address));
			CHECK(!memcmp(&expected, &address, bytes));
			CHECK_EQUAL(0, getpeername(link.peer, (struct sockaddr *)&expected, &bytes));
			CHECK_EQUAL(tells(flags) ? (int32_t)bytes : -ENOTSUP,
				    mp_local_address(rig.channel, link.handle, &address, sizeof address));
			CHECK(!tells(flags) || !memcmp(&expected, &address, bytes));
			/* A small buffer gets what fits, and the whole size. */
			memset(&address, 0, sizeof address);
			CHECK_EQUAL(bytes, mp_peer_address(rig.channel, link.handle, &address, 4));
			CHECK_EQUAL(0, ((uint8_t *)&address)[4]);
			rig_unlink(&rig, &link, 0);
			rig_close(&rig);
		}
	}
	if (!tells(MP_ACCEPT_LWSOCKET))
		skip(NO_FD);
}

static void peer_of_nameless_unix_client_has_no_address(void)
{
	for (uint32_t flags = 0; flags <= MP_ACCEPT_LWSOCKET; flags++) {
		struct sockaddr_storage address;
		struct rig_link link;
		struct rig rig;

		rig_open(&rig, NULL);
		link = rig_link(&rig, AF_UNIX, flags);
		CHECK_EQUAL(0, mp_peer_address(rig.channel, link.handle, &address, sizeof address));
		if (tells(flags))
			CHECK(mp_local_address(rig.channel, link.handle, &address, sizeof address) > 2);
		rig_unlink(&rig, &link, 0);
		rig_close(&rig);
	}
	if (!tells(MP_ACCEPT_LWSOCKET))
		skip(NO_FD);
}

static void unix_path_listener_accepts(void)
{
	char directory[] = P_tmpdir "/megapipe-XXXXXX";
	struct sockaddr_un *name;
	struct rig_listener listener = { .bytes = sizeof *name };
	struct rig_link link;
	struct rig rig;
	char text[2];

	CHECK(mkdtemp(directory));
	name = (struct sockaddr_un *)&listener.address;
	name->sun_family = AF_UNIX;
	CHECK(snprintf(name->sun_path, sizeof name->sun_path, "%s/socket", directory) > 0);
	listener.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK_EQUAL(0, bind(listener.fd, (struct sockaddr *)name, sizeof *name));
	CHECK_EQUAL(0, listen(listener.fd, 8));
	rig_open(&rig, NULL);
	listener.handle = mp_register(rig.channel, listener.fd, 0, 0, 0);
	link = rig_connect(&rig, &listener, MP_ACCEPT_LWSOCKET);
	send_all(link.peer, "hi", 2);
	rig_read(&rig, link.handle, text, 2);
	rig_unlink(&rig, &link, 0);
	rig_unlisten(&rig, &listener);
	rig_close(&rig);
	CHECK_EQUAL(0, unlink(name->sun_path));
	CHECK_EQUAL(0, rmdir(directory));
}

static void to_fd_gives_a_second_way_to_the_socket(void)
{
	for (uint32_t flags = 0; flags <= MP_ACCEPT_LWSOCKET; flags++) {
		struct rig_link link;
		struct rig rig;
		char text[4];
		int32_t fd;

		if (!tells(flags)) {
			skip(NO_FD);
			break;
		}
		rig_open(&rig, NULL);
		link = rig_link(&rig, AF_INET, flags);
		CHECK_EQUAL(0, mp_read_start(rig.channel, link.handle));
		send_all(link.peer, "data", 4);
		fd = mp_to_fd(rig.channel, link.handle);
		CHECK(fd >= 0);
		CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
		CHECK_EQUAL(2, send(fd, "fd", 2, 0));
		receive_all(link.peer, text, 2);
		rig_leased(&rig, link.handle, text, 4); /* its completion was passed over, not lost */
		CHECK_EQUAL(0, mp_read_pause(rig.channel, link.handle));
		CHECK_EQUAL(-ECANCELED, rig_take(&rig, link.handle, MP_STAGE_READ).result);
		if (flags)
			CHECK_EQUAL(-ENOTSUP, mp_peek_fd(rig.channel, link.handle));
		else
			CHECK(mp_peek_fd(rig.channel, link.handle) >= 0 && mp_peek_fd(rig.channel, link.handle) != fd);
		close(fd);
		rig_unlink(&rig, &link, 0);
		rig_close(&rig);
	}
}

/* Of an ordinary socket and of a lightweight one: seen through a second descriptor. */
static void option_set_is_the_sockets(void)
{
	for (uint32_t flags = 0; flags <= MP_ACCEPT_LWSOCKET; flags++) {
		struct rig_link link;
		struct sockaddr_storage address;
		struct rig rig;
		socklen_t bytes, got_bytes = sizeof(int);
		int32_t listener = listen_fd(AF_INET, 0, &address, &bytes), fd;
		int on = 1, got = 0;

		if (flags && !kernel_has(MP_FEATURE_FD_INSTALL)) {
			close(listener);
			continue;
		}
		rig_open(&rig, NULL);
		link.handle = mp_connect(rig.channel, &address, bytes, 5, flags);
		CHECK_EQUAL(0, rig_take(&rig, link.handle, MP_STAGE_ACCEPT).result);
		link.peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		CHECK_EQUAL(0, mp_set_option(rig.channel, link.handle, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on));
		fd = mp_to_fd(rig.channel, link.handle);
		CHECK(fd >= 0);
		CHECK_EQUAL(0, getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &got, &got_bytes));
		CHECK_EQUAL(1, got);
		close(fd);
		CHECK_EQUAL(-EINVAL, mp_set_option(rig.channel, link.handle, IPPROTO_TCP, TCP_NODELAY, &on, 1));
		rig_unlink(&rig, &link, 0);
		CHECK_EQUAL(-EBADF, mp_set_option(rig.channel, link.handle, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on));
		close(listener);
		rig_close(&rig);
	}
}

static void to_fd_without_fd_install_is_not_supported(void)
{
	struct mp_config config = rig_config(MP_CONFIG_NO_FD_INSTALL);
	struct sockaddr_storage address;
	struct rig_link link;
	struct rig rig;

	rig_open(&rig, &config);
	link = rig_link(&rig, AF_INET, MP_ACCEPT_LWSOCKET);
	CHECK_EQUAL(-ENOTSUP, mp_to_fd(rig.channel, link.handle));
	CHECK_EQUAL(-ENOTSUP, mp_local_address(rig.channel, link.handle, &address, sizeof address));
	CHECK_EQUAL(-ENOTSUP, mp_set_option(rig.channel, link.handle, IPPROTO_TCP, TCP_NODELAY, &rig, 4));
	rig_unlink(&rig, &link, 0);
	rig_close(&rig);
}

static void cookie_set_comes_back_in_later_events(void)
{
	struct rig_link link;
	struct rig rig;
	int32_t fd;
	char byte;

	rig_open(&rig, NULL);
	link = rig_pair(&rig, &fd);
	CHECK_EQUAL(0, mp_read(rig.channel, link.handle, &byte, 1));
	CHECK_EQUAL(0, mp_set_cookie(rig.channel, link.handle, UINT64_MAX));
	send_all(link.peer, "x", 1);
	CHECK(rig_take(&rig, link.handle, MP_STAGE_READ).cookie == UINT64_MAX);
	rig_unlink(&rig, &link, 0);
	rig_close(&rig);
}

/* The name of a Unix client is kept apart from its handle, and goes with it. */
static void names_of_unix_clients_are_freed(void)
{
	struct rig_listener listener;
	size_t before = 0;
	struct rig rig;

	rig_open(&rig, NULL);
	listener = rig_listen(&rig, AF_UNIX, 0);
	for (uint32_t i = 0; i < 300; i++) {
		struct sockaddr_un name = { .sun_family = AF_UNIX };
		struct rig_link link;
		struct mp_event event;

		if (i == 100)
			before = mallinfo2().uordblks;
		CHECK_EQUAL(0, mp_accept(rig.channel, listener.handle, 1, 0));
		link.peer = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		CHECK_EQUAL(0, bind(link.peer, (struct sockaddr *)&name, sizeof(sa_family_t))); /* the kernel's pick */
		CHECK_EQUAL(0, connect(link.peer, (struct sockaddr *)&listener.address, listener.bytes));
		event = rig_take(&rig, 0, MP_STAGE_ACCEPT);
		link.handle = event.handle;
		CHECK(mp_peer_address(rig.channel, link.handle, &name, sizeof name) > (int32_t)sizeof(sa_family_t));
		rig_unlink(&rig, &link, 0);
	}
	/* 200 names have at least 24 bytes each. */
	CHECK(mallinfo2().uordblks < before + 2000);
	rig_unlisten(&rig, &listener);
	rig_close(&rig);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		TEST(connect_reaches_listener),
		TEST(names_of_unix_clients_are_freed),
		TEST(connect_refused_keeps_the_handle),
		TEST(connect_then_close_ends_both),
		TEST(connect_misuse_is_refused),
		TEST(addresses_are_those_of_the_socket),
		TEST(peer_of_nameless_unix_client_has_no_address),
		TEST(unix_path_listener_accepts),
		TEST(to_fd_gives_a_second_way_to_the_socket),
		TEST(to_fd_without_fd_install_is_not_supported),
		TEST(option_set_is_the_sockets),
		TEST(cookie_set_comes_back_in_later_events),
	};

	return RUN_TESTS(tests, argc, argv);
}
