/* The load generator's event loop: see common_loop.h.
 *
 * Closed loop: a connection sends `pipeline` requests at once, and the next ones when all are answered. Latency runs
 * from the send, or, for the first requests of a connection, from its connect.
 * Open loop: request i is due at start + i / rate, whatever the server does, and its latency runs from that moment,
 * also while it waits for a free connection (no coordinated omission). */
#define _GNU_SOURCE
#include "common_loop.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "common.h"

#define EVENTS_AT_A_TIME 256
#define RECEIVE_BYTES (256u * 1024u)
#define RETRY_NS (10u * 1000000u)     /* pause after a failure, so that a dead server does not make us spin */
#define STUCK_NS (2u * NS_PER_SECOND) /* as wrk counts time-outs */
#define OPEN_AT_ONCE 64u              /* connects before answers are looked at: under any listen backlog */

struct connection {
	int32_t fd; /* -1: closed */
	bool waits_to_send;
	bool free;          /* in the ring of free connections (open loop) */
	bool server_closes; /* an answer said so */
	bool greets;        /* its hello is not answered yet */
	uint32_t in_flight;
	uint32_t oldest;     /* index in due_ns of the oldest request in flight */
	uint64_t to_start;   /* requests this connection may still begin; UINT64_MAX without limit */
	uint64_t sent;       /* bytes of the current burst */
	uint64_t keep_bytes; /* of the burst, from `requests` */
	uint64_t burst_bytes;
	uint64_t opened_ns; /* until the first burst went out; then 0 */
	uint64_t retry_ns;
	uint64_t *due_ns; /* when each request in flight was due: a ring of `pipeline` */
	struct response response;
};

/* FIFO of connection indices; holds each at most once. */
struct queue {
	uint32_t *items;
	uint32_t head, count;
};

struct loop {
	const struct loop_config *config;
	struct loop_result *result;
	struct connection *connections;
	struct queue free;  /* open loop: may take a request */
	struct queue retry; /* to be opened again at retry_ns, which is ascending */
	int32_t epoll;
	uint32_t sources_used;
	uint64_t start_ns, end_ns; /* of the requests; end also of everything */
	uint64_t due_count;        /* open loop: requests begun so far */
	bool measuring;
	char *received;
};

static void start_connection(struct loop *loop, struct connection *connection, uint64_t now);

static void queue_put(struct queue *queue, uint32_t capacity, uint32_t item)
{
	queue->items[(queue->head + queue->count++) % capacity] = item;
}

static uint32_t queue_take(struct queue *queue, uint32_t capacity)
{
	uint32_t item = queue->items[queue->head];

	queue->head = (queue->head + 1) % capacity;
	queue->count--;
	return item;
}

static void count_error(struct loop *loop, uint64_t count, const char *cause, int32_t error)
{
	if (loop->result->first_cause == NULL) {
		loop->result->first_cause = cause;
		loop->result->first_error = error;
	}
	loop->result->errors += count;
}

static void offer(struct loop *loop, struct connection *connection)
{
	if (connection->free)
		return;
	connection->free = true;
	queue_put(&loop->free, loop->config->connections, (uint32_t)(connection - loop->connections));
}

/* Open loop: offers a connection that can take another request now. */
static void offer_if_able(struct loop *loop, struct connection *connection)
{
	if (connection->fd >= 0 && !connection->greets && connection->to_start > 0 &&
	    connection->in_flight < loop->config->pipeline && connection->sent == connection->burst_bytes)
		offer(loop, connection);
}

static void close_connection(struct loop *loop, struct connection *connection)
{
	if (loop->config->reset) {
		struct linger linger = { .l_onoff = 1 };

		setsockopt(connection->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	}
	close(connection->fd);
	connection->fd = -1;
	connection->in_flight = 0;
	connection->burst_bytes = connection->sent = 0;
}

/* The connection cannot be used any more, because of an error. */
static void lose_connection(struct loop *loop, struct connection *connection, uint64_t now, const char *cause,
			    int32_t error)
{
	count_error(loop, connection->in_flight > 0 ? connection->in_flight : 1, cause, error);
	if (connection->fd >= 0)
		close_connection(loop, connection);
	connection->retry_ns = now + RETRY_NS;
	queue_put(&loop->retry, loop->config->connections, (uint32_t)(connection - loop->connections));
}

/* All its requests are answered. A limited connection of an open loop is opened when a request is due, so that the
 * request's latency has the connect in it. */
static void replace_connection(struct loop *loop, struct connection *connection, uint64_t now)
{
	close_connection(loop, connection);
	if (loop->config->rate > 0 && loop->config->requests_per_connection > 0)
		offer(loop, connection);
	else
		start_connection(loop, connection, now);
}

static void watch(struct loop *loop, struct connection *connection, int32_t operation, bool to_send)
{
	struct epoll_event event = { .events = EPOLLIN | (to_send ? (uint32_t)EPOLLOUT : 0), .data.ptr = connection };

	connection->waits_to_send = to_send;
	if (epoll_ctl(loop->epoll, operation, connection->fd, &event) != 0)
		fail("epoll_ctl: %s", strerror(errno));
}

/* Sends what is left of the burst. False when the connection was lost. */
static bool send_burst(struct loop *loop, struct connection *connection, uint64_t now)
{
	const struct loop_config *config = loop->config;

	while (connection->sent < connection->burst_bytes) {
		struct iovec vectors[2];
		struct msghdr message = { .msg_iov = vectors };
		uint64_t sent = connection->sent, keep = connection->keep_bytes;

		if (connection->greets)
			vectors[message.msg_iovlen++] = (struct iovec){ (char *)(uintptr_t)(config->hello + sent),
									connection->burst_bytes - sent };
		else if (sent < keep)
			vectors[message.msg_iovlen++] =
				(struct iovec){ (char *)(uintptr_t)(config->requests + sent), keep - sent };
		if (!connection->greets && connection->burst_bytes > keep) {
			uint64_t from = sent > keep ? sent - keep : 0;

			vectors[message.msg_iovlen++] =
				(struct iovec){ (char *)(uintptr_t)(config->last + from), config->last_bytes - from };
		}

		ssize_t done = sendmsg(connection->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (done < 0 && (errno == EAGAIN || errno == ENOTCONN)) {
			if (!connection->waits_to_send)
				watch(loop, connection, EPOLL_CTL_MOD, true);
			return true;
		}
		if (done < 0) {
			lose_connection(loop, connection, now, "send", errno);
			return false;
		}
		connection->sent += (uint64_t)done;
	}
	if (connection->waits_to_send)
		watch(loop, connection, EPOLL_CTL_MOD, false);
	return true;
}

/* Begins up to `count` requests, due at `due_ns`. */
static void begin_requests(struct loop *loop, struct connection *connection, uint32_t count, uint64_t due_ns,
			   uint64_t now)
{
	const struct loop_config *config = loop->config;
	bool ends = connection->to_start <= count;

	if (ends)
		count = (uint32_t)connection->to_start;
	if (connection->to_start != UINT64_MAX)
		connection->to_start -= count;
	for (uint32_t i = 0; i < count; i++)
		connection->due_ns[(connection->oldest + connection->in_flight++) % config->pipeline] = due_ns;
	connection->sent = 0;
	connection->keep_bytes = (count - (ends ? 1u : 0u)) * config->request_bytes;
	connection->burst_bytes = connection->keep_bytes + (ends ? config->last_bytes : 0);
	connection->opened_ns = 0;
	send_burst(loop, connection, now);
}

static void begin_hello(struct loop *loop, struct connection *connection, uint64_t now)
{
	connection->in_flight = 1;
	connection->due_ns[0] = now;
	connection->sent = connection->keep_bytes = connection->opened_ns = 0;
	connection->burst_bytes = loop->config->hello_bytes;
	send_burst(loop, connection, now);
}

static void next_burst(struct loop *loop, struct connection *connection, uint64_t now)
{
	begin_requests(loop, connection, loop->config->pipeline,
		       connection->opened_ns > 0 ? connection->opened_ns : now, now);
}

/* False when it failed; the retry queue has it then. */
static bool open_connection(struct loop *loop, struct connection *connection, uint64_t now)
{
	const struct loop_config *config = loop->config;
	const char *cause = "socket";
	int32_t on = 1;

	connection->fd = socket(config->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (connection->fd < 0)
		goto failed;
	setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (config->source_addresses > 0) {
		struct sockaddr_in source = { .sin_family = AF_INET };

		source.sin_addr.s_addr = htonl(INADDR_LOOPBACK + loop->sources_used++ % config->source_addresses);
		setsockopt(connection->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
		cause = "bind";
		if (bind(connection->fd, (struct sockaddr *)&source, sizeof(source)) != 0)
			goto failed;
	}
	cause = "connect";
	if (connect(connection->fd, (const struct sockaddr *)&config->address, config->address_bytes) != 0 &&
	    errno != EINPROGRESS)
		goto failed;
	loop->result->connections++;
	response_reset(&connection->response, &config->format);
	connection->server_closes = false;
	connection->greets = config->hello != NULL;
	connection->oldest = 0;
	connection->to_start = config->requests_per_connection > 0 ? config->requests_per_connection : UINT64_MAX;
	connection->opened_ns = now;
	watch(loop, connection, EPOLL_CTL_ADD, false);
	return true;

failed:
	lose_connection(loop, connection, now, cause, errno);
	return false;
}

/* On loopback the handshake is over when connect returns, so sending at once mostly succeeds. */
static void start_connection(struct loop *loop, struct connection *connection, uint64_t now)
{
	if (!open_connection(loop, connection, now))
		return;
	if (connection->greets)
		begin_hello(loop, connection, now);
	else if (loop->config->rate > 0)
		offer(loop, connection);
	else
		next_burst(loop, connection, now);
}

static void finish_response(struct loop *loop, struct connection *connection, bool good, uint64_t now)
{
	uint64_t due = connection->due_ns[connection->oldest];

	connection->in_flight--;
	if (connection->greets) {
		connection->greets = false;
		return;
	}
	connection->oldest = (connection->oldest + 1) % loop->config->pipeline;
	connection->server_closes |= connection->response.closes;
	loop->result->requests++;
	loop->result->bad_responses += !good;
	histogram_add(&loop->result->latency, now > due ? now - due : 0);
}

/* After answers: what the connection does next. */
static void go_on(struct loop *loop, struct connection *connection, uint64_t now)
{
	if (connection->server_closes && connection->in_flight > 0) {
		lose_connection(loop, connection, now, "server closed before answering all", 0);
	} else if (connection->in_flight == 0 && (connection->to_start == 0 || connection->server_closes)) {
		replace_connection(loop, connection, now);
	} else if (loop->config->rate > 0) {
		offer_if_able(loop, connection);
	} else if (connection->in_flight == 0) {
		next_burst(loop, connection, now);
	}
}

static void end_of_stream(struct loop *loop, struct connection *connection, uint64_t now)
{
	enum response_outcome outcome = response_end(&connection->response, &loop->config->format);

	if ((outcome == RESPONSE_GOOD || outcome == RESPONSE_BAD) && connection->in_flight > 0)
		finish_response(loop, connection, outcome == RESPONSE_GOOD, now);
	if (outcome == RESPONSE_BROKEN || connection->in_flight > 0)
		lose_connection(loop, connection, now, "server closed before answering all", 0);
	else
		replace_connection(loop, connection, now); /* idle connections may be closed at any time */
}

static void receive(struct loop *loop, struct connection *connection)
{
	ssize_t got = recv(connection->fd, loop->received, RECEIVE_BYTES, MSG_DONTWAIT);
	uint64_t now = now_ns(), at = 0, taken = 0;

	if (got < 0) {
		if (errno != EAGAIN)
			lose_connection(loop, connection, now, "receive", errno);
		return;
	}
	if (got == 0) {
		end_of_stream(loop, connection, now);
		return;
	}
	loop->result->bytes += (uint64_t)got;
	while (at < (uint64_t)got) {
		enum response_outcome outcome = response_feed(&connection->response, &loop->config->format,
							      loop->received + at, (uint64_t)got - at, &taken);

		at += taken;
		if (outcome == RESPONSE_MORE)
			break;
		if (outcome == RESPONSE_BROKEN || connection->in_flight == 0) {
			lose_connection(loop, connection, now, "response is not what was expected", 0);
			return;
		}
		finish_response(loop, connection, outcome == RESPONSE_GOOD, now);
	}
	go_on(loop, connection, now);
}

static uint64_t due_at(const struct loop *loop, uint64_t index)
{
	return loop->start_ns + (uint64_t)((double)index * 1e9 / loop->config->rate);
}

/* Open loop: gives every due request to a free connection; what finds none waits, and its time runs. */
static void begin_due(struct loop *loop, uint64_t now)
{
	uint32_t capacity = loop->config->connections;

	while (loop->free.count > 0 && due_at(loop, loop->due_count) <= now) {
		struct connection *connection = &loop->connections[queue_take(&loop->free, capacity)];

		connection->free = false;
		if (connection->fd < 0) {
			if (connection->retry_ns > now)
				continue; /* lost while it was free: the retry queue brings it back */
			if (!open_connection(loop, connection, now))
				continue;
		}
		begin_requests(loop, connection, 1, due_at(loop, loop->due_count), now);
		loop->due_count++;
		offer_if_able(loop, connection);
	}
}

static void reopen_lost(struct loop *loop, uint64_t now)
{
	while (loop->retry.count > 0 && loop->connections[loop->retry.items[loop->retry.head]].retry_ns <= now) {
		struct connection *connection = &loop->connections[queue_take(&loop->retry, loop->config->connections)];

		if (connection->fd < 0)
			start_connection(loop, connection, now);
	}
}

static void begin_measuring(struct loop *loop)
{
	memset(loop->result, 0, sizeof(*loop->result));
	loop->result->cpu_seconds = -cpu_seconds();
	loop->measuring = true;
}

/* One turn: what is due, then what has happened, waiting for it until `until_ns` at most. */
static void turn(struct loop *loop, uint64_t until_ns)
{
	struct epoll_event events[EVENTS_AT_A_TIME];
	uint64_t now = now_ns();

	reopen_lost(loop, now);
	if (loop->config->rate > 0 && loop->start_ns > 0) {
		begin_due(loop, now);
		if (loop->free.count > 0 && due_at(loop, loop->due_count) < until_ns)
			until_ns = due_at(loop, loop->due_count);
	}
	if (loop->retry.count > 0 && loop->connections[loop->retry.items[loop->retry.head]].retry_ns < until_ns)
		until_ns = loop->connections[loop->retry.items[loop->retry.head]].retry_ns;

	uint64_t wait = until_ns > now ? until_ns - now : 0;
	struct timespec timeout = { .tv_sec = (time_t)(wait / NS_PER_SECOND), .tv_nsec = (long)(wait % NS_PER_SECOND) };
	int32_t ready = epoll_pwait2(loop->epoll, events, EVENTS_AT_A_TIME, &timeout, NULL);

	if (ready < 0 && errno != EINTR)
		fail("epoll_pwait2: %s", strerror(errno));
	for (int32_t i = 0; i < ready; i++) {
		struct connection *connection = events[i].data.ptr;

		if (connection->fd < 0)
			continue;
		if ((events[i].events & EPOLLOUT) != 0 && !send_burst(loop, connection, now_ns()))
			continue;
		if ((events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0)
			receive(loop, connection);
		else if (loop->config->rate > 0)
			offer_if_able(loop, connection);
	}
}

/* What is unanswered at the end: too old is an error; in an open loop each one's age so far is a latency, so that a
 * server that stopped answering cannot look fast. */
static void settle(struct loop *loop, uint64_t now)
{
	for (uint32_t i = 0; i < loop->config->connections; i++) {
		struct connection *connection = &loop->connections[i];

		for (uint32_t k = 0; k < connection->in_flight; k++) {
			uint64_t due = connection->due_ns[(connection->oldest + k) % loop->config->pipeline];

			if (now - due > STUCK_NS)
				count_error(loop, 1, "no answer for 2 s", 0);
			if (loop->config->rate > 0 && now > due) {
				loop->result->unfinished++;
				histogram_add(&loop->result->latency, now - due);
			}
		}
		if (connection->fd >= 0)
			close_connection(loop, connection);
	}
	if (loop->config->rate <= 0)
		return;
	for (uint64_t due; (due = due_at(loop, loop->due_count)) < loop->end_ns; loop->due_count++) {
		loop->result->unfinished++;
		histogram_add(&loop->result->latency, now > due ? now - due : 0);
	}
}

/* Opens in small groups: a burst larger than the server's backlog loses SYNs, which go out again a second later. */
static void open_all(struct loop *loop)
{
	/* A server that takes no connections must not hold us for ever. */
	uint64_t limit = now_ns() + 30u * NS_PER_SECOND;

	for (uint32_t i = 0; i < loop->config->connections && now_ns() < limit; i++) {
		if (loop->config->rate > 0 && loop->config->requests_per_connection > 0)
			offer(loop, &loop->connections[i]);
		else
			start_connection(loop, &loop->connections[i], now_ns());
		if (i % OPEN_AT_ONCE == OPEN_AT_ONCE - 1)
			turn(loop, now_ns() + 1000000u);
	}
}

/* What was sent before the pause is answered by now, and its latency is none of the window's. */
static void forget_pause(struct loop *loop, uint64_t now)
{
	for (uint32_t i = 0; i < loop->config->connections; i++) {
		struct connection *connection = &loop->connections[i];

		for (uint32_t k = 0; k < connection->in_flight; k++)
			connection->due_ns[(connection->oldest + k) % loop->config->pipeline] = now;
	}
}

/* From the warm-up to the end of the measured time. */
static void measure(struct loop *loop, uint64_t warmup_ns, uint64_t duration_ns)
{
	uint64_t began, now;

	loop->start_ns = now_ns();
	began = loop->start_ns + warmup_ns;
	loop->end_ns = began + duration_ns;
	loop->measuring = false;
	while ((now = now_ns()) < loop->end_ns) {
		if (!loop->measuring && now >= began) {
			began = now;
			begin_measuring(loop);
		}
		turn(loop, loop->measuring ? loop->end_ns : began);
	}
	loop->result->seconds = (double)(now_ns() - began) / 1e9;
	loop->result->cpu_seconds += cpu_seconds();
}

static void measure_windows(struct loop *loop)
{
	uint64_t duration_ns;

	while ((duration_ns = loop->config->next_window_ns()) > 0) {
		forget_pause(loop, now_ns());
		measure(loop, 0, duration_ns);
		loop->config->window_ended(loop->result);
	}
	forget_pause(loop, now_ns());
}

void loop_run(const struct loop_config *config, struct loop_result *result)
{
	struct loop loop = { .config = config, .result = result };
	uint64_t *due = allocate((uint64_t)config->connections * config->pipeline, sizeof(*due));

	memset(result, 0, sizeof(*result));
	loop.connections = allocate(config->connections, sizeof(*loop.connections));
	loop.free.items = allocate(config->connections, sizeof(uint32_t));
	loop.retry.items = allocate(config->connections, sizeof(uint32_t));
	loop.received = allocate(1, RECEIVE_BYTES);
	loop.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (loop.epoll < 0)
		fail("epoll_create1: %s", strerror(errno));
	for (uint32_t i = 0; i < config->connections; i++) {
		loop.connections[i].fd = -1;
		loop.connections[i].due_ns = due + (uint64_t)i * config->pipeline;
	}

	open_all(&loop);
	if (config->next_window_ns)
		measure_windows(&loop);
	else
		measure(&loop, config->warmup_ns, config->duration_ns);
	settle(&loop, now_ns());

	close(loop.epoll);
	free(loop.connections);
	free(loop.free.items);
	free(loop.retry.items);
	free(loop.received);
	free(due);
}
