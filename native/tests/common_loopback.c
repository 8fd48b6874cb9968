/* The test's own end of connections: plain blocking sockets on loopback. */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "common_rig.h"

int32_t listen_fd(int family, int type_flags, struct sockaddr_storage *address, socklen_t *bytes)
{
	int32_t fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | type_flags, 0);

	CHECK(fd >= 0);
	memset(address, 0, sizeof *address);
	address->ss_family = (sa_family_t)family;
	if (family == AF_INET) {
		((struct sockaddr_in *)address)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		*bytes = sizeof(struct sockaddr_in);
	} else if (family == AF_INET6) {
		((struct sockaddr_in6 *)address)->sin6_addr = in6addr_loopback;
		*bytes = sizeof(struct sockaddr_in6);
	} else {
		*bytes = sizeof(sa_family_t); /* the kernel picks an abstract name */
	}
	CHECK_EQUAL(0, bind(fd, (struct sockaddr *)address, *bytes));
	CHECK_EQUAL(0, listen(fd, 1024));
	*bytes = sizeof *address;
	CHECK_EQUAL(0, getsockname(fd, (struct sockaddr *)address, bytes));
	return fd;
}

int32_t connect_fd(const struct sockaddr_storage *address, socklen_t bytes)
{
	int32_t fd = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	CHECK(fd >= 0);
	CHECK_EQUAL(0, connect(fd, (const struct sockaddr *)address, bytes));
	return fd;
}

void send_all(int32_t fd, const void *data, uint32_t bytes)
{
	const uint8_t *from = data;

	while (bytes > 0) {
		ssize_t sent = send(fd, from, bytes, MSG_NOSIGNAL);

		CHECK(sent > 0);
		from += sent;
		bytes -= (uint32_t)sent;
	}
}

void receive_all(int32_t fd, void *data, uint32_t bytes)
{
	uint8_t *to = data;

	while (bytes > 0) {
		ssize_t got = recv(fd, to, bytes, 0);

		CHECK(got > 0);
		to += got;
		bytes -= (uint32_t)got;
	}
}

int32_t receive_end(int32_t fd)
{
	uint8_t byte;
	ssize_t got = recv(fd, &byte, 1, 0);

	return got < 0 ? -errno : (int32_t)got;
}

static uint8_t pattern_at(uint64_t position)
{
	return (uint8_t)(position * 31 + (position >> 8) * 7 + (position >> 16));
}

void fill_pattern(uint8_t *data, uint32_t bytes, uint64_t position)
{
	for (uint32_t i = 0; i < bytes; i++)
		data[i] = pattern_at(position + i);
}

int pattern_is(const uint8_t *data, uint32_t bytes, uint64_t position)
{
	for (uint32_t i = 0; i < bytes; i++)
		if (data[i] != pattern_at(position + i))
			return 0;
	return 1;
}
