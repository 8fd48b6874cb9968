/* The RPC server on epoll: the paper's baseline (every thread polls one shared listener) and today's (SO_REUSEPORT). */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common.h"
#include "common_rpc.h"

#define EVENTS_AT_A_TIME 256
#define RECEIVE_BYTES (64u * 1024u)
#define ACCEPTS_AT_ONCE 64 /* then other connections have their turn; the listener is level-triggered */

struct rpc_connection {
	int32_t fd;
	uint32_t received;  /* of an incomplete request */
	uint64_t due_bytes; /* of responses the socket had no room for */
	struct rpc_connection *next_free;
};

struct rpc_loop {
	const struct rpc_config *config;
	const char *block;
	int32_t epoll, listener;
	struct rpc_connection *free;
	char received[RECEIVE_BYTES];
};

int32_t rpc_bind(uint16_t port, bool reuse_port, int32_t backlog)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port) };
	int32_t on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		fail("socket: %s", strerror(errno));
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (reuse_port)
		setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); /* accepted sockets inherit it */
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
		fail("port %u: %s", port, strerror(errno));
	if (backlog > 0 && listen(fd, backlog) != 0)
		fail("listen on port %u: %s", port, strerror(errno));
	return fd;
}

static void close_connection(struct rpc_loop *loop, struct rpc_connection *connection)
{
	close(connection->fd);
	connection->next_free = loop->free;
	loop->free = connection;
}

static void accept_connections(struct rpc_loop *loop)
{
	for (int32_t i = 0; i < ACCEPTS_AT_ONCE; i++) {
		struct epoll_event event = { .events = EPOLLIN | EPOLLET };
		struct rpc_connection *connection = loop->free;
		int32_t fd = accept4(loop->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0)
			return;
		if (connection != NULL)
			loop->free = connection->next_free;
		else
			connection = allocate(1, sizeof(*connection));
		*connection = (struct rpc_connection){ .fd = fd };
		event.data.ptr = connection;
		if (epoll_ctl(loop->epoll, EPOLL_CTL_ADD, fd, &event) != 0)
			close_connection(loop, connection);
	}
}

/* Sends what is due. False when the connection was closed. */
static bool answer(struct rpc_loop *loop, struct rpc_connection *connection)
{
	while (connection->due_bytes > 0) {
		uint64_t bytes = connection->due_bytes < RPC_BLOCK_BYTES ? connection->due_bytes : RPC_BLOCK_BYTES;
		ssize_t sent = send(connection->fd, loop->block, bytes, MSG_NOSIGNAL);

		if (sent < 0 && errno == EAGAIN) {
			struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = connection };

			epoll_ctl(loop->epoll, EPOLL_CTL_MOD, connection->fd, &event);
			return true;
		}
		if (sent < 0) {
			close_connection(loop, connection);
			return false;
		}
		connection->due_bytes -= (uint64_t)sent;
	}
	return true;
}

/* Edge-triggered: reads until less came than was asked for, which is the last there is. */
static void serve(struct rpc_loop *loop, struct rpc_connection *connection)
{
	ssize_t got;

	do {
		got = recv(connection->fd, loop->received, RECEIVE_BYTES, 0);
		if (got == 0 || (got < 0 && errno != EAGAIN)) {
			close_connection(loop, connection);
			return;
		}
		if (got > 0)
			connection->due_bytes += rpc_due_bytes(loop->config, &connection->received, (uint64_t)got);
		if (!answer(loop, connection))
			return;
	} while (got == RECEIVE_BYTES);
}

void rpc_epoll_run(struct rpc_thread *thread)
{
	struct epoll_event events[EVENTS_AT_A_TIME], event = { .events = EPOLLIN };
	struct rpc_loop *loop = allocate(1, sizeof(*loop));

	loop->config = thread->config;
	loop->block = thread->block;
	loop->listener = thread->listener;
	loop->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll < 0 || epoll_ctl(loop->epoll, EPOLL_CTL_ADD, loop->listener, &event) != 0)
		fail("epoll: %s", strerror(errno));
	thread->ready();
	for (;;) {
		int32_t ready = epoll_wait(loop->epoll, events, EVENTS_AT_A_TIME, -1);

		for (int32_t i = 0; i < ready; i++) {
			if (events[i].data.ptr == NULL)
				accept_connections(loop);
			else
				serve(loop, events[i].data.ptr);
		}
	}
}
