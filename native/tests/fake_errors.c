/* Every error that a stage can get from the kernel: told once, or survived; and the handle ends well after it. */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "fake_kernel_rig.h"

#define PORT 80

static void read_error_is_told_and_read_can_be_made_again(void)
{
	static const int32_t errors[] = { ECONNRESET, ETIMEDOUT, EHOSTUNREACH, ENETUNREACH, ENOMEM,
					  ENOBUFS,    EIO,       EFAULT,       ENOTCONN,    EINVAL };

	for (uint32_t i = 0; i < COUNT_OF(errors); i++) {
		struct rig_link link;
		struct mp_event event;
		char text[2];

		begin();
		link = pair(false);
		say(&link, "ok");
		fake_fail(IORING_OP_RECV, -errors[i], 1);
		CHECK_EQUAL(0, mp_read(rig.channel, link.handle, text, 2));
		event = rig_take(&rig, link.handle, MP_STAGE_READ);
		CHECK_EQUAL(-errors[i], event.result);
		CHECK_EQUAL(0, event.flags);
		rig_read(&rig, link.handle, text, 2);
		unlink_pair(&link);
		end();
	}
}

static void leased_read_error_ends_it_and_it_can_be_started_again(void)
{
	static const int32_t errors[] = { ECONNRESET, ETIMEDOUT, EHOSTUNREACH, ENETUNREACH, ENOMEM, EIO, ENOTCONN };

	for (uint32_t i = 0; i < COUNT_OF(errors); i++) {
		struct rig_link link;
		struct mp_event event;
		char text[2];

		begin();
		link = pair(false);
		say(&link, "ok");
		fake_fail(IORING_OP_RECV, -errors[i], 1);
		CHECK_EQUAL(0, mp_read_start(rig.channel, link.handle));
		event = rig_take(&rig, link.handle, MP_STAGE_READ);
		CHECK_EQUAL(-errors[i], event.result);
		CHECK_EQUAL(0, event.flags);
		CHECK_EQUAL(0, mp_read_start(rig.channel, link.handle));
		rig_leased(&rig, link.handle, text, 2);
		CHECK_EQUAL(0, mp_read_pause(rig.channel, link.handle));
		CHECK_EQUAL(-ECANCELED, rig_take(&rig, link.handle, MP_STAGE_READ).result);
		unlink_pair(&link);
		end();
	}
}

static void read_interrupted_or_without_data_goes_on(void)
{
	static const int32_t errors[] = { EINTR, EAGAIN, ENOBUFS, ECANCELED };

	for (uint32_t i = 0; i < COUNT_OF(errors); i++) {
		for (int leased = errors[i] == ENOBUFS; leased <= 1; leased++) {
			struct rig_link link;
			char text[2];

			begin();
			link = pair(false);
			fake_fail(IORING_OP_RECV, -errors[i], 3);
			if (leased)
				CHECK_EQUAL(0, mp_read_start(rig.channel, link.handle));
			else
				CHECK_EQUAL(0, mp_read(rig.channel, link.handle, text, 2));
			rig_nothing(&rig);
			say(&link, "ok");
			if (leased) {
				rig_leased(&rig, link.handle, text, 2);
				CHECK_EQUAL(0, mp_read_pause(rig.channel, link.handle));
				CHECK_EQUAL(-ECANCELED, rig_take(&rig, link.handle, MP_STAGE_READ).result);
			} else {
				CHECK_EQUAL(2, rig_take(&rig, link.handle, MP_STAGE_READ).result);
			}
			unlink_pair(&link);
			end();
		}
	}
}

static void write_error_is_told(void)
{
	static const int32_t errors[] = { EPIPE,   ECONNRESET, ETIMEDOUT, EHOSTUNREACH, ENOMEM,
					  ENOBUFS, EIO,        ENOSPC,    EMSGSIZE };

	for (uint32_t i = 0; i < COUNT_OF(errors); i++) {
		struct iovec vectors[2] = { { "a", 1 }, { "b", 1 } };
		struct rig_link link;

		begin();
		link = pair(false);
		fake_fail(IORING_OP_SEND, -errors[i], 1);
		CHECK_EQUAL(0, mp_write(rig.channel, link.handle, "ok", 2));
		CHECK_EQUAL(-errors[i], rig_take(&rig, link.handle, MP_STAGE_WRITE).result);
		fake_fail(IORING_OP_SENDMSG, -errors[i], 1);
		CHECK_EQUAL(0, mp_writev(rig.channel, link.handle, vectors, 2));
		CHECK_EQUAL(-errors[i], rig_take(&rig, link.handle, MP_STAGE_WRITE).result);
		unlink_pair(&link);
		end();
	}
}

static void write_interrupted_or_without_room_goes_on(void)
{
	static const int32_t errors[] = { EINTR, EAGAIN, ECANCELED };

	for (uint32_t i = 0; i < COUNT_OF(errors); i++) {
		struct rig_link link;
		uint8_t text[2];

		begin();
		link = pair(false);
		fake_fail(IORING_OP_SEND, -errors[i], 3);
		rig_write(&rig, link.handle, "ok", 2);
		CHECK_EQUAL(2, fake_peer_receive((uint32_t)link.peer, text, 2));
		unlink_pair(&link);
		end();
	}
}

static void poll_error_ends_what_waited_for_it(void)
{
	struct rig_link link;
	char text[2];

	begin();
	link = pair(true);
	fake_fail(IORING_OP_POLL_ADD, -ENOMEM, 1);
	CHECK_EQUAL(0, mp_read(rig.channel, link.handle, text, 2));
	CHECK_EQUAL(-ENOMEM, rig_take(&rig, link.handle, MP_STAGE_READ).result);
	fake_fail(IORING_OP_POLL_ADD, -ENOMEM, 1);
	CHECK_EQUAL(0, mp_read_start(rig.channel, link.handle));
	CHECK_EQUAL(-ENOMEM, rig_take(&rig, link.handle, MP_STAGE_READ).result);
	unlink_pair(&link);
	end();
}

static void accept_error_ends_it_and_is_told(void)
{
	static const int32_t errors[] = { EMFILE, ENFILE, ECONNABORTED, ENOBUFS, ENOMEM, EPERM, EPROTO, EINVAL };
	static const int32_t resumed[] = { EINTR, EAGAIN, ECANCELED };

	for (uint32_t i = 0; i < COUNT_OF(errors); i++) {
		mp_handle listener;
		struct mp_event event;
		int32_t fd;

		begin();
		fd = fake_listen(PORT, false);
		listener = mp_register(rig.channel, fd, 0, 0, 0);
		fake_fail(IORING_OP_ACCEPT, -errors[i], 1);
		CHECK_EQUAL(0, mp_accept(rig.channel, listener, 1, MP_ACCEPT_KEEP | (i & 1)));
		event = rig_take(&rig, 0, MP_STAGE_ACCEPT);
		CHECK_EQUAL(-errors[i], event.result);
		CHECK_EQUAL(0, event.flags);
		CHECK_EQUAL(listener, event.source);
		fake_fail(IORING_OP_ACCEPT, -resumed[i % 3], 3); /* these go on */
		CHECK_EQUAL(0, mp_accept(rig.channel, listener, 1, i & 1));
		rig_turn(&rig);
		{
			struct rig_link link = { .peer = (int32_t)fake_peer_connect(PORT, 5) };

			event = rig_take(&rig, 0, MP_STAGE_ACCEPT);
			CHECK_EQUAL(0, event.result);
			link.handle = event.handle;
			unlink_pair(&link);
		}
		CHECK_EQUAL(0, mp_unregister(rig.channel, listener));
		rig_take(&rig, listener, MP_STAGE_CLOSE);
		CHECK_EQUAL(0, fake_fd_close(fd));
		end();
	}
}

static void connect_error_keeps_the_handle(void)
{
	static const struct {
		uint8_t opcode;
		int32_t error;
	} cases[] = {
		{ IORING_OP_CONNECT, ECONNREFUSED },  { IORING_OP_CONNECT, ETIMEDOUT },
		{ IORING_OP_CONNECT, EHOSTUNREACH },  { IORING_OP_CONNECT, ENETUNREACH },
		{ IORING_OP_CONNECT, EADDRNOTAVAIL }, { IORING_OP_CONNECT, EACCES },
		{ IORING_OP_SOCKET, EMFILE },         { IORING_OP_SOCKET, ENFILE },
		{ IORING_OP_SOCKET, ENOMEM },         { IORING_OP_SOCKET, EAFNOSUPPORT },
	};

	for (uint32_t i = 0; i < COUNT_OF(cases); i++) {
		struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = PORT };
		struct rig_link link = { .peer = -1 };
		struct mp_event event;

		begin();
		fake_fail(cases[i].opcode, -cases[i].error, 1);
		link.handle = mp_connect(rig.channel, &address, sizeof address, 3, MP_ACCEPT_LWSOCKET);
		event = rig_take(&rig, link.handle, MP_STAGE_ACCEPT);
		CHECK_EQUAL(-cases[i].error, event.result);
		CHECK_EQUAL(3, event.cookie);
		CHECK(event.flags & MP_EVENT_CONNECTED);
		rig_unlink(&rig, &link, i & 1 ? MP_CLOSE_ABORT : 0);
		end();
	}
}

/* ECANCELED: its thread has ended. EALREADY: made again, while the connection is being made. */
static void connect_of_an_ended_thread_goes_on(void)
{
	static const struct {
		uint8_t opcode;
		int32_t error;
	} cases[] = {
		{ IORING_OP_SOCKET, ECANCELED },
		{ IORING_OP_CONNECT, ECANCELED },
		{ IORING_OP_CONNECT, EINTR },
		{ IORING_OP_CONNECT, EALREADY },
	};

	for (uint32_t i = 0; i < COUNT_OF(cases); i++) {
		struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = PORT };
		struct rig_link link = { .peer = -1 };
		struct mp_event event;
		uint16_t port;
		int32_t fd;

		begin();
		fd = fake_listen(PORT, false);
		fake_fail(cases[i].opcode, -cases[i].error, 2);
		link.handle = mp_connect(rig.channel, &address, sizeof address, 3, MP_ACCEPT_LWSOCKET);
		event = rig_take(&rig, link.handle, MP_STAGE_ACCEPT);
		CHECK_EQUAL(0, event.result);
		CHECK(event.flags & MP_EVENT_CONNECTED);
		link.peer = (int32_t)fake_peer_accept(PORT, &port);
		unlink_pair(&link);
		CHECK_EQUAL(0, fake_fd_close(fd));
		end();
	}
}

/* The poll that such a connect waits for ends with its thread, too, and with the handle. */
static void connect_of_an_ended_thread_can_be_closed(void)
{
	for (uint32_t i = 0; i < 2; i++) {
		struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = PORT };
		struct rig_link link = { .peer = -1 };
		struct mp_event event;
		int32_t fd;

		begin();
		fd = fake_listen(PORT, false);
		fake_fail(IORING_OP_CONNECT, -EALREADY, 1);
		link.handle = mp_connect(rig.channel, &address, sizeof address, 3, i ? MP_ACCEPT_LWSOCKET : 0);
		CHECK(mp_flush(rig.channel) >= 0);
		fake_chances.defer = 1000; /* the poll stays in the kernel */
		CHECK_EQUAL(0, mp_dispatch(rig.channel, &event, 1, 0));
		CHECK_EQUAL(0, mp_dispatch(rig.channel, &event, 1, 0));
		CHECK_EQUAL(1, fake_requests_live());
		fake_chances.defer = 0;
		CHECK_EQUAL(0, mp_close(rig.channel, link.handle, 0));
		CHECK_EQUAL(-ECANCELED, rig_take(&rig, link.handle, MP_STAGE_ACCEPT).result);
		CHECK_EQUAL(MP_EVENT_RETIRED, rig_take(&rig, link.handle, MP_STAGE_CLOSE).flags);
		CHECK_EQUAL(0, fake_fd_close(fd));
		end();
	}
}

static void close_error_retires_and_is_not_retried(void)
{
	static const int32_t errors[] = { EIO, EINTR, ENOSPC, EDQUOT };

	for (uint32_t i = 0; i < COUNT_OF(errors); i++) {
		struct rig_link link;

		begin();
		link = pair(false);
		fake_fail(IORING_OP_CLOSE, -errors[i], 1);
		unlink_pair(&link);
		end();
	}
}

static void disconnect_error_is_told(void)
{
	struct rig_link link;

	begin();
	link = pair(false);
	fake_fail(IORING_OP_SHUTDOWN, -ENOTCONN, 1);
	CHECK_EQUAL(0, mp_disconnect(rig.channel, link.handle, MP_SHUT_WRITE));
	CHECK_EQUAL(-ENOTCONN, rig_take(&rig, link.handle, MP_STAGE_CLOSE).result);
	unlink_pair(&link);
	end();
}

static void transfer_error_keeps_the_handle_here(void)
{
	static const int32_t errors[] = { EOVERFLOW, ENFILE, EBADFD, ENOMEM, EINVAL };

	for (uint32_t i = 0; i < COUNT_OF(errors); i++) {
		struct mp_event event;
		struct rig_link link;
		struct rig other;
		char text[2];

		begin();
		rig_open(&other, NULL);
		link = pair(false);
		fake_fail(IORING_OP_MSG_RING, -errors[i], 1);
		CHECK_EQUAL(0, mp_transfer(rig.channel, link.handle, other.channel, 0));
		event = rig_take(&rig, link.handle, MP_STAGE_CLOSE);
		CHECK_EQUAL(-errors[i], event.result);
		CHECK_EQUAL(MP_EVENT_GIVEN, event.flags);
		say(&link, "ok");
		rig_read(&rig, link.handle, text, 2);
		rig_close(&other);
		unlink_pair(&link);
		end();
	}
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		TEST(read_error_is_told_and_read_can_be_made_again),
		TEST(leased_read_error_ends_it_and_it_can_be_started_again),
		TEST(read_interrupted_or_without_data_goes_on),
		TEST(write_error_is_told),
		TEST(write_interrupted_or_without_room_goes_on),
		TEST(poll_error_ends_what_waited_for_it),
		TEST(accept_error_ends_it_and_is_told),
		TEST(connect_error_keeps_the_handle),
		TEST(connect_of_an_ended_thread_goes_on),
		TEST(connect_of_an_ended_thread_can_be_closed),
		TEST(close_error_retires_and_is_not_retried),
		TEST(disconnect_error_is_told),
		TEST(transfer_error_keeps_the_handle_here),
	};

	return RUN_TESTS(tests, argc, argv);
}
