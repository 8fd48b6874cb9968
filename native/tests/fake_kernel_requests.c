/* The fake kernel's requests: what each operation does, step by step, until its last completion. */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "fake_kernel.h"
#include "token.h"

#define REQUESTS 4096u

static struct fake_request requests[REQUESTS];
static uint32_t used; /* entries from here on were never live */

void fake_requests_begin(void)
{
	used = 0;
}

void fake_requests_abandon(void)
{
	for (uint32_t i = 0; i < used; i++) {
		if (requests[i].live)
			free(requests[i].vectors);
		requests[i].live = false;
	}
}

uint32_t fake_requests_live(void)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < used; i++)
		count += requests[i].live;
	return count;
}

/* Everything that the kernel reads of a write, or may still write of a read. */
static uint64_t checksum(const struct fake_request *request)
{
	uint64_t sum = 14695981039346656037u; /* FNV-1a */

	for (uint32_t i = 0; i < request->vector_count; i++)
		for (size_t j = 0; j < request->vectors[i].iov_len; j++)
			sum = (sum ^ ((const uint8_t *)request->vectors[i].iov_base)[j]) * 1099511628211u;
	return sum;
}

static void finish(struct fake_request *request, int32_t result, uint32_t flags)
{
	if (request->vectors) {
		/* The memory was ours until now: nobody else wrote to it. */
		if (request->sqe.opcode != IORING_OP_RECV && request->sqe.opcode != IORING_OP_READ)
			FAKE_RULE(request->checksum == checksum(request));
		free(request->vectors);
	}
	if (request->file != FAKE_NONE)
		fake_file_drop(request->file);
	request->live = false;
	fake_post(request->ring, request->sqe.user_data, result, flags);
}

static void *at(uint64_t address)
{
	return (void *)(uintptr_t)address;
}

static bool waits(const struct fake_request *request)
{
	return !fake_file(request->file)->nonblock;
}

/* A read into the caller's buffer. */
static void read_once(struct fake_request *request)
{
	int32_t result;

	FAKE_RULE(request->checksum == checksum(request));
	result = fake_file_read(request->file, at(request->sqe.addr), request->sqe.len);
	if (result != -EAGAIN || !waits(request))
		finish(request, result, 0);
}

/* A multishot receive: a completion for each piece. */
static void receive_leased(struct fake_request *request)
{
	struct fake_file *file = fake_file(request->file);
	uint32_t bytes, flags;
	uint8_t *address;
	int32_t lease, result;

	for (;;) {
		if (!file->count) {
			result = fake_file_read(request->file, NULL, 0);
			if (result != -EAGAIN || !waits(request))
				finish(request, result, 0);
			return;
		}
		lease = fake_buffer_take(request->ring, &address, &bytes);
		if (lease < 0) {
			finish(request, lease, 0);
			return;
		}
		result = fake_file_read(request->file, address, bytes);
		FAKE_RULE(result > 0);
		flags = IORING_CQE_F_BUFFER | (uint32_t)lease << IORING_CQE_BUFFER_SHIFT;
		if (!fake_room(request->ring) || fake_chance(fake_chances.end_multishot)) {
			finish(request, result, flags);
			return;
		}
		fake_post(request->ring, request->sqe.user_data, result, flags | IORING_CQE_F_MORE);
		if (fake_chance(fake_chances.defer))
			return;
	}
}

/* Sockets are asked with MSG_WAITALL; a pipe answers with what it took. */
static void write_some(struct fake_request *request)
{
	uint32_t skip = request->done;
	int32_t result = -EAGAIN;

	FAKE_RULE(request->checksum == checksum(request));
	for (uint32_t i = 0; i < request->vector_count; i++) {
		const struct iovec *vector = &request->vectors[i];

		if (skip >= vector->iov_len) {
			skip -= (uint32_t)vector->iov_len;
			continue;
		}
		result = fake_file_write(request->file, (const uint8_t *)vector->iov_base + skip,
					 (uint32_t)vector->iov_len - skip);
		break;
	}
	if (result > 0)
		request->done += (uint32_t)result;
	if (request->done == request->bytes)
		finish(request, (int32_t)request->bytes, 0);
	else if (result > 0 && (fake_file(request->file)->socket ? fake_chance(fake_chances.fault) : 1))
		finish(request, (int32_t)request->done, 0);
	else if (result < 0 && (result != -EAGAIN || !waits(request)))
		finish(request, request->done ? (int32_t)request->done : result, 0);
}

static void accept_one(struct fake_request *request)
{
	struct fake_file *listener = fake_file(request->file);
	const struct io_uring_sqe *sqe = &request->sqe;
	uint32_t number;
	int32_t result;

	if (!listener->backlog_count) {
		if (!waits(request))
			finish(request, -EAGAIN, 0);
		return;
	}
	number = listener->backlog[0];
	result = sqe->file_index ? fake_fixed_make(request->ring, number) : fake_fd_make(number);
	if (result >= 0) {
		struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = fake_file(number)->peer_port };
		socklen_t *bytes = at(sqe->addr2);

		FAKE_RULE(*bytes >= sizeof address);
		memcpy(at(sqe->addr), &address, sizeof address);
		*bytes = sizeof address;
		memmove(listener->backlog, listener->backlog + 1,
			--listener->backlog_count * sizeof *listener->backlog);
		if (fake_chance(fake_chances.abort)) {
			if (sqe->file_index)
				request->ring->fixed[result] = 0;
			else
				(void)fake_fd_close(result);
			if (sqe->file_index)
				fake_file_drop(number);
			result = -ECONNABORTED;
		}
	}
	finish(request, result, 0);
}

static void connect_one(struct fake_request *request)
{
	int32_t result = fake_file_connect(request->file, (uint16_t)request->done);

	if (result != -EAGAIN)
		finish(request, result, 0);
}

static void poll_once(struct fake_request *request)
{
	uint32_t ready = fake_file_ready(request->file) & (request->sqe.poll32_events | POLLERR | POLLHUP);

	if (!ready)
		return;
	if (!(request->sqe.len & IORING_POLL_ADD_MULTI)) {
		finish(request, (int32_t)ready, 0);
		return;
	}
	/* Edge-triggered: once for each write to the eventfd, however much it counts. */
	if (fake_file(request->file)->counter == request->done)
		return;
	request->done = (uint32_t)fake_file(request->file)->counter;
	if (fake_room(request->ring) && !fake_chance(fake_chances.end_multishot))
		fake_post(request->ring, request->sqe.user_data, (int32_t)ready, IORING_CQE_F_MORE);
	else
		finish(request, (int32_t)ready, 0);
}

/* The end of a cancelled request: what it has done so far, or nothing. */
static void give_up(struct fake_request *request)
{
	if (request->vectors && request->done)
		finish(request, (int32_t)request->done, 0);
	else
		finish(request, request->running && request->sqe.opcode != IORING_OP_POLL_ADD && fake_chance(500) ? -EINTR : -ECANCELED, 0);
}

static void cancel(struct fake_request *request)
{
	for (uint32_t i = 0; i < used; i++) {
		struct fake_request *victim = &requests[i];
		bool late;

		if (!victim->live || victim == request || victim->ring != request->ring ||
		    victim->sqe.user_data != request->sqe.addr)
			continue;
		late = victim->running || fake_chance(fake_chances.running);
		victim->running = late;
		if (!late)
			give_up(victim);
		finish(request, late ? -EALREADY : 0, 0);
		return;
	}
	finish(request, -ENOENT, 0);
}

static int32_t close_descriptor(struct fake_request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;
	int32_t result;

	if (sqe->file_index) {
		uint32_t index = sqe->file_index - 1;

		result = index < request->ring->fixed_count && request->ring->fixed[index] ? 0 : -EBADF;
		if (!result) {
			fake_file_drop(request->ring->fixed[index] - 1);
			request->ring->fixed[index] = 0;
		}
	} else {
		result = fake_fd_close(sqe->fd);
	}
	FAKE_RULE(result == 0); /* the library closes what is its own, once */
	return result;
}

static void message(struct fake_request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;
	struct fake_ring *target = fake_file(request->file)->ring;
	int32_t result = (int32_t)sqe->len;

	if (sqe->addr == IORING_MSG_SEND_FD) {
		uint32_t number = sqe->addr3 < request->ring->fixed_count ? request->ring->fixed[sqe->addr3] : 0;

		FAKE_RULE(number && sqe->file_index == IORING_FILE_INDEX_ALLOC);
		result = fake_fixed_make(target, number - 1);
		if (result < 0) {
			finish(request, result, 0);
			return;
		}
		fake_file_hold(number - 1);
	}
	fake_post(target, sqe->off, result, 0);
	finish(request, sqe->addr == IORING_MSG_SEND_FD ? result : 0, 0);
}

static void install(struct fake_request *request)
{
	int32_t fd = fake_fd_make(request->file);

	if (fd >= 0)
		fake_file_hold(request->file);
	finish(request, fd, 0);
}

static void make_socket(struct fake_request *request)
{
	uint32_t number = fake_file_make(FAKE_STREAM);
	int32_t result = fake_fixed_make(request->ring, number);

	if (result < 0)
		fake_file_drop(number);
	finish(request, result, 0);
}

/* One step of a request; it may be its last. */
static void attempt(struct fake_request *request)
{
	int32_t failure = fake_failure(request->sqe.opcode);
	bool moves = request->sqe.opcode == IORING_OP_RECV || request->vectors;

	if (failure) {
		/* Whatever close(2) says, the descriptor is gone. */
		if (request->sqe.opcode == IORING_OP_CLOSE)
			close_descriptor(request);
		finish(request, failure, 0);
		return;
	}
	if (moves && !request->done && fake_chance(fake_chances.fault)) {
		finish(request, -EINTR, 0);
		return;
	}
	if (moves && fake_file(request->file)->kind == FAKE_STREAM && fake_file(request->file)->socket &&
	    fake_chance(fake_chances.reset)) {
		struct fake_file *file = fake_file(request->file);

		if (file->peer != FAKE_NONE) {
			uint32_t peer = file->peer;

			fake_file_reset(peer);
			fake_file(peer)->broken = true;
		}
	}
	switch (request->sqe.opcode) {
	case IORING_OP_RECV:
	case IORING_OP_READ:
		if (request->sqe.flags & IOSQE_BUFFER_SELECT)
			receive_leased(request);
		else
			read_once(request);
		break;
	case IORING_OP_SEND:
	case IORING_OP_SENDMSG:
	case IORING_OP_WRITE:
	case IORING_OP_WRITEV:
		write_some(request);
		break;
	case IORING_OP_ACCEPT:
		accept_one(request);
		break;
	case IORING_OP_CONNECT:
		connect_one(request);
		break;
	case IORING_OP_POLL_ADD:
		poll_once(request);
		break;
	case IORING_OP_SHUTDOWN:
		fake_file_shutdown(request->file, request->sqe.len);
		finish(request, 0, 0);
		break;
	case IORING_OP_ASYNC_CANCEL:
		cancel(request);
		break;
	case IORING_OP_CLOSE:
		finish(request, close_descriptor(request), 0);
		break;
	case IORING_OP_MSG_RING:
		message(request);
		break;
	case MP_OP_FIXED_FD_INSTALL:
		install(request);
		break;
	case IORING_OP_SOCKET:
		make_socket(request);
		break;
	default:
		fake_broken("the fake knows the operation", __FILE__, __LINE__);
	}
}

/* What the kernel copies of a transfer when it takes the request, and what it only refers to. */
static void import(struct fake_request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;
	const struct msghdr *header = at(sqe->addr);
	struct iovec single = { at(sqe->addr), sqe->len };
	const struct iovec *vectors = &single;

	request->vector_count = 1;
	if (sqe->opcode == IORING_OP_SENDMSG) {
		vectors = header->msg_iov;
		request->vector_count = (uint32_t)header->msg_iovlen;
	} else if (sqe->opcode == IORING_OP_WRITEV) {
		vectors = at(sqe->addr);
		request->vector_count = sqe->len;
	}
	FAKE_RULE(request->vector_count >= 1 && request->vector_count <= 1024);
	request->vectors = calloc(request->vector_count, sizeof *vectors);
	FAKE_RULE(request->vectors);
	memcpy(request->vectors, vectors, request->vector_count * sizeof *vectors);
	for (uint32_t i = 0; i < request->vector_count; i++)
		request->bytes += (uint32_t)vectors[i].iov_len;
	request->checksum = checksum(request);
}

/* Requests of which a handle may have one at a time. */
static void check_single(const struct fake_request *request)
{
	uint32_t op = mp_token_op(request->sqe.user_data);

	if (op == MP_TOKEN_NONE || op == MP_TOKEN_CANCEL || op == MP_TOKEN_SHUTDOWN || op == MP_TOKEN_INSTALL)
		return;
	for (uint32_t i = 0; i < used; i++)
		FAKE_RULE(&requests[i] == request || !requests[i].live || requests[i].ring != request->ring ||
			  requests[i].sqe.user_data != request->sqe.user_data);
}

void fake_submit(struct fake_ring *ring, const struct io_uring_sqe *sqe)
{
	struct fake_request *request = NULL;
	bool inline_only = sqe->opcode == IORING_OP_ASYNC_CANCEL || sqe->opcode == IORING_OP_CLOSE ||
			   sqe->opcode == IORING_OP_MSG_RING;
	bool no_file = sqe->opcode == IORING_OP_ASYNC_CANCEL || sqe->opcode == IORING_OP_CLOSE ||
		       sqe->opcode == IORING_OP_SOCKET;

	for (uint32_t i = 0; i < REQUESTS && !request; i++)
		if (!requests[i].live)
			request = &requests[i];
	FAKE_RULE(request);
	if (request >= requests + used)
		used = (uint32_t)(request - requests) + 1;
	memset(request, 0, sizeof *request);
	request->live = true;
	request->ring = ring;
	request->sqe = *sqe;
	request->file = FAKE_NONE;
	check_single(request);
	if (!no_file) {
		uint32_t number = sqe->flags & IOSQE_FIXED_FILE ?
				  (uint32_t)sqe->fd < ring->fixed_count ? ring->fixed[sqe->fd] - 1 : FAKE_NONE :
				  fake_fd_file(sqe->fd);

		if (number == FAKE_NONE) {
			finish(request, -EBADF, 0);
			return;
		}
		request->file = number;
		fake_file_hold(number);
	}
	switch (sqe->opcode) {
	case IORING_OP_RECV:
	case IORING_OP_READ:
		if (sqe->flags & IOSQE_BUFFER_SELECT)
			break;
		/* fall through */
	case IORING_OP_SEND:
	case IORING_OP_SENDMSG:
	case IORING_OP_WRITE:
	case IORING_OP_WRITEV:
		import(request);
		break;
	case IORING_OP_CONNECT:
		if (((const struct sockaddr *)at(sqe->addr))->sa_family == AF_UNSPEC) {
			fake_file_reset(request->file);
			finish(request, 0, 0);
			return;
		}
		request->done = ((const struct sockaddr_in *)at(sqe->addr))->sin_port; /* copied: the port */
		break;
	case MP_OP_FIXED_FD_INSTALL:
		inline_only = !fake_chance(fake_chances.late_install);
		if (!inline_only)
			return;
		break;
	case IORING_OP_SHUTDOWN:
		return; /* always by a worker */
	}
	if (inline_only || !fake_chance(fake_chances.defer))
		attempt(request);
}

void fake_run(uint32_t rounds)
{
	while (rounds-- > 0) {
		uint32_t first = used ? fake_below(used) : 0;

		for (uint32_t i = 0; i < used; i++) {
			struct fake_request *request = &requests[(first + i) % used];

			if (!request->live || fake_chance(fake_chances.defer))
				continue;
			attempt(request);
			/* What ran when it was cancelled may still succeed, but does not go on waiting. */
			if (request->live && request->running)
				give_up(request);
		}
	}
}

/* A ring is gone: its requests with it. */
void fake_requests_end(void)
{
	for (uint32_t i = 0; i < used; i++) {
		if (!requests[i].live || requests[i].ring->ring)
			continue;
		/* Only the channel's own poll on its eventfd may be left. */
		FAKE_RULE(mp_token_op(requests[i].sqe.user_data) == MP_TOKEN_WAKE);
		fake_file_drop(requests[i].file);
		requests[i].live = false;
	}
}
