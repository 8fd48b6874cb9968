/* An accept that is made again waits for a connection before it tries: trying in vain costs the kernel a socket and a
 * file. Where a connection waits it tries at once, and a kernel that cannot wait first is not asked twice. */
#define _GNU_SOURCE
#include <errno.h>

#include "fake_kernel_rig.h"

#define PORT 80

static mp_handle listener;
static int32_t fd;

static void begin_listening(bool nonblock)
{
	begin();
	fd = fake_listen(PORT, nonblock);
	listener = mp_register(rig.channel, fd, 0, 0, 0);
	CHECK(listener > 0);
}

static void end_listening(uint32_t accepts)
{
	CHECK_EQUAL(0, mp_accept_stop(rig.channel, listener));
	while (accepts-- > 0)
		CHECK_EQUAL(-ECANCELED, rig_take(&rig, 0, MP_STAGE_ACCEPT).result);
	CHECK_EQUAL(0, mp_unregister(rig.channel, listener));
	rig_take(&rig, listener, MP_STAGE_CLOSE);
	CHECK_EQUAL(0, fake_fd_close(fd));
	end();
}

static void connect_and_accept(uint16_t from)
{
	struct rig_link link = { .peer = (int32_t)fake_peer_connect(PORT, from) };
	struct mp_event event = rig_take(&rig, 0, MP_STAGE_ACCEPT);

	CHECK_EQUAL(0, event.result);
	link.handle = event.handle;
	unlink_pair(&link);
}

static void accept_made_again_waits_first(void)
{
	begin_listening(false);
	CHECK_EQUAL(0, mp_accept(rig.channel, listener, 4, MP_ACCEPT_KEEP | MP_ACCEPT_LWSOCKET));
	rig_turn(&rig);
	CHECK_EQUAL(4, fake_vain_accepts);
	for (uint16_t i = 0; i < 20; i++)
		connect_and_accept((uint16_t)(5 + i));
	CHECK_EQUAL(4, fake_vain_accepts);
	end_listening(4);
}

static void accept_of_a_listener_that_must_not_wait_goes_on(void)
{
	begin_listening(true);
	CHECK_EQUAL(0, mp_accept(rig.channel, listener, 2, MP_ACCEPT_KEEP));
	for (uint16_t i = 0; i < 20; i++)
		connect_and_accept((uint16_t)(5 + i));
	end_listening(2);
}

static void kernel_that_cannot_wait_first_is_asked_once(void)
{
	begin_listening(false);
	fake_no_accept_wait = true;
	CHECK_EQUAL(0, mp_accept(rig.channel, listener, 1, MP_ACCEPT_KEEP));
	for (uint16_t i = 0; i < 20; i++)
		connect_and_accept((uint16_t)(5 + i));
	CHECK_EQUAL(1, fake_refused_accepts);
	end_listening(1);
}

static void listener_that_is_shut_is_told_after_waiting_has_worked(void)
{
	struct mp_event event;

	begin_listening(false);
	CHECK_EQUAL(0, mp_accept(rig.channel, listener, 1, MP_ACCEPT_KEEP));
	connect_and_accept(5);
	connect_and_accept(6); /* this one has waited */
	fake_fail(IORING_OP_ACCEPT, -EINVAL, 1);
	event = rig_take(&rig, 0, MP_STAGE_ACCEPT);
	CHECK_EQUAL(-EINVAL, event.result);
	CHECK_EQUAL(listener, event.source);
	end_listening(0);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		TEST(accept_made_again_waits_first),
		TEST(accept_of_a_listener_that_must_not_wait_goes_on),
		TEST(kernel_that_cannot_wait_first_is_asked_once),
		TEST(listener_that_is_shut_is_told_after_waiting_has_worked),
	};

	return RUN_TESTS(tests, argc, argv);
}
