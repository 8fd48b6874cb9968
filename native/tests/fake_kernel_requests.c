/* The fake kernel's requests: taken, let run in random order, cancelled, finished. What each does is in
 * fake_kernel_operations.c. */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "fake_kernel.h"
#include "token.h"

#define REQUESTS 4096u

static struct fake_request requests[REQUESTS];
static uint64_t taken;
static uint32_t used; /* entries from here on were never live */
static uint32_t submitter;

void fake_requests_begin(void)
{
	used = submitter = 0;
	taken = 0;
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

uint64_t fake_sum(const struct iovec *vectors, uint32_t count, uint64_t bytes)
{
	uint64_t sum = 14695981039346656037u; /* FNV-1a */

	for (uint32_t i = 0; i < count; i++)
		for (size_t j = 0; j < vectors[i].iov_len && bytes; j++, bytes--)
			sum = (sum ^ ((const uint8_t *)vectors[i].iov_base)[j]) * 1099511628211u;
	return sum;
}

uint64_t fake_checksum(const struct fake_request *request)
{
	return fake_sum(request->vectors, request->vector_count, UINT64_MAX);
}

void fake_fixed_release(struct fake_ring *ring, uint32_t number)
{
	if (!fake_releases_late) {
		fake_file_drop(number);
		return;
	}
	if (ring->late_count == ring->late_room) {
		ring->late_room = ring->late_room * 2 + 16;
		ring->late = realloc(ring->late, ring->late_room * sizeof *ring->late);
		FAKE_RULE(ring->late);
	}
	ring->late[ring->late_count++] = (struct fake_late){ number, taken };
	if (ring->late_count > fake_late_most)
		fake_late_most = ring->late_count;
}

void fake_late_settle(struct fake_ring *ring)
{
	uint64_t oldest = UINT64_MAX;
	uint32_t released = 0;

	if (!ring->late_count)
		return;
	for (uint32_t i = 0; i < used; i++)
		if (requests[i].live && requests[i].ring == ring && (requests[i].sqe.flags & IOSQE_FIXED_FILE) &&
		    requests[i].number < oldest)
			oldest = requests[i].number;
	while (released < ring->late_count && ring->late[released].closed < oldest)
		fake_file_drop(ring->late[released++].file);
	ring->late_count -= released;
	memmove(ring->late, ring->late + released, ring->late_count * sizeof *ring->late);
}

void fake_finish(struct fake_request *request, int32_t result, uint32_t flags)
{
	if (request->vectors) {
		/* The memory was ours until now: nobody else wrote to it. */
		if (request->sqe.opcode != IORING_OP_RECV && request->sqe.opcode != IORING_OP_READ)
			FAKE_RULE(request->checksum == fake_checksum(request));
		if (request->sqe.opcode == IORING_OP_SENDMSG_ZC)
			flags |= fake_notice_owe(request, result);
		free(request->vectors);
	}
	if (request->file != FAKE_NONE)
		fake_file_drop(request->file);
	request->live = false;
	fake_late_settle(request->ring);
	fake_post(request->ring, request->sqe.user_data, result, flags);
}

/* The end of a cancelled request: what it has done so far, or nothing. */
static void give_up(struct fake_request *request)
{
	/* A worker that a cancel interrupts may say so; a poll and a timer have no worker. */
	bool worker = request->running && request->sqe.opcode != IORING_OP_POLL_ADD &&
		      request->sqe.opcode != IORING_OP_TIMEOUT;

	if (request->vectors && request->done)
		fake_finish(request, (int32_t)request->done, 0);
	else
		fake_finish(request, worker && fake_chance(500) ? -EINTR : -ECANCELED, 0);
}

void fake_submitter(uint32_t number)
{
	submitter = number;
}

void fake_submitter_ends(uint32_t number)
{
	for (uint32_t i = 0; i < used; i++) {
		if (!requests[i].live || requests[i].submitter != number)
			continue;
		if (fake_chance(500))
			give_up(&requests[i]);
		else
			requests[i].orphan = true;
	}
}

void fake_cancel(struct fake_request *request)
{
	for (uint32_t i = 0; i < used; i++) {
		struct fake_request *victim = &requests[i];
		bool late;

		if (!victim->live || victim == request || victim->ring != request->ring ||
		    victim->sqe.user_data != request->sqe.addr)
			continue;
		/* Set aside as work of its thread: the cancel misses it, and it goes on. That work is to look at the
		 * socket anew, so an end that it has missed until now it finds. */
		if (!victim->running && fake_chance(fake_chances.miss)) {
			victim->deaf = false;
			break;
		}
		late = victim->running || fake_chance(fake_chances.running);
		victim->running = late;
		if (!late)
			give_up(victim);
		fake_finish(request, late ? -EALREADY : 0, 0);
		return;
	}
	fake_finish(request, -ENOENT, 0);
}

/* What the kernel copies of a transfer when it takes the request, and what it only refers to. */
static void import(struct fake_request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;
	const struct msghdr *header = fake_at(sqe->addr);
	struct iovec single = { fake_at(sqe->addr), sqe->len };
	const struct iovec *vectors = &single;

	request->vector_count = 1;
	if (sqe->opcode == IORING_OP_SENDMSG || sqe->opcode == IORING_OP_SENDMSG_ZC) {
		vectors = header->msg_iov;
		request->vector_count = (uint32_t)header->msg_iovlen;
	} else if (sqe->opcode == IORING_OP_WRITEV) {
		vectors = fake_at(sqe->addr);
		request->vector_count = sqe->len;
	}
	FAKE_RULE(request->vector_count >= 1 && request->vector_count <= 1024);
	request->vectors = calloc(request->vector_count, sizeof *vectors);
	FAKE_RULE(request->vectors);
	memcpy(request->vectors, vectors, request->vector_count * sizeof *vectors);
	for (uint32_t i = 0; i < request->vector_count; i++)
		request->bytes += (uint32_t)vectors[i].iov_len;
	request->checksum = fake_checksum(request);
}

/* Requests of which a handle may have one at a time. */
static void check_single(const struct fake_request *request)
{
	uint32_t op = mp_token_op(request->sqe.user_data);

	if (op == MP_TOKEN_NONE || op == MP_TOKEN_SHUTDOWN || op == MP_TOKEN_INSTALL ||
	    request->sqe.opcode == IORING_OP_ASYNC_CANCEL)
		return;
	for (uint32_t i = 0; i < used; i++)
		FAKE_RULE(&requests[i] == request || !requests[i].live || requests[i].ring != request->ring ||
			  requests[i].sqe.user_data != request->sqe.user_data);
}

void fake_submit(struct fake_ring *ring, const struct io_uring_sqe *sqe)
{
	struct fake_request *request = NULL;
	bool inline_only = sqe->opcode == IORING_OP_ASYNC_CANCEL || sqe->opcode == IORING_OP_CLOSE ||
			   sqe->opcode == IORING_OP_MSG_RING || sqe->opcode == IORING_OP_FILES_UPDATE;
	bool no_file = sqe->opcode == IORING_OP_ASYNC_CANCEL || sqe->opcode == IORING_OP_CLOSE ||
		       sqe->opcode == IORING_OP_SOCKET || sqe->opcode == IORING_OP_TIMEOUT ||
		       sqe->opcode == IORING_OP_FILES_UPDATE;

	if (ring->restricted && (!ring->allowed[sqe->opcode] || (sqe->flags & ~(uint32_t)ring->allowed_flags))) {
		fake_refused++;
		fake_post(ring, sqe->user_data, -EACCES, 0);
		return;
	}
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
	request->number = ++taken;
	request->submitter = submitter;
	check_single(request);
	if (!no_file) {
		uint32_t number = sqe->flags & IOSQE_FIXED_FILE ?
					  (uint32_t)sqe->fd < ring->fixed_count ? ring->fixed[sqe->fd] - 1 : FAKE_NONE :
					  fake_fd_file(sqe->fd);

		if (number == FAKE_NONE) {
			fake_finish(request, -EBADF, 0);
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
	case IORING_OP_SENDMSG_ZC:
	case IORING_OP_WRITE:
	case IORING_OP_WRITEV:
		import(request);
		break;
	case IORING_OP_CONNECT:
		if (((const struct sockaddr *)fake_at(sqe->addr))->sa_family == AF_UNSPEC) {
			fake_file_reset(request->file);
			fake_finish(request, 0, 0);
			return;
		}
		request->done = ((const struct sockaddr_in *)fake_at(sqe->addr))->sin_port; /* copied: the port */
		/* A worker would wait for a peer without room, and hold up the end of its thread (6.15 to 6.18). */
		FAKE_RULE(((const struct sockaddr *)fake_at(sqe->addr))->sa_family != AF_UNIX ||
			  fake_file(request->file)->nonblock);
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
		fake_attempt(request);
}

void fake_run(uint32_t rounds)
{
	while (rounds-- > 0) {
		uint32_t first = used ? fake_below(used) : 0;

		for (uint32_t i = 0; i < used; i++) {
			struct fake_request *request = &requests[(first + i) % used];

			if (!request->live || fake_chance(fake_chances.defer))
				continue;
			if (request->orphan) {
				give_up(request);
				continue;
			}
			fake_attempt(request);
			/* What ran when it was cancelled may still succeed, but does not go on waiting. */
			if (request->live && request->running)
				give_up(request);
		}
		fake_notices_run();
	}
}

/* A ring is gone: its requests with it. */
void fake_requests_end(void)
{
	for (uint32_t i = 0; i < used; i++) {
		if (!requests[i].live || requests[i].ring->ring)
			continue;
		/* Only the channel's own poll on its eventfd may be left, and a shutdown that nobody waits for and that
		 * touches no memory: of a refused arrival. */
		FAKE_RULE(mp_token_op(requests[i].sqe.user_data) == MP_TOKEN_WAKE ||
			  (mp_token_op(requests[i].sqe.user_data) == MP_TOKEN_NONE &&
			   requests[i].sqe.opcode == IORING_OP_SHUTDOWN));
		fake_file_drop(requests[i].file);
		requests[i].live = false;
	}
}
