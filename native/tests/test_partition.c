/* Listener partitions: each channel its own accept queue on one address (paper, section 3.2). */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

#include "common_rig.h"

#define CHANNELS 2u
#define LINKS 64u

/* Bound, not listening, with SO_REUSEPORT. */
static int32_t bound_fd(int family, struct sockaddr_storage *address, socklen_t *bytes)
{
	int32_t fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int on = 1;

	CHECK_EQUAL(0, setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on));
	CHECK_EQUAL(0, setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on));
	memset(address, 0, sizeof *address);
	address->ss_family = (sa_family_t)family;
	*bytes = family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
	if (family == AF_INET)
		((struct sockaddr_in *)address)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	else
		((struct sockaddr_in6 *)address)->sin6_addr = in6addr_loopback;
	CHECK_EQUAL(0, bind(fd, (struct sockaddr *)address, *bytes));
	*bytes = sizeof *address;
	CHECK_EQUAL(0, getsockname(fd, (struct sockaddr *)address, bytes));
	return fd;
}

static void open_channels(struct rig rigs[CHANNELS], int32_t cpu)
{
	for (uint32_t i = 0; i < CHANNELS; i++) {
		struct mp_config config = rig_config(0);

		config.cpu_plus_one = cpu < 0 ? 0 : (uint32_t)cpu + i + 1;
		rig_open(&rigs[i], &config);
	}
}

static void take_and_close(struct rig *rig, mp_handle listener)
{
	struct mp_event event = rig_take(rig, 0, MP_STAGE_ACCEPT);
	struct rig_link link = { .handle = event.handle, .peer = -1 };

	CHECK_EQUAL(0, event.result);
	CHECK_EQUAL(listener, event.source);
	rig_unlink(rig, &link, 0);
}

static void end_listener(struct rig *rig, mp_handle listener, uint32_t accepts)
{
	CHECK_EQUAL(0, mp_unregister(rig->channel, listener));
	for (uint32_t i = 0; i < accepts; i++)
		CHECK_EQUAL(-ECANCELED, rig_take(rig, 0, MP_STAGE_ACCEPT).result);
	CHECK_EQUAL(MP_EVENT_RETIRED, rig_take(rig, listener, MP_STAGE_CLOSE).flags);
}

/* Which channel gets a connection is the hash's business; all of them arrive, at both. */
static void partitions_share_the_connections(void)
{
	static const int families[] = { AF_INET, AF_INET6 };

	for (uint32_t family = 0; family < COUNT_OF(families); family++) {
		static struct rig rigs[CHANNELS];
		struct sockaddr_storage address;
		mp_handle listeners[CHANNELS];
		uint32_t seen[CHANNELS] = { 0 };
		int32_t peers[LINKS];
		socklen_t bytes;
		int32_t fd = bound_fd(families[family], &address, &bytes);

		open_channels(rigs, -1);
		for (uint32_t i = 0; i < CHANNELS; i++) {
			struct sockaddr_storage local;

			listeners[i] = mp_register(rigs[i].channel, fd, i, 3);
			CHECK(listeners[i] > 0);
			CHECK(mp_peek_fd(rigs[i].channel, listeners[i]) != fd);
			CHECK_EQUAL(bytes, mp_local_address(rigs[i].channel, listeners[i], &local, sizeof local));
			CHECK(!memcmp(&local, &address, bytes));
			CHECK_EQUAL(0, mp_accept(rigs[i].channel, listeners[i], 4,
						 MP_ACCEPT_KEEP | MP_ACCEPT_LWSOCKET));
			rig_turn(&rigs[i]);
		}
		for (uint32_t i = 0; i < LINKS; i++)
			peers[i] = connect_fd(&address, bytes);
		for (uint32_t taken = 0; taken < LINKS;) {
			for (uint32_t i = 0; i < CHANNELS; i++) {
				rig_turn(&rigs[i]);
				while (rigs[i].kept_count) {
					take_and_close(&rigs[i], listeners[i]);
					seen[i]++;
					taken++;
				}
			}
		}
		CHECK(seen[0] > 0 && seen[1] > 0);
		CHECK_EQUAL(seen[0], rig_counters(&rigs[0]).accepted);
		for (uint32_t i = 0; i < LINKS; i++)
			close(peers[i]);
		for (uint32_t i = 0; i < CHANNELS; i++) {
			end_listener(&rigs[i], listeners[i], 4);
			rig_close(&rigs[i]);
		}
		close(fd);
	}
}

static void partition_closed_leaves_all_to_the_other(void)
{
	static struct rig rigs[CHANNELS];
	struct sockaddr_storage address;
	mp_handle listeners[CHANNELS];
	socklen_t bytes;
	int32_t fd = bound_fd(AF_INET, &address, &bytes);

	open_channels(rigs, -1);
	for (uint32_t i = 0; i < CHANNELS; i++)
		listeners[i] = mp_register(rigs[i].channel, fd, i, 1);
	end_listener(&rigs[0], listeners[0], 0);
	CHECK_EQUAL(0, mp_accept(rigs[1].channel, listeners[1], 1, MP_ACCEPT_KEEP));
	for (uint32_t i = 0; i < LINKS; i++) {
		int32_t peer = connect_fd(&address, bytes);

		take_and_close(&rigs[1], listeners[1]);
		close(peer);
	}
	/* And back: the address is still there for the first. */
	listeners[0] = mp_register(rigs[0].channel, fd, 0, 1);
	CHECK(listeners[0] > 0);
	end_listener(&rigs[1], listeners[1], 1);
	CHECK_EQUAL(0, mp_accept(rigs[0].channel, listeners[0], 1, 0));
	{
		int32_t peer = connect_fd(&address, bytes);

		take_and_close(&rigs[0], listeners[0]);
		close(peer);
	}
	CHECK_EQUAL(0, mp_close(rigs[0].channel, listeners[0], 0));
	CHECK_EQUAL(MP_EVENT_RETIRED, rig_take(&rigs[0], listeners[0], MP_STAGE_CLOSE).flags);
	for (uint32_t i = 0; i < CHANNELS; i++)
		rig_close(&rigs[i]);
	close(fd);
}

static void partition_outside_the_mask_is_not_permitted(void)
{
	static struct rig rigs[CHANNELS];
	struct sockaddr_storage address;
	socklen_t bytes;
	int32_t fd = bound_fd(AF_INET, &address, &bytes);
	mp_handle listener;

	open_channels(rigs, 0); /* channel i stands for CPU i */
	CHECK_EQUAL(-EPERM, mp_register(rigs[0].channel, fd, 0, 1u << 1));
	CHECK_EQUAL(-EPERM, mp_register(rigs[1].channel, fd, 0, 1u << 0));
	CHECK_EQUAL(-EPERM, mp_register(rigs[1].channel, fd, 0, (uint64_t)1 << 63));
	listener = mp_register(rigs[1].channel, fd, 0, 1u << 1 | (uint64_t)1 << 63);
	CHECK(listener > 0);
	end_listener(&rigs[1], listener, 0);
	for (uint32_t i = 0; i < CHANNELS; i++)
		rig_close(&rigs[i]);
	close(fd);
}

static void partition_of_other_fds_is_invalid(void)
{
	struct sockaddr_storage address;
	struct rig rig;
	socklen_t bytes;
	int32_t plain = listen_fd(AF_INET, 0, &address, &bytes), local = listen_fd(AF_UNIX, 0, &address, &bytes);
	int pair[2];

	CHECK_EQUAL(0, pipe2(pair, O_CLOEXEC));
	rig_open(&rig, NULL);
	CHECK_EQUAL(-EINVAL, mp_register(rig.channel, plain, 0, 1)); /* no SO_REUSEPORT */
	CHECK_EQUAL(-EINVAL, mp_register(rig.channel, local, 0, 1));
	CHECK_EQUAL(-EINVAL, mp_register(rig.channel, pair[0], 0, 1));
	close(plain);
	close(local);
	close(pair[0]);
	close(pair[1]);
	rig_close(&rig);
}

static void partition_without_room_gives_enfile_and_keeps_no_fd(void)
{
	struct mp_config config = rig_config(0);
	struct sockaddr_storage address;
	struct rig rig;
	struct rig_link link;
	socklen_t bytes;
	int32_t fd = bound_fd(AF_INET, &address, &bytes), other, before;

	config.max_handles = 1;
	rig_open(&rig, &config);
	link = rig_pair(&rig, &other);
	before = fd_count();
	CHECK_EQUAL(-ENFILE, mp_register(rig.channel, fd, 0, 1));
	CHECK_EQUAL(before, fd_count());
	rig_unlink(&rig, &link, 0);
	rig_close(&rig);
	close(fd);
}

static void partition_copies_the_options_that_connections_inherit(void)
{
	struct sockaddr_storage address;
	struct rig_link link;
	struct rig rig;
	socklen_t bytes, size = sizeof(int);
	int32_t fd = bound_fd(AF_INET, &address, &bytes);
	mp_handle listener;
	int value = 0;

	rig_open(&rig, NULL);
	listener = mp_register(rig.channel, fd, 0, 1);
	CHECK_EQUAL(0, mp_accept(rig.channel, listener, 1, 0));
	link.peer = connect_fd(&address, bytes);
	link.handle = rig_take(&rig, 0, MP_STAGE_ACCEPT).handle;
	CHECK_EQUAL(0, getsockopt(mp_peek_fd(rig.channel, link.handle), IPPROTO_TCP, TCP_NODELAY, &value, &size));
	CHECK(value);
	rig_unlink(&rig, &link, 0);
	end_listener(&rig, listener, 0);
	rig_close(&rig);
	close(fd);
}

/* The listening socket itself: a partition that took IPv4 connections, too, would be another endpoint. */
static void partition_is_like_the_first_socket(void)
{
	static const struct {
		int level, name, value;
	} options[] = {
		{ IPPROTO_IPV6, IPV6_V6ONLY, 1 },   { SOL_SOCKET, SO_KEEPALIVE, 1 },
		{ IPPROTO_TCP, TCP_KEEPIDLE, 77 },  { IPPROTO_TCP, TCP_KEEPINTVL, 11 },
		{ IPPROTO_TCP, TCP_KEEPCNT, 3 },    { IPPROTO_TCP, TCP_DEFER_ACCEPT, 1 },
		{ SOL_SOCKET, SO_REUSEADDR, 1 },
	};
	int32_t fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
	struct sockaddr_in6 any = { .sin6_family = AF_INET6 };
	mp_handle listener;
	struct rig rig;

	CHECK_EQUAL(0, setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on));
	for (uint32_t i = 0; i < COUNT_OF(options); i++)
		CHECK_EQUAL(0, setsockopt(fd, options[i].level, options[i].name, &options[i].value, sizeof(int)));
	CHECK_EQUAL(0, bind(fd, (struct sockaddr *)&any, sizeof any));
	rig_open(&rig, NULL);
	listener = mp_register(rig.channel, fd, 0, 1);
	CHECK(listener > 0);
	for (uint32_t i = 0; i < COUNT_OF(options); i++) {
		int value = -1;
		socklen_t size = sizeof value;

		CHECK_EQUAL(0, getsockopt(mp_peek_fd(rig.channel, listener), options[i].level, options[i].name, &value,
					  &size));
		CHECK_EQUAL(options[i].value, value);
	}
	end_listener(&rig, listener, 0);
	rig_close(&rig);
	close(fd);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		TEST(partitions_share_the_connections),
		TEST(partition_closed_leaves_all_to_the_other),
		TEST(partition_outside_the_mask_is_not_permitted),
		TEST(partition_of_other_fds_is_invalid),
		TEST(partition_without_room_gives_enfile_and_keeps_no_fd),
		TEST(partition_is_like_the_first_socket),
		TEST(partition_copies_the_options_that_connections_inherit),
	};

	return RUN_TESTS(tests, argc, argv);
}
