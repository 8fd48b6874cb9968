/* Zero-copy sends that are none on loopback: over a card, which takes the bytes from where they are (network.c). Each
 * area of memory is overwritten as soon as the channel gives it back, and the peers look at every byte, so a channel
 * that gives memory back too early is found. Run by tests/kernels/run in the booted kernel. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common_rig.h"
#include "network.h"

#define AREAS 24u
#define AREA_BYTES (192u << 10)
#define FLOWS 8u
#define FLOW_BYTES (3u << 20)
#define MAX_PARTS 7u
#define STALE 0xEE /* no pattern has a run of it */
#define SMALL_WINDOW 16384
#define READ_ALL UINT64_MAX

enum peer_kind {
	PEER_QUICK,
	PEER_SLOW,   /* with a small window, and a rest after each piece */
	PEER_RESETS, /* after a part */
};

struct flow {
	struct rig_link link;
	enum peer_kind kind;
	pthread_t thread;
	uint64_t sent; /* asked for */
	uint64_t got;
	uint32_t area; /* of the write that is being made */
	int writing, ended, wrong;
	struct iovec parts[MAX_PARTS];
};

static uint8_t *areas[AREAS];
static int busy[AREAS];
static uint32_t held, released, copied;

static struct rig_link link_over_card(struct rig *rig, int window)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	socklen_t bytes = sizeof address;
	struct rig_listener listener = { .fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) };
	struct rig_link link;
	struct mp_event event;

	(void)inet_pton(AF_INET, CARD_ADDRESS, &address.sin_addr);
	CHECK_EQUAL(0, bind(listener.fd, (struct sockaddr *)&address, sizeof address));
	CHECK_EQUAL(0, listen(listener.fd, 8));
	CHECK_EQUAL(0, getsockname(listener.fd, (struct sockaddr *)&address, &bytes));
	listener.handle = mp_register(rig->channel, listener.fd, 0, 0, 0);
	CHECK(listener.handle > 0);
	CHECK_EQUAL(0, mp_accept(rig->channel, listener.handle, 1, 0));
	rig_turn(rig);
	link.peer = peer_socket(SOCK_STREAM);
	CHECK(link.peer >= 0);
	if (window)
		CHECK_EQUAL(0, setsockopt(link.peer, SOL_SOCKET, SO_RCVBUF, &window, sizeof window));
	CHECK_EQUAL(0, connect(link.peer, (struct sockaddr *)&address, bytes));
	event = rig_take(rig, 0, MP_STAGE_ACCEPT);
	CHECK(event.handle > 0);
	link.handle = event.handle;
	link.flags = event.flags;
	rig_unlisten(rig, &listener);
	return link;
}

static void *read_flow(void *argument)
{
	struct flow *flow = argument;
	const struct linger reset = { .l_onoff = 1 };
	uint8_t *data = malloc(AREA_BYTES);
	uint64_t limit = flow->kind == PEER_RESETS ? FLOW_BYTES / 3 : READ_ALL;

	while (flow->got < limit) {
		uint32_t most = flow->kind == PEER_SLOW ? SMALL_WINDOW / 2 : AREA_BYTES;
		ssize_t got = recv(flow->link.peer, data, most, 0);

		if (got <= 0)
			break;
		flow->wrong |= !pattern_is(data, (uint32_t)got, flow->got);
		flow->got += (uint64_t)got;
		if (flow->kind == PEER_SLOW)
			usleep(500);
	}
	if (flow->kind == PEER_RESETS)
		(void)setsockopt(flow->link.peer, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
	close(flow->link.peer);
	free(data);
	return NULL;
}

static void areas_open(void)
{
	held = released = copied = 0;
	for (uint32_t i = 0; i < AREAS; i++) {
		areas[i] = malloc(AREA_BYTES);
		busy[i] = 0;
	}
}

static void areas_close(void)
{
	for (uint32_t i = 0; i < AREAS; i++) {
		CHECK(!busy[i]);
		free(areas[i]);
	}
}

static void area_back(uint32_t area)
{
	CHECK(area < AREAS && busy[area]);
	memset(areas[area], STALE, AREA_BYTES);
	busy[area] = 0;
}

/* Writes the flow's next bytes from a free area, in some parts. 0: there is no free area. */
static int write_next(struct rig *rig, struct flow *flow, uint64_t *seed)
{
	uint32_t area = 0, bytes, count = 1 + random_below(seed, MAX_PARTS);

	while (area < AREAS && busy[area])
		area++;
	if (area == AREAS)
		return 0;
	bytes = MAX_PARTS + random_below(seed, AREA_BYTES - MAX_PARTS);
	if (bytes > FLOW_BYTES - flow->sent)
		bytes = (uint32_t)(FLOW_BYTES - flow->sent);
	if (bytes < count)
		count = 1;
	fill_pattern(areas[area], bytes, flow->sent);
	for (uint32_t i = 0; i < count; i++)
		flow->parts[i] = (struct iovec){ areas[area] + bytes / count * i,
						 i + 1 < count ? bytes / count : bytes - bytes / count * i };
	busy[area] = 1;
	flow->area = area;
	flow->writing = 1;
	flow->sent += bytes;
	CHECK_EQUAL(0, mp_write_held(rig->channel, flow->link.handle, flow->parts, count, area));
	return 1;
}

static void take_write(struct rig *rig, struct flow *flows, uint32_t count)
{
	struct mp_event event = rig_take(rig, 0, MP_STAGE_WRITE);
	struct flow *flow = flows;

	if (event.flags & MP_EVENT_RELEASED) {
		released++;
		copied += (event.flags & MP_EVENT_COPIED) != 0;
		area_back((uint32_t)event.data);
		return;
	}
	while (flow < flows + count && flow->link.handle != event.handle)
		flow++;
	CHECK(flow < flows + count);
	flow->writing = 0;
	if (event.flags & MP_EVENT_HELD)
		held++;
	else
		area_back(flow->area);
	copied += (event.flags & MP_EVENT_COPIED) != 0;
	if (event.result < 0)
		CHECK_EQUAL(PEER_RESETS, flow->kind);
	if (event.result < 0 || flow->sent == FLOW_BYTES) {
		/* At once, while the kernel has the memory. */
		flow->ended = 1;
		CHECK_EQUAL(0, mp_close(rig->channel, flow->link.handle, 0));
	}
}

/* Several connections with readers of all kinds, until the last byte of memory is back. */
static void run_flows(struct rig *rig, uint64_t seed)
{
	struct flow flows[FLOWS];
	uint32_t live = FLOWS;

	memset(flows, 0, sizeof flows);
	for (uint32_t i = 0; i < FLOWS; i++) {
		flows[i].kind = i % 4 == 1 ? PEER_SLOW : i % 4 == 3 ? PEER_RESETS : PEER_QUICK;
		flows[i].link = link_over_card(rig, flows[i].kind == PEER_SLOW ? SMALL_WINDOW : 0);
		CHECK_EQUAL(0, pthread_create(&flows[i].thread, NULL, read_flow, &flows[i]));
	}
	while (live || held > released) {
		live = 0;
		for (uint32_t i = 0; i < FLOWS; i++) {
			live += !flows[i].ended;
			if (!flows[i].ended && !flows[i].writing && !write_next(rig, &flows[i], &seed))
				break;
		}
		if (live || held > released)
			take_write(rig, flows, FLOWS);
	}
	for (uint32_t i = 0; i < FLOWS; i++) {
		CHECK(rig_take(rig, flows[i].link.handle, MP_STAGE_CLOSE).flags & MP_EVENT_RETIRED);
		CHECK_EQUAL(0, pthread_join(flows[i].thread, NULL));
		CHECK_EQUAL(0, flows[i].wrong);
		if (flows[i].kind != PEER_RESETS)
			CHECK_EQUAL(FLOW_BYTES, flows[i].got);
	}
}

static void check_uncopied(void)
{
	printf("  %u writes, %u held and given back, %u copied\n", held, released, copied);
	CHECK_EQUAL(held, released);
	if (!kernel_has(MP_FEATURE_ZERO_COPY)) {
		CHECK_EQUAL(0, held);
		return;
	}
	CHECK(held > FLOWS * FLOW_BYTES / AREA_BYTES / 2);
	CHECK(copied < held / 2); /* short_packet_makes_a_whole_write_count_as_copied */
}

static void rig_open_held(struct rig *rig)
{
	struct mp_config config = rig_config(MP_CONFIG_ZERO_COPY);

	rig_open(rig, &config);
}

static void readers_of_all_kinds_get_their_bytes_uncopied(void)
{
	struct rig rig;

	rig_open_held(&rig);
	areas_open();
	run_flows(&rig, 1);
	check_uncopied();
	areas_close();
	rig_close(&rig);
}

#define OUTAGES 5

/* Takes the peer's card away for a while, some times: what was lost is sent once more, from the memory. */
static void *tear(void *unused)
{
	struct ifreq card = { .ifr_name = PEER_CARD };
	int fd = peer_socket(SOCK_DGRAM);

	(void)unused;
	for (int i = 0; i < OUTAGES; i++) {
		usleep(300000);
		card.ifr_flags = 0;
		CHECK_EQUAL(0, ioctl(fd, SIOCSIFFLAGS, &card));
		usleep(50000);
		card.ifr_flags = IFF_UP | IFF_RUNNING;
		CHECK_EQUAL(0, ioctl(fd, SIOCSIFFLAGS, &card));
	}
	close(fd);
	return NULL;
}

static void lost_packets_are_sent_again_from_memory_that_is_still_held(void)
{
	struct rig rig;
	pthread_t thread;

	rig_open_held(&rig);
	areas_open();
	CHECK_EQUAL(0, pthread_create(&thread, NULL, tear, NULL));
	run_flows(&rig, 2);
	CHECK_EQUAL(0, pthread_join(thread, NULL));
	check_uncopied();
	areas_close();
	rig_close(&rig);
}

/* A write whose peer does not read yet: taken by the kernel, and held. */
static struct rig_link hold_one(struct rig *rig, uint8_t *data, uint32_t bytes)
{
	static struct iovec part;
	struct rig_link link = link_over_card(rig, SMALL_WINDOW);
	struct mp_event event;

	fill_pattern(data, bytes, 0);
	part = (struct iovec){ data, bytes };
	CHECK_EQUAL(0, mp_write_held(rig->channel, link.handle, &part, 1, 7));
	event = rig_take(rig, link.handle, MP_STAGE_WRITE);
	CHECK_EQUAL(bytes, event.result);
	CHECK_EQUAL(MP_EVENT_HELD, event.flags);
	return link;
}

#define HELD_BYTES (64u << 10)

/* The other tests can fail: memory that is used again before it was given back reaches the peer. */
static void memory_used_too_early_reaches_the_peer(void)
{
	uint8_t *data = malloc(HELD_BYTES), *got = malloc(HELD_BYTES);
	struct rig rig;
	struct rig_link link;

	if (!kernel_has(MP_FEATURE_ZERO_COPY)) {
		skip("this kernel does not tell whether it copied");
		goto done;
	}
	rig_open_held(&rig);
	link = hold_one(&rig, data, HELD_BYTES);
	memset(data, STALE, HELD_BYTES);
	receive_all(link.peer, got, HELD_BYTES);
	CHECK(!pattern_is(got, HELD_BYTES, 0));
	CHECK_EQUAL(STALE, got[HELD_BYTES - 1]);
	CHECK_EQUAL(MP_EVENT_RELEASED, rig_take(&rig, 0, MP_STAGE_WRITE).flags);
	rig_unlink(&rig, &link, 0);
	rig_close(&rig);
done:
	free(data);
	free(got);
}

#define FIRST_PACKETS 10u /* that a connection sends before it has heard from its peer */

/* A driver may copy what is hardly more than its headers (vmxnet3: up to 128 bytes with them), and the report is one
 * for all packets of a write. So a write in a few says "copied" where the way copies nothing. */
static void short_packet_makes_a_whole_write_count_as_copied(void)
{
	const uint32_t tails[] = { 0, 700, 20 }; /* bytes of a last packet */
	uint8_t *data = malloc(AREA_BYTES), *got = malloc(AREA_BYTES);
	struct rig rig;

	rig_open_held(&rig);
	fill_pattern(data, AREA_BYTES, 0);
	for (uint32_t i = 0; i < COUNT_OF(tails) && kernel_has(MP_FEATURE_ZERO_COPY); i++) {
		struct rig_link link = link_over_card(&rig, 0);
		struct iovec part = { data, 0 };
		struct mp_event event;
		int32_t most;
		socklen_t size = sizeof most;

		CHECK_EQUAL(0, getsockopt(link.peer, IPPROTO_TCP, TCP_MAXSEG, &most, &size));
		part.iov_len = FIRST_PACKETS * (uint32_t)most + tails[i];
		CHECK_EQUAL(0, mp_write_held(rig.channel, link.handle, &part, 1, i));
		event = rig_take(&rig, link.handle, MP_STAGE_WRITE);
		CHECK_EQUAL(MP_EVENT_HELD, event.flags);
		receive_all(link.peer, got, (uint32_t)event.result);
		CHECK(pattern_is(got, (uint32_t)event.result, 0));
		event = rig_take(&rig, 0, MP_STAGE_WRITE);
		printf("  last packet of %u bytes: %s\n", tails[i],
		       event.flags & MP_EVENT_COPIED ? "copied" : "not copied");
		CHECK_EQUAL(tails[i] == 20, (event.flags & MP_EVENT_COPIED) != 0);
		rig_unlink(&rig, &link, 0);
	}
	rig_close(&rig);
	free(data);
	free(got);
}

static struct rig handed;
static uint8_t *handed_data;
static struct rig_link handed_link;

static void *hold_and_end(void *unused)
{
	(void)unused;
	handed_link = hold_one(&handed, handed_data, HELD_BYTES);
	return NULL;
}

static void carrier_that_ends_leaves_the_memory_to_the_next(void)
{
	uint8_t *got = malloc(HELD_BYTES);
	pthread_t thread;

	if (!kernel_has(MP_FEATURE_ZERO_COPY)) {
		skip("this kernel does not tell whether it copied");
		free(got);
		return;
	}
	handed_data = malloc(HELD_BYTES);
	rig_open_held(&handed);
	CHECK_EQUAL(0, pthread_create(&thread, NULL, hold_and_end, NULL));
	CHECK_EQUAL(0, pthread_join(thread, NULL));
	rig_nothing(&handed);
	receive_all(handed_link.peer, got, HELD_BYTES);
	CHECK(pattern_is(got, HELD_BYTES, 0));
	CHECK_EQUAL(MP_EVENT_RELEASED, rig_take(&handed, 0, MP_STAGE_WRITE).flags);
	rig_unlink(&handed, &handed_link, 0);
	rig_close(&handed);
	free(handed_data);
	free(got);
}

/* The channel waits for the memory, and so does who frees it after. */
static void channel_that_ends_gives_a_reader_time(void)
{
	uint8_t *data = malloc(HELD_BYTES);
	struct flow flow = { .kind = PEER_SLOW };
	struct rig rig;

	if (!kernel_has(MP_FEATURE_ZERO_COPY)) {
		skip("this kernel does not tell whether it copied");
		free(data);
		return;
	}
	rig_open_held(&rig);
	flow.link = hold_one(&rig, data, HELD_BYTES);
	CHECK_EQUAL(0, pthread_create(&flow.thread, NULL, read_flow, &flow));
	mp_destroy(rig.channel);
	memset(data, STALE, HELD_BYTES);
	CHECK_EQUAL(0, pthread_join(flow.thread, NULL));
	CHECK_EQUAL(HELD_BYTES, flow.got);
	CHECK_EQUAL(0, flow.wrong);
	free(data);
}

/* A peer that does not read in the time that a channel gives it: the channel ends all the same, and the kernel goes on
 * sending from the memory, which its owner must leave alone, as megapipe.h says. */
static void channel_that_ends_waits_for_no_peer_for_ever(void)
{
	uint8_t *data = malloc(HELD_BYTES), *got = malloc(HELD_BYTES);
	struct rig rig;
	struct rig_link link;

	if (!kernel_has(MP_FEATURE_ZERO_COPY)) {
		skip("this kernel does not tell whether it copied");
		goto done;
	}
	rig_open_held(&rig);
	link = hold_one(&rig, data, HELD_BYTES);
	mp_destroy(rig.channel);
	receive_all(link.peer, got, HELD_BYTES);
	CHECK(pattern_is(got, HELD_BYTES, 0));
	CHECK_EQUAL(0, receive_end(link.peer));
	close(link.peer);
done:
	free(data);
	free(got);
}

/* Packets that a sleeper has taken from its card by itself; -1: this kernel does not count them. */
static long polled_packets(void)
{
	FILE *file = fopen("/proc/thread-self/net/netstat", "re");
	char names[8192], values[8192], *name, *value, *name_rest, *value_rest;
	long found = -1;

	CHECK(file);
	while (found < 0 && fgets(names, sizeof names, file) && fgets(values, sizeof values, file)) {
		name = strtok_r(names, " \n", &name_rest);
		value = strtok_r(values, " \n", &value_rest);
		while (name && value) {
			if (!strcmp(name, "BusyPollRxPackets"))
				found = strtol(value, NULL, 10);
			name = strtok_r(NULL, " \n", &name_rest);
			value = strtok_r(NULL, " \n", &value_rest);
		}
	}
	fclose(file);
	return found;
}

#define ECHOES 200u
#define POLL_US 5000u

static void *ask_again_and_again(void *argument)
{
	int32_t fd = *(int32_t *)argument;
	uint8_t byte = 0, got;

	for (uint32_t i = 0; i < ECHOES; i++, byte++) {
		send_all(fd, &byte, 1);
		receive_all(fd, &got, 1);
		CHECK_EQUAL(byte, got);
	}
	return NULL;
}

/* Echoes over the card, by a channel that sleeps in between; the packets that it took from the card itself. */
static long echoes_polled(uint32_t busy_poll_us)
{
	struct mp_config config = rig_config(0);
	struct rig rig;
	struct rig_link link;
	pthread_t thread;
	long before;

	config.busy_poll_us = busy_poll_us;
	rig_open(&rig, &config);
	link = link_over_card(&rig, 0);
	CHECK_EQUAL(0, mp_read_start(rig.channel, link.handle));
	before = polled_packets();
	CHECK_EQUAL(0, pthread_create(&thread, NULL, ask_again_and_again, &link.peer));
	for (uint32_t i = 0; i < ECHOES; i++) {
		uint8_t byte;

		rig_leased(&rig, link.handle, &byte, 1);
		rig_write(&rig, link.handle, &byte, 1);
	}
	CHECK_EQUAL(0, pthread_join(thread, NULL));
	before = polled_packets() - before;
	CHECK_EQUAL(0, mp_read_pause(rig.channel, link.handle));
	CHECK_EQUAL(-ECANCELED, rig_take(&rig, link.handle, MP_STAGE_READ).result);
	rig_unlink(&rig, &link, 0);
	rig_close(&rig);
	return before;
}

static void sleeper_polls_the_card_where_it_is_asked_to(void)
{
	long asked = echoes_polled(POLL_US), plain = echoes_polled(0);

	printf("  of %u echoes %ld were polled, and %ld without being asked for\n", ECHOES, asked, plain);
	CHECK_EQUAL(0, plain);
	if (kernel_has(MP_FEATURE_BUSY_POLL))
		CHECK(asked > 0);
	else
		CHECK_EQUAL(0, asked);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		TEST(memory_used_too_early_reaches_the_peer),
		TEST(short_packet_makes_a_whole_write_count_as_copied),
		TEST(readers_of_all_kinds_get_their_bytes_uncopied),
		TEST(lost_packets_are_sent_again_from_memory_that_is_still_held),
		TEST(carrier_that_ends_leaves_the_memory_to_the_next),
		TEST(channel_that_ends_gives_a_reader_time),
		TEST(sleeper_polls_the_card_where_it_is_asked_to),
		TEST(channel_that_ends_waits_for_no_peer_for_ever),
	};

	return RUN_TESTS(tests, argc, argv);
}
