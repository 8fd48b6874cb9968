/* The probe on a kernel whose answers come late: none is taken for the answer to a later question. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>

#include "fake_kernel_rig.h"

/* The number of the enter that gets no answer in its time; it comes during the next. */
static uint32_t late, enters;

static void answer_late(void)
{
	enters++;
	fake_chances.defer = enters == late ? 1000 : 0;
	fake_chances.late_install = enters == late ? 1000 : 0;
	if (enters == late + 1)
		fake_run(1);
}

static struct mp_features probe(uint32_t late_enter)
{
	struct mp_features features = { .size = sizeof features };

	late = late_enter;
	enters = 0;
	fake_begin(1, NULL);
	fake_on_wait = answer_late;
	(void)mp_probe(&features);
	fake_end(); /* also: an fd that came too late was closed */
	return features;
}

/* The fake does not know the probe's own sockets, so a leased read gets EBADF from it. */
static void answer_that_comes_late_is_not_taken_for_the_next(void)
{
	struct mp_features features = probe(0);

	CHECK(features.available & 1u << MP_FEATURE_LWSOCKET);
	CHECK(features.available & 1u << MP_FEATURE_FD_INSTALL);
	CHECK(strstr(features.reason[MP_FEATURE_LEASED_READ], "Bad file descriptor"));
	features = probe(1);
	CHECK(strstr(features.reason[MP_FEATURE_LWSOCKET], "expired"));
	CHECK(strstr(features.reason[MP_FEATURE_LEASED_READ], "Bad file descriptor"));
	features = probe(2);
	CHECK(features.available & 1u << MP_FEATURE_LWSOCKET);
	CHECK(strstr(features.reason[MP_FEATURE_FD_INSTALL], "expired"));
	CHECK(strstr(features.reason[MP_FEATURE_LEASED_READ], "Bad file descriptor"));
}

/* A kernel that polls no network cards: the probe says so, and a channel that asks for it is made all the same. */
static void refused_busy_poll_costs_the_option_alone(void)
{
	struct mp_config config = { .size = sizeof config, .busy_poll_us = 50 };

	for (int32_t answer = 0; answer > -2; answer--) {
		struct mp_features features = { .size = sizeof features };
		struct mp_channel *channel;

		fake_begin(1, NULL);
		fake_busy_poll = answer ? -EINVAL : 0;
		(void)mp_probe(&features);
		CHECK_EQUAL(!answer, features.available >> MP_FEATURE_BUSY_POLL & 1);
		CHECK_EQUAL(!answer, !strstr(features.reason[MP_FEATURE_BUSY_POLL], "Linux 6.9 brings it"));
		CHECK_EQUAL(0, mp_create(&config, &channel));
		CHECK_EQUAL(50, fake_busy_poll_us);
		mp_destroy(channel);
		fake_busy_poll_us = 0;
		CHECK_EQUAL(0, mp_create(NULL, &channel));
		CHECK_EQUAL(0, fake_busy_poll_us); /* nor asked for by itself */
		mp_destroy(channel);
		fake_end();
	}
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		TEST(answer_that_comes_late_is_not_taken_for_the_next),
		TEST(refused_busy_poll_costs_the_option_alone),
	};

	return RUN_TESTS(tests, argc, argv);
}
