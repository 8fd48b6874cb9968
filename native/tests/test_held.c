/* Zero-copy sends on this kernel. Loopback copies what it delivers, and says so; the emulator's network does not
 * (tests/kernels). */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common_rig.h"

#define BIG (2u << 20)

static void write_held(struct rig *rig, mp_handle handle, uint8_t *data, uint32_t bytes, uint64_t memory)
{
	static struct iovec vectors[2];

	vectors[0] = (struct iovec){ data, bytes / 3 };
	vectors[1] = (struct iovec){ data + bytes / 3, bytes - bytes / 3 };
	CHECK_EQUAL(0, mp_write_held(rig->channel, handle, vectors, 2, memory));
}

/* Both events of a write; how the bytes have gone. */
static uint32_t settle(struct rig *rig, mp_handle handle, uint32_t bytes, uint64_t memory)
{
	struct mp_event event = rig_take(rig, handle, MP_STAGE_WRITE);

	CHECK_EQUAL(bytes, event.result);
	if (!(event.flags & MP_EVENT_HELD))
		return event.flags;
	CHECK_EQUAL(MP_EVENT_HELD, event.flags);
	event = rig_take(rig, 0, MP_STAGE_WRITE);
	CHECK_EQUAL(memory, event.data);
	CHECK(event.flags & MP_EVENT_RELEASED);
	return event.flags;
}

static void bytes_arrive_and_memory_comes_back(void)
{
	uint8_t *data = malloc(100000), *got = malloc(100000);
	struct rig_link link;
	struct mp_config config = rig_config(MP_CONFIG_ZERO_COPY);
	struct rig rig;

	rig_open(&rig, &config);
	link = rig_link(&rig, AF_INET, 0);
	fill_pattern(data, 100000, 5);
	for (uint32_t i = 1; i <= 20; i++) {
		uint32_t flags;

		write_held(&rig, link.handle, data, 5000 * i, i);
		rig_turn(&rig);
		receive_all(link.peer, got, 5000 * i);
		CHECK(pattern_is(got, 5000 * i, 5));
		flags = settle(&rig, link.handle, 5000 * i, i);
		CHECK_EQUAL(kernel_has(MP_FEATURE_ZERO_COPY) ? MP_EVENT_RELEASED | MP_EVENT_COPIED : MP_EVENT_COPIED,
			    flags);
	}
	rig_unlink(&rig, &link, 0);
	rig_close(&rig);
	free(data);
	free(got);
}

/* A Unix socket copies always, and is not asked. */
static void unix_socket_gets_a_plain_write(void)
{
	uint8_t data[3000], got[3000];
	struct rig_link link;
	struct mp_config config = rig_config(MP_CONFIG_ZERO_COPY);
	struct rig rig;
	uint64_t before;

	rig_open(&rig, &config);
	link = rig_link(&rig, AF_UNIX, 0);
	fill_pattern(data, sizeof data, 0);
	before = rig_counters(&rig).requests;
	for (uint32_t i = 0; i < 3; i++) {
		write_held(&rig, link.handle, data, sizeof data, 1);
		CHECK_EQUAL(MP_EVENT_COPIED, settle(&rig, link.handle, sizeof data, 1));
		receive_all(link.peer, got, sizeof got);
		CHECK(pattern_is(got, sizeof got, 0));
	}
	/* One for each; and one, perhaps, by which the channel can be woken. */
	CHECK(rig_counters(&rig).requests - before <= 4);
	rig_unlink(&rig, &link, 0);
	rig_close(&rig);
}

/* The peer reads nothing: the write is cut, and what was sent of it comes back when the connection is gone. */
static void connection_that_ends_gives_its_memory_back(void)
{
	uint8_t *data = malloc(16 * BIG);
	struct rig_link link;
	struct mp_config config = rig_config(MP_CONFIG_ZERO_COPY);
	struct rig rig;

	memset(data, 1, 16 * BIG);
	for (uint32_t flags = 0; flags <= MP_CLOSE_ABORT; flags += MP_CLOSE_ABORT) {
		struct mp_event event;

		rig_open(&rig, &config);
		link = rig_link(&rig, AF_INET, 0);
		write_held(&rig, link.handle, data, 16 * BIG, 3);
		for (uint32_t i = 0; i < 10; i++)
			rig_turn(&rig);
		CHECK_EQUAL(0, mp_close(rig.channel, link.handle, flags));
		event = rig_take(&rig, link.handle, MP_STAGE_WRITE);
		CHECK_EQUAL(-ECANCELED, event.result);
		CHECK(rig_take(&rig, link.handle, MP_STAGE_CLOSE).flags & MP_EVENT_RETIRED);
		close(link.peer);
		if (event.flags & MP_EVENT_HELD)
			CHECK_EQUAL(3, rig_take(&rig, 0, MP_STAGE_WRITE).data);
		rig_close(&rig);
	}
	free(data);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		TEST(bytes_arrive_and_memory_comes_back),
		TEST(unix_socket_gets_a_plain_write),
		TEST(connection_that_ends_gives_its_memory_back),
	};

	return RUN_TESTS(tests, argc, argv);
}
