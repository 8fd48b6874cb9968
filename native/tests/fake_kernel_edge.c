/* The fake kernel's edge: what a test does with its own ends of connections, and the os.h seam. */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "fake_kernel.h"
#include "os.h"

static int64_t now_ns;
static int32_t notify_error;
static uint32_t notify_failures;

void fake_edge_begin(void)
{
	now_ns = 0;
	notify_failures = 0;
}

void fake_fail_notify(int32_t error, uint32_t count)
{
	notify_error = error;
	notify_failures = count;
}

int32_t fake_listen(uint16_t port, bool nonblock)
{
	uint32_t number = fake_file_make(FAKE_LISTENER);

	fake_file(number)->port = port;
	fake_file(number)->nonblock = nonblock;
	return fake_fd_make(number);
}

int32_t fake_pair(bool socket, bool nonblock, uint32_t *peer)
{
	uint32_t one = fake_file_make(FAKE_STREAM), two = fake_file_make(FAKE_STREAM);

	fake_file(one)->peer = two;
	fake_file(two)->peer = one;
	fake_file(one)->connected = fake_file(two)->connected = true;
	fake_file(one)->socket = fake_file(two)->socket = socket;
	fake_file(one)->nonblock = nonblock;
	*peer = two;
	return fake_fd_make(one);
}

uint32_t fake_peer_connect(uint16_t port, uint16_t from_port)
{
	uint32_t client = fake_file_make(FAKE_STREAM);

	fake_file(client)->port = from_port;
	if (fake_file_connect(client, port) == 0)
		return client;
	fake_file_drop(client);
	return FAKE_NONE;
}

uint32_t fake_peer_accept(uint16_t port, uint16_t *from_port)
{
	struct fake_file *listener = fake_file(fake_listener(port));
	uint32_t server;

	if (!listener->backlog_count)
		return FAKE_NONE;
	server = listener->backlog[0];
	memmove(listener->backlog, listener->backlog + 1, --listener->backlog_count * sizeof *listener->backlog);
	*from_port = fake_file(server)->peer_port;
	return server;
}

uint32_t fake_peer_send(uint32_t peer, const uint8_t *data, uint32_t bytes)
{
	int32_t sent = fake_file_write(peer, data, bytes);

	return sent < 0 ? 0 : (uint32_t)sent;
}

int32_t fake_peer_receive(uint32_t peer, uint8_t *data, uint32_t bytes)
{
	int32_t got = fake_file_read(peer, data, bytes);

	return got > 0 ? got : got == 0 ? -1 : got == -EAGAIN ? 0 : -2;
}

void fake_peer_shutdown(uint32_t peer)
{
	fake_file_shutdown(peer, SHUT_WR);
}

void fake_peer_reset(uint32_t peer)
{
	fake_file_reset(peer);
}

void fake_peer_close(uint32_t peer)
{
	fake_file_drop(peer);
}

bool fake_peer_gone(uint32_t peer)
{
	return fake_file(peer)->peer == FAKE_NONE;
}

int32_t mp_os_describe(int32_t fd, struct mp_os_fd *what)
{
	const struct fake_file *file;

	memset(what, 0, sizeof *what);
	if (fake_fd_file(fd) == FAKE_NONE)
		return -EBADF;
	file = fake_file(fake_fd_file(fd));
	what->socket = what->stream = what->inet = file->socket && file->kind != FAKE_EVENTFD;
	what->pipe = file->kind == FAKE_STREAM && !file->socket;
	what->listening = file->kind == FAKE_LISTENER;
	return 0;
}

int32_t mp_os_partition(int32_t fd, int32_t cpu, int32_t backlog)
{
	(void)fd;
	(void)cpu;
	(void)backlog;
	return -EADDRINUSE;
}

int32_t mp_os_socket(int32_t family, bool nonblocking)
{
	uint32_t number = fake_file_make(FAKE_STREAM);
	int32_t fd = fake_fd_make(number);

	(void)family;
	fake_file(number)->nonblock = nonblocking;
	if (fd < 0)
		fake_file_drop(number);
	return fd;
}

void mp_os_set_blocking(int32_t fd)
{
	fake_file(fake_fd_file(fd))->nonblock = false;
}

int32_t mp_os_eventfd(void)
{
	uint32_t number = fake_file_make(FAKE_EVENTFD);
	int32_t fd = fake_fd_make(number);

	if (fd < 0)
		fake_file_drop(number);
	return fd;
}

int32_t mp_os_notify(int32_t eventfd)
{
	if (notify_failures) {
		notify_failures--;
		return notify_error;
	}
	fake_file(fake_fd_file(eventfd))->counter++;
	return 0;
}

void mp_os_close(int32_t fd)
{
	FAKE_RULE(fake_fd_close(fd) == 0);
}

int32_t mp_os_duplicate(int32_t fd)
{
	uint32_t number = fake_fd_file(fd);
	int32_t copy = fake_fd_make(number);

	if (copy >= 0)
		fake_file_hold(number);
	return copy;
}

int32_t mp_os_name(int32_t fd, bool peer, void *address, uint32_t capacity)
{
	const struct fake_file *file = fake_file(fake_fd_file(fd));
	struct sockaddr_in name = { .sin_family = AF_INET, .sin_port = peer ? file->peer_port : file->port };

	memcpy(address, &name, capacity < sizeof name ? capacity : sizeof name);
	return sizeof name;
}

int32_t mp_os_set_option(int32_t fd, int32_t level, int32_t name, const void *value, uint32_t bytes)
{
	(void)level;
	(void)name;
	(void)value;
	(void)fake_file(fake_fd_file(fd));
	return bytes < sizeof(int) ? -EINVAL : 0;
}

uint32_t mp_os_fd_limit(void)
{
	return FAKE_FDS;
}

/* Each look at the clock takes a microsecond, so that no loop that waits for a time waits for ever. */
int64_t mp_os_now_ns(void)
{
	return now_ns += 1000;
}

int64_t mp_os_coarse_ns(void)
{
	return now_ns;
}

void mp_os_yield(void)
{
	if (fake_on_yield)
		fake_on_yield();
}

int32_t mp_os_thread_times(uint64_t *cpu_ns, uint64_t *waits)
{
	*cpu_ns = (uint64_t)now_ns;
	*waits = 0;
	return 0;
}

void fake_pass(int64_t time_ns)
{
	now_ns += time_ns;
}
