/* What each operation of the fake kernel does, one step at a time, until its last completion. */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "fake_kernel.h"
#include "os.h"
#include "token.h"

static bool waits(const struct fake_request *request)
{
	return !fake_file(request->file)->nonblock;
}

/* Whether the socket holds more; not every socket can tell. */
static uint32_t rest(const struct fake_request *request)
{
	return fake_file(request->file)->count && !fake_chance(fake_chances.shorten) ? IORING_CQE_F_SOCK_NONEMPTY : 0;
}

/* A read into the caller's buffer. */
static void read_once(struct fake_request *request)
{
	int32_t result;

	FAKE_RULE(request->checksum == fake_checksum(request));
	result = fake_file_read(request->file, fake_at(request->sqe.addr), request->sqe.len);
	if (result != -EAGAIN || !waits(request) || (request->sqe.msg_flags & MSG_DONTWAIT))
		fake_finish(request, result, result > 0 ? rest(request) : 0);
}

/* Fills the buffer and, for a request that asks so, those behind it. The bytes. */
static int32_t fill_buffers(struct fake_request *request, uint8_t *address, uint32_t bytes)
{
	uint32_t one_buffer = bytes;
	bool bundle = request->sqe.ioprio & MP_RECV_BUNDLE;
	int32_t part = fake_file_read(request->file, address, bytes), total = part;

	FAKE_RULE(part > 0);
	while (bundle && part == (int32_t)bytes && fake_file(request->file)->count &&
	       !fake_chance(fake_chances.shorten) && fake_buffer_take(request->ring, &address, &bytes) >= 0) {
		part = fake_file_read(request->file, address, bytes);
		FAKE_RULE(part > 0);
		total += part;
	}
	fake_bundles += total > (int32_t)one_buffer;
	return total;
}

/* A receive into provided buffers: a completion for each piece, or for several; one alone where it is no multishot. */
static void receive_leased(struct fake_request *request)
{
	struct fake_file *file = fake_file(request->file);
	uint32_t bytes, flags;
	uint8_t *address;
	int32_t lease, result;
	bool one = !(request->sqe.ioprio & IORING_RECV_MULTISHOT);

	if (request->deaf) {
		FAKE_RULE(mp_os_coarse_ns() - request->deaf_since_ns < FAKE_DEAF_NS); /* a lost end stays lost */
		return;
	}
	/* Linux asks for a buffer before it looks for data, once when the receive is armed. */
	if (!request->done && !fake_buffers_left(request->ring)) {
		fake_finish(request, -ENOBUFS, 0);
		return;
	}
	if (!request->done)
		request->done = 1; /* and the bytes of the run */
	for (;;) {
		bool limited;

		if (!file->count) {
			result = fake_file_read(request->file, NULL, 0);
			/* Some kernels hand out a buffer with the end of the stream. */
			if (result == 0 && fake_chance(fake_chances.shorten)) {
				lease = fake_buffer_take(request->ring, &address, &bytes);
				flags = IORING_CQE_F_BUFFER | (uint32_t)lease << IORING_CQE_BUFFER_SHIFT;
				fake_finish(request, 0, lease < 0 ? 0 : flags);
				return;
			}
			if (result != -EAGAIN || !waits(request))
				fake_finish(request, result, 0);
			return;
		}
		lease = fake_buffer_take(request->ring, &address, &bytes);
		if (lease < 0) {
			fake_finish(request, lease, 0);
			return;
		}
		result = fill_buffers(request, address, bytes);
		flags = IORING_CQE_F_BUFFER | (uint32_t)lease << IORING_CQE_BUFFER_SHIFT | rest(request);
		request->done += (uint32_t)result;
		/* Linux cuts the last receive of a run, and this one does not: the limit is no less one. */
		limited = request->sqe.file_index && request->done > request->sqe.file_index;
		if (one || limited || !fake_room(request->ring) || fake_chance(fake_chances.end_multishot)) {
			fake_finish(request, result, flags);
			return;
		}
		fake_post(request->ring, request->sqe.user_data, result, flags | IORING_CQE_F_MORE);
		request->deaf = !file->count && file->ended && fake_chance(fake_chances.lose_end);
		request->deaf_since_ns = mp_os_coarse_ns();
		if (request->deaf || fake_chance(fake_chances.defer))
			return;
	}
}

static bool refuses_held(const struct fake_request *request, int32_t *error)
{
	FAKE_RULE(request->sqe.ioprio == MP_SEND_ZC_REPORT_USAGE && fake_file(request->file)->socket);
	if (fake_no_report)
		*error = -EINVAL;
	else if (fake_chance(fake_chances.refuse_held))
		*error = fake_chance(500) ? -ENOMEM : -ENOBUFS;
	else
		return false;
	return true;
}

/* A write answers with what was taken, unless MSG_WAITALL asks a socket for all of it. */
static void write_some(struct fake_request *request)
{
	uint32_t skip = request->done;
	int32_t result = -EAGAIN;
	bool socket = fake_file(request->file)->socket, quiet = !socket && (request->sqe.rw_flags & MP_RWF_NOSIGNAL);
	bool all = socket && (request->sqe.msg_flags & MSG_WAITALL);

	if (quiet && fake_no_nosignal) {
		fake_finish(request, -EOPNOTSUPP, 0);
		return;
	}
	if (request->sqe.opcode == IORING_OP_SENDMSG_ZC && refuses_held(request, &result)) {
		fake_finish(request, result, 0);
		return;
	}
	FAKE_RULE(request->checksum == fake_checksum(request));
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
	/* SIGPIPE, unless a worker gets it. */
	FAKE_RULE(result != -EPIPE || socket || quiet || (request->sqe.flags & IOSQE_ASYNC));
	if (result > 0)
		request->done += (uint32_t)result;
	if (request->done == request->bytes)
		fake_finish(request, (int32_t)request->bytes, 0);
	else if (result > 0 && (all ? fake_chance(fake_chances.fault) : 1))
		fake_finish(request, (int32_t)request->done, 0);
	else if (result > 0)
		FAKE_RULE(++request->polls < FAKE_POLLS); /* a worker would wait for the peer */
	else if (result < 0 && (result != -EAGAIN || !waits(request)))
		fake_finish(request, request->done ? (int32_t)request->done : result, 0);
}

static void accept_one(struct fake_request *request)
{
	struct fake_file *listener = fake_file(request->file);
	const struct io_uring_sqe *sqe = &request->sqe;
	uint32_t number, flags = 0;
	int32_t result;

	FAKE_RULE(!(sqe->ioprio & ~(uint32_t)IORING_ACCEPT_POLL_FIRST));
	if (sqe->ioprio && fake_no_accept_wait) {
		fake_refused_accepts++;
		fake_finish(request, -EINVAL, 0);
		return;
	}
	/* What is to wait first is not tried, and what must not wait does not wait. */
	if (!listener->backlog_count && !sqe->ioprio && !request->done)
		fake_vain_accepts++;
	request->done = 1;
	if (!listener->backlog_count || (sqe->ioprio && !waits(request))) {
		if (!waits(request))
			fake_finish(request, -EAGAIN, 0);
		return;
	}
	number = listener->backlog[0];
	result = sqe->file_index ? fake_fixed_make(request->ring, number) : fake_fd_make(number);
	if (result >= 0) {
		struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = fake_file(number)->peer_port };
		socklen_t *bytes = fake_at(sqe->addr2);

		FAKE_RULE(*bytes >= sizeof address);
		memcpy(fake_at(sqe->addr), &address, sizeof address);
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
		if (result >= 0 && listener->backlog_count)
			flags = IORING_CQE_F_SOCK_NONEMPTY;
	}
	fake_finish(request, result, flags);
}

static void connect_one(struct fake_request *request)
{
	int32_t result = fake_file_connect(request->file, (uint16_t)request->done);

	if (result != -EAGAIN || !waits(request))
		fake_finish(request, result, 0);
}

static void poll_once(struct fake_request *request)
{
	uint32_t ready = fake_file_ready(request->file) & (request->sqe.poll32_events | POLLERR | POLLHUP);

	if (!ready)
		return;
	if (!(request->sqe.len & IORING_POLL_ADD_MULTI)) {
		fake_finish(request, (int32_t)ready, 0);
		return;
	}
	/* Edge-triggered: once for each write to the eventfd, however much it counts. */
	if (fake_file(request->file)->counter == request->done)
		return;
	request->done = (uint32_t)fake_file(request->file)->counter;
	if (fake_room(request->ring) && !fake_chance(fake_chances.end_multishot))
		fake_post(request->ring, request->sqe.user_data, (int32_t)ready, IORING_CQE_F_MORE);
	else
		fake_finish(request, (int32_t)ready, 0);
}

static int32_t close_descriptor(struct fake_request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;
	int32_t result;

	if (sqe->file_index) {
		uint32_t index = sqe->file_index - 1;

		result = index < request->ring->fixed_count && request->ring->fixed[index] ? 0 : -EBADF;
		if (!result) {
			fake_fixed_release(request->ring, request->ring->fixed[index] - 1);
			request->ring->fixed[index] = 0;
		}
	} else {
		result = fake_fd_close(sqe->fd);
	}
	FAKE_RULE(result == 0); /* the library closes what is its own, once */
	return result;
}

/* The index in the target's table, 0 where no descriptor is passed, or -errno. */
static int32_t pass_descriptor(struct fake_request *request, struct fake_ring *target)
{
	const struct io_uring_sqe *sqe = &request->sqe;
	uint32_t number;
	int32_t result;

	if (sqe->addr != IORING_MSG_SEND_FD)
		return 0;
	number = sqe->addr3 < request->ring->fixed_count ? request->ring->fixed[sqe->addr3] : 0;
	FAKE_RULE(number && sqe->file_index == IORING_FILE_INDEX_ALLOC);
	result = fake_fixed_make(target, number - 1);
	if (result >= 0)
		fake_file_hold(number - 1);
	return result;
}

static void message(struct fake_request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;
	struct fake_ring *target = fake_file(request->file)->ring;
	int32_t result = pass_descriptor(request, target);

	if (result >= 0)
		fake_post(target, sqe->off, sqe->addr == IORING_MSG_SEND_FD ? result : (int32_t)sqe->len, 0);
	fake_finish(request, result, 0);
}

static void install(struct fake_request *request)
{
	int32_t fd = fake_fd_make(request->file);

	if (fd >= 0)
		fake_file_hold(request->file);
	fake_finish(request, fd, 0);
}

static void make_socket(struct fake_request *request)
{
	uint32_t number = fake_file_make(FAKE_STREAM);
	int32_t result = fake_fixed_make(request->ring, number);

	if (result < 0)
		fake_file_drop(number);
	fake_finish(request, result, 0);
}

/* The fd at `addr` gets an entry, whose index takes its place there; the fd stays. */
static void move_into_table(struct fake_request *request)
{
	int32_t *fd = fake_at(request->sqe.addr), index;
	uint32_t number = fake_fd_file(*fd);

	FAKE_RULE(request->sqe.off == IORING_FILE_INDEX_ALLOC && request->sqe.len == 1 && number != FAKE_NONE);
	FAKE_RULE(!fake_file(number)->nonblock); /* what waits for it must wait */
	index = fake_fixed_make(request->ring, number);
	if (index >= 0) {
		fake_file_hold(number);
		*fd = index;
	}
	fake_finish(request, index < 0 ? index : 1, 0);
}

void fake_attempt(struct fake_request *request)
{
	/* Not the channel's own poll on its eventfd: it is always there, and tests mean a request of theirs. */
	bool own = mp_token_op(request->sqe.user_data) == MP_TOKEN_WAKE;
	int32_t failure = own ? 0 : fake_failure(request->sqe.opcode);
	bool moves = request->sqe.opcode == IORING_OP_RECV || request->vectors;

	if (failure) {
		/* Whatever close(2) says, the descriptor is gone. */
		if (request->sqe.opcode == IORING_OP_CLOSE)
			close_descriptor(request);
		/* The descriptor is passed, and there is no memory to tell it. */
		if (request->sqe.opcode == IORING_OP_MSG_RING && failure == -EOVERFLOW)
			FAKE_RULE(pass_descriptor(request, fake_file(request->file)->ring) >= 0);
		fake_finish(request, failure, 0);
		return;
	}
	if (moves && !request->done && fake_chance(fake_chances.fault)) {
		fake_finish(request, -EINTR, 0);
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
	case IORING_OP_SENDMSG_ZC:
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
		fake_finish(request, 0, 0);
		break;
	case IORING_OP_ASYNC_CANCEL:
		fake_cancel(request);
		break;
	case IORING_OP_CLOSE:
		fake_finish(request, close_descriptor(request), 0);
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
	case IORING_OP_FILES_UPDATE:
		move_into_table(request);
		break;
	case IORING_OP_TIMEOUT:
		fake_finish(request, -ETIME, 0);
		break;
	default:
		fake_broken("the fake knows the operation", __FILE__, __LINE__);
	}
}
