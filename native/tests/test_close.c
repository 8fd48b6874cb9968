/* Stage close: what the peer sees, and that a handle is dead after its last event. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common_rig.h"

#define BIG_BYTES (256u << 10)

static void for_both_kinds(void (*body)(struct rig *rig, uint32_t accept_flags))
{
	for (uint32_t accept_flags = 0; accept_flags <= MP_ACCEPT_LWSOCKET; accept_flags++) {
		struct rig rig;

		rig_open(&rig, NULL);
		body(&rig, accept_flags);
		rig_close(&rig);
	}
}

static void graceful(struct rig *rig, uint32_t accept_flags)
{
	struct rig_link link = rig_link(rig, AF_INET, accept_flags);
	uint8_t *data = malloc(BIG_BYTES), *back = malloc(BIG_BYTES);

	fill_pattern(data, BIG_BYTES, 0);
	rig_write(rig, link.handle, data, BIG_BYTES);
	CHECK_EQUAL(0, mp_close(rig->channel, link.handle, 0));
	CHECK_EQUAL(MP_EVENT_RETIRED, rig_take(rig, link.handle, MP_STAGE_CLOSE).flags);
	receive_all(link.peer, back, BIG_BYTES);
	CHECK(pattern_is(back, BIG_BYTES, 0));
	CHECK_EQUAL(0, receive_end(link.peer));
	close(link.peer);
	free(data);
	free(back);
}

static void close_graceful_brings_all_bytes_and_fin(void)
{
	for_both_kinds(graceful);
}

static void abortive(struct rig *rig, uint32_t accept_flags)
{
	static const int families[] = { AF_INET, AF_INET6 };

	for (uint32_t i = 0; i < COUNT_OF(families); i++) {
		struct rig_link link = rig_link(rig, families[i], accept_flags);
		char byte;

		CHECK_EQUAL(0, mp_read_start(rig->channel, link.handle));
		send_all(link.peer, "x", 1);
		rig_leased(rig, link.handle, &byte, 1);
		CHECK_EQUAL(0, mp_close(rig->channel, link.handle, MP_CLOSE_ABORT));
		CHECK_EQUAL(-ECANCELED, rig_take(rig, link.handle, MP_STAGE_READ).result);
		CHECK_EQUAL(MP_EVENT_RETIRED, rig_take(rig, link.handle, MP_STAGE_CLOSE).flags);
		CHECK_EQUAL(-ECONNRESET, receive_end(link.peer));
		close(link.peer);
	}
}

static void close_abort_brings_rst(void)
{
	for_both_kinds(abortive);
}

/* Two channels listen on one socket: the end of one handle is not the end of the socket. */
static void close_abort_of_listener_leaves_the_shared_socket(void)
{
	struct rig_listener listener, other;
	struct rig_link link;
	struct rig one, two;

	rig_open(&one, NULL);
	rig_open(&two, NULL);
	listener = rig_listen(&one, AF_INET, 0);
	other = listener;
	other.fd = dup(listener.fd);
	other.handle = mp_register(two.channel, other.fd, 0, 0, 0);
	CHECK_EQUAL(0, mp_close(one.channel, listener.handle, MP_CLOSE_ABORT));
	CHECK_EQUAL(MP_EVENT_RETIRED, rig_take(&one, listener.handle, MP_STAGE_CLOSE).flags);
	link = rig_connect(&two, &other, 0);
	rig_unlink(&two, &link, 0);
	rig_unlisten(&two, &other);
	rig_close(&one);
	rig_close(&two);
}

static void close_abort_of_unix_socket_brings_end_of_stream(void)
{
	struct rig_link link;
	struct rig rig;

	rig_open(&rig, NULL);
	link = rig_link(&rig, AF_UNIX, MP_ACCEPT_LWSOCKET);
	CHECK_EQUAL(0, mp_close(rig.channel, link.handle, MP_CLOSE_ABORT));
	CHECK_EQUAL(MP_EVENT_RETIRED, rig_take(&rig, link.handle, MP_STAGE_CLOSE).flags);
	CHECK_EQUAL(0, receive_end(link.peer));
	close(link.peer);
	rig_close(&rig);
}

static void abort_with_write_stuck(struct rig *rig, uint32_t accept_flags)
{
	struct rig_link link = rig_link(rig, AF_INET, accept_flags);
	uint32_t bytes = 16u << 20; /* more than both sockets' buffers */
	uint8_t *data = calloc(1, bytes);
	struct mp_event event;

	CHECK_EQUAL(0, mp_read_start(rig->channel, link.handle));
	CHECK_EQUAL(0, mp_write(rig->channel, link.handle, data, bytes));
	CHECK_EQUAL(0, mp_flush(rig->channel) < 0);
	CHECK_EQUAL(0, mp_close(rig->channel, link.handle, MP_CLOSE_ABORT));
	event = rig_take(rig, link.handle, MP_STAGE_WRITE);
	CHECK(event.result < 0);
	event = rig_take(rig, link.handle, MP_STAGE_READ);
	CHECK(event.result < 0);
	CHECK(!(event.flags & MP_EVENT_MORE));
	event = rig_take(rig, link.handle, MP_STAGE_CLOSE);
	CHECK_EQUAL(MP_EVENT_RETIRED, event.flags);
	CHECK_EQUAL(0, rig->kept_count); /* nothing came after it */
	close(link.peer);
	free(data);
}

static void close_with_read_and_write_pending_ends_both_first(void)
{
	for_both_kinds(abort_with_write_stuck);
}

/* Everything in one batch: the kernel tries the write, finds a full socket that has room again, and keeps the rest as
 * work of the thread, where the cancel does not find it. */
static void write_and_close(struct rig *rig, uint32_t accept_flags)
{
	struct rig_listener listener = rig_listen(rig, AF_INET, 0);
	uint32_t bytes = 4u << 20;
	uint8_t *data = calloc(1, bytes), *back = malloc(BIG_BYTES);
	int32_t small = 4096, got;
	struct rig_link link;

	/* Connections inherit it: before 6.8 a lightweight one has no fd to set it with. */
	CHECK_EQUAL(0, setsockopt(listener.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small));
	link = rig_connect(rig, &listener, accept_flags);
	rig_unlisten(rig, &listener);
	CHECK_EQUAL(0, mp_read_start(rig->channel, link.handle));
	CHECK_EQUAL(0, mp_write(rig->channel, link.handle, data, bytes));
	CHECK_EQUAL(0, mp_close(rig->channel, link.handle, 0));
	CHECK(mp_flush(rig->channel) > 0);
	CHECK(rig_take(rig, link.handle, MP_STAGE_WRITE).result < 0);
	CHECK_EQUAL(-ECANCELED, rig_take(rig, link.handle, MP_STAGE_READ).result);
	CHECK_EQUAL(MP_EVENT_RETIRED, rig_take(rig, link.handle, MP_STAGE_CLOSE).flags);
	/* The peer, which read nothing until now, comes to the end of the stream. */
	while ((got = (int32_t)recv(link.peer, back, BIG_BYTES, 0)) > 0)
		;
	CHECK_EQUAL(0, got);
	close(link.peer);
	free(data);
	free(back);
}

static void close_in_the_batch_of_a_large_write_ends_both(void)
{
	for (uint32_t round = 0; round < 20; round++)
		for_both_kinds(write_and_close);
}

/* As when a server answers before it has read the whole request. The RST that the kernel sends for the unread bytes
 * comes behind the FIN: the peer reads the answer and its end. */
static void close_unread(struct rig *rig, uint32_t accept_flags)
{
	struct rig_link link = rig_link(rig, AF_INET, accept_flags);
	char text[6];

	CHECK_EQUAL(0, mp_read_start(rig->channel, link.handle));
	CHECK_EQUAL(0, mp_read_pause(rig->channel, link.handle));
	CHECK_EQUAL(-ECANCELED, rig_take(rig, link.handle, MP_STAGE_READ).result);
	send_all(link.peer, "unread", 6);
	rig_write(rig, link.handle, "answer", 6);
	CHECK_EQUAL(0, mp_close(rig->channel, link.handle, 0));
	CHECK_EQUAL(MP_EVENT_RETIRED, rig_take(rig, link.handle, MP_STAGE_CLOSE).flags);
	receive_all(link.peer, text, 6);
	CHECK(!memcmp(text, "answer", 6));
	CHECK_EQUAL(0, receive_end(link.peer));
	close(link.peer);
}

/* The same while a read that does not wait takes some of them. */
static void close_unread_in_a_read(struct rig *rig, uint32_t accept_flags)
{
	struct rig_link link = rig_link(rig, AF_INET, accept_flags);
	uint8_t *much = calloc(1, 100000);
	char text[6], byte;
	struct mp_event event;

	CHECK_EQUAL(0, mp_read_one(rig->channel, link.handle));
	send_all(link.peer, much, 100000);
	event = rig_take(rig, link.handle, MP_STAGE_READ);
	CHECK_EQUAL(0, mp_release(rig->channel, event.lease));
	rig_write(rig, link.handle, "answer", 6);
	CHECK_EQUAL(0, mp_read_now(rig->channel, link.handle, &byte, 1));
	CHECK_EQUAL(0, mp_close(rig->channel, link.handle, 0));
	rig_take(rig, link.handle, MP_STAGE_READ);
	CHECK_EQUAL(MP_EVENT_RETIRED, rig_take(rig, link.handle, MP_STAGE_CLOSE).flags);
	receive_all(link.peer, text, 6);
	CHECK(!memcmp(text, "answer", 6));
	CHECK_EQUAL(0, receive_end(link.peer));
	close(link.peer);
	free(much);
}

static void close_in_a_read_at_once_brings_fin_first(void)
{
	for_both_kinds(close_unread_in_a_read);
}

static void close_beside_unread_bytes_brings_fin_first(void)
{
	for_both_kinds(close_unread);
}

static void half_close(struct rig *rig, uint32_t accept_flags)
{
	struct rig_link link = rig_link(rig, AF_INET, accept_flags);
	struct mp_event event;
	char text[4];

	rig_write(rig, link.handle, "last", 4);
	CHECK_EQUAL(0, mp_disconnect(rig->channel, link.handle, MP_SHUT_WRITE));
	event = rig_take(rig, link.handle, MP_STAGE_CLOSE);
	CHECK_EQUAL(0, event.result);
	CHECK_EQUAL(MP_EVENT_DISCONNECTED, event.flags);
	receive_all(link.peer, text, 4);
	CHECK_EQUAL(0, receive_end(link.peer));
	/* The other direction still works. */
	send_all(link.peer, "back", 4);
	rig_read(rig, link.handle, text, 4);
	CHECK(!memcmp(text, "back", 4));
	CHECK_EQUAL(0, mp_write(rig->channel, link.handle, "no", 2));
	CHECK_EQUAL(-EPIPE, rig_take(rig, link.handle, MP_STAGE_WRITE).result);
	rig_unlink(rig, &link, 0);
}

static void disconnect_write_keeps_reading(void)
{
	for_both_kinds(half_close);
}

static void read_closed(struct rig *rig, uint32_t accept_flags)
{
	struct rig_link link = rig_link(rig, AF_INET, accept_flags);

	CHECK_EQUAL(0, mp_read_start(rig->channel, link.handle));
	CHECK_EQUAL(0, mp_disconnect(rig->channel, link.handle, MP_SHUT_READ));
	CHECK_EQUAL(MP_EVENT_DISCONNECTED, rig_take(rig, link.handle, MP_STAGE_CLOSE).flags);
	CHECK_EQUAL(0, rig_take(rig, link.handle, MP_STAGE_READ).result);
	CHECK_EQUAL(0, mp_disconnect(rig->channel, link.handle, MP_SHUT_BOTH));
	CHECK_EQUAL(MP_EVENT_DISCONNECTED, rig_take(rig, link.handle, MP_STAGE_CLOSE).flags);
	CHECK_EQUAL(0, receive_end(link.peer));
	rig_unlink(rig, &link, 0);
}

static void disconnect_read_ends_the_stream(void)
{
	for_both_kinds(read_closed);
}

static void disconnect_of_unconnected_socket_reports_enotconn(void)
{
	int32_t fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct rig_link link = { .peer = -1 };
	struct rig rig;

	rig_open(&rig, NULL);
	link.handle = mp_register(rig.channel, fd, 0, 0, 0);
	CHECK_EQUAL(0, mp_disconnect(rig.channel, link.handle, MP_SHUT_WRITE));
	CHECK_EQUAL(-ENOTCONN, rig_take(&rig, link.handle, MP_STAGE_CLOSE).result);
	rig_unlink(&rig, &link, 0);
	rig_close(&rig);
}

static void close_twice_is_already_going_on(void)
{
	struct rig_link link;
	struct rig rig;

	rig_open(&rig, NULL);
	link = rig_link(&rig, AF_INET, 0);
	CHECK_EQUAL(-EINVAL, mp_close(rig.channel, link.handle, 2));
	CHECK_EQUAL(0, mp_close(rig.channel, link.handle, 0));
	CHECK_EQUAL(-EALREADY, mp_close(rig.channel, link.handle, 0));
	CHECK_EQUAL(-EALREADY, mp_unregister(rig.channel, link.handle));
	CHECK_EQUAL(-EBADF, mp_read_start(rig.channel, link.handle));
	CHECK_EQUAL(MP_EVENT_RETIRED, rig_take(&rig, link.handle, MP_STAGE_CLOSE).flags);
	CHECK_EQUAL(-EBADF, mp_close(rig.channel, link.handle, 0));
	CHECK_EQUAL(-EBADF, mp_unregister(rig.channel, link.handle));
	close(link.peer);
	rig_close(&rig);
}

static void close_of_registered_fd_closes_it(void)
{
	struct rig_link link;
	struct rig rig;
	int32_t fd;

	rig_open(&rig, NULL);
	link = rig_pair(&rig, &fd);
	rig_unlink(&rig, &link, 0);
	CHECK_EQUAL(-1, write(fd, "x", 1));
	CHECK_EQUAL(EBADF, errno);
	rig_close(&rig);
}

static void close_with_unread_leases_keeps_them(void)
{
	struct mp_event event;
	struct rig_link link;
	struct rig rig;

	rig_open(&rig, NULL);
	link = rig_link(&rig, AF_INET, MP_ACCEPT_LWSOCKET);
	CHECK_EQUAL(0, mp_read_start(rig.channel, link.handle));
	send_all(link.peer, "keep", 4);
	event = rig_take(&rig, link.handle, MP_STAGE_READ);
	CHECK_EQUAL(4, event.result);
	CHECK_EQUAL(0, mp_close(rig.channel, link.handle, 0));
	CHECK_EQUAL(-ECANCELED, rig_take(&rig, link.handle, MP_STAGE_READ).result);
	CHECK_EQUAL(MP_EVENT_RETIRED, rig_take(&rig, link.handle, MP_STAGE_CLOSE).flags);
	CHECK(!memcmp((void *)(uintptr_t)event.data, "keep", 4));
	CHECK_EQUAL(1, rig_counters(&rig).leases_out);
	CHECK_EQUAL(0, mp_release(rig.channel, event.lease));
	close(link.peer);
	rig_close(&rig);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		TEST(close_graceful_brings_all_bytes_and_fin),
		TEST(close_abort_brings_rst),
		TEST(close_abort_of_listener_leaves_the_shared_socket),
		TEST(close_abort_of_unix_socket_brings_end_of_stream),
		TEST(close_with_read_and_write_pending_ends_both_first),
		TEST(close_in_the_batch_of_a_large_write_ends_both),
		TEST(close_beside_unread_bytes_brings_fin_first),
		TEST(close_in_a_read_at_once_brings_fin_first),
		TEST(disconnect_write_keeps_reading),
		TEST(disconnect_read_ends_the_stream),
		TEST(disconnect_of_unconnected_socket_reports_enotconn),
		TEST(close_twice_is_already_going_on),
		TEST(close_of_registered_fd_closes_it),
		TEST(close_with_unread_leases_keeps_them),
	};

	return RUN_TESTS(tests, argc, argv);
}
