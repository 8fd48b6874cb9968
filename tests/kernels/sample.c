/* Starts the sample and asks it as a browser and a monitoring script would: one connection stays idle, and beside it
 * each route is asked for on a connection of its own with "Connection: close", which must end. Prints what /transport
 * says. Run by tests/kernels/run in the booted kernel, with the sample in /app.
 *
 *   sample megapipe|sockets LIGHTWEIGHT    who has to serve, and the value of LightweightSockets */
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

#define ADDRESS "http://127.0.0.1:5000"
#define PORT 5000
#define START_S 240 /* of a runtime on an emulated processor */
#define END_S 180   /* nothing but a hang takes so long, in a busy emulator, too */
#define ANSWER_BYTES (2u << 20)
#define AGAIN 10 /* short connections beside the idle one */

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

static double now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int connect_once(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_port = htons(PORT),
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	const struct timeval limit = { .tv_sec = END_S };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
		return fd;
	close(fd);
	return -1;
}

static int ask(int fd, const struct route *route, const char *headers)
{
	char text[512];
	int bytes = snprintf(text, sizeof text, "%sHost: sample\r\n%s\r\n%s", route->request, headers, route->body);

	return send(fd, text, (size_t)bytes, MSG_NOSIGNAL) == bytes;
}

static pid_t start(const char *lightweight)
{
	pid_t child = fork();

	if (child != 0)
		return child;
	(void)setenv("HOME", "/tmp", 1);
	(void)setenv("DOTNET_ROOT", "/dotnet", 1);
	(void)setenv("DOTNET_SYSTEM_GLOBALIZATION_INVARIANT", "1", 1);
	(void)setenv("MegaPipe__LightweightSockets", lightweight, 1);
	if (chdir("/app") == 0) {
		/* A published app brings its runtime, a built one needs that of /dotnet. */
		execl("/app/WebApp", "/app/WebApp", "--urls", ADDRESS, NULL);
		execl("/dotnet/dotnet", "dotnet", "WebApp.dll", "--urls", ADDRESS, NULL);
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

int main(int argc, char **argv)
{
	pid_t server = start(argc > 2 ? argv[2] : "Auto");
	double begin = now_s();
	unsigned good = 0;
	char expected[64], *body;
	int idle = -1;

	while ((idle = connect_once()) < 0 && now_s() - begin < START_S && waitpid(server, NULL, WNOHANG) == 0)
		usleep(200000);
	printf("  listens after %.1f s\n", now_s() - begin);
	if (idle >= 0 && ask(idle, &routes[1], "") && recv(idle, answer, ANSWER_BYTES - 1, 0) > 0)
		good = ask_everything();
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
