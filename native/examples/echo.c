/* The smallest complete server: sends back whatever a client sends.
 *
 * Build: make examples      Run: build/examples/echo 7000      Try: nc 127.0.0.1 7000
 *
 * A program that uses a channel has three parts: it sets things up, it makes requests, and it takes events. Requests
 * (accept, read, write, close) only fill a queue and return at once. mp_dispatch gives the queue to the kernel,
 * waits, and returns what has happened. Each event says what it belongs to (stage), to which
 * handle, and how it went (result).
 *
 * mp-http.c shows the rest: several channels, leased reads, coalesced writes, a clean end. */
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "megapipe.h"

#define EVENTS_AT_A_TIME 64
#define ACCEPTS 16 /* outstanding at a time; each brings an event and is then made again (MP_ACCEPT_KEEP) */

/* What we know of a client. Its address is the handle's cookie, which comes back in every event of that handle. */
struct client {
	char text[4096];
};

static void check(const char *what, int64_t result)
{
	if (result >= 0)
		return;
	fprintf(stderr, "echo: %s: %s\n", what, mp_error_text((int32_t)result));
	exit(1);
}

/* An ordinary listening socket. */
static int32_t listen_on(uint16_t port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port) };
	int32_t on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 || listen(fd, 1024) != 0) {
		perror("echo: listen");
		exit(1);
	}
	return fd;
}

static void read_more(struct mp_channel *channel, mp_handle handle, struct client *client)
{
	/* From here until the READ event the kernel owns client->text. */
	check("mp_read", mp_read(channel, handle, client->text, sizeof(client->text)));
}

static void on_accept(struct mp_channel *channel, const struct mp_event *event)
{
	/* Without this flag the accept is not made again: an error, such as no more memory for sockets, ended it. */
	if ((event->flags & MP_EVENT_MORE) == 0)
		check("accept", event->result);
	if (event->result < 0)
		return; /* this one client went away before we got to it */

	struct client *client = malloc(sizeof(*client));

	if (client == NULL) {
		mp_close(channel, event->handle, MP_CLOSE_ABORT);
		return;
	}
	mp_set_cookie(channel, event->handle, (uint64_t)(uintptr_t)client);
	read_more(channel, event->handle, client);
}

static void on_event(struct mp_channel *channel, const struct mp_event *event)
{
	struct client *client = (struct client *)(uintptr_t)event->cookie;

	switch (event->stage) {
	case MP_STAGE_ACCEPT:
		on_accept(channel, event);
		break;
	case MP_STAGE_READ: /* result: bytes read; 0: the client has sent everything; negative: the connection broke */
		if (event->result > 0)
			mp_write(channel, event->handle, client->text, (uint32_t)event->result);
		else
			mp_close(channel, event->handle, 0);
		break;
	case MP_STAGE_WRITE: /* all bytes have gone, or none will */
		if (event->result > 0)
			read_more(channel, event->handle, client);
		else
			mp_close(channel, event->handle, 0);
		break;
	case MP_STAGE_CLOSE: /* the handle's last event: only now nobody uses client->text any more */
		free(client);
		break;
	default:
		break;
	}
}

int main(int argc, char **argv)
{
	struct mp_event events[EVENTS_AT_A_TIME];
	struct mp_channel *channel;
	mp_handle listener;
	long port = argc == 2 ? strtol(argv[1], NULL, 10) : 0;

	if (port < 1 || port > 65535) {
		fprintf(stderr, "usage: echo PORT\n");
		return 2;
	}
	check("mp_create", mp_create(NULL, &channel));
	listener = mp_register(channel, listen_on((uint16_t)port), 0, 0, 0);
	check("mp_register", listener);
	check("mp_accept", mp_accept(channel, listener, ACCEPTS, MP_ACCEPT_KEEP | MP_ACCEPT_LWSOCKET));
	for (;;) {
		int32_t count = mp_dispatch(channel, events, EVENTS_AT_A_TIME, -1);

		check("mp_dispatch", count);
		for (int32_t i = 0; i < count; i++)
			on_event(channel, &events[i]);
	}
}
