/* The RPC server on channels, with each of the paper's mechanisms switchable. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"
#include "common_rpc.h"
#include "megapipe.h"

#define EVENTS_AT_A_TIME 256
#define ACCEPTS 4u        /* outstanding per listener: more of them re-arm in vain (see mp-http.c) */
#define PLAIN_BYTES 4096u /* what one plain read asks for, at least */
#define HANDLES 32768u

struct rpc_connection {
	mp_handle handle;
	uint32_t received; /* of an incomplete request */
	bool writing;
	bool closing;
	uint64_t due_bytes; /* of responses not yet given to mp_write */
	struct rpc_connection *next_free;
	struct rpc_connection *next; /* of all */
	char buffer[];               /* plain reads */
};

struct rpc_loop {
	const struct rpc_config *config;
	const char *block;
	struct mp_channel *channel;
	mp_handle listener;
	struct rpc_connection *free, *all;
	uint32_t buffer_bytes; /* 0 with leased reads */
};

static atomic_bool stopping; /* set by rpc_megapipe_stop before its mp_wake, read after each mp_dispatch */

static void check(const char *what, int64_t result)
{
	if (result < 0)
		fail("%s: %s", what, mp_error_text((int32_t)result));
}

static void begin_accepts(struct rpc_loop *loop, uint32_t count)
{
	uint32_t flags = MP_ACCEPT_KEEP | (loop->config->lwsocket ? (uint32_t)MP_ACCEPT_LWSOCKET : 0);

	check("mp_accept", mp_accept(loop->channel, loop->listener, count, flags));
}

static void close_connection(struct rpc_loop *loop, struct rpc_connection *connection)
{
	if (connection->closing)
		return;
	connection->closing = true;
	check("mp_close", mp_close(loop->channel, connection->handle, 0));
}

static void begin_read(struct rpc_loop *loop, struct rpc_connection *connection)
{
	if (loop->config->leased)
		check("mp_read_start", mp_read_start(loop->channel, connection->handle));
	else
		check("mp_read", mp_read(loop->channel, connection->handle, connection->buffer, loop->buffer_bytes));
}

static void answer(struct rpc_loop *loop, struct rpc_connection *connection)
{
	uint64_t bytes = connection->due_bytes < RPC_BLOCK_BYTES ? connection->due_bytes : RPC_BLOCK_BYTES;

	if (connection->writing || connection->closing || bytes == 0)
		return;
	connection->writing = true;
	connection->due_bytes -= bytes;
	check("mp_write", mp_write(loop->channel, connection->handle, loop->block, (uint32_t)bytes));
}

static void on_accept(struct rpc_loop *loop, const struct mp_event *event)
{
	struct rpc_connection *connection = loop->free;

	if ((event->flags & MP_EVENT_MORE) == 0 && event->result != -ECANCELED)
		begin_accepts(loop, 1);
	if (event->result < 0)
		return;
	if (connection != NULL) {
		loop->free = connection->next_free;
	} else {
		connection = allocate(1, sizeof(*connection) + loop->buffer_bytes);
		connection->next = loop->all;
		loop->all = connection;
	}
	*connection = (struct rpc_connection){ .handle = event->handle, .next = connection->next };
	check("mp_set_cookie", mp_set_cookie(loop->channel, event->handle, (uint64_t)(uintptr_t)connection));
	begin_read(loop, connection);
}

static void on_read(struct rpc_loop *loop, struct rpc_connection *connection, const struct mp_event *event)
{
	if ((event->flags & MP_EVENT_LEASED) != 0)
		check("mp_release", mp_release(loop->channel, event->lease));
	if (event->result <= 0) {
		close_connection(loop, connection);
		return;
	}
	connection->due_bytes += rpc_due_bytes(loop->config, &connection->received, (uint64_t)event->result);
	answer(loop, connection);
	if ((event->flags & MP_EVENT_MORE) == 0 && !connection->closing)
		begin_read(loop, connection);
}

static void on_event(struct rpc_loop *loop, const struct mp_event *event)
{
	struct rpc_connection *connection = (struct rpc_connection *)(uintptr_t)event->cookie;

	switch (event->stage) {
	case MP_STAGE_ACCEPT:
		on_accept(loop, event);
		break;
	case MP_STAGE_READ:
		on_read(loop, connection, event);
		break;
	case MP_STAGE_WRITE:
		connection->writing = false;
		if (event->result < 0)
			close_connection(loop, connection);
		else
			answer(loop, connection);
		break;
	case MP_STAGE_CLOSE:
		if ((event->flags & MP_EVENT_RETIRED) != 0 && connection != NULL) {
			connection->next_free = loop->free;
			loop->free = connection;
		}
		break;
	default:
		fail("event of unknown stage %u", event->stage);
	}
}

static void print_counters(const struct rpc_loop *loop, uint32_t index)
{
	struct mp_counters counters;

	mp_read_counters(loop->channel, &counters);
	fprintf(stderr,
		"channel %u: %llu accepted, %llu system calls, %llu requests, %llu events in %llu dispatches, "
		"%llu starved, %llu re-armed, %llu overflows\n",
		index, (unsigned long long)counters.accepted, (unsigned long long)counters.system_calls,
		(unsigned long long)counters.requests, (unsigned long long)counters.events,
		(unsigned long long)counters.dispatches, (unsigned long long)counters.buffers_starved,
		(unsigned long long)counters.rearms, (unsigned long long)counters.cq_overflows);
}

void rpc_megapipe_run(struct rpc_thread *thread)
{
	const struct rpc_config *config = thread->config;
	struct rpc_loop loop = { .config = config, .block = thread->block };
	struct mp_event events[EVENTS_AT_A_TIME];
	struct mp_config channel = {
		.size = sizeof(channel),
		.flags = (config->single_thread ? (uint32_t)MP_CONFIG_SINGLE_THREAD : 0) |
			 (config->leased ? 0 : (uint32_t)MP_CONFIG_NO_LEASE),
		.max_handles = HANDLES,
		.batch_threshold = config->batch_threshold,
		.cpu_plus_one = thread->cpu + 1,
	};

	if (!config->leased)
		loop.buffer_bytes = config->message_bytes > PLAIN_BYTES ? config->message_bytes : PLAIN_BYTES;
	check("mp_create", mp_create(&channel, &loop.channel));
	loop.listener =
		mp_register(loop.channel, thread->listener, 0, config->partition ? thread->cpu_mask : 0, RPC_BACKLOG);
	check("mp_register", loop.listener);
	begin_accepts(&loop, ACCEPTS);
	check("mp_flush", mp_flush(loop.channel));
	thread->channel = loop.channel;
	thread->ready();
	while (!atomic_load(&stopping)) {
		int32_t count = mp_dispatch(loop.channel, events, EVENTS_AT_A_TIME, -1);

		check("mp_dispatch", count);
		for (int32_t i = 0; i < count; i++)
			on_event(&loop, &events[i]);
	}
	print_counters(&loop, thread->index);
	thread->ready(); /* the stopper has woken every channel: now it may go */
	/* Left to the process's end, the kernel would take the ring down, and free the port, some time after it. */
	mp_destroy(loop.channel);
	while (loop.all != NULL) {
		struct rpc_connection *connection = loop.all;

		loop.all = connection->next;
		free(connection);
	}
}

void rpc_megapipe_stop(struct rpc_thread *threads, uint32_t count)
{
	atomic_store(&stopping, true);
	for (uint32_t i = 0; i < count; i++)
		mp_wake(threads[i].channel);
}
