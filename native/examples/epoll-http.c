/* The floor: an epoll loop on one thread that answers every request with the same bytes and parses nothing. What is
 * left is the kernel's TCP and two system calls a request, so servers are compared with it.
 *
 * Build: make examples      Run: build/examples/epoll-http 8080      Try: curl http://127.0.0.1:8080/
 *
 * A request ends with an empty line; requests with bodies and requests cut in pieces are not for it. After one with
 * "Connection: close" it closes. */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define ANSWER \
	"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nDate: Sun, 22 Nov 2026 23:40:09 GMT\r\n" \
	"Content-Length: 13\r\n\r\nHello, World!"
#define ANSWER_BYTES (sizeof(ANSWER) - 1)
#define LAST_ANSWER \
	"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nDate: Sun, 22 Nov 2026 23:40:09 GMT\r\n" \
	"Connection: close\r\nContent-Length: 13\r\n\r\nHello, World!"
#define MAX_PIPELINED 64
#define EVENTS_AT_A_TIME 512

static char answers[MAX_PIPELINED * ANSWER_BYTES];

static void fail(const char *what)
{
	fprintf(stderr, "epoll-http: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int listen_on(uint16_t port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port) };
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		fail("socket");
	/* Accepted sockets inherit TCP_NODELAY. */
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) ||
	    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one))
		fail("setsockopt");
	if (bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 512))
		fail("listen");
	return fd;
}

static void add(int epoll, int fd)
{
	struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };

	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event))
		fail("epoll_ctl");
}

/* false: the connection is over. "Connection: close" is read as load generators write it. */
static int serve(int fd)
{
	static const char last[] = "\r\nConnection: close\r\n";
	char requests[16384];
	ssize_t received = recv(fd, requests, sizeof requests, 0);
	size_t count = 0;

	if (received <= 0)
		return received < 0 && (errno == EAGAIN || errno == EINTR);
	for (char *at = requests, *end = requests + received;
	     count < MAX_PIPELINED && (at = memmem(at, (size_t)(end - at), "\r\n\r\n", 4)); at += 4)
		count++;
	if (count == 0)
		return 1;
	if (memmem(requests, (size_t)received, last, sizeof last - 1)) {
		(void)send(fd, LAST_ANSWER, sizeof LAST_ANSWER - 1, MSG_NOSIGNAL);
		return 0;
	}
	return send(fd, answers, count * ANSWER_BYTES, MSG_NOSIGNAL) == (ssize_t)(count * ANSWER_BYTES);
}

int main(int argc, char **argv)
{
	struct epoll_event events[EVENTS_AT_A_TIME];
	long port = argc == 2 ? strtol(argv[1], NULL, 10) : 0;
	int listener, epoll;

	if (port < 1 || port > 65535) {
		fprintf(stderr, "usage: epoll-http PORT\n");
		return 2;
	}
	for (size_t i = 0; i < MAX_PIPELINED; i++)
		memcpy(answers + i * ANSWER_BYTES, ANSWER, ANSWER_BYTES);
	listener = listen_on((uint16_t)port);
	epoll = epoll_create1(EPOLL_CLOEXEC);
	if (epoll < 0)
		fail("epoll_create1");
	add(epoll, listener);
	for (;;) {
		int count = epoll_wait(epoll, events, EVENTS_AT_A_TIME, -1);

		for (int i = 0; i < count; i++) {
			int fd = events[i].data.fd;

			if (fd != listener) {
				if (!serve(fd))
					close(fd);
				continue;
			}
			while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
				add(epoll, fd);
		}
	}
}
