/* Starts the sample and asks it as a browser and a monitoring script would: one connection stays idle, and beside it
 * each route is asked for on a connection of its own with "Connection: close", which must end. Prints what /transport
 * says. Run by tests/kernels/run in the booted kernel, with the sample in /app.
 *
 *   sample megapipe|sockets LIGHTWEIGHT           who has to serve, and the value of LightweightSockets
 *   sample megapipe LIGHTWEIGHT card              the same over the card of network.c, and then large answers without a
 *                                                 copy, to clients of any speed, some of which reset */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "network.h"

#define LOOPBACK "127.0.0.1"
#define PORT 5000
#define START_S 240 /* of a runtime on an emulated processor */
#define END_S 180   /* nothing but a hang takes so long, in a busy emulator, too */
#define ANSWER_BYTES (2u << 20)
#define AGAIN 10 /* short connections beside the idle one */
#define CLIENTS 9
#define BODY_BYTES 1048576
#define BODIES 6   /* for each client */
#define PERIOD 251 /* byte i of a body is i mod 251 */
#define SMALL_WINDOW 16384
#define SETTLE_S 60

#define GET(path) "GET " path " HTTP/1.1\r\n"
#define POST(path) "POST " path " HTTP/1.1\r\nContent-Length: 7\r\n"

struct route {
	const char *request; /* without the headers that all have */
	const char *body;
	const char *expected; /* in the answer */
};

static const struct route routes[] = {
	{ GET("/"), "", "MegaPipe for Kestrel" },
	{ GET("/plaintext"), "", "Hello, World!" },
	{ GET("/json"), "", "{\"message\":\"Hello, World!\"}" },
	{ GET("/bytes/1048576"), "", "Content-Length: 1048576" },
	{ "HEAD /bytes/5 HTTP/1.1\r\n", "", "Content-Length: 5" },
	{ POST("/upload?sha256=false"), "payload", "\"bytes\":7" }, /* no OpenSSL in the guest */
	{ POST("/echo"), "payload", "\r\n\r\npayload" },
	{ GET("/delay/20"), "", "waited 20 ms" },
	{ GET("/block/20"), "", "blocked a thread for 20 ms" },
	{ GET("/spin/20"), "", "burned CPU for 20 ms" },
	{ GET("/nested"), "", "says: Hello, World!" },
	{ GET("/ws"), "", "speak WebSocket here" },
	{ "GET /transport HTTP/1.0\r\n", "", "\"transport\":" }, /* 1.0: in one piece */
};
#define ROUTES (sizeof routes / sizeof *routes)

static char answer[ANSWER_BYTES];
static const char *address = LOOPBACK;
static int over_card;

static double now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int connect_with(int window)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(PORT) };
	const struct timeval limit = { .tv_sec = END_S };
	int fd = over_card ? peer_socket(SOCK_STREAM) : socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)inet_pton(AF_INET, address, &to.sin_addr);
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	if (window)
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &window, sizeof window);
	if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0)
		return fd;
	close(fd);
	return -1;
}

static int connect_once(void)
{
	return connect_with(0);
}

static int ask(int fd, const struct route *route, const char *headers)
{
	char text[512];
	int bytes = snprintf(text, sizeof text, "%sHost: sample\r\n%s\r\n%s", route->request, headers, route->body);

	return send(fd, text, (size_t)bytes, MSG_NOSIGNAL) == bytes;
}

static pid_t start(const char *lightweight)
{
	char url[64];
	pid_t child = fork();

	if (child != 0)
		return child;
	(void)snprintf(url, sizeof url, "http://%s:%d", address, PORT);
	if (over_card)
		(void)setenv("MegaPipe__ZeroCopyThreshold", "16384", 1);
	(void)setenv("HOME", "/tmp", 1);
	(void)setenv("DOTNET_ROOT", "/dotnet", 1);
	(void)setenv("DOTNET_SYSTEM_GLOBALIZATION_INVARIANT", "1", 1);
	(void)setenv("MegaPipe__LightweightSockets", lightweight, 1);
	if (chdir("/app") == 0) {
		/* A published app brings its runtime, a built one needs that of /dotnet. */
		execl("/app/WebApp", "/app/WebApp", "--urls", url, NULL);
		execl("/dotnet/dotnet", "dotnet", "WebApp.dll", "--urls", url, NULL);
	}
	perror("/app/WebApp");
	_exit(1);
}

/* Whether the right answer came, and then the end. */
static int ends(const struct route *route)
{
	int fd = connect_once(), good;
	double begin = now_s();
	ssize_t got = -1;
	size_t total = 0;

	if (fd >= 0 && ask(fd, route, "Connection: close\r\n"))
		while (total < ANSWER_BYTES - 1 && (got = recv(fd, answer + total, ANSWER_BYTES - 1 - total, 0)) > 0)
			total += (size_t)got;
	answer[total] = '\0';
	good = got == 0 && strstr(answer, route->expected) != NULL;
	if (!good)
		printf("  %.40s: %zu bytes, then %s after %.3f s: %.200s\n", route->request, total,
		       got == 0 ? "the end" : strerror(errno), now_s() - begin, answer);
	if (fd >= 0)
		close(fd);
	return good;
}

static unsigned ask_everything(void)
{
	unsigned good = 0;

	for (unsigned i = 0; i < AGAIN; i++)
		good += (unsigned)ends(&routes[1]);
	for (unsigned i = 0; i < ROUTES; i++)
		good += (unsigned)ends(&routes[i]);
	return good;
}

/* Whether `bytes` of a body come whole; slowly where asked. */
static int body_comes(int fd, size_t bytes, int slow)
{
	size_t had = 0, at = 0, length;
	char *body = NULL;
	ssize_t got;

	while (!body && (got = recv(fd, answer + had, 4096, 0)) > 0) {
		had += (size_t)got;
		answer[had] = '\0';
		body = strstr(answer, "\r\n\r\n");
	}
	if (!body)
		return 0;
	body += 4;
	length = (size_t)(answer + had - body);
	while (length) {
		for (size_t i = 0; i < length; i++)
			if ((unsigned char)body[i] != (at + i) % PERIOD)
				return 0;
		at += length;
		if (at >= bytes)
			return 1;
		if (slow)
			usleep(2000);
		got = recv(fd, answer, slow || BODY_BYTES - at > 65536 ? SMALL_WINDOW : BODY_BYTES - at, 0);
		length = got > 0 ? (size_t)got : 0;
		body = answer;
	}
	return 0;
}

/* One client: quick, slow with a small window, or one that resets in the middle of its answers. */
static int bodies_come(int kind)
{
	static const struct route body = { GET("/bytes/1048576"), "", "" };
	const struct linger reset = { .l_onoff = 1 };
	int fd = connect_with(kind == 1 ? SMALL_WINDOW : 0), good = fd >= 0;

	for (int i = 0; i < BODIES && good; i++) {
		good = ask(fd, &body, "") && body_comes(fd, kind == 2 ? BODY_BYTES / 3 : BODY_BYTES, kind == 1);
		if (kind != 2)
			continue;
		(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
		close(fd);
		fd = connect_once();
		good &= fd >= 0;
	}
	close(fd);
	return good;
}

/* The sum of a counter over the channels of the last /transport; -1: it has none. */
static long sum(const char *counter)
{
	char name[64];
	long total = -1;

	(void)snprintf(name, sizeof name, "\"%s\": ", counter);
	for (const char *at = answer; (at = strstr(at, name)); at++)
		total = (total < 0 ? 0 : total) + strtol(at + strlen(name), NULL, 10);
	return total;
}

/* Large answers over the card: every byte right, most of it not copied, and all memory back in the end. */
static int answers_are_not_copied(void)
{
	const struct route *transport = &routes[ROUTES - 1];
	double begin = now_s();
	unsigned good = 0;
	pid_t clients[CLIENTS];
	long asked, copied, held;
	const char *feature;

	for (int i = 0; i < CLIENTS; i++) {
		clients[i] = fork();
		if (clients[i] == 0)
			_exit(!bodies_come(i % 3));
	}
	for (int i = 0, status = 1; i < CLIENTS; i++, status = 1)
		good += waitpid(clients[i], &status, 0) > 0 && status == 0;
	do {
		if (!ends(transport))
			return 0;
		asked = sum("zero_copies");
		copied = sum("zero_copies_copied");
		held = sum("held_bytes");
	} while (held && now_s() - begin < SETTLE_S && usleep(100000) == 0);
	printf("  %u of %d clients right; %ld writes without a copy, %ld of them copied, %ld bytes still held\n", good,
	       CLIENTS, asked, copied, held);
	feature = strstr(answer, "\"name\": \"zero_copy\"");
	if (feature && strstr(feature, "\"available\": ") == strstr(feature, "\"available\": false"))
		return good == CLIENTS && asked == 0;
	return good == CLIENTS && asked > CLIENTS * BODIES && copied < asked / 2 && held == 0;
}

int main(int argc, char **argv)
{
	pid_t server;
	double begin = now_s();
	unsigned good = 0;
	char expected[64], *body;
	int idle = -1;

	over_card = argc > 3;
	address = over_card ? CARD_ADDRESS : LOOPBACK;
	server = start(argc > 2 ? argv[2] : "Auto");
	while ((idle = connect_once()) < 0 && now_s() - begin < START_S && waitpid(server, NULL, WNOHANG) == 0)
		usleep(200000);
	printf("  listens after %.1f s\n", now_s() - begin);
	if (idle >= 0 && ask(idle, &routes[1], "") && recv(idle, answer, ANSWER_BYTES - 1, 0) > 0)
		good = ask_everything();
	if (over_card && good == AGAIN + ROUTES && !answers_are_not_copied())
		good = 0;
	printf("  sample: %u of %zu answered and ended\n", good, AGAIN + ROUTES);
	/* The last answer is that of /transport. */
	body = strstr(answer, "\r\n\r\n");
	(void)snprintf(expected, sizeof expected, "\"transport\": \"%s\"", argc > 1 ? argv[1] : "megapipe");
	if (good == AGAIN + ROUTES && !strstr(body ? body : "", expected)) {
		printf("  not served by %s\n", expected);
		good = 0;
	}
	kill(server, SIGKILL);
	(void)waitpid(server, NULL, 0);
	body = body ? strchr(body, '{') : NULL;
	for (char *at = body; at && *at; at++)
		if (*at == '\n' || *at == '\r')
			*at = ' ';
	printf("  transport: %s\n", body ? body : "");
	return good != AGAIN + ROUTES;
}
