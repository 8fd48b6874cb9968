/* Thousands of random schedules against the fake kernel, each with its invariants: no byte lost, doubled or out of
 * order; one event for each request; RETIRED the last event of a handle; nothing left at the end. The model of a
 * connection is in fake_kernel_model.c. Arguments: the number of schedules, the first seed (or SEED=...). */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake_kernel_model.h"

#ifdef __has_feature
#if __has_feature(thread_sanitizer)
#define __SANITIZE_THREAD__ 1
#endif
#endif
/* A few seconds; the thread sanitizer makes this single-threaded program thirty times slower and finds nothing. */
#ifdef __SANITIZE_THREAD__
#define SCHEDULES 300u
#else
#define SCHEDULES 3000u
#endif
#define TURNS 400u
#define THREADS 3u

static uint32_t below(uint32_t limit)
{
	return random_below(&model.random, limit);
}

static bool chance(uint32_t percent)
{
	return below(100) < percent;
}

static struct mp_config draw_config(void)
{
	static const uint32_t flags[] = { 0, 0, 0, MP_CONFIG_WAKE_EVENTFD, MP_CONFIG_SINGLE_THREAD };
	struct mp_config config = { .size = sizeof config };

	config.flags = flags[below(COUNT_OF(flags))] | (model.only_sockets ? (uint32_t)MP_CONFIG_SOCKETS : 0);
	config.flags |= chance(70) ? (uint32_t)MP_CONFIG_ZERO_COPY : 0;
	config.queue_entries = 1u << below(7);
	config.max_handles = 4 + below(60);
	config.buffer_count = 1u << below(6);
	config.buffer_bytes = 1 + below(200);
	config.batch_threshold = 1 + below(40);
	config.max_lwsockets = 1 + below(40);
	return config;
}

/* A calm kernel in some schedules, so that the rare things are not hidden behind the frequent ones. */
static struct fake_chances draw_chances(void)
{
	struct fake_chances chances = { 0 };

	if (chance(10))
		return chances;
	chances.defer = (uint16_t)(chance(70) ? below(500) : 0);
	chances.shorten = (uint16_t)(chance(70) ? below(600) : 0);
	chances.end_multishot = (uint16_t)(chance(50) ? below(300) : 0);
	chances.refuse = (uint16_t)(chance(30) ? below(200) : 0);
	chances.partial = (uint16_t)(chance(30) ? below(500) : 0);
	chances.interrupt = (uint16_t)(chance(30) ? below(200) : 0);
	chances.running = (uint16_t)(chance(50) ? below(600) : 0);
	chances.miss = (uint16_t)(chance(30) ? below(600) : 0);
	chances.fault = (uint16_t)(chance(30) ? below(100) : 0);
	chances.reset = (uint16_t)(chance(20) ? below(10) : 0);
	chances.abort = (uint16_t)(chance(20) ? below(300) : 0);
	chances.lose_end = (uint16_t)(chance(50) ? below(1001) : 0);
	chances.late_notice = (uint16_t)(chance(70) ? below(950) : 0);
	chances.early_notice = (uint16_t)(chance(20) ? below(500) : 0);
	chances.vain_notice = (uint16_t)(chance(50) ? below(600) : 0);
	chances.copy = (uint16_t)(chance(50) ? below(1001) : 0);
	chances.refuse_held = (uint16_t)(chance(30) ? below(600) : 0);
	chances.late_install = (uint16_t)(chance(30) ? below(800) : 0);
	return chances;
}

static void dispatch(uint32_t channel)
{
	struct mp_event events[32];
	uint32_t capacity = 1 + below(COUNT_OF(events));
	int32_t count;

	/* A wake-up makes even a sleep without limit return. */
	if (chance(10)) {
		mp_wake(model.channels[channel]);
		count = mp_dispatch(model.channels[channel], events, capacity, -1);
	} else {
		int64_t timeout_ns = chance(50) ? 0 : 1000000;

		count = mp_dispatch(model.channels[channel], events, capacity, timeout_ns);
		if (timeout_ns && count == 0)
			model_slept(channel);
	}
	CHECK(count >= 0 && count <= (int32_t)capacity);
	for (int32_t i = 0; i < count; i++)
		model_event(channel, &events[i]);
}

static void act_on(struct conn *conn)
{
	switch (below(20)) {
	case 0:
	case 1:
	case 2:
		model_peer_send(conn, 1 + below(3000));
		break;
	case 3:
	case 4:
		model_peer_receive(conn);
		break;
	case 5:
		if (chance(20))
			model_peer_shutdown(conn);
		break;
	case 6:
		if (chance(5))
			model_peer_reset(conn);
		break;
	case 7:
	case 8:
		model_read(conn, 1 + below(1000));
		break;
	case 9:
	case 10:
		model_read_start(conn);
		break;
	case 11:
		model_pause(conn);
		break;
	case 12:
	case 13:
		model_write(conn, 1 + below(6000), chance(50) ? 1 + below(40) : 0);
		break;
	case 14:
		if (chance(20))
			model_disconnect(conn, below(3));
		break;
	case 15:
		if (chance(20))
			model_close(conn, below(3));
		break;
	case 16:
		if (chance(30))
			model_transfer(conn);
		else if (conn->state == MOVING)
			model_disturb(conn);
		else
			model_to_fd(conn);
		break;
	case 17:
	case 18:
		model_read_one(conn);
		break;
	case 19:
		model_read_now(conn, 1 + below(1000));
		break;
	}
}

/* Threads come and go, and any of them may be the next to carry. */
static void change_carrier(void)
{
	fake_submitter(below(THREADS));
	if (chance(3))
		fake_submitter_ends(below(THREADS));
}

static void turn(void)
{
	uint32_t channel = below(CHANNELS);

	if (model.threads_end)
		change_carrier();
	switch (below(12)) {
	case 0:
		model_peer_connect(channel);
		break;
	case 1:
		model_accept(channel, 1 + below(4), below(4));
		break;
	case 2:
		if (chance(10))
			model_accept_stop(channel);
		else if (chance(50))
			model_connect(channel, below(2));
		else
			model_pair(channel, model.only_sockets || chance(70), chance(50));
		break;
	case 3:
		model_release(below(8));
		break;
	case 4: {
		int32_t result = mp_flush(model.channels[channel]);

		CHECK(result >= 0 || result == -EAGAIN || result == -ENOMEM);
		fake_pass((int64_t)below(200) * 1000000);
		break;
	}
	case 5:
	case 6:
	case 7:
		dispatch(channel);
		break;
	default:
		act_on(&model.conns[below(CONNS)]);
		break;
	}
}

/* Everything until all connections are retired. Bounded: each is closed once, and the fake never stalls for ever. */
static void drain(void)
{
	for (uint32_t round = 0; round < 4000; round++) {
		bool busy = model_drain_step(round);

		model_release(UINT32_MAX);
		if (model.threads_end)
			change_carrier();
		for (uint32_t channel = 0; channel < CHANNELS; channel++)
			dispatch(channel);
		if (!busy)
			return;
	}
	model_print();
	model_complain("does not come to an end");
}

static void run_schedule(uint64_t seed)
{
	struct fake_chances chances;

	model_begin(seed);
	chances = draw_chances();
	fake_begin(seed, &chances);
	if (chance(30))
		fake_cq_entries = 1u << below(5);
	if (chance(20))
		fake_fd_limit = 12 + below(20);
	fake_no_nosignal = chance(30);
	fake_no_accept_wait = chance(30);
	fake_releases_late = chance(40);
	fake_no_report = chance(10);
	model.threads_end = chance(50);
	model.only_sockets = chance(40);
	model_open(draw_config, chance(50));
	for (uint32_t i = 0; i < TURNS; i++)
		turn();
	if (chance(20)) {
		model_destroy(); /* with everything in flight */
	} else {
		fake_fd_limit = 1024;
		drain();
		model_close_all();
	}
	fake_end();
}

int main(int argc, char **argv)
{
	uint64_t first = 1, count = SCHEDULES;
	int numbers = 0;

	for (int i = 1; i < argc; i++) {
		if (!strncmp(argv[i], "SEED=", 5))
			first = strtoull(argv[i] + 5, NULL, 0);
		else if (numbers++ == 0)
			count = strtoull(argv[i], NULL, 0);
		else
			first = strtoull(argv[i], NULL, 0);
	}
	if (getenv("SEED"))
		first = strtoull(getenv("SEED"), NULL, 0);
	printf("  %llu schedules, seeds from %llu\n", (unsigned long long)count, (unsigned long long)first);
	for (uint64_t seed = first; seed < first + count; seed++)
		run_schedule(seed);
	model_report();
	return 0;
}
