/* Tables and limits that run full: the error has a name, and everything works again when there is room. */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common_rig.h"

static void handle_table_full_gives_enfile_and_recovers(void)
{
	struct mp_config config = rig_config(0);
	struct rig_listener listener;
	struct rig_link links[3];
	struct mp_event event;
	struct rig rig;
	int32_t fd, extra;

	config.max_handles = 4;
	rig_open(&rig, &config);
	listener = rig_listen(&rig, AF_INET, 0);
	for (uint32_t i = 0; i < 3; i++)
		links[i] = rig_connect(&rig, &listener, i & 1);
	CHECK_EQUAL(0, mp_accept(rig.channel, listener.handle, 1, 0));
	event = rig_take(&rig, 0, MP_STAGE_ACCEPT);
	CHECK_EQUAL(-ENFILE, event.result);
	CHECK_EQUAL(0, event.flags);
	CHECK_EQUAL(0, event.handle);
	CHECK_EQUAL(listener.handle, event.source);
	CHECK_EQUAL(-ENFILE, mp_connect(rig.channel, &listener.address, listener.bytes, 0, 0));
	fd = dup(listener.fd);
	CHECK_EQUAL(-ENFILE, mp_register(rig.channel, fd, 0, 0, 0));
	close(fd);
	rig_unlink(&rig, &links[1], 0);
	/* The one that did not fit waits in the kernel's queue, not in ours. */
	extra = connect_fd(&listener.address, listener.bytes);
	CHECK_EQUAL(0, mp_accept(rig.channel, listener.handle, 1, MP_ACCEPT_KEEP));
	event = rig_take(&rig, 0, MP_STAGE_ACCEPT);
	CHECK_EQUAL(0, event.result);
	CHECK_EQUAL(MP_EVENT_MORE, event.flags);
	links[1] = (struct rig_link){ .handle = event.handle, .peer = extra };
	/* Its repetition has no handle to reserve: it ends. */
	event = rig_take(&rig, 0, MP_STAGE_ACCEPT);
	CHECK_EQUAL(-ENFILE, event.result);
	CHECK_EQUAL(0, event.flags);
	for (uint32_t i = 0; i < 3; i++)
		rig_unlink(&rig, &links[i], 0);
	links[0] = rig_connect(&rig, &listener, 0);
	rig_unlink(&rig, &links[0], 0);
	rig_unlisten(&rig, &listener);
	rig_close(&rig);
}

static void lwsocket_table_full_gives_enfile_and_recovers(void)
{
	struct mp_config config = rig_config(0);
	struct rig_listener listener;
	struct rig_link links[2], regular;
	struct mp_event event;
	struct rig rig;

	config.max_lwsockets = 2;
	rig_open(&rig, &config);
	listener = rig_listen(&rig, AF_INET, 0);
	for (int round = 0; round < 3; round++) {
		for (uint32_t i = 0; i < 2; i++)
			links[i] = rig_connect(&rig, &listener, MP_ACCEPT_LWSOCKET);
		CHECK_EQUAL(0, mp_accept(rig.channel, listener.handle, 1, MP_ACCEPT_LWSOCKET));
		event = rig_take(&rig, 0, MP_STAGE_ACCEPT);
		CHECK_EQUAL(-ENFILE, event.result);
		CHECK_EQUAL(-ENFILE, mp_connect(rig.channel, &listener.address, listener.bytes, 0, MP_ACCEPT_LWSOCKET));
		regular = rig_connect(&rig, &listener, 0); /* no lightweight socket is needed for it */
		rig_unlink(&rig, &regular, 0);
		for (uint32_t i = 0; i < 2; i++)
			rig_unlink(&rig, &links[i], 0);
	}
	rig_unlisten(&rig, &listener);
	rig_close(&rig);
}

static void accept_at_fd_limit_gives_emfile_and_recovers(void)
{
	struct rlimit limit, low;
	struct rig_listener listener;
	struct rig_link link;
	struct mp_event event;
	struct rig rig;
	int32_t peer;
	int fd_install = kernel_has(MP_FEATURE_FD_INSTALL);

	rig_open(&rig, NULL);
	listener = rig_listen(&rig, AF_INET, 0);
	peer = connect_fd(&listener.address, listener.bytes);
	CHECK_EQUAL(0, getrlimit(RLIMIT_NOFILE, &limit));
	low = limit;
	low.rlim_cur = (rlim_t)dup(peer); /* the lowest fd that is free */
	close((int)low.rlim_cur);
	CHECK_EQUAL(0, setrlimit(RLIMIT_NOFILE, &low));
	CHECK_EQUAL(0, mp_accept(rig.channel, listener.handle, 1, MP_ACCEPT_KEEP));
	event = rig_take(&rig, 0, MP_STAGE_ACCEPT);
	CHECK_EQUAL(-EMFILE, event.result);
	CHECK_EQUAL(0, event.flags);
	CHECK_EQUAL(-EMFILE, mp_connect(rig.channel, &listener.address, listener.bytes, 0, 0));
	CHECK_EQUAL(-EMFILE, mp_to_fd(rig.channel, listener.handle));
	/* A lightweight socket needs no fd: the connection that waits is accepted. */
	CHECK_EQUAL(0, mp_accept(rig.channel, listener.handle, 1, MP_ACCEPT_LWSOCKET));
	event = rig_take(&rig, 0, MP_STAGE_ACCEPT);
	CHECK_EQUAL(0, event.result);
	link = (struct rig_link){ .handle = event.handle, .peer = peer };
	CHECK_EQUAL(fd_install ? -EMFILE : -ENOTSUP, mp_to_fd(rig.channel, link.handle));
	CHECK_EQUAL(0, setrlimit(RLIMIT_NOFILE, &limit));
	rig_unlink(&rig, &link, 0);
	link = rig_connect(&rig, &listener, 0);
	rig_unlink(&rig, &link, 0);
	rig_unlisten(&rig, &listener);
	rig_close(&rig);
}

static void stale_handle_after_reuse_is_bad(void)
{
	struct mp_config config = rig_config(0);
	struct rig_link link;
	struct rig rig;
	mp_handle old[64];
	char byte = 0;
	int32_t fd;

	config.max_handles = 1;
	rig_open(&rig, &config);
	for (uint32_t i = 0; i < COUNT_OF(old); i++) {
		link = rig_pair(&rig, &fd);
		old[i] = link.handle;
		for (uint32_t j = 0; j < i; j++) {
			CHECK(old[j] != link.handle);
			CHECK_EQUAL(-EBADF, mp_read(rig.channel, old[j], &byte, 1));
		}
		if (i + 1 < COUNT_OF(old))
			rig_unlink(&rig, &link, 0);
	}
	CHECK_EQUAL(-EBADF, mp_read_start(rig.channel, old[0]));
	CHECK_EQUAL(-EBADF, mp_read_pause(rig.channel, old[0]));
	CHECK_EQUAL(-EBADF, mp_write(rig.channel, old[0], &byte, 1));
	CHECK_EQUAL(-EBADF, mp_disconnect(rig.channel, old[0], MP_SHUT_BOTH));
	CHECK_EQUAL(-EBADF, mp_close(rig.channel, old[0], 0));
	CHECK_EQUAL(-EBADF, mp_unregister(rig.channel, old[0]));
	CHECK_EQUAL(-EBADF, mp_accept(rig.channel, old[0], 1, 0));
	CHECK_EQUAL(-EBADF, mp_set_cookie(rig.channel, old[0], 1));
	CHECK_EQUAL(-EBADF, mp_to_fd(rig.channel, old[0]));
	CHECK_EQUAL(-EBADF, mp_peek_fd(rig.channel, old[0]));
	CHECK_EQUAL(-EBADF, mp_peer_address(rig.channel, old[0], &byte, 1));
	CHECK_EQUAL(-EBADF, mp_local_address(rig.channel, old[0], &byte, 1));
	CHECK_EQUAL(-EBADF, mp_transfer(rig.channel, old[0], rig.channel, 1));
	rig_unlink(&rig, &link, 0);
	rig_close(&rig);
}

/* More connections than the queue has room for, each with a read, written to at once: nothing is lost. */
static void tiny_queue_with_many_connections_loses_nothing(void)
{
	enum { LINKS = 100, ROUNDS = 5 };
	static struct rig_link links[LINKS];
	static struct rig rig;
	struct mp_config config = rig_config(0);
	uint32_t got = 0;
	int32_t fd;

	config.queue_entries = 2; /* and 32 completions */
	config.buffer_count = 1024;
	config.buffer_bytes = 64;
	rig_open(&rig, &config);
	for (uint32_t i = 0; i < LINKS; i++) {
		links[i] = rig_pair(&rig, &fd);
		CHECK_EQUAL(0, mp_set_cookie(rig.channel, links[i].handle, i));
		CHECK_EQUAL(0, mp_read_start(rig.channel, links[i].handle));
	}
	rig_turn(&rig);
	for (uint32_t round = 0; round < ROUNDS; round++)
		for (uint32_t i = 0; i < LINKS; i++)
			send_all(links[i].peer, &(uint8_t){ (uint8_t)i }, 1);
	while (got < LINKS * ROUNDS) {
		struct mp_event event = rig_take(&rig, 0, MP_STAGE_READ);

		CHECK(event.result > 0);
		for (int32_t i = 0; i < event.result; i++)
			CHECK_EQUAL(event.cookie, ((uint8_t *)(uintptr_t)event.data)[i]);
		CHECK_EQUAL(0, mp_release(rig.channel, event.lease));
		got += (uint32_t)event.result;
	}
	CHECK(rig_counters(&rig).cq_overflows > 0);
	for (uint32_t i = 0; i < LINKS; i++) {
		CHECK_EQUAL(0, mp_close(rig.channel, links[i].handle, 0));
		CHECK_EQUAL(-ECANCELED, rig_take(&rig, links[i].handle, MP_STAGE_READ).result);
		CHECK_EQUAL(MP_EVENT_RETIRED, rig_take(&rig, links[i].handle, MP_STAGE_CLOSE).flags);
		close(links[i].peer);
	}
	rig_close(&rig);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		TEST(handle_table_full_gives_enfile_and_recovers),
		TEST(lwsocket_table_full_gives_enfile_and_recovers),
		TEST(accept_at_fd_limit_gives_emfile_and_recovers),
		TEST(stale_handle_after_reuse_is_bad),
		TEST(tiny_queue_with_many_connections_loses_nothing),
	};

	return RUN_TESTS(tests, argc, argv);
}
