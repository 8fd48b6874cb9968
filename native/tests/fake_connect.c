/* Connects to Unix sockets: never by a worker that waits, whatever kind of socket was asked for. */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "fake_kernel_rig.h"

#define PORT 80

/* Of the fake only the family and the port count. */
static mp_handle connect_unix(uint32_t flags)
{
	struct sockaddr_in address = { .sin_family = AF_UNIX, .sin_port = PORT };

	return mp_connect(rig.channel, &address, sizeof address, 3, flags);
}

static int32_t full_listener(void)
{
	int32_t fd = fake_listen(PORT, false);

	for (uint16_t i = 0; i < FAKE_BACKLOG; i++)
		fake_peer_close(fake_peer_connect(PORT, (uint16_t)(100 + i)));
	return fd;
}

static void turns(uint32_t count)
{
	struct mp_event event;

	while (count-- > 0)
		CHECK_EQUAL(0, mp_dispatch(rig.channel, &event, 1, 0));
}

/* Its carrier ends meanwhile, again and again. */
static void peer_without_room_is_asked_until_it_has_some(void)
{
	for (uint32_t lwsocket = 0; lwsocket < 2; lwsocket++) {
		struct rig_link link = { .peer = -1 };
		struct mp_event event;
		uint16_t port;
		int32_t fd;

		begin();
		fd = full_listener();
		link.handle = connect_unix(lwsocket ? MP_ACCEPT_LWSOCKET : 0);
		for (uint32_t carrier = 0; carrier < 20; carrier++) {
			fake_submitter(carrier);
			turns(1 + carrier % 4);
			fake_submitter_ends(carrier);
		}
		fake_submitter(20);
		fake_peer_close(fake_peer_accept(PORT, &port));
		event = rig_take(&rig, link.handle, MP_STAGE_ACCEPT);
		CHECK_EQUAL(0, event.result);
		CHECK_EQUAL(3, event.cookie);
		CHECK_EQUAL(MP_EVENT_CONNECTED | (lwsocket ? (uint32_t)MP_EVENT_LWSOCKET : 0u), event.flags);
		for (uint32_t i = 0; i < FAKE_BACKLOG; i++) {
			if (link.peer >= 0)
				fake_peer_close((uint32_t)link.peer);
			link.peer = (int32_t)fake_peer_accept(PORT, &port);
		}
		/* It waits for bytes like any other. */
		CHECK_EQUAL(0, mp_read_start(rig.channel, link.handle));
		turns(3);
		say(&link, "hello");
		rig_leased(&rig, link.handle, (char[5]){ 0 }, 5);
		CHECK_EQUAL(0, mp_read_pause(rig.channel, link.handle));
		CHECK_EQUAL(-ECANCELED, rig_take(&rig, link.handle, MP_STAGE_READ).result);
		unlink_pair(&link);
		CHECK_EQUAL(0, fake_fd_close(fd));
		end();
	}
}

/* After any number of turns: while it asks, while it pauses, while it becomes a lightweight socket, when it is one. */
static void connect_can_be_closed_at_any_time(void)
{
	for (uint32_t variant = 0; variant < 64; variant++) {
		bool room = variant & 1, abort = variant & 2, slow = variant & 4;
		struct rig_link link = { .peer = -1 };
		struct mp_event event = { 0 };
		int32_t fd, taken = 0;

		begin();
		fd = room ? fake_listen(PORT, false) : full_listener();
		fake_chances.defer = slow ? 900 : 0;
		fake_chances.partial = slow ? 500 : 0;
		link.handle = connect_unix(MP_ACCEPT_LWSOCKET);
		for (uint32_t i = variant / 8; i > 0 && !taken; i--)
			taken = mp_dispatch(rig.channel, &event, 1, 0);
		CHECK(taken >= 0);
		fake_chances.defer = fake_chances.partial = 0;
		CHECK_EQUAL(0, mp_close(rig.channel, link.handle, abort ? MP_CLOSE_ABORT : 0));
		if (!taken)
			event = rig_take(&rig, link.handle, MP_STAGE_ACCEPT);
		CHECK(event.stage == MP_STAGE_ACCEPT && (event.result == 0 || event.result == -ECANCELED));
		CHECK_EQUAL(MP_EVENT_RETIRED, rig_take(&rig, link.handle, MP_STAGE_CLOSE).flags);
		CHECK_EQUAL(0, fake_fd_close(fd));
		end();
	}
}

static void table_without_room_is_told(void)
{
	struct rig_link link = { .peer = -1 };
	int32_t fd;

	begin();
	fd = fake_listen(PORT, false);
	fake_fail(IORING_OP_FILES_UPDATE, -ENFILE, 1);
	link.handle = connect_unix(MP_ACCEPT_LWSOCKET);
	CHECK_EQUAL(-ENFILE, rig_take(&rig, link.handle, MP_STAGE_ACCEPT).result);
	rig_unlink(&rig, &link, 0);
	CHECK_EQUAL(0, fake_fd_close(fd));
	end();
}

static void nobody_there_is_told(void)
{
	begin();
	for (uint32_t lwsocket = 0; lwsocket < 2; lwsocket++) {
		struct rig_link link = { .peer = -1 };

		link.handle = connect_unix(lwsocket ? MP_ACCEPT_LWSOCKET : 0);
		CHECK_EQUAL(-ECONNREFUSED, rig_take(&rig, link.handle, MP_STAGE_ACCEPT).result);
		rig_unlink(&rig, &link, 0);
	}
	end();
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		TEST(peer_without_room_is_asked_until_it_has_some),
		TEST(connect_can_be_closed_at_any_time),
		TEST(table_without_room_is_told),
		TEST(nobody_there_is_told),
	};

	return RUN_TESTS(tests, argc, argv);
}
