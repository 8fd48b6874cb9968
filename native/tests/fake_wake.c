/* Wake-ups that the kernel makes difficult: each sleep without limit must end, or the fake says that it is for ever. */
#define _GNU_SOURCE
#include <errno.h>

#include "fake_kernel_rig.h"

static void wake_once(void)
{
	mp_wake(rig.channel);
}

static void sleep_and_be_woken(void (*waker)(void))
{
	struct mp_event event;

	fake_on_wait = waker;
	CHECK_EQUAL(0, mp_dispatch(rig.channel, &event, 1, -1));
	fake_on_wait = NULL;
}

static void begin_with(uint32_t flags)
{
	struct mp_config config = rig_config(flags);

	fake_begin(1, NULL);
	rig_open(&rig, &config);
}

/* The kernel ends a multishot poll when the completion queue is full. */
static void wake_poll_that_ended_is_armed_again(void)
{
	begin_with(MP_CONFIG_WAKE_EVENTFD);
	fake_chances.end_multishot = 1000;
	for (uint32_t i = 0; i < 5; i++)
		sleep_and_be_woken(wake_once);
	CHECK_EQUAL(5, rig_counters(&rig).wakes);
	end();
}

/* For a moment, or for good: then the next one does not try. */
static void wake_that_cannot_post_goes_through_the_eventfd(void)
{
	static const int32_t errors[] = { ENOMEM, EAGAIN, EOVERFLOW, EPERM, ENOSYS, EACCES };

	for (uint32_t i = 0; i < COUNT_OF(errors); i++) {
		begin();
		fake_fail_post(-errors[i], 1);
		for (uint32_t round = 0; round < 3; round++)
			sleep_and_be_woken(wake_once);
		CHECK_EQUAL(3, rig_counters(&rig).wakes);
		end();
	}
}

static void wake_in_vain_then_wake(void)
{
	fake_fail_post(-EPERM, 1);
	fake_fail_notify(-EPERM, 1);
	mp_wake(rig.channel);
	mp_wake(rig.channel);
}

static void wake_in_vain_leaves_it_to_the_next(void)
{
	begin();
	sleep_and_be_woken(wake_in_vain_then_wake);
	CHECK_EQUAL(2, rig_counters(&rig).wakes);
	end();
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		TEST(wake_poll_that_ended_is_armed_again),
		TEST(wake_that_cannot_post_goes_through_the_eventfd),
		TEST(wake_in_vain_leaves_it_to_the_next),
	};

	return RUN_TESTS(tests, argc, argv);
}
