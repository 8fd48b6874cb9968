/* Starts the sample and asks it as a browser and a monitoring script would: one connection stays idle, others beside it
 * say "Connection: close". Each of those must end. Run by run-kernel with the sample and a .NET runtime added; see
 * docs/PLATFORMS.md. The argument is the value of LightweightSockets. */
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
#define START_S 150 /* of a runtime on an emulated processor */
#define END_S 20
#define REQUESTS 10

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

static int ask(int fd, const char *headers)
{
	char text[128];
	int bytes = snprintf(text, sizeof text, "GET /plaintext HTTP/1.1\r\nHost: sample\r\n%s\r\n", headers);

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
	if (chdir("/app") == 0)
		execl("/dotnet/dotnet", "dotnet", "WebApp.dll", "--urls", ADDRESS, NULL);
	perror("/dotnet/dotnet");
	_exit(1);
}

/* Whether the answer came and then the end. */
static int ends(void)
{
	int fd = connect_once();
	double begin = now_s();
	char answer[4096];
	ssize_t got, total = 0;

	if (fd < 0 || !ask(fd, "Connection: close\r\n"))
		return 0;
	while ((got = recv(fd, answer, sizeof answer, 0)) > 0)
		total += got;
	printf("  %zd bytes, then %s after %.3f s\n", total, got == 0 ? "the end" : strerror(errno), now_s() - begin);
	close(fd);
	return got == 0 && total > 0;
}

int main(int argc, char **argv)
{
	pid_t server = start(argc > 1 ? argv[1] : "Auto");
	double begin = now_s();
	int idle = -1, good = 0;
	char answer[4096];

	while ((idle = connect_once()) < 0 && now_s() - begin < START_S)
		usleep(200000);
	if (idle >= 0 && ask(idle, "") && recv(idle, answer, sizeof answer, 0) > 0)
		while (good < REQUESTS && ends())
			good++;
	kill(server, SIGKILL);
	waitpid(server, NULL, 0);
	printf("  %d of %d have ended\n", good, REQUESTS);
	return good != REQUESTS;
}
