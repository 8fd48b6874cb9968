/* A multi-channel HTTP responder: answers every request with the same 13 bytes, on one thread per channel.
 *
 * Build: make examples      Run: build/examples/mp-http 8080 --channels 2      Try: curl http://127.0.0.1:8080/
 *
 * It knows of HTTP only where a request ends (an empty line; requests with bodies are not for it) and "Connection:
 * close". What it shows is how a server is built on channels: a listener partition per channel, leased reads, one
 * write in flight per connection with everything else coalesced behind it, and a clean end. It is also what the
 * channel's cost is measured with. */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "megapipe.h"

#define KEEP_TEXT \
	"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nDate: Sun, 22 Nov 2026 23:40:09 GMT\r\n" \
	"Content-Length: 13\r\n\r\nHello, World!"
#define LAST_TEXT \
	"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nDate: Sun, 22 Nov 2026 23:40:09 GMT\r\n" \
	"Connection: close\r\nContent-Length: 13\r\n\r\nHello, World!"
#define KEEP_BYTES ((uint32_t)sizeof(KEEP_TEXT) - 1)
#define LAST_BYTES ((uint32_t)sizeof(LAST_TEXT) - 1)

#define CHANNELS_LIMIT 64 /* as many as a CPU mask names */
#define EVENTS_AT_A_TIME 512
/* Outstanding per channel. Each is re-armed by itself after a connection, mostly in vain: at one request per connection
 * 64 of them cost 17 % more CPU time than the epoll floor, 4 cost 3 %. A burst is still taken four at a time. */
#define ACCEPTS 4
#define BACKLOG 4096
#define REQUEST_BYTES 8192  /* the longest request that may arrive in pieces */
#define ANSWERS_AT_ONCE 512 /* answers that one write may carry */
#define HANDLES 65536
/* At 512 connections, CPU time against the epoll floor: 1.04 with the library's defaults (256 buffers, 32 requests),
 * 0.99 with buffers for all that arrives in one batch, 0.90 to 0.99 when their answers also leave as one. At 64 it
 * makes no difference. */
#define BUFFERS 1024
#define BATCH 256

struct options {
	uint16_t port;
	uint32_t channels, batch, buffers;
	bool lwsocket, leased, single_thread;
};

struct connection {
	mp_handle handle;
	uint32_t answers; /* due, not yet given to mp_write */
	uint32_t kept;    /* bytes of an incomplete request in `text` */
	bool writing;     /* a write is in flight; what becomes due meanwhile joins the next one */
	bool last;        /* the client asked for the end: one more answer, then close */
	bool ended;       /* the client sends no more */
	bool closing;
	bool listed; /* in the channel's list of connections to look after when the batch is done */
	char *text;  /* REQUEST_BYTES, allocated when first needed */
	struct connection *next_listed;
	struct connection *next; /* in the list of all, and of free ones */
	struct connection *next_free;
};

struct server {
	const struct options *options;
	int32_t listener; /* listening, or for partitions only bound */
	int32_t cpu;      /* -1: wherever the system puts us */
	uint64_t cpu_mask;
	pthread_t thread;
	struct mp_channel *channel;
	mp_handle listener_handle;
	uint32_t accepts_missing; /* ended for want of fds or handles; made again when a connection has closed */
	struct connection *listed, *all, *free;
};

static atomic_bool stopping;      /* set by main before mp_wake, read by each server after mp_dispatch */
static pthread_barrier_t barrier; /* once when all serve, once when none is in mp_dispatch any more */

/* ANSWERS_AT_ONCE times the answer, then the last one: any number of answers, ending with the last one or not, is
 * one contiguous piece of it, so that a write needs neither a copy nor a vector. */
static char answers[ANSWERS_AT_ONCE * KEEP_BYTES + LAST_BYTES];

static void check(const char *what, int64_t result)
{
	if (result >= 0)
		return;
	fprintf(stderr, "mp-http: %s: %s\n", what, mp_error_text((int32_t)result));
	exit(1);
}

/* ---- requests ------------------------------------------------------------------------------------------------ */

static void begin_accepts(struct server *server, uint32_t count)
{
	uint32_t flags = MP_ACCEPT_KEEP | (server->options->lwsocket ? (uint32_t)MP_ACCEPT_LWSOCKET : 0);

	check("mp_accept", mp_accept(server->channel, server->listener_handle, count, flags));
}

static void begin_read(struct server *server, struct connection *connection)
{
	if (server->options->leased)
		check("mp_read_start", mp_read_start(server->channel, connection->handle));
	else
		check("mp_read", mp_read(server->channel, connection->handle, connection->text + connection->kept,
					 REQUEST_BYTES - connection->kept));
}

static void begin_close(struct server *server, struct connection *connection)
{
	if (connection->closing)
		return;
	connection->closing = true;
	check("mp_close", mp_close(server->channel, connection->handle, 0));
}

static void begin_write(struct server *server, struct connection *connection)
{
	uint32_t count = connection->answers < ANSWERS_AT_ONCE ? connection->answers : ANSWERS_AT_ONCE;
	const char *from = answers + (ANSWERS_AT_ONCE - count) * KEEP_BYTES;
	uint32_t bytes = count * KEEP_BYTES;

	if (connection->last && count == connection->answers) {
		bytes += LAST_BYTES;
		connection->last = false;
		connection->ended = true;
	}
	connection->answers -= count;
	connection->writing = true;
	check("mp_write", mp_write(server->channel, connection->handle, from, bytes));
}

/* ---- connections --------------------------------------------------------------------------------------------- */

static struct connection *take_connection(struct server *server)
{
	struct connection *connection = server->free;

	if (connection != NULL) {
		server->free = connection->next_free;
	} else {
		connection = calloc(1, sizeof(*connection));
		if (connection == NULL)
			return NULL;
		connection->next = server->all;
		server->all = connection;
	}
	if (connection->text == NULL && !server->options->leased)
		connection->text = malloc(REQUEST_BYTES);
	connection->answers = connection->kept = 0;
	connection->writing = connection->last = connection->ended = connection->closing = connection->listed = false;
	return connection;
}

/* What is due is decided when the whole batch has been looked at: then several pieces of one client's pipeline are
 * answered by one write. */
static void look_after(struct server *server, struct connection *connection)
{
	if (connection->listed)
		return;
	connection->listed = true;
	connection->next_listed = server->listed;
	server->listed = connection;
}

static void finish_batch(struct server *server)
{
	while (server->listed != NULL) {
		struct connection *connection = server->listed;

		server->listed = connection->next_listed;
		connection->listed = false;
		if (connection->writing || connection->closing)
			continue;
		if (connection->answers > 0 || connection->last)
			begin_write(server, connection);
		else if (connection->ended)
			begin_close(server, connection);
	}
}

/* Counts the complete requests; the bytes they take. Sets `last` on "Connection: close", and looks no further. */
static uint32_t scan(struct connection *connection, const char *text, uint32_t bytes)
{
	const char *at = text, *end = text + bytes, *begin = text, *newline;
	bool last = false;

	while (at < end && (newline = memchr(at, '\n', (size_t)(end - at))) != NULL) {
		ptrdiff_t line = newline - at;

		if (line == 1 && *at == '\r' && at > begin) {
			size_t size = (size_t)(newline + 1 - begin);

			if (last) {
				connection->last = true;
				return bytes;
			}
			/* A pipeline mostly repeats one request: comparing is quicker than scanning again. */
			do {
				connection->answers++;
				begin += size;
			} while ((size_t)(end - begin) >= size && memcmp(begin - size, begin, size) == 0);
			at = begin;
			continue;
		}
		if (line >= 17 && memcmp(at + 1, "onnection: close", 16) == 0)
			last = true;
		at = newline + 1;
	}
	return (uint32_t)(begin - text);
}

/* Takes bytes that are in `text` already (plain read), or somewhere else (lease). False when a request is too long. */
static bool take_bytes(struct connection *connection, const char *data, uint32_t bytes)
{
	if (connection->last || connection->ended)
		return true;
	if (data != NULL && connection->kept == 0) {
		uint32_t used = scan(connection, data, bytes);

		data += used;
		bytes -= used;
		if (bytes == 0)
			return true;
	}
	/* An incomplete request is kept, and scanned again with what comes next. */
	if (connection->text == NULL && (connection->text = malloc(REQUEST_BYTES)) == NULL)
		return false;
	while (bytes > 0 && !connection->last) {
		uint32_t room = REQUEST_BYTES - connection->kept, piece = bytes < room ? bytes : room, used;

		if (piece == 0)
			return false;
		if (data != NULL) {
			memcpy(connection->text + connection->kept, data, piece);
			data += piece;
		}
		bytes -= piece;
		connection->kept += piece;
		used = scan(connection, connection->text, connection->kept);
		connection->kept -= used;
		memmove(connection->text, connection->text + used, connection->kept);
	}
	return data != NULL || connection->kept < REQUEST_BYTES;
}

/* ---- events -------------------------------------------------------------------------------------------------- */

static void on_accept(struct server *server, const struct mp_event *event)
{
	struct connection *connection;

	if ((event->flags & MP_EVENT_MORE) == 0) {
		/* -EMFILE and -ENFILE would come again at once. */
		if (event->result == -EMFILE || event->result == -ENFILE)
			server->accepts_missing++;
		else
			begin_accepts(server, 1);
	}
	if (event->result < 0)
		return;
	connection = take_connection(server);
	if (connection == NULL || (!server->options->leased && connection->text == NULL)) {
		mp_close(server->channel, event->handle, MP_CLOSE_ABORT);
		return;
	}
	connection->handle = event->handle;
	check("mp_set_cookie", mp_set_cookie(server->channel, event->handle, (uint64_t)(uintptr_t)connection));
	begin_read(server, connection);
}

static void on_read(struct server *server, struct connection *connection, const struct mp_event *event)
{
	bool leased = (event->flags & MP_EVENT_LEASED) != 0, fits = true;

	if (event->result > 0)
		fits = take_bytes(connection, leased ? (const char *)(uintptr_t)event->data : NULL,
				  (uint32_t)event->result);
	if (leased)
		check("mp_release", mp_release(server->channel, event->lease));
	if (connection->closing)
		return;
	if (event->result < 0 || !fits) {
		begin_close(server, connection);
		return;
	}
	if (event->result == 0)
		connection->ended = true;
	else if ((event->flags & MP_EVENT_MORE) == 0 && !connection->last && !connection->ended)
		begin_read(server, connection);
	look_after(server, connection);
}

static void on_close(struct server *server, struct connection *connection, const struct mp_event *event)
{
	if ((event->flags & MP_EVENT_RETIRED) == 0)
		return;
	if (connection != NULL) {
		connection->next_free = server->free;
		server->free = connection;
	}
	if (server->accepts_missing > 0) {
		server->accepts_missing--;
		begin_accepts(server, 1);
	}
}

static void on_event(struct server *server, const struct mp_event *event)
{
	struct connection *connection = (struct connection *)(uintptr_t)event->cookie;

	switch (event->stage) {
	case MP_STAGE_ACCEPT:
		on_accept(server, event);
		break;
	case MP_STAGE_READ:
		on_read(server, connection, event);
		break;
	case MP_STAGE_WRITE:
		connection->writing = false;
		if (event->result < 0)
			begin_close(server, connection);
		else if (connection->answers > 0 || connection->last || connection->ended)
			look_after(server, connection);
		break;
	default:
		on_close(server, connection, event);
	}
}

/* ---- threads ------------------------------------------------------------------------------------------------- */

/* The channel is made by the thread, and on the CPU, that uses it: its memory is then near. */
static void open_channel(struct server *server)
{
	const struct options *options = server->options;
	struct mp_config config = {
		.size = sizeof(config),
		.flags = (options->single_thread ? (uint32_t)MP_CONFIG_SINGLE_THREAD : 0) |
			 (options->leased ? 0 : (uint32_t)MP_CONFIG_NO_LEASE),
		.max_handles = HANDLES,
		.buffer_count = options->buffers,
		.batch_threshold = options->batch,
		.cpu_plus_one = (uint32_t)(server->cpu + 1),
	};

	if (server->cpu >= 0) {
		cpu_set_t set;

		CPU_ZERO(&set);
		CPU_SET((size_t)server->cpu, &set);
		sched_setaffinity(0, sizeof(set), &set);
	}
	check("mp_create", mp_create(&config, &server->channel));
	server->listener_handle = mp_register(server->channel, server->listener, 0, server->cpu_mask, BACKLOG);
	check("mp_register", server->listener_handle);
	begin_accepts(server, ACCEPTS);
}

static void *run_server(void *argument)
{
	struct mp_event events[EVENTS_AT_A_TIME];
	struct server *server = argument;

	open_channel(server);
	pthread_barrier_wait(&barrier);
	while (!atomic_load(&stopping)) {
		int32_t count = mp_dispatch(server->channel, events, EVENTS_AT_A_TIME, -1);

		check("mp_dispatch", count);
		for (int32_t i = 0; i < count; i++)
			on_event(server, &events[i]);
		finish_batch(server);
	}
	pthread_barrier_wait(&barrier);
	mp_destroy(server->channel);
	while (server->all != NULL) {
		struct connection *connection = server->all;

		server->all = connection->next;
		free(connection->text);
		free(connection);
	}
	return NULL;
}

static int32_t bind_port(uint16_t port, bool reuse_port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port) };
	int32_t on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); /* accepted sockets inherit it */
	if (reuse_port)
		setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
		fprintf(stderr, "mp-http: port %u: %s\n", port, strerror(errno));
		exit(1);
	}
	return fd;
}

/* One channel listens like any server. Several have a partition each, which mp_register opens from a bound socket;
 * with SO_REUSEPORT another process on the same port would go unnoticed, so the port is tried without it first. */
static int32_t open_listener(const struct options *options)
{
	int32_t fd = bind_port(options->port, false);

	if (options->channels == 1) {
		check("listen", listen(fd, BACKLOG) == 0 ? 0 : -errno);
		return fd;
	}
	close(fd);
	return bind_port(options->port, true);
}

/* Gives each server a CPU of those that this process may use. */
static void assign_cpus(struct server *servers, uint32_t count)
{
	uint32_t assigned = 0;
	uint64_t mask = 0;
	cpu_set_t allowed;

	sched_getaffinity(0, sizeof(allowed), &allowed);
	for (int32_t cpu = 0; cpu < 64 && assigned < count; cpu++) {
		if (!CPU_ISSET((size_t)cpu, &allowed))
			continue;
		servers[assigned++].cpu = cpu;
		mask |= 1ull << cpu;
	}
	if (assigned < count) {
		fprintf(stderr, "mp-http: --channels is %u, but this process may use only %u CPUs\n", count, assigned);
		exit(2);
	}
	for (uint32_t i = 0; i < count; i++)
		servers[i].cpu_mask = mask;
}

/* ---- command line -------------------------------------------------------------------------------------------- */

static uint32_t number(const char *option, const char *text, long least, long most)
{
	char *end = NULL;
	long value = strtol(text, &end, 10);

	if (end == text || *end != '\0' || value < least || value > most) {
		fprintf(stderr, "mp-http: %s is '%s', but must be a number from %ld to %ld\n", option, text, least,
			most);
		exit(2);
	}
	return (uint32_t)value;
}

static bool one_of(const char *option, const char *text, const char *yes, const char *no)
{
	if (strcmp(text, yes) != 0 && strcmp(text, no) != 0) {
		fprintf(stderr, "mp-http: %s is '%s', but must be %s or %s\n", option, text, yes, no);
		exit(2);
	}
	return strcmp(text, yes) == 0;
}

_Noreturn static void show_usage(FILE *to, int status)
{
	fputs("usage: mp-http PORT [--channels N] [--lwsocket on|off] [--batch N] [--read leased|plain]\n"
	      "               [--single-thread on|off] [--buffers N (a power of two)]\n",
	      to);
	exit(status);
}

static void parse_options(struct options *options, int argc, char **argv)
{
	static const struct option names[] = {
		{ "channels", 1, NULL, 'c' },      { "lwsocket", 1, NULL, 'l' },
		{ "batch", 1, NULL, 'b' },         { "read", 1, NULL, 'r' },
		{ "single-thread", 1, NULL, 's' }, { "buffers", 1, NULL, 'n' },
		{ "help", 0, NULL, 'h' },          { NULL, 0, NULL, 0 },
	};

	for (int option; (option = getopt_long(argc, argv, "", names, NULL)) != -1;) {
		if (option == 'c')
			options->channels = number("--channels", optarg, 1, CHANNELS_LIMIT);
		else if (option == 'l')
			options->lwsocket = one_of("--lwsocket", optarg, "on", "off");
		else if (option == 'b')
			options->batch = number("--batch", optarg, 1, 4096);
		else if (option == 'r')
			options->leased = one_of("--read", optarg, "leased", "plain");
		else if (option == 's')
			options->single_thread = one_of("--single-thread", optarg, "on", "off");
		else if (option == 'n')
			options->buffers = number("--buffers", optarg, 1, 32768);
		else
			show_usage(option == 'h' ? stdout : stderr, option == 'h' ? 0 : 2);
	}
	if (optind != argc - 1)
		show_usage(stderr, 2);
	options->port = (uint16_t)number("the port", argv[optind], 1, 65535);
}

int main(int argc, char **argv)
{
	static struct server servers[CHANNELS_LIMIT];
	struct options options = {
		.channels = 1, .lwsocket = true, .leased = true, .buffers = BUFFERS, .batch = BATCH
	};
	struct rlimit files;
	sigset_t signals;
	int32_t listener;
	int got;

	parse_options(&options, argc, argv);
	for (uint32_t i = 0; i < ANSWERS_AT_ONCE; i++)
		memcpy(answers + i * KEEP_BYTES, KEEP_TEXT, KEEP_BYTES);
	memcpy(answers + ANSWERS_AT_ONCE * KEEP_BYTES, LAST_TEXT, LAST_BYTES);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files); /* as many clients as we may have; refused, it stays as it is */
	}

	/* Threads inherit this: only main takes the signals that end the program. */
	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);

	listener = open_listener(&options);
	pthread_barrier_init(&barrier, NULL, options.channels + 1);
	for (uint32_t i = 0; i < options.channels; i++)
		servers[i] = (struct server){ .options = &options, .listener = listener, .cpu = -1 };
	if (options.channels > 1)
		assign_cpus(servers, options.channels);
	for (uint32_t i = 0; i < options.channels; i++)
		check("pthread_create", -pthread_create(&servers[i].thread, NULL, run_server, &servers[i]));
	pthread_barrier_wait(&barrier);

	sigwait(&signals, &got);
	atomic_store(&stopping, true);
	for (uint32_t i = 0; i < options.channels; i++)
		mp_wake(servers[i].channel);
	pthread_barrier_wait(&barrier);
	for (uint32_t i = 0; i < options.channels; i++)
		pthread_join(servers[i].thread, NULL);
	close(listener);
	return 0;
}
