/* Listener partitions: each channel its own accept queue on one address (paper, section 3.2). */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common_rig.h"

#define CHANNELS 2u
#define LINKS 64u
#define BACKLOG 128u /* more than LINKS */

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

			listeners[i] = mp_register(rigs[i].channel, fd, i, 3, BACKLOG);
			CHECK(listeners[i] > 0);
			CHECK(mp_peek_fd(rigs[i].channel, listeners[i]) != fd);
			CHECK_EQUAL(bytes, mp_local_address(rigs[i].channel, listeners[i], &local, sizeof local));
			CHECK(!memcmp(&local, &address, bytes));
			CHECK_EQUAL(0,
				    mp_accept(rigs[i].channel, listeners[i], 4, MP_ACCEPT_KEEP | MP_ACCEPT_LWSOCKET));
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
		listeners[i] = mp_register(rigs[i].channel, fd, i, 1, BACKLOG);
	end_listener(&rigs[0], listeners[0], 0);
	CHECK_EQUAL(0, mp_accept(rigs[1].channel, listeners[1], 1, MP_ACCEPT_KEEP));
	for (uint32_t i = 0; i < LINKS; i++) {
		int32_t peer = connect_fd(&address, bytes);

		take_and_close(&rigs[1], listeners[1]);
		close(peer);
	}
	/* And back: the address is still there for the first. */
	listeners[0] = mp_register(rigs[0].channel, fd, 0, 1, BACKLOG);
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
	CHECK_EQUAL(-EPERM, mp_register(rigs[0].channel, fd, 0, 1u << 1, BACKLOG));
	CHECK_EQUAL(-EPERM, mp_register(rigs[1].channel, fd, 0, 1u << 0, BACKLOG));
	CHECK_EQUAL(-EPERM, mp_register(rigs[1].channel, fd, 0, (uint64_t)1 << 63, BACKLOG));
	listener = mp_register(rigs[1].channel, fd, 0, 1u << 1 | (uint64_t)1 << 63, BACKLOG);
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
	CHECK_EQUAL(-EINVAL, mp_register(rig.channel, plain, 0, 1, BACKLOG)); /* no SO_REUSEPORT */
	CHECK_EQUAL(-EINVAL, mp_register(rig.channel, local, 0, 1, BACKLOG));
	CHECK_EQUAL(-EINVAL, mp_register(rig.channel, pair[0], 0, 1, BACKLOG));
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
	CHECK_EQUAL(-ENFILE, mp_register(rig.channel, fd, 0, 1, BACKLOG));
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
	listener = mp_register(rig.channel, fd, 0, 1, BACKLOG);
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

static void partition_queues_as_many_as_asked(void)
{
	struct sockaddr_storage address;
	struct rig rig;
	socklen_t bytes;
	int32_t fd = bound_fd(AF_INET, &address, &bytes);

	rig_open(&rig, NULL);
	for (uint32_t backlog = 1; backlog < 1000; backlog += 333) {
		mp_handle listener = mp_register(rig.channel, fd, 0, 1, backlog);
		struct tcp_info info = { 0 };
		socklen_t size = sizeof info;

		CHECK_EQUAL(0, getsockopt(mp_peek_fd(rig.channel, listener), IPPROTO_TCP, TCP_INFO, &info, &size));
		CHECK_EQUAL(backlog, info.tcpi_sacked); /* of a listening socket: how many it queues */
		end_listener(&rig, listener, 0);
	}
	CHECK_EQUAL(-EINVAL, mp_register(rig.channel, fd, 0, 1, 0));
	CHECK_EQUAL(-EINVAL, mp_register(rig.channel, fd, 0, 1, 1u << 31));
	rig_close(&rig);
	close(fd);
}

/* The listening socket itself: a partition that took IPv4 connections, too, would be another endpoint. */
static void partition_is_like_the_first_socket(void)
{
	static const struct {
		int level, name, value;
	} options[] = {
		{ IPPROTO_IPV6, IPV6_V6ONLY, 1 },  { SOL_SOCKET, SO_KEEPALIVE, 1 },
		{ IPPROTO_TCP, TCP_KEEPIDLE, 77 }, { IPPROTO_TCP, TCP_KEEPINTVL, 11 },
		{ IPPROTO_TCP, TCP_KEEPCNT, 3 },   { IPPROTO_TCP, TCP_DEFER_ACCEPT, 1 },
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
	listener = mp_register(rig.channel, fd, 0, 1, BACKLOG);
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

/* The value of an option of a fresh partition of `fd`; the partition is gone again. */
static socklen_t partition_value(int32_t fd, int level, int name, void *value, socklen_t capacity)
{
	struct rig rig;
	mp_handle listener;

	rig_open(&rig, NULL);
	listener = mp_register(rig.channel, fd, 0, 1, BACKLOG);
	CHECK(listener > 0);
	memset(value, 0, capacity);
	CHECK_EQUAL(0, getsockopt(mp_peek_fd(rig.channel, listener), level, name, value, &capacity));
	end_listener(&rig, listener, 0);
	rig_close(&rig);
	return capacity;
}

/* Each option alone, on a socket of its own. */
static void partition_has_every_option_of_its_first_socket(void)
{
	static const struct timeval wait = { .tv_sec = 3, .tv_usec = 20000 };
	static const struct linger linger = { .l_onoff = 1, .l_linger = 5 };
	const struct {
		int level, name;
		const void *value;
		socklen_t bytes;
	} set[] = {
		{ SOL_SOCKET, SO_BINDTODEVICE, "lo", 3 },
		{ SOL_SOCKET, SO_SNDBUF, &(int){ 33333 }, sizeof(int) },
		{ SOL_SOCKET, SO_RCVBUF, &(int){ 44444 }, sizeof(int) },
		{ SOL_SOCKET, SO_PRIORITY, &(int){ 3 }, sizeof(int) },
		{ SOL_SOCKET, SO_LINGER, &linger, sizeof linger },
		{ SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait },
		{ SOL_SOCKET, SO_RCVLOWAT, &(int){ 2 }, sizeof(int) },
		{ SOL_SOCKET, SO_MAX_PACING_RATE, &(int){ 1000000 }, sizeof(int) },
		{ IPPROTO_IP, IP_TOS, &(int){ 0x28 }, sizeof(int) },
		{ IPPROTO_IP, IP_TTL, &(int){ 7 }, sizeof(int) },
		{ IPPROTO_IP, IP_MTU_DISCOVER, &(int){ IP_PMTUDISC_DONT }, sizeof(int) },
		{ IPPROTO_IP, IP_FREEBIND, &(int){ 1 }, sizeof(int) },
		{ IPPROTO_TCP, TCP_USER_TIMEOUT, &(int){ 12345 }, sizeof(int) },
		{ IPPROTO_TCP, TCP_CONGESTION, "reno", 4 },
		{ IPPROTO_TCP, TCP_FASTOPEN, &(int){ 17 }, sizeof(int) },
		{ IPPROTO_TCP, TCP_MAXSEG, &(int){ 1000 }, sizeof(int) },
		{ IPPROTO_TCP, TCP_NOTSENT_LOWAT, &(int){ 16384 }, sizeof(int) },
		{ IPPROTO_TCP, TCP_DEFER_ACCEPT, &(int){ 3 }, sizeof(int) },
		{ IPPROTO_TCP, TCP_SYNCNT, &(int){ 2 }, sizeof(int) },
		{ IPPROTO_TCP, TCP_LINGER2, &(int){ 9 }, sizeof(int) },
		{ IPPROTO_TCP, TCP_KEEPIDLE, &(int){ 77 }, sizeof(int) },
		{ IPPROTO_TCP, TCP_SAVE_SYN, &(int){ 1 }, sizeof(int) },
	};

	for (uint32_t i = 0; i < COUNT_OF(set); i++) {
		unsigned char wanted[64] = { 0 }, before[64], got[64];
		struct sockaddr_storage address;
		socklen_t bytes, wanted_bytes = sizeof wanted;
		int32_t fd = bound_fd(AF_INET, &address, &bytes);

		(void)partition_value(fd, set[i].level, set[i].name, before, sizeof before);
		CHECK_EQUAL(0, setsockopt(fd, set[i].level, set[i].name, set[i].value, set[i].bytes));
		CHECK_EQUAL(0, getsockopt(fd, set[i].level, set[i].name, wanted, &wanted_bytes));
		CHECK(memcmp(before, wanted, sizeof wanted)); /* or the test shows nothing */
		CHECK_EQUAL(wanted_bytes, partition_value(fd, set[i].level, set[i].name, got, sizeof got));
		if (memcmp(got, wanted, sizeof wanted))
			fprintf(stderr, "option %d of level %d is lost\n", set[i].name, set[i].level);
		CHECK(!memcmp(got, wanted, sizeof wanted));
		close(fd);
	}
}

static void partition_of_options_that_change_each_other_has_all(void)
{
	struct sockaddr_storage address;
	socklen_t bytes;
	int32_t fd = bound_fd(AF_INET, &address, &bytes);
	int got;

	/* Setting the TOS sets the priority. */
	CHECK_EQUAL(0, setsockopt(fd, IPPROTO_IP, IP_TOS, &(int){ 0x08 }, sizeof(int)));
	CHECK_EQUAL(0, setsockopt(fd, SOL_SOCKET, SO_PRIORITY, &(int){ 5 }, sizeof(int)));
	partition_value(fd, IPPROTO_IP, IP_TOS, &got, sizeof got);
	CHECK_EQUAL(0x08, got);
	partition_value(fd, SOL_SOCKET, SO_PRIORITY, &got, sizeof got);
	CHECK_EQUAL(5, got);
	/* Sizes that nobody has set stay the kernel's to tune. */
	partition_value(fd, SOL_SOCKET, 72 /* SO_BUF_LOCK */, &got, sizeof got);
	CHECK_EQUAL(0, got);
	close(fd);
}

static void partition_of_mptcp_is_mptcp(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int32_t fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 262 /* IPPROTO_MPTCP */);
	int got, on = 1;

	if (fd < 0) {
		skip("no MPTCP here");
		return;
	}
	CHECK_EQUAL(0, setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on));
	CHECK_EQUAL(0, bind(fd, (struct sockaddr *)&address, sizeof address));
	partition_value(fd, SOL_SOCKET, SO_PROTOCOL, &got, sizeof got);
	CHECK_EQUAL(262, got);
	close(fd);
}

static void partition_of_a_socket_with_a_filter_is_refused(void)
{
	struct sock_filter everything = { .code = 0x06, .k = UINT32_MAX }; /* return: accept the packet */
	struct sock_fprog filter = { .len = 1, .filter = &everything };
	struct sockaddr_storage address;
	struct rig rig;
	socklen_t bytes;
	int32_t fd = bound_fd(AF_INET, &address, &bytes), before;

	rig_open(&rig, NULL);
	CHECK_EQUAL(0, setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter));
	before = fd_count();
	CHECK_EQUAL(-EOPNOTSUPP, mp_register(rig.channel, fd, 0, 1, BACKLOG));
	CHECK_EQUAL(before, fd_count());
	rig_close(&rig);
	close(fd);
}

/* What the process may not set any more: a mark, after it has given up its privileges. */
static void partition_with_an_option_that_cannot_be_set_is_refused(void)
{
	struct sockaddr_storage address;
	struct rig rig;
	socklen_t bytes;
	int32_t fd = bound_fd(AF_INET, &address, &bytes);
	int got;

	if (setsockopt(fd, SOL_SOCKET, SO_MARK, &(int){ 42 }, sizeof(int))) {
		close(fd);
		skip("SO_MARK needs a privilege");
		return;
	}
	partition_value(fd, SOL_SOCKET, SO_MARK, &got, sizeof got);
	CHECK_EQUAL(42, got);
	rig_open(&rig, NULL);
	CHECK_EQUAL(0, seteuid(65534));
	got = (int)mp_register(rig.channel, fd, 0, 1, BACKLOG);
	CHECK_EQUAL(0, seteuid(0));
	CHECK_EQUAL(-EOPNOTSUPP, got);
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
		TEST(partition_queues_as_many_as_asked),
		TEST(partition_is_like_the_first_socket),
		TEST(partition_copies_the_options_that_connections_inherit),
		TEST(partition_has_every_option_of_its_first_socket),
		TEST(partition_of_options_that_change_each_other_has_all),
		TEST(partition_of_mptcp_is_mptcp),
		TEST(partition_of_a_socket_with_a_filter_is_refused),
		TEST(partition_with_an_option_that_cannot_be_set_is_refused),
	};

	return RUN_TESTS(tests, argc, argv);
}
