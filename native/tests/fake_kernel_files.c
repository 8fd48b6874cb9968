/* The fake kernel's files and fds: streams that carry bytes to their peer, listeners, eventfds. */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "fake_kernel.h"

#define FILES 1024u
#define FIRST_FD 1000

static struct fake_file *files[FILES];
static uint32_t fds[FAKE_FDS]; /* file number + 1 */
static uint16_t next_port;
uint32_t fake_fd_limit = FAKE_FDS;

void fake_files_begin(void)
{
	next_port = 0;
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
	if (file->ended)
		ready |= POLLRDHUP;
	if (file->ended && (file->shut_write || file->peer == FAKE_NONE))
		ready |= POLLHUP;
	if (file->broken)
		ready |= POLLERR;
	if (file->shut_write || file->peer == FAKE_NONE || fake_file(file->peer)->count < FAKE_INBOX_BYTES)
		ready |= POLLOUT;
	return ready;
}

uint32_t fake_listener(uint16_t port)
{
	for (uint32_t i = 0; i < FILES; i++)
		if (files[i] && files[i]->kind == FAKE_LISTENER && files[i]->port == port)
			return i;
	return FAKE_NONE;
}

int32_t fake_file_connect(uint32_t client, uint16_t port)
{
	uint32_t number = fake_listener(port), server;
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
	return fd < FIRST_FD || fd >= FIRST_FD + (int32_t)FAKE_FDS ? FAKE_NONE : fds[fd - FIRST_FD] - 1;
}

int32_t fake_fd_make(uint32_t number)
{
	for (uint32_t i = 0; i < FAKE_FDS && i < fake_fd_limit; i++) {
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

	for (uint32_t i = 0; i < FAKE_FDS; i++)
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
