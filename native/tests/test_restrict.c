/* What a channel's ring refuses, on this kernel: every operation that the library never asks for, and every further
 * registration; of a server's channel more. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "channel.h"
#include "common_rig.h"

/* What `opcode` answers when asked of the channel's ring directly, past the library. All else of the request is zero,
 * and its fd is none. */
static int32_t ask(struct mp_channel *channel, uint8_t opcode, uint8_t flags)
{
	struct mp_ring *ring = &channel->ring;
	struct io_uring_sqe *request = mp_ring_next(ring);
	int32_t result;

	mp_ring_seen(ring, mp_ring_peek(ring, 0) != NULL); /* of the post that mp_create has tried */
	CHECK(request);
	*request = (struct io_uring_sqe){ .opcode = opcode, .flags = flags, .fd = -1 };
	CHECK_EQUAL(1, mp_ring_enter(ring, 1, RIG_WAIT_NS));
	CHECK(mp_ring_peek(ring, 0));
	result = mp_ring_peek(ring, 0)->res;
	mp_ring_seen(ring, 1);
	return result;
}

static const uint8_t sockets[] = { IORING_OP_ACCEPT,      IORING_OP_RECV,         IORING_OP_SEND,     IORING_OP_SENDMSG,
				   IORING_OP_CONNECT,     IORING_OP_SOCKET,       IORING_OP_SHUTDOWN, IORING_OP_CLOSE,
				   IORING_OP_POLL_ADD,    IORING_OP_ASYNC_CANCEL, IORING_OP_MSG_RING, IORING_OP_TIMEOUT,
				   IORING_OP_FILES_UPDATE };
static const uint8_t others[] = { IORING_OP_READ, IORING_OP_WRITE, IORING_OP_WRITEV };

static int is_in(const uint8_t *list, uint32_t count, uint8_t opcode)
{
	return memchr(list, opcode, count) != NULL;
}

/* Of all operations of Linux 6.1: opening, unlinking, renaming, splicing, commands to drivers, and so on. */
static void only_what_is_listed(uint32_t flags)
{
	struct mp_config config = rig_config(flags);
	uint32_t refused = 0;
	struct rig rig;

	rig_open(&rig, &config);
	for (uint8_t opcode = IORING_OP_NOP; opcode <= IORING_OP_SENDMSG_ZC; opcode++) {
		if (is_in(sockets, sizeof sockets, opcode) ||
		    (!(flags & MP_CONFIG_SOCKETS) && is_in(others, sizeof others, opcode)))
			continue;
		CHECK_EQUAL(-EACCES, ask(rig.channel, opcode, 0));
		refused++;
	}
	CHECK_EQUAL(IORING_OP_SENDMSG_ZC + 1u - sizeof sockets - (flags & MP_CONFIG_SOCKETS ? 0 : sizeof others),
		    refused);
	/* Of what is listed the kernel answers something else. */
	CHECK_EQUAL(-EBADF, ask(rig.channel, IORING_OP_SHUTDOWN, 0));
	CHECK_EQUAL(-EBADF, ask(rig.channel, IORING_OP_SHUTDOWN, IOSQE_ASYNC));
	CHECK_EQUAL(-EACCES, ask(rig.channel, IORING_OP_SHUTDOWN, IOSQE_IO_DRAIN));
	CHECK_EQUAL(-EACCES, ask(rig.channel, IORING_OP_SHUTDOWN, IOSQE_IO_LINK));
	CHECK_EQUAL(-EACCES, ask(rig.channel, IORING_OP_SHUTDOWN, IOSQE_CQE_SKIP_SUCCESS));
	rig_close(&rig);
}

static void ring_refuses_what_the_library_never_asks_for(void)
{
	only_what_is_listed(0);
	only_what_is_listed(MP_CONFIG_SINGLE_THREAD);
}

static void ring_takes_zero_copy_sends_if_made_for_them(void)
{
	struct mp_config config = rig_config(MP_CONFIG_SOCKETS | MP_CONFIG_ZERO_COPY);
	struct rig rig;

	rig_open(&rig, &config);
	CHECK(ask(rig.channel, IORING_OP_SENDMSG_ZC, 0) != -EACCES);
	CHECK_EQUAL(-EACCES, ask(rig.channel, IORING_OP_SEND_ZC, 0));
	rig_close(&rig);
}

static void ring_for_sockets_refuses_what_files_need(void)
{
	only_what_is_listed(MP_CONFIG_SOCKETS);
}

static void ring_without_restrictions_takes_all(void)
{
	struct mp_config config = rig_config(MP_CONFIG_UNRESTRICTED);
	struct rig rig;

	rig_open(&rig, &config);
	CHECK_EQUAL(0, ask(rig.channel, IORING_OP_NOP, 0));
	rig_close(&rig);
}

static int32_t try_register(const struct mp_channel *channel, uint32_t opcode, const void *argument, uint32_t count)
{
	return syscall(__NR_io_uring_register, channel->ring.fd, opcode, argument, count) < 0 ? -errno : 0;
}

static void registering_is_over(void)
{
	struct mp_config config = rig_config(0);
	uint8_t room[4096];
	struct rig rig;
	int32_t fd = 0;

	memset(room, 0, sizeof room);
	rig_open(&rig, &config);
	CHECK_EQUAL(-EACCES, try_register(rig.channel, IORING_REGISTER_EVENTFD, &fd, 1));
	CHECK_EQUAL(-EACCES, try_register(rig.channel, IORING_REGISTER_PERSONALITY, NULL, 0));
	CHECK_EQUAL(-EACCES, try_register(rig.channel, IORING_UNREGISTER_FILES, NULL, 0));
	CHECK_EQUAL(-EACCES, try_register(rig.channel, IORING_REGISTER_RESTRICTIONS, room, 1));
	CHECK_EQUAL(-EACCES, try_register(rig.channel, IORING_REGISTER_BUFFERS, room, 1));
	CHECK_EQUAL(-EBADFD, try_register(rig.channel, IORING_REGISTER_ENABLE_RINGS, NULL, 0));
	rig_close(&rig);
}

static void channel_for_sockets_refuses_what_is_none(void)
{
	struct mp_config config = rig_config(MP_CONFIG_SOCKETS);
	struct rig rig;
	int pipe_ends[2];

	CHECK_EQUAL(0, pipe(pipe_ends));
	rig_open(&rig, &config);
	CHECK_EQUAL(-EACCES, mp_register(rig.channel, pipe_ends[0], 0, 0, 0));
	rig_close(&rig);
	close(pipe_ends[0]);
	close(pipe_ends[1]);
}

/* Both ends are the channel's own, and then another channel's. */
static void channel_for_sockets_connects_and_transfers(void)
{
	struct mp_config config = rig_config(MP_CONFIG_SOCKETS);
	struct mp_event event;
	struct mp_channel *other;
	struct rig_link link;
	struct rig rig;

	rig_open(&rig, &config);
	CHECK_EQUAL(0, mp_create(&config, &other));
	link = rig_link(&rig, AF_INET, MP_ACCEPT_LWSOCKET);
	CHECK_EQUAL(0, mp_transfer(rig.channel, link.handle, other, 7));
	event = rig_take(&rig, link.handle, MP_STAGE_CLOSE);
	CHECK(event.flags & MP_EVENT_GIVEN);
	CHECK_EQUAL(1, mp_dispatch(other, &event, 1, RIG_WAIT_NS));
	CHECK_EQUAL(7, event.cookie);
	CHECK(event.flags & MP_EVENT_TRANSFERRED);
	mp_destroy(other);
	close(link.peer);
	rig_close(&rig);
}

/* Everything that sockets are for, each way. */
static void channel_for_sockets_serves(void)
{
	static const uint32_t ways[] = { 0, MP_ACCEPT_LWSOCKET };
	static const uint32_t closes[] = { 0, MP_CLOSE_ABORT };
	struct mp_config config = rig_config(MP_CONFIG_SOCKETS);
	struct rig rig;

	rig_open(&rig, &config);
	for (uint32_t i = 0; i < COUNT_OF(ways) * COUNT_OF(closes); i++) {
		struct rig_link link = rig_link(&rig, i & 1 ? AF_INET6 : AF_INET, ways[i / 2]);
		struct iovec parts[2] = { { "an", 2 }, { "swer", 4 } };
		char text[8];

		CHECK_EQUAL(0, mp_read_start(rig.channel, link.handle));
		send_all(link.peer, "question", 8);
		rig_leased(&rig, link.handle, text, 8);
		CHECK(!memcmp(text, "question", 8));
		CHECK_EQUAL(0, mp_writev(rig.channel, link.handle, parts, 2));
		CHECK_EQUAL(6, rig_take(&rig, link.handle, MP_STAGE_WRITE).result);
		rig_write(&rig, link.handle, "!", 1);
		CHECK_EQUAL(7, recv(link.peer, text, 7, MSG_WAITALL));
		if (!(link.flags & MP_EVENT_LWSOCKET) || kernel_has(MP_FEATURE_FD_INSTALL)) {
			int32_t fd = mp_to_fd(rig.channel, link.handle);

			CHECK(fd >= 0);
			close(fd);
		}
		CHECK_EQUAL(0, mp_read_pause(rig.channel, link.handle));
		CHECK_EQUAL(-ECANCELED, rig_take(&rig, link.handle, MP_STAGE_READ).result);
		rig_unlink(&rig, &link, closes[i & 1]);
	}
	rig_close(&rig);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		TEST(ring_refuses_what_the_library_never_asks_for),
		TEST(ring_takes_zero_copy_sends_if_made_for_them),
		TEST(ring_for_sockets_refuses_what_files_need),
		TEST(ring_without_restrictions_takes_all),
		TEST(registering_is_over),
		TEST(channel_for_sockets_refuses_what_is_none),
		TEST(channel_for_sockets_connects_and_transfers),
		TEST(channel_for_sockets_serves),
	};

	return RUN_TESTS(tests, argc, argv);
}
