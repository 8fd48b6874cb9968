/* A kernel that releases closed lightweight sockets late, in order, behind earlier requests: ends are told at once all
 * the same, few sockets wait, and what is renewed for that loses nothing. */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/uio.h>

#include "fake_kernel_rig.h"

#define PORT 7
#define CLOSES 3000u
/* The channel renews after 256 closes, and some more are made until that is done. */
#define WAITING_MOST 300u

static mp_handle listener;
static int32_t listener_fd;

static void begin_late(uint32_t flags)
{
	struct mp_config config = rig_config(flags);

	config.max_handles = 16;
	fake_begin(1, NULL);
	fake_releases_late = true;
	rig_open(&rig, &config);
	listener_fd = fake_listen(PORT, false);
	listener = mp_register(rig.channel, listener_fd, 0, 0, 0);
	CHECK(listener > 0);
}

static void end_late(void)
{
	CHECK_EQUAL(0, mp_unregister(rig.channel, listener));
	rig_take(&rig, listener, MP_STAGE_CLOSE);
	CHECK_EQUAL(0, fake_fd_close(listener_fd));
	end();
}

static struct rig_link accept_one(void)
{
	struct rig_link link = { 0 };
	struct mp_event event;

	CHECK_EQUAL(0, mp_accept(rig.channel, listener, 1, MP_ACCEPT_LWSOCKET));
	link.peer = (int32_t)fake_peer_connect(PORT, 5);
	event = rig_take(&rig, 0, MP_STAGE_ACCEPT);
	CHECK_EQUAL(0, event.result);
	CHECK(event.flags & MP_EVENT_LWSOCKET);
	link.handle = event.handle;
	return link;
}

static void close_one(struct rig_link *link, uint32_t flags, int32_t expected)
{
	uint8_t byte;

	CHECK_EQUAL(0, mp_close(rig.channel, link->handle, flags));
	CHECK_EQUAL(MP_EVENT_RETIRED, rig_take(&rig, link->handle, MP_STAGE_CLOSE).flags);
	CHECK_EQUAL(expected, fake_peer_receive((uint32_t)link->peer, &byte, 1));
	fake_peer_close((uint32_t)link->peer);
}

static void late_release_brings_the_end_at_once(void)
{
	struct rig_link idle, link;

	begin_late(0);
	idle = accept_one();
	CHECK_EQUAL(0, mp_read_start(rig.channel, idle.handle));
	link = accept_one();
	close_one(&link, 0, -1);
	link = accept_one();
	close_one(&link, MP_CLOSE_ABORT, -2);
	link = accept_one();
	{
		struct sockaddr_in address;

		/* It takes an fd for a moment, which nobody has then. */
		CHECK(mp_local_address(rig.channel, link.handle, &address, sizeof address) > 0);
	}
	close_one(&link, 0, -1);
	CHECK_EQUAL(0, mp_read_pause(rig.channel, idle.handle));
	CHECK_EQUAL(-ECANCELED, rig_take(&rig, idle.handle, MP_STAGE_READ).result);
	close_one(&idle, 0, -1);
	end_late();
}

static void late_release_leaves_the_connection_to_an_fd_of_it(void)
{
	struct rig_link link;
	int32_t fd;

	begin_late(0);
	link = accept_one();
	fd = mp_to_fd(rig.channel, link.handle);
	CHECK(fd >= 0);
	CHECK_EQUAL(0, mp_close(rig.channel, link.handle, 0));
	CHECK_EQUAL(MP_EVENT_RETIRED, rig_take(&rig, link.handle, MP_STAGE_CLOSE).flags);
	CHECK_EQUAL(1, fake_file_write(fake_fd_file(fd), (const uint8_t *)"x", 1));
	CHECK_EQUAL(0, fake_fd_close(fd));
	fake_peer_close((uint32_t)link.peer);
	end_late();
}

/* One connection of each kind that waits, and one that is written to again and again. */
static void keep_few(bool held)
{
	static uint8_t stuck[3 * FAKE_INBOX_BYTES], back[sizeof stuck];
	struct rig_link leased, once, writing, busy;
	struct iovec vector = { stuck, sizeof stuck };
	struct mp_event written;
	uint32_t got = 0, sent = 0;
	char byte = 0;

	begin_late(held ? MP_CONFIG_ZERO_COPY : 0);
	leased = accept_one();
	once = accept_one();
	writing = accept_one();
	busy = accept_one();
	fill_pattern(stuck, sizeof stuck, 3);
	CHECK_EQUAL(0, mp_read_start(rig.channel, leased.handle));
	CHECK_EQUAL(0, mp_read_start(rig.channel, busy.handle));
	CHECK_EQUAL(0, mp_read(rig.channel, once.handle, &byte, 1));
	if (held)
		CHECK_EQUAL(0, mp_write_held(rig.channel, writing.handle, &vector, 1, 1));
	else
		CHECK_EQUAL(0, mp_write(rig.channel, writing.handle, stuck, sizeof stuck));
	for (uint32_t i = 0; i < CLOSES; i++) {
		struct rig_link link = accept_one();
		uint8_t data;

		fill_pattern(&data, 1, sent++);
		CHECK_EQUAL(1, fake_peer_send((uint32_t)busy.peer, &data, 1));
		close_one(&link, i & 1 ? MP_CLOSE_ABORT : 0, i & 1 ? -2 : -1);
		rig_leased(&rig, busy.handle, &data, 1);
		CHECK(pattern_is(&data, 1, i));
	}
	CHECK(fake_late_most <= WAITING_MOST);
	CHECK(fake_late_most > 1); /* this kernel was the late one */

	say(&leased, "l");
	rig_leased(&rig, leased.handle, back, 1);
	CHECK_EQUAL('l', back[0]);
	say(&once, "o");
	CHECK_EQUAL(1, rig_take(&rig, once.handle, MP_STAGE_READ).result);
	CHECK_EQUAL('o', byte);
	while (got < sizeof stuck) {
		int32_t more = fake_peer_receive((uint32_t)writing.peer, back + got, (uint32_t)sizeof stuck - got);

		CHECK(more >= 0);
		got += (uint32_t)more;
		fake_run(1);
		rig_turn(&rig);
	}
	CHECK(pattern_is(back, sizeof back, 3));
	written = rig_take(&rig, writing.handle, MP_STAGE_WRITE);
	CHECK_EQUAL(sizeof stuck, written.result);
	if (written.flags & MP_EVENT_HELD)
		CHECK_EQUAL(1, rig_take(&rig, 0, MP_STAGE_WRITE).data);
	{
		struct rig_link *reading[] = { &leased, &busy };

		for (uint32_t i = 0; i < COUNT_OF(reading); i++) {
			CHECK_EQUAL(0, mp_read_pause(rig.channel, reading[i]->handle));
			CHECK_EQUAL(-ECANCELED, rig_take(&rig, reading[i]->handle, MP_STAGE_READ).result);
			close_one(reading[i], 0, -1);
		}
	}
	close_one(&once, 0, -1);
	close_one(&writing, 0, -1);
	end_late();
}

static void late_release_keeps_few_sockets_and_loses_nothing(void)
{
	keep_few(false);
}

/* Its sends are renewed under the name of their memory. */
static void late_release_beside_a_zero_copy_send_keeps_few(void)
{
	keep_few(true);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		TEST(late_release_brings_the_end_at_once),
		TEST(late_release_leaves_the_connection_to_an_fd_of_it),
		TEST(late_release_keeps_few_sockets_and_loses_nothing),
		TEST(late_release_beside_a_zero_copy_send_keeps_few),
	};

	return RUN_TESTS(tests, argc, argv);
}
