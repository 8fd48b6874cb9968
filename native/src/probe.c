/* What this kernel and this process allow, found out by trying each mechanism once on a small ring of its own. Version
 * numbers appear only in the texts: distributions backport, sandboxes forbid. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "buffers.h"
#include "megapipe.h"
#include "ring.h"

#define PROBE_ENTRIES 8u
#define PROBE_BUFFERS 4u
#define PROBE_BUFFER_BYTES 64u
#define PROBE_WAIT_NS 1000000000
#define PROBE_TOKEN 1u

static const char *const names[MP_FEATURE_COUNT] = {
	"ring",	      "leased_read", "lwsocket",    "transfer",	   "single_thread",
	"fd_install", "no_iowait",   "direct_wake", "socket_name",   "prompt_close",
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

/* kernel.io_uring_disabled: 0, 1, 2, or -1 where the kernel has no such setting. */
static int32_t disabled_setting(void)
{
	char text[8] = "";
	int fd = open("/proc/sys/kernel/io_uring_disabled", O_RDONLY | O_CLOEXEC);
	ssize_t got;

	if (fd < 0)
		return -1;
	got = read(fd, text, sizeof text - 1);
	close(fd);
	return got > 0 && text[0] >= '0' && text[0] <= '2' ? text[0] - '0' : -1;
}

static int32_t explain_ring(struct mp_features *features, int32_t error)
{
	int32_t setting = disabled_setting();

	switch (error) {
	case -EPERM:
	case -EACCES:
		if (setting > 0)
			refuse(features, MP_FEATURE_RING,
			       "io_uring_setup was refused: kernel.io_uring_disabled is %d. Set it to 0%s.", setting,
			       setting == 1 ? ", or run with the group in kernel.io_uring_group" : "");
		else
			refuse(features, MP_FEATURE_RING,
			       "io_uring_setup was refused: a seccomp profile or security module denies it. Allow "
			       "io_uring_setup, _enter and _register.");
		return MP_ERROR_DENIED;
	case -ENOSYS:
		refuse(features, MP_FEATURE_RING,
		       "io_uring_setup is not there: the kernel was built without io_uring or a sandbox hides it. "
		       "Linux 6.1 or later is needed.");
		return MP_ERROR_TOO_OLD;
	case -EINVAL:
		refuse(features, MP_FEATURE_RING,
		       "io_uring lacks COOP_TASKRUN or EXT_ARG: Linux 6.1 or later is needed.");
		return MP_ERROR_TOO_OLD;
	default:
		refuse(features, MP_FEATURE_RING, "io_uring_setup failed: %s.", mp_error_text(error));
		return error;
	}
}

/* One request, its completion awaited. The completion's flags when `flags` is not NULL. -ETIME if none came. */
static int32_t try_request(struct mp_ring *ring, const struct io_uring_sqe *request, uint32_t *flags)
{
	struct io_uring_sqe *entry = mp_ring_next(ring);
	struct io_uring_cqe *completion;
	int32_t result;

	if (!entry)
		return -EBUSY;
	*entry = *request;
	entry->user_data = PROBE_TOKEN;
	result = mp_ring_enter(ring, 1, PROBE_WAIT_NS);
	if (result < 0)
		return result;
	completion = mp_ring_peek(ring, 0);
	if (!completion)
		return -ETIME;
	result = completion->res;
	if (flags)
		*flags = completion->flags;
	mp_ring_seen(ring, 1);
	return result;
}

static void probe_leased_read(struct mp_features *features, struct mp_ring *ring, struct mp_buffers *buffers,
			      int pair[2])
{
	struct io_uring_sqe request = { .opcode = IORING_OP_RECV, .fd = pair[0], .ioprio = IORING_RECV_MULTISHOT,
					.flags = IOSQE_BUFFER_SELECT };
	uint32_t flags = 0;
	int32_t result;

	result = mp_ring_register_buffers(ring, buffers->ring, PROBE_BUFFERS);
	if (result < 0) {
		refuse(features, MP_FEATURE_LEASED_READ, "provided-buffer rings: %s. Linux 6.0 brings them.",
		       mp_error_text(result));
		return;
	}
	mp_buffers_publish(buffers);
	if (write(pair[1], "x", 1) != 1)
		return;
	result = try_request(ring, &request, &flags);
	if (result == 1 && (flags & IORING_CQE_F_BUFFER))
		allow(features, MP_FEATURE_LEASED_READ);
	else
		refuse(features, MP_FEATURE_LEASED_READ, "multishot receive: %s. Linux 6.0 brings it.",
		       mp_error_text(result));
}

static int32_t make_lwsocket(struct mp_ring *ring)
{
	struct io_uring_sqe request = { .opcode = IORING_OP_SOCKET, .fd = AF_UNIX, .off = SOCK_STREAM,
					.file_index = IORING_FILE_INDEX_ALLOC };

	return try_request(ring, &request, NULL);
}

/* The table entry of a lightweight socket, or negative. */
static int32_t probe_lwsocket(struct mp_features *features, struct mp_ring *ring)
{
	int32_t result = mp_ring_register_files(ring, PROBE_ENTRIES);

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
		close(result);
		allow(features, MP_FEATURE_FD_INSTALL);
	} else {
		refuse(features, MP_FEATURE_FD_INSTALL,
		       "installing a direct descriptor as an fd: %s. Linux 6.8 brings it.", mp_error_text(result));
	}
}

static void probe_transfer(struct mp_features *features, struct mp_ring *ring, int32_t index)
{
	const struct mp_ring_config config = { .entries = PROBE_ENTRIES, .cq_entries = PROBE_ENTRIES * 2 };
	struct io_uring_sqe request = { .opcode = IORING_OP_MSG_RING, .addr = IORING_MSG_SEND_FD,
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

static void probe_socket_name(struct mp_features *features, struct mp_ring *ring, int32_t index)
{
	struct sockaddr_storage name;
	int32_t bytes = sizeof name;
	struct io_uring_sqe request = { .opcode = IORING_OP_URING_CMD, .fd = index, .flags = IOSQE_FIXED_FILE,
					.off = MP_SOCKET_OP_GETSOCKNAME, .addr = (uint64_t)(uintptr_t)&name,
					.addr3 = (uint64_t)(uintptr_t)&bytes };
	int32_t result = index < 0 ? index : try_request(ring, &request, NULL);

	if (result >= 0 && name.ss_family == AF_UNIX)
		allow(features, MP_FEATURE_SOCKET_NAME);
	else
		refuse(features, MP_FEATURE_SOCKET_NAME,
		       "getsockname on a lightweight socket: %s. Kernels after 6.18 bring it.",
		       mp_error_text(result < 0 ? result : -EOPNOTSUPP));
}

static void probe_prompt_close(struct mp_features *features)
{
	if (mp_ring_releases_at_once())
		allow(features, MP_FEATURE_PROMPT_CLOSE);
	else
		refuse(features, MP_FEATURE_PROMPT_CLOSE,
		       "a closed lightweight socket is released late, behind older connections. Linux 6.13 ends that.");
}

static void probe_single_thread(struct mp_features *features)
{
	const struct mp_ring_config config = { .entries = PROBE_ENTRIES, .cq_entries = PROBE_ENTRIES * 2,
					       .single_thread = true };
	struct mp_ring ring;
	int32_t error = mp_ring_open(&ring, &config);

	if (error) {
		refuse(features, MP_FEATURE_SINGLE_THREAD, "DEFER_TASKRUN: %s. Linux 6.1 brings it.",
		       mp_error_text(error));
		return;
	}
	mp_ring_close(&ring);
	allow(features, MP_FEATURE_SINGLE_THREAD);
}

static void probe_ring_flags(struct mp_features *features, struct mp_ring *ring)
{
	int32_t error = mp_ring_post(ring, PROBE_TOKEN);

	if (error < 0) {
		refuse(features, MP_FEATURE_DIRECT_WAKE,
		       "posting to a ring without a ring: %s. Linux 6.13 brings it; an eventfd wakes instead.",
		       mp_error_text(error));
	} else {
		allow(features, MP_FEATURE_DIRECT_WAKE);
		if (mp_ring_peek(ring, 0))
			mp_ring_seen(ring, 1);
	}
	if (ring->features & IORING_FEAT_NO_IOWAIT)
		allow(features, MP_FEATURE_NO_IOWAIT);
	else
		refuse(features, MP_FEATURE_NO_IOWAIT, "a sleeping channel shows as iowait. Linux 6.15 ends that.");
}

static int32_t probe_on(struct mp_features *features, struct mp_ring *ring)
{
	struct mp_buffers buffers;
	int32_t index;
	int pair[2];

	if (mp_buffers_open(&buffers, PROBE_BUFFERS, PROBE_BUFFER_BYTES))
		return -ENOMEM;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair)) {
		mp_buffers_close(&buffers);
		return -errno;
	}
	/* The leased read stays armed, so it goes last but one; the ring is closed before its memory is freed. */
	probe_ring_flags(features, ring);
	probe_single_thread(features);
	index = probe_lwsocket(features, ring);
	probe_fd_install(features, ring, index);
	probe_socket_name(features, ring, index);
	probe_transfer(features, ring, index);
	probe_prompt_close(features);
	probe_leased_read(features, ring, &buffers, pair);
	/* End of stream ends the multishot receive, so that nothing can write to the buffers any more. */
	close(pair[1]);
	(void)mp_ring_enter(ring, 1, PROBE_WAIT_NS);
	close(pair[0]);
	mp_ring_close(ring);
	mp_buffers_close(&buffers);
	return 0;
}

int32_t mp_probe(struct mp_features *features)
{
	const struct mp_ring_config config = { .entries = PROBE_ENTRIES, .cq_entries = PROBE_ENTRIES * 2 };
	struct mp_ring ring;
	int32_t error;

	if (features->size != sizeof *features)
		return -EINVAL;
	features->available = 0;
	for (uint32_t feature = 0; feature < MP_FEATURE_COUNT; feature++)
		refuse(features, feature, "not tried: io_uring itself does not work here.");
	error = mp_ring_open(&ring, &config);
	if (error)
		return explain_ring(features, error);
	error = probe_on(features, &ring);
	if (error) {
		mp_ring_close(&ring);
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
