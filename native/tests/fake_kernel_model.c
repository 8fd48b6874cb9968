/* The model: what the actions of a schedule do, and the end of a schedule. */
#define _GNU_SOURCE
#include "fake_kernel_model.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../src/channel.h"
#include "os.h"

#define SERVER_PORT 9
#define LISTENER_PORT 80 /* + channel */

struct model model;

_Noreturn void model_complain(const char *what)
{
	fprintf(stderr, "schedule with seed %llu: %s\n", (unsigned long long)model.seed, what);
	abort();
}

/* What is left, for whoever looks into a schedule that does not end. */
void model_print(void)
{
	for (uint32_t i = 0; i < CONNS; i++) {
		const struct conn *conn = &model.conns[i];

		if (conn->state != UNUSED)
			fprintf(stderr,
				"%u: state %d channel %u handle %lld reading %d writing %u port %u connecting %d "
				"failed %d broken %d ended %d sent %llu got %llu peer %d\n",
				i, (int)conn->state, conn->channel, (long long)conn->handle, (int)conn->reading,
				conn->writing, conn->port, conn->connecting, conn->failed, conn->broken, conn->ended,
				(unsigned long long)conn->sent, (unsigned long long)conn->got, (int)conn->peer);
	}
	for (uint32_t i = 0; i < CHANNELS; i++)
		fprintf(stderr, "listener %u: %lld accepts %u closing %d\n", i, (long long)model.listeners[i],
			model.accepts[i], model.listener_closing[i]);
	fprintf(stderr, "held %u parked %u\n", model.held_count, model.parked_count);
}

void model_begin(uint64_t seed)
{
	uint64_t totals[2] = { model.totals[0] + model.events, model.totals[1] + model.bytes };

	memset(&model, 0, sizeof model);
	memcpy(model.totals, totals, sizeof totals);
	model.seed = seed;
	model.random = seed * 0x2545f4914f6cdd1du + 7;
	model.next_port = 1000;
}

void model_report(void)
{
	printf("  %llu events, %llu bytes\n", (unsigned long long)(model.totals[0] + model.events),
	       (unsigned long long)(model.totals[1] + model.bytes));
}

void model_open(struct mp_config (*draw)(void), bool nonblock)
{
	model.server_fd = fake_listen(SERVER_PORT, false);
	for (uint32_t i = 0; i < CHANNELS; i++) {
		struct mp_config config = draw();

		MUST(mp_create(&config, &model.channels[i]) == 0);
		/* Schedules are short: what is renewed now and then is renewed often. */
		model.channels[i]->renew_after = 1 + random_below(&model.random, 8);
		model.listener_fds[i] = fake_listen((uint16_t)(LISTENER_PORT + i), nonblock);
		model.listeners[i] = mp_register(model.channels[i], model.listener_fds[i], 1000000 + i, 0, 0);
		MUST(model.listeners[i] > 0);
	}
}

static struct conn *unused(void)
{
	for (uint32_t i = 0; i < CONNS; i++) {
		struct conn *conn = &model.conns[i];

		if (conn->state != UNUSED)
			continue;
		memset(conn, 0, sizeof *conn);
		conn->peer = FAKE_NONE;
		conn->fd = -1;
		return conn;
	}
	return NULL;
}

void model_peer_connect(uint32_t channel)
{
	struct conn *conn = unused();

	if (!conn || model.listener_closing[channel])
		return;
	conn->port = model.next_port++;
	conn->peer = fake_peer_connect((uint16_t)(LISTENER_PORT + channel), conn->port);
	if (conn->peer == FAKE_NONE)
		return;
	conn->channel = channel;
	conn->state = WAITING;
}

void model_peer_send(struct conn *conn, uint32_t bytes)
{
	uint8_t data[4096];

	if (conn->peer == FAKE_NONE || conn->peer_shut || conn->state == UNUSED)
		return;
	fill_pattern(data, bytes, conn->sent);
	conn->sent += fake_peer_send(conn->peer, data, bytes);
}

void model_peer_receive(struct conn *conn)
{
	uint8_t data[2048];
	int32_t got;

	if (conn->peer == FAKE_NONE || conn->state == UNUSED)
		return;
	got = fake_peer_receive(conn->peer, data, sizeof data);
	if (got == -2)
		conn->broken = true;
	if (got <= 0)
		return;
	MUST(pattern_is(data, (uint32_t)got, conn->received));
	conn->received += (uint64_t)got;
	MUST(conn->received <= conn->issued);
}

void model_peer_shutdown(struct conn *conn)
{
	if (conn->peer == FAKE_NONE || conn->peer_shut || conn->state == UNUSED)
		return;
	fake_peer_shutdown(conn->peer);
	conn->peer_shut = true;
}

void model_peer_reset(struct conn *conn)
{
	if (conn->peer == FAKE_NONE || conn->state == UNUSED)
		return;
	fake_peer_reset(conn->peer);
	conn->peer_shut = conn->broken = true;
}

void model_accept(uint32_t channel, uint32_t count, uint32_t flags)
{
	int32_t error;

	if (model.listener_closing[channel])
		return;
	error = mp_accept(model.channels[channel], model.listeners[channel], count, flags);
	if (error == 0)
		model.accepts[channel] += count;
	else
		MUST(error == -EBUSY && model.accepts[channel] > 0);
}

void model_accept_stop(uint32_t channel)
{
	if (!model.listener_closing[channel])
		MUST(mp_accept_stop(model.channels[channel], model.listeners[channel]) == 0);
}

void model_connect(uint32_t channel, uint32_t flags)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = SERVER_PORT };
	struct conn *conn = unused();

	if (!conn)
		return;
	if ((conn - model.conns) % 3 == 0)
		address.sin_family = AF_UNIX;
	conn->channel = channel;
	if (random_below(&model.random, 8) == 0)
		address.sin_port = 7; /* nobody listens there */
	conn->handle = mp_connect(model.channels[channel], &address, sizeof address, 0, flags);
	if (conn->handle < 0) {
		MUST(conn->handle == -ENFILE || conn->handle == -EMFILE);
		conn->handle = 0;
		return;
	}
	conn->connecting = true;
	conn->state = OPEN;
}

void model_pair(uint32_t channel, bool socket, bool nonblock)
{
	struct conn *conn = unused();

	if (!conn)
		return;
	conn->fd = fake_pair(socket, nonblock, &conn->peer);
	if (conn->fd < 0) {
		struct conn none = { 0 };

		fake_file_drop(fake_file(conn->peer)->peer);
		fake_peer_close(conn->peer);
		*conn = none;
		return;
	}
	conn->handle = mp_register(model.channels[channel], conn->fd, 0, 0, 0);
	conn->channel = channel;
	conn->port = 1;
	conn->state = OPEN;
	if (conn->handle < 0) {
		MUST(conn->handle == -ENFILE);
		MUST(fake_fd_close(conn->fd) == 0);
		fake_peer_close(conn->peer);
		conn->state = UNUSED;
	}
}

static bool ready(const struct conn *conn)
{
	return conn->state == OPEN && conn->handle && !conn->connecting && !conn->failed;
}

static void read_once(struct conn *conn, uint32_t bytes, bool now)
{
	struct mp_channel *channel = model.channels[conn->channel];
	int32_t error;

	if (!ready(conn))
		return;
	if (conn->reading) {
		error = now ? mp_read_now(channel, conn->handle, conn, 1) : mp_read(channel, conn->handle, conn, 1);
		MUST(error == -EBUSY || (now && error == -ENOTSUP));
		return;
	}
	conn->read_buffer = malloc(bytes);
	conn->read_bytes = bytes;
	memset(conn->read_buffer, 0x11, bytes);
	error = now ? mp_read_now(channel, conn->handle, conn->read_buffer, bytes) :
		      mp_read(channel, conn->handle, conn->read_buffer, bytes);
	if (now && error == -ENOTSUP) {
		free(conn->read_buffer); /* a pipe */
		conn->read_buffer = NULL;
		return;
	}
	MUST(error == 0);
	conn->reading = READING_ONCE;
	conn->now = now;
}

void model_read(struct conn *conn, uint32_t bytes)
{
	read_once(conn, bytes, false);
}

void model_read_now(struct conn *conn, uint32_t bytes)
{
	read_once(conn, bytes, true);
}

static void start(struct conn *conn, bool one)
{
	int32_t error;

	if (!ready(conn))
		return;
	error = one ? mp_read_one(model.channels[conn->channel], conn->handle) :
		      mp_read_start(model.channels[conn->channel], conn->handle);
	if (error == -ENOTSUP)
		return; /* a pipe */
	MUST(error == (conn->reading ? -EBUSY : 0));
	if (error)
		return;
	conn->reading = READING_LEASED;
	conn->one = one;
}

void model_read_start(struct conn *conn)
{
	start(conn, false);
}

void model_read_one(struct conn *conn)
{
	start(conn, true);
}

void model_pause(struct conn *conn)
{
	int32_t error;

	if (!ready(conn))
		return;
	error = mp_read_pause(model.channels[conn->channel], conn->handle);
	MUST(error == (conn->reading == READING_LEASED && !conn->pausing ? 0 : -EALREADY));
	conn->pausing |= error == 0;
}

void model_write(struct conn *conn, uint32_t bytes, uint32_t vectors)
{
	struct mp_channel *channel = model.channels[conn->channel];
	uint32_t at = 0;
	int32_t error;

	if (!ready(conn) || conn->write_broken)
		return;
	if (conn->writing) {
		MUST(mp_write(channel, conn->handle, conn, 1) == -EBUSY);
		return;
	}
	conn->write_buffer = malloc(bytes);
	fill_pattern(conn->write_buffer, bytes, conn->issued);
	if (vectors) {
		conn->vectors = calloc(vectors, sizeof *conn->vectors);
		for (uint32_t i = 0; i < vectors; i++) {
			uint32_t part = i + 1 == vectors ? bytes - at : random_below(&model.random, bytes - at + 1);

			conn->vectors[i] = (struct iovec){ conn->write_buffer + at, part };
			at += part;
		}
	}
	conn->memory = vectors && random_below(&model.random, 2) ? ++model.last_memory : 0;
	error = conn->memory ? mp_write_held(channel, conn->handle, conn->vectors, vectors, conn->memory) :
		vectors      ? mp_writev(channel, conn->handle, conn->vectors, vectors) :
			       mp_write(channel, conn->handle, conn->write_buffer, bytes);
	MUST(error == 0);
	conn->writing = bytes;
	conn->issued += bytes;
}

void model_disconnect(struct conn *conn, uint32_t how)
{
	int32_t error;

	if (!ready(conn))
		return;
	error = mp_disconnect(model.channels[conn->channel], conn->handle, how);
	if (error == -EINVAL || error == -EAGAIN)
		return; /* a pipe; no room */
	MUST(error == 0);
	conn->disconnects++;
	conn->no_more_reads |= how != MP_SHUT_WRITE;
	conn->write_broken |= how != MP_SHUT_READ;
}

void model_close(struct conn *conn, uint32_t how)
{
	struct mp_channel *channel = model.channels[conn->channel];

	if (conn->state != OPEN)
		return;
	conn->keep_fd = how == 2 && conn->fd >= 0;
	conn->broken |= how == 1;
	MUST((how == 2 ? mp_unregister(channel, conn->handle) : mp_close(channel, conn->handle, how)) == 0);
	MUST(mp_close(channel, conn->handle, 0) == -EALREADY);
	conn->state = CLOSING;
}

void model_transfer(struct conn *conn)
{
	uint32_t target = 1 - conn->channel;
	int32_t error;

	if (!ready(conn) || conn->reading || conn->writing || conn->disconnects)
		return;
	error = mp_transfer(model.channels[conn->channel], conn->handle, model.channels[target],
			    (uint64_t)(conn - model.conns));
	if (error)
		return; /* a cancel's own completion is out, a pipe, no room */
	conn->given = conn->handle;
	conn->given_channel = conn->channel;
	conn->handle = 0;
	conn->state = MOVING;
}

void model_to_fd(struct conn *conn)
{
	int32_t fd;

	if (!ready(conn))
		return;
	fd = mp_to_fd(model.channels[conn->channel], conn->handle);
	MUST(fd >= 0 || fd == -EMFILE || fd == -EAGAIN);
	if (fd >= 0)
		mp_os_close(fd);
}

void model_disturb(struct conn *conn)
{
	struct mp_channel *channel = model.channels[conn->given_channel];
	int32_t errors[3];

	if (conn->state != MOVING || !conn->given)
		return;
	errors[0] = mp_read(channel, conn->given, conn, 1);
	errors[1] = mp_write(channel, conn->given, conn, 1);
	errors[2] = mp_read_start(channel, conn->given);
	for (uint32_t i = 0; i < COUNT_OF(errors); i++)
		MUST(errors[i] == -EBUSY || errors[i] == -EBADF || errors[i] == -ENOTSUP);
}

void model_slept(uint32_t channel)
{
	const struct mp_channel *slept = model.channels[channel];

	if (fake_chances.refuse || fake_chances.partial || fake_chances.interrupt || fake_chances.running)
		return;
	MUST(slept->owed_head == MP_NO_SLOT);
	MUST(slept->starved_head == MP_NO_SLOT || slept->buffers.out == slept->buffers.count);
}

void model_release(uint32_t most)
{
	while (model.held_count && most-- > 0) {
		struct held *held = &model.held[random_below(&model.random, model.held_count)];

		MUST(pattern_is(held->data, held->bytes, held->position));
		MUST(mp_release(model.channels[held->channel], held->lease) == 0);
		*held = model.held[--model.held_count];
	}
}
