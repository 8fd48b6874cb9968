/* A channel with an inbox, for tests on the real kernel. */
#define _GNU_SOURCE
#include "common_rig.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int kernel_has(uint32_t feature)
{
	struct mp_features features = { .size = sizeof features };

	CHECK_EQUAL(0, mp_probe(&features));
	return (features.available >> feature & 1) != 0;
}

struct mp_config rig_config(uint32_t flags)
{
	struct mp_config config = { .size = sizeof config,
				    .flags = flags,
				    .max_handles = 128,
				    .queue_entries = 64,
				    .buffer_count = 16,
				    .buffer_bytes = 1024 };

	return config;
}

void rig_open(struct rig *rig, const struct mp_config *config)
{
	struct mp_config small = rig_config(0);

	rig->kept_count = 0;
	CHECK_EQUAL(0, mp_create(config ? config : &small, &rig->channel));
}

void rig_close(struct rig *rig)
{
	struct mp_counters counters;

	/* Completions that bring no event (of cancels) may still be on their way. */
	for (int64_t end = now_ns() + RIG_WAIT_NS; now_ns() < end;) {
		struct mp_event event;

		if (rig_counters(rig).in_flight == 0)
			break;
		CHECK_EQUAL(0, mp_dispatch(rig->channel, &event, 1, 1000000));
	}
	rig_nothing(rig);
	counters = rig_counters(rig);
	CHECK_EQUAL(0, counters.in_flight);
	CHECK_EQUAL(0, counters.leases_out);
	CHECK_EQUAL(0, counters.handles_live);
	CHECK_EQUAL(0, counters.stale_events);
	mp_destroy(rig->channel);
	rig->channel = NULL;
}

static int find(const struct rig *rig, mp_handle handle, uint32_t stage, uint32_t *at)
{
	for (*at = 0; *at < rig->kept_count; (*at)++)
		if (rig->kept[*at].stage == stage && (!handle || rig->kept[*at].handle == handle))
			return 1;
	return 0;
}

static void more(struct rig *rig, int64_t timeout_ns)
{
	int32_t count;

	CHECK(rig->kept_count < RIG_INBOX);
	count = mp_dispatch(rig->channel, rig->kept + rig->kept_count, RIG_INBOX - rig->kept_count, timeout_ns);
	CHECK(count >= 0);
	rig->kept_count += (uint32_t)count;
}

struct mp_event rig_take(struct rig *rig, mp_handle handle, uint32_t stage)
{
	int64_t end = now_ns() + RIG_WAIT_NS;
	struct mp_event event;
	uint32_t at;

	while (!find(rig, handle, stage, &at)) {
		CHECK(now_ns() < end);
		more(rig, end - now_ns());
	}
	event = rig->kept[at];
	rig->kept_count--;
	memmove(rig->kept + at, rig->kept + at + 1, (rig->kept_count - at) * sizeof event);
	return event;
}

void rig_turn(struct rig *rig)
{
	more(rig, 0);
}

void rig_nothing(struct rig *rig)
{
	for (int round = 0; round < 3; round++)
		more(rig, 0);
	if (rig->kept_count) {
		CHECK_EQUAL(0, rig->kept[0].stage);
		check_failed("an event that nobody asked for", __FILE__, __LINE__);
	}
}

struct mp_counters rig_counters(const struct rig *rig)
{
	struct mp_counters counters;

	mp_read_counters(rig->channel, &counters);
	return counters;
}

struct rig_listener rig_listen(struct rig *rig, int family, uint64_t cookie)
{
	struct rig_listener listener;

	listener.fd = listen_fd(family, 0, &listener.address, &listener.bytes);
	listener.handle = mp_register(rig->channel, listener.fd, cookie, 0, 0);
	CHECK(listener.handle > 0);
	return listener;
}

void rig_unlisten(struct rig *rig, struct rig_listener *listener)
{
	struct mp_event event;

	CHECK_EQUAL(0, mp_unregister(rig->channel, listener->handle));
	event = rig_take(rig, listener->handle, MP_STAGE_CLOSE);
	CHECK_EQUAL(MP_EVENT_RETIRED, event.flags);
	close(listener->fd);
}

struct rig_link rig_connect(struct rig *rig, const struct rig_listener *listener, uint32_t accept_flags)
{
	struct rig_link link;
	struct mp_event event;

	CHECK_EQUAL(0, mp_accept(rig->channel, listener->handle, 1, accept_flags));
	link.peer = connect_fd(&listener->address, listener->bytes);
	event = rig_take(rig, 0, MP_STAGE_ACCEPT);
	CHECK_EQUAL(0, event.result);
	CHECK(event.handle > 0);
	CHECK_EQUAL(listener->handle, event.source);
	link.handle = event.handle;
	link.flags = event.flags;
	return link;
}

struct rig_link rig_link(struct rig *rig, int family, uint32_t accept_flags)
{
	struct rig_listener listener = rig_listen(rig, family, 0);
	struct rig_link link = rig_connect(rig, &listener, accept_flags);

	rig_unlisten(rig, &listener);
	return link;
}

struct rig_link rig_pair(struct rig *rig, int32_t *fd)
{
	struct rig_link link = { 0 };
	int pair[2];

	CHECK_EQUAL(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	link.peer = pair[1];
	link.handle = mp_register(rig->channel, pair[0], 0, 0, 0);
	CHECK(link.handle > 0);
	*fd = pair[0];
	return link;
}

void rig_unlink(struct rig *rig, struct rig_link *link, uint32_t close_flags)
{
	struct mp_event event;

	CHECK_EQUAL(0, mp_close(rig->channel, link->handle, close_flags));
	do
		event = rig_take(rig, link->handle, MP_STAGE_CLOSE);
	while (event.flags == MP_EVENT_DISCONNECTED);
	CHECK_EQUAL(MP_EVENT_RETIRED, event.flags);
	if (link->peer >= 0)
		close(link->peer);
	link->peer = -1;
}

void rig_write(struct rig *rig, mp_handle handle, const void *data, uint32_t bytes)
{
	CHECK_EQUAL(0, mp_write(rig->channel, handle, data, bytes));
	CHECK_EQUAL(bytes, rig_take(rig, handle, MP_STAGE_WRITE).result);
}

void rig_read(struct rig *rig, mp_handle handle, void *data, uint32_t bytes)
{
	uint8_t *to = data;

	while (bytes > 0) {
		struct mp_event event;

		CHECK_EQUAL(0, mp_read(rig->channel, handle, to, bytes));
		event = rig_take(rig, handle, MP_STAGE_READ);
		CHECK(event.result > 0);
		CHECK_EQUAL(0, event.flags);
		to += event.result;
		bytes -= (uint32_t)event.result;
	}
}

void rig_leased(struct rig *rig, mp_handle handle, void *data, uint32_t bytes)
{
	uint8_t *to = data;

	while (bytes > 0) {
		struct mp_event event = rig_take(rig, handle, MP_STAGE_READ);

		CHECK(event.result > 0);
		CHECK_EQUAL(MP_EVENT_LEASED | MP_EVENT_MORE, event.flags & ~(uint32_t)MP_EVENT_REST);
		CHECK((uint32_t)event.result <= bytes);
		CHECK(mp_lease_address(rig->channel, event.lease) == (void *)(uintptr_t)event.data);
		memcpy(to, (void *)(uintptr_t)event.data, (size_t)event.result);
		CHECK_EQUAL(0, mp_release(rig->channel, event.lease));
		to += event.result;
		bytes -= (uint32_t)event.result;
	}
}
