/* A lightweight socket that is closed while an older request of the same channel waits: its peer gets the end at once,
 * the kernel gets its memory back, and what waited goes on. Kernels up to 6.12 do none of this by themselves. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "common_rig.h"

#define STUCK_BYTES (16u << 20) /* more than both sockets' buffers */
#define CLOSES 10000u
/* Of sockets that are closed and not released: what the channel lets wait, and a second of a kernel that adds one. */
#define LEFT_MOST 1000u

enum idle { LEASED, ONCE, WRITING, KINDS };

struct waiting {
	enum idle kind;
	struct rig_link link;
	uint8_t *data;
	char byte;
};

static void wait_with(struct rig *rig, const struct rig_listener *listener, struct waiting *waiting, enum idle kind)
{
	waiting->kind = kind;
	waiting->link = rig_connect(rig, listener, MP_ACCEPT_LWSOCKET);
	waiting->data = NULL;
	if (kind == LEASED) {
		CHECK_EQUAL(0, mp_read_start(rig->channel, waiting->link.handle));
	} else if (kind == ONCE) {
		CHECK_EQUAL(0, mp_read(rig->channel, waiting->link.handle, &waiting->byte, 1));
	} else {
		waiting->data = malloc(STUCK_BYTES);
		CHECK(waiting->data);
		fill_pattern(waiting->data, STUCK_BYTES, 7);
		CHECK_EQUAL(0, mp_write(rig->channel, waiting->link.handle, waiting->data, STUCK_BYTES));
	}
	rig_turn(rig);
}

/* What waited still works, and its own end comes. */
static void wait_ends(struct rig *rig, struct waiting *waiting)
{
	static uint8_t back[64u << 10];
	char byte = 0;

	if (waiting->kind == LEASED) {
		send_all(waiting->link.peer, "x", 1);
		rig_leased(rig, waiting->link.handle, &byte, 1);
		CHECK_EQUAL('x', byte);
		CHECK_EQUAL(0, mp_read_pause(rig->channel, waiting->link.handle));
		CHECK_EQUAL(-ECANCELED, rig_take(rig, waiting->link.handle, MP_STAGE_READ).result);
	} else if (waiting->kind == ONCE) {
		send_all(waiting->link.peer, "x", 1);
		CHECK_EQUAL(1, rig_take(rig, waiting->link.handle, MP_STAGE_READ).result);
		CHECK_EQUAL('x', waiting->byte);
	} else {
		for (uint32_t got = 0; got < STUCK_BYTES; got += sizeof back) {
			rig_turn(rig);
			/* A write may have been taken in part: the rest goes out at a turn. */
			for (uint32_t part = 0; part < sizeof back;) {
				ssize_t more = recv(waiting->link.peer, back + part, sizeof back - part, MSG_DONTWAIT);

				CHECK(more > 0 || (more < 0 && errno == EAGAIN));
				if (more > 0)
					part += (uint32_t)more;
				else
					rig_turn(rig);
			}
			CHECK(pattern_is(back, sizeof back, 7 + got));
		}
		CHECK_EQUAL(STUCK_BYTES, rig_take(rig, waiting->link.handle, MP_STAGE_WRITE).result);
	}
	rig_unlink(rig, &waiting->link, 0);
	free(waiting->data);
}

static void peer_gets_its_end(struct rig *rig, const struct rig_listener *listener, uint32_t close_flags, int32_t end)
{
	const struct timeval limit = { .tv_sec = 5 };
	struct rig_link link = rig_connect(rig, listener, MP_ACCEPT_LWSOCKET);
	char text[4];

	CHECK_EQUAL(0, setsockopt(link.peer, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
	CHECK_EQUAL(0, mp_read_start(rig->channel, link.handle));
	rig_write(rig, link.handle, "last", 4);
	CHECK_EQUAL(0, mp_close(rig->channel, link.handle, close_flags));
	CHECK_EQUAL(-ECANCELED, rig_take(rig, link.handle, MP_STAGE_READ).result);
	CHECK_EQUAL(MP_EVENT_RETIRED, rig_take(rig, link.handle, MP_STAGE_CLOSE).flags);
	receive_all(link.peer, text, 4);
	CHECK_EQUAL(end, receive_end(link.peer));
	close(link.peer);
}

static void close_beside_an_idle_connection_brings_the_end_at_once(void)
{
	static const int families[] = { AF_INET, AF_INET6, AF_UNIX };

	for (uint32_t i = 0; i < COUNT_OF(families); i++) {
		for (uint32_t kind = 0; kind < KINDS; kind++) {
			struct rig_listener listener;
			struct waiting waiting;
			struct rig rig;

			rig_open(&rig, NULL);
			listener = rig_listen(&rig, families[i], 0);
			wait_with(&rig, &listener, &waiting, kind);
			peer_gets_its_end(&rig, &listener, 0, 0);
			if (families[i] != AF_UNIX)
				peer_gets_its_end(&rig, &listener, MP_CLOSE_ABORT, -ECONNRESET);
			wait_ends(&rig, &waiting);
			rig_unlisten(&rig, &listener);
			rig_close(&rig);
		}
	}
}

/* Sockets of this machine that have the listener's name: it, those that it accepted, and nobody else's. */
static uint32_t sockets_of(const struct rig_listener *listener)
{
	const struct sockaddr_un *address = (const struct sockaddr_un *)&listener->address;
	size_t bytes = listener->bytes - sizeof address->sun_family;
	char name[sizeof address->sun_path + 2] = " @", line[256];
	FILE *list = fopen("/proc/net/unix", "re");
	uint32_t count = 0;

	CHECK(list && address->sun_path[0] == '\0' && bytes > 1);
	memcpy(name + 2, address->sun_path + 1, bytes - 1);
	while (fgets(line, sizeof line, list)) {
		line[strcspn(line, "\n")] = '\0';
		if (strlen(line) > strlen(name))
			count += !strcmp(line + strlen(line) - strlen(name), name);
	}
	fclose(list);
	return count;
}

/* Slots come back (32 handles are enough), and so does the kernel's memory. */
static void ten_thousand_closes_beside_idle_connections_leave_nothing(void)
{
	struct mp_config config = rig_config(0);
	struct waiting waiting[KINDS];
	struct rig_listener listener;
	struct rig rig;
	uint32_t left;
	int64_t end;

	config.max_handles = 32;
	rig_open(&rig, &config);
	listener = rig_listen(&rig, AF_UNIX, 0);
	for (uint32_t kind = 0; kind < KINDS; kind++)
		wait_with(&rig, &listener, &waiting[kind], kind);
	CHECK_EQUAL(1 + KINDS, sockets_of(&listener));
	for (uint32_t i = 0; i < CLOSES; i++) {
		struct rig_link link = rig_connect(&rig, &listener, MP_ACCEPT_LWSOCKET);

		rig_unlink(&rig, &link, 0);
	}
	end = now_ns() + RIG_WAIT_NS;
	do {
		rig_turn(&rig);
		left = sockets_of(&listener);
	} while (left > LEFT_MOST && now_ns() < end);
	printf("  %u of %u sockets are left\n", left - 1 - KINDS, CLOSES);
	CHECK(left <= LEFT_MOST);
	for (uint32_t kind = 0; kind < KINDS; kind++)
		wait_ends(&rig, &waiting[kind]);
	rig_unlisten(&rig, &listener);
	rig_close(&rig);
}

/* Whoever has an fd of the connection owns it, too: closing the handle does not end it. */
static void close_leaves_the_connection_to_an_fd_of_it(void)
{
	struct rig_listener listener;
	struct waiting waiting;
	struct rig_link link;
	struct rig rig;
	char text[2];
	int32_t fd;

	rig_open(&rig, NULL);
	listener = rig_listen(&rig, AF_INET, 0);
	wait_with(&rig, &listener, &waiting, LEASED);
	link = rig_connect(&rig, &listener, MP_ACCEPT_LWSOCKET);
	fd = mp_to_fd(rig.channel, link.handle);
	if (fd == -ENOTSUP) {
		skip("no fd for a lightweight socket on this kernel (6.8 brings it)");
		rig_unlink(&rig, &link, 0);
	} else {
		CHECK(fd >= 0);
		CHECK_EQUAL(0, mp_close(rig.channel, link.handle, 0));
		CHECK_EQUAL(MP_EVENT_RETIRED, rig_take(&rig, link.handle, MP_STAGE_CLOSE).flags);
		send_all(link.peer, "in", 2);
		receive_all(fd, text, 2);
		send_all(fd, "ou", 2);
		receive_all(link.peer, text, 2);
		close(fd);
		close(link.peer);
	}
	wait_ends(&rig, &waiting);
	rig_unlisten(&rig, &listener);
	rig_close(&rig);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		TEST(close_beside_an_idle_connection_brings_the_end_at_once),
		TEST(ten_thousand_closes_beside_idle_connections_leave_nothing),
		TEST(close_leaves_the_connection_to_an_fd_of_it),
	};

	return RUN_TESTS(tests, argc, argv);
}
