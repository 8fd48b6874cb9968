/* mp_wake from any thread: never lost, counted once per sleep. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "channel.h"
#include "common_rig.h"

#define ROUNDS 2000u
#define SECOND_NS 1000000000

static void wake_before_dispatch_returns_at_once(void)
{
	struct mp_event event;
	struct rig rig;

	rig_open(&rig, NULL);
	for (int i = 0; i < 3; i++)
		mp_wake(rig.channel);
	CHECK_EQUAL(0, mp_dispatch(rig.channel, &event, 1, -1));
	CHECK_EQUAL(0, rig_counters(&rig).wakes);
	/* The three counted once: the next one waits. */
	{
		int64_t begin = now_ns();

		CHECK_EQUAL(0, mp_dispatch(rig.channel, &event, 1, 20000000));
		CHECK(now_ns() - begin >= 20000000);
	}
	rig_close(&rig);
}

/* Two threads: one raises a number and wakes, the other must see each number within a bounded sleep. */
struct race {
	struct rig rig;
	_Atomic uint32_t asked;
	_Atomic uint32_t seen;
};

static void *waker(void *argument)
{
	struct race *race = argument;

	for (uint32_t i = 1; i <= ROUNDS; i++) {
		atomic_store(&race->asked, i);
		mp_wake(race->rig.channel);
		while (atomic_load(&race->seen) < i)
			if (i & 1)
				sched_yield();
	}
	return NULL;
}

static void race_with(uint32_t flags)
{
	static struct race race;
	struct mp_config config = rig_config(flags);
	pthread_t thread;

	atomic_store(&race.asked, 0);
	atomic_store(&race.seen, 0);
	rig_open(&race.rig, &config);
	CHECK_EQUAL(0, pthread_create(&thread, NULL, waker, &race));
	while (atomic_load(&race.seen) < ROUNDS) {
		struct mp_event event;
		int64_t begin = now_ns();

		CHECK_EQUAL(0, mp_dispatch(race.rig.channel, &event, 1, 5ll * SECOND_NS));
		CHECK(now_ns() - begin < 4ll * SECOND_NS); /* a lost wake-up would sleep through */
		atomic_store(&race.seen, atomic_load(&race.asked));
	}
	pthread_join(thread, NULL);
	CHECK(rig_counters(&race.rig).wakes <= ROUNDS);
	rig_close(&race.rig);
}

static void wake_from_thread_is_never_lost(void)
{
	race_with(0);
}

static void wake_through_eventfd_is_never_lost(void)
{
	race_with(MP_CONFIG_WAKE_EVENTFD);
}

static void wake_of_single_thread_channel_is_never_lost(void)
{
	race_with(MP_CONFIG_SINGLE_THREAD);
	race_with(MP_CONFIG_SINGLE_THREAD | MP_CONFIG_WAKE_EVENTFD);
}

static void *wake_without_register(void *argument)
{
	deny_call(__NR_io_uring_register, EPERM);
	mp_wake(argument);
	return NULL;
}

static void *wake_without_write(void *argument)
{
	deny_call(__NR_write, EPERM);
	return wake_without_register(argument);
}

/* Threads of their own have the filters; this one has not. */
static void *deny_and_wake(void *argument)
{
	struct race *race = argument;
	void *(*const bodies[])(void *) = { wake_without_register, wake_without_write };

	for (uint32_t i = 0; i < COUNT_OF(bodies); i++) {
		pthread_t thread;

		while (atomic_load(&race->rig.channel->wake_state) != MP_SLEEPING)
			sched_yield();
		CHECK_EQUAL(0, pthread_create(&thread, NULL, bodies[i], race->rig.channel));
		pthread_join(thread, NULL);
	}
	CHECK_EQUAL(1, atomic_load(&race->seen));
	mp_wake(race->rig.channel); /* the first of the next sleep could do nothing, and has left it to us */
	return NULL;
}

/* A filter that comes after the channel: its wake-ups go another way, or fail without taking those of others along. */
static void wake_denied_later_is_never_lost(void)
{
	static struct race race;
	pthread_t thread;

	atomic_store(&race.seen, 0);
	rig_open(&race.rig, NULL);
	CHECK_EQUAL(0, pthread_create(&thread, NULL, deny_and_wake, &race));
	for (uint32_t i = 0; i < 2; i++) {
		struct mp_event event;
		int64_t begin = now_ns();

		CHECK_EQUAL(0, mp_dispatch(race.rig.channel, &event, 1, 10ll * SECOND_NS));
		CHECK(now_ns() - begin < 8ll * SECOND_NS);
		atomic_fetch_add(&race.seen, 1);
	}
	pthread_join(thread, NULL);
	rig_close(&race.rig);
}

static void dispatch_timeout_returns_nothing_after_it(void)
{
	struct mp_event event;
	struct rig rig;
	int64_t begin = now_ns();

	rig_open(&rig, NULL);
	CHECK_EQUAL(0, mp_dispatch(rig.channel, &event, 1, 30000000));
	CHECK(now_ns() - begin >= 30000000);
	CHECK_EQUAL(0, mp_dispatch(rig.channel, &event, 1, 0));
	CHECK_EQUAL(-EINVAL, mp_dispatch(rig.channel, &event, 0, 0));
	mp_wake(rig.channel);
	CHECK_EQUAL(0, mp_dispatch(rig.channel, &event, 1, INT64_MAX));
	rig_close(&rig);
}

static _Atomic int signals;

static void on_signal(int number)
{
	(void)number;
	atomic_fetch_add(&signals, 1);
}

/* A timer interrupts dispatch, with and without requests to submit first. */
static void dispatch_signal_returns_nothing_and_loses_nothing(void)
{
	struct itimerspec soon = { .it_value.tv_nsec = 20000000 };
	struct sigaction action = { .sa_handler = on_signal };
	struct sigevent notify = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
	struct mp_event event;
	struct rig_link link;
	struct rig rig;
	timer_t timer;
	char byte;

	sigaction(SIGUSR1, &action, NULL);
	CHECK_EQUAL(0, timer_create(CLOCK_MONOTONIC, &notify, &timer));
	rig_open(&rig, NULL);
	link = rig_link(&rig, AF_INET, 0);
	atomic_store(&signals, 0);
	for (int round = 0; round < 4; round++) {
		if (round == 0)
			CHECK_EQUAL(0, mp_read_start(rig.channel, link.handle));
		CHECK_EQUAL(0, timer_settime(timer, 0, &soon, NULL));
		CHECK_EQUAL(0, mp_dispatch(rig.channel, &event, 1, -1));
		CHECK_EQUAL(round + 1, atomic_load(&signals));
	}
	send_all(link.peer, "x", 1);
	rig_leased(&rig, link.handle, &byte, 1);
	CHECK_EQUAL(0, mp_read_pause(rig.channel, link.handle));
	CHECK_EQUAL(-ECANCELED, rig_take(&rig, link.handle, MP_STAGE_READ).result);
	rig_unlink(&rig, &link, 0);
	rig_close(&rig);
	timer_delete(timer);
}

static void thread_times_tell_waiting_from_computing(void)
{
	uint64_t cpu, cpu_then, waits, waits_then;
	struct timespec nap = { .tv_nsec = 20000000 };

	CHECK_EQUAL(0, mp_thread_times(&cpu, &waits));
	CHECK(!nanosleep(&nap, NULL));
	CHECK_EQUAL(0, mp_thread_times(&cpu_then, &waits_then));
	CHECK(waits_then > waits);
	CHECK(cpu_then - cpu < 20000000);
	/* Hardly anything makes this loop wait, a page to be read perhaps: it ends when it has had 5 ms of CPU. */
	do
		CHECK_EQUAL(0, mp_thread_times(&cpu, &waits));
	while (cpu - cpu_then < 5000000);
	CHECK(waits <= waits_then + 2);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		TEST(wake_before_dispatch_returns_at_once),
		TEST(wake_from_thread_is_never_lost),
		TEST(wake_through_eventfd_is_never_lost),
		TEST(wake_of_single_thread_channel_is_never_lost),
		TEST(wake_denied_later_is_never_lost),
		TEST(dispatch_timeout_returns_nothing_after_it),
		TEST(dispatch_signal_returns_nothing_and_loses_nothing),
		TEST(thread_times_tell_waiting_from_computing),
	};

	return RUN_TESTS(tests, argc, argv);
}
