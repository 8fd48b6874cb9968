/* How a channel waits: awake where it pays and never when it must not. */
#define _GNU_SOURCE
#include <errno.h>

#include "channel.h"
#include "fake_kernel_rig.h"

#define SPIN_NS 100000u

static struct rig_link link;
static uint32_t yields, come_after;

/* What comes while the channel waits. */
static void come(void)
{
	if (++yields == come_after) {
		say(&link, "x");
		fake_run(1);
	}
}

static void set_to_work(void)
{
	/* The kernel has the data and waits for the thread to enter; only an enter brings the event. */
	if (++yields == come_after) {
		say(&link, "x");
		atomic_fetch_or((_Atomic uint32_t *)rig.channel->ring.sq_flags, IORING_SQ_TASKRUN);
	}
}

static void come_at_once(void)
{
	say(&link, "x");
}

static void wake_now(void)
{
	if (++yields == come_after)
		mp_wake(rig.channel);
}

static void take_the_cpu(void)
{
	yields++;
	fake_pass(SPIN_NS / 10);
}

static void open_one(uint32_t most)
{
	begin();
	link = pair(false);
	CHECK_EQUAL(0, mp_set_wait(rig.channel, SPIN_NS, most));
	CHECK_EQUAL(0, mp_read_start(rig.channel, link.handle));
	CHECK(mp_flush(rig.channel) >= 0);
	yields = 0;
}

static void close_one(void)
{
	fake_on_wait = fake_on_yield = NULL;
	CHECK_EQUAL(0, mp_read_pause(rig.channel, link.handle));
	CHECK_EQUAL(-ECANCELED, rig_take(&rig, link.handle, MP_STAGE_READ).result);
	unlink_pair(&link);
	end();
}

static void take(uint32_t times)
{
	while (times-- > 0)
		rig_leased(&rig, link.handle, (char[1]){ 0 }, 1);
}

/* Sleeps that data ends at once. */
static void learn(uint32_t times)
{
	fake_on_wait = come_at_once;
	take(times);
	fake_on_wait = NULL;
}

static void short_waits_make_it_wait_awake(void)
{
	void (*const ways[])(void) = { come, set_to_work };

	for (uint32_t i = 0; i < COUNT_OF(ways); i++) {
		uint64_t waits;

		open_one(1);
		learn(4);
		CHECK_EQUAL(0, rig.channel->wait.spins);
		learn(1);
		waits = rig_counters(&rig).waits;
		fake_on_yield = ways[i];
		for (uint32_t round = 0; round < 20; round++) {
			yields = 0;
			come_after = 1 + round / 2;
			take(1);
			CHECK_EQUAL(come_after, yields);
		}
		CHECK_EQUAL(20, rig.channel->wait.spins_paid);
		CHECK_EQUAL(waits, rig_counters(&rig).waits); /* it never slept */
		close_one();
	}
}

static void long_waits_end_it(void)
{
	struct mp_event event;
	uint64_t spins;

	open_one(1);
	learn(8);
	CHECK_EQUAL(0, mp_set_wait(rig.channel, SPIN_NS, 1));
	for (uint32_t i = 0; i < 20; i++)
		CHECK_EQUAL(0, mp_dispatch(rig.channel, &event, 1, 50000000));
	/* Four in vain where all of eight were short, and more where the channel's own requests made some short. */
	spins = rig.channel->wait.spins;
	CHECK(spins <= 10);
	for (uint32_t i = 0; i < 20; i++)
		CHECK_EQUAL(0, mp_dispatch(rig.channel, &event, 1, 50000000));
	CHECK_EQUAL(spins, rig.channel->wait.spins);
	close_one();
}

static void somebody_who_wants_the_cpu_gets_it(void)
{
	open_one(1);
	learn(8);
	fake_on_yield = take_the_cpu;
	fake_on_wait = come_at_once;
	take(1);
	CHECK_EQUAL(1, yields);
	take(3);
	CHECK_EQUAL(1, yields); /* and is left alone for a while */
	close_one();
}

static void wake_ends_it_without_a_system_call(void)
{
	struct mp_event event;

	open_one(1);
	learn(8);
	fake_on_yield = wake_now;
	come_after = 3;
	CHECK_EQUAL(0, mp_dispatch(rig.channel, &event, 1, -1));
	CHECK_EQUAL(3, yields);
	CHECK_EQUAL(0, rig_counters(&rig).wakes);
	CHECK_EQUAL(0, mp_is_spinning(rig.channel));
	close_one();
}

static void what_was_asked_does_not_wait_for_it(void)
{
	uint8_t got[2];

	open_one(1);
	learn(8);
	fake_on_yield = come;
	come_after = 2;
	CHECK_EQUAL(0, mp_write(rig.channel, link.handle, "ab", 2));
	CHECK_EQUAL(2, rig_take(&rig, link.handle, MP_STAGE_WRITE).result);
	CHECK_EQUAL(0, yields); /* its event came with the enter that gave it */
	CHECK_EQUAL(2, fake_peer_receive((uint32_t)link.peer, got, 2));
	take(1);
	close_one();
}

/* It sleeps a millisecond then, as without: a kernel without memory is not asked over and over. */
static void what_the_kernel_refuses_is_not_spun_for(void)
{
	open_one(1);
	learn(8);
	CHECK_EQUAL(0, mp_write(rig.channel, link.handle, "ab", 2));
	fake_fail_enter(-EAGAIN, 10);
	CHECK_EQUAL(2, rig_take(&rig, link.handle, MP_STAGE_WRITE).result);
	CHECK_EQUAL(5, fake_waits);
	CHECK_EQUAL(0, yields);
	CHECK_EQUAL(2, fake_peer_receive((uint32_t)link.peer, (uint8_t[2]){ 0 }, 2));
	close_one();
}

static void only_so_many_at_a_time(void)
{
	open_one(0);
	learn(20);
	CHECK_EQUAL(0, rig.channel->wait.spins_paid);
	CHECK_EQUAL(0, yields);
	close_one();
}

static void seen_from_outside(void)
{
	CHECK_EQUAL(1, mp_is_spinning(rig.channel));
	come();
}

static void others_see_that_it_is_awake(void)
{
	open_one(1);
	learn(8);
	fake_on_yield = seen_from_outside;
	come_after = 2;
	take(1);
	CHECK_EQUAL(2, yields);
	CHECK_EQUAL(0, mp_is_spinning(rig.channel));
	close_one();
}

static void a_longer_spin_than_may_be_is_refused(void)
{
	open_one(1);
	CHECK_EQUAL(-EINVAL, mp_set_wait(rig.channel, 10000001, 1));
	CHECK_EQUAL(SPIN_NS, rig.channel->wait.spin_ns);
	CHECK_EQUAL(0, mp_set_wait(rig.channel, 10000000, 1));
	close_one();
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		TEST(short_waits_make_it_wait_awake),
		TEST(long_waits_end_it),
		TEST(somebody_who_wants_the_cpu_gets_it),
		TEST(wake_ends_it_without_a_system_call),
		TEST(what_was_asked_does_not_wait_for_it),
		TEST(what_the_kernel_refuses_is_not_spun_for),
		TEST(only_so_many_at_a_time),
		TEST(others_see_that_it_is_awake),
		TEST(a_longer_spin_than_may_be_is_refused),
	};

	return RUN_TESTS(tests, argc, argv);
}
