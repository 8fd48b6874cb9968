/* A peer that reads slowly holds up its own write and nothing else: no worker of the kernel waits for it. A worker is a
 * thread of this process, `iou-wrk-` and the number of the thread that it works for. */
#define _GNU_SOURCE
#include <dirent.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common_rig.h"

#define BYTES (2u << 20)
#define PIECE 1024u /* read at a time */
#define LINKS 4u

static uint32_t workers(void)
{
	DIR *directory = opendir("/proc/self/task");
	const struct dirent *entry;
	uint32_t count = 0;

	CHECK(directory);
	while ((entry = readdir(directory))) {
		char path[300], name[32] = "";
		FILE *file;

		snprintf(path, sizeof path, "/proc/self/task/%s/comm", entry->d_name);
		file = fopen(path, "re"); /* gone meanwhile, or none */
		if (!file)
			continue;
		count += fgets(name, sizeof name, file) && !strncmp(name, "iou-wrk-", 8);
		fclose(file);
	}
	closedir(directory);
	return count;
}

/* Small buffers, and over TCP small segments, of which a window as small as the peer's takes several. */
static struct rig_link slow_link(struct rig *rig, int family)
{
	int least = 1, segment = 536;
	struct rig_listener listener;
	struct rig_link link = { 0 };
	struct mp_event event;

	listener.fd = listen_fd(family, 0, &listener.address, &listener.bytes);
	CHECK_EQUAL(0, setsockopt(listener.fd, SOL_SOCKET, SO_SNDBUF, &least, sizeof least)); /* for the accepted */
	listener.handle = mp_register(rig->channel, listener.fd, 0, 0, 0);
	CHECK_EQUAL(0, mp_accept(rig->channel, listener.handle, 1, 0));
	link.peer = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(link.peer >= 0);
	if (family == AF_INET) {
		int window = 4 * segment;

		CHECK_EQUAL(0, setsockopt(link.peer, IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof segment));
		CHECK_EQUAL(0, setsockopt(link.peer, SOL_SOCKET, SO_RCVBUF, &window, sizeof window));
	}
	CHECK_EQUAL(0, connect(link.peer, (struct sockaddr *)&listener.address, listener.bytes));
	event = rig_take(rig, 0, MP_STAGE_ACCEPT);
	CHECK(event.handle > 0);
	link.handle = event.handle;
	CHECK_EQUAL(0, setsockopt(mp_peek_fd(rig->channel, link.handle), SOL_SOCKET, SO_SNDBUF, &least, sizeof least));
	rig_unlisten(rig, &listener);
	return link;
}

static void read_piece(struct rig *rig, const struct rig_link *link, uint32_t *got)
{
	int64_t end = now_ns() + RIG_WAIT_NS;
	uint8_t data[PIECE];
	ssize_t part;

	while ((part = recv(link->peer, data, sizeof data, MSG_DONTWAIT)) < 0) {
		CHECK(now_ns() < end);
		rig_turn(rig);
	}
	CHECK(part > 0);
	CHECK(pattern_is(data, (uint32_t)part, *got));
	*got += (uint32_t)part;
}

static void write_to(int family, uint32_t vectors)
{
	struct iovec *pieces = calloc(LINKS * (vectors + 1), sizeof *pieces);
	uint32_t got[LINKS] = { 0 }, before, left = LINKS;
	struct rig_link links[LINKS];
	uint8_t *data = malloc(BYTES);
	struct rig rig;

	rig_open(&rig, NULL);
	before = workers(); /* of what the library tries once; fewer than the links need */
	fill_pattern(data, BYTES, 0);
	for (uint32_t i = 0; i < LINKS; i++) {
		struct iovec *own = pieces + i * vectors;

		links[i] = slow_link(&rig, family);
		for (uint32_t j = 0; j < vectors; j++)
			own[j] = (struct iovec){ data + j * (BYTES / vectors), BYTES / vectors };
		if (vectors)
			CHECK_EQUAL(0, mp_writev(rig.channel, links[i].handle, own, vectors));
		else
			CHECK_EQUAL(0, mp_write(rig.channel, links[i].handle, data, BYTES));
	}
	for (uint32_t round = 0; left; round++) {
		for (uint32_t i = 0; i < LINKS; i++) {
			if (got[i] == BYTES)
				continue;
			read_piece(&rig, &links[i], &got[i]);
			left -= got[i] == BYTES;
		}
		if (round % 256 == 0)
			CHECK(workers() <= before);
	}
	for (uint32_t i = 0; i < LINKS; i++)
		CHECK_EQUAL(BYTES, rig_take(&rig, links[i].handle, MP_STAGE_WRITE).result);
	CHECK(workers() <= before);
	for (uint32_t i = 0; i < LINKS; i++)
		rig_unlink(&rig, &links[i], 0);
	rig_close(&rig);
	free(pieces);
	free(data);
}

static void slow_tcp_reader_takes_no_worker(void)
{
	write_to(AF_INET, 0);
}

static void slow_tcp_reader_of_vectors_takes_no_worker(void)
{
	write_to(AF_INET, 16);
}

static void slow_unix_reader_takes_no_worker(void)
{
	write_to(AF_UNIX, 0);
}

static void slow_unix_reader_of_vectors_takes_no_worker(void)
{
	write_to(AF_UNIX, 1024);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		TEST(slow_tcp_reader_takes_no_worker),
		TEST(slow_tcp_reader_of_vectors_takes_no_worker),
		TEST(slow_unix_reader_takes_no_worker),
		TEST(slow_unix_reader_of_vectors_takes_no_worker),
	};

	return RUN_TESTS(tests, argc, argv);
}
