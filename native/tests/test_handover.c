/* The carrier changes while requests are in flight: whatever the old one does next, the new one gets every event. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <unistd.h>

#include "common_rig.h"

#define LINKS 16u
#define ROUNDS 20u

enum after { BLOCKS, SPINS };

struct first_carrier {
	struct rig rig;
	struct rig_link links[LINKS];
	uint32_t flags;
	enum after after;
	sem_t armed; /* orders the two carriers */
	sem_t leave;
	_Atomic int done;
};

static void *arm_and_stay_away(void *argument)
{
	struct first_carrier *first = argument;
	struct mp_config config = rig_config(first->flags);

	rig_open(&first->rig, &config);
	for (uint32_t i = 0; i < LINKS; i++) {
		first->links[i] = rig_link(&first->rig, AF_INET, i & 1 ? MP_ACCEPT_LWSOCKET : 0);
		CHECK_EQUAL(0, mp_set_cookie(first->rig.channel, first->links[i].handle, i));
		CHECK_EQUAL(0, mp_read_start(first->rig.channel, first->links[i].handle));
	}
	CHECK(mp_flush(first->rig.channel) >= 0);
	sem_post(&first->armed);
	if (first->after == BLOCKS)
		sem_wait(&first->leave); /* a futex */
	else
		while (!atomic_load_explicit(&first->done, memory_order_relaxed))
			; /* never enters the kernel by itself */
	return NULL;
}

static void take_over(struct first_carrier *first, enum after after)
{
	uint8_t data[LINKS][ROUNDS];
	pthread_t thread;

	first->after = after;
	atomic_store(&first->done, 0);
	sem_init(&first->armed, 0, 0);
	sem_init(&first->leave, 0, 0);
	CHECK_EQUAL(0, pthread_create(&thread, NULL, arm_and_stay_away, first));
	sem_wait(&first->armed);
	for (uint32_t round = 0; round < ROUNDS; round++) {
		for (uint32_t i = 0; i < LINKS; i++)
			send_all(first->links[i].peer, &(uint8_t){ (uint8_t)(i + round) }, 1);
		for (uint32_t i = 0; i < LINKS; i++) {
			mp_handle handle = first->links[i].handle;

			rig_leased(&first->rig, handle, &data[i][round], 1);
			CHECK_EQUAL((uint8_t)(i + round), data[i][round]);
			/* Requests of the new carrier on the same handle. */
			rig_write(&first->rig, handle, &data[i][round], 1);
			receive_all(first->links[i].peer, &data[i][round], 1);
		}
	}
	for (uint32_t i = 0; i < LINKS; i++) {
		CHECK_EQUAL(0, mp_close(first->rig.channel, first->links[i].handle, i & 2 ? MP_CLOSE_ABORT : 0));
		CHECK_EQUAL(-ECANCELED, rig_take(&first->rig, first->links[i].handle, MP_STAGE_READ).result);
		CHECK_EQUAL(MP_EVENT_RETIRED, rig_take(&first->rig, first->links[i].handle, MP_STAGE_CLOSE).flags);
		CHECK_EQUAL(i & 2 ? -ECONNRESET : 0, receive_end(first->links[i].peer));
		close(first->links[i].peer);
	}
	rig_close(&first->rig);
	atomic_store(&first->done, 1);
	sem_post(&first->leave);
	pthread_join(thread, NULL);
	sem_destroy(&first->armed);
	sem_destroy(&first->leave);
}

static void handover_from_blocked_carrier_loses_nothing(void)
{
	static struct first_carrier first;

	first.flags = 0;
	take_over(&first, BLOCKS);
}

static void handover_from_spinning_carrier_loses_nothing(void)
{
	static struct first_carrier first;

	first.flags = 0;
	take_over(&first, SPINS);
}

static void handover_with_eventfd_wake_loses_nothing(void)
{
	static struct first_carrier first;

	first.flags = MP_CONFIG_WAKE_EVENTFD;
	take_over(&first, BLOCKS);
}

/* Two carriers take turns; each dispatches once and hands over with everything still armed. */
struct relay {
	struct rig rig;
	struct rig_link links[LINKS];
	pthread_mutex_t lock;
	uint32_t got[LINKS];
	uint32_t total;
	uint32_t turns[2];
};

struct runner {
	struct relay *relay;
	uint32_t number;
};

#define RELAY_TOTAL (LINKS * 400u)

static void serve(struct relay *relay)
{
	struct mp_event events[8];
	int32_t count = mp_dispatch(relay->rig.channel, events, COUNT_OF(events), 1000000);

	CHECK(count >= 0);
	for (int32_t i = 0; i < count; i++) {
		uint32_t link = (uint32_t)events[i].cookie;

		CHECK_EQUAL(MP_STAGE_READ, events[i].stage);
		CHECK(events[i].result > 0);
		CHECK(pattern_is((void *)(uintptr_t)events[i].data, (uint32_t)events[i].result, relay->got[link]));
		relay->got[link] += (uint32_t)events[i].result;
		relay->total += (uint32_t)events[i].result;
		CHECK_EQUAL(0, mp_release(relay->rig.channel, events[i].lease));
	}
}

static void *run_relay(void *argument)
{
	struct runner *runner = argument;
	struct relay *relay = runner->relay;
	int done = 0;

	while (!done) {
		pthread_mutex_lock(&relay->lock);
		serve(relay);
		relay->turns[runner->number]++;
		done = relay->total >= RELAY_TOTAL;
		pthread_mutex_unlock(&relay->lock);
		sched_yield();
	}
	return NULL;
}

static void handover_back_and_forth_keeps_order(void)
{
	static struct relay relay;
	struct runner runners[2] = { { &relay, 0 }, { &relay, 1 } };
	pthread_t threads[2];

	relay.lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
	rig_open(&relay.rig, NULL);
	for (uint32_t i = 0; i < LINKS; i++) {
		relay.links[i] = rig_link(&relay.rig, AF_INET, i & 1 ? MP_ACCEPT_LWSOCKET : 0);
		CHECK_EQUAL(0, mp_set_cookie(relay.rig.channel, relay.links[i].handle, i));
		CHECK_EQUAL(0, mp_read_start(relay.rig.channel, relay.links[i].handle));
	}
	for (uint32_t i = 0; i < 2; i++)
		CHECK_EQUAL(0, pthread_create(&threads[i], NULL, run_relay, &runners[i]));
	for (uint32_t sent = 0; sent < RELAY_TOTAL / LINKS; sent += 10) {
		for (uint32_t i = 0; i < LINKS; i++) {
			uint8_t data[10];

			fill_pattern(data, sizeof data, sent);
			send_all(relay.links[i].peer, data, sizeof data);
		}
	}
	for (uint32_t i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	/* Both threads have ended: see test_carrier_end.c. */
	for (uint32_t i = 0; i < LINKS; i++) {
		CHECK_EQUAL(RELAY_TOTAL / LINKS, relay.got[i]);
		CHECK_EQUAL(0, mp_close(relay.rig.channel, relay.links[i].handle, 0));
		CHECK(rig_take(&relay.rig, relay.links[i].handle, MP_STAGE_READ).result <= 0);
		CHECK_EQUAL(MP_EVENT_RETIRED, rig_take(&relay.rig, relay.links[i].handle, MP_STAGE_CLOSE).flags);
		close(relay.links[i].peer);
	}
	CHECK(relay.turns[0] > 0 && relay.turns[1] > 0);
	rig_close(&relay.rig);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		TEST(handover_from_blocked_carrier_loses_nothing),
		TEST(handover_from_spinning_carrier_loses_nothing),
		TEST(handover_with_eventfd_wake_loses_nothing),
		TEST(handover_back_and_forth_keeps_order),
	};

	return RUN_TESTS(tests, argc, argv);
}
