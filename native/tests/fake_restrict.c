/* What a channel asks its ring for is what the ring was restricted to, no less; fake_schedules holds the library to it
 * in each schedule. Here: the fake refuses what is not listed, as the kernel does. */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/socket.h>

#include "channel.h"
#include "fake_kernel_rig.h"

static int32_t ask(uint8_t opcode, uint8_t flags)
{
	struct mp_ring *ring = &rig.channel->ring;
	struct io_uring_sqe *request = mp_ring_next(ring);
	int32_t result;

	mp_ring_seen(ring, mp_ring_peek(ring, 0) != NULL); /* of the post that mp_create has tried */
	CHECK(request);
	*request = (struct io_uring_sqe){ .opcode = opcode, .flags = flags, .fd = -1 };
	CHECK_EQUAL(1, mp_ring_enter(ring, 1, 0));
	CHECK(mp_ring_peek(ring, 0));
	result = mp_ring_peek(ring, 0)->res;
	mp_ring_seen(ring, 1);
	return result;
}

static void begin_with(uint32_t flags)
{
	struct mp_config config = { .size = sizeof config, .flags = flags };

	fake_begin(1, NULL);
	rig_open(&rig, &config);
}

static void end_after(uint32_t refused)
{
	CHECK_EQUAL(refused, fake_refused);
	fake_refused = 0;
	end();
}

static void request_that_is_not_listed_is_refused(void)
{
	begin_with(0);
	CHECK_EQUAL(-EACCES, ask(IORING_OP_NOP, 0));
	CHECK_EQUAL(-EACCES, ask(IORING_OP_SHUTDOWN, IOSQE_IO_DRAIN));
	CHECK_EQUAL(-EBADF, ask(IORING_OP_SHUTDOWN, 0));
	CHECK_EQUAL(-EBADF, ask(IORING_OP_READ, 0));
	CHECK_EQUAL(-EACCES, mp_ring_register_files(&rig.channel->ring, 1));
	end_after(2);
}

static void request_of_a_file_is_refused_to_a_channel_for_sockets(void)
{
	begin_with(MP_CONFIG_SOCKETS);
	CHECK_EQUAL(-EACCES, ask(IORING_OP_READ, 0));
	CHECK_EQUAL(-EACCES, ask(IORING_OP_WRITE, 0));
	CHECK_EQUAL(-EACCES, ask(IORING_OP_WRITEV, 0));
	CHECK_EQUAL(-EBADF, ask(IORING_OP_RECV, 0));
	end_after(3);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		TEST(request_that_is_not_listed_is_refused),
		TEST(request_of_a_file_is_refused_to_a_channel_for_sockets),
	};

	return RUN_TESTS(tests, argc, argv);
}
