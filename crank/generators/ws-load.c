// WebSocket load: each connection sends one message, waits for its whole echo, and sends the next. One thread, epoll.
// Usage: ws-load HOST PORT PATH CONNECTIONS SECONDS MESSAGE_BYTES; prints one JSON object.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "common.h"
#include "common_histogram.h"

enum {
	MAX_CONNECTIONS = 20000,
	MAX_MESSAGE_BYTES = 65535, // what a 16-bit length holds (RFC 6455, 5.2)
	MAX_SECONDS = 3600,
	MAX_ANSWER_BYTES = 4096, // of the handshake
	HANDSHAKE_TIMEOUT_S = 5,
	EVENTS = 256,
	READ_BYTES = 65536,
	HEADER_BYTES = 8, // 2 + 16-bit length + masking key
};

// The key and its answer of RFC 6455, section 1.3.
static const char key[] = "dGhlIHNhbXBsZSBub25jZQ==";
static const char key_answer[] = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

struct connection {
	int fd;
	uint64_t sent_ns;
	uint32_t header_bytes; // of the frame that is arriving
	uint8_t header[4];
	uint32_t payload_left;
	uint32_t message_bytes; // of the echo, over all its frames
	bool in_payload;
};

static struct connection connections[MAX_CONNECTIONS];
static struct histogram latency;
static uint64_t bad, errors, bytes;
static uint8_t frame[HEADER_BYTES + MAX_MESSAGE_BYTES];
static size_t frame_bytes;
static uint32_t message_bytes;
static int alive;

static void build_frame(void)
{
	static const uint8_t mask[4] = { 0x4d, 0x50, 0x57, 0x53 };
	size_t at = 0;
	frame[at++] = 0x82; // final, binary
	if (message_bytes < 126) {
		frame[at++] = (uint8_t)(0x80 | message_bytes);
	} else {
		frame[at++] = 0x80 | 126;
		frame[at++] = (uint8_t)(message_bytes >> 8);
		frame[at++] = (uint8_t)message_bytes;
	}
	memcpy(frame + at, mask, 4);
	at += 4;
	for (uint32_t i = 0; i < message_bytes; i++)
		frame[at + i] = (uint8_t)('a' + i % 26) ^ mask[i % 4];
	frame_bytes = at + message_bytes;
}

static void drop(struct connection *c)
{
	close(c->fd);
	c->fd = -1;
	alive--;
}

// A message is smaller than the socket's buffer, and only one is under way: a short write is a failure.
static void send_message(struct connection *c)
{
	c->sent_ns = now_ns();
	c->message_bytes = 0;
	if (send(c->fd, frame, frame_bytes, MSG_NOSIGNAL) != (ssize_t)frame_bytes) {
		errors++;
		drop(c);
	}
}

static int handshake(const struct sockaddr_in *address, const char *host, const char *path)
{
	char text[MAX_ANSWER_BYTES];
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
	struct timeval limit = { .tv_sec = HANDSHAKE_TIMEOUT_S };
	if (fd < 0)
		return -1;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	int n = snprintf(text, sizeof text,
			 "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
			 "Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n\r\n",
			 path, host, key);
	if (connect(fd, (const struct sockaddr *)address, sizeof *address) != 0 || send(fd, text, (size_t)n, 0) != n)
		goto fail;
	// Byte by byte at the end would be safer still, but the server sends nothing after the answer unasked.
	size_t have = 0;
	while (have < sizeof text - 1) {
		ssize_t got = recv(fd, text + have, sizeof text - 1 - have, 0);
		if (got <= 0)
			goto fail;
		have += (size_t)got;
		text[have] = 0;
		if (strstr(text, "\r\n\r\n")) {
			if (strncmp(text, "HTTP/1.1 101 ", 13) == 0 && strstr(text, key_answer))
				return fd;
			break;
		}
	}
fail:
	close(fd);
	return -1;
}

// Returns false when the peer sends what is not an echo.
static bool take(struct connection *c, const uint8_t *data, size_t count, uint64_t now)
{
	for (size_t at = 0; at < count;) {
		if (!c->in_payload) {
			c->header[c->header_bytes++] = data[at++];
			if (c->header_bytes < 2 || ((c->header[1] & 0x7f) == 126 && c->header_bytes < 4))
				continue;
			uint32_t length = c->header[1] & 0x7f;
			if (length == 127 || (c->header[1] & 0x80) || (c->header[0] & 0x0f) > 2)
				return false;
			c->payload_left = length == 126 ? (uint32_t)(c->header[2] << 8 | c->header[3]) : length;
			c->message_bytes += c->payload_left;
			c->in_payload = true;
			if (c->payload_left > 0)
				continue;
		}
		size_t part = count - at < c->payload_left ? count - at : c->payload_left;
		at += part;
		c->payload_left -= (uint32_t)part;
		if (c->payload_left > 0)
			return true;
		c->in_payload = false;
		c->header_bytes = 0;
		if (!(c->header[0] & 0x80))
			continue; // more frames of the same message follow
		if (c->message_bytes != message_bytes)
			return false;
		histogram_add(&latency, now - c->sent_ns);
		send_message(c);
		if (c->fd < 0)
			return true;
	}
	return true;
}

static void run(int epoll_fd, uint64_t end_ns)
{
	static uint8_t buffer[READ_BYTES];
	struct epoll_event events[EVENTS];
	while (alive > 0) {
		uint64_t now = now_ns();
		if (now >= end_ns)
			return;
		int n = epoll_wait(epoll_fd, events, EVENTS, (int)((end_ns - now) / 1000000u) + 1);
		for (int i = 0; i < n; i++) {
			struct connection *c = events[i].data.ptr;
			ssize_t got = recv(c->fd, buffer, sizeof buffer, MSG_DONTWAIT);
			if (got <= 0) {
				if (got < 0 && (errno == EAGAIN || errno == EINTR))
					continue;
				errors++;
				drop(c);
				continue;
			}
			bytes += (uint64_t)got;
			if (!take(c, buffer, (size_t)got, now_ns())) {
				bad++;
				drop(c);
			}
		}
	}
}

static double quantile_us(double quantile)
{
	return (double)histogram_quantile_ns(&latency, quantile) / 1e3;
}

int main(int argc, char **argv)
{
	if (argc != 7)
		fail("usage: ws-load HOST PORT PATH CONNECTIONS SECONDS MESSAGE_BYTES");
	struct sockaddr_in address = { .sin_family = AF_INET };
	const char *host = strcmp(argv[1], "localhost") == 0 ? "127.0.0.1" : argv[1];
	if (inet_pton(AF_INET, host, &address.sin_addr) != 1)
		fail("host '%s' is not an IPv4 address", argv[1]);
	address.sin_port = htons((uint16_t)parse_integer("port", argv[2], 1, 65535));
	int count = (int)parse_integer("connections", argv[4], 1, MAX_CONNECTIONS);
	uint64_t seconds = parse_integer("seconds", argv[5], 1, MAX_SECONDS);
	message_bytes = (uint32_t)parse_integer("message bytes", argv[6], 1, MAX_MESSAGE_BYTES);
	build_frame();

	int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	for (int i = 0; i < count; i++) {
		struct connection *c = &connections[i];
		c->fd = handshake(&address, argv[1], argv[3]);
		struct epoll_event event = { .events = EPOLLIN, .data.ptr = c };
		if (c->fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &event) != 0)
			fail("connection %d was not upgraded to WebSocket: %s", i, strerror(errno));
		alive++;
	}
	uint64_t start = now_ns();
	for (int i = 0; i < count; i++)
		send_message(&connections[i]);
	run(epoll_fd, start + seconds * NS_PER_SECOND);
	double took = (double)(now_ns() - start) / (double)NS_PER_SECOND;
	printf("{\"requests\":%llu,\"bad_responses\":%llu,\"errors\":%llu,\"seconds\":%.6f,\"rps\":%.1f,\"bytes\":%llu,"
	       "\"latency_us\":{\"mean\":%.1f,\"p50\":%.1f,\"p75\":%.1f,\"p90\":%.1f,\"p99\":%.1f,\"max\":%.1f},"
	       "\"cpu_seconds\":%.6f}\n",
	       (unsigned long long)latency.count, (unsigned long long)bad, (unsigned long long)errors, took,
	       (double)latency.count / took, (unsigned long long)bytes,
	       latency.count ? (double)latency.sum_ns / 1e3 / (double)latency.count : 0.0, quantile_us(0.50),
	       quantile_us(0.75), quantile_us(0.90), quantile_us(0.99), (double)latency.max_ns / 1e3, cpu_seconds());
	return 0;
}
