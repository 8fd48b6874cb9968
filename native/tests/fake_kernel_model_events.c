/* The model: what each event may say, and how a schedule ends. */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "../src/channel.h"
#include "fake_kernel_model.h"

#define SERVER_PORT 9

/* So much time passes in so many rounds of the end: what a read has missed is found while it lasts. */
#define ROUNDS_PER_PASS 10u
#define PASS_NS 300000000

static struct conn *find(uint32_t channel, mp_handle handle)
{
	for (uint32_t i = 0; i < CONNS; i++)
		if (model.conns[i].state != UNUSED && model.conns[i].handle == handle &&
		    model.conns[i].channel == channel)
			return &model.conns[i];
	model_complain("an event of a handle that is retired or was never made");
}

static void accepted(uint32_t channel, const struct mp_event *event)
{
	struct sockaddr_in address;

	MUST(event->source == model.listeners[channel]);
	MUST(event->cookie == 1000000 + channel || event->result < 0);
	if (!(event->flags & MP_EVENT_MORE)) {
		MUST(model.accepts[channel] > 0);
		model.accepts[channel]--;
	}
	if (event->result < 0) {
		MUST(event->handle == 0 && event->flags == 0);
		MUST(event->result == -ECANCELED || event->result == -ENFILE || event->result == -EMFILE ||
		     event->result == -ECONNABORTED);
		return;
	}
	MUST(mp_peer_address(model.channels[channel], event->handle, &address, sizeof address) == sizeof address);
	for (uint32_t i = 0; i < CONNS; i++) {
		struct conn *conn = &model.conns[i];

		if (conn->state != WAITING || conn->port != address.sin_port)
			continue;
		MUST(conn->channel == channel);
		conn->handle = event->handle;
		conn->state = OPEN;
		return;
	}
	model_complain("a connection that nobody made");
}

static void arrived(uint32_t channel, const struct mp_event *event)
{
	struct conn *conn = &model.conns[event->cookie];

	MUST(event->cookie < CONNS && conn->state == MOVING && channel != conn->given_channel && !conn->handle);
	conn->channel = channel;
	if (event->result == 0) {
		conn->handle = event->handle; /* a registered fd stays the test's */
	} else {
		MUST(event->result == -ENFILE && event->handle == 0);
		conn->failed = true; /* closed by the channel that could not take it, unless it was registered */
		if (conn->fd >= 0)
			MUST(fake_fd_close(conn->fd) == 0);
		conn->fd = -1;
	}
	if (!conn->given)
		conn->state = conn->failed ? DEAD : OPEN;
}

static void given(uint32_t channel, const struct mp_event *event)
{
	struct conn *conn = NULL;

	for (uint32_t i = 0; i < CONNS && !conn; i++)
		if (model.conns[i].state == MOVING && model.conns[i].given == event->handle &&
		    model.conns[i].given_channel == channel)
			conn = &model.conns[i];
	MUST(conn);
	conn->given = 0;
	if (event->flags & MP_EVENT_RETIRED) {
		MUST(event->result == 0);
		if (conn->failed)
			conn->state = DEAD;
		else if (conn->handle)
			conn->state = OPEN;
	} else {
		MUST(event->result < 0 && !conn->handle);
		conn->handle = event->handle;
		conn->channel = channel;
		conn->state = OPEN;
	}
}

static void read_ended(struct conn *conn, int32_t result)
{
	free(conn->read_buffer);
	conn->read_buffer = NULL;
	conn->reading = NOT_READING;
	if (result == 0) {
		conn->ended = true;
		/* All bytes before the end: unless somebody cut the connection. */
		if (!conn->broken && !conn->no_more_reads)
			MUST(conn->peer_shut || conn->peer == FAKE_NONE || fake_peer_gone(conn->peer));
		if (!conn->broken && !conn->no_more_reads && conn->peer_shut)
			MUST(conn->got == conn->sent);
	} else if (result < 0) {
		conn->broken |= result == -ECONNRESET;
		MUST(result == -ECANCELED || result == -ECONNRESET || result == -ENOTCONN);
		if (result == -ECANCELED)
			MUST(conn->state == CLOSING || conn->pausing);
	}
	conn->pausing = false;
}

static void read_event(struct conn *conn, const struct mp_event *event)
{
	uint32_t flags = event->flags & ~(uint32_t)MP_EVENT_REST;

	if (event->flags & MP_EVENT_HANGUP) {
		MUST(event->flags == MP_EVENT_HANGUP && conn->state == OPEN);
		MUST(!conn->reading || (conn->reading == READING_ONCE && conn->now));
		MUST(event->result == 0 || event->result == -ECONNRESET);
		MUST(conn->peer_shut || conn->no_more_reads || conn->peer == FAKE_NONE || fake_peer_gone(conn->peer));
		return;
	}
	MUST(conn->reading);
	if (conn->reading == READING_ONCE) {
		MUST(flags == 0);
		if (event->result == -EAGAIN) {
			MUST(conn->now);
			read_ended(conn, 1);
			return;
		}
		if (event->result > 0) {
			MUST((uint32_t)event->result <= conn->read_bytes);
			MUST(pattern_is(conn->read_buffer, (uint32_t)event->result, conn->got));
			conn->got += (uint64_t)event->result;
			model.bytes += (uint64_t)event->result;
			MUST(flags == event->flags || (conn->now && conn->got < conn->sent));
		}
		read_ended(conn, event->result > 0 ? 1 : event->result);
		return;
	}
	if (!(event->flags & (MP_EVENT_MORE | MP_EVENT_LEASED))) {
		MUST(event->flags == 0 && event->result <= 0);
		read_ended(conn, event->result);
		return;
	}
	/* One piece is the last, unless it came into a pause or a close, whose event follows. */
	MUST(event->result > 0 &&
	     (flags == (MP_EVENT_LEASED | MP_EVENT_MORE) || (flags == MP_EVENT_LEASED && conn->one && !conn->pausing)));
	MUST(!conn->one || flags == MP_EVENT_LEASED || conn->pausing || conn->state == CLOSING);
	MUST(pattern_is((void *)(uintptr_t)event->data, (uint32_t)event->result, conn->got));
	if (model.held_count == HELD)
		model_release(1);
	model.held[model.held_count++] = (struct held){
		conn, conn->channel, event->lease, (uint32_t)event->result, (void *)(uintptr_t)event->data, conn->got
	};
	conn->got += (uint64_t)event->result;
	model.bytes += (uint64_t)event->result;
	MUST(flags == event->flags || conn->got < conn->sent);
	if (!(flags & MP_EVENT_MORE))
		conn->reading = NOT_READING;
}

/* Ours again: a kernel that still looked at it would see this. */
static void take_back(uint8_t *buffer, uint32_t bytes)
{
	memset(buffer, 0xee, bytes);
	free(buffer);
}

/* The write has ended, its memory is still the kernel's. */
static void keep(const struct conn *conn)
{
	uint32_t at = 0;

	while (at < SENT && model.sent[at].memory)
		at++;
	MUST(at < SENT);
	model.sent[at] = (struct sent){ conn->memory, conn->channel, conn->writing, conn->write_buffer };
	model.sent_count++;
}

static void released(uint32_t channel, const struct mp_event *event)
{
	uint32_t at = 0;

	MUST(event->stage == MP_STAGE_WRITE && event->handle == 0 && event->data);
	MUST((event->flags & ~(uint32_t)MP_EVENT_COPIED) == MP_EVENT_RELEASED);
	while (at < SENT && model.sent[at].memory != event->data)
		at++;
	MUST(at < SENT && model.sent[at].channel == channel);
	take_back(model.sent[at].buffer, model.sent[at].bytes);
	model.sent[at].memory = 0;
	model.sent_count--;
}

static void write_event(struct conn *conn, const struct mp_event *event)
{
	MUST(conn->writing);
	MUST(event->flags == 0 || (conn->memory && (event->flags == MP_EVENT_COPIED || event->flags == MP_EVENT_HELD)));
	if (event->result > 0) {
		MUST((uint32_t)event->result == conn->writing);
		conn->acked += conn->writing;
	} else {
		MUST(event->result == -ECANCELED || event->result == -EPIPE || event->result == -ECONNRESET);
		MUST(event->result != -ECANCELED || conn->state == CLOSING);
		conn->write_broken = true;
	}
	if (event->flags & MP_EVENT_HELD)
		keep(conn);
	else
		take_back(conn->write_buffer, conn->writing);
	free(conn->vectors);
	conn->write_buffer = NULL;
	conn->vectors = NULL;
	conn->writing = 0;
}

static void close_event(struct conn *conn, const struct mp_event *event)
{
	if (event->flags == MP_EVENT_DISCONNECTED) {
		MUST(conn->disconnects > 0);
		conn->disconnects--;
		return;
	}
	MUST(event->flags == MP_EVENT_RETIRED && event->result == 0);
	MUST(conn->state == CLOSING && !conn->reading && !conn->writing && !conn->disconnects && !conn->connecting);
	if (conn->fd >= 0 && conn->keep_fd)
		MUST(fake_fd_close(conn->fd) == 0); /* still open, and ours */
	conn->state = DEAD;
	conn->handle = 0;
	conn->fd = -1;
	model.retired++;
}

void model_event(uint32_t channel, const struct mp_event *event)
{
	struct conn *conn;

	model.events++;
	if (event->stage == MP_STAGE_ACCEPT && !(event->flags & MP_EVENT_CONNECTED)) {
		if (event->flags & MP_EVENT_TRANSFERRED)
			arrived(channel, event);
		else
			accepted(channel, event);
		return;
	}
	if (event->flags & MP_EVENT_RELEASED) {
		released(channel, event);
		return;
	}
	if (event->handle == model.listeners[channel]) {
		MUST(event->stage == MP_STAGE_CLOSE && event->flags == MP_EVENT_RETIRED && !model.accepts[channel]);
		model.listeners[channel] = 0;
		return;
	}
	if (event->flags & MP_EVENT_GIVEN) {
		given(channel, event);
		return;
	}
	conn = find(channel, event->handle);
	switch (event->stage) {
	case MP_STAGE_ACCEPT:
		MUST(conn->connecting);
		conn->connecting = false;
		conn->failed = event->result < 0;
		MUST(event->result != -ECANCELED || conn->state == CLOSING);
		break;
	case MP_STAGE_READ:
		read_event(conn, event);
		break;
	case MP_STAGE_WRITE:
		write_event(conn, event);
		break;
	case MP_STAGE_CLOSE:
		close_event(conn, event);
		break;
	default:
		model_complain("an event without a stage");
	}
}

/* Finds the other ends of connections that a channel made. */
static void match_peers(void)
{
	uint16_t port;
	uint32_t peer = fake_peer_accept(SERVER_PORT, &port);

	if (peer != FAKE_NONE) {
		MUST(model.parked_count < COUNT_OF(model.parked));
		model.parked[model.parked_count].peer = peer;
		model.parked[model.parked_count++].port = port;
	}
	for (uint32_t i = 0; i < CONNS; i++) {
		struct conn *conn = &model.conns[i];
		struct sockaddr_in address;

		if (conn->state != OPEN || conn->port || conn->connecting || conn->failed ||
		    mp_local_address(model.channels[conn->channel], conn->handle, &address, sizeof address) < 0)
			continue;
		for (uint32_t j = 0; j < model.parked_count; j++) {
			if (model.parked[j].port != address.sin_port)
				continue;
			conn->peer = model.parked[j].peer;
			conn->port = address.sin_port;
			model.parked[j] = model.parked[--model.parked_count];
			break;
		}
	}
}

/* The end of a connection that was never cut: everything arrives, in both directions. */
static bool drain(struct conn *conn, uint32_t round)
{
	if (conn->state == UNUSED)
		return false;
	if (conn->state == DEAD) {
		model_peer_receive(conn);
		if (conn->peer != FAKE_NONE && fake_peer_gone(conn->peer) && !fake_file(conn->peer)->count) {
			if (!conn->broken && conn->got == conn->sent)
				MUST(conn->received >= conn->acked);
			fake_peer_close(conn->peer);
			conn->peer = FAKE_NONE;
		}
		if (conn->peer == FAKE_NONE)
			conn->state = UNUSED;
		return true;
	}
	model_peer_receive(conn);
	if (conn->state == WAITING && model.listener_closing[conn->channel] && !model.listeners[conn->channel] &&
	    fake_peer_gone(conn->peer)) {
		fake_peer_close(conn->peer);
		conn->state = UNUSED;
	}
	/* A pause ends by itself, whatever the peer does or does not. */
	if (round < 200 && conn->pausing)
		return true;
	MUST(!conn->pausing || round < 300 || conn->state != OPEN);
	/* Some are closed while their peers are silent: nothing but the close ends what they wait for. */
	if (conn->state == OPEN && (conn - model.conns) % 3 == 0)
		model_close(conn, (uint32_t)(conn - model.conns) % 2 ? 2 : 0);
	if (conn->state == OPEN) {
		model_peer_shutdown(conn);
		if (round < 400 && conn->port && conn->peer != FAKE_NONE && !conn->broken && !conn->ended &&
		    !conn->failed && !conn->no_more_reads) {
			if (!conn->reading)
				model_read_start(conn);
			if (!conn->reading)
				model_read(conn, 500);
		} else if (!conn->writing || round > 800) {
			model_close(conn, 0);
		}
	}
	return true;
}

bool model_drain_step(uint32_t round)
{
	bool busy = false;

	if (round % ROUNDS_PER_PASS == 0)
		fake_pass(PASS_NS);
	match_peers();
	for (uint32_t i = 0; i < CONNS; i++)
		busy |= drain(&model.conns[i], round);
	for (uint32_t i = 0; i < CHANNELS; i++) {
		busy |= model.listeners[i] != 0;
		if (round > 100 && !model.listener_closing[i]) {
			MUST(mp_unregister(model.channels[i], model.listeners[i]) == 0);
			model.listener_closing[i] = true;
		}
		if (!model.listeners[i] && model.listener_fds[i]) {
			MUST(fake_fd_close(model.listener_fds[i]) == 0);
			model.listener_fds[i] = 0;
		}
	}
	return busy || model.held_count || model.sent_count;
}

static void close_rest(void)
{
	uint16_t port;

	for (uint32_t i = 0; i < model.parked_count; i++)
		fake_peer_close(model.parked[i].peer);
	for (uint32_t i = 0; i < CHANNELS; i++)
		if (model.listener_fds[i])
			MUST(fake_fd_close(model.listener_fds[i]) == 0);
	for (uint32_t peer; (peer = fake_peer_accept(SERVER_PORT, &port)) != FAKE_NONE;)
		fake_peer_close(peer);
	MUST(fake_fd_close(model.server_fd) == 0);
}

void model_close_all(void)
{
	for (uint32_t i = 0; i < CHANNELS; i++) {
		struct mp_counters counters;

		mp_read_counters(model.channels[i], &counters);
		MUST(counters.in_flight == 0 && counters.leases_out == 0 && counters.handles_live == 0);
		MUST(counters.stale_events == 0);
		MUST(model.channels[i]->lwsockets == 0 && model.channels[i]->handles.live == 0);
		MUST(model.channels[i]->buffers.out == 0);
		mp_destroy(model.channels[i]);
	}
	close_rest();
}

/* A target must outlive what is on its way to it. */
static void let_transfers_end(void)
{
	bool moving = true;

	for (uint32_t round = 0; round < 1000 && moving; round++) {
		moving = false;
		fake_run(1); /* a dispatch that has nothing to give does not enter */
		for (uint32_t i = 0; i < CHANNELS; i++) {
			struct mp_event event;
			int32_t count = mp_dispatch(model.channels[i], &event, 1, 0);

			MUST(count >= 0);
			if (count)
				model_event(i, &event);
		}
		for (uint32_t i = 0; i < CONNS; i++)
			moving |= model.conns[i].given != 0;
	}
	MUST(!moving);
}

void model_destroy(void)
{
	let_transfers_end();
	for (uint32_t i = 0; i < CHANNELS; i++)
		mp_destroy(model.channels[i]);
	for (uint32_t i = 0; i < CONNS; i++) {
		struct conn *conn = &model.conns[i];

		/* A registered fd that was not being closed is still ours. */
		if (conn->state != UNUSED && conn->fd >= 0 && fake_fd_file(conn->fd) != FAKE_NONE)
			(void)fake_fd_close(conn->fd);
		if (conn->state != UNUSED && conn->peer != FAKE_NONE)
			fake_peer_close(conn->peer);
		free(conn->read_buffer);
		free(conn->write_buffer);
		free(conn->vectors);
	}
	for (uint32_t i = 0; i < SENT; i++)
		if (model.sent[i].memory)
			free(model.sent[i].buffer);
	close_rest();
}
