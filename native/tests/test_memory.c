/* Memory of receive buffers: a lease that somebody still reads outlives the channel, and no late read faults. */
#define _GNU_SOURCE
#include <string.h>
#include <unistd.h>

#include "common_rig.h"

#define ODD_BYTES 1472u /* a size that no other test leaves behind */

static struct mp_config odd_config(void)
{
	struct mp_config config = rig_config(0);

	config.buffer_bytes = ODD_BYTES;
	return config;
}

/* A channel that is gone, and where a lease with "keep" lay in it. */
static const char *lease_of_the_past(struct mp_memory **held)
{
	struct mp_config config = odd_config();
	struct mp_event event;
	struct rig_link link;
	struct rig rig;

	rig_open(&rig, &config);
	link = rig_link(&rig, AF_INET, 0);
	CHECK_EQUAL(0, mp_read_start(rig.channel, link.handle));
	send_all(link.peer, "keep", 4);
	event = rig_take(&rig, link.handle, MP_STAGE_READ);
	CHECK_EQUAL(4, event.result);
	if (held)
		*held = mp_hold_memory(rig.channel);
	mp_destroy(rig.channel); /* with the connection open and the lease out */
	close(link.peer);
	return (const char *)(uintptr_t)event.data;
}

static void *first_buffer(struct mp_channel **channel)
{
	struct mp_config config = odd_config();

	CHECK_EQUAL(0, mp_create(&config, channel));
	return mp_lease_address(*channel, 0);
}

static void held_memory_outlives_the_channel(void)
{
	struct mp_channel *other;
	struct mp_memory *held;
	const char *lease = lease_of_the_past(&held);
	void *address;

	CHECK(!memcmp(lease, "keep", 4));
	/* A new channel gets memory of its own as long as this is held. */
	address = first_buffer(&other);
	memset(address, 'x', ODD_BYTES);
	CHECK(!memcmp(lease, "keep", 4));
	mp_destroy(other);
	mp_drop_memory(held);
}

static void memory_is_gone_with_the_last_hold(void)
{
	struct mp_memory *held, *again;
	struct mp_channel *channel;
	const char *lease;

	CHECK(first_buffer(&channel));
	held = mp_hold_memory(channel);
	again = mp_hold_memory(channel);
	CHECK(held == again);
	mp_destroy(channel);
	mp_drop_memory(held);
	mp_drop_memory(again);
	mp_drop_memory(NULL);
	lease = lease_of_the_past(&held);
	mp_drop_memory(held);
	/* Given back: the pages are gone, the addresses are not. */
	for (uint32_t i = 0; i < 4; i++)
		CHECK_EQUAL(0, lease[i]);
}

static void read_after_the_end_without_hold_is_no_fault(void)
{
	const char *lease = lease_of_the_past(NULL);

	CHECK_EQUAL(0, lease[0]);
}

static void addresses_are_used_again(void)
{
	struct mp_channel *channel;
	void *address = first_buffer(&channel);

	for (uint32_t i = 0; i < 100; i++) {
		memset(address, 'x', ODD_BYTES);
		mp_destroy(channel);
		CHECK(address == first_buffer(&channel));
		CHECK_EQUAL(0, *(char *)address);
	}
	mp_destroy(channel);
}

static void channel_without_buffers_has_none_to_hold(void)
{
	struct mp_config config = rig_config(MP_CONFIG_NO_LEASE);
	struct mp_channel *channel;

	CHECK_EQUAL(0, mp_create(&config, &channel));
	CHECK(!mp_hold_memory(channel));
	mp_destroy(channel);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		TEST(held_memory_outlives_the_channel),
		TEST(memory_is_gone_with_the_last_hold),
		TEST(read_after_the_end_without_hold_is_no_fault),
		TEST(addresses_are_used_again),
		TEST(channel_without_buffers_has_none_to_hold),
	};

	return RUN_TESTS(tests, argc, argv);
}
