/* The carrier ends its thread while everything that it asked for is in flight. The kernel then cancels those requests,
 * at the latest when they could go on; the channel makes them again, and nothing is lost. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "common_rig.h"

#define LINKS 12u
#define BIG (8u << 20) /* more than loopback keeps for a peer that does not read */
#define CARRIERS 8u

struct scene {
	struct rig rig;
	uint32_t flags;
	struct rig_link links[LINKS];
	struct rig_listener listener;
	uint8_t once[LINKS];
	struct rig_link sink; /* its peer reads later */
	uint8_t *big;
	struct iovec vectors[4];
};

static void *arm_and_end(void *argument)
{
	struct scene *scene = argument;
	struct mp_config config = rig_config(scene->flags);

	rig_open(&scene->rig, &config);
	for (uint32_t i = 0; i < LINKS; i++) {
		struct rig_link *link = &scene->links[i];

		*link = rig_link(&scene->rig, i % 3 ? AF_INET : AF_UNIX, i & 1 ? MP_ACCEPT_LWSOCKET : 0);
		if (i < LINKS / 2)
			CHECK_EQUAL(0, mp_read_start(scene->rig.channel, link->handle));
		else
			CHECK_EQUAL(0, mp_read(scene->rig.channel, link->handle, &scene->once[i], 1));
	}
	scene->listener = rig_listen(&scene->rig, AF_INET, 7);
	CHECK_EQUAL(0, mp_accept(scene->rig.channel, scene->listener.handle, 4, MP_ACCEPT_KEEP | MP_ACCEPT_LWSOCKET));
	scene->sink = rig_link(&scene->rig, AF_INET, MP_ACCEPT_LWSOCKET);
	scene->big = malloc(BIG);
	fill_pattern(scene->big, BIG, 0);
	for (uint32_t i = 0; i < COUNT_OF(scene->vectors); i++)
		scene->vectors[i] = (struct iovec){ scene->big + i * (BIG / 4), BIG / 4 };
	CHECK_EQUAL(0, mp_writev(scene->rig.channel, scene->sink.handle, scene->vectors, 4));
	CHECK(mp_flush(scene->rig.channel) >= 0);
	rig_turn(&scene->rig); /* arms the poll of an eventfd too, where that is what wakes */
	return NULL;
}

static void run(void *(*body)(void *), void *argument)
{
	pthread_t thread;

	CHECK_EQUAL(0, pthread_create(&thread, NULL, body, argument));
	CHECK_EQUAL(0, pthread_join(thread, NULL));
}

static void *read_big(void *argument)
{
	struct scene *scene = argument;
	uint8_t *got = malloc(BIG);

	receive_all(scene->sink.peer, got, BIG);
	CHECK(pattern_is(got, BIG, 0));
	free(got);
	return NULL;
}

static void go_on_without(struct scene *scene)
{
	uint8_t data;
	pthread_t reader;

	for (uint8_t round = 0; round < 3; round++) {
		for (uint32_t i = 0; i < LINKS; i++)
			send_all(scene->links[i].peer, &(uint8_t){ (uint8_t)(i + round) }, 1);
		for (uint32_t i = 0; i < LINKS; i++) {
			mp_handle handle = scene->links[i].handle;

			if (i < LINKS / 2) {
				rig_leased(&scene->rig, handle, &data, 1);
			} else {
				if (round)
					CHECK_EQUAL(0, mp_read(scene->rig.channel, handle, &scene->once[i], 1));
				CHECK_EQUAL(1, rig_take(&scene->rig, handle, MP_STAGE_READ).result);
				data = scene->once[i];
			}
			CHECK_EQUAL((uint8_t)(i + round), data);
		}
	}
	/* Each of the four accepts still takes a connection, and those made again after it do. */
	for (uint32_t i = 0; i < 8; i++) {
		struct rig_link link = { .peer = connect_fd(&scene->listener.address, scene->listener.bytes) };
		struct mp_event event = rig_take(&scene->rig, 0, MP_STAGE_ACCEPT);

		CHECK_EQUAL(0, event.result);
		CHECK_EQUAL(scene->listener.handle, event.source);
		link.handle = event.handle;
		rig_unlink(&scene->rig, &link, 0);
	}
	CHECK_EQUAL(0, pthread_create(&reader, NULL, read_big, scene));
	CHECK_EQUAL(BIG, rig_take(&scene->rig, scene->sink.handle, MP_STAGE_WRITE).result);
	CHECK_EQUAL(0, pthread_join(reader, NULL));
}

static void finish(struct scene *scene)
{
	for (uint32_t i = 0; i < LINKS / 2; i++) {
		CHECK_EQUAL(0, mp_read_pause(scene->rig.channel, scene->links[i].handle));
		CHECK_EQUAL(-ECANCELED, rig_take(&scene->rig, scene->links[i].handle, MP_STAGE_READ).result);
	}
	for (uint32_t i = 0; i < LINKS; i++)
		rig_unlink(&scene->rig, &scene->links[i], i & 2 ? MP_CLOSE_ABORT : 0);
	rig_unlink(&scene->rig, &scene->sink, 0);
	CHECK_EQUAL(0, mp_accept_stop(scene->rig.channel, scene->listener.handle));
	for (uint32_t i = 0; i < 4; i++)
		CHECK_EQUAL(-ECANCELED, rig_take(&scene->rig, 0, MP_STAGE_ACCEPT).result);
	rig_unlisten(&scene->rig, &scene->listener);
	rig_close(&scene->rig);
	free(scene->big);
}

static void carrier_ends_and_nothing_is_lost(void)
{
	static struct scene scene;

	scene.flags = 0;
	run(arm_and_end, &scene);
	go_on_without(&scene);
	finish(&scene);
}

static void carrier_ends_and_its_requests_can_be_cancelled(void)
{
	static struct scene scene;
	struct rig *rig = &scene.rig;

	scene.flags = 0;
	run(arm_and_end, &scene);
	/* Nothing came since: pausing, stopping and closing find the requests of a thread that is gone. */
	for (uint32_t i = 0; i < LINKS / 2; i++) {
		CHECK_EQUAL(0, mp_read_pause(rig->channel, scene.links[i].handle));
		CHECK_EQUAL(-ECANCELED, rig_take(rig, scene.links[i].handle, MP_STAGE_READ).result);
	}
	for (uint32_t i = LINKS / 2; i < LINKS; i++) {
		CHECK_EQUAL(0, mp_close(rig->channel, scene.links[i].handle, 0));
		CHECK_EQUAL(-ECANCELED, rig_take(rig, scene.links[i].handle, MP_STAGE_READ).result);
		CHECK_EQUAL(MP_EVENT_RETIRED, rig_take(rig, scene.links[i].handle, MP_STAGE_CLOSE).flags);
		CHECK_EQUAL(0, receive_end(scene.links[i].peer));
		close(scene.links[i].peer);
	}
	for (uint32_t i = 0; i < LINKS / 2; i++)
		rig_unlink(rig, &scene.links[i], 0);
	CHECK_EQUAL(0, mp_close(rig->channel, scene.sink.handle, MP_CLOSE_ABORT));
	CHECK_EQUAL(-ECANCELED, rig_take(rig, scene.sink.handle, MP_STAGE_WRITE).result);
	CHECK_EQUAL(MP_EVENT_RETIRED, rig_take(rig, scene.sink.handle, MP_STAGE_CLOSE).flags);
	close(scene.sink.peer);
	CHECK_EQUAL(0, mp_accept_stop(rig->channel, scene.listener.handle));
	for (uint32_t i = 0; i < 4; i++)
		CHECK_EQUAL(-ECANCELED, rig_take(rig, 0, MP_STAGE_ACCEPT).result);
	rig_unlisten(rig, &scene.listener);
	rig_close(rig);
	free(scene.big);
}

static void *wake(void *argument)
{
	usleep(20000); /* the sleep begins first, as a rule; both orders must do */
	mp_wake(argument);
	return NULL;
}

/* Twice: a poll that came to its end with its thread is armed again for the second sleep. */
static void carrier_ends_and_the_next_can_be_woken(void)
{
	static const uint32_t flags[] = { 0, MP_CONFIG_WAKE_EVENTFD };

	for (uint32_t i = 0; i < COUNT_OF(flags); i++) {
		static struct scene scene;

		scene.flags = flags[i];
		run(arm_and_end, &scene);
		for (uint32_t round = 0; round < 3; round++) {
			struct mp_event event;
			pthread_t waker;

			CHECK_EQUAL(0, pthread_create(&waker, NULL, wake, scene.rig.channel));
			CHECK_EQUAL(0, mp_dispatch(scene.rig.channel, &event, 1, -1));
			CHECK_EQUAL(0, pthread_join(waker, NULL));
		}
		go_on_without(&scene);
		finish(&scene);
	}
}

/* A connect that waits for its peer, whose queue is full. */
struct connecting {
	struct rig rig;
	struct rig_listener listener;
	struct rig_link link;
};

static void *connect_and_end(void *argument)
{
	struct connecting *scene = argument;
	struct mp_event event;

	scene->link.handle = mp_connect(scene->rig.channel, &scene->listener.address, scene->listener.bytes, 5, 0);
	CHECK(scene->link.handle > 0);
	CHECK_EQUAL(0, mp_dispatch(scene->rig.channel, &event, 1, 1000000)); /* it is not made yet */
	return NULL;
}

/* The queue is full of others, and the carrier that has made the connect ends. */
static void connect_beside(struct connecting *scene, int family, int32_t fillers[2])
{
	rig_open(&scene->rig, NULL);
	scene->listener = rig_listen(&scene->rig, family, 0);
	CHECK_EQUAL(0, listen(scene->listener.fd, 1));
	for (uint32_t i = 0; i < 2; i++)
		fillers[i] = connect_fd(&scene->listener.address, scene->listener.bytes);
	run(connect_and_end, scene);
}

static void carrier_ends_and_its_connect_comes_to_an_end(void)
{
	static const int families[] = { AF_UNIX, AF_INET };

	for (uint32_t f = 0; f < COUNT_OF(families); f++) {
		static struct connecting scene;
		int32_t fillers[2], accepted[3];
		struct mp_event event;

		connect_beside(&scene, families[f], fillers);
		for (uint32_t i = 0; i < COUNT_OF(accepted); i++) {
			/* TCP tries again after a second; the next dispatch makes the connect again. */
			struct pollfd ready = { .fd = scene.listener.fd, .events = POLLIN };

			while (poll(&ready, 1, 0) == 0)
				rig_turn(&scene.rig);
			accepted[i] = accept(scene.listener.fd, NULL, NULL);
			CHECK(accepted[i] >= 0);
		}
		event = rig_take(&scene.rig, scene.link.handle, MP_STAGE_ACCEPT);
		CHECK_EQUAL(0, event.result);
		CHECK_EQUAL(5, event.cookie);
		scene.link.peer = accepted[2];
		send_all(scene.link.peer, "x", 1);
		rig_read(&scene.rig, scene.link.handle, &(uint8_t){ 0 }, 1);
		rig_unlink(&scene.rig, &scene.link, 0);
		for (uint32_t i = 0; i < COUNT_OF(fillers); i++) {
			close(fillers[i]);
			close(accepted[i]);
		}
		rig_unlisten(&scene.rig, &scene.listener);
		rig_close(&scene.rig);
	}
}

static void carrier_ends_and_its_connect_can_be_closed(void)
{
	static const int families[] = { AF_UNIX, AF_INET };

	for (uint32_t f = 0; f < COUNT_OF(families); f++) {
		static struct connecting scene;
		int32_t fillers[2];

		connect_beside(&scene, families[f], fillers);
		CHECK_EQUAL(0, mp_close(scene.rig.channel, scene.link.handle, 0));
		CHECK_EQUAL(-ECANCELED, rig_take(&scene.rig, scene.link.handle, MP_STAGE_ACCEPT).result);
		CHECK_EQUAL(MP_EVENT_RETIRED, rig_take(&scene.rig, scene.link.handle, MP_STAGE_CLOSE).flags);
		for (uint32_t i = 0; i < COUNT_OF(fillers); i++)
			close(fillers[i]);
		rig_unlisten(&scene.rig, &scene.listener);
		rig_close(&scene.rig);
	}
}

/* One carrier after the other, each arms what its predecessor lost and ends. */
struct relay {
	struct rig rig;
	struct rig_link links[LINKS];
	uint32_t got[LINKS];
	uint32_t end;
};

static void *carry_for_a_while(void *argument)
{
	struct relay *relay = argument;

	for (uint32_t complete = 0; complete < LINKS;) {
		struct mp_event event = rig_take(&relay->rig, 0, MP_STAGE_READ);
		uint32_t *got = &relay->got[event.cookie];

		CHECK(event.result > 0 && (event.flags & MP_EVENT_LEASED));
		CHECK(pattern_is((void *)(uintptr_t)event.data, (uint32_t)event.result, *got));
		*got += (uint32_t)event.result;
		complete += *got == relay->end;
		CHECK_EQUAL(0, mp_release(relay->rig.channel, event.lease));
	}
	return NULL;
}

static void many_carriers_end_one_after_the_other(void)
{
	static struct relay relay;

	rig_open(&relay.rig, NULL);
	for (uint32_t i = 0; i < LINKS; i++) {
		relay.links[i] = rig_link(&relay.rig, AF_INET, i & 1 ? MP_ACCEPT_LWSOCKET : 0);
		CHECK_EQUAL(0, mp_set_cookie(relay.rig.channel, relay.links[i].handle, i));
		CHECK_EQUAL(0, mp_read_start(relay.rig.channel, relay.links[i].handle));
	}
	for (uint32_t carrier = 0; carrier < CARRIERS; carrier++) {
		uint8_t data[5000];

		fill_pattern(data, sizeof data, relay.end);
		relay.end += sizeof data;
		for (uint32_t i = 0; i < LINKS; i++)
			send_all(relay.links[i].peer, data, sizeof data);
		run(carry_for_a_while, &relay);
	}
	for (uint32_t i = 0; i < LINKS; i++) {
		CHECK_EQUAL(0, mp_read_pause(relay.rig.channel, relay.links[i].handle));
		CHECK_EQUAL(-ECANCELED, rig_take(&relay.rig, relay.links[i].handle, MP_STAGE_READ).result);
		rig_unlink(&relay.rig, &relay.links[i], 0);
	}
	rig_close(&relay.rig);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		TEST(carrier_ends_and_nothing_is_lost),           TEST(carrier_ends_and_its_requests_can_be_cancelled),
		TEST(carrier_ends_and_the_next_can_be_woken),     TEST(carrier_ends_and_its_connect_comes_to_an_end),
		TEST(carrier_ends_and_its_connect_can_be_closed), TEST(many_carriers_end_one_after_the_other),
	};

	return RUN_TESTS(tests, argc, argv);
}
