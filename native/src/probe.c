/* What this kernel and this process allow, found out by trying each mechanism once on a small ring of its own. Version
 * numbers appear only in the texts: distributions backport, sandboxes forbid. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "buffers.h"
#include "floor.h"
#include "megapipe.h"
#include "os.h"
#include "restrict.h"
#include "ring.h"

#define PROBE_ENTRIES 8u
#define PROBE_BUFFERS 4u
#define PROBE_BUFFER_BYTES 64u
#define PROBE_WAIT_NS 1000000000
#define LEAST_FEATURES_BYTES 8u /* size and available */
#define MOST_FEATURES_BYTES 65536u

/* What the kernel said of a probe's buffers and its table of lightweight sockets. */
struct registered {
	int32_t buffers;
	int32_t files;
	int32_t busy_poll;
};

static const char *const names[MP_FEATURE_COUNT] = {
	"ring",      "leased_read", "lwsocket",     "transfer",  "single_thread", "fd_install",
	"no_iowait", "direct_wake", "prompt_close", "zero_copy", "busy_poll",
};

const char *mp_feature_name(uint32_t feature)
{
	return feature < MP_FEATURE_COUNT ? names[feature] : NULL;
}

__attribute__((format(printf, 3, 4))) static void refuse(struct mp_features *features, uint32_t feature,
							 const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(features->reason[feature], MP_REASON_BYTES, format, arguments);
	va_end(arguments);
}

static void allow(struct mp_features *features, uint32_t feature)
{
	features->available |= 1u << feature;
	features->reason[feature][0] = '\0';
}

/* Why one of the three system calls fails though the kernel may have it. */
static void explain_call(struct mp_features *features, const char *call, int32_t error)
{
	if (error == -ENOSYS)
		refuse(features, MP_FEATURE_RING,
		       "%s is hidden by a seccomp profile, which answers that the kernel has no such call. Allow "
		       "io_uring_setup, _enter and _register.",
		       call);
	else if (error == -EPERM || error == -EACCES)
		refuse(features, MP_FEATURE_RING,
		       "%s was refused: a seccomp profile or security module denies it. Allow io_uring_setup, _enter "
		       "and _register.",
		       call);
	else if (error == -ENOMEM && mp_floor_locked_kib() >= 0)
		refuse(features, MP_FEATURE_RING,
		       "%s failed: no memory. RLIMIT_MEMLOCK (%lld KiB, shared by all processes of the user) may be "
		       "used up: raise it (ulimit -l, LimitMEMLOCK=).",
		       call, (long long)mp_floor_locked_kib());
	else
		refuse(features, MP_FEATURE_RING, "%s failed: %s.", call, mp_error_text(error));
}

static int32_t explain_ring(struct mp_features *features, int32_t error)
{
	int32_t setting = mp_floor_disabled();

	if ((error == -EPERM || error == -EACCES) && setting > 0)
		refuse(features, MP_FEATURE_RING,
		       "io_uring_setup was refused: kernel.io_uring_disabled is %d. Set it to 0%s.", setting,
		       setting == 1 ? ", or run with the group in kernel.io_uring_group" : "");
	else if (error == -EINVAL)
		refuse(features, MP_FEATURE_RING,
		       "io_uring lacks COOP_TASKRUN or EXT_ARG: Linux 6.1 or later is needed.");
	else if (error == -ENOSYS && mp_floor_hidden() == MP_NOT_HIDDEN)
		refuse(features, MP_FEATURE_RING,
		       "io_uring_setup is not there: the kernel was built without io_uring or a sandbox hides it. "
		       "Linux 6.1 or later is needed.");
	else if (error == -ENOSYS && mp_floor_hidden() == MP_PERHAPS_HIDDEN)
		refuse(features, MP_FEATURE_RING,
		       "io_uring_setup is not there: a seccomp profile hides it (allow io_uring_setup, _enter and "
		       "_register), or the kernel was built without io_uring.");
	else
		explain_call(features, "io_uring_setup", error);
	return mp_floor_error(error, true);
}

/* Each request has a token of its own: an answer that comes too late is not taken for the next one's. */
static uint64_t new_token(uint8_t opcode)
{
	static _Atomic uint32_t last;

	return (uint64_t)atomic_fetch_add_explicit(&last, 1, memory_order_relaxed) << 8 | opcode;
}

/* An answer that nobody waits for any more. */
static void drop_late(const struct io_uring_cqe *completion)
{
	if ((uint8_t)completion->user_data == MP_OP_FIXED_FD_INSTALL && completion->res >= 0)
		mp_os_close(completion->res);
}

/* Takes completions until that with `token`, whose result and flags it gives. -ETIME if it does not come. */
static int32_t await(struct mp_ring *ring, uint64_t token, uint32_t *flags)
{
	for (uint32_t round = 0; round < PROBE_ENTRIES; round++) {
		struct io_uring_cqe *completion;
		int32_t result;

		while ((completion = mp_ring_peek(ring, 0))) {
			bool found = completion->user_data == token;

			result = completion->res;
			if (found && flags)
				*flags = completion->flags;
			if (!found)
				drop_late(completion);
			mp_ring_seen(ring, 1);
			if (found)
				return result;
		}
		result = mp_ring_wait(ring, PROBE_WAIT_NS);
		if (result < 0)
			return result;
	}
	return -ETIME;
}

/* One request, its completion awaited. The completion's flags when `flags` is not NULL. -ETIME if none came. */
static int32_t try_request(struct mp_ring *ring, const struct io_uring_sqe *request, uint32_t *flags)
{
	struct io_uring_sqe *entry = mp_ring_next(ring);
	uint64_t token = new_token(request->opcode);
	int32_t result;

	if (!entry)
		return -EBUSY;
	*entry = *request;
	entry->user_data = token;
	result = mp_ring_enter(ring, 1, PROBE_WAIT_NS);
	return result < 0 ? result : await(ring, token, flags);
}

/* Whether the read may still be armed. `registered` is what the kernel said of the buffers. */
static bool probe_leased_read(struct mp_features *features, struct mp_ring *ring, struct mp_buffers *buffers,
			      int32_t registered, int pair[2])
{
	struct io_uring_sqe request = {
		.opcode = IORING_OP_RECV, .fd = pair[0], .ioprio = IORING_RECV_MULTISHOT, .flags = IOSQE_BUFFER_SELECT
	};
	uint32_t flags = 0;
	int32_t result;

	if (registered < 0) {
		refuse(features, MP_FEATURE_LEASED_READ, "provided-buffer rings: %s. Linux 6.0 brings them.",
		       mp_error_text(registered));
		return false;
	}
	mp_buffers_publish(buffers);
	if (write(pair[1], "x", 1) != 1)
		return false;
	result = try_request(ring, &request, &flags);
	if (result == 1 && (flags & IORING_CQE_F_BUFFER))
		allow(features, MP_FEATURE_LEASED_READ);
	else
		refuse(features, MP_FEATURE_LEASED_READ, "multishot receive: %s. Linux 6.0 brings it.",
		       mp_error_text(result));
	return result == -ETIME || (flags & IORING_CQE_F_MORE);
}

/* The peer's end of stream ends the read. false: it did not, and the kernel may still write to the buffers. */
static bool end_leased_read(struct mp_ring *ring)
{
	for (uint32_t round = 0; round < PROBE_ENTRIES; round++) {
		struct io_uring_cqe *completion;

		while ((completion = mp_ring_peek(ring, 0))) {
			bool last = (uint8_t)completion->user_data == IORING_OP_RECV &&
				    !(completion->flags & IORING_CQE_F_MORE);

			mp_ring_seen(ring, 1);
			if (last)
				return true;
		}
		if (mp_ring_wait(ring, PROBE_WAIT_NS) < 0)
			return false;
	}
	return false;
}

static int32_t make_lwsocket(struct mp_ring *ring)
{
	struct io_uring_sqe request = {
		.opcode = IORING_OP_SOCKET, .fd = AF_UNIX, .off = SOCK_STREAM, .file_index = IORING_FILE_INDEX_ALLOC
	};

	return try_request(ring, &request, NULL);
}

/* The table entry of a lightweight socket, or negative. `result` is what the kernel said of the table. */
static int32_t probe_lwsocket(struct mp_features *features, struct mp_ring *ring, int32_t result)
{
	if (result >= 0)
		result = make_lwsocket(ring);
	if (result >= 0)
		allow(features, MP_FEATURE_LWSOCKET);
	else
		refuse(features, MP_FEATURE_LWSOCKET, "direct descriptors: %s. Linux 5.19 brings them.",
		       mp_error_text(result));
	return result;
}

static void probe_fd_install(struct mp_features *features, struct mp_ring *ring, int32_t index)
{
	struct io_uring_sqe request = { .opcode = MP_OP_FIXED_FD_INSTALL, .fd = index, .flags = IOSQE_FIXED_FILE };
	int32_t result = index < 0 ? index : try_request(ring, &request, NULL);

	if (result >= 0) {
		mp_os_close(result);
		allow(features, MP_FEATURE_FD_INSTALL);
	} else {
		refuse(features, MP_FEATURE_FD_INSTALL,
		       "installing a direct descriptor as an fd: %s. Linux 6.8 brings it.", mp_error_text(result));
	}
}

static void probe_transfer(struct mp_features *features, struct mp_ring *ring, int32_t index)
{
	const struct mp_ring_config config = { .entries = PROBE_ENTRIES, .cq_entries = PROBE_ENTRIES * 2 };
	struct io_uring_sqe request = { .opcode = IORING_OP_MSG_RING,
					.addr = IORING_MSG_SEND_FD,
					.file_index = IORING_FILE_INDEX_ALLOC };
	struct mp_ring other;
	int32_t result = index;

	if (result >= 0)
		result = mp_ring_open(&other, &config);
	if (result >= 0) {
		result = mp_ring_register_files(&other, PROBE_ENTRIES);
		request.fd = other.fd;
		request.addr3 = (uint32_t)index;
		if (result >= 0)
			result = try_request(ring, &request, NULL);
		mp_ring_close(&other);
	}
	if (result >= 0)
		allow(features, MP_FEATURE_TRANSFER);
	else
		refuse(features, MP_FEATURE_TRANSFER, "passing descriptors between rings: %s. Linux 6.0 brings it.",
		       mp_error_text(result));
}

static void probe_prompt_close(struct mp_features *features)
{
	if (mp_ring_releases_at_once())
		allow(features, MP_FEATURE_PROMPT_CLOSE);
	else
		refuse(features, MP_FEATURE_PROMPT_CLOSE,
		       "a closed lightweight socket is released late, behind older connections. Linux 6.13 ends that.");
}

/* A send on a TCP socket without a peer: EPIPE once the kernel has taken the flags; its notification is dropped. */
static void probe_zero_copy(struct mp_features *features, struct mp_ring *ring)
{
	static uint8_t byte;
	struct iovec vector = { &byte, 1 };
	struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1 };
	struct io_uring_sqe request = { .opcode = IORING_OP_SENDMSG_ZC,
					.ioprio = MP_SEND_ZC_REPORT_USAGE,
					.addr = (uint64_t)(uintptr_t)&message,
					.len = 1,
					.msg_flags = MSG_NOSIGNAL | MSG_DONTWAIT };
	int32_t result;

	request.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	result = request.fd < 0 ? -errno : try_request(ring, &request, NULL);
	if (request.fd >= 0)
		close(request.fd);
	if (result == -EPIPE || result == -ENOTCONN)
		allow(features, MP_FEATURE_ZERO_COPY);
	else
		refuse(features, MP_FEATURE_ZERO_COPY, "zero-copy sends that tell: %s. Linux 6.2 brings them.",
		       mp_error_text(result));
}

/* Restricts and starts a ring as mp_create does. */
static int32_t start(struct mp_ring *ring)
{
	struct io_uring_restriction list[MP_RESTRICTIONS];
	int32_t error = mp_ring_start(ring, list, mp_restrictions(MP_CONFIG_ZERO_COPY, list));

	return error ? error : mp_ring_check(ring);
}

static void probe_single_thread(struct mp_features *features)
{
	const struct mp_ring_config config = {
		.entries = PROBE_ENTRIES, .cq_entries = PROBE_ENTRIES * 2, .single_thread = true, .disabled = true
	};
	struct mp_ring ring;
	int32_t error = mp_ring_open(&ring, &config);

	if (!error) {
		error = start(&ring);
		mp_ring_close(&ring);
	}
	if (error)
		refuse(features, MP_FEATURE_SINGLE_THREAD, "DEFER_TASKRUN: %s. Linux 6.1 brings it.",
		       mp_error_text(error));
	else
		allow(features, MP_FEATURE_SINGLE_THREAD);
}

/* `busy_poll` is what the kernel said of it, before the ring was started. */
static void probe_ring_flags(struct mp_features *features, struct mp_ring *ring, int32_t busy_poll)
{
	int32_t error = mp_ring_post(ring, new_token(IORING_OP_MSG_RING));

	if (error < 0) {
		refuse(features, MP_FEATURE_DIRECT_WAKE,
		       "posting to a ring without a ring: %s. Linux 6.13 brings it; an eventfd wakes instead.",
		       mp_error_text(error));
	} else {
		allow(features, MP_FEATURE_DIRECT_WAKE); /* the next use of the ring drops its completion */
	}
	if (ring->features & IORING_FEAT_NO_IOWAIT)
		allow(features, MP_FEATURE_NO_IOWAIT);
	else
		refuse(features, MP_FEATURE_NO_IOWAIT, "a sleeping channel shows as iowait. Linux 6.15 ends that.");
	if (busy_poll < 0)
		refuse(features, MP_FEATURE_BUSY_POLL, "polling network cards: %s. Linux 6.9 brings it.",
		       mp_error_text(busy_poll));
	else
		allow(features, MP_FEATURE_BUSY_POLL);
}

/* The two system calls that a filter may deny where it allows io_uring_setup, and the memory that they may want. Starts
 * the ring: what has to be registered is registered before. */
static int32_t check_calls(struct mp_features *features, struct mp_ring *ring, struct mp_buffers *buffers,
			   struct registered *registered)
{
	struct io_uring_restriction list[MP_RESTRICTIONS];
	const char *call = "io_uring_register";
	int32_t error;

	registered->buffers = mp_ring_register_buffers(ring, buffers->ring, PROBE_BUFFERS);
	registered->files = mp_ring_register_files(ring, PROBE_ENTRIES);
	registered->busy_poll = mp_ring_register_busy_poll(ring, 1);
	error = registered->buffers < 0 ? registered->buffers : 0;
	if (mp_floor_error(error, false) == MP_ERROR_TOO_OLD)
		error = 0; /* what is missing is found below */
	if (!error) {
		error = mp_ring_start(ring, list, mp_restrictions(MP_CONFIG_ZERO_COPY, list));
		if (error == -EINVAL) {
			refuse(features, MP_FEATURE_RING, "the kernel does not let a ring restrict itself: %s.",
			       mp_error_text(error));
			return MP_ERROR_TOO_OLD;
		}
	}
	if (!error) {
		call = "io_uring_enter";
		error = mp_ring_check(ring);
	}
	if (error)
		explain_call(features, call, error);
	return mp_floor_error(error, false);
}

static int32_t probe_on(struct mp_features *features, struct mp_ring *ring)
{
	struct mp_buffers buffers;
	struct registered registered;
	int32_t index, error;
	bool armed;
	int pair[2];

	if (mp_buffers_open(&buffers, PROBE_BUFFERS, PROBE_BUFFER_BYTES))
		return -ENOMEM;
	error = check_calls(features, ring, &buffers, &registered);
	if (error) {
		mp_ring_close(ring);
		mp_buffers_close(&buffers);
		return error;
	}
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair)) {
		error = -errno;
		mp_ring_close(ring);
		mp_buffers_close(&buffers);
		return error;
	}
	/* The leased read stays armed, so it goes last but one; the ring is closed before its memory is freed. */
	probe_ring_flags(features, ring, registered.busy_poll);
	probe_single_thread(features);
	index = probe_lwsocket(features, ring, registered.files);
	probe_fd_install(features, ring, index);
	probe_transfer(features, ring, index);
	probe_prompt_close(features);
	probe_zero_copy(features, ring);
	armed = probe_leased_read(features, ring, &buffers, registered.buffers, pair);
	close(pair[1]);
	armed = armed && !end_leased_read(ring);
	close(pair[0]);
	mp_ring_close(ring);
	if (!armed)
		mp_buffers_close(&buffers);
	return 0;
}

static int32_t probe(struct mp_features *features)
{
	const struct mp_ring_config config = { .entries = PROBE_ENTRIES,
					       .cq_entries = PROBE_ENTRIES * 2,
					       .disabled = true };
	struct mp_ring ring;
	int32_t error;

	for (uint32_t feature = 0; feature < MP_FEATURE_COUNT; feature++)
		refuse(features, feature, "not tried: io_uring itself does not work here.");
	error = mp_ring_open(&ring, &config);
	if (error)
		return explain_ring(features, error);
	error = probe_on(features, &ring);
	if (error) {
		mp_ring_close(&ring);
		if (error > MP_ERROR_TOO_OLD || error < MP_ERROR_LOCKED_MEMORY) /* those have been explained */
			refuse(features, MP_FEATURE_RING, "the probe could not run: %s.", mp_error_text(error));
		return error;
	}
	if (!(features->available & 1u << MP_FEATURE_LEASED_READ)) {
		refuse(features, MP_FEATURE_RING, "%s", "multishot receive is missing: Linux 6.1 or later is needed.");
		return MP_ERROR_TOO_OLD;
	}
	allow(features, MP_FEATURE_RING);
	return 0;
}

int32_t mp_probe(struct mp_features *given)
{
	struct mp_features features = { .size = sizeof features };
	uint32_t size = given->size, room, texts;
	int32_t result;

	if (size < LEAST_FEATURES_BYTES || size > MOST_FEATURES_BYTES || size % sizeof(uint32_t))
		return -EINVAL;
	result = probe(&features);
	given->available = features.available;
	/* A caller of another age has room for fewer texts, or for more than there are. */
	room = size - LEAST_FEATURES_BYTES;
	texts = room / MP_REASON_BYTES < MP_FEATURE_COUNT ? room / MP_REASON_BYTES : MP_FEATURE_COUNT;
	memset((uint8_t *)given + LEAST_FEATURES_BYTES, 0, room);
	memcpy((uint8_t *)given + LEAST_FEATURES_BYTES, features.reason, texts * sizeof features.reason[0]);
	return result;
}
