/* The fake kernel's files and fds: streams that carry bytes to their peer, listeners, eventfds. Also the os.h seam. */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "fake_kernel.h"
#include "os.h"

#define FILES 1024u
#define FDS 1024u
#define FIRST_FD 1000

static struct fake_file *files[FILES];
static uint32_t fds[FDS]; /* file number + 1 */
static uint16_t next_port;
uint32_t fake_fd_limit = FDS;
static int64_t now_ns;

void fake_files_begin(void)
{
	next_port = 0;
	now_ns = 0;
}

void fake_files_abandon(void)
{
	for (uint32_t i = 0; i < FILES; i++) {
		if (files[i] && files[i]->kind == FAKE_RING)
			fake_ring_free(files[i]->ring);
		free(files[i]);
		files[i] = NULL;
	}
	memset(fds, 0, sizeof fds);
}

struct fake_file *fake_file(uint32_t number)
{
	FAKE_RULE(number < FILES && files[number]);
	return files[number];
}

uint32_t fake_file_make(int kind)
{
	for (uint32_t i = 0; i < FILES; i++) {
		if (files[i])
			continue;
		files[i] = calloc(1, sizeof *files[i]);
		FAKE_RULE(files[i]);
		files[i]->kind = kind;
		files[i]->peer = FAKE_NONE;
		files[i]->references = 1;
		files[i]->socket = kind != FAKE_EVENTFD;
		return i;
	}
	fake_broken("the fake has files left", __FILE__, __LINE__);
}

void fake_file_hold(uint32_t number)
{
	fake_file(number)->references++;
}

/* The other end sees the end of the stream, or a reset where bytes were left unread. */
static void hang_up(struct fake_file *file, bool broken)
{
	struct fake_file *peer;

	if (file->peer == FAKE_NONE)
		return;
	peer = fake_file(file->peer);
	peer->ended = true;
	peer->broken |= broken;
	peer->peer = FAKE_NONE;
	file->peer = FAKE_NONE;
}

void fake_file_drop(uint32_t number)
{
	struct fake_file *file = fake_file(number);

	FAKE_RULE(file->references > 0);
	if (--file->references)
		return;
	if (file->kind == FAKE_STREAM)
		hang_up(file, file->socket && file->count > 0);
	for (uint32_t i = 0; i < file->backlog_count; i++) {
		hang_up(fake_file(file->backlog[i]), true);
		fake_file_drop(file->backlog[i]);
	}
	free(file);
	files[number] = NULL;
}

void fake_file_reset(uint32_t number)
{
	struct fake_file *file = fake_file(number);

	hang_up(file, true);
	file->connected = false;
	file->ended = true;
	file->count = 0;
}

void fake_file_shutdown(uint32_t number, uint32_t how)
{
	struct fake_file *file = fake_file(number);

	if (how != SHUT_RD) {
		file->shut_write = true;
		if (file->peer != FAKE_NONE)
			fake_file(file->peer)->ended = true;
	}
	if (how != SHUT_WR)
		file->ended = true;
}

int32_t fake_file_read(uint32_t number, uint8_t *data, uint32_t bytes)
{
	struct fake_file *file = fake_file(number);

	if (file->kind == FAKE_EVENTFD) {
		if (!file->counter)
			return -EAGAIN;
		memcpy(data, &file->counter, sizeof file->counter);
		file->counter = 0;
		return sizeof file->counter;
	}
	if (file->kind != FAKE_STREAM || (!file->connected && !file->ended))
		return -ENOTCONN;
	if (!file->count) {
		if (!file->ended)
			return -EAGAIN;
		if (!file->broken)
			return 0;
		file->broken = false; /* an error is told once */
		return -ECONNRESET;
	}
	if (bytes > file->count)
		bytes = file->count;
	if (bytes > 1 && fake_chance(fake_chances.shorten))
		bytes = 1 + fake_below(bytes - 1);
	for (uint32_t i = 0; i < bytes; i++)
		data[i] = file->inbox[(file->head + i) % FAKE_INBOX_BYTES];
	file->head = (file->head + bytes) % FAKE_INBOX_BYTES;
	file->count -= bytes;
	return (int32_t)bytes;
}

int32_t fake_file_write(uint32_t number, const uint8_t *data, uint32_t bytes)
{
	struct fake_file *file = fake_file(number), *peer;

	if (file->kind == FAKE_EVENTFD) {
		file->counter++;
		return (int32_t)bytes;
	}
	if (file->kind != FAKE_STREAM || file->shut_write || file->peer == FAKE_NONE)
		return -EPIPE;
	peer = fake_file(file->peer);
	if (bytes > FAKE_INBOX_BYTES - peer->count)
		bytes = FAKE_INBOX_BYTES - peer->count;
	if (!bytes)
		return -EAGAIN;
	if (bytes > 1 && fake_chance(fake_chances.shorten))
		bytes = 1 + fake_below(bytes - 1);
	for (uint32_t i = 0; i < bytes; i++)
		peer->inbox[(peer->head + peer->count + i) % FAKE_INBOX_BYTES] = data[i];
	peer->count += bytes;
	return (int32_t)bytes;
}

uint32_t fake_file_ready(uint32_t number)
{
	const struct fake_file *file = fake_file(number);
	uint32_t ready = 0;

	if (file->kind == FAKE_LISTENER)
		return file->backlog_count ? POLLIN : 0;
	if (file->kind == FAKE_EVENTFD)
		return file->counter ? POLLIN : 0;
	if (file->count || file->ended)
		ready |= POLLIN;
	if (file->shut_write || file->peer == FAKE_NONE || fake_file(file->peer)->count < FAKE_INBOX_BYTES)
		ready |= POLLOUT;
	return ready;
}

static uint32_t listener_of(uint16_t port)
{
	for (uint32_t i = 0; i < FILES; i++)
		if (files[i] && files[i]->kind == FAKE_LISTENER && files[i]->port == port)
			return i;
	return FAKE_NONE;
}

int32_t fake_file_connect(uint32_t client, uint16_t port)
{
	uint32_t number = listener_of(port), server;
	struct fake_file *listener, *from = fake_file(client), *to;

	if (number == FAKE_NONE)
		return -ECONNREFUSED;
	listener = fake_file(number);
	if (listener->backlog_count == FAKE_BACKLOG)
		return -EAGAIN;
	server = fake_file_make(FAKE_STREAM);
	to = fake_file(server);
	if (!from->port)
		from->port = ++next_port;
	to->port = port;
	to->peer_port = from->port;
	from->peer_port = port;
	to->peer = client;
	from->peer = server;
	from->connected = to->connected = true;
	listener->backlog[listener->backlog_count++] = server;
	return 0;
}

uint32_t fake_fd_file(int32_t fd)
{
	return fd < FIRST_FD || fd >= FIRST_FD + (int32_t)FDS ? FAKE_NONE : fds[fd - FIRST_FD] - 1;
}

int32_t fake_fd_make(uint32_t number)
{
	for (uint32_t i = 0; i < FDS && i < fake_fd_limit; i++) {
		if (fds[i])
			continue;
		fds[i] = number + 1;
		return FIRST_FD + (int32_t)i;
	}
	return -EMFILE;
}

int32_t fake_fd_close(int32_t fd)
{
	uint32_t number = fake_fd_file(fd);

	if (number == FAKE_NONE)
		return -EBADF;
	fds[fd - FIRST_FD] = 0;
	fake_file_drop(number);
	return 0;
}

uint32_t fake_fds_open(void)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < FDS; i++)
		count += fds[i] != 0;
	return count;
}

uint32_t fake_files_open(void)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < FILES; i++)
		count += files[i] != NULL;
	return count;
}

int32_t fake_listen(uint16_t port, bool nonblock)
{
	uint32_t number = fake_file_make(FAKE_LISTENER);

	files[number]->port = port;
	files[number]->nonblock = nonblock;
	return fake_fd_make(number);
}

int32_t fake_pair(bool socket, bool nonblock, uint32_t *peer)
{
	uint32_t one = fake_file_make(FAKE_STREAM), two = fake_file_make(FAKE_STREAM);

	files[one]->peer = two;
	files[two]->peer = one;
	files[one]->connected = files[two]->connected = true;
	files[one]->socket = files[two]->socket = socket;
	files[one]->nonblock = nonblock;
	*peer = two;
	return fake_fd_make(one);
}

uint32_t fake_peer_connect(uint16_t port, uint16_t from_port)
{
	uint32_t client = fake_file_make(FAKE_STREAM);

	files[client]->port = from_port;
	if (fake_file_connect(client, port) == 0)
		return client;
	fake_file_drop(client);
	return FAKE_NONE;
}

uint32_t fake_peer_accept(uint16_t port, uint16_t *from_port)
{
	struct fake_file *listener = fake_file(listener_of(port));
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
	what->listening = file->kind == FAKE_LISTENER;
	return 0;
}

int32_t mp_os_partition(int32_t fd, int32_t cpu)
{
	(void)fd;
	(void)cpu;
	return -EADDRINUSE;
}

int32_t mp_os_socket(int32_t family)
{
	uint32_t number = fake_file_make(FAKE_STREAM);
	int32_t fd = fake_fd_make(number);

	(void)family;
	if (fd < 0)
		fake_file_drop(number);
	return fd;
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

uint32_t mp_os_fd_limit(void)
{
	return FDS;
}

/* Each look at the clock takes a microsecond, so that no loop that waits for a time waits for ever. */
int64_t mp_os_now_ns(void)
{
	return now_ns += 1000;
}
