/* Other fds than sockets: pipes, eventfd, timerfd, files, blocking or not; and that they stay usable afterwards. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include "channel.h"
#include "common_rig.h"

static mp_handle enroll(struct rig *rig, int32_t fd)
{
	mp_handle handle = mp_register(rig->channel, fd, 7, 0, 0);

	CHECK(handle > 0);
	return handle;
}

static void retire(struct rig *rig, mp_handle handle)
{
	CHECK_EQUAL(0, mp_unregister(rig->channel, handle));
	CHECK_EQUAL(MP_EVENT_RETIRED, rig_take(rig, handle, MP_STAGE_CLOSE).flags);
}

static void pipe_with(int flags)
{
	enum { BIG = 300 << 10 }; /* more than a pipe holds */
	static uint8_t data[BIG], back[BIG];
	mp_handle out, in;
	struct rig rig;
	uint32_t got = 0;
	int pair[2];

	CHECK_EQUAL(0, pipe2(pair, O_CLOEXEC | flags));
	rig_open(&rig, NULL);
	in = enroll(&rig, pair[0]);
	out = enroll(&rig, pair[1]);
	CHECK_EQUAL(-ENOTSUP, mp_read_start(rig.channel, in));
	CHECK_EQUAL(-EINVAL, mp_disconnect(rig.channel, in, MP_SHUT_BOTH));
	CHECK_EQUAL(-EINVAL, mp_accept(rig.channel, in, 1, 0));
	fill_pattern(data, BIG, 0);
	CHECK_EQUAL(0, mp_write(rig.channel, out, data, BIG));
	while (got < BIG) {
		uint32_t part = BIG - got < 10000 ? BIG - got : 10000;

		rig_read(&rig, in, back + got, part);
		got += part;
	}
	CHECK_EQUAL(BIG, rig_take(&rig, out, MP_STAGE_WRITE).result);
	CHECK(pattern_is(back, BIG, 0));
	/* A read that waits is cancelled by unregister, and the fd still works. */
	CHECK_EQUAL(0, mp_read(rig.channel, in, back, 1));
	rig_nothing(&rig);
	CHECK_EQUAL(0, mp_unregister(rig.channel, in));
	CHECK_EQUAL(-ECANCELED, rig_take(&rig, in, MP_STAGE_READ).result);
	CHECK_EQUAL(MP_EVENT_RETIRED, rig_take(&rig, in, MP_STAGE_CLOSE).flags);
	retire(&rig, out);
	CHECK_EQUAL(3, write(pair[1], "yes", 3));
	CHECK_EQUAL(3, read(pair[0], back, sizeof back));
	/* The end of the stream. */
	in = enroll(&rig, pair[0]);
	close(pair[1]);
	CHECK_EQUAL(0, mp_read(rig.channel, in, back, 1));
	CHECK_EQUAL(0, rig_take(&rig, in, MP_STAGE_READ).result);
	retire(&rig, in);
	close(pair[0]);
	rig_close(&rig);
}

static void pipe_blocking_carries_everything(void)
{
	pipe_with(0);
}

static void pipe_nonblocking_carries_everything(void)
{
	pipe_with(O_NONBLOCK);
}

/* A signal would end this program. On this kernel's own way, and on that of kernels before 6.18. */
static void pipe_write_after_reader_left_gives_epipe_without_signal(void)
{
	static uint8_t data[1u << 20];

	for (uint32_t by_workers = 0; by_workers <= 1; by_workers++) {
		for (uint32_t vectors = 0; vectors <= 1; vectors++) {
			struct iovec vector = { data, sizeof data };
			mp_handle out;
			struct rig rig;
			int pair[2];

			CHECK_EQUAL(0, pipe2(pair, O_CLOEXEC));
			rig_open(&rig, NULL);
			rig.channel->pipes_by_workers = by_workers;
			out = enroll(&rig, pair[1]);
			/* One that waits for room when the reader leaves, and one that begins after it. */
			if (vectors)
				CHECK_EQUAL(0, mp_writev(rig.channel, out, &vector, 1));
			else
				CHECK_EQUAL(0, mp_write(rig.channel, out, data, sizeof data));
			rig_nothing(&rig);
			CHECK_EQUAL(100, read(pair[0], data, 100));
			close(pair[0]);
			CHECK_EQUAL(-EPIPE, rig_take(&rig, out, MP_STAGE_WRITE).result);
			CHECK_EQUAL(0, mp_write(rig.channel, out, "x", 1));
			CHECK_EQUAL(-EPIPE, rig_take(&rig, out, MP_STAGE_WRITE).result);
			retire(&rig, out);
			close(pair[1]);
			rig_close(&rig);
		}
	}
}

static void pipe_written_by_workers_carries_everything(void)
{
	enum { BIG = 300 << 10 };
	static uint8_t data[BIG], back[BIG];
	mp_handle out, in;
	struct rig rig;
	int pair[2];

	CHECK_EQUAL(0, pipe2(pair, O_CLOEXEC));
	rig_open(&rig, NULL);
	rig.channel->pipes_by_workers = true;
	in = enroll(&rig, pair[0]);
	out = enroll(&rig, pair[1]);
	fill_pattern(data, BIG, 0);
	CHECK_EQUAL(0, mp_write(rig.channel, out, data, BIG));
	rig_read(&rig, in, back, BIG);
	CHECK_EQUAL(BIG, rig_take(&rig, out, MP_STAGE_WRITE).result);
	CHECK(pattern_is(back, BIG, 0));
	/* One that waits ends with the handle. */
	while (write(pair[1], data, 1) == 1 && fcntl(pair[1], F_SETFL, O_NONBLOCK) == 0)
		;
	CHECK_EQUAL(0, fcntl(pair[1], F_SETFL, 0));
	CHECK_EQUAL(0, mp_write(rig.channel, out, data, BIG));
	rig_nothing(&rig);
	CHECK_EQUAL(0, mp_unregister(rig.channel, out));
	CHECK_EQUAL(-ECANCELED, rig_take(&rig, out, MP_STAGE_WRITE).result);
	CHECK_EQUAL(MP_EVENT_RETIRED, rig_take(&rig, out, MP_STAGE_CLOSE).flags);
	retire(&rig, in);
	close(pair[0]);
	close(pair[1]);
	rig_close(&rig);
}

static void socket_write_after_reader_left_gives_epipe_without_signal(void)
{
	struct rig_link link;
	struct rig rig;
	int32_t fd;

	rig_open(&rig, NULL);
	link = rig_pair(&rig, &fd);
	close(link.peer);
	link.peer = -1;
	CHECK_EQUAL(0, mp_write(rig.channel, link.handle, "x", 1));
	CHECK_EQUAL(-EPIPE, rig_take(&rig, link.handle, MP_STAGE_WRITE).result);
	rig_unlink(&rig, &link, 0);
	rig_close(&rig);
}

static void eventfd_with(int flags)
{
	int32_t fd = eventfd(0, EFD_CLOEXEC | flags);
	uint64_t value = 0, one = 1;
	mp_handle handle;
	struct rig rig;

	rig_open(&rig, NULL);
	handle = enroll(&rig, fd);
	for (int round = 0; round < 3; round++) {
		CHECK_EQUAL(0, mp_read(rig.channel, handle, &value, sizeof value));
		rig_nothing(&rig);
		CHECK_EQUAL(sizeof one, write(fd, &one, sizeof one));
		CHECK_EQUAL(sizeof value, rig_take(&rig, handle, MP_STAGE_READ).result);
		CHECK_EQUAL(1, value);
	}
	rig_write(&rig, handle, &one, sizeof one);
	CHECK_EQUAL(sizeof value, read(fd, &value, sizeof value));
	/* Closing a waiting read closes the fd too. */
	CHECK_EQUAL(0, mp_read(rig.channel, handle, &value, sizeof value));
	rig_nothing(&rig);
	CHECK_EQUAL(0, mp_close(rig.channel, handle, MP_CLOSE_ABORT));
	CHECK_EQUAL(-ECANCELED, rig_take(&rig, handle, MP_STAGE_READ).result);
	CHECK_EQUAL(MP_EVENT_RETIRED, rig_take(&rig, handle, MP_STAGE_CLOSE).flags);
	rig_close(&rig);
}

static void eventfd_counts(void)
{
	eventfd_with(0);
	eventfd_with(EFD_NONBLOCK);
}

static void timerfd_expires(void)
{
	struct itimerspec soon = { .it_value.tv_nsec = 1000000 };
	int32_t fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	uint64_t expired = 0;
	mp_handle handle;
	struct rig rig;

	rig_open(&rig, NULL);
	handle = enroll(&rig, fd);
	for (int round = 0; round < 3; round++) {
		CHECK_EQUAL(0, mp_read(rig.channel, handle, &expired, sizeof expired));
		CHECK_EQUAL(0, timerfd_settime(fd, 0, &soon, NULL));
		CHECK_EQUAL(sizeof expired, rig_take(&rig, handle, MP_STAGE_READ).result);
		CHECK_EQUAL(1, expired);
	}
	CHECK_EQUAL(0, mp_read(rig.channel, handle, &expired, sizeof expired));
	rig_nothing(&rig);
	CHECK_EQUAL(0, mp_unregister(rig.channel, handle));
	CHECK_EQUAL(-ECANCELED, rig_take(&rig, handle, MP_STAGE_READ).result);
	CHECK_EQUAL(MP_EVENT_RETIRED, rig_take(&rig, handle, MP_STAGE_CLOSE).flags);
	close(fd);
	rig_close(&rig);
}

static void file_is_written_and_read_at_its_position(void)
{
	struct iovec vectors[3] = { { "one ", 4 }, { "two ", 4 }, { "three", 5 } };
	char text[32] = "";
	FILE *file = tmpfile();
	int32_t fd = dup(fileno(file));
	mp_handle handle;
	struct rig rig;

	fclose(file);
	rig_open(&rig, NULL);
	handle = enroll(&rig, fd);
	rig_write(&rig, handle, "zero ", 5);
	CHECK_EQUAL(0, mp_writev(rig.channel, handle, vectors, 3));
	CHECK_EQUAL(13, rig_take(&rig, handle, MP_STAGE_WRITE).result);
	CHECK_EQUAL(0, lseek(fd, 0, SEEK_SET));
	rig_read(&rig, handle, text, 9);
	rig_read(&rig, handle, text + 9, 9);
	CHECK(!strcmp(text, "zero one two three"));
	CHECK_EQUAL(0, mp_read(rig.channel, handle, text, 1));
	CHECK_EQUAL(0, rig_take(&rig, handle, MP_STAGE_READ).result);
	CHECK_EQUAL(-ENOTSUP, mp_read_start(rig.channel, handle));
	retire(&rig, handle);
	close(fd);
	rig_close(&rig);
}

static void datagram_socket_keeps_boundaries(void)
{
	struct rig_link link = { 0 };
	struct rig rig;
	char text[16];
	int pair[2];

	CHECK_EQUAL(0, socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair));
	rig_open(&rig, NULL);
	link.handle = enroll(&rig, pair[0]);
	link.peer = pair[1];
	send_all(link.peer, "first", 5);
	send_all(link.peer, "second", 6);
	for (uint32_t bytes = 5; bytes <= 6; bytes++) {
		CHECK_EQUAL(0, mp_read(rig.channel, link.handle, text, sizeof text));
		CHECK_EQUAL(bytes, rig_take(&rig, link.handle, MP_STAGE_READ).result);
	}
	rig_unlink(&rig, &link, 0);
	rig_close(&rig);
}

static void register_of_closed_fd_is_bad(void)
{
	struct rig rig;
	int pair[2];

	rig_open(&rig, NULL);
	CHECK_EQUAL(0, pipe2(pair, O_CLOEXEC));
	close(pair[0]);
	close(pair[1]);
	CHECK_EQUAL(-EBADF, mp_register(rig.channel, pair[0], 0, 0, 0));
	CHECK_EQUAL(-EBADF, mp_register(rig.channel, -1, 0, 0, 0));
	CHECK_EQUAL(0, rig_counters(&rig).handles_live);
	rig_close(&rig);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		TEST(pipe_blocking_carries_everything),
		TEST(pipe_nonblocking_carries_everything),
		TEST(pipe_write_after_reader_left_gives_epipe_without_signal),
		TEST(pipe_written_by_workers_carries_everything),
		TEST(socket_write_after_reader_left_gives_epipe_without_signal),
		TEST(eventfd_counts),
		TEST(timerfd_expires),
		TEST(file_is_written_and_read_at_its_position),
		TEST(datagram_socket_keeps_boundaries),
		TEST(register_of_closed_fd_is_bad),
	};

	return RUN_TESTS(tests, argc, argv);
}
