/* Stage write: everything or an error, however little the kernel takes at a time. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common_rig.h"

#define BIG (3u << 20)
#define VECTORS 1024u

struct reader {
	int32_t fd;
	uint32_t bytes;
	int ok;
};

/* Takes little at a time, so that the writer's socket is mostly full. */
static void *read_slowly(void *argument)
{
	struct reader *reader = argument;
	uint8_t data[4096];
	uint32_t got = 0;

	reader->ok = 1;
	while (got < reader->bytes) {
		ssize_t part = recv(reader->fd, data, sizeof data, 0);

		CHECK(part > 0);
		reader->ok &= pattern_is(data, (uint32_t)part, got);
		got += (uint32_t)part;
	}
	return NULL;
}

static void shrink(struct rig *rig, const struct rig_link *link)
{
	int bytes = 4096;
	int32_t fd = mp_peek_fd(rig->channel, link->handle);

	/* The receiver's is left alone: a window below loopback's segment size waits for timers. */
	if (fd >= 0)
		CHECK_EQUAL(0, setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes));
}

static void write_slowly(struct rig *rig, const struct rig_link *link, uint32_t vectors)
{
	struct reader reader = { .fd = link->peer, .bytes = BIG };
	struct iovec *pieces = calloc(vectors + 1, sizeof *pieces);
	uint8_t *data = malloc(BIG);
	uint64_t state = 42;
	pthread_t thread;
	uint32_t at = 0;

	fill_pattern(data, BIG, 0);
	for (uint32_t i = 0; i < vectors; i++) {
		uint32_t part = i + 1 == vectors ? BIG - at : random_below(&state, 2 * BIG / (3 * vectors));

		pieces[i] = (struct iovec){ data + at, part };
		at += part;
	}
	CHECK_EQUAL(0, pthread_create(&thread, NULL, read_slowly, &reader));
	if (vectors)
		CHECK_EQUAL(0, mp_writev(rig->channel, link->handle, pieces, vectors));
	else
		CHECK_EQUAL(0, mp_write(rig->channel, link->handle, data, BIG));
	CHECK_EQUAL(-EBUSY, mp_write(rig->channel, link->handle, data, 1));
	CHECK_EQUAL(-EBUSY, mp_writev(rig->channel, link->handle, &(struct iovec){ data, 1 }, 1));
	CHECK_EQUAL(BIG, rig_take(rig, link->handle, MP_STAGE_WRITE).result);
	pthread_join(thread, NULL);
	CHECK(reader.ok);
	free(pieces);
	free(data);
}

static void for_every_socket(uint32_t vectors)
{
	for (uint32_t kind = 0; kind < 4; kind++) {
		struct rig_link link;
		struct rig rig;
		int32_t fd = -1;

		rig_open(&rig, NULL);
		link = kind < 2 ? rig_link(&rig, AF_INET, kind) : rig_pair(&rig, &fd);
		if (kind == 3)
			CHECK_EQUAL(0, fcntl(fd, F_SETFL, O_NONBLOCK));
		shrink(&rig, &link);
		write_slowly(&rig, &link, vectors);
		rig_unlink(&rig, &link, 0);
		rig_close(&rig);
	}
}

static void write_to_slow_reader_completes(void)
{
	for_every_socket(0);
}

static void writev_to_slow_reader_completes(void)
{
	for_every_socket(1);
	for_every_socket(7);
	for_every_socket(VECTORS);
}

/* A pipe takes what it has room for: the channel goes on with the rest. */
static void writev_to_pipe_in_parts_goes_on(void)
{
	for (int flags = 0; flags <= O_NONBLOCK; flags += O_NONBLOCK) {
		static uint8_t data[200000], back[200000];
		struct iovec pieces[100];
		mp_handle in, out;
		struct rig rig;
		int pair[2];

		CHECK_EQUAL(0, pipe2(pair, O_CLOEXEC | flags));
		rig_open(&rig, NULL);
		in = mp_register(rig.channel, pair[0], 0, 0, 0);
		out = mp_register(rig.channel, pair[1], 0, 0, 0);
		fill_pattern(data, sizeof data, 0);
		for (uint32_t i = 0; i < 100; i++)
			pieces[i] = (struct iovec){ data + i * 2000, 2000 };
		CHECK_EQUAL(0, mp_writev(rig.channel, out, pieces, 100));
		rig_turn(&rig);
		rig_read(&rig, in, back, sizeof back);
		CHECK_EQUAL(sizeof data, rig_take(&rig, out, MP_STAGE_WRITE).result);
		CHECK(pattern_is(back, sizeof back, 0));
		if (flags)
			CHECK(rig_counters(&rig).short_writes > 0);
		for (int i = 0; i < 2; i++) {
			mp_handle handle = i ? in : out;

			CHECK_EQUAL(0, mp_close(rig.channel, handle, 0));
			CHECK_EQUAL(MP_EVENT_RETIRED, rig_take(&rig, handle, MP_STAGE_CLOSE).flags);
		}
		rig_close(&rig);
	}
}

static void write_misuse_is_refused(void)
{
	struct iovec vectors[2] = { { "ab", 2 }, { NULL, 0 } };
	struct rig_link link;
	struct rig rig;
	int32_t fd;

	rig_open(&rig, NULL);
	link = rig_pair(&rig, &fd);
	CHECK_EQUAL(-EINVAL, mp_write(rig.channel, link.handle, NULL, 1));
	CHECK_EQUAL(-EINVAL, mp_write(rig.channel, link.handle, "x", 0));
	CHECK_EQUAL(-EINVAL, mp_write(rig.channel, link.handle, "x", 1u << 31));
	CHECK_EQUAL(-EINVAL, mp_writev(rig.channel, link.handle, NULL, 1));
	CHECK_EQUAL(-EINVAL, mp_writev(rig.channel, link.handle, vectors, 0));
	CHECK_EQUAL(-EINVAL, mp_writev(rig.channel, link.handle, vectors, 1025));
	CHECK_EQUAL(-EINVAL, mp_writev(rig.channel, link.handle, vectors + 1, 1));
	vectors[0].iov_len = vectors[1].iov_len = (size_t)1 << 63; /* their sum is 0 */
	CHECK_EQUAL(-EINVAL, mp_writev(rig.channel, link.handle, vectors, 2));
	vectors[0].iov_len = vectors[1].iov_len = 1u << 30;
	CHECK_EQUAL(-EINVAL, mp_writev(rig.channel, link.handle, vectors, 2));
	CHECK_EQUAL(-EBADF, mp_write(rig.channel, 999, "x", 1));
	CHECK_EQUAL(-EBADF, mp_writev(rig.channel, 999, vectors, 1));
	CHECK_EQUAL(-EINVAL, mp_read(rig.channel, link.handle, NULL, 1));
	CHECK_EQUAL(-EINVAL, mp_read(rig.channel, link.handle, vectors, 0));
	CHECK_EQUAL(-EINVAL, mp_read(rig.channel, link.handle, vectors, 1u << 31));
	CHECK_EQUAL(-EBADF, mp_read(rig.channel, 999, vectors, 1));
	CHECK_EQUAL(-EINVAL, mp_disconnect(rig.channel, link.handle, 3));
	CHECK_EQUAL(0, rig_counters(&rig).requests);
	rig_unlink(&rig, &link, 0);
	rig_close(&rig);
}

static void write_after_reset_gives_the_error(void)
{
	struct linger now = { .l_onoff = 1 };
	struct mp_event event;
	struct rig_link link;
	struct rig rig;

	rig_open(&rig, NULL);
	link = rig_link(&rig, AF_INET, MP_ACCEPT_LWSOCKET);
	CHECK_EQUAL(0, mp_read_start(rig.channel, link.handle));
	rig_turn(&rig);
	CHECK_EQUAL(0, setsockopt(link.peer, SOL_SOCKET, SO_LINGER, &now, sizeof now));
	close(link.peer);
	link.peer = -1;
	event = rig_take(&rig, link.handle, MP_STAGE_READ);
	CHECK_EQUAL(-ECONNRESET, event.result);
	CHECK_EQUAL(0, event.flags);
	CHECK_EQUAL(0, mp_write(rig.channel, link.handle, "x", 1));
	CHECK_EQUAL(-EPIPE, rig_take(&rig, link.handle, MP_STAGE_WRITE).result);
	rig_unlink(&rig, &link, 0);
	rig_close(&rig);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		TEST(write_to_slow_reader_completes),    TEST(writev_to_slow_reader_completes),
		TEST(writev_to_pipe_in_parts_goes_on),   TEST(write_misuse_is_refused),
		TEST(write_after_reset_gives_the_error),
	};

	return RUN_TESTS(tests, argc, argv);
}
