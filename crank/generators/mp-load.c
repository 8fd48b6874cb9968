/* mp-load: load generator for HTTP/1.1, WebSocket, and the fixed-size RPC protocol of mp-rpc-server. See `--help`. */
#define _GNU_SOURCE
#include <argp.h>
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common.h"
#include "common_loop.h"

#define HEADERS_LIMIT 16u
#define OVERTIME_SECONDS 45u          /* opening connections takes at most 30 s; past this something hangs */
#define REQUESTS_LIMIT (256ull << 20) /* bytes of the prepared requests: body x pipeline */
#define CONNECT_WAIT_MS 3000
#define WEBSOCKET_LIMIT 65535u /* what a 16-bit length holds (RFC 6455, 5.2) */

struct options {
	enum { RPC, HTTP, WS } protocol;
	bool json, allow_remote, windows;
	const char *host, *path, *method;
	const char *headers[HEADERS_LIMIT];
	uint32_t header_count;
	uint64_t body_bytes, message_bytes;
	uint16_t port;
	bool sources_given;
	struct loop_config loop;
};

enum {
	HOST = 1,
	PORT,
	PATH,
	CONNECTIONS,
	SECONDS,
	WARMUP,
	PER_CONNECTION,
	PIPELINE,
	RATE,
	METHOD,
	BODY,
	CLOSE,
	SOURCES,
	HEADER,
	MESSAGE,
	JSON,
	REMOTE,
	WINDOWS
};

static const struct argp_option known[] = {
	{ "host", HOST, "ADDRESS", 0, "default 127.0.0.1", 0 },
	{ "port", PORT, "PORT", 0, "must be given", 0 },
	{ "connections", CONNECTIONS, "N", 0, "default 64", 0 },
	{ "seconds", SECONDS, "S", 0, "measured time, default 5", 0 },
	{ "warmup-seconds", WARMUP, "S", 0, "before it, default 0", 0 },
	{ "requests-per-connection", PER_CONNECTION, "K", 0, "then close and connect again; default 0: never", 0 },
	{ "pipeline", PIPELINE, "N", 0, "requests in flight per connection, default 1", 0 },
	{ "rate", RATE, "RPS", 0,
	  "open loop: requests are sent by the clock, and latency runs from the moment each was due; default 0: closed "
	  "loop",
	  0 },
	{ "close", CLOSE, "fin|rst", 0, "how connections end, default fin", 0 },
	{ "source-addresses", SOURCES, "N", 0,
	  "connect from 127.0.0.1 to 127.0.0.N in turn; default 20 for IPv4 loopback", 0 },
	{ "json", JSON, NULL, 0, "print one JSON object", 0 },
	{ "windows", WINDOWS, NULL, 0,
	  "connects, prints 'ready', and measures as many seconds as each line of its input says, with one JSON object "
	  "for "
	  "each; the connections stay open in between",
	  0 },
	{ "allow-remote", REMOTE, NULL, 0, "without it, only loopback addresses are accepted", 0 },
	{ "message-bytes", MESSAGE, "N", 0, "rpc, ws: size of a message and of its answer, default 64", 0 },
	{ "path", PATH, "PATH", 0, "http, ws: default /", 0 },
	{ "method", METHOD, "NAME", 0, "http: default GET", 0 },
	{ "body-bytes", BODY, "N", 0, "http: a request body of that size", 0 },
	{ "header", HEADER, "NAME: VALUE", 0, "http, ws: up to 16", 0 },
	{ NULL, 0, NULL, 0, NULL, 0 },
};

static const char notes[] =
	"\vWith K requests per connection and --close fin, the last HTTP request says 'Connection: close'. Latency of "
	"a "
	"connection's first request includes the connect. A WebSocket connection first has its handshake, which is not "
	"counted; its server sends each message back. Exit status: 0 when any request was answered, 1 when none, 2 for "
	"a "
	"usage or set-up error.";

static error_t take_option(int option, char *value, struct argp_state *state)
{
	static const char *const protocols[] = { "rpc", "http", "ws", NULL };
	static const char *const closes[] = { "fin", "rst", NULL };
	struct options *options = state->input;
	struct loop_config *loop = &options->loop;

	switch (option) {
	case HOST:
		options->host = value;
		break;
	case PORT:
		options->port = (uint16_t)parse_integer("--port", value, 1, 65535);
		break;
	case PATH:
		options->path = value;
		break;
	case CONNECTIONS:
		loop->connections = (uint32_t)parse_integer("--connections", value, 1, 1000000);
		break;
	case SECONDS:
		loop->duration_ns = (uint64_t)(parse_real("--seconds", value, 0.01, 86400) * 1e9);
		break;
	case WARMUP:
		loop->warmup_ns = (uint64_t)(parse_real("--warmup-seconds", value, 0, 86400) * 1e9);
		break;
	case PER_CONNECTION:
		loop->requests_per_connection = parse_integer("--requests-per-connection", value, 0, 1ull << 40);
		break;
	case PIPELINE:
		loop->pipeline = (uint32_t)parse_integer("--pipeline", value, 1, 4096);
		break;
	case RATE:
		loop->rate = parse_real("--rate", value, 0, 1e8);
		break;
	case METHOD:
		options->method = value;
		break;
	case BODY:
		options->body_bytes = parse_integer("--body-bytes", value, 0, REQUESTS_LIMIT);
		break;
	case CLOSE:
		loop->reset = parse_choice("--close", value, closes) == 1;
		break;
	case SOURCES:
		loop->source_addresses = (uint32_t)parse_integer("--source-addresses", value, 0, 1000);
		options->sources_given = true;
		break;
	case HEADER:
		if (options->header_count == HEADERS_LIMIT)
			fail("more than %u --header options", HEADERS_LIMIT);
		if (strchr(value, ':') == NULL || strpbrk(value, "\r\n") != NULL)
			fail("--header is '%s', but must be 'Name: value'", value);
		options->headers[options->header_count++] = value;
		break;
	case MESSAGE:
		options->message_bytes = parse_integer("--message-bytes", value, 1, 1 << 20);
		break;
	case JSON:
		options->json = true;
		break;
	case REMOTE:
		options->allow_remote = true;
		break;
	case WINDOWS:
		options->windows = true;
		break;
	case ARGP_KEY_ARG:
		options->protocol = parse_choice("the protocol", value, protocols);
		break;
	case ARGP_KEY_NO_ARGS:
		argp_usage(state);
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static void parse_options(struct options *options, int32_t count, char **arguments)
{
	static const struct argp parser = { known, take_option, "rpc|http|ws", notes, NULL, NULL, NULL };

	argp_err_exit_status = 2;
	argp_parse(&parser, count, arguments, 0, NULL, options);
	if (options->port == 0)
		fail("--port is missing");
	if (options->path[0] != '/')
		fail("--path is '%s', but must begin with '/'", options->path);
	if (options->protocol == WS && options->message_bytes > WEBSOCKET_LIMIT)
		fail("--message-bytes is over %u, the most for WebSocket here", WEBSOCKET_LIMIT);
	if (options->protocol == WS && options->loop.requests_per_connection > 0)
		fail("--requests-per-connection is not for ws");
}

/* Resolves the host; refuses what is not loopback unless allowed. */
static void find_host(struct options *options)
{
	struct loop_config *loop = &options->loop;
	struct sockaddr_in *v4 = (struct sockaddr_in *)&loop->address;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&loop->address;
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found = NULL;
	int32_t error = getaddrinfo(options->host, NULL, &hints, &found);

	if (error != 0 || found->ai_addrlen > sizeof(loop->address))
		fail("--host is '%s': %s", options->host, error != 0 ? gai_strerror(error) : "unknown kind of address");
	memcpy(&loop->address, found->ai_addr, found->ai_addrlen);
	loop->address_bytes = (uint32_t)found->ai_addrlen;
	freeaddrinfo(found);

	bool is_v4 = loop->address.ss_family == AF_INET;
	bool loopback = is_v4 ? ntohl(v4->sin_addr.s_addr) >> 24 == 127 : IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);

	if (!loopback && !options->allow_remote)
		fail("%s is not a loopback address; --allow-remote permits it", options->host);
	if (is_v4)
		v4->sin_port = htons(options->port);
	else
		v6->sin6_port = htons(options->port);
	if (!options->sources_given)
		loop->source_addresses = loopback && is_v4 ? 20 : 0;
	else if (loop->source_addresses > 0 && !(loopback && is_v4))
		fail("--source-addresses needs an IPv4 loopback host");
}

/* One connect before all others: says at once, and in one line, that nothing listens. */
static void try_host(const struct options *options)
{
	const struct loop_config *loop = &options->loop;
	int32_t fd = socket(loop->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), error = 0;
	socklen_t error_bytes = sizeof(error);

	if (fd < 0)
		fail("socket: %s", strerror(errno));
	if (connect(fd, (const struct sockaddr *)&loop->address, loop->address_bytes) != 0) {
		struct pollfd wait = { .fd = fd, .events = POLLOUT };

		if (errno != EINPROGRESS)
			error = errno;
		else if (poll(&wait, 1, CONNECT_WAIT_MS) != 1)
			error = ETIMEDOUT;
		else
			getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &error_bytes);
	}
	if (error != 0)
		fail("cannot connect to %s port %u: %s", options->host, options->port, strerror(error));
	close(fd);
}

static void write_head(const struct options *options, FILE *file)
{
	const char *left = strchr(options->host, ':') != NULL ? "[" : "", *right = *left != '\0' ? "]" : "";

	fprintf(file, "%s %s HTTP/1.1\r\nHost: %s%s%s:%u\r\n", options->method, options->path, left, options->host,
		right, options->port);
	for (uint32_t i = 0; i < options->header_count; i++)
		fprintf(file, "%s\r\n", options->headers[i]);
}

static void write_http(const struct options *options, bool closes, FILE *file)
{
	write_head(options, file);
	if (options->body_bytes > 0 || strcmp(options->method, "POST") == 0)
		fprintf(file, "Content-Length: %llu\r\n", (unsigned long long)options->body_bytes);
	fprintf(file, "%s\r\n", closes ? "Connection: close\r\n" : "");
	for (uint64_t i = 0; i < options->body_bytes; i++)
		fputc('x', file);
}

static void write_rpc(const struct options *options, bool closes, FILE *file)
{
	(void)closes;
	for (uint64_t i = 0; i < options->message_bytes; i++)
		fputc(RPC_REQUEST_BYTE, file);
}

/* One final binary frame, masked as a client's must be. */
static void write_frame(const struct options *options, bool closes, FILE *file)
{
	static const uint8_t mask[4] = { 0x4d, 0x50, 0x57, 0x53 };
	uint64_t bytes = options->message_bytes;

	(void)closes;
	fputc(0x82, file);
	fputc(0x80 | (bytes < 126 ? (int)bytes : 126), file);
	if (bytes >= 126) {
		fputc((int)(bytes >> 8), file);
		fputc((int)(bytes & 0xff), file);
	}
	fwrite(mask, 1, sizeof(mask), file);
	for (uint64_t i = 0; i < bytes; i++)
		fputc('x' ^ mask[i % 4], file);
}

static void write_handshake(const struct options *options, bool closes, FILE *file)
{
	(void)closes;
	write_head(options, file);
	fputs("Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
	      "Sec-WebSocket-Key: " WEBSOCKET_KEY "\r\n\r\n",
	      file);
}

typedef void writer(const struct options *options, bool closes, FILE *file);

/* What `write` writes; `closes`: ask the server to close after it. */
static char *write_request(writer *write, const struct options *options, bool closes, uint64_t *bytes)
{
	char *text = NULL;
	size_t size = 0;
	FILE *file = open_memstream(&text, &size);

	if (file == NULL)
		fail("out of memory");
	write(options, closes, file);
	if (fclose(file) != 0)
		fail("out of memory");
	*bytes = size;
	return text;
}

/* Prepares the bytes of a whole burst, so that the loop only sends. */
static void prepare(struct options *options)
{
	static writer *const writers[] = { write_rpc, write_http, write_frame };
	struct loop_config *loop = &options->loop;
	writer *write = writers[options->protocol];
	char *one = write_request(write, options, false, &loop->request_bytes), *all;

	if (loop->request_bytes * loop->pipeline > REQUESTS_LIMIT)
		fail("--pipeline times the request's size is over %llu MiB", REQUESTS_LIMIT >> 20);
	all = allocate(loop->pipeline, loop->request_bytes);
	for (uint32_t i = 0; i < loop->pipeline; i++)
		memcpy(all + i * loop->request_bytes, one, loop->request_bytes);
	free(one);
	loop->requests = all;
	loop->last = write_request(write, options, !loop->reset, &loop->last_bytes);
	loop->format.websocket = options->protocol == WS;
	if (loop->format.websocket)
		loop->hello = write_request(write_handshake, options, false, &loop->hello_bytes);
	loop->format.message_bytes = options->protocol == HTTP ? 0 : (uint32_t)options->message_bytes;
	loop->format.no_body = strcmp(options->method, "HEAD") == 0;
	if (raise_file_limit() < loop->connections + 16u)
		fail("--connections is %u, but this process may open only %llu files (ulimit -n)", loop->connections,
		     (unsigned long long)raise_file_limit());
}

static double quantile_us(const struct loop_result *result, double quantile)
{
	return (double)histogram_quantile_ns(&result->latency, quantile) / 1e3;
}

static void print_json(const struct loop_result *result)
{
	const struct histogram *latency = &result->latency;

	printf("{\"requests\": %llu, \"bad_responses\": %llu, \"errors\": %llu, \"seconds\": %.6f, \"rps\": %.1f, "
	       "\"bytes\": %llu, ",
	       (unsigned long long)result->requests, (unsigned long long)result->bad_responses,
	       (unsigned long long)result->errors, result->seconds, (double)result->requests / result->seconds,
	       (unsigned long long)result->bytes);
	printf("\"latency_us\": {\"mean\": %.2f, \"p50\": %.2f, \"p75\": %.2f, \"p90\": %.2f, \"p99\": %.2f, "
	       "\"max\": %.2f}, ",
	       latency->count > 0 ? (double)latency->sum_ns / (double)latency->count / 1e3 : 0,
	       quantile_us(result, 0.5), quantile_us(result, 0.75), quantile_us(result, 0.9), quantile_us(result, 0.99),
	       (double)latency->max_ns / 1e3);
	printf("\"cpu_seconds\": %.6f, \"connections_opened\": %llu, \"unfinished\": %llu, "
	       "\"first_error\": \"%s%s%s\"}\n",
	       result->cpu_seconds, (unsigned long long)result->connections, (unsigned long long)result->unfinished,
	       result->first_cause != NULL ? result->first_cause : "", result->first_error != 0 ? ": " : "",
	       result->first_error != 0 ? strerror(result->first_error) : "");
}

static void print_text(const struct loop_result *result)
{
	printf("%llu requests in %.2f s: %.0f per second, %llu bytes received, %llu connections opened\n",
	       (unsigned long long)result->requests, result->seconds, (double)result->requests / result->seconds,
	       (unsigned long long)result->bytes, (unsigned long long)result->connections);
	printf("latency us: p50 %.1f, p75 %.1f, p90 %.1f, p99 %.1f, max %.1f\n", quantile_us(result, 0.5),
	       quantile_us(result, 0.75), quantile_us(result, 0.9), quantile_us(result, 0.99),
	       (double)result->latency.max_ns / 1e3);
	printf("bad responses %llu, errors %llu%s%s %s%s, unfinished %llu; generator used %.0f %% of a CPU\n",
	       (unsigned long long)result->bad_responses, (unsigned long long)result->errors,
	       result->first_cause != NULL ? " (first: " : "", result->first_cause != NULL ? result->first_cause : "",
	       result->first_error != 0 ? strerror(result->first_error) : "", result->first_cause != NULL ? ")" : "",
	       (unsigned long long)result->unfinished, result->cpu_seconds / result->seconds * 100);
}

/* By the input's next line; 0 at its end. */
static uint64_t next_window_ns(void)
{
	static bool told;
	char line[64];

	if (!told)
		puts("ready");
	told = true;
	fflush(stdout);
	if (fgets(line, sizeof(line), stdin) == NULL)
		return 0;
	line[strcspn(line, "\n")] = '\0';
	return (uint64_t)(parse_real("a window", line, 0.01, 86400) * 1e9);
}

static void window_ended(const struct loop_result *result)
{
	print_json(result);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	static struct loop_result result;
	struct options options = { .host = "127.0.0.1", .path = "/", .method = "GET", .message_bytes = 64 };

	options.loop.connections = 64;
	options.loop.pipeline = 1;
	options.loop.duration_ns = 5 * NS_PER_SECOND;
	parse_options(&options, argc, argv);
	find_host(&options);
	prepare(&options);
	try_host(&options);
	if (options.windows) {
		options.loop.next_window_ns = next_window_ns;
		options.loop.window_ended = window_ended;
	} else {
		alarm((uint32_t)((options.loop.warmup_ns + options.loop.duration_ns) / NS_PER_SECOND) +
		      OVERTIME_SECONDS);
	}
	loop_run(&options.loop, &result);
	if (options.json && !options.windows)
		print_json(&result);
	else if (!options.windows)
		print_text(&result);
	free((char *)(uintptr_t)options.loop.requests);
	free((char *)(uintptr_t)options.loop.last);
	free((char *)(uintptr_t)options.loop.hello);
	return result.requests > 0 ? 0 : 1;
}
